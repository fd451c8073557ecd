//! How a program in any language uses `telecast play --signaling stdio`: it starts telecast, makes
//! the requests that telecast asks for, and steers. Telegram is an emulator in this process here.
//!
//! `cargo build && cargo run --example play_stdio`; TELECAST names another binary.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use telecast::emulator::{Emulator, EmulatorOptions, JoinRequest};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let telegram = Emulator::start(EmulatorOptions::default()).await?;
    // target/debug/examples/play_stdio → target/debug/telecast
    let mut binary = std::env::current_exe()?;
    binary.pop();
    binary.set_file_name("telecast");
    let binary = std::env::var_os("TELECAST").map_or(binary, PathBuf::from);
    let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/media/clip.mp4");
    let mut telecast = Command::new(&binary)
        .args(["play", clip, "--signaling", "stdio", "--chat", "a"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}; run `cargo build` first", binary.display()))?;
    let mut stdin = telecast.stdin.take();
    let stdout = BufReader::new(telecast.stdout.take().context("stdout is a pipe")?);

    for line in stdout.lines() {
        let line: Value = serde_json::from_str(&line?)?;
        let answer = match (line["type"].as_str(), line["method"].as_str(), line["event"].as_str()) {
            (_, Some("join"), _) => {
                println!("telecast asks to join as source {}", line["source"]);
                let params = line["params"].as_str().context("params is a string")?.to_owned();
                // phone.joinGroupCall would stand here.
                let join = JoinRequest { chat: "a".into(), params, ..JoinRequest::default() };
                let joined = telegram.join_raw(join).await?;
                Some(json!({ "type": "reply", "id": line["id"], "params": joined.params }))
            }
            (Some("request"), ..) => Some(json!({ "type": "reply", "id": line["id"] })),
            (_, _, Some("position")) if line["position_ms"].as_i64() >= Some(2000) => {
                Some(json!({ "type": "command", "ref": "bye", "chat": "a", "command": "leave" }))
            }
            _ => None,
        };
        println!("{}", line.to_string().chars().take(150).collect::<String>());
        if let (Some(answer), Some(stdin)) = (answer, &mut stdin) {
            // If telecast is gone, its exit code says why.
            let _ = writeln!(stdin, "{answer}");
        }
    }
    let exit = telecast.wait()?;
    telegram.shutdown().await;
    ensure!(exit.success(), "telecast ended with {exit}");
    Ok(())
}
