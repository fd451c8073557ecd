//! The server as one machine: join requests, datagrams and time in; answers, datagrams and
//! events out. It owns no socket and reads no clock, so a whole call can run in a test in
//! virtual time, weather included.
//!
//! ```text
//! join, leave, edit … ──► Room (who)  ──► SfuEvent::Participants
//! datagrams ─► Lane ─► IceFront ─► Rtc ─► packets ─► Forward ─► Rtc of each receiver ─► Lane ─► datagrams
//! ```

mod words;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::Event;
use str0m::media::MediaKind;

pub use self::words::{AnswerSetup, JoinRequest, Joined, SfuConfig, SfuEvent};
use super::ParticipantId;
use super::answer::Answer;
use super::meter::Meter;
use super::participant::{Participant, Slot};
use super::payload::{JoinPayload, Setup};
use super::room::{Change, Member, Room};
use super::rpc::RpcError;
use super::stats::ParticipantStats;
use super::transport::{Drained, Site, Transport};
use super::weather::{Direction, Lane};
use crate::call::signaling::{Edit, ParticipantsPage};

/// A participant without a transport is dropped after this long: real clients see their source
/// vanish 16 to 20 s after a join that never connects.
pub const DROP_AFTER: Duration = Duration::from_secs(20);

/// Longer names of chats and participants are refused.
const MAX_NAME_BYTES: usize = 256;

/// More connections than a machine can serve are refused: each costs about a megabyte.
const MAX_PARTICIPANTS: usize = 2000;

/// How often senders are told how much the server takes.
const REMB_INTERVAL: Duration = Duration::from_secs(1);

/// The server.
#[derive(Debug)]
pub struct Sfu {
    pub(super) config: SfuConfig,
    site: Site,
    next_id: u64,
    pub(super) rooms: BTreeMap<String, Room>,
    pub(super) participants: BTreeMap<ParticipantId, Participant>,
    by_source: HashMap<SocketAddr, ParticipantId>,
    by_ufrag: HashMap<String, ParticipantId>,
    work: VecDeque<(ParticipantId, Event)>,
    outgoing: VecDeque<(SocketAddr, Vec<u8>)>,
    pub(super) events: VecDeque<SfuEvent>,
    next_remb: Instant,
    n_unrouted: u64,
    join_failures: VecDeque<RpcError>,
    /// Sees every datagram before the weather does.
    pub(super) meter: Option<Meter>,
}

impl Sfu {
    /// An empty server.
    ///
    /// # Panics
    /// When `config.local` is no address that a client can send to: unspecified, or port 0.
    pub fn new(config: SfuConfig, now: Instant) -> Self {
        let addr = config.local;
        assert!(!addr.ip().is_unspecified() && addr.port() != 0, "{addr} is not an address to send to");
        Self {
            site: Site::new(addr),
            config,
            next_id: 1,
            rooms: BTreeMap::new(),
            participants: BTreeMap::new(),
            by_source: HashMap::new(),
            by_ufrag: HashMap::new(),
            work: VecDeque::new(),
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
            next_remb: now + REMB_INTERVAL,
            n_unrouted: 0,
            join_failures: VecDeque::new(),
            meter: None,
        }
    }

    /// `phone.joinGroupCall`.
    pub fn join(&mut self, request: &JoinRequest, now: Instant) -> Result<Joined, RpcError> {
        if let Some(error) = self.join_failures.pop_front() {
            return Err(error);
        }
        self.check_capacity(&request.chat, &request.name)?;
        let payload = JoinPayload::parse(&request.params)?;
        let room = self.rooms.entry(request.chat.clone()).or_default();
        if payload.ssrcs().any(|ssrc| room.uses(ssrc)) {
            return Err(RpcError::ssrc_duplicate());
        }
        let id = self.take_id();
        let endpoint = format!("{:016x}", fastrand::u64(..));
        let mut transport = Transport::native(&self.site, &payload, id.0, now);
        let fingerprint = transport.fingerprint();
        let answer = Answer {
            candidates: &[self.config.local],
            ufrag: transport.ufrag(),
            pwd: transport.pwd(),
            fingerprint: &fingerprint,
            setup: answer_setup(self.config.answer_setup, payload.setup),
            endpoint: &endpoint,
            server_source: fastrand::i32(1..),
            h264: self.config.h264,
        };
        let params = answer.to_json();
        let member = Member {
            id,
            name: request.name.clone(),
            source: payload.ssrc,
            endpoint: endpoint.clone(),
            groups: payload.groups.clone(),
            muted: request.muted,
            muted_by_admin: false,
            video_stopped: request.video_stopped,
            video_paused: false,
            volume: None,
            raise_hand_rating: None,
        };
        let weather = self.config.weather.clone().filter(|_| !request.observer);
        let repair = weather.as_ref().is_none_or(|weather| weather.repair);
        let mut participant =
            Participant::new(request.chat.clone(), request.name.clone(), endpoint, transport, now);
        participant.expect_streams(&payload, repair);
        participant.weather = weather.map(|weather| {
            (Lane::new(weather.clone(), Direction::Up, now), Lane::new(weather, Direction::Down, now))
        });
        let room = self.rooms.entry(request.chat.clone()).or_default();
        let (change, replaced) = room.join(member);
        if let Some(replaced) = replaced {
            self.forget(replaced, now);
        }
        self.admit(id, participant);
        self.announce(&request.chat, change);
        tracing::debug!(participant = id.0, chat = request.chat, name = request.name, "joined");
        Ok(Joined { participant: id, params })
    }

    /// Lets the next join that is not yet spoken for fail with `error`.
    pub fn fail_next_join(&mut self, error: RpcError) {
        self.join_failures.push_back(error);
    }

    /// Lets a web page watch: SDP offer in, SDP answer out. Pages are in no list and have no weather.
    pub fn join_browser(
        &mut self,
        chat: &str,
        name: &str,
        offer: &str,
        now: Instant,
    ) -> Result<Joined, RpcError> {
        self.check_capacity(chat, name)?;
        let id = self.take_id();
        let (transport, answer) = Transport::browser(&self.site, offer, id.0, now)
            .map_err(|error| RpcError::new(400, format!("SDP_INVALID: {error}")))?;
        let mut participant = Participant::new(chat.into(), name.into(), String::new(), transport, now);
        participant.become_viewer();
        self.rooms.entry(chat.into()).or_default();
        self.admit(id, participant);
        self.poll_participant(id, now);
        self.pump(now);
        tracing::debug!(participant = id.0, chat, name, "a page joined");
        Ok(Joined { participant: id, params: answer })
    }

    /// `phone.leaveGroupCall`. A source of 0 leaves whatever the connection is.
    pub fn leave(&mut self, chat: &str, name: &str, source: i32, now: Instant) -> Result<(), RpcError> {
        let left = self.room_mut(chat)?.leave(name, source.cast_unsigned())?;
        if let Some((id, change)) = left {
            self.forget(id, now);
            self.announce(chat, change);
        }
        Ok(())
    }

    /// Ends one connection by its id; a page's too. Unknown ids are fine.
    pub fn remove(&mut self, id: ParticipantId, now: Instant) {
        let Some(chat) = self.participants.get(&id).map(|participant| participant.chat.clone()) else {
            return;
        };
        let change = self.rooms.get_mut(&chat).and_then(|room| room.remove(id));
        self.forget(id, now);
        if let Some(change) = change {
            self.announce(&chat, change);
        }
    }

    /// An admin removes somebody, whose client may join again.
    pub fn kick(&mut self, chat: &str, name: &str, now: Instant) -> Result<(), RpcError> {
        self.leave(chat, name, 0, now)
    }

    /// An admin ends the call; the next join begins another.
    pub fn discard(&mut self, chat: &str, now: Instant) -> Result<(), RpcError> {
        self.rooms.remove(chat).ok_or_else(RpcError::forbidden)?;
        let there = self.participants.iter().filter(|(_, participant)| participant.chat == chat);
        let there: Vec<ParticipantId> = there.map(|(id, _)| *id).collect();
        for id in there {
            self.forget(id, now);
        }
        self.events.push_back(SfuEvent::Discarded { chat: chat.to_owned() });
        Ok(())
    }

    /// `phone.checkGroupCall`.
    pub fn check(&self, chat: &str, name: &str, sources: &[i32]) -> Result<Vec<i32>, RpcError> {
        self.rooms.get(chat).ok_or_else(RpcError::join_missing)?.check(name, sources)
    }

    /// `phone.editGroupCallParticipant` for oneself.
    pub fn edit(&mut self, chat: &str, name: &str, edit: &Edit, now: Instant) -> Result<(), RpcError> {
        let change = self.room_mut(chat)?.edit(name, edit)?;
        self.announce(chat, change);
        self.update_demand(chat, now);
        Ok(())
    }

    /// An admin mutes somebody, or allows them to speak again.
    pub fn mute_by_admin(
        &mut self,
        chat: &str,
        name: &str,
        muted: bool,
        now: Instant,
    ) -> Result<(), RpcError> {
        let change = self.room_mut(chat)?.mute_by_admin(name, muted)?;
        self.announce(chat, change);
        self.update_demand(chat, now);
        Ok(())
    }

    /// `phone.getGroupParticipants`, one page. An unknown chat is an empty one.
    pub fn list(&self, chat: &str, sources: &[i32], offset: &str) -> ParticipantsPage {
        self.rooms.get(chat).map(|room| room.page(sources, offset)).unwrap_or_default()
    }

    /// The row of one participant, and the list's version; nothing for who is not in the call.
    #[cfg(feature = "telegram")]
    pub(super) fn row(
        &self,
        chat: &str,
        name: &str,
    ) -> Option<(crate::call::signaling::ParticipantRow, i32)> {
        let room = self.rooms.get(chat)?;
        let member = room.members().iter().find(|member| member.name == name)?;
        Some((member.row(), room.page(&[], "").version))
    }

    /// Chat and name of a connection.
    pub fn identity(&self, id: ParticipantId) -> Option<(&str, &str)> {
        self.participants.get(&id).map(|participant| (&participant.chat[..], &participant.name[..]))
    }

    /// When `name` asked to join; of several times, the latest.
    pub fn joined_at(&self, chat: &str, name: &str) -> Option<Instant> {
        let members = self.rooms.get(chat)?.members();
        let id = members.iter().find(|member| member.name == name)?.id;
        self.participants.get(&id).map(|participant| participant.joined_at)
    }

    /// What a page shows where, for the page itself to ask.
    pub fn slots(&self, id: ParticipantId) -> Vec<Slot> {
        self.participants.get(&id).map(|page| self.slots_of(page)).unwrap_or_default()
    }

    /// The counters of everybody in `chat`, pages included.
    pub fn stats(&mut self, chat: &str, now: Instant) -> Vec<ParticipantStats> {
        let in_chat = self.participants.iter_mut().filter(|(_, p)| p.chat == chat);
        in_chat.map(|(id, participant)| participant.stats(*id, now)).collect()
    }

    /// A datagram from the socket.
    pub fn handle_datagram(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) {
        let Some(id) = self.owner_of(from, bytes) else {
            self.n_unrouted += 1;
            tracing::trace!(%from, len = bytes.len(), total = self.n_unrouted, "a datagram of nobody");
            return;
        };
        match self.participants.get_mut(&id).and_then(|participant| participant.weather.as_mut()) {
            Some((up, _)) => {
                up.push(bytes, (from, bytes.to_vec()), now);
                self.release(id, now);
            }
            None => self.deliver(id, from, bytes, now),
        }
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = |p: &Participant| p.poll_timeout().is_some_and(|at| at <= now);
        let ids: Vec<ParticipantId> =
            self.participants.iter().filter(|(_, p)| due(p)).map(|(id, _)| *id).collect();
        for id in ids {
            self.poll_participant(id, now);
            self.release(id, now);
            self.send_due_plis(id, now);
        }
        if now >= self.next_remb {
            self.next_remb = now + REMB_INTERVAL;
            self.announce_bitrate(now);
        }
        let patience = self.config.drop_after;
        let gone = |p: &Participant| p.unconnected_since.is_some_and(|since| now >= since + patience);
        let gone: Vec<ParticipantId> =
            self.participants.iter().filter(|(_, p)| gone(p)).map(|(id, _)| *id).collect();
        for participant in gone {
            tracing::debug!(participant = participant.0, "dropped for want of a transport");
            self.remove(participant, now);
            self.events.push_back(SfuEvent::Dropped { participant });
        }
        self.pump(now);
    }

    /// When [`Sfu::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let patience = self.config.drop_after;
        let of = |p: &Participant| {
            p.poll_timeout().into_iter().chain(p.unconnected_since.map(|at| at + patience)).min()
        };
        self.participants.values().filter_map(of).chain([self.next_remb]).min()
    }

    /// The next datagram for the socket.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.outgoing.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<SfuEvent> {
        self.events.pop_front()
    }

    fn check_capacity(&self, chat: &str, name: &str) -> Result<(), RpcError> {
        if chat.len() > MAX_NAME_BYTES || name.len() > MAX_NAME_BYTES {
            return Err(RpcError::new(400, "PEER_ID_INVALID"));
        }
        let full = self.participants.len() >= MAX_PARTICIPANTS;
        if full { Err(RpcError::new(400, "GROUPCALL_PARTICIPANTS_TOO_MUCH")) } else { Ok(()) }
    }

    fn take_id(&mut self) -> ParticipantId {
        let id = ParticipantId(self.next_id);
        self.next_id += 1;
        id
    }

    fn admit(&mut self, id: ParticipantId, participant: Participant) {
        self.by_ufrag.insert(participant.transport.ufrag().to_owned(), id);
        self.participants.insert(id, participant);
    }

    /// Takes a connection away from everything but its room.
    fn forget(&mut self, id: ParticipantId, now: Instant) {
        let Some(gone) = self.participants.remove(&id) else { return };
        self.by_ufrag.remove(gone.transport.ufrag());
        self.by_source.retain(|_, owner| *owner != id);
        self.work.retain(|(owner, _)| *owner != id);
        self.stop_forwarding(&gone.chat, id, now);
        self.update_demand(&gone.chat, now);
        self.pump(now);
    }

    fn room_mut(&mut self, chat: &str) -> Result<&mut Room, RpcError> {
        self.rooms.get_mut(chat).ok_or_else(RpcError::join_missing)
    }

    fn announce(&mut self, chat: &str, Change { rows, version }: Change) {
        self.events.push_back(SfuEvent::Participants { chat: chat.to_owned(), rows, version });
    }

    /// Checks name their participant; all else goes by the address that a valid check came from.
    fn owner_of(&self, from: SocketAddr, bytes: &[u8]) -> Option<ParticipantId> {
        if bytes.first().is_some_and(|byte| *byte < 2) {
            let message = str0m::ice::StunMessage::parse(bytes).ok()?;
            return self.by_ufrag.get(super::ice::addressee(&message)?).copied();
        }
        self.by_source.get(&from).copied()
    }

    /// Lets a datagram that has come through the weather do its work.
    fn deliver(&mut self, id: ParticipantId, from: SocketAddr, bytes: &[u8], now: Instant) {
        let Some(participant) = self.participants.get_mut(&id) else { return };
        let mut out = Drained::default();
        participant.note_repair(bytes);
        participant.transport.handle_datagram(from, bytes, now, &mut out);
        if out.checked {
            self.by_source.insert(from, id);
        }
        self.absorb(id, out, now);
        self.pump(now);
    }

    /// Moves what the weather lets through by now.
    fn release(&mut self, id: ParticipantId, now: Instant) {
        while let Some((from, bytes)) = self.lanes(id).and_then(|(up, _)| up.pop(now)) {
            self.deliver(id, from, &bytes, now);
        }
        while let Some(datagram) = self.lanes(id).and_then(|(_, down)| down.pop(now)) {
            self.outgoing.push_back(datagram);
        }
    }

    fn lanes(&mut self, id: ParticipantId) -> Option<&mut super::participant::Lanes> {
        self.participants.get_mut(&id)?.weather.as_mut()
    }

    fn poll_participant(&mut self, id: ParticipantId, now: Instant) {
        let Some(participant) = self.participants.get_mut(&id) else { return };
        if participant.transport.poll_timeout() <= now {
            let mut out = Drained::default();
            participant.transport.handle_timeout(now, &mut out);
            self.absorb(id, out, now);
        }
    }

    /// Takes what a transport wants done.
    pub(super) fn absorb(&mut self, id: ParticipantId, out: Drained, now: Instant) {
        let Some(participant) = self.participants.get_mut(&id) else { return };
        match &mut participant.weather {
            None => self.outgoing.extend(out.datagrams),
            Some((_, down)) => {
                for (to, bytes) in out.datagrams {
                    down.push(&bytes.clone(), (to, bytes), now);
                }
                while let Some(datagram) = down.pop(now) {
                    self.outgoing.push_back(datagram);
                }
            }
        }
        self.work.extend(out.events.into_iter().map(|event| (id, event)));
        self.note_connection(id, now);
    }

    /// Handles events until none is left; handling one may make others.
    pub(super) fn pump(&mut self, now: Instant) {
        while let Some((id, event)) = self.work.pop_front() {
            self.handle_event(id, event, now);
        }
    }

    /// Tells the world when a transport has come up, gone down or failed for good.
    fn note_connection(&mut self, participant: ParticipantId, now: Instant) {
        let Some(it) = self.participants.get_mut(&participant) else { return };
        let connected = it.transport.is_connected();
        if it.unconnected_since.is_none() == connected {
            if let Some(reason) = it.transport.failure().filter(|_| !std::mem::replace(&mut it.refused, true))
            {
                let reason = reason.to_owned();
                it.refused = true;
                tracing::debug!(participant = participant.0, reason, "transport failed");
                self.events.push_back(SfuEvent::Refused { participant, reason });
            }
            return;
        }
        it.unconnected_since = (!connected).then_some(now);
        if connected {
            it.connected_after.get_or_insert_with(|| now.saturating_duration_since(it.joined_at));
        }
        let event = if connected {
            SfuEvent::Connected { participant }
        } else {
            SfuEvent::Disconnected { participant }
        };
        tracing::debug!(participant = participant.0, connected, "transport");
        self.events.push_back(event);
        if connected {
            let chat = it.chat.clone();
            self.update_demand(&chat, now);
        }
    }
}

fn answer_setup(variant: AnswerSetup, offered: Setup) -> Setup {
    match (variant, offered) {
        (AnswerSetup::Echo, same) => same,
        (AnswerSetup::Opposite, Setup::Active) => Setup::Passive,
        (AnswerSetup::Opposite, Setup::Passive) => Setup::Active,
    }
}

/// The word that statistics use.
pub(super) const fn kind_name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}

#[cfg(test)]
mod tests;
