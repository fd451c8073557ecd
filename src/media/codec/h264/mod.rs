//! H.264: samples as containers keep them → Annex B access units that a receiver can start at.
//!
//! ```text
//! avcC ──► AvcConfig ─┐
//! sample ─────────────┴─► AnnexB::convert ──► AccessUnit ──► ReorderWatch
//! ```
//!
//! Containers keep SPS and PPS apart and put a length before each NAL unit; a WebRTC receiver
//! joins in the middle and needs both sets before every IDR. Facts about a stream come from its
//! bits, because containers are often wrong: `key` is the NAL type, the size is the SPS.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};

use crate::time::MediaTime;
use bits::Bits;
pub use sps::Sps;

mod bits;
#[cfg(feature = "openh264")]
pub(crate) mod coder;
mod sps;

/// Slice of a picture that is no IDR.
pub const NAL_SLICE: u8 = 1;
/// Slice of an IDR: decoding can start here.
pub const NAL_IDR: u8 = 5;
/// Supplemental enhancement information.
pub const NAL_SEI: u8 = 6;
/// Sequence parameter set.
pub const NAL_SPS: u8 = 7;
/// Picture parameter set.
pub const NAL_PPS: u8 = 8;
/// Access unit delimiter: says nothing that RTP's marker does not.
pub const NAL_AUD: u8 = 9;
/// Filler: bytes that only fill a constant bitrate.
pub const NAL_FILLER: u8 = 12;

/// `payloadType` of a recovery point (table D.1).
const RECOVERY_POINT: usize = 6;

const START_CODE: [u8; 4] = [0, 0, 0, 1];
/// Honest parameter sets have some dozen bytes; a scaling matrix brings them to a few hundred.
const MAX_PARAMETER_SET: usize = 4096;

/// Why bytes are no H.264.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum H264Error {
    /// The container's codec configuration is no `AVCDecoderConfigurationRecord`.
    #[error("the H.264 configuration (avcC) is damaged")]
    Config,
    /// A NAL unit is longer than the sample that carries it.
    #[error("a NAL unit of {length} bytes stands in a sample that has only {left} more")]
    NalTooLong {
        /// What the length field says.
        length: usize,
        /// What the sample has.
        left: usize,
    },
}

/// The container's description of an H.264 track: ISO/IEC 14496-15 `avcC`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvcConfig {
    /// Bytes of the length before each NAL unit, 1 to 4. `None`: samples are Annex B already.
    pub length_size: Option<u8>,
    /// Sequence parameter sets, without start codes.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets, without start codes.
    pub pps: Vec<Bytes>,
}

impl AvcConfig {
    /// Parses `avcC`. Annex B in its place, which some muxers write, and nothing at all, when
    /// the sets travel in band, are understood too.
    ///
    /// # Errors
    /// When the bytes are neither.
    pub fn parse(avcc: &[u8]) -> Result<Self, H264Error> {
        match avcc {
            [] | [0, 0, 1, ..] | [0, 0, 0, 1, ..] => {
                let of_type = |kind| nal_units(avcc).filter(move |nal| nal_type(nal) == kind);
                let copy = |kind| of_type(kind).map(Bytes::copy_from_slice).collect();
                Ok(Self { length_size: None, sps: copy(NAL_SPS), pps: copy(NAL_PPS) })
            }
            [1, _, _, _, sizes, rest @ ..] => Self::parse_record(sizes & 3, rest).ok_or(H264Error::Config),
            _ => Err(H264Error::Config),
        }
    }

    fn parse_record(length_size_minus_one: u8, rest: &[u8]) -> Option<Self> {
        let (n_sps, rest) = rest.split_first()?;
        let (sps, rest) = split_sets(n_sps & 0x1f, rest)?;
        let (n_pps, rest) = rest.split_first()?;
        let (pps, _) = split_sets(*n_pps, rest)?;
        Some(Self { length_size: Some(length_size_minus_one + 1), sps, pps })
    }

    /// The first sequence parameter set, parsed.
    pub fn first_sps(&self) -> Option<Sps> {
        self.sps.first().and_then(|nal| Sps::parse(nal))
    }

    /// All parameter sets in Annex B form: what a decoder is fed before the first access unit.
    pub fn to_annex_b(&self) -> Bytes {
        let mut out = BytesMut::new();
        for nal in self.sps.iter().chain(&self.pps) {
            put_nal(&mut out, nal);
        }
        out.freeze()
    }
}

/// One converted sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessUnit {
    /// Annex B with 4-byte start codes, no AUD, no filler; SPS and PPS first when `key`.
    pub data: Bytes,
    /// An IDR: a receiver that knows nothing can start here.
    pub key: bool,
}

/// Turns the samples of one track into access units. Keeps the parameter sets in force.
#[derive(Clone, Debug)]
pub struct AnnexB {
    length_size: Option<u8>,
    sps: BTreeMap<u32, Bytes>,
    pps: BTreeMap<u32, Bytes>,
}

impl AnnexB {
    /// Starts with the sets of the container; sets in band replace them as they come.
    pub fn new(config: &AvcConfig) -> Self {
        let mut this = Self { length_size: config.length_size, sps: BTreeMap::new(), pps: BTreeMap::new() };
        for nal in config.sps.iter().chain(&config.pps) {
            this.learn(nal);
        }
        this
    }

    /// Converts one sample. A sample without a picture gives an empty unit.
    ///
    /// # Errors
    /// When the lengths in the sample do not fit it. The next sample can be converted all the same.
    pub fn convert(&mut self, sample: &[u8]) -> Result<AccessUnit, H264Error> {
        let nals = match self.length_size {
            Some(size) => length_prefixed(sample, usize::from(size))?,
            None => nal_units(sample).collect(),
        };
        let mut key = false;
        for nal in &nals {
            match nal_type(nal) {
                NAL_SPS | NAL_PPS => self.learn(nal),
                NAL_IDR => key = true,
                _ => {}
            }
        }
        let mut out = BytesMut::with_capacity(sample.len() + 4 * nals.len() + 128);
        if key {
            for nal in self.sps.values().chain(self.pps.values()) {
                put_nal(&mut out, nal);
            }
        }
        for nal in nals {
            match nal_type(nal) {
                NAL_AUD | NAL_FILLER => {}
                NAL_SPS | NAL_PPS if key => {}
                _ => put_nal(&mut out, nal),
            }
        }
        Ok(AccessUnit { data: out.freeze(), key })
    }

    /// Whether [`convert`](Self::convert) would find an IDR in the sample. Nothing is learned.
    pub fn is_key(&self, sample: &[u8]) -> bool {
        let is_idr = |nal: &[u8]| nal_type(nal) == NAL_IDR;
        match self.length_size {
            Some(size) => {
                length_prefixed(sample, usize::from(size)).is_ok_and(|nals| nals.into_iter().any(is_idr))
            }
            None => nal_units(sample).any(is_idr),
        }
    }

    /// Puts a parameter set in force, under its id.
    fn learn(&mut self, nal: &[u8]) {
        let Some((_, payload)) = nal.split_first() else { return };
        if nal.len() > MAX_PARAMETER_SET {
            return;
        }
        match nal_type(nal) {
            NAL_SPS => {
                // Profile, constraints and level stand before the id.
                if let Some(id) = payload.get(3..).and_then(|rest| Bits::new(rest).ue_max(31)) {
                    self.sps.insert(id, Bytes::copy_from_slice(nal));
                }
            }
            NAL_PPS => {
                if let Some(id) = Bits::new(payload).ue_max(255) {
                    self.pps.insert(id, Bytes::copy_from_slice(nal));
                }
            }
            _ => {}
        }
    }
}

/// Why a stream cannot be sent in the order it is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reordering {
    /// A slice of type B: its picture may refer to later ones.
    BSlice,
    /// A picture is shown before one that is decoded earlier.
    PtsWentBack,
}

/// Finds out whether a stream has B-frames or another reordering of its pictures.
///
/// Absence cannot be proven before the end, so this watches every access unit.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReorderWatch {
    latest: Option<MediaTime>,
    found: Option<Reordering>,
}

impl ReorderWatch {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at the next access unit in decoding order; `Some` from the moment of proof on.
    pub fn push(&mut self, pts: MediaTime, annex_b: &[u8]) -> Option<Reordering> {
        if self.found.is_none() {
            if nal_units(annex_b).any(|nal| slice_type(nal) == Some(SliceType::B)) {
                self.found = Some(Reordering::BSlice);
            } else if self.latest.is_some_and(|latest| pts < latest) {
                self.found = Some(Reordering::PtsWentBack);
            }
        }
        self.latest = self.latest.max(Some(pts));
        self.found
    }

    /// What has been proven so far.
    pub const fn found(&self) -> Option<Reordering> {
        self.found
    }

    /// Forgets the times, not the proof: after a seek they may go back.
    pub fn seeked(&mut self) {
        self.latest = None;
    }
}

/// How a slice is predicted (table 7-6; SP counts as P, SI as I).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SliceType {
    /// From earlier pictures.
    P,
    /// From two pictures, one of them usually later.
    B,
    /// From nothing else.
    I,
}

/// The type of a slice, for NAL units that are slices with a readable header.
pub fn slice_type(nal: &[u8]) -> Option<SliceType> {
    // 2 is data partition A, which starts with the same slice header.
    if !matches!(nal_type(nal), NAL_SLICE | NAL_IDR | 2) {
        return None;
    }
    let mut bits = Bits::new(nal.get(1..)?);
    bits.ue()?;
    Some(match bits.ue_max(9)? % 5 {
        1 => SliceType::B,
        2 | 4 => SliceType::I,
        _ => SliceType::P,
    })
}

/// Whether an access unit begins a slow refresh: its picture is whole only some pictures later
/// (recovery point SEI, D.1.8, with a count that is not zero).
pub fn refreshes_slowly(annex_b: &[u8]) -> bool {
    // Such messages stand before the picture.
    let before = nal_units(annex_b).take_while(|nal| !matches!(nal_type(nal), NAL_SLICE | NAL_IDR));
    before.filter(|nal| nal_type(nal) == NAL_SEI).any(|nal| {
        let mut rest = &nal[1..];
        loop {
            let (Some(kind), Some(size)) = (sei_number(&mut rest), sei_number(&mut rest)) else {
                return false;
            };
            let Some((payload, tail)) = rest.split_at_checked(size) else { return false };
            if kind == RECOVERY_POINT {
                return Bits::new(payload).ue().is_some_and(|recovery_frame_cnt| recovery_frame_cnt > 0);
            }
            rest = tail;
        }
    })
}

/// A number in front of an SEI message: 255 as often as it fits, then the rest (7.3.2.3.1).
fn sei_number(rest: &mut &[u8]) -> Option<usize> {
    let mut number = 0;
    loop {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        number += usize::from(*byte);
        if *byte != 255 {
            return Some(number);
        }
    }
}

/// `nal_unit_type` of a NAL unit; 0 when it is empty.
pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |header| header & 0x1f)
}

/// The NAL units of an Annex B stream, without start codes and trailing zeros.
pub fn nal_units(annex_b: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(annex_b);
    std::iter::from_fn(move || {
        loop {
            let current = rest?;
            let end = find_start_code(current);
            rest = end.and_then(|at| after_start_code(&current[at..]));
            let mut nal = &current[..end.unwrap_or(current.len())];
            while let [head @ .., 0] = nal {
                nal = head;
            }
            if !nal.is_empty() {
                return Some(nal);
            }
        }
    })
}

/// Where the next `00 00 01` begins.
fn find_start_code(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    // The third byte decides how far to jump: over 1 it can not be part of a start code.
    while let Some(third) = bytes.get(at + 2) {
        match third {
            0 => at += 1,
            1 if bytes[at] == 0 && bytes[at + 1] == 0 => return Some(at),
            _ => at += 3,
        }
    }
    None
}

fn after_start_code(bytes: &[u8]) -> Option<&[u8]> {
    find_start_code(bytes).map(|at| &bytes[at + 3..])
}

/// `count` parameter sets with 16-bit lengths, and what follows them.
fn split_sets(count: u8, mut rest: &[u8]) -> Option<(Vec<Bytes>, &[u8])> {
    let mut sets = Vec::new();
    for _ in 0..count {
        let (length, tail) = rest.split_first_chunk::<2>()?;
        let (set, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        rest = tail;
        if !set.is_empty() {
            sets.push(Bytes::copy_from_slice(set));
        }
    }
    Some((sets, rest))
}

fn length_prefixed(sample: &[u8], length_size: usize) -> Result<Vec<&[u8]>, H264Error> {
    let mut nals = Vec::with_capacity(8);
    let mut rest = sample;
    // Zeros behind the last unit are padding, even when they are too few for one more length.
    while rest.len() >= length_size {
        let (length, tail) = rest.split_at(length_size);
        let length = length.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        let (nal, tail) =
            tail.split_at_checked(length).ok_or(H264Error::NalTooLong { length, left: tail.len() })?;
        if !nal.is_empty() {
            nals.push(nal);
        }
        rest = tail;
    }
    Ok(nals)
}

fn put_nal(out: &mut BytesMut, nal: &[u8]) {
    out.put_slice(&START_CODE);
    out.put_slice(nal);
}

#[cfg(test)]
mod tests;
