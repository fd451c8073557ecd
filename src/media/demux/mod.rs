//! Container bytes → [`Packet`]s with exact times and honest key flags.

use std::io::{Read, Seek};

use bytes::Bytes;

use super::{Codec, MediaKind};
use crate::time::MediaTime;

/// Something that can be demuxed: a file, a buffer in memory.
pub trait MediaSource: Read + Seek + Send + Sync {}
impl<T: Read + Seek + Send + Sync> MediaSource for T {}

/// One coded unit of one track, in decoding order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Index into [`Demuxer::tracks`].
    pub track: usize,
    /// Presentation time on the clock of the item: edit lists, start offsets and priming applied.
    /// Of the first thing that it decodes to, *before* trimming: sample `n` of the decoded sound
    /// is heard at `pts + n / rate`, and a priming packet starts before zero.
    pub pts: MediaTime,
    /// Decoding time, where the container has one; else `None` (Matroska, Ogg).
    pub dts: Option<MediaTime>,
    /// How long it is shown or heard, before trimming.
    pub duration: MediaTime,
    /// Video: an IDR (or the codec's equivalent) by the bits themselves, not by the container's word.
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
    /// What the codec needs before the first packet: `AudioSpecificConfig` for AAC, `OpusHead` for Opus.
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
    },
}

/// A container being read.
pub trait Demuxer: Send {
    /// The container's name as FFmpeg has it: `mp4`, `matroska`, `ogg`, `mp3`.
    fn format(&self) -> &'static str;

    /// All tracks, also those nobody can play.
    fn tracks(&self) -> &[Track];

    /// The next packet; `Ok(None)` is the end. Each track comes in decoding order. Tracks are
    /// interleaved as the file has them, or by time where the container's index allows that: a
    /// reader that merges them must not have to hold half a file.
    ///
    /// # Errors
    /// When the file is damaged from here on.
    fn next_packet(&mut self) -> Result<Option<Packet>, DemuxError>;

    /// Goes to the last keyframe at or before `to` of the first video track, or, without one,
    /// to the last packet at or before `to`. The next packet of every track has a time at or
    /// before the returned one's neighbourhood; callers drop what they do not want.
    ///
    /// # Errors
    /// When the file cannot be read there.
    fn seek(&mut self, to: MediaTime) -> Result<MediaTime, DemuxError>;
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
    #[error("not a media file that telecast can read ({found}); it reads mp4, mkv, webm, ogg and mp3")]
    UnknownFormat {
        /// What the first bytes look like.
        found: String,
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
    /// A number in the file asks for more than any honest file needs.
    #[error("the {format} file asks for too much: {what}")]
    Limit {
        /// The container.
        format: &'static str,
        /// Which limit.
        what: String,
    },
}
