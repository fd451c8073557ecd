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

/// Pictures per second of the clips, for as long as their numbers have not told another rate.
const CLIP_FPS: f64 = 30.0;

/// Numbers have 16 bits; a stream that goes on for longer starts again from zero. A clip that
/// starts again does so from a number that is farther away.
const N_NUMBERS: u32 = 1 << 16;
const NEAR: u32 = 300;

/// When a flash began is known only if the picture before it was seen: that one is as much older as
/// two pictures are apart, and twice as much if one is missing between them.
const CERTAIN_PERIODS: f64 = 1.5;

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
    /// The latest number, and when that picture was taken.
    last_number: Option<(u32, Option<MediaTime>)>,
    /// How many numbers the stream has counted, and in what time by the sender's clock.
    counted: (u32, MediaTime),
    /// The picture before: when it was taken, and whether it was a flash.
    before: Option<(MediaTime, bool)>,
}

impl Sight {
    pub(super) fn handle_picture(&mut self, picture: &Picture<'_>) {
        self.n_pictures += 1;
        self.size = (picture.luma.width(), picture.luma.height());
        self.handle_arrival(picture.arrival);
        if let Some(number) = marks::read_frame_number(&picture.luma) {
            self.handle_number(number, picture.taken);
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

    /// How many pictures the stream has per second, by its numbers and the sender's clock.
    pub(super) fn numbered_fps(&self) -> f64 {
        let (n, span) = self.counted;
        let seconds = span.as_secs_f64();
        if seconds > 0.0 { f64::from(n) / seconds } else { CLIP_FPS }
    }

    /// Numbers rise by one and start again from zero when the clip does. A number that is not
    /// read, because its picture is damaged, is missing as well.
    fn handle_number(&mut self, number: u32, taken: Option<MediaTime>) {
        self.n_numbered += 1;
        let Some((last, before)) = self.last_number.replace((number, taken)) else { return };
        let risen = number.checked_sub(last).or_else(|| {
            let over_the_end = number + N_NUMBERS - last;
            (over_the_end < NEAR).then_some(over_the_end)
        });
        let n_missing = match risen {
            // The picture before is shown again.
            Some(0) => 0,
            Some(step) => {
                if let (Some(taken), Some(before)) = (taken, before) {
                    self.counted.0 += step;
                    self.counted.1 += taken - before;
                }
                step - 1
            }
            // The clips end at a whole second, so it is known how many were to come.
            None => {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
                let per_second = self.numbered_fps().round().clamp(1.0, 1000.0) as u32;
                (last + 1).next_multiple_of(per_second) - (last + 1) + number
            }
        };
        self.n_missing += u64::from(n_missing);
    }

    fn handle_brightness(&mut self, bright: bool, taken: Option<MediaTime>) {
        if let (Some(taken), Some((before, was_bright))) = (taken, self.before)
            && bright
            && !was_bright
            && (taken - before).as_secs_f64() * self.numbered_fps() <= CERTAIN_PERIODS
        {
            if self.flashes.len() == MAX_REMEMBERED {
                self.flashes.pop_front();
            }
            self.flashes.push_back(taken);
        }
        self.before = taken.map(|taken| (taken, bright));
    }
}
