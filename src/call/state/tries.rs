//! One try after the other: what follows when a join or a transport came to nothing, and when it
//! is over.

use std::time::{Duration, Instant};

use super::{CONNECT_TIMEOUT, CallStatus, JOIN_REPLY_TIMEOUT, MAX_ATTEMPTS, Notice, Output, Phase, State};
use crate::call::error::{ConnectStage, JoinError, LeftReason};
use crate::call::signaling::Method;

/// Pause before the n-th try of a reconnection: n times this …
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// … but not more than this. Every try costs a join request, which Telegram limits.
const MAX_RECONNECT_PAUSE: Duration = Duration::from_secs(15);
/// A transport that was up for this long was good: when it is lost, the next try comes at once. One
/// that does not last is built anew after longer and longer pauses, or a network that comes and
/// goes, or a server that throws us out, would cost a join every moment.
const STABLE_AFTER: Duration = Duration::from_secs(30);

impl State {
    /// A new peer and a new join, now.
    pub(super) fn try_once(&mut self, now: Instant) {
        self.attempt += 1;
        self.tries += 1;
        self.phase = Phase::Joining { request: None, give_up: now + JOIN_REPLY_TIMEOUT };
        self.outputs.push_back(Output::NewPeer { attempt: self.attempt, setup: self.setup });
    }

    /// A try came to nothing before there was a transport to wait for. A call that was up has time
    /// to come back, whatever passing trouble Telegram or this machine has just then.
    pub(super) fn handle_trouble(&mut self, error: JoinError, now: Instant) {
        if self.was_up && error.retryable() {
            self.try_again(&error.to_string(), Some(error), now);
        } else {
            self.fail(error);
        }
    }

    /// The present try has failed; the next one takes the other DTLS role. When there is none, the
    /// call ends with `error`, or with what the transport lacked.
    pub(super) fn try_again(&mut self, why: &str, error: Option<JoinError>, now: Instant) {
        if let Phase::Connecting { since, .. } = self.phase {
            self.spent += now - since;
        }
        let (hopeless, after) = match self.lost_at {
            Some(lost_at) => (now >= lost_at + self.options.reconnect_for, now - lost_at),
            None => (self.tries >= MAX_ATTEMPTS || self.spent >= CONNECT_TIMEOUT, self.spent),
        };
        if hopeless {
            let stage = if self.reachable { ConnectStage::Dtls } else { ConnectStage::Ice };
            let timeout = JoinError::ConnectTimeout { stage, after, attempts: self.tries };
            return self.fail(error.unwrap_or(timeout));
        }
        self.setup = self.setup.opposite();
        self.outputs
            .push_back(Output::Notice(Notice::Retrying { attempt: self.attempt + 1, why: why.to_owned() }));
        if self.was_up {
            self.outputs.push_back(Output::DropPeer);
            self.pause(self.tries.max(self.flaps), now);
        } else {
            self.try_once(now);
        }
    }

    /// The transport was up and is lost.
    pub(super) fn reconnect(&mut self, why: &str, now: Instant) {
        self.lost_at = Some(now);
        self.reachable = false;
        self.next_check = None;
        self.outputs.push_back(Output::Status(CallStatus::Reconnecting));
        self.outputs
            .push_back(Output::Notice(Notice::Retrying { attempt: self.attempt + 1, why: why.to_owned() }));
        let lasted = self.up_since.take().is_some_and(|since| now >= since + STABLE_AFTER);
        self.flaps = if lasted { 0 } else { self.flaps.saturating_add(1) };
        if self.flaps <= 1 {
            self.try_once(now);
        } else {
            self.outputs.push_back(Output::DropPeer);
            self.pause(self.flaps - 1, now);
        }
    }

    /// Waits before the next try, the longer the more have failed.
    fn pause(&mut self, n_failures: u32, now: Instant) {
        let pause = RECONNECT_PAUSE.saturating_mul(n_failures).min(MAX_RECONNECT_PAUSE);
        self.phase = Phase::Pausing { until: now + pause };
    }

    pub(super) fn fail(&mut self, error: JoinError) {
        self.end(LeftReason::Failed(error), true);
    }

    pub(super) fn end(&mut self, reason: LeftReason, say_goodbye: bool) {
        if say_goodbye {
            self.say_goodbye();
        }
        self.phase = Phase::Over;
        self.outputs.push_back(Output::DropPeer);
        self.outputs.push_back(Output::Status(CallStatus::Left(reason)));
    }

    /// Leaves with every source that the server may have us with: nobody listens for late replies
    /// any more. A join that is still out may succeed; the leave that follows it undoes it.
    fn say_goodbye(&mut self) {
        let pending = matches!(self.phase, Phase::Joining { request: Some(_), .. }).then_some(self.source);
        let abandoned = std::mem::take(&mut self.abandoned).into_iter().map(|(_, source)| source);
        let mut sources: Vec<i32> = abandoned.chain(self.accepted.take()).chain(pending).collect();
        sources.dedup();
        for source in sources {
            self.request(Method::Leave { source });
        }
    }
}
