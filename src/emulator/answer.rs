//! What the server answers to a join, exactly in the shape that Telegram's answers have:
//! candidate values are strings, absent codec parameters are an empty *array*, VP8's
//! parameter key is literally `fmtp`, H.264 comes without parameters.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::payload::Setup;
use crate::secret::Secret;

/// Extension ids are fixed; clients write by id without looking at the answer.
pub(super) const AUDIO_LEVEL_ID: u8 = 1;
/// `abs-send-time`.
pub(super) const ABS_SEND_TIME_ID: u8 = 2;
/// `transport-wide-cc`.
pub(super) const TRANSPORT_CC_ID: u8 = 3;
/// 3GPP CVO.
pub(super) const ORIENTATION_ID: u8 = 13;

const AUDIO_LEVEL_URI: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
const ABS_SEND_TIME_URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
const TRANSPORT_CC_URI: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
const ORIENTATION_URI: &str = "urn:3gpp:video-orientation";

/// A host candidate's priority: the highest that still fits into an int32, which one client needs.
const CANDIDATE_PRIORITY: u32 = 2_130_706_431;

/// What differs from one join to the next.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) candidates: &'a [SocketAddr],
    pub(super) ufrag: &'a str,
    pub(super) pwd: &'a Secret<String>,
    /// sha-256, as in SDP.
    pub(super) fingerprint: &'a str,
    pub(super) setup: Setup,
    pub(super) endpoint: &'a str,
    pub(super) server_source: i32,
    /// H.264 is listed.
    pub(super) h264: bool,
}

impl Answer<'_> {
    /// The text of `updateGroupCallConnection.params`.
    pub(super) fn to_json(&self) -> String {
        let candidates: Vec<Value> =
            self.candidates.iter().enumerate().map(|(idx, addr)| candidate(idx, addr)).collect();
        let setup = match self.setup {
            Setup::Active => "active",
            Setup::Passive => "passive",
        };
        let mut codecs = vec![
            video_codec(100, "VP8", json!({ "fmtp": "x-google-start-bitrate=800" })),
            rtx(101, 100),
            video_codec(102, "VP9", json!([])),
            rtx(103, 102),
        ];
        if self.h264 {
            codecs.extend([video_codec(104, "H264", json!([])), rtx(105, 104)]);
        }
        json!({
            "transport": {
                "candidates": candidates,
                "xmlns": "urn:xmpp:jingle:transports:ice-udp:1",
                "ufrag": self.ufrag,
                "pwd": self.pwd.expose(),
                "rtcp-mux": true,
                "fingerprints": [{ "fingerprint": self.fingerprint, "setup": setup, "hash": "sha-256" }],
            },
            "audio": {
                "payload-types": [
                    { "id": 111, "name": "opus", "clockrate": 48_000, "channels": 2,
                      "parameters": { "minptime": 10, "useinbandfec": 1 }, "rtcp-fbs": [{ "type": "transport-cc" }] },
                    { "id": 126, "name": "telephone-event", "clockrate": 8000, "channels": 1 },
                ],
                "rtp-hdrexts": [
                    { "id": AUDIO_LEVEL_ID, "uri": AUDIO_LEVEL_URI },
                    { "id": ABS_SEND_TIME_ID, "uri": ABS_SEND_TIME_URI },
                    { "id": TRANSPORT_CC_ID, "uri": TRANSPORT_CC_URI },
                ],
            },
            "video": {
                "endpoint": self.endpoint,
                "payload-types": codecs,
                "rtp-hdrexts": [
                    { "id": ABS_SEND_TIME_ID, "uri": ABS_SEND_TIME_URI },
                    { "id": TRANSPORT_CC_ID, "uri": TRANSPORT_CC_URI },
                    { "id": ORIENTATION_ID, "uri": ORIENTATION_URI },
                ],
                "server_sources": [self.server_source],
            },
        })
        .to_string()
    }
}

fn candidate(idx: usize, addr: &SocketAddr) -> Value {
    json!({
        "generation": "0",
        "component": "1",
        "protocol": "udp",
        "port": addr.port().to_string(),
        "ip": addr.ip().to_string(),
        "foundation": (idx + 1).to_string(),
        "id": format!("1f00aa1{idx:x}baff65700000001c"),
        "priority": CANDIDATE_PRIORITY.to_string(),
        "type": "host",
        "network": "0",
    })
}

fn video_codec(id: u8, name: &str, parameters: Value) -> Value {
    let feedback = json!([
        { "type": "goog-remb" }, { "type": "transport-cc" }, { "type": "ccm", "subtype": "fir" },
        { "type": "nack" }, { "type": "nack", "subtype": "pli" },
    ]);
    json!({ "id": id, "name": name, "clockrate": 90_000, "channels": 1, "parameters": parameters, "rtcp-fbs": feedback })
}

fn rtx(id: u8, apt: u8) -> Value {
    json!({ "id": id, "name": "rtx", "clockrate": 90_000, "parameters": { "apt": apt.to_string() } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Value {
        let answer = Answer {
            candidates: &["127.0.0.1:32001".parse().expect("an address")],
            ufrag: "c4t9s1hq2m7010",
            pwd: &Secret::new("5a0p7q2m9c1x3z8v6b4n2k0j1h".into()),
            fingerprint: "A1:0B",
            setup: Setup::Active,
            endpoint: "9c04d1e7720ab35f",
            server_source: 1_017_713_002,
            h264: true,
        };
        serde_json::from_str(&answer.to_json()).expect("JSON")
    }

    #[test]
    fn candidates_have_the_ten_mandatory_strings() {
        let answer = example();
        let candidate = answer["transport"]["candidates"][0].as_object().expect("an object");
        let keys = [
            "generation",
            "component",
            "protocol",
            "port",
            "ip",
            "foundation",
            "id",
            "priority",
            "type",
            "network",
        ];
        assert_eq!(candidate.len(), keys.len());
        for key in keys {
            assert!(candidate[key].is_string(), "{key}");
        }
        assert!(candidate["priority"].as_str().expect("a string").parse::<i32>().is_ok());
    }

    #[test]
    fn payload_types_stand_in_the_order_that_clients_number_them() {
        let answer = example();
        let list = answer["video"]["payload-types"].as_array().expect("an array");
        let names: Vec<_> = list
            .iter()
            .map(|pt| (pt["id"].as_u64().expect("id"), pt["name"].as_str().expect("name")))
            .collect();
        assert_eq!(
            names,
            [(100, "VP8"), (101, "rtx"), (102, "VP9"), (103, "rtx"), (104, "H264"), (105, "rtx")]
        );
        assert_eq!(list[4]["parameters"], json!([]));
        assert_eq!(list[0]["parameters"]["fmtp"], "x-google-start-bitrate=800");
        assert_eq!(list[5]["parameters"]["apt"], "104");
    }

    #[test]
    fn extension_ids_are_the_fixed_ones() {
        let answer = example();
        let ids = |kind: &str| -> Vec<u64> {
            let list = answer[kind]["rtp-hdrexts"].as_array().expect("an array");
            list.iter().map(|ext| ext["id"].as_u64().expect("id")).collect()
        };
        assert_eq!(ids("audio"), [1, 2, 3]);
        assert_eq!(ids("video"), [2, 3, 13]);
        assert!(answer["video"]["server_sources"][0].is_i64());
    }
}
