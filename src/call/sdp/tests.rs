use std::path::PathBuf;

use expect_test::{ExpectFile, expect, expect_file};
use proptest::prelude::*;

use super::*;
use crate::call::params::Answer;

/// An offer with the attributes that matter, credentials once at each level that allows them.
const OFFER: &str = "v=0\r\n\
    o=- 4711 1 IN IP4 0.0.0.0\r\n\
    s=-\r\n\
    t=0 0\r\n\
    a=fingerprint:sha-256 03:0A:11:18:1F:26:2D:34:3B:42:49:50:57:5E:65:6C:73:7A:81:88:8F:96:9D:A4:AB:B2:B9:C0:C7:CE:D5:DC\r\n\
    a=group:BUNDLE a v d\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
    a=setup:actpass\r\n\
    a=mid:a\r\n\
    a=ice-ufrag:pW3e\r\n\
    a=ice-pwd:Lq8vT1nZ6yC4hD0sXr5mJb2K\r\n\
    a=ssrc:3410846965 cname:cname\r\n\
    a=ssrc:3410846965 msid:a a\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 104 105\r\n\
    a=mid:v\r\n\
    a=ice-ufrag:pW3e\r\n\
    a=ice-pwd:Lq8vT1nZ6yC4hD0sXr5mJb2K\r\n\
    a=ssrc-group:FID 3410846966 3410846967\r\n\
    a=ssrc:3410846966 cname:cname\r\n\
    a=ssrc:3410846967 cname:cname\r\n\
    m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n\
    a=mid:d\r\n\
    a=sctp-port:5000\r\n";

fn remote(golden: &str) -> RemoteParams {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/join").join(golden);
    let json = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    match Answer::parse(&json) {
        Ok(Answer::WebRtc(remote)) => *remote,
        other => panic!("{other:?}"),
    }
}

fn check(golden: &str, our_setup: Setup, ipv6: bool, expected: ExpectFile) {
    let offer = OfferView::parse(OFFER).unwrap();
    let sdp = answer(&offer, &remote(golden), AnswerOptions { our_setup, ipv6 }).unwrap();
    let lines = sdp.expose().strip_suffix("\r\n").expect("the last line is ended, too");
    assert_eq!(lines.matches('\r').count(), lines.matches('\n').count());
    expected.assert_eq(&sdp.expose().replace("\r\n", "\n"));
}

#[test]
fn answers_are_as_recorded() {
    check(
        "answer-webrtc.json",
        Setup::Passive,
        false,
        expect_file!["../../../tests/golden/join/answer-webrtc.sdp"],
    );
    check(
        "answer-ugly.json",
        Setup::Active,
        true,
        expect_file!["../../../tests/golden/join/answer-ugly-active-ipv6.sdp"],
    );
    check(
        "answer-without-h264.json",
        Setup::Passive,
        true,
        expect_file!["../../../tests/golden/join/answer-without-h264-ipv6.sdp"],
    );
}

#[test]
fn the_role_never_comes_from_the_server() {
    let offer = OfferView::parse(OFFER).unwrap();
    for (ours, theirs) in [(Setup::Passive, "a=setup:active"), (Setup::Active, "a=setup:passive")] {
        // The recorded server says `active` in both cases.
        let options = AnswerOptions { our_setup: ours, ipv6: false };
        let sdp = answer(&offer, &remote("answer-webrtc.json"), options).unwrap();
        let setups: Vec<_> = sdp.expose().lines().filter(|line| line.starts_with("a=setup:")).collect();
        assert_eq!(setups, [theirs; 3]);
    }
}

#[test]
fn an_answer_has_the_sections_of_the_offer() {
    let mut offer = OfferView::parse(OFFER).unwrap();
    offer.sections.remove(1);
    let options = AnswerOptions { our_setup: Setup::Passive, ipv6: false };
    let sdp = answer(&offer, &remote("answer-minimal.json"), options).unwrap();
    let shape: Vec<_> =
        sdp.expose().lines().filter(|line| line.starts_with("m=") || line.contains("BUNDLE")).collect();
    expect![[r#"
        [
            "a=group:BUNDLE a d",
            "m=audio 9 UDP/TLS/RTP/SAVPF 111",
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        ]
    "#]]
    .assert_debug_eq(&shape);
}

#[test]
fn an_answer_needs_opus_and_an_address_of_the_wanted_kind() {
    let offer = OfferView::parse(OFFER).unwrap();
    let options = AnswerOptions { our_setup: Setup::Passive, ipv6: false };
    let mut mute = remote("answer-webrtc.json");
    mute.audio = None;
    expect!["the server takes no Opus audio (it lists nothing)"]
        .assert_eq(&answer(&offer, &mute, options).unwrap_err().to_string());
    let mut v6 = remote("answer-webrtc.json");
    v6.transport.candidates.retain(|candidate| candidate.ip.is_ipv6());
    expect!["the answer to the join has no usable candidate (transport.candidates[0]: is IPv6, which is switched off)"].assert_eq(&answer(&offer, &v6, options).unwrap_err().to_string());
    assert!(answer(&offer, &v6, AnswerOptions { ipv6: true, ..options }).is_ok());
}

#[test]
fn an_offer_is_mined_for_the_join() {
    let offer = OfferView::parse(OFFER).unwrap();
    let mids: Vec<_> = offer.sections.iter().map(|section| (section.mid.as_str(), section.kind)).collect();
    assert_eq!(mids, [("a", SectionKind::Audio), ("v", SectionKind::Video), ("d", SectionKind::Application)]);
    let join = offer.join_params(Setup::Passive).unwrap();
    assert_eq!(
        (join.ice_ufrag.as_str(), join.ice_pwd.expose().as_str()),
        ("pW3e", "Lq8vT1nZ6yC4hD0sXr5mJb2K")
    );
    assert_eq!(join.ssrc, 3_410_846_965);
    assert_eq!(join.video, Some(VideoSsrcs { ssrc: 3_410_846_966, rtx_ssrc: 3_410_846_967 }));
    assert!(join.to_json().expose().contains(r#""ssrc":-884120331"#));
    assert!(!format!("{offer:?}").contains("Lq8v"), "the password is printed");
}

#[test]
fn broken_offers_say_what_is_missing() {
    let without = |part: &str| {
        let lines: Vec<_> = OFFER.lines().filter(|line| !line.contains(part)).collect();
        OfferView::parse(&lines.join("\r\n"))
    };
    assert_eq!(without("ice-ufrag").unwrap_err().to_string(), "the local offer has no ICE user name");
    assert_eq!(without("ice-pwd"), Err(OfferError::Missing("ICE password")));
    assert_eq!(without("fingerprint"), Err(OfferError::Missing("fingerprint")));
    assert_eq!(without("mid:v"), Err(OfferError::Missing("mid")));
    assert_eq!(OfferView::parse(&OFFER.replace("sha-256", "sha-1")), Err(FingerprintError.into()));
    assert_eq!(
        OfferView::parse(&OFFER.replace("m=video", "m=text")),
        Err(OfferError::UnknownSection("text".into()))
    );
    assert!(matches!(OfferView::parse(&OFFER.replace("ssrc:34", "ssrc:x")), Err(OfferError::Ssrc(_))));
    let silent = without("a=ssrc:").unwrap();
    assert_eq!(silent.join_params(Setup::Passive), Err(OfferError::Missing("audio SSRC")));
}

proptest! {
    #[test]
    fn no_offer_panics(lines in prop::collection::vec("(m=|a=)?(audio|mid:|ssrc:|ssrc-group:FID |ice-pwd:)?.{0,12}", 0..12)) {
        let _ = OfferView::parse(&lines.join("\r\n")); // Only the absence of a panic matters.
    }
}
