//! Ogg: pages → Opus packets (RFC 3533, RFC 7845).
//!
//! A page says at which sample its last whole packet ends; the packets say how long they are.
//! Both together give every packet its time, the samples to drop at the start (pre-skip) and at
//! the end (a last page that ends early). Files that were put one behind the other (chained) play
//! one after the other on one clock.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::audio::{PRE_ROLL, trims};
use super::reader::Reader;
use super::{DemuxError, Demuxer, Packet, Shape, Track};
use crate::media::codec::opus::{self, SAMPLE_RATE as RATE};
use crate::media::{Codec, MediaKind};
use crate::time::MediaTime;
use page::{Page, next_page};

mod page;

const FORMAT: &str = "ogg";
/// An Opus packet has at most 120 ms of 255 streams; a comment header may carry a cover picture.
const MAX_PACKET: usize = 16 << 20;
/// Beginnings of streams before the first page with data.
const MAX_STREAMS: usize = 64;
/// Where the last page is looked for: a page has at most 65 307 bytes.
const TAIL: u64 = 128 << 10;
/// A bisection stops here and reads on.
const NEAR: u64 = 64 << 10;

/// An Ogg file being read.
pub(super) struct Ogg {
    reader: Reader,
    tracks: Vec<Track>,
    /// The Opus stream that is played, if there is one, and its index in `tracks`.
    playing: Option<(u32, usize)>,
    /// Where the first page with sound begins.
    data_start: u64,
    /// Of the stream that is played: what all chained ones must share.
    n_streams: u8,
    clock: Clock,
    /// A packet that goes on in the next page.
    partial: Option<BytesMut>,
    /// Headers of a chained stream that are still to come.
    headers_left: u8,
    ready: VecDeque<Packet>,
    pending: Option<DemuxError>,
    /// A further stream follows behind the end of this one, as far as known.
    chained: bool,
    ended: bool,
}

/// Sample positions of the stream that is played → the clock of the item.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// Granule position at which the next packet starts; `None`: the next page tells.
    next: Option<i64>,
    /// Granule position of the first sample of the stream; pre-skip follows.
    origin: Option<i64>,
    /// When on the item's clock this stream begins to be heard: 0, or the end of the one before.
    start: MediaTime,
    pre_skip: i64,
}

impl Clock {
    fn at(&self, position: i64) -> MediaTime {
        let heard = position.saturating_sub(self.origin.unwrap_or(0)).saturating_sub(self.pre_skip);
        MediaTime::from_ticks(heard, RATE) + self.start
    }
}

impl Ogg {
    /// A codec in it that telecast decodes in no container.
    pub(super) fn foreign_codec(&self) -> Option<&str> {
        self.tracks.iter().find_map(|track| match &track.codec {
            Codec::Unknown(name) => Some(name.as_str()),
            _ => None,
        })
    }

    pub(super) fn open(mut reader: Reader) -> Result<Self, DemuxError> {
        reader.set_format(FORMAT);
        let mut tracks = Vec::new();
        let mut playing = None;
        let mut head = None;
        // All streams announce themselves before the first page of anything else.
        let first_data = loop {
            let at = reader.pos();
            let Some(page) = next_page(&mut reader, u64::MAX)? else {
                return Err(DemuxError::Truncated {
                    format: FORMAT,
                    what: "it ends before its headers do".to_owned(),
                });
            };
            if !page.begins_stream {
                break at;
            }
            if tracks.len() == MAX_STREAMS {
                let what = format!("more than {MAX_STREAMS} streams");
                return Err(DemuxError::Limit { format: FORMAT, what });
            }
            let Some(packet) = page.packets.first() else { continue };
            if let Ok(found) = opus::Head::parse(packet)
                && playing.is_none()
            {
                playing = Some((page.serial, tracks.len()));
                head = Some(found);
            }
            tracks.extend(identify(packet));
        };
        if tracks.is_empty() {
            return Err(DemuxError::NoTracks { format: FORMAT });
        }
        let (pre_skip, n_streams) = head.map_or((0, 1), |head| (i64::from(head.pre_skip), head.n_streams));
        let mut this = Self {
            reader,
            tracks,
            playing,
            data_start: first_data,
            n_streams,
            clock: Clock { next: None, origin: None, start: MediaTime::ZERO, pre_skip },
            partial: None,
            headers_left: 1,
            ready: VecDeque::new(),
            pending: None,
            chained: false,
            ended: playing.is_none(),
        };
        this.reader.seek(first_data);
        this.measure()?;
        Ok(this)
    }

    /// Reads up to the first sound, so that the origin is known, and finds the end.
    fn measure(&mut self) -> Result<(), DemuxError> {
        let Some((serial, track)) = self.playing else { return Ok(()) };
        while self.clock.origin.is_none() && !self.ended {
            match self.read_page() {
                Ok(()) => {}
                Err(error) => {
                    self.pending = Some(error);
                    break;
                }
            }
        }
        if self.reader.is_streaming() {
            return Ok(());
        }
        let here = self.reader.pos();
        self.reader.seek(self.reader.len().saturating_sub(TAIL).max(self.data_start));
        let mut last = None;
        while let Ok(Some(page)) = next_page(&mut self.reader, u64::MAX) {
            self.chained |= page.serial != serial && page.begins_stream;
            last = page.position.filter(|_| page.serial == serial).or(last);
        }
        self.reader.seek(here);
        match last {
            Some(last) => self.tracks[track].duration = Some(self.clock.at(last).max(MediaTime::ZERO)),
            // Pages of another serial number at the end: another stream follows.
            None => self.chained = true,
        }
        Ok(())
    }

    /// Reads one page and queues the packets that end in it.
    fn read_page(&mut self) -> Result<(), DemuxError> {
        let Some(page) = next_page(&mut self.reader, u64::MAX)? else {
            self.ended = true;
            if self.partial.take().is_some() {
                return Err(DemuxError::Truncated {
                    format: FORMAT,
                    what: "it ends in the middle of a packet".to_owned(),
                });
            }
            return Ok(());
        };
        let Some((serial, _)) = self.playing else { return Ok(()) };
        if page.begins_stream {
            return self.begin_chained(&page);
        }
        if page.serial != serial {
            return Ok(());
        }
        let (position, ends_stream) = (page.position, page.ends_stream);
        let mut packets = self.whole_packets(page)?;
        while self.headers_left > 0 && !packets.is_empty() {
            packets.remove(0);
            self.headers_left -= 1;
        }
        self.queue(packets, position, ends_stream);
        Ok(())
    }

    /// Joins what the page before began, and keeps what this one does not end.
    fn whole_packets(&mut self, mut page: Page) -> Result<Vec<Bytes>, DemuxError> {
        // What was begun is lost when the page that goes on with it is missing.
        let begun = self.partial.take();
        if page.continues && !page.packets.is_empty() {
            let rest = page.packets.remove(0);
            let ends_here = !(page.packets.is_empty() && page.unfinished);
            if let Some(mut whole) = begun {
                whole.extend_from_slice(&rest);
                if whole.len() > MAX_PACKET {
                    let what = format!("a packet of more than {MAX_PACKET} bytes");
                    return Err(DemuxError::Limit { format: FORMAT, what });
                }
                if !ends_here {
                    self.partial = Some(whole);
                    return Ok(Vec::new());
                }
                page.packets.insert(0, whole.freeze());
            } else if !ends_here {
                return Ok(Vec::new());
            }
        }
        if page.unfinished
            && let Some(last) = page.packets.pop()
        {
            self.partial = Some(BytesMut::from(&last[..]));
        }
        Ok(page.packets)
    }

    /// Gives packets their times. `position` is where the last of them ends.
    fn queue(&mut self, packets: Vec<Bytes>, position: Option<i64>, ends_stream: bool) {
        let Some((_, track)) = self.playing else { return };
        let lengths = packets.iter().map(|packet| i64::from(samples(packet).unwrap_or(0)));
        let total: i64 = lengths.sum();
        if packets.is_empty() {
            return;
        }
        let mut start = match (self.clock.next, position) {
            // Pages were lost, or time was cut out: go on where the page says.
            (Some(next), Some(end)) if !ends_stream && end.saturating_sub(total) > next => end - total,
            (Some(next), _) => next,
            // A short stream begins at 0 and its one page ends early.
            (None, Some(end)) if ends_stream && self.clock.origin.is_none() => {
                end.saturating_sub(total).max(0)
            }
            (None, Some(end)) => end.saturating_sub(total),
            (None, None) => self.clock.origin.unwrap_or(0),
        };
        let first = *self.clock.origin.get_or_insert(start);
        let end = position.filter(|_| ends_stream).map(|end| self.clock.at(end.max(first)));
        for data in packets {
            let Some(samples) = samples(&data) else { continue };
            let pts = self.clock.at(start);
            let (trim_start, trim_end) = trims(pts, samples, RATE, self.clock.start, end);
            start = start.saturating_add(i64::from(samples));
            self.ready.push_back(Packet {
                track,
                pts,
                dts: None,
                duration: MediaTime::from_ticks(samples.into(), RATE),
                key: true,
                trim_start,
                trim_end,
                data,
            });
        }
        self.clock.next = Some(if ends_stream { position.unwrap_or(start) } else { start });
    }

    /// Another stream begins behind the one that was played: it goes on where that one ended.
    fn begin_chained(&mut self, page: &Page) -> Result<(), DemuxError> {
        let Some(head) = page.packets.first().and_then(|packet| opus::Head::parse(packet).ok()) else {
            return Ok(());
        };
        let Some((serial, track)) = &mut self.playing else { return Ok(()) };
        // A decoder of one stream plays mono and stereo alike.
        if head.n_streams != self.n_streams {
            self.ended = true;
            return Err(DemuxError::Unsupported {
                what: "an Ogg file whose channels change in the middle".to_owned(),
                advice: "cut it into pieces and play them one after the other",
            });
        }
        *serial = page.serial;
        self.tracks[*track].duration = None;
        self.chained = true;
        self.partial = None;
        self.headers_left = 1;
        let end = self.clock.next.map_or(self.clock.start, |next| self.clock.at(next));
        self.clock = Clock { next: None, origin: None, start: end, pre_skip: i64::from(head.pre_skip) };
        Ok(())
    }

    /// Starts over at the first page with sound.
    fn rewind(&mut self) {
        self.reader.seek(self.data_start);
        self.headers_left = 1;
        self.clock.next = self.clock.origin;
        self.forget();
    }

    fn forget(&mut self) {
        self.partial = None;
        self.ready.clear();
        self.pending = None;
        self.ended = self.playing.is_none();
    }

    /// Finds, by bisection, a page that ends before `position`, and goes behind it.
    fn bisect(&mut self, position: i64) -> Result<(), DemuxError> {
        let Some((serial, _)) = self.playing else { return Ok(()) };
        let (mut low, mut high) = (self.data_start, self.reader.len());
        while high.saturating_sub(low) > NEAR {
            let middle = low + (high - low) / 2;
            self.reader.seek(middle);
            let found = loop {
                match next_page(&mut self.reader, high) {
                    Ok(Some(page)) if page.serial == serial && page.position.is_some() => {
                        break page.position.map(|end| (end, self.reader.pos()));
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => break None,
                    // A damaged page is as good as none; the reader is behind it.
                    Err(DemuxError::Io(error)) => return Err(error.into()),
                    Err(_) => {}
                }
            };
            match found {
                Some((end, behind)) if end <= position => low = behind.max(middle + 1),
                _ => high = middle,
            }
        }
        self.reader.seek(low);
        if low == self.data_start {
            self.rewind();
        } else {
            self.headers_left = 0;
            self.clock.next = None;
            self.forget();
        }
        Ok(())
    }
}

impl Ogg {
    /// An Opus stream was found; the packets of others are not read here.
    pub(super) const fn plays_opus(&self) -> bool {
        self.playing.is_some()
    }

    pub(super) fn into_reader(self) -> Reader {
        self.reader
    }
}

impl Demuxer for Ogg {
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
            if let Some(error) = self.pending.take() {
                return Err(error);
            }
            if self.ended {
                return Ok(None);
            }
            let read = self.read_page();
            // What cannot be read here cannot be read behind it.
            self.ended |= matches!(read, Err(DemuxError::Io(_)));
            read?;
        }
    }

    fn seek(&mut self, to: MediaTime) -> Result<MediaTime, DemuxError> {
        let wanted = to;
        let to = to - PRE_ROLL;
        if self.chained {
            // Positions start over in each stream, so only reading on finds a place.
            let (serial, clock) = self.first_stream()?;
            self.clock = clock;
            if let Some(playing) = &mut self.playing {
                playing.0 = serial;
            }
            self.rewind();
        } else {
            let origin = self.clock.origin.unwrap_or(0);
            self.bisect(to.to_ticks(RATE).saturating_add(origin).saturating_add(self.clock.pre_skip))?;
        }
        let mut last = VecDeque::new();
        while let Some(packet) = self.next_packet()? {
            let reached = packet.pts + packet.duration > to;
            last.push_back(packet);
            if reached {
                break;
            }
            // Enough to settle, for a place behind the end.
            if last.len() > 40 {
                last.pop_front();
            }
        }
        let reached = last.back().is_some_and(|packet| packet.pts + packet.duration > to);
        if reached {
            last.drain(..last.len() - 1);
        }
        for packet in last.into_iter().rev() {
            self.ready.push_front(packet);
        }
        Ok(self.ready.front().map_or(wanted, |packet| packet.pts))
    }
}

impl Ogg {
    /// The beginning of a chained file, read again.
    fn first_stream(&mut self) -> Result<(u32, Clock), DemuxError> {
        self.reader.seek(0);
        while let Some(page) = next_page(&mut self.reader, self.data_start)? {
            if let Some(head) = page.packets.first().and_then(|packet| opus::Head::parse(packet).ok()) {
                let clock = Clock {
                    next: None,
                    origin: None,
                    start: MediaTime::ZERO,
                    pre_skip: i64::from(head.pre_skip),
                };
                return Ok((page.serial, clock));
            }
        }
        Err(DemuxError::Damaged { format: FORMAT, what: "its beginning cannot be read again".to_owned() })
    }
}

/// What a packet decodes to; `None`: it is no Opus packet.
fn samples(packet: &[u8]) -> Option<u32> {
    opus::Shape::of(packet).ok().map(opus::Shape::samples)
}

/// The track that the first packet of a stream announces; `None` for streams that are neither
/// sound nor pictures (skeletons, subtitles).
fn identify(packet: &Bytes) -> Option<Track> {
    let audio = |sample_rate, channels| Shape::Audio { sample_rate, channels };
    let unknown = |name: &str| Codec::Unknown(name.to_owned());
    let number = |at: usize| Some(u32::from_le_bytes(*packet.get(at..)?.first_chunk()?));
    let (kind, codec, shape) = if let Ok(head) = opus::Head::parse(packet) {
        (MediaKind::Audio, Codec::Opus, audio(RATE, u16::from(head.channels)))
    } else if packet.starts_with(b"\x01vorbis") {
        let channels = u16::from(*packet.get(11)?);
        (MediaKind::Audio, Codec::Vorbis, audio(number(12)?, channels))
    } else if packet.starts_with(b"\x7fFLAC") {
        (MediaKind::Audio, Codec::Flac, audio(0, 0))
    } else if packet.starts_with(b"Speex   ") {
        (MediaKind::Audio, unknown("speex"), audio(number(36)?, number(48)? as u16))
    } else if packet.starts_with(b"\x80theora") {
        let video = Shape::Video { width: 0, height: 0, rotation: 0, pixel: None };
        (MediaKind::Video, unknown("theora"), video)
    } else {
        return None;
    };
    Some(Track { kind, codec, duration: None, language: None, config: packet.clone(), shape })
}

#[cfg(test)]
mod tests;
