//! Fragments (`moof`) → samples (ISO/IEC 14496-12, clause 8.8).
//!
//! Downloaded streams and recordings of live ones keep their index in pieces, each in front of its
//! samples. Pieces are read one after the other, when their samples are due.

use bytes::Bytes;

use super::boxes::{Boxes, Fields, FourCc, child};
use super::samples::Sample;
use super::{FORMAT, damaged};
use crate::media::demux::DemuxError;
use crate::media::demux::reader::Reader;

/// The index of one fragment: kilobytes, for some seconds.
const MAX_MOOF: usize = 8 << 20;
/// Samples of one fragment: an hour of pictures.
const MAX_RUN: u32 = 1 << 18;
/// Boxes between two fragments.
const MAX_BETWEEN: usize = 256;
/// `sample_is_non_sync_sample`.
const NON_SYNC: u32 = 1 << 16;

/// Where the fragments of a file are, and what their samples are like unless they say otherwise.
#[derive(Debug)]
pub(super) struct Fragments {
    /// Where the first box behind the index of the file begins.
    first: u64,
    /// Where the next box begins.
    next: u64,
    defaults: Vec<Defaults>,
    /// Bytes of all samples since `first` or the last seek; an honest file does not have more than it is long.
    n_claimed: u64,
    ended: bool,
}

/// `trex`, and what `tfhd` makes of it.
#[derive(Clone, Copy, Debug, Default)]
struct Defaults {
    track_id: u32,
    duration: u32,
    size: u32,
    flags: u32,
}

/// The samples of one track in one fragment.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) track_id: u32,
    /// Decoding time of the first sample; `None`: it goes on where the last piece ended.
    pub(super) start: Option<i64>,
    /// Times count from the start of the piece; `index` counts from 0. `true`: a sync sample.
    pub(super) samples: Vec<(Sample, bool)>,
}

impl Fragments {
    /// `None` when the file is not fragmented. The reader stands behind `moov`.
    pub(super) fn parse(moov: &Bytes, first: u64) -> Option<Self> {
        let mvex = child(moov, b"mvex")?;
        let trex = Boxes::of(mvex).filter(|(kind, _)| kind.0 == *b"trex");
        let defaults = trex.filter_map(|(_, trex)| {
            let mut fields = Fields(&trex);
            fields.version()?;
            let track_id = fields.u32()?;
            fields.skip(4)?;
            Some(Defaults { track_id, duration: fields.u32()?, size: fields.u32()?, flags: fields.u32()? })
        });
        Some(Self { first, next: first, defaults: defaults.collect(), n_claimed: 0, ended: false })
    }

    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    pub(super) const fn go_to(&mut self, at: u64) {
        self.next = at;
        self.n_claimed = 0;
        self.ended = false;
    }

    pub(super) const fn ended(&self) -> bool {
        self.ended
    }

    /// The next fragment and its position. Nothing is read behind the end or an error.
    pub(super) fn read(&mut self, reader: &mut Reader) -> Result<Option<(u64, Vec<Piece>)>, DemuxError> {
        if self.ended {
            return Ok(None);
        }
        let found = self.find(reader);
        self.ended = !matches!(found, Ok(Some(_)));
        found
    }

    fn find(&mut self, reader: &mut Reader) -> Result<Option<(u64, Vec<Piece>)>, DemuxError> {
        reader.seek(self.next);
        for _ in 0..MAX_BETWEEN {
            let at = reader.pos();
            if reader.left() == 0 {
                return Ok(None);
            }
            let (kind, payload) = super::box_header(reader)?;
            if kind.0 == *b"moof" {
                let moof = reader.take(payload, MAX_MOOF, "the index of a fragment (moof)")?;
                self.next = reader.pos();
                let pieces = self.pieces(&moof, at).map_err(|what| damaged(format!("{what} (byte {at})")))?;
                let samples = pieces.iter().flat_map(|piece| &piece.samples);
                let n_bytes = samples.map(|(sample, _)| u64::from(sample.size.max(1))).sum();
                self.n_claimed = self.n_claimed.saturating_add(n_bytes);
                if self.n_claimed > reader.len() {
                    let what = format!("samples with more bytes than the file has, up to byte {at}");
                    return Err(DemuxError::Limit { format: FORMAT, what });
                }
                return Ok(Some((at, pieces)));
            }
            reader.skip(payload);
        }
        let what = format!("more than {MAX_BETWEEN} boxes between two fragments");
        Err(DemuxError::Limit { format: FORMAT, what })
    }

    fn pieces(&self, moof: &Bytes, moof_at: u64) -> Result<Vec<Piece>, &'static str> {
        let mut pieces = Vec::new();
        // For the first track, the rule names the fragment itself.
        let mut so_far = SoFar { end: moof_at, n_samples: 0 };
        for (_, traf) in Boxes::of(moof.clone()).filter(|(kind, _)| kind.0 == *b"traf") {
            let piece = self.piece(&traf, moof_at, &mut so_far);
            pieces.push(piece.ok_or("the index of a fragment (moof) is damaged")?);
        }
        Ok(pieces)
    }

    fn piece(&self, traf: &Bytes, moof_at: u64, so_far: &mut SoFar) -> Option<Piece> {
        let tfhd = child(traf, b"tfhd")?;
        let mut fields = Fields(&tfhd);
        let flags = fields.u32()?;
        let track_id = fields.u32()?;
        let base = if flags & 1 != 0 {
            fields.u64()?
        } else if flags & 0x2_0000 != 0 {
            moof_at
        } else {
            so_far.end
        };
        let known = self.defaults.iter().find(|defaults| defaults.track_id == track_id);
        let mut defaults = known.copied().unwrap_or_default();
        if flags & 2 != 0 {
            fields.skip(4)?;
        }
        for (flag, value) in
            [(8, &mut defaults.duration), (0x10, &mut defaults.size), (0x20, &mut defaults.flags)]
        {
            if flags & flag != 0 {
                *value = fields.u32()?;
            }
        }
        let start = child(traf, b"tfdt").and_then(|tfdt| {
            let mut fields = Fields(&tfdt);
            let version = fields.version()?;
            i64::try_from(fields.by_version(version)?).ok()
        });
        let mut piece = Piece { track_id, start, samples: Vec::new() };
        let mut position = Position { offset: base, dts: 0, room: MAX_RUN - so_far.n_samples };
        for (_, trun) in Boxes::of(traf.clone()).filter(|(kind, _)| kind.0 == *b"trun") {
            piece.add_run(&trun, base, defaults, &mut position)?;
        }
        *so_far = SoFar { end: position.offset, n_samples: MAX_RUN - position.room };
        Some(piece)
    }
}

/// What the tracks before in the same fragment had.
struct SoFar {
    /// Where the data of the last one ends: there a track's begin that does not say where.
    end: u64,
    n_samples: u32,
}

struct Position {
    offset: u64,
    dts: i64,
    /// For so many more samples.
    room: u32,
}

impl Piece {
    fn add_run(&mut self, trun: &Bytes, base: u64, defaults: Defaults, at: &mut Position) -> Option<()> {
        let mut fields = Fields(trun);
        let flags = fields.u32()?;
        let count = fields.u32().filter(|count| *count <= at.room)?;
        at.room -= count;
        if flags & 1 != 0 {
            at.offset = base.checked_add_signed(i64::from(fields.i32()?))?;
        }
        let first_flags = if flags & 4 != 0 { Some(fields.u32()?) } else { None };
        for n in 0..count {
            let mut field = |flag: u32, default| if flags & flag != 0 { fields.u32() } else { Some(default) };
            let delta = field(0x100, defaults.duration)?;
            let size = field(0x200, defaults.size)?;
            let said = field(0x400, defaults.flags)?;
            let composition = field(0x800, 0)? as i32;
            let sample_flags = first_flags.filter(|_| n == 0).unwrap_or(said);
            let sample = Sample {
                index: u32::try_from(self.samples.len()).unwrap_or(u32::MAX),
                offset: at.offset,
                size,
                dts: at.dts,
                cts: at.dts.saturating_add(i64::from(composition)),
                delta,
            };
            self.samples.push((sample, sample_flags & NON_SYNC == 0));
            at.offset = at.offset.saturating_add(u64::from(size));
            at.dts = at.dts.saturating_add(i64::from(delta));
        }
        Some(())
    }

    /// The same samples on the timeline of the track.
    pub(super) fn shifted(&self, start: i64) -> impl Iterator<Item = (Sample, bool)> {
        self.samples.iter().map(move |(sample, sync)| {
            let (dts, cts) = (sample.dts.saturating_add(start), sample.cts.saturating_add(start));
            (Sample { dts, cts, ..*sample }, *sync)
        })
    }

    pub(super) fn ticks(&self) -> i64 {
        self.samples.last().map_or(0, |(last, _)| last.dts.saturating_add(i64::from(last.delta)))
    }
}

/// How long all fragments together are, from `mehd` or from a segment index (`sidx`) that follows
/// the index of the file. As ticks and their timescale.
pub(super) fn duration(
    moov: &Bytes,
    movie_timescale: u32,
    reader: &mut Reader,
    first: u64,
) -> Option<(i64, u32)> {
    let mehd = child(moov, b"mvex").and_then(|mvex| child(&mvex, b"mehd")).and_then(|mehd| {
        let mut fields = Fields(&mehd);
        let version = fields.version()?;
        i64::try_from(fields.by_version(version)?).ok().filter(|ticks| *ticks > 0)
    });
    if let Some(ticks) = mehd {
        return Some((ticks, movie_timescale));
    }
    reader.seek(first);
    let (FourCc(kind), payload) = super::box_header(reader).ok()?;
    if kind != *b"sidx" {
        return None;
    }
    let sidx = reader.take(payload, MAX_MOOF, "a segment index (sidx)").ok()?;
    let mut fields = Fields(&sidx);
    let version = fields.version()?;
    fields.skip(4)?;
    let timescale = fields.u32()?;
    fields.by_version(version)?;
    fields.by_version(version)?;
    fields.skip(2)?;
    let mut ticks = 0_i64;
    for _ in 0..fields.u16()? {
        let _type_and_size = fields.u32()?;
        ticks = ticks.saturating_add(i64::from(fields.u32()?));
        fields.skip(4)?;
    }
    Some((ticks, timescale))
}
