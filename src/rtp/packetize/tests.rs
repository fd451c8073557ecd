use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const SPS: &[u8] = &[0x67, 0x42, 0xe0, 0x1f, 0x8c];
const PPS: &[u8] = &[0x68, 0xce, 0x3c, 0x80];
const SEI: &[u8] = &[0x06, 0x05, 0x01, 0xaa, 0x80];

fn annex_b(nals: &[&[u8]]) -> Bytes {
    let mut bytes = Vec::new();
    for (idx, nal) in nals.iter().enumerate() {
        // Both lengths of the start code occur in real files.
        bytes.extend_from_slice(if idx % 2 == 0 { &[0, 0, 0, 1] } else { &[0, 0, 1] });
        bytes.extend_from_slice(nal);
    }
    bytes.into()
}

fn payloads(nals: &[&[u8]], max_payload: usize) -> Vec<Bytes> {
    let mut out = VecDeque::new();
    h264(&annex_b(nals), max_payload, &mut out);
    out.iter().map(Payload::to_bytes).collect()
}

fn slice_nal(header: u8, len: usize) -> Vec<u8> {
    let mut nal = vec![0xab; len];
    nal[0] = header;
    nal
}

/// What a receiver does, written from RFC 6184 §5.6 to §5.8.
fn depacketize(payloads: &[Bytes]) -> Vec<Vec<u8>> {
    let mut nals: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<Vec<u8>> = None;
    for payload in payloads {
        match payload[0] & 0x1f {
            24 => {
                let mut rest = &payload[1..];
                while !rest.is_empty() {
                    let len = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                    nals.push(rest[2..2 + len].to_vec());
                    rest = &rest[2 + len..];
                }
            }
            28 => {
                let (indicator, header) = (payload[0], payload[1]);
                assert_ne!(header & 0xc0, 0xc0, "start and end in one fragment");
                assert_eq!(header & 0x20, 0, "the reserved bit");
                if header & 0x80 != 0 {
                    assert_eq!(open, None);
                    open = Some(vec![(indicator & 0xe0) | (header & 0x1f)]);
                }
                open.as_mut().unwrap().extend_from_slice(&payload[2..]);
                if header & 0x40 != 0 {
                    nals.push(open.take().unwrap());
                }
            }
            _ => {
                assert_eq!(open, None, "a fragment is never interrupted");
                nals.push(payload.to_vec());
            }
        }
    }
    assert_eq!(open, None);
    nals
}

#[test]
fn the_largest_packet_and_its_retransmission_fit() {
    assert_eq!(MAX_PAYLOAD, 1154);
    assert_eq!(MAX_PAYLOAD + RTX_HEADER + EXTENSIONS + RTP_HEADER + SRTP_TAG, MAX_PACKET);
}

#[test]
fn a_small_nal_unit_travels_alone_and_uncopied() {
    let nal = slice_nal(0x41, 300);
    let unit = annex_b(&[&nal]);
    let mut out = VecDeque::new();
    h264(&unit, MAX_PAYLOAD, &mut out);
    assert_eq!(out.len(), 1);
    let payload = out[0].to_bytes();
    assert_eq!(payload, nal);
    assert_eq!(payload.as_ptr(), unit[4..].as_ptr(), "a slice of the frame, not a copy");
}

#[test]
fn parameter_sets_share_a_packet_before_a_fragmented_picture() {
    let idr = slice_nal(0x65, 3000);
    let payloads = payloads(&[SPS, PPS, SEI, &idr], MAX_PAYLOAD);
    // STAP-A: F 0, NRI 3 (the highest of all), type 24; then length and NAL unit, three times.
    assert_eq!(payloads[0][..3], [0x78, 0, 5]);
    assert_eq!(payloads[0].len(), 1 + 3 * 2 + SPS.len() + PPS.len() + SEI.len());
    // FU-A: NRI of the picture, type 28; then S, E, R and the picture's own type.
    assert_eq!(payloads[1][..2], [0x7c, 0x85]);
    assert_eq!(payloads[2][..2], [0x7c, 0x05]);
    assert_eq!(payloads[3][..2], [0x7c, 0x45]);
    assert_eq!(payloads.len(), 4);
    // 2999 bytes behind the NAL header, in equal parts, two bytes of header each.
    assert_eq!(payloads[1..].iter().map(Bytes::len).collect::<Vec<_>>(), [1002, 1002, 1001]);
}

#[test]
fn a_group_takes_the_highest_importance_and_any_forbidden_bit() {
    let payloads = payloads(&[&[0x06, 1], &[0x21, 2], &[0xc1, 3]], MAX_PAYLOAD);
    assert_eq!(payloads, [&[0x80 | 0x40 | 24, 0, 2, 0x06, 1, 0, 2, 0x21, 2, 0, 2, 0xc1, 3][..]]);
}

#[test]
fn a_group_ends_where_the_packet_is_full() {
    // 1 + (2 + 50) + (2 + 46) = 101: one byte too many.
    let (first, second) = (slice_nal(0x41, 50), slice_nal(0x41, 46));
    assert_eq!(payloads(&[&first, &second], 100), [&first[..], &second[..]]);
    assert_eq!(payloads(&[&first, &second[..45]], 100).len(), 1);
}

#[test]
fn a_nal_unit_of_exactly_the_maximum_is_not_cut() {
    let nal = slice_nal(0x41, 100);
    assert_eq!(payloads(&[&nal], 100), [&nal[..]]);
    let cut = payloads(&[&nal], 99);
    assert_eq!(cut.iter().map(Bytes::len).collect::<Vec<_>>(), [52, 51]);
}

#[test]
fn delimiters_filler_and_undefined_types_stay_behind() {
    let payloads = payloads(
        &[&[0x09, 0xf0], &[0x0c, 0xff, 0x80], &[0x00, 1], &[0x78, 1], &[0x7c, 0x85], &[0x41, 9]],
        99,
    );
    assert_eq!(payloads, [&[0x41, 9][..]]);
}

#[test]
fn broken_bytes_give_nothing() {
    for bytes in [
        &[][..],
        &[0],
        &[0, 0],
        &[0, 0, 1],
        &[0, 0, 0, 1],
        &[0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0],
        &[0x65; 50],
        &[1, 1, 1, 1],
    ] {
        let mut out = VecDeque::new();
        h264(&Bytes::copy_from_slice(bytes), MAX_PAYLOAD, &mut out);
        assert_eq!(out, [], "{bytes:?}");
    }
}

#[test]
fn opus_is_one_payload_however_long() {
    let mut out = VecDeque::new();
    opus(&Bytes::new(), &mut out);
    assert_eq!(out, []);
    opus(&Bytes::from(vec![0xfc; 1275]), &mut out);
    assert_eq!(out.iter().map(Payload::len).collect::<Vec<_>>(), [1275]);
}

/// Bytes that can stand in a NAL unit: no start code inside, no zero at the end.
fn nal_body() -> impl Strategy<Value = Vec<u8>> {
    (1..=23_u8, 0..4_u8, vec(1..=255_u8, 0..5000)).prop_map(|(kind, importance, mut body)| {
        // Zeros with an emulation prevention byte, as an encoder would write them.
        for chunk in body.chunks_exact_mut(7) {
            chunk[..3].copy_from_slice(&[0, 0, 3]);
        }
        body.insert(0, (importance << 5) | kind);
        body
    })
}

proptest! {
    #[test]
    fn a_receiver_gets_the_nal_units_back(nals in vec(nal_body(), 0..8), max_payload in 3..1500_usize) {
        let slices: Vec<&[u8]> = nals.iter().map(Vec::as_slice).collect();
        let payloads = payloads(&slices, max_payload);
        for payload in &payloads {
            prop_assert!(!payload.is_empty() && payload.len() <= max_payload);
        }
        let sent: Vec<_> = nals.into_iter().filter(|nal| ![9, 12].contains(&(nal[0] & 0x1f))).collect();
        prop_assert_eq!(depacketize(&payloads), sent);
    }

    #[test]
    fn any_bytes_are_survived(bytes in vec(prop_oneof![4 => Just(0_u8), 2 => Just(1_u8), 1 => any::<u8>()], 0..400)) {
        let mut out = VecDeque::new();
        h264(&Bytes::from(bytes), 20, &mut out);
        let payloads: Vec<_> = out.iter().map(Payload::to_bytes).collect();
        depacketize(&payloads);
    }
}

/// The descriptors of a frame cut into payloads, checked on the way: sizes, order, no byte lost.
fn described(frame: &Bytes, out: VecDeque<Payload>, descriptor: usize) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    let descriptors = out.into_iter().map(|payload| {
        let bytes = payload.to_bytes();
        assert!(bytes.len() == payload.len() && bytes.len() <= MAX_PAYLOAD);
        bodies.extend_from_slice(&bytes[descriptor..]);
        bytes[..descriptor].to_vec()
    });
    let descriptors: Vec<_> = descriptors.collect();
    assert_eq!(bodies, frame[..]);
    descriptors
}

#[test]
fn vp8_frames_carry_a_picture_id_and_begin_their_partition_once() {
    let frame = Bytes::from((0..70_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>());
    let mut out = VecDeque::new();
    vp8(&frame, 0x8123, MAX_PAYLOAD, &mut out);
    let described = described(&frame, out, 4);
    assert!(described.len() > 60, "a frame of more than 64 KiB");
    // X and S, then I, then the id with its first bit set.
    assert_eq!(described[0], [0x90, 0x80, 0x81, 0x23]);
    assert!(described[1..].iter().all(|descriptor| descriptor[..] == [0x80, 0x80, 0x81, 0x23]));
}

#[test]
fn vp9_frames_say_where_they_begin_and_end_and_whether_they_refer_to_others() {
    let frame = Bytes::from(vec![7; 2 * MAX_PAYLOAD]);
    for (key, bits) in [(true, 0x80), (false, 0xc0)] {
        let mut out = VecDeque::new();
        vp9(&frame, key, 0x7fff, MAX_PAYLOAD, &mut out);
        let flags: Vec<u8> = described(&frame, out, 3).iter().map(|descriptor| descriptor[0]).collect();
        assert_eq!(flags, [bits | 0x08, bits, bits | 0x04]);
    }
    let (small, mut out) = (Bytes::from_static(b"one"), VecDeque::new());
    vp9(&small, false, 0, MAX_PAYLOAD, &mut out);
    assert_eq!(described(&small, out, 3), [[0xcc, 0x80, 0]]);
    let mut nothing = VecDeque::new();
    vp9(&Bytes::new(), false, 0, MAX_PAYLOAD, &mut nothing);
    assert!(nothing.is_empty());
}
