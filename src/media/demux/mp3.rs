//! mp3: frames one after the other, with tags before, behind and between them.
//!
//! The file says nothing about time, so a packet's time is the sum of those before it. The first
//! frame may be no sound but the note of the encoder (Xing, Info): how many frames there are, and
//! how many samples at both ends are its own padding. ISO/IEC 11172-3; LAME tag revision 0.

use bytes::Bytes;

use self::header::EncoderNote;
pub(super) use self::header::FrameHeader;
use super::audio::trims;
use super::reader::Reader;
use super::{DemuxError, Demuxer, Packet, Shape, Track};
use crate::media::{Codec, MediaKind};
use crate::time::MediaTime;

mod header;

const FORMAT: &str = "mp3";
/// Samples by which every decoder's filter bank is late.
const DECODER_DELAY: u32 = 528 + 1;
/// How far behind the tags the first frame may be: the worst padding seen is some kilobytes.
const MAX_JUNK_AT_START: u64 = 128 << 10;
/// A frame may take its bits from this many frames before it: 511 bytes, at the lowest bitrate.
const PRE_ROLL_FRAMES: u64 = 12;
/// Every so many frames a seek remembers where one stands.
const INDEX_STEP: u64 = 256;

/// An mp3 file being read.
pub(super) struct Mp3 {
    reader: Reader,
    tracks: Vec<Track>,
    first: FrameHeader,
    /// Samples of priming, decoder's delay included.
    priming: u32,
    /// Where the sound ends without the encoder's padding, on the clock of the item.
    end: Option<MediaTime>,
    /// Frames before the next one.
    n_frames: u64,
    /// Where the frames 0, `INDEX_STEP`, … begin, as far as known.
    index: Vec<u64>,
    ended: bool,
}

impl Mp3 {
    /// A live source may send the note of a file that its station plays: it says nothing of the whole.
    pub(super) fn open(mut reader: Reader, is_live: bool) -> Result<Self, DemuxError> {
        reader.set_format(FORMAT);
        skip_id3(&mut reader)?;
        let start = reader.pos();
        if reader.left() == 0 {
            return Err(DemuxError::Truncated {
                format: FORMAT,
                what: "there is nothing behind the ID3 tag".to_owned(),
            });
        }
        let limit = start.saturating_add(MAX_JUNK_AT_START);
        let Some(first) = sync(&mut reader, None, limit)? else {
            return Err(what_else(&mut reader, start)?);
        };
        let mut this = Self {
            tracks: Vec::new(),
            first,
            priming: 0,
            end: None,
            n_frames: 0,
            index: Vec::new(),
            ended: false,
            reader,
        };
        let frame = this.reader.peek(first.length)?;
        let note = EncoderNote::parse(frame, &first);
        let mut duration = None;
        if note.is_some() {
            this.reader.skip(first.length as u64);
        }
        if let Some(note) = note.filter(|_| !is_live) {
            this.priming = note.delay.map_or(0, |delay| delay + DECODER_DELAY);
            if let Some(n_frames) = note.n_frames {
                let samples = i64::from(n_frames) * i64::from(first.samples());
                let padding = note.padding.map_or(0, |padding| padding.saturating_sub(DECODER_DELAY));
                let heard = samples - i64::from(this.priming) - i64::from(padding);
                let end = MediaTime::from_ticks(heard.max(0), first.sample_rate);
                duration = Some(end);
                // Without the word on padding the count is a mere estimate of some encoders.
                this.end = note.padding.map(|_| end);
            }
        }
        this.index.push(this.reader.pos());
        this.tracks.push(Track {
            kind: MediaKind::Audio,
            codec: Codec::Mp3,
            // At a constant bitrate the size tells; at a variable one the encoder left its note.
            duration: duration.or_else(|| {
                if this.reader.is_streaming() {
                    return None;
                }
                let bits = i64::try_from(this.reader.left()).ok()?.saturating_mul(8);
                Some(MediaTime::from_rational(bits, 1, first.bitrate))
            }),
            language: None,
            config: Bytes::new(),
            shape: Shape::Audio { sample_rate: first.sample_rate, channels: first.channels },
        });
        Ok(this)
    }

    /// The header of the next frame, which begins at the reader's position.
    fn next_frame(&mut self) -> Result<Option<FrameHeader>, DemuxError> {
        let header = match FrameHeader::parse(self.reader.peek(4)?) {
            Some(header) if header.fits(&self.first) => Some(header),
            _ => sync(&mut self.reader, Some(&self.first), u64::MAX)?,
        };
        // A frame that is cut off at the end of the file is not played.
        Ok(header.filter(|header| self.reader.left() >= header.length as u64))
    }

    fn pts(&self) -> MediaTime {
        let samples =
            i64::try_from(self.n_frames).unwrap_or(i64::MAX).saturating_mul(self.first.samples().into());
        MediaTime::from_ticks(samples.saturating_sub(self.priming.into()), self.first.sample_rate)
    }

    /// Goes on by one frame, whose end the reader has reached.
    fn count_frame(&mut self) {
        self.n_frames += 1;
        if self.n_frames.is_multiple_of(INDEX_STEP) && self.n_frames / INDEX_STEP == self.index.len() as u64 {
            self.index.push(self.reader.pos());
        }
    }
}

impl Demuxer for Mp3 {
    fn format(&self) -> &'static str {
        FORMAT
    }

    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, DemuxError> {
        if self.ended {
            return Ok(None);
        }
        let pts = self.pts();
        let header = match self.next_frame() {
            Ok(Some(header)) if self.end.is_none_or(|end| pts < end) => header,
            Ok(_) => {
                self.ended = true;
                return Ok(None);
            }
            Err(error) => {
                self.ended = true;
                return Err(error);
            }
        };
        let data = self.reader.take(header.length as u64, MAX_FRAME, "a frame");
        self.ended = data.is_err();
        let data = data?;
        let (trim_start, trim_end) =
            trims(pts, header.samples(), header.sample_rate, MediaTime::ZERO, self.end);
        self.count_frame();
        Ok(Some(Packet {
            track: 0,
            pts,
            dts: None,
            duration: MediaTime::from_ticks(header.samples().into(), header.sample_rate),
            key: true,
            trim_start,
            trim_end,
            data,
        }))
    }

    fn seek(&mut self, to: MediaTime) -> Result<MediaTime, DemuxError> {
        let rate = self.first.sample_rate;
        let samples = to.to_ticks(rate).saturating_add(self.priming.into()).max(0);
        let target = (samples as u64 / u64::from(self.first.samples())).saturating_sub(PRE_ROLL_FRAMES);
        let last_known = self.index.len() as u64 - 1;
        let known = (target / INDEX_STEP).min(last_known);
        self.n_frames = known * INDEX_STEP;
        self.reader.seek(self.index[usize::try_from(known).unwrap_or(0)]);
        self.ended = false;
        // The last frames seen, so that a place behind the end becomes one near it.
        let mut last = std::collections::VecDeque::from([(self.n_frames, self.reader.pos())]);
        while self.n_frames < target {
            let Some(header) = self.next_frame()? else {
                let (n_frames, pos) = last[0];
                self.n_frames = n_frames;
                self.reader.seek(pos);
                break;
            };
            self.reader.skip(header.length as u64);
            self.count_frame();
            last.push_back((self.n_frames, self.reader.pos()));
            if last.len() as u64 > PRE_ROLL_FRAMES {
                last.pop_front();
            }
        }
        Ok(self.pts())
    }
}

/// The longest frame: 320 kbit/s at 32 kHz, padded, is 1441 bytes; at 8 kHz 160 kbit/s 1441 too.
const MAX_FRAME: usize = 4096;

/// Goes to the next place, before `limit`, where a frame begins that another one follows (or the
/// end of the file). With `like`, both must be frames of that sound.
fn sync(
    reader: &mut Reader,
    like: Option<&FrameHeader>,
    limit: u64,
) -> Result<Option<FrameHeader>, DemuxError> {
    while reader.left() >= 4 && reader.pos() < limit {
        let block = reader.peek_block()?;
        let Some(at) = block.iter().position(|byte| *byte == 0xff) else {
            let n = block.len() as u64;
            reader.skip(n);
            continue;
        };
        reader.skip(at as u64);
        if let Some(header) = FrameHeader::parse(reader.peek(4)?)
            && like.is_none_or(|like| header.fits(like))
        {
            let followed = reader.peek(header.length + 4)?.get(header.length..);
            let is_frame = match followed {
                Some(next) if next.len() == 4 => {
                    FrameHeader::parse(next).is_some_and(|next| next.fits(&header))
                        || next.starts_with(b"TAG")
                        || next.starts_with(b"APE")
                }
                // The last frame of the file, perhaps with a tag cut off.
                _ => like.is_some(),
            };
            if is_frame {
                return Ok(Some(header));
            }
        }
        reader.skip(1);
    }
    Ok(None)
}

/// Skips ID3v2 tags, of which some files have several.
fn skip_id3(reader: &mut Reader) -> Result<(), DemuxError> {
    while let [b'I', b'D', b'3', _, _, flags, sizes @ ..] = reader.peek(10)? {
        let size = sizes.iter().fold(0_u64, |sum, byte| sum << 7 | u64::from(byte & 0x7f));
        let footer = if flags & 0x10 != 0 { 10 } else { 0 };
        reader.skip(10 + size + footer);
    }
    Ok(())
}

/// What stands where the first frame should.
fn what_else(reader: &mut Reader, start: u64) -> Result<DemuxError, DemuxError> {
    reader.seek(start);
    let (found, perhaps_foreign) = match super::sniff::sniff(reader.peek(super::SNIFF)?) {
        super::Sniffed::Other(found) => (found, false),
        super::Sniffed::Unknown(found) => (found, true),
        super::Sniffed::Foreign(found) => (found.to_owned(), true),
        super::Sniffed::Plain(container) => (container.title().to_owned(), true),
        super::Sniffed::Mp3 => ("something like mp3, but no two frames in a row".to_owned(), true),
        _ => ("a tag in front of another container".to_owned(), true),
    };
    let found = if start > 0 { format!("{found}, behind an ID3 tag") } else { found };
    Ok(DemuxError::UnknownFormat { found, perhaps_foreign })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        // MPEG-1, 128 kbit/s, 44.1 kHz, stereo; the same padded; MPEG-2, 64 kbit/s, 22.05 kHz, mono.
        let plain = FrameHeader::parse(&[0xff, 0xfb, 0x90, 0x64]).unwrap();
        assert_eq!(
            (plain.length, plain.samples(), plain.sample_rate, plain.channels),
            (417, 1152, 44_100, 2)
        );
        assert_eq!(FrameHeader::parse(&[0xff, 0xfb, 0x92, 0x64]).unwrap().length, 418);
        let low = FrameHeader::parse(&[0xff, 0xf3, 0x80, 0xc4]).unwrap();
        assert_eq!((low.length, low.samples(), low.sample_rate, low.channels), (208, 576, 22_050, 1));
        for no_header in [
            &[0xff, 0xf1, 0x50, 0x80][..],
            &[0xff, 0xfb, 0x00, 0x64],
            &[0xff, 0xfb, 0xf0, 0x64],
            &[0xff, 0xfb, 0x9c, 0x64],
            &[0xff, 0xeb, 0x90, 0x64],
            &[0xff, 0xfb],
        ] {
            assert_eq!(FrameHeader::parse(no_header), None, "{no_header:x?}");
        }
    }

    #[test]
    fn encoder_note_with_every_field() {
        let header = FrameHeader::parse(&[0xff, 0xfb, 0x90, 0x64]).unwrap();
        let mut frame = vec![0; 36];
        frame.extend_from_slice(b"Info\0\0\0\x0f\0\0\x01\0\0\0\0\0");
        frame.extend_from_slice(&[0; 104]);
        frame.extend_from_slice(b"LAME3.100");
        frame.extend_from_slice(&[0; 12]);
        frame.extend_from_slice(&[0x24, 0x05, 0xdc]);
        let note = EncoderNote::parse(&frame, &header).unwrap();
        assert_eq!((note.n_frames, note.delay, note.padding), (Some(256), Some(576), Some(1500)));
        for end in 0..frame.len() {
            let _ = EncoderNote::parse(&frame[..end], &header);
        }
    }

    /// MPEG-1, 128 kbit/s, 44.1 kHz, with its number inside.
    fn frame(number: u16) -> Vec<u8> {
        let mut frame = vec![0; 417];
        frame[..4].copy_from_slice(&[0xff, 0xfb, 0x90, 0x64]);
        frame[100..102].copy_from_slice(&number.to_be_bytes());
        frame
    }

    fn frames(range: std::ops::Range<u16>) -> Vec<u8> {
        range.flat_map(frame).collect()
    }

    fn open_bytes(bytes: Vec<u8>) -> Result<Mp3, DemuxError> {
        Mp3::open(Reader::new(Box::new(std::io::Cursor::new(bytes))).unwrap(), false)
    }

    /// The numbers of the frames that are left, and the time of the first.
    fn rest(mp3: &mut Mp3) -> (Vec<u16>, Option<i64>) {
        let packets: Vec<_> = std::iter::from_fn(|| mp3.next_packet().unwrap()).collect();
        let numbers = packets.iter().map(|p| u16::from_be_bytes([p.data[100], p.data[101]])).collect();
        (numbers, packets.first().map(|packet| packet.pts.to_ticks(44_100)))
    }

    #[test]
    fn tags_and_junk_are_passed() {
        // A tag with a whole frame in it, a second one, junk between the frames, tags at the end.
        let mut bytes = b"ID3\x04\0\0\0\0\x03\x21".to_vec();
        bytes.extend(frame(999));
        bytes.extend_from_slice(b"ID3\x03\0\0\0\0\0\x02xx");
        bytes.extend(frames(0..5));
        bytes.extend_from_slice(b"junk \xff\xfb\x90\x64 \xff\xff");
        bytes.extend(frames(5..8));
        bytes.extend_from_slice(b"junk");
        bytes.extend(frames(8..9));
        bytes.extend_from_slice(b"TAG");
        bytes.extend_from_slice(&[b' '; 125]);
        assert_eq!(rest(&mut open_bytes(bytes).unwrap()), ((0..9).collect(), Some(0)));
    }

    #[test]
    fn a_frame_that_is_cut_off_is_not_played() {
        let bytes = frames(0..5);
        let mut mp3 = open_bytes(bytes[..bytes.len() - 1].to_vec()).unwrap();
        assert_eq!(rest(&mut mp3).0, [0, 1, 2, 3]);
    }

    #[test]
    fn seeking_counts_frames() {
        let mut mp3 = open_bytes(frames(0..2000)).unwrap();
        let duration = mp3.tracks()[0].duration.unwrap();
        // Without the padding of every frame but the tenth or so, the bitrate is a little lower.
        assert!((duration - MediaTime::from_ticks(2000 * 1152, 44_100)).abs() < MediaTime::from_millis(200));
        for wanted in [1500, 3, 700, 1999, 0] {
            let landed = mp3.seek(MediaTime::from_ticks(wanted * 1152 + 5, 44_100)).unwrap();
            let first = (wanted - 12).max(0);
            assert_eq!(landed.to_ticks(44_100), first * 1152);
            let (numbers, pts) = rest(&mut mp3);
            assert_eq!((numbers[0], pts), (first as u16, Some(first * 1152)));
            assert_eq!(numbers.len() as i64, 2000 - first);
        }
        mp3.seek(MediaTime::from_secs(100_000)).unwrap();
        assert_eq!(rest(&mut mp3).0.last(), Some(&1999));
    }

    #[test]
    fn the_note_of_the_encoder_trims_both_ends() {
        let mut note = frame(0);
        note[36..52].copy_from_slice(b"Info\0\0\0\x01\0\0\0\x03LAME");
        // Delay 576, padding 1000.
        note[36 + 12 + 21..36 + 12 + 24].copy_from_slice(&[0x24, 0x03, 0xe8]);
        let mut mp3 = open_bytes([note, frames(1..4)].concat()).unwrap();
        let packets: Vec<_> = std::iter::from_fn(|| mp3.next_packet().unwrap()).collect();
        assert_eq!(packets[0].pts.to_ticks(44_100), -1105);
        let trims: Vec<_> = packets.iter().map(|packet| (packet.trim_start, packet.trim_end)).collect();
        assert_eq!(trims, [(1105, 0), (0, 0), (0, 1000 - 529)]);
        assert_eq!(mp3.tracks()[0].duration.unwrap().to_ticks(44_100), 3 * 1152 - 576 - 1000);
    }

    #[test]
    fn a_station_goes_on_behind_the_note_of_a_file() {
        let mut note = frame(0);
        note[36..52].copy_from_slice(b"Info\0\0\0\x01\0\0\0\x03LAME");
        note[36 + 12 + 21..36 + 12 + 24].copy_from_slice(&[0x24, 0x03, 0xe8]);
        let bytes = [note, frames(1..100)].concat();
        let stream = crate::media::source::stream::Stream::new(std::io::Cursor::new(bytes));
        let mut mp3 = Mp3::open(Reader::new(Box::new(stream)).unwrap(), true).unwrap();
        assert_eq!(mp3.tracks()[0].duration, None);
        assert_eq!(rest(&mut mp3), ((1..100).collect(), Some(0)));
    }
}
