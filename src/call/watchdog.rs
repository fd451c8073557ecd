//! The turns of every call's task → a log line that names the one that has none.
//!
//! A task that computes for ever, or waits in a call of the system, stops every call of its thread,
//! and none of them can say so. So a thread of its own looks at all of them once a second. It
//! begins with the first call and belongs to the process.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use super::ChatId;

/// How often the thread looks.
const EVERY: Duration = Duration::from_secs(1);
/// How long a task may be late, or take for one turn. A call that sends nothing for so long is
/// dropped by the server before long.
const PATIENCE: Duration = Duration::from_secs(3);
/// Calls that may begin between two looks; of more, some are not watched.
const CAPACITY: usize = 1024;

/// What a task tells of its turns, in milliseconds since the first call.
#[derive(Debug)]
pub(super) struct Pulse {
    chat: ChatId,
    epoch: Instant,
    /// When the present turn began; 0 between turns.
    turn: AtomicU64,
    /// When the next turn is due at the latest; `u64::MAX` without a timer.
    due: AtomicU64,
    /// It has been named since its last turn.
    named: AtomicBool,
}

/// What is wrong with a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ailment {
    /// It does not come out of its turn.
    Stuck,
    /// It is not given its turn.
    NotRun,
}

impl Pulse {
    /// The pulse of one call's task, watched from now on.
    pub(super) fn new(chat: ChatId, now: Instant) -> Arc<Self> {
        static WATCHDOG: OnceLock<(Instant, Option<SyncSender<Weak<Pulse>>>)> = OnceLock::new();
        let (epoch, watchdog) = WATCHDOG.get_or_init(|| (now, start()));
        let pulse = Arc::new(Self::since(*epoch, chat));
        if let Some(watchdog) = watchdog
            && watchdog.try_send(Arc::downgrade(&pulse)).is_err()
        {
            tracing::debug!("too many calls begin at once: one is not watched");
        }
        pulse
    }

    fn since(epoch: Instant, chat: ChatId) -> Self {
        let (turn, due) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        Self { chat, epoch, turn, due, named: AtomicBool::new(false) }
    }

    /// A turn begins.
    pub(super) fn begin(&self, now: Instant) {
        self.turn.store(self.millis(now).max(1), Ordering::Relaxed);
        self.named.store(false, Ordering::Relaxed);
    }

    /// The turn is over.
    pub(super) fn end(&self) {
        self.turn.store(0, Ordering::Relaxed);
    }

    /// The next turn comes by then.
    pub(super) fn expect(&self, due: Option<Instant>) {
        self.due.store(due.map_or(u64::MAX, |due| self.millis(due)), Ordering::Relaxed);
    }

    fn ailment(&self, now: Instant) -> Option<(Ailment, Duration)> {
        let (turn, due) = (self.turn.load(Ordering::Relaxed), self.due.load(Ordering::Relaxed));
        let (ailment, since) = if turn == 0 { (Ailment::NotRun, due) } else { (Ailment::Stuck, turn) };
        let late = Duration::from_millis(self.millis(now).saturating_sub(since));
        (late > PATIENCE).then_some((ailment, late))
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX)
    }
}

fn start() -> Option<SyncSender<Weak<Pulse>>> {
    let (to, calls) = sync_channel(CAPACITY);
    let thread = std::thread::Builder::new().name("watchdog".into()).spawn(move || watch(&calls));
    match thread {
        Ok(_belongs_to_the_process) => Some(to),
        Err(error) => {
            tracing::warn!(%error, "calls are not watched");
            None
        }
    }
}

fn watch(calls: &Receiver<Weak<Pulse>>) {
    let mut watched = Vec::new();
    let mut next_look = now() + EVERY;
    loop {
        let call = if watched.is_empty() {
            calls.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            calls.recv_timeout(next_look.saturating_duration_since(now()))
        };
        match call {
            Ok(call) => watched.push(call),
            Err(RecvTimeoutError::Timeout) => {
                next_look = now() + EVERY;
                for (chat, ailment, late) in look(&mut watched, now()) {
                    let late_s = late.as_secs();
                    match ailment {
                        Ailment::Stuck => {
                            tracing::error!(%chat, late_s, "the task of this call hangs in one turn, and all of its thread with it");
                        }
                        Ailment::NotRun => {
                            tracing::error!(%chat, late_s, "the task of this call has not ticked: something else holds its thread");
                        }
                    }
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Forgets the calls that are over, and names each of those that ail once.
fn look(watched: &mut Vec<Weak<Pulse>>, now: Instant) -> Vec<(ChatId, Ailment, Duration)> {
    let mut ailing = Vec::new();
    watched.retain(|call| {
        let Some(pulse) = call.upgrade() else { return false };
        if let Some((ailment, late)) = pulse.ailment(now)
            && !pulse.named.swap(true, Ordering::Relaxed)
        {
            ailing.push((pulse.chat.clone(), ailment, late));
        }
        true
    });
    ailing
}

#[expect(clippy::disallowed_methods, reason = "the watchdog has to know the time on its own")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_does_not_tick_is_named_once() {
        let (start, second) = (now(), Duration::from_secs(1));
        let [stuck, starved, well] =
            ["stuck", "starved", "well"].map(|chat| Arc::new(Pulse::since(start, ChatId(chat.into()))));
        let mut watched: Vec<_> = [&stuck, &starved, &well].map(Arc::downgrade).into();
        for pulse in [&stuck, &starved, &well] {
            pulse.begin(start + second);
            pulse.expect(Some(start + second * 2));
        }
        starved.end();
        well.end();
        well.expect(None);
        assert_eq!(look(&mut watched, start + second * 4), []);
        let named = [("stuck", Ailment::Stuck, second * 5), ("starved", Ailment::NotRun, second * 4)];
        let named = named.map(|(chat, ailment, late)| (ChatId(chat.into()), ailment, late));
        assert_eq!(look(&mut watched, start + second * 6), named);
        assert_eq!(look(&mut watched, start + second * 7), [], "it has been said");

        // It ticks again, and stops again.
        starved.begin(start + second * 8);
        starved.end();
        starved.expect(Some(start + second * 9));
        drop(stuck);
        assert_eq!(look(&mut watched, start + second * 13).len(), 1);
        assert_eq!(watched.len(), 2, "a call that is over is forgotten");
    }
}
