//! DTLS datagrams on their way in and out, until the handshake is over: nothing lost twice.
//!
//! The engine (`rtc` 0.21.1) has two habits that cost a second or a whole connection here:
//!
//! * DTLS that arrives before ICE has *nominated* a pair is thrown away. An SFU that is the DTLS
//!   client sends its first ClientHello earlier than that, every time. So it is held here.
//! * Any handshake datagram clears the engine's retransmission timer, and one that brings
//!   nothing new never arms it again. If our flight is lost once, the peer's repetition of its
//!   own flight silences us for ever. So a repetition never reaches the engine: it is answered
//!   here, by sending our last flight again (RFC 6347 §4.2.4 asks for just that).
//!
//! Waiting a full second for the peer's timer is slow as well, so an unanswered flight is also
//! repeated by a timer of ours, which starts shorter and doubles.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

/// How many datagrams wait for the nomination. A flight of a TLS client has at most five.
const MAX_HELD: usize = 16;
/// How many datagrams of a flight are kept for repetition.
const MAX_FLIGHT: usize = 16;
/// How many handshake messages are remembered; a DTLS 1.2 handshake has about a dozen.
const MAX_SEEN: usize = 64;
/// First repetition of an unanswered flight. Over any sensible round trip, far under the one
/// second that both ends' own timers take.
const FIRST_REPEAT: Duration = Duration::from_millis(250);
/// Repetitions of one flight by our timer; after them the peers' own timers go on.
const MAX_REPEATS: u32 = 4;
/// A peer that repeats a flight of several datagrams gets one answer, not several.
const REPEAT_PAUSE: Duration = Duration::from_millis(50);
/// How long after the connection the last flight stays at hand: the peer cannot tell us that it
/// was lost in any other way than by repeating its own.
const LINGER: Duration = Duration::from_secs(10);

/// A record's header (RFC 6347 §4.1): type, version, epoch, sequence number, length.
const RECORD_HEADER: usize = 13;
/// Content type of an alert record (RFC 5246 §6.2.1).
const CONTENT_ALERT: u8 = 21;
/// A fatal `bad_certificate` (RFC 5246 §7.2).
const BAD_CERTIFICATE: [u8; 2] = [2, 42];
/// Content type of a handshake record (RFC 6347 §4.1).
const CONTENT_HANDSHAKE: u8 = 22;

/// What to do with a datagram from the network.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inbound {
    /// Give it to the engine now.
    Pass(BytesMut),
    /// It was kept, or answered; the engine must not see it (yet).
    Keep,
}

/// The handshake's memory.
#[derive(Debug, Default)]
pub(super) struct Handshake {
    nominated: bool,
    held: VecDeque<BytesMut>,
    seen: VecDeque<Message>,
    /// Our newest flight, ready to be sent again.
    flight: Vec<Bytes>,
    /// The next datagram of ours starts a new flight, because something new came in.
    flight_ends: bool,
    resend: VecDeque<Bytes>,
    answered_at: Option<Instant>,
    repeat_at: Option<Instant>,
    repeats: u32,
    forget_at: Option<Instant>,
    over: bool,
}

/// Names one plaintext handshake message: type, sequence number and fragment offset.
type Message = (u8, u16, u32);

impl Handshake {
    /// Is this datagram DTLS (RFC 7983: first byte 20 to 63)?
    pub(super) fn is_dtls(datagram: &[u8]) -> bool {
        matches!(datagram.first(), Some(20..=63))
    }

    /// A DTLS datagram from the network.
    pub(super) fn handle_inbound(&mut self, datagram: BytesMut, now: Instant) -> Inbound {
        if self.over {
            return Inbound::Pass(datagram);
        }
        let message = message_of(&datagram);
        if !self.nominated {
            // Of a repeated message only the newest copy matters.
            self.held.retain(|held| message.is_none() || message_of(held) != message);
            if self.held.len() < MAX_HELD {
                self.held.push_back(datagram);
            }
            return Inbound::Keep;
        }
        if let Some(message) = message {
            if self.seen.contains(&message) {
                self.answer_repetition(now);
                return Inbound::Keep;
            }
            if self.seen.len() == MAX_SEEN {
                self.seen.pop_front();
            }
            self.seen.push_back(message);
        }
        self.flight_ends = true;
        self.repeat_at = None;
        Inbound::Pass(datagram)
    }

    /// ICE has nominated a pair: what was held can go to the engine, oldest first.
    pub(super) fn handle_nominated(&mut self) -> Vec<BytesMut> {
        if std::mem::replace(&mut self.nominated, true) {
            return Vec::new();
        }
        self.held.drain(..).collect()
    }

    /// A DTLS datagram of the engine's, about to be sent.
    pub(super) fn handle_outbound(&mut self, datagram: &[u8], now: Instant) {
        if self.over || !matches!(datagram.first(), Some(20..=22)) {
            return;
        }
        let message = message_of(datagram);
        let repeated =
            message.is_some() && self.flight.first().map(|first| message_of(first)) == Some(message);
        if std::mem::take(&mut self.flight_ends) {
            self.flight.clear();
            self.repeats = 0;
        } else if repeated {
            self.flight.clear();
        }
        if self.flight.len() < MAX_FLIGHT {
            self.flight.push(Bytes::copy_from_slice(datagram));
        }
        if self.forget_at.is_none() && self.repeats < MAX_REPEATS {
            self.repeat_at = Some(now + FIRST_REPEAT * 2_u32.pow(self.repeats));
        }
    }

    /// The engine has finished its side. The peer may still miss our last flight.
    pub(super) fn handle_connected(&mut self, now: Instant) {
        self.repeat_at = None;
        self.forget_at = Some(now + LINGER);
    }

    /// The next datagram to send again.
    pub(super) fn poll_resend(&mut self) -> Option<Bytes> {
        self.resend.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        [self.repeat_at, self.forget_at].into_iter().flatten().min()
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.forget_at.is_some_and(|at| at <= now) {
            *self = Self { over: true, nominated: true, ..Self::default() };
            return;
        }
        if self.repeat_at.is_some_and(|at| at <= now) {
            self.repeats += 1;
            let again = self.repeats < MAX_REPEATS;
            self.repeat_at = again.then(|| now + FIRST_REPEAT * 2_u32.pow(self.repeats));
            self.resend.clear();
            self.resend.extend(self.flight.iter().cloned());
        }
    }

    fn answer_repetition(&mut self, now: Instant) {
        if self.answered_at.is_some_and(|at| now < at + REPEAT_PAUSE) {
            return;
        }
        self.answered_at = Some(now);
        self.resend.clear();
        self.resend.extend(self.flight.iter().cloned());
    }
}

/// The first record's handshake message, if that record is in the clear (epoch 0).
///
/// Record header: type, version (2), epoch (2), sequence (6), length (2); then the handshake
/// header: type, length (3), message sequence (2), fragment offset (3), fragment length (3).
fn message_of(datagram: &[u8]) -> Option<Message> {
    let header: &[u8; 25] = datagram.first_chunk()?;
    let clear = header[0] == CONTENT_HANDSHAKE && header[3..5] == [0, 0];
    clear.then(|| {
        (
            header[13],
            u16::from_be_bytes([header[17], header[18]]),
            u32::from_be_bytes([0, header[19], header[20], header[21]]),
        )
    })
}

/// Does this datagram of ours tell the other side that its certificate is not the announced one,
/// or not its own? The engine gives no other sign of it. As the handshake is not over then, the
/// alert is in the clear.
pub(super) fn is_bad_certificate(datagram: &[u8]) -> bool {
    let mut rest = datagram;
    while let Some((header, body)) = rest.split_first_chunk::<RECORD_HEADER>() {
        let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
        let Some((body, next)) = body.split_at_checked(length) else { return false };
        let in_the_clear = header[3..5] == [0, 0];
        if header[0] == CONTENT_ALERT && in_the_clear && body == BAD_CERTIFICATE {
            return true;
        }
        rest = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(kind: u8, sequence: u16, tail: u8) -> BytesMut {
        let mut bytes = vec![CONTENT_HANDSHAKE, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, tail, 0, 20];
        bytes.extend([kind, 0, 0, 8]);
        bytes.extend(sequence.to_be_bytes());
        bytes.extend([0, 0, 0, 0, 0, 8]);
        bytes.push(tail);
        BytesMut::from(&bytes[..])
    }

    const CLIENT_HELLO: u8 = 1;
    const SERVER_HELLO: u8 = 2;

    #[expect(clippy::disallowed_methods, reason = "an arbitrary origin for a test")]
    fn origin() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_refused_certificate_is_told_from_other_alerts() {
        let record = |kind, epoch, body: [u8; 2]| {
            let header = [kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 1, 0, 2];
            header.into_iter().chain(body).collect::<Vec<u8>>()
        };
        assert!(is_bad_certificate(&record(CONTENT_ALERT, 0, BAD_CERTIFICATE)));
        let after_another = [record(20, 0, [1, 1]), record(CONTENT_ALERT, 0, BAD_CERTIFICATE)].concat();
        assert!(is_bad_certificate(&after_another));
        for other in [
            record(CONTENT_ALERT, 0, [1, 0]),
            record(CONTENT_ALERT, 1, BAD_CERTIFICATE),
            record(CONTENT_HANDSHAKE, 0, BAD_CERTIFICATE),
            record(CONTENT_ALERT, 0, BAD_CERTIFICATE)[..14].to_vec(),
            Vec::new(),
        ] {
            assert!(!is_bad_certificate(&other), "{other:?}");
        }
    }

    #[test]
    fn an_early_hello_waits_for_the_nomination() {
        let now = origin();
        let mut handshake = Handshake::default();
        assert_eq!(handshake.handle_inbound(datagram(CLIENT_HELLO, 0, 1), now), Inbound::Keep);
        assert_eq!(handshake.handle_inbound(datagram(CLIENT_HELLO, 0, 2), now), Inbound::Keep);
        assert_eq!(handshake.handle_nominated(), [datagram(CLIENT_HELLO, 0, 2)]);
        assert!(handshake.handle_nominated().is_empty());
    }

    #[test]
    fn a_repeated_flight_is_answered_without_the_engine() {
        let now = origin();
        let mut handshake = Handshake::default();
        handshake.handle_nominated();
        let hello = datagram(CLIENT_HELLO, 1, 0);
        assert_eq!(handshake.handle_inbound(hello.clone(), now), Inbound::Pass(hello));
        handshake.handle_outbound(&datagram(SERVER_HELLO, 1, 7), now);
        assert_eq!(handshake.handle_inbound(datagram(CLIENT_HELLO, 1, 9), now), Inbound::Keep);
        assert_eq!(handshake.poll_resend().as_deref(), Some(&datagram(SERVER_HELLO, 1, 7)[..]));
        assert_eq!(handshake.poll_resend(), None);
    }

    #[test]
    fn an_unanswered_flight_is_repeated_and_then_left_alone() {
        let mut now = origin();
        let start = now;
        let mut handshake = Handshake::default();
        handshake.handle_nominated();
        handshake.handle_outbound(&datagram(SERVER_HELLO, 1, 7), now);
        let mut sent = Vec::new();
        while let Some(at) = handshake.poll_timeout() {
            now = at;
            handshake.handle_timeout(now);
            while handshake.poll_resend().is_some() {
                sent.push((now - start).as_millis());
            }
        }
        assert_eq!(sent, [250, 750, 1750, 3750]);
    }

    #[test]
    fn the_last_flight_lingers_and_is_then_forgotten() {
        let now = origin();
        let mut handshake = Handshake::default();
        handshake.handle_nominated();
        handshake.handle_inbound(datagram(11, 2, 0), now);
        handshake.handle_outbound(&[20, 0xfe, 0xfd, 0, 0], now);
        handshake.handle_connected(now);
        assert_eq!(handshake.handle_inbound(datagram(11, 2, 1), now), Inbound::Keep);
        assert!(handshake.poll_resend().is_some());
        handshake.handle_timeout(now + LINGER);
        let late = datagram(11, 2, 2);
        assert_eq!(handshake.handle_inbound(late.clone(), now), Inbound::Pass(late));
        assert_eq!(handshake.poll_timeout(), None);
    }

    #[test]
    fn a_flood_before_the_nomination_is_bounded() {
        let now = origin();
        let mut handshake = Handshake::default();
        for sequence in 0..1000 {
            handshake.handle_inbound(datagram(CLIENT_HELLO, sequence, 0), now);
        }
        assert_eq!(handshake.handle_nominated().len(), MAX_HELD);
        for junk in [&[][..], &[22], &[22; 24]] {
            assert_eq!(message_of(junk), None);
        }
    }
}
