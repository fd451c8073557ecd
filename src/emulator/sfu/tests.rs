//! Whole calls in virtual time, against an independent use of the stack: no sockets, no sleeps.

use super::*;
use crate::emulator::Weather;
use client::{Script, World};

#[path = "client.rs"]
mod client;

fn config() -> SfuConfig {
    SfuConfig::new("127.0.0.1:32001".parse().expect("an address"))
}

fn is_connected(world: &World, idx: usize) -> bool {
    world.clients[idx].connected_at.is_some()
}

/// Two clients, connected: a speaker with a camera and somebody with an open data channel.
fn pair(config: SfuConfig) -> World {
    let mut world = World::new(config);
    world.join(Script::new("speaker", 1000, "active"));
    world.join(Script { observer: true, ..Script::new("listener", 2000, "active") });
    world.clients[1].expect(1000);
    let ready = |world: &World| world.clients.iter().all(|client| client.channel.is_some());
    world.run_until(Duration::from_secs(5), ready);
    world
}

#[test]
fn connects_in_both_dtls_roles() {
    for setup in ["passive", "active"] {
        let mut world = World::new(config());
        let (idx, joined) = world.join(Script::new("bot", 1000, setup));
        world.run_until(Duration::from_secs(3), |world| is_connected(world, idx));
        world.run(Duration::from_millis(50));
        assert!(world.events.contains(&SfuEvent::Connected { participant: joined.participant }), "{setup}");
        let stats = world.sfu.stats("c", world.now).remove(0);
        assert!(stats.connected && stats.connect_ms.is_some_and(|ms| ms < 1000.0), "{setup}: {stats:?}");
    }
}

#[test]
fn the_answers_role_is_the_opposite_or_on_request_an_echo() {
    for (variant, setup, answered) in [
        (AnswerSetup::Opposite, "passive", "active"),
        (AnswerSetup::Opposite, "active", "passive"),
        (AnswerSetup::Echo, "passive", "passive"),
    ] {
        let mut world = World::new(SfuConfig { answer_setup: variant, ..config() });
        let (idx, joined) = world.join(Script::new("bot", 1000, setup));
        let answer: serde_json::Value = serde_json::from_str(&joined.params).expect("JSON");
        assert_eq!(answer["transport"]["fingerprints"][0]["setup"], answered);
        world.run_until(Duration::from_secs(3), |world| is_connected(world, idx));
    }
}

/// Sound every 20 ms and pictures of three packets every 33 ms; RTP time 0 of both is the start
/// of the world. Returns the payloads.
fn publish(world: &mut World, from: usize, duration: Duration) -> (Vec<[u8; 4]>, Vec<[u8; 4]>) {
    let (mut audio, mut video) = (Vec::new(), Vec::new());
    world.run_with(duration, |world| {
        let (now, ms) = (world.now, u32::try_from((world.now - world.start).as_millis()).expect("short"));
        let client = &mut world.clients[from];
        if ms.is_multiple_of(20) {
            let payload = ms.to_be_bytes();
            client.send(MediaKind::Audio, ms * 48, &payload, now);
            audio.push(payload);
        }
        if ms.is_multiple_of(33) {
            for part in 0..3_u8 {
                // Slices of a predicted picture.
                let payload = [0x41, part, ms.to_be_bytes()[2], ms.to_be_bytes()[3]];
                client.send(MediaKind::Video, ms * 90, &payload, now);
                video.push(payload);
            }
        }
    });
    (audio, video)
}

/// The payloads received on one SSRC.
fn payloads(world: &World, receiver: usize, ssrc: u32) -> Vec<[u8; 4]> {
    let payload = |packet: &&str0m::rtp::RtpPacket| packet.payload[..].try_into().expect("four bytes");
    world.clients[receiver].received(ssrc).iter().map(payload).collect()
}

fn watch(world: &mut World, receiver: usize, publisher: &str, height: u32) {
    let page = world.sfu.list("c", &[], "");
    let row = page.participants.into_iter().find(|row| row.peer == publisher).expect("is listed");
    let endpoint = row.video.expect("has a camera").endpoint;
    let mut constraints = serde_json::Map::new();
    constraints.insert(endpoint, serde_json::json!({ "minHeight": 0, "maxHeight": height }));
    let message = serde_json::json!({ "colibriClass": "ReceiverVideoConstraints",
        "defaultConstraints": { "maxHeight": 0 }, "constraints": constraints });
    let now = world.now;
    world.clients[receiver].say(&message, now);
    world.run(Duration::from_millis(50));
}

#[test]
fn a_certificate_that_was_not_announced_is_refused() {
    let mut world = World::new(config());
    let (_, joined) = world.join(Script { wrong_fingerprint: true, ..Script::new("bot", 1000, "passive") });
    world.run(Duration::from_secs(2));
    let refused = |event: &SfuEvent| matches!(event, SfuEvent::Refused { participant, .. } if *participant == joined.participant);
    assert_eq!(world.events.iter().filter(|event| refused(event)).count(), 1, "{:?}", world.events);
    assert!(!world.sfu.stats("c", world.now)[0].connected);
}

#[test]
fn a_participant_without_transport_is_dropped_after_twenty_seconds() {
    let mut world = World::new(config());
    let (_, joined) = world.join(Script { wrong_fingerprint: true, ..Script::new("bot", 1000, "passive") });
    world.run(Duration::from_millis(19_900));
    assert_eq!(world.sfu.check("c", "bot", &[1000]), Ok(vec![1000]));
    world.run(Duration::from_millis(200));
    assert_eq!(world.sfu.check("c", "bot", &[1000]), Err(RpcError::new(400, "GROUPCALL_JOIN_MISSING")));
    assert!(world.events.contains(&SfuEvent::Dropped { participant: joined.participant }));
    let left = world
        .events
        .iter()
        .any(|event| matches!(event, SfuEvent::Participants { rows, version: 2, .. } if rows[0].left));
    assert!(left, "{:?}", world.events);
}

#[test]
fn sound_goes_to_everybody_unchanged_and_pictures_to_nobody_unasked() {
    let mut world = pair(config());
    let (audio, _) = publish(&mut world, 0, Duration::from_secs(2));
    assert_eq!(payloads(&world, 1, 1000), audio);
    let received = world.clients[1].received(1000);
    let header = &received[0].header;
    assert_eq!(
        (*header.payload_type, header.ext_vals.audio_level, header.ext_vals.voice_activity),
        (111, Some(-30), Some(true))
    );
    assert_eq!(u64::from(header.sequence_number), client::FIRST_AUDIO);
    assert!(world.clients[1].received(1001).is_empty());
    let feedback = &world.clients[0].n_rtcp;
    assert!(feedback["twcc"] >= 10 && feedback["rr"] >= 1 && feedback["remb"] >= 1, "{feedback:?}");
}

#[test]
fn pictures_follow_the_constraints() {
    let mut world = pair(config());
    publish(&mut world, 0, Duration::from_millis(200));
    assert_eq!(world.clients[0].heights(), [0], "nobody watches");
    watch(&mut world, 1, "speaker", 720);
    assert_eq!((world.clients[0].heights(), world.clients[0].keyframe_requests), (vec![0, 720], 1));

    let (_, video) = publish(&mut world, 0, Duration::from_secs(2));
    assert_eq!(payloads(&world, 1, 1001), video);
    watch(&mut world, 1, "speaker", 0);
    assert_eq!(world.clients[0].heights(), [0, 720, 0]);
    publish(&mut world, 0, Duration::from_millis(200));
    assert_eq!(world.clients[1].received(1001).len(), video.len());
}

#[test]
fn losses_are_repaired_unless_that_is_switched_off() {
    for (weather, repaired) in
        [("loss=5%,delay=40ms,seed=7", true), ("loss=5%,delay=40ms,seed=7,repair=off", false)]
    {
        let mut world =
            pair(SfuConfig { weather: Some(Weather::parse(weather).expect(weather)), ..config() });
        publish(&mut world, 0, Duration::from_millis(100));
        watch(&mut world, 1, "speaker", 720);
        world.run(Duration::from_millis(200));
        world.clients[1].packets.clear();
        let (_, video) = publish(&mut world, 0, Duration::from_secs(4));
        world.run(Duration::from_secs(1));
        let received = world.clients[1].received(1001).len();
        let stream = world.sfu.stats("c", world.now)[0].streams[1].clone();
        if repaired {
            assert_eq!(received, video.len(), "{stream:?}");
            assert!(stream.repaired >= 10 && stream.lost == 0 && stream.nacks_sent >= 5, "{stream:?}");
        } else {
            assert!(received < video.len() - 8, "{received} of {}", video.len());
            assert!(stream.repaired == 0 && stream.lost >= 8 && stream.nacks_sent == 0, "{stream:?}");
        }
    }
}

#[test]
fn reports_keep_sound_and_pictures_together() {
    let mut world = pair(config());
    publish(&mut world, 0, Duration::from_millis(100));
    watch(&mut world, 1, "speaker", 720);
    publish(&mut world, 0, Duration::from_secs(4));
    let reports = &world.clients[1].reports;
    // Both streams have RTP time 0 at one moment: their reports must agree when that was.
    let zero_of = |ssrc: u32, rate: f64| {
        let (_, ntp, rtp) = reports.iter().rfind(|(of, _, _)| *of == ssrc).expect("a report of each stream");
        *ntp - Duration::from_secs_f64(f64::from(*rtp) / rate)
    };
    let (audio, video) = (zero_of(1000, 48_000.0), zero_of(1001, 90_000.0));
    let apart = audio.duration_since(video).unwrap_or_else(|error| error.duration());
    assert!(apart < Duration::from_micros(100), "{apart:?} apart");
}

#[test]
fn key_frames_are_asked_for_at_a_limited_rate() {
    let mut world = pair(config());
    publish(&mut world, 0, Duration::from_millis(100));
    watch(&mut world, 1, "speaker", 720);
    publish(&mut world, 0, Duration::from_millis(600));
    let before = world.clients[0].keyframe_requests;
    for _ in 0..10 {
        let now = world.now;
        world.clients[1].request_keyframe(1001, now);
        publish(&mut world, 0, Duration::from_millis(66));
    }
    world.run(Duration::from_secs(1));
    let asked = world.clients[0].keyframe_requests - before;
    assert!((2..=3).contains(&asked), "{asked} in 660 ms");
}

#[test]
fn an_admins_mute_silences() {
    let mut world = pair(config());
    world.sfu.mute_by_admin("c", "speaker", true, world.now).expect("in the call");
    publish(&mut world, 0, Duration::from_millis(400));
    assert!(world.clients[1].received(1000).is_empty());
    assert_eq!(world.sfu.stats("c", world.now)[0].muted_packets, 20);
}

#[test]
fn a_rejoin_replaces_the_old_connection() {
    let mut world = pair(config());
    let (again, joined) = world.join(Script::new("speaker", 5000, "active"));
    world.clients[1].expect(5000);
    world.run_until(Duration::from_secs(3), |world| is_connected(world, again));
    publish(&mut world, again, Duration::from_millis(300));
    assert!(world.clients[1].received(5000).len() >= 10);
    let page = world.sfu.list("c", &[], "");
    assert_eq!(page.participants.iter().filter(|row| row.peer == "speaker").count(), 1);
    assert_eq!((world.sfu.identity(joined.participant), page.version), (Some(("c", "speaker")), 3));
}

#[test]
fn used_ssrcs_are_refused() {
    let mut world = pair(config());
    let (_, params) = client::Client::new(60_000, Script::new("thief", 1001, "active"), world.now);
    let request = JoinRequest { chat: "c".into(), name: "thief".into(), params, ..JoinRequest::default() };
    let error = world.sfu.join(&request, world.now).expect_err("1001 is the speaker's camera");
    assert_eq!(error, RpcError::new(400, "GROUPCALL_SSRC_DUPLICATE_MUCH"));
}

#[test]
fn hostile_datagrams_do_no_harm() {
    let mut world = pair(config());
    let mut dice = fastrand::Rng::with_seed(1);
    let speaker = world.clients[0].addr;
    for round in 0..2000_usize {
        let mut bytes: Vec<u8> = std::iter::repeat_with(|| dice.u8(..)).take(round % 200).collect();
        if let Some(first) = bytes.first_mut() {
            *first = [0, 1, 22, 20, 0x80, 0x90][round % 6];
        }
        world.sfu.handle_datagram(speaker, &bytes, world.now);
    }
    let (audio, _) = publish(&mut world, 0, Duration::from_millis(200));
    assert_eq!(world.clients[1].received(1000).len(), audio.len());
}

/// The latest slots that a page was told: name and m-lines.
fn slots(world: &World, page: usize) -> Vec<(String, String, String)> {
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let messages = world.clients[page].messages.iter().rev();
    let latest = messages.filter_map(|message| message["slots"].as_array()).next().expect("was told");
    latest
        .iter()
        .map(|slot| (text(&slot["name"]), text(&slot["audio_mid"]), text(&slot["video_mid"])))
        .collect()
}

/// The packets that a page got on one m-line: SSRC, sequence number, RTP time.
fn on_mid(world: &World, page: usize, mid: &str) -> Vec<(u32, u64, u32)> {
    let of = |packet: &&str0m::rtp::RtpPacket| packet.header.ext_vals.mid.is_none_or(|of| &*of == mid);
    let packets = world.clients[page].packets.iter().map(|(_, packet)| packet).filter(of);
    packets.map(|packet| (*packet.header.ssrc, *packet.seq_no, packet.header.timestamp)).collect()
}

#[test]
fn a_page_sees_and_hears_everybody_and_is_in_no_list() {
    let mut world = pair(config());
    let page = world.join_page(2);
    world.run_until(Duration::from_secs(3), |world| world.clients[page].channel.is_some());
    assert_eq!(world.sfu.list("c", &[], "").participants.len(), 2);
    assert_eq!(world.clients[0].heights(), [0, 720], "a page wants to see everybody");
    let (audio, video) = publish(&mut world, 0, Duration::from_secs(1));
    let told = slots(&world, page);
    assert_eq!((told.len(), &told[0].0[..]), (1, "speaker"));
    let received = world.clients[page].packets.len();
    assert_eq!(received, audio.len() + video.len());
    assert_eq!(world.clients[0].keyframe_requests, 0, "a stream that begins later begins with a key frame");
    assert!(!on_mid(&world, page, &told[0].1).is_empty() && !on_mid(&world, page, &told[0].2).is_empty());
}

#[test]
fn a_page_goes_on_where_the_last_connection_stopped() {
    let mut world = pair(config());
    let page = world.join_page(1);
    world.run_until(Duration::from_secs(3), |world| world.clients[page].channel.is_some());
    publish(&mut world, 0, Duration::from_millis(500));
    let before = world.clients[page].packets.len();
    let (again, _) = world.join(Script::new("speaker", 5000, "active"));
    world.run_until(Duration::from_secs(3), |world| is_connected(world, again));
    publish(&mut world, again, Duration::from_millis(500));
    let by_ssrc = |packets: &[(Instant, str0m::rtp::RtpPacket)]| {
        let mut streams = BTreeMap::<u32, Vec<(u64, u32)>>::new();
        for (_, packet) in packets {
            streams.entry(*packet.header.ssrc).or_default().push((*packet.seq_no, packet.header.timestamp));
        }
        streams
    };
    let (old, new) = world.clients[page].packets.split_at(before);
    let (old, new) = (by_ssrc(old), by_ssrc(new));
    assert_eq!(old.keys().collect::<Vec<_>>(), new.keys().collect::<Vec<_>>(), "the page's SSRCs stay");
    for (ssrc, packets) in &new {
        let (last, first) = (old[ssrc].last().expect("some"), packets.first().expect("some"));
        assert_eq!(first.0, last.0 + 1, "numbers go on");
        assert!(first.1.wrapping_sub(last.1) < 90_000, "time goes on: {last:?} {first:?}");
    }
    assert_eq!(slots(&world, page).len(), 1);
}

#[test]
fn a_page_with_nothing_to_show_is_told_no_times() {
    let mut world = pair(config());
    let page = world.join_page(2);
    world.run_until(Duration::from_secs(3), |world| world.clients[page].channel.is_some());
    world.run(Duration::from_secs(3));
    assert_eq!(world.clients[page].reports, []);
}

/// A native client: controlled, and it never nominates.
#[test]
fn a_client_that_never_nominates_gets_a_client_hello_after_its_first_check() {
    use str0m::ice::{StunMessage, TransId};
    let mut world = World::new(config());
    let (client, params) = client::Client::new(60_000, Script::new("native", 1000, "passive"), world.now);
    let offer: serde_json::Value = serde_json::from_str(&params).expect("JSON");
    let request = JoinRequest { chat: "c".into(), name: "native".into(), params, ..JoinRequest::default() };
    let joined = world.sfu.join(&request, world.now).expect("joins");
    world.run(Duration::from_secs(1));
    assert_eq!(world.sfu.poll_transmit(), None, "the server waits for the first check");

    let answer: serde_json::Value = serde_json::from_str(&joined.params).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let (ufrag, pwd) = (text(&answer["transport"]["ufrag"]), text(&answer["transport"]["pwd"]));
    assert!(ufrag.len() >= 4 && pwd.len() >= 22, "what browsers demand");
    let username = format!("{ufrag}:{}", text(&offer["ufrag"]));
    let check = StunMessage::binding_request(&username, TransId::new(), false, 7, 1, false);
    let crypto = str0m::crypto::from_feature_flags();
    let mut bytes = vec![0; 512];
    let hmac = |key: &[u8], parts: &[&[u8]]| crypto.sha1_hmac_provider.sha1_hmac(key, parts);
    let len = check.to_bytes(Some(pwd.as_bytes()), &mut bytes, hmac).expect("fits");
    world.sfu.handle_datagram(client.addr, &bytes[..len], world.now);
    let sent: Vec<_> = std::iter::from_fn(|| world.sfu.poll_transmit()).collect();
    assert!(sent.iter().all(|(to, _)| *to == client.addr));
    let reply = StunMessage::parse(&sent[0].1).expect("a reply comes first");
    assert_eq!((reply.is_successful_binding_response(), reply.mapped_address()), (true, Some(client.addr)));
    assert_eq!((sent[1].1[0], sent[1].1[13]), (22, 1), "then a ClientHello");
}

#[test]
fn any_single_loss_in_the_handshake_is_survived() {
    for setup in ["passive", "active"] {
        for direction in ["up", "down"] {
            for nth in 1..=6 {
                let weather = format!("delay=20ms,drop={direction}:{nth}");
                let weather = Some(Weather::parse(&weather).expect("weather"));
                let mut world = World::new(SfuConfig { weather, ..config() });
                let (idx, _) = world.join(Script::new("bot", 1000, setup));
                let limit = Duration::from_secs(6);
                world.run_until(limit, |world| is_connected(world, idx));
                world.run_until(limit, |world| {
                    world.events.iter().any(|e| matches!(e, SfuEvent::Connected { .. }))
                });
            }
        }
    }
}

#[test]
fn a_join_can_be_made_to_fail() {
    let mut world = World::new(config());
    world.sfu.fail_next_join(RpcError::new(420, "FLOOD_WAIT_3"));
    let (_, params) = client::Client::new(60_000, Script::new("bot", 1000, "active"), world.now);
    let request = JoinRequest { chat: "c".into(), name: "bot".into(), params, ..JoinRequest::default() };
    assert_eq!(world.sfu.join(&request, world.now), Err(RpcError::new(420, "FLOOD_WAIT_3")));
    assert!(world.sfu.join(&request, world.now).is_ok());
}

#[test]
fn the_same_weather_gives_the_same_call() {
    let run = || {
        let weather = Weather::parse("loss=10%,jitter=20ms,delay=30ms,seed=5").expect("weather");
        let mut world = pair(SfuConfig { weather: Some(weather), ..config() });
        publish(&mut world, 0, Duration::from_secs(1));
        world.run(Duration::from_secs(1));
        let stats = world.sfu.stats("c", world.now).remove(0);
        assert!(stats.weather_lost > 0, "{stats:?}");
        assert!(world.sfu.stats("c", world.now).remove(1).weather_lost == 0, "observers have clean links");
    };
    run();
    run();
}

#[test]
fn of_several_layers_the_one_that_fits_is_shown_under_the_first_ssrc() {
    let mut world = World::new(config());
    world.join(Script { layers: true, ..Script::new("speaker", 1000, "active") });
    world.join(Script::new("listener", 2000, "active"));
    world.clients[1].expect(1000);
    world.run_until(Duration::from_secs(5), |world| {
        world.clients.iter().all(|client| client.channel.is_some())
    });
    // Every 33 ms one packet of each layer; every tenth is a key frame. The layers' clocks and
    // numbers have nothing to do with each other.
    let stream = |world: &mut World, duration: Duration| {
        world.run_with(duration, |world| {
            let (now, ms) = (world.now, u32::try_from((world.now - world.start).as_millis()).expect("short"));
            if ms.is_multiple_of(33) {
                let n = ms / 33;
                let nal = if n.is_multiple_of(10) { 0x65 } else { 0x41 };
                let client = &mut world.clients[0];
                client.send(MediaKind::Video, ms * 90, &[nal, 0, 0, 0], now);
                for layer in [1, 2] {
                    let seq = client.n_sent.1 + 9000 * u64::from(layer);
                    let time = (ms * 90).wrapping_add(layer * 1_000_000_000);
                    let payload = [nal, u8::try_from(layer).expect("small"), 0, 0];
                    client.send_layer(layer, seq, time, &payload, now);
                }
            }
        });
    };
    stream(&mut world, Duration::from_millis(1500));
    let mut layers = Vec::new();
    for height in [180, 720, 360] {
        watch(&mut world, 1, "speaker", height);
        stream(&mut world, Duration::from_secs(2));
        layers.push(world.clients[1].received(1001).last().expect("pictures").payload[1]);
    }
    assert_eq!(layers, [0, 2, 1]);
    let received = world.clients[1].received(1001);
    let gap = received.windows(2).find(|pair| *pair[1].seq_no != *pair[0].seq_no + 1);
    let numbers =
        |packet: &&str0m::rtp::RtpPacket| (*packet.seq_no, packet.header.timestamp, packet.payload[1]);
    assert_eq!(gap.map(|pair| pair.iter().map(numbers).collect::<Vec<_>>()), None, "numbers have no gap");
    let step =
        |pair: &[&str0m::rtp::RtpPacket]| pair[1].header.timestamp.wrapping_sub(pair[0].header.timestamp);
    let steps: Vec<u32> = received.windows(2).map(step).collect();
    assert!(steps.iter().all(|step| (1..90 * 500).contains(step)), "time goes on: {steps:?}");
}

#[test]
fn follows_a_client_to_another_address() {
    let mut world = pair(config());
    publish(&mut world, 0, Duration::from_millis(100));
    world.clients[0].seen_as = "127.0.0.1:61000".parse().expect("an address");
    publish(&mut world, 0, Duration::from_secs(5));
    let before = (world.clients[1].received(1000).len(), world.clients[0].n_rtcp["rr"]);
    let (audio, _) = publish(&mut world, 0, Duration::from_secs(2));
    assert_eq!(world.clients[1].received(1000).len() - before.0, audio.len(), "what it sends arrives");
    assert!(world.clients[0].n_rtcp["rr"] > before.1, "what it is sent arrives");
}

#[test]
fn a_client_that_falls_silent_is_dropped_later() {
    let mut world = pair(config());
    world.clients[0].seen_as = "127.0.0.1:1".parse().expect("an address");
    let nowhere = world.clients.remove(0);
    world.run(Duration::from_secs(14));
    assert!(world.sfu.stats("c", world.now)[0].connected, "checks may be rare");
    world.run(Duration::from_secs(5));
    assert!(!world.sfu.stats("c", world.now)[0].connected);
    world.run(Duration::from_secs(21));
    let names: Vec<_> = world.sfu.stats("c", world.now).into_iter().map(|stats| stats.name).collect();
    assert_eq!(names, ["listener"]);
    drop(nowhere);
}

#[test]
fn a_discarded_call_is_over_for_everybody() {
    let mut world = pair(config());
    world.sfu.discard("c", world.now).expect("there is a call");
    assert_eq!(world.sfu.poll_event(), Some(SfuEvent::Discarded { chat: "c".into() }));
    assert_eq!(world.sfu.check("c", "speaker", &[1000]), Err(RpcError::new(400, "GROUPCALL_JOIN_MISSING")));
    assert_eq!(world.sfu.discard("c", world.now), Err(RpcError::new(403, "GROUPCALL_FORBIDDEN")));
    world.run(Duration::from_secs(1));
}

#[test]
fn names_have_a_limit() {
    let mut world = World::new(config());
    let request = JoinRequest { name: "n".repeat(300), ..JoinRequest::default() };
    assert_eq!(world.sfu.join(&request, world.now), Err(RpcError::new(400, "PEER_ID_INVALID")));
}
