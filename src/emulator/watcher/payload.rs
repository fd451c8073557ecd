//! The join as the watcher speaks it: what it sends as `params`, what it takes from the answer.
//!
//! Written for the watcher alone. The call has its own code for the same JSON, so a mistake
//! there meets a second opinion here instead of an echo of itself.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};
use str0m::IceCreds;
use str0m::crypto::Fingerprint;

use super::WatchError;
use crate::secret::Secret;

/// More candidates than this are ignored: the dialect has two, one for each address family.
const MAX_CANDIDATES: usize = 16;

/// Payload types as the dialect numbers them; every client sends with these.
pub(super) const PT_OPUS: u8 = 111;
/// VP8 and its RTX.
pub(super) const PT_VP8: (u8, u8) = (100, 101);
/// VP9 and its RTX.
pub(super) const PT_VP9: (u8, u8) = (102, 103);
/// H.264 and its RTX.
pub(super) const PT_H264: (u8, u8) = (104, 105);

/// The header extensions and their fixed ids.
const EXTENSIONS: [(u8, &str); 4] = [
    (1, "urn:ietf:params:rtp-hdrext:ssrc-audio-level"),
    (2, "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"),
    (3, "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"),
    (13, "urn:3gpp:video-orientation"),
];

/// The watcher's `params`: a listener without video.
pub(super) fn join_params(
    source: i32,
    creds: &IceCreds,
    fingerprint: &Fingerprint,
    active: bool,
) -> Secret<String> {
    let digest: Vec<String> = fingerprint.bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    let params = json!({
        "ssrc": source,
        "ufrag": creds.ufrag,
        "pwd": creds.pass,
        "fingerprints": [{
            "hash": fingerprint.hash_func,
            "setup": if active { "active" } else { "passive" },
            "fingerprint": digest.join(":"),
        }],
        "ssrc-groups": [],
    });
    Secret::new(params.to_string())
}

/// What the watcher needs of a WebRTC answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) ufrag: String,
    pub(super) pwd: Secret<String>,
    pub(super) fingerprint: Fingerprint,
    pub(super) candidates: Vec<SocketAddr>,
}

impl Answer {
    /// Reads an answer and insists on the numbers of the dialect: what a strict client would
    /// refuse must not pass here because the watcher is lenient.
    pub(super) fn parse(text: &str) -> Result<Self, WatchError> {
        let answer: Value = serde_json::from_str(text).map_err(WatchError::AnswerJson)?;
        if answer["stream"].as_bool() == Some(true) {
            return Err(WatchError::Answer("it is a broadcast (`stream`), not a WebRTC connection"));
        }
        let transport = &answer["transport"];
        let ufrag = text_of(&transport["ufrag"], "`transport.ufrag` is missing")?;
        let pwd = text_of(&transport["pwd"], "`transport.pwd` is missing")?;
        let first = &transport["fingerprints"][0];
        let hash_func = text_of(&first["hash"], "the fingerprint has no `hash`")?;
        let digest = text_of(&first["fingerprint"], "`transport.fingerprints` is empty")?;
        text_of(&first["setup"], "the fingerprint has no `setup`")?;
        let bytes = digest
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16))
            .collect::<Result<Vec<u8>, _>>()
            .map_err(|_| WatchError::Answer("the fingerprint is not hexadecimal"))?;
        let candidates = transport["candidates"]
            .as_array()
            .map(|list| list.iter().take(MAX_CANDIDATES).filter_map(candidate).collect::<Vec<_>>())
            .unwrap_or_default();
        if candidates.is_empty() {
            return Err(WatchError::Answer("it has no usable UDP host candidate"));
        }
        check_numbers(&answer)?;
        Ok(Self { ufrag, pwd: Secret::new(pwd), fingerprint: Fingerprint { hash_func, bytes }, candidates })
    }
}

/// One candidate; every value must be a string, numbers too. `None` for what cannot be used.
fn candidate(candidate: &Value) -> Option<SocketAddr> {
    let text = |key: &str| candidate[key].as_str();
    for key in ["generation", "component", "foundation", "id", "priority", "network"] {
        text(key)?;
    }
    if text("protocol") != Some("udp") || text("type") != Some("host") {
        return None;
    }
    let ip: IpAddr = text("ip")?.parse().ok()?;
    let port: u16 = text("port")?.parse().ok().filter(|port| *port != 0)?;
    Some(SocketAddr::new(ip, port))
}

fn check_numbers(answer: &Value) -> Result<(), WatchError> {
    let video = PT_H264;
    let codecs = [
        ("audio", "opus", PT_OPUS, 48_000),
        ("video", "H264", video.0, 90_000),
        ("video", "rtx", video.1, 90_000),
    ];
    for (section, name, id, clock_rate) in codecs {
        let listed = answer[section]["payload-types"].as_array().is_some_and(|types| {
            types.iter().any(|t| {
                t["name"] == name && t["id"].as_u64() == Some(id.into()) && t["clockrate"] == clock_rate
            })
        });
        if !listed {
            return Err(WatchError::Answer(
                "Opus 111, H264 104 or its rtx 105 is not among the payload types",
            ));
        }
    }
    for (id, uri) in EXTENSIONS {
        let listed = ["audio", "video"].iter().any(|section| {
            answer[*section]["rtp-hdrexts"].as_array().is_some_and(|list| {
                list.iter().any(|e| e["uri"] == uri && e["id"].as_u64() == Some(id.into()))
            })
        });
        if !listed {
            return Err(WatchError::Answer(
                "a header extension is missing or has another id than 1, 2, 3, 13",
            ));
        }
    }
    Ok(())
}

fn text_of(value: &Value, missing: &'static str) -> Result<String, WatchError> {
    value.as_str().map(str::to_owned).ok_or(WatchError::Answer(missing))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An answer as the dialect has it, for the given transport.
    pub(in super::super) fn answer(
        creds: &IceCreds,
        fingerprint: &Fingerprint,
        port: u16,
        setup: &str,
    ) -> Value {
        let digest: Vec<String> = fingerprint.bytes.iter().map(|b| format!("{b:02X}")).collect();
        json!({
            "transport": {
                "candidates": [{
                    "generation": "0", "component": "1", "protocol": "udp", "port": port.to_string(),
                    "ip": "127.0.0.1", "foundation": "1", "id": "1f00", "priority": "2130706431",
                    "type": "host", "network": "0"
                }],
                "xmlns": "urn:xmpp:jingle:transports:ice-udp:1",
                "ufrag": creds.ufrag, "pwd": creds.pass, "rtcp-mux": true,
                "fingerprints": [{"fingerprint": digest.join(":"), "setup": setup, "hash": "sha-256"}]
            },
            "audio": {
                "payload-types": [{"id": 111, "name": "opus", "clockrate": 48000, "channels": 2,
                    "parameters": {"minptime": 10, "useinbandfec": 1}, "rtcp-fbs": [{"type": "transport-cc"}]}],
                "rtp-hdrexts": [{"id": 1, "uri": EXTENSIONS[0].1}, {"id": 2, "uri": EXTENSIONS[1].1},
                    {"id": 3, "uri": EXTENSIONS[2].1}]
            },
            "video": {
                "endpoint": "9c04d1e7720ab35f",
                "payload-types": [
                    {"id": 104, "name": "H264", "clockrate": 90000, "parameters": []},
                    {"id": 105, "name": "rtx", "clockrate": 90000, "parameters": {"apt": "104"}}],
                "rtp-hdrexts": [{"id": 2, "uri": EXTENSIONS[1].1}, {"id": 3, "uri": EXTENSIONS[2].1},
                    {"id": 13, "uri": EXTENSIONS[3].1}],
                "server_sources": [1017713002]
            }
        })
    }

    fn sample() -> Value {
        let creds = IceCreds { ufrag: "c4t9".into(), pass: "5a0p7q2m9c1x3z8v6b4n2k".into() };
        let fingerprint = Fingerprint { hash_func: "sha-256".into(), bytes: vec![0xA1; 32] };
        answer(&creds, &fingerprint, 32_001, "passive")
    }

    #[test]
    fn says_what_a_listener_says() {
        let creds = IceCreds { ufrag: "k8Qz".into(), pass: "Y1nVb0oXw7c3Lr5TgJ2uKeHs".into() };
        let fingerprint = Fingerprint { hash_func: "sha-256".into(), bytes: vec![0x3B, 0x91, 0x0C] };
        let params: Value =
            serde_json::from_str(join_params(7, &creds, &fingerprint, false).expose()).unwrap();
        assert_eq!(
            params,
            json!({
                "ssrc": 7, "ufrag": "k8Qz", "pwd": "Y1nVb0oXw7c3Lr5TgJ2uKeHs", "ssrc-groups": [],
                "fingerprints": [{"hash": "sha-256", "setup": "passive", "fingerprint": "3B:91:0C"}],
            })
        );
    }

    #[test]
    fn reads_an_answer() {
        let answer = Answer::parse(&sample().to_string()).unwrap();
        assert_eq!(answer.candidates, [SocketAddr::from(([127, 0, 0, 1], 32_001))]);
        assert_eq!(answer.fingerprint.bytes.len(), 32);
        assert_eq!(answer.pwd.expose(), "5a0p7q2m9c1x3z8v6b4n2k");
    }

    #[test]
    fn refuses_what_a_strict_client_refuses() {
        let breakages: [fn(&mut Value); 9] = [
            |a| a["transport"] = Value::Null,
            |a| a["stream"] = true.into(),
            |a| a["transport"]["candidates"] = json!([]),
            |a| a["transport"]["candidates"][0]["port"] = 32_001.into(),
            |a| a["transport"]["candidates"][0]["network"] = Value::Null,
            |a| a["transport"]["fingerprints"][0]["fingerprint"] = "A1:ZZ".into(),
            |a| a["transport"]["fingerprints"][0]["setup"] = Value::Null,
            |a| a["video"]["payload-types"][0]["id"] = 102.into(),
            |a| a["video"]["rtp-hdrexts"][2]["id"] = 4.into(),
        ];
        for (n, breakage) in breakages.into_iter().enumerate() {
            let mut answer = sample();
            breakage(&mut answer);
            assert!(Answer::parse(&answer.to_string()).is_err(), "breakage {n} passed");
        }
        assert!(matches!(Answer::parse("not json"), Err(WatchError::AnswerJson(_))));
        assert!(Answer::parse("{}").is_err());
        assert!(Answer::parse("[[[[").is_err());
    }
}
