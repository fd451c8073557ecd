//! What a sender has counted, under the names of W3C webrtc-stats.

use std::time::Duration;

use super::report::RemoteView;
use crate::media::Codec;

/// Both streams of a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SenderStats {
    /// The sound, if it is sent.
    pub audio: Option<StreamStats>,
    /// The picture, if it is sent.
    pub video: Option<StreamStats>,
    /// The last REMB, in bits per second.
    pub available_outgoing_bitrate: Option<u64>,
    /// Packets of the whole connection that transport-cc reported as arrived.
    pub transport_packets_received: u64,
    /// Packets of the whole connection that transport-cc reported as missing.
    pub transport_packets_lost: u64,
}

/// One outbound stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamStats {
    /// Its SSRC.
    pub ssrc: u32,
    /// What is in its packets, and how the answer numbers it.
    pub format: Option<StreamFormat>,
    /// RTP packets that left, retransmissions included, also those on the RTX SSRC.
    pub packets_sent: u64,
    /// Bytes of payload in them.
    pub bytes_sent: u64,
    /// How many of the packets were retransmissions.
    pub retransmitted_packets_sent: u64,
    /// Bytes of payload in those.
    pub retransmitted_bytes_sent: u64,
    /// Packets that the network layer refused.
    pub packets_discarded_on_send: u64,
    /// Frames of which the last packet left.
    pub frames_sent: u64,
    /// Those of them that a receiver can start with.
    pub key_frames_sent: u64,
    /// Frames that were not sent: too late, before the first key frame, out of order, unreadable.
    /// What was left out because the stream is muted does not count.
    pub frames_dropped: u64,
    /// NACK messages that came.
    pub nack_count: u64,
    /// Packets that they asked for and that could not be sent again: too old, or over the limit.
    pub nacked_packets_gone: u64,
    /// PLI messages that came.
    pub pli_count: u64,
    /// FIR requests that came, each counted once however often it was repeated.
    pub fir_count: u64,
    /// How often somebody waited for a key frame and got it.
    pub key_frame_waits: u64,
    /// How long the longest of those waits was.
    pub max_key_frame_wait: Duration,
    /// How the stream arrives, by the last receiver report.
    pub remote: Option<RemoteView>,
    /// Round trips that were measured, by reports that answer one of ours.
    pub round_trips: u64,
    /// All of them together.
    pub total_round_trip_time: Duration,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFormat {
    /// Of the frames sent last.
    pub codec: Codec,
    /// In the packets.
    pub payload_type: u8,
    /// Ticks per second of the timestamps.
    pub clock_rate: u32,
}
