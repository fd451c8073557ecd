//! Being a participant: join, stay, leave.
//!
//! ```text
//!  Call (handle) ──commands──► task ◄──Link──► Signaling
//!       ▲                       │ ▲
//!       └──status, events───────┘ └── frames ── player, datagrams ── socket
//! ```
//!
//! One task owns one call. It carries between the outside and a `participant` that knows
//! neither socket nor clock.

use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

pub mod colibri;
pub mod params;
pub mod participants;
pub mod sdp;
pub mod signaling;

mod company;
mod error;
mod outbox;
mod participant;
mod state;
mod stats;
mod streams;
mod task;
#[cfg(all(test, feature = "emulator"))]
mod tests;
mod watchdog;

pub use error::{ConnectStage, JoinError, LeftReason};
pub use params::Setup;
pub use signaling::{ChatId, Signaling, SignalingError};
pub use state::{CallStatus, Property};
pub use stats::{CallStats, Milestones};

use crate::player::Player;

/// Commands that may wait for the call's task.
const COMMAND_CAPACITY: usize = 16;
/// Events that a slow listener may fall behind before it loses the oldest.
const EVENT_CAPACITY: usize = 64;

/// How to enter a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinOptions {
    /// Enter with the microphone shown as off; nothing is heard until it is switched on.
    pub muted: bool,
    /// Send pictures where there are some. The camera is shown as on while an item has pictures,
    /// and as off while it has none, so that nobody sees an empty tile.
    pub video: bool,
    /// Enter with the camera shown as off, for a programme that begins with sound only. It is
    /// switched on when pictures come.
    pub video_stopped: bool,
    /// Raise the hand when an admin has muted us, until one allows us to speak.
    pub raise_hand: bool,
    /// The peer to appear as; `None` for the account itself.
    pub join_as: Option<String>,
    /// The hash of a speaker link.
    pub invite_hash: Option<String>,
    /// Our DTLS role in the first try; the next takes the other one. As `Passive` (the server)
    /// the handshake is the one that Telegram's own apps do. As `Active` the data channel opens
    /// too, which only somebody who wants to receive video needs.
    pub setup: Setup,
    /// Wait for a video chat that is scheduled, instead of failing; see [`CallEvent::Waiting`].
    pub wait_for_start: bool,
    /// Leave when nobody else has been there for this long. Only a list of participants that has
    /// come can say so: whoever does not know stays.
    pub leave_when_empty: Option<Duration>,
    /// The SSRC of the sound of an earlier process ([`Call::ssrc`]) that may still stand in the
    /// chat with the same account: it is made to leave before the join.
    pub ghost: Option<u32>,
    /// How long a call that was up tries to come back after its transport was lost.
    pub reconnect_for: Duration,
    /// How long all flood waits before the call is up may take together. A wait that goes beyond
    /// it ends the call with Telegram's `FLOOD_WAIT_n`. In a reconnection, flood waits have what
    /// is left of [`reconnect_for`](Self::reconnect_for).
    pub flood_wait_budget: Duration,
}

impl Default for JoinOptions {
    fn default() -> Self {
        Self {
            muted: false,
            video: true,
            video_stopped: false,
            raise_hand: false,
            wait_for_start: false,
            join_as: None,
            invite_hash: None,
            setup: Setup::Passive,
            leave_when_empty: None,
            ghost: None,
            reconnect_for: Duration::from_secs(300),
            flood_wait_budget: Duration::from_secs(60),
        }
    }
}

/// What happens in a call besides its status.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CallEvent {
    /// The status has changed.
    Status(CallStatus),
    /// Telegram asks to wait before the join; it is tried again after that.
    FloodWait {
        /// How long.
        wait: Duration,
    },
    /// The video chat is scheduled: it is joined as soon as it begins.
    Waiting {
        /// Unix time of the start, as announced; an admin may begin earlier or later.
        until: i64,
    },
    /// A try has failed and another one begins.
    Retrying {
        /// Its number.
        attempt: u32,
        /// What went wrong.
        why: String,
    },
    /// An admin has muted us, or has allowed us to speak again.
    MutedByAdmin {
        /// Muted?
        muted: bool,
    },
    /// The video chat has no room for our camera: only sound is sent until it has.
    CameraNotAllowed {
        /// How many cameras there may be at once, where Telegram said so.
        limit: Option<u32>,
    },
    /// Telegram will not have it that others see us as we want; the call goes on.
    EditRefused {
        /// What was to change.
        property: Property,
        /// Telegram's reason, and what to do.
        error: SignalingError,
    },
    /// The server takes neither H.264 nor VP8: only sound is sent.
    VideoNotAccepted {
        /// The codecs that it does take.
        listed: Vec<String>,
    },
    /// Nobody else is there; see [`JoinOptions::leave_when_empty`].
    Alone {
        /// The call is left after this time, unless somebody comes.
        leaves_in: Duration,
    },
    /// Somebody came or went.
    Participants {
        /// How many take part now, ourselves included.
        n: usize,
    },
    /// The largest height that any viewer wants of our picture has changed; 0 means nobody watches.
    VideoWanted {
        /// Pixels.
        height: u32,
    },
}

/// A call: cheap to clone. When the last handle is dropped, the call is left.
#[derive(Clone, Debug)]
pub struct Call {
    chat: ChatId,
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<CallStatus>,
    ssrc: watch::Receiver<Option<u32>>,
    events: broadcast::Sender<CallEvent>,
}

enum Command {
    SetMuted(bool),
    RaiseHand(bool),
    Stats(oneshot::Sender<CallStats>),
    Leave(LeftReason),
    /// A bug.
    #[cfg(test)]
    Panic,
}

impl Call {
    /// Joins `chat` and sends it what `player` plays. Returns at once; see [`joined`](Self::joined).
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn join(chat: ChatId, signaling: &dyn Signaling, player: &Player, options: JoinOptions) -> Self {
        let (commands, command_receiver) = mpsc::channel(COMMAND_CAPACITY);
        let (status_sender, status) = watch::channel(CallStatus::Joining);
        let (ssrc_sender, ssrc) = watch::channel(None);
        let (events, _) = broadcast::channel(EVENT_CAPACITY);
        let link = signaling.open(&chat);
        let ends = task::Ends {
            commands: command_receiver,
            status: status_sender,
            ssrc: ssrc_sender,
            events: events.clone(),
            link,
            player: player.clone(),
        };
        task::spawn(chat.clone(), options, ends);
        Self { chat, commands, status, ssrc, events }
    }

    /// The chat.
    pub fn chat(&self) -> &ChatId {
        &self.chat
    }

    /// The status, now and whenever it changes.
    pub fn status(&self) -> watch::Receiver<CallStatus> {
        self.status.clone()
    }

    /// The SSRC of our sound, by which Telegram knows the connection; every connection has a new
    /// one, told before the join. Whoever remembers it can remove what a crash leaves in the chat
    /// ([`JoinOptions::ghost`]).
    pub fn ssrc(&self) -> watch::Receiver<Option<u32>> {
        self.ssrc.clone()
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<CallEvent> {
        self.events.subscribe()
    }

    /// Waits until the server has confirmed that it receives our media.
    ///
    /// # Errors
    /// Why the call is over instead.
    pub async fn joined(&self) -> Result<(), LeftReason> {
        let mut status = self.status();
        let reached =
            status.wait_for(|status| matches!(status, CallStatus::Joined | CallStatus::Left(_))).await;
        match reached.as_deref() {
            Ok(CallStatus::Left(reason)) => Err(reason.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(LeftReason::Failed(JoinError::Interrupted)),
        }
    }

    /// Switches the microphone, for others to see, and what is sent with it.
    pub async fn set_muted(&self, muted: bool) {
        // A call that is over has no microphone.
        let _ = self.commands.send(Command::SetMuted(muted)).await;
    }

    /// Raises the hand, or lowers it: asks the admins to be allowed to speak.
    pub async fn raise_hand(&self, raised: bool) {
        // A call that is over has no hand.
        let _ = self.commands.send(Command::RaiseHand(raised)).await;
    }

    /// What the call has counted; `None` once it is over.
    pub async fn stats(&self) -> Option<CallStats> {
        let (reply, stats) = oneshot::channel();
        self.commands.send(Command::Stats(reply)).await.ok()?;
        stats.await.ok()
    }

    /// Leaves the chat; [`closed`](Self::closed) tells when that is done.
    pub async fn leave(&self, reason: LeftReason) {
        // A call that is over has left already.
        let _ = self.commands.send(Command::Leave(reason)).await;
    }

    /// Waits until the call is over, and says why.
    pub async fn closed(&self) -> LeftReason {
        let mut status = self.status();
        let over = status.wait_for(|status| matches!(status, CallStatus::Left(_))).await;
        match over.as_deref() {
            Ok(CallStatus::Left(reason)) => reason.clone(),
            // The task ended without a word: it panicked, alone.
            _ => LeftReason::Failed(JoinError::Interrupted),
        }
    }
}
