//! What containers need to know of Opus: how long a packet lasts, and the `OpusHead`.
//!
//! RFC 6716 section 3.1 and RFC 7845 section 5.1.

use bytes::{BufMut, Bytes, BytesMut};

/// Opus counts time at this rate, whatever was encoded.
pub(super) const RATE: u32 = 48_000;
/// A decoder that starts in the middle needs this long to settle (RFC 7845, 4.6): 80 ms.
pub(super) const PRE_ROLL_MS: i64 = 80;
/// No packet lasts longer: 120 ms.
const MAX_SAMPLES: u32 = 5760;

/// Samples at 48 kHz that a packet decodes to. `None`: no Opus packet.
pub(super) fn samples(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let config = toc >> 3;
    let frame: u32 = match config {
        // SILK: 10, 20, 40, 60 ms.
        0..=11 => [480, 960, 1920, 2880][usize::from(config % 4)],
        // Hybrid: 10, 20 ms.
        12..=15 => [480, 960][usize::from(config % 2)],
        // CELT: 2.5, 5, 10, 20 ms.
        _ => [120, 240, 480, 960][usize::from(config % 4)],
    };
    let n_frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    let samples = frame * n_frames;
    (1..=MAX_SAMPLES).contains(&samples).then_some(samples)
}

/// The identification header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) channels: u8,
    /// Samples at 48 kHz to throw away from the start.
    pub(super) pre_skip: u16,
    /// 0: mono or stereo, one Opus stream.
    pub(super) mapping_family: u8,
}

impl Head {
    pub(super) fn parse(head: &[u8]) -> Option<Self> {
        let fields = head.strip_prefix(b"OpusHead")?;
        // Versions below 16 are compatible by definition.
        let [0..=15, channels @ 1..=255, low, high, _, _, _, _, _, _, mapping_family, ..] = *fields else {
            return None;
        };
        Some(Self { channels, pre_skip: u16::from_le_bytes([low, high]), mapping_family })
    }
}

/// `dOps`, the description of Opus in mp4 (big-endian) → `OpusHead` (little-endian).
pub(super) fn head_of_dops(dops: &[u8]) -> Option<Bytes> {
    let [0, channels @ 1..=255, skip_high, skip_low, r3, r2, r1, r0, g1, g0, family, mapping @ ..] = dops
    else {
        return None;
    };
    let mut head = BytesMut::with_capacity(19 + mapping.len());
    head.put_slice(b"OpusHead\x01");
    head.put_slice(&[*channels, *skip_low, *skip_high, *r0, *r1, *r2, *r3, *g0, *g1, *family]);
    if *family != 0 {
        head.put_slice(mapping.get(..2 + usize::from(*channels))?);
    }
    Some(head.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_contents_gives_the_length() {
        // Configurations 31 (CELT 20 ms), 28 (2.5 ms), 3 (SILK 60 ms), 13 (hybrid 20 ms).
        for (packet, expected) in [
            (&[31 << 3][..], Some(960)),
            (&[28 << 3], Some(120)),
            (&[3 << 3], Some(2880)),
            (&[13 << 3 | 1], Some(1920)),
            (&[13 << 3 | 2], Some(1920)),
            (&[31 << 3 | 3, 0x40 | 6], Some(5760)),
            (&[31 << 3 | 3, 7], None),
            (&[31 << 3 | 3, 0], None),
            (&[31 << 3 | 3], None),
            (&[], None),
        ] {
            assert_eq!(samples(packet), expected, "{packet:?}");
        }
    }

    #[test]
    fn heads() {
        let dops = [0, 2, 0x01, 0x38, 0, 0, 0xbb, 0x80, 0, 0, 0];
        let head = head_of_dops(&dops).unwrap();
        assert_eq!(head[..], b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0"[..]);
        assert_eq!(Head::parse(&head), Some(Head { channels: 2, pre_skip: 312, mapping_family: 0 }));
        assert_eq!(Head::parse(&head[..18]), None);
        assert_eq!(head_of_dops(&dops[..10]), None);
        assert_eq!(head_of_dops(&[0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 1, 4, 2, 0, 1]), None);
    }
}
