//! `telecast ctl` steers a `telecast play` that is running: what it says is what is heard.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use serde_json::{Value, json};
use telecast::emulator::mtproto::NewCall;

use super::desk::{Desk, stop};

/// Says one thing and gives what came of it.
pub(super) fn ctl(desk: &Desk, args: &[&str]) -> (Option<i32>, Value, String) {
    let (code, out, said) = desk.run(&[&["ctl", "--json"][..], args].concat());
    (code, serde_json::from_str(&out).unwrap_or_default(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_programme_is_steered_from_another_process() {
    let desk = Desk::new().await;
    desk.session(true);
    desk.chat("lively", Some(NewCall::default()));
    let (code, _, said) = ctl(&desk, &[]);
    assert!(code == Some(1) && said.contains("telecast play") && said.contains("--account"), "{said}");

    let mut play = desk.command(&["play", "media/music.ogg", "--chat", "@lively", "--stay"]);
    let play = play.stderr(Stdio::piped()).spawn().unwrap();
    let is_up = || ctl(&desk, &["status"]).1["status"]["state"] == "playing";
    super::until(is_up).await;
    let socket = desk.home.path().join("telecast/main.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let status = ctl(&desk, &["status"]).1["status"].take();
    assert_eq!(status["chats"], json!([{ "chat": "@lively", "status": "joined" }]), "{status}");
    assert_eq!((&status["item"], &status["duration_ms"]), (&json!(1), &json!(16_006)), "{status}");

    // The queue.
    assert_eq!(ctl(&desk, &["add", "media/clip.mp4"]).1["items"], json!([2]));
    assert_eq!(ctl(&desk, &["add", "--next", "media/music.ogg"]).1["items"], json!([3]));
    let ids = || {
        let listed = ctl(&desk, &["list"]).1;
        listed["queue"].as_array().unwrap().iter().map(|it| it["item"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(ids(), [3, 2]);
    assert_eq!(ctl(&desk, &["move", "2", "0"]).0, Some(0));
    assert_eq!(ids(), [2, 3]);
    assert_eq!(ctl(&desk, &["remove", "2"]).0, Some(0));
    assert_eq!(ids(), [3]);
    let (code, _, said) = ctl(&desk, &["remove", "2"]);
    assert!(code == Some(1) && said.contains("does not wait"), "{said}");
    let (code, _, said) = ctl(&desk, &["add", "media/nothing.mp4"]);
    assert!(code == Some(1) && said.contains("there is no file"), "{said}");

    // The place, the volume, the pause.
    ctl(&desk, &["seek", "10s"]);
    let position = ctl(&desk, &["seek", "+2s"]).1["status"]["position_ms"].as_i64().unwrap();
    assert!((11_000..15_000).contains(&position), "{position}");
    ctl(&desk, &["volume", "50"]);
    ctl(&desk, &["repeat", "one"]);
    assert_eq!(ctl(&desk, &["crossfade", "2"]).1["status"]["crossfade_ms"], 2000);
    assert_eq!(ctl(&desk, &["crossfade", "13"]).0, Some(2));
    assert_eq!(ctl(&desk, &["speed", "1.25"]).1["status"]["speed_percent"], 125);
    assert_eq!(ctl(&desk, &["speed", "3"]).0, Some(2));
    let status = ctl(&desk, &["pause"]).1["status"].take();
    let shown = (&status["state"], &status["paused"], &status["volume_percent"], &status["repeat"]);
    assert_eq!(shown, (&json!("paused"), &json!(true), &json!(50), &json!("one")), "{status}");
    ctl(&desk, &["resume"]);
    ctl(&desk, &["skip"]);
    super::until(|| ctl(&desk, &[]).1["status"]["item"] == 3).await;
    ctl(&desk, &["previous"]);
    super::until(|| ctl(&desk, &[]).1["status"]["item"] == 1).await;
    let (_, out, _) = desk.run(&["ctl"]);
    assert!(out.contains("media/music.ogg (item 1)") && out.contains("@lively: joined"), "{out}");

    // Whatever else comes in.
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(b"nonsense\n{\"command\":\"stop\"}\n").unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut answer = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert!(answer()["error"].as_str().unwrap().contains("docs/radio.md"));
    assert_eq!(answer()["ok"], json!(true));
    super::until(|| ctl(&desk, &[]).1["status"]["state"] == "idle").await;

    let (code, _, said) = stop(play);
    assert_eq!(code, Some(0), "{said}");
    assert!(!socket.exists(), "it is removed");
    desk.end().await;
}
