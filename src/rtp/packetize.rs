//! Coded frames → RTP payloads: H.264 by RFC 6184 (packetization-mode 1), Opus by RFC 7587.
//!
//! A payload is a slice of the frame it comes from, with a header of at most two bytes in front.
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

/// What one packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// FU indicator and FU header, for a fragment.
    fragment: Option<[u8; 2]>,
    body: Bytes,
}

impl Payload {
    /// How many bytes it takes in a packet.
    pub fn len(&self) -> usize {
        self.fragment.map_or(0, |header| header.len()) + self.body.len()
    }

    /// Whether there is nothing in it; the functions of this module make no such payload.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in one piece: shared where they already are, copied for a fragment.
    pub fn to_bytes(&self) -> Bytes {
        if self.fragment.is_none() { self.body.clone() } else { self.prefixed(&[]) }
    }

    /// The bytes in one piece after `prefix`.
    pub fn prefixed(&self, prefix: &[u8]) -> Bytes {
        let mut bytes = BytesMut::with_capacity(prefix.len() + self.len());
        bytes.put_slice(prefix);
        if let Some(header) = self.fragment {
            bytes.put_slice(&header);
        }
        bytes.put_slice(&self.body);
        bytes.freeze()
    }

    fn whole(body: Bytes) -> Self {
        Self { fragment: None, body }
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
        out.push_back(Payload { fragment: Some([indicator, start | end | kind]), body });
    }
}

#[cfg(test)]
mod tests;
