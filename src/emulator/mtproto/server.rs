//! The sockets: a task for every connection, and one that turns what happens in the rooms into
//! updates. They own the clock and have no opinion.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use grammers_tl_types as tl;
use tl::Serializable;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::faults::{Batch, Fault, Faults};
use super::methods::{Caller, Methods, name, unwrapped};
use super::objects;
use super::phone::{call_update, container, row_for};
use super::session::{Request, Session};
use super::wire::{Framing, WireError};
use super::world::Call;
use crate::call::signaling::ParticipantRow;
use crate::emulator::RpcError;
use crate::emulator::SfuEvent;

/// Updates that may wait for one connection; who is further behind misses some.
const PUSHES: usize = 256;
/// Requests of one connection that may be under way at once.
const MAX_RUNNING: usize = 256;
/// Bytes read at once.
const READ: usize = 16 * 1024;
/// What the transport says to an unknown key.
const UNKNOWN_KEY: i32 = -404;

/// Everything that the tasks share.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) methods: Methods,
    pub(super) faults: Arc<Mutex<Faults>>,
    pub(super) cancel: CancellationToken,
    pub(super) hang_up: broadcast::Sender<()>,
    pub(super) n_accepted: Arc<AtomicU64>,
    /// Connections that came without a key.
    pub(super) n_strangers: Arc<AtomicU64>,
    /// Seconds that our clock is ahead of the system's.
    pub(super) ahead: Arc<AtomicI64>,
}

/// Reaches the connections that are open.
#[derive(Clone, Debug, Default)]
pub(super) struct Pushes(Arc<Mutex<BTreeMap<u64, Listener>>>);

#[derive(Debug)]
struct Listener {
    key: i64,
    to: mpsc::Sender<Vec<u8>>,
    n_dropped: u64,
}

/// How a request ended.
enum Outcome {
    Answer(Vec<u8>),
    Refused(RpcError),
    Silence,
    Close,
    Transport(i32),
}

impl Server {
    pub(super) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().expect("nothing panics while it holds the faults")
    }

    /// The time since 1970, as this server has it.
    #[expect(clippy::disallowed_methods, reason = "the tasks that own the sockets own the clock")]
    fn clock(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ahead = self.ahead.load(Ordering::Relaxed);
        let by = Duration::from_secs(ahead.unsigned_abs());
        if ahead < 0 { now.saturating_sub(by) } else { now.saturating_add(by) }
    }

    /// Accepts connections until the emulator ends.
    pub(super) async fn accept(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = self.cancel.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let id = self.n_accepted.fetch_add(1, Ordering::Relaxed) + 1;
                        connections.spawn(Connection::new(self.clone(), id).run(stream));
                    }
                    Err(error) => tracing::warn!(%error, "an MTProto connection was not accepted"),
                },
            }
        }
        connections.shutdown().await;
    }

    /// Tells everybody in a call what happens in its room.
    pub(super) async fn follow(self, mut events: broadcast::Receiver<SfuEvent>) {
        loop {
            let event = tokio::select! {
                () = self.cancel.cancelled() => return,
                event = events.recv() => event,
            };
            match event {
                Ok(SfuEvent::Participants { chat, rows, version }) => self.tell_rows(&chat, &rows, version),
                Ok(SfuEvent::Discarded { chat }) => self.tell_end(&chat),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(n)) => {
                    tracing::warn!(n_dropped = n, "MTProto clients miss what happened in the rooms");
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    fn tell_rows(&self, room: &str, rows: &[ParticipantRow], version: i32) {
        let mut world = self.methods.world();
        let Some(chat) = world.chat_of_room(room) else { return };
        let date = seconds(self.clock());
        if chat.call.is_none() {
            // Somebody came in by another door: so there is a call.
            let call = Call::random();
            let news = call_update(chat, objects::group_call(&call, rows.len(), version));
            chat.call = Some(call);
            self.push_all(&container(vec![news], vec![], vec![], date));
        }
        let chat = chat.id;
        let Some(call) = world.chats.get(&chat).and_then(|chat| chat.call.clone()) else { return };
        let counts = rows.iter().any(|row| row.versioned);
        let mut batch = Batch::new();
        for (connection, key) in self.methods.pushes.connections() {
            let Some(account) = world.signed_in(key).filter(|account| call.joined.contains_key(account))
            else {
                continue;
            };
            if counts && world.was_told(connection, room, version) {
                continue;
            }
            let participants = rows.iter().map(|row| row_for(&mut world, row, account, date)).collect();
            let input = objects::input_call(&call);
            let news = tl::types::UpdateGroupCallParticipants { call: input, participants, version }.into();
            let users = world.users(account);
            batch.push((connection, container(vec![news], users, vec![], date)));
        }
        let passed = self.faults().pass(batch);
        for (connection, updates) in passed.iter().flatten() {
            self.push(*connection, updates);
        }
        let left = |name: &String| rows.iter().any(|row| row.left && row.peer == *name);
        if let Some(call) = world.chats.get_mut(&chat).and_then(|chat| chat.call.as_mut()) {
            call.joined.retain(|_, name| !left(name));
        }
    }

    fn tell_end(&self, room: &str) {
        let mut world = self.methods.world();
        let Some(chat) = world.chat_of_room(room).map(|chat| chat.id) else { return };
        let Some(call) = world.end_call(chat) else { return };
        let chat = &world.chats[&chat];
        let news = call_update(chat, objects::discarded(&call));
        self.push_all(&container(vec![news], vec![], vec![], seconds(self.clock())));
    }

    fn push_all(&self, updates: &tl::enums::Updates) {
        for (connection, _) in self.methods.pushes.connections() {
            self.push(connection, updates);
        }
    }

    fn push(&self, connection: u64, updates: &tl::enums::Updates) {
        for _ in 0..=self.faults().extra_updates {
            self.methods.pushes.to(connection, updates);
        }
    }

    async fn execute(self, caller: Caller, request: Request) -> (i64, Outcome) {
        let outcome = match unwrapped(request.body) {
            Ok(body) => self.execute_function(&caller, &body).await,
            Err(error) => Outcome::Refused(error),
        };
        (request.msg_id, outcome)
    }

    async fn execute_function(&self, caller: &Caller, body: &[u8]) -> Outcome {
        let method = name(body);
        let fault = self.faults().strike(method);
        tracing::trace!(method, ?fault, "called");
        match &fault {
            Some(Fault::CloseBefore) => return Outcome::Close,
            Some(Fault::Refuse(error)) => return Outcome::Refused(error.clone()),
            Some(Fault::Transport(code)) => return Outcome::Transport(*code),
            Some(Fault::Delay(delay)) => tokio::time::sleep(*delay).await,
            _ => {}
        }
        let result = self.methods.call(caller, body).await;
        match (fault, result) {
            (Some(Fault::CloseAfter), _) => Outcome::Close,
            (Some(Fault::DropAnswer), _) => Outcome::Silence,
            (Some(Fault::Answer(instead)), Ok(_)) => Outcome::Answer(instead),
            (_, Ok(answer)) => Outcome::Answer(answer),
            (_, Err(error)) => Outcome::Refused(error),
        }
    }
}

impl Pushes {
    fn listeners(&self) -> MutexGuard<'_, BTreeMap<u64, Listener>> {
        self.0.lock().expect("nothing panics while it holds the connections")
    }

    /// Id and key of every connection.
    pub(super) fn connections(&self) -> Vec<(u64, i64)> {
        self.listeners().iter().map(|(id, listener)| (*id, listener.key)).collect()
    }

    pub(super) fn to_all_but(&self, connection: u64, updates: &tl::enums::Updates) {
        for (id, _) in self.connections().into_iter().filter(|(id, _)| *id != connection) {
            self.to(id, updates);
        }
    }

    pub(super) fn to(&self, connection: u64, updates: &tl::enums::Updates) {
        let mut listeners = self.listeners();
        let Some(listener) = listeners.get_mut(&connection) else { return };
        if listener.to.try_send(updates.to_bytes()).is_err() {
            listener.n_dropped += 1;
            tracing::warn!(connection, n_dropped = listener.n_dropped, "a slow client misses updates");
        }
    }
}

/// One client's TCP connection.
struct Connection {
    server: Server,
    id: u64,
    framing: Framing,
    session: Option<(i64, Session)>,
    running: JoinSet<(i64, Outcome)>,
}

impl Connection {
    fn new(server: Server, id: u64) -> Self {
        Self { server, id, framing: Framing::default(), session: None, running: JoinSet::new() }
    }

    async fn run(mut self, mut stream: TcpStream) {
        let (to, mut pushes) = mpsc::channel(PUSHES);
        let (cancel, mut hang_up) = (self.server.cancel.clone(), self.server.hang_up.subscribe());
        let mut bytes = vec![0; READ];
        loop {
            let outcome = tokio::select! {
                () = cancel.cancelled() => break,
                _ = hang_up.recv() => break,
                read = stream.read(&mut bytes) => match read {
                    Ok(0) | Err(_) => break,
                    Ok(n) => self.take(&bytes[..n], &to),
                },
                Some(pushed) = pushes.recv() => {
                    if let Some((_, session)) = &mut self.session {
                        session.push(pushed);
                    }
                    Ok(None)
                }
                Some(done) = self.running.join_next() => Ok(done.ok().and_then(|done| self.settle(done))),
            };
            let last_words = match outcome {
                Ok(None) => None,
                Ok(Some(Outcome::Transport(code))) => Some(code),
                Ok(Some(_)) => break,
                Err(error) => {
                    tracing::debug!(connection = self.id, %error, "an MTProto client is cut off");
                    break;
                }
            };
            let written = match last_words {
                // Without any framing.
                Some(code) => stream.write_all(&code.to_le_bytes()).await,
                None => self.flush(&mut stream).await,
            };
            if last_words.is_some() || written.is_err() {
                break;
            }
        }
        self.server.methods.pushes.listeners().remove(&self.id);
    }

    /// Takes bytes of the client; what it asks for begins to run.
    fn take(&mut self, bytes: &[u8], to: &mpsc::Sender<Vec<u8>>) -> Result<Option<Outcome>, WireError> {
        self.framing.push(bytes);
        while let Some(packet) = self.framing.next_packet()? {
            if self.session.is_none() && !self.greet(&packet, to) {
                return Ok(Some(Outcome::Transport(UNKNOWN_KEY)));
            }
            let Some((key, session)) = &mut self.session else { break };
            let now = self.server.clock();
            for request in session.receive(&packet, now)? {
                if self.running.len() >= MAX_RUNNING {
                    session.refuse(request.msg_id, 420, "FLOOD_WAIT_1");
                    continue;
                }
                let account = self.server.methods.world().signed_in(*key).unwrap_or_default();
                let caller = Caller { connection: self.id, key: *key, account, now };
                self.running.spawn(self.server.clone().execute(caller, request));
            }
        }
        Ok(None)
    }

    /// The first packet says with which key the client speaks.
    fn greet(&mut self, packet: &[u8], to: &mpsc::Sender<Vec<u8>>) -> bool {
        let id = packet.get(..8).and_then(|id| id.try_into().ok()).map_or(0, i64::from_le_bytes);
        if id == 0 {
            self.server.n_strangers.fetch_add(1, Ordering::Relaxed);
        }
        let Some(key) = self.server.methods.world().key(id) else { return false };
        self.session = Some((id, Session::new(key, fastrand::i64(1..i64::MAX / 2))));
        let listener = Listener { key: id, to: to.clone(), n_dropped: 0 };
        self.server.methods.pushes.listeners().insert(self.id, listener);
        true
    }

    /// Gives what has to happen to the connection, if anything.
    fn settle(&mut self, (msg_id, outcome): (i64, Outcome)) -> Option<Outcome> {
        let (_, session) = self.session.as_mut()?;
        match outcome {
            Outcome::Answer(result) => session.answer(msg_id, &result),
            Outcome::Refused(error) => session.refuse(msg_id, error.code, &error.message),
            Outcome::Silence => {}
            end @ (Outcome::Close | Outcome::Transport(_)) => return Some(end),
        }
        None
    }

    async fn flush(&mut self, stream: &mut TcpStream) -> std::io::Result<()> {
        let Some((_, session)) = &mut self.session else { return Ok(()) };
        while let Some(packet) = session.poll_packet(self.server.clock()) {
            stream.write_all(&self.framing.wrap(&packet)).await?;
        }
        Ok(())
    }
}

/// Listens on the loopback interface.
pub(super) async fn listen(addr: SocketAddrV4) -> std::io::Result<(TcpListener, SocketAddrV4)> {
    let listener = TcpListener::bind(addr).await?;
    let local = match listener.local_addr()? {
        std::net::SocketAddr::V4(local) => local,
        std::net::SocketAddr::V6(_) => addr,
    };
    Ok((listener, local))
}

fn seconds(now: Duration) -> i32 {
    i32::try_from(now.as_secs()).unwrap_or(i32::MAX)
}
