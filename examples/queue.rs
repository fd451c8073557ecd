//! A queue as a music bot has it: rearranged while it plays, back and forth, and told of.
//!
//! `cargo run --example queue`

use std::time::Duration;

use anyhow::{Context as _, ensure};
use telecast::call::{Call, ChatId, JoinOptions, LeftReason};
use telecast::emulator::{Emulator, EmulatorOptions};
use telecast::player::{EndReason, Item, ItemId, Player, PlayerEvent, PlayerOptions, Repeat};
use telecast::time::MediaTime;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let emulator = Emulator::start(EmulatorOptions::default()).await?;
    let player = Player::start(PlayerOptions::default());
    let mut events = player.follow().await;
    let media = |name: &str| Item::file(format!("{}/media/{name}", env!("CARGO_MANIFEST_DIR")));

    // Two seconds out of the middle of each.
    let part = |item: Item, from: i64| {
        item.start_at(MediaTime::from_secs(from)).stop_at(MediaTime::from_secs(from + 2))
    };
    let song = player.enqueue(part(media("music.ogg"), 1)).await?;
    let clip = player.enqueue(part(media("clip.mp4"), 0)).await?;
    let tail = player.enqueue(part(media("music.ogg"), 3)).await?;
    player.move_to(tail, 0).await?;

    // Against Telegram, only this signaling would be another one.
    let signaling = emulator.signaling("bot");
    let call = Call::join(ChatId("living room".into()), &*signaling, &player, JoinOptions::default());
    call.joined().await.map_err(|reason| anyhow::anyhow!("the bot is not in the call: {reason:?}"))?;

    ensure!(ended(&mut events).await? == (song, EndReason::Finished), "the first one first");
    started(&mut events, tail).await?;
    player.previous().await?;
    ensure!(ended(&mut events).await? == (tail, EndReason::Skipped), "it comes again");
    started(&mut events, song).await?;
    player.seek_by(MediaTime::from_millis(500)).await?;
    player.set_repeat(Repeat::One).await?;
    ensure!(ended(&mut events).await? == (song, EndReason::Finished), "the song, once more");
    player.set_repeat(Repeat::Off).await?;
    player.skip_to(clip).await?;
    started(&mut events, clip).await?;
    player.set_volume(50).await?;
    ensure!(player.queue().await?.is_empty(), "nothing waits behind the clip");

    call.leave(LeftReason::Command).await;
    println!("left: {:?}", call.closed().await);
    player.close().await;
    emulator.shutdown().await;
    Ok(())
}

type Events = tokio::sync::mpsc::Receiver<PlayerEvent>;

async fn next(events: &mut Events) -> anyhow::Result<PlayerEvent> {
    let event = tokio::time::timeout(Duration::from_secs(20), events.recv()).await?;
    let event = event.context("the programme is over")?;
    if !matches!(event, PlayerEvent::Position { .. }) {
        println!("{event:?}");
    }
    Ok(event)
}

/// Waits for the end of whatever plays.
async fn ended(events: &mut Events) -> anyhow::Result<(ItemId, EndReason)> {
    loop {
        if let PlayerEvent::ItemEnded { item, reason, .. } = next(events).await? {
            return Ok((item, reason));
        }
    }
}

/// Waits for the start of one.
async fn started(events: &mut Events, wanted: ItemId) -> anyhow::Result<()> {
    loop {
        if matches!(next(events).await?, PlayerEvent::ItemStarted { item, .. } if item == wanted) {
            return Ok(());
        }
    }
}
