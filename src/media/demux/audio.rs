//! How long coded sound lasts, by the bits themselves. Containers round it or leave it out.

use bytes::Bytes;

use super::mp3;
use crate::media::codec::{aac::AacConfig, opus};
use crate::time::MediaTime;

/// What decoders of sound need to settle after a jump: Opus asks for 80 ms (RFC 7845, 4.6), AAC
/// for two frames.
pub(super) const PRE_ROLL: MediaTime = MediaTime::from_millis(80);

/// What one packet of a track decodes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PacketLength {
    /// Always this many samples.
    Fixed(u32),
    /// The table of contents says.
    Opus,
    /// The frame header says.
    Mp3,
    /// Samples as they are; those of all channels at one time have so many bytes.
    Pcm(u32),
}

impl PacketLength {
    /// Samples at the rate of the track; `None` for bytes that are no such packet.
    pub(super) fn samples(self, packet: &[u8]) -> Option<u32> {
        match self {
            Self::Fixed(samples) => Some(samples),
            Self::Opus => opus::Shape::of(packet).ok().map(opus::Shape::samples),
            Self::Mp3 => mp3::FrameHeader::parse(packet).map(|header| header.samples()),
            Self::Pcm(bytes) => u32::try_from(packet.len()).ok()?.checked_div(bytes),
        }
    }
}

/// The decoded sound of an AAC track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AacSound {
    pub(super) sample_rate: u32,
    pub(super) channels: u16,
    /// Samples of each packet.
    pub(super) frame: u32,
}

impl AacSound {
    /// From the `AudioSpecificConfig` and what the container says itself. With spectral band
    /// replication, announced or told by the container alone, the decoded sound has twice the
    /// samples of the core. A config that cannot be read leaves the container's word; the
    /// decoder will say what is wrong with it.
    pub(super) fn new(asc: &[u8], sample_rate: u32, channels: u16) -> Self {
        let Ok(config) = AacConfig::parse(asc) else { return Self { sample_rate, channels, frame: 1024 } };
        let frame = if config.short_frames { 960 } else { 1024 };
        let doubled = config.sample_rate.saturating_mul(2);
        let channels = u16::from(config.channels);
        if config.sbr || doubled == sample_rate {
            return Self { sample_rate: doubled, channels, frame: frame * 2 };
        }
        Self { sample_rate: config.sample_rate, channels, frame }
    }
}

/// The `STREAMINFO` of FLAC out of its metadata blocks, of which it is the first (RFC 9639, 8.2).
pub(super) fn stream_info(blocks: &[u8]) -> Option<Bytes> {
    let (header, rest) = blocks.split_first_chunk::<4>()?;
    (header[0] & 0x7f == 0).then(|| rest.get(..34).map(Bytes::copy_from_slice)).flatten()
}

/// The part of a packet that is heard, as [`Packet`](super::Packet) wants it told.
///
/// The packet starts at `pts` and has `samples` at `rate`; everything before `from` and behind
/// `until` is thrown away. Gives `(trim_start, trim_end)`.
pub(super) fn trims(
    pts: MediaTime,
    samples: u32,
    rate: u32,
    from: MediaTime,
    until: Option<MediaTime>,
) -> (u32, u32) {
    let clamp = |time: MediaTime| u32::try_from(time.to_ticks(rate).max(0)).unwrap_or(samples).min(samples);
    let start = clamp(from - pts);
    let end = until.map_or(0, |until| {
        let end_of_packet = pts + MediaTime::from_ticks(i64::from(samples), rate);
        clamp(end_of_packet - until)
    });
    (start, end.min(samples - start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aac_by_its_config_and_by_the_container() {
        let sound = |sample_rate, channels, frame| AacSound { sample_rate, channels, frame };
        assert_eq!(AacSound::new(&[0x11, 0x90], 44_100, 1), sound(48_000, 2, 1024));
        assert_eq!(AacSound::new(&[0x11, 0x94], 48_000, 2), sound(48_000, 2, 960));
        // HE-AAC, announced: 24 kHz core. Then the same core, announced by the container alone.
        assert_eq!(AacSound::new(&[0x2b, 0x11, 0x88, 0x00], 24_000, 2), sound(48_000, 2, 2048));
        assert_eq!(AacSound::new(&[0x13, 0x10], 48_000, 2), sound(48_000, 2, 2048));
        assert_eq!(AacSound::new(&[0x13, 0x10], 24_000, 2), sound(24_000, 2, 1024));
        assert_eq!(AacSound::new(&[], 32_000, 6), sound(32_000, 6, 1024));
    }

    #[test]
    fn trims_never_exceed_the_packet() {
        let at = |ticks| MediaTime::from_ticks(ticks, 48_000);
        let zero = MediaTime::ZERO;
        assert_eq!(trims(at(-312), 960, 48_000, zero, None), (312, 0));
        assert_eq!(trims(at(-2000), 960, 48_000, zero, None), (960, 0));
        assert_eq!(trims(at(0), 960, 48_000, zero, Some(at(900))), (0, 60));
        assert_eq!(trims(at(-100), 960, 48_000, zero, Some(at(-50))), (100, 860));
        assert_eq!(trims(at(5000), 960, 48_000, zero, Some(at(10))), (0, 960));
        assert_eq!(trims(at(648), 960, 48_000, zero, Some(at(1608))), (0, 0));
    }
}
