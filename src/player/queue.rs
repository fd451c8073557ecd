//! What plays after what. Pure list logic; knows nothing of time or of frames.

use std::collections::VecDeque;

use super::ItemId;
use super::item::Item;

/// One entry: an item under the name that events call it by.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its name.
    pub(super) id: ItemId,
    /// What to open.
    pub(super) item: Item,
}

/// The entry that plays and those that wait.
#[derive(Debug)]
pub(super) struct Queue {
    current: Option<Entry>,
    upcoming: VecDeque<Entry>,
    loop_all: bool,
    last_id: u64,
}

impl Queue {
    pub(super) fn new(loop_all: bool) -> Self {
        Self { current: None, upcoming: VecDeque::new(), loop_all, last_id: 0 }
    }

    /// Puts an item at the end.
    pub(super) fn push_back(&mut self, item: Item) -> ItemId {
        let entry = self.name(item);
        let id = entry.id;
        self.upcoming.push_back(entry);
        id
    }

    /// Puts an item before all that wait.
    pub(super) fn push_front(&mut self, item: Item) -> ItemId {
        let entry = self.name(item);
        let id = entry.id;
        self.upcoming.push_front(entry);
        id
    }

    fn name(&mut self, item: Item) -> Entry {
        self.last_id += 1;
        Entry { id: ItemId(self.last_id), item }
    }

    /// What [`Queue::advance`] would make current once the current entry has ended well.
    pub(super) fn peek_next(&self) -> Option<&Entry> {
        self.upcoming.front().or_else(|| self.current.as_ref().filter(|_| self.loop_all))
    }

    /// Makes the next entry current. The one before must have been retired.
    pub(super) fn advance(&mut self) -> Option<&Entry> {
        debug_assert!(self.current.is_none(), "an entry is retired before the next one begins");
        self.current = self.upcoming.pop_front();
        self.current.as_ref()
    }

    /// The current entry has ended. With `again` it waits for its next round, if the queue loops.
    pub(super) fn retire(&mut self, again: bool) {
        if let Some(entry) = self.current.take()
            && self.loop_all
            && again
        {
            self.upcoming.push_back(entry);
        }
    }

    /// Takes a waiting entry out.
    pub(super) fn remove(&mut self, id: ItemId) -> Option<Entry> {
        let idx = self.upcoming.iter().position(|entry| entry.id == id)?;
        self.upcoming.remove(idx)
    }

    /// Puts an item among those that wait, `idx` places behind the next one, or at the end.
    pub(super) fn insert(&mut self, idx: usize, item: Item) -> ItemId {
        let entry = self.name(item);
        let id = entry.id;
        self.upcoming.insert(idx.min(self.upcoming.len()), entry);
        id
    }

    /// Moves a waiting entry to place `to`, or to the end. False when it does not wait.
    pub(super) fn move_to(&mut self, id: ItemId, to: usize) -> bool {
        let Some(entry) = self.remove(id) else { return false };
        self.upcoming.insert(to.min(self.upcoming.len()), entry);
        true
    }

    /// Brings the waiting entries into an order that only `seed` decides.
    pub(super) fn shuffle(&mut self, seed: u64) {
        fastrand::Rng::with_seed(seed).shuffle(self.upcoming.make_contiguous());
    }

    /// Makes a waiting entry the next one. Those before it are taken out, in their order; in a
    /// loop they wait for the next round instead. `None` when it does not wait.
    pub(super) fn pass_to(&mut self, id: ItemId) -> Option<VecDeque<Entry>> {
        let idx = self.upcoming.iter().position(|entry| entry.id == id)?;
        if self.loop_all {
            self.upcoming.rotate_left(idx);
            return Some(VecDeque::new());
        }
        let rest = self.upcoming.split_off(idx);
        Some(std::mem::replace(&mut self.upcoming, rest))
    }

    /// The entries that wait, in their order.
    pub(super) fn upcoming(&self) -> impl Iterator<Item = &Entry> {
        self.upcoming.iter()
    }

    /// Takes all waiting entries out, in their order.
    pub(super) fn clear(&mut self) -> VecDeque<Entry> {
        std::mem::take(&mut self.upcoming)
    }

    /// How many wait.
    pub(super) fn n_upcoming(&self) -> usize {
        self.upcoming.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::player::item::ItemError;

    fn item(source: &str) -> Item {
        Item::from_reader(source, || Err(ItemError::NoFrames))
    }

    fn play_all(queue: &mut Queue, rounds: usize) -> Vec<u64> {
        let mut order = Vec::new();
        for _ in 0..rounds {
            let Some(entry) = queue.advance() else { break };
            order.push(entry.id.0);
            queue.retire(true);
        }
        order
    }

    #[test]
    fn plays_in_order_and_ends() {
        let mut queue = Queue::new(false);
        queue.push_back(item("a"));
        queue.push_back(item("b"));
        queue.push_front(item("c"));
        assert_eq!(play_all(&mut queue, 9), [3, 1, 2]);
        assert!(queue.peek_next().is_none());
    }

    #[test]
    fn a_loop_goes_round_and_a_failed_entry_leaves_it() {
        let mut queue = Queue::new(true);
        queue.push_back(item("a"));
        queue.push_back(item("b"));
        assert_eq!(play_all(&mut queue, 5), [1, 2, 1, 2, 1]);
        assert_eq!(queue.advance().map(|entry| entry.id), Some(ItemId(2)));
        queue.retire(false);
        assert_eq!(play_all(&mut queue, 3), [1, 1, 1]);
    }

    fn waiting(queue: &Queue) -> Vec<u64> {
        queue.upcoming().map(|entry| entry.id.0).collect()
    }

    fn queue_of(n_items: usize, loop_all: bool) -> Queue {
        let mut queue = Queue::new(loop_all);
        for _ in 0..n_items {
            queue.push_back(item("a"));
        }
        queue
    }

    #[test]
    fn entries_are_put_and_moved_where_they_are_wanted() {
        let mut queue = queue_of(3, false);
        queue.insert(1, item("b"));
        queue.insert(99, item("c"));
        assert_eq!(waiting(&queue), [1, 4, 2, 3, 5]);
        assert!(queue.move_to(ItemId(5), 0));
        assert!(queue.move_to(ItemId(1), 99));
        assert_eq!(waiting(&queue), [5, 4, 2, 3, 1]);
        assert!(!queue.move_to(ItemId(6), 0));
    }

    #[test]
    fn the_same_seed_shuffles_the_same_way_and_loses_nothing() {
        let shuffled = |seed| {
            let mut queue = queue_of(20, false);
            queue.shuffle(seed);
            waiting(&queue)
        };
        assert_eq!(shuffled(7), shuffled(7));
        assert_ne!(shuffled(7), shuffled(8));
        let mut sorted = shuffled(7);
        sorted.sort_unstable();
        assert_eq!(sorted, (1..=20).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_passed_over_is_out_and_in_a_loop_comes_again() {
        let mut queue = queue_of(4, false);
        let passed = queue.pass_to(ItemId(3)).expect("it waits");
        assert_eq!(passed.iter().map(|entry| entry.id.0).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(waiting(&queue), [3, 4]);
        let mut ring = queue_of(4, true);
        assert!(ring.pass_to(ItemId(3)).expect("it waits").is_empty());
        assert_eq!(waiting(&ring), [3, 4, 1, 2]);
        assert!(ring.pass_to(ItemId(9)).is_none());
    }

    #[test]
    fn what_is_peeked_is_what_comes() {
        for loop_all in [false, true] {
            let mut queue = Queue::new(loop_all);
            for source in ["a", "b"] {
                queue.push_back(item(source));
            }
            queue.advance();
            for _ in 0..4 {
                let peeked = queue.peek_next().map(|entry| entry.id);
                queue.retire(true);
                assert_eq!(queue.advance().map(|entry| entry.id), peeked);
            }
        }
    }
}
