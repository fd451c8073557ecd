//! What Telegram tells unasked → those whom it concerns; and the way back after a lost connection.

use std::sync::Arc;

use grammers_mtsender::SenderPool;
use grammers_session::updates::UpdatesLike;
use grammers_tl_types as tl;

use super::{FIRST_PAUSE, Inner, MAX_PAUSE, News, Patience};
use crate::telegram::error::TelegramError;

impl Inner {
    /// Runs grammers' tasks and empties its stream of updates, until the client ends.
    pub(super) async fn keep_pool(self: Arc<Self>, first: SenderPool) {
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
    pub(in crate::telegram) fn remember(&self, call: &tl::enums::GroupCall) {
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
    pub(super) async fn keep_connected(self: Arc<Self>) {
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
