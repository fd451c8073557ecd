//! `cargo xtask bench compare`: the same clips, streamed into a chat on this machine by telecast
//! and by ntgcalls with FFmpeg, by turns, and what each costs.
//!
//! ```text
//! clip ─► telecast play ───────────────┐
//!                                      ├─► telecast local (joins, media, counters)
//! clip ─► FFmpeg ─► ntgcalls (Python) ─┘
//! ```

#![expect(clippy::disallowed_methods, reason = "it measures real time")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::bare;
use super::chat::Chat;
use super::clips::Clips;
use super::contender::{Contender, Programs, Who};
use super::latency;
use super::process;
use super::table::{Comparison, Measured, Row};
use crate::setup;

const HELP: &str = "cargo xtask bench compare: what a call costs, here and with ntgcalls and FFmpeg

Streams the same clips into a video chat on this machine from both, by turns, and prints a table:
CPU seconds of the whole process tree per second of the call, and memory (PSS), medians; below each
clip what the machine takes for its datagrams alone.
Installs ntgcalls from PyPI and Debian's ffmpeg where they are missing.

  --seconds N    measure each run for so long [default: 10]
  --rounds N     runs of each contender and clip [default: 3]
  --only A,B     just these rows: mp3, copy, aac, bframes, grainy, latency
  --ours         without ntgcalls
  --json         the same as one JSON object
  --help         this text

A short look: cargo xtask bench compare --seconds 4 --rounds 1 --only mp3,copy";

/// Left out at the start: joining, filling buffers, the first pictures.
const SETTLE: Duration = Duration::from_secs(4);

/// A clip, and the most that a second of it may cost, in CPU seconds.
struct Case {
    key: &'static str,
    what: &'static str,
    video: bool,
    most_cpu: f64,
    /// In MB; only copying has a limit.
    most_memory: Option<f64>,
    clip: fn(&Clips) -> Result<PathBuf>,
}

const CASES: [Case; 5] = [
    Case {
        key: "mp3",
        what: "mp3 → Opus",
        video: false,
        most_cpu: 0.012,
        most_memory: None,
        clip: |clips| Ok(clips.kept("music.mp3")),
    },
    Case {
        key: "copy",
        what: "720p H.264 and Opus copied",
        video: true,
        most_cpu: 0.007,
        most_memory: Some(25.0),
        clip: |clips| Ok(clips.kept("clip.mkv")),
    },
    Case {
        key: "aac",
        what: "720p H.264 copied, AAC → Opus",
        video: true,
        most_cpu: 0.014,
        most_memory: Some(25.0),
        clip: |clips| Ok(clips.kept("clip.mp4")),
    },
    Case {
        key: "bframes",
        what: "720p with B-frames, drawn",
        video: true,
        most_cpu: 0.22,
        most_memory: None,
        clip: Clips::bframes,
    },
    Case {
        key: "grainy",
        what: "720p with B-frames, with grain",
        video: true,
        most_cpu: 0.30,
        most_memory: None,
        clip: Clips::grainy,
    },
];

/// What the command line says.
#[derive(Debug, PartialEq)]
struct Options {
    seconds: u64,
    rounds: usize,
    only: Option<Vec<String>>,
    rival: bool,
    json: bool,
}

pub(super) fn now() -> Instant {
    Instant::now()
}

pub(super) fn run(root: &Path, args: &[String]) -> Result<()> {
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        println!("{HELP}");
        return Ok(());
    }
    let options = Options::parse(args)?;
    setup::run(root, if options.rival { "test" } else { "build" })?;
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "--bin", "telecast"])
        .current_dir(root)
        .status()?;
    ensure!(status.success(), "telecast could not be built");
    let target = setup::target_dir(root);
    let clips = Clips::new(root, &target)?;
    let (telecast, python) = (target.join("release/telecast"), setup::foreign_python(root));
    let script = root.join("xtask/src/bench/rival.py");
    let programs = Programs { telecast: &telecast, python: &python, script: &script };

    let mut comparison = Comparison {
        commit: commit(root)?,
        load: process::load()?,
        options: options.describe(),
        ..Comparison::default()
    };
    for case in CASES.iter().filter(|case| options.wants(case.key)) {
        eprintln!("{}", case.what);
        comparison.rows.push(measure(case, &programs, &clips, &options)?);
    }
    if options.wants("latency") {
        comparison.latency = Some(latency::measure(&programs, &clips, options.rounds)?);
    }
    if options.json {
        println!("{}", comparison.json())
    } else {
        print!("{}", comparison.text())
    }
    Ok(())
}

/// The contenders by turns, so that whatever else the machine does meets both.
fn measure(case: &Case, programs: &Programs<'_>, clips: &Clips, options: &Options) -> Result<Row> {
    let file = (case.clip)(clips)?;
    let clip = file.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let mut row = Row {
        key: case.key,
        what: case.what,
        clip,
        most_cpu: case.most_cpu,
        most_memory: case.most_memory,
        telecast: Vec::new(),
        ntgcalls: Vec::new(),
        bare: Vec::new(),
    };
    let length = Duration::from_secs(options.seconds);
    for _ in 0..options.rounds {
        row.bare.push(bare::cpu(case.video, length)?);
        for who in [Who::Telecast, Who::Ntgcalls] {
            if who == Who::Ntgcalls && !options.rival {
                continue;
            }
            let measured = once(who, programs, &file, case.video, length)
                .with_context(|| format!("{} with {}", who.name(), row.clip))?;
            let runs = if who == Who::Telecast { &mut row.telecast } else { &mut row.ntgcalls };
            runs.push(measured);
        }
    }
    Ok(row)
}

fn once(who: Who, programs: &Programs<'_>, file: &Path, video: bool, length: Duration) -> Result<Measured> {
    let chat = Arc::new(Chat::start(programs.telecast)?);
    let contender = Contender::start(who, programs, &chat, file, video)?;
    sleep(SETTLE);
    let tree = contender.tree();
    let (begin, cpu, got) = (now(), tree.cpu()?, chat.got("bench", who.name())?);
    sleep(length);
    let (end, later_cpu, later_got) = (now(), tree.cpu()?, chat.got("bench", who.name())?);
    let memory = tree.memory()?;
    let seconds = (end - begin).as_secs_f64();
    let rate = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
    let measured = Measured {
        cpu: (later_cpu - cpu) / seconds,
        memory,
        fps: rate(got.video_frames, later_got.video_frames),
        video_kbps: rate(got.video_bytes, later_got.video_bytes) * 8.0 / 1000.0,
        sounds_per_second: rate(got.audio_packets, later_got.audio_packets),
        audio_kbps: rate(got.audio_bytes, later_got.audio_bytes) * 8.0 / 1000.0,
        lost: later_got.lost,
    };
    ensure!(measured.sounds_per_second > 1.0, "no sound came");
    ensure!(!video || measured.fps > 1.0, "no pictures came");
    Ok(measured)
}

/// What was measured: the commit, and whether the tree differs from it.
pub(super) fn commit(root: &Path) -> Result<String> {
    let git = |args: &[&str]| -> Result<String> {
        let out = Command::new("git").args(args).current_dir(root).output().context("cannot run git")?;
        Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Ok(git(&["rev-parse", "--short", "HEAD"])? + if changed { " with changes" } else { "" })
}

impl Options {
    fn parse(args: &[String]) -> Result<Self> {
        let mut options = Self { seconds: 10, rounds: 3, only: None, rival: true, json: false };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--seconds" => options.seconds = value()?.parse().context("--seconds needs a number")?,
                "--rounds" => options.rounds = value()?.parse().context("--rounds needs a number")?,
                "--only" => options.only = Some(value()?.split(',').map(str::to_owned).collect()),
                "--ours" => options.rival = false,
                "--json" => options.json = true,
                unknown => bail!("bench compare does not know {unknown}\n\n{HELP}"),
            }
        }
        ensure!(options.seconds > 0 && options.rounds > 0, "--seconds and --rounds must be more than 0");
        let known = |key: &String| key == "latency" || CASES.iter().any(|case| case.key == key);
        if let Some(unknown) = options.only.iter().flatten().find(|key| !known(key)) {
            bail!("there is no row {unknown}\n\n{HELP}");
        }
        Ok(options)
    }

    fn wants(&self, key: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|wanted| wanted == key))
    }

    fn describe(&self) -> String {
        format!("{} runs of {} s each", self.rounds, self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_short_run_is_asked_for_and_a_wrong_row_is_refused() {
        let short = parse("--seconds 4 --rounds 1 --only mp3,latency --ours --json").unwrap();
        assert!(short.wants("mp3") && short.wants("latency") && !short.wants("copy"));
        assert_eq!((short.seconds, short.rounds, short.rival, short.json), (4, 1, false, true));
        assert!(parse("").unwrap().wants("grainy"), "everything, unless told otherwise");
        for wrong in ["--only mp4", "--rounds 0", "--seconds", "--seconds x", "--quick"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
