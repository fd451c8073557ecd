//! What is pushed comes out as if it stood in a file.

use std::path::Path;

use super::*;
use crate::media::Frame;
use crate::media::demux::{self, Shape};
use crate::player::item::FrameReader;

fn clip(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("media").join(name)
}

fn open(item: &Item) -> Result<Box<dyn FrameReader>, ItemError> {
    item.open()
}

fn rest(reader: &mut dyn FrameReader) -> Vec<Frame> {
    std::iter::from_fn(|| reader.next_frame().unwrap()).collect()
}

/// 20 ms of a tone of half the full scale, as 16-bit samples.
fn tone(nth: usize) -> Bytes {
    let sample = |n: usize| (16_384.0 * (std::f32::consts::TAU * 440.0 * n as f32 / 48_000.0).sin()) as i16;
    (nth * 960..(nth + 1) * 960).flat_map(|n| sample(n).to_le_bytes()).collect()
}

const MONO: PushedAudio = PushedAudio::Pcm { layout: PCM, sample_rate: 48_000, channels: 1 };
const PCM: PcmLayout = PcmLayout::S16LE;

fn sound_only() -> PushOptions {
    PushOptions { audio: Some(MONO), ..PushOptions::default() }
}

fn sound(nth: usize) -> Pushed {
    Pushed { kind: MediaKind::Audio, pts: MediaTime::from_millis(20) * nth as i64, data: tone(nth) }
}

#[test]
fn the_packets_of_a_clip_play_as_the_clip_does() {
    let mut demuxer = demux::open(crate::media::source::open(&clip("clip.mkv")).unwrap()).unwrap();
    let tracks = demuxer.tracks().to_vec();
    let Shape::Video { width, height, .. } = tracks[0].shape else { panic!("the picture comes first") };
    let video = PushedVideo { coding: PictureCoding::H264, size: (width, height), fps: 30 };
    let audio = Some(PushedAudio::Opus);
    let (pusher, source) =
        frames(PushOptions { video: Some(video), audio, ..PushOptions::default() }).unwrap();
    let item = Item::pushed("a program", source, ReaderOptions::default());
    let program = std::thread::spawn(move || {
        while let Some(packet) = demuxer.next_packet().unwrap() {
            let kind = tracks[packet.track].kind;
            pusher.push(Pushed { kind, pts: packet.pts, data: packet.data }).unwrap();
        }
    });
    let mut reader = open(&item).unwrap();
    assert_eq!(reader.plan().audio.as_deref(), Some("copy"));
    assert_eq!(reader.plan().video.as_deref(), Some("copy"));
    let found = rest(&mut *reader);
    program.join().unwrap();
    let expected = rest(&mut Reader::open(clip("clip.mkv"), ReaderOptions::default()).unwrap());
    let of = |frames: &[Frame], kind| -> Vec<Bytes> {
        frames.iter().filter(|frame| frame.kind == kind).map(|frame| frame.data.clone()).collect()
    };
    assert_eq!(of(&found, MediaKind::Video), of(&expected, MediaKind::Video));
    let [found, expected] = [found, expected].map(|frames| of(&frames, MediaKind::Audio));
    assert_eq!(found[..900], expected[..900]);
    assert!(matches!(open(&item), Err(ItemError::Reader(_))), "it plays once");
}

#[test]
fn samples_become_packets_whatever_pieces_they_come_in() {
    let (pusher, source) = frames(sound_only()).unwrap();
    let item = Item::pushed("a synthesizer", source, ReaderOptions::default());
    // Half a second in one piece, and one in pieces of 20 ms.
    let data: Vec<u8> = (0..25).flat_map(|nth| tone(nth).to_vec()).collect();
    pusher.push(Pushed { kind: MediaKind::Audio, pts: MediaTime::ZERO, data: data.into() }).unwrap();
    (25..50).for_each(|nth| pusher.push(sound(nth)).unwrap());
    drop(pusher);
    let frames = rest(&mut *open(&item).unwrap());
    assert!((50..=51).contains(&frames.len()), "{}", frames.len());
    // A sine of half the full scale has -9 dBov.
    assert!(frames[2..48].iter().all(|frame| frame.level.is_some_and(|level| level.neg_dbov() == 9)));
}

#[cfg(feature = "openh264")]
#[test]
fn raw_pictures_become_h264_with_a_keyframe_every_second() {
    let video = PushedVideo { coding: PictureCoding::I420 { bitrate_bps: None }, size: (64, 32), fps: 10 };
    let (pusher, source) = frames(PushOptions { video: Some(video), ..PushOptions::default() }).unwrap();
    let item = Item::pushed("a camera", source, ReaderOptions::default());
    for n in 0..25_u8 {
        let data = [vec![100 + n; 64 * 32], vec![128; 64 * 16]].concat();
        let pts = MediaTime::from_ticks(n.into(), 10);
        pusher.push(Pushed { kind: MediaKind::Video, pts, data: data.into() }).unwrap();
    }
    let short = Pushed { kind: MediaKind::Video, pts: MediaTime::ZERO, data: Bytes::from_static(&[0; 64]) };
    assert!(matches!(pusher.push(short), Err(PushError::Size { found: 64, .. })));
    assert!(matches!(pusher.push(sound(0)), Err(PushError::NoTrack("sound"))));
    drop(pusher);
    let frames = rest(&mut *open(&item).unwrap());
    assert_eq!(frames.len(), 25);
    let keys: Vec<i64> = frames.iter().filter(|f| f.key).map(|f| f.pts.as_millis()).collect();
    assert_eq!(keys, [0, 1000, 2000]);
    let mut decoder = crate::media::codec::h264::coder::Decoder::new().unwrap();
    let mut seen = Vec::new();
    for frame in &frames {
        decoder.decode(frame.pts, &frame.data, |_, picture| seen.push(picture.planes[0][100])).unwrap();
    }
    decoder.flush(|_, picture| seen.push(picture.planes[0][100]));
    assert!(seen.len() == 25 && seen.iter().zip(100..).all(|(luma, n)| luma.abs_diff(n) <= 3), "{seen:?}");
}

#[test]
fn a_full_queue_is_said_and_counted_and_an_end_is_told() {
    let (pusher, source) = frames(PushOptions { queue: 3, ..sound_only() }).unwrap();
    for nth in 0..3 {
        pusher.try_push(sound(nth)).unwrap();
    }
    assert!(matches!(pusher.try_push(sound(3)), Err(PushError::Full(3))));
    assert_eq!(pusher.n_refused(), 1);
    drop(Item::pushed("nobody", source, ReaderOptions::default()));
    assert!(matches!(pusher.try_push(sound(3)), Err(PushError::Gone)));
    assert!(matches!(pusher.push(sound(3)), Err(PushError::Gone)));
    assert!(matches!(frames(PushOptions::default()), Err(PushedError::Options(_))));
}

#[test]
fn a_program_that_falls_silent_ends_its_item_with_a_reason() {
    let options = PushOptions { patience: Duration::from_millis(20), ..sound_only() };
    let (pusher, source) = frames(options).unwrap();
    let item = Item::pushed("a program", source, ReaderOptions::default());
    (0..10).for_each(|nth| pusher.push(sound(nth)).unwrap());
    let mut reader = open(&item).unwrap();
    let error = loop {
        match reader.next_frame() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the program is still there"),
            Err(error) => break error,
        }
    };
    let mut causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    assert!(causes.any(|cause| cause.to_string().contains("has pushed nothing")), "{error:?}");
}
