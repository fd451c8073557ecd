//! Boxes and their fields (ISO/IEC 14496-12, clause 4).

use std::fmt;

use bytes::Bytes;

/// The four characters that name a box or a codec.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct FourCc(pub(super) [u8; 4]);

impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// The boxes inside a box. A box that does not fit ends the walk: what follows it has no
/// known place.
pub(super) struct Boxes(Bytes);

impl Boxes {
    pub(super) const fn of(payload: Bytes) -> Self {
        Self(payload)
    }
}

impl Iterator for Boxes {
    type Item = (FourCc, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        let mut fields = Fields(&self.0);
        let size = fields.u32()?;
        let kind = FourCc(fields.array()?);
        let (header, size) = match size {
            0 => (8, self.0.len()),
            1 => (16, usize::try_from(fields.u64()?).ok()?),
            size => (8, size as usize),
        };
        if size < header || size > self.0.len() {
            self.0.clear();
            return None;
        }
        Some((kind, self.0.split_to(size).slice(header..)))
    }
}

/// The first box of that name.
pub(super) fn child(parent: &Bytes, name: &[u8; 4]) -> Option<Bytes> {
    Boxes::of(parent.clone()).find(|(kind, _)| kind.0 == *name).map(|(_, payload)| payload)
}

/// A box inside a box inside …
pub(super) fn descend(parent: &Bytes, path: &[&[u8; 4]]) -> Option<Bytes> {
    path.iter().try_fold(parent.clone(), |parent, name| child(&parent, name))
}

/// Numbers of a box, one after the other; `None` behind its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(*head)
    }

    pub(super) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }

    pub(super) fn skip(&mut self, n: usize) -> Option<()> {
        self.take(n).map(drop)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A field of 4 bytes in version 0 of the box, of 8 in version 1.
    pub(super) fn by_version(&mut self, version: u8) -> Option<u64> {
        if version == 0 { self.u32().map(u64::from) } else { self.u64() }
    }

    /// Version of a full box; its flags are skipped.
    pub(super) fn version(&mut self) -> Option<u8> {
        let [version, ..] = self.array::<4>()?;
        Some(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_of_every_size_form() {
        let bytes = Bytes::from_static(b"\0\0\0\x0aaaaa12\0\0\0\x01bbbb\0\0\0\0\0\0\0\x113\0\0\0\0cccc456");
        let found: Vec<_> = Boxes::of(bytes.clone()).map(|(kind, body)| (kind.to_string(), body)).collect();
        assert_eq!(found.len(), 3);
        assert_eq!(found[0], ("aaaa".to_owned(), Bytes::from_static(b"12")));
        assert_eq!(found[1], ("bbbb".to_owned(), Bytes::from_static(b"3")));
        assert_eq!(found[2], ("cccc".to_owned(), Bytes::from_static(b"456")));
        assert_eq!(child(&bytes, b"bbbb"), Some(Bytes::from_static(b"3")));
        assert_eq!(child(&bytes, b"dddd"), None);
    }

    #[test]
    fn a_box_that_does_not_fit_ends_the_walk() {
        for broken in [
            &b"\0\0\0\x07aaaa"[..],
            b"\0\0\0\x20aaaa",
            b"\0\0\0\x01aaaa\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\0\0\0\x01aaaa\0\0\0\0\0\0\0\x08",
            b"\0\0",
        ] {
            assert_eq!(Boxes::of(Bytes::from_static(broken)).count(), 0, "{broken:?}");
        }
    }
}
