//! One `trak` → a track, its samples and its place on the clock of the item.

use std::collections::VecDeque;

use bytes::Bytes;

use super::boxes::{Fields, child, descend};
use super::config::SampleEntry;
use super::fragments::Piece;
use super::samples::{Cursor, Sample, SampleTable};
use crate::media::demux::{Shape, Track};
use crate::media::{Codec, MediaKind};
use crate::time::MediaTime;

/// What all tracks of a movie share.
pub(super) struct Movie {
    /// Ticks per second of the times in edit lists.
    pub(super) timescale: u32,
    /// QuickTime's own kind of file, which extends some boxes differently.
    pub(super) quicktime: bool,
    /// Priming and padding of the sound as iTunes notes it.
    pub(super) itunes_gapless: Option<(u32, u32)>,
}

/// A track being read.
#[derive(Debug)]
pub(super) struct Mp4Track {
    pub(super) track: Track,
    pub(super) entry: SampleEntry,
    pub(super) table: SampleTable,
    pub(super) line: Line,
    pub(super) cursor: Cursor,
    /// What fragments call it.
    pub(super) id: u32,
    /// Samples of fragments that come behind those of the tables.
    queue: VecDeque<Sample>,
    /// Where the last fragment ended.
    queue_end: i64,
    /// The sample that comes next, so that tracks can be merged by time.
    pub(super) next: Option<Sample>,
    /// Bytes read ahead: the rest of a chunk.
    pub(super) window: (u64, Bytes),
}

/// The map from a track's media timeline to the clock of the item.
///
/// An edit list may say: wait (an empty edit), then show the media from `media_start` on, until
/// `media_end`. Lists with more edits than that are cut films; their media is shown as a whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    timescale: u32,
    /// Where on the item's clock the media begins to be shown.
    pub(super) start: MediaTime,
    media_start: i64,
    /// Exclusive; `None`: all there is.
    media_end: Option<i64>,
    /// How long the media is shown.
    length: MediaTime,
    /// Samples to deliver: those behind the end of the edit are not.
    n_samples: u32,
    decode_lead: i64,
}

impl Line {
    /// A point of the media timeline on the clock of the item.
    pub(super) fn at(&self, ticks: i64) -> MediaTime {
        MediaTime::from_ticks(ticks.saturating_sub(self.media_start), self.timescale) + self.start
    }

    pub(super) fn dts(&self, sample: &Sample) -> MediaTime {
        self.at(sample.dts.saturating_sub(self.decode_lead))
    }

    /// The tick of the media timeline at a time of the item.
    pub(super) fn ticks(&self, time: MediaTime) -> i64 {
        (time - self.start).to_ticks(self.timescale).saturating_add(self.media_start)
    }

    pub(super) fn duration(&self, ticks: u32) -> MediaTime {
        MediaTime::from_ticks(i64::from(ticks), self.timescale)
    }

    /// When the last of the media has been shown.
    pub(super) fn end(&self) -> Option<MediaTime> {
        self.media_end.map(|end| self.at(end))
    }
}

impl Mp4Track {
    /// `Ok(None)` for tracks that are neither sound nor pictures.
    pub(super) fn parse(trak: &Bytes, movie: &Movie) -> Result<Option<Self>, String> {
        let mdia = child(trak, b"mdia").ok_or("a track has no media (mdia)")?;
        let handler = child(&mdia, b"hdlr").ok_or("a track does not say its kind (hdlr)")?;
        let kind = match handler.get(8..12) {
            Some(b"vide") => MediaKind::Video,
            Some(b"soun") => MediaKind::Audio,
            _ => return Ok(None),
        };
        let header = child(&mdia, b"mdhd").and_then(|mdhd| MediaHeader::parse(&mdhd));
        let header = header.ok_or("the header of a track (mdhd) is missing or too short")?;
        if header.timescale == 0 {
            return Err("a track has zero ticks per second (mdhd)".to_owned());
        }
        let stbl = descend(&mdia, &[b"minf", b"stbl"]).ok_or("a track has no sample table (stbl)")?;
        let stsd = child(&stbl, b"stsd").ok_or("a track has no sample description (stsd)")?;
        let mut entry = SampleEntry::parse(&stsd, kind, movie.quicktime)?;
        let table = SampleTable::parse(&stbl)?;
        if let Shape::Video { rotation, .. } = &mut entry.shape {
            *rotation = child(trak, b"tkhd").and_then(|tkhd| parse_rotation(&tkhd)).unwrap_or(0);
        }
        let edits = descend(trak, &[b"edts", b"elst"]).and_then(|elst| parse_edits(&elst));
        let line = Self::line(&table, &entry, header.timescale, edits.as_deref(), movie);
        let track = Track {
            kind,
            codec: entry.codec.clone(),
            duration: Some(line.start + line.length),
            language: header.language,
            config: entry.config.clone(),
            shape: entry.shape.clone(),
        };
        let mut this = Self {
            track,
            entry,
            table,
            line,
            cursor: Cursor::default(),
            id: child(trak, b"tkhd").and_then(|tkhd| parse_id(&tkhd)).unwrap_or(0),
            queue: VecDeque::new(),
            queue_end: 0,
            next: None,
            window: (0, Bytes::new()),
        };
        this.restart(0, None)?;
        Ok(Some(this))
    }

    /// Packets of codecs that nobody knows are not read.
    pub(super) const fn is_known(&self) -> bool {
        !matches!(self.track.codec, Codec::Unknown(_))
    }

    /// Loads the next sample with bytes into `next`.
    pub(super) fn step(&mut self) -> Result<(), &'static str> {
        self.next = None;
        if !self.is_known() {
            return Ok(());
        }
        while let Some(sample) = self.cursor.next(&self.table)? {
            if sample.index >= self.line.n_samples {
                break;
            }
            if sample.size > 0 {
                self.next = Some(sample);
                return Ok(());
            }
        }
        self.next = std::iter::from_fn(|| self.queue.pop_front()).find(|sample| sample.size > 0);
        Ok(())
    }

    /// Makes `index` the next sample; behind the last one of the tables, fragments go on at
    /// `queue_end`, which is the end of the tables where nothing else is known.
    pub(super) fn restart(&mut self, index: u32, queue_end: Option<i64>) -> Result<(), &'static str> {
        self.cursor.go_to(&self.table, index);
        self.queue.clear();
        self.queue_end = queue_end.unwrap_or_else(|| self.table.total_ticks());
        self.step()
    }

    /// Samples of fragments that are waiting.
    pub(super) fn n_queued(&self) -> usize {
        self.queue.len()
    }

    /// Takes over the samples of a fragment.
    pub(super) fn queue(&mut self, piece: &Piece) {
        let start = piece.start.unwrap_or(self.queue_end);
        self.queue_end = start.saturating_add(piece.ticks());
        if !self.is_known() {
            return;
        }
        let mut samples = piece.shifted(start).map(|(sample, _)| sample).filter(|sample| sample.size > 0);
        if self.next.is_none() {
            self.next = samples.next();
        }
        self.queue.extend(samples);
    }

    fn line(
        table: &SampleTable,
        entry: &SampleEntry,
        timescale: u32,
        edits: Option<&[Edit]>,
        movie: &Movie,
    ) -> Line {
        let rate = match entry.shape {
            Shape::Audio { sample_rate, .. } => sample_rate,
            Shape::Video { .. } => 0,
        };
        let ticks_of = |samples: u32| MediaTime::from_ticks(i64::from(samples), rate).to_ticks(timescale);
        let mut line = Line {
            timescale,
            start: MediaTime::ZERO,
            media_start: 0,
            media_end: None,
            length: MediaTime::from_ticks(table.total_ticks(), timescale),
            n_samples: table.n_samples(),
            decode_lead: table.decode_lead(),
        };
        let total = table.total_ticks();
        let Some(edits) = edits else {
            let (priming, padding) = match movie.itunes_gapless {
                Some(gapless) if entry.codec == Codec::Aac => gapless,
                _ => (entry.priming, 0),
            };
            line.media_start = ticks_of(priming);
            line.media_end = (padding > 0).then(|| total.saturating_sub(ticks_of(padding)));
            let end = line.media_end.unwrap_or(total);
            line.length = MediaTime::from_ticks((end - line.media_start).max(0), timescale);
            line.drop_tail(table);
            return line;
        };
        let n_empty = edits.iter().take_while(|edit| edit.media_time < 0).count();
        let wait = edits[..n_empty].iter().fold(0_i64, |sum, edit| sum.saturating_add(edit.duration));
        line.start = MediaTime::from_ticks(wait, movie.timescale);
        let Some(first) = edits.get(n_empty) else { return line };
        line.media_start = first.media_time;
        if edits.len() == n_empty + 1 && first.duration > 0 && movie.timescale > 0 {
            let length = MediaTime::from_ticks(first.duration, movie.timescale).to_ticks(timescale);
            let end = first.media_time.saturating_add(length);
            // The length is rounded to the movie's ticks, often milliseconds: nearly all is all.
            let rounding = i64::from(timescale / movie.timescale) + 1;
            line.media_end = (end.saturating_add(rounding) < total).then_some(end);
            // What composition offsets skip at the start they add at the end, what priming skips is
            // lost. The edit knows, but the tables are exact where they agree.
            let of_edit = MediaTime::from_ticks(first.duration, movie.timescale);
            let of_tables = [total, total.saturating_sub(first.media_time)];
            let of_tables = of_tables.map(|ticks| MediaTime::from_ticks(ticks, timescale));
            let rounding = MediaTime::from_ticks(rounding, timescale);
            let agrees = |tables: &MediaTime| (of_edit - *tables).abs() <= rounding;
            line.length = of_tables.into_iter().find(agrees).unwrap_or(of_edit);
            line.drop_tail(table);
        }
        line
    }
}

impl Line {
    /// Leaves out the samples at the end that are shown behind the end of the edit, as far as
    /// nothing that is shown can depend on them.
    fn drop_tail(&mut self, table: &SampleTable) {
        let Some(end) = self.media_end else { return };
        let mut cursor = Cursor::default();
        let mut n_samples = 0;
        // The first sample behind the end is close to `end` in decoding order, too, but
        // composition offsets have no bound: look at all of them, once.
        while let Ok(Some(sample)) = cursor.next(table) {
            if sample.cts < end {
                n_samples = sample.index + 1;
            }
        }
        self.n_samples = n_samples;
    }
}

struct MediaHeader {
    timescale: u32,
    language: Option<String>,
}

impl MediaHeader {
    fn parse(mdhd: &[u8]) -> Option<Self> {
        let mut fields = Fields(mdhd);
        let version = fields.version()?;
        fields.by_version(version)?;
        fields.by_version(version)?;
        let timescale = fields.u32()?;
        fields.by_version(version)?;
        let packed = fields.u16()?;
        let letters = [packed >> 10 & 31, packed >> 5 & 31, packed & 31];
        let language: Option<String> = letters
            .iter()
            .map(|letter| (1..=26).contains(letter).then(|| char::from(b'`' + *letter as u8)))
            .collect();
        Some(Self { timescale, language: language.filter(|language| language != "und") })
    }
}

/// One entry of an edit list.
struct Edit {
    /// In ticks of the movie.
    duration: i64,
    /// In ticks of the track; −1: nothing is shown.
    media_time: i64,
}

/// `None` when there is no complete list.
fn parse_edits(elst: &[u8]) -> Option<Vec<Edit>> {
    let mut fields = Fields(elst);
    let version = fields.version()?;
    let count = fields.u32()?;
    let mut edits = Vec::new();
    for _ in 0..count {
        let duration = i64::try_from(fields.by_version(version)?).ok()?;
        let media_time = match version {
            0 => i64::from(fields.i32()?),
            _ => fields.u64()? as i64,
        };
        fields.skip(4)?;
        edits.push(Edit { duration, media_time: media_time.max(-1) });
    }
    (!edits.is_empty()).then_some(edits)
}

fn parse_id(tkhd: &[u8]) -> Option<u32> {
    let mut fields = Fields(tkhd);
    let version = fields.version()?;
    fields.by_version(version)?;
    fields.by_version(version)?;
    fields.u32()
}

/// The matrix of `tkhd` → degrees clockwise.
fn parse_rotation(tkhd: &[u8]) -> Option<u16> {
    let mut fields = Fields(tkhd);
    let version = fields.version()?;
    for _ in 0..2 {
        fields.by_version(version)?;
    }
    fields.skip(8)?;
    fields.by_version(version)?;
    fields.skip(16)?;
    let (a, b) = (fields.i32()?, fields.i32()?);
    // The first row is where the picture's horizontal axis points to.
    Some(match (a.signum(), b.signum()) {
        _ if i64::from(a).abs() > i64::from(b).abs() => {
            if a > 0 {
                0
            } else {
                180
            }
        }
        (_, 1) => 90,
        (_, -1) => 270,
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_by_the_matrix() {
        for (a, b, degrees) in [(1, 0, 0), (0, 1, 90), (-1, 0, 180), (0, -1, 270), (0, 0, 0)] {
            let mut tkhd = vec![0; 4 + 20 + 16];
            for number in [a, b, 0, 0, 0, 0, 0, 0, 0_i32] {
                tkhd.extend_from_slice(&(number << 16).to_be_bytes());
            }
            assert_eq!(parse_rotation(&tkhd), Some(degrees));
        }
        assert_eq!(parse_rotation(&[0; 20]), None);
    }

    #[test]
    fn language_is_three_letters_or_none() {
        let language = |packed: u16| {
            let mut mdhd = vec![0; 20];
            mdhd.extend_from_slice(&packed.to_be_bytes());
            MediaHeader::parse(&mdhd).unwrap().language
        };
        assert_eq!(language(0x15c7).as_deref(), Some("eng"));
        assert_eq!(language(0x55c4), None, "und");
        assert_eq!(language(0), None, "QuickTime's code for English");
        assert_eq!(language(0x7fff), None);
    }
}
