use proptest::prelude::*;

use super::*;
use crate::rtp::testing::start;

const SSRC: u32 = 0xaaaa_0001;
const RTX: RtxConfig = RtxConfig { ssrc: 0xaaaa_0002, payload_type: 105 };
const FRAME: MediaTime = MediaTime::from_millis(40);

fn video(rtx: Option<RtxConfig>) -> SendStream {
    let config = StreamConfig {
        kind: MediaKind::Video,
        codec: Codec::H264,
        ssrc: SSRC,
        payload_type: 104,
        clock_rate: 90_000,
        rtx,
        others: vec![],
    };
    SendStream::new(config, &mut fastrand::Rng::with_seed(7))
}

fn audio() -> SendStream {
    let config = StreamConfig {
        kind: MediaKind::Audio,
        codec: Codec::Opus,
        ssrc: SSRC,
        payload_type: 111,
        clock_rate: 48_000,
        rtx: None,
        others: vec![],
    };
    SendStream::new(config, &mut fastrand::Rng::with_seed(7))
}

fn send(stream: &mut SendStream, data: &[u8], elapsed: MediaTime, now: Instant) -> Vec<Packet> {
    let kind = stream.config.kind;
    let (duration, level) = match kind {
        MediaKind::Audio => (MediaTime::from_millis(20), Some(AudioLevel::SILENCE)),
        MediaKind::Video => (FRAME, None),
    };
    let data = Bytes::copy_from_slice(data);
    let frame = Frame {
        kind,
        codec: crate::media::usual_codec(kind),
        pts: MediaTime::ZERO,
        duration,
        key: true,
        data,
        level,
        rotation: 0,
    };
    let n_packets = stream.handle_frame(&frame, elapsed);
    let packets: Vec<_> = std::iter::from_fn(|| stream.poll_packet(now)).collect();
    assert_eq!(packets.len(), n_packets);
    packets
}

fn slice(len: usize) -> Vec<u8> {
    [&[0, 0, 1, 0x65][..], &vec![0xab; len - 1]].concat()
}

#[test]
fn a_picture_is_marked_at_its_end() {
    let (start, mut stream) = (start(), video(None));
    let packets = send(&mut stream, &slice(3 * MAX_PAYLOAD), MediaTime::ZERO, start);
    assert_eq!(packets.iter().map(|p| p.marker).collect::<Vec<_>>(), [false, false, false, true]);
    assert!(packets.iter().all(|p| p.timestamp == packets[0].timestamp && p.payload_type == 104));
    let next = send(&mut stream, &slice(100), FRAME, start);
    assert_eq!(next[0].timestamp.wrapping_sub(packets[0].timestamp), 3600);
    assert_eq!(next[0].sequence_number, packets[3].sequence_number.wrapping_add(1));
    assert!(next[0].marker);
}

#[test]
fn a_turned_picture_says_so_at_its_end_and_the_next_one_takes_it_back() {
    let (start, mut stream) = (start(), video(None));
    let mut rotations = |rotation, elapsed| {
        let data = Bytes::from(slice(2 * MAX_PAYLOAD));
        let kind = MediaKind::Video;
        let pts = MediaTime::ZERO;
        let frame = Frame {
            kind,
            codec: crate::media::Codec::H264,
            pts,
            duration: FRAME,
            key: true,
            data,
            level: None,
            rotation,
        };
        stream.handle_frame(&frame, elapsed);
        std::iter::from_fn(|| stream.poll_packet(start)).map(|packet| packet.rotation).collect::<Vec<_>>()
    };
    assert_eq!(rotations(0, MediaTime::ZERO), [None, None, None]);
    assert_eq!(rotations(1, FRAME), [None, None, Some(1)]);
    assert_eq!(rotations(0, FRAME * 2), [None, None, Some(0)]);
}

#[test]
fn another_codec_has_its_own_payload_types_and_picture_ids() {
    let others = vec![PayloadFormat { codec: Codec::Vp8, payload_type: 100, rtx_payload_type: Some(101) }];
    let config = StreamConfig { others, ..video(Some(RTX)).config };
    let (start, mut stream) = (start(), SendStream::new(config, &mut fastrand::Rng::with_seed(7)));
    let mut send = |codec, data: Vec<u8>, elapsed| {
        let (kind, pts, data) = (MediaKind::Video, MediaTime::ZERO, Bytes::from(data));
        let frame = Frame { kind, codec, pts, duration: FRAME, key: true, data, level: None, rotation: 0 };
        stream.handle_frame(&frame, elapsed);
        std::iter::from_fn(|| stream.poll_packet(start)).collect::<Vec<_>>()
    };
    let h264 = send(Codec::H264, slice(10), MediaTime::ZERO);
    let first = send(Codec::Vp8, vec![0; 10], FRAME);
    let second = send(Codec::Vp8, vec![0; 10], FRAME * 2);
    assert_eq!(send(Codec::Vp9, vec![0; 10], FRAME * 3), [], "the answer does not list it");
    assert_eq!([h264[0].payload_type, first[0].payload_type], [104, 100]);
    assert_eq!(first[0].sequence_number, h264[0].sequence_number.wrapping_add(1));
    let id = |packet: &Packet| u16::from_be_bytes([packet.payload[2], packet.payload[3]]) & 0x7fff;
    assert_eq!(id(&second[0]), (id(&first[0]) + 1) & 0x7fff);
    let again = stream.resend(first[0].sequence_number, start).unwrap();
    assert_eq!((again.ssrc, again.payload_type), (RTX.ssrc, 101));
    let again = stream.resend(h264[0].sequence_number, start).unwrap();
    assert_eq!(again.payload_type, RTX.payload_type);
}

#[test]
fn sound_is_marked_after_a_pause() {
    let (start, mut stream) = (start(), audio());
    let at = |millis| MediaTime::from_millis(millis);
    let packets: Vec<_> =
        [0, 20, 40, 100, 120].iter().flat_map(|ms| send(&mut stream, b"sound", at(*ms), start)).collect();
    assert_eq!(packets.iter().map(|p| p.marker).collect::<Vec<_>>(), [true, false, false, true, false]);
    let ticks: Vec<_> = packets.iter().map(|p| p.timestamp.wrapping_sub(packets[0].timestamp)).collect();
    assert_eq!(ticks, [0, 960, 1920, 4800, 5760]);
    assert_eq!(packets[4].sequence_number.wrapping_sub(packets[0].sequence_number), 4);
    assert_eq!(packets[0].audio_level, Some(AudioLevel::SILENCE));
}

#[test]
fn what_cannot_be_sent_leaves_no_trace() {
    let (start, mut stream) = (start(), video(None));
    let first = send(&mut stream, &slice(10), MediaTime::ZERO, start);
    assert_eq!(send(&mut stream, b"no start code", FRAME, start), []);
    let next = send(&mut stream, &slice(10), FRAME * 2, start);
    assert_eq!(next[0].sequence_number, first[0].sequence_number.wrapping_add(1));
    assert_eq!(stream.counters().frames, 2);
}

#[test]
fn a_lost_packet_comes_again_behind_its_number() {
    let (start, mut stream) = (start(), video(Some(RTX)));
    let packets = send(&mut stream, &slice(2 * MAX_PAYLOAD), MediaTime::ZERO, start);
    let lost = &packets[2];
    let interval = Duration::from_millis(50);
    assert_eq!(stream.handle_nack(lost.sequence_number, interval, start), Nacked::Resend);
    let later = start + Duration::from_secs(1);
    assert_eq!(stream.handle_nack(lost.sequence_number, interval, later), Nacked::Answered, "it waits");
    let again = stream.resend(lost.sequence_number, start).unwrap();
    assert_eq!((again.ssrc, again.payload_type), (RTX.ssrc, RTX.payload_type));
    assert_eq!((again.timestamp, again.marker), (lost.timestamp, lost.marker));
    assert_eq!(again.payload[..2], lost.sequence_number.to_be_bytes());
    assert_eq!(again.payload[2..], lost.payload);
    let other = stream.resend(packets[0].sequence_number, start).unwrap();
    assert_eq!(other.sequence_number, again.sequence_number.wrapping_add(1));

    let soon = start + Duration::from_millis(49);
    assert_eq!(stream.handle_nack(lost.sequence_number, interval, soon), Nacked::Answered);
    let later = start + Duration::from_millis(50);
    assert_eq!(stream.handle_nack(lost.sequence_number, interval, later), Nacked::Resend);
    let counters = stream.counters();
    assert_eq!((counters.packets, counters.retransmitted_packets), (3, 2));
}

#[test]
fn without_rtx_a_lost_packet_comes_as_it_was() {
    let (start, mut stream) = (start(), video(None));
    let packets = send(&mut stream, &slice(2 * MAX_PAYLOAD), MediaTime::ZERO, start);
    assert_eq!(stream.resend(packets[1].sequence_number, start).as_ref(), Some(&packets[1]));
}

#[test]
fn the_history_ends_by_age_and_by_length() {
    let (start, mut stream) = (start(), video(Some(RTX)));
    let first = send(&mut stream, &slice(10), MediaTime::ZERO, start)[0].sequence_number;
    assert_eq!(stream.handle_nack(first.wrapping_sub(1), Duration::ZERO, start), Nacked::Gone);
    assert_eq!(stream.handle_nack(first.wrapping_add(1), Duration::ZERO, start), Nacked::Gone);
    assert!(stream.resend(first, start + HISTORY_AGE).is_some());
    let too_late = start + HISTORY_AGE + Duration::from_nanos(1);
    assert_eq!(stream.handle_nack(first, Duration::ZERO, too_late), Nacked::Gone);
    assert_eq!(stream.resend(first, too_late), None);
    for n in 1..=HISTORY_LEN {
        send(&mut stream, &slice(10), FRAME * n as i64, start);
    }
    assert_eq!(stream.history.len(), HISTORY_LEN);
    assert_eq!(stream.resend(first, start), None);
    assert!(stream.resend(first.wrapping_add(1), start).is_some());
}

proptest! {
    #[test]
    fn numbers_never_have_a_hole(lens in prop::collection::vec(0..9000_usize, 1..60), seed in any::<u64>()) {
        let config = StreamConfig {
            kind: MediaKind::Video, codec: Codec::H264, ssrc: SSRC, payload_type: 104, clock_rate: 90_000, rtx: Some(RTX), others: vec![],
        };
        let (start, mut stream) = (start(), SendStream::new(config, &mut fastrand::Rng::with_seed(seed)));
        let mut expected = stream.sequence_number;
        for (n, len) in lens.iter().enumerate() {
            let data = if *len == 0 { vec![] } else { slice(*len) };
            for packet in send(&mut stream, &data, FRAME * n as i64, start) {
                prop_assert_eq!(packet.sequence_number, expected);
                expected = expected.wrapping_add(1);
                let again = stream.resend(packet.sequence_number, start).unwrap();
                prop_assert_eq!(&again.payload[2..], &packet.payload[..]);
            }
        }
    }
}
