//! A client as a call's way to Telegram: [`Method`] → phone.*, updates → [`Update`].
//!
//! ```text
//!  requests ─┬─ join, edit, leave ─► one after the other ─┬─► replies
//!            └─ check, list ───────► one after the other ─┘
//!  news ───── of this call, each once ────────────────────► updates
//! ```
//!
//! What changes something keeps its order, so that a goodbye never overtakes the join that it
//! undoes; what only asks goes beside it. A link that was dropped still says its goodbye.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use grammers_tl_types as tl;
use tokio::sync::{broadcast, mpsc};

use super::chat::{Chat, ChatKind, ChatName, VideoChatId};
use super::client::{Client, Inner, News, Patience};
use super::error::TelegramError;
use super::rows;
use super::video_chat::JoinVideoChat;
use crate::call::signaling::{
    ChatId, Incoming, Join, LINK_CAPACITY, Link, Method, ParticipantRow, Reply, Request, Signaling,
    SignalingError, Update,
};

/// How a signaling treats a chat without a video chat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalingOptions {
    /// Begin a video chat where there is none, and a scheduled one before its time.
    pub start: bool,
}

/// A signed-in client as the signaling side of calls. A chat is whatever
/// [`ChatName`] understands: `@name`, a link, a number.
#[derive(Clone, Debug)]
pub struct TelegramSignaling {
    client: Client,
    options: SignalingOptions,
}

impl TelegramSignaling {
    /// Calls go through `client`.
    pub const fn new(client: Client, options: SignalingOptions) -> Self {
        Self { client, options }
    }
}

impl Signaling for TelegramSignaling {
    fn open(&self, chat: &ChatId) -> Link {
        let (requests, inbox) = mpsc::channel(LINK_CAPACITY);
        let (outbox, incoming) = mpsc::channel(LINK_CAPACITY);
        let door = Arc::new(Door {
            // The call waits itself when Telegram asks it to, and says so.
            client: self.client.impatient(),
            options: self.options,
            chat: chat.clone(),
            place: Mutex::default(),
            outbox,
        });
        let (inner, news) = (&self.client.inner, self.client.inner.subscribe());
        let counted = Counted::new(inner.clone());
        let run = async move {
            door.run(inbox, news).await;
            drop(counted);
        };
        inner.tasks.spawn_on(run, &inner.runtime);
        Link { requests, incoming }
    }
}

/// Our end of a link.
struct Door {
    client: Client,
    options: SignalingOptions,
    chat: ChatId,
    place: Mutex<Place>,
    outbox: mpsc::Sender<Incoming>,
}

/// Where the call takes place, as far as we have found out.
#[derive(Debug, Default)]
struct Place {
    id: Option<VideoChatId>,
    invite_hash: Option<String>,
    source: i32,
    /// Somebody has looked for the video chat.
    has_looked: bool,
    /// It had not begun when it was looked at last.
    is_scheduled: bool,
    seen: Seen,
}

/// Counts among the client's links, however the link ends.
struct Counted(Arc<Inner>);

impl Counted {
    fn new(inner: Arc<Inner>) -> Self {
        inner.n_links.fetch_add(1, Ordering::Relaxed);
        Self(inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.n_links.fetch_sub(1, Ordering::Release);
        self.0.link_ended.notify_waiters();
    }
}

impl Door {
    async fn run(self: Arc<Self>, mut inbox: mpsc::Receiver<Request>, news: broadcast::Receiver<News>) {
        let (acts, act_queue) = mpsc::channel(LINK_CAPACITY);
        let (asks, ask_queue) = mpsc::channel(LINK_CAPACITY);
        let tell = self.clone().tell(news);
        let serve = async {
            let sort = async {
                while let Some(request) = inbox.recv().await {
                    let queue = match request.method {
                        Method::Check { .. } | Method::Participants { .. } => &asks,
                        _ => &acts,
                    };
                    if queue.send(request).await.is_err() {
                        break;
                    }
                }
                drop((acts, asks));
            };
            tokio::join!(sort, self.serve(act_queue), self.serve(ask_queue));
        };
        let inner = self.client.inner.clone();
        tokio::select! {
            () = inner.cancel.cancelled() => {}
            () = serve => {}
            // News end with the client.
            () = tell => {}
        }
    }

    /// Answers requests in their order.
    async fn serve(&self, mut queue: mpsc::Receiver<Request>) {
        while let Some(Request { id, method }) = queue.recv().await {
            let source = match &method {
                Method::Join(join) => Some(join.source),
                _ => None,
            };
            let result = self.answer(method).await.map_err(SignalingError::from);
            let has_joined = result.is_ok();
            // A call that is over wants no answer, but what it asked for last is still done.
            let answered = self.outbox.send(Incoming::Reply { id, result }).await;
            if let Some(source) = source.filter(|_| answered.is_err() && has_joined) {
                // Nobody is left who could say goodbye.
                let left = self.answer(Method::Leave { source }).await;
                tracing::debug!(?left, "a join came too late for its call");
            }
        }
    }

    async fn answer(&self, method: Method) -> Result<Reply, TelegramError> {
        let inner = &self.client.inner;
        match method {
            Method::Join(join) => self.join(join).await,
            Method::Edit(edit) => {
                // The call waits itself when Telegram asks it to, so that its goodbye need not.
                let patience = Patience { flood: Duration::ZERO, again: true };
                inner.edit(self.place_id()?, tl::enums::InputPeer::PeerSelf, &edit, patience).await?;
                Ok(Reply::Done)
            }
            Method::Check { sources } => Ok(Reply::Sources(inner.check(self.place_id()?, sources).await?)),
            Method::Participants { sources, offset } => {
                let page = inner.participants(self.place_id()?, sources, offset).await?;
                Ok(Reply::Participants(page))
            }
            Method::Leave { source } => {
                let (id, has_looked) = {
                    let place = self.place();
                    (place.id, place.has_looked)
                };
                // Whoever never got as far as a video chat has none to leave, unless an earlier
                // process had.
                let id = if has_looked { id } else { self.find_ghostly().await };
                if let Some(id) = id {
                    inner.leave(id, source).await?;
                }
                Ok(Reply::Done)
            }
        }
    }

    /// Joins. A reference that is out of date is looked up once more: the chat may have another
    /// video chat by now.
    async fn join(&self, join: Join) -> Result<Reply, TelegramError> {
        let (known, was_scheduled) = {
            let place = self.place();
            (place.id, place.is_scheduled)
        };
        let id = match known {
            Some(id) => id,
            None => self.find(join.join_as.as_deref()).await?,
        };
        if known.is_some() && was_scheduled {
            self.check_begun(id).await?;
        }
        if self.outbox.is_closed() {
            // To find the chat took too long; nobody waits for this any more.
            return Err(TelegramError::Closed);
        }
        self.place().source = join.source;
        match self.join_once(id, &join).await {
            Err(error) if error.is("GROUPCALL_INVALID") || error.is("GROUPCALL_FORBIDDEN") => {
                let now = self.find(join.join_as.as_deref()).await?;
                if now == id && known.is_none() {
                    return Err(error);
                }
                self.join_once(now, &join).await
            }
            other => other,
        }
    }

    async fn join_once(&self, id: VideoChatId, join: &Join) -> Result<Reply, TelegramError> {
        let options = JoinVideoChat {
            join_as: join.join_as.clone(),
            invite_hash: join.invite_hash.clone().or_else(|| self.place().invite_hash.clone()),
            audio: !join.muted,
            video: !join.video_stopped,
        };
        // The call itself waits when Telegram asks it to: it then needs new parameters.
        let patience = Patience { flood: Duration::ZERO, again: true };
        let (inner, mut is_answer_lost) = (&self.client.inner, false);
        let joined = inner.join(id, join.params.expose(), options, patience, &mut is_answer_lost).await;
        let is_of_no_use =
            matches!(joined, Err(TelegramError::NoConnection | TelegramError::Unreadable { .. }));
        if is_of_no_use || (joined.is_err() && is_answer_lost) {
            // We may be in the chat all the same, and the call does not know it: nobody may be
            // left behind. Whether that worked is nothing that the call could act upon.
            let left = inner.leave(id, join.source).await;
            tracing::debug!(?left, "a join whose answer was lost has failed");
        }
        Ok(Reply::Joined { params: joined?.params.into() })
    }

    /// Where an earlier process may have left something. The join looks for itself: it begins what
    /// has not begun, and says what is wrong.
    async fn find_ghostly(&self) -> Option<VideoChatId> {
        self.client.get_chat(&self.chat.0.parse().ok()?).await.ok()?.video_chat
    }

    /// Finds the chat's video chat, or begins one if that is wanted.
    async fn find(&self, join_as: Option<&str>) -> Result<VideoChatId, TelegramError> {
        self.place().has_looked = true;
        let name: ChatName = self.chat.0.parse()?;
        let chat = self.client.get_chat(&name).await?;
        if chat.kind == ChatKind::User {
            return Err(TelegramError::Person(chat.title));
        }
        if let Some(peer) = join_as.filter(|peer| self.client.inner.input_peer(peer).is_err()) {
            // Whom one may appear as comes with what it takes to name them.
            let peers = self.client.join_as_peers(&chat).await?;
            if self.client.inner.input_peer(peer).is_err() {
                let choices: Vec<String> =
                    peers.iter().map(|peer| format!("{} ({})", peer.id, peer.title)).collect();
                return Err(TelegramError::NoPeer { peer: peer.to_owned(), choices: choices.join(", ") });
            }
        }
        let id = match chat.video_chat {
            Some(id) => id,
            None if self.options.start => self.begin(&name, &chat).await?,
            None => return Err(TelegramError::NoVideoChat(chat.title)),
        };
        {
            let mut place = self.place();
            if place.id.replace(id) != Some(id) {
                place.seen = Seen::default();
            }
            place.invite_hash = name.invite_hash;
        }
        self.check_begun(id).await?;
        Ok(id)
    }

    /// Begins a video chat, unless somebody else was faster.
    async fn begin(&self, name: &ChatName, chat: &Chat) -> Result<VideoChatId, TelegramError> {
        match self.client.start_video_chat(chat, None).await {
            Err(error) if error.is("CREATE_CALL_FAILED") => {
                self.client.get_chat(name).await?.video_chat.ok_or(error)
            }
            other => other,
        }
    }

    /// Whether it can be joined now; begins it before its time if that is wanted.
    async fn check_begun(&self, id: VideoChatId) -> Result<(), TelegramError> {
        let mut found = self.client.get_video_chat(id).await?.joinable();
        if self.options.start && matches!(found, Err(TelegramError::Scheduled { .. })) {
            found = self.client.start_scheduled_video_chat(id).await;
        }
        self.place().is_scheduled = matches!(found, Err(TelegramError::Scheduled { .. }));
        found
    }

    /// Passes on what happens in this call.
    async fn tell(self: Arc<Self>, mut news: broadcast::Receiver<News>) {
        loop {
            match news.recv().await {
                Ok(News::Participants(update)) if self.concerns(&update.call) => {
                    let rows: Vec<_> = update.participants.iter().map(rows::row).collect();
                    let rows = self.place().seen.fresh(rows, update.version);
                    if !rows.is_empty() {
                        let update = Update::Participants { participants: rows, version: update.version };
                        self.send(update).await;
                    }
                }
                // With several calls nobody knows which of them was moved. A call that was finds
                // that out by itself: its transport fails, or a check does.
                Ok(News::Connection(params)) if self.client.inner.n_links.load(Ordering::Relaxed) == 1 => {
                    self.send(Update::Connection { params, attempt: None, presentation: false }).await;
                }
                Ok(News::Call(call)) => self.tell_call(&call).await,
                Ok(News::Reconnected) => self.catch_up().await,
                Err(broadcast::error::RecvError::Lagged(n)) => {
                    tracing::warn!(chat = %self.chat, n_dropped = n, "news of a call were missed");
                    self.catch_up().await;
                }
                Err(broadcast::error::RecvError::Closed) => return,
                Ok(_) => {}
            }
        }
    }

    async fn tell_call(&self, call: &tl::enums::GroupCall) {
        match call {
            tl::enums::GroupCall::Discarded(call) if self.is_here(call.id) => {
                self.place().id = None;
                self.send(Update::Discarded).await;
            }
            tl::enums::GroupCall::Call(call) if self.is_here(call.id) => {
                let update = Update::Call {
                    join_muted: Some(call.join_muted),
                    schedule_date: call.schedule_date.map(i64::from),
                    // A short form leaves out what depends on the viewer.
                    can_start_video: (!call.min).then_some(call.can_start_video),
                    unmuted_video_limit: u32::try_from(call.unmuted_video_limit).ok(),
                };
                self.send(update).await;
            }
            _ => {}
        }
    }

    /// The connection to Telegram was gone for a while, and news of calls are never repeated: so
    /// we ask for our own row, whose version tells the call whether the list has to be read anew.
    async fn catch_up(&self) {
        let (id, source) = {
            let place = self.place();
            (place.id, place.source)
        };
        let Some(id) = id else { return };
        if source == 0 {
            return self.look_again(id).await;
        }
        match self.client.inner.participants(id, vec![source], String::new()).await {
            Ok(page) => {
                let unversioned = |row| ParticipantRow { versioned: false, just_joined: false, ..row };
                let participants = page.participants.into_iter().map(unversioned).collect();
                self.send(Update::Participants { participants, version: page.version }).await;
                // Who may speak and show a picture may have changed, too.
                self.look_again(id).await;
            }
            Err(error) if error.is("GROUPCALL_FORBIDDEN") || error.is("GROUPCALL_INVALID") => {
                // It ended while we were away.
                if matches!(
                    self.client.get_video_chat(id).await,
                    Err(TelegramError::Rpc { code: 400 | 403, .. })
                ) {
                    self.place().id = None;
                    self.send(Update::Discarded).await;
                }
            }
            // The next check finds out.
            Err(error) => tracing::debug!(%error, "own row not read"),
        }
    }

    /// What the video chat is like may have changed; a scheduled one may have begun or been called
    /// off.
    async fn look_again(&self, id: VideoChatId) {
        match self.client.get_video_chat(id).await {
            Ok(found) => {
                let update = Update::Call {
                    join_muted: Some(found.join_muted),
                    schedule_date: found.schedule_date,
                    can_start_video: Some(found.can_start_video),
                    unmuted_video_limit: None,
                };
                self.send(update).await;
            }
            Err(TelegramError::Rpc { code: 400 | 403, .. }) => {
                self.place().id = None;
                self.send(Update::Discarded).await;
            }
            // The call looks again by itself.
            Err(error) => tracing::debug!(%error, "scheduled video chat not read"),
        }
    }

    async fn send(&self, update: Update) {
        // A call that is over wants no news.
        let _ = self.outbox.send(Incoming::Update(update)).await;
    }

    fn concerns(&self, call: &tl::enums::InputGroupCall) -> bool {
        matches!(call, tl::enums::InputGroupCall::Call(call) if self.is_here(call.id))
    }

    fn is_here(&self, id: i64) -> bool {
        self.place().id == Some(VideoChatId(id))
    }

    fn place_id(&self) -> Result<VideoChatId, TelegramError> {
        self.place().id.ok_or_else(|| TelegramError::Rpc {
            code: 400,
            message: "GROUPCALL_JOIN_MISSING".to_owned(),
            method: "a method of a call",
        })
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().expect("nothing panics while it holds the place")
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("chat", &self.chat).finish_non_exhaustive()
    }
}

/// Tells news from repetitions: the same rows come in the answer to a request, as an update of
/// its own, and again after a reconnection.
///
/// What comes late is no repetition: updates may overtake each other, and the call sorts them.
#[derive(Debug, Default)]
struct Seen {
    /// The latest changes that counted, with the version that each of them led to.
    changes: VecDeque<(i32, Vec<ParticipantRow>)>,
    rows: HashMap<String, ParticipantRow>,
}

/// Rows that are remembered; more than any call has.
const MAX_SEEN: usize = 10_000;
/// Changes that are remembered. A repetition comes within moments.
const MAX_CHANGES: usize = 64;

impl Seen {
    /// Those rows that say something new.
    fn fresh(&mut self, rows: Vec<ParticipantRow>, version: i32) -> Vec<ParticipantRow> {
        let counts = rows.iter().any(|row| row.versioned || row.left || row.just_joined);
        if counts {
            let change = (version, rows.iter().map(plain).collect());
            if self.changes.contains(&change) {
                return Vec::new();
            }
            if self.changes.len() == MAX_CHANGES {
                self.changes.pop_front();
            }
            self.changes.push_back(change);
        }
        let fresh: Vec<_> = rows.into_iter().filter(|row| counts || !self.knows(row)).collect();
        for row in &fresh {
            if self.rows.len() >= MAX_SEEN {
                self.rows.clear();
            }
            self.rows.insert(row.peer.clone(), row.clone());
        }
        fresh
    }

    /// Was this very row the last that we saw of this peer?
    fn knows(&self, row: &ParticipantRow) -> bool {
        self.rows.get(&row.peer).is_some_and(|seen| plain(seen) == plain(row))
    }
}

/// A row without what says how it came.
fn plain(row: &ParticipantRow) -> ParticipantRow {
    ParticipantRow { versioned: false, just_joined: false, ..row.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(peer: &str, source: i32, muted: bool, versioned: bool) -> ParticipantRow {
        ParticipantRow { peer: peer.into(), source, muted, versioned, ..ParticipantRow::default() }
    }

    #[test]
    fn repetitions_are_no_news() {
        let mut seen = Seen::default();
        let joined = vec![row("ann", 5, false, true)];
        assert_eq!(seen.fresh(joined.clone(), 3), joined);
        assert_eq!(seen.fresh(joined.clone(), 3), []);
        let before = vec![row("bob", 6, false, true)];
        assert_eq!(seen.fresh(before.clone(), 2), before, "overtaken on its way, but not told before");
        assert_eq!(seen.fresh(before, 2), []);
        assert_eq!(seen.fresh(joined, 3), []);
        let muted = vec![row("ann", 5, true, false)];
        assert_eq!(seen.fresh(muted.clone(), 3), muted);
        assert_eq!(seen.fresh(muted, 3), []);
        let unmuted = vec![row("ann", 5, false, false)];
        assert_eq!(seen.fresh(unmuted.clone(), 3), unmuted, "a change back is a change");
    }

    #[test]
    fn a_gap_is_passed_on_for_the_call_to_see() {
        let mut seen = Seen::default();
        seen.fresh(vec![row("ann", 5, false, true)], 3);
        let later = vec![row("bob", 6, false, true)];
        assert_eq!(seen.fresh(later.clone(), 9), later);
    }
}
