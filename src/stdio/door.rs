//! A [`Signaling`] whose other end is the caller: requests become lines, lines become replies.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::wire::Out;
use super::writer::Lines;
use crate::call::signaling::{ChatId, Incoming, LINK_CAPACITY, Link, RequestId, Signaling};

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
    pending: HashMap<u64, (mpsc::Sender<Incoming>, RequestId)>,
    chats: HashMap<ChatId, mpsc::Sender<Incoming>>,
}

impl Door {
    pub(super) fn new(lines: Lines) -> Self {
        Self { lines, shared: Arc::default() }
    }

    /// Takes what the caller says to one of our requests. False when nobody waits for it.
    pub(super) fn reply(&self, id: u64, result: ReplyResult) -> bool {
        let Some((to, id)) = self.with(|shared| shared.pending.remove(&id)) else { return false };
        deliver(&to, Incoming::Reply { id, result });
        true
    }

    /// Takes what the caller says about a chat. False when there is no such chat.
    pub(super) fn update(&self, chat: &ChatId, update: crate::call::signaling::Update) -> bool {
        let Some(to) = self.with(|shared| shared.chats.get(chat).cloned()) else { return false };
        deliver(&to, Incoming::Update(update));
        true
    }

    /// Short and never across an await: two maps, no work inside.
    fn with<T>(&self, work: impl FnOnce(&mut Shared) -> T) -> T {
        work(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

type ReplyResult = Result<crate::call::signaling::Reply, crate::call::signaling::SignalingError>;

fn deliver(to: &mpsc::Sender<Incoming>, incoming: Incoming) {
    // The call is over, or buries itself in updates that it does not read; both are logged.
    if let Err(error) = to.try_send(incoming) {
        tracing::debug!(%error, "nobody takes what the caller said");
    }
}

impl Signaling for Door {
    fn open(&self, chat: &ChatId) -> Link {
        let (requests, mut asked) = mpsc::channel::<crate::call::signaling::Request>(LINK_CAPACITY);
        let (incoming_sender, incoming) = mpsc::channel(LINK_CAPACITY);
        self.with(|shared| shared.chats.insert(chat.clone(), incoming_sender.clone()));
        let (door, chat) = (self.clone(), chat.clone());
        // Ends when the call drops its link; what was asked before that still goes out.
        tokio::spawn(async move {
            while let Some(request) = asked.recv().await {
                let id = door.with(|shared| {
                    shared.next_id += 1;
                    if shared.pending.len() >= MAX_PENDING
                        && let Some(oldest) = shared.pending.keys().min().copied()
                    {
                        shared.pending.remove(&oldest);
                    }
                    shared.pending.insert(shared.next_id, (incoming_sender.clone(), request.id));
                    shared.next_id
                });
                door.lines.send(Out::request(id, chat.0.clone(), request)).await;
            }
            door.with(|shared| {
                shared.pending.retain(|_, (to, _)| !to.same_channel(&incoming_sender));
                if shared.chats.get(&chat).is_some_and(|to| to.same_channel(&incoming_sender)) {
                    shared.chats.remove(&chat);
                }
            });
        });
        Link { requests, incoming }
    }
}
