//! What plays after what. Pure list logic; knows nothing of time or of frames.

use std::collections::VecDeque;

use super::item::Item;
use super::{ItemId, Repeat};

/// How many entries that are over are kept for going back.
const MAX_HISTORY: usize = 100;

/// One entry: an item under the name that events call it by.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its name.
    pub(super) id: ItemId,
    /// What to open.
    pub(super) item: Item,
}

/// The entry that plays, those that wait, and those that are over.
#[derive(Debug)]
pub(super) struct Queue {
    current: Option<Entry>,
    upcoming: VecDeque<Entry>,
    /// The latest is the last one.
    history: VecDeque<Entry>,
    repeat: Repeat,
    last_id: u64,
}

impl Queue {
    pub(super) fn new(repeat: Repeat) -> Self {
        Self { current: None, upcoming: VecDeque::new(), history: VecDeque::new(), repeat, last_id: 0 }
    }

    /// For entries that end from now on.
    pub(super) fn set_repeat(&mut self, repeat: Repeat) {
        self.repeat = repeat;
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
        match (self.repeat, &self.current) {
            (Repeat::One, Some(current)) => Some(current),
            (Repeat::All, current) => self.upcoming.front().or(current.as_ref()),
            _ => self.upcoming.front(),
        }
    }

    /// The entry that plays.
    pub(super) fn current(&self) -> Option<&Entry> {
        self.current.as_ref()
    }

    /// Makes the next entry current. The one before must have been retired.
    pub(super) fn advance(&mut self) -> Option<&Entry> {
        debug_assert!(self.current.is_none(), "an entry is retired before the next one begins");
        self.current = self.upcoming.pop_front();
        self.current.as_ref()
    }

    /// The current entry has ended. With `again` it waits for its next round, if the queue
    /// repeats; one that was `skipped` is not repeated alone.
    pub(super) fn retire(&mut self, again: bool, skipped: bool) {
        let Some(entry) = self.current.take() else { return };
        if self.history.len() == MAX_HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(entry.clone());
        match self.repeat {
            Repeat::All if again => self.upcoming.push_back(entry),
            Repeat::One if again && !skipped => self.upcoming.push_front(entry),
            _ => {}
        }
    }

    /// The entry before the current one waits next, and the current one behind it. False when
    /// nothing came before.
    pub(super) fn go_back(&mut self) -> bool {
        let current = self.current.as_ref().map(|entry| entry.id);
        // What is repeated alone comes before itself.
        while self.history.back().is_some_and(|entry| Some(entry.id) == current) {
            self.history.pop_back();
        }
        let Some(before) = self.history.pop_back() else { return false };
        // In a loop it waits for its next round already.
        self.remove(before.id);
        if let Some(entry) = self.current.take() {
            self.upcoming.push_front(entry);
        }
        self.upcoming.push_front(before);
        true
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
        if self.repeat == Repeat::All {
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
            queue.retire(true, false);
        }
        order
    }

    #[test]
    fn plays_in_order_and_ends() {
        let mut queue = Queue::new(Repeat::Off);
        queue.push_back(item("a"));
        queue.push_back(item("b"));
        queue.push_front(item("c"));
        assert_eq!(play_all(&mut queue, 9), [3, 1, 2]);
        assert!(queue.peek_next().is_none());
    }

    #[test]
    fn a_loop_goes_round_and_a_failed_entry_leaves_it() {
        let mut queue = Queue::new(Repeat::All);
        queue.push_back(item("a"));
        queue.push_back(item("b"));
        assert_eq!(play_all(&mut queue, 5), [1, 2, 1, 2, 1]);
        assert_eq!(queue.advance().map(|entry| entry.id), Some(ItemId(2)));
        queue.retire(false, false);
        assert_eq!(play_all(&mut queue, 3), [1, 1, 1]);
    }

    fn waiting(queue: &Queue) -> Vec<u64> {
        queue.upcoming().map(|entry| entry.id.0).collect()
    }

    fn queue_of(n_items: usize, repeat: Repeat) -> Queue {
        let mut queue = Queue::new(repeat);
        for _ in 0..n_items {
            queue.push_back(item("a"));
        }
        queue
    }

    #[test]
    fn entries_are_put_and_moved_where_they_are_wanted() {
        let mut queue = queue_of(3, Repeat::Off);
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
            let mut queue = queue_of(20, Repeat::Off);
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
        let mut queue = queue_of(4, Repeat::Off);
        let passed = queue.pass_to(ItemId(3)).expect("it waits");
        assert_eq!(passed.iter().map(|entry| entry.id.0).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(waiting(&queue), [3, 4]);
        let mut ring = queue_of(4, Repeat::All);
        assert!(ring.pass_to(ItemId(3)).expect("it waits").is_empty());
        assert_eq!(waiting(&ring), [3, 4, 1, 2]);
        assert!(ring.pass_to(ItemId(9)).is_none());
    }

    #[test]
    fn what_is_peeked_is_what_comes() {
        for repeat in [Repeat::Off, Repeat::One, Repeat::All] {
            let mut queue = Queue::new(repeat);
            for source in ["a", "b"] {
                queue.push_back(item(source));
            }
            queue.advance();
            for _ in 0..4 {
                let peeked = queue.peek_next().map(|entry| entry.id);
                queue.retire(true, false);
                assert_eq!(queue.advance().map(|entry| entry.id), peeked);
            }
        }
    }

    #[test]
    fn one_entry_repeats_until_it_is_skipped_or_fails() {
        let mut queue = queue_of(2, Repeat::One);
        assert_eq!(play_all(&mut queue, 3), [1, 1, 1]);
        queue.advance();
        queue.retire(true, true);
        assert_eq!(play_all(&mut queue, 2), [2, 2]);
        queue.advance();
        queue.retire(false, false);
        assert!(queue.advance().is_none());
    }

    #[test]
    fn going_back_brings_the_one_before_and_keeps_the_current_one() {
        for repeat in [Repeat::Off, Repeat::All] {
            let mut queue = queue_of(4, repeat);
            assert_eq!(play_all(&mut queue, 2), [1, 2]);
            queue.advance();
            assert!(queue.go_back());
            let rest = if repeat == Repeat::All { vec![2, 3, 4, 1] } else { vec![2, 3, 4] };
            assert_eq!(waiting(&queue), rest);
            queue.advance();
            assert!(queue.go_back());
            assert_eq!(waiting(&queue)[..3], [1, 2, 3]);
            queue.advance();
            assert!(!queue.go_back(), "nothing came before");
        }
    }

    #[test]
    fn what_plays_again_and_again_is_not_what_came_before_it() {
        let mut queue = queue_of(2, Repeat::Off);
        assert_eq!(play_all(&mut queue, 1), [1]);
        queue.set_repeat(Repeat::One);
        assert_eq!(play_all(&mut queue, 3), [2, 2, 2]);
        queue.advance();
        assert!(queue.go_back());
        assert_eq!(waiting(&queue), [1, 2]);
    }
}
