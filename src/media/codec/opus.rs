//! Opus packets ↔ sound with libopus; what packets say of themselves is in `packet` (RFC 6716, RFC 7845).
//!
//! Everything is 48 kHz stereo in 20 ms frames, because that is what a video chat carries;
//! decoding accepts whatever Opus allows.

mod fade;
mod mix;
mod packet;
mod repack;

use bytes::Bytes;

pub use self::fade::{PRE_ROLL, fallen, risen};
pub(crate) use self::fade::{ahead, fade_in};
pub use self::mix::{Mixer, Two};
pub use self::packet::{Head, Mode, Shape};
pub use self::repack::{Repacker, is_repackable};
use crate::time::MediaTime;

/// Samples per second and channel of everything this module encodes and decodes.
pub const SAMPLE_RATE: u32 = 48_000;
/// Left and right.
pub const CHANNELS: usize = 2;
/// Samples per channel in one frame of 20 ms.
pub const FRAME_SAMPLES: usize = 960;
/// Length of one frame.
pub const FRAME: MediaTime = MediaTime::from_millis(20);
/// How many samples libopus' output lags behind its input at 48 kHz: 4 ms of its delay buffer
/// and 2.5 ms of overlap. A caller feeds the encoder this far ahead (RFC 7845, pre-skip).
pub const LOOKAHEAD: usize = 312;
/// 20 ms of digital silence: fullband CELT, stereo, one frame whose payload says "silence".
pub const SILENCE: [u8; 3] = [0xfc, 0xff, 0xfe];

/// The longest frame (RFC 6716, 3.1) and so the most that one encoded 20 ms packet needs.
const MAX_FRAME_BYTES: usize = 1275;
/// 120 ms (RFC 6716, 3.2.5).
const MAX_PACKET_SAMPLES: usize = 5760;

/// Why a packet or the codec failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpusError {
    /// The bytes are no Opus packet.
    #[error("not an Opus packet: {0}")]
    Packet(&'static str),
    /// The `OpusHead` is damaged.
    #[error("damaged OpusHead: {0}")]
    Head(&'static str),
    /// libopus refused.
    #[error("libopus failed")]
    Codec(#[from] ::opus::Error),
}

/// How sound is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderOptions {
    /// Bits per second on average; the rate varies with the sound.
    pub bitrate_bps: u32,
    /// 0 (least CPU) to 10 (best sound).
    pub complexity: u8,
    /// What it is tuned for.
    pub preset: Preset,
    /// Both channels as one, which halves what is needed for the same quality.
    pub mono: bool,
}

/// What an encoder is tuned for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// Everything.
    #[default]
    Music,
    /// Speech: every packet carries a little of the one before, so that a lost one is not missed.
    Voice,
}

/// The loss that the voice preset is prepared for, in percent.
pub(in crate::media) const EXPECTED_LOSS: i32 = 10;

impl Default for EncoderOptions {
    fn default() -> Self {
        Self { bitrate_bps: 128_000, complexity: 9, preset: Preset::Music, mono: false }
    }
}

/// 20 ms of sound → one packet.
#[derive(Debug)]
pub struct Encoder {
    inner: ::opus::Encoder,
    /// The next frame must not lean on the ones before: a receiver does not have them.
    fresh: bool,
}

impl Encoder {
    /// An encoder with a variable bitrate.
    ///
    /// # Errors
    /// When libopus refuses an option or has no memory.
    pub fn new(options: EncoderOptions) -> Result<Self, OpusError> {
        let (application, signal) = match options.preset {
            Preset::Music => (::opus::Application::Audio, ::opus::Signal::Music),
            Preset::Voice => (::opus::Application::Voip, ::opus::Signal::Voice),
        };
        let mut inner = ::opus::Encoder::new(SAMPLE_RATE, ::opus::Channels::Stereo, application)?;
        if options.preset == Preset::Voice {
            inner.set_inband_fec(true)?;
            inner.set_packet_loss_perc(EXPECTED_LOSS)?;
        }
        if options.mono {
            inner.set_force_channels(Some(::opus::Channels::Mono))?;
        }
        let bitrate = i32::try_from(options.bitrate_bps).unwrap_or(i32::MAX);
        inner.set_bitrate(::opus::Bitrate::Bits(bitrate))?;
        inner.set_vbr(true)?;
        inner.set_complexity(i32::from(options.complexity))?;
        inner.set_signal(signal)?;
        Ok(Self { inner, fresh: true })
    }

    /// Starts a new run of frames for a receiver that does not know the ones before.
    ///
    /// `before` is the frame of input that precedes the first one; it fills the encoder's
    /// memory, so that the first packet sounds right from its first sample.
    ///
    /// # Errors
    /// When libopus fails.
    ///
    /// # Panics
    /// When `before` is not one frame: a bug of the caller.
    pub fn restart(&mut self, before: &[f32]) -> Result<(), OpusError> {
        self.inner.reset_state()?;
        self.encode(before)?;
        self.fresh = true;
        Ok(())
    }

    /// Encodes one frame: [`FRAME_SAMPLES`] interleaved stereo samples. What a receiver hears
    /// of this packet lags [`LOOKAHEAD`] samples behind `frame`.
    ///
    /// # Errors
    /// When libopus fails.
    ///
    /// # Panics
    /// When `frame` has another length: a bug of the caller.
    pub fn encode(&mut self, frame: &[f32]) -> Result<Bytes, OpusError> {
        assert_eq!(frame.len(), FRAME_SAMPLES * CHANNELS, "one frame of stereo");
        if self.fresh {
            self.inner.set_prediction_disabled(true)?;
        }
        let mut packet = [0; MAX_FRAME_BYTES + 1];
        let n_bytes = self.inner.encode_float(frame, &mut packet)?;
        if std::mem::take(&mut self.fresh) {
            self.inner.set_prediction_disabled(false)?;
        }
        Ok(Bytes::copy_from_slice(&packet[..n_bytes]))
    }
}

/// Packets → 48 kHz stereo.
#[derive(Debug)]
pub struct Decoder {
    inner: ::opus::Decoder,
    pcm: Vec<f32>,
}

impl Decoder {
    /// A decoder that adds `output_gain` (1/256 dB) to the volume.
    ///
    /// # Errors
    /// When libopus has no memory.
    pub fn new(output_gain: i16) -> Result<Self, OpusError> {
        let mut inner = ::opus::Decoder::new(SAMPLE_RATE, ::opus::Channels::Stereo)?;
        inner.set_gain(i32::from(output_gain))?;
        Ok(Self { inner, pcm: vec![0.0; MAX_PACKET_SAMPLES * CHANNELS] })
    }

    /// Interleaved stereo samples of one packet.
    ///
    /// # Errors
    /// When the packet is damaged; the next one can be decoded again.
    pub fn decode(&mut self, packet: &[u8]) -> Result<&[f32], OpusError> {
        // An empty packet would mean "lost" to libopus and fill the whole buffer.
        if packet.is_empty() {
            return Err(OpusError::Packet("it is empty"));
        }
        let samples = self.inner.decode_float(packet, &mut self.pcm, false)?;
        Ok(&self.pcm[..samples * CHANNELS])
    }

    /// What libopus makes up for `samples` lost samples per channel, a multiple of 2.5 ms and
    /// at most 120 ms.
    ///
    /// # Errors
    /// When `samples` is something else.
    pub fn conceal(&mut self, samples: usize) -> Result<&[f32], OpusError> {
        if samples > MAX_PACKET_SAMPLES {
            return Err(OpusError::Packet("more than 120 ms are lost"));
        }
        let samples = self.inner.decode_float(&[], &mut self.pcm[..samples * CHANNELS], false)?;
        Ok(&self.pcm[..samples * CHANNELS])
    }

    /// Forgets the packets so far: the next one does not follow them.
    ///
    /// # Errors
    /// When libopus fails.
    pub fn reset(&mut self) -> Result<(), OpusError> {
        Ok(self.inner.reset_state()?)
    }
}

/// Rounds off peaks over full scale, which would crackle when a receiver cuts them.
pub struct SoftClip(::opus::SoftClip);

impl std::fmt::Debug for SoftClip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SoftClip")
    }
}

impl Default for SoftClip {
    fn default() -> Self {
        Self(::opus::SoftClip::new(::opus::Channels::Stereo))
    }
}

impl SoftClip {
    /// Bends interleaved stereo into ±1.
    pub fn apply(&mut self, stereo: &mut [f32]) {
        self.0.apply(stereo);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::AudioLevel;

    /// `frames` frames of a tone that starts at sample 0, fed ahead by the look-ahead.
    fn tone(frequency: f32, frames: usize) -> Vec<f32> {
        (0..frames * FRAME_SAMPLES)
            .flat_map(|n| {
                let t = n as f32 / SAMPLE_RATE as f32;
                let sample = 0.5 * (std::f32::consts::TAU * frequency * t).sin();
                [sample, sample]
            })
            .collect()
    }

    #[test]
    fn silence_decodes_to_silence() {
        let mut decoder = Decoder::new(0).unwrap();
        for _ in 0..3 {
            let pcm = decoder.decode(&SILENCE).unwrap();
            assert_eq!(pcm.len(), FRAME_SAMPLES * CHANNELS);
            assert_eq!(AudioLevel::of(pcm), AudioLevel::SILENCE);
        }
    }

    #[test]
    fn bitrate_level_and_look_ahead_are_as_told() {
        let mut encoder = Encoder::new(EncoderOptions::default()).unwrap();
        assert_eq!(encoder.inner.get_lookahead().unwrap(), LOOKAHEAD as i32);
        let mut decoder = Decoder::new(0).unwrap();
        let input = tone(440.0, 50);
        let (mut n_bytes, mut output) = (0, Vec::new());
        for frame in input.chunks(FRAME_SAMPLES * CHANNELS) {
            let packet = encoder.encode(frame).unwrap();
            assert_eq!(Shape::of(&packet).unwrap().samples(), 960);
            n_bytes += packet.len();
            output.extend_from_slice(decoder.decode(&packet).unwrap());
        }
        let bitrate = n_bytes * 8;
        assert!((90_000..170_000).contains(&bitrate), "{bitrate} bit/s");
        assert_eq!(AudioLevel::of(&output[9600..]).neg_dbov(), AudioLevel::of(&input[9600..]).neg_dbov());
        let lag = best_lag(&input, &output);
        assert_eq!(lag, LOOKAHEAD);
    }

    /// Where `output` follows `input` best, by the energy of the difference.
    fn best_lag(input: &[f32], output: &[f32]) -> usize {
        let left = |pcm: &[f32], n: usize| pcm[n * CHANNELS];
        let error = |lag: &usize| -> f32 {
            (9600..19_200).map(|n| (left(input, n) - left(output, n + lag)).powi(2)).sum()
        };
        (260..364).min_by(|a, b| error(a).total_cmp(&error(b))).unwrap()
    }

    #[test]
    fn a_restart_sounds_right_from_its_first_sample_on() {
        let input = tone(440.0, 6);
        let window = |frame: usize| {
            let from = (frame * FRAME_SAMPLES + LOOKAHEAD) * CHANNELS;
            &input[from..from + FRAME_SAMPLES * CHANNELS]
        };
        let mut encoder = Encoder::new(EncoderOptions::default()).unwrap();
        encoder.restart(window(1)).unwrap();
        let mut decoder = Decoder::new(0).unwrap();
        // The receiver's decoder has no history, so only the 2.5 ms of overlap fade in.
        for frame in 2..4 {
            let output = decoder.decode(&encoder.encode(window(frame)).unwrap()).unwrap().to_vec();
            let heard = &input[frame * FRAME_SAMPLES * CHANNELS..][..FRAME_SAMPLES * CHANNELS];
            let skip = if frame == 2 { 120 * CHANNELS } else { 0 };
            let worst =
                output[skip..].iter().zip(&heard[skip..]).map(|(o, h)| (o - h).abs()).fold(0.0, f32::max);
            assert!(worst < 0.08, "frame {frame}: {worst}");
        }
    }

    #[test]
    fn the_voice_preset_carries_what_a_lost_packet_had() {
        let options = EncoderOptions {
            bitrate_bps: 24_000,
            preset: Preset::Voice,
            mono: true,
            ..EncoderOptions::default()
        };
        let mut encoder = Encoder::new(options).unwrap();
        assert_eq!(encoder.inner.get_lookahead().unwrap(), LOOKAHEAD as i32);
        let packets: Vec<_> =
            tone(300.0, 60).chunks(FRAME_SAMPLES * CHANNELS).map(|f| encoder.encode(f).unwrap()).collect();
        assert!(packets.iter().all(|packet| Shape::of(packet).unwrap().channels == 1));
        assert!(packets.iter().skip(10).any(|packet| Shape::of(packet).unwrap().mode != Mode::Celt));
        let n_bytes: usize = packets.iter().map(Bytes::len).sum();
        assert!(n_bytes * 8 * 50 / 60 < 40_000, "{n_bytes} bytes");
    }

    #[test]
    fn damaged_packets_are_errors_and_losses_are_concealed() {
        let mut decoder = Decoder::new(0).unwrap();
        assert!(decoder.decode(&[]).is_err());
        assert!(decoder.decode(&[0xfb, 0]).is_err());
        assert_eq!(decoder.conceal(FRAME_SAMPLES).unwrap().len(), FRAME_SAMPLES * CHANNELS);
        assert!(decoder.conceal(7).is_err());
        assert!(decoder.conceal(100_000).is_err());
    }
}
