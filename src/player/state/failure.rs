//! What becomes of an item that cannot be played, or not further.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

use super::{Output, State, Ticket};
use crate::player::item::ItemError;
use crate::player::timeline::SLOT;
use crate::player::{AfterFailure, EndReason, OnFailure, PlayerEvent};
use crate::time::MediaTime;

/// The first new try comes after this, each further one in a row after twice as long …
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// … up to this.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Failures that are further apart than this on the programme's clock are none in a row.
const IN_A_ROW: MediaTime = MediaTime::from_secs(60);

/// How often the current item has been tried again.
#[derive(Debug, Default)]
pub(super) struct Tries {
    n: u32,
    /// When it failed last, on the programme's clock.
    failed_at: MediaTime,
    /// It is opened again then, …
    again_at: Option<MediaTime>,
    /// … and goes on there.
    position: MediaTime,
}

impl Tries {
    /// The current item has failed and is to be opened again, but not yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.again_at.is_some()
    }

    pub(super) fn end_waiting(&mut self) {
        self.again_at = None;
    }
}

impl State {
    /// The current item has come to its end, good or bad.
    pub(super) fn finish_by_itself(&mut self) {
        if self.has_old_failed() {
            // The one before has failed meanwhile: that is told first, and may end everything.
            self.end_old_by_itself();
        }
        let Some(error) = self.current.as_mut().and_then(|deck| deck.failed.take()) else {
            return self.finish(EndReason::Finished, None);
        };
        let policy = self.after_failure();
        self.tell_failure(&error, policy);
        match policy {
            AfterFailure::Skip => self.finish(EndReason::Failed, Some(error)),
            AfterFailure::Stop => {
                self.finish(EndReason::Failed, Some(error));
                self.stop();
            }
            AfterFailure::Retry { pause, .. } => self.wait_for_retry(pause),
        }
    }

    /// Decides, and counts.
    fn after_failure(&mut self) -> AfterFailure {
        let at = self.timeline.slot_at();
        match self.options.on_failure {
            OnFailure::Skip => AfterFailure::Skip,
            OnFailure::Stop => AfterFailure::Stop,
            OnFailure::Retry { times } => {
                if at - self.tries.failed_at > IN_A_ROW {
                    self.tries.n = 0;
                }
                if self.tries.n >= times {
                    return AfterFailure::Skip;
                }
                self.tries.n += 1;
                let doublings = (self.tries.n - 1).min(16);
                let pause = (FIRST_PAUSE * 2_u32.pow(doublings)).min(MAX_PAUSE);
                AfterFailure::Retry { nth: self.tries.n, of: times, pause }
            }
        }
    }

    fn tell_failure(&mut self, error: &ItemError, policy: AfterFailure) {
        let Some(deck) = &self.current else { return };
        warn!(item = deck.id.0, %error, ?policy, "an item cannot be played further");
        let (item, source) = (deck.id, Arc::clone(&deck.source));
        self.tell(PlayerEvent::ItemFailed { item, source, error: error.clone(), policy });
    }

    /// Silence until the item is opened again.
    fn wait_for_retry(&mut self, pause: Duration) {
        if self.is_mixing() {
            self.fade_out();
        }
        self.end_crossfade(EndReason::Finished);
        let at = self.timeline.slot_at();
        self.tries.failed_at = at;
        self.tries.again_at = Some(at + MediaTime::from_duration(pause).ceil_to(SLOT));
        let place = self.current.as_ref().zip(self.timeline.position());
        let place = place.map(|(deck, position)| deck.media_at(position));
        self.tries.position = place.unwrap_or(self.tries.position);
        self.timeline.cue();
    }

    /// Somebody has chosen another place in an item that waits to be opened again.
    pub(super) fn retry_from(&mut self, position: MediaTime) -> Ticket {
        let ticket = self.new_ticket();
        self.tries.position = position;
        self.status.position = position;
        self.answer_seek(Ok(position));
        ticket
    }

    /// Opens the current item again when its time has come. True when it did.
    pub(super) fn retry(&mut self) -> bool {
        if self.tries.again_at.is_none_or(|at| at > self.timeline.slot_at()) {
            return false;
        }
        self.tries.again_at = None;
        let position = self.tries.position;
        self.open_again(Some(position).filter(|position| *position > MediaTime::ZERO))
    }

    /// Opens the current item anew, to go on near `position` or to begin. True when there is one.
    pub(super) fn open_again(&mut self, position: Option<MediaTime>) -> bool {
        self.drop_successor();
        let (Some(before), Some(entry)) = (self.current.take(), self.queue.current().cloned()) else {
            return false;
        };
        self.out.push_back(Output::Retire { worker: before.worker });
        debug!(item = before.id.0, ?position, "again");
        let mut deck = self.load(entry);
        deck.started = before.started;
        self.status.n_dropped += before.n_dropped;
        if let Some(position) = position {
            deck.go_on_near(position);
        }
        self.current = Some(deck);
        (self.stalling, self.starved_for) = (false, MediaTime::ZERO);
        true
    }

    /// Another item is the current one.
    pub(super) fn forget_tries(&mut self) {
        self.tries = Tries::default();
    }
}
