//! One attempt at a connection: from its offer over the server's answer to its goodbye.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::{Effect, Participant};
use crate::call::colibri::{self, ServerMessage};
use crate::call::params::{RemoteParams, Setup, random_ssrcs};
use crate::call::state::Transport;
use crate::call::{CallEvent, JoinError, sdp, streams};
use crate::media::Codec;
use crate::peer::{Peer, PeerEvent, Ssrcs};
use crate::rtp::{Sender, SenderConfig};
use crate::secret::Secret;

/// What one attempt has; all of it is new in the next.
pub(super) struct Connection {
    pub(super) attempt: u32,
    pub(super) local: SocketAddr,
    pub(super) ssrcs: Ssrcs,
    pub(super) setup: Setup,
    pub(super) offer: sdp::OfferView,
    pub(super) peer: Peer,
    pub(super) sender: Option<Sender>,
    pub(super) up: bool,
}

impl Participant {
    /// A new peer, and the join payload that announces it.
    pub(super) fn connect(
        &mut self,
        attempt: u32,
        setup: Setup,
        local: SocketAddr,
        now: Instant,
    ) -> Result<Secret<String>, JoinError> {
        let ssrcs = random_ssrcs(&mut self.rng);
        let peer = Peer::new(ssrcs, self.config.anchor, now)?;
        let offer =
            sdp::OfferView::parse(peer.offer()).map_err(|error| JoinError::Peer(error.to_string()))?;
        let params = offer.join_params(setup).map_err(|error| JoinError::Peer(error.to_string()))?;
        self.connection =
            Some(Connection { attempt, local, ssrcs, setup, offer, peer, sender: None, up: false });
        Ok(params.to_json())
    }

    /// The server's side: from here on the peer talks to it.
    pub(super) fn apply(
        &mut self,
        attempt: u32,
        remote: &RemoteParams,
        now: Instant,
    ) -> Result<(), JoinError> {
        let Some(connection) = self.connection.as_mut().filter(|c| c.attempt == attempt) else {
            return Ok(());
        };
        self.milestones.answered.get_or_insert(now);
        let audio = streams::audio(remote, connection.ssrcs)?;
        let video = streams::video(remote, connection.ssrcs);
        if video.is_none() && self.config.options.video && !std::mem::replace(&mut self.told_no_video, true) {
            let listed = remote.video_codec_names();
            tracing::warn!(?listed, "the server takes neither H.264 nor VP8: only sound is sent");
            self.effects.push_back(Effect::Event(CallEvent::VideoNotAccepted { listed }));
        }
        if video.as_ref().is_some_and(|video| video.codec != Codec::H264) {
            tracing::info!("the server takes no H.264: pictures are sent as VP8");
        }
        connection.sender = Some(Sender::new(SenderConfig {
            audio: Some(audio),
            video,
            cname: Arc::from(format!("{:016x}", self.rng.u64(..))),
            anchor: self.config.anchor,
            seed: self.rng.u64(..),
            stagger: self.config.stagger,
        }));
        // IPv6 routes that lead nowhere are common and would only delay the checks.
        let options = sdp::AnswerOptions { our_setup: connection.setup, ipv6: false };
        let answer = sdp::answer(&connection.offer, remote, options)?;
        let local = local_address(connection.local, remote, self.config.route);
        connection.peer.handle_answer(
            answer.expose().clone(),
            local,
            remote.audio_extensions(),
            remote.video_extensions(),
            now,
        )?;
        Ok(())
    }

    pub(super) fn drive_peer(&mut self, now: Instant) -> bool {
        let mut moved = false;
        while let Some(event) = self.connection.as_mut().and_then(|c| c.peer.poll_event()) {
            moved = true;
            match event {
                PeerEvent::IceConnected => {
                    self.milestones.ice.get_or_insert(now);
                    self.state.handle_transport(Transport::IceConnected, now);
                }
                PeerEvent::IceDisconnected => self.state.handle_transport(Transport::IceDisconnected, now),
                PeerEvent::WrongCertificate => {
                    self.state.handle_transport(Transport::WrongCertificate, now);
                }
                PeerEvent::Failed => self.state.handle_transport(Transport::Failed, now),
                PeerEvent::Connected => {
                    self.milestones.dtls.get_or_insert(now);
                    if let Some(connection) = &mut self.connection {
                        connection.up = true;
                    }
                    self.state.handle_transport(Transport::Connected, now);
                }
                PeerEvent::DataChannelOpen => self.handle_channel_open(now),
                PeerEvent::Text(text) => self.handle_text(&text),
                PeerEvent::Rtcp(compound) => self.handle_rtcp(&compound, now),
            }
        }
        moved
    }

    fn handle_channel_open(&mut self, now: Instant) {
        self.milestones.data_channel.get_or_insert(now);
        // We only send: nobody's video is to be forwarded to us.
        let text = colibri::receiver_video_constraints(&[]);
        if let Some(connection) = &mut self.connection
            && let Err(error) = connection.peer.send_text(&text, now)
        {
            tracing::debug!(%error, "the video constraints were not sent");
        }
        if !self.state.audible() && !self.state.visible() {
            // Nothing will be sent that could be confirmed, and the server talks to us.
            self.state.handle_confirmation();
        }
    }

    fn handle_text(&mut self, text: &str) {
        match ServerMessage::parse(text) {
            Ok(ServerMessage::SenderVideoConstraints { ideal_height }) => {
                self.ideal_height = Some(ideal_height);
                self.effects.push_back(Effect::Event(CallEvent::VideoWanted { height: ideal_height }));
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "a data channel message was not understood"),
        }
    }

    pub(super) fn close_connection(&mut self, now: Instant) {
        let Some(mut connection) = self.connection.take() else { return };
        let goodbye = connection.sender.filter(|_| connection.up).and_then(|sender| sender.goodbye(now));
        if let Some(goodbye) = goodbye
            && let Err(error) = connection.peer.send_rtcp(&goodbye, now)
        {
            tracing::trace!(%error, "the goodbye was refused");
        }
        connection.peer.close(now);
        // A courtesy: the server has its timers, and should these get lost, nobody repeats them.
        self.farewell.extend(std::iter::from_fn(|| connection.peer.poll_transmit()));
    }
}

/// The address that the server will see packets come from, as far as we can tell.
fn local_address(
    socket: SocketAddr,
    remote: &RemoteParams,
    route: fn(IpAddr) -> Option<IpAddr>,
) -> SocketAddr {
    if !socket.ip().is_unspecified() {
        return socket;
    }
    let facing = remote.transport.candidates.iter().filter(|c| c.ip.is_ipv4()).find_map(|c| route(c.ip));
    SocketAddr::new(facing.unwrap_or_else(|| socket.ip()), socket.port())
}
