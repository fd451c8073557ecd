//! Pictures → how many, how regular, which numbers are missing, when it flashed.

use std::collections::VecDeque;

use super::Picture;
use crate::emulator::marks;
use crate::time::MediaTime;

/// A freeze is judged by the mean of so many intervals before it
/// ([`freezeCount`](https://w3c.github.io/webrtc-stats/#dom-rtcinboundrtpstreamstats-freezecount)).
const FREEZE_MEMORY: usize = 30;

/// An interval is a freeze when it is longer than three times the mean …
const FREEZE_FACTOR: i64 = 3;

/// … and longer than the mean by this much.
const FREEZE_EXCESS: MediaTime = MediaTime::from_millis(150);

/// The clips end at a whole second, so a number that starts again says how many were to come.
const NUMBERS_PER_SECOND: u32 = 30;

/// When a flash began is known only if the picture before it was seen: at 30 pictures a second
/// that one is 33 ms older, and 67 ms if one is missing between them.
const CERTAIN_GAP: MediaTime = MediaTime::from_millis(50);

/// Flashes are remembered for so long; an hour of calls needs no more to judge lip-sync.
pub(super) const MAX_REMEMBERED: usize = 3600;

/// What has been seen.
#[derive(Debug, Default)]
pub(super) struct Sight {
    pub(super) n_pictures: u64,
    /// Width and height of the latest picture.
    pub(super) size: (usize, usize),
    pub(super) n_freezes: u64,
    /// Sum of the intervals that were freezes.
    pub(super) frozen: MediaTime,
    /// Pictures with a number that could be read.
    pub(super) n_numbered: u64,
    pub(super) n_missing: u64,
    /// When the flashes began, by the sender's clock.
    pub(super) flashes: VecDeque<MediaTime>,
    arrivals: Option<(MediaTime, MediaTime)>,
    intervals: VecDeque<MediaTime>,
    last_number: Option<u32>,
    /// The picture before: when it was taken, and whether it was a flash.
    before: Option<(MediaTime, bool)>,
}

impl Sight {
    pub(super) fn handle_picture(&mut self, picture: &Picture<'_>) {
        self.n_pictures += 1;
        self.size = (picture.luma.width(), picture.luma.height());
        self.handle_arrival(picture.arrival);
        if let Some(number) = marks::read_frame_number(&picture.luma) {
            self.handle_number(number);
        }
        self.handle_brightness(marks::is_flash(&picture.luma), picture.taken);
    }

    /// From the first picture to the last, by arrival.
    pub(super) fn span(&self) -> MediaTime {
        self.arrivals.map_or(MediaTime::ZERO, |(first, last)| last - first)
    }

    /// When the latest picture came.
    pub(super) fn last_arrival(&self) -> Option<MediaTime> {
        self.arrivals.map(|(_, last)| last)
    }

    /// Pictures per second; `None` of fewer than two.
    pub(super) fn fps(&self) -> Option<f64> {
        let seconds = self.span().as_secs_f64();
        (seconds > 0.0).then(|| (self.n_pictures - 1) as f64 / seconds)
    }

    fn handle_arrival(&mut self, arrival: MediaTime) {
        let Some((_, last)) = &mut self.arrivals else {
            self.arrivals = Some((arrival, arrival));
            return;
        };
        let interval = arrival - *last;
        *last = arrival;
        if !self.intervals.is_empty() {
            let n_intervals = i64::try_from(self.intervals.len()).expect("never more than FREEZE_MEMORY");
            let sum: MediaTime = self.intervals.iter().copied().sum();
            // Compared by multiples, so that nothing is rounded.
            let excess = (interval - FREEZE_EXCESS) * n_intervals;
            if interval * n_intervals > sum * FREEZE_FACTOR && excess > sum {
                self.n_freezes += 1;
                self.frozen += interval;
            }
        }
        if self.intervals.len() == FREEZE_MEMORY {
            self.intervals.pop_front();
        }
        self.intervals.push_back(interval);
    }

    /// Numbers rise by one and start again from zero when the clip does. A number that is not
    /// read, because its picture is damaged, is missing as well.
    fn handle_number(&mut self, number: u32) {
        self.n_numbered += 1;
        if let Some(last) = self.last_number.replace(number) {
            let n_missing = match number.checked_sub(last) {
                // The picture before is shown again.
                Some(0) => 0,
                Some(step) => step - 1,
                None => (last + 1).next_multiple_of(NUMBERS_PER_SECOND) - (last + 1) + number,
            };
            self.n_missing += u64::from(n_missing);
        }
    }

    fn handle_brightness(&mut self, bright: bool, taken: Option<MediaTime>) {
        if let (Some(taken), Some((before, was_bright))) = (taken, self.before)
            && bright
            && !was_bright
            && taken - before <= CERTAIN_GAP
        {
            if self.flashes.len() == MAX_REMEMBERED {
                self.flashes.pop_front();
            }
            self.flashes.push_back(taken);
        }
        self.before = taken.map(|taken| (taken, bright));
    }
}
