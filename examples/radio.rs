//! A radio: one programme, round and round, in as many chats as you like. What is read, decoded
//! and encoded is so once; a chat more costs its packets.
//!
//! `cargo run --example radio [CHATS]`

use std::time::Duration;

use anyhow::ensure;
use telecast::call::{Call, ChatId, JoinOptions, LeftReason};
use telecast::emulator::{Emulator, EmulatorOptions};
use telecast::player::{Item, Player, PlayerOptions, Repeat};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let n_chats: usize = std::env::args().nth(1).map_or(Ok(50), |text| text.parse())?;
    let emulator = Emulator::start(EmulatorOptions::default()).await?;

    let programme = Player::start(PlayerOptions { repeat: Repeat::All, ..PlayerOptions::default() });
    for name in ["music.ogg", "clip.mp4"] {
        programme.enqueue(Item::file(format!("{}/media/{name}", env!("CARGO_MANIFEST_DIR")))).await?;
    }

    let signaling = emulator.signaling("radio");
    let sound_only = JoinOptions { video: false, ..JoinOptions::default() };
    let join = |nth| Call::join(ChatId(format!("chat {nth}")), &*signaling, &programme, sound_only.clone());
    let calls: Vec<Call> = (0..n_chats).map(join).collect();
    for call in &calls {
        if let Err(reason) = call.joined().await {
            println!("one chat is missing: {reason:?}");
        }
    }
    println!("on air in {n_chats} chats");
    tokio::time::sleep(Duration::from_secs(3)).await;

    let mut n_hearing = 0;
    for nth in 0..n_chats {
        let there = emulator.stats(&format!("chat {nth}")).await?;
        // Three seconds are 150 packets; a loaded machine may be late with some.
        n_hearing += usize::from(there.iter().any(|it| it.streams.iter().any(|stream| stream.packets > 100)));
    }
    for call in &calls {
        call.leave(LeftReason::Command).await;
    }
    for call in &calls {
        call.closed().await;
    }
    programme.close().await;
    emulator.shutdown().await;
    println!("{n_hearing} of {n_chats} chats have heard it");
    ensure!(n_hearing == n_chats, "some chats have heard nothing");
    Ok(())
}
