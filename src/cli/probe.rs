//! `telecast probe`: what will happen to a file, and why.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::say;
use crate::media::probe::Probe;

/// Say what will happen to a file: what is copied, what is not and why, what viewers will notice.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  telecast probe media/clip.mp4
  telecast probe film.mp4 --height 480 --fps 25
  telecast probe --json film.mkv | jq .plan")]
pub(super) struct ProbeArgs {
    /// The file, `-` for standard input, or `test:` and what may follow it
    file: PathBuf,

    #[command(flatten)]
    pictures: super::pictures::PictureArgs,

    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ProbeArgs) -> anyhow::Result<Exit> {
    let mut progress = Progress::new();
    let probe =
        Probe::with_progress(&args.file, args.pictures.plan(true), |done, total| progress.show(done, total));
    progress.clear();
    let probe = probe?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&probe)?)?;
    } else {
        probe.write_report(&mut out)?;
    }
    Ok(Exit::Ok)
}

/// How far the scan has come, on a terminal only.
struct Progress {
    percent: Option<u64>,
    terminal: bool,
}

impl Progress {
    fn new() -> Self {
        Self { percent: None, terminal: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, done: u64, total: u64) {
        let percent = done.saturating_mul(100) / total.max(1);
        if self.terminal && self.percent.replace(percent) != Some(percent) {
            say::bare(format_args!("\rscanning {percent} %"));
        }
    }

    fn clear(&self) {
        if self.percent.is_some() && self.terminal {
            say::bare(format_args!("\r\x1b[2K"));
        }
    }
}
