//! EBML: element ids, sizes and values (RFC 8794).

use bytes::Bytes;

use crate::media::demux::DemuxError;
use crate::media::demux::reader::Reader;

/// An element's id with its length marker, as the tables of RFC 9559 print it.
pub(super) type Id = u32;

/// An element's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: Id,
    /// `None`: unknown, it ends where its parent does or the next of its kind begins.
    pub(super) size: Option<u64>,
    /// Bytes of this header.
    pub(super) length: usize,
}

impl Header {
    /// Four bytes of id, eight of size.
    pub(super) const LONGEST: usize = 12;

    /// `None` when the bytes are too few or no header.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let id_length = bytes.first()?.leading_zeros() as usize + 1;
        if id_length > 4 {
            return None;
        }
        let id = bytes.get(..id_length)?.iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
        let (size, size_length) = vint(&bytes[id_length..])?;
        let unknown = size == (1 << (7 * size_length)) - 1;
        Some(Self { id, size: (!unknown).then_some(size), length: id_length + size_length })
    }

    /// Reads the header at the reader's position. `Ok(None)`: no header stands there.
    pub(super) fn read(reader: &mut Reader) -> Result<Option<Self>, DemuxError> {
        let header = Self::parse(reader.peek(Self::LONGEST)?);
        if let Some(header) = header {
            reader.skip(header.length as u64);
        }
        Ok(header)
    }
}

/// A number of one to eight bytes whose length its first byte tells; also that length.
pub(super) fn vint(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = first.leading_zeros() as usize + 1;
    if length > 8 {
        return None;
    }
    let rest = bytes.get(1..length)?;
    let head = u64::from(first) & ((1 << (8 - length)) - 1);
    Some((rest.iter().fold(head, |value, byte| value << 8 | u64::from(*byte)), length))
}

/// The elements inside an element. One that does not fit ends the walk.
pub(super) struct Elements(pub(super) Bytes);

impl Iterator for Elements {
    type Item = (Id, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        let header = Header::parse(&self.0)?;
        let size = header.size.map_or(Some(self.0.len() - header.length), |size| usize::try_from(size).ok());
        let end = size.and_then(|size| header.length.checked_add(size)).filter(|end| *end <= self.0.len());
        let Some(end) = end else {
            self.0.clear();
            return None;
        };
        Some((header.id, self.0.split_to(end).slice(header.length..)))
    }
}

/// The first element of that id.
pub(super) fn child(parent: &Bytes, id: Id) -> Option<Bytes> {
    Elements(parent.clone()).find(|(found, _)| *found == id).map(|(_, payload)| payload)
}

/// An unsigned integer of up to eight bytes; an empty one is 0.
pub(super) fn unsigned(payload: &[u8]) -> Option<u64> {
    (payload.len() <= 8).then(|| payload.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// A signed integer of up to eight bytes.
pub(super) fn signed(payload: &[u8]) -> Option<i64> {
    match payload.len() {
        0 => Some(0),
        length @ 1..=8 => {
            let unused = 64 - 8 * length;
            Some((unsigned(payload)? << unused) as i64 >> unused)
        }
        _ => None,
    }
}

/// A float of four or eight bytes; an empty one is 0.
pub(super) fn float(payload: &[u8]) -> Option<f64> {
    match payload.len() {
        0 => Some(0.0),
        4 => payload.first_chunk().map(|bytes| f64::from(f32::from_be_bytes(*bytes))),
        8 => payload.first_chunk().map(|bytes| f64::from_be_bytes(*bytes)),
        _ => None,
    }
}

/// Text up to its first zero byte.
pub(super) fn text(payload: &[u8]) -> String {
    let end = payload.iter().position(|byte| *byte == 0).unwrap_or(payload.len());
    String::from_utf8_lossy(&payload[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_every_length() {
        let header =
            |bytes: &[u8]| Header::parse(bytes).map(|header| (header.id, header.size, header.length));
        assert_eq!(header(&[0xa3, 0x81]), Some((0xa3, Some(1), 2)));
        assert_eq!(header(&[0x1a, 0x45, 0xdf, 0xa3, 0x40, 0x02]), Some((0x1a45_dfa3, Some(2), 6)));
        assert_eq!(header(&[0x1f, 0x43, 0xb6, 0x75, 0xff]), Some((0x1f43_b675, None, 5)));
        let unknown = [0x18, 0x53, 0x80, 0x67, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(header(&unknown), Some((0x1853_8067, None, 12)));
        assert_eq!(header(&[0x08, 1, 1, 1, 1, 0x81]), None);
        assert_eq!(header(&[0xa3, 0x00]), None);
        assert_eq!(header(&[0xa3]), None);
    }

    #[test]
    fn values() {
        assert_eq!(unsigned(&[1, 0]), Some(256));
        assert_eq!(unsigned(&[0; 9]), None);
        assert_eq!(signed(&[0xff, 0xfe]), Some(-2));
        assert_eq!(signed(&[]), Some(0));
        assert_eq!(signed(&[0x80, 0, 0, 0, 0, 0, 0, 0]), Some(i64::MIN));
        assert_eq!(float(&1.5_f32.to_be_bytes()), Some(1.5));
        assert_eq!(float(&[1, 2]), None);
        assert_eq!(text(b"V_VP8\0\0"), "V_VP8");
        assert_eq!(vint(&[0x40, 0x7f]), Some((127, 2)));
    }

    #[test]
    fn an_element_that_does_not_fit_ends_the_walk() {
        let bytes = Bytes::from_static(&[0xa3, 0x81, 7, 0xe7, 0x85, 1]);
        let found: Vec<_> = Elements(bytes).collect();
        assert_eq!(found, [(0xa3, Bytes::from_static(&[7]))]);
    }
}
