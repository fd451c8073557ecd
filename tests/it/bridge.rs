//! The file with a keyframe every ten seconds as foreign receivers see it: Chromium and ntgcalls
//! come in the middle and see a picture soon, and whoever watches already does not notice.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use telecast::call::{Call, ChatId, JoinOptions, LeftReason};
use telecast::emulator::{Emulator, EmulatorOptions, Weather};
use telecast::player::{Item, Player, PlayerOptions, Repeat};

use crate::foreign::Foreign;
use crate::realtime_async;
use crate::webdriver::Browser;

/// From asking for a picture to seeing it, in the middle of all who come.
const MEDIAN_MS: f64 = 700.0;
/// The longest that the picture of somebody who watches may stand still, beyond the 33 ms that
/// one lasts.
const FREEZE_MS: u32 = 33 + 150;
/// ntgcalls takes no notice of connections that finish within some 20 ms.
const WEATHER: &str = "delay=40ms";
/// Who comes in the middle, of each kind.
const NEWCOMERS: usize = 3;
/// Another process may take the machine away for a second, and the foreign client aborts now and
/// then; what is wrong with us is wrong every time.
const ATTEMPTS: usize = 3;

const MOVING: &str =
    "(await telecastStats()).participants.some((p) => p.video?.framesDecoded > 30 && p.audio)";

/// Connects the page anew and tells how long the first picture took, in milliseconds. The clock
/// starts before the page even asks to join: later steps are told to a page after they have
/// happened. What a browser tells of its pictures is 50 ms old at most.
const LOOK_AGAIN: &str = "return (async () => {
  const moment = () => new Promise((go_on) => setTimeout(go_on, 5));
  session.lose('look again');
  while (!session) await moment();
  const asked = performance.now();
  for (;;) {
    const stats = [...(await session.pc.getStats()).values()];
    if (stats.some((s) => s.type === 'inbound-rtp' && s.kind === 'video' && s.framesDecoded > 0)) break;
    if (performance.now() - asked > 12000) break;
    await moment();
  }
  return performance.now() - asked;
})()";

/// What ntgcalls has seen.
struct Seen {
    /// From asking for the pictures to the first one.
    first_ms: u32,
    /// The longest time between two pictures.
    longest_gap_ms: u32,
}

/// Lets ntgcalls watch for so many seconds.
fn ntgcalls(door: &str, name: &str, seconds: &str) -> Result<Seen> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().to_str().context("a path that is no text")?;
    let mut client = Foreign::start("foreign_client.py", &[door, "demo", name, "bot", seconds, path])?;
    let stdout = BufReader::new(client.0.stdout.take().context("stdout is piped")?);
    let said = stdout.lines().map_while(Result::ok).last().context("it says nothing")?;
    ensure!(client.0.wait()?.success(), "the foreign client failed; it said {said}");
    let said: Value = serde_json::from_str(&said)?;
    let asked = said["asked_ms"].as_u64().context("it does not say when it asked")?;
    let pictures = arrivals(&folder.path().join("received"))?;
    let first = u64::from(*pictures.first().context("it got no pictures")?);
    Ok(Seen {
        first_ms: u32::try_from(first.saturating_sub(asked))?,
        longest_gap_ms: pictures.windows(2).map(|two| two[1] - two[0]).max().context("one picture only")?,
    })
}

/// When the pictures came, in milliseconds.
fn arrivals(file: &Path) -> Result<Vec<u32>> {
    let bytes = std::fs::read(file)?;
    let (mut rest, mut pictures) = (&bytes[..], Vec::new());
    while let [kind, after @ ..] = rest {
        let (header, after) = after.split_at_checked(16).context("half a header")?;
        let number = |n: usize| u32::from_le_bytes(header[4 * n..][..4].try_into().expect("four bytes"));
        rest = after.get(number(3) as usize..).context("half a callback")?;
        if *kind == b'v' {
            pictures.push(number(0));
        }
    }
    Ok(pictures)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Newcomers of both kinds while the other kind watches.
fn scene(door: &str) -> Result<()> {
    let browser = Browser::start(800, 600)?;
    browser.open(&format!("{door}/?chat=demo"))?;
    browser.wait_until(MOVING, Duration::from_secs(15))?;
    let freezes = || -> Result<(f64, Value)> {
        let stats = browser.run("return telecastStats()")?;
        let video = stats["participants"][0]["video"].clone();
        Ok((video["freezeCount"].as_f64().context("no count of freezes")?, video))
    };

    let (before, _) = freezes()?;
    let mut waits = Vec::new();
    for nth in 0..NEWCOMERS {
        waits.push(f64::from(ntgcalls(door, &format!("newcomer-{nth}"), "2")?.first_ms));
    }
    let (after, video) = freezes()?;
    println!("ntgcalls sees its first picture after {waits:?} ms; Chromium meanwhile: {video}");
    ensure!(median(waits.clone()) <= MEDIAN_MS, "ntgcalls waits {waits:?} ms");
    ensure!(after <= before, "Chromium, who watched already, saw a freeze: {video}");

    let watching = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| ntgcalls(door, "watcher", "9"));
        let mut waits = Vec::new();
        for _ in 0..NEWCOMERS {
            browser.wait(Duration::from_millis(1_500))?;
            waits.push(browser.run(LOOK_AGAIN)?.as_f64().context("no time")?);
        }
        let seen = watcher.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))??;
        anyhow::Ok((waits, seen))
    });
    let (waits, seen) = watching?;
    println!("Chromium after {waits:.0?} ms; ntgcalls meanwhile: {} ms at most", seen.longest_gap_ms);
    ensure!(median(waits.clone()) <= MEDIAN_MS, "Chromium waits {waits:?} ms");
    ensure!(
        seen.longest_gap_ms <= FREEZE_MS,
        "ntgcalls, who watched, saw a freeze of {} ms",
        seen.longest_gap_ms
    );
    Ok(())
}

async fn once() -> Result<()> {
    let weather = Some(Weather::parse(WEATHER)?);
    let emulator = Emulator::start(EmulatorOptions { weather, ..EmulatorOptions::default() }).await?;
    let door = emulator.serve_http(([127, 0, 0, 1], 0).into()).await?;
    let player = Player::start(PlayerOptions { repeat: Repeat::All, ..PlayerOptions::default() });
    player.enqueue(Item::file(Path::new(env!("CARGO_MANIFEST_DIR")).join("media/long-gop.mp4"))).await?;
    let chat = ChatId("demo".into());
    let call = Call::join(chat, &*emulator.signaling("bot"), &player, JoinOptions::default());
    let joined = call.joined().await;
    let door = format!("http://{door}");
    let seen = tokio::task::spawn_blocking(move || scene(&door)).await?;
    let stats = call.stats().await;
    call.leave(LeftReason::Command).await;
    call.closed().await;
    player.close().await;
    emulator.shutdown().await;
    joined.map_err(|reason| anyhow::anyhow!("the bot is not in the chat: {reason:?}"))?;
    seen?;
    let sent = stats.context("a call that is over")?.media.video.context("no picture was sent")?;
    println!("from the request to the keyframe {:?} at most: {sent:?}", sent.max_key_frame_wait);
    ensure!(sent.key_frame_waits as usize >= NEWCOMERS, "{sent:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_newcomers_see_a_picture_soon_and_foreign_watchers_do_not_notice() {
    let _alone = realtime_async().await;
    let mut errors = Vec::new();
    while errors.len() < ATTEMPTS {
        match once().await {
            Ok(()) => return,
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    panic!("{}", errors.join("; "));
}
