//! The project's own commands: `cargo xtask <command>`.

mod bench;
mod check;
mod media;
mod seeds;
mod setup;

use std::path::Path;

use anyhow::{Context, Result, bail};

const USAGE: &str = "cargo xtask setup build   install what a build needs and is missing
cargo xtask setup test    the same for the tests
cargo xtask check         the whole gate: format, lints, tests, documentation, examples
cargo xtask media [CLIP…]   make the clips in media/ anew (needs ffmpeg)
cargo xtask seeds         make the seeds of the fuzz targets anew (needs ffmpeg)
cargo xtask media --check   compare the clips with their checksums
cargo xtask bench scale     what a programme costs that many chats hear, see --help
cargo xtask bench compare   what a call costs here and with other programs, see --help";

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the repository")?;
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["setup", what] => setup::run(root, what),
        ["check"] => check::run(root),
        ["media", "--check"] => media::verify(root),
        ["seeds"] => seeds::make(root),
        ["media", ..] => media::make(root, &args[1..]),
        ["bench", ..] => bench::run(root, &args[1..]),
        [] | ["help" | "--help" | "-h", ..] => {
            println!("{USAGE}");
            Ok(())
        }
        [unknown, ..] => bail!("there is no command {unknown}\n{USAGE}"),
    }
}
