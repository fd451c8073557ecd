//! A browser opens the viewer page and sees and hears what the bot streams.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use telecast::call::{Call, ChatId, JoinOptions, LeftReason};
use telecast::emulator::marks::{self, Luma};
use telecast::emulator::{Emulator, EmulatorOptions};
use telecast::media::Codec;
use telecast::player::{Item, Player, PlayerOptions, Repeat};

use crate::realtime_async;
use crate::webdriver::{Browser, Screenshot};

/// The clips show 30 pictures a second, numbered from 0 to 599 where they are not shorter.
const FPS: f64 = 30.0;
const NUMBERS: u32 = 600;

/// Two screenshots may be off by a tenth of a second: a browser paints when it finds the time.
const TOLERANCE: f64 = 3.0;

/// Decoded pictures per second, and the share of the sound that was made up.
const MIN_FPS: f64 = 28.0;
const MAX_CONCEALED: f64 = 0.01;

/// Another process may take the machine away for a second; a page that shows the wrong pictures
/// shows them every time.
const ATTEMPTS: usize = 5;

/// In the page's own words: sound and more than a second of pictures have come.
const MOVING: &str =
    "(await telecastStats()).participants.some((p) => p.video?.framesDecoded > 30 && p.audio)";

/// The number in the picture and when the screenshot was taken, as far as can be known.
fn see(browser: &Browser) -> Result<(u32, Instant)> {
    let before = now();
    let Screenshot { luma, width, height } = browser.screenshot()?;
    let taken = before + (now() - before) / 2;
    let luma = Luma::new(&luma, width, width, height).context("a screenshot without pixels")?;
    let number = marks::find_frame_number(&luma).context("no readable picture number on the page")?;
    Ok((number, taken))
}

/// Looks at the page for a second: two screenshots, and the growth of its counters between.
fn look(browser: &Browser, numbers: u32) -> Result<()> {
    let before = stats(browser)?;
    let (first, at) = see(browser)?;
    browser.wait(Duration::from_secs(1).saturating_sub(now() - at))?;
    let (second, later) = see(browser)?;
    let after = stats(browser)?;

    let step = f64::from((second + numbers - first) % numbers);
    let expected = (later - at).as_secs_f64() * FPS;
    ensure!(
        (step - expected).abs() <= TOLERANCE,
        "the page moved on by {step} pictures instead of {expected:.1}"
    );

    let growth = |pointer: &str| {
        let value = |stats: &Value| stats.pointer(pointer).and_then(Value::as_f64);
        value(&after).zip(value(&before)).map(|(after, before)| after - before).context("a number is missing")
    };
    let fps = growth("/video/framesDecoded")? / (growth("/video/timestamp")? / 1000.0);
    ensure!(fps >= MIN_FPS, "{fps:.1} pictures were decoded per second: {after}");
    let (concealed, heard) = (growth("/audio/concealedSamples")?, growth("/audio/totalSamplesReceived")?);
    ensure!(concealed < heard * MAX_CONCEALED, "{concealed} of {heard} samples were concealed: {after}");
    Ok(())
}

fn stats(browser: &Browser) -> Result<Value> {
    let stats = browser.run("return telecastStats()")?;
    stats["participants"].get(0).cloned().context("the page shows nobody")
}

/// A chat with its page at `door`, into which a bot plays a clip.
struct Show {
    emulator: Emulator,
    door: SocketAddr,
    player: Player,
    call: Call,
}

impl Show {
    async fn start(door: SocketAddr, clip: &str) -> Self {
        Self::start_at(EmulatorOptions::default(), door, clip).await
    }

    async fn start_at(server: EmulatorOptions, door: SocketAddr, clip: &str) -> Self {
        let emulator = Emulator::start(server).await.unwrap();
        let door = emulator.serve_http(door).await.unwrap().local_addr();
        let player = Player::start(PlayerOptions { repeat: Repeat::All, ..PlayerOptions::default() });
        let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("media").join(clip);
        player.enqueue(Item::file(clip)).await.unwrap();
        let chat = ChatId("demo".into());
        let call = Call::join(chat, &*emulator.signaling("bot"), &player, JoinOptions::default());
        Self { emulator, door, player, call }
    }

    async fn end(self) {
        self.call.leave(LeftReason::Command).await;
        self.call.closed().await;
        self.player.close().await;
        self.emulator.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_sees_and_hears_the_bot_and_comes_back_to_it() {
    let _alone = realtime_async().await;
    let show = Show::start(([127, 0, 0, 1], 0).into(), "clip.mkv").await;
    let door = show.door;
    let url = format!("http://{door}/?chat=demo");
    let hd = Shown { codec: "H264", width: 1280, height: 720, numbers: NUMBERS, speaking: true };
    let browser = tokio::task::spawn_blocking(move || watch(&url, hd)).await.unwrap().unwrap();
    show.end().await;

    let show = Show::start(door, "clip.mkv").await;
    let again = move || browser.wait_until(MOVING, Duration::from_secs(15));
    tokio::task::spawn_blocking(again).await.unwrap().unwrap();
    show.end().await;
}

/// All that play, by their goldens.
#[cfg(all(feature = "cli", feature = "openh264"))]
#[tokio::test(flavor = "multi_thread")]
async fn chromium_sees_vp8_and_vp9_as_the_file_has_them() {
    let _alone = realtime_async().await;
    let mut codecs = std::collections::BTreeSet::new();
    for told in crate::played::told() {
        let Some(codec) = told.browser_codec else { continue };
        codecs.insert(codec);
        let show = Show::start(([127, 0, 0, 1], 0).into(), &told.file).await;
        let url = format!("http://{}/?chat=demo", show.door);
        let numbers = u32::try_from(told.n_pictures).unwrap();
        let shown = Shown { codec, width: 640, height: 360, numbers, speaking: told.n_sounds > 0 };
        let seen = tokio::task::spawn_blocking(move || watch(&url, shown)).await.unwrap();
        seen.unwrap_or_else(|error| panic!("{}: {error:#}", told.file));
        show.end().await;
    }
    assert_eq!(codecs.into_iter().collect::<Vec<_>>(), ["VP8", "VP9"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_sees_vp8_where_the_server_takes_no_h264() {
    let _alone = realtime_async().await;
    let server = EmulatorOptions { h264: false, ..EmulatorOptions::default() };
    let show = Show::start_at(server, ([127, 0, 0, 1], 0).into(), "clip.mp4").await;
    let url = format!("http://{}/?chat=demo", show.door);
    let shown = Shown { codec: "VP8", width: 1280, height: 720, numbers: NUMBERS, speaking: true };
    tokio::task::spawn_blocking(move || watch(&url, shown)).await.unwrap().unwrap();
    let plan = show.player.status().borrow().plan.clone().unwrap();
    assert_eq!(plan.video.as_deref(), Some("transcode: ffmpeg"));
    let sent = show.call.stats().await.unwrap().media.video.unwrap();
    assert_eq!(sent.format.unwrap().codec, Codec::Vp8);
    show.end().await;
}

/// What the page is to say of the picture.
#[derive(Clone, Copy)]
struct Shown {
    codec: &'static str,
    width: u32,
    height: u32,
    /// Its pictures are numbered up to this, and then from 0 again.
    numbers: u32,
    /// It is heard.
    speaking: bool,
}

fn watch(url: &str, expected: Shown) -> Result<Browser> {
    let browser = Browser::start(1280, 800)?;
    browser.open(url)?;
    browser.wait_until(MOVING, Duration::from_secs(10))?;
    let mut errors = Vec::new();
    while let Err(error) = look(&browser, expected.numbers) {
        errors.push(error.to_string());
        ensure!(errors.len() < ATTEMPTS, "{}", errors.join("; "));
    }
    let shown = stats(&browser)?;
    let Shown { codec, width, height, speaking, .. } = expected;
    ensure!(shown["video"]["width"] == width && shown["video"]["height"] == height, "{shown}");
    ensure!(shown["audio"]["codec"] == "opus" && shown["video"]["codec"] == codec, "{shown}");
    ensure!(shown["speaking"] == speaking, "the speaking mark: {shown}");
    Ok(browser)
}

#[expect(clippy::disallowed_methods, reason = "the browser runs on the real clock")]
fn now() -> Instant {
    Instant::now()
}
