//! `telecast play --separate`: a programme for each chat.

use std::process::Stdio;

use serde_json::Value;
use telecast::emulator::mtproto::NewCall;

use super::desk::{Desk, stop};
use super::steering::ctl;

#[tokio::test(flavor = "multi_thread")]
async fn each_chat_has_a_programme_of_its_own() {
    let desk = Desk::new().await;
    desk.session(true);
    for chat in ["one", "two"] {
        desk.chat(chat, Some(NewCall::default()));
    }
    let chats = ["--separate", "--chat", "@one", "--chat", "@two"];
    let (code, _, said) = desk.run(&[&["play", "media/music.ogg", "--journal", "j.db"][..], &chats].concat());
    assert!(code == Some(2) && said.contains("one programme"), "{said}");

    let mut play = desk.command(&[&["play", "media/music.ogg", "media/clip.mp4"][..], &chats].concat());
    let play = play.stderr(Stdio::piped()).spawn().unwrap();
    let of = |chat: &str| ctl(&desk, &["--chat", chat]).1["status"].take();
    super::until(|| ["@one", "@two"].iter().all(|chat| of(chat)["state"] == "playing")).await;
    let (code, _, said) = ctl(&desk, &["pause"]);
    assert!(code == Some(1) && said.contains("--chat: @one, @two"), "{said}");
    let (code, _, said) = ctl(&desk, &["pause", "--chat", "@three"]);
    assert!(code == Some(1) && said.contains("@three is not among the chats"), "{said}");

    ctl(&desk, &["pause", "--chat", "@one"]);
    ctl(&desk, &["skip", "--chat", "@two"]);
    super::until(|| of("@two")["item"] == 2 && of("@two")["state"] == "playing").await;
    let one = of("@one");
    assert_eq!((&one["state"], &one["item"]), (&Value::from("paused"), &Value::from(1)), "{one}");
    assert_eq!(one["chats"].as_array().map(Vec::len), Some(1), "{one}");

    // Where the programme is over, the chat is left; the other one goes on.
    ctl(&desk, &["stop", "--chat", "@two"]);
    let n_there = |chat: &'static str| async { desk.emulator.stats(chat).await.unwrap_or_default().len() };
    let left = async {
        while n_there("two").await > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), left).await.expect("the chat is left");
    ctl(&desk, &["resume", "--chat", "@one"]);
    super::until(|| of("@one")["state"] == "playing").await;
    assert_eq!(n_there("one").await, 1);
    let (code, _, said) = stop(play);
    assert_eq!(code, Some(0), "{said}");
    desk.end().await;
}
