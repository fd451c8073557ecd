//! Tracks and their first packets → what is copied, what is transcoded, and why.
//!
//! The plan is made once per item, before its first frame. Absence of B-frames cannot be
//! proven that early (only the stream's own promise counts), so the reader goes on watching.

use std::fmt;
use std::sync::Arc;

use super::Codec;
use super::codec::audio::Undecodable;
use super::demux::generated::FORMAT;
use super::pixel::PixelAspect;

pub(super) use self::planner::{Planner, Selection};
pub(super) use self::remedy::command;
pub use self::remedy::remedy;
pub(super) use self::wanted::is_same_language;
pub use self::wanted::{ENCODED_HEIGHT, PictureOptions, PlanOptions, TrackChoice, VideoCodecs};

mod planner;
mod remedy;
mod wanted;

/// Why a picture that can be decoded is encoded anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// Pictures are shown in another order than they are decoded in.
    BFrames,
    /// More pixels than every receiver decodes in time.
    TooLarge { width: u32, height: u32 },
    /// More bits in one second than every connection carries.
    Peak { bps: u64 },
    /// After its first picture it has no other that a viewer could start with.
    IntraRefresh,
    /// Receivers take all pixels for square.
    Pixels(PixelAspect),
    /// A smaller picture was asked for.
    AskedSmaller { wanted: u32 },
    /// Fewer pictures were asked for.
    AskedSlower { fps: u32 },
}

impl Obstacle {
    /// The plan for a track that has it.
    pub(super) fn plan(self, track: usize) -> TrackPlan {
        let what = match self {
            Self::BFrames => "has B-frames, which a live call cannot carry".to_owned(),
            Self::TooLarge { width, height } => {
                format!("has {width}×{height} pixels, more than some phones decode in time")
            }
            Self::Peak { bps } => {
                let mbps = bps as f64 / 1e6;
                format!("takes {mbps:.1} Mbit/s in its busiest second, more than many connections carry")
            }
            Self::IntraRefresh => {
                "is refreshed bit by bit instead of in keyframes, so nobody could start watching".to_owned()
            }
            Self::Pixels(pixel) => {
                format!(
                    "has pixels of {pixel}, which viewers would see squeezed because a call knows square ones only"
                )
            }
            Self::AskedSmaller { wanted } => format!("is larger than {wanted}p, which was asked for"),
            Self::AskedSlower { fps } => format!("has more than the {fps} pictures per second asked for"),
        };
        let reason = format!("The picture {what}, so it is decoded and encoded as H.264.");
        TrackPlan::Transcode { track, from: Codec::H264, to: Codec::H264, reason }
    }
}

/// Whether H.264 can be transcoded: the feature `openh264`.
pub(super) const fn can_transcode() -> bool {
    cfg!(feature = "openh264")
}

/// How an item is played.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its sound.
    pub audio: TrackPlan,
    /// Its picture.
    pub video: TrackPlan,
    /// Its pixels are known to be square.
    pub(super) is_square: bool,
    /// Which of several tracks of a kind are played.
    pub(super) places: Places,
}

/// Where the played tracks stand among those of their kind, counted from 0 in the order of the
/// file; nothing where there is no other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::media) struct Places {
    pub(super) audio: Option<usize>,
    pub(super) video: Option<usize>,
}

impl Places {
    /// FFmpeg's word for a track of a kind, which would otherwise choose by its own rules.
    pub(super) fn ffmpeg(kind: char, place: Option<usize>) -> String {
        format!("0:{kind}:{}", place.unwrap_or(0))
    }
}

impl Plan {
    /// FFmpeg has made what is played, because of `why`, of the tracks at these places.
    pub(super) fn convert(&mut self, why: &str, places: Places) {
        self.places = places;
        // What its pixels were before, nobody here has seen.
        self.is_square = false;
        let reason = format!("FFmpeg converts it while it plays, because {why}.");
        for plan in [&mut self.audio, &mut self.video] {
            // Its pictures are copied, and its samples encoded.
            if let TrackPlan::Copy { track, codec: to, .. } | TrackPlan::Transcode { track, to, .. } = plan {
                *plan = made(*track, "ffmpeg", to, &reason);
            }
        }
    }

    /// What is copied was encoded for a test.
    pub(super) fn generate(&mut self) {
        for plan in [&mut self.audio, &mut self.video] {
            if let TrackPlan::Copy { track, codec, .. } = plan {
                *plan = made(*track, FORMAT, codec, "It is made for a test, and encoded while it plays.");
            }
        }
    }
}

fn made(track: usize, by: &str, to: &Codec, reason: &str) -> TrackPlan {
    let (from, to) = (Codec::Unknown(by.to_owned()), to.clone());
    TrackPlan::Transcode { track, from, to, reason: reason.to_owned() }
}

/// How one track is played. [`Display`](fmt::Display) gives the short words that programs
/// read: `copy`, `transcode: aac`, `card`, `none`, `refused: h264`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TrackPlan {
    /// Its packets go out as they are.
    Copy {
        /// Which track of the file.
        track: usize,
        /// Its codec.
        codec: Codec,
        /// Why, as a sentence.
        reason: String,
    },
    /// It is decoded and encoded.
    Transcode {
        /// Which track of the file.
        track: usize,
        /// Its codec.
        from: Codec,
        /// The codec that goes out.
        to: Codec,
        /// Why, as a sentence.
        reason: String,
    },
    /// There is nothing to play, and a card is shown in its place.
    Card {
        /// Why, as a sentence.
        reason: String,
    },
    /// There is nothing to play.
    None {
        /// Why, as a sentence.
        reason: String,
    },
    /// There is something, and it cannot be played.
    Refused {
        /// Which track of the file.
        track: usize,
        /// Its codec.
        codec: Codec,
        /// Why not.
        refusal: Refusal,
    },
}

impl TrackPlan {
    /// The track that is played; none when it is refused.
    pub const fn played_track(&self) -> Option<usize> {
        match self {
            Self::Copy { track, .. } | Self::Transcode { track, .. } => Some(*track),
            Self::Card { .. } | Self::None { .. } | Self::Refused { .. } => None,
        }
    }

    /// Something comes of it.
    pub const fn is_played(&self) -> bool {
        self.played_track().is_some() || matches!(self, Self::Card { .. })
    }

    /// Its packets go out as they are.
    pub const fn is_copy(&self) -> bool {
        matches!(self, Self::Copy { .. })
    }

    /// Why, as a full sentence.
    pub fn reason(&self) -> String {
        match self {
            Self::Copy { reason, .. }
            | Self::Transcode { reason, .. }
            | Self::Card { reason }
            | Self::None { reason } => reason.clone(),
            Self::Refused { refusal, .. } => refusal.sentence(),
        }
    }
}

impl fmt::Display for TrackPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copy { .. } => f.write_str("copy"),
            Self::Transcode { from, .. } => write!(f, "transcode: {}", from.name()),
            Self::Card { .. } => f.write_str("card"),
            Self::None { .. } => f.write_str("none"),
            Self::Refused { codec, .. } => write!(f, "refused: {}", codec.name()),
        }
    }
}

/// Why a track cannot be played as it is.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Pictures are shown in another order than they are decoded in.
    #[error("the picture has B-frames, which a live call cannot carry")]
    BFrames,
    /// Fields instead of frames.
    #[error("the picture is interlaced, which receivers in a call do not decode")]
    Interlaced,
    /// Nowhere to start.
    #[error(
        "the picture has no keyframe (IDR) in its first {n_pictures} pictures, so nobody could start watching"
    )]
    NoKeyframe {
        /// Pictures that were looked at.
        n_pictures: usize,
    },
    /// More than 8 bits or other colors than 4:2:0.
    #[error("the picture is H.264 {profile}, which receivers in a call do not decode")]
    Profile {
        /// Its name.
        profile: &'static str,
    },
    /// More than 8 bits or other colors than 4:2:0.
    #[error("the picture is VP9 of another profile than 0, which receivers in a call do not decode")]
    Vp9Profile,
    /// No readable sequence parameter set.
    #[error("the picture's H.264 parameters (SPS) are missing or damaged")]
    NoParameters,
    /// A codec that a chat does not take.
    #[error("the picture is {}, which one of the chats does not take", .codec.spelled())]
    NotTaken {
        /// H.264, VP8 or VP9.
        codec: Codec,
    },
    /// Another codec.
    #[error("the picture is {codec}; telecast sends H.264, VP8 and VP9")]
    VideoCodec {
        /// Its name.
        codec: String,
    },
    /// The sound cannot be decoded.
    #[error(transparent)]
    Sound(Arc<Undecodable>),
}

impl Refusal {
    fn sentence(&self) -> String {
        let text = self.to_string();
        let mut chars = text.chars();
        chars.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
    }
}

#[cfg(test)]
mod tests;
