//! What a call tells of itself, beside what the server has seen of it.

use std::time::Duration;

use serde_json::Value;

use super::lab::Lab;
use crate::call::params::Setup;

/// The one dictionary of a type, or of a type and a kind.
fn of<'a>(stats: &'a [Value], kind: &str) -> &'a Value {
    let (wanted, media) = kind.split_once(' ').unwrap_or((kind, ""));
    let is_it = |it: &&Value| {
        it["type"] == wanted && (media.is_empty() || it["id"].as_str().unwrap().ends_with(media))
    };
    let found: Vec<_> = stats.iter().filter(is_it).collect();
    assert_eq!(found.len(), 1, "{kind}: {stats:#?}");
    found[0]
}

#[test]
fn the_dictionaries_are_complete_and_agree_with_the_server() {
    let mut lab = Lab::new(Setup::Active, "delay=40ms");
    lab.play();
    lab.join(Duration::from_secs(8));
    let stats = lab.bot.stats(lab.now).to_rtc_stats();
    let seen = lab.seen().expect("the server knows the bot");

    for kind in ["audio", "video"] {
        let stream = seen.streams.iter().find(|it| it.kind == kind).expect("it arrives");
        let outbound = of(&stats, &format!("outbound-rtp {kind}"));
        let under_way = outbound["packetsSent"].as_u64().unwrap() - stream.packets;
        assert!(under_way < 40, "{outbound} {stream:?}");
        let remote = of(&stats, &format!("remote-inbound-rtp {kind}"));
        for time in [&remote["roundTripTime"], &of(&stats, "candidate-pair")["currentRoundTripTime"]] {
            assert!((0.039..0.080).contains(&time.as_f64().unwrap()), "{kind}: {time}");
        }
        let n = remote["roundTripTimeMeasurements"].as_u64().unwrap();
        let average = remote["totalRoundTripTime"].as_f64().unwrap() / n as f64;
        assert!(n >= 2 && (0.039..0.080).contains(&average), "{remote}");
        assert_eq!((remote["packetsLost"].as_i64(), remote["fractionLost"].as_f64()), (Some(0), Some(0.0)));
    }
    let formats: Vec<_> = ["audio", "video"].map(|kind| of(&stats, &format!("codec {kind}"))).into();
    assert_eq!((&formats[0]["mimeType"], &formats[0]["clockRate"]), (&"audio/opus".into(), &48_000.into()));
    assert_eq!((&formats[1]["mimeType"], &formats[1]["clockRate"]), (&"video/H264".into(), &90_000.into()));

    let (transport, pair) = (of(&stats, "transport"), of(&stats, "candidate-pair"));
    for (key, word) in [("iceState", "connected"), ("dtlsState", "connected"), ("dtlsRole", "client")] {
        assert_eq!(transport[key], word, "{transport}");
    }
    assert!(transport["packetsSent"].as_u64() > of(&stats, "outbound-rtp video")["packetsSent"].as_u64());
    assert!(transport["packetsReceived"].as_u64().unwrap() > 20, "{transport}");
    assert_eq!(pair["bytesSent"], transport["bytesSent"]);
    assert!(pair["responsesReceived"].as_u64().unwrap() > 0, "{pair}");
    let ends = ["local-candidate", "remote-candidate"].map(|end| of(&stats, end)["port"].clone());
    assert_eq!(ends, [Value::from(40_001), Value::from(32_001)]);
    let channel = of(&stats, "data-channel");
    assert_eq!((&channel["state"], &channel["messagesSent"]), (&"open".into(), &1.into()), "{channel}");

    // Whoever is referred to is there, and all were taken at the same moment.
    let known = |id: &str| stats.iter().any(|it| it["id"] == id);
    for it in &stats {
        for (key, value) in it.as_object().unwrap() {
            let refers = key.ends_with("Id") && !value.is_null();
            assert!(!refers || known(value.as_str().unwrap()), "{key} of {it}");
        }
        // The clock of the lab began a million seconds after 1970.
        assert_eq!(it["timestamp"], 1_000_008_000.0, "{it}");
    }
}

#[test]
fn loss_is_seen_and_a_call_without_a_connection_says_little() {
    let mut lab = Lab::new(Setup::Passive, "loss=10%");
    let none = lab.bot.stats(lab.now).to_rtc_stats();
    assert_eq!(none.len(), 1, "{none:?}");
    assert!(of(&none, "transport")["iceState"].is_null(), "{none:?}");
    lab.play();
    lab.join(Duration::from_secs(8));
    let stats = lab.bot.stats(lab.now).to_rtc_stats();
    // Sound is not sent again, so what is lost stays so.
    let lost = of(&stats, "remote-inbound-rtp audio")["packetsLost"].as_i64().unwrap();
    let sent = of(&stats, "outbound-rtp audio")["packetsSent"].as_i64().unwrap();
    assert!((sent / 30..sent / 4).contains(&lost), "{lost} of {sent}");
    assert!(of(&stats, "outbound-rtp video")["nackCount"].as_u64().unwrap() > 0, "{stats:?}");
    assert_eq!(of(&stats, "data-channel")["state"], "connecting");
}
