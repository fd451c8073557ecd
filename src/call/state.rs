//! The participant as a machine: joining, connecting, connected, joined, reconnecting, left.
//!
//! ```text
//!            reply            DTLS done        feedback, own row
//!  Joining ────────► Connecting ────► Connected ────────► Joined
//!     ▲                  │ 4 s             │ transport lost  │
//!     └── new peer, new ─┘◄────────────────┴─────────────────┘   (Reconnecting)
//!         SSRCs, other role                        leave, kicked, discarded … ──► Left
//! ```
//!
//! It decides; it touches neither socket nor peer. What it wants done comes out of
//! [`State::poll_output`]. Every try has its own attempt number, and replies carry the id of
//! their request, so whatever belongs to an earlier try is recognized and dropped.

mod edits;
mod incoming;
mod pictures;
mod tries;
mod words;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::JoinOptions;
use super::error::{JoinError, LeftReason};
use super::params::Setup;
use super::signaling::{Join, Method, Request, RequestId, SignalingError};
use crate::media::MediaKind;
use crate::player::ItemId;
use crate::secret::Secret;

pub use edits::Property;
pub use words::CallStatus;

pub(super) use words::{Notice, Output, Transport};

use edits::Edits;
use pictures::Pictures;

/// A join that nobody answers has failed after this long.
pub(super) const JOIN_REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// One peer gets this long from the answer to a finished DTLS handshake. A stalled handshake
/// never fails by itself, so this timer is the only way out.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);
/// All peers of a first join together get this long for ICE and DTLS. Only that counts, not what
/// Telegram took to answer a join or asked us to wait.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Peers tried in one go where the server does answer. With 15 % loss of everything, one of
/// twenty needs the second; nobody has been seen to need the fourth.
pub(super) const MAX_ATTEMPTS: u32 = 4;
/// ICE may come back by itself for this long before everything is built anew.
const DISCONNECTED_TIMEOUT: Duration = Duration::from_secs(10);
/// Whoever has sent nothing for this long has nothing that could be confirmed: being connected is
/// all there is to it.
pub(super) const SILENCE: Duration = Duration::from_secs(1);
/// How often the server is asked whether it still knows us (TDLib's interval).
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// The same while the transport is down (Telegram Desktop's interval).
const CHECK_INTERVAL_DISCONNECTED: Duration = Duration::from_secs(4);
/// How often a scheduled video chat is looked at: that it begins is told unasked, but what is
/// told while there is no connection is never repeated.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(300);
/// Own SSRCs, and the server's ICE user names, of the past that are remembered.
const MAX_PAST: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    New,
    /// The peer is being built, or the join request is out.
    Joining {
        request: Option<RequestId>,
        give_up: Instant,
    },
    Connecting {
        ice: bool,
        since: Instant,
        give_up: Instant,
    },
    Up {
        confirmed: bool,
        disconnected: Option<Instant>,
    },
    /// Waits before the next try.
    Pausing {
        until: Instant,
    },
    /// Waits for a scheduled video chat to begin.
    Waiting {
        look: Instant,
    },
    Over,
}

/// Whether there is room for one more camera in the chat.
#[derive(Debug, Default)]
struct CameraLimit {
    /// `can_start_video` of the call.
    can_start: Option<bool>,
    limit: Option<u32>,
    /// Our own row since the last join: do we have one of the places?
    video_joined: Option<bool>,
    /// Telegram said no to our camera.
    is_refused: bool,
    /// The user knows.
    is_told: bool,
}

/// One participant.
#[derive(Debug)]
pub(super) struct State {
    options: JoinOptions,
    phase: Phase,
    /// Counts every try of this call, also those of reconnections.
    attempt: u32,
    /// Tries since the transport was last up.
    tries: u32,
    setup: Setup,
    source: i32,
    past_sources: VecDeque<i32>,
    /// The ICE user names of the answers so far, the present one last: whether an answer that
    /// comes unasked is a repetition.
    answers: VecDeque<String>,
    /// How long the peers of the present series of tries have had for ICE and DTLS.
    spent: Duration,
    /// Flood waits before the call was first up, added up.
    flood_waited: Duration,
    /// Since when the transport is up.
    up_since: Option<Instant>,
    /// Transports in a row that did not last.
    flaps: u32,
    /// When the transport was lost.
    lost_at: Option<Instant>,
    /// When the video chat begins, as the user was told last.
    begins_at: Option<i64>,
    /// It has begun since the present join was asked for: what the reply says may be older.
    has_begun: bool,
    /// The server has answered an ICE check in the present series.
    reachable: bool,
    was_up: bool,
    /// What others should see of us, and what they do see.
    edits: Edits,
    pictures: Pictures,
    muted_by_admin: bool,
    /// The others see us muted, though we may speak.
    shown_muted: bool,
    camera: CameraLimit,
    /// Checks in a row that were answered as if there were no such call.
    n_unwelcome: u32,
    next_request: RequestId,
    /// The source with which the server has us, as far as we know.
    accepted: Option<i32>,
    /// Joins of which nobody knows whether they were executed, and the request where a late reply
    /// can still tell; a success has to be undone.
    abandoned: VecDeque<(Option<RequestId>, i32)>,
    checking: Option<RequestId>,
    next_check: Option<Instant>,
    /// When the silence since the transport came up is long enough; nothing once a packet is sent.
    silent_until: Option<Instant>,
    outputs: VecDeque<Output>,
}

impl State {
    pub(super) fn new(options: JoinOptions) -> Self {
        let setup = options.setup;
        let mut edits = Edits::default();
        edits.want(Property::Microphone, !options.muted);
        edits.want(Property::Camera, options.video && !options.video_stopped);
        Self {
            options,
            phase: Phase::New,
            attempt: 0,
            tries: 0,
            setup,
            source: 0,
            past_sources: VecDeque::new(),
            answers: VecDeque::new(),
            spent: Duration::ZERO,
            flood_waited: Duration::ZERO,
            up_since: None,
            flaps: 0,
            lost_at: None,
            begins_at: None,
            has_begun: false,
            reachable: false,
            was_up: false,
            edits,
            pictures: Pictures::default(),
            muted_by_admin: false,
            shown_muted: false,
            camera: CameraLimit::default(),
            n_unwelcome: 0,
            next_request: 1,
            accepted: None,
            abandoned: VecDeque::new(),
            checking: None,
            next_check: None,
            silent_until: None,
            outputs: VecDeque::new(),
        }
    }

    /// Begins to join.
    pub(super) fn start(&mut self, now: Instant) {
        if self.phase == Phase::New {
            self.outputs.push_back(Output::Status(CallStatus::Joining));
            self.try_once(now);
        }
    }

    /// The peer that was asked for exists; its parameters go to the server.
    pub(super) fn handle_offer(&mut self, attempt: u32, source: i32, params: Secret<String>, now: Instant) {
        let Phase::Joining { request: None, .. } = self.phase else { return };
        if attempt != self.attempt {
            return;
        }
        if self.source != 0 {
            remember(&mut self.past_sources, self.source);
        }
        self.source = source;
        let (microphone, camera) =
            (self.edits.wants(Property::Microphone), self.edits.wants(Property::Camera));
        self.edits.restart(microphone, camera);
        (self.camera.video_joined, self.camera.is_refused, self.has_begun) = (None, false, false);
        if let Some(ghost) = self.options.ghost.take() {
            // Whether it still stood there is nothing that we could act upon.
            self.request(Method::Leave { source: ghost.cast_signed() });
        }
        let id = self.request(Method::Join(Join {
            attempt,
            source,
            params,
            muted: !microphone,
            video_stopped: !camera,
            join_as: self.options.join_as.clone(),
            invite_hash: self.options.invite_hash.clone(),
        }));
        self.phase = Phase::Joining { request: Some(id), give_up: now + JOIN_REPLY_TIMEOUT };
    }

    /// The peer could not be built or does not understand the answer.
    pub(super) fn handle_peer_error(&mut self, error: JoinError, now: Instant) {
        self.handle_trouble(error, now);
    }

    /// The signaling side is gone; the call cannot be steered any more.
    pub(super) fn handle_signaling_closed(&mut self) {
        if self.phase != Phase::Over {
            self.end(LeftReason::Failed(JoinError::Signaling(SignalingError::Closed)), true);
        }
    }

    /// Something happened to the transport.
    pub(super) fn handle_transport(&mut self, transport: Transport, now: Instant) {
        match (self.phase, transport) {
            (Phase::Connecting { since, give_up, .. }, Transport::IceConnected) => {
                self.reachable = true;
                self.phase = Phase::Connecting { ice: true, since, give_up };
            }
            (Phase::Connecting { .. }, Transport::Connected) => {
                self.phase = Phase::Up { confirmed: false, disconnected: None };
                self.tries = 0;
                self.was_up = true;
                self.spent = Duration::ZERO;
                self.up_since = Some(now);
                self.lost_at = None;
                self.next_check = Some(now + CHECK_INTERVAL);
                self.silent_until = Some(now + SILENCE);
                self.outputs.push_back(Output::Status(CallStatus::Connected));
                self.pictures.restart();
            }
            (Phase::Connecting { .. } | Phase::Up { .. }, Transport::WrongCertificate) => {
                self.fail(JoinError::WrongCertificate);
            }
            (Phase::Connecting { .. }, Transport::Failed) => {
                self.try_again("the transport failed", None, now)
            }
            (Phase::Up { confirmed, disconnected: None }, Transport::IceDisconnected) => {
                self.phase = Phase::Up { confirmed, disconnected: Some(now + DISCONNECTED_TIMEOUT) };
                self.next_check = Some(now + CHECK_INTERVAL_DISCONNECTED);
            }
            (Phase::Up { confirmed, .. }, Transport::IceConnected) => {
                self.phase = Phase::Up { confirmed, disconnected: None };
                self.next_check = Some(now + CHECK_INTERVAL);
            }
            (Phase::Up { .. }, Transport::Failed) => self.reconnect("the transport failed", now),
            _ => {}
        }
        // Something may have been switched since the join, or the join had to begin muted.
        self.tell(now);
    }

    /// A frame of the programme, ahead of its time: the camera follows it.
    pub(super) fn handle_frame(&mut self, kind: MediaKind, item: Option<ItemId>, now: Instant) {
        let shown = self.pictures.handle_frame(kind, item, now);
        if let Some(on) = shown.filter(|_| self.options.video) {
            if !on {
                // The next item with pictures may ask again.
                (self.camera.is_refused, self.camera.is_told) = (false, false);
            }
            self.edits.want(Property::Camera, on);
            self.tell(now);
        }
    }

    /// The server has shown that our media arrives.
    pub(super) fn handle_confirmation(&mut self) {
        if let Phase::Up { confirmed: false, disconnected } = self.phase {
            self.phase = Phase::Up { confirmed: true, disconnected };
            self.outputs.push_back(Output::Status(CallStatus::Joined));
        }
    }

    /// A media packet has been sent: from here on it is for the server to confirm.
    pub(super) fn handle_sent(&mut self) {
        self.silent_until = None;
    }

    /// Switches the microphone, as others see it.
    pub(super) fn set_muted(&mut self, muted: bool, now: Instant) {
        self.edits.want(Property::Microphone, !muted);
        self.tell(now);
    }

    /// Raises the hand, or lowers it.
    pub(super) fn raise_hand(&mut self, raised: bool, now: Instant) {
        self.edits.want(Property::Hand, raised);
        self.tell(now);
    }

    /// Leaves for `reason`.
    pub(super) fn leave(&mut self, reason: LeftReason) {
        if self.phase != Phase::Over {
            self.end(reason, true);
        }
    }

    /// May sound be sent: the transport is up, and neither we nor an admin has muted us.
    pub(super) fn audible(&self) -> bool {
        let is_on = self.edits.wants(Property::Microphone) && !self.muted_by_admin;
        matches!(self.phase, Phase::Up { .. }) && is_on
    }

    /// May pictures be sent: the transport is up, no admin has muted us, and there is room for our
    /// camera.
    pub(super) fn visible(&self) -> bool {
        let allowed = self.options.video && !self.muted_by_admin && !self.camera.is_closed();
        matches!(self.phase, Phase::Up { .. }) && allowed
    }

    /// The next thing to do.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Is there something to do?
    pub(super) fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Joining { give_up, .. } => Some(give_up),
            Phase::Connecting { give_up, .. } => Some(give_up),
            Phase::Up { disconnected, .. } => disconnected,
            Phase::Pausing { until } => Some(until),
            Phase::Waiting { look } => Some(look),
            Phase::New | Phase::Over => None,
        };
        let is_up = matches!(self.phase, Phase::Up { .. });
        let up = [self.next_check, self.silent_until, self.edits.poll_timeout()];
        std::iter::once(phase).chain(up.into_iter().map(|at| at.filter(|_| is_up))).flatten().min()
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match self.phase {
            Phase::Joining { request, give_up } if give_up <= now => {
                if request.is_some() {
                    remember(&mut self.abandoned, (request, self.source));
                }
                self.phase = Phase::Joining { request: None, give_up };
                self.handle_trouble(JoinError::Signaling(SignalingError::Timeout(JOIN_REPLY_TIMEOUT)), now);
            }
            Phase::Connecting { give_up, ice, .. } if give_up <= now => {
                let why = if ice { "DTLS did not finish" } else { "the server does not answer ICE" };
                self.try_again(why, None, now);
            }
            Phase::Up { disconnected: Some(at), .. } if at <= now => {
                self.reconnect("the server stopped answering", now);
            }
            Phase::Pausing { until } if until <= now => self.try_once(now),
            Phase::Waiting { look } if look <= now => self.try_once(now),
            _ => {}
        }
        if self.silent_until.is_some_and(|at| at <= now) {
            self.silent_until = None;
            self.handle_confirmation();
        }
        if let Phase::Up { disconnected, .. } = self.phase
            && self.next_check.is_some_and(|at| at <= now)
        {
            let interval = if disconnected.is_some() { CHECK_INTERVAL_DISCONNECTED } else { CHECK_INTERVAL };
            self.next_check = Some(now + interval);
            self.checking = Some(self.request(Method::Check { sources: vec![self.source] }));
        }
        self.tell(now);
    }

    /// Asks for what others do not see yet as it should be, one property at a time.
    fn tell(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Up { .. }) {
            return;
        }
        let (by_admin, no_camera) = (self.muted_by_admin, self.camera.is_closed());
        let held = |property| match property {
            Property::Microphone => by_admin,
            Property::Camera => by_admin || no_camera,
            Property::Hand => false,
        };
        if let Some((property, on)) = self.edits.next(now, held) {
            let id = self.request(Method::Edit(property.edit(on)));
            self.edits.asked(id, property, on, now);
        }
        if no_camera
            && self.edits.wants(Property::Camera)
            && !std::mem::replace(&mut self.camera.is_told, true)
        {
            self.outputs.push_back(Output::Notice(Notice::CameraNotAllowed(self.camera.limit)));
        }
    }

    /// Asks this of the signaling side; the reply carries the id.
    pub(super) fn request(&mut self, method: Method) -> RequestId {
        let id = self.next_request;
        self.next_request += 1;
        self.outputs.push_back(Output::Request(Request { id, method }));
        id
    }
}

impl CameraLimit {
    fn is_closed(&self) -> bool {
        self.is_refused || self.can_start == Some(false) && self.video_joined == Some(false)
    }
}

/// Keeps the last few.
fn remember<T>(past: &mut VecDeque<T>, value: T) {
    if past.len() == MAX_PAST {
        past.pop_front();
    }
    past.push_back(value);
}
