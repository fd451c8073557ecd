use std::path::PathBuf;

use expect_test::{Expect, expect, expect_file};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::call::sdp::{AnswerOptions, OfferSection, OfferView, SectionKind, answer};
use crate::peer::ExtensionIds;

/// A file of recorded shapes with made-up values.
fn golden(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/join").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn webrtc(json: &str) -> RemoteParams {
    match Answer::parse(json) {
        Ok(Answer::WebRtc(remote)) => *remote,
        other => panic!("{other:?}"),
    }
}

/// The ordinary answer with one value changed.
fn changed(pointer: &str, value: Value) -> String {
    let mut answer: Value = serde_json::from_str(&golden("answer-webrtc.json")).unwrap();
    *answer.pointer_mut(pointer).unwrap() = value;
    answer.to_string()
}

/// The ids that Telegram always uses.
const AUDIO_IDS: ExtensionIds = ExtensionIds {
    audio_level: Some(1),
    abs_send_time: Some(2),
    transport_cc: Some(3),
    video_orientation: None,
};
const VIDEO_IDS: ExtensionIds = ExtensionIds {
    audio_level: None,
    abs_send_time: Some(2),
    transport_cc: Some(3),
    video_orientation: Some(13),
};

fn join(setup: Setup, video: bool) -> JoinParams {
    JoinParams {
        ssrc: 1_467_220_931,
        ice_ufrag: "pW3e".to_owned(),
        ice_pwd: Secret::new("Lq8vT1nZ6yC4hD0sXr5mJb2K".to_owned()),
        fingerprint: Fingerprint(std::array::from_fn(|idx| u8::try_from(idx * 7 + 3).unwrap())),
        setup,
        video: video.then_some(VideoSsrcs { ssrc: 1_467_220_932, rtx_ssrc: 1_467_220_933 }),
    }
}

#[test]
fn join_payloads_are_as_recorded() {
    let audio = join(Setup::Passive, false).to_json().expose().clone();
    expect_file!["../../../tests/golden/join/join-audio.json"].assert_eq(&audio);
    let video = join(Setup::Passive, true).to_json().expose().clone();
    expect_file!["../../../tests/golden/join/join-video.json"].assert_eq(&video);
    let active = join(Setup::Active, true).to_json().expose().clone();
    expect_file!["../../../tests/golden/join/join-video-active.json"].assert_eq(&active);
}

#[test]
fn ssrcs_are_signed_in_a_join() {
    let mut high = join(Setup::Passive, true);
    high.ssrc = 3_410_846_965;
    high.video = Some(VideoSsrcs { ssrc: u32::MAX, rtx_ssrc: 1 << 31 });
    let json: Value = serde_json::from_str(high.to_json().expose()).unwrap();
    assert_eq!(json["ssrc"], json!(-884_120_331));
    assert_eq!(json["ssrc-groups"][0]["sources"], json!([-1, i32::MIN]));
}

#[test]
fn a_join_does_not_print_its_password() {
    assert!(!format!("{:?}", join(Setup::Passive, true)).contains("Lq8v"));
}

#[test]
fn random_ssrcs_follow_each_other_and_stay_positive_in_tl() {
    let mut rng = fastrand::Rng::with_seed(11);
    for _ in 0..10_000 {
        let Ssrcs { audio, video, video_rtx } = random_ssrcs(&mut rng);
        assert!((1..=0x7fff_fffd).contains(&audio));
        assert_eq!((video, video_rtx), (audio + 1, audio + 2));
    }
    assert_ne!(random_ssrcs(&mut rng), random_ssrcs(&mut rng));
}

#[test]
fn fingerprints_read_what_they_write() {
    let written = join(Setup::Passive, false).fingerprint;
    assert!(written.to_string().starts_with("03:0A:11:"));
    assert_eq!(written.to_string().parse(), Ok(written));
    assert_eq!(written.to_string().to_lowercase().parse(), Ok(written));
    let text = written.to_string();
    for broken in
        ["", "03:0A", &text[1..], &format!("{text}:00"), &text.replace("0A", "+A"), &text.replace(':', "-")]
    {
        assert_eq!(broken.parse::<Fingerprint>(), Err(FingerprintError), "{broken}");
    }
}

#[test]
fn reads_the_ordinary_answer() {
    let remote = webrtc(&golden("answer-webrtc.json"));
    assert_eq!(remote.transport.ice_ufrag, "e7m2k9r4w1x8b0");
    assert_eq!(remote.transport.ice_pwd.expose(), "3h9d1s7f5k2p8z4n6c0v1b9m2q");
    assert!(remote.transport.fingerprint.to_string().starts_with("E6:77:26:"));
    let addresses: Vec<_> = remote.transport.candidates.iter().map(|c| (c.ip.to_string(), c.port)).collect();
    assert_eq!(
        addresses,
        [("2001:db8:67c:4e8::31".to_owned(), 32_003), ("198.51.100.24".to_owned(), 32_003)]
    );

    assert_eq!(remote.opus().unwrap().id, 111);
    assert_eq!(remote.opus().unwrap().parameter("minptime"), Some("10"));
    let h264 = remote.h264().unwrap();
    assert_eq!((h264.codec.id, h264.rtx.map(|rtx| rtx.id)), (104, Some(105)));
    assert_eq!(h264.codec.feedback.len(), 5);
    assert_eq!(remote.video_codec_names(), ["VP8", "VP9", "H264"]);

    assert_eq!(remote.audio_extensions(), AUDIO_IDS);
    assert_eq!(remote.video_extensions(), VIDEO_IDS);

    assert_eq!(remote.endpoint.as_deref(), Some("5be1f03a9d72c846"));
    assert_eq!(remote.server_sources, [3_561_862_304]);
    assert_eq!(remote.skipped, []);
    assert!(!format!("{remote:?}").contains("3h9d1s"), "the password is printed");
}

#[test]
fn reads_an_answer_with_everything_odd_in_it() {
    let remote = webrtc(&golden("answer-ugly.json"));
    assert_eq!(remote.transport.fingerprint, webrtc(&golden("answer-webrtc.json")).transport.fingerprint);

    assert_eq!(remote.opus().unwrap().id, 111);
    let h264 = remote.h264().unwrap();
    assert_eq!((h264.codec.id, h264.codec.clock_rate, h264.rtx.map(|rtx| rtx.id)), (104, 90_000, Some(107)));
    use RtcpFeedback::{CcmFir, GoogRemb, Nack, NackPli};
    assert_eq!(h264.codec.feedback, [GoogRemb, CcmFir, Nack, NackPli]);
    let vp8 = &remote.video.as_ref().unwrap().payload_types[0];
    assert_eq!((vp8.clock_rate, vp8.parameter("x-google-start-bitrate")), (90_000, Some("800")));
    assert_eq!(vp8.parameter("x-google-max-bitrate"), Some("1200"));

    assert_eq!(remote.audio_extensions(), AUDIO_IDS);
    assert_eq!(remote.video_extensions(), ExtensionIds { video_orientation: None, ..VIDEO_IDS });
    assert_eq!(remote.endpoint.as_deref(), Some("77"));
    assert_eq!(remote.server_sources, [1_017_713_002, 3_561_862_304, 3_561_862_304]);

    let kept: Vec<_> = remote.transport.candidates.iter().map(|c| format!("{} {:?}", c.ip, c.kind)).collect();
    expect![[r#"
        [
            "2001:db8:67c:4e8::31 Host",
            "203.0.113.9 ServerReflexive",
            "198.51.100.27 Host",
            "198.51.100.28 Host",
            "198.51.100.24 Host",
        ]
    "#]]
    .assert_debug_eq(&kept);
    let skipped: Vec<_> = remote.skipped.iter().map(ToString::to_string).collect();
    expect![[r#"
        transport.candidates[1]: is not UDP
        transport.candidates[2]: has no port between 1 and 65535
        transport.candidates[3]: has a priority that is no 32-bit number
        transport.candidates[4]: has no IP address
        transport.candidates[5]: is for separate RTCP
        transport.candidates[9]: is no object
        audio.payload-types[1].parameters: holds spaces, control characters or long values
        audio.payload-types[2]: has an id that means RTCP on a shared port
        audio.payload-types[3]: has no id between 0 and 127
        audio.payload-types[4]: has no id between 0 and 127
        audio.payload-types[5]: has no printable name
        audio.payload-types[6]: is no object
        audio.rtp-hdrexts[4]: repeats an id or a uri
        audio.rtp-hdrexts[5]: has no id between 1 and 14
        audio.rtp-hdrexts[6]: has no uri
        video.payload-types[7]: repeats an id
        video.rtp-hdrexts[3]: repeats an id or a uri
        video payload type 111: is an audio payload type too
        video header extension 1: is another one in audio
        video.server_sources[3]: is no SSRC
        video.server_sources[4]: is no SSRC
        video.server_sources[5]: is no SSRC"#]]
    .assert_eq(&skipped.join("\n"));
}

#[test]
fn reads_an_answer_with_the_bare_necessities() {
    let remote = webrtc(&golden("answer-minimal.json"));
    let [candidate] = &remote.transport.candidates[..] else { panic!("{remote:?}") };
    assert_eq!((candidate.kind, candidate.foundation.as_str()), (CandidateKind::Host, "1"));
    assert_eq!(remote.opus().unwrap().parameters, []);
    assert_eq!((remote.h264(), remote.video_codec_names()), (None, vec![]));
    assert_eq!(remote.audio_extensions(), ExtensionIds::default());
    assert_eq!(remote.video_extensions(), ExtensionIds::default());
}

#[test]
fn names_the_codecs_when_ours_are_missing() {
    let remote = webrtc(&golden("answer-without-h264.json"));
    assert_eq!(remote.h264(), None);
    assert_eq!(remote.video_codec_names(), ["VP8", "VP9"]);
    let presentation = webrtc(&golden("answer-presentation.json"));
    assert!(presentation.audio.is_none() && presentation.h264().is_some());

    let g722 = webrtc(&changed("/audio/payload-types/0/name", json!("G722")));
    let error = g722.opus().unwrap_err().to_string();
    assert_eq!(error, "the server takes no Opus audio (it lists G722, telephone-event)");
}

#[test]
fn h264_without_fragmentation_is_the_last_choice() {
    let entry =
        |id: u8, mode: Value| json!({"id": id, "name": "H264", "parameters": {"packetization-mode": mode}});
    let both = webrtc(&changed("/video/payload-types", json!([entry(96, json!("0")), entry(98, json!(1))])));
    assert_eq!(both.h264().unwrap().codec.id, 98);
    let only = webrtc(&changed("/video/payload-types", json!([entry(96, json!(0))])));
    assert_eq!(only.h264().unwrap().codec.id, 96);
}

#[test]
fn stream_and_rtmp_are_their_own_answers() {
    assert_eq!(Answer::parse(&golden("answer-stream.json")).unwrap(), Answer::Stream);
    let rtmp = Answer::parse(&golden("answer-rtmp.json")).unwrap();
    let Answer::Rtmp { url: Some(url), key: Some(key) } = &rtmp else { panic!("{rtmp:?}") };
    assert_eq!(url.expose(), "rtmps://rtmp.example.org:443/s/");
    assert_eq!(key.expose(), "1907:Kf83hSecret");
    assert!(!format!("{rtmp:?}").contains("Secret\""));

    let none = Answer::Rtmp { url: None, key: None };
    assert_eq!(Answer::parse(r#"{"stream":1,"rtmp":"true","rtmp_stream_key":"a\nb"}"#).unwrap(), none);
    assert_eq!(Answer::parse(r#"{"rtmp":true}"#).unwrap(), none);
    assert_eq!(Answer::parse(r#"{"stream":true,"rtmp":null}"#).unwrap(), Answer::Stream);
    for not_stream in [json!(false), json!(null), json!("false"), json!(0), json!([]), json!({})] {
        let mut answer: Value = serde_json::from_str(&golden("answer-webrtc.json")).unwrap();
        answer["stream"] = not_stream.clone();
        answer["rtmp"] = not_stream;
        webrtc(&answer.to_string());
    }
}

#[test]
fn unusable_answers_say_why() {
    let check = |json: &str, expected: Expect| {
        expected.assert_eq(&Answer::parse(json).unwrap_err().to_string());
    };
    check("", expect!["the answer to the join is no JSON"]);
    check("<html>", expect!["the answer to the join is no JSON"]);
    check(&"[".repeat(100_000), expect!["the answer to the join is no JSON"]);
    check("[1]", expect!["the answer to the join is no JSON object"]);
    check(
        "{}",
        expect![
            "the answer to the join has no transport: the call has ended, or this account has no access to it"
        ],
    );
    check(
        r#"{"transport":null}"#,
        expect![
            "the answer to the join has no transport: the call has ended, or this account has no access to it"
        ],
    );
    check(
        r#"{"transport":[]}"#,
        expect![
            "the answer to the join has no transport: the call has ended, or this account has no access to it"
        ],
    );
    check(r#"{"transport":"udp"}"#, expect!["the answer to the join is broken: transport is no object"]);
    check(
        &" ".repeat(MAX_ANSWER_BYTES + 1),
        expect!["the answer to the join has 1048577 bytes; at most 1048576 are read"],
    );
    check(
        &changed("/transport/ufrag", json!(null)),
        expect!["the answer to the join is broken: transport.ufrag is missing"],
    );
    check(
        &changed("/transport/ufrag", json!("a\r\na=candidate:evil")),
        expect![
            "the answer to the join is broken: transport.ufrag is empty, too long, or holds spaces or control characters"
        ],
    );
    check(
        &changed("/transport/pwd", json!("p".repeat(257))),
        expect![
            "the answer to the join is broken: transport.pwd is empty, too long, or holds spaces or control characters"
        ],
    );
    check(
        &changed("/transport/fingerprints", json!([])),
        expect!["the answer to the join has no sha-256 fingerprint, so the server cannot be verified"],
    );
    check(
        &changed("/transport/fingerprints/0/hash", json!("sha-1")),
        expect!["the answer to the join has no sha-256 fingerprint, so the server cannot be verified"],
    );
    check(
        &changed("/transport/fingerprints/0/fingerprint", json!("E6:77")),
        expect!["the answer to the join is broken: transport.fingerprints holds no sha-256 value"],
    );
    check(
        &changed("/transport/candidates", json!([])),
        expect!["the answer to the join has no usable candidate"],
    );
    check(
        &changed("/transport/candidates", json!({})),
        expect!["the answer to the join has no usable candidate"],
    );
    check(
        &changed("/transport/candidates", json!(vec![0; 65])),
        expect!["the answer to the join is broken: transport.candidates has more than 64 entries"],
    );
    check(
        &changed("/audio/payload-types", json!(vec![0; 65])),
        expect!["the answer to the join is broken: audio.payload-types has more than 64 entries"],
    );
    let broken = json!([
        {"ip": "203.0.113.5", "port": "0"},
        {"ip": "203.0.113.5", "port": "70000"},
        {"ip": "203.0.113.5"},
        {"ip": "203.0.113.5\r\n", "port": "5"},
        {"ip": "0.0.0.0", "port": "5"},
        {"ip": "203.0.113.5", "port": "5", "priority": "-1"},
        {"ip": "203.0.113.5", "port": "5", "priority": 4_294_967_296_u64},
        {"ip": "203.0.113.5", "port": "5", "type": "host\n"},
        {"ip": "203.0.113.5", "port": "5", "protocol": "tcp"},
        {"ip": "203.0.113.5", "port": "5", "component": 2},
        {"ip": "203.0.113.5", "port": "5", "foundation": "1 1"},
        null,
    ]);
    check(
        &changed("/transport/candidates", broken.clone()),
        expect![
            "the answer to the join has no usable candidate (transport.candidates[0]: has no port between 1 and 65535; transport.candidates[1]: has no port between 1 and 65535; transport.candidates[2]: has no port between 1 and 65535; transport.candidates[3]: has no IP address; and 8 more)"
        ],
    );
    let Err(AnswerError::NoCandidates { skipped }) = Answer::parse(&changed("/transport/candidates", broken))
    else {
        panic!("an answer without candidates is accepted");
    };
    let reasons: Vec<_> = skipped.iter().map(|part| part.why).collect();
    expect![[r#"
        [
            "has no port between 1 and 65535",
            "has no port between 1 and 65535",
            "has no port between 1 and 65535",
            "has no IP address",
            "has an address that nobody can answer from",
            "has a priority that is no 32-bit number",
            "has a priority that is no 32-bit number",
            "has an unknown type",
            "is not UDP",
            "is for separate RTCP",
            "has a foundation that is no short text",
            "is no object",
        ]
    "#]]
    .assert_debug_eq(&reasons);
}

#[test]
fn omissions_are_counted_up_to_a_limit() {
    let parameters: serde_json::Map<_, _> = (0..10_000).map(|n| (format!("key {n}"), json!(1))).collect();
    let remote = webrtc(&changed("/audio/payload-types/0/parameters", parameters.into()));
    assert_eq!((remote.skipped.len(), remote.opus().unwrap().parameters.len()), (256, 0));
}

/// Any JSON, with the keys and values that the parser looks at more often than chance has it.
fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("\r\na=injected:1".to_owned()),
        prop::sample::select(vec![
            "104",
            "udp",
            "host",
            "sha-256",
            "opus",
            "H264",
            "rtx",
            "true",
            "198.51.100.9"
        ])
        .prop_map(str::to_owned),
        "[ -~\r\n]{0,12}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        (0..200_i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::String),
    ];
    let key = prop::sample::select(vec![
        "transport",
        "audio",
        "video",
        "stream",
        "candidates",
        "ufrag",
        "pwd",
        "fingerprints",
        "payload-types",
        "rtp-hdrexts",
        "parameters",
        "rtcp-fbs",
        "id",
        "name",
        "ip",
        "port",
        "fmtp",
        "type",
    ]);
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

/// Replaces the `nth` value (counted depth first) of `tree`.
fn replace_nth(tree: &mut Value, nth: &mut usize, with: &Value) {
    if *nth == 0 {
        *tree = with.clone();
    }
    *nth = nth.wrapping_sub(1);
    match tree {
        Value::Array(list) => list.iter_mut().for_each(|value| replace_nth(value, nth, with)),
        Value::Object(map) => map.values_mut().for_each(|value| replace_nth(value, nth, with)),
        _ => {}
    }
}

/// The session description that an answer ends as.
fn sdp_of(remote: &RemoteParams) -> String {
    let section =
        |mid: &str, kind| OfferSection { mid: mid.to_owned(), kind, ssrcs: vec![], repairs: vec![] };
    let offer = OfferView {
        ice_ufrag: String::new(),
        ice_pwd: Secret::new(String::new()),
        fingerprint: Fingerprint([0; 32]),
        sections: vec![
            section("0", SectionKind::Audio),
            section("1", SectionKind::Video),
            section("2", SectionKind::Application),
        ],
    };
    let options = AnswerOptions { our_setup: Setup::Passive, ipv6: true };
    answer(&offer, remote, options).map(|sdp| sdp.expose().clone()).unwrap_or_default()
}

/// Every line is one that `sdp::answer` writes by itself.
fn assert_clean(sdp: &str) {
    const STARTS: [&str; 28] = [
        "v=0",
        "o=- 1 1 ",
        "s=-",
        "t=0 0",
        "c=IN IP4 0.0.0.0",
        "m=audio ",
        "m=video ",
        "m=application ",
        "a=group:BUNDLE ",
        "a=ice-lite",
        "a=ice-options:trickle",
        "a=msid-semantic:WMS *",
        "a=rtcp:9 ",
        "a=rtcp-mux",
        "a=rtcp-rsize",
        "a=mid:",
        "a=ice-ufrag:",
        "a=ice-pwd:",
        "a=fingerprint:sha-256 ",
        "a=setup:active",
        "a=candidate:",
        "a=recvonly",
        "a=rtpmap:",
        "a=fmtp:",
        "a=rtcp-fb:",
        "a=extmap:",
        "a=sctp-port:5000",
        "a=max-message-size:",
    ];
    for line in sdp.split_terminator("\r\n") {
        assert!(line.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{line:?}");
        assert!(line == "a=inactive" || STARTS.iter().any(|start| line.starts_with(start)), "{line:?}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,200}") {
        let _ = Answer::parse(&text); // Only the absence of a panic matters.
    }

    #[test]
    fn no_json_panics_or_injects(json in any_json()) {
        if let Ok(Answer::WebRtc(remote)) = Answer::parse(&json.to_string()) {
            assert_clean(&sdp_of(&remote));
        }
    }

    #[test]
    fn no_changed_answer_panics_or_injects(
        file in prop::sample::select(vec!["answer-webrtc.json", "answer-ugly.json", "answer-minimal.json"]),
        changes in prop::collection::vec((0..150_usize, any_json()), 1..4),
    ) {
        let mut tree: Value = serde_json::from_str(&golden(file)).unwrap();
        for (mut nth, value) in changes {
            replace_nth(&mut tree, &mut nth, &value);
        }
        if let Ok(Answer::WebRtc(remote)) = Answer::parse(&tree.to_string()) {
            assert_clean(&sdp_of(&remote));
        }
    }

    #[test]
    fn no_string_of_an_answer_can_end_a_line(nth in 0..150_usize, breaks in "[\r\n\t\0\u{7f}\u{85}]a=x:1") {
        let mut tree: Value = serde_json::from_str(&golden("answer-ugly.json")).unwrap();
        let mut nth = nth;
        replace_nth(&mut tree, &mut nth, &json!(format!("x{breaks}")));
        if let Ok(Answer::WebRtc(remote)) = Answer::parse(&tree.to_string()) {
            assert_clean(&sdp_of(&remote));
        }
    }
}
