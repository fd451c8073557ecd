//! `telecast prepare`: writes once what is copied for ever after, a file or a whole folder.

mod bar;
mod batch;

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::exit::{Because, Exit};
use super::say;
use crate::media::prepare::{self, Options, PrepareError, Prepared};
use bar::Bar;

/// Write a file that plays without any work: H.264 with a keyframe every two seconds, Opus at
/// -16 LUFS, the index in front. What is right already is copied.
///
/// A folder becomes a folder: every medium in it is written under its own name, what is there
/// already and not older than its source is left alone, and what fails does not stop the others.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  telecast prepare film.avi film.mp4
  telecast prepare --json talk.mov talk.mkv
  telecast prepare films/ ready/     and after an interruption the same again")]
pub(super) struct PrepareArgs {
    /// A file, an address, or a folder
    input: PathBuf,

    /// An .mp4 or .mkv, which appears whole or not at all; for a folder, a folder
    output: PathBuf,

    /// What is written for each file of a folder
    #[arg(long, value_enum, default_value = "mp4", value_name = "FORMAT")]
    to: Container,

    /// JSON instead of text: one object, for a folder one for each file
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Container {
    /// MPEG-4
    Mp4,
    /// Matroska
    Mkv,
}

impl Container {
    const fn extension(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Mkv => "mkv",
        }
    }
}

pub(super) fn run(args: &PrepareArgs) -> anyhow::Result<Exit> {
    if args.input.is_dir() {
        return batch::run(args);
    }
    let mut bar = Bar::new(String::new());
    let prepared = prepare::prepare(&args.input, &args.output, Options::default(), |at, total| {
        bar.show(at, total);
        ControlFlow::Continue(())
    });
    bar.clear();
    let prepared = prepared.map_err(as_media)?;
    if args.json {
        say::result(serde_json::to_string(&prepared)?)?;
    } else {
        say::result(format_args!("{}: {}", prepared.output.display(), describe(&prepared)))?;
    }
    Ok(Exit::Ok)
}

/// What cannot be played has an exit code of its own, and so has a name that cannot be meant.
fn as_media(error: PrepareError) -> anyhow::Error {
    match error {
        PrepareError::Media(error) => error.into(),
        wrong @ PrepareError::Container { .. } => Because(Exit::Usage, wrong.to_string()).into(),
        other => other.into(),
    }
}

fn describe(prepared: &Prepared) -> String {
    let loudness = prepared.loudness_lufs.map_or_else(String::new, |loudness| {
        format!(", was {loudness:.1} LUFS, changed by {:+.1} dB", prepared.gain_db)
    });
    format!("picture: {}, sound: {}{loudness}", prepared.video, prepared.audio)
}
