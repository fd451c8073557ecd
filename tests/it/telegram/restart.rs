//! A programme with a journal: killed, stopped at any moment, and taken up again.

use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use telecast::emulator::RpcError;
use telecast::emulator::mtproto::{Fault, NewCall};

use super::desk::{Desk, stop, told};
use super::steering::ctl;

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
    let (code, _, said) = told(radio.play.wait_with_output().unwrap());
    assert_eq!(code, Some(0), "{said}");
    let (code, _, said) =
        desk.run(&["play", "--journal", desk.home.path().join("radio.db").to_str().unwrap()]);
    assert!(code == Some(2) && said.contains("nothing left to play"), "{said}");
    desk.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_first_leaves_the_ghost_of_itself() {
    let desk = Desk::new().await;
    desk.session(true);
    desk.chat("one", Some(NewCall::default()));
    let music = format!("{}/media/music.ogg", env!("CARGO_MANIFEST_DIR"));
    let radio = Radio::start(&desk, &[&music, "--repeat", "--chat", "@one"]);
    radio.until(|status| status["position_ms"].as_i64() > Some(0)).await;
    radio.kill();
    let is_there = || async { !desk.emulator.stats("one").await.unwrap().is_empty() };
    assert!(is_there().await, "nobody has said goodbye");
    assert_eq!(desk.door.n_calls("phone.leaveGroupCall"), 0);

    // The join that would replace it is refused, so whoever is gone was made to leave.
    desk.door.plan("phone.joinGroupCall", Fault::Refuse(RpcError::new(400, "JOIN_AS_PEER_INVALID")), 1);
    let radio = Radio::start(&desk, &[]);
    let (code, _, said) = told(radio.play.wait_with_output().unwrap());
    assert_eq!(code, Some(5), "{said}");
    assert!(!is_there().await, "the ghost has left: {said}");

    // One that has left already is no trouble.
    let radio = Radio::start(&desk, &[]);
    radio.until(|status| status["state"] == "playing").await;
    let (code, _, said) = stop(radio.play);
    assert_eq!((code, is_there().await), (Some(0), false), "{said}");
    desk.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_stopped_while_it_goes_on_keeps_its_place() {
    let desk = Desk::new().await;
    desk.session(true);
    desk.chat("one", Some(NewCall::default()));
    let music = format!("{}/media/music.ogg", env!("CARGO_MANIFEST_DIR"));
    let radio = Radio::start(&desk, &[&music, &music, "--chat", "@one", "--volume", "60"]);
    radio.until(|status| status["state"] == "playing").await;
    ctl(&desk, &["pause"]);
    ctl(&desk, &["seek", "9s"]);
    let before = radio.until(|status| status["position_ms"].as_i64() > Some(8000)).await;
    let (code, _, said) = stop(radio.play);
    assert_eq!(code, Some(0), "{said}");

    // It has queued nothing and sought nothing yet: it still waits for its join.
    let n_joins = || desk.door.n_calls("phone.joinGroupCall");
    let (joins, patience) = (n_joins(), Duration::from_secs(60));
    desk.door.plan("phone.joinGroupCall", Fault::Delay(patience), 1);
    let radio = Radio::start(&desk, &[]);
    super::until(|| n_joins() > joins).await;
    let (code, _, said) = stop(radio.play);
    assert_eq!(code, Some(0), "{said}");

    let radio = Radio::start(&desk, &[]);
    let after = radio.until(|status| status["state"] == "paused").await;
    assert_eq!(settled(&after), settled(&before));
    assert_eq!(after["position_ms"], before["position_ms"]);
    let (code, _, said) = stop(radio.play);
    assert_eq!(code, Some(0), "{said}");
    desk.end().await;
}
