//! The gate: `cargo xtask check`. It runs on a laptop and in CI alike, step by step.

#![expect(clippy::disallowed_methods, reason = "it tells how long each step took")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::media;
use crate::setup::on_path;

/// One step: a name for people, the command, and its extra environment.
struct Step {
    name: &'static str,
    args: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
}

const STEPS: &[Step] = &[
    Step { name: "format", args: &["fmt", "--all", "--check"], env: &[] },
    Step {
        name: "lints",
        args: &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
        env: &[],
    },
    Step {
        name: "lints of the bare library",
        args: &["clippy", "--lib", "--no-default-features", "--", "-D", "warnings"],
        env: &[],
    },
    Step {
        name: "lints of the program without Telegram and H.264",
        args: &["clippy", "--no-default-features", "--features", "cli", "--", "-D", "warnings"],
        env: &[],
    },
    Step { name: "tests", args: &["test", "--workspace"], env: &[] },
    Step {
        name: "documentation",
        args: &["doc", "--no-deps", "--document-private-items", "--lib"],
        env: &[("RUSTDOCFLAGS", "-D warnings")],
    },
    Step { name: "example: offline_call", args: &["run", "--quiet", "--example", "offline_call"], env: &[] },
    Step { name: "example: push", args: &["run", "--quiet", "--example", "push"], env: &[] },
    Step { name: "example: queue", args: &["run", "--quiet", "--example", "queue"], env: &[] },
    Step { name: "example: radio", args: &["run", "--quiet", "--example", "radio"], env: &[] },
    Step { name: "example: play_stdio", args: &["run", "--quiet", "--example", "play_stdio"], env: &[] },
];

/// What cargo-deny looks at; run where it is installed.
const DENY: Step =
    Step { name: "licenses and sources", args: &["deny", "check", "bans", "licenses", "sources"], env: &[] };

/// Runs every step and stops at the first that fails.
pub(crate) fn run(root: &Path) -> Result<()> {
    let began = Instant::now();
    media::verify(root)?;
    let mut took = Vec::new();
    for step in STEPS {
        took.push((step.name, run_step(root, step)?));
    }
    if on_path("cargo-deny") {
        took.push((DENY.name, run_step(root, &DENY)?));
    } else {
        eprintln!("── {}: left out, cargo-deny is not installed", DENY.name);
    }
    eprintln!();
    for (name, took) in took {
        eprintln!("{:>6.1} s  {name}", took.as_secs_f64());
    }
    eprintln!("{:>6.1} s  all of it", began.elapsed().as_secs_f64());
    Ok(())
}

fn run_step(root: &Path, step: &Step) -> Result<Duration> {
    eprintln!("── {}: cargo {}", step.name, step.args.join(" "));
    let began = Instant::now();
    let status = Command::new(env!("CARGO"))
        .args(step.args)
        .envs(step.env.iter().copied())
        .current_dir(root)
        .status()?;
    if !status.success() {
        bail!("{} failed; the same by hand: cargo {}", step.name, step.args.join(" "));
    }
    Ok(began.elapsed())
}
