//! What is made is what was asked for.

use super::*;
use crate::time::MediaTime;

fn packets(name: &str) -> (Vec<Track>, Vec<Packet>) {
    let mut demuxer = open(&Spec::parse(name).unwrap(), None).unwrap();
    let tracks = demuxer.tracks().to_vec();
    let packets = std::iter::from_fn(|| demuxer.next_packet().unwrap()).collect();
    (tracks, packets)
}

#[test]
fn sound_is_as_long_as_it_should_be_and_has_no_seam() {
    let (tracks, packets) = packets("test:?only=sound&for=1510ms");
    assert_eq!(tracks.len(), 1);
    assert!(packets.is_sorted_by_key(|packet| packet.pts));
    let mut next = MediaTime::ZERO;
    for packet in &packets {
        assert_eq!(packet.pts, next);
        next += packet.duration;
    }
    assert_eq!(next, MediaTime::from_millis(1510));
    let n_bytes: usize = packets.iter().map(|packet| packet.data.len()).sum();
    assert_eq!(n_bytes, 48 * 1510 * 4);
}

#[test]
fn a_seek_lands_on_a_whole_packet() {
    let mut demuxer = open(&Spec::parse("test:?only=sound&for=10s").unwrap(), None).unwrap();
    let landed = demuxer.seek(MediaTime::from_millis(3333)).unwrap();
    assert_eq!(landed, MediaTime::from_millis(3320));
    assert_eq!(demuxer.next_packet().unwrap().unwrap().pts, landed);
    // Behind the end there is the last one.
    demuxer.seek(MediaTime::from_secs(60)).unwrap();
    assert_eq!(demuxer.next_packet().unwrap().unwrap().pts, MediaTime::from_millis(9980));
    assert_eq!(demuxer.next_packet().unwrap(), None);
}

#[cfg(feature = "openh264")]
mod pictures {
    use super::*;
    use crate::media::codec::h264::coder::Decoder;

    #[test]
    fn every_second_begins_with_a_keyframe_at_any_rate() {
        for (rate, n_pictures) in [("30", 60), ("25", 50), ("30000/1001", 60), ("3", 6)] {
            let name = format!("test:320x180@{rate}?for=2s&only=picture");
            let (tracks, packets) = packets(&name);
            assert_eq!(tracks[0].shape, Shape::Video { width: 320, height: 180, rotation: 0, pixel: None });
            assert_eq!(packets.len(), n_pictures, "{rate}");
            let keys: Vec<i64> = packets.iter().filter(|p| p.key).map(|p| p.pts.as_millis()).collect();
            let second = if rate == "30000/1001" { 1001 } else { 1000 };
            assert_eq!(keys, [0, second], "{rate}");
            assert!(packets.iter().all(|packet| !packet.data.is_empty()), "{rate}");
            let end = packets.last().map(|last| last.pts + last.duration);
            assert_eq!(end, Some(MediaTime::from_secs(2)), "{rate}");
        }
    }

    #[test]
    fn a_seek_shows_the_pictures_of_that_second_and_they_can_be_decoded() {
        let mut demuxer = open(&Spec::parse("test:320x180@25?for=1m").unwrap(), None).unwrap();
        for _ in 0..10 {
            demuxer.next_packet().unwrap().unwrap();
        }
        let landed = demuxer.seek(MediaTime::from_millis(31_500)).unwrap();
        assert_eq!(landed, MediaTime::from_secs(31));
        let mut decoder = Decoder::new().unwrap();
        let mut sky = Vec::new();
        let pictures = std::iter::from_fn(|| demuxer.next_packet().unwrap());
        for packet in pictures.filter(|packet| packet.track == 0).take(6) {
            decoder
                .decode(packet.pts, &packet.data, |pts, picture| {
                    sky.push((pts.as_millis(), picture.planes[0][picture.strides[0] * 30 + 100] > 180));
                })
                .unwrap();
        }
        decoder.flush(|pts, picture| {
            sky.push((pts.as_millis(), picture.planes[0][picture.strides[0] * 30 + 100] > 180));
        });
        let expected: Vec<_> = (0..6).map(|n| (31_000 + n * 40, n < 3)).collect();
        assert_eq!(sky, expected);
    }
}
