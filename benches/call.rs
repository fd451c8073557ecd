//! What a call costs and how evenly it sends: `cargo bench --bench call [-- SECONDS]`.
//!
//! The program itself, `telecast play --signaling stdio`, plays a clip into chats of an emulator
//! in this process. Its CPU time and memory are what the kernel says of its process; the gaps
//! between packets of sound are measured in the network, by a relay that every datagram passes.

#![expect(clippy::print_stdout, reason = "a bench tells its figures")]
#![expect(clippy::disallowed_methods, reason = "it measures real time")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use telecast::emulator::{Emulator, EmulatorOptions, JoinRequest, Weather};

/// How long a run is measured, unless the command line says otherwise; the clips last 20 s.
const SECONDS: u64 = 30;

/// Left out at the start: joining, and the first pictures.
const SETTLE: Duration = Duration::from_secs(3);

/// The payload type that the emulator gives to Opus, as Telegram does.
const OPUS: u8 = 111;

/// Clock ticks in `/proc/PID/stat` (`USER_HZ`), 100 on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

struct Run {
    what: &'static str,
    clip: &'static str,
    n_calls: usize,
    weather: &'static str,
}

#[rustfmt::skip]
const RUNS: [Run; 5] = [
    Run { what: "picture and Opus copied", clip: "clip.mkv", n_calls: 1, weather: "" },
    Run { what: "picture copied, AAC → Opus", clip: "clip.mp4", n_calls: 1, weather: "" },
    Run { what: "Opus copied, no picture", clip: "music.ogg", n_calls: 1, weather: "" },
    Run { what: "picture and Opus copied", clip: "clip.mkv", n_calls: 16, weather: "" },
    Run { what: "5 % loss, 40 ms round trip", clip: "clip.mkv", n_calls: 1, weather: "loss=5%,delay=40ms,seed=7" },
];

#[tokio::main]
async fn main() -> Result<()> {
    // Cargo adds `--bench`.
    let seconds = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(SECONDS);
    println!("{seconds} s each\n");
    println!(
        "| what | calls | CPU-s per call and s | memory, MB | audio gap p50 / p99 / max | lost | pictures' packets repaired |"
    );
    println!("|---|---|---|---|---|---|---|");
    for run in RUNS {
        println!("{}", measure(&run, Duration::from_secs(seconds)).await?);
    }
    Ok(())
}

/// The row of one run.
async fn measure(run: &Run, length: Duration) -> Result<String> {
    let weather = Some(Weather::parse(run.weather)?);
    let emulator = Emulator::start(EmulatorOptions { weather, ..EmulatorOptions::default() }).await?;
    let chats: Vec<String> = (0..run.n_calls).map(|n| format!("chat-{n}")).collect();
    let file = format!("{}/media/{}", env!("CARGO_MANIFEST_DIR"), run.clip);
    let mut bot = Bot::start(&file, &chats)?;
    let mut relays = Vec::new();
    let mut lines = bot.lines()?;
    while relays.len() < run.n_calls {
        let line: Value = serde_json::from_str(&lines.next().context("telecast has ended")??)?;
        if line["type"] != "request" {
            continue;
        }
        if line["method"] != "join" {
            bot.say(&json!({ "type": "reply", "id": line["id"] }))?;
            continue;
        }
        let text = |key: &str| line[key].as_str().map(str::to_owned).with_context(|| format!("no {key}"));
        let (chat, params) = (text("chat")?, text("params")?);
        let request = JoinRequest { name: "bot".into(), chat, params, ..JoinRequest::default() };
        let joined = emulator.join_raw(request).await?;
        let relay = Relay::start(emulator.local_addr())?;
        let params = relay.between(&joined.params)?;
        relays.push(relay);
        bot.say(&json!({ "type": "reply", "id": line["id"], "params": params }))?;
    }
    let answering = bot.answer_everything(lines)?;

    tokio::time::sleep(SETTLE).await;
    let (cpu, begin) = (bot.cpu()?, Instant::now());
    tokio::time::sleep(length).await;
    let (cpu, end) = (bot.cpu()? - cpu, Instant::now());
    let memory = bot.memory()?;

    let mut gaps = Vec::new();
    for relay in &relays {
        let arrivals = relay.sound.lock().expect("a relay does not panic");
        let arrivals: Vec<Instant> =
            arrivals.iter().copied().filter(|at| (begin..end).contains(at)).collect();
        gaps.extend(arrivals.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1000.0));
    }
    ensure!(!gaps.is_empty(), "no sound came");
    gaps.sort_by(f64::total_cmp);
    let gap = |share: f64| gaps[((gaps.len() - 1) as f64 * share) as usize];

    let (mut lost, mut gone, mut repaired) = (0, 0, 0);
    for chat in &chats {
        for stream in emulator.stats(chat).await?.iter().flat_map(|participant| &participant.streams) {
            lost += stream.lost;
            if stream.kind == "video" {
                (gone, repaired) = (gone + stream.lost, repaired + stream.repaired);
            }
        }
    }
    bot.end(&chats)?;
    drop(relays);
    answering.join().expect("the answering thread does not panic");
    emulator.shutdown().await;

    let per_call = cpu / (end - begin).as_secs_f64() / run.n_calls as f64;
    let repaired = match repaired + gone {
        0 => "–".to_owned(),
        all => format!("{repaired} of {all} ({:.1} %)", repaired as f64 * 100.0 / all as f64),
    };
    Ok(format!(
        "| {} | {} | {per_call:.4} | {memory:.0} | {:.1} / {:.1} / {:.1} ms | {lost} | {repaired} |",
        run.what,
        run.n_calls,
        gap(0.5),
        gap(0.99),
        gap(1.0),
    ))
}

/// The program, playing.
struct Bot {
    process: Child,
    stdin: Arc<Mutex<ChildStdin>>,
}

type Lines = std::io::Lines<BufReader<std::process::ChildStdout>>;

impl Bot {
    fn start(file: &str, chats: &[String]) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_telecast"));
        command.args(["play", file, "--signaling", "stdio", "--loop", "-q"]);
        for chat in chats {
            command.args(["--chat", chat]);
        }
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start telecast")?;
        let stdin = process.stdin.take().context("stdin is a pipe")?;
        Ok(Self { process, stdin: Arc::new(Mutex::new(stdin)) })
    }

    fn lines(&mut self) -> Result<Lines> {
        Ok(BufReader::new(self.process.stdout.take().context("stdout is a pipe")?).lines())
    }

    fn say(&self, line: &Value) -> Result<()> {
        Ok(writeln!(self.stdin.lock().expect("nobody panics with it"), "{line}")?)
    }

    /// From now on every request is granted.
    fn answer_everything(&self, lines: Lines) -> Result<JoinHandle<()>> {
        let stdin = self.stdin.clone();
        let answer = move || {
            for line in lines.map_while(Result::ok) {
                let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
                if line["type"] == "request" {
                    let reply = json!({ "type": "reply", "id": line["id"] });
                    // When it is gone, so are its lines.
                    let _ = writeln!(stdin.lock().expect("nobody panics with it"), "{reply}");
                }
            }
        };
        Ok(std::thread::Builder::new().name("answers".into()).spawn(answer)?)
    }

    /// CPU time that the process has used, in seconds.
    fn cpu(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // proc(5): utime and stime are fields 14 and 15; the second field may have blanks in it.
        let fields: Vec<&str> =
            stat.rsplit_once(')').context("no name")?.1.split_ascii_whitespace().collect();
        Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / TICKS_PER_SECOND)
    }

    /// Resident memory, in MB.
    fn memory(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse::<f64>()? / 1000.0)
    }

    /// It ends when it has left all its chats.
    fn end(mut self, chats: &[String]) -> Result<()> {
        for chat in chats {
            self.say(&json!({ "type": "command", "chat": chat, "command": "leave" }))?;
        }
        let status = self.process.wait()?;
        ensure!(status.success(), "telecast ended with {status}");
        Ok(())
    }
}

/// Stands between one call and the server, and notes when sound comes by.
struct Relay {
    near: SocketAddr,
    sound: Arc<Mutex<Vec<Instant>>>,
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    fn start(server: SocketAddr) -> Result<Self> {
        let (near, far) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
        far.connect(server)?;
        for socket in [&near, &far] {
            socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        }
        let (sound, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let client = Arc::new(Mutex::new(None));
        let mut relay = Self {
            near: near.local_addr()?,
            sound: sound.clone(),
            ended: ended.clone(),
            threads: Vec::new(),
        };

        let (to_client, of_client, end) = (near.try_clone()?, client.clone(), ended.clone());
        let (to_server, from_server) = (far.try_clone()?, far);
        relay.threads.push(std::thread::spawn(move || {
            let mut datagram = [0; 2048];
            while !ended.load(Ordering::Relaxed) {
                let Ok((len, from)) = near.recv_from(&mut datagram) else { continue };
                // RFC 3550 §5.1: version 2, and the payload type in the second byte.
                if len > 12 && datagram[0] >> 6 == 2 && datagram[1] & 0x7f == OPUS {
                    sound.lock().expect("nobody panics with it").push(Instant::now());
                }
                *client.lock().expect("nobody panics with it") = Some(from);
                // Lost, as on any network.
                let _ = to_server.send(&datagram[..len]);
            }
        }));
        relay.threads.push(std::thread::spawn(move || {
            let mut datagram = [0; 2048];
            while !end.load(Ordering::Relaxed) {
                let Ok(len) = from_server.recv(&mut datagram) else { continue };
                if let Some(client) = *of_client.lock().expect("nobody panics with it") {
                    let _ = to_client.send_to(&datagram[..len], client);
                }
            }
        }));
        Ok(relay)
    }

    /// The server's answer, with the relay in the server's place.
    fn between(&self, answer: &str) -> Result<String> {
        let mut answer: Value = serde_json::from_str(answer)?;
        let candidates = answer["transport"]["candidates"].as_array_mut().context("no candidates")?;
        candidates.truncate(1);
        candidates[0]["ip"] = self.near.ip().to_string().into();
        candidates[0]["port"] = self.near.port().to_string().into();
        Ok(answer.to_string())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A relay that panicked has been seen by whoever used it.
            let _ = thread.join();
        }
    }
}
