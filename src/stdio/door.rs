//! A [`Signaling`] whose other end is the caller: requests become lines, lines become replies.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::wire::Out;
use super::writer::Lines;
use crate::call::signaling::{
    ChatId, Incoming, LINK_CAPACITY, Link, Method, Reply, Request, RequestId, Signaling, SignalingError,
    Update,
};

/// Requests that may be open at once. A caller that never replies loses the oldest.
const MAX_PENDING: usize = 4096;

/// The door that calls knock at.
#[derive(Clone, Debug)]
pub(super) struct Door {
    lines: Lines,
    shared: Arc<Mutex<Shared>>,
}

/// Ids are unique in this process, links number their own: this maps them.
#[derive(Debug, Default)]
struct Shared {
    next_id: u64,
    pending: BTreeMap<u64, Pending>,
    chats: HashMap<ChatId, mpsc::Sender<Incoming>>,
}

/// A request that the caller has not answered.
#[derive(Debug)]
struct Pending {
    to: mpsc::Sender<Incoming>,
    id: RequestId,
    /// Of a join: what undoes it.
    join: Option<(ChatId, i32)>,
}

impl Door {
    pub(super) fn new(lines: Lines) -> Self {
        Self { lines, shared: Arc::default() }
    }

    /// Takes what the caller says to one of our requests. False when nobody waits for it.
    pub(super) async fn reply(&self, id: u64, result: ReplyResult) -> bool {
        let Some(pending) = self.with(|shared| shared.pending.remove(&id)) else { return false };
        if let Some((chat, source)) = pending.join
            && pending.to.is_closed()
        {
            // The call gave up waiting and is over; nobody may be left behind in the chat.
            if result.is_ok() {
                let id = self.with(Shared::take_id);
                let request = Request { id, method: Method::Leave { source } };
                self.lines.send(Out::request(id, chat.0, request)).await;
            }
            return true;
        }
        deliver(&pending.to, Incoming::Reply { id: pending.id, result });
        true
    }

    /// Takes what the caller says about a chat. False when there is no such chat.
    pub(super) fn update(&self, chat: &ChatId, update: Update) -> bool {
        let Some(to) = self.with(|shared| shared.chats.get(chat).cloned()) else { return false };
        deliver(&to, Incoming::Update(update));
        true
    }

    /// Short and never across an await: two maps, no work inside.
    fn with<T>(&self, work: impl FnOnce(&mut Shared) -> T) -> T {
        work(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Remembers a request and gives it the id that the caller sees.
    fn ask(&mut self, to: &mpsc::Sender<Incoming>, chat: &ChatId, request: &Request) -> u64 {
        if self.pending.len() >= MAX_PENDING {
            self.pending.pop_first();
        }
        let join = match &request.method {
            Method::Join(join) => Some((chat.clone(), join.source)),
            _ => None,
        };
        let id = self.take_id();
        self.pending.insert(id, Pending { to: to.clone(), id: request.id, join });
        id
    }

    /// Forgets a call that is over, except for joins that may yet succeed.
    fn forget(&mut self, chat: &ChatId, to: &mpsc::Sender<Incoming>) {
        self.pending.retain(|_, pending| pending.join.is_some() || !pending.to.same_channel(to));
        if self.chats.get(chat).is_some_and(|known| known.same_channel(to)) {
            self.chats.remove(chat);
        }
    }
}

type ReplyResult = Result<Reply, SignalingError>;

fn deliver(to: &mpsc::Sender<Incoming>, incoming: Incoming) {
    // The call is over, or buries itself in updates that it does not read; both are logged.
    if let Err(error) = to.try_send(incoming) {
        tracing::debug!(%error, "nobody takes what the caller said");
    }
}

impl Signaling for Door {
    fn open(&self, chat: &ChatId) -> Link {
        let (requests, mut asked) = mpsc::channel(LINK_CAPACITY);
        let (incoming_sender, incoming) = mpsc::channel(LINK_CAPACITY);
        self.with(|shared| shared.chats.insert(chat.clone(), incoming_sender.clone()));
        let (door, chat) = (self.clone(), chat.clone());
        // Ends when the call drops its link; what was asked before that still goes out.
        tokio::spawn(async move {
            while let Some(request) = asked.recv().await {
                let id = door.with(|shared| shared.ask(&incoming_sender, &chat, &request));
                door.lines.send(Out::request(id, chat.0.clone(), request)).await;
            }
            door.with(|shared| shared.forget(&chat, &incoming_sender));
        });
        Link { requests, incoming }
    }
}
