//! The clips through decoder and encoder: the same pictures at the same times.

use std::path::Path;

use super::*;
use crate::media::codec::h264::{NAL_SPS, Sps, nal_type, nal_units};
use crate::media::demux::{self, Packet};
use crate::media::plan::{PictureOptions, PlanOptions, TrackPlan};
use crate::media::script::Script;
use crate::media::{Reader, ReaderOptions, source};

const NO_SOUND: PlanOptions = PlanOptions {
    audio: false,
    video: true,
    pictures: PictureOptions::USUAL,
    audio_track: None,
    video_track: None,
};

fn clip(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("media").join(name)
}

fn reader(name: &str, pictures: PictureOptions) -> Reader {
    let plan = PlanOptions { pictures, ..NO_SOUND };
    Reader::open(clip(name), ReaderOptions { plan, ..ReaderOptions::default() }).unwrap()
}

fn frames(reader: &mut Reader) -> Vec<Frame> {
    std::iter::from_fn(|| reader.next_frame().unwrap()).collect()
}

/// The track of pictures and its packets.
fn packets(name: &str) -> (demux::Track, Vec<Packet>) {
    let mut demuxer = demux::open(source::open(&clip(name)).unwrap()).unwrap();
    let track = demuxer.tracks().iter().position(|track| track.kind == MediaKind::Video).unwrap();
    let all = std::iter::from_fn(|| demuxer.next_packet().unwrap()).filter(|packet| packet.track == track);
    let packets = all.map(|packet| Packet { track: 0, ..packet }).collect();
    (demuxer.tracks()[track].clone(), packets)
}

/// Luma as it is shown, row by row without padding, in a size that can be compared.
fn shown(units: impl Iterator<Item = (MediaTime, Bytes)>) -> Vec<(MediaTime, Vec<u8>)> {
    let mut decoder = Decoder::new().unwrap();
    let mut scaler = Scaler::default();
    let mut all = Vec::new();
    let mut keep = |pts, picture: &Picture<'_>| {
        let small = scaler.scale(picture, (160, 90)).unwrap();
        all.push((pts, small.planes[0].to_vec()));
    };
    for (pts, data) in units {
        decoder.decode(pts, &data, &mut keep).unwrap();
    }
    decoder.flush(&mut keep);
    all
}

fn seen(frames: &[Frame]) -> Vec<(MediaTime, Vec<u8>)> {
    shown(frames.iter().map(|frame| (frame.pts, frame.data.clone())))
}

/// The mean difference of two pictures, of 255.
fn difference(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.len() as f64
}

fn sps_of_key(frame: &Frame) -> Option<Sps> {
    Sps::parse(nal_units(&frame.data).find(|nal| nal_type(nal) == NAL_SPS)?)
}

fn sps_of(frame: &Frame) -> Sps {
    sps_of_key(frame).expect("a keyframe has its sets")
}

fn assert_same(name: &str, made: &[(MediaTime, Vec<u8>)], original: &[(MediaTime, Vec<u8>)]) {
    assert_eq!(made.len(), original.len(), "{name}");
    for ((at, made), (expected_at, original)) in made.iter().zip(original) {
        assert_eq!(at, expected_at, "{name}");
        let off = difference(made, original);
        assert!(off < 3.0, "{name}: the picture at {at:?} is off by {off:.1}");
    }
}

#[test]
fn b_frames_come_out_in_order_as_baseline() {
    let mut reader = reader("bframes.mp4", PictureOptions::default());
    assert_eq!(reader.plan().video.to_string(), "transcode: h264");
    let made = frames(&mut reader);
    assert_eq!(made.len(), 300);
    for (index, frame) in made.iter().enumerate() {
        assert_eq!(frame.pts, MediaTime::from_rational(index as i64, 1, 30));
        assert_eq!(frame.key, index % 60 == 0, "{index}");
    }
    let sps = sps_of(&made[0]);
    assert_eq!((sps.profile_name(), sps.level_idc), ("Constrained Baseline", 31));
    assert_eq!((sps.width, sps.height), (640, 360));
    let (_, packets) = packets("bframes.mp4");
    let original = shown(packets.iter().map(|packet| (packet.pts, packet.data.clone())));
    assert_same("bframes.mp4", &seen(&made), &original);
}

#[test]
fn large_and_fast_pictures_become_smaller_and_slower() {
    let pictures = PictureOptions { height: Some(360), fps: Some(12), ..PictureOptions::default() };
    let mut reader = reader("clip.mp4", pictures);
    assert!(reader.plan().video.reason().contains("360p"), "{}", reader.plan().video.reason());
    let made: Vec<Frame> = std::iter::from_fn(|| reader.next_frame().unwrap()).take(60).collect();
    assert_eq!((sps_of(&made[0]).width, sps_of(&made[0]).height), (640, 360));
    let span = made[59].pts - made[0].pts;
    assert!((span - MediaTime::from_rational(59, 1, 12)).abs() < MediaTime::from_millis(60), "{span:?}");
    assert!(made.iter().all(|frame| frame.duration >= MediaTime::from_ticks(1, 12)));
}

#[test]
fn a_copy_turns_into_a_transcode_at_the_first_b_frame() {
    let (track, mut all) = packets("long-gop.mp4");
    all.truncate(100);
    let (_, reordered) = packets("bframes.mp4");
    let later = MediaTime::from_rational(100, 1, 30);
    all.extend(reordered[..90].iter().map(|packet| Packet {
        pts: packet.pts + later,
        dts: packet.dts.map(|dts| dts + later),
        ..packet.clone()
    }));
    let original = shown(all.iter().map(|packet| (packet.pts, packet.data.clone())));
    let options = ReaderOptions { plan: NO_SOUND, ..ReaderOptions::default() };
    let script = Script::in_file_order(&[track], all);
    let mut reader = Reader::new(Box::new(script), "clip", options).unwrap();
    assert!(reader.plan().video.is_copy());
    let made = frames(&mut reader);
    assert!(matches!(reader.plan().video, TrackPlan::Transcode { .. }));
    assert!(reader.plan().video.reason().contains("B-frames"));
    let of_file = made.iter().take_while(|frame| original.len() == 190 && frame.pts < later).count();
    assert_eq!(of_file, 100);
    let ours = made.iter().position(|frame| sps_of_key(frame).is_some_and(|sps| sps.profile_idc == 66));
    assert!(ours.is_some_and(|first| (100..103).contains(&first)), "{ours:?}");
    assert_same("the cut", &seen(&made), &original);
}

#[test]
fn a_copy_turns_into_a_transcode_at_a_second_that_is_too_much() {
    let pictures = PictureOptions { copy_bps: 400_000, ..PictureOptions::default() };
    let mut reader = reader("clip.mp4", pictures);
    let made: Vec<Frame> = std::iter::from_fn(|| reader.next_frame().unwrap()).take(120).collect();
    assert!(reader.plan().video.reason().contains("busiest second"), "{}", reader.plan().video.reason());
    for (index, frame) in made.iter().enumerate() {
        assert_eq!(frame.pts, MediaTime::from_rational(index as i64, 1, 30));
    }
    assert_eq!(seen(&made).len(), 120, "everything can be decoded across the seam");
}

#[test]
fn a_keyframe_comes_when_it_is_asked_for_and_the_bitrate_can_be_changed() {
    let pictures =
        PictureOptions { height: Some(480), bitrate_bps: Some(1_500_000), ..PictureOptions::default() };
    let mut reader = reader("clip.mp4", pictures);
    let size = |frames: &[Frame]| frames.iter().map(|frame| frame.data.len()).sum::<usize>();
    let before: Vec<Frame> = (0..75).map(|_| reader.next_frame().unwrap().unwrap()).collect();
    assert!(reader.request_key());
    let after: Vec<Frame> = (0..2 * UNDER_WAY + 4).map(|_| reader.next_frame().unwrap().unwrap()).collect();
    assert!(after.iter().any(|frame| frame.key), "75 to 95 have no keyframe of their own");
    reader.set_video_bitrate(150_000);
    let _under_way: Vec<_> = (0..30).map(|_| reader.next_frame().unwrap().unwrap()).collect();
    let low: Vec<Frame> = (0..75).map(|_| reader.next_frame().unwrap().unwrap()).collect();
    assert!(size(&low) * 2 < size(&before), "{} {}", size(&low), size(&before));
}

#[test]
fn a_seek_lands_on_the_very_picture() {
    let mut reader = reader("bframes.mp4", PictureOptions::default());
    for _ in 0..10 {
        reader.next_frame().unwrap();
    }
    let to = MediaTime::from_rational(170, 1, 30);
    assert_eq!(reader.seek(to).unwrap(), to);
    let made = frames(&mut reader);
    assert_eq!((made[0].pts, made[0].key, made.len()), (to, true, 130));
    assert_eq!(reader.seek(MediaTime::ZERO).unwrap(), MediaTime::ZERO);
    assert_eq!(frames(&mut reader).len(), 300);
}

#[test]
fn what_comes_too_late_is_not_encoded_and_counted() {
    let mut reader = reader("bframes.mp4", PictureOptions::default());
    reader.set_position(MediaTime::from_secs(5));
    let made = frames(&mut reader);
    let late = reader.stats().late_pictures;
    assert!(late > 100 && made.len() as u64 + late == 300, "{late} {}", made.len());
    assert_eq!(seen(&made).len(), made.len(), "what is left can be decoded");
}
