//! A call that only sends sound looks at what comes in now and then, and knows all the same how long
//! the way to the server and back takes.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use telecast::call::{Call, ChatId, JoinOptions, LeftReason};
use telecast::emulator::{Emulator, EmulatorOptions, Weather};
use telecast::player::{Item, Player, PlayerOptions};

use crate::realtime_async;

/// The way there and back, in milliseconds.
const DELAY_MS: f64 = 40.0;
/// What both ends and a busy machine may add on the way; the call reads only every 60 ms.
const SLACK_MS: f64 = 12.0;

#[expect(clippy::disallowed_methods, reason = "the network is a real one")]
fn now() -> Instant {
    Instant::now()
}

/// The sum and the number of the round trips so far, in milliseconds: of reports, and of ICE.
async fn round_trips(call: &Call) -> [(f64, f64); 2] {
    let stats = Value::Array(call.stats().await.unwrap().to_rtc_stats());
    let of = |kind: &str, number: &str| {
        let all = stats.as_array().unwrap();
        let it = all.iter().find(|it| it["type"] == kind && it["kind"] != "video");
        let value = |key: &str| it.and_then(|it| it[key].as_f64()).unwrap_or_default();
        (value("totalRoundTripTime") * 1000.0, value(number))
    };
    [of("remote-inbound-rtp", "roundTripTimeMeasurements"), of("candidate-pair", "responsesReceived")]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_trip_is_measured_by_when_its_end_came() {
    let _alone = realtime_async().await;
    let weather = Weather { delay: Duration::from_millis(DELAY_MS as u64), ..Weather::default() };
    let options = EmulatorOptions { weather: Some(weather), ..EmulatorOptions::default() };
    let emulator = Emulator::start(options).await.unwrap();
    let player = Player::start(PlayerOptions::default());
    let music = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/music.ogg");
    player.enqueue(Item::file(music)).await.unwrap();
    let chat = ChatId("demo".into());
    let call = Call::join(chat, &*emulator.signaling("bot"), &player, JoinOptions::default());
    call.joined().await.unwrap();
    // From then on it does not wait for what comes in.
    tokio::time::sleep(Duration::from_secs(2)).await;

    let (before, began) = (round_trips(&call).await, now());
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    let means = loop {
        looks.tick().await;
        let after = round_trips(&call).await;
        let grown = [0, 1].map(|n| (after[n].0 - before[n].0, after[n].1 - before[n].1));
        if grown.iter().all(|(_, n)| *n >= 2.0) {
            break grown.map(|(sum, n)| sum / n);
        }
        assert!(began.elapsed() < Duration::from_secs(12), "{grown:?} round trips (sum, number)");
    };
    let is_right = |mean: f64| (DELAY_MS - 1.0..DELAY_MS + SLACK_MS).contains(&mean);
    assert!(means.into_iter().all(is_right), "{means:?} ms by reports and by ICE");
    call.leave(LeftReason::Command).await;
    call.closed().await;
    player.close().await;
    emulator.shutdown().await;
}
