//! One participant's connection with everything that belongs to it: the streams it sends, the
//! streams it is sent, what it wants to see and the weather on its link.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;
use str0m::channel::ChannelId;
use str0m::media::{MediaKind, Mid};
use str0m::rtp::RtpPacket;

use super::ParticipantId;
use super::colibri::Constraints;
use super::forward::{Forward, Held, PublisherClock, Report};
use super::payload::JoinPayload;
use super::sfu::kind_name;
use super::stats::{ParticipantStats, StreamCounter};
use super::transport::Transport;
use super::weather::Lane;

/// Key frames are asked for at most this often per stream; later wishes wait and are merged.
const PLI_INTERVAL: Duration = Duration::from_millis(500);

/// Up and down.
pub(super) type Lanes = (Lane<(SocketAddr, Vec<u8>)>, Lane<(SocketAddr, Vec<u8>)>);

/// One connection.
#[derive(Debug)]
pub(super) struct Participant {
    pub(super) chat: String,
    pub(super) name: String,
    pub(super) endpoint: String,
    pub(super) transport: Transport,
    pub(super) joined_at: Instant,
    pub(super) connected_after: Option<Duration>,
    /// Since when there has been no transport; `None` while there is one.
    pub(super) unconnected_since: Option<Instant>,
    pub(super) refused: bool,
    pub(super) weather: Option<Lanes>,
    pub(super) tracks: Vec<Track>,
    pub(super) clock: PublisherClock,
    pub(super) forwards: HashMap<(ParticipantId, MediaKind), Forward>,
    pub(super) channel: Option<ChannelId>,
    pub(super) wants: Constraints,
    /// What of `wants` can be served: publisher and height.
    pub(super) demand: HashMap<ParticipantId, u32>,
    /// The `idealHeight` that this participant was last told.
    pub(super) told_height: Option<u32>,
    pub(super) muted_packets: u64,
    pub(super) rtt: Option<Duration>,
    /// The datagram being handled is a retransmission.
    pub(super) repairing: bool,
    pub(super) viewer: Option<Viewer>,
}

/// One stream that a participant sends.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) kind: MediaKind,
    pub(super) mid: Mid,
    pub(super) ssrc: u32,
    pub(super) rtx: Option<u32>,
    pub(super) report: Option<Report>,
    /// What came before the first report, and waits for it.
    pub(super) held: Held<RtpPacket>,
    pub(super) last_packet: Option<Instant>,
    pub(super) counter: StreamCounter,
    pli_sent: Option<Instant>,
    pli_wanted: bool,
}

/// A page: m-lines that show one participant each.
#[derive(Debug, Default)]
pub(super) struct Viewer {
    pub(super) audio: Vec<Mid>,
    pub(super) video: Vec<Mid>,
    /// Who is shown where.
    pub(super) slots: Vec<Option<ParticipantId>>,
    /// The SSRC and RTX that the answer announced for each m-line, until it is first used.
    pub(super) announced: HashMap<Mid, (u32, Option<u32>)>,
    /// M-lines whose publisher is gone; the next one goes on where it stopped.
    pub(super) idle: HashMap<Mid, Forward>,
}

/// Which of a page's m-lines show whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Slot {
    /// 0, 1, 2 …
    pub slot: usize,
    /// Who is in it.
    pub name: String,
    /// As the participant list names it.
    pub endpoint: String,
    /// The m-line with the sound.
    pub audio_mid: Option<String>,
    /// The m-line with the pictures.
    pub video_mid: Option<String>,
}

impl Participant {
    pub(super) fn new(
        chat: String,
        name: String,
        endpoint: String,
        transport: Transport,
        now: Instant,
    ) -> Self {
        Self {
            chat,
            name,
            endpoint,
            transport,
            joined_at: now,
            connected_after: None,
            unconnected_since: Some(now),
            refused: false,
            weather: None,
            tracks: Vec::new(),
            clock: PublisherClock::default(),
            forwards: HashMap::new(),
            channel: None,
            wants: Constraints::default(),
            demand: HashMap::new(),
            told_height: None,
            muted_packets: 0,
            rtt: None,
            repairing: false,
            viewer: None,
        }
    }

    /// Declares what the join announced. Without `repair`, losses are not asked for again.
    pub(super) fn expect_streams(&mut self, payload: &JoinPayload, repair: bool) {
        let audio = (MediaKind::Audio, "a".to_owned(), payload.ssrc, None);
        let video = payload.layers.iter().enumerate();
        let video = video.map(|(idx, layer)| (MediaKind::Video, format!("v{idx}"), layer.ssrc, layer.rtx));
        for (kind, mid, ssrc, rtx) in std::iter::once(audio).chain(video) {
            let mid = Mid::from(&mid[..]);
            self.transport.expect(mid, kind, ssrc, rtx, repair);
            let counter = StreamCounter::new(kind_name(kind), ssrc);
            self.tracks.push(Track {
                kind,
                mid,
                ssrc,
                rtx,
                report: None,
                held: Held::new(),
                last_packet: None,
                counter,
                pli_sent: None,
                pli_wanted: false,
            });
        }
    }

    /// This is a page: it wants to see everybody.
    pub(super) fn become_viewer(&mut self) {
        self.viewer = Some(Viewer::default());
        self.wants = Constraints::everything();
    }

    pub(super) const fn is_viewer(&self) -> bool {
        self.viewer.is_some()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let lanes =
            self.weather.iter().flat_map(|(up, down)| [up.poll_timeout(), down.poll_timeout()]).flatten();
        let plis = self.tracks.iter().filter_map(Track::poll_pli);
        lanes.chain(plis).chain([self.transport.poll_timeout()]).min()
    }

    /// Looks whether a datagram is a retransmission: RTP headers are not encrypted.
    pub(super) fn note_repair(&mut self, datagram: &[u8]) {
        let ssrc = datagram.get(8..12).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        let is_rtp = datagram.first().is_some_and(|byte| (128..192).contains(byte));
        self.repairing = is_rtp && ssrc.is_some() && self.tracks.iter().any(|track| track.rtx == ssrc);
    }

    pub(super) fn track_mut(&mut self, ssrc: u32) -> Option<&mut Track> {
        self.tracks.iter_mut().find(|track| track.ssrc == ssrc)
    }

    pub(super) fn video_tracks(&self) -> impl Iterator<Item = &Track> {
        self.tracks.iter().filter(|track| track.kind.is_video())
    }

    pub(super) fn stats(&mut self, participant: ParticipantId, now: Instant) -> ParticipantStats {
        let millis = |duration: Duration| duration.as_secs_f64() * 1000.0;
        ParticipantStats {
            participant,
            name: self.name.clone(),
            page: self.is_viewer(),
            connected: self.unconnected_since.is_none(),
            connect_ms: self.connected_after.map(millis),
            data_channel: self.channel.is_some(),
            muted_packets: self.muted_packets,
            weather_lost: self.weather.as_ref().map_or(0, |(up, down)| up.n_lost() + down.n_lost()),
            rtt_ms: self.rtt.map(millis),
            streams: self.tracks.iter_mut().map(|track| track.counter.snapshot(now)).collect(),
        }
    }
}

impl Track {
    /// A key frame is wanted. True when it may be asked for now; else it is remembered.
    pub(super) fn want_pli(&mut self, now: Instant) -> bool {
        self.pli_wanted = true;
        self.take_pli(now)
    }

    /// Whether a wanted key frame is due to be asked for.
    pub(super) fn take_pli(&mut self, now: Instant) -> bool {
        let due = self.poll_pli().is_some_and(|at| at <= now);
        if due {
            self.pli_wanted = false;
            self.pli_sent = Some(now);
            self.counter.count_pli();
        }
        due
    }

    fn poll_pli(&self) -> Option<Instant> {
        // A wish without an earlier one was granted at once, so only repeated ones wait.
        self.pli_wanted
            .then(|| self.pli_sent.map_or(self.last_packet, |sent| Some(sent + PLI_INTERVAL)))
            .flatten()
    }
}

impl Viewer {
    /// The slot of `participant`, giving it the first free one if it has none.
    pub(super) fn seat(&mut self, participant: ParticipantId) -> Option<usize> {
        if let Some(idx) = self.slots.iter().position(|slot| *slot == Some(participant)) {
            return Some(idx);
        }
        let n_slots = self.audio.len().max(self.video.len());
        self.slots.resize(n_slots, None);
        let free = self.slots.iter().position(Option::is_none)?;
        self.slots[free] = Some(participant);
        Some(free)
    }

    pub(super) fn mid(&self, slot: usize, kind: MediaKind) -> Option<Mid> {
        match kind {
            MediaKind::Audio => self.audio.get(slot).copied(),
            MediaKind::Video => self.video.get(slot).copied(),
        }
    }
}
