//! The process of telecast: started with so many chats, steered over its pipes, told to stop.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// It has hung up its calls by then, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Bot {
    process: Child,
    stdin: Stdin,
}

/// Where replies are written.
#[derive(Clone)]
pub(crate) struct Stdin(Arc<Mutex<ChildStdin>>);

impl Stdin {
    pub(crate) fn say(&self, line: &Value) -> Result<()> {
        Ok(writeln!(self.0.lock().expect("nobody panics with it"), "{line}")?)
    }
}

impl Bot {
    /// Starts it; every line that it says goes to `hear`, on a thread of its own.
    pub(crate) fn start(
        program: &Path,
        clip: &str,
        sound_only: bool,
        chats: &[String],
        hear: impl Fn(Value, &Stdin) + Send + 'static,
    ) -> Result<Self> {
        let file = format!("{}/media/{clip}", env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(program);
        command.args(["play", &file, "--signaling", "stdio", "--loop", "-q"]);
        command.args(sound_only.then_some("--no-video"));
        for chat in chats {
            command.args(["--chat", chat]);
        }
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start telecast")?;
        let stdin = process.stdin.take().context("stdin is a pipe")?;
        let stdin = Stdin(Arc::new(Mutex::new(stdin)));
        let lines = BufReader::new(process.stdout.take().context("stdout is a pipe")?).lines();
        let replies = stdin.clone();
        std::thread::Builder::new().name("lines".into()).spawn(move || {
            for line in lines.map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    Ok(line) => hear(line, &replies),
                    Err(error) => eprintln!("telecast said no JSON ({error}): {line}"),
                }
            }
        })?;
        Ok(Self { process, stdin })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Asks it to stop, and tells how long it took to.
    pub(crate) fn stop(mut self) -> Result<Duration> {
        let begin = Instant::now();
        let told = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status()?;
        ensure!(told.success(), "telecast cannot be told to stop");
        loop {
            if let Some(status) = self.process.try_wait()? {
                ensure!(status.success(), "telecast ended with {status}");
                drop(self.stdin);
                return Ok(begin.elapsed());
            }
            if begin.elapsed() > PATIENCE {
                // It is ours; nothing can be measured any more.
                self.process.kill()?;
                self.process.wait()?;
                anyhow::bail!("telecast did not stop within {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
