//! One participant whole, still without IO: signaling, WebRTC and media in one machine.
//!
//! ```text
//!  commands ─┐                    ┌─► Effect: new socket, status, event
//!  Incoming ─┤   ┌─────────────┐  ├─► requests
//!  frames   ─┼──►│ State       ├──┤
//!  datagrams ┤   │ Sender Peer │  └─► datagrams
//!  time     ─┘   └─────────────┘
//! ```
//!
//! [`State`] decides, [`Sender`] times, [`Peer`](crate::peer::Peer) encrypts; this file carries
//! between them, `connection` begins and ends what one attempt has, and `media` is the short way of
//! frames and feedback.
//! After every input, [`Participant::poll_transmit`] and [`Participant::poll_effect`] are to be
//! emptied; what [`Participant::poll_request`] has may wait until the signaling side reads.
//! The whole life of a call can so be run under a clock of the test's own.

mod connection;
mod media;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use self::connection::Connection;
use super::company::{Alone, Company};
use super::error::LeftReason;
use super::outbox::Outbox;
use super::params::Setup;
use super::participants::{self, Fetch, Participants};
use super::signaling::{Incoming, Method, Reply, Request, RequestId, Update};
use super::state::{CallStatus, Notice, Output, State};
use super::stats::{CallStats, Milestones};
use super::{CallEvent, JoinError, JoinOptions};
use crate::peer::Transmit;
use crate::player::SharedFrame;
use crate::rtp::Sender;
use crate::rtp::clock::NtpAnchor;

/// A page of the participant list that was refused is asked for again after this.
const LIST_RETRY: Duration = Duration::from_secs(5);

/// What a participant is made with.
pub(super) struct Config {
    pub(super) options: JoinOptions,
    /// Ties our monotonic clock to NTP.
    pub(super) anchor: NtpAnchor,
    /// For SSRCs, sequence numbers and timestamps.
    pub(super) seed: u64,
    /// How long after their due time our packets leave.
    pub(super) stagger: Duration,
    /// Which of our addresses faces that one.
    pub(super) route: fn(IpAddr) -> Option<IpAddr>,
}

/// What the participant wants done outside.
#[derive(Debug)]
pub(super) enum Effect {
    /// Close the socket, open a new one, and say so with [`Participant::handle_socket`]. A new
    /// port tells the server's packets for the old connection from those for the new one.
    NewSocket,
    /// A connection with this SSRC is about to be announced.
    Ssrc(u32),
    /// The status has changed.
    Status(CallStatus),
    /// The user may want to know.
    Event(CallEvent),
}

/// When something is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// Packets or reports.
    pub(super) media: Option<Instant>,
    /// Everything else.
    pub(super) rest: Option<Instant>,
}

/// One participant of one video chat.
pub(super) struct Participant {
    state: State,
    config: Config,
    rng: fastrand::Rng,
    pending: Option<(u32, Setup)>,
    connection: Option<Connection>,
    /// The last datagrams of a connection that is gone; they leave through its socket.
    farewell: VecDeque<Transmit>,
    milestones: Milestones,
    ideal_height: Option<u32>,
    /// Who else is there.
    list: Participants,
    /// Pages of the list that were asked for.
    fetches: HashMap<RequestId, Fetch>,
    n_participants: usize,
    company: Company,
    /// The user knows that the server takes none of our pictures.
    told_no_video: bool,
    /// Frames that came while there was nothing to send them with.
    frames_unsent: u64,
    /// Connections so far.
    attempts: u32,
    requests: Outbox,
    effects: VecDeque<Effect>,
}

impl Participant {
    pub(super) fn new(config: Config) -> Self {
        Self {
            state: State::new(config.options.clone()),
            company: Company::new(config.options.leave_when_empty),
            rng: fastrand::Rng::with_seed(config.seed),
            config,
            pending: None,
            connection: None,
            farewell: VecDeque::new(),
            milestones: Milestones::default(),
            ideal_height: None,
            list: Participants::default(),
            fetches: HashMap::new(),
            n_participants: 0,
            told_no_video: false,
            frames_unsent: 0,
            attempts: 0,
            requests: Outbox::default(),
            effects: VecDeque::new(),
        }
    }

    /// Begins to join.
    pub(super) fn start(&mut self, now: Instant) {
        self.state.start(now);
        self.drive(now);
    }

    /// The socket that was asked for is open at `local`.
    pub(super) fn handle_socket(&mut self, local: SocketAddr, now: Instant) {
        let Some((attempt, setup)) = self.pending.take() else { return };
        match self.connect(attempt, setup, local, now) {
            Ok(params) => {
                self.milestones.restart(now);
                self.attempts = self.attempts.saturating_add(1);
                let ssrc = self.connection.as_ref().map_or(0, |connection| connection.ssrcs.audio);
                self.effects.push_back(Effect::Ssrc(ssrc));
                self.state.handle_offer(attempt, ssrc.cast_signed(), params, now);
            }
            Err(error) => self.state.handle_peer_error(error, now),
        }
        self.drive(now);
    }

    /// No socket could be opened.
    pub(super) fn handle_socket_error(&mut self, error: &std::io::Error, now: Instant) {
        self.state.handle_peer_error(JoinError::Socket(error.to_string()), now);
        self.drive(now);
    }

    /// Something from the signaling side.
    pub(super) fn handle_incoming(&mut self, incoming: Incoming, now: Instant) {
        if let Incoming::Update(Update::Participants { participants, version }) = &incoming {
            self.list.handle_update(participants.clone(), *version, now);
        }
        match incoming {
            Incoming::Reply { id, result } if self.fetches.contains_key(&id) => {
                let fetch = self.fetches.remove(&id).expect("it was just found");
                self.handle_page(&fetch, result.ok(), now);
            }
            incoming => self.state.handle_incoming(incoming, now),
        }
        self.drive(now);
    }

    /// The signaling side is gone.
    pub(super) fn handle_signaling_closed(&mut self, now: Instant) {
        self.state.handle_signaling_closed();
        self.drive(now);
    }

    /// A datagram from the network, which came at `arrived`.
    pub(super) fn handle_datagram(
        &mut self,
        from: SocketAddr,
        payload: &[u8],
        arrived: Instant,
        now: Instant,
    ) {
        self.hear(from, payload, arrived, now);
        self.drive(now);
    }

    /// The next frame of the programme, ahead of its time.
    pub(super) fn handle_frame(&mut self, frame: SharedFrame, now: Instant) {
        self.queue_frame(frame, now);
        self.drive(now);
    }

    /// Switches the microphone.
    pub(super) fn set_muted(&mut self, muted: bool, now: Instant) {
        self.state.set_muted(muted, now);
        self.drive(now);
    }

    /// Raises the hand, or lowers it.
    pub(super) fn raise_hand(&mut self, raised: bool, now: Instant) {
        self.state.raise_hand(raised, now);
        self.drive(now);
    }

    /// Leaves the chat.
    pub(super) fn leave(&mut self, reason: LeftReason, now: Instant) {
        self.state.leave(reason);
        self.drive(now);
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.state.handle_timeout(now);
        if let Some(connection) = &mut self.connection
            && connection.peer.poll_timeout().is_some_and(|at| at <= now)
        {
            connection.peer.handle_timeout(now);
        }
        if self.wants_frames() {
            self.list.handle_timeout(now);
        }
        self.drive(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[cfg(test)]
    pub(super) fn poll_timeout(&mut self) -> Option<Instant> {
        let Timeouts { media, rest } = self.poll_timeouts();
        media.into_iter().chain(rest).min()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due, and for what.
    pub(super) fn poll_timeouts(&mut self) -> Timeouts {
        let peer = self.connection.as_mut().and_then(|connection| connection.peer.poll_timeout());
        let list = self.list.poll_timeout().filter(|_| self.wants_frames());
        let rest = [peer, self.state.poll_timeout(), list, self.company.poll_timeout()];
        Timeouts { media: self.media_timeout(), rest: rest.into_iter().flatten().min() }
    }

    /// The next datagram to send.
    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        let farewell = self.farewell.pop_front();
        farewell.or_else(|| self.connection.as_mut()?.peer.poll_transmit())
    }

    /// How many pages of the list are waited for.
    #[cfg(test)]
    pub(super) fn n_fetches(&self) -> usize {
        self.fetches.len()
    }

    /// The next request for the signaling side.
    pub(super) fn poll_request(&mut self) -> Option<Request> {
        self.requests.pop()
    }

    /// Does a request wait to be sent?
    pub(super) fn has_request(&self) -> bool {
        !self.requests.is_empty()
    }

    /// The next thing to do outside.
    pub(super) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// What has happened so far.
    pub(super) fn stats(&mut self, now: Instant) -> CallStats {
        let connection = self.connection.as_mut();
        let connection = connection.map(|connection| (connection.peer.stats(now), connection.setup));
        let sender = self.connection.as_ref().and_then(|connection| connection.sender.as_ref());
        CallStats {
            at: self.config.anchor.unix_at(now),
            connection,
            attempts: self.attempts,
            media: sender.map(Sender::stats).unwrap_or_default(),
            milestones: self.milestones,
            ideal_height: self.ideal_height,
            n_participants: self.list.len(),
            frames_unsent: self.frames_unsent,
        }
    }

    /// Carries everything between the parts until nothing moves any more.
    fn drive(&mut self, now: Instant) {
        loop {
            let mut moved = self.drive_peer(now);
            while let Some(output) = self.state.poll_output() {
                moved = true;
                self.handle_output(output, now);
            }
            while let Some(output) = self.list.poll_output() {
                moved = true;
                self.handle_list(output);
            }
            moved |= self.company.matters() && self.mind_company(now);
            if !moved {
                break;
            }
        }
        self.send_due(now);
    }

    /// Leaves a chat where nobody else has been for long; true when it does.
    fn mind_company(&mut self, now: Instant) -> bool {
        let is_known = self.wants_frames() && self.list.version().is_some();
        let n_others = is_known.then(|| self.list.len() - usize::from(self.list.own().is_some()));
        match self.company.handle(n_others, now) {
            Some(Alone::Since { leaves_in }) => {
                self.effects.push_back(Effect::Event(CallEvent::Alone { leaves_in }));
                false
            }
            Some(Alone::Enough) => {
                self.state.leave(LeftReason::Empty);
                true
            }
            None => false,
        }
    }

    fn handle_output(&mut self, output: Output, now: Instant) {
        match output {
            Output::Request(request) => self.requests.push(request),
            Output::NewPeer { attempt, setup } => {
                self.close_connection(now);
                self.pending = Some((attempt, setup));
                self.effects.push_back(Effect::NewSocket);
            }
            Output::Answer { attempt, remote } => {
                if let Err(error) = self.apply(attempt, &remote, now) {
                    self.state.handle_peer_error(error, now);
                }
            }
            Output::DropPeer => {
                self.pending = None;
                self.close_connection(now);
            }
            Output::Status(status) => {
                if status == CallStatus::Connected {
                    // Updates may have been missed while there was no connection.
                    self.list.refetch(now);
                }
                self.effects.push_back(Effect::Status(status));
            }
            Output::Notice(notice) => self.effects.push_back(Effect::Event(match notice {
                Notice::FloodWait(wait) => CallEvent::FloodWait { wait },
                Notice::MutedByAdmin(muted) => CallEvent::MutedByAdmin { muted },
                Notice::Waiting(until) => CallEvent::Waiting { until },
                Notice::CameraNotAllowed(limit) => CallEvent::CameraNotAllowed { limit },
                Notice::EditRefused(property, error) => CallEvent::EditRefused { property, error },
                Notice::Retrying { attempt, why } => CallEvent::Retrying { attempt, why },
            })),
        }
    }

    /// One page of the participant list, or none where it was refused.
    fn handle_page(&mut self, fetch: &Fetch, reply: Option<Reply>, now: Instant) {
        let Some(Reply::Participants(page)) = reply else {
            return self.list.handle_fetch_failed(fetch, LIST_RETRY, now);
        };
        let own = page.participants.iter().filter(|row| row.is_self).cloned().collect();
        let update = Update::Participants { participants: own, version: page.version };
        self.state.handle_incoming(Incoming::Update(update), now);
        self.list.handle_page(fetch, page, now);
    }

    fn handle_list(&mut self, output: participants::Output) {
        match output {
            participants::Output::Fetch(fetch) => {
                let (sources, offset) = match &fetch {
                    Fetch::Page { offset, .. } => (Vec::new(), offset.clone()),
                    Fetch::Sources(sources) => (sources.clone(), String::new()),
                };
                // The list asks again when an answer stays away: of each kind, one is waited for.
                let kind = std::mem::discriminant(&fetch);
                self.fetches.retain(|_, old| std::mem::discriminant(old) != kind);
                let id = self.state.request(Method::Participants { sources, offset });
                self.fetches.insert(id, fetch);
            }
            participants::Output::Changed(_) => {
                let n = self.list.len();
                if std::mem::replace(&mut self.n_participants, n) != n {
                    self.effects.push_back(Effect::Event(CallEvent::Participants { n }));
                }
            }
        }
    }
}

impl std::fmt::Debug for Participant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Participant").field("state", &self.state).finish_non_exhaustive()
    }
}
