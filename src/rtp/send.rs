//! One stream of one call: frames → numbered RTP packets, and again when they got lost.
//!
//! Sequence numbers, timestamps and counters belong to the SSRC and go on from item to item. A
//! number is given when its packet leaves, so whatever is dropped before leaves no hole.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Packet;
use super::clock::rtp_timestamp;
use super::packetize::{self, MAX_PAYLOAD, Payload};
use super::stats::StreamFormat;
use crate::media::{AudioLevel, Codec, Frame, MediaKind};
use crate::time::MediaTime;

/// How long a sent packet can be asked for again. A receiver that waits longer than this for a
/// packet shows a frozen picture, and asks for a key frame instead.
const HISTORY_AGE: Duration = Duration::from_millis(1500);

/// Packets kept at most: one and a half seconds at 13 Mbit/s. They hold slices of the frames.
const HISTORY_LEN: usize = 2048;

/// What the offer and the answer settled about a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// Sound or picture.
    pub kind: MediaKind,
    /// Chosen by us.
    pub ssrc: u32,
    /// What is sent first of all: Opus, or H.264 (VP8 where the answer does not list that).
    pub codec: Codec,
    /// As the answer numbers the codec.
    pub payload_type: u8,
    /// RTP clock ticks per second: 48 000 for Opus, 90 000 for video.
    pub clock_rate: u32,
    /// Where retransmissions go; without it, a lost packet is sent again as it was.
    pub rtx: Option<RtxConfig>,
    /// Other codecs that may be sent on the same SSRC.
    pub others: Vec<PayloadFormat>,
}

/// How the answer numbers one more codec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadFormat {
    /// VP8 or VP9, beside another.
    pub codec: Codec,
    /// Of its packets.
    pub payload_type: u8,
    /// Of its retransmissions.
    pub rtx_payload_type: Option<u8>,
}

/// RFC 4588, session-multiplexed by SSRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtxConfig {
    /// The second of the FID group.
    pub ssrc: u32,
    /// The payload type whose `apt` is that of the stream.
    pub payload_type: u8,
}

/// What has left on a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentCounters {
    /// Packets, without retransmissions.
    pub packets: u64,
    /// Bytes of payload in them (RFC 3550 calls them octets).
    pub octets: u64,
    /// Packets sent again.
    pub retransmitted_packets: u64,
    /// Bytes of payload in those, the repeated sequence number included.
    pub retransmitted_octets: u64,
    /// Frames of which the last packet left.
    pub frames: u64,
    /// Those of them that a receiver can start with.
    pub key_frames: u64,
}

/// The sending end of one SSRC.
#[derive(Debug)]
pub struct SendStream {
    config: StreamConfig,
    sequence_number: u16,
    rtx_sequence_number: u16,
    timestamp_offset: u32,
    /// Of the next VP8 or VP9 picture.
    picture_id: u16,
    /// A picture was to be turned. From then on every picture says how it stands: receivers go on
    /// as they were told last (3GPP TS 26.114, 7.4.5).
    turned: bool,
    current: Option<Head>,
    /// What the current frame still has to send.
    waiting: VecDeque<Payload>,
    /// Where the last frame ended.
    end: Option<MediaTime>,
    history: VecDeque<Sent>,
    counters: SentCounters,
}

/// What the packets of one frame have in common.
#[derive(Clone, Copy, Debug)]
struct Head {
    timestamp: u32,
    level: Option<AudioLevel>,
    /// Sound: nothing came directly before.
    after_gap: bool,
    key: bool,
    rotation: Option<u8>,
    payload_type: u8,
    rtx: Option<RtxConfig>,
}

/// A packet that may be asked for again.
#[derive(Debug)]
struct Sent {
    /// The packet without its payload.
    header: Packet,
    payload: Payload,
    rtx: Option<RtxConfig>,
    at: Instant,
    repair: Repair,
}

impl SendStream {
    /// A stream that has sent nothing. Its first sequence numbers and its timestamp offset are
    /// random (RFC 3550 §5.1).
    pub fn new(config: StreamConfig, rng: &mut fastrand::Rng) -> Self {
        // The upper half is left out: should the first packets get lost around a wrap, SRTP at
        // the other side would count the roll-overs wrong and decrypt nothing.
        let half = 0..=u16::MAX / 2;
        Self {
            config,
            sequence_number: rng.u16(half.clone()),
            rtx_sequence_number: rng.u16(half),
            timestamp_offset: rng.u32(..),
            picture_id: rng.u16(..),
            turned: false,
            current: None,
            waiting: VecDeque::new(),
            end: None,
            history: VecDeque::new(),
            counters: SentCounters::default(),
        }
    }

    /// What was settled.
    pub fn config(&self) -> &StreamConfig {
        &self.config
    }

    /// What is sent now, or would be first.
    pub fn format(&self) -> StreamFormat {
        let payload_type = self.current.map_or(self.config.payload_type, |head| head.payload_type);
        let other = self.config.others.iter().find(|format| format.payload_type == payload_type);
        let codec = other.map_or(&self.config.codec, |format| &format.codec).clone();
        StreamFormat { codec, payload_type, clock_rate: self.config.clock_rate }
    }

    /// What has left.
    pub fn counters(&self) -> SentCounters {
        self.counters
    }

    /// The RTP timestamp of a moment of the call.
    pub fn timestamp(&self, elapsed: MediaTime) -> u32 {
        rtp_timestamp(self.timestamp_offset, elapsed, self.config.clock_rate)
    }

    /// Takes the next frame, which lies at `elapsed` in the call's time. Gives the number of its
    /// packets, which [`poll_packet`](Self::poll_packet) then returns; zero if nothing in it can
    /// be sent.
    pub fn handle_frame(&mut self, frame: &Frame, elapsed: MediaTime) -> usize {
        debug_assert!(self.waiting.is_empty(), "a frame is taken when the one before has left");
        self.waiting.clear();
        let Some((payload_type, rtx)) = self.format_of(&frame.codec) else { return 0 };
        let (data, id) = (&frame.data, self.picture_id);
        match &frame.codec {
            Codec::Opus => packetize::opus(data, &mut self.waiting),
            Codec::H264 => packetize::h264(data, MAX_PAYLOAD, &mut self.waiting),
            Codec::Vp8 => packetize::vp8(data, id, MAX_PAYLOAD, &mut self.waiting),
            Codec::Vp9 => packetize::vp9(data, frame.key, id, MAX_PAYLOAD, &mut self.waiting),
            _ => {}
        }
        if !self.waiting.is_empty() {
            self.picture_id = id.wrapping_add(1);
            self.turned |= frame.rotation != 0;
            self.current = Some(Head {
                timestamp: self.timestamp(elapsed),
                level: frame.level,
                after_gap: self.end.is_none_or(|end| end != elapsed),
                key: frame.key,
                rotation: self.turned.then_some(frame.rotation),
                payload_type,
                rtx,
            });
            self.end = Some(elapsed + frame.duration);
        }
        self.waiting.len()
    }

    /// How many packets of the current frame have not left.
    pub fn n_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The next packet of the current frame.
    pub fn poll_packet(&mut self, now: Instant) -> Option<Packet> {
        let head = self.current?;
        let payload = self.waiting.pop_front()?;
        let last = self.waiting.is_empty();
        let marker = match self.config.kind {
            // RFC 3551 §4.1: the first packet after a pause.
            MediaKind::Audio => head.after_gap,
            // RFC 6184 §5.1: the last packet of the access unit.
            MediaKind::Video => last,
        };
        let header = Packet {
            ssrc: self.config.ssrc,
            payload_type: head.payload_type,
            sequence_number: self.sequence_number,
            timestamp: head.timestamp,
            marker,
            audio_level: head.level,
            rotation: head.rotation.filter(|_| last),
            is_repeatable: self.config.kind == MediaKind::Video && head.rtx.is_none(),
            payload: Bytes::new(),
        };
        let packet = Packet { payload: payload.to_bytes(), ..header.clone() };
        self.sequence_number = self.sequence_number.wrapping_add(1);
        self.counters.packets += 1;
        self.counters.octets += payload.len() as u64;
        if last {
            self.counters.frames += 1;
            self.counters.key_frames += u64::from(head.key);
        }
        if self.config.kind == MediaKind::Video {
            self.remember(header, payload, head.rtx, now);
        }
        Some(packet)
    }

    /// Whether a packet that is asked for is to be sent again, by [`resend`](Self::resend): it is
    /// still known and was not sent again within `interval`, in which that may still be on its way.
    pub fn handle_nack(&mut self, sequence_number: u16, interval: Duration, now: Instant) -> Nacked {
        match self.find(sequence_number, now) {
            None => Nacked::Gone,
            Some(sent) => match sent.repair {
                Repair::Waiting => Nacked::Answered,
                Repair::Sent(at) if now < at + interval => Nacked::Answered,
                Repair::Never | Repair::Sent(_) => {
                    sent.repair = Repair::Waiting;
                    Nacked::Resend
                }
            },
        }
    }

    /// A packet once more: on the RTX stream behind its original sequence number (RFC 4588 §4),
    /// or, without one, as it was. `None` if it is too old by now.
    pub fn resend(&mut self, sequence_number: u16, now: Instant) -> Option<Packet> {
        let rtx_sequence_number = self.rtx_sequence_number;
        let sent = self.find(sequence_number, now)?;
        let rtx = sent.rtx;
        sent.repair = Repair::Sent(now);
        let mut packet = sent.header.clone();
        if let Some(rtx) = rtx {
            packet.ssrc = rtx.ssrc;
            packet.payload_type = rtx.payload_type;
            packet.sequence_number = rtx_sequence_number;
            packet.payload = sent.payload.prefixed(&sequence_number.to_be_bytes());
            self.rtx_sequence_number = rtx_sequence_number.wrapping_add(1);
        } else {
            packet.payload = sent.payload.to_bytes();
        }
        self.counters.retransmitted_packets += 1;
        self.counters.retransmitted_octets += packet.payload.len() as u64;
        Some(packet)
    }

    /// Was this codec negotiated?
    pub fn takes(&self, codec: &Codec) -> bool {
        self.format_of(codec).is_some()
    }

    /// How a codec is numbered, if it was negotiated.
    fn format_of(&self, codec: &Codec) -> Option<(u8, Option<RtxConfig>)> {
        if *codec == self.config.codec {
            return Some((self.config.payload_type, self.config.rtx));
        }
        let format = self.config.others.iter().find(|format| format.codec == *codec)?;
        let rtx = self.config.rtx.zip(format.rtx_payload_type);
        let rtx = rtx.map(|(rtx, payload_type)| RtxConfig { payload_type, ..rtx });
        Some((format.payload_type, rtx))
    }

    fn remember(&mut self, header: Packet, payload: Payload, rtx: Option<RtxConfig>, now: Instant) {
        while self.history.len() >= HISTORY_LEN || self.history.front().is_some_and(|sent| sent.is_old(now)) {
            self.history.pop_front();
        }
        self.history.push_back(Sent { header, payload, rtx, at: now, repair: Repair::Never });
    }

    fn find(&mut self, sequence_number: u16, now: Instant) -> Option<&mut Sent> {
        // INVARIANT: numbers in the history rise by one, so a number is also an index.
        let first = self.history.front()?.header.sequence_number;
        let sent = self.history.get_mut(usize::from(sequence_number.wrapping_sub(first)))?;
        (!sent.is_old(now)).then_some(sent)
    }
}

/// Whether a packet was sent again.
#[derive(Clone, Copy, Debug)]
enum Repair {
    Never,
    /// Not yet, but it will be.
    Waiting,
    Sent(Instant),
}

impl Sent {
    fn is_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) > HISTORY_AGE
    }
}

/// What to do about one packet that is said to be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nacked {
    /// Send it again.
    Resend,
    /// Nothing: it is about to be sent again, or was just now.
    Answered,
    /// Nothing: it is no longer, or never was, in the history.
    Gone,
}

#[cfg(test)]
mod tests;
