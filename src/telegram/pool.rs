//! grammers' pool of connections, replaced as a whole when it fails or hangs: requests → answers,
//! updates → whoever takes them.
//!
//! The pool opens connections inside the one task that serves everybody, and waits there for the
//! first answer without any limit. A server that takes a connection and then says nothing would
//! stop that task for ever, with all requests to come and its own end. So a request that is not
//! answered in time dooms the pool that it went to, and another one takes over.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use grammers_mtsender::{ConnectionParams, NoRetries, SenderPool, SenderPoolHandle};
use grammers_session::updates::UpdatesLike;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::session::Session;

/// Updates that may wait between grammers and us; grammers drops what is more, silently.
const UPDATES: usize = 4096;
/// A pool that was asked to end has this long before it is ended.
const QUIT: Duration = Duration::from_secs(1);
/// A pool that has failed is replaced after this; after each further failure in a row it takes
/// twice as long …
const AFTER_FAILURE: Duration = Duration::from_millis(200);
/// … up to this.
const AT_MOST: Duration = Duration::from_secs(10);
/// Whoever has run for so long does not fail in a row.
const LASTING: Duration = Duration::from_secs(60);

/// Which pool in the row of pools a request went to.
pub(super) type Generation = u64;

/// The way to the present pool.
pub(super) struct Pool {
    session: Arc<Session>,
    api_id: i32,
    present: Mutex<(Generation, SenderPoolHandle)>,
    /// The latest pool that did not answer.
    doomed: watch::Sender<Option<Generation>>,
}

impl Pool {
    /// A pool, and what [`Pool::keep`] needs to run it.
    pub(super) fn new(session: Arc<Session>, api_id: i32) -> (Self, SenderPool) {
        let first = make(&session, api_id);
        let present = Mutex::new((0, first.handle.thin.clone()));
        (Self { session, api_id, present, doomed: watch::Sender::new(None) }, first)
    }

    /// The present pool.
    pub(super) fn present(&self) -> (Generation, SenderPoolHandle) {
        self.lock().clone()
    }

    /// It does not answer. What else it was asked for is lost with it.
    pub(super) fn doom(&self, generation: Generation) {
        self.doomed.send_if_modified(|latest| {
            let is_later = latest.is_none_or(|latest| generation > latest);
            if is_later {
                *latest = Some(generation);
            }
            is_later
        });
    }

    /// Has it been given up?
    pub(super) fn is_doomed(&self, generation: Generation) -> bool {
        self.doomed.borrow().is_some_and(|latest| generation <= latest)
    }

    /// Runs one pool after the other until `cancel`, and gives away their updates. Whenever one
    /// takes over from another, `lost` is notified.
    pub(super) async fn keep(
        &self,
        first: SenderPool,
        cancel: &CancellationToken,
        lost: &Notify,
        take: impl Fn(UpdatesLike),
    ) {
        let mut doomed = self.doomed.subscribe();
        let (mut pool, mut generation, mut wait) = (first, 0, AFTER_FAILURE);
        loop {
            let SenderPool { runner, handle, mut updates } = pool;
            let mut running = tokio::spawn(runner.run());
            #[expect(clippy::disallowed_methods, reason = "this loop does the IO")]
            let began = Instant::now();
            let has_failed = loop {
                tokio::select! {
                    () = cancel.cancelled() => {
                        handle.quit();
                        if tokio::time::timeout(QUIT, &mut running).await.is_err() {
                            running.abort();
                        }
                        return;
                    }
                    _ = &mut running => break true,
                    _ = doomed.changed() => if *doomed.borrow_and_update() == Some(generation) {
                        break false;
                    },
                    Some(update) = updates.recv() => take(update),
                }
            };
            // Its connections are closed with it.
            running.abort();
            tracing::warn!(has_failed, "the MTProto library failed or hangs; the connection is made anew");
            pool = make(&self.session, self.api_id);
            generation += 1;
            *self.lock() = (generation, pool.handle.thin.clone());
            lost.notify_one();
            if has_failed {
                if began.elapsed() >= LASTING {
                    wait = AFTER_FAILURE;
                }
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = tokio::time::sleep(wait) => {}
                }
                wait = (wait * 2).min(AT_MOST);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, (Generation, SenderPoolHandle)> {
        self.present.lock().expect("nothing panics while it holds the pool")
    }
}

/// A pool of connections that decides nothing by itself.
fn make(session: &Arc<Session>, api_id: i32) -> SenderPool {
    let parameters = ConnectionParams {
        app_version: env!("CARGO_PKG_VERSION").to_owned(),
        retry_policy: Box::new(NoRetries),
        updates_channel_capacity: NonZeroUsize::new(UPDATES).expect("not zero"),
        ..ConnectionParams::default()
    };
    SenderPool::with_configuration(session.clone(), api_id, parameters)
}
