//! `telecast prepare` with wishes: how large, and how often a keyframe.

use std::path::Path;
use std::process::Command;

use telecast::media::probe::Probe;

use crate::formats::ffmpeg;

fn said(input: &Path, output: &Path, wishes: &[&str]) -> serde_json::Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_telecast"));
    let done = command.args(["prepare", "--json"]).args(wishes).args([input, output]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

/// What it says about the picture, and the height and the longest wait for a keyframe in the result.
fn prepare(input: &Path, output: &Path, wishes: &[&str]) -> (String, u32, i64) {
    let said = said(input, output, wishes);
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

/// Two seconds of black and three of noise, with a keyframe every second.
fn noise_after_black(path: &Path, size: &str) {
    let (black, noise) = (format!("color=black:s={size}:r=30:d=2"), format!("color=gray:s={size}:r=30:d=3"));
    let graph = "[1:v]noise=alls=100:allf=t[n];[0:v][n]concat=n=2:v=1";
    let h264 = ["-c:v", "libx264", "-preset", "ultrafast", "-profile:v", "baseline", "-g", "30"];
    let inputs = ["-f", "lavfi", "-i", &black, "-f", "lavfi", "-i", &noise, "-filter_complex", graph];
    ffmpeg(&[&inputs[..], &["-pix_fmt", "yuv420p"], &h264].concat(), path);
}

#[test]
fn what_was_prepared_is_copied_to_its_last_picture() {
    let dir = tempfile::tempdir().unwrap();
    for (size, wishes) in [("640x360", &[][..]), ("1920x1080", &["--height", "1080"])] {
        let (source, ready) = (dir.path().join("in.mp4"), dir.path().join("ready.mp4"));
        noise_after_black(&source, size);
        let before = Probe::of(&source).unwrap();
        assert!(before.plan.video.reason.contains("busiest second"), "{:?}", before.plan);
        assert_eq!(said(&source, &ready, wishes)["video"], "encode", "its beginning could be copied");
        let after = Probe::of(&ready).unwrap();
        assert_eq!((&*after.plan.video.plan, after.remedy), ("copy", None), "{size}: {:?}", after.tracks);
    }
}

#[test]
fn at_rates_of_film_and_for_large_pictures_the_recommended_command_is_the_last_one() {
    let dir = tempfile::tempdir().unwrap();
    let (source, ready) = (dir.path().join("in.mp4"), dir.path().join("ready.mp4"));
    for (size, rate, height) in [("320x240", "30000/1001", None), ("1920x1080", "24000/1001", Some("1080"))] {
        let picture = format!("testsrc2=size={size}:rate={rate}:duration=5");
        let h264 =
            ["-c:v", "libx264", "-profile:v", "baseline", "-pix_fmt", "yuv420p", "-preset", "ultrafast"];
        ffmpeg(&[&["-f", "lavfi", "-i", &picture, "-g", "500", "-b:v", "2M"], &h264[..]].concat(), &source);
        let remedy = Probe::of(&source).unwrap().remedy.expect("nobody wants to wait for five seconds");
        let wishes = height.map_or(vec![], |height| vec!["--height", height]);
        let words =
            ["telecast prepare ", &wishes.join(" "), if wishes.is_empty() { "" } else { " " }, "/"].concat();
        assert!(remedy.starts_with(&words), "{remedy}");
        assert_eq!(said(&source, &ready, &wishes)["video"], "encode");
        let after = Probe::of(&ready).unwrap();
        assert_eq!((after.remedy, &*after.plan.video.plan), (None, "copy"), "{:?}", after.pictures);
    }
}

#[test]
fn b_frames_behind_a_new_parameter_set_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let picture = ["-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=2"];
    let h264 = |frames| ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "25", "-bf", frames];
    for (name, frames) in [("a.ts", "0"), ("b.ts", "3")] {
        ffmpeg(&[&picture[..], &h264(frames)].concat(), &dir.path().join(name));
    }
    let (list, joined) = (dir.path().join("list"), dir.path().join("joined.mkv"));
    std::fs::write(&list, "file a.ts\nfile b.ts\n").unwrap();
    let list = list.to_str().unwrap();
    ffmpeg(&["-f", "concat", "-i", list, "-c", "copy"], &joined);
    let probe = Probe::of(&joined).unwrap();
    assert_eq!(&*probe.plan.video.plan, "transcode: h264");
    let first = probe.pictures.unwrap().first_b_frame_ms.expect("they begin with the second part");
    assert!((2000..2500).contains(&first), "{first}");
    assert_eq!(prepare(&joined, &dir.path().join("ready.mp4"), &[]).0, "encode");
}

#[test]
fn what_can_be_read_of_a_damaged_file_is_prepared_and_the_damage_told() {
    let dir = tempfile::tempdir().unwrap();
    let (source, ready) = (dir.path().join("cut.mkv"), dir.path().join("ready.mp4"));
    let clip = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("media/clip.mkv")).unwrap();
    std::fs::write(&source, &clip[..clip.len() / 2]).unwrap();
    let said = said(&source, &ready, &[]);
    assert!(said["damage"].as_str().is_some_and(|damage| damage.contains("cut off")), "{said}");
    let seconds = Probe::of(&ready).unwrap().duration_ms / 1000;
    assert!((9..12).contains(&seconds), "{seconds}");
}

#[test]
fn a_signal_ends_it_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let (source, partial) = (dir.path().join("long.wav"), dir.path().join(".out.mp4.part"));
    ffmpeg(&["-f", "lavfi", "-i", "anoisesrc=r=8000:a=0.1:d=1800"], &source);
    let mut command = Command::new(env!("CARGO_BIN_EXE_telecast"));
    command.arg("prepare").args([&source, &dir.path().join("out.mp4")]);
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    for _ in 0..400 {
        if partial.exists() {
            break;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(25));
    }
    assert!(partial.exists(), "it is at work");
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert_eq!((child.wait().unwrap().code(), &*said), (Some(130), "stopped; nothing was written\n"));
    let left: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["long.wav"]);
}
