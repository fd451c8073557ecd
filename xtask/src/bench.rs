//! `cargo xtask bench …`: measurements that take other programs to make.

mod chat;
mod clips;
mod compare;
mod contender;
mod latency;
mod process;
mod table;

use std::path::Path;

use anyhow::{Result, bail};

const USAGE: &str =
    "cargo xtask bench compare   what a call costs here and with ntgcalls and FFmpeg, see --help";

/// Runs the measurement that the first argument names.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<()> {
    match args {
        [what, rest @ ..] if what == "compare" => compare::run(root, rest),
        [what, ..] => bail!("there is no bench {what}\n{USAGE}"),
        [] => bail!("which one?\n{USAGE}"),
    }
}
