//! `cargo xtask bench …`: measurements that take other programs to make.

mod bare;
mod chat;
mod clips;
mod compare;
mod contender;
mod latency;
mod process;
mod table;

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

const USAGE: &str = "\
cargo xtask bench compare   what a call costs here and with ntgcalls and FFmpeg, see --help
cargo xtask bench scale     what a programme costs that many chats hear, see --help";

/// Runs the measurement that the first argument names.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<()> {
    match args {
        [what, rest @ ..] if what == "compare" => compare::run(root, rest),
        [what, rest @ ..] if what == "scale" => scale(root, rest),
        [what, ..] => bail!("there is no bench {what}\n{USAGE}"),
        [] => bail!("which one?\n{USAGE}"),
    }
}

/// Runs `benches/scale` in the release profile.
fn scale(root: &Path, args: &[String]) -> Result<()> {
    let mut bench = Command::new(env!("CARGO"));
    bench.current_dir(root).args(["bench", "--quiet", "--bench", "scale", "--"]).args(args);
    let status = bench.env("TELECAST_COMMIT", compare::commit(root)?).status().context("cannot run cargo")?;
    ensure!(status.success(), "the benchmark has failed");
    Ok(())
}
