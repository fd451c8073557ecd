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

mod news;
mod requests;

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use grammers_tl_types as tl;
use tl::RemoteCall;
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
