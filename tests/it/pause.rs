//! While nothing plays: sound goes on as silence, and whoever comes sees the picture that stands.

use std::path::Path;
use std::time::{Duration, Instant};

use telecast::call::{Call, ChatId, JoinOptions, LeftReason};
use telecast::emulator::measure::Wanted;
use telecast::emulator::watcher::{WatchOptions, Watcher};
use telecast::emulator::{Emulator, EmulatorOptions};
use telecast::player::{Item, Player, PlayerOptions, Slate};

use crate::realtime_async;

const BOTH: Wanted = Wanted { video: true, audio: true };

#[expect(clippy::disallowed_methods, reason = "how often packets come is measured on the real clock")]
fn now() -> Instant {
    Instant::now()
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

async fn until_pictures(watcher: &Watcher, n: u64, what: &str) {
    let (began, mut looks) = (now(), tokio::time::interval(Duration::from_millis(20)));
    while n_pictures(watcher).await < n {
        looks.tick().await;
        assert!(began.elapsed() < Duration::from_secs(12), "{what}: no picture");
    }
}

/// Packets of sound so far, as the server has counted them.
async fn n_sounds(emulator: &Emulator) -> u64 {
    let stats = emulator.stats("demo").await.unwrap();
    let bot = stats.iter().find(|it| it.name == "bot").unwrap();
    bot.streams.iter().find(|stream| stream.kind == "audio").unwrap().packets
}

/// Somebody comes, sees a picture, and hears 50 packets a second.
async fn look_in(emulator: &Emulator, chat: &ChatId, what: &str) {
    let guest = watch(emulator, chat).await;
    until_pictures(&guest, 1, what).await;
    let (before, began) = (n_sounds(emulator).await, now());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (came, took) = (n_sounds(emulator).await - before, began.elapsed().as_secs_f64());
    let rate = came as f64 / took;
    assert!((45.0..55.0).contains(&rate), "{what}: {rate} packets of silence a second");
    guest.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_and_a_still_go_on_through_a_pause_and_an_empty_queue() {
    let _alone = realtime_async().await;
    let emulator = Emulator::start(EmulatorOptions::default()).await.unwrap();
    let chat = ChatId("demo".into());
    let first = watch(&emulator, &chat).await;
    let player = Player::start(PlayerOptions::default());
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/clip.mp4");
    player.enqueue(Item::file(clip)).await.unwrap();
    let call = Call::join(chat.clone(), &*emulator.signaling("bot"), &player, JoinOptions::default());
    call.joined().await.unwrap();
    until_pictures(&first, 40, "while it plays").await;

    player.pause().await.unwrap();
    look_in(&emulator, &chat, "in a pause").await;

    // Whoever was there sees the rest without a hole.
    let before = n_pictures(&first).await;
    player.resume().await.unwrap();
    until_pictures(&first, before + 60, "after the pause").await;
    let report = first.report(BOTH).await.unwrap();
    assert_eq!(report.video.as_ref().unwrap().frame_numbers_missing, Some(0), "{report:#?}");

    player.stop().await.unwrap();
    look_in(&emulator, &chat, "when the queue is empty").await;

    call.leave(LeftReason::Command).await;
    call.closed().await;
    player.close().await;
    first.stop().await.unwrap();
    emulator.shutdown().await;
}

async fn width(watcher: &Watcher) -> usize {
    watcher.report(BOTH).await.unwrap().video.map_or(0, |video| video.width)
}

async fn until_width(watcher: &Watcher, wanted: usize, what: &str) {
    let (began, mut looks) = (now(), tokio::time::interval(Duration::from_millis(20)));
    while width(watcher).await != wanted {
        looks.tick().await;
        assert!(began.elapsed() < Duration::from_secs(12), "{what}: {} pixels wide", width(watcher).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slate_is_seen_before_and_after_everything_else() {
    let _alone = realtime_async().await;
    let emulator = Emulator::start(EmulatorOptions::default()).await.unwrap();
    let chat = ChatId("demo".into());
    let first = watch(&emulator, &chat).await;
    let slate = Some(Slate::color([0, 80, 160], (640, 360)).unwrap());
    let player = Player::start(PlayerOptions { slate, ..PlayerOptions::default() });
    let call = Call::join(chat.clone(), &*emulator.signaling("bot"), &player, JoinOptions::default());
    call.joined().await.unwrap();
    until_width(&first, 640, "before everything").await;

    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/clip.mp4");
    player.enqueue(Item::file(clip)).await.unwrap();
    until_width(&first, 1280, "while it plays").await;
    player.stop().await.unwrap();
    until_width(&first, 640, "when it is over").await;
    let guest = watch(&emulator, &chat).await;
    until_width(&guest, 640, "whoever comes then").await;

    call.leave(LeftReason::Command).await;
    call.closed().await;
    player.close().await;
    guest.stop().await.unwrap();
    first.stop().await.unwrap();
    emulator.shutdown().await;
}
