//! Frames → RTP packets in time, and the feedback that comes back. Nothing here does IO.
//!
//! ```text
//! Frame ─ packetize ─► payloads ─ SendStream ─► rtp::Packet ─ Pacer ─► peer
//!                                     ▲                                  │
//!                                     └── NACK, PLI, RR … ◄── rtcp ◄─────┘
//! ```

use bytes::Bytes;

use crate::media::AudioLevel;

pub mod packetize;

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
    /// Clockwise rotation in quarter turns (3GPP CVO), sent only when not zero.
    pub rotation: u8,
    /// The codec's payload format.
    pub payload: Bytes,
}
