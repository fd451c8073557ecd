//! RTP ─► datagrams ─► RTCP past the engine, once it has made the keys.
//!
//! The engine takes every packet through eight layers, each with queues of its own; encrypting it
//! is the smallest part of that. So the first packet of a connection goes through the engine and is
//! encrypted here as well, with the keys that were overheard ([`super::ear`]). When both come to
//! the same bytes, all further RTP is encrypted here and the RTCP that comes in is decrypted here.
//! When they do not, nothing changes: everything goes on through the engine.
//!
//! Each number is used by one of the two only: RTP after the first packet is ours, and so are its
//! roll-over counters; SRTCP that we send has its counter in the engine, and leaves through it.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};

use bytes::{Bytes, BytesMut};
use rtc::crypto::{RTCCryptoProvider, SecretVec};
use rtc::rtp::Packet;
use rtc::shared::marshal::Marshal as _;
use rtc::srtp::context::Context;
use rtc::srtp::option::srtcp_replay_protection;
use rtc::srtp::protection_profile::ProtectionProfile;

use super::PeerError;
use super::ear::Heard;
use super::engine::failed;

/// How far SRTCP may come out of order, as in the engine.
const REPLAY_WINDOW: usize = 64;

/// The shortest RTP header (RFC 3550 §5.1).
const RTP_HEADER: usize = 12;

/// Media of one connection.
pub(super) struct Srtp {
    crypto: Arc<dyn RTCCryptoProvider>,
    state: State,
}

enum State {
    /// Nothing was sent yet, or the engine did not send it.
    Listening(mpsc::Receiver<Heard>),
    Open(Box<Open>),
    /// What was overheard were no keys of this engine.
    Deaf,
}

/// What a datagram turned out to be.
#[derive(Debug)]
pub(super) enum Unprotected {
    /// RTCP.
    Rtcp(Bytes),
    /// The engine has to look at it.
    Engine,
    /// Forged, or repeated.
    Nothing,
}

struct Open {
    ours: Context,
    theirs: Context,
    to: SocketAddr,
}

impl Srtp {
    pub(super) fn new(crypto: Arc<dyn RTCCryptoProvider>, heard: mpsc::Receiver<Heard>) -> Self {
        Self { crypto, state: State::Listening(heard) }
    }

    /// The packet as a datagram and where it goes to; `None` when it is for the engine to send.
    ///
    /// What cannot be encrypted is lost: the engine does not know how often the numbers have gone
    /// round by now, and would use a nonce twice.
    pub(super) fn protect(&mut self, packet: &Packet) -> Option<Result<(SocketAddr, BytesMut), PeerError>> {
        let State::Open(open) = &mut self.state else { return None };
        let encrypted =
            packet.marshal().and_then(|plain| open.ours.encrypt_rtp_with_header(&plain, &packet.header));
        Some(encrypted.map(|datagram| (open.to, datagram)).map_err(failed("encrypt a packet")))
    }

    /// What becomes of a datagram that has come in.
    pub(super) fn unprotect(&mut self, from: SocketAddr, datagram: &[u8]) -> Unprotected {
        let State::Open(open) = &mut self.state else { return Unprotected::Engine };
        // RFC 7983 and RFC 5761: what is RTCP where everything shares a port.
        let [128..=191, 192..=223, ..] = datagram else { return Unprotected::Engine };
        // Before anything is remembered of it: the context keeps a window for every SSRC.
        if from != open.to {
            return Unprotected::Nothing;
        }
        // A repetition is nothing new, and the engine would not know it for one.
        let decrypted = open.theirs.decrypt_rtcp(datagram);
        decrypted.map_or(Unprotected::Nothing, |compound| Unprotected::Rtcp(compound.freeze()))
    }

    pub(super) fn is_listening(&self) -> bool {
        matches!(self.state, State::Listening(_))
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Is this RTP or RTCP (RFC 7983: first byte 128 to 191)?
    pub(super) fn is_media(datagram: &[u8]) -> bool {
        matches!(datagram.first(), Some(128..=191))
    }

    /// The engine has sent media of ours to there.
    pub(super) fn note_address(&mut self, peer: SocketAddr) {
        if let State::Open(open) = &mut self.state {
            open.to = peer;
        }
    }

    /// Finds the keys with which `packet` has become one of these datagrams of the engine's.
    pub(super) fn compare<'a>(
        &mut self,
        packet: &Packet,
        mut sent: impl Iterator<Item = (SocketAddr, &'a [u8])>,
    ) {
        let State::Listening(heard) = &self.state else { return };
        let Ok(plain) = packet.marshal() else { return };
        let is_it = |(_, bytes): &(SocketAddr, &[u8])| bytes.get(..RTP_HEADER) == plain.get(..RTP_HEADER);
        let Some((to, cipher)) = sent.find(is_it) else { return };
        let mut first_blocks: Vec<Heard> = Vec::new();
        for heard in heard.try_iter() {
            if first_blocks.iter().all(|known| known.key.as_ref() != heard.key.as_ref()) {
                first_blocks.push(heard);
            }
        }
        let found = match &first_blocks[..] {
            [ours, theirs, ..] => {
                cipher.len().checked_sub(plain.len()).and_then(|tag_len| self.contexts(ours, theirs, tag_len))
            }
            _ => None,
        };
        let check = found.and_then(|(mut ours, theirs)| {
            let same = ours.encrypt_rtp_with_header(&plain, &packet.header).is_ok_and(|it| it == *cipher);
            same.then_some((ours, theirs))
        });
        self.state = match check {
            Some((ours, theirs)) => State::Open(Box::new(Open { ours, theirs, to })),
            None => {
                tracing::debug!("the keys of media were not overheard; all of it goes through the engine");
                State::Deaf
            }
        };
    }

    /// Both directions, when a packet grows by `tag_len` as it is encrypted.
    fn contexts(&self, ours: &Heard, theirs: &Heard, tag_len: usize) -> Option<(Context, Context)> {
        // RFC 3711 §8.2, RFC 7714 §12.
        let profile = match (tag_len, ours.key.as_ref().len()) {
            (16, 16) => ProtectionProfile::AeadAes128Gcm,
            (16, 32) => ProtectionProfile::AeadAes256Gcm,
            (10, 16) => ProtectionProfile::Aes128CmHmacSha1_80,
            (4, 16) => ProtectionProfile::Aes128CmHmacSha1_32,
            _ => return None,
        };
        let context = |Heard { key, block }: &Heard, replay| {
            let salt = SecretVec::new(block.as_ref().get(..profile.salt_len())?.to_vec());
            Context::new(key.as_ref(), salt.as_ref(), profile, None, replay, self.crypto.crypto()).ok()
        };
        Some((context(ours, None)?, context(theirs, Some(srtcp_replay_protection(REPLAY_WINDOW)))?))
    }
}
