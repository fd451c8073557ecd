//! The driver of one call: socket, clock, link and frames → participant, and back.
//!
//! It has no opinion. What is due is sent first; everything else comes after.
//!
//! While a call streams, nearly all of its turns are for the next packet and nothing else. These
//! take a short way ([`Driver::stream`]): with hundreds of calls, each looked at every 20 ms, what a
//! turn costs is the memory that it touches.

#![expect(clippy::disallowed_methods, reason = "this loop is where a call reads the clock")]

mod socket;
mod wait;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::sync::{Semaphore, SemaphorePermit, broadcast, mpsc, watch};
use tracing::Instrument;

use self::socket::Socket;
use self::wait::{Turn, Wait};

use super::participant::{Config, Effect, Participant};
use super::signaling::Link;
use super::state::CallStatus;
use super::watchdog::Pulse;
use super::{CallEvent, ChatId, Command, JoinError, JoinOptions, LeftReason};
use crate::player::{Listener, Player};
use crate::rtp::clock::NtpAnchor;
use crate::udp::{self, Buffer, Datagram};

/// Datagrams read in one turn before the clock is looked at again.
const READS_PER_TURN: usize = 32;
/// With something to do within this time, the programme's frames are fetched then instead of waking
/// us. Less than the time by which a programme is ahead of what is due.
const SOON: Duration = Duration::from_millis(20);
/// After so many turns for media alone, nothing but media wakes us.
const STEADY: u32 = 50;
/// What has come meanwhile is read this often: sound is only reported of, pictures are repaired.
const HEAR_SOUND_EVERY: Duration = Duration::from_millis(60);
const HEAR_PICTURES_EVERY: Duration = Duration::from_millis(10);
/// Calls of a process that join at once; the others wait for a place. Handshakes are most of what
/// joining costs: when hundreds share a core, all of them run into their timers.
static JOINS: Semaphore = Semaphore::const_new(64);
/// A place is kept for so long, whatever a chat waits for: its beginning, or Telegram's leave.
const PLACE_FOR: Duration = Duration::from_secs(3);
/// A signaling side that is behind gets this long to take the last requests of a call.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// The task's ends of everything.
pub(super) struct Ends {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) status: watch::Sender<CallStatus>,
    pub(super) ssrc: watch::Sender<Option<u32>>,
    pub(super) events: broadcast::Sender<CallEvent>,
    pub(super) link: Link,
    pub(super) player: Player,
}

/// Starts the call's task. It ends with the call.
pub(super) fn spawn(chat: ChatId, options: JoinOptions, ends: Ends) {
    let span = tracing::info_span!("call", %chat);
    let pulse = Pulse::new(chat, Instant::now());
    let participant = Participant::new(Config {
        options,
        anchor: NtpAnchor::new(Instant::now(), SystemTime::now()),
        seed: fastrand::u64(..),
        stagger: ends.player.next_stagger(),
        route,
    });
    let driver = Driver {
        participant,
        ends,
        socket: None,
        n_streamed: 0,
        hear_at: Instant::now(),
        frames: None,
        asked_for_key: None,
        programme_over: false,
        link_open: true,
        pulse: pulse.clone(),
        place: None,
    };
    tokio::spawn(guard(driver, pulse).instrument(span));
}

/// Drives a call to its end. A bug in it ends this call alone, and whoever follows it hears so.
async fn guard(driver: Driver, pulse: Arc<Pulse>) {
    let (status, events) = (driver.ends.status.clone(), driver.ends.events.clone());
    let mut run = Box::pin(driver.run());
    let ended = std::future::poll_fn(|context| {
        pulse.begin(Instant::now());
        // What a panic leaves behind is dropped, and nobody looks at it before.
        let turn = catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(context)));
        pulse.end();
        match turn {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(true),
            Err(_told_by_the_panic_hook) => Poll::Ready(false),
        }
    });
    if !ended.await {
        tracing::error!("a bug has ended this call; please report it with a log of -vv");
        publish(CallStatus::Left(LeftReason::Failed(JoinError::Interrupted)), &status, &events);
    }
}

fn publish(status: CallStatus, to: &watch::Sender<CallStatus>, events: &broadcast::Sender<CallEvent>) {
    tracing::info!(?status, "status");
    // Nobody has to listen.
    let _ = events.send(CallEvent::Status(status.clone()));
    to.send_replace(status);
}

struct Driver {
    participant: Participant,
    ends: Ends,
    socket: Option<Socket>,
    /// Turns for media alone since anything else woke us.
    n_streamed: u32,
    /// An unwatched socket is read then.
    hear_at: Instant,
    /// Present while there is a connection to send on.
    frames: Option<Listener>,
    /// Since when the keyframe is wanted that the programme was asked for.
    asked_for_key: Option<Instant>,
    /// The programme is closed; the call stays, silent, until it is told to leave.
    programme_over: bool,
    link_open: bool,
    /// Tells the watchdog that we are alive.
    pulse: Arc<Pulse>,
    /// Our place among those who join, and when it is given up at the latest.
    place: Option<(SemaphorePermit<'static>, Instant)>,
}

impl Driver {
    async fn run(mut self) {
        let over = match self.wait_for_place().await {
            Some(over) => over,
            None => self.stay().await,
        };
        self.place = None;
        self.say_farewell().await;
        self.publish(over);
    }

    /// Begins to join when there is a place among those who do. Gives the last status when the call
    /// is over before.
    async fn wait_for_place(&mut self) -> Option<CallStatus> {
        let mut place = std::pin::pin!(JOINS.acquire());
        loop {
            tokio::select! {
                biased;
                place = &mut place => {
                    self.place = place.ok().map(|place| (place, Instant::now() + PLACE_FOR));
                    self.participant.start(Instant::now());
                    return None;
                }
                command = self.ends.commands.recv() => self.handle_command(command),
            }
            if let Some(over) = self.settle() {
                return Some(over);
            }
        }
    }

    /// Drives the call until it is over; gives its last status.
    async fn stay(&mut self) -> CallStatus {
        let mut buffer = Buffer::new();
        let mut wait = Wait::new();
        loop {
            if let Some(over) = self.settle() {
                return over;
            }
            self.listen().await;
            self.ask_for_key();
            let timeouts = self.participant.poll_timeouts();
            let rest = timeouts.rest.into_iter().chain(self.keep_place()).min();
            self.arm(&mut wait, timeouts.media, rest);
            self.watch_socket(is_soon(timeouts.media) && self.participant.is_streaming());
            wait.begin();
            match std::future::poll_fn(|context| self.poll_turn(context, &mut wait, &mut buffer)).await {
                Turn::Due => {
                    // Whatever it was, the timeout drives it on.
                    self.hear(&mut buffer, Instant::now());
                    self.participant.handle_timeout(Instant::now());
                    self.fetch_frames();
                }
                Turn::Frame(Some(frame)) => self.participant.handle_frame(frame, Instant::now()),
                Turn::Frame(None) => self.programme_over = true,
                Turn::Readable => self.read_all(&mut buffer),
                Turn::Incoming(Some(incoming)) => {
                    self.participant.handle_incoming(incoming, Instant::now());
                }
                Turn::Incoming(None) => {
                    self.link_open = false;
                    self.participant.handle_signaling_closed(Instant::now());
                }
                Turn::Command(command) => self.handle_command(command),
                // Settling sends what waits.
                Turn::Room => {}
            }
        }
    }

    /// Sets the timer for what comes next.
    fn arm(&self, wait: &mut Wait, media: Option<Instant>, rest: Option<Instant>) {
        let due = media.into_iter().chain(rest).min();
        self.pulse.expect(due);
        wait.arm(due, rest, is_soon(due));
    }

    /// The short way: sends what is due of the media, fetches the frames after it, reads what has
    /// come meanwhile and sets the timer anew. False when more than that is to be done.
    fn stream(&mut self, wait: &mut Wait, buffer: &mut Buffer) -> bool {
        let now = Instant::now();
        if wait.rest().is_some_and(|at| at <= now) || !self.participant.is_streaming() {
            return false;
        }
        let mut is_all = self.participant.send_media(now);
        self.transmit();
        while let Some(frame) = self.frames.as_mut().and_then(|frames| frames.try_recv().ok()) {
            is_all &= self.participant.queue_frame(frame, now);
        }
        is_all &= self.hear(buffer, now);
        is_all &= self.participant.keyframe_wanted() == self.asked_for_key;
        let media = self.participant.media_timeout();
        if !is_all || !is_soon(media) {
            return false;
        }
        self.n_streamed = self.n_streamed.saturating_add(1);
        self.arm(wait, media, wait.rest());
        true
    }

    /// Gives up our place among those who join when it is not needed any more. Tells until when it
    /// is kept.
    fn keep_place(&mut self) -> Option<Instant> {
        self.place.take_if(|(_, until)| self.participant.wants_frames() || *until <= Instant::now());
        self.place.as_ref().map(|(_, until)| *until)
    }

    /// Listens to the programme while there is a connection, and only then.
    async fn listen(&mut self) {
        let wanted = self.participant.wants_frames() && !self.programme_over;
        match (&self.frames, wanted) {
            (None, true) => {
                let codecs = self.participant.video_codecs();
                self.frames = Some(self.ends.player.listen_in(codecs).await);
            }
            (Some(_), false) => self.frames = None,
            _ => {}
        }
    }

    /// Takes what the programme has handed out meanwhile.
    fn fetch_frames(&mut self) {
        let Some(frames) = &mut self.frames else { return };
        loop {
            match frames.try_recv() {
                Ok(frame) => self.participant.handle_frame(frame, Instant::now()),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.programme_over = true;
                    return;
                }
            }
        }
    }

    /// Passes a viewer's wish for a keyframe on to the programme, once for each.
    fn ask_for_key(&mut self) {
        let wanted = self.participant.keyframe_wanted();
        if wanted != self.asked_for_key && wanted.is_none_or(|_| self.ends.player.request_keyframe()) {
            self.asked_for_key = wanted;
        }
    }

    /// Sends what is ready and does what is wanted. Gives the last status when the call is over.
    fn settle(&mut self) -> Option<CallStatus> {
        let mut over = None;
        loop {
            self.transmit();
            self.send_requests();
            let Some(effect) = self.participant.poll_effect() else { return over };
            match effect {
                Effect::NewSocket => self.open_socket(),
                Effect::Ssrc(ssrc) => {
                    self.ends.ssrc.send_replace(Some(ssrc));
                }
                Effect::Status(status @ CallStatus::Left(_)) => over = Some(status),
                Effect::Status(status) => self.publish(status),
                Effect::Event(event) => {
                    tracing::debug!(?event, "event");
                    let _ = self.ends.events.send(event);
                }
            }
        }
    }

    /// Hands over as many requests as there is room for. Never waits: the media must go on.
    fn send_requests(&mut self) {
        while self.participant.has_request() {
            match self.ends.link.requests.try_reserve() {
                Ok(permit) => {
                    let request = self.participant.poll_request().expect("one waits, as was just asked");
                    permit.send(request);
                }
                Err(TrySendError::Full(())) => return,
                Err(TrySendError::Closed(())) => {
                    // Nobody will ever read them.
                    while self.participant.poll_request().is_some() {}
                    self.participant.handle_signaling_closed(Instant::now());
                }
            }
        }
    }

    /// Hands over what is left when the call is over, the goodbye above all.
    async fn say_farewell(&mut self) {
        let requests = self.ends.link.requests.clone();
        let farewell = async {
            while let Some(request) = self.participant.poll_request() {
                if requests.send(request).await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(FAREWELL_TIMEOUT, farewell).await.is_err() {
            tracing::warn!("the signaling side does not read: it was not told that the call is over");
        }
    }

    fn publish(&self, status: CallStatus) {
        publish(status, &self.ends.status, &self.ends.events);
    }

    fn open_socket(&mut self) {
        let opened = Socket::open().and_then(|socket| Ok((socket.get_ref().local_addr()?, socket)));
        match opened {
            Ok((local, socket)) => {
                self.socket = Some(socket);
                self.participant.handle_socket(local, Instant::now());
            }
            Err(error) => self.participant.handle_socket_error(&error, Instant::now()),
        }
    }

    fn transmit(&mut self) {
        while let Some(transmit) = self.participant.poll_transmit() {
            let Some(socket) = &self.socket else { continue };
            // A full or refusing network loses datagrams; that is what NACK and timers are for.
            if let Err(error) = socket.get_ref().send_to(&transmit.payload, transmit.to) {
                tracing::trace!(%error, to = %transmit.to, "a datagram was not sent");
            }
        }
    }

    /// Takes what has come in, whatever it is.
    fn read_all(&mut self, buffer: &mut Buffer) {
        self.read(buffer, |participant, datagram, arrived, now| {
            participant.handle_datagram(datagram.from, datagram.bytes, arrived, now);
        });
    }

    /// Takes what has come in while nobody watched. False when it was more than feedback.
    fn hear(&mut self, buffer: &mut Buffer, now: Instant) -> bool {
        if now < self.hear_at || self.socket.as_ref().is_none_or(Socket::is_watched) {
            return true;
        }
        let every = if self.participant.has_shown() { HEAR_PICTURES_EVERY } else { HEAR_SOUND_EVERY };
        let (mut is_all, mut n_read) = (true, 0);
        self.read(buffer, |participant, datagram, arrived, now| {
            n_read += 1;
            is_all &= participant.hear(datagram.from, datagram.bytes, arrived, now);
        });
        // More may be waiting.
        self.hear_at = if n_read < READS_PER_TURN { now + every } else { now };
        is_all
    }

    fn read(
        &mut self,
        buffer: &mut Buffer,
        mut take: impl FnMut(&mut Participant, &Datagram<'_>, Instant, Instant),
    ) {
        for _ in 0..READS_PER_TURN {
            let Some(socket) = &self.socket else { return };
            match socket.receive(buffer) {
                Ok(datagram) => {
                    let now = Instant::now();
                    let arrived = now.checked_sub(datagram.age(udp::unix_now())).unwrap_or(now);
                    take(&mut self.participant, &datagram, arrived, now);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                // An ICMP error of an earlier datagram; the timers see to what follows from it.
                Err(error) => tracing::trace!(%error, "the socket reports an error"),
            }
        }
    }

    /// Lets datagrams wake us, except while media does so often enough.
    fn watch_socket(&mut self, media_is_soon: bool) {
        self.n_streamed = if media_is_soon { self.n_streamed } else { 0 };
        let wanted = self.n_streamed < STEADY;
        let Some(socket) = self.socket.take() else { return };
        match socket.watched(wanted) {
            Ok(socket) => self.socket = Some(socket),
            Err(error) => tracing::warn!(%error, "the socket cannot be watched: the call connects anew"),
        }
    }

    fn handle_command(&mut self, command: Option<Command>) {
        let now = Instant::now();
        match command {
            Some(Command::SetMuted(muted)) => self.participant.set_muted(muted, now),
            Some(Command::RaiseHand(raised)) => self.participant.raise_hand(raised, now),
            Some(Command::Stats(reply)) => {
                // Whoever asked may have gone.
                let _ = reply.send(self.participant.stats(now));
            }
            Some(Command::Leave(reason)) => self.participant.leave(reason, now),
            #[cfg(test)]
            Some(Command::Panic) => panic!("as a test wants it"),
            // Nobody holds the call any more.
            None => self.participant.leave(LeftReason::Command, now),
        }
    }
}

fn is_soon(due: Option<Instant>) -> bool {
    due.is_some_and(|at| at <= Instant::now() + SOON)
}

/// Which of our addresses a datagram to `remote` leaves from: asks the kernel, sends nothing.
fn route(remote: IpAddr) -> Option<IpAddr> {
    let probe = UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], 0))).ok()?;
    // Port 9 is "discard"; connecting a UDP socket only picks a route.
    probe.connect(SocketAddr::new(remote, 9)).ok()?;
    Some(probe.local_addr().ok()?.ip())
}
