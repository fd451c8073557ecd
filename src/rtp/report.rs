//! Sender reports out, receiver reports in (RFC 3550 §6).
//!
//! A sender report says which RTP timestamp belongs to which moment of the wall clock; from the
//! reports of two streams a receiver knows which picture goes with which sound. Both halves of
//! the pair are computed for the same `now` from clocks that all streams of the call share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};

use super::clock::NtpAnchor;
use super::rtcp::ReceiverReport;

/// How often each stream reports. RFC 3550 would wait five seconds; receivers need the pair soon
/// and after a loss again, and a report has under 60 bytes.
const INTERVAL: Duration = Duration::from_secs(1);

/// RFC 3550 §6.2: intervals vary so that the reports of many senders do not come in step.
const JITTER_MS: u64 = 200;

/// RFC 3550 §6.5: the length of an item has one byte.
const MAX_CNAME: usize = 255;

/// RFC 3550 §12.1.
const SENDER_REPORT: u8 = 200;
/// RFC 3550 §12.1.
const SOURCE_DESCRIPTION: u8 = 202;
/// RFC 3550 §12.1.
const GOODBYE: u8 = 203;
/// RFC 3550 §12.2.
const CNAME: u8 = 1;

/// RFC 3550 §6.4.1, without report blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderReport {
    /// The stream.
    pub ssrc: u32,
    /// The moment, in 2⁻³² s since 1900.
    pub ntp: u64,
    /// The same moment on the stream's RTP clock.
    pub rtp_timestamp: u32,
    /// RTP packets sent so far, without retransmissions on another SSRC. Wraps.
    pub packet_count: u32,
    /// Bytes of payload in them. Wraps.
    pub octet_count: u32,
}

impl SenderReport {
    /// Appends the 28 bytes of the packet.
    pub fn write_to(&self, out: &mut impl BufMut) {
        put_header(out, 0, SENDER_REPORT, 24);
        out.put_u32(self.ssrc);
        out.put_u64(self.ntp);
        out.put_u32(self.rtp_timestamp);
        out.put_u32(self.packet_count);
        out.put_u32(self.octet_count);
    }
}

/// What leaves as one RTCP datagram: a sender report and the name under which the streams of
/// this call belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The numbers.
    pub sender_report: SenderReport,
    /// The same for all streams of the call.
    pub cname: Arc<str>,
}

impl Report {
    /// The compound packet: SR, then SDES with the CNAME (RFC 3550 §6.1 asks for both).
    pub fn to_bytes(&self) -> Bytes {
        let cname = truncated(&self.cname, MAX_CNAME);
        // One zero ends the list of items, more fill the last word.
        let chunk = (4 + 2 + cname.len() + 1).next_multiple_of(4);
        let mut out = BytesMut::with_capacity(28 + 4 + chunk);
        self.sender_report.write_to(&mut out);
        put_header(&mut out, 1, SOURCE_DESCRIPTION, chunk);
        out.put_u32(self.sender_report.ssrc);
        out.put_u8(CNAME);
        out.put_u8(u8::try_from(cname.len()).expect("truncated to 255 bytes"));
        out.put_slice(cname.as_bytes());
        out.put_bytes(0, chunk - 4 - 2 - cname.len());
        out.freeze()
    }
}

/// RFC 3550 §6.6: these sources are no longer active.
pub(super) fn put_bye(ssrcs: &[u32], out: &mut impl BufMut) {
    let count = u8::try_from(ssrcs.len()).expect("a call has three SSRCs");
    put_header(out, count, GOODBYE, 4 * ssrcs.len());
    for ssrc in ssrcs {
        out.put_u32(*ssrc);
    }
}

/// RFC 3550 §6.4.1: version 2, no padding, and the length in words without the first.
fn put_header(out: &mut impl BufMut, count: u8, kind: u8, body: usize) {
    out.put_u8(0x80 | count);
    out.put_u8(kind);
    out.put_u16(u16::try_from(body / 4).expect("our packets have less than 300 bytes"));
}

/// As much of `text` as fits, whole characters only.
fn truncated(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// When the reports of one stream are due: right after its first packet, then every second, and
/// never about a time in which nothing was sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    next: Option<Instant>,
    sent_since: bool,
}

impl Schedule {
    /// A packet left.
    pub(super) fn handle_sent(&mut self, now: Instant) {
        self.next.get_or_insert(now);
        self.sent_since = true;
    }

    /// When the next report is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next.filter(|_| self.sent_since)
    }

    /// Whether to report now. If so, the next one is an interval away.
    pub(super) fn poll(&mut self, now: Instant, rng: &mut fastrand::Rng) -> bool {
        let Some(due) = self.due().filter(|due| *due <= now) else { return false };
        // Intervals that passed in silence are skipped without leaving the rhythm.
        let silent = u32::try_from((now - due).as_secs()).unwrap_or(u32::MAX);
        let jitter = Duration::from_millis(rng.u64(0..=2 * JITTER_MS));
        self.next = Some(due + INTERVAL * silent + (INTERVAL + jitter - Duration::from_millis(JITTER_MS)));
        self.sent_since = false;
        true
    }
}

/// How one of our streams arrives at the other side, by its last report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RemoteView {
    /// Share of packets lost between the last two reports, 0 to 1.
    pub fraction_lost: f64,
    /// Packets lost since the beginning; negative when there were more duplicates than losses.
    pub packets_lost: i64,
    /// Interarrival jitter.
    pub jitter: Duration,
    /// From a sender report of ours to the other side and back, without the time spent there.
    /// `None` until a report has come that answers one.
    pub round_trip_time: Option<Duration>,
}

impl RemoteView {
    /// Reads a report about a stream of `clock_rate` that came in at `now`.
    pub fn new(report: &ReceiverReport, clock_rate: u32, anchor: &NtpAnchor, now: Instant) -> Self {
        Self {
            fraction_lost: f64::from(report.fraction_lost) / 256.0,
            packets_lost: report.cumulative_lost.into(),
            jitter: units(report.jitter, clock_rate),
            round_trip_time: round_trip_time(report, anchor, now),
        }
    }
}

/// RFC 3550 §6.4.1, at DLSR: A − LSR − DLSR, all in 65536ths of a second.
fn round_trip_time(report: &ReceiverReport, anchor: &NtpAnchor, now: Instant) -> Option<Duration> {
    if report.last_sender_report == 0 {
        return None;
    }
    let middle = u32::try_from((anchor.ntp_at(now) >> 16) & 0xffff_ffff).expect("masked to 32 bits");
    let since = middle.wrapping_sub(report.last_sender_report);
    let there_and_back = since.wrapping_sub(report.delay_since_last_sender_report);
    // Less than nothing: the other side's clock runs fast, or rounds up.
    let there_and_back = if there_and_back > u32::MAX / 2 { 0 } else { there_and_back };
    Some(units(there_and_back, 65_536))
}

fn units(n_units: u32, per_second: u32) -> Duration {
    Duration::from_nanos(u64::from(n_units) * 1_000_000_000 / u64::from(per_second.max(1)))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::rtp::testing::start;

    const JITTER: Duration = Duration::from_millis(JITTER_MS);
    const REPORT: SenderReport = SenderReport {
        ssrc: 0x0102_0304,
        ntp: 0x1112_1314_2122_2324,
        rtp_timestamp: 0x3132_3334,
        packet_count: 5,
        octet_count: 0x600,
    };

    #[test]
    fn a_report_is_a_compound_of_two() {
        let bytes = Report { sender_report: REPORT, cname: "cname".into() }.to_bytes();
        #[rustfmt::skip]
        let expected = [
            0x80, 200, 0, 6,  1, 2, 3, 4,
            0x11, 0x12, 0x13, 0x14, 0x21, 0x22, 0x23, 0x24,
            0x31, 0x32, 0x33, 0x34,  0, 0, 0, 5,  0, 0, 6, 0,
            0x81, 202, 0, 3,  1, 2, 3, 4,
            1, 5, b'c', b'n', b'a', b'm', b'e', 0,
        ];
        assert_eq!(bytes[..], expected);
    }

    #[test]
    fn names_of_every_length_are_closed_and_padded() {
        for len in [0, 1, 2, 3, 4, 255, 256, 400] {
            let bytes = Report { sender_report: REPORT, cname: "é".repeat(len / 2).into() }.to_bytes();
            assert_eq!(bytes.len() % 4, 0);
            assert_eq!(usize::from(u16::from_be_bytes([bytes[30], bytes[31]])), (bytes.len() - 32) / 4);
            let name = usize::from(bytes[37]);
            assert!(name <= len && std::str::from_utf8(&bytes[38..38 + name]).is_ok());
            assert_eq!(bytes[38 + name], 0, "the list of items ends");
        }
    }

    #[test]
    fn reports_follow_the_first_packet_and_then_the_seconds() {
        let (start, mut rng) = (start(), fastrand::Rng::with_seed(1));
        let mut schedule = Schedule::default();
        assert_eq!(schedule.due(), None);
        schedule.handle_sent(start);
        assert_eq!(schedule.due(), Some(start));
        let mut last = start;
        assert!(schedule.poll(start, &mut rng));
        for _ in 0..100 {
            assert_eq!(schedule.due(), None, "nothing to report yet");
            schedule.handle_sent(last);
            let due = schedule.due().unwrap();
            assert!(INTERVAL - JITTER <= due - last && due - last <= INTERVAL + JITTER);
            assert!(!schedule.poll(due - Duration::from_nanos(1), &mut rng));
            // A late poll does not move the ones after it.
            assert!(schedule.poll(due + Duration::from_millis(300), &mut rng));
            last = due;
        }
    }

    #[test]
    fn after_a_pause_the_report_comes_with_the_first_packet() {
        let (start, mut rng) = (start(), fastrand::Rng::with_seed(1));
        let mut schedule = Schedule::default();
        schedule.handle_sent(start);
        assert!(schedule.poll(start, &mut rng));
        let resumed = start + Duration::from_secs(3600);
        assert!(!schedule.poll(resumed, &mut rng));
        schedule.handle_sent(resumed);
        assert!(schedule.poll(resumed, &mut rng));
        schedule.handle_sent(resumed);
        let due = schedule.due().unwrap();
        assert!(due > resumed - JITTER && due <= resumed + INTERVAL + JITTER);
    }

    #[test]
    fn the_round_trip_leaves_out_the_stay() {
        let start = start();
        let anchor = NtpAnchor::new(start, UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let sent = start + Duration::from_secs(10);
        let report = ReceiverReport {
            ssrc: 1,
            fraction_lost: 64,
            cumulative_lost: 9,
            highest_sequence_number: 0,
            jitter: 480,
            last_sender_report: (anchor.ntp_at(sent) >> 16) as u32,
            delay_since_last_sender_report: 65_536 / 2,
        };
        let view = RemoteView::new(&report, 48_000, &anchor, sent + Duration::from_millis(540));
        assert_eq!((view.fraction_lost, view.packets_lost), (0.25, 9));
        assert_eq!(view.jitter, Duration::from_millis(10));
        let rtt = view.round_trip_time.unwrap();
        assert!(rtt.abs_diff(Duration::from_millis(40)) < Duration::from_micros(50), "{rtt:?}");
        let rounded_up = RemoteView::new(&report, 48_000, &anchor, sent + Duration::from_millis(499));
        assert_eq!(rounded_up.round_trip_time, Some(Duration::ZERO));
        let none = ReceiverReport { last_sender_report: 0, ..report };
        assert_eq!(RemoteView::new(&none, 48_000, &anchor, sent).round_trip_time, None);
    }
}
