//! What a programme costs that many chats listen to, and how evenly each of them gets it:
//! `cargo xtask bench scale`.
//!
//! ```text
//!  telecast play … --signaling stdio ─┬─ joins over pipes ─┬─► this process: emulators, each with
//!  (what is measured)                 └─ UDP on loopback ──┘   a socket and a part of the chats
//! ```
//!
//! CPU time and memory are what the kernel says of the process of `telecast`; gaps and losses are
//! what the emulators' meters see of the RTP headers. What the emulators cost themselves is told apart: their threads are in this process.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench tells its figures")]
#![expect(clippy::disallowed_methods, reason = "it measures real time")]

mod bare;
mod bot;
mod machine;
mod rows;
mod run;
mod town;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use machine::Machine;

/// Measures one programme in many chats, into emulators in another process.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask bench scale",
    after_help = "\
Examples:
  cargo xtask bench scale                                            the whole table, about 25 minutes
  cargo xtask bench scale --row opus --calls 100 --seconds 10 --runs 1
  cargo xtask bench scale --row opus --row gaps --json
  cargo xtask bench scale --row most-audio --calls 600 --seconds 5   searches upward from 600"
)]
pub(crate) struct Options {
    /// Only this row of the table; may be given more than once
    #[arg(long = "row", value_enum)]
    rows: Vec<Row>,

    /// How many calls, instead of what the row has
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=2000))]
    calls: Option<u16>,

    /// How long each run is measured, after everybody has joined
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,

    /// How often; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=99))]
    runs: u8,

    /// Among how many sockets the emulator spreads the chats [default: 16, with pictures 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    shards: Option<u8>,

    /// Measure this build of telecast, to compare two of them
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_telecast"), hide_default_value = true)]
    program: PathBuf,

    /// One JSON object per row instead of the table
    #[arg(long)]
    json: bool,

    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Row {
    /// Opus copied, 20 ms stereo: CPU per call
    Opus,
    /// mp3, decoded and encoded once: CPU per call
    Mp3,
    /// 720p30 and Opus copied: CPU per call
    Video,
    /// Memory of one audio call more
    AudioMemory,
    /// Memory of one video call more
    VideoMemory,
    /// The most audio calls that all keep their time and lose nothing
    MostAudio,
    /// The most video calls that all keep 29.5 pictures a second
    MostVideo,
    /// Gaps between packets of sound
    Gaps,
    /// How far apart the chats of a programme hear the same
    Skew,
    /// Joining all at once, with 40 ms round trip
    Join,
    /// Leaving all at once, on SIGTERM
    Stop,
}

impl Options {
    fn length(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    // One thread takes in everything; where two did, they would take turns on telecast's core.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let machine = Machine::look();
    if !options.json {
        println!("{machine}\n");
        println!(
            "| what | calls | target | measured | audio gap p50 / p99 / max | a bare thread's p99 / max | lost | the emulator's CPU | others' CPU |"
        );
        println!("|---|---|---|---|---|---|---|---|---|");
    }
    let all = Row::value_variants();
    for row in if options.rows.is_empty() { all } else { &options.rows } {
        let figures = rows::measure(*row, &options, &runtime)?;
        if options.json {
            let mut line = serde_json::to_value(&figures)?;
            line["machine"] = serde_json::to_value(&machine)?;
            println!("{line}");
        } else {
            println!("{figures}");
        }
    }
    Ok(())
}
