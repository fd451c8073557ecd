//! The connection to Telegram: calls go out, answers come back, news come unasked. What
//! grammers leaves to its users is settled here, once: timeouts, retries, flood waits, another
//! home data center, and coming back after a connection was lost.
//!
//! ```text
//!  invoke ─► flood wait? ─► pool (grammers) ─► answer | error ─► again? ─► caller
//!                             │
//!                             └─► updates ─► News ─► calls
//! ```
//!
//! The pool's stream of updates is emptied by a task of its own and read here directly, without
//! grammers' bookkeeping of gaps: what happens in calls carries no number in that sequence and
//! is never repeated. After every loss of the connection, [`News::Reconnected`] tells the calls
//! to ask what they have missed.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use grammers_mtsender::{InvocationError, SenderPool};
use grammers_session::updates::UpdatesLike;
use grammers_tl_types as tl;
use tl::{Deserializable, RemoteCall};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::error::TelegramError;
use super::pool::Pool;
use super::session::{Me, Session};
use crate::secret::Secret;

/// News that a slow call may be behind.
const NEWS: usize = 1024;
/// A call that is not answered in this time has failed; grammers itself waits for ever.
const TIMEOUT: Duration = Duration::from_secs(15);
/// A flood wait up to this long is sat out.
const MAX_FLOOD_WAIT: Duration = Duration::from_secs(60);
/// How often a call is sent at most, whatever the reasons.
const MAX_TRIES: u32 = 4;
/// At the end, calls have this long to say goodbye.
const GOODBYE: Duration = Duration::from_secs(3);
/// The first pause before a call is sent again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Pauses of the reconnection grow up to this.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// How to reach Telegram.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// From my.telegram.org.
    pub api_id: i32,
    /// Belongs to `api_id`.
    pub api_hash: Secret<String>,
    /// A call that is not answered in this time has failed.
    pub timeout: Duration,
    /// A flood wait up to this long is sat out; a longer one is an error.
    pub max_flood_wait: Duration,
}

impl ClientOptions {
    /// The usual patience.
    pub fn new(api_id: i32, api_hash: impl Into<Secret<String>>) -> Self {
        Self { api_id, api_hash: api_hash.into(), timeout: TIMEOUT, max_flood_wait: MAX_FLOOD_WAIT }
    }
}

/// A connection to Telegram. Clones are handles to the same one; it ends with the last.
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) inner: Arc<Inner>,
    /// Flood waits up to this long are sat out.
    flood: Duration,
    _end: Arc<DropGuard>,
}

/// What the tasks share with the handles.
pub(super) struct Inner {
    pub(super) session: Arc<Session>,
    pub(super) options: ClientOptions,
    pub(super) tasks: TaskTracker,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) cancel: CancellationToken,
    news: broadcast::Sender<News>,
    pool: Pool,
    /// Until when no call of a method is sent, by the method's constructor.
    floods: Mutex<HashMap<u32, Instant>>,
    /// References to video chats that we have seen, by call id.
    pub(super) calls: Mutex<HashMap<i64, tl::types::InputGroupCall>>,
    /// How many links there are to calls.
    pub(super) n_links: AtomicUsize,
    /// One of them has ended.
    pub(super) link_ended: Notify,
    /// The connection was lost.
    lost: Notify,
}

/// Telegram's word for a key that nobody is signed in with.
pub(super) const NOBODY: &str = "AUTH_KEY_UNREGISTERED";

/// What Telegram tells unasked, as far as calls care.
#[derive(Clone, Debug)]
pub(super) enum News {
    /// `updateGroupCallParticipants`.
    Participants(Arc<tl::types::UpdateGroupCallParticipants>),
    /// `updateGroupCallConnection`, which does not say of which call it is.
    Connection(Secret<String>),
    /// `updateGroupCall`.
    Call(Arc<tl::enums::GroupCall>),
    /// `updateLoginToken`: a QR code was scanned.
    LoginToken,
    /// News were missed, most often because the connection was lost for a while: what happened
    /// meanwhile is unknown.
    Reconnected,
}

/// How patient a call is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Flood waits up to this long are sat out.
    pub(super) flood: Duration,
    /// May it be sent again when the connection was lost before the answer came?
    pub(super) again: bool,
}

impl Patience {
    /// For what is asked to find out whether there is a connection again.
    const ONCE: Self = Self { flood: Duration::ZERO, again: false };
}

impl Client {
    /// Starts the tasks of a connection; the first call opens it.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(session: Session, options: ClientOptions) -> Self {
        let session = Arc::new(session);
        let (pool, first) = Pool::new(session.clone(), options.api_id);
        let flood = options.max_flood_wait;
        let cancel = CancellationToken::new();
        let inner = Arc::new(Inner {
            session,
            options,
            tasks: TaskTracker::new(),
            runtime: tokio::runtime::Handle::current(),
            cancel: cancel.clone(),
            news: broadcast::channel(NEWS).0,
            pool,
            floods: Mutex::default(),
            calls: Mutex::default(),
            n_links: AtomicUsize::new(0),
            link_ended: Notify::new(),
            lost: Notify::new(),
        });
        inner.tasks.spawn(inner.clone().keep_pool(first));
        inner.tasks.spawn(inner.clone().keep_connected());
        Self { inner, flood, _end: Arc::new(cancel.drop_guard()) }
    }

    /// Connects with a session that is signed in, and makes sure that it still is, as a user.
    ///
    /// # Errors
    /// When nobody or a bot is signed in, or Telegram cannot be reached.
    pub async fn connect(session: Session, options: ClientOptions) -> Result<Self, TelegramError> {
        let client = Self::new(session, options);
        let me = client.inner.myself().await?;
        if me.bot {
            return Err(TelegramError::Bot);
        }
        // From here on Telegram sends updates to this connection.
        client.inner.invoke(&tl::functions::updates::GetState {}).await?;
        Ok(client)
    }

    /// The same client, for somebody who tells of flood waits instead of sitting them out unseen.
    pub(super) fn impatient(&self) -> Self {
        Self { flood: Duration::ZERO, ..self.clone() }
    }

    /// Calls a method.
    pub(super) async fn invoke<R: RemoteCall>(&self, request: &R) -> Result<R::Return, TelegramError> {
        self.inner.invoke_with(request, self.patience()).await
    }

    pub(super) const fn patience(&self) -> Patience {
        Patience { flood: self.flood, again: true }
    }

    /// Ends the connection and waits until its tasks have ended. Calls that are over have a moment
    /// to say goodbye.
    pub async fn shutdown(&self) {
        let goodbyes = async {
            loop {
                let mut ended = pin!(self.inner.link_ended.notified());
                ended.as_mut().enable();
                if self.inner.n_links.load(Ordering::Acquire) == 0 {
                    return;
                }
                ended.await;
            }
        };
        if tokio::time::timeout(GOODBYE, goodbyes).await.is_err() {
            tracing::warn!("the connection ends with calls that are not over");
        }
        self.inner.cancel.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

impl Inner {
    /// Calls a method with the usual patience.
    pub(super) async fn invoke<R: RemoteCall>(&self, request: &R) -> Result<R::Return, TelegramError> {
        let patience = Patience { flood: self.options.max_flood_wait, again: true };
        self.invoke_with(request, patience).await
    }

    /// Calls a method.
    pub(super) async fn invoke_with<R: RemoteCall>(
        &self,
        request: &R,
        patience: Patience,
    ) -> Result<R::Return, TelegramError> {
        self.invoke_telling(request, patience, &mut false).await
    }

    /// Calls a method, and tells whether an answer got lost: then the method may have been
    /// executed, whatever the result says.
    pub(super) async fn invoke_telling<R: RemoteCall>(
        &self,
        request: &R,
        patience: Patience,
        is_answer_lost: &mut bool,
    ) -> Result<R::Return, TelegramError> {
        self.send(request, None, patience, is_answer_lost).await
    }

    /// Calls a method in a data center where the account need not be at home.
    pub(super) async fn invoke_in<R: RemoteCall>(
        &self,
        dc: i32,
        request: &R,
    ) -> Result<R::Return, TelegramError> {
        let patience = Patience { flood: self.options.max_flood_wait, again: true };
        self.send(request, Some(dc), patience, &mut false).await
    }

    async fn send<R: RemoteCall>(
        &self,
        request: &R,
        dc: Option<i32>,
        patience: Patience,
        is_answer_lost: &mut bool,
    ) -> Result<R::Return, TelegramError> {
        let body = request.to_bytes();
        let constructor = body.get(..4).and_then(|id| id.try_into().ok()).map_or(0, u32::from_le_bytes);
        let method = tl::name_for_id(constructor);
        let mut tries = 0;
        loop {
            tries += 1;
            self.sit_out(constructor, method, patience.flood).await?;
            let error = match self.invoke_once(&body, dc, method, patience.again).await {
                Ok(answer) => {
                    return R::Return::from_bytes(&answer).map_err(|_| TelegramError::Unreadable { method });
                }
                Err(error) => error,
            };
            tracing::debug!(method, tries, %error, "a call failed");
            *is_answer_lost |=
                matches!(error, TelegramError::Connection { .. } | TelegramError::Timeout { .. });
            let pause = match &error {
                TelegramError::FloodWait { wait, .. } => {
                    self.floods().insert(constructor, clock() + *wait);
                    if *wait > patience.flood {
                        return Err(error);
                    }
                    // The next turn waits.
                    Duration::ZERO
                }
                TelegramError::Rpc { code: 303, message, .. } if dc.is_none() => {
                    self.move_home(message)?;
                    Duration::ZERO
                }
                TelegramError::Rpc { code: 500 | -503, .. } => FIRST_PAUSE * 5,
                TelegramError::Connection { .. } | TelegramError::Timeout { .. } if patience.again => {
                    FIRST_PAUSE
                }
                _ => return Err(error),
            };
            if tries == MAX_TRIES {
                return Err(error);
            }
            let pause = pause * 2_u32.pow(tries - 1);
            self.pause(pause + pause.mul_f64(fastrand::f64() / 4.0)).await?;
        }
    }

    /// Who is signed in; asks Telegram, and keeps it. A login whose last answer was lost is made
    /// up for in this way.
    pub(super) async fn myself(&self) -> Result<tl::types::User, TelegramError> {
        let is_known = self.session.is_signed_in();
        if !is_known && !self.session.has_key(self.session.home()) {
            return Err(TelegramError::NotSignedIn);
        }
        let id = vec![tl::enums::InputUser::UserSelf];
        let users = match self.invoke(&tl::functions::users::GetUsers { id }).await {
            Err(TelegramError::SignedOut(word)) if !is_known && word == NOBODY => {
                return Err(TelegramError::NotSignedIn);
            }
            other => other?,
        };
        let Some(tl::enums::User::User(user)) = users.into_iter().next() else {
            return Err(TelegramError::NotSignedIn);
        };
        self.session.set_me(Some(Me { id: user.id, bot: user.bot }))?;
        Ok(user)
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// Waits, or ends with the client.
    pub(super) async fn pause(&self, pause: Duration) -> Result<(), TelegramError> {
        tokio::select! {
            () = self.cancel.cancelled() => Err(TelegramError::Closed),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }

    async fn invoke_once(
        &self,
        body: &[u8],
        dc: Option<i32>,
        method: &'static str,
        tells_loss: bool,
    ) -> Result<Vec<u8>, TelegramError> {
        let (generation, pool) = self.pool.present();
        let home = dc.unwrap_or_else(|| self.session.home());
        let answer = tokio::select! {
            () = self.cancel.cancelled() => return Err(TelegramError::Closed),
            answer = tokio::time::timeout(
                self.options.timeout,
                pool.raw_invoke_in_dc(home, body.to_vec()),
            ) => answer,
        };
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            // Given up with its pool, because another call was not answered in time.
            Ok(Err(InvocationError::Dropped(_))) if self.pool.is_doomed(generation) => {
                Err(TelegramError::Timeout { method, after: self.options.timeout })
            }
            Ok(Err(error)) => {
                // Whoever tries to come back knows it already, and elsewhere no updates come from.
                let is_lost = matches!(error, InvocationError::Io(_) | InvocationError::Dropped(_));
                if is_lost && dc.is_none() && tells_loss {
                    self.lost.notify_one();
                }
                match TelegramError::of(error, method) {
                    TelegramError::KeyUnknown => Err(self.key_unknown(home)),
                    error => Err(error),
                }
            }
            Err(_) => {
                // The connection may be dead without anybody having said so.
                self.pool.doom(generation);
                Err(TelegramError::Timeout { method, after: self.options.timeout })
            }
        }
    }

    /// A data center does not know the key that we have for it. Only at home that is the end of
    /// the session; elsewhere another key will do.
    fn key_unknown(&self, dc: i32) -> TelegramError {
        if dc == self.session.home() && self.session.has_key(dc) {
            return TelegramError::KeyUnknown;
        }
        match self.session.forget_key(dc) {
            Ok(()) => TelegramError::Connection { why: format!("data center {dc} agrees on no key") },
            Err(error) => error.into(),
        }
    }

    /// Waits as long as Telegram has asked us to, whichever call it said that to.
    async fn sit_out(
        &self,
        constructor: u32,
        method: &'static str,
        at_most: Duration,
    ) -> Result<(), TelegramError> {
        let until = self.floods().get(&constructor).copied();
        let Some(wait) = until.map(|until| until.saturating_duration_since(clock())) else { return Ok(()) };
        if wait > at_most {
            // Whole seconds, as Telegram counts them.
            let wait = Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
            return Err(TelegramError::FloodWait { wait, method });
        }
        if !wait.is_zero() {
            tracing::info!(method, secs = wait.as_secs(), "Telegram asked to wait");
            self.pause(wait).await?;
        }
        // Somebody else may have been told to wait longer meanwhile.
        let now = clock();
        self.floods().retain(|_, until| *until > now);
        Ok(())
    }

    /// `USER_MIGRATE_4` and its like: the account is at home in another data center.
    fn move_home(&self, message: &str) -> Result<(), TelegramError> {
        let dc = message.rsplit('_').next().and_then(|dc| dc.parse().ok());
        let unreadable = TelegramError::Unreadable { method: "a redirection" };
        self.move_to(dc.ok_or(unreadable)?)
    }

    /// The account is at home in `dc`.
    pub(super) fn move_to(&self, dc: i32) -> Result<(), TelegramError> {
        self.session.set_home(dc)?;
        // A connection that is there already was made before this was our home, and would not
        // say when it ends.
        self.pool.present().1.disconnect_from_dc(dc);
        Ok(())
    }

    fn floods(&self) -> MutexGuard<'_, HashMap<u32, Instant>> {
        self.floods.lock().expect("nothing panics while it holds the waits")
    }

    /// Runs grammers' tasks and empties its stream of updates, until the client ends.
    async fn keep_pool(self: Arc<Self>, first: SenderPool) {
        self.pool.keep(first, &self.cancel, &self.lost, |update| self.take(update)).await;
    }

    fn take(&self, update: UpdatesLike) {
        let updates = match update {
            UpdatesLike::ConnectionClosed => return self.lost.notify_one(),
            // More happened than Telegram tells: as after a loss, calls have to ask.
            UpdatesLike::Updates(tl::enums::Updates::TooLong) => return self.tell(News::Reconnected),
            UpdatesLike::Updates(tl::enums::Updates::Updates(all)) => all.updates,
            UpdatesLike::Updates(tl::enums::Updates::Combined(all)) => all.updates,
            UpdatesLike::Updates(tl::enums::Updates::UpdateShort(one)) => vec![one.update],
            _ => return,
        };
        for update in updates {
            let news = match update {
                tl::enums::Update::GroupCallParticipants(update) => News::Participants(Arc::new(update)),
                tl::enums::Update::GroupCall(update) => {
                    self.remember(&update.call);
                    News::Call(Arc::new(update.call))
                }
                tl::enums::Update::GroupCallConnection(update) if !update.presentation => {
                    let tl::enums::DataJson::Json(json) = update.params;
                    News::Connection(json.data.into())
                }
                tl::enums::Update::LoginToken => News::LoginToken,
                _ => continue,
            };
            self.tell(news);
        }
    }

    fn tell(&self, news: News) {
        // Nobody may be in a call.
        let _ = self.news.send(news);
    }

    /// Keeps the reference to a video chat: a later one has the access hash that counts.
    pub(super) fn remember(&self, call: &tl::enums::GroupCall) {
        let mut calls = self.calls.lock().expect("nothing panics while it holds the calls");
        match call {
            tl::enums::GroupCall::Call(call) if !call.min => {
                let (id, access_hash) = (call.id, call.access_hash);
                calls.insert(id, tl::types::InputGroupCall { id, access_hash });
            }
            tl::enums::GroupCall::Call(_) => {}
            tl::enums::GroupCall::Discarded(call) => {
                calls.remove(&call.id);
            }
        }
    }

    /// Comes back after a loss: until a call is answered, Telegram does not know where to send
    /// updates to.
    async fn keep_connected(self: Arc<Self>) {
        let mut failures = 0_u32;
        loop {
            tokio::select! {
                () = self.cancel.cancelled() => return,
                () = self.lost.notified() => {}
            }
            if !self.session.is_signed_in() {
                continue;
            }
            loop {
                let pause = (FIRST_PAUSE * 2_u32.pow(failures.min(8))).min(MAX_PAUSE);
                if self.pause(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await.is_err() {
                    return;
                }
                match self.invoke_with(&tl::functions::updates::GetState {}, Patience::ONCE).await {
                    Ok(_) => {
                        failures = 0;
                        tracing::info!("connected to Telegram again");
                        self.tell(News::Reconnected);
                        break;
                    }
                    // Nothing brings this session back; whoever asks next is told so.
                    Err(error @ (TelegramError::SignedOut(_) | TelegramError::KeyUnknown)) => {
                        tracing::error!(%error, "the session is over");
                        break;
                    }
                    Err(TelegramError::Closed) => return,
                    Err(error) => {
                        failures += 1;
                        tracing::warn!(failures, %error, "no connection to Telegram");
                    }
                }
            }
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("session", &self.session).finish_non_exhaustive()
    }
}

#[expect(clippy::disallowed_methods, reason = "the client owns the connection and its clock")]
fn clock() -> Instant {
    Instant::now()
}
