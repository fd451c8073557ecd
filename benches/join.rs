//! How long a join takes, on real sockets: `cargo bench --bench join`.
//!
//! Twenty calls one after the other, each into a chat of its own, for both DTLS roles and for
//! round trips of 0 and 40 ms. Printed is the median of the time since the join request.

#![expect(clippy::print_stdout, reason = "a bench tells its figures")]

use std::time::Duration;

use telecast::call::{Call, ChatId, JoinOptions, LeftReason, Milestones, Setup};
use telecast::emulator::{Emulator, EmulatorOptions, Weather};
use telecast::player::{Item, Player, PlayerOptions, Repeat};

const CALLS: usize = 20;

/// The first report must come within this time.
const PATIENCE: Duration = Duration::from_secs(10);

type Step = fn(&Milestones) -> Option<Duration>;

const STEPS: [(&str, Step); 5] = [
    ("answer", Milestones::rpc),
    ("ICE", Milestones::ice),
    ("DTLS", Milestones::dtls),
    ("first RTP", Milestones::first_rtp),
    ("feedback", Milestones::first_feedback),
];

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("| round trip | role | {} |", STEPS.map(|(name, _)| name).join(" | "));
    println!("|---|---|{}", "---|".repeat(STEPS.len()));
    for weather in ["", "delay=40ms"] {
        for setup in [Setup::Passive, Setup::Active] {
            let joins = joins(weather, setup).await?;
            let cells = STEPS.map(|(_, step)| median(joins.iter().filter_map(step).collect()));
            let round_trip = if weather.is_empty() { "0 ms" } else { "40 ms" };
            println!("| {round_trip} | {setup} | {} |", cells.join(" | "));
        }
    }
    Ok(())
}

async fn joins(weather: &str, setup: Setup) -> Result<Vec<Milestones>, Box<dyn std::error::Error>> {
    let weather = Some(Weather::parse(weather)?);
    let emulator = Emulator::start(EmulatorOptions { weather, ..EmulatorOptions::default() }).await?;
    let player = Player::start(PlayerOptions { repeat: Repeat::All, ..PlayerOptions::default() });
    player.enqueue(Item::file("media/clip.mkv")).await?;
    let mut all = Vec::with_capacity(CALLS);
    for n in 0..CALLS {
        let options = JoinOptions { setup, ..JoinOptions::default() };
        let call = Call::join(ChatId(format!("chat-{n}")), &*emulator.signaling("bot"), &player, options);
        call.joined().await.map_err(|reason| format!("not joined: {reason:?}"))?;
        all.push(tokio::time::timeout(PATIENCE, milestones(&call)).await??);
        call.leave(LeftReason::Command).await;
        call.closed().await;
    }
    player.close().await;
    emulator.shutdown().await;
    Ok(all)
}

/// All of them, when the last has been passed: the receiver's first report.
async fn milestones(call: &Call) -> Result<Milestones, &'static str> {
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    loop {
        looks.tick().await;
        let milestones = call.stats().await.ok_or("the call is over")?.milestones;
        if milestones.first_feedback().is_some() {
            return Ok(milestones);
        }
    }
}

fn median(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    times
        .get(times.len() / 2)
        .map_or_else(|| "-".to_owned(), |time| format!("{:.1} ms", time.as_secs_f64() * 1000.0))
}
