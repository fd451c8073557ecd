//! A program that makes its own pictures and sound, and pushes them into a call as they come.
//!
//! `cargo run --example push`

use std::time::Duration;

use anyhow::{Context as _, ensure};
use telecast::call::{Call, ChatId, JoinOptions, LeftReason};
use telecast::emulator::measure::Wanted;
use telecast::emulator::watcher::WatchOptions;
use telecast::emulator::{Emulator, EmulatorOptions};
use telecast::media::codec::pcm::PcmLayout;
use telecast::media::{MediaKind, ReaderOptions};
use telecast::player::push::{self, PictureCoding, PushOptions, Pushed, PushedAudio, PushedVideo};
use telecast::player::{Item, Player, PlayerOptions};
use telecast::time::MediaTime;

const SIZE: (usize, usize) = (320, 180);
const FPS: u32 = 30;
const SAMPLE_RATE: u32 = 48_000;
const SECONDS: u32 = 5;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut options = PushOptions::default();
    options.video = Some(PushedVideo {
        coding: PictureCoding::I420 { bitrate_bps: None },
        size: (SIZE.0 as u32, SIZE.1 as u32),
        fps: FPS,
    });
    let layout = PcmLayout::F32LE;
    options.audio = Some(PushedAudio::Pcm { layout, sample_rate: SAMPLE_RATE, channels: 1 });
    let (pusher, source) = push::frames(options)?;

    // The program: as fast as it likes, because `push` waits while enough is under way.
    let program = std::thread::spawn(move || -> Result<(), push::PushError> {
        for n in 0..FPS * SECONDS {
            let pts = MediaTime::from_ticks(n.into(), FPS);
            pusher.push(Pushed { kind: MediaKind::Audio, pts, data: tone(n).into() })?;
            pusher.push(Pushed { kind: MediaKind::Video, pts, data: picture(n).into() })?;
        }
        Ok(())
    });

    let emulator = Emulator::start(EmulatorOptions::default()).await?;
    let chat = ChatId("studio".into());
    let watcher = emulator.watch(&chat, WatchOptions::default()).await?;
    let player = Player::start(PlayerOptions::default());
    player.enqueue(Item::pushed("a program", source, ReaderOptions::default())).await?;
    let signaling = emulator.signaling("bot");
    let call = Call::join(chat, &*signaling, &player, JoinOptions::default());
    call.joined().await.map_err(|reason| anyhow::anyhow!("the bot is not in the call: {reason:?}"))?;

    tokio::time::sleep(Duration::from_secs(4)).await;
    let report = watcher.report(Wanted { video: true, audio: true }).await?;
    let (video, audio) = (report.video.context("pictures came")?, report.audio.context("sound came")?);
    println!("{}x{} at {:.1} fps, {:?} Hz", video.width, video.height, video.fps, audio.dominant_hz);
    ensure!((video.width, video.height) == (320, 180) && (video.fps - 30.0).abs() < 2.0, "{video:?}");
    ensure!(audio.dominant_hz.is_some_and(|hz| (hz - 440.0).abs() < 2.0), "{audio:?}");

    call.leave(LeftReason::Command).await;
    call.closed().await;
    player.close().await;
    watcher.stop().await?;
    emulator.shutdown().await;
    // A call that is over takes nothing any more: that is how the program learns it.
    drop(program.join());
    Ok(())
}

/// A bar that moves to the right on gray.
fn picture(n: u32) -> Vec<u8> {
    let (width, height) = SIZE;
    let mut luma = vec![90; width * height];
    let left = n as usize * 4 % (width - 32);
    for row in luma.chunks_mut(width) {
        row[left..left + 32].fill(210);
    }
    [luma, vec![128; width * height / 2]].concat()
}

/// As much of a tone as a picture lasts.
fn tone(n: u32) -> Vec<u8> {
    let samples = SAMPLE_RATE / FPS;
    let sample = |n: u32| 0.25 * (std::f32::consts::TAU * 440.0 * n as f32 / SAMPLE_RATE as f32).sin();
    (n * samples..(n + 1) * samples).flat_map(|n| sample(n).to_le_bytes()).collect()
}
