//! Pictures whose pixels are not square: receivers in a call would show them squeezed.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use telecast::media::codec::h264::{self, Sps};
use telecast::media::prepare::{Options, prepare};
use telecast::media::probe::Probe;
use telecast::media::{MediaKind, Reader, ReaderOptions};

use crate::formats::ffmpeg;

/// Two seconds of 320×240 as most encoders write it, with a keyframe every second.
fn picture(dir: &Path, name: &str, more: &[&str]) -> PathBuf {
    let path = dir.join(name);
    let source = ["-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=2"];
    let codec = ["-c:v", "libx264", "-bf", "0", "-g", "25", "-pix_fmt", "yuv420p"];
    ffmpeg(&[&source[..], more, &codec].concat(), &path);
    path
}

/// The parameter sets of all keyframes that come out, each once.
fn sets(path: &Path) -> Vec<Sps> {
    let mut reader = Reader::open(path, ReaderOptions::default()).unwrap();
    let frames = std::iter::from_fn(|| reader.next_frame().unwrap());
    let pictures = frames.filter(|frame| frame.kind == MediaKind::Video && frame.key);
    let mut sets: Vec<_> =
        pictures.map(|frame| h264::nal_units(&frame.data).find_map(Sps::parse).unwrap()).collect();
    sets.dedup();
    sets
}

fn sizes(path: &Path) -> Vec<(u32, u32)> {
    sets(path).iter().map(|sps| (sps.width, sps.height)).collect()
}

#[test]
fn pixels_that_are_not_square_become_so() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let wide = ["-vf", "setsar=4/3"];
    let square = picture(dir, "square.mp4", &[]);
    // The stream says it, the container says it, or both.
    let stream = picture(dir, "stream.h264", &wide);
    let container = dir.join("container.mp4");
    ffmpeg(&["-i", square.to_str().unwrap(), "-c", "copy", "-aspect", "16:9"], &container);
    let files = [stream, container, picture(dir, "both.mp4", &wide), picture(dir, "both.mkv", &wide)];
    for path in &files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let reader = Reader::open(path, ReaderOptions::default()).unwrap();
        assert_eq!(reader.plan().video.to_string(), "transcode: h264", "{name}");
        let reason = reader.plan().video.reason();
        assert!(reason.contains("squeezed") && reason.contains(":3"), "{name}: {reason}");
        let probe = Probe::of(path).unwrap();
        assert_eq!((&*probe.plan.video.plan, probe.plan.video.reason), ("transcode: h264", reason), "{name}");
        assert!(probe.remedy.unwrap().starts_with("telecast prepare "), "{name}");
        let sets = sets(path);
        assert_eq!(sets.iter().map(|it| (it.width, it.height)).collect::<Vec<_>>(), [(426, 240)], "{name}");
        assert!(sets[0].pixel.is_none_or(|pixel| pixel.is_square()), "{name}");
    }
    // What the container says counts, as in other players.
    let overruled = dir.join("overruled.mp4");
    ffmpeg(&["-i", files[2].to_str().unwrap(), "-c", "copy", "-aspect", "4:3"], &overruled);
    for path in [square, overruled] {
        let reader = Reader::open(&path, ReaderOptions::default()).unwrap();
        assert_eq!(reader.plan().video.to_string(), "copy", "{}", path.display());
    }

    let ready = dir.join("ready.mp4");
    prepare(&files[1], &ready, &Options::default(), |_, _| ControlFlow::Continue(())).unwrap();
    assert_eq!(Probe::of(&ready).unwrap().plan.video.plan, "copy");
    assert_eq!(sizes(&ready), [(426, 240)]);
}

#[test]
fn pixels_that_change_in_the_middle_are_seen() {
    let dir = tempfile::tempdir().unwrap();
    let parts = [("a.h264", &[][..]), ("b.h264", &["-vf", "setsar=4/3"])];
    let both = parts.map(|(name, more)| std::fs::read(picture(dir.path(), name, more)).unwrap()).concat();
    let path = dir.path().join("both.h264");
    std::fs::write(&path, both).unwrap();
    let reader = Reader::open(&path, ReaderOptions::default()).unwrap();
    assert_eq!(reader.plan().video.to_string(), "copy", "nobody knows yet");
    assert_eq!(sizes(&path), [(320, 240), (426, 240)]);
}
