//! Which packet leaves next, and when.
//!
//! ```text
//! due ├─ burst ─┬─ burst ─┬─ burst ─┐                             ├─ next picture
//!     0                             ½                             1 × duration
//! ```
//!
//! Sound leaves when it is due and waits for nothing. The first packet of a picture leaves when
//! it is due, since its timestamp says so; the others are spread over half the time that the
//! picture is shown, so that a key frame does not fill a queue somewhere on the way. Answers to
//! NACKs go before what is left of a picture, but only as fast as their budget grows.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::time::MediaTime;

/// A picture of no more packets leaves at once: what RFC 6928 grants a connection that knows nothing
/// of its path. Most pictures fit, and cost a single wake-up.
const AT_ONCE: usize = 10;

/// Packets of a larger picture that leave together, unless that made steps shorter than [`WINDOW`]:
/// few, because with hundreds of calls the sound of one waits for what another sends.
const BURST: usize = 4;

/// The rest of a picture leaves within this part of its duration.
const SPREAD_DIVISOR: u32 = 2;

/// A picture that is shown for seconds is not held back that long.
const MAX_SPREAD: Duration = Duration::from_millis(33);

/// However late we are, no more than [`MAX_PACKETS`] of video leave within this time, and no more
/// than one burst of what is spread.
const WINDOW: Duration = Duration::from_millis(1);

/// A quarter of what a queue for 64 packets takes, so that sound always finds a place.
const MAX_PACKETS: usize = 16;

/// What retransmissions may take of [`MAX_PACKETS`].
const MAX_RETRANSMISSIONS: usize = 8;

/// Bytes of retransmission that each second allows, whatever is sent.
const BUDGET_PER_SECOND: u64 = 64_000;

/// Each byte of video allows half a byte more: enough to repair a loss of 30 %, and what is lost
/// of the repairs.
const BUDGET_DIVISOR: i64 = 2;

/// The budget grows no further: a whole key frame may get lost at once.
const MAX_BUDGET: i64 = 256_000;

/// Why a sender wants to be polled at some instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Sound is due.
    Audio,
    /// A picture is due.
    Video,
    /// More packets of the picture on its way are.
    Spread,
    /// A lost packet is sent again.
    Retransmission,
    /// The budget of retransmissions has grown by then.
    Budget,
    /// Too much video left just now for more of it to leave earlier.
    Burst,
    /// A sender report is due.
    Report,
}

/// What is there to leave.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waiting {
    /// When the next frame of sound is due.
    pub(super) audio: Option<Instant>,
    /// Since when packets are to be sent again.
    pub(super) retransmission: Option<Instant>,
    /// Whether there is more of the picture on its way.
    pub(super) rest: bool,
    /// When the next picture is due.
    pub(super) video: Option<Instant>,
}

/// Who may send one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The next frame of sound.
    Audio,
    /// A packet that got lost.
    Retransmission,
    /// The picture on its way.
    Rest,
    /// The next picture, its first packet.
    Video,
}

/// Decides by time and by what has left; the packets themselves stay with the sender.
#[derive(Debug)]
pub(super) struct Pacer {
    spread: Option<Spread>,
    /// When the last packets of video left.
    recent: VecDeque<Instant>,
    budget: Budget,
}

impl Pacer {
    pub(super) fn new() -> Self {
        Self {
            spread: None,
            recent: VecDeque::with_capacity(MAX_PACKETS),
            budget: Budget { bytes: MAX_BUDGET, as_of: None },
        }
    }

    /// Whose turn it is at `now`.
    pub(super) fn turn(&self, waiting: &Waiting, now: Instant) -> Option<Turn> {
        let mut in_order = self.turns(waiting).into_iter().flatten();
        in_order.find(|(at, ..)| *at <= now).map(|(.., turn)| turn)
    }

    /// When there will be a turn if nothing else happens before. At that instant there is one.
    pub(super) fn timeout(&self, waiting: &Waiting) -> Option<(Instant, Reason)> {
        let turns = self.turns(waiting).into_iter().flatten();
        turns.map(|(at, reason, _)| (at, reason)).min_by_key(|(at, _)| *at)
    }

    /// A picture begins.
    pub(super) fn begin(&mut self, due: Instant, duration: MediaTime, n_packets: usize) {
        let spread = (duration.to_duration() / SPREAD_DIVISOR).min(MAX_SPREAD);
        let n_steps = usize::try_from(spread.as_millis() / WINDOW.as_millis()).unwrap_or(usize::MAX).max(1);
        let burst = if n_packets <= AT_ONCE { AT_ONCE } else { n_packets.div_ceil(n_steps).max(BURST) };
        let n_bursts = u32::try_from(n_packets.div_ceil(burst)).unwrap_or(u32::MAX).max(1);
        self.spread = Some(Spread { next: due, step: spread / n_bursts, burst, left: burst });
    }

    /// A packet of `len` bytes left.
    pub(super) fn handle_sent(&mut self, turn: Turn, len: usize, now: Instant) {
        let len = i64::try_from(len).unwrap_or(i64::MAX);
        match turn {
            Turn::Audio => return,
            Turn::Retransmission => self.budget.take(len, now),
            Turn::Rest | Turn::Video => {
                self.budget.earn(len / BUDGET_DIVISOR);
                if let Some(spread) = &mut self.spread {
                    spread.handle_sent(now);
                }
            }
        }
        if self.recent.len() == MAX_PACKETS {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
    }

    /// All who want a turn and when they get it, those who go first in front.
    fn turns(&self, waiting: &Waiting) -> [Option<(Instant, Reason, Turn)>; 3] {
        let audio = waiting.audio.map(|due| (due, Reason::Audio, Turn::Audio));
        let retransmission = waiting.retransmission.map(|since| {
            let (at, reason) = later((since, Reason::Retransmission), self.budget.free_at(), Reason::Budget);
            let (at, reason) = later((at, reason), self.window_free_at(MAX_RETRANSMISSIONS), Reason::Burst);
            (at, reason, Turn::Retransmission)
        });
        let video = if waiting.rest {
            let next = self.spread.as_ref().expect("a picture on its way was begun").next;
            // What is left when the next picture comes does not hold it up any further.
            let next = waiting.video.map_or(next, |due| due.min(next));
            let (at, reason) = later((next, Reason::Spread), self.window_free_at(MAX_PACKETS), Reason::Burst);
            Some((at, reason, Turn::Rest))
        } else {
            // The first packet of a picture is on time, whatever left before.
            waiting.video.map(|due| (due, Reason::Video, Turn::Video))
        };
        [audio, retransmission, video]
    }

    /// The earliest time at which fewer than `limit` packets left within the window before.
    fn window_free_at(&self, limit: usize) -> Option<Instant> {
        let oldest = self.recent.len().checked_sub(limit)?;
        self.recent.get(oldest).map(|left| *left + WINDOW)
    }
}

/// `turn`, or when and why it comes later.
fn later(turn: (Instant, Reason), not_before: Option<Instant>, why: Reason) -> (Instant, Reason) {
    match not_before {
        Some(at) if at > turn.0 => (at, why),
        _ => turn,
    }
}

/// The plan of the picture on its way.
#[derive(Debug)]
struct Spread {
    /// When the next packet may leave.
    next: Instant,
    step: Duration,
    /// How many leave together.
    burst: usize,
    /// How many may leave before the next step.
    left: usize,
}

impl Spread {
    fn handle_sent(&mut self, now: Instant) {
        self.left -= 1;
        if self.left == 0 {
            self.left = self.burst;
            // Whoever is late does not make up for it at once: others want to send as well.
            self.next = (self.next + self.step).max(now + WINDOW);
        }
    }
}

/// A bucket that fills with time and with what is sent. The last packet may overdraw it.
#[derive(Debug)]
struct Budget {
    bytes: i64,
    as_of: Option<Instant>,
}

impl Budget {
    fn earn(&mut self, bytes: i64) {
        self.bytes = (self.bytes + bytes).min(MAX_BUDGET);
    }

    fn take(&mut self, bytes: i64, now: Instant) {
        let passed = self.as_of.map_or(Duration::ZERO, |as_of| now.saturating_duration_since(as_of));
        let earned = passed.as_nanos() * u128::from(BUDGET_PER_SECOND) / 1_000_000_000;
        self.earn(i64::try_from(earned).unwrap_or(i64::MAX).min(MAX_BUDGET));
        self.bytes -= bytes;
        self.as_of = Some(now);
    }

    /// When there is something in it, if there is not.
    fn free_at(&self) -> Option<Instant> {
        let missing = u64::try_from(1 - self.bytes).ok().filter(|missing| *missing > 0)?;
        let wait = Duration::from_nanos((missing * 1_000_000_000).div_ceil(BUDGET_PER_SECOND));
        self.as_of.map(|as_of| as_of + wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::testing::start;

    const FRAME: MediaTime = MediaTime::from_millis(40);
    const MS: Duration = Duration::from_millis(1);

    /// Sends a whole picture, polled exactly when the pacer says, and gives the times.
    fn send_picture(
        pacer: &mut Pacer,
        due: Instant,
        n_packets: usize,
        next: Option<Instant>,
    ) -> Vec<Duration> {
        pacer.begin(due, FRAME, n_packets);
        let mut times = vec![Duration::ZERO];
        pacer.handle_sent(Turn::Video, 1200, due);
        let waiting = Waiting { rest: true, video: next, ..Waiting::default() };
        let mut now = due;
        while times.len() < n_packets {
            now = now.max(pacer.timeout(&waiting).unwrap().0);
            assert_eq!(pacer.turn(&waiting, now), Some(Turn::Rest));
            pacer.handle_sent(Turn::Rest, 1200, now);
            times.push(now - due);
        }
        times
    }

    #[test]
    fn a_small_picture_leaves_at_once_and_a_big_one_over_half_its_time() {
        let start = start();
        assert_eq!(send_picture(&mut Pacer::new(), start, 10, None), [Duration::ZERO; 10]);
        let times = send_picture(&mut Pacer::new(), start, 40, None);
        let bursts: Vec<_> = times.chunks(4).map(|burst| (burst[0], burst[3])).collect();
        assert_eq!(bursts, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18].map(|ms| (ms * MS, ms * MS)));
    }

    #[test]
    fn whoever_is_late_sends_no_more_at_once_than_whoever_is_not() {
        let (start, mut pacer) = (start(), Pacer::new());
        pacer.begin(start, FRAME, 100);
        let waiting = Waiting { rest: true, ..Waiting::default() };
        // Its whole time has passed.
        let mut now = start + 20 * MS;
        pacer.handle_sent(Turn::Video, 1200, now);
        let mut n_sent = 1;
        while n_sent < 100 {
            let n_burst = std::iter::from_fn(|| {
                pacer.turn(&waiting, now)?;
                pacer.handle_sent(Turn::Rest, 1200, now);
                Some(())
            })
            .count();
            n_sent += n_burst;
            assert!(n_burst <= 5, "{n_burst}");
            now += MS;
        }
        assert_eq!(now, start + 40 * MS);
    }

    #[test]
    fn a_flood_is_held_to_what_a_socket_takes() {
        let times = send_picture(&mut Pacer::new(), start(), 2000, None);
        for window in times.windows(MAX_PACKETS + 1) {
            assert!(window[MAX_PACKETS] - window[0] >= WINDOW, "{window:?}");
        }
        assert!(*times.last().unwrap() <= 150 * MS);
    }

    #[test]
    fn the_next_picture_hurries_what_is_left() {
        let start = start();
        let times = send_picture(&mut Pacer::new(), start, 40, Some(start + MS));
        assert_eq!(times[10], MS);
        assert!(times[39] <= 3 * MS);
    }

    #[test]
    fn sound_goes_first_then_repairs_then_pictures() {
        let (start, mut pacer) = (start(), Pacer::new());
        pacer.begin(start, FRAME, 100);
        let mut waiting =
            Waiting { audio: Some(start), retransmission: Some(start), rest: true, video: Some(start) };
        assert_eq!(pacer.turn(&waiting, start), Some(Turn::Audio));
        waiting.audio = Some(start + MS);
        assert_eq!(pacer.turn(&waiting, start), Some(Turn::Retransmission));
        for _ in 0..MAX_RETRANSMISSIONS {
            pacer.handle_sent(Turn::Retransmission, 100, start);
        }
        assert_eq!(pacer.turn(&waiting, start), Some(Turn::Rest));
        for _ in MAX_RETRANSMISSIONS..MAX_PACKETS {
            pacer.handle_sent(Turn::Rest, 100, start);
        }
        assert_eq!(pacer.turn(&waiting, start), None);
        // A full window stops neither sound nor the first packet of a picture.
        waiting.rest = false;
        assert_eq!(pacer.turn(&waiting, start), Some(Turn::Video));
        waiting.audio = Some(start);
        assert_eq!(pacer.turn(&waiting, start), Some(Turn::Audio));
    }

    #[test]
    fn repairs_stop_at_their_budget() {
        let (start, mut pacer) = (start(), Pacer::new());
        let waiting = Waiting { retransmission: Some(start), ..Waiting::default() };
        let mut now = start;
        let mut bytes = 0;
        while now < start + 10_000 * MS {
            pacer.handle_sent(Turn::Retransmission, 1000, now);
            bytes += 1000;
            let (at, reason) = pacer.timeout(&waiting).unwrap();
            assert_eq!(pacer.turn(&waiting, now.max(at)), Some(Turn::Retransmission));
            assert!(bytes < 260_000 || reason == Reason::Budget, "{reason:?} after {bytes}");
            now = now.max(at);
        }
        let allowed = 256_000 + 10 * 64_000;
        assert!((allowed - 2000..=allowed + 2000).contains(&bytes), "{bytes}");
        // Half of what is sent comes on top.
        pacer.begin(now, FRAME, 10);
        for _ in 0..10 {
            pacer.handle_sent(Turn::Video, 1000, now);
        }
        let after = now + 2 * MS;
        let n_free = (0..20).take_while(|_| {
            let free = pacer.turn(&waiting, after).is_some();
            pacer.handle_sent(Turn::Retransmission, 1000, after);
            free
        });
        assert!((5..=6).contains(&n_free.count()));
    }
}
