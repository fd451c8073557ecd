//! Both streams of one call: frames and feedback in, packets and reports out, each in its time.
//!
//! Frames may come as early as their programme likes; they wait here until they are due. What
//! comes too late is left out where nobody misses it: sound after a second, pictures after half
//! a second and then up to the next key frame, so that what is sent can always be decoded.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tracing::{debug, trace};

use super::Packet;
use super::clock::{CallClock, NtpAnchor};
use super::lane::{Begun, Lane};
use super::pacer::{Pacer, Reason, Turn, Waiting};
use super::report::{self, RemoteView, Report, SenderReport};
use super::rtcp::Feedback;
use super::send::{Nacked, SendStream, StreamConfig};
use super::stats::SenderStats;
use crate::media::{Codec, MediaKind};
use crate::player::SharedFrame;

/// Packets that may wait to be sent again.
const MAX_RETRANSMISSIONS: usize = 1024;

/// Between two answers to the same NACK, as long as the round trip is not known.
const DEFAULT_ROUND_TRIP: Duration = Duration::from_millis(20);

/// Bounds for the same when it is known: a receiver asks again at such intervals.
const ROUND_TRIPS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// Those who sent full intra requests and are remembered.
const MAX_REQUESTERS: usize = 32;

/// What a call sends.
#[derive(Clone, Debug)]
pub struct SenderConfig {
    /// The sound, if it was negotiated.
    pub audio: Option<StreamConfig>,
    /// The picture, if it was negotiated.
    pub video: Option<StreamConfig>,
    /// The name under which both belong together.
    pub cname: Arc<str>,
    /// Where the call's wall clock is tied to an instant.
    pub anchor: NtpAnchor,
    /// For first sequence numbers, timestamp offsets and the intervals of reports.
    pub seed: u64,
    /// How long after their due time frames leave; the same for both streams.
    pub stagger: Duration,
}

/// A request for a key frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyframeRequest {
    /// Picture loss indication.
    Pli,
    /// Full intra request.
    Fir {
        /// Who asks.
        requester: u32,
        /// The same number again is the same request.
        sequence_number: u8,
    },
}

/// Sends the frames of one programme into one call.
#[derive(Debug)]
pub struct Sender {
    audio: Option<Lane>,
    video: Option<Lane>,
    clock: Option<CallClock>,
    anchor: NtpAnchor,
    cname: Arc<str>,
    pacer: Pacer,
    /// Sequence numbers of video packets to be sent again, and when they were asked for.
    retransmissions: VecDeque<(u16, Instant)>,
    requesters: VecDeque<(u32, u8)>,
    /// Since when somebody wants a key frame.
    keyframe_wanted: Option<Instant>,
    rng: fastrand::Rng,
    stats: SenderStats,
}

impl Sender {
    /// A sender that has sent nothing.
    pub fn new(config: SenderConfig) -> Self {
        let mut rng = fastrand::Rng::with_seed(config.seed);
        let stagger = config.stagger;
        let mut lane = |config: StreamConfig| Lane::new(SendStream::new(config, &mut rng), stagger);
        Self {
            audio: config.audio.map(&mut lane),
            video: config.video.map(&mut lane),
            clock: None,
            anchor: config.anchor,
            cname: config.cname,
            pacer: Pacer::new(),
            retransmissions: VecDeque::new(),
            requesters: VecDeque::new(),
            keyframe_wanted: None,
            rng,
            stats: SenderStats::default(),
        }
    }

    /// Takes the next frame of the programme. The frames of each kind come in the order in which
    /// they are heard or seen; a kind that is not sent is ignored, and a codec that was not negotiated
    /// is left out.
    pub fn handle_frame(&mut self, frame: SharedFrame, now: Instant) {
        let lane = match frame.frame.kind {
            MediaKind::Audio => &mut self.audio,
            MediaKind::Video => &mut self.video,
        };
        let Some(lane) = lane else { return };
        let elapsed = self.clock.get_or_insert_with(|| CallClock::starting_with(&frame)).elapsed(&frame);
        if !lane.stream.takes(&frame.frame.codec) {
            return lane.pass_over(&frame);
        }
        let kind = frame.frame.kind;
        if lane.enqueue(frame, elapsed).is_err() && kind == MediaKind::Video {
            self.note_drop(now);
        }
    }

    /// Can frames of this kind and codec be sent?
    pub fn takes(&self, kind: MediaKind, codec: &Codec) -> bool {
        let lane = match kind {
            MediaKind::Audio => &self.audio,
            MediaKind::Video => &self.video,
        };
        lane.as_ref().is_some_and(|lane| lane.stream.takes(codec))
    }

    /// Takes any feedback that came in.
    pub fn handle_feedback(&mut self, feedback: &Feedback, now: Instant) {
        match feedback {
            Feedback::Pli { ssrc } => self.handle_keyframe_request(*ssrc, KeyframeRequest::Pli, now),
            Feedback::Fir { ssrc, requester, sequence_number } => {
                let (requester, sequence_number) = (*requester, *sequence_number);
                self.handle_keyframe_request(*ssrc, KeyframeRequest::Fir { requester, sequence_number }, now);
            }
            Feedback::Nack { ssrc, lost } => self.handle_nack(*ssrc, lost, now),
            Feedback::ReceiverReport(report) => {
                let anchor = self.anchor;
                if let Some(lane) = self.lane_mut(report.ssrc) {
                    let clock_rate = lane.stream.config().clock_rate;
                    let view = RemoteView::new(report, clock_rate, &anchor, now);
                    if let Some(round_trip) = view.round_trip_time {
                        lane.counted.round_trips += 1;
                        lane.counted.total_round_trip_time += round_trip;
                    }
                    lane.counted.remote = Some(view);
                }
            }
            Feedback::Remb { bitrate_bps, .. } => self.stats.available_outgoing_bitrate = Some(*bitrate_bps),
            Feedback::TransportCc { n_received, n_lost, .. } => {
                self.stats.transport_packets_received += u64::from(*n_received);
                self.stats.transport_packets_lost += u64::from(*n_lost);
            }
        }
    }

    /// Takes the numbers of packets that did not arrive.
    pub fn handle_nack(&mut self, ssrc: u32, lost: &[u16], now: Instant) {
        let room = MAX_RETRANSMISSIONS.saturating_sub(self.retransmissions.len());
        let Some(lane) = self.lane_mut(ssrc) else { return };
        lane.counted.nack_count += 1;
        let round_trip = lane.counted.remote.and_then(|remote| remote.round_trip_time);
        let interval =
            round_trip.map_or(DEFAULT_ROUND_TRIP, |known| known.clamp(ROUND_TRIPS.0, ROUND_TRIPS.1));
        let mut resend = Vec::new();
        for sequence_number in lost {
            let nacked = if resend.len() < room {
                lane.stream.handle_nack(*sequence_number, interval, now)
            } else {
                Nacked::Gone
            };
            match nacked {
                Nacked::Resend => resend.push((*sequence_number, now)),
                Nacked::Answered => {}
                Nacked::Gone => lane.counted.nacked_packets_gone += 1,
            }
        }
        trace!(ssrc, asked = lost.len(), resent = resend.len(), "nack");
        self.retransmissions.extend(resend);
    }

    /// Takes the wish of somebody for a key frame; see [`keyframe_wanted`](Self::keyframe_wanted).
    pub fn handle_keyframe_request(&mut self, ssrc: u32, request: KeyframeRequest, now: Instant) {
        let Some(video) = self.video.as_mut().filter(|video| video.stream.config().ssrc == ssrc) else {
            return;
        };
        match request {
            KeyframeRequest::Pli => video.counted.pli_count += 1,
            KeyframeRequest::Fir { requester, sequence_number } => {
                // RFC 5104 §4.3.1.2: a request is repeated under its number until it is met.
                if self.requesters.contains(&(requester, sequence_number)) {
                    return;
                }
                self.requesters.retain(|(known, _)| *known != requester);
                self.requesters.truncate(MAX_REQUESTERS - 1);
                self.requesters.push_front((requester, sequence_number));
                video.counted.fir_count += 1;
            }
        }
        debug!(ssrc, ?request, "key frame requested");
        self.keyframe_wanted.get_or_insert(now);
    }

    /// The network layer refused a packet of this stream.
    pub fn handle_discarded(&mut self, ssrc: u32) {
        if let Some(lane) = self.lane_mut(ssrc) {
            lane.counted.packets_discarded_on_send += 1;
        }
    }

    /// Sends nothing of this kind from its next frame on, or sends again. The timeline goes on
    /// meanwhile; pictures resume with a key frame.
    pub fn set_muted(&mut self, kind: MediaKind, muted: bool) {
        let lane = match kind {
            MediaKind::Audio => &mut self.audio,
            MediaKind::Video => &mut self.video,
        };
        if let Some(lane) = lane {
            lane.muted = muted;
        }
    }

    /// Since when a key frame is missing: a viewer asked for one, or nothing can be sent without.
    /// `None` once it is on its way.
    pub fn keyframe_wanted(&self) -> Option<Instant> {
        self.keyframe_wanted
    }

    /// Have pictures been sent, whose receivers ask for keyframes and for what was lost?
    pub fn has_shown(&self) -> bool {
        self.video.as_ref().is_some_and(|video| video.stream.counters().packets > 0)
    }

    /// The next packet that may leave at `now`. Poll until there is none.
    pub fn poll_packet(&mut self, now: Instant) -> Option<Packet> {
        loop {
            let turn = self.pacer.turn(&self.waiting(), now)?;
            // No packet: the turn was spent on dropping something.
            let Some(packet) = self.take_turn(turn, now) else { continue };
            self.pacer.handle_sent(turn, packet.payload.len(), now);
            if let Some(lane) = self.lane_mut(packet.ssrc) {
                lane.reports.handle_sent(now);
            }
            let Packet { ssrc, sequence_number, timestamp, marker, .. } = packet;
            trace!(ssrc, sequence_number, timestamp, marker, len = packet.payload.len(), ?turn, "packet");
            return Some(packet);
        }
    }

    /// The next sender report that is due at `now`. Poll until there is none.
    pub fn poll_report(&mut self, now: Instant) -> Option<Report> {
        self.clock.as_ref()?;
        let ssrc = [&mut self.audio, &mut self.video]
            .into_iter()
            .flatten()
            .find_map(|lane| lane.reports.poll(now, &mut self.rng).then_some(lane.stream.config().ssrc))?;
        self.report(ssrc, now)
    }

    /// The last that receivers hear: a report, then a BYE for every SSRC (RFC 3550 §6.1, §6.6).
    /// `None` when nothing was ever sent.
    pub fn goodbye(&self, now: Instant) -> Option<Bytes> {
        let configs = [&self.audio, &self.video].into_iter().flatten().map(|lane| lane.stream.config());
        let ssrcs: Vec<u32> = configs
            .flat_map(|config| [Some(config.ssrc), config.rtx.map(|rtx| rtx.ssrc)])
            .flatten()
            .collect();
        let mut out = BytesMut::from(&self.report(*ssrcs.first()?, now)?.to_bytes()[..]);
        report::put_bye(&ssrcs, &mut out);
        Some(out.freeze())
    }

    /// How far the stream of this SSRC has come.
    fn report(&self, ssrc: u32, now: Instant) -> Option<Report> {
        let elapsed = self.clock.as_ref()?.elapsed_at(now);
        let mut lanes = [&self.audio, &self.video].into_iter().flatten();
        let lane = lanes.find(|lane| lane.stream.config().ssrc == ssrc)?;
        let sent = lane.stream.counters();
        let sender_report = SenderReport {
            ssrc,
            ntp: self.anchor.ntp_at(now),
            rtp_timestamp: lane.stream.timestamp(elapsed),
            packet_count: wrapped(sent.packets),
            octet_count: wrapped(sent.octets),
        };
        Some(Report { sender_report, cname: self.cname.clone() })
    }

    /// When to poll again if nothing comes in before, and for what. Not later than now if there
    /// is something to poll at once.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let lanes = [&self.audio, &self.video].into_iter().flatten();
        let reports = lanes.filter_map(|lane| Some((lane.reports.due()?, Reason::Report)));
        reports.chain(self.pacer.timeout(&self.waiting())).min_by_key(|(at, _)| *at)
    }

    /// What has happened so far.
    pub fn stats(&self) -> SenderStats {
        SenderStats {
            audio: self.audio.as_ref().map(Lane::stats),
            video: self.video.as_ref().map(Lane::stats),
            ..self.stats.clone()
        }
    }

    fn waiting(&self) -> Waiting {
        Waiting {
            audio: self.audio.as_ref().and_then(Lane::due),
            retransmission: self.retransmissions.front().map(|(_, asked)| *asked),
            rest: self.video.as_ref().is_some_and(|video| video.stream.n_waiting() > 0),
            video: self.video.as_ref().and_then(Lane::due),
        }
    }

    /// The packet of this turn, unless what had the turn is not sent after all.
    fn take_turn(&mut self, turn: Turn, now: Instant) -> Option<Packet> {
        match turn {
            Turn::Audio => {
                let audio = self.audio.as_mut()?;
                audio.begin(now).ok()?;
                audio.stream.poll_packet(now)
            }
            Turn::Video => {
                let Ok(begun) = self.video.as_mut()?.begin(now) else {
                    self.note_drop(now);
                    return None;
                };
                self.note_picture(&begun, now);
                self.video.as_mut()?.stream.poll_packet(now)
            }
            Turn::Rest => self.video.as_mut()?.stream.poll_packet(now),
            Turn::Retransmission => {
                let (sequence_number, _) = self.retransmissions.pop_front()?;
                let video = self.video.as_mut()?;
                let packet = video.stream.resend(sequence_number, now);
                video.counted.nacked_packets_gone += u64::from(packet.is_none());
                packet
            }
        }
    }

    fn note_picture(&mut self, begun: &Begun, now: Instant) {
        let frame = &begun.frame.frame;
        self.pacer.begin(begun.due, frame.duration, begun.n_packets);
        if frame.key
            && let Some(since) = self.keyframe_wanted.take()
            && let Some(video) = &mut self.video
        {
            let waited = now.saturating_duration_since(since);
            video.counted.key_frame_waits += 1;
            video.counted.max_key_frame_wait = video.counted.max_key_frame_wait.max(waited);
        }
    }

    /// A picture that is left out may take those away that follow it.
    fn note_drop(&mut self, now: Instant) {
        if self.video.as_ref().is_some_and(Lane::needs_key) {
            self.keyframe_wanted.get_or_insert(now);
        }
    }

    fn lane_mut(&mut self, ssrc: u32) -> Option<&mut Lane> {
        let mut lanes = [&mut self.audio, &mut self.video].into_iter().flatten();
        lanes.find(|lane| lane.stream.config().ssrc == ssrc)
    }
}

/// RFC 3550 §6.4.1: the counts of a report wrap.
fn wrapped(count: u64) -> u32 {
    u32::try_from(count & 0xffff_ffff).expect("masked to 32 bits")
}

#[cfg(test)]
mod tests;
