//! What a call has counted → the dictionaries of W3C webrtc-stats, as JSON.
//!
//! Names, units and the ids by which they refer to each other are those of the standard; what is
//! ours alone begins with `x_`.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::CallStats;
use crate::call::params::Setup;
use crate::media::Codec;
use crate::peer::PeerStats;
use crate::peer::names::{CHANNEL_LABEL, H264_FMTP};
use crate::rtp::stats::{StreamFormat, StreamStats};

impl CallStats {
    /// `codec`, `outbound-rtp` and `remote-inbound-rtp` of each stream, then `transport`, and
    /// while there is a connection `candidate-pair`, both candidates, and `data-channel`.
    pub fn to_rtc_stats(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for (kind, stream) in [("audio", &self.media.audio), ("video", &self.media.video)] {
            let Some(stream) = stream else { continue };
            all.extend(stream.format.as_ref().map(|format| codec(kind, format)));
            all.push(outbound(kind, stream));
            all.extend(remote_inbound(kind, stream));
        }
        all.push(self.transport());
        if let Some((peer, _)) = &self.connection {
            all.extend(self.pair(peer));
            all.push(data_channel(peer));
        }
        #[expect(clippy::cast_precision_loss, reason = "exact to the microsecond for 200 years")]
        let timestamp = self.at.as_micros() as f64 / 1000.0;
        for dictionary in &mut all {
            dictionary["timestamp"] = json!(timestamp);
        }
        all
    }

    fn transport(&self) -> Value {
        let traffic = self.connection.as_ref().map(|(peer, _)| peer.transport).unwrap_or_default();
        let mut transport = json!({
            "type": "transport",
            "id": "transport",
            "packetsSent": traffic.sent,
            "bytesSent": traffic.bytes_sent,
            "packetsReceived": traffic.received,
            "bytesReceived": traffic.bytes_received,
            "iceRole": "controlling",
            "x_attempts": self.attempts,
            "x_rpcMs": millis(self.milestones.rpc()),
            "x_iceMs": millis(self.milestones.ice()),
            "x_dtlsMs": millis(self.milestones.dtls()),
            "x_dataChannelMs": millis(self.milestones.data_channel()),
            "x_firstRtpMs": millis(self.milestones.first_rtp()),
            "x_firstFeedbackMs": millis(self.milestones.first_feedback()),
            "x_ccPacketsReceived": self.media.transport_packets_received,
            "x_ccPacketsLost": self.media.transport_packets_lost,
            "x_idealHeight": self.ideal_height,
            "x_participants": self.n_participants,
            "x_framesUnsent": self.frames_unsent,
        });
        if let Some((peer, setup)) = &self.connection {
            let role = if *setup == Setup::Passive { "server" } else { "client" };
            transport["iceState"] = json!(peer.ice_state);
            transport["dtlsState"] = json!(peer.dtls_state);
            transport["dtlsRole"] = json!(role);
            transport["selectedCandidatePairId"] = json!(peer.remote.map(|_| "candidate-pair"));
        }
        transport
    }

    /// The pair that is used, and its two ends.
    fn pair(&self, peer: &PeerStats) -> Vec<Value> {
        let Some(remote) = peer.remote else { return Vec::new() };
        let (checks, traffic) = (peer.checks.unwrap_or_default(), peer.transport);
        let answered = checks.responses_received > 0;
        let pair = json!({
            "type": "candidate-pair",
            "id": "candidate-pair",
            "transportId": "transport",
            "localCandidateId": "local-candidate",
            "remoteCandidateId": "remote-candidate",
            "state": if peer.ice_state == "failed" { "failed" } else { "succeeded" },
            "nominated": true,
            "packetsSent": traffic.sent,
            "bytesSent": traffic.bytes_sent,
            "packetsReceived": traffic.received,
            "bytesReceived": traffic.bytes_received,
            "requestsSent": checks.requests_sent,
            "responsesReceived": checks.responses_received,
            "currentRoundTripTime": answered.then_some(checks.round_trip_time.as_secs_f64()),
            "totalRoundTripTime": checks.total_round_trip_time.as_secs_f64(),
            "availableOutgoingBitrate": self.media.available_outgoing_bitrate,
        });
        vec![pair, candidate("local-candidate", peer.local), candidate("remote-candidate", remote)]
    }
}

fn codec(kind: &str, format: &StreamFormat) -> Value {
    let mut codec = json!({
        "type": "codec",
        "id": format!("codec-{kind}"),
        "transportId": "transport",
        "mimeType": mime_type(&format.codec),
        "payloadType": format.payload_type,
        "clockRate": format.clock_rate,
    });
    match format.codec {
        Codec::Opus => codec["channels"] = json!(2),
        Codec::H264 => codec["sdpFmtpLine"] = json!(H264_FMTP),
        _ => {}
    }
    codec
}

/// As IANA has registered it.
fn mime_type(codec: &Codec) -> String {
    match codec {
        Codec::Opus => "audio/opus".to_owned(),
        video => format!("video/{}", video.name().to_uppercase()),
    }
}

fn outbound(kind: &str, stream: &StreamStats) -> Value {
    json!({
        "type": "outbound-rtp",
        "id": format!("outbound-{kind}"),
        "kind": kind,
        "ssrc": stream.ssrc,
        "transportId": "transport",
        "codecId": stream.format.as_ref().map(|_| format!("codec-{kind}")),
        "remoteId": stream.remote.map(|_| format!("remote-inbound-{kind}")),
        "packetsSent": stream.packets_sent,
        "bytesSent": stream.bytes_sent,
        "retransmittedPacketsSent": stream.retransmitted_packets_sent,
        "retransmittedBytesSent": stream.retransmitted_bytes_sent,
        "framesSent": stream.frames_sent,
        "keyFramesEncoded": stream.key_frames_sent,
        "nackCount": stream.nack_count,
        "pliCount": stream.pli_count,
        "firCount": stream.fir_count,
        "x_framesDropped": stream.frames_dropped,
        "x_packetsDiscardedOnSend": stream.packets_discarded_on_send,
        "x_nackedPacketsGone": stream.nacked_packets_gone,
        "x_keyframeWaits": stream.key_frame_waits,
        "x_keyframeWaitMs": millis(Some(stream.max_key_frame_wait)),
    })
}

fn remote_inbound(kind: &str, stream: &StreamStats) -> Option<Value> {
    let remote = stream.remote?;
    Some(json!({
        "type": "remote-inbound-rtp",
        "id": format!("remote-inbound-{kind}"),
        "localId": format!("outbound-{kind}"),
        "kind": kind,
        "ssrc": stream.ssrc,
        "transportId": "transport",
        "codecId": stream.format.as_ref().map(|_| format!("codec-{kind}")),
        "packetsLost": remote.packets_lost,
        "fractionLost": remote.fraction_lost,
        "jitter": remote.jitter.as_secs_f64(),
        "roundTripTime": remote.round_trip_time.map(|time| time.as_secs_f64()),
        "totalRoundTripTime": stream.total_round_trip_time.as_secs_f64(),
        "roundTripTimeMeasurements": stream.round_trips,
    }))
}

fn candidate(id: &str, addr: SocketAddr) -> Value {
    json!({
        "type": id,
        "id": id,
        "transportId": "transport",
        "candidateType": "host",
        "protocol": "udp",
        "address": addr.ip().to_string(),
        "port": addr.port(),
    })
}

fn data_channel(peer: &PeerStats) -> Value {
    let traffic = peer.channel;
    json!({
        "type": "data-channel",
        "id": "data-channel",
        "label": CHANNEL_LABEL,
        "state": if peer.channel_open { "open" } else { "connecting" },
        "messagesSent": traffic.sent,
        "bytesSent": traffic.bytes_sent,
        "messagesReceived": traffic.received,
        "bytesReceived": traffic.bytes_received,
    })
}

fn millis(time: Option<Duration>) -> Option<f64> {
    time.map(|time| (time.as_secs_f64() * 10_000.0).round() / 10.0)
}
