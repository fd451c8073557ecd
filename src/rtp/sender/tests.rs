use std::collections::HashMap;
use std::time::UNIX_EPOCH;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::rtp::rtcp::ReceiverReport;
use crate::rtp::send::RtxConfig;
use crate::rtp::testing::{picture, sound, start};
use crate::time::MediaTime;

const AUDIO: u32 = 1;
const VIDEO: u32 = 2;
const RTX: u32 = 3;
const MS: Duration = Duration::from_millis(1);
const FRAME: MediaTime = MediaTime::from_millis(40);

/// A sender polled at exactly the times it asks for, and all that left it.
struct Run {
    sender: Sender,
    start: Instant,
    now: Instant,
    packets: Vec<(Duration, Packet)>,
    reports: Vec<(Duration, Report)>,
}

impl Run {
    fn new(seed: u64) -> Self {
        Self::staggered(seed, Duration::ZERO)
    }

    fn staggered(seed: u64, stagger: Duration) -> Self {
        let start = start();
        let anchor = NtpAnchor::new(start, UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let rtx = Some(RtxConfig { ssrc: RTX, payload_type: 105 });
        let audio = StreamConfig {
            kind: MediaKind::Audio,
            codec: Codec::Opus,
            ssrc: AUDIO,
            payload_type: 111,
            clock_rate: 48_000,
            rtx: None,
            others: vec![],
        };
        let video = StreamConfig {
            kind: MediaKind::Video,
            codec: Codec::H264,
            ssrc: VIDEO,
            payload_type: 104,
            clock_rate: 90_000,
            rtx,
            others: vec![],
        };
        let config = SenderConfig {
            audio: Some(audio),
            video: Some(video),
            cname: "telecast".into(),
            anchor,
            seed,
            stagger,
        };
        Self { sender: Sender::new(config), start, now: start, packets: Vec::new(), reports: Vec::new() }
    }

    fn sound(&mut self, at: MediaTime) {
        self.sender.handle_frame(sound(self.start, at), self.now);
    }

    fn picture(&mut self, at: MediaTime, key: bool, len: usize) {
        self.sender.handle_frame(picture(self.start, at, FRAME, key, len), self.now);
    }

    /// Lets the clock stand and takes what leaves.
    fn drain(&mut self) {
        let passed = self.now - self.start;
        self.packets.extend(std::iter::from_fn(|| self.sender.poll_packet(self.now)).map(|p| (passed, p)));
        self.reports.extend(std::iter::from_fn(|| self.sender.poll_report(self.now)).map(|r| (passed, r)));
    }

    /// Polls at every timeout up to `end`, as a driver would.
    fn until(&mut self, end: Duration) {
        let end = self.start + end;
        while let Some((at, _)) = self.sender.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.drain();
            let next = self.sender.poll_timeout();
            assert!(next.is_none_or(|(next, _)| next > self.now), "{next:?} keeps the driver spinning");
        }
        self.now = end;
    }

    fn packets_of(&self, ssrc: u32) -> Vec<&(Duration, Packet)> {
        self.packets.iter().filter(|(_, packet)| packet.ssrc == ssrc).collect()
    }

    /// Ticks since the first packet of a stream, one per frame, with the time it left.
    fn frames_of(&self, ssrc: u32) -> Vec<(u32, Duration)> {
        let packets = self.packets_of(ssrc);
        let Some((_, first)) = packets.first() else { return Vec::new() };
        let ticks = packets.iter().map(|(at, packet)| (packet.timestamp.wrapping_sub(first.timestamp), *at));
        let mut frames: Vec<(u32, Duration)> = ticks.collect();
        frames.dedup_by_key(|(ticks, _)| *ticks);
        frames
    }
}

fn assert_contiguous(packets: &[&(Duration, Packet)]) {
    for pair in packets.windows(2) {
        assert_eq!(pair[1].1.sequence_number, pair[0].1.sequence_number.wrapping_add(1));
    }
}

#[test]
fn both_streams_of_a_call_are_staggered_alike_and_their_timestamps_are_not() {
    let mut run = Run::staggered(1, 7 * MS);
    for n in 0..10 {
        run.sound(MediaTime::from_millis(20 * n));
    }
    for n in 0..5 {
        run.picture(FRAME * n, n == 0, 200);
    }
    run.until(Duration::from_secs(1));
    let expected: Vec<_> = (0..10).map(|n| (960 * n, (20 * n + 7) * MS)).collect();
    assert_eq!(run.frames_of(AUDIO), expected);
    let expected: Vec<_> = (0..5).map(|n| (3600 * n, (40 * n + 7) * MS)).collect();
    assert_eq!(run.frames_of(VIDEO), expected);
}

#[test]
fn frames_leave_when_they_are_due_however_early_they_come() {
    let mut run = Run::new(1);
    for n in 0..10 {
        run.sound(MediaTime::from_millis(20 * n));
    }
    for n in 0..5 {
        run.picture(FRAME * n, n == 0, 200);
    }
    run.until(Duration::from_secs(1));
    let expected: Vec<_> = (0..10).map(|n| (960 * n, 20 * n * MS)).collect();
    assert_eq!(run.frames_of(AUDIO), expected);
    let expected: Vec<_> = (0..5).map(|n| (3600 * n, 40 * n * MS)).collect();
    assert_eq!(run.frames_of(VIDEO), expected);
    // Where both are due, sound goes first.
    assert_eq!(run.packets[0].1.ssrc, AUDIO);
    // A last report, and then silence.
    assert_eq!(run.sender.poll_timeout().map(|(_, reason)| reason), Some(Reason::Report));
    run.until(Duration::from_secs(2));
    assert_eq!(run.sender.poll_timeout(), None);
}

#[test]
fn a_call_that_joins_late_begins_with_a_key_frame() {
    let mut run = Run::new(1);
    let hours = MediaTime::from_secs(7200);
    run.until(hours.to_duration());
    for n in 0..6 {
        run.picture(hours + FRAME * n, n == 3, 200);
    }
    run.until((hours + FRAME * 2).to_duration());
    assert_eq!(run.sender.keyframe_wanted(), Some(run.start + hours.to_duration()));
    run.until((hours + FRAME * 10).to_duration());
    assert_eq!(run.frames_of(VIDEO).len(), 3);
    assert_eq!(run.sender.keyframe_wanted(), None);
    let video = run.sender.stats().video.unwrap();
    assert_eq!((video.frames_sent, video.key_frames_sent, video.frames_dropped), (3, 1, 3));
    assert_eq!((video.key_frame_waits, video.max_key_frame_wait), (1, 120 * MS));
}

#[test]
fn late_pictures_are_left_out_up_to_a_key_frame_and_sound_is_kept() {
    let mut run = Run::new(1);
    for n in 0..50 {
        run.sound(MediaTime::from_millis(20 * n));
    }
    for n in 0..25 {
        run.picture(FRAME * n, n % 20 == 0, 200);
    }
    run.until(100 * MS);
    // The process stood still for 600 ms: the pictures of 120 to 200 ms are too late by then, and
    // those up to 760 ms refer to them.
    run.now = run.start + 701 * MS;
    run.drain();
    run.until(Duration::from_secs(2));
    let pictures: Vec<_> = run.frames_of(VIDEO).iter().map(|(ticks, _)| ticks / 3600).collect();
    assert_eq!(pictures, [0, 1, 2, 20, 21, 22, 23, 24]);
    assert_eq!(run.frames_of(AUDIO).len(), 50);
    assert_eq!(run.sender.stats().video.unwrap().frames_dropped, 17);
    assert_contiguous(&run.packets_of(VIDEO));

    // Sound gives up after a second, and marks where it starts again.
    for n in 100..200 {
        run.sound(MediaTime::from_millis(20 * n));
    }
    run.now = run.start + 3501 * MS;
    run.drain();
    let sound = run.packets_of(AUDIO);
    assert_eq!(sound[50].1.timestamp.wrapping_sub(sound[0].1.timestamp) / 960, 126);
    assert_eq!(sound.iter().filter(|(_, packet)| packet.marker).count(), 2);
    assert!(sound[50].1.marker);
    assert_eq!(run.sender.stats().audio.unwrap().frames_dropped, 26);
    assert_contiguous(&sound);
}

#[test]
fn muted_streams_are_silent_and_come_back_in_step() {
    let mut run = Run::new(1);
    run.sender.set_muted(MediaKind::Audio, true);
    run.sender.set_muted(MediaKind::Video, true);
    for n in 0..100 {
        run.sound(MediaTime::from_millis(20 * n));
        if n % 2 == 0 {
            run.picture(MediaTime::from_millis(20 * n), n % 40 == 0, 200);
        }
    }
    run.until(990 * MS);
    assert_eq!(run.packets, []);
    assert_eq!(run.reports, []);
    run.sender.set_muted(MediaKind::Audio, false);
    run.sender.set_muted(MediaKind::Video, false);
    run.until(3000 * MS);
    assert_eq!(run.packets_of(AUDIO).len(), 50);
    assert_eq!(run.packets_of(AUDIO)[0].0, 1000 * MS);
    assert!(run.packets_of(AUDIO)[0].1.marker);
    // The key frames are at 0, 800 and 1600 ms.
    assert_eq!(run.packets_of(VIDEO)[0].0, 1600 * MS);
    let stats = run.sender.stats();
    assert_eq!(stats.audio.unwrap().frames_dropped, 0, "muted is not dropped");
    assert_eq!(stats.video.unwrap().frames_dropped, 15, "waiting for a key frame is");
}

#[test]
fn a_full_queue_drops_the_newest_up_to_a_key_frame() {
    let mut run = Run::new(1);
    for n in 0..300 {
        run.picture(FRAME * n, n == 0 || n == 290, 200);
    }
    run.until(FRAME.to_duration() * 20);
    for n in 300..400 {
        run.picture(FRAME * n, n == 350, 200);
    }
    run.until(FRAME.to_duration() * 500);
    let pictures: Vec<_> = run.frames_of(VIDEO).iter().map(|(ticks, _)| ticks / 3600).collect();
    // 21 had left when the rest came; of 300 to 400 the first half continues nothing.
    let expected: Vec<_> = (0..256).chain(350..371).collect();
    assert_eq!(pictures, expected);
}

#[test]
fn nothing_goes_back_in_time() {
    let mut run = Run::new(1);
    for millis in [0, 20, 40, 20, 40, 60] {
        run.sound(MediaTime::from_millis(millis));
    }
    run.until(Duration::from_secs(1));
    assert_eq!(run.frames_of(AUDIO).iter().map(|(ticks, _)| ticks / 960).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(run.sender.stats().audio.unwrap().frames_dropped, 2);
}

#[test]
fn requests_for_key_frames_are_counted_once_each() {
    let mut run = Run::new(1);
    run.picture(MediaTime::ZERO, true, 200);
    run.until(MS);
    assert_eq!(run.sender.keyframe_wanted(), None);
    let fir = |requester, sequence_number| Feedback::Fir { ssrc: VIDEO, requester, sequence_number };
    let requests = [fir(7, 1), fir(7, 1), fir(8, 1), fir(7, 1), fir(7, 2), Feedback::Pli { ssrc: VIDEO }];
    for request in &requests {
        run.sender.handle_feedback(request, run.now);
    }
    for ssrc in [AUDIO, RTX, 99] {
        run.sender.handle_feedback(&Feedback::Pli { ssrc }, run.now);
    }
    let asked = run.now;
    assert_eq!(run.sender.keyframe_wanted(), Some(asked));
    run.picture(FRAME, false, 200);
    run.until(60 * MS);
    assert_eq!(run.sender.keyframe_wanted(), Some(asked), "a picture that depends on others is no help");
    run.picture(FRAME * 2, true, 200);
    run.until(100 * MS);
    assert_eq!(run.sender.keyframe_wanted(), None);
    let video = run.sender.stats().video.unwrap();
    assert_eq!((video.fir_count, video.pli_count), (3, 1));
    assert_eq!((video.key_frame_waits, video.max_key_frame_wait), (1, 79 * MS));
}

#[test]
fn lost_packets_come_again_and_are_counted() {
    let mut run = Run::new(1);
    run.picture(MediaTime::ZERO, true, 5000);
    run.until(30 * MS);
    let sent: Vec<u16> = run.packets_of(VIDEO).iter().map(|(_, packet)| packet.sequence_number).collect();
    assert_eq!(sent.len(), 5);
    let lost = [sent[1], sent[3], sent[4].wrapping_add(1)];
    run.sender.handle_nack(VIDEO, &lost, run.now);
    run.sender.handle_nack(VIDEO, &lost[..2], run.now);
    run.sender.handle_nack(99, &lost, run.now);
    assert_eq!(run.sender.poll_timeout(), Some((run.now, Reason::Retransmission)));
    run.until(31 * MS);
    let repaired = run.packets_of(RTX);
    assert_contiguous(&repaired);
    let original = run.packets_of(VIDEO);
    for (again, lost) in repaired.iter().zip([1, 3]) {
        assert_eq!(again.1.payload[2..], original[lost].1.payload);
    }
    let video = run.sender.stats().video.unwrap();
    assert_eq!((video.packets_sent, video.retransmitted_packets_sent), (7, 2));
    assert_eq!((video.nack_count, video.nacked_packets_gone), (2, 1));
}

#[test]
fn the_goodbye_names_every_ssrc_behind_a_report() {
    let mut run = Run::new(1);
    assert_eq!(run.sender.goodbye(run.now), None, "nothing was sent that could end");
    run.sound(MediaTime::ZERO);
    run.drain();
    let bytes = run.sender.goodbye(run.now).unwrap();
    let (report, bye) = bytes.split_at(bytes.len() - 16);
    assert_eq!(bye, [0x83, 203, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
    assert_eq!((report[1], report.len() % 4), (200, 0));
    assert_eq!(report[4..8], AUDIO.to_be_bytes());
    assert_eq!(report[20..24], 1_u32.to_be_bytes(), "one packet was sent");
}

#[test]
fn both_reports_describe_one_clock() {
    let mut run = Run::new(1);
    // The picture starts between two ticks of the sound's clock.
    let odd = MediaTime::from_rational(1, 1001, 30_000);
    for n in 0..500 {
        run.sound(MediaTime::from_millis(20 * n));
        if n < 250 {
            run.picture(odd + FRAME * n, n == 0, 3000);
        }
        run.until(Duration::from_millis(20 * n.unsigned_abs()));
    }
    run.until(Duration::from_secs(10));
    let reports = |ssrc| run.reports.iter().filter(move |(_, r)| r.sender_report.ssrc == ssrc);
    assert_eq!(reports(AUDIO).next().unwrap().0, Duration::ZERO, "with the first packet");
    assert_eq!(reports(VIDEO).next().unwrap().0, odd.to_duration());
    assert!((9..=12).contains(&reports(AUDIO).count()));
    // As a receiver does it: the wall time of each packet's timestamp, by any report of its stream.
    for (ssrc, clock_rate) in [(AUDIO, 48_000.0), (VIDEO, 90_000.0)] {
        for (_, report) in reports(ssrc) {
            let report = report.sender_report;
            for (_, packet) in run.packets_of(ssrc).iter().filter(|(_, packet)| packet.ssrc == ssrc) {
                let ticks = packet.timestamp.wrapping_sub(report.rtp_timestamp).cast_signed();
                let ntp = report.ntp.wrapping_sub(run.sender.anchor.ntp_at(run.start)).cast_signed();
                let wall = ntp as f64 / 2_f64.powi(32) + f64::from(ticks) / clock_rate;
                let n_frames = packet.timestamp.wrapping_sub(run.packets_of(ssrc)[0].1.timestamp);
                let first = if ssrc == VIDEO { odd.as_secs_f64() } else { 0.0 };
                assert!((wall - first - f64::from(n_frames) / clock_rate).abs() < 20e-6, "{wall}");
            }
        }
    }
    let last = &reports(VIDEO).next_back().unwrap().1.sender_report;
    assert!(last.packet_count > 200 && u64::from(last.octet_count) > 3000 * 200);
    assert_eq!(&*run.reports[0].1.cname, "telecast");
}

#[test]
fn receivers_are_heard() {
    let mut run = Run::new(1);
    run.sound(MediaTime::ZERO);
    run.until(5 * MS);
    let sent = run.reports[0].1.sender_report.ntp;
    let report = ReceiverReport {
        ssrc: AUDIO,
        fraction_lost: 128,
        cumulative_lost: 3,
        highest_sequence_number: 0,
        jitter: 48,
        last_sender_report: (sent >> 16) as u32,
        delay_since_last_sender_report: 0,
    };
    run.sender.handle_feedback(&Feedback::ReceiverReport(report), run.start + 40 * MS);
    run.sender.handle_feedback(&Feedback::Remb { bitrate_bps: 900_000, ssrcs: vec![VIDEO] }, run.now);
    let seen = Feedback::TransportCc { base_sequence_number: 0, feedback_count: 0, n_received: 9, n_lost: 1 };
    run.sender.handle_feedback(&seen, run.now);
    let stats = run.sender.stats();
    let remote = stats.audio.unwrap().remote.unwrap();
    assert_eq!((remote.fraction_lost, remote.packets_lost, remote.jitter), (0.5, 3, MS));
    assert!(remote.round_trip_time.unwrap().abs_diff(40 * MS) < MS / 10);
    assert_eq!(stats.available_outgoing_bitrate, Some(900_000));
    assert_eq!((stats.transport_packets_received, stats.transport_packets_lost), (9, 1));
}

#[test]
fn a_call_without_pictures_ignores_them() {
    let mut run = Run::new(1);
    run.sender.video = None;
    run.picture(MediaTime::ZERO, true, 200);
    run.sound(MediaTime::ZERO);
    run.sender.handle_feedback(&Feedback::Pli { ssrc: VIDEO }, run.now);
    run.sender.handle_nack(VIDEO, &[1, 2], run.now);
    run.drain();
    assert_eq!((run.packets.len(), run.reports.len()), (1, 1));
    assert_eq!(run.sender.keyframe_wanted(), None);
    assert_eq!(run.sender.stats().video, None);
}

#[test]
fn ten_hours_of_odd_frames_stay_exact() {
    let mut run = Run::new(1);
    let step = MediaTime::from_rational(1, 1001, 30_000);
    let n_pictures = 10 * 3600 * 30_000 / 1001;
    let (mut n_sounds, mut first) = (0, HashMap::new());
    for n in 0..n_pictures {
        run.picture(step * n, n % 300 == 0, 20);
        while MediaTime::from_millis(20 * n_sounds) <= step * n {
            run.sound(MediaTime::from_millis(20 * n_sounds));
            n_sounds += 1;
        }
        run.until((step * n).to_duration());
        for (at, packet) in run.packets.drain(..) {
            let offset = *first.entry(packet.ssrc).or_insert(packet.timestamp);
            let ticks = u64::from(packet.timestamp.wrapping_sub(offset));
            // Picture n has 3003 ticks each; a sound has 960: nothing is rounded, at no time.
            let (expected, wall) = if packet.ssrc == VIDEO {
                (3003 * n, step * n)
            } else {
                let nth = MediaTime::from(at).to_ticks(50);
                (960 * nth, MediaTime::from_millis(20 * nth))
            };
            assert_eq!(ticks, expected.unsigned_abs() % (1 << 32));
            assert_eq!(at, wall.to_duration());
        }
    }
    assert_eq!(run.sender.stats().video.unwrap().frames_sent, n_pictures.unsigned_abs());
    assert_eq!(run.sender.stats().audio.unwrap().frames_sent, n_sounds.unsigned_abs());
    // And the last reports still agree with each other about the wall, hours from their anchor.
    let mut zero = HashMap::new();
    for (_, report) in &run.reports[run.reports.len() - 4..] {
        let SenderReport { ssrc, ntp, rtp_timestamp, .. } = report.sender_report;
        let clock_rate = if ssrc == VIDEO { 90_000_u64 } else { 48_000 };
        let passed = u128::from(ntp.wrapping_sub(run.sender.anchor.ntp_at(run.start)));
        let by_ntp = ((passed * u128::from(clock_rate)) >> 32) as u32;
        let by_rtp = rtp_timestamp.wrapping_sub(first[&ssrc]);
        zero.insert(ssrc, by_rtp.wrapping_sub(by_ntp).cast_signed());
    }
    assert!(zero.len() == 2 && zero.values().all(|ticks| ticks.abs() <= 1), "{zero:?}");
}

/// What may happen in a call, 20 ms of the programme each.
#[derive(Clone, Debug)]
enum Step {
    Sound,
    /// Nothing for so many steps.
    Pause(u8),
    Picture {
        key: bool,
        len: usize,
    },
    Lost(Vec<u16>),
    Mute(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Sound),
        1 => (1..100_u8).prop_map(Step::Pause),
        6 => (prop::bool::weighted(0.2), prop_oneof![1..4000_usize, 1..200_000_usize])
            .prop_map(|(key, len)| Step::Picture { key, len }),
        2 => vec(0..300_u16, 1..40).prop_map(Step::Lost),
        1 => any::<bool>().prop_map(Step::Mute),
    ];
    vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_happens_time_and_order_hold(steps in steps(), seed in any::<u64>(), lead in 0..200_u64) {
        let mut run = Run::new(seed);
        let step = MediaTime::from_millis(20);
        let (mut at, mut due) = (MediaTime::ZERO, HashMap::new());
        for next in steps {
            match next {
                Step::Sound => {
                    run.sound(at);
                    due.insert((AUDIO, at.to_ticks(48_000)), at.to_duration());
                    at += step;
                }
                Step::Pause(n) => at += step * n.into(),
                Step::Picture { key, len } => {
                    run.sound(at);
                    due.insert((AUDIO, at.to_ticks(48_000)), at.to_duration());
                    run.picture(at, key, len);
                    due.insert((VIDEO, at.to_ticks(90_000)), at.to_duration());
                    at += FRAME;
                }
                Step::Lost(back) => {
                    let video = run.packets_of(VIDEO);
                    if let Some((_, last)) = video.last() {
                        let lost: Vec<_> =
                            back.iter().map(|back| last.sequence_number.wrapping_sub(*back)).collect();
                        run.sender.handle_nack(VIDEO, &lost, run.now);
                    }
                }
                Step::Mute(muted) => run.sender.set_muted(MediaKind::Video, muted),
            }
            // Frames come in `lead` milliseconds before they are due.
            let lead = Duration::from_millis(lead);
            run.until((run.now - run.start).max(at.to_duration().saturating_sub(lead)));
        }
        run.until(at.to_duration() + Duration::from_secs(20));
        prop_assert_eq!(run.sender.poll_timeout(), None);

        for (ssrc, clock_rate) in [(AUDIO, 48_000), (VIDEO, 90_000)] {
            let packets = run.packets_of(ssrc);
            assert_contiguous(&packets);
            let Some((left, packet)) = packets.first() else { continue };
            // The clock's zero is the first frame that came, so the first packet tells the offset.
            let offset = packet.timestamp.wrapping_sub(MediaTime::from(*left).to_ticks(clock_rate) as u32);
            let mut previous = None;
            for (left, packet) in packets {
                let ticks = packet.timestamp.wrapping_sub(offset);
                let due = due.get(&(ssrc, ticks.into())).copied();
                prop_assert!(due.is_some(), "a timestamp that no frame has: {}", ticks);
                let due = due.unwrap();
                if previous != Some(ticks) {
                    prop_assert_eq!(*left, due, "the first packet of a frame");
                    prop_assert!(previous.is_none_or(|previous| previous < ticks));
                } else {
                    prop_assert!(*left >= due && *left < due + FRAME.to_duration() / 2 + 10 * MS);
                }
                previous = Some(ticks);
            }
        }
        let sent: HashMap<u16, &Packet> =
            run.packets_of(VIDEO).into_iter().map(|(_, packet)| (packet.sequence_number, packet)).collect();
        let repaired = run.packets_of(RTX);
        assert_contiguous(&repaired);
        for (_, again) in repaired {
            let original = sent[&u16::from_be_bytes([again.payload[0], again.payload[1]])];
            prop_assert_eq!(&again.payload[2..], &original.payload[..]);
            prop_assert_eq!(again.timestamp, original.timestamp);
        }
        let stats = run.sender.stats();
        prop_assert_eq!(stats.audio.unwrap().frames_dropped, 0);
        prop_assert_eq!(stats.video.unwrap().packets_sent as usize,
            run.packets_of(VIDEO).len() + run.packets_of(RTX).len());
    }
}
