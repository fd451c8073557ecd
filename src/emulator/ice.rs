//! The server's half of ICE, in front of the WebRTC stack: binding requests in, replies out.
//!
//! Telegram's server is lite, answers clients of either role, needs no nomination and follows
//! a client to a new address; `str0m` alone insists on one role and on USE-CANDIDATE. So checks
//! are answered here, and the stack is shown one never-changing address per participant that
//! nominates itself with the first valid check.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::IceCreds;
use str0m::crypto::CryptoProvider;
use str0m::ice::{StunMessage, TransId};

use crate::secret::Secret;

/// The port of the address that the stack sees instead of the participant's.
const ALIAS_PORT: u16 = 9;

/// Large enough for any binding request or reply.
const STUN_BUFFER: usize = 512;

/// A client that does not nominate has moved when its old address has been silent for this long
/// (native clients check at least every 2.5 s).
const SILENT_AFTER: Duration = Duration::from_secs(3);

/// The priority of the only pair that the stack sees.
const PRIORITY: u32 = 1;

/// One participant's ICE state.
#[derive(Debug)]
pub(super) struct IceFront {
    crypto: Arc<CryptoProvider>,
    ufrag: String,
    pwd: Secret<String>,
    remote_ufrag: String,
    alias: SocketAddr,
    current: Option<Path>,
}

#[derive(Clone, Copy, Debug)]
struct Path {
    addr: SocketAddr,
    checked_at: Instant,
}

/// What a valid check leads to.
#[derive(Debug)]
pub(super) struct Checked {
    /// The datagram to send back to where the check came from.
    pub(super) reply: Vec<u8>,
    /// The check as the stack shall see it, coming from [`IceFront::alias`].
    pub(super) for_stack: Vec<u8>,
}

impl IceFront {
    /// `n` makes the alias address unique among participants.
    pub(super) fn new(crypto: Arc<CryptoProvider>, local: IceCreds, remote_ufrag: String, n: u64) -> Self {
        let n = u32::try_from(n & 0x00FF_FFFF).expect("24 bits fit");
        let alias = SocketAddr::from((Ipv4Addr::from(0x0A00_0000 | n), ALIAS_PORT));
        let IceCreds { ufrag, pass } = local;
        Self { crypto, ufrag, pwd: Secret::new(pass), remote_ufrag, alias, current: None }
    }

    /// Where the stack thinks that the participant is.
    pub(super) const fn alias(&self) -> SocketAddr {
        self.alias
    }

    /// Where the participant is.
    pub(super) fn addr(&self) -> Option<SocketAddr> {
        self.current.map(|path| path.addr)
    }

    /// Answers a check, or nothing when it is not a valid one for this participant.
    pub(super) fn handle_check(
        &mut self,
        message: &StunMessage<'_>,
        from: SocketAddr,
        now: Instant,
    ) -> Option<Checked> {
        let (ours, theirs) = message.split_username()?;
        let hmac = |key: &[u8], parts: &[&[u8]]| self.crypto.sha1_hmac_provider.sha1_hmac(key, parts);
        let valid = message.is_binding_request()
            && ours == self.ufrag
            && theirs == self.remote_ufrag
            && message.verify(self.pwd.expose().as_bytes(), hmac);
        if !valid {
            return None;
        }
        let reply = write(StunMessage::binding_reply(message.trans_id(), from), self.pwd.expose(), hmac);
        let username = format!("{ours}:{theirs}");
        let for_stack =
            StunMessage::binding_request(&username, TransId::new(), true, u64::MAX, PRIORITY, true);
        let for_stack = write(for_stack, self.pwd.expose(), hmac);

        let nominates = message.ice_controlling().is_some() && message.use_candidate();
        let moved = match self.current {
            None => true,
            Some(path) if path.addr == from => false,
            Some(path) => nominates || now.saturating_duration_since(path.checked_at) >= SILENT_AFTER,
        };
        if moved || self.addr() == Some(from) {
            self.current = Some(Path { addr: from, checked_at: now });
        }
        Some(Checked { reply, for_stack })
    }
}

/// The server's ufrag that a binding request is meant for.
pub(super) fn addressee<'a>(message: &'a StunMessage<'_>) -> Option<&'a str> {
    message.is_binding_request().then(|| message.split_username()).flatten().map(|(ours, _)| ours)
}

fn write(message: StunMessage<'_>, pwd: &str, hmac: impl Fn(&[u8], &[&[u8]]) -> [u8; 20]) -> Vec<u8> {
    let mut bytes = vec![0; STUN_BUFFER];
    let len =
        message.to_bytes(Some(pwd.as_bytes()), &mut bytes, hmac).expect("a short message fits the buffer");
    bytes.truncate(len);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const PWD: &str = "5a0p7q2m9c1x3z8v6b4n2k0j1h";

    fn front() -> IceFront {
        let local = IceCreds { ufrag: "serv".into(), pass: PWD.into() };
        IceFront::new(Arc::new(str0m::crypto::from_feature_flags()), local, "clnt".into(), 5)
    }

    fn check(
        front: &mut IceFront,
        from: &str,
        controlling: bool,
        nominate: bool,
        pwd: &str,
        now: Instant,
    ) -> Option<Checked> {
        let crypto = front.crypto.clone();
        let hmac = |key: &[u8], parts: &[&[u8]]| crypto.sha1_hmac_provider.sha1_hmac(key, parts);
        let request = StunMessage::binding_request("serv:clnt", TransId::new(), controlling, 1, 7, nominate);
        let bytes = write(request, pwd, hmac);
        let message = StunMessage::parse(&bytes).expect("a request");
        front.handle_check(&message, from.parse().expect("an address"), now)
    }

    #[test]
    fn answers_both_roles_and_never_with_a_role_conflict() {
        let (mut front, now) = (front(), crate::emulator::test_start());
        for controlling in [true, false] {
            let checked = check(&mut front, "127.0.0.1:4000", controlling, false, PWD, now).expect("valid");
            let reply = StunMessage::parse(&checked.reply).expect("a reply");
            assert!(reply.is_successful_binding_response());
            assert_eq!(reply.mapped_address(), Some("127.0.0.1:4000".parse().expect("an address")));
        }
        assert_eq!(front.addr(), Some("127.0.0.1:4000".parse().expect("an address")));
    }

    #[test]
    fn the_stack_sees_a_nomination_whatever_the_client_sent() {
        let (mut front, now) = (front(), crate::emulator::test_start());
        let checked = check(&mut front, "127.0.0.1:4000", false, false, PWD, now).expect("valid");
        let seen = StunMessage::parse(&checked.for_stack).expect("a request");
        assert!(seen.use_candidate() && seen.ice_controlling().is_some());
    }

    #[test]
    fn a_wrong_password_gets_no_answer() {
        let mut front = front();
        assert!(
            check(
                &mut front,
                "127.0.0.1:4000",
                true,
                true,
                "wrong wrong wrong wrong",
                crate::emulator::test_start()
            )
            .is_none()
        );
        assert_eq!(front.addr(), None);
    }

    #[test]
    fn follows_a_nomination_at_once_and_a_silent_client_after_a_while() {
        let (mut front, start) = (front(), crate::emulator::test_start());
        let mut port_after = |port: u16, controlling, nominate, secs| {
            let (from, now) = (format!("127.0.0.1:{port}"), start + Duration::from_secs(secs));
            check(&mut front, &from, controlling, nominate, PWD, now).expect("valid");
            front.addr().map(|addr| addr.port())
        };
        assert_eq!(port_after(4000, true, true, 0), Some(4000));
        assert_eq!(port_after(4001, true, false, 1), Some(4000));
        assert_eq!(port_after(4002, true, true, 2), Some(4002));
        assert_eq!(port_after(4003, false, false, 4), Some(4002));
        assert_eq!(port_after(4003, false, false, 5), Some(4003));
    }
}
