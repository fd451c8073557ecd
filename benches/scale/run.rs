//! One run: everybody joins, some seconds are measured, and it is told to stop.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use telecast::emulator::Arrivals;
use tokio::runtime::Runtime;

use crate::bare::Bare;
use crate::bot::{Bot, Stdin};
use crate::machine::{self, Cpu};
use crate::town::Town;

/// Left out at the start: the first pictures, and what joining leaves to be done.
const SETTLE: Duration = Duration::from_secs(3);
/// Whoever has not joined by then is not waited for.
const JOIN_LIMIT: Duration = Duration::from_secs(60);
/// The payload type that the emulator gives to Opus, as Telegram does.
const OPUS: u8 = 111;
/// The same for H.264.
const H264: u8 = 104;

/// What to measure.
pub(crate) struct Setting<'a> {
    pub(crate) program: &'a Path,
    pub(crate) clip: &'static str,
    pub(crate) sound_only: bool,
    pub(crate) n_calls: usize,
    pub(crate) length: Duration,
    pub(crate) round_trip: Duration,
    pub(crate) n_shards: usize,
}

/// What came out.
pub(crate) struct Sample {
    pub(crate) cpu: Cpu,
    pub(crate) seconds: f64,
    pub(crate) pss_kb: f64,
    /// Milliseconds between packets of sound, of all calls together, in order of size.
    pub(crate) gaps: Vec<f64>,
    /// Milliseconds between one call's packet of sound and the same in each other call, in order
    /// of size.
    pub(crate) skews: Vec<f64>,
    /// The gaps of a thread that does nothing else, in the same seconds.
    pub(crate) bare_gaps: Vec<f64>,
    /// The p99 of the gaps of the call that has it worst.
    pub(crate) worst_gap_p99: f64,
    pub(crate) lost_sound: u64,
    pub(crate) lost_pictures: u64,
    /// Datagrams that the emulator's sockets had no room for: not telecast's fault.
    pub(crate) unread: u64,
    /// Pictures per second of the call that has fewest.
    pub(crate) least_fps: f64,
    /// From the process's first request to join until each call's first packet, in order of size.
    pub(crate) first_rtp: Vec<Duration>,
    /// From SIGTERM to the end of the process.
    pub(crate) stop: Duration,
}

/// What the process has said so far.
#[derive(Default)]
struct Heard {
    first_request: Option<Duration>,
    /// SSRCs of sound, by chat.
    ssrcs: HashMap<String, u32>,
    joined: usize,
}

pub(crate) fn measure(setting: &Setting<'_>, runtime: &Runtime) -> Result<Sample> {
    let town = runtime.block_on(Town::found(setting.n_shards, setting.round_trip))?;
    let chats: Vec<String> = (0..setting.n_calls).map(|n| format!("chat-{n}")).collect();
    let heard = Arc::new(Mutex::new(Heard::default()));
    let (handle, round_trip) = (runtime.handle().clone(), setting.round_trip);
    let (of_town, of_heard) = (town.clone(), heard.clone());
    let hear = move |line: Value, stdin: &Stdin| {
        note(&line, &mut of_heard.lock().expect("nobody panics with it"));
        if line["type"] == "request" {
            let (town, stdin) = (of_town.clone(), stdin.clone());
            handle.spawn(async move {
                tokio::time::sleep(round_trip).await;
                // A process that is gone reads no answers; whoever waits for it says so.
                if let Err(error) = answer(&line, &town, &stdin).await {
                    eprintln!("no answer to {}: {error:#}", line["method"]);
                }
            });
        }
    };
    let bot = Bot::start(setting.program, setting.clip, setting.sound_only, &chats, hear)?;
    eprint!("\r\x1b[K{} calls of {}: joining", setting.n_calls, setting.clip);
    wait_for_all(setting.n_calls, &heard)?;
    std::thread::sleep(SETTLE);

    eprint!("\r\x1b[K{} calls of {}: {} s", setting.n_calls, setting.clip, setting.length.as_secs());
    let ports = town.ports();
    runtime.block_on(town.arrivals())?;
    let (unread, cpu, begin) = (machine::socket_drops(&ports)?, Cpu::now(bot.pid())?, Instant::now());
    let bare = Bare::start();
    std::thread::sleep(setting.length);
    let bare_gaps = bare.gaps();
    let arrivals = runtime.block_on(town.arrivals())?;
    let seconds = begin.elapsed().as_secs_f64();
    let cpu = Cpu::now(bot.pid())?.since(cpu);
    let unread = machine::socket_drops(&ports)? - unread;
    let pss_kb = machine::pss_kb(bot.pid())?;
    let stop = bot.stop()?;
    runtime.block_on(town.close());
    eprint!("\r\x1b[K");

    let heard = heard.lock().expect("nobody panics with it");
    let of = |payload_type| arrivals.iter().filter(move |it| it.payload_type == payload_type);
    let mut gaps: Vec<f64> = of(OPUS).flat_map(Arrivals::gaps).map(millis).collect();
    gaps.sort_by(f64::total_cmp);
    let first = of(OPUS).next().context("no sound came")?;
    let mut skews: Vec<f64> = of(OPUS).skip(1).flat_map(|other| first.skews(other)).map(millis).collect();
    skews.sort_by(f64::total_cmp);
    let begun = heard.first_request.context("nobody asked to join")?;
    let first_of = |ssrc: &u32| arrivals.iter().find(|it| it.ssrc == *ssrc).map(|it| it.first_at);
    let mut first_rtp: Vec<Duration> =
        heard.ssrcs.values().filter_map(first_of).map(|at| at.saturating_sub(begun)).collect();
    first_rtp.sort();
    Ok(Sample {
        cpu,
        seconds,
        pss_kb,
        gaps,
        skews,
        bare_gaps,
        worst_gap_p99: of(OPUS).map(gap_p99).fold(0.0, f64::max),
        lost_sound: of(OPUS).map(|it| it.lost).sum(),
        lost_pictures: of(H264).map(|it| it.lost).sum(),
        unread,
        least_fps: of(H264).map(|it| it.markers as f64 / seconds).fold(f64::INFINITY, f64::min),
        first_rtp,
        stop,
    })
}

/// Remembers who asks and who is in.
fn note(line: &Value, heard: &mut Heard) {
    if line["method"] == "join" {
        heard.first_request.get_or_insert_with(unix_now);
        let params: Value =
            line["params"].as_str().and_then(|it| serde_json::from_str(it).ok()).unwrap_or_default();
        let ssrc = params["ssrc"].as_i64().map(|ssrc| (ssrc & 0xffff_ffff) as u32);
        if let (Some(chat), Some(ssrc)) = (line["chat"].as_str(), ssrc) {
            heard.ssrcs.insert(chat.to_owned(), ssrc);
        }
    }
    if line["event"] == "status" && line["status"] == "joined" {
        heard.joined += 1;
    }
}

async fn answer(line: &Value, town: &Town, stdin: &Stdin) -> Result<()> {
    let mut reply = json!({ "type": "reply", "id": line["id"] });
    match line["method"].as_str() {
        Some("join") => {
            let text = |key: &str| line[key].as_str().with_context(|| format!("no {key}"));
            reply["params"] = town.join(text("chat")?, text("params")?.to_owned()).await?.into();
        }
        Some("check") => reply["sources"] = line["sources"].clone(),
        Some("participants") => {
            reply["participants"] = json!([]);
            reply["version"] = 1.into();
        }
        _ => {}
    }
    stdin.say(&reply)
}

fn wait_for_all(n_calls: usize, heard: &Mutex<Heard>) -> Result<()> {
    let begin = Instant::now();
    loop {
        let joined = heard.lock().expect("nobody panics with it").joined;
        if joined >= n_calls {
            return Ok(());
        }
        ensure!(
            begin.elapsed() < JOIN_LIMIT,
            "only {joined} of {n_calls} calls joined within {JOIN_LIMIT:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn gap_p99(arrivals: &Arrivals) -> f64 {
    let mut gaps: Vec<Duration> = arrivals.gaps().collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() * 99 / 100).copied().map_or(f64::INFINITY, millis)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The value below which such a share of them lies.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted.get(((sorted.len().saturating_sub(1)) as f64 * share) as usize).copied().unwrap_or(f64::NAN)
}

fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
