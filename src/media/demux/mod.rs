//! Container bytes → [`Packet`]s with exact times and honest key flags.

use std::io::{Read, Seek};

use bytes::Bytes;

use self::plain::Container;
use self::reader::Reader;
use self::sniff::Sniffed;
use super::pixel::PixelAspect;
use super::{Codec, MediaKind};
use crate::time::MediaTime;

mod audio;
pub mod foreign;
pub mod generated;
mod ivf;
pub(in crate::media) mod live;
mod matroska;
mod mp3;
mod mp4;
mod ogg;
mod plain;
mod raw;
mod reader;
mod sniff;

/// Bytes that tell the format: four packets of a transport stream and any signature.
const SNIFF: usize = 4096;
/// No honest coded picture is larger, not even an intra frame in 8K.
const MAX_PACKET: usize = 32 << 20;

/// Something that can be demuxed: a file, a buffer in memory.
pub trait MediaSource: Read + Seek + Send + Sync {}
impl<T: Read + Seek + Send + Sync> MediaSource for T {}

/// One coded unit of one track, in decoding order.
///
/// # Times of sound
/// `pts` belongs to the *first sample that `data` decodes to*, trimmed or not: sample `n` is heard
/// at `pts + n / sample_rate`. A reader gives all packets of the track to its codec in order, then
/// of each packet's samples throws away the first `trim_start` and the last `trim_end`. What is
/// left is never before 0 and has no gap to what the packet before left (unless the file has one).
/// So priming (AAC, mp3) and pre-skip (Opus) arrive as packets with a negative `pts` whose
/// `trim_start` reaches up to the first sample that is heard; a packet that is priming altogether
/// has a `trim_start` of its whole `duration`.
///
/// # Times of pictures
/// A picture with a negative `pts` is decoded (later ones may need it) and not shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Index into [`Demuxer::tracks`].
    pub track: usize,
    /// Presentation time on the clock of the item: edit lists, start offsets and priming applied.
    pub pts: MediaTime,
    /// Decoding time, where the container has one; else `None` (Matroska, Ogg, mp3).
    pub dts: Option<MediaTime>,
    /// How long it is shown or heard, before trimming. Zero where nothing tells.
    pub duration: MediaTime,
    /// Video: an IDR (or the codec's equivalent) by the bits themselves, not by the container's
    /// word. Sound: always true.
    pub key: bool,
    /// Samples at the track's rate to throw away from the start of what this decodes to.
    pub trim_start: u32,
    /// Samples to throw away from the end.
    pub trim_end: u32,
    /// H.264: Annex B with SPS and PPS before every IDR. Others: as the codec defines.
    pub data: Bytes,
}

/// What a container says about one of its tracks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// Sound or picture.
    pub kind: MediaKind,
    /// How it is coded.
    pub codec: Codec,
    /// Length, where the container knows it.
    pub duration: Option<MediaTime>,
    /// ISO 639-2 language, where given and not `und`.
    pub language: Option<String>,
    /// What the codec needs before the first packet: `AudioSpecificConfig` for AAC, `OpusHead` for
    /// Opus, `STREAMINFO` for FLAC, the headers of Vorbis, the cookie of ALAC, SPS and PPS in Annex B form for H.264, nothing for mp3, the container's bytes for others.
    pub config: Bytes,
    /// By kind.
    pub shape: Shape,
}

/// The measure of a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Of sound.
    Audio {
        /// Samples per second of the decoded sound.
        sample_rate: u32,
        /// Channels of the decoded sound.
        channels: u16,
    },
    /// Of pictures.
    Video {
        /// Coded width in pixels, cropping applied.
        width: u32,
        /// Coded height in pixels, cropping applied.
        height: u32,
        /// Clockwise rotation that a player applies: 0, 90, 180 or 270 degrees.
        rotation: u16,
        /// How wide a pixel is, where the container says that; the stream may say it otherwise.
        pixel: Option<PixelAspect>,
    },
}

/// A container being read.
pub trait Demuxer: Send {
    /// The container's name as FFmpeg has it: `mp4`, `matroska`, `ogg`, `mp3`, `flac`, `wav`, `aiff`,
    /// `ivf`, `h264`; `ffmpeg` for what it converts, `test` for what is made here.
    fn format(&self) -> &'static str;

    /// All tracks, also those nobody can play.
    fn tracks(&self) -> &[Track];

    /// The next packet; `Ok(None)` is the end. Each track comes in decoding order. Tracks are
    /// interleaved as the file has them, or by time where the container's index allows that: a
    /// reader that merges them must not have to hold half a file.
    ///
    /// # Errors
    /// When the file is damaged or cut off here. The call after an error goes on behind the
    /// damage where the container allows that, and is at the end where it does not; errors
    /// without end do not happen.
    fn next_packet(&mut self) -> Result<Option<Packet>, DemuxError>;

    /// Goes to the last keyframe of the first video track at or before `to` (to the first one,
    /// when all are later) and returns its time. Sound goes on a little earlier than that, by
    /// what its codec needs to settle; callers decode from there and drop what they do not want.
    ///
    /// Without a video track, goes to the packet that `to` falls into, again a little earlier,
    /// and returns the time of the packet that comes next. A `to` behind the end goes to the
    /// last keyframe, or, for sound alone, near the end.
    ///
    /// # Errors
    /// When the file cannot be read there.
    fn seek(&mut self, to: MediaTime) -> Result<MediaTime, DemuxError>;

    /// It goes on whether anybody reads it or not, and has no other place than the present one: a seek
    /// is no more than a wish, and returns where it is.
    fn is_live(&self) -> bool {
        false
    }
}

/// Recognizes a container by its content and reads what it says about its tracks.
///
/// Cost: the index of an mp4, some kilobytes of the others; the rest is read as it is asked for.
///
/// # Errors
/// When the bytes are no container that is known here, or one that is damaged, cut off, empty
/// or of a kind that is not supported.
pub fn open(source: Box<dyn MediaSource>) -> Result<Box<dyn Demuxer>, DemuxError> {
    open_with(source, Hints::default())
}

/// What the bytes themselves do not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Pictures per second of what has no times of its own.
    pub fps: Option<u32>,
    /// They go on for ever, whatever the first of them say of a length.
    pub is_live: bool,
}

/// The same, with what is known beforehand.
///
/// # Errors
/// As [`open`].
pub fn open_with(source: Box<dyn MediaSource>, hints: Hints) -> Result<Box<dyn Demuxer>, DemuxError> {
    let mut reader = Reader::new(source)?;
    if reader.len() == 0 {
        return Err(DemuxError::Empty);
    }
    match sniff::sniff(reader.peek(SNIFF)?) {
        Sniffed::Mp4 => Ok(Box::new(mp4::Mp4::open(reader)?)),
        Sniffed::Matroska => Ok(Box::new(matroska::Matroska::open(reader)?)),
        Sniffed::Ogg => ogg(reader),
        Sniffed::Plain(container) => plain(reader, container),
        Sniffed::Mp3 => Ok(Box::new(mp3::Mp3::open(reader, hints.is_live)?)),
        Sniffed::Ivf => Ok(Box::new(ivf::Ivf::open(reader)?)),
        Sniffed::H264 => Ok(Box::new(raw::Raw::open(reader, hints.fps)?)),
        Sniffed::Foreign(found) => Err(DemuxError::Foreign { found: found.to_owned() }),
        Sniffed::Other(found) => Err(DemuxError::UnknownFormat { found, perhaps_foreign: false }),
        Sniffed::Unknown(found) => Err(DemuxError::UnknownFormat { found, perhaps_foreign: true }),
    }
}

fn ogg(reader: Reader) -> Result<Box<dyn Demuxer>, DemuxError> {
    let ogg = ogg::Ogg::open(reader)?;
    if ogg.plays_opus() {
        return Ok(Box::new(ogg));
    }
    match ogg.foreign_codec() {
        Some(codec) => Err(DemuxError::Foreign { found: format!("Ogg with {codec}") }),
        None => plain(ogg.into_reader(), Container::Ogg),
    }
}

fn plain(reader: Reader, container: Container) -> Result<Box<dyn Demuxer>, DemuxError> {
    let (source, len) = reader.into_source()?;
    Ok(Box::new(plain::Plain::open(source, len, container)?))
}

/// Why a file cannot be read as media.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemuxError {
    /// The bytes cannot be read.
    #[error("cannot read the file")]
    Io(#[from] std::io::Error),
    /// Nothing in it.
    #[error("the file is empty")]
    Empty,
    /// No container that telecast knows.
    #[error(
        "not a media file that telecast can read ({found}); it reads mp4, mkv, webm, ogg, mp3, flac, wav, aiff, ivf and raw H.264"
    )]
    UnknownFormat {
        /// What the first bytes look like.
        found: String,
        /// Nothing is known of them, so FFmpeg may know more.
        perhaps_foreign: bool,
    },
    /// A container without a single track.
    #[error("the {format} file has no tracks")]
    NoTracks {
        /// The container.
        format: &'static str,
    },
    /// The container's structure is broken.
    #[error("the {format} file is damaged: {what}")]
    Damaged {
        /// The container.
        format: &'static str,
        /// What is wrong, with a byte position where known.
        what: String,
    },
    /// The file ends in the middle of a packet or of its index.
    #[error("the {format} file is cut off: {what}")]
    Truncated {
        /// The container.
        format: &'static str,
        /// What is missing.
        what: String,
    },
    /// A variant of the container that is not read.
    #[error("{what} is not supported; {advice}")]
    Unsupported {
        /// What the file is or has.
        what: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// An mp4 whose index comes last, from a source that cannot be gone back in.
    #[error(
        "the mp4 has its index (moov) behind the sound and the picture, and what comes through a pipe cannot be \
         gone back to; save it as a file, or move the index with `ffmpeg -i IN -c copy -movflags +faststart OUT.mp4`"
    )]
    LateIndex,
    /// A kind of file that only FFmpeg reads.
    #[error("telecast reads {found} only with the help of ffmpeg")]
    Foreign {
        /// What the first bytes look like.
        found: String,
    },
    /// The same through standard input, which FFmpeg is not given.
    #[error(
        "telecast reads {found} only with the help of ffmpeg, and then from a file or an address, not from standard \
         input; save it as a file and play that, or convert it on the way: `ffmpeg -i - -c:v libx264 -bf 0 -pix_fmt \
         yuv420p -c:a libopus -f matroska -` before telecast"
    )]
    ForeignPipe {
        /// What the first bytes look like.
        found: String,
    },
    /// FFmpeg is needed and not there.
    #[error(
        "{input} plays only with the help of ffmpeg, which is not installed; install the package `ffmpeg` (`apt-get install ffmpeg`)"
    )]
    NoFfmpeg {
        /// The source.
        input: String,
    },
    /// A live source says nothing.
    #[error(
        "nothing has come from {input} for {secs} s; see whether its sender runs and sends there, or wait for it with --on-error retry"
    )]
    Silent {
        /// The source.
        input: String,
        /// How long it was waited for.
        secs: u64,
    },
    /// FFmpeg failed.
    #[error("ffmpeg cannot read {input}{what}")]
    Ffmpeg {
        /// The source.
        input: String,
        /// Its last words.
        what: String,
    },
    /// A station has closed the connection.
    #[error("the station has closed the connection; --on-error retry opens it again")]
    HungUp,
    /// Whoever reads a live source has panicked.
    #[error("the reader of the live source crashed, which is a bug; --on-error retry opens it again")]
    Crashed,
    /// Raw pictures, generated or pushed, cannot be encoded.
    #[cfg(feature = "openh264")]
    #[error("the pictures cannot be encoded; try smaller ones")]
    Coder(#[source] super::codec::h264::coder::CoderError),
    /// A number in the file asks for more than any honest file needs.
    #[error("the {format} file asks for too much: {what}")]
    Limit {
        /// The container.
        format: &'static str,
        /// Which limit.
        what: String,
    },
}

impl DemuxError {
    /// The same about standard input, where that makes a difference.
    pub(in crate::media) fn of_stdin(self) -> Self {
        match self {
            Self::Foreign { found } => Self::ForeignPipe { found },
            other => other,
        }
    }

    /// FFmpeg may read what telecast does not.
    pub(in crate::media) const fn may_be_foreign(&self) -> bool {
        matches!(self, Self::Foreign { .. } | Self::UnknownFormat { perhaps_foreign: true, .. })
    }

    /// Why FFmpeg reads it.
    pub(in crate::media) fn why_foreign(&self) -> String {
        match self {
            Self::UnknownFormat { found, .. } => format!("telecast does not know it ({found})"),
            other => other.to_string(),
        }
    }

    /// What to say when FFmpeg could not read it either, for `cause`, or is not there.
    pub(in crate::media) fn also_unread(self, cause: Self) -> Self {
        let Self::UnknownFormat { found, perhaps_foreign: true } = self else { return cause };
        let more = match cause {
            Self::NoFfmpeg { .. } => "perhaps something for ffmpeg, whose package `ffmpeg` is not installed",
            Self::Ffmpeg { .. } => "which ffmpeg does not read either",
            other => return other,
        };
        Self::UnknownFormat { found: format!("{found}, {more}"), perhaps_foreign: false }
    }

    /// Only FFmpeg reads it, and it names other files.
    pub(in crate::media) fn is_playlist(&self) -> bool {
        matches!(self, Self::Foreign { found } if found == sniff::PLAYLIST)
    }
}

/// Whether decoding can start at a packet of a codec other than H.264, by its bits.
pub(crate) fn is_key(codec: &Codec, data: &[u8]) -> bool {
    match (codec, data) {
        // RFC 6386, 9.1: the lowest bit of the frame tag.
        (Codec::Vp8, [tag, ..]) => tag & 1 == 0,
        // VP9 bitstream, 6.2: marker 2, two profile bits (a reserved one with profile 3),
        // show_existing_frame, frame_type.
        (Codec::Vp9, [header, ..]) => {
            let flags = if header & 0x30 == 0x30 { header << 1 } else { *header };
            header >> 6 == 2 && flags & 0x0c == 0
        }
        (Codec::Vp8 | Codec::Vp9, []) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
