//! The thin loop around [`State`]: one socket, one signaling link, one decoder thread.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{Instrument as _, debug, debug_span, trace, warn};

use super::decode::{Decoded, Decoding};
use super::state::{Arrivals, Encoded, Output, State};
use super::{DtlsRole, WatchError, WatchOptions};
use crate::call::signaling::{Incoming, Join, Link, Method, Reply, Request, Update};
use crate::emulator::measure::{Measure, Reception, Report, Wanted};
use crate::media::MediaKind;
use crate::time::MediaTime;

/// A join, or a page of participants, is answered within this time.
const RPC_TIMEOUT: Duration = Duration::from_secs(10);

/// A goodbye that takes longer than this is not waited for.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Frames that may wait for the decoder: about three seconds of sound and picture.
const DECODER_QUEUE: usize = 256;

/// Larger than any datagram of WebRTC.
const DATAGRAM_BYTES: usize = 2048;

/// Datagrams taken from the socket before other work gets its turn.
const BURST: usize = 64;

/// Work for the decoder thread.
#[derive(Debug)]
pub(super) enum Job {
    NewSource,
    SenderReport { kind: MediaKind, timestamp: u32, ntp: MediaTime },
    Frame(Encoded),
    Report(Box<Reception>, Wanted, oneshot::Sender<Report>),
}

/// What the handle asks of the task.
#[derive(Debug)]
pub(super) enum Command {
    /// What has come so far.
    Arrivals(oneshot::Sender<Arrivals>),
    /// Leave the chat and end.
    Stop,
}

/// What the handle holds.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) jobs: mpsc::Sender<Job>,
    pub(super) task: JoinHandle<Result<(), WatchError>>,
}

/// Joins through `link` and returns when the transport is up.
pub(super) async fn start(link: Link, options: WatchOptions) -> Result<Running, WatchError> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(WatchError::Socket)?;
    let local = socket.local_addr().map_err(WatchError::Socket)?;
    let (commands, command_receiver) = mpsc::channel(4);
    let (jobs, job_receiver) = mpsc::channel(DECODER_QUEUE);
    let (failures, failure_receiver) = mpsc::channel(1);
    let decoding = Decoding::new().map_err(|error| WatchError::Decoder(Box::new(error)))?;
    let decoder = tokio::task::spawn_blocking(move || decode(decoding, job_receiver, &failures));
    let state = State::new(local, options.of, options.dtls == DtlsRole::Client, clock())?;
    let (connected, is_connected) = oneshot::channel();
    let task = Task {
        socket,
        state,
        link,
        next_request: 0,
        jobs: jobs.clone(),
        n_dropped: 0,
        connected: Some(connected),
    };
    let task = async move {
        let result = task.run(command_receiver, failure_receiver).await;
        if let Err(error) = &result {
            warn!(error = error as &dyn std::error::Error, "watcher ends");
        }
        // The decoder ends when the handle lets go of its queue, too.
        decoder.await.unwrap_or_else(|error| warn!(%error, "the watcher's decoder thread"));
        result
    };
    let task = tokio::spawn(task.instrument(debug_span!("watcher")));
    if is_connected.await.is_err() {
        drop((commands, jobs));
        return Err(task.await.unwrap_or(Err(WatchError::Ended)).err().unwrap_or(WatchError::Ended));
    }
    Ok(Running { commands, jobs, task })
}

struct Task {
    socket: UdpSocket,
    state: State,
    link: Link,
    next_request: u64,
    jobs: mpsc::Sender<Job>,
    /// Frames that the decoder was too slow for.
    n_dropped: u64,
    connected: Option<oneshot::Sender<()>>,
}

impl Task {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut failures: mpsc::Receiver<()>,
    ) -> Result<(), WatchError> {
        self.join().await?;
        let mut buffer = [0; DATAGRAM_BYTES];
        loop {
            self.flush()?;
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Arrivals(reply)) => {
                        let arrivals = Arrivals { n_dropped: self.n_dropped, ..self.state.arrivals(clock()) };
                        // The asker may have gone.
                        let _ = reply.send(arrivals);
                    }
                    Some(Command::Stop) | None => return self.leave().await,
                },
                incoming = self.link.incoming.recv() => self.handle_incoming(incoming)?,
                Some(()) = failures.recv() => self.state.handle_decoder_failure(clock())?,
                ready = self.socket.readable() => {
                    ready.map_err(WatchError::Socket)?;
                    self.receive(&mut buffer)?;
                }
                () = tokio::time::sleep_until(self.state.poll_timeout().into()) => {
                    self.state.handle_timeout(clock())?;
                }
            }
        }
    }

    async fn join(&mut self) -> Result<(), WatchError> {
        let join = Join {
            attempt: 1,
            source: self.state.source(),
            params: self.state.join_params(),
            muted: true,
            video_stopped: true,
            join_as: None,
            invite_hash: None,
        };
        let Reply::Joined { params } = self.ask(Method::Join(join)).await? else {
            return Err(WatchError::Answer("the reply to the join is of another kind"));
        };
        self.state.handle_answer(params.expose(), clock())?;
        let mut offset = String::new();
        loop {
            let page = self.ask(Method::Participants { sources: Vec::new(), offset }).await?;
            let Reply::Participants(page) = page else {
                return Err(WatchError::Answer("the reply to getGroupParticipants is of another kind"));
            };
            self.state.handle_participants(&page.participants, clock())?;
            offset = page.next_offset;
            if offset.is_empty() {
                return Ok(());
            }
        }
    }

    /// Sends a request and waits for its reply. Only while joining and leaving, when there is
    /// nothing else to do.
    async fn ask(&mut self, method: Method) -> Result<Reply, WatchError> {
        self.next_request += 1;
        let id = self.next_request;
        self.link.requests.send(Request { id, method }).await.map_err(|_| WatchError::Ended)?;
        let reply = async {
            loop {
                match self.link.incoming.recv().await {
                    Some(Incoming::Reply { id: of, result }) if of == id => {
                        return result.map_err(WatchError::Refused);
                    }
                    Some(Incoming::Update(Update::Participants { participants, .. })) => {
                        self.state.handle_participants(&participants, clock())?;
                    }
                    Some(other) => trace!(?other, "while waiting for a reply"),
                    None => return Err(WatchError::Ended),
                }
            }
        };
        tokio::time::timeout(RPC_TIMEOUT, reply).await.map_err(|_| WatchError::NoReply(RPC_TIMEOUT))?
    }

    fn handle_incoming(&mut self, incoming: Option<Incoming>) -> Result<(), WatchError> {
        match incoming {
            Some(Incoming::Update(Update::Participants { participants, .. })) => {
                self.state.handle_participants(&participants, clock())
            }
            Some(Incoming::Update(Update::Discarded)) | None => Err(WatchError::Ended),
            Some(other) => {
                trace!(?other, "from the signaling side");
                Ok(())
            }
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<(), WatchError> {
        for _ in 0..BURST {
            match self.socket.try_recv_from(buffer) {
                Ok((len, from)) => self.state.handle_datagram(from, &buffer[..len], clock())?,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                // An ICMP error of an earlier datagram: ICE notices by itself when nobody is there.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(WatchError::Socket(error)),
            }
        }
        Ok(())
    }

    /// Does what the state wants done.
    fn flush(&mut self) -> Result<(), WatchError> {
        while let Some(output) = self.state.poll_output() {
            match output {
                Output::Transmit { to, datagram } => self.send(to, &datagram),
                Output::Connected => {
                    if let Some(connected) = self.connected.take() {
                        // Whoever started the watcher may have given up waiting.
                        let _ = connected.send(());
                    }
                }
                Output::NewSource => self.give(Job::NewSource)?,
                Output::SenderReport { kind, timestamp, ntp } => {
                    self.give(Job::SenderReport { kind, timestamp, ntp })?
                }
                Output::Frame(frame) => self.give(Job::Frame(frame))?,
                Output::Closed => return Err(WatchError::Ended),
            }
        }
        Ok(())
    }

    fn send(&self, to: SocketAddr, datagram: &[u8]) {
        // A full socket buffer is loss like any other on the way.
        if let Err(error) = self.socket.try_send_to(datagram, to) {
            trace!(%to, %error, "a datagram was not sent");
        }
    }

    /// Hands work to the decoder; what does not fit is the watcher's own fault and counted so.
    fn give(&mut self, job: Job) -> Result<(), WatchError> {
        let is_picture = matches!(&job, Job::Frame(frame) if frame.kind == MediaKind::Video);
        match self.jobs.try_send(job) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(WatchError::Ended),
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.n_dropped += 1;
                debug!(total = self.n_dropped, "the decoder does not keep up");
                if is_picture { self.state.handle_decoder_failure(clock()) } else { Ok(()) }
            }
        }
    }

    async fn leave(mut self) -> Result<(), WatchError> {
        let leave = self.ask(Method::Leave { source: self.state.source() });
        match tokio::time::timeout(LEAVE_TIMEOUT, leave).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => debug!(%error, "leaving"),
            Err(_) => debug!("leaving took too long"),
        }
        self.state.close(clock());
        while let Some(output) = self.state.poll_output() {
            if let Output::Transmit { to, datagram } = output {
                self.send(to, &datagram);
            }
        }
        Ok(())
    }
}

/// The decoder thread: ends when nobody can give it work any more.
fn decode(mut decoding: Decoding, mut jobs: mpsc::Receiver<Job>, failures: &mpsc::Sender<()>) {
    let mut measure = Measure::new();
    while let Some(job) = jobs.blocking_recv() {
        match job {
            Job::NewSource => {
                if let Err(error) = decoding.handle_new_source() {
                    warn!(%error, "decoding goes on with the old decoder");
                }
            }
            Job::SenderReport { kind, timestamp, ntp } => decoding.handle_report(kind, timestamp, ntp),
            Job::Frame(frame) => decoding.handle_frame(&frame, &mut |decoded| match decoded {
                Decoded::Picture(picture) => measure.handle_picture(&picture),
                Decoded::Sound(sound) => measure.handle_sound(&sound),
                Decoded::Silence(duration) => measure.handle_silence(duration),
                Decoded::Failed => {
                    // One request for a keyframe under way is enough.
                    let _ = failures.try_send(());
                }
            }),
            Job::Report(reception, wanted, reply) => {
                // The asker may have gone.
                let _ = reply.send(measure.report(&reception, wanted));
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this loop is where the watcher reads its clock")]
fn clock() -> Instant {
    Instant::now()
}
