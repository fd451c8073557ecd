//! Installs what a fresh Debian lacks: `cargo xtask setup build|test`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
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
    Tool { program: "ffmpeg", package: "ffmpeg", why: "writes the formats that the tests read" },
    Tool { program: "chromium", package: "chromium", why: "watches the video chat as a browser does" },
    Tool { program: "chromedriver", package: "chromium-driver", why: "steers the browser" },
    Tool {
        program: "python3",
        package: "python3",
        why: "runs ntgcalls, Telethon and py-tgcalls, foreign clients",
    },
];

/// The foreign clients that have to work against our video chat and our Telegram.
const FOREIGN: &[&str] = &["ntgcalls==3.0.5", "telethon==1.45.0", "py-tgcalls==3.0.0"];

/// Brings the machine into the state that a build, or the tests, need.
pub(crate) fn run(root: &Path, what: &str) -> Result<()> {
    let tools: Vec<&Tool> = match what {
        "build" => BUILD.iter().collect(),
        "test" => BUILD.iter().chain(TEST).collect(),
        other => bail!("cargo xtask setup build|test: there is no setup for {other}"),
    };
    let missing: Vec<&Tool> = tools.into_iter().filter(|tool| !on_path(tool.program)).collect();
    if !missing.is_empty() {
        let mut packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
        for tool in &missing {
            eprintln!("missing: {} ({})", tool.program, tool.why);
        }
        if what == "test" && missing.iter().any(|tool| tool.program == "python3") {
            packages.push("python3-venv");
        }
        install(&packages)?;
    }
    if what == "test" { foreign_client(root) } else { Ok(()) }
}

/// A Python environment of the project's own, inside the build directory, with the foreign clients in it.
fn foreign_client(root: &Path) -> Result<()> {
    let venv = foreign_venv(root);
    let python = foreign_python(root);
    let there = |python: &Path| {
        let versions = "import importlib.metadata as m, sys
for wanted in sys.argv[1:]:
    name, version = wanted.split('==')
    if m.version(name) != version: sys.exit(1)";
        Command::new(python)
            .args(["-c", versions])
            .args(FOREIGN)
            .output()
            .is_ok_and(|out| out.status.success())
    };
    if there(&python) {
        return Ok(());
    }
    let names = FOREIGN.join(", ");
    eprintln!("installing {names} into {}", venv.display());
    std::fs::create_dir_all(&venv)?;
    if !run_quietly(Command::new("python3").args(["-m", "venv"]).arg(&venv)) {
        // Debian ships the module in a package of its own.
        install(&["python3-venv"])?;
        let made = run_quietly(Command::new("python3").args(["-m", "venv"]).arg(&venv));
        anyhow::ensure!(made, "python3 -m venv {} failed", venv.display());
    }
    let status = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(FOREIGN)
        .status()
        .context("cannot run pip")?;
    anyhow::ensure!(status.success(), "pip could not install {names}");
    Ok(())
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

fn foreign_venv(root: &Path) -> PathBuf {
    target_dir(root).join("tmp").join("ntgcalls")
}

/// The interpreter that has the foreign clients.
pub(crate) fn foreign_python(root: &Path) -> PathBuf {
    foreign_venv(root).join("bin").join("python")
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

/// Is there such a program?
pub(crate) fn on_path(program: impl AsRef<OsStr>) -> bool {
    let program = program.as_ref();
    let Some(path) = std::env::var_os("PATH") else { return false };
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn run_quietly(command: &mut Command) -> bool {
    command.output().is_ok_and(|out| out.status.success())
}
