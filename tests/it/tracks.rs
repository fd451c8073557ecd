//! `--audio-track` and `--video-track`: the track that was asked for is the one that plays, also
//! where FFmpeg does the reading.

use std::path::{Path, PathBuf};

use telecast::media::codec::opus::Decoder;
use telecast::media::plan::{PlanOptions, TrackChoice};
use telecast::media::prepare::{self, PrepareError};
use telecast::media::probe::Probe;
use telecast::media::{MediaError, MediaKind, Reader, ReaderOptions};

use crate::formats::ffmpeg;

/// Two pictures of different heights and two tones, the second ones in German.
fn two_of_each(dir: &Path, name: &str, codecs: &[&str]) -> PathBuf {
    let mut words = Vec::new();
    let inputs =
        ["color=red:s=64x32:d=2:r=10", "color=blue:s=64x64:d=2:r=10", "sine=440:d=2", "sine=880:d=2"];
    inputs.iter().for_each(|input| words.extend(["-f", "lavfi", "-i", input]));
    words.extend(["-map", "0", "-map", "1", "-map", "2", "-map", "3"]);
    words.extend(["-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu"]);
    words.extend(["-metadata:s:v:1", "language=deu"]);
    words.extend(codecs);
    let path = dir.join(name);
    ffmpeg(&words, &path);
    path
}

fn choose(path: &Path, audio: Option<&str>, video: Option<&str>) -> Result<Reader, MediaError> {
    let mut options = ReaderOptions::default();
    let choice = |text: &str| text.parse::<TrackChoice>().unwrap();
    options.plan.audio_track = audio.map(choice);
    options.plan.video_track = video.map(choice);
    Reader::open(path, options)
}

fn height(reader: &Reader) -> u32 {
    let telecast::media::demux::Shape::Video { height, .. } = reader.video_track().unwrap().shape else {
        panic!("a picture has the shape of one")
    };
    height
}

/// How often per second the sound goes up through zero.
fn hertz(reader: &mut Reader) -> f64 {
    let (mut decoder, mut samples) = (Decoder::new(0).unwrap(), Vec::new());
    while let Some(frame) = reader.next_frame().unwrap() {
        if frame.kind == MediaKind::Audio {
            samples.extend(decoder.decode(&frame.data).unwrap().iter().step_by(2).copied());
        }
    }
    let second = &samples[24_000..72_000];
    second.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count() as f64
}

#[test]
fn the_track_that_was_asked_for_plays() {
    let dir = tempfile::tempdir().unwrap();
    let h264 = ["-c:v", "libx264", "-profile:v", "baseline", "-pix_fmt", "yuv420p", "-c:a", "aac"];
    let mpeg4 = ["-c:v", "mpeg4", "-c:a", "aac"];
    for (name, codecs) in [("a.mkv", &h264[..]), ("b.mp4", &h264), ("c.mkv", &mpeg4), ("d.mp4", &mpeg4)] {
        let path = two_of_each(dir.path(), name, codecs);
        for (audio, wanted) in [
            (None, 440.0),
            (Some("1"), 440.0),
            (Some("2"), 880.0),
            (Some("deu"), 880.0),
            (Some("ger"), 880.0),
            (Some("eng"), 440.0),
        ] {
            let found = hertz(&mut choose(&path, audio, None).unwrap());
            assert!((found - wanted).abs() < 4.0, "{name}: {audio:?} has {found} Hz");
        }
        for (video, tall) in [(None, 32), (Some("1"), 32), (Some("2"), 64), (Some("deu"), 64)] {
            let reader = choose(&path, None, video).unwrap();
            assert_eq!(height(&reader), tall, "{name}: {video:?}");
        }
        // What is not there is left out, and said; with nothing left there is nothing to play.
        let reader = choose(&path, Some("3"), None).unwrap();
        assert!(reader.plan().audio.played_track().is_none(), "{name}");
        let error = choose(&path, Some("fra"), Some("7")).expect_err("there is no such track");
        let words = error.to_string();
        assert!(words.contains("nothing to play") || words.starts_with("ffmpeg cannot read"), "{words}");
    }
    for wrong in ["0", "-1", "english", "", "e1g"] {
        assert!(wrong.parse::<TrackChoice>().is_err(), "{wrong}");
    }
}

#[test]
fn of_two_tracks_in_one_language_ffmpeg_converts_the_first_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("film.ts");
    let mut words = Vec::new();
    let inputs = ["testsrc=s=64x64:d=2:r=25", "sine=440:d=2", "sine=660:d=2", "sine=880:d=2"];
    inputs.iter().for_each(|input| words.extend(["-f", "lavfi", "-i", input]));
    words.extend(["-map", "0", "-map", "1", "-map", "2", "-map", "3", "-metadata:s:a:0", "language=eng"]);
    words.extend(["-metadata:s:a:1", "language=deu", "-metadata:s:a:2", "language=deu"]);
    words.extend(["-c:v", "mpeg2video", "-c:a", "mp2"]);
    ffmpeg(&words, &path);
    let mut reader = choose(&path, Some("deu"), None).unwrap();
    assert!((hertz(&mut reader) - 660.0).abs() < 5.0);
    let sounds = |language: &str| {
        let audio_track = language.parse().ok();
        let options = PlanOptions { audio_track, ..PlanOptions::default() };
        let probe = Probe::with_progress(&path, options, |_, _| {}).unwrap();
        probe.tracks.iter().filter(|track| track.kind == "audio").count()
    };
    assert_eq!((sounds("deu"), sounds("eng"), sounds("fra")), (1, 1, 0));
}

fn prepare(from: &Path, to: &str, audio: Option<&str>, video: Option<&str>) -> Result<PathBuf, PrepareError> {
    let choice = |text: &str| text.parse::<TrackChoice>().unwrap();
    let mut options = prepare::Options::default();
    (options.audio_track, options.video_track) = (audio.map(choice), video.map(choice));
    let to = from.with_file_name(to);
    let go_on = |_, _| std::ops::ControlFlow::Continue(());
    prepare::prepare(from, &to, &options, go_on).map(|prepared| prepared.output)
}

#[test]
fn the_track_that_was_asked_for_is_prepared_and_is_in_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let h264 = ["-c:v", "libx264", "-profile:v", "baseline", "-pix_fmt", "yuv420p", "-c:a", "aac"];
    let mpeg4 = ["-c:v", "mpeg4", "-c:a", "aac"];
    for (name, codecs) in [("a.mkv", &h264[..]), ("b.avi", &mpeg4)] {
        let path = two_of_each(dir.path(), name, codecs);
        // An AVI knows of no languages.
        let second = if name == "a.mkv" { "deu" } else { "2" };
        let prepared = prepare(&path, "out.mp4", Some(second), Some(second)).unwrap();
        let mut reader = choose(&prepared, None, None).unwrap();
        assert!((hertz(&mut reader) - 880.0).abs() < 4.0, "{name}");
        let probe = Probe::of(&prepared).unwrap();
        assert_eq!(probe.tracks.iter().filter_map(|track| track.height).collect::<Vec<_>>(), [64], "{name}");
        let audio_track = second.parse().ok();
        let options = PlanOptions { audio_track, ..PlanOptions::default() };
        let remedy = Probe::with_progress(&path, options, |_, _| {}).unwrap().remedy.unwrap();
        assert!(remedy.starts_with(&format!("telecast prepare --audio-track {second} ")), "{remedy}");
    }
    let audio_track = "fra".parse().ok();
    let options = PlanOptions { audio_track, ..PlanOptions::default() };
    let probe = Probe::with_progress(dir.path().join("a.mkv"), options, |_, _| {}).unwrap();
    assert_eq!(probe.remedy, None, "a command without the sound is not meant");
    let error = prepare(&dir.path().join("a.mkv"), "none.mp4", Some("fra"), None).unwrap_err();
    assert!(
        error.to_string().ends_with("a.mkv: The file has no sound fra; it has 1 (eng), 2 (deu)."),
        "{error}"
    );
    assert!(!dir.path().join("none.mp4").exists());
}

#[test]
fn without_a_wish_what_is_played_is_prepared() {
    let dir = tempfile::tempdir().unwrap();
    let codecs =
        ["-c:v:0", "mpeg4", "-c:a:0", "ac3", "-c:v:1", "libx264", "-pix_fmt", "yuv420p", "-c:a:1", "aac"];
    let path = two_of_each(dir.path(), "a.mkv", &codecs);
    let mut played = choose(&path, None, None).unwrap();
    let prepared = prepare(&path, "a.mp4", None, None).unwrap();
    let mut prepared = choose(&prepared, None, None).unwrap();
    assert_eq!((height(&played), height(&prepared)), (64, 64));
    assert!((hertz(&mut played) - 880.0).abs() < 4.0, "the one that needs no ffmpeg");
    assert!((hertz(&mut prepared) - 880.0).abs() < 4.0);
}
