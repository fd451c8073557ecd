//! What is said of a programme and by it: its options, its status, its events, its errors.

use std::sync::Arc;

#[cfg(doc)]
use super::Player;
#[cfg(feature = "openh264")]
use super::Slate;
use super::{ItemError, ItemId, ItemPlan, MAX_CROSSFADE, MAX_QUEUED, MAX_VOLUME_PERCENT};
use crate::media::Codec;
use crate::media::pace::SPEEDS;
use crate::time::MediaTime;

/// How a programme behaves.
#[derive(Clone, Debug)]
pub struct PlayerOptions {
    /// What happens to items that have ended.
    pub repeat: Repeat,
    /// Go on in silence when the queue has ended, and wait for more. Else the programme ends.
    pub stay: bool,
    /// Hold the first item until somebody listens, so that the first call hears it from its
    /// beginning however long joining takes.
    pub wait_for_listener: bool,
    /// What happens when an item cannot be played, or not further.
    pub on_failure: OnFailure,
    /// How fast items go by, in percent, 50 to 200; 100 plays as recorded. The pitch of the sound
    /// stays. Frames that a program makes itself go by as they come.
    pub speed_percent: u16,
    /// Over how long the end of one item and the beginning of the next are heard together, up to
    /// [`MAX_CROSSFADE`]; 0 lets them follow each other without a gap. At most half of either item;
    /// an item of unknown length ends as it ends, and one that repeats begins anew at its end. The
    /// next item's pictures are seen from its first sound on.
    pub crossfade: MediaTime,
    /// What is seen while the queue is empty, and while an item has nothing to show for a second, a
    /// card or a video that goes round; without it, the last picture.
    #[cfg(feature = "openh264")]
    pub slate: Option<Slate>,
    /// Volume to begin with, 0 to [`MAX_VOLUME_PERCENT`]; 100 plays as recorded.
    pub volume_percent: u16,
}

impl Default for PlayerOptions {
    fn default() -> Self {
        Self {
            repeat: Repeat::Off,
            stay: true,
            wait_for_listener: true,
            on_failure: OnFailure::Skip,
            speed_percent: 100,
            crossfade: MediaTime::ZERO,
            #[cfg(feature = "openh264")]
            slate: None,
            volume_percent: 100,
        }
    }
}

/// What happens when an item cannot be played, or not further.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnFailure {
    /// The next one plays.
    #[default]
    Skip,
    /// It is opened again, and goes on where it stopped or, where that cannot be, where it can:
    /// after 1 s, then 2 s and so on up to 30 s. Then the next one plays.
    Retry {
        /// So often in a row; failures more than a minute apart are none in a row.
        times: u32,
    },
    /// The queue ends, too.
    Stop,
}

/// What happens now that an item has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AfterFailure {
    /// The next one plays.
    Skip,
    /// It is opened again.
    Retry {
        /// Which try this is, from 1 on …
        nth: u32,
        /// … of how many in a row.
        of: u32,
        /// How long from now.
        pause: std::time::Duration,
    },
    /// The queue ends.
    Stop,
}

/// What happens to items that have ended. One that failed is never repeated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Repeat {
    /// They are over.
    #[default]
    Off,
    /// The current item begins again and again, until somebody skips it.
    One,
    /// They wait behind all others for their next round.
    All,
}

impl Repeat {
    /// `off`, `one`, `all`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::One => "one",
            Self::All => "all",
        }
    }
}

/// What a programme is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlayerState {
    /// The queue is empty; silence.
    #[default]
    Idle,
    /// An item is being opened or sought, its frames do not come, or nobody listens yet; silence.
    Loading,
    /// An item plays.
    Playing,
    /// An item waits for [`Player::resume`]; silence.
    Paused,
    /// The programme is over.
    Ended,
}

/// An item that waits for its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueuedItem {
    /// Its id.
    pub id: ItemId,
    /// Its name: the path, for a file.
    pub source: Arc<str>,
}

/// The items of a programme at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// The current one first, where there is one.
    pub items: Vec<QueuedItem>,
    /// Where in the first one.
    pub position: MediaTime,
}

/// A programme at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PlayerStatus {
    /// What it is doing.
    pub state: PlayerState,
    /// The current item.
    pub item: Option<ItemId>,
    /// Its name: the path, for a file.
    pub source: Option<Arc<str>>,
    /// How its tracks are played, once it is open.
    pub plan: Option<ItemPlan>,
    /// Where in it we are; refreshed about once a second.
    pub position: MediaTime,
    /// How long it is, where known.
    pub duration: Option<MediaTime>,
    /// Held by [`Player::pause`], with or without an item.
    pub paused: bool,
    /// 100 plays as recorded.
    pub volume_percent: u16,
    /// What happens to items that end.
    pub repeat: Repeat,
    /// How fast items go by; 100 as recorded.
    pub speed_percent: u16,
    /// Over how long items go over into each other.
    pub crossfade: MediaTime,
    /// How many items wait behind the current one.
    pub n_queued: usize,
    /// Silence so far because frames did not come in time.
    pub stalled: MediaTime,
    /// Frames of ended items that came too late or overlapped and were not played.
    pub n_dropped: u64,
}

impl PlayerStatus {
    /// Before anything has happened.
    pub(super) fn first(options: &PlayerOptions) -> Self {
        let volume_percent = options.volume_percent.min(MAX_VOLUME_PERCENT);
        let crossfade = options.crossfade.max(MediaTime::ZERO).min(MAX_CROSSFADE);
        let (repeat, speed_percent) = (options.repeat, options.speed_percent);
        Self { volume_percent, repeat, speed_percent, crossfade, ..Self::default() }
    }
}

/// Something that happened to a programme. Each comes when the calls have sent it, not when it
/// was decided.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PlayerEvent {
    /// The first frame of an item is due.
    ItemStarted {
        /// Which.
        item: ItemId,
        /// Its name.
        source: Arc<str>,
        /// How its tracks are played.
        plan: ItemPlan,
        /// How long it is, where known.
        duration: Option<MediaTime>,
    },
    /// An item is over and its last frame has been due. Exactly once per play, also for an item
    /// that never started. With a crossfade the next one has started before.
    ItemEnded {
        /// Which.
        item: ItemId,
        /// Its name.
        source: Arc<str>,
        /// How.
        reason: EndReason,
        /// Why, when it failed.
        error: Option<ItemError>,
    },
    /// An item cannot be played, or not further. With [`OnFailure::Retry`] it may be played all
    /// the same; else [`PlayerEvent::ItemEnded`] follows.
    ItemFailed {
        /// Which.
        item: ItemId,
        /// Its name.
        source: Arc<str>,
        /// Why.
        error: ItemError,
        /// What happens now.
        policy: AfterFailure,
    },
    /// Its frames do not come in time: silence until they do.
    ItemStalled {
        /// Which.
        item: ItemId,
    },
    /// Nothing has come of it for 3 s: a dead disk, a server that hangs. It is waited for on and
    /// on; [`Player::skip`] goes on without it.
    ItemStuck {
        /// Which.
        item: ItemId,
    },
    /// Its pictures are in a codec that a chat does not take, and cannot be had in another: they
    /// are made here, come from a program or from standard input, or `ffmpeg` is missing. Nobody
    /// sees them there; the sound is heard.
    PicturesNotTaken {
        /// Which.
        item: ItemId,
        /// The codec.
        codec: Codec,
    },
    /// The items that wait are others, or in another order: somebody has changed the queue.
    QueueChanged,
    /// About once a second, and after every seek.
    Position {
        /// Which.
        item: ItemId,
        /// On the item's clock.
        position: MediaTime,
        /// How long it is, where known.
        duration: Option<MediaTime>,
    },
    /// The last item has ended and none follows.
    QueueEnded,
}

/// How an item ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// It was played to its end.
    Finished,
    /// [`Player::skip`], [`Player::skip_to`], [`Player::previous`] or [`Player::play_now`].
    Skipped,
    /// It cannot be played, or not further.
    Failed,
    /// [`Player::stop`] or [`Player::close`].
    Stopped,
    /// [`Player::remove`] or [`Player::clear`].
    Removed,
}

impl EndReason {
    /// `finished`, `skipped`, `failed`, `stopped`, `removed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Removed => "removed",
        }
    }
}

/// Why a command was not obeyed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlayError {
    /// There is no current item.
    #[error("nothing is playing; queue something first")]
    NothingPlaying,
    /// No item was played before.
    #[error("nothing was played before this; `seek` goes to the beginning")]
    NothingBefore,
    /// The item is not in the queue: it was never queued, plays already, or has ended.
    #[error("item {item} does not wait in the queue; list the queue to see what does")]
    NotWaiting {
        /// Which.
        item: ItemId,
    },
    /// The item cannot be read there; it goes on where it can.
    #[error("cannot go there in this item")]
    Seek(#[source] ItemError),
    /// Another seek, a skip or a stop came before this one was done.
    #[error("a later command took the place of this one")]
    Superseded,
    /// Out of range.
    #[error("a volume of {percent} % is out of range; use 0 to {MAX_VOLUME_PERCENT}")]
    Volume {
        /// What was asked for.
        percent: u16,
    },
    /// Out of range.
    #[error("a speed of {percent} % is out of range; use {} to {}", SPEEDS.start(), SPEEDS.end())]
    Speed {
        /// What was asked for.
        percent: u16,
    },
    /// Out of range.
    #[error("a crossfade of {} s is out of range; use 0 to {}", .length.as_secs_f64(), MAX_CROSSFADE.as_secs_f64())]
    Crossfade {
        /// What was asked for.
        length: MediaTime,
    },
    /// Too many items wait.
    #[error("{MAX_QUEUED} items wait already; queue more when some have ended")]
    QueueFull,
    /// The programme is over.
    #[error("the player is closed")]
    Closed,
}
