//! One Ogg page: found, checked and cut into packets (RFC 3533, section 6).

use bytes::Bytes;

use crate::media::demux::DemuxError;
use crate::media::demux::reader::Reader;

const CAPTURE: &[u8; 4] = b"OggS";
const HEADER: usize = 27;

/// A page whose checksum is right.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) serial: u32,
    /// Granule position: where the last packet that ends here ends.
    pub(super) position: Option<i64>,
    pub(super) begins_stream: bool,
    pub(super) ends_stream: bool,
    /// The first packet began in an earlier page.
    pub(super) continues: bool,
    /// The last packet goes on in a later page.
    pub(super) unfinished: bool,
    pub(super) packets: Vec<Bytes>,
}

/// The next page that begins before `limit`; bytes that are none are skipped.
///
/// # Errors
/// A page that is cut off or has a wrong checksum. The reader then stands behind its capture
/// pattern, so that the next call goes on with the next page.
pub(super) fn next_page(reader: &mut Reader, limit: u64) -> Result<Option<Page>, DemuxError> {
    if !capture(reader, limit)? {
        return Ok(None);
    }
    let start = reader.pos();
    let page = read(reader, start);
    if page.is_err() {
        reader.seek(start + CAPTURE.len() as u64);
    }
    page.map(Some)
}

/// Goes to the next capture pattern.
fn capture(reader: &mut Reader, limit: u64) -> Result<bool, DemuxError> {
    while reader.pos() < limit && reader.left() >= CAPTURE.len() as u64 {
        if reader.peek(4)? == CAPTURE {
            return Ok(true);
        }
        let block = reader.peek_block()?;
        let at = block.iter().skip(1).position(|byte| *byte == CAPTURE[0]).map_or(block.len(), |at| at + 1);
        reader.skip(at as u64);
    }
    Ok(false)
}

fn read(reader: &mut Reader, start: u64) -> Result<Page, DemuxError> {
    let header: [u8; HEADER] = reader.array()?;
    let [_, _, _, _, version, flags, rest @ ..] = &header;
    if *version != 0 {
        return Err(DemuxError::Damaged {
            format: super::FORMAT,
            what: format!("the page at byte {start} has version {version}"),
        });
    }
    let number = |at: usize| u32::from_le_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
    let position = i64::from(number(4)) << 32 | i64::from(number(0));
    let (serial, checksum, n_segments) = (number(8), number(16), rest[20]);
    let sizes = reader.take(u64::from(n_segments), 255, "a segment table")?;
    let length: u64 = sizes.iter().map(|size| u64::from(*size)).sum();
    let body = reader.take(length, 255 * 255, "a page")?;
    let mut bare = header;
    bare[22..26].fill(0);
    if crc(&[&bare, &sizes, &body]) != checksum {
        return Err(DemuxError::Damaged {
            format: super::FORMAT,
            what: format!("the page at byte {start} has a wrong checksum"),
        });
    }
    let mut packets = Vec::new();
    let (mut begin, mut end) = (0, 0);
    for size in &sizes {
        end += usize::from(*size);
        // A segment that is not full ends its packet.
        if *size < 255 {
            packets.push(body.slice(begin..end));
            begin = end;
        }
    }
    let unfinished = sizes.last() == Some(&255);
    if unfinished {
        packets.push(body.slice(begin..end));
    }
    Ok(Page {
        serial,
        position: (position >= 0).then_some(position),
        continues: flags & 1 != 0,
        begins_stream: flags & 2 != 0,
        ends_stream: flags & 4 != 0,
        unfinished,
        packets,
    })
}

/// The polynomial 0x04c11db7, most significant bit first, starting from 0.
const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut crc = (at as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc >> 31 == 1 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
}

const CRC: [u32; 256] = crc_table();

fn crc(parts: &[&[u8]]) -> u32 {
    parts
        .iter()
        .flat_map(|part| part.iter())
        .fold(0, |crc, byte| crc << 8 ^ CRC[usize::from((crc >> 24) as u8 ^ byte)])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::Cursor;

    /// Writes a page as a muxer does.
    pub(in super::super) fn page(
        flags: u8,
        position: i64,
        serial: u32,
        sizes: &[u8],
        body: &[u8],
    ) -> Vec<u8> {
        let mut page = b"OggS\0".to_vec();
        page.push(flags);
        page.extend_from_slice(&position.to_le_bytes());
        page.extend_from_slice(&serial.to_le_bytes());
        page.extend_from_slice(&[0; 8]);
        page.push(sizes.len() as u8);
        page.extend_from_slice(sizes);
        page.extend_from_slice(body);
        let checksum = crc(&[&page]);
        page[22..26].copy_from_slice(&checksum.to_le_bytes());
        page
    }

    fn reader(bytes: Vec<u8>) -> Reader {
        Reader::new(Box::new(Cursor::new(bytes))).unwrap()
    }

    #[test]
    fn packets_end_with_a_segment_that_is_not_full() {
        let mut body = vec![1; 255 + 10];
        body.extend_from_slice(&[2; 255]);
        let bytes = page(0, 77, 5, &[255, 10, 0, 255], &body);
        let page = next_page(&mut reader(bytes), u64::MAX).unwrap().unwrap();
        assert_eq!((page.serial, page.position, page.unfinished), (5, Some(77), true));
        let lengths: Vec<_> = page.packets.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [265, 0, 255]);
    }

    #[test]
    fn damage_is_told_once_and_passed() {
        let good = page(0, -1, 1, &[3], b"abc");
        let mut bad = good.clone();
        bad[28] ^= 1;
        let mut reader = reader([&good[..], b"junk OggO", &bad, &good, &good[..20]].concat());
        let mut next = || next_page(&mut reader, u64::MAX);
        assert_eq!(next().unwrap().unwrap().position, None);
        assert!(matches!(next(), Err(DemuxError::Damaged { .. })));
        assert_eq!(next().unwrap().unwrap().packets, [Bytes::from_static(b"abc")]);
        assert!(matches!(next(), Err(DemuxError::Truncated { .. })));
        assert!(next().unwrap().is_none());
    }
}
