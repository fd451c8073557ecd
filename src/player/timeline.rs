//! The only map between an item's media time, the programme's time and the wall.
//!
//! Programme time starts with the programme and never stops. It is cut into 20 ms slots,
//! one per audio packet, and every decision (play, hold, next item) is made slot by slot:
//!
//! ```text
//! wall       epoch ─────────────────────────────────────────────►
//! programme  0     20    40    60    80   100   120 …   (ms, for ever)
//! item       ·     0     20    40   ─pause─     60 …    programme = base + pts
//! ```
//!
//! A pause, a seek, a stall and the next item all do the same thing: they choose a new `base`
//! at a slot border. One base serves both tracks, so they cannot drift apart.

use std::time::Instant;

use crate::time::MediaTime;

/// The length of one slot: one audio packet.
pub(super) const SLOT: MediaTime = MediaTime::from_millis(20);

/// Where the programme is, and where the item lies on it.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    epoch: Instant,
    next_slot: i64,
    placement: Placement,
}

/// How the item in the deck relates to programme time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// No frame of it has been placed since it was loaded or last sought.
    Cued,
    /// It stands still; the next slot it gets continues at `position`.
    Held {
        /// On the item's clock.
        position: MediaTime,
    },
    /// Programme time = `base` + media time.
    Running {
        /// Programme time of the item's zero; before the programme's start when started mid-item.
        base: MediaTime,
    },
}

impl Timeline {
    /// A programme that starts at `epoch`.
    pub(super) fn new(epoch: Instant) -> Self {
        Self { epoch, next_slot: 0, placement: Placement::Cued }
    }

    /// Programme time of the slot that will be filled next.
    pub(super) fn slot_at(&self) -> MediaTime {
        SLOT * self.next_slot
    }

    /// The wall-clock instant of a programme time.
    pub(super) fn due(&self, at: MediaTime) -> Instant {
        self.epoch + at.to_duration()
    }

    /// The programme time of a wall-clock instant; zero before the start.
    pub(super) fn programme_time(&self, now: Instant) -> MediaTime {
        MediaTime::from(now.saturating_duration_since(self.epoch))
    }

    /// The slot is filled; on to the following one.
    pub(super) fn step(&mut self) {
        self.next_slot += 1;
    }

    /// Leaves out every slot that begins before `now`; returns how many.
    pub(super) fn jump_to(&mut self, now: Instant) -> i64 {
        self.hold();
        let target = self.programme_time(now).ceil_to(SLOT).to_ticks(50).max(self.next_slot);
        let skipped = target - self.next_slot;
        self.next_slot = target;
        skipped
    }

    /// How the item lies now.
    pub(super) fn placement(&self) -> Placement {
        self.placement
    }

    /// Forgets the item: another one, or another place in it, comes.
    pub(super) fn cue(&mut self) {
        self.placement = Placement::Cued;
    }

    /// Stops the item where the next slot would have continued it.
    pub(super) fn hold(&mut self) {
        if let Some(position) = self.position() {
            self.placement = Placement::Held { position };
        }
    }

    /// Runs the item so that its `position` falls on the next slot.
    pub(super) fn run_from(&mut self, position: MediaTime) {
        self.placement = Placement::Running { base: self.slot_at() - position };
    }

    /// Where in the item the next slot is; `None` while nothing of it is placed.
    pub(super) fn position(&self) -> Option<MediaTime> {
        match self.placement {
            Placement::Cued => None,
            Placement::Held { position } => Some(position),
            Placement::Running { base } => Some(self.slot_at() - base),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn epoch() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
        Instant::now()
    }

    #[test]
    fn a_pause_moves_the_base_and_nothing_else() {
        let mut timeline = Timeline::new(epoch());
        timeline.run_from(MediaTime::from_millis(3));
        timeline.step();
        assert_eq!(timeline.position(), Some(MediaTime::from_millis(23)));
        timeline.hold();
        for _ in 0..7 {
            timeline.step();
        }
        assert_eq!(timeline.position(), Some(MediaTime::from_millis(23)));
        timeline.run_from(MediaTime::from_millis(23));
        assert_eq!(timeline.slot_at(), MediaTime::from_millis(160));
        assert_eq!(timeline.placement(), Placement::Running { base: MediaTime::from_millis(137) });
    }

    #[test]
    fn due_times_are_exact_after_ten_hours() {
        let start = epoch();
        let mut timeline = Timeline::new(start);
        for _ in 0..1_800_000 {
            timeline.step();
        }
        assert_eq!(timeline.due(timeline.slot_at()), start + Duration::from_secs(36_000));
    }

    #[test]
    fn a_jump_lands_on_the_grid_and_keeps_the_position() {
        let start = epoch();
        let mut timeline = Timeline::new(start);
        timeline.run_from(MediaTime::ZERO);
        timeline.step();
        assert_eq!(timeline.jump_to(start + Duration::from_millis(5001)), 250);
        assert_eq!(timeline.slot_at(), MediaTime::from_millis(5020));
        assert_eq!(timeline.position(), Some(MediaTime::from_millis(20)));
        assert_eq!(timeline.jump_to(start), 0, "never back");
    }
}
