//! How long coded sound lasts, by the bits themselves. Containers round it or leave it out.

use super::{aac, mp3, opus};
use crate::time::MediaTime;

/// What one packet of a track decodes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PacketLength {
    /// Always this many samples.
    Fixed(u32),
    /// The table of contents says.
    Opus,
    /// The frame header says.
    Mp3,
}

impl PacketLength {
    pub(super) const fn of_aac(config: &aac::Config) -> Self {
        Self::Fixed(config.frame_length)
    }

    /// Samples at the rate of the track; `None` for bytes that are no such packet.
    pub(super) fn samples(self, packet: &[u8]) -> Option<u32> {
        match self {
            Self::Fixed(samples) => Some(samples),
            Self::Opus => opus::samples(packet),
            Self::Mp3 => mp3::FrameHeader::parse(packet).map(|header| header.samples()),
        }
    }
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
