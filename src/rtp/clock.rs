//! The one timeline of a call: programme time and wall clock → RTP time and NTP time.
//!
//! Every stream of a call takes its RTP timestamps and its sender reports from the same
//! [`CallClock`], so what was in step in the file is in step at the receiver: there is nothing
//! that could differ between sound and picture.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::player::DueFrame;
use crate::time::MediaTime;

/// RFC 5905: NTP counts from 1900, Unix from 1970.
const UNIX_EPOCH_IN_NTP: u64 = 2_208_988_800;

/// A programme keeps `due − at` constant but for rounding. More than this is another programme, or
/// a clock that was set: the timeline then continues from the wall.
const CONTINUITY: Duration = Duration::from_millis(10);

/// One instant and its NTP time, taken once per call. All others follow from it by addition, so
/// that a step of the system's clock during the call moves nothing.
#[derive(Clone, Copy, Debug)]
pub struct NtpAnchor {
    at: Instant,
    /// In 2⁻³² s, as RFC 5905 has it.
    ntp: u64,
}

impl NtpAnchor {
    /// Ties `at` to `time`, both read at the same moment. Times before 1970 count as 1970.
    pub fn new(at: Instant, time: SystemTime) -> Self {
        let unix = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = unix.as_secs().wrapping_add(UNIX_EPOCH_IN_NTP);
        Self { at, ntp: (seconds << 32).wrapping_add(fraction(unix)) }
    }

    /// The NTP timestamp of `now`: whole seconds in the upper half, wrapping in 2036.
    pub fn ntp_at(&self, now: Instant) -> u64 {
        if let Some(later) = now.checked_duration_since(self.at) {
            self.ntp.wrapping_add(later.as_secs() << 32).wrapping_add(fraction(later))
        } else {
            let earlier = self.at.duration_since(now);
            self.ntp.wrapping_sub(earlier.as_secs() << 32).wrapping_sub(fraction(earlier))
        }
    }

    /// How long `now` is after 1970, up to 2106.
    pub fn unix_at(&self, now: Instant) -> Duration {
        let ntp = self.ntp_at(now);
        let seconds = (ntp >> 32).wrapping_sub(UNIX_EPOCH_IN_NTP) & 0xffff_ffff;
        let nanos = ((ntp & 0xffff_ffff) * 1_000_000_000) >> 32;
        Duration::from_secs(seconds) + Duration::from_nanos(nanos)
    }
}

/// What a duration has beyond whole seconds, in 2⁻³² s, rounded.
fn fraction(duration: Duration) -> u64 {
    ((u64::from(duration.subsec_nanos()) << 32) + 500_000_000) / 1_000_000_000
}

/// How much time of this call has passed: for a frame exactly, by its place in the programme, and
/// for an instant, by the wall.
///
/// It starts at the first frame that the call gets to see, wherever the programme is by then.
#[derive(Clone, Copy, Debug)]
pub struct CallClock {
    /// When the call's time was zero.
    start: Instant,
    /// What to add to `at` of a frame of the current programme.
    shift: MediaTime,
}

impl CallClock {
    /// The clock whose zero is this frame.
    pub fn starting_with(frame: &DueFrame) -> Self {
        Self { start: frame.due, shift: -frame.at }
    }

    /// Where `frame` lies in the call's time. Exact: differences of `at` are kept to the flick.
    ///
    /// A frame whose `due` contradicts its `at` belongs to another programme. From there on the
    /// call's time follows the new one, without a jump against the wall.
    pub fn elapsed(&mut self, frame: &DueFrame) -> MediaTime {
        let by_wall = self.elapsed_at(frame.due);
        let by_programme = frame.at + self.shift;
        if (by_wall - by_programme).abs() <= MediaTime::from(CONTINUITY) {
            return by_programme;
        }
        self.shift = by_wall - frame.at;
        by_wall
    }

    /// Where `now` lies in the call's time; negative before its start.
    pub fn elapsed_at(&self, now: Instant) -> MediaTime {
        match now.checked_duration_since(self.start) {
            Some(later) => MediaTime::from(later),
            None => -MediaTime::from(self.start.duration_since(now)),
        }
    }
}

/// `elapsed` on a clock of `clock_rate` that showed `offset` at zero. Wraps, as RTP timestamps do.
pub fn rtp_timestamp(offset: u32, elapsed: MediaTime, clock_rate: u32) -> u32 {
    let ticks = elapsed.to_ticks(clock_rate).rem_euclid(1 << 32);
    offset.wrapping_add(u32::try_from(ticks).expect("a remainder of 2^32 has 32 bits"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::media::{Frame, MediaKind};
    use crate::rtp::testing::start;

    fn frame(at: MediaTime, due: Instant) -> DueFrame {
        let frame = Frame {
            kind: MediaKind::Audio,
            codec: crate::media::Codec::Opus,
            pts: at,
            duration: MediaTime::from_millis(20),
            key: true,
            data: Bytes::from_static(b"x"),
            level: None,
            rotation: 0,
        };
        DueFrame { item: None, at, due, frame }
    }

    #[test]
    fn ntp_counts_from_1900() {
        let start = start();
        let anchor = NtpAnchor::new(start, UNIX_EPOCH + Duration::from_millis(1500));
        assert_eq!(anchor.ntp_at(start), ((UNIX_EPOCH_IN_NTP + 1) << 32) + (1 << 31));
        assert_eq!(anchor.ntp_at(start + Duration::from_millis(500)), (UNIX_EPOCH_IN_NTP + 2) << 32);
        assert_eq!(anchor.ntp_at(start - Duration::from_millis(500)), (UNIX_EPOCH_IN_NTP + 1) << 32);
        assert_eq!(anchor.unix_at(start + Duration::from_millis(250)), Duration::from_millis(1750));
        let after_2036 = NtpAnchor::new(start, UNIX_EPOCH + Duration::from_secs(2_200_000_000));
        assert_eq!(after_2036.unix_at(start), Duration::from_secs(2_200_000_000));
    }

    #[test]
    fn a_late_joiner_starts_at_zero() {
        let start = start();
        let at = MediaTime::from_secs(7200);
        let mut clock = CallClock::starting_with(&frame(at, start));
        assert_eq!(clock.elapsed(&frame(at, start)), MediaTime::ZERO);
        let next = frame(at + MediaTime::from_millis(20), start + Duration::from_millis(20));
        assert_eq!(clock.elapsed(&next), MediaTime::from_millis(20));
        // Rounded due times leave no trace.
        let odd = MediaTime::from_rational(1, 1001, 30_000);
        assert_eq!(clock.elapsed(&frame(at + odd, start + Duration::from_nanos(33_366_667))), odd);
    }

    #[test]
    fn another_programme_continues_on_the_wall() {
        let start = start();
        let mut clock = CallClock::starting_with(&frame(MediaTime::from_secs(100), start));
        let first = frame(MediaTime::from_secs(3), start + Duration::from_secs(5));
        assert_eq!(clock.elapsed(&first), MediaTime::from_secs(5));
        let second = frame(MediaTime::from_secs(4), start + Duration::from_secs(6));
        assert_eq!(clock.elapsed(&second), MediaTime::from_secs(6));
        assert_eq!(clock.elapsed_at(start + Duration::from_secs(6)), MediaTime::from_secs(6));
    }

    #[test]
    fn timestamps_wrap() {
        assert_eq!(rtp_timestamp(u32::MAX, MediaTime::from_millis(20), 48_000), 959);
        assert_eq!(rtp_timestamp(100, MediaTime::from_millis(-20), 48_000), 100_u32.wrapping_sub(960));
        let day = MediaTime::from_secs(86_400);
        assert_eq!(rtp_timestamp(0, day, 90_000), (86_400_u64 * 90_000 % (1 << 32)) as u32);
    }
}
