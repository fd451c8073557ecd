//! The program as a person runs it: verdicts, exit codes, messages.

#![expect(clippy::disallowed_methods, reason = "how long the program takes to end is the point")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::realtime;

/// The level of the 440 Hz bed in every clip, RMS per channel (media/README.md).
const LEFT_DBFS: f64 = -18.0;
const RIGHT_DBFS: f64 = -24.0;

fn telecast(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_telecast"));
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    telecast(args).output().expect("the program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Plays one clip to the watcher; gives exit code and report.
fn verdict(args: &[&str]) -> (Option<i32>, Value) {
    let mut all = vec!["demo", "--headless", "--json"];
    all.extend(args);
    let output = run(&all);
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {} {}", output.status, stderr(&output)));
    (output.status.code(), report)
}

#[test]
fn every_clip_that_can_be_played_arrives_whole() {
    let _alone = realtime();
    for (clip, video, audio) in [
        ("media/clip.mp4", Some("copy"), "transcode: aac"),
        ("media/clip.mkv", Some("copy"), "copy"),
        ("media/long-gop.mp4", Some("copy"), "transcode: aac"),
        ("media/bframes.mp4", Some("transcode: h264"), "transcode: aac"),
        ("media/music.ogg", None, "copy"),
        ("media/music.mp3", None, "transcode: mp3"),
    ] {
        let (code, report) = verdict(&[clip, "--for", "5s"]);
        assert_eq!(code, Some(0), "{clip}: {report:#}");
        assert_eq!(report["verdict"], "ok", "{clip}");
        assert_eq!(report["packets_lost"], 0, "{clip}");
        assert_eq!(report["plan"]["audio"], audio, "{clip}");
        let way = if cfg!(feature = "telegram") { "mtproto" } else { "in-process" };
        assert_eq!(report["signaling"], way, "{clip}");
        assert_eq!(report["plan"]["video"].as_str().filter(|plan| *plan != "none"), video, "{clip}");
        let sound = &report["audio"];
        let number = |key: &str| sound[key].as_f64().unwrap_or_else(|| panic!("{clip}: {key} in {report:#}"));
        assert!((number("dominant_hz") - 440.0).abs() < 2.0, "{clip}: {sound}");
        assert!((number("left_dbfs") - LEFT_DBFS).abs() < 1.0, "{clip}: {sound}");
        assert!((number("right_dbfs") - RIGHT_DBFS).abs() < 1.0, "{clip}: {sound}");
        match video {
            Some(_) => {
                assert_eq!(report["video"]["frame_numbers_missing"], 0, "{clip}: {report:#}");
                let skew = report["av_skew_ms"]["median"].as_f64().expect("flashes and beeps were found");
                assert!(skew.abs() <= 5.0, "{clip}: {report:#}");
            }
            None => assert_eq!(report["video"], Value::Null, "{clip}"),
        }
    }
}

#[test]
fn a_generated_picture_arrives_whole_at_any_size_and_rate() {
    let _alone = realtime();
    for (source, size, fps) in [
        ("test:", (1280, 720), 30.0),
        ("test:640x360@25", (640, 360), 25.0),
        ("test:@15", (1280, 720), 15.0),
        ("test:360x640@60", (360, 640), 60.0),
        // From its end to its beginning, once a second too early for a clip.
        ("test:320x180@24?for=3s", (320, 180), 24.0),
    ] {
        let (code, report) = verdict(&[source, "--for", "6s"]);
        assert_eq!(code, Some(0), "{source}: {report:#}");
        let video = &report["video"];
        assert_eq!((&video["width"], &video["height"]), (&size.0.into(), &size.1.into()), "{source}");
        assert_eq!(video["frame_numbers_missing"], 0, "{source}: {report:#}");
        assert!((video["fps"].as_f64().unwrap() - fps).abs() < fps * 0.02, "{source}: {report:#}");
        assert!(report["av_skew_ms"]["median"].as_f64().unwrap().abs() <= 5.0, "{source}: {report:#}");
        assert!((report["audio"]["left_dbfs"].as_f64().unwrap() - LEFT_DBFS).abs() < 1.0, "{source}");
        let plan = json!({ "audio": "transcode: pcm_s16le", "video": "transcode: test" });
        assert_eq!(report["plan"], plan, "{source}");
    }
    let output = run(&["demo", "test:640"]);
    assert_eq!(output.status.code(), Some(7));
    assert!(stderr(&output).contains("for example test:1280x720@30"), "{}", stderr(&output));
}

#[test]
fn a_stream_in_pieces_is_called_bad() {
    let _alone = realtime();
    let (code, report) =
        verdict(&["media/clip.mp4", "--for", "5s", "--impair", "loss=30%,repair=off,seed=3"]);
    assert_eq!((code, &report["verdict"]), (Some(8), &Value::from("bad")), "{report:#}");
    assert!(report["reasons"].as_array().is_some_and(|reasons| !reasons.is_empty()), "{report:#}");
}

#[test]
fn a_bot_that_does_not_get_in_is_called_bad_with_the_reason() {
    let (code, report) = verdict(&["media/music.ogg", "--for", "1s", "--impair", "loss=100%,seed=1"]);
    assert_eq!((code, &report["verdict"]), (Some(8), &Value::from("bad")), "{report:#}");
    assert!(report["reasons"][0].as_str().is_some_and(|reason| reason.contains("call failed")), "{report:#}");
    assert_eq!(report["plan"]["audio"], "copy", "the rest of the report is there, too: {report:#}");
}

#[test]
fn what_cannot_be_played_is_told_before_anything_starts() {
    for (source, words) in
        [("no-such-file.mp4", "no file"), ("README.md", "not a media file"), ("docs", "names no media")]
    {
        let output = run(&["demo", "--headless", "--for", "5s", source]);
        assert_eq!(output.status.code(), Some(7), "{source}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{source}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{source}: results only on stdout");
    }
    let empty = tempfile::NamedTempFile::new().expect("a temporary file");
    let output = run(&["demo", "--headless", &empty.path().to_string_lossy()]);
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
}

#[test]
fn probe_tells_what_will_happen_and_what_to_do() {
    let json = |file: &str| -> Value {
        let output = run(&["probe", "--json", file]);
        assert_eq!(output.status.code(), Some(0), "{file}: {}", stderr(&output));
        serde_json::from_slice(&output.stdout).expect("one JSON object")
    };
    let clip = json("media/clip.mkv");
    assert_eq!(
        (&clip["plan"]["video"]["plan"], &clip["plan"]["audio"]["plan"]),
        (&"copy".into(), &"copy".into())
    );
    assert_eq!(clip["pictures"]["gop_max_ms"], 1000);
    let long = json("media/long-gop.mp4");
    assert_eq!(long["pictures"]["gop_max_ms"], 10_000);
    assert!(long["remedy"].as_str().is_some_and(|remedy| remedy.contains("prepare")), "{long:#}");
    let bframes = json("media/bframes.mp4");
    assert_eq!(bframes["pictures"]["b_frames"], true);
    assert_eq!(
        (&bframes["playable"], &bframes["plan"]["video"]["plan"]),
        (&true.into(), &"transcode: h264".into())
    );
    let small = run(&["probe", "--json", "--height", "240", "media/clip.mp4"]);
    let small: Value = serde_json::from_slice(&small.stdout).expect("one JSON object");
    assert!(
        small["plan"]["video"]["reason"].as_str().is_some_and(|reason| reason.contains("240p")),
        "{small:#}"
    );
    let text = run(&["probe", "media/clip.mp4"]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("copy"), "{}", stderr(&text));
    assert_eq!(run(&["probe", "Cargo.toml"]).status.code(), Some(7));
}

#[test]
fn wrong_usage_exits_with_two() {
    for args in [
        &["demo", "--for", "soon"][..],
        &["demo", "--headless", "--impair", "loss=lots"],
        &["demo", "--json"],
        &["play", "media/music.ogg", "--signaling", "stdio"],
        &["play", "-", "--signaling", "stdio", "--chat", "a"],
        &["dance"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
    }
    let too_many = [&["play", "--signaling", "stdio", "--chat", "a"][..], &["x"; 10_001]].concat();
    let output = run(&too_many);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{}", stderr(&output));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    assert_eq!(run(&["--version"]).status.code(), Some(0));
}

#[test]
fn sigterm_leaves_in_time() {
    let _alone = realtime();
    let mut child = telecast(&["demo", "--headless", "--json", "-v", "media/music.ogg"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut log = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let joined = log.by_ref().map_while(Result::ok).any(|line| line.contains("Joined"));
    assert!(joined, "the log tells when the call is joined");
    let asked = Instant::now();
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill");
    assert!(killed.success());
    let status = child.wait().expect("the program ends");
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    // With a verdict of its own, whichever: the watcher may not have heard anything yet.
    assert!(matches!(status.code(), Some(0 | 8)), "{status}");
}

/// What is written there does not fit.
fn full() -> std::fs::File {
    std::fs::File::options().write(true).open("/dev/full").expect("Linux has it")
}

#[test]
fn output_that_cannot_be_written_is_a_failure_and_no_panic() {
    let local = ["local", "--http", "127.0.0.1:0"];
    let output = telecast(&local).stdout(full()).stderr(Stdio::piped()).output().expect("it starts");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("cannot write to stdout"), "{}", stderr(&output));

    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = telecast(&local).stdout(writer).stderr(Stdio::piped()).output().expect("it starts");
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()), "nobody wants the result");
}

#[test]
fn remarks_that_nobody_can_read_change_nothing() {
    let mut failing = telecast(&["demo", "--headless", "no-such-file.mp4"]);
    assert_eq!(failing.stderr(full()).status().expect("it starts").code(), Some(7));
    let mut child = telecast(&["local", "--http", "127.0.0.1:0", "-vvv"])
        .stdout(Stdio::piped())
        .stderr(full())
        .spawn()
        .expect("it starts");
    let address = BufReader::new(child.stdout.take().expect("it is piped")).lines().next();
    assert!(address.is_some_and(|line| line.is_ok_and(|line| line.starts_with("http://"))));
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill");
    assert!(killed.success());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}
