//! The video chat that the contenders stream into: `telecast local` in a process of its own, so
//! that what it costs is nobody's.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// ntgcalls takes no notice of connections that finish within some 20 ms.
const WEATHER: &str = "delay=40ms";

/// The chat and its HTTP door.
pub(super) struct Chat {
    process: Child,
    door: String,
}

/// What the chat has got from one participant so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Got {
    pub(super) audio_packets: u64,
    pub(super) audio_bytes: u64,
    /// Of the layer with most.
    pub(super) video_frames: u64,
    pub(super) video_bytes: u64,
    pub(super) lost: u64,
}

impl Chat {
    pub(super) fn start(telecast: &Path) -> Result<Self> {
        let mut command = Command::new(telecast);
        command.args(["local", "--http", "127.0.0.1:0", "--json", "--impair", WEATHER]);
        let mut process = command.stdout(Stdio::piped()).spawn().context("cannot start telecast local")?;
        let mut line = String::new();
        let stdout = process.stdout.take().context("stdout is a pipe")?;
        let mut chat = Self { process, door: String::new() };
        BufReader::new(stdout).read_line(&mut line)?;
        let told: Value = serde_json::from_str(&line).context("telecast local did not tell its doors")?;
        told["http"].as_str().context("no HTTP door")?.trim_end_matches('/').clone_into(&mut chat.door);
        Ok(chat)
    }

    /// For clients that speak HTTP themselves.
    pub(super) fn door(&self) -> &str {
        &self.door
    }

    /// The answer to a join, as Telegram's JSON.
    pub(super) fn join(&self, chat: &str, name: &str, params: &str) -> Result<String> {
        let body = json!({ "chat": chat, "name": name, "params": params });
        let mut response = ureq::post(format!("{}/join", self.door)).send_json(body)?;
        Ok(response.body_mut().read_to_string()?)
    }

    /// What `name` has sent so far.
    pub(super) fn got(&self, chat: &str, name: &str) -> Result<Got> {
        let mut response = ureq::get(format!("{}/stats?chat={chat}", self.door)).call()?;
        let stats: Value = response.body_mut().read_json()?;
        let all = stats.as_array().context("no list of participants")?;
        let participant = all.iter().find(|participant| participant["name"] == name);
        let participant = participant.with_context(|| format!("{name} is not in the chat"))?;
        let mut got = Got::default();
        for stream in participant["streams"].as_array().context("no streams")? {
            let count = |key: &str| stream[key].as_u64().unwrap_or_default();
            got.lost += count("lost");
            if stream["kind"] == "audio" {
                (got.audio_packets, got.audio_bytes) =
                    (got.audio_packets + count("packets"), got.audio_bytes + count("bytes"));
            } else {
                // The layers of a simulcast show the same pictures.
                got.video_frames = got.video_frames.max(count("frames"));
                got.video_bytes += count("bytes");
            }
        }
        Ok(got)
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        // It has no other way to end; one that has ended already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
