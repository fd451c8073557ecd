//! A method and its patience → Telegram, as often as it takes → the answer, or why there is none.

use std::collections::HashMap;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use grammers_mtsender::InvocationError;
use grammers_tl_types as tl;
use tl::{Deserializable, RemoteCall};

use super::{FIRST_PAUSE, Inner, Patience, clock};
use crate::telegram::error::TelegramError;

/// How often a call is sent at most, whatever the reasons.
const MAX_TRIES: u32 = 4;

impl Inner {
    /// Calls a method with the usual patience.
    pub(in crate::telegram) async fn invoke<R: RemoteCall>(
        &self,
        request: &R,
    ) -> Result<R::Return, TelegramError> {
        let patience = Patience { flood: self.options.max_flood_wait, again: true };
        self.invoke_with(request, patience).await
    }

    /// Calls a method.
    pub(in crate::telegram) async fn invoke_with<R: RemoteCall>(
        &self,
        request: &R,
        patience: Patience,
    ) -> Result<R::Return, TelegramError> {
        self.invoke_telling(request, patience, &mut false).await
    }

    /// Calls a method, and tells whether an answer got lost: then the method may have been
    /// executed, whatever the result says.
    pub(in crate::telegram) async fn invoke_telling<R: RemoteCall>(
        &self,
        request: &R,
        patience: Patience,
        is_answer_lost: &mut bool,
    ) -> Result<R::Return, TelegramError> {
        self.send(request, None, patience, is_answer_lost).await
    }

    /// Calls a method in a data center where the account need not be at home.
    pub(in crate::telegram) async fn invoke_in<R: RemoteCall>(
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
    pub(in crate::telegram) fn move_to(&self, dc: i32) -> Result<(), TelegramError> {
        self.session.set_home(dc)?;
        // A connection that is there already was made before this was our home, and would not
        // say when it ends.
        self.pool.present().1.disconnect_from_dc(dc);
        Ok(())
    }

    fn floods(&self) -> MutexGuard<'_, HashMap<u32, Instant>> {
        self.floods.lock().expect("nothing panics while it holds the waits")
    }
}
