//! `telecast prepare`: writes once what is copied for ever after.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::say;
use crate::media::prepare;

/// Write a file that plays without any work: H.264 with a keyframe every two seconds, Opus at
/// -16 LUFS, the index in front. What is right already is copied.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  telecast prepare film.avi film.mp4
  telecast prepare --json talk.mov talk.mkv")]
pub(super) struct PrepareArgs {
    /// A file or an address
    input: PathBuf,

    /// An .mp4 or .mkv; it appears whole or not at all
    output: PathBuf,

    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &PrepareArgs) -> anyhow::Result<Exit> {
    let terminal = std::io::stderr().is_terminal();
    let prepared = prepare::prepare(&args.input, &args.output, |at, total| {
        if terminal {
            let total = total.map_or_else(String::new, |total| format!(" of {:.0}", total.as_secs_f64()));
            say::bare(format_args!("\r{:.0}{total} s ", at.as_secs_f64()));
        }
    });
    if terminal {
        say::bare(format_args!("\r\x1b[2K"));
    }
    let prepared = match prepared {
        Err(prepare::PrepareError::Media(error)) => return Err(error.into()),
        other => other?,
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&prepared)?)?;
    } else {
        let loudness = prepared.loudness_lufs.map_or_else(String::new, |loudness| {
            format!(", was {loudness:.1} LUFS, changed by {:+.1} dB", prepared.gain_db)
        });
        writeln!(
            out,
            "{}: picture: {}, sound: {}{loudness}",
            prepared.output.display(),
            prepared.video,
            prepared.audio
        )?;
    }
    Ok(Exit::Ok)
}
