//! The thin loop around the [`Sfu`]: one UDP socket, one clock, one task that drives the machine
//! and one that empties the socket. Requests come as closures over a bounded channel; what
//! happens goes out on a broadcast.
//!
//! The socket has a task of its own because the kernel holds only some ninety datagrams: a key
//! frame that comes while the machine is busy with another would lose its end to the server
//! itself, and no weather had anything to do with it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::arrival::{self, Arrival};
use super::http::HttpDoor;
use super::meter::{Arrivals, Meter};
use super::rpc::RpcError;
use super::sfu::{AnswerSetup, DROP_AFTER, JoinRequest, Joined, Sfu, SfuConfig, SfuEvent};
use super::signaling::EmulatedSignaling;
use super::stats::ParticipantStats;
use super::watcher::{WatchError, WatchOptions, Watcher};
use super::weather::Weather;
use crate::call::signaling::{ChatId, Signaling};

/// Requests that may wait for the loop.
const COMMANDS: usize = 64;

/// Events that a slow listener may be behind; who is further behind misses some and sees a gap
/// in the versions, as with Telegram's updates.
const EVENTS: usize = 256;

/// Datagrams handled before anything is sent again.
pub(super) const BATCH: usize = 64;

/// Datagrams that may wait for the machine: two seconds of ten participants with cameras.
const ARRIVALS: usize = 4096;

/// The loop looks around at least this often.
const IDLE: Duration = Duration::from_secs(1);

/// How an emulator is made.
#[derive(Clone, Debug)]
pub struct EmulatorOptions {
    /// The address of the UDP socket. Port 0 takes any free one.
    pub udp: SocketAddr,
    /// The weather between the server and everybody who does not join as an observer.
    pub weather: Option<Weather>,
    /// What stands in the answer's `setup`.
    pub answer_setup: AnswerSetup,
    /// Whether answers list H.264; else senders are left with VP8 and VP9.
    pub h264: bool,
    /// When a participant without transport is dropped.
    pub drop_after: Duration,
    /// Measure how evenly every stream arrives; see [`Emulator::arrivals`].
    pub meter: bool,
}

impl Default for EmulatorOptions {
    fn default() -> Self {
        Self {
            udp: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            weather: None,
            answer_setup: AnswerSetup::default(),
            h264: true,
            drop_after: DROP_AFTER,
            meter: false,
        }
    }
}

/// Why an emulator does not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmulatorError {
    /// The socket could not be opened.
    #[error("cannot listen on {addr}; choose another address, or port 0 for any free port")]
    Bind {
        /// Where.
        addr: SocketAddr,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// Clients must be told one address to send to.
    #[error("clients cannot send to {0}; choose the address of one interface, such as 127.0.0.1")]
    Unspecified(SocketAddr),
    /// A door for this machine only was asked for elsewhere.
    #[error("{0} is not on the loopback interface; the emulator's page serves this machine only")]
    NotLoopback(SocketAddr),
    /// The request was refused as Telegram would refuse it.
    #[error("the emulator answered {0}")]
    Rpc(#[from] RpcError),
    /// The emulator has been shut down.
    #[error("the emulator has been shut down")]
    Closed,
}

/// A running video chat server. Clones are handles to the same one; it ends with the last of
/// them, or with [`Emulator::shutdown`].
#[derive(Clone, Debug)]
pub struct Emulator {
    control: Control,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    local: SocketAddr,
    tasks: TaskTracker,
    runtime: tokio::runtime::Handle,
    _end: DropGuard,
}

/// Reaches the loop, but does not keep it alive.
#[derive(Clone, Debug)]
pub(super) struct Control {
    commands: mpsc::Sender<Command>,
    events: broadcast::Sender<SfuEvent>,
    pub(super) cancel: CancellationToken,
}

/// Something to do with the server, on its own task.
struct Command(Box<Job>);

type Job = dyn FnOnce(&mut Sfu, Instant) + Send;

impl Emulator {
    /// Opens the socket and starts the loop on the current tokio runtime.
    pub async fn start(options: EmulatorOptions) -> Result<Self, EmulatorError> {
        let bind = |cause| EmulatorError::Bind { addr: options.udp, cause };
        let socket = UdpSocket::bind(options.udp).await.map_err(bind)?;
        let local = socket.local_addr().map_err(bind)?;
        if local.ip().is_unspecified() {
            return Err(EmulatorError::Unspecified(options.udp));
        }
        let config = SfuConfig {
            answer_setup: options.answer_setup,
            h264: options.h264,
            weather: options.weather,
            drop_after: options.drop_after,
            ..SfuConfig::new(local)
        };
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (events, _) = broadcast::channel(EVENTS);
        let cancel = CancellationToken::new();
        let control = Control { commands, events: events.clone(), cancel: cancel.clone() };
        let tasks = TaskTracker::new();
        let mut sfu = Sfu::new(config, clock());
        if options.meter {
            sfu.meter = Some(Meter::default());
        }
        let socket = Arc::new(socket);
        let (arrived, arrivals) = mpsc::channel(ARRIVALS);
        tasks.spawn(arrival::empty(socket.clone(), arrived, cancel.clone()));
        tasks.spawn(run(socket, sfu, arrivals, inbox, events, cancel.clone()));
        let runtime = tokio::runtime::Handle::current();
        tracing::debug!(%local, "emulator started");
        let shared = Shared { local, tasks, runtime, _end: cancel.drop_guard() };
        Ok(Self { control, shared: Arc::new(shared) })
    }

    /// The UDP address that clients are told.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local
    }

    /// The in-process door: the phone.* methods as `name` calls them.
    pub fn signaling(&self, name: impl Into<String>) -> Arc<dyn Signaling> {
        let (tasks, runtime) = (self.shared.tasks.clone(), self.shared.runtime.clone());
        Arc::new(EmulatedSignaling::new(self.control.clone(), name.into(), tasks, runtime))
    }

    /// Joins `chat` as a participant that decodes and measures what arrives, and returns when its
    /// transport is up. The weather spares it: it is an instrument.
    pub async fn watch(&self, chat: &ChatId, options: WatchOptions) -> Result<Watcher, WatchError> {
        let name = format!("watcher-{:08x}", fastrand::u32(..));
        let (tasks, runtime) = (self.shared.tasks.clone(), self.shared.runtime.clone());
        let signaling = EmulatedSignaling::new(self.control.clone(), name, tasks, runtime).observing();
        Watcher::join(signaling.open(chat), self.control.clone(), chat, options).await
    }

    /// The in-process door for an instrument: its link has no weather.
    pub fn observer(&self, name: impl Into<String>) -> Arc<dyn Signaling> {
        let (tasks, runtime) = (self.shared.tasks.clone(), self.shared.runtime.clone());
        Arc::new(EmulatedSignaling::new(self.control.clone(), name.into(), tasks, runtime).observing())
    }

    /// Opens the HTTP door for other processes and the viewer page at `addr`, which must be on the
    /// loopback interface; port 0 takes any free one.
    pub async fn serve_http(&self, addr: SocketAddr) -> Result<HttpDoor, EmulatorError> {
        let spawn = |serving| drop(self.shared.tasks.spawn(serving));
        super::http::open(self.control.clone(), addr, spawn).await
    }

    /// For doors in files of their own.
    #[cfg(feature = "telegram")]
    pub(super) const fn control(&self) -> &Control {
        &self.control
    }

    /// Runs a task of a door, which ends when the emulator is cancelled.
    #[cfg(feature = "telegram")]
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.tasks.spawn(task);
    }

    /// Joins with Telegram's JSON, without updates.
    pub async fn join_raw(&self, request: JoinRequest) -> Result<Joined, EmulatorError> {
        Ok(self.control.with(move |sfu, now| sfu.join(&request, now)).await??)
    }

    /// Ends a connection made by [`Emulator::join_raw`].
    pub async fn leave_raw(&self, joined: &Joined) -> Result<(), EmulatorError> {
        let id = joined.participant;
        self.control.with(move |sfu, now| sfu.remove(id, now)).await
    }

    /// An admin mutes somebody, or allows them to speak again.
    pub async fn mute_by_admin(&self, chat: &str, name: &str, muted: bool) -> Result<(), EmulatorError> {
        let (chat, name) = (chat.to_owned(), name.to_owned());
        Ok(self.control.with(move |sfu, now| sfu.mute_by_admin(&chat, &name, muted, now)).await??)
    }

    /// An admin removes somebody, whose client may join again.
    pub async fn kick(&self, chat: &str, name: &str) -> Result<(), EmulatorError> {
        let (chat, name) = (chat.to_owned(), name.to_owned());
        Ok(self.control.with(move |sfu, now| sfu.kick(&chat, &name, now)).await??)
    }

    /// An admin ends the call; the next join begins another.
    pub async fn discard(&self, chat: &str) -> Result<(), EmulatorError> {
        let chat = chat.to_owned();
        Ok(self.control.with(move |sfu, now| sfu.discard(&chat, now)).await??)
    }

    /// Lets the next join that is not yet spoken for fail with `error`.
    pub async fn fail_next_join(&self, error: RpcError) -> Result<(), EmulatorError> {
        self.control.with(move |sfu, _| sfu.fail_next_join(error)).await
    }

    /// What the server has seen of everybody in `chat`.
    pub async fn stats(&self, chat: &str) -> Result<Vec<ParticipantStats>, EmulatorError> {
        let chat = chat.to_owned();
        self.control.with(move |sfu, now| sfu.stats(&chat, now)).await
    }

    /// How the streams of everybody have arrived since this was asked last; nothing where
    /// [`EmulatorOptions::meter`] is off.
    pub async fn arrivals(&self) -> Result<Vec<Arrivals>, EmulatorError> {
        self.control.with(|sfu, _| sfu.meter.as_mut().map(Meter::take).unwrap_or_default()).await
    }

    /// Everything that happens from now on.
    pub fn events(&self) -> broadcast::Receiver<SfuEvent> {
        self.control.subscribe()
    }

    /// Ends the server and waits until all of its tasks have ended.
    pub async fn shutdown(&self) {
        self.control.cancel.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Control {
    /// Runs `f` on the server and returns what it returns.
    pub(super) async fn with<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Sfu, Instant) -> R + Send + 'static,
    ) -> Result<R, EmulatorError> {
        let (reply, answer) = oneshot::channel();
        let command = Command(Box::new(move |sfu, now| {
            // Whoever asked may have gone meanwhile.
            let _ = reply.send(f(sfu, now));
        }));
        self.commands.send(command).await.map_err(|_| EmulatorError::Closed)?;
        answer.await.map_err(|_| EmulatorError::Closed)
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<SfuEvent> {
        self.events.subscribe()
    }
}

/// The loop. Ends on `cancel`.
async fn run(
    socket: Arc<UdpSocket>,
    mut sfu: Sfu,
    mut arrivals: mpsc::Receiver<Arrival>,
    mut inbox: mpsc::Receiver<Command>,
    events: broadcast::Sender<SfuEvent>,
    cancel: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let now = clock();
        if sfu.poll_timeout().is_some_and(|at| at <= now) {
            sfu.handle_timeout(now);
        }
        while let Some((to, datagram)) = sfu.poll_transmit() {
            send(&socket, to, &datagram).await;
        }
        while let Some(event) = sfu.poll_event() {
            // Nobody may be listening.
            let _ = events.send(event);
        }
        let wake = sfu.poll_timeout().map_or(now + IDLE, |at| at.min(now + IDLE));
        tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            Some(Command(command)) = inbox.recv() => command(&mut sfu, clock()),
            _ = arrivals.recv_many(&mut batch, BATCH) => {
                let now = clock();
                for Arrival { from, bytes, at } in batch.drain(..) {
                    if let Some(meter) = &mut sfu.meter {
                        meter.handle_datagram(&bytes, at);
                    }
                    sfu.handle_datagram(from, &bytes, now);
                }
            }
            () = tokio::time::sleep_until(wake.into()) => {}
        }
    }
    tracing::debug!("emulator ended");
}

async fn send(socket: &UdpSocket, to: SocketAddr, datagram: &[u8]) {
    if let Err(error) = socket.send_to(datagram, to).await {
        // As on any network, what cannot be sent is lost.
        tracing::trace!(%to, %error, "not sent");
    }
}

#[expect(clippy::disallowed_methods, reason = "the loop that owns the socket owns the clock")]
fn clock() -> Instant {
    Instant::now()
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Command")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn starts_answers_and_ends() {
        let emulator = Emulator::start(EmulatorOptions::default()).await.expect("starts");
        assert!(emulator.local_addr().ip().is_loopback() && emulator.local_addr().port() != 0);
        let request =
            JoinRequest { chat: "c".into(), name: "n".into(), params: "{}".into(), ..JoinRequest::default() };
        let error = emulator.join_raw(request).await.expect_err("no SSRC");
        assert!(matches!(error, EmulatorError::Rpc(RpcError { code: 400, .. })), "{error}");
        emulator.shutdown().await;
        assert!(matches!(emulator.stats("c").await, Err(EmulatorError::Closed)));
    }

    #[tokio::test]
    async fn ends_with_its_last_handle() {
        let emulator = Emulator::start(EmulatorOptions::default()).await.expect("starts");
        let tasks = emulator.shared.tasks.clone();
        let signaling = emulator.signaling("bot");
        drop(emulator);
        tasks.close();
        tasks.wait().await;
        drop(signaling);
    }

    #[tokio::test]
    async fn an_occupied_port_is_named() {
        let first = Emulator::start(EmulatorOptions::default()).await.expect("starts");
        let options = EmulatorOptions { udp: first.local_addr(), ..EmulatorOptions::default() };
        let error = Emulator::start(options).await.expect_err("occupied");
        assert!(error.to_string().contains(&first.local_addr().to_string()), "{error}");
        first.shutdown().await;
    }
}
