//! The watcher as a participant: datagrams and participant rows in, encoded frames out.
//!
//! ```text
//! rows ──────► which SSRCs to expect ─┐
//! datagrams ─► ICE, DTLS, SRTP, RTP ──┴─► str0m's depacketizers ─► Encoded, SenderReport
//! ```
//!
//! Everything from the datagram to the access unit is str0m's: no code of the sender takes part
//! in judging what the sender did.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::channel::{ChannelConfig, ChannelId};
use str0m::format::Codec;
use str0m::media::{KeyframeRequestKind, MediaData, MediaKind as StrMediaKind, Mid, SenderFeedback};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RawPacket;
use str0m::rtp::rtcp::Rtcp;
use str0m::{Candidate, Event, Input, Output as RtcOutput, Rtc, RtcConfig, RtcError};
use tracing::{debug, trace};

use super::WatchError;
use super::clock::since_1970;
use super::formats::{codec_of, configure_codecs, extensions};
use super::loss::{LossCounter, LossCounts};
use super::payload::{self, Answer};
use super::watched::{Track, Watched, layers_of};
use crate::call::signaling::ParticipantRow;
use crate::media::MediaKind;
use crate::secret::Secret;
use crate::time::MediaTime;

/// The transport must be up this long after the answer; the real clients give up after ten
/// seconds, too.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the wish for video is repeated, as the official clients do.
const CONSTRAINTS_INTERVAL: Duration = Duration::from_secs(5);

/// The height asked for: what the clients call Full.
const FULL_HEIGHT: u32 = 720;

/// At most one request for a keyframe in this time. A server needs a round trip and the sender
/// a frame or two to answer one.
const KEYFRAME_REQUEST_INTERVAL: Duration = Duration::from_millis(500);

/// Packets that wait for a missing one before a picture is given up: more than the largest
/// keyframe of a 720p stream is split into, so that a repair of its first packet is waited for.
const VIDEO_REORDERING: usize = 512;

/// How long a sound frame waits for one that is missing before it: the jitter buffer of this
/// receiver. Browsers adapt theirs between about 40 and 200 ms.
pub(super) const AUDIO_PATIENCE: Duration = Duration::from_millis(100);

/// So long the watcher's RTCP is held back, as if it came from farther away. str0m waits for a
/// missing packet as long as five NACKs and three round trips take: 33 ms on a loopback
/// interface, too short for a repair that comes from the sender behind a real network. With
/// this it waits some 0.8 s; browsers wait longer.
const FEEDBACK_DELAY: Duration = Duration::from_millis(100);

/// An encoded frame, depacketized and in order.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    pub(super) kind: MediaKind,
    /// RTP timestamp, extended to 64 bits.
    pub(super) timestamp: u64,
    /// When its first packet came, on the watcher's clock (zero = the watcher's start).
    pub(super) arrival: MediaTime,
    /// No packet is missing between the frame before and this one.
    pub(super) contiguous: bool,
    /// Opus packet or H.264 access unit in Annex B form.
    pub(super) data: Arc<[u8]>,
}

/// What the watcher wants done.
#[derive(Debug)]
pub(super) enum Output {
    /// Send a datagram.
    Transmit { to: SocketAddr, datagram: Vec<u8> },
    /// ICE and DTLS are up.
    Connected,
    /// Frames and reports that follow are of other SSRCs than those before.
    NewSource,
    /// Decode this.
    Frame(Encoded),
    /// What the sender says of its clock: this RTP timestamp was at this time since 1970.
    SenderReport { kind: MediaKind, timestamp: u32, ntp: MediaTime },
    /// The server has ended the connection.
    Closed,
}

/// What came, by the packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Arrivals {
    /// When this was counted, on the clock of [`Encoded::arrival`].
    pub(super) now: MediaTime,
    pub(super) audio: LossCounts,
    pub(super) video: LossCounts,
    pub(super) audio_codec: Option<crate::media::Codec>,
    pub(super) video_codec: Option<crate::media::Codec>,
    /// Whose packets these are.
    pub(super) peer: Option<String>,
    /// When the first frame of the present connection of `peer` came.
    pub(super) first_media: Option<Instant>,
    /// Frames of a picture that could not be decoded because what they refer to is missing.
    pub(super) n_undecodable: u64,
    pub(super) n_keyframe_requests: u64,
    pub(super) n_nacks: u64,
    /// Packets whose payload no depacketizer would take.
    pub(super) n_malformed: u64,
    pub(super) n_sender_reports: u64,
    /// Frames that the watcher's own decoder was too slow for.
    pub(super) n_dropped: u64,
}

/// The participant. `now` is an argument everywhere.
#[derive(Debug)]
pub(super) struct State {
    rtc: Rtc,
    started: Instant,
    source: i32,
    active: bool,
    local: SocketAddr,
    /// Watch only this peer; without it, the first other one that sends.
    of: Option<String>,
    watched: Option<Watched>,
    channel: Option<ChannelId>,
    constraints_due: Option<Instant>,
    connect_by: Option<Instant>,
    rtc_timeout: Instant,
    /// RTCP on its way, and when it leaves.
    held_back: VecDeque<(Instant, Output)>,
    next_mid: u32,
    /// Of tracks that are gone.
    settled: Arrivals,
    outputs: VecDeque<Output>,
}

impl State {
    /// A watcher at `local` that is DTLS client (`active`) or server.
    pub(super) fn new(
        local: SocketAddr,
        of: Option<String>,
        active: bool,
        now: Instant,
    ) -> Result<Self, WatchError> {
        let provider = str0m::crypto::from_feature_flags();
        let mut config = RtcConfig::new()
            .set_crypto_provider(Arc::new(provider))
            .clear_codecs()
            .set_extension_map(extensions())
            .set_reordering_timeout_audio(Some(AUDIO_PATIENCE))
            .set_reordering_size_video(VIDEO_REORDERING)
            .enable_raw_packets(true);
        configure_codecs(&mut config);
        let mut rtc = config.build(now);
        let candidate = Candidate::host(local, "udp").map_err(|e| WatchError::Transport(Box::new(e)))?;
        rtc.add_local_candidate(candidate);
        // 31 bits, as the native clients do, and never zero.
        let source = fastrand::i32(1..i32::MAX);
        Ok(Self {
            rtc,
            started: now,
            source,
            active,
            local,
            of,
            watched: None,
            channel: None,
            constraints_due: None,
            connect_by: None,
            rtc_timeout: now,
            held_back: VecDeque::new(),
            next_mid: 0,
            settled: Arrivals::default(),
            outputs: VecDeque::new(),
        })
    }

    /// The audio SSRC as TL has it.
    pub(super) fn source(&self) -> i32 {
        self.source
    }

    /// What goes into the join.
    pub(super) fn join_params(&mut self) -> Secret<String> {
        let direct = self.rtc.direct_api();
        payload::join_params(
            self.source,
            &direct.local_ice_credentials(),
            direct.local_dtls_fingerprint(),
            self.active,
        )
    }

    /// The answer to the join has come.
    pub(super) fn handle_answer(&mut self, answer: &str, now: Instant) -> Result<(), WatchError> {
        let answer = Answer::parse(answer)?;
        self.rtc.handle_input(Input::Timeout(now)).map_err(transport)?;
        for address in answer.candidates.iter().filter(|address| address.is_ipv4() == self.local.is_ipv4()) {
            let candidate =
                Candidate::host(*address, "udp").map_err(|e| WatchError::Transport(Box::new(e)))?;
            self.rtc.add_remote_candidate(candidate);
        }
        let mut direct = self.rtc.direct_api();
        // The server is ICE-lite: whoever talks to it has to nominate.
        direct.set_ice_controlling(true);
        let creds = str0m::IceCreds { ufrag: answer.ufrag, pass: answer.pwd.expose().clone() };
        direct.set_remote_ice_credentials(creds);
        direct.set_remote_fingerprint(answer.fingerprint);
        direct.start_dtls(self.active).map_err(transport)?;
        direct.start_sctp(true);
        direct.enable_twcc_feedback();
        let label = ChannelConfig { label: "data".into(), ..ChannelConfig::default() };
        self.channel = Some(direct.create_data_channel(label));
        self.connect_by = Some(now + CONNECT_TIMEOUT);
        self.drive(now)
    }

    /// Rows of the participant list: all of it, or those that changed.
    pub(super) fn handle_participants(
        &mut self,
        rows: &[ParticipantRow],
        now: Instant,
    ) -> Result<(), WatchError> {
        for row in rows {
            if row.is_self || row.source == self.source {
                continue;
            }
            let wanted = match (&self.watched, &self.of) {
                (Some(watched), _) => watched.peer == row.peer,
                (None, Some(of)) => *of == row.peer,
                // Whoever neither speaks nor shows anything, such as another watcher, is not it.
                (None, None) => !row.muted || row.video.is_some(),
            };
            if !wanted || row.min {
                continue;
            }
            if row.left || row.source == 0 {
                if self
                    .watched
                    .as_ref()
                    .is_some_and(|watched| row.source == 0 || watched.source == row.source)
                {
                    self.forget();
                }
                continue;
            }
            self.watch(row);
        }
        self.ask_for_video(now);
        self.drive(now)
    }

    /// A datagram has come from `from`.
    pub(super) fn handle_datagram(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) -> Result<(), WatchError> {
        match Receive::new(Protocol::Udp, from, self.local, datagram) {
            Ok(receive) => self.rtc.handle_input(Input::Receive(now, receive)).map_err(transport)?,
            Err(error) => trace!(%from, %error, "not a datagram of WebRTC"),
        }
        self.drive(now)
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), WatchError> {
        if self.connect_by.is_some_and(|by| by <= now) {
            return Err(WatchError::NotConnected(CONNECT_TIMEOUT));
        }
        if self.rtc_timeout <= now {
            self.rtc.handle_input(Input::Timeout(now)).map_err(transport)?;
        }
        if self.constraints_due.is_some_and(|due| due <= now) {
            self.ask_for_video(now);
        }
        while let Some((_, output)) = self.held_back.pop_front_if(|(due, _)| *due <= now) {
            self.outputs.push_back(output);
        }
        self.drive(now)
    }

    /// The decoder could not use what it got: nothing more before the next keyframe.
    pub(super) fn handle_decoder_failure(&mut self, now: Instant) -> Result<(), WatchError> {
        self.await_key(now);
        self.drive(now)
    }

    /// Says goodbye to the transport; the datagrams for it follow from [`State::poll_output`].
    pub(super) fn close(&mut self, now: Instant) {
        if let Err(error) = self.rtc.close() {
            debug!(%error, "the transport did not close in order");
        }
        // Whatever is wrong now, the watcher is leaving.
        self.drive(now).unwrap_or_else(|error| debug!(%error, "while closing"));
    }

    /// The next thing to do; `None` when there is nothing before [`State::poll_timeout`].
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`State::handle_timeout`] wants to be called.
    pub(super) fn poll_timeout(&self) -> Instant {
        let others = [self.connect_by, self.constraints_due, self.held_back.front().map(|(due, _)| *due)];
        others.into_iter().flatten().fold(self.rtc_timeout, Instant::min)
    }

    /// The packets so far.
    pub(super) fn arrivals(&self, now: Instant) -> Arrivals {
        let mut arrivals = Arrivals { now: self.since_start(now), ..self.settled.clone() };
        if let Some(watched) = &self.watched {
            arrivals.audio += watched.audio.loss.counts();
            for layer in &watched.layers {
                arrivals.video += layer.loss.counts();
            }
        }
        arrivals
    }

    /// On the watcher's clock, which begins with the watcher.
    fn since_start(&self, at: Instant) -> MediaTime {
        MediaTime::from(at.saturating_duration_since(self.started))
    }

    /// Declares what `row` sends. str0m drops SSRCs that nobody expects, so this comes before
    /// the first packet.
    fn watch(&mut self, row: &ParticipantRow) {
        let groups = row.video.as_ref().map(|video| layers_of(&video.source_groups)).unwrap_or_default();
        if let Some(watched) = &self.watched {
            let same_layers =
                watched.layers.iter().map(|layer| (layer.ssrc, layer.rtx)).eq(groups.iter().copied());
            if watched.source == row.source && same_layers {
                return;
            }
            self.forget();
        }
        debug!(peer = row.peer, source = row.source, layers = groups.len(), "watching");
        let audio = self.expect(MediaKind::Audio, row.source.cast_unsigned(), None);
        let layers: Vec<Track> =
            groups.into_iter().map(|(ssrc, rtx)| self.expect(MediaKind::Video, ssrc, rtx)).collect();
        self.outputs.push_back(Output::NewSource);
        self.settled.peer = Some(row.peer.clone());
        self.settled.first_media = None;
        self.watched = Some(Watched {
            peer: row.peer.clone(),
            source: row.source,
            endpoint: row.video.as_ref().map(|video| video.endpoint.clone()),
            audio,
            layer: 0,
            layers,
            awaits_key: true,
            asked_for_key: None,
        });
    }

    fn expect(&mut self, kind: MediaKind, ssrc: u32, rtx: Option<u32>) -> Track {
        self.next_mid += 1;
        let mid = Mid::from(&*format!("{}", self.next_mid));
        let mut direct = self.rtc.direct_api();
        let media = match kind {
            MediaKind::Audio => StrMediaKind::Audio,
            MediaKind::Video => StrMediaKind::Video,
        };
        direct.declare_media(mid, media);
        direct.expect_stream_rx(ssrc.into(), rtx.map(Into::into), mid, None);
        Track { mid, ssrc, rtx, loss: LossCounter::default(), last_frame: None }
    }

    /// Stops watching; what was counted stays.
    fn forget(&mut self) {
        let Some(watched) = self.watched.take() else { return };
        debug!(peer = watched.peer, "no longer watching");
        self.settled.audio += watched.audio.loss.counts();
        let mut direct = self.rtc.direct_api();
        direct.remove_media(watched.audio.mid);
        for layer in watched.layers {
            self.settled.video += layer.loss.counts();
            direct.remove_media(layer.mid);
        }
    }

    /// Tells the server which video to forward. Without it there is none.
    fn ask_for_video(&mut self, now: Instant) {
        let Some(mut channel) = self.channel.and_then(|id| self.rtc.channel(id)) else { return };
        let endpoint = self.watched.as_ref().and_then(|watched| watched.endpoint.as_deref());
        let endpoints: Vec<&str> = endpoint.into_iter().collect();
        let constraints: serde_json::Map<String, serde_json::Value> = endpoints
            .iter()
            .map(|name| ((*name).to_owned(), serde_json::json!({"minHeight": 180, "maxHeight": FULL_HEIGHT})))
            .collect();
        let message = serde_json::json!({
            "colibriClass": "ReceiverVideoConstraints",
            "defaultConstraints": {"maxHeight": 0},
            "onStageEndpoints": endpoints,
            "constraints": constraints,
        });
        match channel.write(false, message.to_string().as_bytes()) {
            Ok(true) => trace!(%message, "asked for video"),
            Ok(false) => debug!("the data channel is full, asking again later"),
            // Not open yet: the opening sends it.
            Err(error) => trace!(%error, "the data channel does not take anything yet"),
        }
        self.constraints_due = Some(now + CONSTRAINTS_INTERVAL);
    }

    /// Takes from str0m until it has nothing more to say.
    fn drive(&mut self, now: Instant) -> Result<(), WatchError> {
        loop {
            match self.rtc.poll_output() {
                Ok(RtcOutput::Timeout(at)) => {
                    self.rtc_timeout = at;
                    return Ok(());
                }
                Ok(RtcOutput::Transmit(transmit)) => {
                    let datagram = transmit.contents.to_vec();
                    let feedback = is_rtcp(&datagram);
                    let output = Output::Transmit { to: transmit.destination, datagram };
                    if feedback {
                        self.held_back.push_back((now + FEEDBACK_DELAY, output));
                    } else {
                        self.outputs.push_back(output);
                    }
                }
                Ok(RtcOutput::Event(event)) => self.handle_event(event, now),
                // One packet that is no H.264 or no Opus: str0m has dropped it and goes on.
                Err(RtcError::Packet(mid, pt, error)) => {
                    debug!(%mid, %pt, %error, "a payload that cannot be depacketized");
                    self.settled.n_malformed += 1;
                    self.await_key(now);
                }
                Err(error) => return Err(transport(error)),
            }
        }
    }

    fn handle_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Connected => {
                self.connect_by = None;
                self.outputs.push_back(Output::Connected);
            }
            Event::ChannelOpen(id, label) => {
                debug!(label, "data channel open");
                self.channel = Some(id);
                self.ask_for_video(now);
            }
            Event::ChannelData(message) => {
                trace!(message = %String::from_utf8_lossy(&message.data), "from the data channel");
            }
            Event::RawPacket(packet) => self.count(&packet),
            Event::SenderFeedback(feedback) => self.handle_report(&feedback),
            Event::MediaData(data) => self.handle_frame(&data, now),
            Event::Closed => self.outputs.push_back(Output::Closed),
            other => trace!(?other, "event"),
        }
    }

    fn count(&mut self, packet: &RawPacket) {
        match packet {
            RawPacket::RtpRx(header, payload) => {
                let Some(watched) = &mut self.watched else { return };
                let ssrc = *header.ssrc;
                for track in std::iter::once(&mut watched.audio).chain(&mut watched.layers) {
                    if track.ssrc == ssrc {
                        track.loss.handle_packet(header.sequence_number, false);
                    } else if track.rtx == Some(ssrc)
                        && let Some(original) = payload.first_chunk::<2>()
                    {
                        // RFC 4588 §4: the payload starts with the original sequence number.
                        track.loss.handle_packet(u16::from_be_bytes(*original), true);
                    }
                }
            }
            RawPacket::RtcpTx(Rtcp::Nack(_)) => self.settled.n_nacks += 1,
            _ => {}
        }
    }

    fn handle_report(&mut self, report: &SenderFeedback) {
        let Some(watched) = &self.watched else { return };
        // A report on nothing sent ties a time to a timestamp that was never used.
        if report.sender_info.sender_packet_count == 0 {
            return;
        }
        let kind = if report.mid == watched.audio.mid {
            MediaKind::Audio
        } else if watched.layers.get(watched.layer).is_some_and(|layer| layer.mid == report.mid) {
            MediaKind::Video
        } else {
            return;
        };
        self.settled.n_sender_reports += 1;
        #[expect(clippy::cast_possible_truncation, reason = "the RTP timestamp is what the low 32 bits are")]
        let timestamp = report.sender_info.rtp_time.numer() as u32;
        let ntp = since_1970(report.sender_info.ntp_time);
        self.outputs.push_back(Output::SenderReport { kind, timestamp, ntp });
    }

    fn handle_frame(&mut self, frame: &MediaData, now: Instant) {
        let Some(watched) = &mut self.watched else { return };
        let codec = frame.params.spec().codec;
        let kind = if frame.mid == watched.audio.mid { MediaKind::Audio } else { MediaKind::Video };
        self.settled.first_media.get_or_insert(frame.network_time);
        match kind {
            MediaKind::Audio => {
                self.settled.audio_codec = Some(codec_of(codec));
                watched.audio.last_frame = Some(now);
            }
            MediaKind::Video => {
                self.settled.video_codec = Some(codec_of(codec));
                let Some(layer) = watched.choose_layer(frame, now) else { return };
                watched.layers[layer].last_frame = Some(now);
                if !frame.contiguous && !frame.is_keyframe() {
                    watched.awaits_key = true;
                }
                if frame.is_keyframe() {
                    watched.awaits_key = false;
                }
                if watched.awaits_key {
                    self.settled.n_undecodable += 1;
                    self.await_key(now);
                    return;
                }
            }
        }
        if !matches!(codec, Codec::Opus | Codec::H264) {
            return;
        }
        self.outputs.push_back(Output::Frame(Encoded {
            kind,
            timestamp: frame.time.numer(),
            arrival: self.since_start(frame.network_time),
            contiguous: frame.contiguous,
            data: frame.data.clone(),
        }));
    }

    /// Asks the sender for a picture that stands alone.
    fn await_key(&mut self, now: Instant) {
        let Some(watched) = &mut self.watched else { return };
        watched.awaits_key = true;
        if watched.asked_for_key.is_some_and(|at| now.duration_since(at) < KEYFRAME_REQUEST_INTERVAL) {
            return;
        }
        let Some(layer) = watched.layers.get(watched.layer) else { return };
        if let Some(stream) = self.rtc.direct_api().stream_rx(&layer.ssrc.into()) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
            watched.asked_for_key = Some(now);
            self.settled.n_keyframe_requests += 1;
        }
    }
}

/// RFC 7983 tells RTP and RTCP from the rest, RFC 5761 one from the other.
pub(super) fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [128..=191, 192..=223, ..])
}

fn transport(error: RtcError) -> WatchError {
    WatchError::Transport(Box::new(error))
}
