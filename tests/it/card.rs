//! A picture for sound, as a watcher sees it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use telecast::call::{Call, ChatId, JoinOptions, LeftReason};
use telecast::emulator::measure::Wanted;
use telecast::emulator::watcher::{WatchOptions, Watcher};
use telecast::emulator::{Emulator, EmulatorOptions};
use telecast::media::{CardOptions, ReaderOptions};
use telecast::player::{Item, Player, PlayerOptions};
use telecast::time::MediaTime;

use crate::{realtime, realtime_async};

const BOTH: Wanted = Wanted { video: true, audio: true };

#[expect(clippy::disallowed_methods, reason = "how long a newcomer waits is measured on the real clock")]
fn now() -> Instant {
    Instant::now()
}

fn music() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("media/music.mp3")
}

async fn watch(emulator: &Emulator, chat: &ChatId) -> Watcher {
    emulator
        .watch(chat, WatchOptions { of: Some("bot".to_owned()), ..WatchOptions::default() })
        .await
        .unwrap()
}

async fn n_pictures(watcher: &Watcher) -> u64 {
    watcher.report(BOTH).await.unwrap().video.map_or(0, |video| video.frames_decoded)
}

/// How long it takes until so many pictures have come.
async fn until_pictures(watcher: &Watcher, n: u64, what: &str) -> Duration {
    let (began, mut looks) = (now(), tokio::time::interval(Duration::from_millis(20)));
    while n_pictures(watcher).await < n {
        looks.tick().await;
        assert!(began.elapsed() < Duration::from_secs(12), "{what}: no picture");
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_is_seen_by_whoever_comes_while_it_plays_and_while_it_stands() {
    let _alone = realtime_async().await;
    let emulator = Emulator::start(EmulatorOptions::default()).await.unwrap();
    let chat = ChatId("demo".into());
    let first = watch(&emulator, &chat).await;
    let player = Player::start(PlayerOptions::default());
    let mut options = ReaderOptions::default();
    options.card = Some(CardOptions::default());
    player.enqueue(Item::file_with(music(), options)).await.unwrap();
    let call = Call::join(chat.clone(), &*emulator.signaling("bot"), &player, JoinOptions::default());
    call.joined().await.unwrap();
    until_pictures(&first, 3, "while it plays").await;

    let (before, began) = (n_pictures(&first).await, now());
    tokio::time::sleep(Duration::from_secs(3)).await;
    let rate = (n_pictures(&first).await - before) as f64 / began.elapsed().as_secs_f64();
    assert!((4.0..6.0).contains(&rate), "{rate} pictures a second");

    let guest = watch(&emulator, &chat).await;
    let waited = until_pictures(&guest, 1, "whoever comes in the middle").await;
    assert!(waited < Duration::from_millis(1800), "a newcomer waited {waited:?}");
    guest.stop().await.unwrap();

    let before = n_pictures(&first).await;
    player.seek(MediaTime::from_secs(10)).await.unwrap();
    until_pictures(&first, before + 4, "after a seek").await;

    player.pause().await.unwrap();
    let guest = watch(&emulator, &chat).await;
    until_pictures(&guest, 1, "whoever comes in a pause").await;
    player.resume().await.unwrap();
    until_pictures(&guest, 4, "after the pause").await;

    call.leave(LeftReason::Command).await;
    call.closed().await;
    player.close().await;
    guest.stop().await.unwrap();
    first.stop().await.unwrap();
    emulator.shutdown().await;
}

/// What the program says of six seconds of a source.
fn report(args: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_telecast"))
        .args(["demo", "--headless", "--json", "--for", "6s"])
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn the_program_shows_a_card_when_asked_and_only_for_what_has_no_picture() {
    let _alone = realtime();
    let seen = report(&["media/music.mp3", "--card"]);
    assert_eq!((&seen["verdict"], &seen["plan"]["video"]), (&"ok".into(), &"card".into()), "{seen:#}");
    assert_eq!((&seen["video"]["width"], &seen["video"]["height"]), (&640.into(), &360.into()), "{seen:#}");
    assert_eq!((&seen["video"]["freezes"], &seen["video"]["codec"]), (&0.into(), &"h264".into()), "{seen:#}");
    let fps = seen["video"]["fps"].as_f64().unwrap();
    assert!((4.0..6.0).contains(&fps), "{seen:#}");
    assert_eq!(seen["audio"]["concealed_ms"], 0, "{seen:#}");
    assert_eq!(report(&["media/music.mp3"])["video"], Value::Null);
    let film = report(&["media/clip.mp4", "--card"]);
    assert_eq!((&film["plan"]["video"], &film["video"]["width"]), (&"copy".into(), &1280.into()), "{film:#}");
}
