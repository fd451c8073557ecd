//! A foreign client takes part: ntgcalls, unmodified, sees and hears the bot, and is seen and
//! heard.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use telecast::call::{Call, ChatId, JoinOptions, LeftReason};
use telecast::emulator::marks::Luma;
use telecast::emulator::measure::{Measure, Picture, Reception, Report, Sound, Wanted};
use telecast::emulator::watcher::WatchOptions;
use telecast::emulator::{Emulator, EmulatorOptions, Weather};
use telecast::media::Codec;
use telecast::player::{Item, Player, PlayerOptions};
use telecast::time::MediaTime;

use crate::foreign::Foreign;
use crate::realtime_async;

const BOTH: Wanted = Wanted { video: true, audio: true };

/// It takes no notice of connections that finish within some 20 ms.
const WEATHER: &str = "delay=40ms";

/// The first second is left out: a receiver begins with whatever it has got.
const SETTLED: MediaTime = MediaTime::from_secs(1);

/// Another process may take the machine away for a second, and the foreign client aborts now and
/// then; what is wrong with us is wrong every time.
const ATTEMPTS: usize = 3;

/// Lets the foreign client join for some seconds; its last words and whether it ended well.
fn take_part(door: &str, folder: &Path) -> Result<String> {
    let folder = folder.to_str().context("a path that is no text")?;
    let mut client = Foreign::start("foreign_client.py", &[door, "demo", "foreigner", "bot", "5", folder])?;
    let mut said = String::new();
    client.0.stdout.take().context("stdout is piped")?.read_to_string(&mut said)?;
    let status = client.0.wait()?;
    ensure!(status.success(), "the foreign client failed: {status}; it said {said}");
    Ok(said)
}

/// What the foreign client's callbacks got, measured as the watcher measures its own.
fn received(file: &Path) -> Result<Report> {
    let bytes = std::fs::read(file)?;
    let (mut rest, mut measure, mut last, mut begin) = (&bytes[..], Measure::new(), MediaTime::ZERO, None);
    while let [kind, after @ ..] = rest {
        let (header, after) = after.split_at_checked(16).context("half a header")?;
        let number = |n: usize| u32::from_le_bytes(header[4 * n..][..4].try_into().expect("four bytes"));
        let [at, width, height, length] = [number(0), number(1), number(2), number(3)];
        let (data, after) = after.split_at_checked(length as usize).context("half a callback")?;
        rest = after;
        last = MediaTime::from_millis(i64::from(at));
        let is_settled = last >= *begin.get_or_insert(last) + SETTLED;
        match kind {
            _ if !is_settled => {}
            b'v' => {
                let (width, height) = (width as usize, height as usize);
                let luma = Luma::new(data, width, width, height).context("half a picture")?;
                measure.handle_picture(&Picture { luma, arrival: last, taken: None });
            }
            b'a' => {
                let samples = data.chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]]));
                let samples: Vec<f32> = samples.map(|sample| f32::from(sample) / 32768.0).collect();
                let sound = Sound { samples: &samples, arrival: last, taken: None, concealed: false };
                measure.handle_sound(&sound);
            }
            other => bail!("a callback of the unknown kind {other}"),
        }
    }
    let (video, audio) = (Some(Codec::H264), Some(Codec::Opus));
    Ok(measure.report(&Reception { now: last, video, audio, ..Reception::default() }, BOTH))
}

/// A bot plays a clip while the foreign client is there: what it said, what it got, and what the
/// watcher got from it.
async fn party() -> Result<(String, Report, Report)> {
    let weather = Some(Weather::parse(WEATHER)?);
    let emulator = Emulator::start(EmulatorOptions { weather, ..EmulatorOptions::default() }).await?;
    let door = emulator.serve_http(([127, 0, 0, 1], 0).into()).await?;
    let chat = ChatId("demo".into());
    let player = Player::start(PlayerOptions::default());
    player.enqueue(Item::file(Path::new(env!("CARGO_MANIFEST_DIR")).join("media/clip.mp4"))).await?;
    let bot = Call::join(chat.clone(), &*emulator.signaling("bot"), &player, JoinOptions::default());
    if let Err(reason) = bot.joined().await {
        bail!("the bot is not in the chat: {reason:?}");
    }
    let of = Some("foreigner".to_owned());
    let watcher = emulator.watch(&chat, WatchOptions { of, ..WatchOptions::default() }).await?;

    let folder = tempfile::tempdir()?;
    let path = folder.path().to_owned();
    let client = move || {
        let said = take_part(&format!("http://{door}"), &path)?;
        Ok::<_, anyhow::Error>((said, received(&path.join("received"))?))
    };
    let client = tokio::task::spawn_blocking(client).await?;
    let sent = watcher.report(BOTH).await;
    bot.leave(LeftReason::Command).await;
    bot.closed().await;
    player.close().await;
    let watched = watcher.stop().await;
    emulator.shutdown().await;

    let (said, received) = client?;
    watched?;
    Ok((said, received, sent?))
}

/// Is everything there, and right?
fn judge(said: &str, received: Report, sent: Report) -> Result<()> {
    ensure!(said.contains("CONNECTED"), "the foreign client was never connected: {said}");
    let (video, audio) = received.video.zip(received.audio).context("it got no pictures or no sound")?;
    ensure!((video.width, video.height) == (1280, 720), "{video:?}");
    ensure!(video.fps >= 25.0 && video.frame_numbers_missing == Some(0), "{video:?}");
    let near = |value: Option<f64>, wanted: f64, by: f64| value.is_some_and(|v| (v - wanted).abs() < by);
    ensure!(near(audio.dominant_hz, 440.0, 2.0), "{audio:?}");
    // It decodes Opus to one channel: half of −18 dBFS and half of −24 dBFS.
    ensure!(near(audio.left_dbfs, -20.5, 1.0), "{audio:?}");

    let (video, audio) = sent.video.zip(sent.audio).context("it sent no pictures or no sound")?;
    ensure!(video.codec == "h264" && video.frames_decoded > 60 && video.fps > 25.0, "{video:?}");
    ensure!(near(audio.dominant_hz, 880.0, 2.0) && audio.concealed_ms < 200, "{audio:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ntgcalls_takes_part_in_the_chat() {
    let _alone = realtime_async().await;
    let mut errors = Vec::new();
    while errors.len() < ATTEMPTS {
        match party().await.and_then(|(said, received, sent)| judge(&said, received, sent)) {
            Ok(()) => return,
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    panic!("{}", errors.join("; "));
}
