//! Why an item cannot be opened or not be played further, by what the caller can do about it.

use super::codec::opus::OpusError;
use super::demux::DemuxError;
use super::plan::Refusal;
use super::source::SourceError;
use super::{MediaKind, TranscodeError};
use crate::time::MediaTime;

/// Media that cannot be used. None of these goes away by trying again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MediaError {
    /// The file is missing or cannot be read: check the path and its permissions.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The container is unknown, damaged, cut off or of a kind that is not supported: take another file.
    #[error(transparent)]
    Demux(#[from] DemuxError),
    /// Neither sound nor picture: take another file, or ask for what it has.
    #[error("there is nothing to play: {why}")]
    Nothing {
        /// Which of both is missing for which reason.
        why: String,
    },
    /// A track has to be converted first.
    #[error("{refusal}{}", or_run(.remedy.as_deref()))]
    Refused {
        /// Sound or picture.
        kind: MediaKind,
        /// Why it cannot be played as it is.
        refusal: Refusal,
        /// The command that writes a file which can be played.
        remedy: Option<String>,
    },
    /// The first B-frame comes in the middle of the file: it has to be converted.
    #[error(
        "the picture has a B-frame at {:.3} s, which a live call cannot carry{}",
        .at.as_secs_f64(), or_run(.remedy.as_deref())
    )]
    BFrameAt {
        /// When it is shown, on the clock of the item.
        at: MediaTime,
        /// The command that writes a file which can be played.
        remedy: Option<String>,
    },
    /// The picture cannot be decoded or encoded any further.
    #[error("the picture cannot be transcoded any further")]
    Transcode(#[from] TranscodeError),
    /// The system gives no thread for transcoding: too many run already.
    #[error("cannot start a thread to transcode the picture; too many run already")]
    Thread(#[source] std::io::Error),
    /// So many damaged packets in a row that nothing will be heard any more.
    #[error("the sound is damaged: {n_packets} packets in a row up to {:.3} s cannot be decoded", .at.as_secs_f64())]
    DamagedSound {
        /// How many.
        n_packets: u32,
        /// When the last of them is heard, on the clock of the item.
        at: MediaTime,
    },
    /// The Opus encoder failed, which only happens when memory runs out.
    #[error("cannot encode the sound")]
    Encode(#[from] OpusError),
}

fn or_run(remedy: Option<&str>) -> String {
    remedy.map_or_else(String::new, |command| format!("; convert it (the package is `ffmpeg`): {command}"))
}
