//! How long it takes from a command to the first packet that it brings, in a call that is up.
//!
//! telecast tells the start of an item and a new position when the packet they speak of leaves.

use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::chat::Chat;
use super::clips::Clips;
use super::contender::{Ours, Programs};
use super::table::Latency;

const LONGEST: Duration = Duration::from_secs(10);
/// Between two tries, so that each meets a call at rest. What the next one adds brings every try to
/// another place between two packets of sound, which are 20 ms apart.
const BETWEEN: Duration = Duration::from_millis(700);
const FURTHER: Duration = Duration::from_millis(4);
/// Tries for each round of the comparison.
const TRIES: usize = 5;

/// Places in the file of two hours, in its reading order and against it.
const PLACES_S: [u64; TRIES] = [5_400, 600, 6_900, 3_600, 30];

pub(super) fn measure(programs: &Programs<'_>, clips: &Clips, rounds: usize) -> Result<Latency> {
    eprintln!("from the command to the first packet");
    let mut latency = Latency { start: Vec::new(), seek: Vec::new() };
    let long = clips.long()?;
    for _ in 0..rounds {
        start(programs, &clips.kept("music.ogg"), &clips.kept("clip.mp4"), &mut latency.start)?;
        seek(programs, &long, &mut latency.seek)?;
    }
    Ok(latency)
}

/// An item takes the place of another one.
fn start(programs: &Programs<'_>, before: &Path, file: &Path, tries: &mut Vec<f64>) -> Result<()> {
    let file = file.to_str().context("a path that is no text")?;
    let chat = Arc::new(Chat::start(programs.telecast)?);
    let ours = Ours::start(programs.telecast, &chat, before, &["--loop"])?;
    for n in 0..TRIES {
        rest(n);
        let asked =
            ours.say(&json!({ "type": "command", "command": "play", "source": file, "now": true }))?;
        let began =
            ours.wait_for(LONGEST, |event| event["event"] == "item_started" && event["source"] == file)?;
        tries.push((began - asked).as_secs_f64() * 1000.0);
    }
    Ok(())
}

/// An item goes to another place.
fn seek(programs: &Programs<'_>, file: &Path, tries: &mut Vec<f64>) -> Result<()> {
    let chat = Arc::new(Chat::start(programs.telecast)?);
    let ours = Ours::start(programs.telecast, &chat, file, &[])?;
    for (n, place_s) in PLACES_S.into_iter().enumerate() {
        rest(n);
        let place = place_s * 1000;
        let asked = ours.say(&json!({ "type": "command", "command": "seek", "position_ms": place }))?;
        let began = ours.wait_for(LONGEST, |event| {
            // A keyframe comes every second.
            event["event"] == "position"
                && event["position_ms"].as_u64().is_some_and(|at| at.abs_diff(place) < 1_500)
        })?;
        tries.push((began - asked).as_secs_f64() * 1000.0);
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a call at rest is one that nothing was asked of for a while")]
fn rest(n: usize) {
    sleep(BETWEEN + FURTHER * u32::try_from(n).unwrap_or(0));
}
