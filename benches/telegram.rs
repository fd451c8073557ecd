//! How long `telecast play` takes to be in a call, and what an idle client costs:
//! `cargo bench --bench telegram [-- RUNS]`.
//!
//! The program itself signs in with a session file to the MTProto server in this process, finds
//! the chat and plays a clip. The clock runs from the start of its process until it says that it
//! has joined *and* the media server has its first sound and its first picture.
//! For the memory of an idle client, this bench starts itself once more: that process connects
//! and then does nothing, and the kernel says what it costs (PSS).

#![expect(clippy::print_stdout, reason = "a bench tells its figures")]
#![expect(clippy::disallowed_methods, reason = "it measures real time")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use telecast::emulator::mtproto::{AccountId, ChatKind, MtprotoDoor, NewCall, NewChat};
use telecast::emulator::{Emulator, EmulatorOptions};
use telecast::telegram::{Client, ClientOptions, Datacenter, Session};

/// How often the program is started, unless the command line says otherwise.
const RUNS: usize = 20;
/// The first argument of the process that only connects.
const IDLE: &str = "idle";
/// An idle client is measured when it has been idle for this long.
const SETTLE: Duration = Duration::from_secs(3);

/// What one start of the program took, in milliseconds.
struct Start {
    joined: f64,
    confirmed: f64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [word, session] = &args[..]
        && word == IDLE
    {
        return idle(Path::new(session)).await;
    }
    // Cargo adds `--bench`.
    let n_runs = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(RUNS).max(1);
    let home = tempfile::tempdir()?;
    let emulator = Emulator::start(EmulatorOptions::default()).await?;
    let door = emulator.serve_mtproto("127.0.0.1:0".parse()?).await?;
    let account = door.add_account("bot");
    let session = home.path().join("telecast/main.json");
    sign_in(&door, account, &session)?;

    let mut starts = Vec::new();
    for n in 0..n_runs {
        // A chat of its own, so that nobody is there but the bot of this run.
        let room = format!("room{n}");
        let chat = door.add_chat(&NewChat {
            kind: ChatKind::Supergroup,
            title: &room,
            username: Some(&room),
            room: &room,
            admins: &[account],
        });
        door.begin_call(chat, &NewCall::default());
        starts.push(start(&emulator, home.path(), &room).await?);
    }
    println!("from the start of the process, {n_runs} runs\n");
    println!("| what | p50 | p90 | max |\n|---|---|---|---|");
    tell("joined", starts.iter().map(|start| start.joined).collect());
    tell("joined, and sound and picture have arrived", starts.iter().map(|start| start.confirmed).collect());

    let session = home.path().join("telecast/idle.json");
    sign_in(&door, door.add_account("idle"), &session)?;
    let (client, text) = idle_memory(&session).await?;
    println!("\nidle client, signed in: {client:.1} MB PSS, of which {text:.1} MB are code of files");
    emulator.shutdown().await;
    Ok(())
}

fn sign_in(door: &MtprotoDoor, account: AccountId, path: &Path) -> Result<()> {
    let session = Session::open(path)?;
    let key = door.add_key(Some(account));
    let dc = |id| Datacenter { id, addr: door.local_addr(), key: Some(key.clone()) };
    session.set_datacenters(&[1, 2, 3, 4, 5].map(dc))?;
    Ok(session.assume_signed_in()?)
}

/// Starts the program, waits until it plays, and ends it.
async fn start(emulator: &Emulator, home: &Path, room: &str) -> Result<Start> {
    let clip = format!("{}/media/clip.mp4", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_telecast"));
    command.args(["play", &clip, "--loop", "--chat", &format!("@{room}")]);
    command.env("XDG_DATA_HOME", home).env("XDG_CONFIG_HOME", home);
    command.env("API_ID", "1").env("API_HASH", "bench").stdin(Stdio::null());
    let begin = Instant::now();
    let mut process = command.stderr(Stdio::piped()).spawn().context("cannot start telecast")?;
    let said = BufReader::new(process.stderr.take().context("stderr is a pipe")?);
    let joined = tokio::task::spawn_blocking(move || {
        let mut lines = said.lines();
        let joined = lines.by_ref().map_while(Result::ok).any(|line| line.contains("joined"));
        let at = joined.then(Instant::now);
        // It must not wait for room in the pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        at
    });
    let arrived = async {
        let mut looks = tokio::time::interval(Duration::from_millis(2));
        loop {
            looks.tick().await;
            let stats = emulator.stats(room).await?;
            let has_all = |streams: &[telecast::emulator::StreamStats]| {
                streams.len() >= 2 && streams.iter().take(2).all(|stream| stream.packets > 0)
            };
            if stats.iter().any(|it| has_all(&it.streams)) {
                return Ok::<_, anyhow::Error>(Instant::now());
            }
        }
    };
    let arrived = tokio::time::timeout(Duration::from_secs(20), arrived).await;
    let arrived = arrived.context("no media came")??;
    let joined = joined.await?.context("telecast has ended without having joined")?;
    let ended = Command::new("kill").args(["-TERM", &process.id().to_string()]).status()?;
    ensure!(ended.success() && process.wait()?.success(), "telecast did not end well");
    let millis = |at: Instant| (at - begin).as_secs_f64() * 1000.0;
    Ok(Start { joined: millis(joined), confirmed: millis(joined.max(arrived)) })
}

fn tell(what: &str, mut millis: Vec<f64>) {
    millis.sort_by(f64::total_cmp);
    let at = |share: f64| millis[((millis.len() - 1) as f64 * share) as usize];
    println!("| {what} | {:.0} ms | {:.0} ms | {:.0} ms |", at(0.5), at(0.9), at(1.0));
}

/// The process that only connects: says so, and waits until its stdin is closed.
async fn idle(session: &Path) -> Result<()> {
    let options = ClientOptions::new(1, String::from("bench"));
    let client = Client::connect(Session::open(session)?, options).await?;
    println!("connected");
    tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0])).await??;
    client.shutdown().await;
    Ok(())
}

/// What an idle client costs: all of its PSS, and the part of it that is backed by files.
async fn idle_memory(session: &Path) -> Result<(f64, f64)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(IDLE).arg(session).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = command.spawn()?;
    let mut line = String::new();
    let mut said = BufReader::new(process.stdout.take().context("stdout is a pipe")?);
    said.read_line(&mut line)?;
    ensure!(line == "connected\n", "the idle client said {line:?}");
    tokio::time::sleep(SETTLE).await;
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", process.id()))?;
    let megabytes = |name: &str| -> Result<f64> {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse::<f64>()? / 1000.0)
    };
    let figures = (megabytes("Pss:")?, megabytes("Pss_File:")?);
    drop(process.stdin.take());
    ensure!(process.wait()?.success(), "the idle client did not end well");
    Ok(figures)
}
