//! Installs what a fresh Debian lacks: `cargo xtask setup build|test`.

use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Something that must be on the machine.
struct Tool {
    /// The program that shows that it is there.
    program: &'static str,
    /// Debian's package.
    package: &'static str,
    /// What for.
    why: &'static str,
}

const BUILD: &[Tool] = &[
    Tool { program: "cc", package: "gcc", why: "compiles the C parts of the crypto libraries" },
    Tool { program: "c++", package: "g++", why: "compiles OpenH264" },
    Tool { program: "cmake", package: "cmake", why: "builds libopus" },
    Tool { program: "nasm", package: "nasm", why: "makes OpenH264 twice as fast" },
];

const TEST: &[Tool] = &[
    Tool { program: "chromium", package: "chromium", why: "watches the video chat as a browser does" },
    Tool { program: "chromedriver", package: "chromium-driver", why: "steers the browser" },
];

/// Brings the machine into the state that a build, or the tests, need.
pub(crate) fn run(what: &str) -> Result<()> {
    let tools: Vec<&Tool> = match what {
        "build" => BUILD.iter().collect(),
        "test" => BUILD.iter().chain(TEST).collect(),
        other => bail!("cargo xtask setup build|test: there is no setup for {other}"),
    };
    let missing: Vec<&Tool> = tools.into_iter().filter(|tool| !on_path(tool.program)).collect();
    for tool in &missing {
        eprintln!("missing: {} ({})", tool.program, tool.why);
    }
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing.iter().map(|tool| tool.package).collect::<Vec<_>>())
}

fn install(packages: &[&str]) -> Result<()> {
    let by_hand = format!("apt-get install {}", packages.join(" "));
    if !on_path("apt-get") {
        bail!("this is no Debian: install by hand what Debian calls {}", packages.join(" "));
    }
    let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout == b"0\n");
    if !root && !on_path("sudo") {
        bail!("run this as root, then try again:\n  {by_hand}");
    }
    let apt = |args: &[&str]| {
        let mut command = if root { Command::new("apt-get") } else { Command::new("sudo") };
        if !root {
            command.arg("apt-get");
        }
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-y"]).args(args).status()
    };
    eprintln!("{by_hand}");
    apt(&["update"]).context("cannot run apt-get update")?;
    let mut args = vec!["install", "--no-install-recommends"];
    args.extend(packages);
    let status = apt(&args).context("cannot run apt-get install")?;
    anyhow::ensure!(status.success(), "apt-get failed; run this by hand, then try again:\n  {by_hand}");
    Ok(())
}

/// Is there such a program?
pub(crate) fn on_path(program: impl AsRef<OsStr>) -> bool {
    let program = program.as_ref();
    let Some(path) = std::env::var_os("PATH") else { return false };
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
