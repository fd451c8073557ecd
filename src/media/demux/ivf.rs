//! IVF → packets: a header, then frames behind 12 bytes each with their length and time.
//!
//! There is no index. Places of keyframes are remembered as they go by, and a seek to where
//! nobody has been walks there from header to header.

use bytes::Bytes;

use super::reader::Reader;
use super::{DemuxError, Demuxer, MAX_PACKET, Packet, Shape, Track, is_key};
use crate::media::{Codec, MediaKind};
use crate::time::MediaTime;

const FORMAT: &str = "ivf";
/// The shortest header, which all known writers write.
const HEADER: u16 = 32;
const FRAME_HEADER: u64 = 12;
/// The first bytes of a frame say whether it is a keyframe.
const LOOK: usize = 1;

/// A file being read.
pub(super) struct Ivf {
    reader: Reader,
    track: [Track; 1],
    clock: Clock,
    /// Where the first frame is.
    begin: u64,
    /// Keyframes seen so far, by place: when and where.
    keys: Vec<(MediaTime, u64)>,
    /// How long the frame before was: that of the last one is not known otherwise.
    usual: MediaTime,
    ended: bool,
}

/// Ticks of the file → time.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// Ticks in `scale` seconds.
    rate: u32,
    scale: u32,
}

/// The header of a frame.
#[derive(Clone, Copy, Debug)]
struct Frame {
    len: u32,
    ticks: u64,
}

impl Clock {
    fn time(self, ticks: u64) -> MediaTime {
        MediaTime::from_rational(ticks.cast_signed(), self.scale, self.rate)
    }
}

impl Ivf {
    pub(super) fn open(mut reader: Reader) -> Result<Self, DemuxError> {
        reader.set_format(FORMAT);
        let header: [u8; HEADER as usize] = reader.array()?;
        let u16_at = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let u32_at =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let damaged = |what: &str| DemuxError::Damaged { format: FORMAT, what: what.to_owned() };
        let header_len = u16_at(6);
        let (rate, scale) = (u32_at(16), u32_at(20));
        if header_len < HEADER {
            return Err(damaged("its header is shorter than the fields in it"));
        }
        if rate == 0 || scale == 0 {
            return Err(damaged("its clock stands still"));
        }
        let codec = match &header[8..12] {
            b"VP80" => Codec::Vp8,
            b"VP90" => Codec::Vp9,
            other => {
                Codec::Unknown(String::from_utf8_lossy(other).trim_end_matches('\0').to_ascii_lowercase())
            }
        };
        let begin = u64::from(header_len);
        reader.seek(begin);
        let first = peek_frame(&mut reader)?;
        let clock = Clock { rate, scale };
        let step = second_frame(&mut reader, first)?
            .zip(first)
            .map(|(second, first)| second.wrapping_sub(first.ticks));
        let usual = step.map_or(MediaTime::ZERO, |step| clock.time(step));
        // Some writers count ticks and some count frames; where a frame is a tick they agree.
        let is_certain = step == Some(1);
        let duration = Some(MediaTime::from_rational(i64::from(u32_at(24)), scale, rate))
            .filter(|duration| is_certain && *duration > MediaTime::ZERO);
        let track = [Track {
            kind: MediaKind::Video,
            codec,
            duration,
            language: None,
            config: Bytes::new(),
            shape: Shape::Video {
                width: u16_at(12).into(),
                height: u16_at(14).into(),
                rotation: 0,
                pixel: None,
            },
        }];
        Ok(Self { reader, track, clock, begin, keys: Vec::new(), usual, ended: false })
    }

    /// Remembers the frame that begins here, if decoding can start with it.
    fn note_key(&mut self, pts: MediaTime, key: bool) {
        let pos = self.reader.pos();
        if key && self.keys.last().is_none_or(|(_, last)| *last < pos) {
            self.keys.push((pts, pos));
        }
    }

    /// Walks on without reading pictures until one is shown after `to`.
    fn walk_to(&mut self, to: MediaTime) -> Result<(), DemuxError> {
        while let Some(frame) = peek_frame(&mut self.reader)? {
            let pts = self.clock.time(frame.ticks);
            if pts > to || self.reader.left() < FRAME_HEADER + u64::from(frame.len) {
                break;
            }
            let start = self.reader.pos();
            self.reader.skip(FRAME_HEADER);
            let key = frame.len > 0 && is_key(&self.track[0].codec, self.reader.peek(LOOK)?);
            self.reader.seek(start);
            self.note_key(pts, key);
            self.reader.skip(FRAME_HEADER + u64::from(frame.len));
        }
        Ok(())
    }
}

impl Demuxer for Ivf {
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
        let start = self.reader.pos();
        // Lengths are all there is: behind a damaged one nothing can be found.
        self.ended = true;
        let Some(frame) = peek_frame(&mut self.reader)? else { return Ok(None) };
        self.reader.skip(FRAME_HEADER);
        let data = self.reader.take(frame.len.into(), MAX_PACKET, "a frame")?;
        self.ended = false;
        let behind = self.reader.pos();
        let pts = self.clock.time(frame.ticks);
        let key = is_key(&self.track[0].codec, &data);
        self.reader.seek(start);
        self.note_key(pts, key);
        self.reader.seek(behind);
        // What is cut off behind this frame is told with the next one.
        if let Ok(Some(next)) = peek_frame(&mut self.reader) {
            self.usual = (self.clock.time(next.ticks) - pts).max(MediaTime::ZERO);
        }
        Ok(Some(Packet {
            track: 0,
            pts,
            dts: None,
            duration: self.usual,
            key,
            trim_start: 0,
            trim_end: 0,
            data,
        }))
    }

    fn seek(&mut self, to: MediaTime) -> Result<MediaTime, DemuxError> {
        self.ended = false;
        let known = self.keys.iter().rev().find(|(pts, _)| *pts <= to).copied();
        let last = self.keys.last().copied();
        if known == last {
            // Later ones may be nearer.
            self.reader.seek(last.map_or(self.begin, |(_, pos)| pos));
            self.walk_to(to)?;
        }
        let landed = self.keys.iter().rev().find(|(pts, _)| *pts <= to).or_else(|| self.keys.first());
        let (pts, pos) = landed.copied().unwrap_or((MediaTime::ZERO, self.begin));
        self.reader.seek(pos);
        Ok(pts)
    }
}

/// The header of the frame that begins here; `None` at the end.
fn peek_frame(reader: &mut Reader) -> Result<Option<Frame>, DemuxError> {
    let truncated = reader.truncated(FRAME_HEADER);
    let bytes = reader.peek(FRAME_HEADER as usize)?;
    let Some(header) = bytes.first_chunk::<{ FRAME_HEADER as usize }>() else {
        return if bytes.is_empty() { Ok(None) } else { Err(truncated) };
    };
    let (len, ticks) = header.split_at(4);
    let len = u32::from_le_bytes(len.try_into().expect("four bytes"));
    Ok(Some(Frame { len, ticks: u64::from_le_bytes(ticks.try_into().expect("eight bytes")) }))
}

/// When the second frame is shown, if it lies within what is loaded anyway.
fn second_frame(reader: &mut Reader, first: Option<Frame>) -> Result<Option<u64>, DemuxError> {
    let (Some(first), begin) = (first, reader.pos()) else { return Ok(None) };
    let behind = FRAME_HEADER as usize + first.len as usize;
    let bytes = reader.peek(behind.saturating_add(FRAME_HEADER as usize))?;
    let ticks = bytes.get(behind + 4..behind + FRAME_HEADER as usize);
    let ticks = ticks.map(|ticks| u64::from_le_bytes(ticks.try_into().expect("eight bytes")));
    reader.seek(begin);
    Ok(ticks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::demux;

    /// Frames of three ticks of 1/90 s; every fourth is a keyframe of VP8.
    fn file(n_frames: u32, start: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(b"DKIF\0\0\x20\0VP80\x40\x01\xb4\0");
        for field in [90, 1, n_frames, 0] {
            bytes.extend_from_slice(&u32::to_le_bytes(field));
        }
        for n in 0..n_frames {
            let len = 5 + n % 7;
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(&(start + u64::from(n) * 3).to_le_bytes());
            bytes.push(u8::from(n % 4 != 0));
            bytes.resize(bytes.len() + len as usize - 1, n as u8);
        }
        bytes
    }

    fn open(bytes: Vec<u8>) -> Box<dyn Demuxer> {
        demux::open(Box::new(std::io::Cursor::new(bytes))).unwrap()
    }

    #[test]
    fn frames_come_with_their_times_and_keys() {
        let mut ivf = open(file(9, 1000));
        assert_eq!(ivf.tracks()[0].shape, Shape::Video { width: 320, height: 180, rotation: 0, pixel: None });
        assert_eq!(ivf.tracks()[0].duration, None, "nine ticks or nine frames?");
        for n in 0..9 {
            let packet = ivf.next_packet().unwrap().unwrap();
            assert_eq!((packet.pts, packet.key), (MediaTime::from_ticks(1000 + n * 3, 90), n % 4 == 0));
            assert_eq!(packet.duration, MediaTime::from_ticks(1, 30), "also of the last one");
            assert_eq!(packet.data.len(), 5 + n as usize % 7);
        }
        assert_eq!(ivf.next_packet().unwrap(), None);
    }

    #[test]
    fn a_seek_finds_keyframes_where_nobody_has_been() {
        let mut ivf = open(file(100, 0));
        for (to, lands) in [(50, 48), (49, 48), (99, 96), (1000, 96), (3, 0), (-5, 0), (60, 60)] {
            let landed = ivf.seek(MediaTime::from_ticks(to, 30)).unwrap();
            assert_eq!(landed, MediaTime::from_ticks(lands, 30), "{to}");
            assert_eq!(ivf.next_packet().unwrap().unwrap().pts, landed, "{to}");
        }
    }

    #[test]
    fn a_file_that_is_cut_off_plays_up_to_the_cut() {
        let whole = file(20, 0);
        for cut in [whole.len() - 1, whole.len() - 20] {
            let mut ivf = open(whole[..cut].to_vec());
            let (mut n, mut errors) = (0, 0);
            loop {
                match ivf.next_packet() {
                    Ok(Some(_)) => n += 1,
                    Ok(None) => break,
                    Err(error) => {
                        assert!(matches!(error, DemuxError::Truncated { .. }), "{error}");
                        errors += 1;
                    }
                }
            }
            assert!((17..20).contains(&n) && errors == 1, "{n} frames, {errors} errors");
        }
        assert!(
            Ivf::open(Reader::new(Box::new(std::io::Cursor::new(whole[..20].to_vec()))).unwrap()).is_err()
        );
    }
}
