//! Which items are loaded, and what their readers are to do: the current one and the next, and
//! the one before while it goes over into the current one.

use std::sync::Arc;

use tracing::debug;

use super::{Output, Pending, State};
use crate::player::deck::Deck;
use crate::player::queue::Entry;
use crate::player::timeline::Placement;
use crate::player::worker::WorkerId;
use crate::player::{AfterFailure, EndReason, OnFailure, PlayerEvent};
use crate::time::MediaTime;

impl State {
    /// Brings decks and workers in line with the queue. Called after everything that happens.
    pub(super) fn arrange(&mut self) {
        while self.arrange_current() || self.arrange_next() {}
        if self.successor.as_ref().is_some_and(Deck::is_exhausted) {
            // It cannot be had, or the item is nearly over.
            self.drop_successor();
        }
        let old = self.crossfade.as_mut().and_then(|fade| fade.old_deck());
        for deck in [&mut self.current, &mut self.next, &mut self.successor].into_iter().flatten().chain(old)
        {
            while let Some(want) = deck.poll_want() {
                self.out.push_back(Output::Order { worker: deck.worker, want });
            }
        }
    }

    /// True when it has to be asked again.
    fn arrange_current(&mut self) -> bool {
        if self.tries.is_waiting() {
            return self.retry();
        }
        if let Some(deck) = &self.current {
            let is_cued = self.timeline.placement() == Placement::Cued && !deck.is_seeking();
            let is_over = is_cued && deck.is_exhausted() && (deck.failed.is_some() || !self.is_held());
            if is_over {
                self.finish_by_itself();
            }
            return is_over;
        }
        let Some(entry) = self.queue.advance().cloned() else {
            if std::mem::take(&mut self.busy) && !self.closing {
                self.pending.push_back((self.timeline.slot_at(), Pending::QueueEnded));
            }
            return false;
        };
        let deck = match self.next.take_if(|deck| deck.id == entry.id) {
            Some(deck) => deck,
            None => self.load(entry),
        };
        self.current = Some(deck);
        self.timeline.cue();
        self.status.position = MediaTime::ZERO;
        true
    }

    /// True when it has to be asked again.
    fn arrange_next(&mut self) -> bool {
        let playing = self.current.as_ref().filter(|deck| deck.opened.is_some());
        let playing_id = playing.map(|deck| deck.id);
        let wanted = playing.and_then(|_| self.queue.peek_next()).cloned();
        if self.next.as_ref().map(|deck| deck.id) != wanted.as_ref().map(|entry| entry.id) {
            self.drop_next();
            self.next = wanted.map(|entry| self.load(entry));
        }
        // One that cannot be played is reported at once, so that the one after it is ready in time.
        // A looping item that is its own successor is judged when its turn comes.
        // With another policy than to skip, each is judged when its turn comes.
        if self.options.on_failure != OnFailure::Skip {
            return false;
        }
        let Some(mut deck) = self
            .next
            .take_if(|deck| deck.is_exhausted() && deck.failed.is_some() && Some(deck.id) != playing_id)
        else {
            return false;
        };
        self.out.push_back(Output::Retire { worker: deck.worker });
        self.queue.remove(deck.id);
        if let Some(error) = deck.failed.clone() {
            let (item, source) = (deck.id, Arc::clone(&deck.source));
            self.tell(PlayerEvent::ItemFailed { item, source, error, policy: AfterFailure::Skip });
        }
        self.tell_end(deck.id, deck.source, EndReason::Failed, deck.failed.take());
        true
    }

    pub(super) fn load(&mut self, entry: Entry) -> Deck {
        self.last_worker += 1;
        let worker = WorkerId(self.last_worker);
        let Entry { id, item } = entry;
        debug!(item = id.0, source = %item.source(), "open");
        let mut deck = Deck::new(id, worker, Arc::clone(item.source()));
        deck.bound(item.bounds());
        let item = item.taken_in(self.codecs);
        deck.codecs = item.codecs();
        let (gain, speed_percent) = (self.gain(), self.options.speed_percent);
        self.out.push_back(Output::Open { worker, item, gain, speed_percent });
        deck
    }

    pub(super) fn drop_next(&mut self) {
        if let Some(deck) = self.next.take() {
            self.out.push_back(Output::Retire { worker: deck.worker });
        }
    }

    pub(super) fn gain(&self) -> f32 {
        f32::from(self.volume) / 100.0
    }
}
