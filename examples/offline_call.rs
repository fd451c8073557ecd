//! A whole call on this machine: a chat, a bot that plays a file into it, a watcher that judges.
//!
//! `cargo run --example offline_call [FILE]`

use std::process::ExitCode;
use std::time::Duration;

use telecast::call::{Call, ChatId, JoinOptions, LeftReason};
use telecast::emulator::measure::{Verdict, Wanted};
use telecast::emulator::watcher::WatchOptions;
use telecast::emulator::{Emulator, EmulatorOptions};
use telecast::player::{Item, Player, PlayerOptions};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/media/clip.mp4");
    let file = std::env::args().nth(1).unwrap_or_else(|| clip.to_owned());

    let emulator = Emulator::start(EmulatorOptions::default()).await?;
    let chat = ChatId("living room".to_owned());
    let of_bot = WatchOptions { of: Some("bot".to_owned()), ..WatchOptions::default() };
    let watcher = emulator.watch(&chat, of_bot).await?;

    let player = Player::start(PlayerOptions::default());
    player.enqueue(Item::file(file)).await?;
    // Against Telegram, only this signaling would be another one.
    let call = Call::join(chat, &*emulator.signaling("bot"), &player, JoinOptions::default());
    if let Err(reason) = call.joined().await {
        anyhow::bail!("the bot is not in the call: {reason:?}");
    }
    println!("joined; listening for three seconds");
    tokio::time::sleep(Duration::from_secs(3)).await;

    let report = watcher.report(Wanted { video: true, audio: true }).await?;
    println!("verdict: {:?} {}", report.verdict, report.reasons.join("; "));
    if let Some(video) = &report.video {
        println!("picture: {} {}x{}, {:.1} fps", video.codec, video.width, video.height, video.fps);
    }
    if let Some(audio) = &report.audio {
        println!("sound:   {}, {} packets", audio.codec, audio.packets);
    }

    call.leave(LeftReason::Command).await;
    println!("left: {:?}", call.closed().await);
    player.close().await;
    watcher.stop().await?;
    emulator.shutdown().await;
    Ok(if report.verdict == Verdict::Ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
