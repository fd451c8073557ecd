//! A file with a keyframe every ten seconds: who comes in the middle sees a picture soon, and
//! nobody else notices.

use std::path::Path;
use std::time::{Duration, Instant};

use telecast::call::{Call, ChatId, JoinOptions, LeftReason};
use telecast::emulator::measure::{Verdict, Wanted};
use telecast::emulator::watcher::{WatchOptions, Watcher};
use telecast::emulator::{Emulator, EmulatorOptions};
use telecast::player::{Item, Player, PlayerOptions};

use crate::realtime_async;

const BOTH: Wanted = Wanted { video: true, audio: true };

/// From the first request to the first picture, in the middle of all who come.
const MEDIAN: Duration = Duration::from_millis(700);

#[expect(clippy::disallowed_methods, reason = "how long a viewer waits is measured on the real clock")]
fn now() -> Instant {
    Instant::now()
}

async fn watch(emulator: &Emulator, chat: &ChatId) -> Watcher {
    let of = Some("bot".to_owned());
    emulator.watch(chat, WatchOptions { of, ..WatchOptions::default() }).await.unwrap()
}

async fn n_pictures(watcher: &Watcher) -> u64 {
    watcher.report(BOTH).await.unwrap().video.map_or(0, |video| video.frames_decoded)
}

/// From being connected, when the server asks for a keyframe, to the first decoded picture.
async fn wait_for_picture(emulator: &Emulator, chat: &ChatId) -> Duration {
    let watcher = watch(emulator, chat).await;
    let (came, mut looks) = (now(), tokio::time::interval(Duration::from_millis(10)));
    while n_pictures(&watcher).await == 0 {
        looks.tick().await;
        assert!(came.elapsed() < Duration::from_secs(12), "no picture at all");
    }
    let waited = came.elapsed();
    watcher.stop().await.unwrap();
    waited
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_in_the_middle_sees_a_picture_soon_and_nobody_else_notices() {
    let _alone = realtime_async().await;
    let emulator = Emulator::start(EmulatorOptions::default()).await.unwrap();
    let chat = ChatId("demo".into());
    let first = watch(&emulator, &chat).await;
    let player = Player::start(PlayerOptions::default());
    player
        .enqueue(Item::file(Path::new(env!("CARGO_MANIFEST_DIR")).join("media/long-gop.mp4")))
        .await
        .unwrap();
    let call = Call::join(chat.clone(), &*emulator.signaling("bot"), &player, JoinOptions::default());
    call.joined().await.unwrap();

    let mut looks = tokio::time::interval(Duration::from_millis(100));
    while n_pictures(&first).await < 60 {
        looks.tick().await;
    }
    let mut waits = Vec::new();
    for n_joined in 0..5 {
        while n_pictures(&first).await < 60 + 35 * n_joined {
            looks.tick().await;
        }
        waits.push(wait_for_picture(&emulator, &chat).await);
    }
    // Past the file's own keyframe, where copying goes on.
    while n_pictures(&first).await < 330 {
        looks.tick().await;
    }
    let (report, stats) = (first.report(BOTH).await.unwrap(), call.stats().await.unwrap());
    call.leave(LeftReason::Command).await;
    call.closed().await;
    player.close().await;
    first.stop().await.unwrap();
    emulator.shutdown().await;

    waits.sort_unstable();
    assert!(waits[2] <= MEDIAN, "{waits:?}");
    let video = report.video.clone().unwrap();
    assert_eq!(
        (report.verdict, video.freezes, video.frame_numbers_missing),
        (Verdict::Ok, 0, Some(0)),
        "{report:#?}"
    );
    let sent = stats.media.video.unwrap();
    assert!(sent.key_frame_waits >= 2 && sent.max_key_frame_wait <= MEDIAN, "{sent:?}");
    assert!(sent.pli_count + sent.fir_count <= 20 && sent.nack_count <= 2, "no storm: {sent:?}");
    println!("waits {waits:?}, sent {sent:?}");
}
