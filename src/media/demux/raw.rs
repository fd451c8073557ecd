//! H.264 without a container (Annex B) → packets: one picture after the other at a steady rate.
//!
//! The stream has no times. The rate comes from whoever opens it, from the stream's own timing,
//! or is 25; a picture's number in the order of decoding is its time. Pictures that are reordered
//! get their order back in the decoder that transcodes them.

use std::collections::VecDeque;

use bytes::Bytes;

use super::reader::Reader;
use super::{DemuxError, Demuxer, MAX_PACKET, Packet, Shape, Track};
use crate::media::codec::h264::{self, AccessUnit, AnnexB, AvcConfig, Sps};
use crate::media::{Codec, MediaKind};
use crate::time::MediaTime;

const FORMAT: &str = "h264";
/// Pictures per second where nothing tells, as FFmpeg takes it.
const USUAL_RATE: (u32, u32) = (25, 1);
/// Pictures to search for parameter sets.
const LOOK_AT: usize = 600;
/// A start code and the two bytes that tell whether a picture begins.
const START: usize = 5;

/// A file being read.
pub(super) struct Raw {
    units: Units,
    converter: AnnexB,
    track: [Track; 1],
    /// Pictures in so many seconds.
    rate: (u32, u32),
    /// Read while opening.
    waiting: VecDeque<Unit>,
    n_pictures: u64,
    /// Keyframes seen so far: which picture, and where.
    keys: Vec<(u64, u64)>,
    ended: bool,
}

impl Raw {
    /// `fps` is the rate, if it is known from elsewhere.
    pub(super) fn open(mut reader: Reader, fps: Option<u32>) -> Result<Self, DemuxError> {
        reader.set_format(FORMAT);
        let mut units = Units::new(reader);
        let (mut waiting, mut found) = (VecDeque::new(), None);
        while let (None, true) = (&found, waiting.len() < LOOK_AT) {
            let Some(unit) = units.next()? else { break };
            let sets = h264::nal_units(&unit.data).filter(|nal| h264::nal_type(nal) == h264::NAL_SPS);
            found = sets.filter_map(Sps::parse).next().map(|sps| (sps, unit.data.clone()));
            waiting.push_back(unit);
        }
        let Some((sps, config)) = found else { return Err(DemuxError::NoTracks { format: FORMAT }) };
        let damaged =
            |error: h264::H264Error| DemuxError::Damaged { format: FORMAT, what: error.to_string() };
        let config = AvcConfig::parse(&config).map_err(damaged)?;
        let told = sps.frame_duration.map(|(length, scale)| (scale, length)).filter(is_honest);
        let rate = fps.filter(|fps| *fps > 0).map(|fps| (fps, 1)).or(told).unwrap_or(USUAL_RATE);
        let track = [Track {
            kind: MediaKind::Video,
            codec: Codec::H264,
            duration: None,
            language: None,
            config: config.to_annex_b(),
            shape: Shape::Video { width: sps.width, height: sps.height, rotation: 0, pixel: None },
        }];
        let converter = AnnexB::new(&config);
        Ok(Self { units, converter, track, rate, waiting, n_pictures: 0, keys: Vec::new(), ended: false })
    }

    fn at(&self, picture: u64) -> MediaTime {
        let (num, den) = self.rate;
        MediaTime::from_rational(i64::try_from(picture).unwrap_or(i64::MAX), den, num)
    }

    fn next_unit(&mut self) -> Result<Option<Unit>, DemuxError> {
        match self.waiting.pop_front() {
            Some(unit) => Ok(Some(unit)),
            None => self.units.next(),
        }
    }

    /// The next picture in the form that is sent.
    fn next_picture(&mut self) -> Result<Option<AccessUnit>, DemuxError> {
        let Some(unit) = self.next_unit()? else { return Ok(None) };
        let converted = self.converter.convert(&unit.data);
        let converted =
            converted.map_err(|error| DemuxError::Damaged { format: FORMAT, what: error.to_string() })?;
        if converted.key && self.keys.last().is_none_or(|(last, _)| *last < self.n_pictures) {
            self.keys.push((self.n_pictures, unit.pos));
        }
        self.n_pictures += 1;
        Ok(Some(converted))
    }

    fn go_to(&mut self, (picture, pos): (u64, u64)) {
        self.units.go_to(pos);
        self.waiting.clear();
        self.n_pictures = picture;
    }
}

/// Encoders write nonsense into their timing; such a rate is not believed.
fn is_honest((num, den): &(u32, u32)) -> bool {
    (1..=240).contains(&(num / den.max(&1)))
}

impl Demuxer for Raw {
    fn format(&self) -> &'static str {
        FORMAT
    }

    fn tracks(&self) -> &[Track] {
        &self.track
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, DemuxError> {
        if self.ended {
            return Ok(None);
        }
        let pts = self.at(self.n_pictures);
        let picture = self.next_picture();
        self.ended = !matches!(picture, Ok(Some(_)));
        let Some(AccessUnit { data, key }) = picture? else { return Ok(None) };
        let duration = self.at(self.n_pictures) - pts;
        Ok(Some(Packet { track: 0, pts, dts: None, duration, key, trim_start: 0, trim_end: 0, data }))
    }

    fn seek(&mut self, to: MediaTime) -> Result<MediaTime, DemuxError> {
        self.ended = false;
        let before = |this: &Self| {
            let known = this.keys.iter().rev().find(|(picture, _)| this.at(*picture) <= to);
            known.or_else(|| this.keys.first()).copied()
        };
        let known = before(self);
        if known.is_none() || known == self.keys.last().copied() {
            // Later ones may be nearer: everything up to there is looked at.
            if let Some(last) = known {
                self.go_to(last);
            }
            while self.at(self.n_pictures) <= to && self.next_picture()?.is_some() {}
        }
        let landed = before(self).unwrap_or((0, 0));
        self.go_to(landed);
        Ok(self.at(landed.0))
    }
}

/// The NAL units of one picture.
struct Unit {
    /// Where it begins in the file.
    pos: u64,
    data: Bytes,
}

/// Bytes → pictures.
struct Units {
    reader: Reader,
    /// What was read and belongs to the current picture or what follows it.
    bytes: Vec<u8>,
    /// Where `bytes` begins in the file.
    pos: u64,
    /// Up to here there is no further start code in `bytes`.
    searched: usize,
    /// The current picture has a slice.
    has_slice: bool,
}

impl Units {
    fn new(reader: Reader) -> Self {
        let pos = reader.pos();
        Self { reader, bytes: Vec::new(), pos, searched: 0, has_slice: false }
    }

    fn go_to(&mut self, pos: u64) {
        self.reader.seek(pos);
        self.bytes.clear();
        (self.pos, self.searched, self.has_slice) = (pos, 0, false);
    }

    /// The next picture with all that stands before it; `None` at the end.
    fn next(&mut self) -> Result<Option<Unit>, DemuxError> {
        loop {
            while let Some(at) = find_start(&self.bytes, self.searched) {
                let (header, second) = (self.bytes[at + 3], self.bytes[at + 4]);
                self.searched = at + START;
                if self.has_slice && begins_picture(header, second) {
                    let unit = self.split(at);
                    self.has_slice = is_slice(header);
                    return Ok(Some(unit));
                }
                self.has_slice |= is_slice(header);
            }
            // A start code may have come in part.
            self.searched = self.searched.max(self.bytes.len().saturating_sub(START - 1));
            if self.bytes.len() > MAX_PACKET {
                return Err(DemuxError::Limit {
                    format: FORMAT,
                    what: format!("a picture of more than {MAX_PACKET} bytes at byte {}", self.pos),
                });
            }
            let block = self.reader.peek_block()?;
            if block.is_empty() {
                let unit = self.split(self.bytes.len());
                return Ok(std::mem::take(&mut self.has_slice).then_some(unit));
            }
            self.bytes.extend_from_slice(block);
            let n_bytes = block.len() as u64;
            self.reader.skip(n_bytes);
        }
    }

    /// Takes what stands before `at`.
    fn split(&mut self, at: usize) -> Unit {
        let rest = self.bytes.split_off(at);
        let data = std::mem::replace(&mut self.bytes, rest);
        let unit = Unit { pos: self.pos, data: data.into() };
        self.pos += at as u64;
        self.searched = self.searched.saturating_sub(at);
        unit
    }
}

/// The next start code with two bytes behind it.
fn find_start(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        // The third byte decides how far to jump: over 1 it cannot be part of a start code.
        match bytes.get(at..at + START)? {
            [0, 0, 1, _, _] => return Some(at),
            [_, _, 0 | 1, ..] => at += 1,
            _ => at += 3,
        }
    }
}

/// Whether a NAL unit behind a slice belongs to the next picture (7.4.1.2.3): parameter sets,
/// messages and delimiters do, and the slice with the first macroblock.
const fn begins_picture(header: u8, second: u8) -> bool {
    match header & 0x1f {
        6..=9 | 14..=18 => true,
        // `first_mb_in_slice` 0 is a single 1.
        1 | 2 | 5 => second & 0x80 != 0,
        _ => false,
    }
}

const fn is_slice(header: u8) -> bool {
    matches!(header & 0x1f, 1 | 2 | 5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::demux;

    /// The pictures of a clip without their container.
    fn clip() -> (Vec<u8>, Vec<Packet>) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("media/long-gop.mp4");
        let mut demuxer = demux::open(crate::media::source::open(&path).unwrap()).unwrap();
        let track = demuxer.tracks().iter().position(|t| t.kind == MediaKind::Video).unwrap();
        let packets = std::iter::from_fn(|| demuxer.next_packet().unwrap());
        let packets: Vec<Packet> = packets.filter(|packet| packet.track == track).collect();
        (packets.iter().flat_map(|packet| packet.data.to_vec()).collect(), packets)
    }

    fn open(bytes: &[u8], fps: Option<u32>) -> Box<dyn Demuxer> {
        demux::open_with(
            Box::new(std::io::Cursor::new(bytes.to_vec())),
            demux::Hints { fps, ..demux::Hints::default() },
        )
        .unwrap()
    }

    #[test]
    fn the_pictures_of_a_clip_are_the_same_without_its_container() {
        let (bytes, expected) = clip();
        let mut raw = open(&bytes, None);
        let found: Vec<Packet> = std::iter::from_fn(|| raw.next_packet().unwrap()).collect();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!((found.pts, found.key), (expected.pts, expected.key));
            assert_eq!(found.data, expected.data, "at {:?}", found.pts);
            assert_eq!(found.duration, expected.duration);
        }
        let mut slow = open(&bytes, Some(10));
        assert_eq!(slow.next_packet().unwrap().unwrap().duration, MediaTime::from_millis(100));
    }

    #[test]
    fn a_seek_goes_to_keyframes_ahead_and_behind() {
        let (bytes, expected) = clip();
        let mut raw = open(&bytes, None);
        for (to, lands) in [(15, 10), (3, 0), (99, 10), (10, 10), (0, 0)] {
            let landed = raw.seek(MediaTime::from_secs(to)).unwrap();
            assert_eq!(landed, MediaTime::from_secs(lands), "{to}");
            let packet = raw.next_packet().unwrap().unwrap();
            let same = expected.iter().find(|packet| packet.pts == landed).unwrap();
            assert_eq!((packet.pts, &packet.data), (landed, &same.data), "{to}");
        }
    }

    #[test]
    fn it_does_not_matter_how_the_bytes_come() {
        let (bytes, expected) = clip();
        let short = &bytes[..200_000];
        let pipe = crate::media::source::stream::Stream::new(std::io::Cursor::new(short.to_vec()));
        let mut raw = demux::open(Box::new(pipe)).unwrap();
        let found: Vec<Packet> = std::iter::from_fn(|| raw.next_packet().unwrap()).collect();
        // The last one is cut off.
        let n_whole = found.len() - 1;
        assert!(n_whole > 20, "{n_whole}");
        assert!(found[..n_whole].iter().zip(&expected).all(|(a, b)| a.data == b.data));
    }

    #[test]
    fn bytes_without_a_parameter_set_are_no_track() {
        let slices = [&[0, 0, 0, 1, 0x65, 0x88, 0x80, 0x10][..], &[1; 300]].concat().repeat(4);
        let error = demux::open(Box::new(std::io::Cursor::new(slices))).err().unwrap();
        assert!(matches!(error, DemuxError::NoTracks { format: "h264" }), "{error}");
    }
}
