//! One stream of a publisher on its way to one receiver: sequence numbers that stay gapless
//! across pauses, and the publisher's clock for the sender reports.

use std::time::{Duration, Instant, SystemTime};

use str0m::media::{MediaKind, MediaTime, Mid};

/// How far the reconstructed capture time is put into the past, so that a packet sent a little
/// ahead of its sender report is never in the future. The same for all streams of a publisher,
/// so their offsets among each other stay exact.
const CLOCK_MARGIN: Duration = Duration::from_millis(500);

/// Where a stream goes at one receiver.
#[derive(Debug)]
pub(super) struct Forward {
    /// The receiver's m-line.
    pub(super) mid: Mid,
    clock_rate: f64,
    /// The publisher's SSRC that is shown: one of its layers.
    source: Option<u32>,
    sequence: Sequence,
    /// Added to the publisher's timestamps, so that they go on from one layer to the next.
    timestamp_shift: u32,
    last_sent: Option<(u32, Instant)>,
}

impl Forward {
    pub(super) const fn new(mid: Mid, kind: MediaKind) -> Self {
        let sequence = Sequence { shift: None, last: None, floor: None };
        let clock_rate = match kind {
            MediaKind::Audio => 48_000.0,
            MediaKind::Video => 90_000.0,
        };
        Self { mid, clock_rate, source: None, sequence, timestamp_shift: 0, last_sent: None }
    }

    /// Which of the publisher's SSRCs is shown.
    pub(super) const fn shows(&self) -> Option<u32> {
        self.source
    }

    /// Shows another layer, or another publisher, from a packet with this timestamp on.
    pub(super) fn show(&mut self, ssrc: u32, timestamp: u32, captured_at: Instant) {
        if let Some((last, at)) = self.last_sent {
            // At least one tick: two frames cannot have the same time.
            let ticks = captured_at.saturating_duration_since(at).as_secs_f64() * self.clock_rate;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a pause of 13 hours wraps as the timestamp does"
            )]
            let next = last.wrapping_add((ticks as u64).max(1) as u32);
            self.timestamp_shift = next.wrapping_sub(timestamp);
            self.pause();
        }
        self.source = Some(ssrc);
    }

    /// The timestamp that goes out for the publisher's.
    pub(super) fn timestamp(&mut self, timestamp: u32, captured_at: Instant) -> u32 {
        let out = timestamp.wrapping_add(self.timestamp_shift);
        self.last_sent = Some((out, captured_at));
        out
    }

    /// The number under which the publisher's packet `seq` goes out; `None` for one that belongs
    /// before the point where forwarding began.
    pub(super) fn number(&mut self, seq: u64) -> Option<u64> {
        self.sequence.map(seq)
    }

    /// The stream stops here; when it goes on, numbers go on without a gap.
    pub(super) const fn pause(&mut self) {
        self.sequence.shift = None;
        self.sequence.floor = self.sequence.last;
    }
}

/// Keeps the publisher's 16 bits as they are until the first pause. The roll-over counter starts
/// at zero, because a new receiver assumes it there (RFC 3711, 3.3.1).
#[derive(Debug)]
struct Sequence {
    shift: Option<u64>,
    last: Option<u64>,
    floor: Option<u64>,
}

impl Sequence {
    fn map(&mut self, seq: u64) -> Option<u64> {
        let shift = *self.shift.get_or_insert_with(|| match self.last {
            None => seq & !0xFFFF,
            Some(last) => seq.wrapping_sub(last + 1),
        });
        // Wrapping: after a pause the shift may be "negative".
        let out = seq.wrapping_sub(shift);
        let too_old = out > u64::MAX / 2 || self.floor.is_some_and(|floor| out <= floor);
        if too_old {
            return None;
        }
        self.last = Some(self.last.map_or(out, |last| last.max(out)));
        Some(out)
    }
}

/// So long, and so many packets, a first report is waited for; clients of libwebrtc take a second.
const HELD_FOR: Duration = Duration::from_millis(100);
const MAX_HELD: usize = 200;

/// The packets of a stream before its first report, which says when they were captured.
///
/// Sent on at once, the first of them would be followed at once by a report of ours that goes by
/// its arrival, and sound and picture would be as far apart for a second as the network has them.
#[derive(Debug)]
pub(super) struct Held<P> {
    packets: Vec<P>,
    since: Option<Instant>,
}

impl<P> Held<P> {
    pub(super) const fn new() -> Self {
        Self { packets: Vec::new(), since: None }
    }

    /// One more; gives what has waited for long enough.
    pub(super) fn handle_packet(&mut self, packet: P, now: Instant) -> Vec<P> {
        let since = *self.since.get_or_insert(now);
        self.packets.push(packet);
        let is_over = now.saturating_duration_since(since) >= HELD_FOR || self.packets.len() >= MAX_HELD;
        if is_over { self.take() } else { Vec::new() }
    }

    /// All that has waited: the report is there.
    pub(super) fn take(&mut self) -> Vec<P> {
        std::mem::take(&mut self.packets)
    }
}

/// One publisher's NTP clock as seen here: sender reports of any of its streams set it.
#[derive(Debug, Default)]
pub(super) struct PublisherClock {
    anchor: Option<(Instant, SystemTime)>,
}

/// The latest sender report of one stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    pub(super) ntp: SystemTime,
    pub(super) rtp: u32,
}

impl PublisherClock {
    /// Ties the publisher's clock to ours when its first report arrives.
    pub(super) fn handle_report(&mut self, report: &Report, received_at: Instant) {
        let at = received_at.checked_sub(CLOCK_MARGIN).unwrap_or(received_at);
        self.anchor.get_or_insert((at, report.ntp));
    }

    /// When the publisher captured what has the RTP timestamp `time`: exact between streams once
    /// each has had a report, the arrival before that. Never later than `now`.
    pub(super) fn captured_at(&mut self, report: Option<&Report>, time: MediaTime, now: Instant) -> Instant {
        let before = now.checked_sub(CLOCK_MARGIN).unwrap_or(now);
        let (Some((at, ntp)), Some(report)) = (self.anchor, report) else { return before };
        let rate = f64::from(time.frequency().get());
        #[expect(clippy::cast_possible_truncation, reason = "RTP timestamps are the low 32 bits")]
        let ticks = (time.numer() as u32).wrapping_sub(report.rtp).cast_signed();
        let since_report = f64::from(ticks) / rate;
        let since_anchor = signed_secs(report.ntp, ntp) + since_report;
        let captured = shift(at, since_anchor).unwrap_or(before);
        if captured > now {
            // The first report was late: move the clock, for all streams alike.
            let ahead = captured.duration_since(now) + CLOCK_MARGIN;
            self.anchor = at.checked_sub(ahead).map(|at| (at, ntp));
            return captured.checked_sub(ahead).unwrap_or(before);
        }
        captured
    }
}

/// `a − b` in seconds.
fn signed_secs(a: SystemTime, b: SystemTime) -> f64 {
    match a.duration_since(b) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

fn shift(at: Instant, secs: f64) -> Option<Instant> {
    let by = Duration::try_from_secs_f64(secs.abs()).ok()?;
    if secs >= 0.0 { at.checked_add(by) } else { at.checked_sub(by) }
}

#[cfg(test)]
mod tests {
    use str0m::media::Frequency;

    use super::*;

    #[test]
    fn numbers_pass_through_until_a_pause_and_then_go_on() {
        let mut forward = Forward::new("0".into(), MediaKind::Video);
        let roc = 3 << 16;
        assert_eq!(forward.number(roc + 7), Some(7));
        assert_eq!(forward.number(roc + 9), Some(9));
        assert_eq!(forward.number(roc + 8), Some(8), "late packets keep their place");
        assert_eq!(forward.number(roc - 1), None, "before the first");
        forward.pause();
        assert_eq!(forward.number(roc + 500), Some(10));
        assert_eq!(forward.number(roc + 499), None, "belongs into the pause");
        assert_eq!(forward.number(roc + 502), Some(12));
    }

    #[test]
    fn a_shorter_numbering_can_follow_a_pause() {
        let mut forward = Forward::new("0".into(), MediaKind::Video);
        assert_eq!(forward.number(60_000), Some(60_000));
        forward.pause();
        assert_eq!(forward.number(3), Some(60_001));
        assert_eq!(forward.number(4), Some(60_002));
    }

    #[test]
    fn packets_wait_for_the_first_report_and_no_longer_than_is_worth_it() {
        const NONE: [usize; 0] = [];
        let start = crate::emulator::test_start();
        let mut held = Held::new();
        assert_eq!(held.handle_packet(1, start), NONE);
        assert_eq!(held.handle_packet(2, start + HELD_FOR / 2), NONE);
        assert_eq!(held.take(), [1, 2], "the report has come");
        assert_eq!(held.take(), NONE);

        let mut held = Held::new();
        assert_eq!(held.handle_packet(1, start), NONE);
        assert_eq!(held.handle_packet(2, start + HELD_FOR), [1, 2], "nobody tells when they were captured");
        assert_eq!(held.handle_packet(3, start + HELD_FOR), [3]);

        let mut held = Held::new();
        let passed: Vec<usize> = (0..1000).flat_map(|packet| held.handle_packet(packet, start)).collect();
        assert!(passed.len() > 1000 - MAX_HELD && passed.iter().enumerate().all(|(n, packet)| n == *packet));
    }

    #[test]
    fn streams_keep_their_offset() {
        let (start, epoch) = (
            crate::emulator::test_start() + Duration::from_secs(60),
            SystemTime::UNIX_EPOCH + Duration::from_secs(9000),
        );
        let mut clock = PublisherClock::default();
        let audio = Report { ntp: epoch, rtp: 48_000 };
        let video = Report { ntp: epoch + Duration::from_millis(700), rtp: 0 };
        clock.handle_report(&audio, start);
        clock.handle_report(&video, start + Duration::from_millis(900));
        let now = start + Duration::from_secs(2);
        let at_audio =
            clock.captured_at(Some(&audio), MediaTime::new(96_000, Frequency::FORTY_EIGHT_KHZ), now);
        let at_video = clock.captured_at(Some(&video), MediaTime::new(27_000, Frequency::NINETY_KHZ), now);
        assert_eq!(at_audio, at_video, "both were captured one second after the first report");
        assert_eq!(at_audio, start + Duration::from_secs(1) - CLOCK_MARGIN);
    }

    #[test]
    fn a_capture_time_is_never_in_the_future() {
        let (start, epoch) = (
            crate::emulator::test_start() + Duration::from_secs(60),
            SystemTime::UNIX_EPOCH + Duration::from_secs(9000),
        );
        let mut clock = PublisherClock::default();
        let report = Report { ntp: epoch, rtp: 0 };
        clock.handle_report(&report, start);
        for tick in [0_u64, 180_000, 90_000 * 5] {
            let at = clock.captured_at(Some(&report), MediaTime::new(tick, Frequency::NINETY_KHZ), start);
            assert!(at <= start, "{tick}");
        }
    }
}
