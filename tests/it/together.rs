//! Chats of one programme hear the same at the same time.

use std::path::Path;
use std::time::Duration;

use telecast::call::{Call, ChatId, JoinOptions, LeftReason};
use telecast::emulator::{Emulator, EmulatorOptions};
use telecast::player::{Item, Player, PlayerOptions, Repeat};

use crate::realtime_async;

const N_CHATS: usize = 12;
const MAX_SKEW: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread")]
async fn the_same_packet_reaches_all_chats_within_20_ms() {
    let _alone = realtime_async().await;
    let emulator =
        Emulator::start(EmulatorOptions { meter: true, ..EmulatorOptions::default() }).await.unwrap();
    let player = Player::start(PlayerOptions { repeat: Repeat::All, ..PlayerOptions::default() });
    let music = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/music.ogg");
    player.enqueue(Item::file(music)).await.unwrap();
    let mut calls = Vec::new();
    for nth in 0..N_CHATS {
        let chat = ChatId(format!("chat {nth}"));
        let call = Call::join(chat, &*emulator.signaling("bot"), &player, JoinOptions::default());
        // One after the other: they come to a programme that plays already.
        call.joined().await.unwrap();
        calls.push(call);
    }
    // A window in which all of them hear it.
    emulator.arrivals().await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let heard: Vec<_> =
        emulator.arrivals().await.unwrap().into_iter().filter(|it| !it.sounds.is_empty()).collect();
    assert_eq!(heard.len(), N_CHATS);

    let of_one = |other| {
        let skews = heard[0].skews(other);
        assert!(skews.len() > 150, "{} of 200 packets found again", skews.len());
        skews
    };
    let mut skews: Vec<Duration> = heard[1..].iter().flat_map(of_one).collect();
    skews.sort_unstable();
    let p95 = skews[skews.len() * 95 / 100];
    println!("p50 {:?}, p95 {p95:?}, max {:?}", skews[skews.len() / 2], skews[skews.len() - 1]);
    assert!(p95 <= MAX_SKEW, "{p95:?} between two chats");
    for call in &calls {
        call.leave(LeftReason::Command).await;
        call.closed().await;
    }
    player.close().await;
    emulator.shutdown().await;
}
