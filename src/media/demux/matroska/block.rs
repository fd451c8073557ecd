//! A block → its frames (RFC 9559, section 10).

use bytes::{Buf, Bytes};

use super::ebml::{Elements, signed, unsigned, vint};

/// What a `SimpleBlock` or `BlockGroup` carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) track: u64,
    /// Against the time of the cluster, in its ticks.
    pub(super) time: i16,
    pub(super) frames: Vec<Bytes>,
    /// In ticks of the segment.
    pub(super) duration: Option<u64>,
    /// Nanoseconds of sound to throw away: positive at the end, negative at the start.
    pub(super) discard_padding: i64,
}

impl Block {
    /// `None` when the block is damaged.
    pub(super) fn parse_simple(payload: &Bytes) -> Option<Self> {
        let (track, length) = vint(payload)?;
        let [high, low, flags] = *payload.get(length..)?.first_chunk()?;
        let frames = unlace(payload.slice(length + 3..), flags >> 1 & 3)?;
        Some(Self {
            track,
            time: i16::from_be_bytes([high, low]),
            frames,
            duration: None,
            discard_padding: 0,
        })
    }

    /// `None` when the group is damaged or has no block.
    pub(super) fn parse_group(payload: &Bytes) -> Option<Self> {
        let (mut block, mut duration, mut discard_padding) = (None, None, 0);
        for (id, value) in Elements(payload.clone()) {
            match id {
                super::BLOCK => block = Self::parse_simple(&value),
                super::BLOCK_DURATION => duration = unsigned(&value),
                super::DISCARD_PADDING => discard_padding = signed(&value)?,
                _ => {}
            }
        }
        Some(Self { duration, discard_padding, ..block? })
    }
}

/// Cuts laced frames apart: 0 none, 1 Xiph, 2 equal sizes, 3 EBML.
fn unlace(mut payload: Bytes, lacing: u8) -> Option<Vec<Bytes>> {
    if lacing == 0 {
        return Some(vec![payload]);
    }
    let n_frames = usize::from(*payload.first()?) + 1;
    let mut at = 1;
    let mut sizes = Vec::with_capacity(n_frames);
    match lacing {
        1 => {
            for _ in 1..n_frames {
                let mut size = 0;
                loop {
                    let byte = *payload.get(at)?;
                    at += 1;
                    size += usize::from(byte);
                    if byte < 255 {
                        break;
                    }
                }
                sizes.push(size);
            }
        }
        2 => {
            let all = payload.len() - at;
            if !all.is_multiple_of(n_frames) {
                return None;
            }
            sizes.resize(n_frames - 1, all / n_frames);
        }
        _ => {
            let mut size = 0_i64;
            for nth in 1..n_frames {
                let (number, length) = vint(payload.get(at..)?)?;
                at += length;
                let number = i64::try_from(number).ok()?;
                // The first is a size, the others differences, shifted to be positive.
                size = if nth == 1 { number } else { size + number - ((1 << (7 * length - 1)) - 1) };
                sizes.push(usize::try_from(size).ok()?);
            }
        }
    }
    let mut frames = Vec::with_capacity(n_frames);
    payload.advance(at);
    for size in sizes {
        if size > payload.len() {
            return None;
        }
        frames.push(payload.split_to(size));
    }
    frames.push(payload);
    Some(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(flags: u8, lace: &[u8], n_bytes: usize) -> Option<Vec<usize>> {
        let mut payload = vec![0x81, 0, 40, flags];
        payload.extend_from_slice(lace);
        payload.extend(vec![9; n_bytes]);
        let block = Block::parse_simple(&payload.into())?;
        assert_eq!((block.track, block.time), (1, 40));
        Some(block.frames.iter().map(Bytes::len).collect())
    }

    #[test]
    fn every_lacing() {
        assert_eq!(lengths(0x80, &[], 5), Some(vec![5]));
        // The examples of the specification: 800, 500 and 1000 bytes.
        let xiph = [2, 255, 255, 255, 35, 255, 245];
        assert_eq!(lengths(0x02, &xiph, 2300), Some(vec![800, 500, 1000]));
        let ebml = [2, 0x43, 0x20, 0x5e, 0xd3];
        assert_eq!(lengths(0x06, &ebml, 2300), Some(vec![800, 500, 1000]));
        assert_eq!(lengths(0x04, &[2], 2400), Some(vec![800, 800, 800]));
        assert_eq!(lengths(0x02, &xiph, 1200), None);
        assert_eq!(lengths(0x06, &ebml, 1200), None);
        assert_eq!(lengths(0x04, &[2], 2401), None);
        assert_eq!(lengths(0x06, &[255], 3), None);
    }

    #[test]
    fn groups() {
        let group = Bytes::from_static(&[
            0xa1, 0x85, 0x82, 0xff, 0xff, 0, 7, // block of track 2 at −1
            0x9b, 0x81, 20, // duration
            0x75, 0xa2, 0x82, 0xff, 0x00, // padding −256 ns
        ]);
        let block = Block::parse_group(&group).unwrap();
        assert_eq!((block.track, block.time), (2, -1));
        assert_eq!((block.duration, block.discard_padding), (Some(20), -256));
        assert_eq!(Block::parse_group(&group.slice(7..)), None);
    }
}
