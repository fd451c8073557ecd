//! `play --cache`: what has to be transcoded is prepared while it plays, and copied the next time.

use std::path::Path;
use std::time::{Duration, Instant};

use telecast::call::{Call, ChatId, JoinOptions, LeftReason};
use telecast::emulator::measure::Wanted;
use telecast::emulator::watcher::{WatchOptions, Watcher};
use telecast::emulator::{Emulator, EmulatorOptions};
use telecast::media::ReaderOptions;
use telecast::media::cache::Cache;
use telecast::player::{Item, Player, PlayerEvent, PlayerOptions};
use tokio::sync::broadcast::Receiver;

use crate::realtime_async;

#[expect(clippy::disallowed_methods, reason = "whether something takes for ever is told by the clock")]
fn now() -> Instant {
    Instant::now()
}

async fn n_pictures(watcher: &Watcher) -> u64 {
    let report = watcher.report(Wanted { video: true, audio: true }).await.unwrap();
    report.video.map_or(0, |video| video.frames_decoded)
}

async fn until_pictures(watcher: &Watcher, n: u64, what: &str) {
    let (began, mut looks) = (now(), tokio::time::interval(Duration::from_millis(20)));
    while n_pictures(watcher).await < n {
        looks.tick().await;
        assert!(began.elapsed() < Duration::from_secs(12), "{what}: no picture");
    }
}

/// How the item that begins next plays its sound and its picture.
async fn next_plan(events: &mut Receiver<PlayerEvent>) -> (Option<String>, Option<String>) {
    loop {
        if let PlayerEvent::ItemStarted { plan, .. } = events.recv().await.unwrap() {
            return (plan.audio, plan.video);
        }
    }
}

fn n_prepared(folder: &Path) -> usize {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| !name.as_encoded_bytes().starts_with(b"."))
        .filter(|name| name.as_encoded_bytes().ends_with(b".mp4"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_is_prepared_while_it_plays_and_copied_when_it_plays_again() {
    let _alone = realtime_async().await;
    let dir = tempfile::tempdir().unwrap();
    let emulator = Emulator::start(EmulatorOptions::default()).await.unwrap();
    let chat = ChatId("demo".into());
    let watcher = emulator
        .watch(&chat, WatchOptions { of: Some("bot".to_owned()), ..WatchOptions::default() })
        .await
        .unwrap();
    let player = Player::start(PlayerOptions::default());
    let mut events = player.events();
    let mut options = ReaderOptions::default();
    options.cache = Some(Cache::open(dir.path(), 1 << 30).unwrap());
    let film = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/bframes.mp4");
    let item = Item::file_with(film, options);
    player.enqueue(item.clone()).await.unwrap();
    let call = Call::join(chat, &*emulator.signaling("bot"), &player, JoinOptions::default());
    call.joined().await.unwrap();

    let (audio, video) = next_plan(&mut events).await;
    assert_eq!((audio.as_deref(), video.as_deref()), (Some("transcode: aac"), Some("transcode: h264")));
    until_pictures(&watcher, 30, "while it is prepared").await;
    let (began, mut looks) = (now(), tokio::time::interval(Duration::from_millis(50)));
    while n_prepared(dir.path()) == 0 {
        looks.tick().await;
        assert!(began.elapsed() < Duration::from_secs(60), "nothing is prepared");
    }

    player.enqueue(item).await.unwrap();
    // Where the first play is over by then, there is nothing to skip.
    let _over = player.skip().await;
    let (audio, video) = next_plan(&mut events).await;
    assert_eq!((audio.as_deref(), video.as_deref()), (Some("copy"), Some("copy")));
    let before = n_pictures(&watcher).await;
    until_pictures(&watcher, before + 30, "when it is copied").await;

    call.leave(LeftReason::Command).await;
    call.closed().await;
    player.close().await;
    watcher.stop().await.unwrap();
    emulator.shutdown().await;
}
