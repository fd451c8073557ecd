//! Frames → RTP packets in time, and the feedback that comes back. Nothing here does IO.
//!
//! ```text
//! DueFrame ─► Sender ─► lane ─► SendStream ─ packetize ─► rtp::Packet ─► peer
//!                │        pacer: whose turn is it?                        │
//!                └◄─────────── Feedback: NACK, PLI, FIR, RR ◄──── rtcp ◄──┘
//! ```
//!
//! A [`Sender`] is a machine without a clock: frames and feedback go in, packets and sender
//! reports come out when they are polled, and [`Sender::poll_timeout`] says when to poll next.

use bytes::Bytes;

use crate::media::AudioLevel;

pub mod clock;
mod lane;
mod pacer;
pub mod packetize;
pub mod report;
pub mod rtcp;
pub mod send;
mod sender;
pub mod stats;
#[cfg(test)]
mod testing;

pub use pacer::Reason;
pub use sender::{KeyframeRequest, Sender, SenderConfig};

/// One RTP packet before SRTP (RFC 3550).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Which stream.
    pub ssrc: u32,
    /// As the answer numbers it.
    pub payload_type: u8,
    /// Rises by one per packet, wraps.
    pub sequence_number: u16,
    /// In units of the stream's clock rate, wraps.
    pub timestamp: u32,
    /// Video: the last packet of a frame. Audio: the first packet after a pause.
    pub marker: bool,
    /// RFC 6464 level, for audio.
    pub audio_level: Option<AudioLevel>,
    /// Clockwise rotation in quarter turns (3GPP CVO), on the last packet of a picture; `None`
    /// is not sent.
    pub rotation: Option<u8>,
    /// It may leave a second time under the same number. Then it must not tell when it leaves: two
    /// packets that differ under one nonce would give the key of AES-GCM's checksum away.
    pub is_repeatable: bool,
    /// The codec's payload format.
    pub payload: Bytes,
}
