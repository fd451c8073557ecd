//! Small streams made page by page.

use std::io::Cursor;

use super::page::tests::page;
use super::*;

const HEAD: &[u8] = b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0";
const TAGS: &[u8] = b"OpusTags\0\0\0\0\0\0\0\0";
const BEGINS: u8 = 2;
const CONTINUES: u8 = 1;
const ENDS: u8 = 4;

/// Configuration 31, one frame: 20 ms, with a number inside.
fn packet(number: u8) -> [u8; 3] {
    [31 << 3, 0xaa, number]
}

fn headers(serial: u32) -> Vec<u8> {
    [page(BEGINS, 0, serial, &[HEAD.len() as u8], HEAD), page(0, 0, serial, &[TAGS.len() as u8], TAGS)]
        .concat()
}

/// A page of whole packets that ends at a position.
fn sound(flags: u8, position: i64, serial: u32, first: u8, n_packets: u8) -> Vec<u8> {
    let body: Vec<_> = (first..first + n_packets).flat_map(packet).collect();
    page(flags, position, serial, &vec![3; n_packets.into()], &body)
}

fn open_bytes(bytes: Vec<u8>) -> Result<Ogg, DemuxError> {
    Ogg::open(Reader::new(Box::new(Cursor::new(bytes))).unwrap())
}

fn rest(ogg: &mut Ogg) -> Vec<Packet> {
    std::iter::from_fn(|| ogg.next_packet().unwrap()).collect()
}

fn numbers_and_ticks(packets: &[Packet]) -> Vec<(u8, i64)> {
    packets.iter().map(|packet| (packet.data[2], packet.pts.to_ticks(RATE))).collect()
}

#[test]
fn pre_skip_and_the_end_are_trimmed() {
    let bytes = [headers(1), sound(0, 2 * 960, 1, 0, 2), sound(ENDS, 4 * 960 - 100, 1, 2, 2)].concat();
    let mut ogg = open_bytes(bytes).unwrap();
    assert_eq!(ogg.tracks()[0].duration.unwrap().to_ticks(RATE), 4 * 960 - 100 - 312);
    let packets = rest(&mut ogg);
    assert_eq!(numbers_and_ticks(&packets), [(0, -312), (1, 648), (2, 1608), (3, 2568)]);
    let trims: Vec<_> = packets.iter().map(|packet| (packet.trim_start, packet.trim_end)).collect();
    assert_eq!(trims, [(312, 0), (0, 0), (0, 0), (0, 100)]);
}

#[test]
fn a_stream_of_one_page_begins_at_zero() {
    let mut ogg = open_bytes([headers(1), sound(ENDS, 1000, 1, 0, 2)].concat()).unwrap();
    let packets = rest(&mut ogg);
    assert_eq!(numbers_and_ticks(&packets), [(0, -312), (1, 648)]);
    assert_eq!((packets[1].trim_start, packets[1].trim_end), (0, 920));
}

#[test]
fn a_recording_that_starts_late_begins_at_zero_too() {
    let late = 48_000 * 3600;
    let mut ogg =
        open_bytes([headers(1), sound(0, late, 1, 0, 2), sound(0, late + 960, 1, 2, 1)].concat()).unwrap();
    assert_eq!(numbers_and_ticks(&rest(&mut ogg)), [(0, -312), (1, 648), (2, 1608)]);
}

#[test]
fn packets_over_several_pages_are_joined() {
    let mut long = vec![31 << 3, 0xaa, 9];
    long.extend(vec![7; 600]);
    let bytes = [
        headers(1),
        page(0, 960, 1, &[3, 255], &[&packet(0)[..], &long[..255]].concat()),
        page(CONTINUES, -1, 1, &[255], &long[255..510]),
        page(CONTINUES, 1920 + 960, 1, &[93, 3], &[&long[510..], &packet(2)].concat()),
    ]
    .concat();
    let mut ogg = open_bytes(bytes).unwrap();
    let packets = rest(&mut ogg);
    assert_eq!(numbers_and_ticks(&packets), [(0, -312), (9, 648), (2, 1608)]);
    assert_eq!(packets[1].data, long);
}

#[test]
fn a_lost_page_leaves_a_gap_and_no_shift() {
    let bytes = [headers(1), sound(0, 960, 1, 0, 1), sound(0, 5 * 960, 1, 3, 2)].concat();
    assert_eq!(numbers_and_ticks(&rest(&mut open_bytes(bytes).unwrap())), [(0, -312), (3, 2568), (4, 3528)]);

    let mut long = vec![31 << 3, 0xaa, 9];
    long.extend(vec![7; 300]);
    let bytes = [
        headers(1),
        page(0, 960, 1, &[3, 255], &[&packet(0)[..], &long[..255]].concat()),
        // The end of the long packet is missing here; what continues belongs to another.
        page(0, 5 * 960, 1, &[3, 3], &[packet(3), packet(4)].concat()),
    ];
    assert_eq!(
        numbers_and_ticks(&rest(&mut open_bytes(bytes.concat()).unwrap())),
        [(0, -312), (3, 2568), (4, 3528)]
    );
}

#[test]
fn chained_streams_play_one_after_the_other() {
    let first = [headers(1), sound(ENDS, 3 * 960 - 48, 1, 0, 3)].concat();
    let second = [headers(2), sound(0, 960, 2, 5, 1), sound(ENDS, 1920, 2, 6, 1)].concat();
    let mut ogg = open_bytes([first, second].concat()).unwrap();
    let packets = rest(&mut ogg);
    let end = 3 * 960 - 48 - 312;
    let expected = [(0, -312), (1, 648), (2, 1608), (5, end - 312), (6, end + 648)];
    assert_eq!(numbers_and_ticks(&packets), expected);
    let trims: Vec<_> = packets.iter().map(|packet| (packet.trim_start, packet.trim_end)).collect();
    assert_eq!(trims, [(312, 0), (0, 0), (0, 48), (312, 0), (0, 0)]);
    for to in [MediaTime::from_millis(130), MediaTime::ZERO, MediaTime::from_secs(9)] {
        ogg.seek(to).unwrap();
        let after = numbers_and_ticks(&rest(&mut ogg));
        assert!(expected.ends_with(&after) && !after.is_empty(), "to {to:?}: {after:?}");
    }
}

#[test]
fn other_streams_are_listed_and_not_read() {
    let vorbis = [&b"\x01vorbis\0\0\0\0\x02\x44\xac\0\0"[..], &[0; 14]].concat();
    let vorbis_page = page(BEGINS, 0, 7, &[vorbis.len() as u8], &vorbis);
    let bytes = [
        vorbis_page.clone(),
        headers(1),
        page(0, 50, 7, &[2], b"xx"),
        sound(0, 960, 1, 0, 1),
        page(ENDS, 90, 7, &[2], b"xx"),
    ];
    let mut ogg = open_bytes(bytes.concat()).unwrap();
    let codecs: Vec<_> = ogg.tracks().iter().map(|track| track.codec.name().to_owned()).collect();
    assert_eq!(codecs, ["vorbis", "opus"]);
    assert_eq!(ogg.tracks()[0].shape, Shape::Audio { sample_rate: 44_100, channels: 2 });
    let packets = rest(&mut ogg);
    assert_eq!((packets.len(), packets[0].track), (1, 1));

    let mut alone = open_bytes([vorbis_page, page(ENDS, 90, 7, &[2], b"xx")].concat()).unwrap();
    assert_eq!(alone.next_packet().unwrap(), None);
    assert_eq!(alone.seek(MediaTime::from_secs(1)).unwrap(), MediaTime::from_secs(1));
    let skeleton = page(BEGINS, 0, 3, &[8], b"fishead\0");
    assert!(matches!(
        open_bytes([skeleton, page(0, 0, 3, &[1], b"x")].concat()).err(),
        Some(DemuxError::NoTracks { .. })
    ));
}

/// Damage behind a right checksum, which the checksum cannot catch.
#[test]
fn pages_that_lie_are_an_error_or_an_end() {
    let mut random = fastrand::Rng::with_seed(0x0995);
    for round in 0..1000 {
        let mut bytes = headers(1);
        for _ in 0..random.usize(0..6) {
            let n_segments = random.usize(0..5);
            let sizes: Vec<_> =
                (0..n_segments).map(|_| random.choice([0, 1, 3, 254, 255]).unwrap()).collect();
            let length: usize = sizes.iter().map(|size| usize::from(*size)).sum();
            let body: Vec<_> = (0..length).map(|_| random.u8(..)).collect();
            let position = random.choice([-1, 0, 960, 5000, i64::MAX, i64::MIN, 312]).unwrap();
            let flags = random.u8(0..8);
            bytes.extend(page(flags, position, random.u32(1..3), &sizes, &body));
            if random.u8(0..8) == 0 {
                bytes.extend(headers(random.u32(1..4)));
            }
        }
        let Ok(mut ogg) = open_bytes(bytes) else { continue };
        for to in [None, Some(0), Some(random.i64(-1000..100_000))] {
            if let Some(to) = to {
                let _ = ogg.seek(MediaTime::from_millis(to));
            }
            let n_calls = std::iter::from_fn(|| ogg.next_packet().transpose()).take(10_000).count();
            assert!(n_calls < 10_000, "round {round}: no end");
        }
    }
}
