//! `telecast doctor`: what it finds, and what it says to do.

use std::collections::BTreeMap;

use serde_json::Value;
use telecast::emulator::mtproto::NewCall;
use telecast::emulator::{EmulatorOptions, Weather};

use super::desk::{Desk, told};

/// What `doctor --json` found, by check.
fn findings(desk: &Desk, args: &[&str]) -> (Option<i32>, BTreeMap<String, Value>) {
    let (code, out, said) = desk.run(&[&["doctor", "--json"], args].concat());
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out} {said}"));
    assert_eq!(report["ok"], Value::from(code == Some(0)), "{report}");
    let by_check = |finding: &Value| (finding["check"].as_str().unwrap().to_owned(), finding.clone());
    (code, report["findings"].as_array().unwrap().iter().map(by_check).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_what_is_wrong_and_the_remedy() {
    let desk = Desk::new().await;
    let state =
        |found: &BTreeMap<String, Value>, check: &str| found[check]["state"].as_str().unwrap().to_owned();
    let (code, found) = findings(&desk, &[]);
    assert_eq!((code, &state(&found, "session")[..]), (Some(4), "problem"), "{found:?}");
    assert!(found["session"]["remedy"].as_str().unwrap().contains("telecast login"));
    assert_eq!(state(&found, "clock"), "skipped");

    desk.session(true);
    desk.chat("quiet", None);
    desk.chat("lively", Some(NewCall::default()));
    desk.chat("strict", Some(NewCall { join_muted: true, ..NewCall::default() }));
    desk.chat("later", Some(NewCall { schedule_date: Some(i32::MAX), ..NewCall::default() }));
    desk.chat("stream", Some(NewCall { rtmp: true, ..NewCall::default() }));
    let (code, found) = findings(&desk, &[]);
    assert_eq!(code, Some(0), "{found:?}");
    for check in ["configuration", "credentials", "session file", "session", "clock"] {
        assert_eq!(state(&found, check), "ok", "{found:?}");
    }
    for (chat, exit, check, expected, words) in [
        ("@lively", 0, "video chat", "ok", ""),
        ("@later", 0, "video chat", "ok", ""),
        ("@strict", 0, "video chat", "warning", "speaker link"),
        ("@quiet", 5, "video chat", "problem", "ask an admin"),
        ("@stream", 5, "video chat", "problem", "RTMP address"),
        ("@nobody", 5, "chat", "problem", "telecast chats"),
        ("nobody", 2, "chat", "problem", "t.me link"),
    ] {
        let (code, found) = findings(&desk, &["--chat", chat]);
        assert_eq!((code, &state(&found, check)[..]), (Some(exit), expected), "{chat}: {found:?}");
        assert!(found[check]["remedy"].as_str().unwrap_or_default().contains(words), "{chat}: {found:?}");
    }
    let (code, found) = findings(&desk, &["--chat", "@lively", "--join"]);
    assert_eq!((code, &state(&found, "media")[..]), (Some(0), "ok"), "{found:?}");
    assert_eq!((desk.door.n_calls("phone.joinGroupCall"), desk.door.n_calls("phone.leaveGroupCall")), (1, 1));
    // A clock that is late by an hour: everything works, and the doctor says so.
    desk.door.set_clock(4000);
    let (code, found) = findings(&desk, &["--chat", "@lively", "--join"]);
    assert_eq!((code, &state(&found, "clock")[..]), (Some(0), "warning"), "{found:?}");
    let message = found["clock"]["message"].as_str().unwrap();
    assert!(message.contains(" s behind") && state(&found, "media") == "ok", "{found:?}");
    assert!(found["clock"]["remedy"].as_str().unwrap().contains("set-ntp"), "{found:?}");
    desk.door.set_clock(0);
    // Datagrams that do not come back.
    let deaf = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let (code, found) = findings(&desk, &["--stun", &deaf.local_addr().unwrap().to_string()]);
    assert_eq!((code, &state(&found, "udp")[..]), (Some(0), "warning"), "{found:?}");
    assert!(found["udp"]["remedy"].as_str().unwrap().contains("firewall"), "{found:?}");
    // The form for people.
    let (code, out, said) = desk.run(&["doctor", "--chat", "@quiet"]);
    assert_eq!(code, Some(5), "{said}");
    assert!(out.contains("→ ask an admin") && out.contains("signed in as ann"), "{out}");

    let mut without = desk.command(&["doctor", "--json"]);
    let (code, out, said) = told(without.env_remove("API_ID").output().unwrap());
    assert!(code == Some(3) && out.contains("my.telegram.org"), "{out} {said}");
    let broken = desk.home.path().join("broken.toml");
    std::fs::write(&broken, "api_idd = 1").unwrap();
    let (code, found) = findings(&desk, &["--config", broken.to_str().unwrap()]);
    assert_eq!((code, &state(&found, "configuration")[..]), (Some(3), "problem"), "{found:?}");
    desk.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_a_network_that_lets_no_media_through() {
    let nothing = Some(Weather::parse("loss=100%").unwrap());
    let desk = Desk::on(EmulatorOptions { weather: nothing, ..EmulatorOptions::default() }).await;
    desk.session(true);
    desk.chat("lively", Some(NewCall::default()));
    let (code, found) = findings(&desk, &["--chat", "@lively", "--join"]);
    assert_eq!((code, found["media"]["state"].as_str()), (Some(6), Some("problem")), "{found:?}");
    assert!(found["media"]["remedy"].as_str().unwrap().contains("firewall"), "{found:?}");
    desk.end().await;
}
