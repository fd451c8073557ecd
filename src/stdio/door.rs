//! A [`Signaling`] whose other end is the caller: requests become lines, lines become replies.
//!
//! What a call asked for reaches it: a reply waits for room in the call's link, and with it
//! the caller, whose lines stay unread meanwhile. So does the end of the chat. Other updates
//! are lost to a call that does not keep up; they are counted, and the call finds the gap in
//! the version of the list and asks for it anew.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

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
    chats: HashMap<ChatId, Opened>,
    /// Of all calls, those that are over included.
    updates_dropped: u64,
}

/// The link of a call.
#[derive(Debug)]
struct Opened {
    to: mpsc::Sender<Incoming>,
    /// Updates that found the link full.
    updates_dropped: u64,
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
        // An error means that the call is over: nobody misses the reply.
        let _ = pending.to.send(Incoming::Reply { id: pending.id, result }).await;
        true
    }

    /// Takes what the caller says about a chat. False when there is no such chat.
    pub(super) async fn update(&self, chat: &ChatId, update: Update) -> bool {
        let to = self.with(|shared| shared.chats.get(chat).map(|opened| opened.to.clone()));
        let Some(to) = to else { return false };
        if update == Update::Discarded {
            // Over already is just as well.
            let _ = to.send(Incoming::Update(update)).await;
        } else if let Err(TrySendError::Full(_)) = to.try_send(Incoming::Update(update)) {
            self.with(|shared| shared.count_dropped(chat));
        }
        true
    }

    /// Updates about `chat` that its call was too slow for.
    pub(super) fn updates_dropped(&self, chat: &ChatId) -> u64 {
        self.with(|shared| shared.chats.get(chat).map_or(0, |opened| opened.updates_dropped))
    }

    /// The same for all chats, since the start.
    pub(super) fn all_updates_dropped(&self) -> u64 {
        self.with(|shared| shared.updates_dropped)
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
        if self.pending.len() >= MAX_PENDING
            && let Some((id, _)) = self.pending.pop_first()
        {
            tracing::warn!(id, "a request that the caller never answered is forgotten");
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
        if self.chats.get(chat).is_some_and(|known| known.to.same_channel(to)) {
            self.chats.remove(chat);
        }
    }

    fn count_dropped(&mut self, chat: &ChatId) {
        self.updates_dropped += 1;
        let Some(opened) = self.chats.get_mut(chat) else { return };
        if opened.updates_dropped == 0 {
            tracing::warn!(%chat, "updates come faster than the call takes them; some are lost");
        }
        opened.updates_dropped += 1;
    }
}

type ReplyResult = Result<Reply, SignalingError>;

impl Signaling for Door {
    fn open(&self, chat: &ChatId) -> Link {
        let (requests, mut asked) = mpsc::channel(LINK_CAPACITY);
        let (incoming_sender, incoming) = mpsc::channel(LINK_CAPACITY);
        let opened = Opened { to: incoming_sender.clone(), updates_dropped: 0 };
        self.with(|shared| shared.chats.insert(chat.clone(), opened));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::signaling::ParticipantsPage;

    fn rows(version: i32) -> Update {
        Update::Participants { participants: Vec::new(), version }
    }

    /// A door, and a call behind it whose link is full of updates.
    async fn crowded() -> (Door, ChatId, Link) {
        let (lines, _writer) = Lines::to(tokio::io::sink());
        let (door, chat) = (Door::new(lines), ChatId("a".into()));
        let link = door.open(&chat);
        for version in 0..i32::try_from(LINK_CAPACITY).expect("small") {
            assert!(door.update(&chat, rows(version)).await);
        }
        assert_eq!(door.updates_dropped(&chat), 0, "all of them fit");
        (door, chat, link)
    }

    #[tokio::test]
    async fn a_reply_waits_for_a_call_that_is_behind() {
        let (door, _, mut link) = crowded().await;
        let method = Method::Participants { sources: Vec::new(), offset: String::new() };
        link.requests.send(Request { id: 70, method }).await.expect("the door takes it");
        while door.with(|shared| shared.pending.is_empty()) {
            tokio::task::yield_now().await;
        }
        let reply = Ok(Reply::Participants(ParticipantsPage::default()));
        let mut replying = Box::pin(door.reply(1, reply.clone()));
        tokio::select! {
            biased;
            _ = &mut replying => panic!("the link is full"),
            () = tokio::task::yield_now() => {}
        }
        for _ in 0..LINK_CAPACITY {
            assert!(matches!(link.incoming.recv().await, Some(Incoming::Update(_))));
        }
        assert!(replying.await);
        assert_eq!(link.incoming.recv().await, Some(Incoming::Reply { id: 70, result: reply }));
    }

    #[tokio::test]
    async fn updates_that_find_no_room_are_counted_and_the_end_is_not_lost() {
        let (door, chat, mut link) = crowded().await;
        assert!(door.update(&chat, rows(100)).await);
        assert!(door.update(&chat, rows(101)).await);
        assert_eq!((door.updates_dropped(&chat), door.all_updates_dropped()), (2, 2));

        let (ending, over) = (door.clone(), chat.clone());
        let ending = tokio::spawn(async move { ending.update(&over, Update::Discarded).await });
        let mut last = None;
        while last != Some(Incoming::Update(Update::Discarded)) {
            last = link.incoming.recv().await;
            assert!(last.is_some(), "the link is open");
        }
        assert!(ending.await.expect("it ends"));
        drop(link);
        while door.with(|shared| !shared.chats.is_empty()) {
            tokio::task::yield_now().await;
        }
        assert!(!door.update(&chat, rows(102)).await, "there is no such chat any more");
        assert_eq!((door.updates_dropped(&chat), door.all_updates_dropped()), (0, 2));
    }
}
