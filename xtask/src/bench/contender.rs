//! The two that are compared, each a process that plays one file into one chat until it is
//! dropped.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::chat::Chat;
use super::process::Tree;

/// A join takes a quarter of a second; whoever has not joined by then does not join at all.
const JOIN_WITHIN: Duration = Duration::from_secs(20);

/// ntgcalls aborts now and then.
const ATTEMPTS: usize = 3;

/// Who plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Telecast,
    Ntgcalls,
}

impl Who {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Telecast => "telecast",
            Self::Ntgcalls => "ntgcalls",
        }
    }
}

/// One that plays.
pub(super) enum Contender {
    Telecast(Ours),
    Ntgcalls(Rival),
}

impl Contender {
    /// Starts it and returns when it is connected.
    pub(super) fn start(
        who: Who,
        programs: &Programs<'_>,
        chat: &Arc<Chat>,
        file: &Path,
        video: bool,
    ) -> Result<Self> {
        match who {
            Who::Telecast => Ours::start(programs.telecast, chat, file, &["--loop"]).map(Self::Telecast),
            Who::Ntgcalls => {
                let start = || Rival::start(programs, chat, file, video);
                let mut tried = start();
                for _ in 1..ATTEMPTS {
                    tried = tried.or_else(|_| start());
                }
                tried.map(Self::Ntgcalls)
            }
        }
    }

    pub(super) fn tree(&self) -> Tree {
        match self {
            Self::Telecast(ours) => Tree(ours.process.id()),
            Self::Ntgcalls(rival) => Tree(rival.process.id()),
        }
    }
}

/// What is run.
pub(super) struct Programs<'a> {
    pub(super) telecast: &'a Path,
    pub(super) python: &'a Path,
    pub(super) script: &'a Path,
}

/// `telecast play --signaling stdio`, whose requests we grant.
pub(super) struct Ours {
    process: Child,
    stdin: Arc<std::sync::Mutex<ChildStdin>>,
    events: mpsc::Receiver<(Instant, Value)>,
    answering: Option<JoinHandle<()>>,
}

impl Ours {
    pub(super) fn start(telecast: &Path, chat: &Arc<Chat>, file: &Path, args: &[&str]) -> Result<Self> {
        let mut command = Command::new(telecast);
        command.arg("play").arg(file).args(["--signaling", "stdio", "--chat", "bench", "-q"]).args(args);
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start telecast play")?;
        let stdin = process.stdin.take().context("stdin is a pipe")?;
        let stdin = Arc::new(std::sync::Mutex::new(stdin));
        let stdout = process.stdout.take().context("stdout is a pipe")?;
        let (tell, events) = mpsc::channel();
        let (door, input) = (Arc::clone(chat), Arc::clone(&stdin));
        let answering = std::thread::spawn(move || answer(stdout, &input, &door, &tell));
        let ours = Self { process, stdin, events, answering: Some(answering) };
        ours.wait_for(JOIN_WITHIN, |event| event["event"] == "status" && event["status"] == "joined")
            .context("telecast has not joined")?;
        Ok(ours)
    }

    /// Gives a command; the instant is when it went out.
    pub(super) fn say(&self, line: &Value) -> Result<Instant> {
        let mut stdin = self.stdin.lock().expect("nobody panics with it");
        let now = super::compare::now();
        writeln!(stdin, "{line}")?;
        Ok(now)
    }

    /// When the event came that is asked for.
    pub(super) fn wait_for(&self, longest: Duration, wanted: impl Fn(&Value) -> bool) -> Result<Instant> {
        let until = super::compare::now() + longest;
        loop {
            let left = until.saturating_duration_since(super::compare::now());
            match self.events.recv_timeout(left) {
                Ok((at, event)) if wanted(&event) => return Ok(at),
                Ok((_, event)) if event["type"] == "error" => bail!("telecast says {event}"),
                Ok(_) => {}
                Err(error) => return Err(error).context("telecast did not say what was waited for"),
            }
        }
    }
}

/// Joins over the chat's door and grants everything else.
fn answer(
    stdout: ChildStdout,
    stdin: &std::sync::Mutex<ChildStdin>,
    chat: &Chat,
    tell: &mpsc::Sender<(Instant, Value)>,
) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let at = super::compare::now();
        let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
        if line["type"] != "request" {
            // Nobody listens any more when the run is over.
            let _ = tell.send((at, line));
            continue;
        }
        let mut reply = json!({ "type": "reply", "id": line["id"] });
        if line["method"] == "join" {
            let params = line["params"].as_str().unwrap_or_default();
            match chat.join("bench", Who::Telecast.name(), params) {
                Ok(answer) => reply["params"] = answer.into(),
                Err(error) => reply["error"] = json!({ "code": 400, "message": error.to_string() }),
            }
        }
        // When it is gone, so are its lines.
        let _ = writeln!(stdin.lock().expect("nobody panics with it"), "{reply}");
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        // Killed rather than asked: what is measured is over. One that has ended is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(answering) = self.answering.take() {
            let _ = answering.join();
        }
    }
}

/// `rival.py`.
pub(super) struct Rival {
    process: Child,
}

impl Rival {
    fn start(programs: &Programs<'_>, chat: &Arc<Chat>, file: &Path, video: bool) -> Result<Self> {
        let mut command = Command::new(programs.python);
        command.arg(programs.script).args([chat.door(), "bench", Who::Ntgcalls.name()]).arg(file);
        command.arg(if video { "video" } else { "audio" });
        let process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the rival")?;
        let mut rival = Self { process };
        let mut line = String::new();
        BufReader::new(rival.process.stdout.take().context("stdout is a pipe")?).read_line(&mut line)?;
        if line.trim() != "connected" {
            let mut said = String::new();
            rival.process.stderr.take().context("stderr is a pipe")?.read_to_string(&mut said)?;
            bail!("ntgcalls did not connect: {}", said.lines().last().unwrap_or("it says nothing"));
        }
        ensure!(rival.process.try_wait()?.is_none(), "ntgcalls has ended");
        Ok(rival)
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        // The end of its stdin ends it, and that of its pipes its FFmpeg.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
