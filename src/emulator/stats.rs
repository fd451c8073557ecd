//! What the server has seen of each participant, counted packet by packet.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::ParticipantId;

/// The window that frame rates and bitrates are averaged over.
const WINDOW: Duration = Duration::from_secs(1);

/// One participant, as the server sees them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParticipantStats {
    /// Who.
    pub participant: ParticipantId,
    /// By name.
    pub name: String,
    /// A web page: it is in no list and sends nothing.
    pub page: bool,
    /// The transport is up.
    pub connected: bool,
    /// From the answered join to the transport's first connection, in milliseconds.
    pub connect_ms: Option<f64>,
    /// The data channel is open.
    pub data_channel: bool,
    /// Audio packets thrown away because an admin had muted the participant.
    pub muted_packets: u64,
    /// Datagrams that the weather swallowed on the way to and from this participant.
    pub weather_lost: u64,
    /// Round trip by RTCP, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// What the participant sends, audio first.
    pub streams: Vec<StreamStats>,
}

/// One stream that a participant sends.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StreamStats {
    /// `audio` or `video`.
    pub kind: &'static str,
    /// Primary SSRC.
    pub ssrc: u32,
    /// Of the latest packet.
    pub payload_type: Option<u8>,
    /// Packets that arrived, repaired ones included, duplicates not.
    pub packets: u64,
    /// Payload bytes of those.
    pub bytes: u64,
    /// Packets that never arrived, up to the highest sequence number seen.
    pub lost: u64,
    /// Packets that arrived on the RTX stream.
    pub repaired: u64,
    /// NACK messages sent to the participant.
    pub nacks_sent: u64,
    /// Key frames asked of the participant.
    pub plis_sent: u64,
    /// Video: frames that ended (marker bits).
    pub frames: u64,
    /// Video: frames in the last second.
    pub fps: u32,
    /// Bits in the last second.
    pub bitrate_bps: u64,
    /// Sender reports received.
    pub sender_reports: u64,
}

/// Counts one stream.
#[derive(Debug)]
pub(super) struct StreamCounter {
    stats: StreamStats,
    seqs: Option<(u64, u64)>,
    frames: VecDeque<Instant>,
    bytes: VecDeque<(Instant, usize)>,
}

/// One packet, for counting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) seq: u64,
    pub(super) payload_type: u8,
    pub(super) len: usize,
    pub(super) marker: bool,
    pub(super) repaired: bool,
}

impl StreamCounter {
    pub(super) fn new(kind: &'static str, ssrc: u32) -> Self {
        let stats = StreamStats { kind, ssrc, ..StreamStats::default() };
        Self { stats, seqs: None, frames: VecDeque::new(), bytes: VecDeque::new() }
    }

    pub(super) fn handle_packet(&mut self, seen: Seen, now: Instant) {
        let stats = &mut self.stats;
        stats.packets += 1;
        stats.bytes += seen.len as u64;
        stats.repaired += u64::from(seen.repaired);
        stats.payload_type = Some(seen.payload_type);
        let (first, last) = self.seqs.unwrap_or((seen.seq, seen.seq));
        self.seqs = Some((first.min(seen.seq), last.max(seen.seq)));
        self.bytes.push_back((now, seen.len));
        if seen.marker && stats.kind == "video" {
            stats.frames += 1;
            self.frames.push_back(now);
        }
        self.forget(now);
    }

    pub(super) fn count_pli(&mut self) {
        self.stats.plis_sent += 1;
    }

    pub(super) fn count_report(&mut self) {
        self.stats.sender_reports += 1;
    }

    pub(super) fn set_nacks(&mut self, nacks: u64) {
        self.stats.nacks_sent = nacks;
    }

    /// The counters as of `now`.
    pub(super) fn snapshot(&mut self, now: Instant) -> StreamStats {
        self.forget(now);
        let expected = self.seqs.map_or(0, |(first, last)| last - first + 1);
        StreamStats {
            lost: expected.saturating_sub(self.stats.packets),
            fps: u32::try_from(self.frames.len()).unwrap_or(u32::MAX),
            bitrate_bps: self.bytes.iter().map(|(_, len)| *len as u64 * 8).sum(),
            ..self.stats.clone()
        }
    }

    fn forget(&mut self, now: Instant) {
        let old = |at: Instant| now.saturating_duration_since(at) >= WINDOW;
        while self.frames.pop_front_if(|at| old(*at)).is_some() {}
        while self.bytes.pop_front_if(|(at, _)| old(*at)).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_losses_repairs_and_frames() {
        let start = crate::emulator::test_start();
        let mut counter = StreamCounter::new("video", 7);
        for seq in (100..160).filter(|seq| *seq != 130 && *seq != 131).chain([131]) {
            let now = start + Duration::from_millis((seq - 100) * 25);
            let seen = Seen { seq, payload_type: 104, len: 1000, marker: seq % 2 == 0, repaired: seq == 131 };
            counter.handle_packet(seen, now);
        }
        let stats = counter.snapshot(start + Duration::from_millis(59 * 25));
        assert_eq!((stats.packets, stats.lost, stats.repaired, stats.frames), (59, 1, 1, 29));
        assert_eq!(stats.fps, 19, "every second of the last 40 packets, but for the lost one");
        assert_eq!(counter.snapshot(start + Duration::from_secs(9)).fps, 0);
    }
}
