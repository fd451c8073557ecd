//! The packets of a sound track → how loud it is, by EBU R 128.

use ebur128::{EbuR128, Mode};

use crate::media::codec::audio::AudioDecoder;
use crate::media::demux::{Packet, Track};

/// Below that the gates of BS.1770 let nothing through.
const SILENCE_LUFS: f64 = -70.0;

/// Decodes and measures.
pub(super) struct Meter {
    decoder: AudioDecoder,
    meter: EbuR128,
}

impl Meter {
    /// `None` for sound that cannot be decoded.
    pub(super) fn new(track: &Track) -> Option<Self> {
        let decoder = AudioDecoder::new(track).ok()?;
        let meter = EbuR128::new(2, decoder.rate(), Mode::I).ok()?;
        Some(Self { decoder, meter })
    }

    pub(super) fn add(&mut self, packet: &Packet) {
        let stereo = self.decoder.decode(packet).into_stereo();
        // The meter refuses only what has another number of channels.
        let _ = self.meter.add_frames_f32(&stereo.samples);
    }

    /// LUFS, to a tenth.
    pub(super) fn loudness(&self) -> Option<f64> {
        let loudness = self.meter.loudness_global().ok().filter(|loudness| *loudness >= SILENCE_LUFS)?;
        Some((loudness * 10.0).round() / 10.0)
    }
}
