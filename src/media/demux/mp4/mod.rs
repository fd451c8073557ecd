//! mp4 and mov: the index (`moov`) is read whole, samples where they stand, when they are due.
//!
//! Own reader instead of a crate: edit lists, composition offsets and priming decide about
//! lip-sync, and hostile counts about memory; both need every field in hand. ISO/IEC 14496-12
//! and -14, the QuickTime File Format, and Opus in ISOBMFF are what it follows.

use bytes::Bytes;

use self::boxes::{Boxes, Fields, FourCc, child, descend};
use self::fragments::Fragments;
use self::samples::Sample;
use self::track::{Movie, Mp4Track};
use super::audio::trims;
use super::reader::Reader;
use super::{DemuxError, Demuxer, MAX_PACKET, Packet, Shape, Track, is_key};
use crate::time::MediaTime;

mod boxes;
mod config;
mod fragments;
mod samples;
mod seek;
mod track;

const FORMAT: &str = "mp4";
/// Ten hours of 60 pictures and 47 packets of sound a second need half of it.
const MAX_MOOV: usize = 64 << 20;
/// Cameras write a handful.
const MAX_TRACKS: usize = 64;
/// Boxes before the index. Fragments come after it.
const MAX_TOP_LEVEL: usize = 4096;
/// How far a chunk is read ahead of the sample that is due.
const READ_AHEAD: u64 = 128 << 10;
/// Samples of fragments read ahead, when a track is late or has none any more.
const MAX_QUEUED: usize = 1 << 17;

/// An mp4 file being read.
pub(super) struct Mp4 {
    reader: Reader,
    tracks: Vec<Track>,
    readers: Vec<Mp4Track>,
    fragments: Option<Fragments>,
    /// Found while looking ahead; told when its turn comes.
    pending: Option<DemuxError>,
    ended: bool,
}

impl Mp4 {
    pub(super) fn open(mut reader: Reader) -> Result<Self, DemuxError> {
        reader.set_format(FORMAT);
        let (moov, quicktime) = find_moov(&mut reader)?;
        if child(&moov, b"cmov").is_some() {
            return Err(DemuxError::Unsupported {
                what: "an mp4 with a compressed index (cmov)".to_owned(),
                advice: "rewrite it with `ffmpeg -i IN -c copy OUT.mp4`",
            });
        }
        let movie = Movie {
            timescale: child(&moov, b"mvhd").and_then(|mvhd| movie_timescale(&mvhd)).unwrap_or(0),
            quicktime,
            itunes_gapless: itunes_gapless(&moov),
        };
        let mut readers = Vec::new();
        for (kind, trak) in Boxes::of(moov.clone()) {
            if kind.0 != *b"trak" {
                continue;
            }
            if readers.len() == MAX_TRACKS {
                let what = format!("more than {MAX_TRACKS} tracks");
                return Err(DemuxError::Limit { format: FORMAT, what });
            }
            readers.extend(Mp4Track::parse(&trak, &movie).map_err(damaged)?);
        }
        if readers.is_empty() {
            return Err(DemuxError::NoTracks { format: FORMAT });
        }
        let behind_moov = reader.pos();
        let fragments = Fragments::parse(&moov, behind_moov);
        let mut tracks: Vec<_> = readers.iter().map(|track| track.track.clone()).collect();
        if fragments.is_some() {
            let known = fragments::duration(&moov, movie.timescale, &mut reader, behind_moov);
            let duration = known.map(|(ticks, timescale)| MediaTime::from_ticks(ticks, timescale));
            for (track, reader) in tracks.iter_mut().zip(&readers) {
                // Where the tables are empty, an edit list may still know.
                let of_edit =
                    track.duration.filter(|d| *d > MediaTime::ZERO && reader.table.n_samples() == 0);
                track.duration = duration.or(of_edit);
            }
        }
        Ok(Self { reader, tracks, readers, fragments, pending: None, ended: false })
    }

    /// Reads fragments until every track has a sample that comes next, as far as there are any.
    fn fill(&mut self) -> Result<(), DemuxError> {
        let Some(fragments) = &mut self.fragments else { return Ok(()) };
        while self.readers.iter().any(|track| track.is_known() && track.next.is_none())
            && self.readers.iter().map(Mp4Track::n_queued).sum::<usize>() < MAX_QUEUED
        {
            let Some((_, pieces)) = fragments.read(&mut self.reader)? else { break };
            for piece in &pieces {
                if let Some(track) = self.readers.iter_mut().find(|track| track.id == piece.track_id) {
                    track.queue(piece);
                }
            }
        }
        Ok(())
    }

    /// Goes on to the next sample of a track.
    fn step(&mut self, track: usize) {
        if let Err(what) = self.readers[track].step() {
            self.pending = Some(damaged(what));
        }
    }

    /// The bytes of a sample, through the read-ahead of its track.
    fn read(&mut self, track: usize, sample: &Sample) -> Result<Bytes, DemuxError> {
        let Mp4Track { window, cursor, table, .. } = &mut self.readers[track];
        let size = sample.size as usize;
        let inside = sample.offset.checked_sub(window.0).and_then(|at| usize::try_from(at).ok());
        if let Some(at) = inside
            && let Some(end) = at.checked_add(size)
            && end <= window.1.len()
        {
            return Ok(window.1.slice(at..end));
        }
        self.reader.seek(sample.offset);
        let run = cursor.run_after(table, sample, READ_AHEAD);
        // The end of a chunk may be cut off although this sample is not.
        let run = run.min(self.reader.left()).max(u64::from(sample.size));
        let bytes = self.reader.take(run, MAX_PACKET, "a sample")?;
        *window = (sample.offset, bytes.clone());
        Ok(bytes.slice(..size))
    }

    /// The packet of a sample; `Ok(None)` when there is nothing in it for a decoder.
    fn packet(
        &mut self,
        track_idx: usize,
        sample: &Sample,
        data: Bytes,
    ) -> Result<Option<Packet>, DemuxError> {
        let track = &mut self.readers[track_idx];
        let mut packet = Packet {
            track: track_idx,
            pts: track.line.at(sample.cts),
            dts: Some(track.line.dts(sample)),
            duration: track.line.duration(sample.delta),
            key: true,
            trim_start: 0,
            trim_end: 0,
            data,
        };
        match track.track.shape {
            Shape::Video { .. } => {
                if let Some(annexb) = &mut track.entry.annexb {
                    let unit = annexb.convert(&packet.data).map_err(|error| {
                        damaged(format!("{error} (sample {} at byte {})", sample.index, sample.offset))
                    })?;
                    (packet.data, packet.key) = (unit.data, unit.key);
                } else {
                    packet.key = is_key(&track.track.codec, &packet.data);
                }
            }
            Shape::Audio { sample_rate, .. } => {
                let by_bits = track.entry.length.and_then(|length| length.samples(&packet.data));
                if let Some(samples) = by_bits {
                    // The last packet of a track is as long as it is heard.
                    let is_last =
                        track.next.is_none() && self.fragments.as_ref().is_none_or(Fragments::ended);
                    let until = track.line.end().or_else(|| is_last.then(|| packet.pts + packet.duration));
                    let (start, end) = trims(packet.pts, samples, sample_rate, track.line.start, until);
                    (packet.trim_start, packet.trim_end) = (start, end);
                    packet.duration = MediaTime::from_ticks(i64::from(samples), sample_rate);
                }
            }
        }
        Ok((!packet.data.is_empty()).then_some(packet))
    }
}

impl Demuxer for Mp4 {
    fn format(&self) -> &'static str {
        FORMAT
    }

    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, DemuxError> {
        loop {
            if let Some(error) = self.pending.take() {
                return Err(error);
            }
            self.fill()?;
            let due = |track: &Mp4Track| track.next.map(|sample| track.line.dts(&sample));
            let earliest = self.readers.iter().enumerate().filter_map(|(idx, t)| Some((due(t)?, idx))).min();
            let Some((_, idx)) = earliest.filter(|_| !self.ended) else { return Ok(None) };
            let sample = self.readers[idx].next.expect("it was just found to have one");
            let data = match self.read(idx, &sample) {
                Ok(data) => data,
                Err(error) => {
                    // Behind the place where a file is cut off there is nothing of any track; a
                    // sample that is too large is passed.
                    match error {
                        DemuxError::Limit { .. } => self.step(idx),
                        _ => self.ended = true,
                    }
                    return Err(error);
                }
            };
            self.step(idx);
            if let Some(packet) = self.packet(idx, &sample, data)? {
                return Ok(Some(packet));
            }
        }
    }

    fn seek(&mut self, to: MediaTime) -> Result<MediaTime, DemuxError> {
        self.seek_to(to)
    }
}

fn damaged(what: impl Into<String>) -> DemuxError {
    DemuxError::Damaged { format: FORMAT, what: what.into() }
}

/// Walks over the top-level boxes to the index. Also says whether the file is QuickTime's kind.
fn find_moov(reader: &mut Reader) -> Result<(Bytes, bool), DemuxError> {
    let mut quicktime = true;
    for _ in 0..MAX_TOP_LEVEL {
        if reader.left() == 0 {
            return Err(DemuxError::Truncated {
                format: FORMAT,
                what:
                    "it has no index (moov), which is written last; was it downloaded or recorded to the end?"
                        .to_owned(),
            });
        }
        let (kind, payload) = box_header(reader)?;
        match &kind.0 {
            b"moov" => return Ok((reader.take(payload, MAX_MOOV, "an index (moov)")?, quicktime)),
            b"ftyp" => quicktime = reader.peek(4)? == b"qt  ",
            b"moof" | b"styp" | b"sidx" => {
                return Err(DemuxError::Unsupported {
                    what: "a piece of fragmented mp4 without its beginning".to_owned(),
                    advice: "join the pieces, the initialization segment first",
                });
            }
            _ => {}
        }
        if reader.is_streaming() && &kind.0 == b"mdat" {
            return Err(DemuxError::LateIndex);
        }
        if payload > reader.left() {
            return Err(DemuxError::Truncated {
                format: FORMAT,
                what: format!(
                    "the box {kind} goes on until byte {}, but the file ends at {}; without the index \
                     (moov) behind it nothing can be played",
                    reader.pos().saturating_add(payload),
                    reader.len()
                ),
            });
        }
        reader.skip(payload);
    }
    let what = format!("more than {MAX_TOP_LEVEL} boxes before the index (moov)");
    Err(DemuxError::Limit { format: FORMAT, what })
}

/// The name of the next box in the file, and how many bytes it has behind its header.
fn box_header(reader: &mut Reader) -> Result<(FourCc, u64), DemuxError> {
    let at = reader.pos();
    let header: [u8; 8] = reader.array()?;
    let mut fields = Fields(&header);
    let size = fields.u32().unwrap_or(0);
    let kind = FourCc(fields.array().unwrap_or_default());
    let size = match size {
        0 => reader.len() - at,
        1 => u64::from_be_bytes(reader.array()?),
        size => u64::from(size),
    };
    match size.checked_sub(reader.pos() - at) {
        Some(payload) => Ok((kind, payload)),
        None => Err(damaged(format!("the box {kind} at byte {at} has a size of {size}"))),
    }
}

fn movie_timescale(mvhd: &[u8]) -> Option<u32> {
    let mut fields = Fields(mvhd);
    let version = fields.version()?;
    fields.by_version(version)?;
    fields.by_version(version)?;
    fields.u32()
}

/// Priming and padding from the comment `iTunSMPB`: hexadecimal words, the second and third.
fn itunes_gapless(moov: &Bytes) -> Option<(u32, u32)> {
    let meta = descend(moov, &[b"udta", b"meta"])?;
    let ilst = child(&meta.slice_ref(meta.get(4..)?), b"ilst")?;
    let comments = Boxes::of(ilst).filter(|(kind, _)| kind.0 == *b"----").map(|(_, comment)| comment);
    let mut gapless =
        comments.filter(|comment| child(comment, b"name").is_some_and(|name| name.ends_with(b"iTunSMPB")));
    let data = child(&gapless.next()?, b"data")?;
    let mut words = std::str::from_utf8(data.get(8..)?).ok()?.split_ascii_whitespace().skip(1);
    let mut word = || u32::from_str_radix(words.next()?, 16).ok();
    Some((word()?, word()?))
}

#[cfg(test)]
mod tests;
