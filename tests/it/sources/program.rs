//! The same sources through the program: what it says of them, and what it leaves behind.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;

/// The programs that a process started.
fn children(pid: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|child: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok()) == Some(pid)
    })
    .collect()
}

fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    for _ in 0..400 {
        if happened() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(25));
    }
    panic!("{what} within 10 s");
}

fn telecast(args: &[&str], stdin: Stdio) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_telecast"));
    let done = command.args(args).stdin(stdin).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

#[test]
fn of_a_playlist_every_entry_is_probed_in_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("songs.m3u");
    let names = [clip("clip.mkv"), clip("music.mp3"), dir.path().join("gone.mp3")];
    let lines = names.each_ref().map(|name| name.display().to_string());
    std::fs::write(&list, format!("#EXTM3U\n{}\n", lines.join("\n"))).unwrap();
    let list = list.to_str().unwrap();
    let (code, out, err) = telecast(&["probe", list], Stdio::null());
    let expected = format!(
        "{}: matroska, 20.0 s; picture copy, sound copy\n{}: mp3, 16.0 s; picture none, sound transcode: mp3\n",
        lines[0], lines[1]
    );
    assert_eq!((code, &*out), (Some(7), &*expected), "{err}");
    assert!(
        err.contains("there is no file") && err.contains("1 are right as they are, 1 would gain"),
        "{err}"
    );
    let (code, out, _) = telecast(&["probe", "--json", list], Stdio::null());
    let objects: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, objects.len()), (Some(7), 3));
    for (object, name) in objects.iter().zip(&lines) {
        assert_eq!(object["file"], **name);
    }
    assert_eq!(objects[1]["plan"]["audio"]["plan"], "transcode: mp3");
    assert!(objects[2]["error"].as_str().unwrap().contains("there is no file"), "{}", objects[2]);
}

#[test]
fn hevc_and_surround_inside_an_mp4_are_told_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("film.mp4");
    let picture = ["-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=2"];
    let sound = ["-f", "lavfi", "-i", "aevalsrc=0.2*sin(440*2*PI*t)|0|0|0|0|0:c=5.1:s=48000:d=2"];
    let codecs = ["-c:v", "libx265", "-x265-params", "log-level=none", "-pix_fmt", "yuv420p", "-c:a", "aac"];
    ffmpeg(&[&picture[..], &sound, &codecs].concat(), &path);
    let (code, out, err) = telecast(&["probe", path.to_str().unwrap()], Stdio::null());
    assert_eq!(code, Some(0), "{err}");
    for words in [
        "1 video hev1, 320×240, 2.0 s\n",
        "2 audio aac, 48000 Hz, 6 channels, 2.0 s, ",
        "The picture is HEVC; telecast sends H.264, VP8 and VP9.",
        "The sound has 6 channels, which telecast cannot mix down for this codec.",
        "CPU     most: ffmpeg decodes and encodes everything while it plays",
        "where ffmpeg is installed, that converts it while it plays.",
        "telecast prepare ",
    ] {
        assert!(out.contains(words), "`{words}` is missing in:\n{out}");
    }
    let mut reader = Reader::open(&path, ReaderOptions::default()).unwrap();
    assert_eq!(reader.plan().video.to_string(), "transcode: ffmpeg", "and so it plays");
    assert_eq!(frames(&mut reader).iter().filter(|(kind, ..)| *kind == MediaKind::Video).count(), 50);
}

#[test]
fn an_avi_through_a_pipe_is_refused_with_a_way_out_that_works() {
    let dir = tempfile::tempdir().unwrap();
    let path = avi(dir.path());
    let open = || Stdio::from(std::fs::File::open(&path).unwrap());
    let way_out = "ffmpeg -i - -c:v libx264 -bf 0 -pix_fmt yuv420p -c:a libopus -f matroska -";
    for args in [&["probe", "-"][..], &["demo", "--headless", "--for", "4s", "-"]] {
        let (code, _, err) = telecast(args, open());
        assert_eq!(code, Some(7), "{args:?}: {err}");
        assert!(err.contains("save it as a file") && err.contains(way_out), "{args:?}: {err}");
    }
    let mut words = way_out.split(' ');
    let mut ffmpeg = Command::new(words.next().unwrap())
        .args(["-v", "error"])
        .args(words)
        .stdin(open())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (code, out, err) = telecast(&["probe", "--json", "-"], ffmpeg.stdout.take().unwrap().into());
    assert!(ffmpeg.wait().unwrap().success());
    let probe: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{code:?} {err}"));
    assert_eq!(probe["plan"]["video"]["plan"], "copy");
    assert_eq!(probe["plan"]["audio"]["plan"], "copy");
}

#[test]
fn ffmpeg_does_not_outlive_a_program_that_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.avi");
    let picture = ["-f", "lavfi", "-i", "testsrc=size=640x360:rate=30:duration=20"];
    ffmpeg(&[&picture[..], &["-c:v", "mpeg4", "-q:v", "20"]].concat(), &path);
    let mut program = Command::new(env!("CARGO_BIN_EXE_telecast"))
        .args(["demo", "--headless", "--for", "60s"])
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut found = Vec::new();
    eventually("ffmpeg is started", || {
        found = children(program.id());
        !found.is_empty()
    });
    program.kill().unwrap();
    program.wait().unwrap();
    eventually("ffmpeg is gone", || {
        found.iter().all(|pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            name.trim() != "ffmpeg" || state.contains(") Z ")
        })
    });
}

#[test]
fn what_was_prepared_is_copied() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.mp4");
    let run = |input: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_telecast"));
        let output = command.args(["prepare", "--json"]).arg(input).arg(&out).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let said = run(&avi(dir.path()));
    assert!(said.contains("\"video\":\"encode\"") && said.contains("\"audio\":\"encode\""), "{said}");
    let reader = Reader::open(&out, ReaderOptions::default()).unwrap();
    assert!(reader.plan().video.is_copy() && reader.plan().audio.is_copy(), "{:?}", reader.plan());
    assert!((reader.duration().unwrap() - MediaTime::from_secs(5)).abs() < MediaTime::from_millis(200));
    // Once more: everything is right already.
    let again = dir.path().join("again.mkv");
    std::fs::rename(&out, &again).unwrap();
    let said = run(&again);
    assert!(said.contains("\"video\":\"copy\"") && said.contains("\"audio\":\"copy\""), "{said}");
    let left: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".part")), "{left:?}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_telecast"));
    let output = command.arg("prepare").arg(&again).arg("out.ogg").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "the name is no mistake of the file");
}

#[test]
fn a_folder_is_prepared_once_and_what_fails_stops_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (films, ready) = (dir.path().join("films"), dir.path().join("ready"));
    std::fs::create_dir_all(films.join("inner")).unwrap();
    std::fs::copy(clip("music.ogg"), films.join("inner/music.ogg")).unwrap();
    std::fs::write(films.join("a-broken.mp4"), "this is no film").unwrap();
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_telecast"));
        let output = command.args(["prepare", "--json"]).args([&films, &ready]).output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        let results = lines.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["result"].as_str().unwrap().to_owned()
        });
        results.collect::<Vec<_>>()
    };
    assert_eq!(run(), ["failed", "written"]);
    let reader = Reader::open(ready.join("inner/music.mp4"), ReaderOptions::default()).unwrap();
    assert!(reader.plan().audio.is_copy(), "{:?}", reader.plan());
    assert_eq!(run(), ["failed", "there"]);
}

#[test]
fn standard_input_plays() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_telecast"))
        .args(["demo", "--headless", "--for", "4s", "--json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = program.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        let bytes = std::fs::read(clip("clip.mkv")).unwrap();
        // It reads as much as it plays and then goes away.
        drop(input.write_all(&bytes));
    });
    let mut verdict = String::new();
    program.stdout.take().unwrap().read_to_string(&mut verdict).unwrap();
    assert!(program.wait().unwrap().success(), "{verdict}");
    feeder.join().unwrap();
    assert!(verdict.contains("\"verdict\":\"ok\""), "{verdict}");
}
