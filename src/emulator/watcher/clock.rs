//! RTP timestamps in, points on the sender's one clock out.
//!
//! Each SSRC counts in its own unit from its own random start. Sender reports (RFC 3550 §6.4.1)
//! say which RTP timestamp belongs to which NTP time; through them sound and picture meet on one
//! clock, as they do in every receiver that keeps lips in sync.

use std::time::SystemTime;

use crate::time::MediaTime;

/// The clock of one SSRC.
#[derive(Clone, Copy, Debug)]
pub(super) struct SenderClock {
    clock_rate: u32,
    /// The latest pair of RTP timestamp and time since 1970.
    report: Option<(u32, MediaTime)>,
}

impl SenderClock {
    pub(super) fn new(clock_rate: u32) -> Self {
        Self { clock_rate, report: None }
    }

    /// A sender report has come.
    pub(super) fn handle_report(&mut self, timestamp: u32, ntp: MediaTime) {
        self.report = Some((timestamp, ntp));
    }

    /// When the sample with this timestamp was taken, on the sender's clock, as time since 1970;
    /// `None` before the first report.
    pub(super) fn ntp(&self, timestamp: u32) -> Option<MediaTime> {
        let (reported, ntp) = self.report?;
        #[expect(clippy::cast_possible_wrap, reason = "the difference modulo 2^32, nearest to zero")]
        let ticks = timestamp.wrapping_sub(reported) as i32;
        Some(ntp + MediaTime::from_ticks(i64::from(ticks), self.clock_rate))
    }
}

/// A wall-clock time as time since 1970; zero for anything earlier.
pub(super) fn since_1970(time: SystemTime) -> MediaTime {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(MediaTime::ZERO, MediaTime::from)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn two_tracks_meet_on_one_clock() {
        let noon = since_1970(SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000));
        let mut audio = SenderClock::new(48_000);
        let mut video = SenderClock::new(90_000);
        assert_eq!(audio.ntp(0), None);
        // One second apart, near the wrap on both sides.
        audio.handle_report(u32::MAX - 10, noon);
        video.handle_report(5, noon + MediaTime::from_secs(1));
        assert_eq!(audio.ntp(48_000 - 11), Some(noon + MediaTime::from_secs(1)));
        assert_eq!(video.ntp(5_u32.wrapping_sub(90_000)), Some(noon));
        assert_eq!(
            video.ntp(5 + 3000),
            Some(noon + MediaTime::from_secs(1) + MediaTime::from_rational(1, 1, 30))
        );
    }
}
