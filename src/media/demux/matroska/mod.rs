//! Matroska and WebM: clusters of blocks, read from front to back (RFC 9559).
//!
//! Own reader instead of a crate: the padding to discard, honest ends of files that are cut off,
//! and a seek that knows keyframes are needed and were not to be had.

use std::collections::VecDeque;

use bytes::Bytes;

use self::block::Block;
use self::ebml::{Elements, Header, Id, child, float, text, unsigned};
use self::track::{BlockTime, MatroskaTrack};
use super::reader::Reader;
use super::{DemuxError, Demuxer, MAX_PACKET, Packet, Track};
use crate::media::MediaKind;
use crate::time::MediaTime;

mod block;
mod ebml;
mod seek;
mod times;
mod track;

const FORMAT: &str = "matroska";

const EBML: Id = 0x1a45_dfa3;
const DOC_TYPE: Id = 0x4282;
const SEGMENT: Id = 0x1853_8067;
const SEEK_HEAD: Id = 0x114d_9b74;
const SEEK: Id = 0x4dbb;
const SEEK_ID: Id = 0x53ab;
const SEEK_POSITION: Id = 0x53ac;
const INFO: Id = 0x1549_a966;
const TIMESTAMP_SCALE: Id = 0x002a_d7b1;
const DURATION: Id = 0x4489;
const TRACKS: Id = 0x1654_ae6b;
const TRACK_ENTRY: Id = 0xae;
const CLUSTER: Id = 0x1f43_b675;
const TIMESTAMP: Id = 0xe7;
const SIMPLE_BLOCK: Id = 0xa3;
const BLOCK_GROUP: Id = 0xa0;
const BLOCK: Id = 0xa1;
const BLOCK_DURATION: Id = 0x9b;
const DISCARD_PADDING: Id = 0x75a2;
const CUES: Id = 0x1c53_bb6b;

/// Descriptions of all tracks with their codecs' private bytes: kilobytes in honest files.
const MAX_HEADER: usize = 16 << 20;
const MAX_TRACKS: usize = 64;
/// Elements before the first cluster.
const MAX_TOP_LEVEL: usize = 4096;

/// A Matroska file being read.
pub(super) struct Matroska {
    reader: Reader,
    /// `readers` and `tracks` have the same order.
    tracks: Vec<Track>,
    readers: Vec<MatroskaTrack>,
    layout: Layout,
    /// In ticks of the segment.
    cluster_time: u64,
    ready: VecDeque<Packet>,
    /// Set by a seek: where to begin to deliver.
    resume: seek::Resume,
    index: seek::Index,
    ended: bool,
}

/// What the elements before the first cluster say.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Positions in the file count from here.
    segment_start: u64,
    /// `None`: a live recording that nobody finished.
    segment_end: Option<u64>,
    first_cluster: u64,
    cues: Option<u64>,
    /// Nanoseconds per tick.
    scale: u32,
}

impl Layout {
    fn tick(&self) -> MediaTime {
        self.time(1)
    }

    fn time(&self, ticks: i64) -> MediaTime {
        MediaTime::from_rational(ticks, self.scale, 1_000_000_000)
    }
}

impl Matroska {
    pub(super) fn open(mut reader: Reader) -> Result<Self, DemuxError> {
        reader.set_format(FORMAT);
        check_doc_type(&mut reader)?;
        let segment = enter_segment(&mut reader)?;
        let segment_start = reader.pos();
        let mut front = Front::default();
        front.read(&mut reader, segment_start)?;
        let entries = front.tracks.ok_or_else(|| damaged("it does not say which tracks it has (Tracks)"))?;
        let info = front.info.unwrap_or_default();
        let scale = child(&info, TIMESTAMP_SCALE).map_or(Some(1_000_000), |value| unsigned(&value));
        let scale = scale.and_then(|scale| u32::try_from(scale).ok()).filter(|scale| *scale > 0);
        let scale = scale.ok_or_else(|| damaged("its clock has an impossible scale (TimestampScale)"))?;
        let layout = Layout {
            segment_start,
            segment_end: segment.map(|size| segment_start.saturating_add(size)),
            first_cluster: reader.pos(),
            cues: front.cues,
            scale,
        };
        let duration = child(&info, DURATION).and_then(|value| float(&value));
        let duration =
            duration.filter(|ticks| (0.0..1e15).contains(ticks)).map(|ticks| layout.time(ticks as i64));
        let mut readers = Vec::new();
        for (id, entry) in Elements(entries) {
            if id != TRACK_ENTRY {
                continue;
            }
            if readers.len() == MAX_TRACKS {
                let what = format!("more than {MAX_TRACKS} tracks");
                return Err(DemuxError::Limit { format: FORMAT, what });
            }
            readers.extend(MatroskaTrack::parse(&entry).map_err(damaged)?);
        }
        if readers.is_empty() {
            return Err(DemuxError::NoTracks { format: FORMAT });
        }
        let tracks = readers.iter().map(|reader| Track {
            duration: duration.map(|duration| reader.rough_pts(duration)),
            ..reader.track.clone()
        });
        let tracks = tracks.collect();
        Ok(Self {
            reader,
            tracks,
            readers,
            layout,
            cluster_time: 0,
            ready: VecDeque::new(),
            resume: seek::Resume::default(),
            index: seek::Index::default(),
            ended: false,
        })
    }

    /// The next block and where its element begins.
    fn next_block(&mut self) -> Result<Option<(u64, Block)>, DemuxError> {
        loop {
            let at = self.reader.pos();
            if self.ended || self.layout.segment_end.is_some_and(|end| at >= end) {
                return Ok(None);
            }
            let header = if self.reader.left() == 0 { None } else { Header::read(&mut self.reader)? };
            let Some(header) = header else {
                if self.reader.left() >= Header::LONGEST as u64 {
                    return Err(self.lost(at, "no element begins there"));
                }
                self.ended = true;
                return match self.layout.segment_end {
                    Some(end) => Err(self.cut_off(end)),
                    None => Ok(None),
                };
            };
            let size = match header {
                Header { id: CLUSTER | SEGMENT, .. } => continue,
                Header { size: Some(size), .. } => size,
                _ => return Err(self.lost(at, "an element has no size")),
            };
            let is_block = matches!(header.id, SIMPLE_BLOCK | BLOCK_GROUP);
            if size > self.reader.left() || is_block && size > MAX_PACKET as u64 {
                return Err(self.too_long(at, size));
            }
            if !is_block {
                self.skip_element(header.id, size)?;
                continue;
            }
            let payload = self.reader.take(size, MAX_PACKET, "a block")?;
            let block = match header.id {
                SIMPLE_BLOCK => Block::parse_simple(&payload),
                _ => Block::parse_group(&payload),
            };
            // Its length was right, so the next element is where it should be.
            let block = block.ok_or_else(|| damaged(format!("the block at byte {at}")))?;
            return Ok(Some((at, block)));
        }
    }

    /// Passes an element without media; notes the time of the cluster.
    fn skip_element(&mut self, id: Id, size: u64) -> Result<(), DemuxError> {
        if id == TIMESTAMP && size <= 8 {
            let value = self.reader.take(size, 8, "a timestamp")?;
            self.cluster_time = unsigned(&value).unwrap_or(0);
        } else {
            self.reader.skip(size);
        }
        Ok(())
    }

    /// An element that cannot be as long as it says: the file ends in it, or its size is damaged,
    /// which a cluster behind it proves.
    fn too_long(&mut self, at: u64, size: u64) -> DemuxError {
        let (end, left) = (self.reader.pos().saturating_add(size), self.reader.left());
        let error = self.lost(at, &format!("an element says that it has {size} bytes"));
        match &error {
            DemuxError::Damaged { .. } if self.ended && size > left => {
                self.cut_off(self.layout.segment_end.unwrap_or(end).max(end))
            }
            _ => error,
        }
    }

    fn cut_off(&self, end: u64) -> DemuxError {
        let what = format!("it should have {end} bytes and has {}", self.reader.len());
        DemuxError::Truncated { format: FORMAT, what }
    }

    /// Goes to the next cluster behind a damaged place.
    fn lost(&mut self, at: u64, why: &str) -> DemuxError {
        self.reader.seek(at + 1);
        match find_cluster(&mut self.reader) {
            Ok(true) => {}
            Ok(false) => self.ended = true,
            Err(error) => {
                self.ended = true;
                return error;
            }
        }
        damaged(format!("{why} (byte {at})"))
    }

    fn block_time(&self, block: &Block) -> BlockTime {
        let ticks =
            i64::try_from(self.cluster_time).unwrap_or(i64::MAX).saturating_add(i64::from(block.time));
        let duration = block.duration.and_then(|ticks| i64::try_from(ticks).ok());
        BlockTime {
            time: self.layout.time(ticks),
            tick: self.layout.tick(),
            duration: duration.map(|ticks| self.layout.time(ticks)),
        }
    }

    fn track_of(&self, block: &Block) -> Option<usize> {
        self.readers.iter().position(|reader| reader.number == block.track && reader.is_known())
    }
}

impl Demuxer for Matroska {
    fn format(&self) -> &'static str {
        FORMAT
    }

    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, DemuxError> {
        loop {
            if let Some(packet) = self.ready.pop_front() {
                return Ok(Some(packet));
            }
            let next = self.next_block();
            // What cannot be read here cannot be read behind it.
            self.ended |= matches!(next, Err(DemuxError::Io(_)));
            let Some((at, block)) = next? else { return Ok(None) };
            let Some(idx) = self.track_of(&block) else { continue };
            let time = self.block_time(&block);
            let reader = &mut self.readers[idx];
            if reader.track.kind == MediaKind::Video && at < self.resume.pictures_from {
                continue;
            }
            let mut packets = reader
                .packets(idx, &block, time)
                .map_err(|what| damaged(format!("{what} (block at byte {at})")))?;
            if reader.track.kind == MediaKind::Audio
                && let Some(from) = self.resume.sound_from
            {
                packets.retain(|packet| packet.pts + packet.duration > from);
            }
            self.ready.extend(packets);
        }
    }

    fn seek(&mut self, to: MediaTime) -> Result<MediaTime, DemuxError> {
        self.seek_to(to)
    }
}

/// What stands before the first cluster.
#[derive(Default)]
struct Front {
    info: Option<Bytes>,
    tracks: Option<Bytes>,
    cues: Option<u64>,
}

impl Front {
    /// Leaves the reader at the first cluster, or at the end of a file without one.
    fn read(&mut self, reader: &mut Reader, segment_start: u64) -> Result<(), DemuxError> {
        let mut tracks_at = None;
        for _ in 0..MAX_TOP_LEVEL {
            let at = reader.pos();
            if reader.left() == 0 {
                return if self.tracks.is_some() { Ok(()) } else { Err(reader.truncated(1)) };
            }
            let header =
                Header::read(reader)?.ok_or_else(|| damaged(format!("no element begins at byte {at}")))?;
            let Some(size) = header.size.filter(|_| header.id != CLUSTER) else {
                if header.id != CLUSTER {
                    return Err(damaged(format!("the element at byte {at} has no size")));
                }
                if self.tracks.is_none()
                    && let Some(tracks_at) = tracks_at
                {
                    self.tracks = Some(read_element(reader, tracks_at, TRACKS)?);
                }
                reader.seek(at);
                return Ok(());
            };
            match header.id {
                INFO => self.info = Some(reader.take(size, MAX_HEADER, "Info")?),
                TRACKS => self.tracks = Some(reader.take(size, MAX_HEADER, "Tracks")?),
                SEEK_HEAD => {
                    for (id, position) in seek_head(reader.take(size, MAX_HEADER, "SeekHead")?) {
                        let position = segment_start.saturating_add(position);
                        match id {
                            CUES => self.cues = Some(position),
                            TRACKS => tracks_at = Some(position),
                            _ => {}
                        }
                    }
                }
                CUES => {
                    self.cues = Some(at);
                    reader.skip(size);
                }
                _ => reader.skip(size),
            }
        }
        Err(DemuxError::Limit {
            format: FORMAT,
            what: format!("more than {MAX_TOP_LEVEL} elements before the first cluster"),
        })
    }
}

/// The ids and positions that a `SeekHead` lists.
fn seek_head(payload: Bytes) -> impl Iterator<Item = (Id, u64)> {
    Elements(payload).filter(|(id, _)| *id == SEEK).filter_map(|(_, seek)| {
        let id = unsigned(&child(&seek, SEEK_ID)?)?;
        Some((Id::try_from(id).ok()?, unsigned(&child(&seek, SEEK_POSITION)?)?))
    })
}

/// The payload of the element that should begin at a position.
fn read_element(reader: &mut Reader, at: u64, id: Id) -> Result<Bytes, DemuxError> {
    reader.seek(at);
    match Header::read(reader)? {
        Some(Header { id: found, size: Some(size), .. }) if found == id => {
            reader.take(size, MAX_HEADER, "an element")
        }
        _ => Err(damaged(format!("the element {id:x} is not at byte {at}, where the index has it"))),
    }
}

fn check_doc_type(reader: &mut Reader) -> Result<(), DemuxError> {
    let header = Header::read(reader)?.filter(|header| header.id == EBML);
    let size = header.and_then(|header| header.size).ok_or_else(|| damaged("its first element"))?;
    let header = reader.take(size, MAX_HEADER, "a header")?;
    let doc_type = child(&header, DOC_TYPE).map(|value| text(&value)).unwrap_or_default();
    if doc_type != "matroska" && doc_type != "webm" {
        let found = format!("EBML of the kind {doc_type:?}");
        return Err(DemuxError::UnknownFormat { found, perhaps_foreign: false });
    }
    Ok(())
}

/// Goes behind the header of the segment; gives its size, if it has one.
fn enter_segment(reader: &mut Reader) -> Result<Option<u64>, DemuxError> {
    for _ in 0..MAX_TOP_LEVEL {
        let at = reader.pos();
        if reader.left() == 0 {
            return Err(reader.truncated(1));
        }
        match Header::read(reader)? {
            Some(Header { id: SEGMENT, size, .. }) => return Ok(size),
            Some(Header { size: Some(size), .. }) => reader.skip(size),
            _ => return Err(damaged(format!("no element begins at byte {at}"))),
        }
    }
    Err(damaged("it has no segment"))
}

/// Goes to the next place that looks like a cluster.
fn find_cluster(reader: &mut Reader) -> Result<bool, DemuxError> {
    let id = CLUSTER.to_be_bytes();
    while reader.left() >= 4 {
        if reader.peek(4)? == id {
            return Ok(true);
        }
        let block = reader.peek_block()?;
        let at = block.iter().skip(1).position(|byte| *byte == id[0]).map_or(block.len(), |at| at + 1);
        reader.skip(at as u64);
    }
    Ok(false)
}

fn damaged(what: impl Into<String>) -> DemuxError {
    DemuxError::Damaged { format: FORMAT, what: what.into() }
}

#[cfg(test)]
mod tests;
