//! The driver of one call: socket, clock, link and frames → participant, and back.
//!
//! It has no opinion. What is due is sent first; everything else comes after.

#![expect(clippy::disallowed_methods, reason = "this loop is where a call reads the clock")]

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Instant, SystemTime};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{broadcast, mpsc, watch};
use tracing::Instrument;

use super::participant::{Config, Effect, Participant};
use super::signaling::Link;
use super::state::CallStatus;
use super::{CallEvent, ChatId, Command, JoinOptions, LeftReason};
use crate::player::{Listener, Player, SharedFrame};
use crate::rtp::clock::NtpAnchor;

/// The largest UDP datagram that can come.
const MAX_DATAGRAM: usize = 65_536;
/// Datagrams read in one turn before the clock is looked at again.
const READS_PER_TURN: usize = 32;

/// The task's ends of everything.
pub(super) struct Ends {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) status: watch::Sender<CallStatus>,
    pub(super) events: broadcast::Sender<CallEvent>,
    pub(super) link: Link,
    pub(super) player: Player,
}

/// Starts the call's task. It ends with the call.
pub(super) fn spawn(chat: ChatId, options: JoinOptions, ends: Ends) {
    let span = tracing::info_span!("call", %chat);
    let participant = Participant::new(Config {
        options,
        anchor: NtpAnchor::new(Instant::now(), SystemTime::now()),
        seed: fastrand::u64(..),
        route,
    });
    let driver =
        Driver { participant, ends, socket: None, frames: None, programme_over: false, link_open: true };
    tokio::spawn(driver.run().instrument(span));
}

struct Driver {
    participant: Participant,
    ends: Ends,
    /// Only what comes in wakes us: a socket that waits to be writable, as tokio's own do, wakes
    /// its task after everything that it has sent.
    socket: Option<AsyncFd<UdpSocket>>,
    /// Present while there is a connection to send on.
    frames: Option<Listener>,
    programme_over: bool,
    link_open: bool,
}

impl Driver {
    async fn run(mut self) {
        self.participant.start(Instant::now());
        let mut buffer = vec![0; MAX_DATAGRAM];
        while !self.settle() {
            self.listen().await;
            let timeout = self.participant.poll_timeout();
            tokio::select! {
                biased;
                () = sleep_until(timeout) => self.participant.handle_timeout(Instant::now()),
                frame = next_frame(&mut self.frames) => match frame {
                    Some(frame) => self.participant.handle_frame(frame, Instant::now()),
                    // The programme is closed; the call stays, silent, until it is told to leave.
                    None => self.programme_over = true,
                },
                received = receive(self.socket.as_ref(), &mut buffer) => self.handle_datagram(received, &mut buffer),
                incoming = self.ends.link.incoming.recv(), if self.link_open => match incoming {
                    Some(incoming) => self.participant.handle_incoming(incoming, Instant::now()),
                    None => {
                        self.link_open = false;
                        self.participant.handle_signaling_closed(Instant::now());
                    }
                },
                command = self.ends.commands.recv() => self.handle_command(command),
            }
        }
    }

    /// Listens to the programme while there is a connection, and only then.
    async fn listen(&mut self) {
        let wanted = self.participant.wants_frames() && !self.programme_over;
        match (&self.frames, wanted) {
            (None, true) => self.frames = Some(self.ends.player.listen().await),
            (Some(_), false) => self.frames = None,
            _ => {}
        }
    }

    /// Sends what is ready and does what is wanted. True when the call is over.
    fn settle(&mut self) -> bool {
        let mut over = false;
        self.transmit();
        while let Some(effect) = self.participant.poll_effect() {
            match effect {
                Effect::Request(request) => {
                    // Never wait here: the media must go on. Who leaves this many requests
                    // unread is gone.
                    if self.ends.link.requests.try_send(request).is_err() {
                        self.participant.handle_signaling_closed(Instant::now());
                    }
                }
                Effect::NewSocket => self.open_socket(),
                Effect::Status(status) => {
                    tracing::info!(?status, "status");
                    over |= matches!(status, CallStatus::Left(_));
                    // Nobody has to listen.
                    let _ = self.ends.events.send(CallEvent::Status(status.clone()));
                    self.ends.status.send_replace(status);
                }
                Effect::Event(event) => {
                    tracing::debug!(?event, "event");
                    let _ = self.ends.events.send(event);
                }
            }
            self.transmit();
        }
        over
    }

    #[expect(deprecated, reason = "its successor is unsafe for the sake of descriptors that others close")]
    fn open_socket(&mut self) {
        let opened = UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], 0))).and_then(|socket| {
            socket.set_nonblocking(true)?;
            let local = socket.local_addr()?;
            Ok((AsyncFd::with_interest(socket, Interest::READABLE)?, local))
        });
        match opened {
            Ok((socket, local)) => {
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

    fn handle_datagram(&mut self, received: std::io::Result<(usize, SocketAddr)>, buffer: &mut [u8]) {
        let mut received = received;
        for _ in 0..READS_PER_TURN {
            match received {
                Ok((len, from)) => self.participant.handle_datagram(from, &buffer[..len], Instant::now()),
                // An ICMP error of an earlier datagram; the timers see to what follows from it.
                Err(ref error) if error.kind() != std::io::ErrorKind::WouldBlock => {
                    tracing::trace!(%error, "the socket reports an error");
                }
                Err(_) => return,
            }
            let Some(socket) = &self.socket else { return };
            received = socket.try_io(Interest::READABLE, |socket| socket.recv_from(buffer));
        }
        if let Ok((len, from)) = received {
            self.participant.handle_datagram(from, &buffer[..len], Instant::now());
        }
    }

    fn handle_command(&mut self, command: Option<Command>) {
        let now = Instant::now();
        match command {
            Some(Command::SetMuted(muted)) => self.participant.set_muted(muted, now),
            Some(Command::Stats(reply)) => {
                // Whoever asked may have gone.
                let _ = reply.send(self.participant.stats());
            }
            Some(Command::Leave(reason)) => self.participant.leave(reason, now),
            // Nobody holds the call any more.
            None => self.participant.leave(LeftReason::Command, now),
        }
    }
}

async fn next_frame(frames: &mut Option<Listener>) -> Option<SharedFrame> {
    match frames {
        Some(frames) => frames.recv().await,
        None => std::future::pending().await,
    }
}

async fn receive(
    socket: Option<&AsyncFd<UdpSocket>>,
    buffer: &mut [u8],
) -> std::io::Result<(usize, SocketAddr)> {
    match socket {
        Some(socket) => socket.async_io(Interest::READABLE, |socket| socket.recv_from(buffer)).await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Which of our addresses a datagram to `remote` leaves from: asks the kernel, sends nothing.
fn route(remote: IpAddr) -> Option<IpAddr> {
    let probe = UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], 0))).ok()?;
    // Port 9 is "discard"; connecting a UDP socket only picks a route.
    probe.connect(SocketAddr::new(remote, 9)).ok()?;
    Some(probe.local_addr().ok()?.ip())
}
