//! Packets ⇄ network: one WebRTC connection as a pure machine. The only folder that names `rtc`.
//!
//! ```text
//!  rtp::Packet ─ send_rtp ─►┌────────────────────────┐─ poll_transmit ─► UDP
//!  RTCP, text  ─ send_… ──► │ Peer: ICE, DTLS, SRTP, │
//!  PeerEvent  ◄─ poll_event │ SCTP of `rtc`          │◄─ handle_datagram ─ UDP
//!                           └────────────────────────┘◄─ handle_timeout(now)
//! ```
//!
//! There is no socket, no task and no clock in here. After anything was handed in, empty
//! [`Peer::poll_transmit`] and [`Peer::poll_event`], then ask [`Peer::poll_timeout`].

mod ear;
mod engine;
mod handshake;
pub mod names;
mod srtp;
mod stats;
mod tap;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use rtc::data_channel::RTCDataChannelId;
use rtc::peer_connection::RTCPeerConnection;
use rtc::peer_connection::event::{RTCDataChannelEvent, RTCPeerConnectionEvent};
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::{RTCIceConnectionState, RTCPeerConnectionState};
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};

use crate::rtp;
use crate::rtp::clock::NtpAnchor;
use handshake::{Handshake, Inbound};
use srtp::{Srtp, Unprotected};
pub use stats::{IceChecks, PeerStats, Traffic};

/// The SSRCs of everything we send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ssrcs {
    /// Sound.
    pub audio: u32,
    /// Pictures.
    pub video: u32,
    /// Retransmitted pictures (RFC 4588).
    pub video_rtx: u32,
}

/// Header extension ids of one kind of stream, as negotiated; `None` is not sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionIds {
    /// RFC 6464.
    pub audio_level: Option<u8>,
    /// Absolute send time, 24 bits of NTP.
    pub abs_send_time: Option<u8>,
    /// Transport-wide sequence numbers.
    pub transport_cc: Option<u8>,
    /// 3GPP coordination of video orientation.
    pub video_orientation: Option<u8>,
}

/// A datagram to be sent.
#[derive(Debug)]
pub struct Transmit {
    /// Where to.
    pub to: SocketAddr,
    /// What.
    pub payload: BytesMut,
}

/// What the connection tells.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerEvent {
    /// ICE has a nominated pair.
    IceConnected,
    /// ICE gets no answer; it may come back by itself.
    IceDisconnected,
    /// DTLS is done and both fingerprints are right: media can flow.
    Connected,
    /// It will not come back.
    Failed,
    /// The other side has proved itself with a certificate that is not the announced one: it is
    /// somebody else. A new try would meet the same.
    WrongCertificate,
    /// The data channel can carry text.
    DataChannelOpen,
    /// A text message on the data channel.
    Text(String),
    /// An inbound RTCP compound, decrypted.
    Rtcp(Bytes),
}

/// Why the connection cannot be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The engine refused; its words.
    #[error("the WebRTC engine failed to {doing}: {source}")]
    Engine {
        /// What was asked of it.
        doing: &'static str,
        /// Its reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The data channel is not open, or not yet.
    #[error("the data channel is not open")]
    NoDataChannel,
}

/// One connection to an SFU.
pub struct Peer {
    pc: RTCPeerConnection,
    /// What the engine's timers said last, until something is done with it.
    engine_timeout: Option<Option<Instant>>,
    /// Media, without the engine.
    srtp: Srtp,
    channel: RTCDataChannelId,
    channel_open: bool,
    offer: String,
    local: SocketAddr,
    rtcp: mpsc::Receiver<Bytes>,
    handshake: Handshake,
    transmits: VecDeque<Transmit>,
    remote: Option<SocketAddr>,
    events: VecDeque<PeerEvent>,
    anchor: NtpAnchor,
    audio_ids: ExtensionIds,
    video_ids: ExtensionIds,
    ssrcs: Ssrcs,
    transport_sequence: u16,
    traffic: Traffic,
    channel_traffic: Traffic,
    ice_state: &'static str,
    dtls_state: &'static str,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither the engine nor the offer: both hold the ICE password.
        f.debug_struct("Peer")
            .field("ssrcs", &self.ssrcs)
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}

impl Peer {
    /// A connection that has made its offer and waits for the answer.
    ///
    /// # Errors
    /// When the engine refuses, which would be a bug of ours.
    pub fn new(ssrcs: Ssrcs, anchor: NtpAnchor, now: Instant) -> Result<Self, PeerError> {
        let engine::Engine { pc, channel, offer, rtcp, srtp } = engine::build(ssrcs, now)?;
        Ok(Self {
            pc,
            engine_timeout: None,
            srtp,
            channel,
            channel_open: false,
            offer,
            local: SocketAddr::from(([0, 0, 0, 0], 0)),
            rtcp,
            handshake: Handshake::default(),
            transmits: VecDeque::new(),
            remote: None,
            events: VecDeque::new(),
            anchor,
            audio_ids: ExtensionIds::default(),
            video_ids: ExtensionIds::default(),
            ssrcs,
            transport_sequence: 0,
            traffic: Traffic::default(),
            channel_traffic: Traffic::default(),
            ice_state: "new",
            dtls_state: "new",
        })
    }

    /// The local offer, as SDP. It holds the ICE password: never log it.
    pub fn offer(&self) -> &str {
        &self.offer
    }

    /// Applies the answer and starts ICE from `local`, the address that our socket has on the way
    /// to the server.
    ///
    /// # Errors
    /// When the engine does not understand the SDP.
    pub fn handle_answer(
        &mut self,
        sdp: String,
        local: SocketAddr,
        audio_ids: ExtensionIds,
        video_ids: ExtensionIds,
        now: Instant,
    ) -> Result<(), PeerError> {
        self.local = local;
        self.audio_ids = audio_ids;
        self.video_ids = video_ids;
        engine::add_local_candidate(&mut self.pc, local)?;
        let answer = RTCSessionDescription::answer(sdp).map_err(engine::failed("read the answer"))?;
        self.pc.set_remote_description(now, answer).map_err(engine::failed("apply the answer"))?;
        self.drain(now);
        Ok(())
    }

    /// A datagram from the network, which came at `arrived`. It may be RTCP and nothing else: this is
    /// given back, and no event comes of it.
    pub fn handle_datagram(
        &mut self,
        from: SocketAddr,
        payload: &[u8],
        arrived: Instant,
        now: Instant,
    ) -> Option<Bytes> {
        self.traffic.count_received(payload.len());
        match self.srtp.unprotect(from, payload) {
            Unprotected::Rtcp(compound) => return Some(compound),
            Unprotected::Nothing => return None,
            Unprotected::Engine => {}
        }
        let payload = BytesMut::from(payload);
        if Handshake::is_dtls(&payload) {
            match self.handshake.handle_inbound(payload, now) {
                Inbound::Pass(payload) => self.read(from, payload, now),
                Inbound::Keep => {
                    // Nominated later, it comes from the same place: there is one server address.
                    self.remote.get_or_insert(from);
                }
            }
        } else {
            // Of these it measures how long they took.
            self.read(from, payload, arrived);
        }
        self.drain(now);
        None
    }

    /// Something is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.handshake.handle_timeout(now);
        if let Err(error) = self.pc.handle_timeout(now) {
            tracing::debug!(%error, "the WebRTC engine failed at a timeout");
        }
        self.drain(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        // Asking costs a way through all of the engine's layers.
        let engine = *self.engine_timeout.get_or_insert_with(|| self.pc.poll_timeout());
        [engine, self.handshake.poll_timeout()].into_iter().flatten().min()
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        let transmit = self.transmits.pop_front()?;
        self.traffic.count_sent(transmit.payload.len());
        Some(transmit)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        self.events.pop_front()
    }

    /// Sends one RTP packet, with the header extensions that belong to its kind.
    ///
    /// # Errors
    /// When the engine refuses it.
    pub fn send_rtp(&mut self, packet: rtp::Packet, now: Instant) -> Result<(), PeerError> {
        let ids = if packet.ssrc == self.ssrcs.audio { self.audio_ids } else { self.video_ids };
        let sequence = self.transport_sequence;
        self.transport_sequence = sequence.wrapping_add(u16::from(!packet.is_repeatable));
        let packet = engine::rtp_packet(packet, ids, sequence, self.anchor.ntp_at(now));
        if let Some(protected) = self.srtp.protect(&packet) {
            let (to, payload) = protected?;
            self.transmits.push_back(Transmit { to, payload });
            return Ok(());
        }
        let first = self.srtp.is_listening().then(|| packet.clone());
        self.write(RTCMessage::RtpPacket(String::new(), packet), now)?;
        self.flush(now);
        if let Some(first) = first {
            let sent = self.transmits.iter().rev();
            self.srtp.compare(&first, sent.map(|transmit| (transmit.to, &transmit.payload[..])));
        }
        Ok(())
    }

    /// Does media go past the engine? Then neither sending it nor hearing of it changes anything else.
    pub(crate) fn sends_directly(&self) -> bool {
        self.srtp.is_open()
    }

    /// Sends an RTCP compound.
    ///
    /// # Errors
    /// When it is no RTCP, or the engine refuses it.
    pub fn send_rtcp(&mut self, compound: &[u8], now: Instant) -> Result<(), PeerError> {
        let mut bytes = Bytes::copy_from_slice(compound);
        let packets =
            rtc::rtcp::packet::unmarshal(&mut bytes).map_err(engine::failed("read our own RTCP"))?;
        self.write(RTCMessage::RtcpPacket(String::new(), packets), now)?;
        self.flush(now);
        Ok(())
    }

    /// Sends a text message on the data channel.
    ///
    /// # Errors
    /// When the channel is not open.
    pub fn send_text(&mut self, text: &str, now: Instant) -> Result<(), PeerError> {
        if !self.channel_open {
            return Err(PeerError::NoDataChannel);
        }
        let mut channel = self.pc.data_channel(self.channel).ok_or(PeerError::NoDataChannel)?;
        channel.send_text(now, text).map_err(engine::failed("send on the data channel"))?;
        self.channel_traffic.count_sent(text.len());
        self.drain(now);
        Ok(())
    }

    /// What it has counted so far, and how far it is.
    pub fn stats(&mut self, now: Instant) -> PeerStats {
        PeerStats {
            transport: self.traffic,
            channel: self.channel_traffic,
            channel_open: self.channel_open,
            ice_state: self.ice_state,
            dtls_state: self.dtls_state,
            local: self.local,
            remote: self.remote,
            checks: engine::ice_checks(&mut self.pc, now),
        }
    }

    /// Ends the connection: the last datagrams (DTLS close) are in [`poll_transmit`](Self::poll_transmit).
    pub fn close(&mut self, now: Instant) {
        if let Err(error) = self.pc.close() {
            tracing::debug!(%error, "the WebRTC engine failed to close");
        }
        self.drain(now);
    }

    fn write(&mut self, message: RTCMessage, now: Instant) -> Result<(), PeerError> {
        self.pc.handle_write(TaggedRTCMessage { now, message }).map_err(engine::failed("send a packet"))
    }

    fn read(&mut self, from: SocketAddr, payload: BytesMut, now: Instant) {
        let transport = TransportContext {
            local_addr: self.local,
            peer_addr: from,
            ecn: None,
            transport_protocol: TransportProtocol::UDP,
        };
        // A datagram that the engine cannot read is the sender's trouble: the next one is fine.
        if let Err(error) = self.pc.handle_read(TaggedBytesMut { now, transport, message: payload }) {
            tracing::trace!(%error, "a datagram was not understood");
        }
    }

    /// Takes everything out of the engine; what ICE just made possible goes back in.
    fn drain(&mut self, now: Instant) {
        loop {
            while let Some(event) = self.pc.poll_event() {
                self.handle_event(event, now);
            }
            while let Some(TaggedRTCMessage { message, .. }) = self.pc.poll_read() {
                if let RTCMessage::DataChannelMessage(_, text) = message {
                    self.channel_traffic.count_received(text.data.len());
                    // Telegram's channel carries JSON; what is not text has no meaning.
                    if let Ok(text) = String::from_utf8(text.data.to_vec()) {
                        self.events.push_back(PeerEvent::Text(text));
                    }
                }
            }
            while let Ok(compound) = self.rtcp.try_recv() {
                self.events.push_back(PeerEvent::Rtcp(compound));
            }
            self.flush(now);
            let nominated = self.events.contains(&PeerEvent::IceConnected);
            let held = if nominated { self.handshake.handle_nominated() } else { Vec::new() };
            let Some(from) = self.remote.filter(|_| !held.is_empty()) else { break };
            for payload in held {
                if let Inbound::Pass(payload) = self.handshake.handle_inbound(payload, now) {
                    self.read(from, payload, now);
                }
            }
        }
    }

    /// Moves the engine's datagrams to our queue.
    fn flush(&mut self, now: Instant) {
        self.engine_timeout = None;
        while let Some(TaggedBytesMut { transport, message, .. }) = self.pc.poll_write() {
            if Handshake::is_dtls(&message) {
                // The engine says so to the other side only.
                if handshake::is_bad_certificate(&message) {
                    self.events.push_back(PeerEvent::WrongCertificate);
                }
                self.remote = Some(transport.peer_addr);
                if self.dtls_state == "new" {
                    self.dtls_state = "connecting";
                }
                self.handshake.handle_outbound(&message, now);
            } else if Srtp::is_media(&message) {
                self.srtp.note_address(transport.peer_addr);
            }
            self.transmits.push_back(Transmit { to: transport.peer_addr, payload: message });
        }
        if let Some(to) = self.remote {
            while let Some(again) = self.handshake.poll_resend() {
                self.transmits.push_back(Transmit { to, payload: BytesMut::from(&again[..]) });
            }
        }
    }

    fn handle_event(&mut self, event: RTCPeerConnectionEvent, now: Instant) {
        let event = match event {
            RTCPeerConnectionEvent::OnIceConnectionStateChangeEvent(state) => match self.see_ice(state) {
                RTCIceConnectionState::Connected | RTCIceConnectionState::Completed => {
                    PeerEvent::IceConnected
                }
                RTCIceConnectionState::Disconnected => PeerEvent::IceDisconnected,
                RTCIceConnectionState::Failed => PeerEvent::Failed,
                _ => return,
            },
            RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) => match state {
                RTCPeerConnectionState::Connected => {
                    self.handshake.handle_connected(now);
                    self.dtls_state = "connected";
                    PeerEvent::Connected
                }
                RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed => {
                    self.dtls_state =
                        if state == RTCPeerConnectionState::Failed { "failed" } else { "closed" };
                    PeerEvent::Failed
                }
                _ => return,
            },
            RTCPeerConnectionEvent::OnDataChannel(RTCDataChannelEvent::OnOpen(id)) if id == self.channel => {
                self.channel_open = true;
                PeerEvent::DataChannelOpen
            }
            RTCPeerConnectionEvent::OnDataChannel(RTCDataChannelEvent::OnClose(id)) if id == self.channel => {
                self.channel_open = false;
                return;
            }
            _ => return,
        };
        self.events.push_back(event);
    }

    /// Remembers how ICE stands, in W3C's words.
    fn see_ice(&mut self, state: RTCIceConnectionState) -> RTCIceConnectionState {
        self.ice_state = match state {
            RTCIceConnectionState::Checking => "checking",
            RTCIceConnectionState::Connected | RTCIceConnectionState::Completed => "connected",
            RTCIceConnectionState::Disconnected => "disconnected",
            RTCIceConnectionState::Failed => "failed",
            RTCIceConnectionState::Closed => "closed",
            _ => "new",
        };
        state
    }
}
