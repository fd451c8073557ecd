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
//! [`State`] decides, [`Sender`] times, [`Peer`] encrypts; this file carries between them.
//! After every input, [`Participant::poll_transmit`] and [`Participant::poll_effect`] are to be
//! emptied; what [`Participant::poll_request`] has may wait until the signaling side reads. The whole life of a call can so be run under a clock of the test's own.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::colibri::{self, ServerMessage};
use super::company::{Alone, Company};
use super::error::LeftReason;
use super::outbox::Outbox;
use super::params::{RemoteParams, Setup, random_ssrcs};
use super::participants::{self, Fetch, Participants};
use super::signaling::{Incoming, Method, Reply, Request, RequestId, Update};
use super::state::{CallStatus, Notice, Output, State, Transport};
use super::stats::{CallStats, Milestones};
use super::{CallEvent, JoinError, JoinOptions, sdp, streams};
use crate::media::plan::VideoCodecs;
use crate::media::{Codec, MediaKind};
use crate::peer::{Peer, PeerEvent, Ssrcs, Transmit};
use crate::player::SharedFrame;
use crate::rtp::clock::NtpAnchor;
use crate::rtp::rtcp::{self, Feedback};
use crate::rtp::{Sender, SenderConfig};
use crate::secret::Secret;

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

/// What one attempt has; all of it is new in the next.
struct Connection {
    attempt: u32,
    local: SocketAddr,
    ssrcs: Ssrcs,
    setup: Setup,
    offer: sdp::OfferView,
    peer: Peer,
    sender: Option<Sender>,
    up: bool,
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

    /// The same, but nothing is done about it yet. False when it was not only feedback to the media,
    /// and everything has to be driven.
    pub(super) fn hear(&mut self, from: SocketAddr, payload: &[u8], arrived: Instant, now: Instant) -> bool {
        let connection = self.connection.as_mut();
        let rtcp =
            connection.and_then(|connection| connection.peer.handle_datagram(from, payload, arrived, now));
        let Some(compound) = rtcp else { return false };
        self.handle_rtcp(&compound, arrived);
        !self.state.has_output()
    }

    /// The next frame of the programme, ahead of its time.
    pub(super) fn handle_frame(&mut self, frame: SharedFrame, now: Instant) {
        self.queue_frame(frame, now);
        self.drive(now);
    }

    /// The same, but nothing is sent yet. False when it has changed more than what waits to be sent,
    /// and everything has to be driven.
    pub(super) fn queue_frame(&mut self, frame: SharedFrame, now: Instant) -> bool {
        let sender = self.connection.as_ref().and_then(|connection| connection.sender.as_ref());
        // Pictures that are not sent are none: nobody is to see an empty tile.
        if sender.is_none_or(|sender| sender.takes(frame.frame.kind, &frame.frame.codec)) {
            self.state.handle_frame(frame.frame.kind, frame.item, now);
        }
        match self.connection.as_mut().filter(|connection| connection.up) {
            Some(Connection { sender: Some(sender), .. }) => sender.handle_frame(frame, now),
            _ => self.frames_unsent += 1,
        }
        !self.state.has_output()
    }

    /// Does media flow, so that [`send_media`](Self::send_media) is enough when some is due?
    pub(super) fn is_streaming(&self) -> bool {
        let connection = self.connection.as_ref().filter(|connection| connection.up);
        self.milestones.first_rtp.is_some() && connection.is_some_and(|it| it.peer.sends_directly())
    }

    /// Sends what is due of the media, and nothing else happens. False when that has changed more
    /// than the media, and everything has to be driven.
    pub(super) fn send_media(&mut self, now: Instant) -> bool {
        let n_reports = self.send_due(now);
        n_reports == 0 && !self.state.has_output()
    }

    /// When media is due.
    pub(super) fn media_timeout(&self) -> Option<Instant> {
        let connection = self.connection.as_ref().filter(|connection| connection.up)?;
        connection.sender.as_ref()?.poll_timeout().map(|(at, _)| at)
    }

    /// Is feedback more than statistics, because there are pictures to repair?
    pub(super) fn has_shown(&self) -> bool {
        let sender = self.connection.as_ref().and_then(|connection| connection.sender.as_ref());
        sender.is_some_and(Sender::has_shown)
    }

    /// Since when a viewer waits for a keyframe that is not on its way.
    pub(super) fn keyframe_wanted(&self) -> Option<Instant> {
        let connection = self.connection.as_ref().filter(|connection| connection.up)?;
        connection.sender.as_ref()?.keyframe_wanted()
    }

    /// The codecs in which pictures reach the chat; all of them where none is to.
    pub(super) fn video_codecs(&self) -> VideoCodecs {
        let sender = self.connection.as_ref().and_then(|connection| connection.sender.as_ref());
        let takes = |codec| sender.is_some_and(|sender| sender.takes(MediaKind::Video, &codec));
        let codecs = VideoCodecs { h264: takes(Codec::H264), vp8: takes(Codec::Vp8), vp9: takes(Codec::Vp9) };
        let has_pictures = self.config.options.video && (codecs.h264 || codecs.vp8);
        if has_pictures { codecs } else { VideoCodecs::ALL }
    }

    /// Is there a connection that frames can be sent on?
    pub(super) fn wants_frames(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.up)
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

    /// Does media go past the WebRTC engine?
    #[cfg(test)]
    pub(super) fn sends_directly(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.peer.sends_directly())
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

    /// A new peer, and the join payload that announces it.
    fn connect(
        &mut self,
        attempt: u32,
        setup: Setup,
        local: SocketAddr,
        now: Instant,
    ) -> Result<Secret<String>, JoinError> {
        let ssrcs = random_ssrcs(&mut self.rng);
        let peer = Peer::new(ssrcs, self.config.anchor, now)?;
        let offer =
            sdp::OfferView::parse(peer.offer()).map_err(|error| JoinError::Peer(error.to_string()))?;
        let params = offer.join_params(setup).map_err(|error| JoinError::Peer(error.to_string()))?;
        self.connection =
            Some(Connection { attempt, local, ssrcs, setup, offer, peer, sender: None, up: false });
        Ok(params.to_json())
    }

    /// The server's side: from here on the peer talks to it.
    fn apply(&mut self, attempt: u32, remote: &RemoteParams, now: Instant) -> Result<(), JoinError> {
        let Some(connection) = self.connection.as_mut().filter(|c| c.attempt == attempt) else {
            return Ok(());
        };
        self.milestones.answered.get_or_insert(now);
        let audio = streams::audio(remote, connection.ssrcs)?;
        let video = streams::video(remote, connection.ssrcs);
        if video.is_none() && self.config.options.video && !std::mem::replace(&mut self.told_no_video, true) {
            let listed = remote.video_codec_names();
            tracing::warn!(?listed, "the server takes neither H.264 nor VP8: only sound is sent");
            self.effects.push_back(Effect::Event(CallEvent::VideoNotAccepted { listed }));
        }
        if video.as_ref().is_some_and(|video| video.codec != Codec::H264) {
            tracing::info!("the server takes no H.264: pictures are sent as VP8");
        }
        connection.sender = Some(Sender::new(SenderConfig {
            audio: Some(audio),
            video,
            cname: Arc::from(format!("{:016x}", self.rng.u64(..))),
            anchor: self.config.anchor,
            seed: self.rng.u64(..),
            stagger: self.config.stagger,
        }));
        // IPv6 routes that lead nowhere are common and would only delay the checks.
        let options = sdp::AnswerOptions { our_setup: connection.setup, ipv6: false };
        let answer = sdp::answer(&connection.offer, remote, options)?;
        let local = local_address(connection.local, remote, self.config.route);
        connection.peer.handle_answer(
            answer.expose().clone(),
            local,
            remote.audio_extensions(),
            remote.video_extensions(),
            now,
        )?;
        Ok(())
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

    fn drive_peer(&mut self, now: Instant) -> bool {
        let mut moved = false;
        while let Some(event) = self.connection.as_mut().and_then(|c| c.peer.poll_event()) {
            moved = true;
            match event {
                PeerEvent::IceConnected => {
                    self.milestones.ice.get_or_insert(now);
                    self.state.handle_transport(Transport::IceConnected, now);
                }
                PeerEvent::IceDisconnected => self.state.handle_transport(Transport::IceDisconnected, now),
                PeerEvent::WrongCertificate => {
                    self.state.handle_transport(Transport::WrongCertificate, now);
                }
                PeerEvent::Failed => self.state.handle_transport(Transport::Failed, now),
                PeerEvent::Connected => {
                    self.milestones.dtls.get_or_insert(now);
                    if let Some(connection) = &mut self.connection {
                        connection.up = true;
                    }
                    self.state.handle_transport(Transport::Connected, now);
                }
                PeerEvent::DataChannelOpen => self.handle_channel_open(now),
                PeerEvent::Text(text) => self.handle_text(&text),
                PeerEvent::Rtcp(compound) => self.handle_rtcp(&compound, now),
            }
        }
        moved
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

    /// Sends the packets and reports that are due; gives the number of reports.
    fn send_due(&mut self, now: Instant) -> usize {
        let (audible, visible) = (self.state.audible(), self.state.visible());
        let Some(connection) = self.connection.as_mut().filter(|connection| connection.up) else { return 0 };
        let Some(sender) = &mut connection.sender else { return 0 };
        sender.set_muted(MediaKind::Audio, !audible);
        sender.set_muted(MediaKind::Video, !visible);
        while let Some(packet) = sender.poll_packet(now) {
            let ssrc = packet.ssrc;
            match connection.peer.send_rtp(packet, now) {
                Ok(()) => {
                    self.state.handle_sent();
                    self.milestones.first_rtp.get_or_insert(now);
                }
                Err(error) => {
                    tracing::trace!(%error, "a packet was refused");
                    sender.handle_discarded(ssrc);
                }
            }
        }
        let mut n_reports = 0;
        while let Some(report) = sender.poll_report(now) {
            n_reports += 1;
            if let Err(error) = connection.peer.send_rtcp(&report.to_bytes(), now) {
                tracing::trace!(%error, "a report was refused");
            }
        }
        n_reports
    }

    fn handle_channel_open(&mut self, now: Instant) {
        self.milestones.data_channel.get_or_insert(now);
        // We only send: nobody's video is to be forwarded to us.
        let text = colibri::receiver_video_constraints(&[]);
        if let Some(connection) = &mut self.connection
            && let Err(error) = connection.peer.send_text(&text, now)
        {
            tracing::debug!(%error, "the video constraints were not sent");
        }
        if !self.state.audible() && !self.state.visible() {
            // Nothing will be sent that could be confirmed, and the server talks to us.
            self.state.handle_confirmation();
        }
    }

    fn handle_text(&mut self, text: &str) {
        match ServerMessage::parse(text) {
            Ok(ServerMessage::SenderVideoConstraints { ideal_height }) => {
                self.ideal_height = Some(ideal_height);
                self.effects.push_back(Effect::Event(CallEvent::VideoWanted { height: ideal_height }));
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "a data channel message was not understood"),
        }
    }

    fn handle_rtcp(&mut self, compound: &[u8], now: Instant) {
        let Some(connection) = &mut self.connection else { return };
        let Some(sender) = &mut connection.sender else { return };
        for feedback in rtcp::parse(compound) {
            sender.handle_feedback(&feedback, now);
            if names_us(&feedback, connection.ssrcs) {
                self.milestones.first_feedback.get_or_insert(now);
                self.state.handle_confirmation();
            }
        }
    }

    fn close_connection(&mut self, now: Instant) {
        let Some(mut connection) = self.connection.take() else { return };
        let goodbye = connection.sender.filter(|_| connection.up).and_then(|sender| sender.goodbye(now));
        if let Some(goodbye) = goodbye
            && let Err(error) = connection.peer.send_rtcp(&goodbye, now)
        {
            tracing::trace!(%error, "the goodbye was refused");
        }
        connection.peer.close(now);
        // A courtesy: the server has its timers, and should these get lost, nobody repeats them.
        self.farewell.extend(std::iter::from_fn(|| connection.peer.poll_transmit()));
    }
}

/// The address that the server will see packets come from, as far as we can tell.
fn local_address(
    socket: SocketAddr,
    remote: &RemoteParams,
    route: fn(IpAddr) -> Option<IpAddr>,
) -> SocketAddr {
    if !socket.ip().is_unspecified() {
        return socket;
    }
    let facing = remote.transport.candidates.iter().filter(|c| c.ip.is_ipv4()).find_map(|c| route(c.ip));
    SocketAddr::new(facing.unwrap_or_else(|| socket.ip()), socket.port())
}

/// Does the server speak of something that we have sent?
fn names_us(feedback: &Feedback, ssrcs: Ssrcs) -> bool {
    let ours = |ssrc: u32| ssrc == ssrcs.audio || ssrc == ssrcs.video;
    match feedback {
        Feedback::Pli { ssrc } | Feedback::Fir { ssrc, .. } | Feedback::Nack { ssrc, .. } => ours(*ssrc),
        Feedback::ReceiverReport(report) => ours(report.ssrc),
        Feedback::Remb { ssrcs, .. } => ssrcs.iter().any(|ssrc| ours(*ssrc)),
        Feedback::TransportCc { n_received, .. } => *n_received > 0,
    }
}

impl std::fmt::Debug for Participant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Participant").field("state", &self.state).finish_non_exhaustive()
    }
}
