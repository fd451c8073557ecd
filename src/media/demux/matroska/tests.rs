//! Variants of a clip, and small files made element by element.

use std::io::Cursor;

use super::*;
use crate::media::Codec;
use crate::media::demux::Shape;

fn clip() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/media/clip.mkv")).unwrap()
}

fn open_bytes(bytes: Vec<u8>) -> Result<Matroska, DemuxError> {
    Matroska::open(Reader::new(Box::new(Cursor::new(bytes))).unwrap())
}

fn rest(matroska: &mut Matroska) -> Vec<Packet> {
    std::iter::from_fn(|| matroska.next_packet().unwrap()).collect()
}

/// The positions of the elements of an id on the two upper levels.
fn elements(bytes: &[u8], id: Id) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(header) = Header::parse(&bytes[at..]) {
        if header.id == id {
            found.push(at);
        }
        at += header.length;
        if header.id != SEGMENT {
            at += usize::try_from(header.size.unwrap()).unwrap();
        }
    }
    found
}

/// Makes the size of the element at a position unknown, in place.
fn forget_size(bytes: &mut [u8], at: usize) {
    let header = Header::parse(&bytes[at..]).unwrap();
    let id_length = bytes[at].leading_zeros() as usize + 1;
    let size = &mut bytes[at + id_length..at + header.length];
    let length = size.len();
    size.fill(0xff);
    size[0] = ((1_u16 << (9 - length)) - 1) as u8;
}

fn element(id: Id, payload: &[u8]) -> Vec<u8> {
    let id = id.to_be_bytes();
    let id = &id[id.iter().position(|byte| *byte != 0).unwrap()..];
    let size = (payload.len() as u64 | 1 << 56).to_be_bytes();
    [id, &size, payload].concat()
}

fn unsigned(id: Id, value: u64) -> Vec<u8> {
    element(id, &value.to_be_bytes())
}

/// A file with the given track entry and clusters.
fn file(entry: &[Vec<u8>], clusters: &[Vec<u8>]) -> Vec<u8> {
    let tracks = element(TRACKS, &element(TRACK_ENTRY, &entry.concat()));
    let segment = [element(INFO, &[]), tracks, clusters.concat()].concat();
    [element(EBML, &element(DOC_TYPE, b"webm")), element(SEGMENT, &segment)].concat()
}

fn simple_block(time: i16, flags: u8, data: &[u8]) -> Vec<u8> {
    let [high, low] = time.to_be_bytes();
    element(SIMPLE_BLOCK, &[&[0x81, high, low, flags], data].concat())
}

fn cluster(time: u64, blocks: &[Vec<u8>]) -> Vec<u8> {
    element(CLUSTER, &[unsigned(TIMESTAMP, time), blocks.concat()].concat())
}

const OPUS_HEAD: &[u8] = b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0";
/// Configuration 31, one frame: 20 ms.
const OPUS_PACKET: [u8; 3] = [31 << 3, 1, 2];

fn opus_entry(more: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut entry = vec![
        unsigned(0xd7, 1),
        unsigned(0x83, 2),
        element(0x86, b"A_OPUS"),
        element(0x63a2, OPUS_HEAD),
        element(0x0022_b59c, b"fre"),
    ];
    entry.extend_from_slice(more);
    entry
}

/// Everything that a seek gives, for a row of times.
fn seeks(bytes: &[u8]) -> Vec<(MediaTime, Vec<Packet>)> {
    let seek = |millis| {
        let mut matroska = open_bytes(bytes.to_vec()).unwrap();
        (matroska.seek(MediaTime::from_millis(millis)).unwrap(), rest(&mut matroska))
    };
    [12_345, 0, 5000, 19_999, -7].map(seek).into()
}

#[test]
fn seeking_without_cues_and_without_sizes_is_the_same() {
    let whole = clip();
    let expected = seeks(&whole);
    let mut without_cues = whole.clone();
    for at in elements(&whole, CUES) {
        without_cues[at + 3] ^= 1;
    }
    assert!(seeks(&without_cues) == expected, "without cues");
    let mut live = without_cues;
    for id in [SEGMENT, CLUSTER] {
        for at in elements(&whole, id) {
            forget_size(&mut live, at);
        }
    }
    assert!(rest(&mut open_bytes(live.clone()).unwrap()) == rest(&mut open_bytes(whole).unwrap()));
    assert!(seeks(&live) == expected, "without cues and sizes");
}

#[test]
fn behind_damage_the_next_cluster_is_found() {
    let mut clip = clip();
    let clusters = elements(&clip, CLUSTER);
    assert!(clusters.len() > 3);
    let n_whole = rest(&mut open_bytes(clip.clone()).unwrap()).len();
    // No element has an id that starts with a zero byte.
    clip[clusters[1] + 4..clusters[1] + 40].fill(0);
    let mut matroska = open_bytes(clip).unwrap();
    let (mut n_packets, mut errors) = (0, Vec::new());
    loop {
        match matroska.next_packet() {
            Ok(Some(_)) => n_packets += 1,
            Ok(None) => break,
            Err(error) => errors.push(error),
        }
    }
    assert!(matches!(errors[..], [DemuxError::Damaged { .. }]), "{errors:?}");
    assert!(n_packets > n_whole / 2 && n_packets < n_whole, "{n_packets} of {n_whole}");
}

#[test]
fn priming_and_padding_of_opus() {
    let group = |time: u8, more: &[u8]| {
        element(
            BLOCK_GROUP,
            &[&element(BLOCK, &[&[0x81, 0, time, 0][..], &OPUS_PACKET].concat()), more].concat(),
        )
    };
    let padding = element(DISCARD_PADDING, &13_500_000_i32.to_be_bytes());
    let blocks = [group(0, &[]), group(20, &[]), group(41, &padding)];
    let entry = opus_entry(&[unsigned(0x56aa, 6_500_000)]);
    let mut matroska = open_bytes(file(&entry, &[cluster(1000, &blocks)])).unwrap();
    let track = &matroska.tracks()[0];
    assert_eq!((&track.codec, track.language.as_deref()), (&Codec::Opus, Some("fre")));
    assert_eq!(track.shape, Shape::Audio { sample_rate: 48_000, channels: 2 });
    let packets = rest(&mut matroska);
    let ticks: Vec<_> = packets.iter().map(|packet| packet.pts.to_ticks(48_000)).collect();
    assert_eq!(ticks, [47_688, 48_648, 49_608]);
    let trims: Vec<_> = packets.iter().map(|packet| (packet.trim_start, packet.trim_end)).collect();
    assert_eq!(trims, [(312, 0), (0, 0), (0, 648)]);
}

#[test]
fn laced_frames_have_times_of_their_own() {
    let lace = [&[2][..], &OPUS_PACKET.repeat(3)].concat();
    let blocks = [simple_block(0, 0x04, &lace), simple_block(60, 0, &OPUS_PACKET)];
    let mut matroska = open_bytes(file(&opus_entry(&[]), &[cluster(0, &blocks)])).unwrap();
    let ticks: Vec<_> = rest(&mut matroska).iter().map(|packet| packet.pts.to_ticks(48_000)).collect();
    assert_eq!(ticks, [0, 960, 1920, 2880]);
}

#[test]
fn stripped_headers_are_put_back_and_encryption_is_named() {
    let encodings = |inside: Vec<u8>| element(0x6d80, &element(0x6240, &inside));
    let stripped = element(0x5034, &[unsigned(0x4254, 3), element(0x4255, &OPUS_PACKET[..1])].concat());
    let blocks = [simple_block(0, 0, &OPUS_PACKET[1..])];
    let entry = opus_entry(&[encodings(stripped)]);
    let packets = rest(&mut open_bytes(file(&entry, &[cluster(0, &blocks)])).unwrap());
    assert_eq!(packets[0].data, OPUS_PACKET[..]);

    let entry = opus_entry(&[encodings(element(0x5035, &[]))]);
    let mut matroska = open_bytes(file(&entry, &[cluster(0, &blocks)])).unwrap();
    assert_eq!(matroska.tracks()[0].codec, Codec::Unknown("A_OPUS, encrypted".to_owned()));
    assert_eq!(matroska.next_packet().unwrap(), None);
}

#[test]
fn what_cannot_be_is_a_typed_error() {
    let other = [element(EBML, &element(DOC_TYPE, b"dtb")), element(SEGMENT, &[])].concat();
    assert!(matches!(open_bytes(other).err(), Some(DemuxError::UnknownFormat { .. })));
    let subtitles = [unsigned(0xd7, 1), unsigned(0x83, 17), element(0x86, b"S_TEXT/UTF8")];
    assert!(matches!(open_bytes(file(&subtitles, &[])).err(), Some(DemuxError::NoTracks { .. })));
    let no_head = [unsigned(0xd7, 1), unsigned(0x83, 2), element(0x86, b"A_OPUS")];
    assert!(matches!(open_bytes(file(&no_head, &[])).err(), Some(DemuxError::Damaged { .. })));
    let mut no_data = open_bytes(file(&opus_entry(&[]), &[])).unwrap();
    assert_eq!(no_data.next_packet().unwrap(), None);
    assert_eq!(no_data.seek(MediaTime::from_secs(5)).unwrap(), MediaTime::from_secs(5));
}

#[test]
fn extreme_times_do_not_overflow() {
    let blocks = [simple_block(i16::MIN, 0, &OPUS_PACKET), simple_block(i16::MAX, 0, &OPUS_PACKET)];
    let bytes = file(
        &opus_entry(&[unsigned(0x56aa, u64::MAX)]),
        &[cluster(u64::MAX, &blocks), cluster(0, &blocks), cluster(i64::MAX as u64, &blocks)],
    );
    let mut matroska = open_bytes(bytes).unwrap();
    assert_eq!(rest(&mut matroska).len(), 6);
    for to in [MediaTime::MAX, -MediaTime::MAX, MediaTime::ZERO] {
        matroska.seek(to).unwrap();
        rest(&mut matroska);
    }
}
