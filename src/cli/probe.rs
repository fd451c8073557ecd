//! `telecast probe`: what will happen to a file, and why.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::exit::{self, Exit};
use super::say;
use crate::media::MediaError;
use crate::media::probe::Probe;
use crate::media::source::list;

/// Say what will happen to a file: what is copied, what is not and why, what viewers will notice.
///
/// Of a folder and of a playlist, each medium in it is told in one line.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  telecast probe media/clip.mp4
  telecast probe film.mp4 --height 480 --fps 25
  telecast probe film.mkv --audio-track eng
  telecast probe songs.m3u
  telecast probe --json film.mkv | jq .plan")]
pub(super) struct ProbeArgs {
    /// The file, `-` for standard input, a folder, an m3u playlist, or `test:` and what may follow it
    file: PathBuf,

    #[command(flatten)]
    pictures: super::pictures::PictureArgs,

    #[command(flatten)]
    tracks: super::sources::TrackArgs,

    /// JSON instead of text: one object, for a folder or a playlist one a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ProbeArgs) -> anyhow::Result<Exit> {
    let names = list::expand(&args.file).map_err(MediaError::from)?;
    if names != [args.file.clone()] {
        return run_all(args, &names);
    }
    let probe = probe(args, &args.file)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&probe)?)?;
    } else {
        probe.write_report(&mut out)?;
    }
    Ok(Exit::Ok)
}

/// A line for each; what cannot be opened stops nobody.
fn run_all(args: &ProbeArgs, names: &[PathBuf]) -> anyhow::Result<Exit> {
    let (mut n_copied, mut worst, mut n_failed) = (0, None, 0);
    for name in names {
        match probe(args, name) {
            Ok(probe) => {
                n_copied += usize::from(probe.remedy.is_none());
                if args.json {
                    say::result(serde_json::to_string(&probe)?)?;
                } else {
                    say::result(probe.verdict())?;
                }
            }
            Err(error) => {
                n_failed += 1;
                let error = anyhow::Error::from(error);
                worst.get_or_insert_with(|| exit::code(&error));
                let text = format!("{error:#}");
                if args.json {
                    say::result(json!({ "file": name, "error": text }))?;
                } else {
                    say::remark(format_args!("{}: {text}", name.display()));
                }
            }
        }
    }
    if !args.json {
        let n_others = names.len() - n_copied - n_failed;
        say::remark(format_args!(
            "{n_copied} are right as they are, {n_others} would gain from `telecast prepare`, {n_failed} failed; \
             `telecast probe FILE` says more of one"
        ));
    }
    Ok(worst.unwrap_or(Exit::Ok))
}

fn probe(args: &ProbeArgs, name: &Path) -> Result<Probe, MediaError> {
    let mut progress = Progress::new();
    let (source, plan) = (args.tracks.source(), args.tracks.choose(args.pictures.plan(true)));
    let probe = Probe::with_source(name, &source, plan, |done, total| progress.show(done, total));
    progress.clear();
    probe
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
