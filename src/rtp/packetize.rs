//! Coded frames → RTP payloads: H.264 by RFC 6184 (packetization-mode 1), VP8 by RFC 7741, VP9 by
//! RFC 9628, Opus by RFC 7587.
//!
//! A payload is a slice of the frame it comes from, with a header of at most four bytes in front.
//! It becomes contiguous bytes only when its packet leaves, so what a call keeps for
//! retransmission is the frame itself, which all calls of a programme share.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

/// The largest packet that leaves, with everything but UDP and IP. What libwebrtc uses, too: it
/// passes every path that carries WebRTC at all.
pub const MAX_PACKET: usize = 1200;

/// RFC 3550: a header without CSRCs.
const RTP_HEADER: usize = 12;

/// RFC 8285 with one-byte headers: 4 bytes of preface, abs-send-time (4), transport-cc (3) and
/// audio level or orientation (2), padded to whole words.
const EXTENSIONS: usize = 16;

/// RFC 4588: a retransmission carries the original sequence number before the payload.
const RTX_HEADER: usize = 2;

/// RFC 7714: the tag of AES-GCM, the longest one that DTLS-SRTP negotiates.
const SRTP_TAG: usize = 16;

/// The largest payload whose packet, and whose retransmission, stays within [`MAX_PACKET`].
pub const MAX_PAYLOAD: usize = MAX_PACKET - RTP_HEADER - EXTENSIONS - RTX_HEADER - SRTP_TAG;

/// A fragment needs its two header bytes and something to carry.
const MIN_PAYLOAD: usize = 3;

/// RFC 6184 §5.2: a packet that aggregates NAL units of one time.
const STAP_A: u8 = 24;

/// RFC 6184 §5.2: a packet that carries a fragment of one NAL unit.
const FU_A: u8 = 28;

/// H.264 §7.3.1: `forbidden_zero_bit` of a NAL unit's first byte.
const F_BIT: u8 = 0x80;

/// H.264 §7.3.1: `nal_ref_idc`.
const NRI_BITS: u8 = 0x60;

/// H.264 §7.3.1: `nal_unit_type`.
const TYPE_BITS: u8 = 0x1f;

/// RFC 7741 §4.2: the extension byte and a picture id of 15 bits follow.
const VP8_X: u8 = 0x80;
/// The packet begins a partition.
const VP8_S: u8 = 0x10;
/// In the extension byte: a picture id is there.
const VP8_I: u8 = 0x80;

/// RFC 9628 §4.2: a picture id is there.
const VP9_I: u8 = 0x80;
/// The picture refers to others.
const VP9_P: u8 = 0x40;
/// The first packet of a picture.
const VP9_B: u8 = 0x08;
/// The last packet of a picture.
const VP9_E: u8 = 0x04;

/// A picture id has 15 bits; the bit before says so.
const PICTURE_ID_BITS: u16 = 0x7fff;

/// What one packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    header: Header,
    body: Bytes,
}

/// What stands before a slice of a frame: FU indicator and header, or a payload descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Header {
    bytes: [u8; 4],
    len: u8,
}

impl Header {
    fn of(parts: &[u8]) -> Self {
        let mut bytes = [0; 4];
        bytes[..parts.len()].copy_from_slice(parts);
        Self { bytes, len: u8::try_from(parts.len()).expect("four bytes at most") }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl Payload {
    /// How many bytes it takes in a packet.
    pub fn len(&self) -> usize {
        usize::from(self.header.len) + self.body.len()
    }

    /// Whether there is nothing in it; the functions of this module make no such payload.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in one piece: shared where they already are, copied for a fragment.
    pub fn to_bytes(&self) -> Bytes {
        if self.header.len == 0 { self.body.clone() } else { self.prefixed(&[]) }
    }

    /// The bytes in one piece after `prefix`.
    pub fn prefixed(&self, prefix: &[u8]) -> Bytes {
        let mut bytes = BytesMut::with_capacity(prefix.len() + self.len());
        bytes.put_slice(prefix);
        bytes.put_slice(self.header.as_slice());
        bytes.put_slice(&self.body);
        bytes.freeze()
    }

    fn whole(body: Bytes) -> Self {
        Self { header: Header::default(), body }
    }
}

/// One Opus packet is one payload (RFC 7587 §4.2), however long. Nothing gives nothing.
pub fn opus(packet: &Bytes, out: &mut VecDeque<Payload>) {
    if !packet.is_empty() {
        out.push_back(Payload::whole(packet.clone()));
    }
}

/// An H.264 access unit in Annex B form becomes payloads of at most `max_payload` bytes.
///
/// Neighbors that fit into one packet share it (STAP-A), what is too long is cut into equal
/// parts (FU-A), the rest travels as it is. Access unit delimiters and filler are left out: the
/// marker bit and the timestamp say the same. So are the types that H.264 leaves undefined, since
/// RFC 6184 gives some of them another meaning. Bytes without any start code give nothing.
pub fn h264(access_unit: &Bytes, max_payload: usize, out: &mut VecDeque<Payload>) {
    // The length fields inside STAP-A have 16 bits.
    let max_payload = max_payload.clamp(MIN_PAYLOAD, usize::from(u16::MAX));
    let mut group = Group::default();
    for nal in nal_units(access_unit).filter(|nal| travels(nal[0])) {
        if nal.len() > max_payload {
            group.flush(out);
            fragment(&nal, max_payload, out);
            continue;
        }
        if group.len_with(&nal) > max_payload {
            group.flush(out);
        }
        group.nals.push(nal);
    }
    group.flush(out);
}

/// The NAL units of an access unit in Annex B form, without start codes and stuffing, none empty.
pub fn nal_units(access_unit: &Bytes) -> impl Iterator<Item = Bytes> + '_ {
    let mut next = start_code(access_unit, 0).map(|at| at + 3);
    std::iter::from_fn(move || {
        let begin = next?;
        let end = start_code(access_unit, begin);
        next = end.map(|at| at + 3);
        // A NAL unit never ends in a zero: those belong to the next start code or are stuffing.
        let nal = &access_unit[begin..end.unwrap_or(access_unit.len())];
        let len = nal.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Some(access_unit.slice(begin..begin + len))
    })
    .filter(|nal| !nal.is_empty())
}

/// Where the next `00 00 01` begins, at `from` or later.
fn start_code(bytes: &[u8], from: usize) -> Option<usize> {
    let mut last = from + 2;
    while let Some(&byte) = bytes.get(last) {
        match byte {
            0 => last += 1,
            1 if bytes[last - 1] == 0 && bytes[last - 2] == 0 => return Some(last - 2),
            // No start code can have this byte in it, so its last byte is three away at least.
            _ => last += 3,
        }
    }
    None
}

/// Whether a NAL unit with this first byte is sent: types 1 to 23 except delimiter (9) and filler (12).
fn travels(header: u8) -> bool {
    matches!(header & TYPE_BITS, 1..=8 | 10 | 11 | 13..=23)
}

/// NAL units that will share a packet.
#[derive(Default)]
struct Group {
    nals: Vec<Bytes>,
}

impl Group {
    /// What the packet would carry if `nal` joined: one header, and a length before each.
    fn len_with(&self, nal: &Bytes) -> usize {
        if self.nals.is_empty() {
            return nal.len();
        }
        1 + self.nals.iter().chain([nal]).map(|nal| 2 + nal.len()).sum::<usize>()
    }

    fn flush(&mut self, out: &mut VecDeque<Payload>) {
        match self.nals.as_slice() {
            [] => {}
            [alone] => out.push_back(Payload::whole(alone.clone())),
            nals => out.push_back(Payload::whole(aggregate(nals))),
        }
        self.nals.clear();
    }
}

/// RFC 6184 §5.7.1: F is set if any is, NRI is the highest of all.
fn aggregate(nals: &[Bytes]) -> Bytes {
    let forbidden = nals.iter().fold(0, |bits, nal| bits | (nal[0] & F_BIT));
    let importance = nals.iter().map(|nal| nal[0] & NRI_BITS).max().unwrap_or(0);
    let mut bytes = BytesMut::with_capacity(1 + nals.iter().map(|nal| 2 + nal.len()).sum::<usize>());
    bytes.put_u8(forbidden | importance | STAP_A);
    for nal in nals {
        bytes.put_u16(u16::try_from(nal.len()).expect("a NAL unit in a group is below the clamped maximum"));
        bytes.put_slice(nal);
    }
    bytes.freeze()
}

/// RFC 6184 §5.8. The parts differ by one byte at most, so that none is a straggler.
fn fragment(nal: &Bytes, max_payload: usize, out: &mut VecDeque<Payload>) {
    let indicator = (nal[0] & (F_BIT | NRI_BITS)) | FU_A;
    let kind = nal[0] & TYPE_BITS;
    let mut rest = nal.slice(1..);
    let n_parts = rest.len().div_ceil(max_payload - 2);
    for part in 0..n_parts {
        let start = if part == 0 { 0x80 } else { 0 };
        let end = if part + 1 == n_parts { 0x40 } else { 0 };
        let body = rest.split_to(rest.len().div_ceil(n_parts - part));
        out.push_back(Payload { header: Header::of(&[indicator, start | end | kind]), body });
    }
}

/// A VP8 frame becomes payloads of at most `max_payload` bytes, each with the frame's picture id.
pub fn vp8(frame: &Bytes, picture_id: u16, max_payload: usize, out: &mut VecDeque<Payload>) {
    let [high, low] = long_id(picture_id);
    let describe = |first: bool, _last: bool| {
        let start = if first { VP8_S } else { 0 };
        Header::of(&[VP8_X | start, VP8_I, high, low])
    };
    cut(frame, max_payload, describe, out);
}

/// A VP9 superframe becomes payloads of at most `max_payload` bytes, each with the frame's
/// picture id. One spatial and one temporal layer, so the descriptor says nothing of layers.
pub fn vp9(frame: &Bytes, key: bool, picture_id: u16, max_payload: usize, out: &mut VecDeque<Payload>) {
    let [high, low] = long_id(picture_id);
    let describe = |first: bool, last: bool| {
        let refers = if key { 0 } else { VP9_P };
        let (begin, end) = (if first { VP9_B } else { 0 }, if last { VP9_E } else { 0 });
        Header::of(&[VP9_I | refers | begin | end, high, low])
    };
    cut(frame, max_payload, describe, out);
}

fn long_id(picture_id: u16) -> [u8; 2] {
    ((picture_id & PICTURE_ID_BITS) | !PICTURE_ID_BITS).to_be_bytes()
}

/// Cuts a frame into parts that differ by one byte at most.
fn cut(
    frame: &Bytes,
    max_payload: usize,
    describe: impl Fn(bool, bool) -> Header,
    out: &mut VecDeque<Payload>,
) {
    let room = max_payload.saturating_sub(usize::from(describe(true, true).len)).max(1);
    let n_parts = frame.len().div_ceil(room);
    let mut rest = frame.clone();
    for part in 0..n_parts {
        let body = rest.split_to(rest.len().div_ceil(n_parts - part));
        out.push_back(Payload { header: describe(part == 0, part + 1 == n_parts), body });
    }
}

#[cfg(test)]
mod tests;
