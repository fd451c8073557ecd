//! `telecast probe`: what will happen to a file, and why.

use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use crate::media::probe::Probe;

/// Say what will happen to a file: what is copied, what is not and why, what viewers will notice.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  telecast probe media/clip.mp4
  telecast probe --json film.mkv | jq .plan")]
pub(super) struct ProbeArgs {
    /// The file
    file: PathBuf,

    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ProbeArgs) -> anyhow::Result<Exit> {
    let probe = Probe::of(&args.file)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&probe)?);
    } else {
        print!("{probe}");
    }
    Ok(Exit::Ok)
}
