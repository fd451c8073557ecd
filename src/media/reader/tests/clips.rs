//! The whole chain on the clips of `media/`: what a receiver hears is where the file says.

use std::path::PathBuf;

use super::*;
use crate::media::plan::PlanOptions;

/// The bed and beeps of the clips, as `docs/testing.md` describes them.
const BEEP_HZ: f32 = 1000.0;
const BEEP_SAMPLES: usize = 4800;

fn clip(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("media").join(name)
}

fn open_clip(name: &str) -> Reader {
    Reader::open(clip(name), ReaderOptions::default()).unwrap()
}

/// Where the beep begins that should begin at `expected`, in samples of `heard`.
fn beep_near(heard: &[f32], expected: usize) -> usize {
    let template: Vec<f32> = (0..BEEP_SAMPLES)
        .map(|n| (std::f32::consts::TAU * BEEP_HZ * n as f32 / SAMPLE_RATE as f32).sin())
        .collect();
    let likeness = |at: &usize| -> f32 {
        let sound = heard[at * CHANNELS..].iter().step_by(CHANNELS);
        template.iter().zip(sound).step_by(4).map(|(t, s)| t * s).sum()
    };
    let around = expected.saturating_sub(240)..=expected + 240;
    around.max_by(|a, b| likeness(a).total_cmp(&likeness(b))).unwrap()
}

/// Of every beep but the first: how many samples it is late.
fn beep_errors(heard: &[f32], item_zero: usize, n_seconds: usize) -> Vec<i64> {
    let error = |second: usize| {
        let expected = item_zero + second * SECOND;
        beep_near(heard, expected) as i64 - expected as i64
    };
    (1..n_seconds).map(error).collect()
}

fn level_db(pcm: &[f32], channel: usize) -> f64 {
    let samples: Vec<f32> = pcm.iter().skip(channel).step_by(CHANNELS).copied().collect();
    10.0 * power(&samples).log10()
}

/// Every file: grid, length, beeps within half a millisecond, levels.
fn check_sound(name: &str, plan: &str, n_seconds: usize) -> Vec<Frame> {
    let mut reader = open_clip(name);
    assert_eq!(reader.plan().audio.to_string(), plan, "{name}");
    let copied = reader.plan().audio.is_copy();
    let all = frames(&mut reader);
    assert!(all.is_sorted_by_key(|frame| frame.pts), "{name}");
    let heard = heard(&all, 0);
    // Copied packets begin with the pre-skip, and so does the item.
    let item_zero = if copied { 312 } else { 0 };
    let expected_frames = (n_seconds * SECOND + item_zero).div_ceil(FRAME_SAMPLES);
    assert_eq!(heard.len() / CHANNELS / FRAME_SAMPLES, expected_frames, "{name}");
    let errors = beep_errors(&heard, item_zero, n_seconds);
    assert!(errors.iter().all(|error| error.abs() <= 48), "{name}: {errors:?}");
    let mut sorted = errors.clone();
    sorted.sort_unstable();
    assert!(sorted[sorted.len() / 2].abs() <= 24, "{name}: {errors:?}");
    let bed = &heard[(SECOND / 2) * CHANNELS..(SECOND - 500) * CHANNELS];
    let (left, right) = (level_db(bed, 0), level_db(bed, 1));
    assert!((left + 18.0).abs() < 1.0 && (right + 24.0).abs() < 1.0, "{name}: {left} {right}");
    assert_eq!(reader.stats().damaged_sound + reader.stats().damaged_places, 0, "{name}");
    all
}

#[test]
fn aac_in_mp4_is_in_time() {
    let all = check_sound("clip.mp4", "transcode: aac", 20);
    let seen = of_kind(&all, MediaKind::Video);
    assert_eq!(seen.len(), 600);
    for (index, frame) in seen.iter().enumerate() {
        assert_eq!(frame.pts, MediaTime::from_rational(index as i64, 1, 30));
        assert_eq!(frame.key, index % 30 == 0);
    }
}

#[test]
fn opus_in_matroska_is_in_time() {
    let all = check_sound("clip.mkv", "copy", 20);
    let seen = of_kind(&all, MediaKind::Video);
    assert_eq!(seen.len(), 600);
    let pre_skip = MediaTime::from_ticks(312, SAMPLE_RATE);
    for (index, frame) in seen.iter().enumerate() {
        // Matroska rounds to milliseconds.
        let expected = MediaTime::from_rational(index as i64, 1, 30) + pre_skip;
        assert!((frame.pts - expected).abs() <= MediaTime::from_millis(1), "{index}: {:?}", frame.pts);
    }
}

#[test]
fn resampled_aac_is_in_time() {
    check_sound("long-gop.mp4", "transcode: aac", 20);
}

#[test]
fn mp3_is_in_time() {
    check_sound("music.mp3", "transcode: mp3", 16);
}

#[test]
fn ogg_opus_is_in_time() {
    check_sound("music.ogg", "copy", 16);
}

#[test]
fn seeking_in_a_clip_lands_on_a_keyframe_with_the_sound_in_time() {
    for (name, to, key) in
        [("clip.mp4", 12_345, 12_000), ("clip.mkv", 12_345, 12_000), ("long-gop.mp4", 9_999, 0)]
    {
        let mut reader = open_clip(name);
        let zero = if reader.plan().audio.is_copy() { 312 } else { 0 };
        let place = reader.seek(MediaTime::from_millis(to)).unwrap();
        let exact = MediaTime::from_millis(key) + MediaTime::from_ticks(zero, SAMPLE_RATE);
        assert!((place - exact).abs() <= MediaTime::from_millis(1), "{name}: {place:?}");
        let all = frames(&mut reader);
        let picture = &of_kind(&all, MediaKind::Video)[0];
        assert!(picture.key && picture.pts == place, "{name}: {:?}", picture.pts);
        let first = place.ceil_to(FRAME).as_millis() / 20;
        let heard = heard(&all, first);
        let offset = first as usize * FRAME_SAMPLES;
        for second in key as usize / 1000 + 1..20 {
            let expected = second * SECOND + zero as usize - offset;
            let error = beep_near(&heard, expected).abs_diff(expected);
            assert!(error <= 48, "{name}: the beep of second {second} is off by {error} samples");
        }
    }
}

#[test]
fn seeking_in_sound_alone_is_exact() {
    for (name, zero) in [("music.mp3", 0), ("music.ogg", 312)] {
        let mut reader = open_clip(name);
        let place = reader.seek(MediaTime::from_millis(7_777)).unwrap();
        assert_eq!(place, MediaTime::from_millis(7_760), "{name}");
        let heard = heard(&frames(&mut reader), 7_760 / 20);
        for second in 8..16 {
            let expected = second * SECOND + zero - 7_760 * 48;
            let error = beep_near(&heard, expected).abs_diff(expected);
            assert!(error <= 24, "{name}: the beep of second {second} is off by {error} samples");
        }
        // What is encoded is there from the first frame on; copied packets need a moment.
        let settled = if zero == 0 { 0 } else { 4 * FRAME_SAMPLES };
        let level =
            level_db(&heard[(settled + FRAME_SAMPLES / 2) * CHANNELS..][..FRAME_SAMPLES * 3 * CHANNELS], 0);
        assert!((level + 18.0).abs() < 2.0, "{name}: {level}");
    }
}

#[cfg(not(feature = "openh264"))]
#[test]
fn b_frames_are_refused_with_the_command_that_helps() {
    let error = Reader::open(clip("bframes.mp4"), ReaderOptions::default()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, MediaError::Refused { kind: MediaKind::Video, .. }), "{text}");
    assert!(text.contains("B-frames") && text.contains("ffmpeg -i "), "{text}");
}

#[test]
fn the_sound_alone_of_a_clip_is_in_time() {
    let plan = PlanOptions { video: false, ..PlanOptions::default() };
    let mut reader =
        Reader::open(clip("bframes.mp4"), ReaderOptions { plan, ..ReaderOptions::default() }).unwrap();
    let heard = heard(&frames(&mut reader), 0);
    assert!(beep_errors(&heard, 0, 10).iter().all(|error| error.abs() <= 48));
}

#[test]
fn what_the_reader_says_about_a_clip() {
    let reader = open_clip("clip.mp4");
    assert_eq!(reader.duration(), Some(MediaTime::from_secs(20)));
    assert_eq!((reader.tracks().len(), reader.video_track().is_some()), (2, true));
    let missing = Reader::open(clip("missing.mp4"), ReaderOptions::default()).unwrap_err();
    assert!(matches!(missing, MediaError::Source(_)), "{missing}");
    let bytes = std::fs::read(clip("music.ogg")).unwrap();
    let source = Box::new(std::io::Cursor::new(bytes));
    let mut reader = Reader::from_source(source, "bytes", ReaderOptions::default()).unwrap();
    assert!(reader.next_frame().unwrap().is_some());
}

#[test]
fn pictures_of_a_turned_track_are_turned() {
    let mut bytes = std::fs::read(clip("clip.mp4")).unwrap();
    let boxes: Vec<usize> =
        bytes.windows(4).enumerate().filter(|(_, name)| *name == b"tkhd").map(|(at, _)| at).collect();
    for at in boxes {
        // After the name: version and flags, times and ids in version 0, then the matrix.
        let matrix = at + 4 + 4 + 20 + 16;
        assert_eq!((bytes[at + 4], &bytes[matrix..matrix + 4]), (0, &[0, 1, 0, 0][..]));
        bytes[matrix..matrix + 8].copy_from_slice(&[0, 0, 0, 0, 0, 1, 0, 0]);
    }
    let mut turned = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut turned, &bytes).unwrap();
    for (path, rotation) in [(clip("clip.mp4"), 0), (turned.path().to_owned(), 1)] {
        let mut reader = Reader::open(path, ReaderOptions::default()).unwrap();
        let pictures: Vec<Frame> =
            frames(&mut reader).into_iter().filter(|frame| frame.kind == MediaKind::Video).collect();
        assert!(!pictures.is_empty() && pictures.iter().all(|frame| frame.rotation == rotation));
    }
}
