//! What is asked for of an item: which tracks, and what its pictures may be.

use std::fmt;

use super::Obstacle;
use crate::media::Codec;
use crate::media::demux::foreign::Encoded;

/// The shorter edge of pictures that have to be encoded, where no other is asked for.
pub const ENCODED_HEIGHT: u32 = 720;

/// What is wanted of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// Play the sound, if there is any.
    pub audio: bool,
    /// Play the picture, if there is any.
    pub video: bool,
    /// What the picture may be, and what it becomes.
    pub pictures: PictureOptions,
    /// Which sound; the first that can be played otherwise.
    pub audio_track: Option<TrackChoice>,
    /// Which picture; the first that can be played otherwise.
    pub video_track: Option<TrackChoice>,
}

/// One of the tracks of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackChoice {
    /// Counted from 1 in the order of the file.
    Number(u16),
    /// The first one in this language (ISO 639-2).
    Language([u8; 3]),
}

/// What the same languages are called by bibliographers and by everybody else (ISO 639-2/B and /T):
/// files have both.
const SAME: [[&str; 2]; 20] = [
    ["alb", "sqi"],
    ["arm", "hye"],
    ["baq", "eus"],
    ["bur", "mya"],
    ["chi", "zho"],
    ["cze", "ces"],
    ["dut", "nld"],
    ["fre", "fra"],
    ["geo", "kat"],
    ["ger", "deu"],
    ["gre", "ell"],
    ["ice", "isl"],
    ["mac", "mkd"],
    ["mao", "mri"],
    ["may", "msa"],
    ["per", "fas"],
    ["rum", "ron"],
    ["slo", "slk"],
    ["tib", "bod"],
    ["wel", "cym"],
];

/// Whether two codes of ISO 639-2 mean one language.
pub(in crate::media) fn is_same_language(one: &str, other: &str) -> bool {
    let [one, other] = [one, other].map(|code| {
        let code = code.to_ascii_lowercase();
        SAME.iter().find(|[theirs, _]| *theirs == code).map_or(code, |[_, usual]| (*usual).to_owned())
    });
    one == other
}

impl std::str::FromStr for TrackChoice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(number) = text.parse().ok().filter(|number| *number > 0) {
            return Ok(Self::Number(number));
        }
        let letters =
            <[u8; 3]>::try_from(text.as_bytes()).ok().filter(|l| l.iter().all(u8::is_ascii_alphabetic));
        let letters =
            letters.ok_or("a track is a number from 1 on, or a language of three letters such as eng")?;
        Ok(Self::Language(letters.map(|letter| letter.to_ascii_lowercase())))
    }
}

impl fmt::Display for TrackChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Language(letters) => f.write_str(&String::from_utf8_lossy(letters)),
        }
    }
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            audio: true,
            video: true,
            pictures: PictureOptions::default(),
            audio_track: None,
            video_track: None,
        }
    }
}

impl PlanOptions {
    /// What is left to be wanted of what FFmpeg has converted: it has chosen the tracks and made the
    /// pictures as they are wanted.
    pub(in crate::media) fn converted(self) -> Self {
        let pictures = PictureOptions {
            copy_height: u32::MAX,
            copy_bps: u64::MAX,
            codecs: self.pictures.codecs,
            ..PictureOptions::USUAL
        };
        Self { pictures, audio_track: None, video_track: None, ..self }
    }
}

/// The codecs of pictures that a chat takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoCodecs {
    /// What is made where something has to be.
    pub h264: bool,
    /// What is made where there is no H.264.
    pub vp8: bool,
    /// Copied, and never made.
    pub vp9: bool,
}

impl VideoCodecs {
    /// What Telegram's chats take.
    pub const ALL: Self = Self { h264: true, vp8: true, vp9: true };

    /// Whether pictures of that codec can be sent.
    pub const fn take(self, codec: &Codec) -> bool {
        match codec {
            Codec::H264 => self.h264,
            Codec::Vp8 => self.vp8,
            Codec::Vp9 => self.vp9,
            _ => false,
        }
    }

    /// What both take.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { h264: self.h264 && other.h264, vp8: self.vp8 && other.vp8, vp9: self.vp9 && other.vp9 }
    }

    /// What pictures become that are in another codec.
    pub(in crate::media) const fn encoded(self) -> Encoded {
        if self.vp8 && !self.h264 { Encoded::Vp8 } else { Encoded::H264 }
    }
}

impl Default for VideoCodecs {
    fn default() -> Self {
        Self::ALL
    }
}

/// Which pictures are copied, and how the others are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureOptions {
    /// The shorter edge at most, as in "720p"; a larger picture is made smaller. `None` copies up
    /// to [`copy_height`](Self::copy_height) and encodes at [`ENCODED_HEIGHT`].
    pub height: Option<u32>,
    /// Pictures per second at most; a faster file is transcoded with pictures left out.
    pub fps: Option<u32>,
    /// Bits per second of what is encoded; `None` goes by size and rate.
    pub bitrate_bps: Option<u32>,
    /// The shorter edge of a picture that is still copied.
    pub copy_height: u32,
    /// Bits in the busiest second of a picture that is still copied.
    pub copy_bps: u64,
    /// Pictures in other codecs are converted into one of these by FFmpeg.
    pub codecs: VideoCodecs,
}

impl Default for PictureOptions {
    fn default() -> Self {
        Self::USUAL
    }
}

impl PictureOptions {
    /// What is wanted where nobody says more.
    pub const USUAL: Self = Self {
        height: None,
        fps: None,
        bitrate_bps: None,
        copy_height: 1080,
        copy_bps: 4_000_000,
        codecs: VideoCodecs::ALL,
    };

    /// The shorter edge at most of what is encoded.
    #[cfg(feature = "openh264")]
    pub(in crate::media) fn encoded_height(&self) -> u32 {
        self.height.unwrap_or(ENCODED_HEIGHT)
    }

    /// What stands against copying pictures of this size.
    pub(in crate::media) fn obstacle_of(&self, (width, height): (u32, u32)) -> Option<Obstacle> {
        let shorter = width.min(height);
        match self.height {
            Some(wanted) if shorter > wanted => Some(Obstacle::AskedSmaller { wanted }),
            Some(_) => None,
            None => (shorter > self.copy_height).then_some(Obstacle::TooLarge { width, height }),
        }
    }
}
