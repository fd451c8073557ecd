//! `telecast ctl` steers a `telecast play` that is running: what it says is what is heard.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use telecast::emulator::mtproto::NewCall;

use super::program::{Desk, stop};

/// Says one thing and gives what came of it.
fn ctl(desk: &Desk, args: &[&str]) -> (Option<i32>, Value, String) {
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

/// A programme in five chats that is killed and taken up again.
struct Radio<'a> {
    desk: &'a Desk,
    play: Child,
}

impl<'a> Radio<'a> {
    const CHATS: [&'static str; 5] = ["@one", "@two", "@three", "@four", "@five"];

    fn start(desk: &'a Desk, args: &[&str]) -> Self {
        let mut play = desk.command(&[&["play", "--journal", "radio.db"][..], args].concat());
        // The journal lies where the process is.
        let play = play.current_dir(desk.home.path()).stderr(Stdio::piped()).spawn().unwrap();
        Self { desk, play }
    }

    fn status(&self) -> Value {
        ctl(self.desk, &["status"]).1["status"].take()
    }

    async fn until(&self, is_so: impl Fn(&Value) -> bool) -> Value {
        super::until(|| is_so(&self.status())).await;
        self.status()
    }

    fn kill(mut self) {
        self.play.kill().unwrap();
        self.play.wait().unwrap();
    }
}

/// What must be the same after a restart.
fn settled(status: &Value) -> Value {
    json!([
        status["source"],
        status["paused"],
        status["volume_percent"],
        status["repeat"],
        status["n_queued"]
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_killed_goes_on_in_the_same_chats_at_the_same_second() {
    let kills = std::env::var("TELECAST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let mut dice = fastrand::Rng::with_seed(kills);
    let desk = Desk::new().await;
    desk.session(true);
    for chat in Radio::CHATS {
        desk.chat(&chat[1..], Some(NewCall::default()));
    }
    let media = |name: &str| format!("{}/media/{name}", env!("CARGO_MANIFEST_DIR"));
    let items = ["music.ogg", "clip.mp4", "music.ogg", "bframes.mp4"].map(media);
    let mut args: Vec<&str> = items.iter().map(|item| &item[..]).collect();
    args.extend(Radio::CHATS.iter().flat_map(|chat| ["--chat", *chat]));
    args.extend(["--repeat", "--volume", "70"]);
    let mut radio = Radio::start(&desk, &args);
    let mut sources: Vec<Value> = Vec::new();
    for nth in 0..kills {
        // An item that was skipped to in a pause stands at its beginning.
        radio.until(|status| status["position_ms"].as_i64() > Some(0) || status["paused"] == true).await;
        match dice.u32(..4) {
            0 => drop(ctl(&desk, &["skip"])),
            1 => drop(ctl(&desk, &["seek", "7s"])),
            2 => drop(ctl(&desk, &["pause"])),
            _ => drop(ctl(&desk, &["resume"])),
        }
        tokio::time::sleep(Duration::from_millis(dice.u64(..1500))).await;
        let before = radio.status();
        let mut line: Vec<Value> = ctl(&desk, &["list"]).1["queue"].as_array().unwrap().to_vec();
        radio.kill();
        radio = Radio::start(&desk, &[]);
        let after = radio
            .until(|status| {
                status["item"].is_u64() && (status["state"] == "playing" || status["state"] == "paused")
            })
            .await;
        // An item may have ended between the look and the kill.
        let moved = settled(&before)[0] != settled(&after)[0];
        if moved {
            let ended = before["duration_ms"].as_i64().unwrap() - before["position_ms"].as_i64().unwrap();
            assert!(ended < 2500, "kill {nth}: {before} became {after}");
            continue;
        }
        assert_eq!(settled(&after), settled(&before), "kill {nth}");
        let position = |status: &Value| status["position_ms"].as_i64().unwrap();
        let went_on = position(&after) - position(&before);
        assert!((-1000..=3500).contains(&went_on), "kill {nth}: {before} became {after}");
        let chats = |status: &Value| {
            let all = status["chats"].as_array().unwrap().iter();
            all.map(|it| it["chat"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(chats(&after), Radio::CHATS, "kill {nth}");
        // Nothing is lost, nothing doubled.
        let mut waiting: Vec<Value> = ctl(&desk, &["list"]).1["queue"].as_array().unwrap().to_vec();
        let names =
            |line: &mut Vec<Value>| line.drain(..).map(|mut it| it["source"].take()).collect::<Vec<_>>();
        assert_eq!(names(&mut waiting), names(&mut line), "kill {nth}");
        sources.push(after["source"].clone());
    }
    assert!(!sources.is_empty(), "some kills came in the middle of an item");
    let (code, _, said) = stop(radio.play);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("going on at"), "{said}");

    // What a person has ended is not taken up again.
    let radio = Radio::start(&desk, &[]);
    radio.until(|status| status["item"].is_u64()).await;
    ctl(&desk, &["stop"]);
    let (code, _, said) = super::program::told(radio.play.wait_with_output().unwrap());
    assert_eq!(code, Some(0), "{said}");
    let (code, _, said) =
        desk.run(&["play", "--journal", desk.home.path().join("radio.db").to_str().unwrap()]);
    assert!(code == Some(2) && said.contains("nothing left to play"), "{said}");
    desk.end().await;
}
