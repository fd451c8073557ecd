//! What a call can tell about itself.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::rtp::stats::SenderStats;

/// Everything that a call has counted.
#[derive(Clone, Debug, Default)]
pub struct CallStats {
    /// Both streams.
    pub media: SenderStats,
    /// When the present connection came how far.
    pub milestones: Milestones,
    /// The largest picture height that any viewer wants of us; 0 is nobody, `None` unknown.
    pub ideal_height: Option<u32>,
    /// How many take part, ourselves included, as far as the list has come.
    pub n_participants: usize,
    /// Frames of the programme that came while no connection was up.
    pub frames_unsent: u64,
}

/// When the present connection came how far; the methods give it as time since the join request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Milestones {
    pub(super) requested: Option<Instant>,
    pub(super) answered: Option<Instant>,
    pub(super) ice: Option<Instant>,
    pub(super) dtls: Option<Instant>,
    pub(super) data_channel: Option<Instant>,
    pub(super) first_rtp: Option<Instant>,
    pub(super) first_feedback: Option<Instant>,
}

impl Milestones {
    pub(super) fn restart(&mut self, now: Instant) {
        *self = Self { requested: Some(now), ..Self::default() };
    }

    /// From the join request to its answer.
    pub fn rpc(&self) -> Option<Duration> {
        self.since_request(self.answered)
    }

    /// From the join request to a nominated ICE pair.
    pub fn ice(&self) -> Option<Duration> {
        self.since_request(self.ice)
    }

    /// From the join request to a finished DTLS handshake.
    pub fn dtls(&self) -> Option<Duration> {
        self.since_request(self.dtls)
    }

    /// From the join request to an open data channel.
    pub fn data_channel(&self) -> Option<Duration> {
        self.since_request(self.data_channel)
    }

    /// From the join request to the first RTP packet.
    pub fn first_rtp(&self) -> Option<Duration> {
        self.since_request(self.first_rtp)
    }

    /// From the join request to the first feedback on our media.
    pub fn first_feedback(&self) -> Option<Duration> {
        self.since_request(self.first_feedback)
    }

    fn since_request(&self, at: Option<Instant>) -> Option<Duration> {
        Some(at?.saturating_duration_since(self.requested?))
    }
}

impl CallStats {
    /// The statistics as W3C dictionaries (webrtc-stats): `outbound-rtp` and `remote-inbound-rtp`
    /// of each stream, then `transport`. What is ours alone begins with `x_`.
    pub fn to_rtc_stats(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for (kind, stream) in [("audio", &self.media.audio), ("video", &self.media.video)] {
            let Some(stream) = stream else { continue };
            all.push(json!({
                "type": "outbound-rtp",
                "id": format!("outbound-{kind}"),
                "kind": kind,
                "ssrc": stream.ssrc,
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
                "x_keyframeWaitMs": millis(Some(stream.max_key_frame_wait)),
            }));
            let Some(remote) = &stream.remote else { continue };
            all.push(json!({
                "type": "remote-inbound-rtp",
                "id": format!("remote-inbound-{kind}"),
                "localId": format!("outbound-{kind}"),
                "kind": kind,
                "ssrc": stream.ssrc,
                "packetsLost": remote.packets_lost,
                "fractionLost": remote.fraction_lost,
                "jitter": remote.jitter.as_secs_f64(),
                "roundTripTime": remote.round_trip_time.map(|time| time.as_secs_f64()),
            }));
        }
        all.push(json!({
            "type": "transport",
            "id": "transport",
            "availableOutgoingBitrate": self.media.available_outgoing_bitrate,
            "x_rpcMs": millis(self.milestones.rpc()),
            "x_iceMs": millis(self.milestones.ice()),
            "x_dtlsMs": millis(self.milestones.dtls()),
            "x_dataChannelMs": millis(self.milestones.data_channel()),
            "x_firstRtpMs": millis(self.milestones.first_rtp()),
            "x_firstFeedbackMs": millis(self.milestones.first_feedback()),
            "x_idealHeight": self.ideal_height,
            "x_participants": self.n_participants,
            "x_framesUnsent": self.frames_unsent,
        }));
        all
    }
}

fn millis(time: Option<Duration>) -> Option<f64> {
    time.map(|time| (time.as_secs_f64() * 10_000.0).round() / 10.0)
}
