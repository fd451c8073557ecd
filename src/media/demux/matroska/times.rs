//! Times in ticks of a millisecond → exact times.
//!
//! Matroska rounds each time to a tick, usually 1 ms. Sent as they are, pictures would jitter by a
//! millisecond and sound would have gaps and overlaps of up to 48 samples. So a time that is
//! within a tick of where the steady flow expects it counts as meant to be there; any other is
//! taken at its word, and the flow goes on from it.

use crate::time::MediaTime;

/// Frame rates that files have, as numerator and denominator of the frame's duration.
const FRAME_DURATIONS: [(u32, u32); 16] = [
    (1, 24),
    (1, 25),
    (1, 30),
    (1, 50),
    (1, 60),
    (1001, 24_000),
    (1001, 30_000),
    (1001, 60_000),
    (1, 10),
    (1, 12),
    (1, 15),
    (1, 20),
    (1, 48),
    (1, 100),
    (1, 120),
    (1001, 120_000),
];
/// Writers round the duration to nanoseconds, and some compute it from a rounded rate.
const DURATION_SLACK_NS: i64 = 100;

/// A frame's exact duration from the rounded one of the file.
pub(super) fn exact_frame_duration(nanos: u64) -> (u32, u32) {
    let nanos = u32::try_from(nanos).unwrap_or(u32::MAX);
    let matches = |(num, den): &(u32, u32)| {
        let exact = i64::from(*num) * 1_000_000_000 / i64::from(*den);
        (exact - i64::from(nanos)).abs() <= DURATION_SLACK_NS
    };
    FRAME_DURATIONS.into_iter().find(|duration| matches(duration)).unwrap_or((nanos, 1_000_000_000))
}

/// Pictures at a constant rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    step: (u32, u32),
    anchor: Option<MediaTime>,
}

impl Grid {
    pub(super) const fn new(step: (u32, u32)) -> Self {
        Self { step, anchor: None }
    }

    pub(super) fn step(&self) -> MediaTime {
        MediaTime::from_rational(1, self.step.0, self.step.1)
    }

    /// The exact time of a picture that the file has at `pts`, rounded to `tick`. Pictures may
    /// come in any order.
    pub(super) fn snap(&mut self, pts: MediaTime, tick: MediaTime) -> MediaTime {
        let anchor = *self.anchor.get_or_insert(pts);
        let (num, den) = self.step;
        // The nearest multiple of the step: a clock with `den / num` ticks per second.
        let n_frames =
            (pts - anchor).to_ticks(den).saturating_add(i64::from(num) / 2).div_euclid(i64::from(num.max(1)));
        let exact = anchor + MediaTime::from_rational(n_frames, num, den);
        if (exact - pts).abs() <= tick {
            return exact;
        }
        self.anchor = Some(pts);
        pts
    }
}

/// Sound whose packets say how long they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    rate: u32,
    /// Where the next packet starts, in samples.
    next: Option<i64>,
    /// Where the first packet of the file starts, and how long it is: after a seek, packets of that
    /// length stand on its grid.
    grid: Option<(i64, u32)>,
}

impl Flow {
    pub(super) const fn new(rate: u32) -> Self {
        Self { rate, next: None, grid: None }
    }

    /// The exact time of a packet with `samples` that the file has at `pts`, rounded to `tick`.
    pub(super) fn snap(&mut self, pts: MediaTime, samples: u32, tick: MediaTime) -> MediaTime {
        let rough = pts.to_ticks(self.rate);
        let (anchor, step) = *self.grid.get_or_insert((rough, samples));
        let on_grid = || {
            let step = i64::from(step.max(1));
            anchor + rough.saturating_sub(anchor).saturating_add(step / 2).div_euclid(step) * step
        };
        let near = |start: &i64| (MediaTime::from_ticks(*start, self.rate) - pts).abs() <= tick;
        let start = self.next.or_else(|| Some(on_grid())).filter(near).unwrap_or(rough);
        self.next = Some(start.saturating_add(i64::from(samples)));
        MediaTime::from_ticks(start, self.rate)
    }

    /// Sound does not go on where it was.
    pub(super) const fn jumped(&mut self) {
        self.next = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: MediaTime = MediaTime::from_millis(1);

    #[test]
    fn durations_rounded_to_nanoseconds_are_made_exact() {
        assert_eq!(exact_frame_duration(33_333_333), (1, 30));
        assert_eq!(exact_frame_duration(33_366_667), (1001, 30_000));
        assert_eq!(exact_frame_duration(41_708_333), (1001, 24_000));
        assert_eq!(exact_frame_duration(40_000_000), (1, 25));
        assert_eq!(exact_frame_duration(70_000_000), (70_000_000, 1_000_000_000));
        assert_eq!(exact_frame_duration(u64::MAX), (u32::MAX, 1_000_000_000));
    }

    #[test]
    fn pictures_come_back_onto_the_grid_for_hours() {
        for (num, den) in [(1, 30), (1001, 30_000), (1001, 24_000), (1, 25), (1, 60)] {
            let mut grid = Grid::new((num, den));
            for frame in 0..200_000 {
                let exact = MediaTime::from_rational(frame, num, den);
                let rounded = MediaTime::from_millis(exact.to_ticks(1000));
                assert_eq!(grid.snap(rounded, MS), exact, "{num}/{den}, frame {frame}");
            }
        }
    }

    #[test]
    fn a_variable_rate_stays_as_it_is() {
        let mut grid = Grid::new((1, 30));
        for millis in [0, 33, 50, 90, 123, 5000] {
            let pts = MediaTime::from_millis(millis);
            assert!((grid.snap(pts, MS) - pts).abs() <= MS);
        }
        // From a jump on, the grid begins anew.
        let jump = MediaTime::from_millis(5050);
        assert_eq!(grid.snap(jump, MS), jump);
        assert_eq!(grid.snap(MediaTime::from_millis(5083), MS), jump + grid.step());
    }

    #[test]
    fn sound_flows_without_gaps_and_jumps_where_the_file_does() {
        let mut flow = Flow::new(48_000);
        let pre_skip = MediaTime::from_nanos(6_500_000);
        for packet in 0..10_000 {
            let exact = packet * 960 - 312;
            let rounded = MediaTime::from_millis(packet * 20) - pre_skip;
            assert_eq!(flow.snap(rounded, 960, MS).to_ticks(48_000), exact);
        }
        let later = MediaTime::from_secs(500);
        assert_eq!(flow.snap(later, 960, MS), later);
        let jitter = later + MediaTime::from_millis(21);
        assert_eq!(flow.snap(jitter, 960, MS), later + MediaTime::from_millis(20));
        flow.jumped();
        let rounded = MediaTime::from_millis(70 * 20) - pre_skip + MediaTime::from_nanos(400_000);
        assert_eq!(flow.snap(rounded, 960, MS).to_ticks(48_000), 70 * 960 - 312);
    }
}
