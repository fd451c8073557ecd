//! The lines against the documented ones.

use serde_json::json;

use super::*;
use crate::call::signaling::{
    Join, ParticipantRow, ParticipantsPage, Reply, SignalingError, Update, VideoRow,
};

fn line(out: &Out) -> Value {
    serde_json::to_value(out).expect("our own lines serialize")
}

#[test]
fn lines_out_are_as_documented() {
    assert_eq!(line(&Out::hello()), json!({"type":"hello","protocol":1,"version":env!("CARGO_PKG_VERSION")}));
    let join = Join {
        attempt: 1,
        source: 1_203_778_145,
        params: Secret::new("{}".into()),
        muted: false,
        video_stopped: false,
        join_as: None,
        invite_hash: None,
    };
    let request = Request { id: 9, method: Method::Join(join) };
    assert_eq!(
        line(&Out::request(1, "a".into(), request)),
        json!({"type":"request","id":1,"chat":"a","method":"join","attempt":1,"source":1_203_778_145,
               "params":"{}","muted":false,"video_stopped":false,"join_as":null,"invite_hash":null})
    );
    let event = Event::Status { status: "left", reason: Some("command"), error: None };
    assert_eq!(
        line(&Out::Event { t_ms: 12, chat: "a".into(), event }),
        json!({"type":"event","t_ms":12,"chat":"a","event":"status","status":"left","reason":"command","error":null})
    );
    assert_eq!(line(&Out::Ack { reference: Some(json!("7")) }), json!({"type":"ack","ref":"7"}));
}

#[test]
fn lines_in_are_read() {
    let read = |line: &str| read(line.as_bytes()).expect("a good line").expect("not empty");
    assert_eq!(
        read(r#"{"type":"reply","id":1,"params":"{}"}"#),
        In::Reply { id: 1, result: Ok(Reply::Joined { params: Secret::new("{}".into()) }) }
    );
    assert_eq!(
        read(r#"{"type":"reply","id":3,"sources":[1203778145],"unknown":1}"#),
        In::Reply { id: 3, result: Ok(Reply::Sources(vec![1_203_778_145])) }
    );
    assert_eq!(read(r#"{"type":"reply","id":2}"#), In::Reply { id: 2, result: Ok(Reply::Done) });
    assert_eq!(
        read(r#"{"type":"reply","id":1,"error":{"code":400,"message":"GROUPCALL_FORBIDDEN"}}"#),
        In::Reply {
            id: 1,
            result: Err(SignalingError::Rpc { code: 400, message: "GROUPCALL_FORBIDDEN".into() })
        }
    );
    assert_eq!(
        read(r#"{"type":"update","chat":"a","discarded":true}"#),
        In::Update { chat: "a".into(), update: Update::Discarded }
    );
    assert_eq!(
        read(r#"{"type":"command","ref":"8","chat":"a","command":"seek","position_ms":30000}"#),
        In::Command {
            reference: Some(json!("8")),
            chat: Some("a".into()),
            command: Command::Seek { position_ms: 30_000 }
        }
    );
}

#[test]
fn a_bad_line_is_answered_with_its_reference() {
    for (line, code) in [
        ("{", "bad_json"),
        ("[1]", "bad_json"),
        (r#"{"ref":"7"}"#, "unknown_type"),
        (r#"{"ref":"7","type":"dance"}"#, "unknown_type"),
        (r#"{"ref":"7","type":"reply"}"#, "bad_field"),
        (r#"{"ref":"7","type":"update","chat":"a"}"#, "bad_field"),
        (r#"{"ref":"7","type":"command","command":"seek"}"#, "bad_command"),
        (r#"{"ref":"7","type":"command","command":"dance"}"#, "bad_command"),
    ] {
        let rejected = read(line.as_bytes()).expect_err(line);
        assert_eq!(rejected.code, code, "{line}");
        if line.contains("ref") {
            assert_eq!(rejected.reference, Some(json!("7")), "{line}");
        }
    }
    assert_eq!(read(b"  "), Ok(None));
}

/// A row as a program prints it that has every field, and those not set as null.
fn dumped_row() -> Value {
    json!({
        "_": "groupCallParticipant", "peer": { "user_id": 7, "_": "peerUser" }, "date": 1_700_000_000,
        "source": 5, "self": true, "muted": null, "can_self_unmute": null, "left": null,
        "just_joined": null, "versioned": null, "min": null, "video_joined": null, "volume": null,
        "about": null, "raise_hand_rating": null, "presentation": null,
        "video": { "paused": null, "endpoint": "x", "source_groups": [
            { "semantics": "SIM", "sources": [1, 2] }, { "semantics": null, "sources": null }
        ], "audio_source": null },
    })
}

#[test]
fn null_means_absent_and_a_peer_may_be_anything() {
    let line = json!({
        "type": "update", "ref": null, "chat": "a", "params": null, "attempt": null, "presentation": null,
        "participants": [dumped_row(), { "peer": "b" }, { "peer": null }, { "peer": 12 }], "version": null,
        "call": null, "discarded": null
    });
    let read_line =
        |line: &Value| read(line.to_string().as_bytes()).expect("a good line").expect("not empty");
    let In::Update { update: Update::Participants { participants, version: 0 }, .. } = read_line(&line)
    else {
        panic!("rows");
    };
    let peers: Vec<&str> = participants.iter().map(|row| row.peer.as_str()).collect();
    assert_eq!(peers, [r#"{"_":"peerUser","user_id":7}"#, "b", "", "12"]);
    let video = participants[0].video.clone().expect("a camera");
    let (dumped, known) = (&participants[0], VideoRow { endpoint: "x".into(), ..VideoRow::default() });
    assert_eq!(VideoRow { source_groups: Vec::new(), ..video.clone() }, known);
    assert_eq!((video.source_groups.len(), &video.source_groups[0].sources), (2, &vec![1, 2]));
    assert!(dumped.is_self && dumped.source == 5 && !dumped.muted && dumped.presentation.is_none());
    assert_eq!(participants[1], ParticipantRow { peer: "b".into(), ..ParticipantRow::default() });

    let line = json!({
        "type": "reply", "id": 4, "params": null, "sources": null, "participants": [dumped_row()],
        "version": null, "next_offset": null, "error": null
    });
    let page =
        ParticipantsPage { participants: vec![dumped.clone()], version: 0, next_offset: String::new() };
    assert_eq!(read_line(&line), In::Reply { id: 4, result: Ok(Reply::Participants(page)) });
    let line = json!({ "type": "command", "ref": { "a": null }, "chat": null, "command": "play",
                       "source": "x", "now": null });
    assert_eq!(
        read_line(&line),
        In::Command {
            reference: Some(json!({ "a": null })),
            chat: None,
            command: Command::Play { source: "x".into(), now: false }
        }
    );
}

#[test]
fn a_bad_field_is_named_with_the_line_that_it_is_in() {
    for (line, words) in [
        (
            r#"{"type":"reply","id":4,"participants":[{},{"muted":7}]}"#,
            ["request 4", "participants[1].muted"],
        ),
        (r#"{"type":"reply","id":4,"sources":[1,null]}"#, ["request 4", "sources[1]"]),
        (r#"{"type":"reply","id":1,"params":{"a":1}}"#, ["request 1", "params"]),
        (r#"{"type":"reply","id":"x"}"#, ["reply", "id"]),
        (r#"{"type":"update","chat":"a","participants":[{"source":5000000000}]}"#, ["update", "[0].source"]),
        (r#"{"type":"update","participants":[]}"#, ["update", "`chat`"]),
        (r#"{"type":"command","chat":"a","command":"seek","position_ms":"x"}"#, ["command", "position_ms"]),
        (r#"{"type":"command","chat":7,"command":"pause"}"#, ["chat", "string"]),
        (r#"{"type":"update","chat":["a"],"discarded":true}"#, ["chat", "string"]),
    ] {
        let rejected = read(line.as_bytes()).expect_err(line);
        assert_eq!(rejected.code, "bad_field", "{line}");
        for word in words {
            assert!(rejected.message.contains(word), "{line}: {}", rejected.message);
        }
    }
}

#[test]
fn what_is_no_utf8_is_not_guessed_at() {
    let rejected =
        read(b"{\"type\":\"command\",\"chat\":\"\xff\",\"command\":\"pause\"}").expect_err("no text");
    assert_eq!(
        (rejected.code, rejected.message.contains("UTF-8")),
        ("bad_json", true),
        "{}",
        rejected.message
    );
}
