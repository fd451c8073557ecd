//! `telecast prepare` with wishes: how large, and how often a keyframe.

use std::path::Path;
use std::process::Command;

use telecast::media::probe::Probe;

/// What it says about the picture, and the height and the longest wait for a keyframe in the result.
fn prepare(input: &Path, output: &Path, wishes: &[&str]) -> (String, u32, i64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_telecast"));
    let done = command.args(["prepare", "--json"]).args(wishes).args([input, output]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let said: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let probe = Probe::of(output).unwrap();
    assert_eq!(probe.plan.video.plan, "copy");
    let height = probe.tracks.iter().find_map(|track| track.height).unwrap();
    (said["video"].as_str().unwrap().to_owned(), height, probe.pictures.unwrap().gop_max_ms)
}

#[test]
fn size_and_keyframes_are_as_asked_for_and_what_is_so_already_is_copied() {
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/long-gop.mp4");
    let dir = tempfile::tempdir().unwrap();
    let out = |name: &str| dir.path().join(name);
    let usual = out("usual.mp4");
    assert_eq!(prepare(&clip, &usual, &[]), ("encode".to_owned(), 360, 2000));
    // It never becomes larger.
    assert_eq!(prepare(&usual, &out("same.mp4"), &["--height", "480"]), ("copy".to_owned(), 360, 2000));
    let often = out("often.mkv");
    assert_eq!(prepare(&usual, &often, &["--keyframes", "1s"]), ("encode".to_owned(), 360, 1000));
    assert_eq!(prepare(&often, &out("a.mp4"), &["--keyframes", "1s"]), ("copy".to_owned(), 360, 1000));
    let small = ["--height", "240", "--keyframes", "1s"];
    assert_eq!(prepare(&often, &out("small.mp4"), &small), ("encode".to_owned(), 240, 1000));
}

#[test]
fn a_wish_that_cannot_be_meant_is_refused() {
    for (wish, value) in [("--height", "5"), ("--keyframes", "7s")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_telecast"));
        let done = command.args(["prepare", wish, value, "a.mp4", "b.mp4"]).output().unwrap();
        assert_eq!(done.status.code(), Some(2), "{}", String::from_utf8_lossy(&done.stderr));
    }
}
