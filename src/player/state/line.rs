//! What people do to the queue, and what it looks like.

use std::sync::Arc;

use super::State;
use crate::player::item::Item;
use crate::player::queue::Entry;
use crate::player::{EndReason, ItemId, Line, PlayError, QueuedItem, Repeat};
use crate::time::MediaTime;

impl State {
    /// Appends an item.
    pub(in crate::player) fn enqueue(&mut self, item: Item) -> ItemId {
        let id = self.queue.push_back(item);
        (self.busy, self.queue_changed) = (true, true);
        self.arrange();
        id
    }

    /// Plays an item in place of the current one; the rest of the queue follows it.
    pub(in crate::player) fn play_now(&mut self, item: Item) -> ItemId {
        let id = self.queue.push_front(item);
        (self.busy, self.queue_changed) = (true, true);
        self.finish(EndReason::Skipped, None);
        self.arrange();
        id
    }

    /// Puts an item `idx` places behind the next one, or at the end.
    pub(in crate::player) fn insert(&mut self, idx: usize, item: Item) -> ItemId {
        let id = self.queue.insert(idx, item);
        (self.busy, self.queue_changed) = (true, true);
        self.arrange();
        id
    }

    /// Moves a waiting item.
    pub(in crate::player) fn move_to(&mut self, id: ItemId, to: usize) -> Result<(), PlayError> {
        if !self.queue.move_to(id, to) {
            return Err(PlayError::NotWaiting { item: id });
        }
        self.queue_changed = true;
        self.arrange();
        Ok(())
    }

    /// Takes a waiting item out, or ends the current one for good.
    pub(in crate::player) fn remove(&mut self, id: ItemId) -> Result<(), PlayError> {
        if let Some(entry) = self.queue.remove(id) {
            self.tell_end(entry.id, Arc::clone(entry.item.source()), EndReason::Removed, None);
        } else if self.current.as_ref().is_some_and(|deck| deck.id == id) {
            self.finish(EndReason::Removed, None);
        } else {
            return Err(PlayError::NotWaiting { item: id });
        }
        self.queue_changed = true;
        self.arrange();
        Ok(())
    }

    /// Takes out all that wait; the current item plays on.
    pub(in crate::player) fn clear(&mut self) {
        for entry in self.queue.clear() {
            self.tell_end(entry.id, Arc::clone(entry.item.source()), EndReason::Removed, None);
        }
        self.queue_changed = true;
        self.arrange();
    }

    /// Brings those that wait into an order that only `seed` decides.
    pub(in crate::player) fn shuffle(&mut self, seed: u64) {
        self.queue.shuffle(seed);
        self.queue_changed = true;
        self.arrange();
    }

    /// Plays a waiting item in place of the current one.
    pub(in crate::player) fn skip_to(&mut self, id: ItemId) -> Result<(), PlayError> {
        let passed = self.queue.pass_to(id).ok_or(PlayError::NotWaiting { item: id })?;
        self.finish(EndReason::Skipped, None);
        for entry in passed {
            self.tell_end(entry.id, Arc::clone(entry.item.source()), EndReason::Skipped, None);
        }
        self.queue_changed = true;
        self.arrange();
        Ok(())
    }

    /// The items that wait, in their order.
    pub(in crate::player) fn upcoming(&self) -> Vec<QueuedItem> {
        let shown = |entry: &Entry| QueuedItem { id: entry.id, source: Arc::clone(entry.item.source()) };
        self.queue.upcoming().map(shown).collect()
    }

    /// The current item and those that wait.
    pub(in crate::player) fn line(&self) -> Line {
        let current = self.current.as_ref();
        let current = current.map(|deck| QueuedItem { id: deck.id, source: Arc::clone(&deck.source) });
        let position = if current.is_some() { self.status.position } else { MediaTime::ZERO };
        Line { items: current.into_iter().chain(self.upcoming()).collect(), position }
    }

    /// Plays the item before the current one; that one comes after it.
    pub(in crate::player) fn previous(&mut self) -> Result<(), PlayError> {
        if !self.queue.go_back() {
            return Err(PlayError::NothingBefore);
        }
        (self.busy, self.queue_changed) = (true, true);
        self.finish(EndReason::Skipped, None);
        self.arrange();
        Ok(())
    }

    /// What happens to items that end from now on.
    pub(in crate::player) fn set_repeat(&mut self, repeat: Repeat) {
        self.queue.set_repeat(repeat);
        self.status.repeat = repeat;
        self.arrange();
    }

    /// Ends the current item.
    pub(in crate::player) fn skip(&mut self) -> Result<(), PlayError> {
        if self.current.is_none() {
            return Err(PlayError::NothingPlaying);
        }
        self.finish(EndReason::Skipped, None);
        self.arrange();
        Ok(())
    }
}
