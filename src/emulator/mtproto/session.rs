//! One client session as the server has it: decrypted packets in, requests out; answers and
//! updates in, encrypted packets out. Salts, containers, acknowledgements, pings and clocks are
//! settled here, without IO and with the time as an argument.
//!
//! ```text
//!  packet ─► open ─► container? ─► gzip? ─► service message ─► answered here
//!                                     └───► request ─────────► methods ─► answer()
//! ```
//!
//! See <https://core.telegram.org/mtproto/service_messages>.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use grammers_tl_types as tl;
use tl::{Cursor, Deserializable, Identifiable, Serializable};

use super::crypto::AuthKey;
use super::wire::WireError;

const MSG_CONTAINER: u32 = 0x73f1_f8dc;
const RPC_RESULT: u32 = 0xf35c_6d01;
const GZIP_PACKED: u32 = 0x3072_cfa1;

/// Compressed messages may grow to this, no further.
const MAX_EXPANDED: u64 = 1 << 20;
/// The protocol's limit for containers.
const MAX_CONTAINED: usize = 1024;
/// Answers of this many bytes and more are compressed.
const COMPRESS_FROM: usize = 2048;
/// A message may be this far behind the server's clock …
const MAX_AGE: u64 = 300;
/// … or this far ahead of it.
const MAX_LEAD: u64 = 30;
/// How long a salt is valid.
const SALT_LIFE: i32 = 1800;
/// Salts that are given out at once, at most.
const MAX_SALTS: i32 = 64;

/// Requests that are remembered, so that one that is sent again is not executed again.
const MAX_REMEMBERED: usize = 256;

/// Notification codes, as the protocol numbers them.
const MSG_ID_TOO_LOW: i32 = 16;
const MSG_ID_TOO_HIGH: i32 = 17;
const MSG_ID_NOT_A_CLIENTS: i32 = 18;
const SALT_WRONG: i32 = 48;

/// Something that the methods have to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Comes back in the answer.
    pub(super) msg_id: i64,
    /// A TL function.
    pub(super) body: Vec<u8>,
}

/// One session on one connection.
#[derive(Debug)]
pub(super) struct Session {
    key: AuthKey,
    session_id: Option<i64>,
    salt: i64,
    /// The client knows that its session is new to us.
    is_told: bool,
    last_msg_id: i64,
    n_content: i32,
    outbox: Vec<Message>,
    /// The latest requests, with what they were answered, once they were.
    seen: VecDeque<(i64, Option<Vec<u8>>)>,
}

#[derive(Debug)]
struct Message {
    /// Answers have ids that are 1 modulo 4, everything else 3.
    is_answer: bool,
    /// Wants to be acknowledged.
    is_content: bool,
    body: Vec<u8>,
}

impl Session {
    /// `salt` is what packets must carry from now on; not zero.
    pub(super) const fn new(key: AuthKey, salt: i64) -> Self {
        Self {
            key,
            session_id: None,
            salt,
            is_told: false,
            last_msg_id: 0,
            n_content: 0,
            outbox: Vec::new(),
            seen: VecDeque::new(),
        }
    }

    /// Takes a packet of the client. `now` is the time since 1970.
    pub(super) fn receive(&mut self, packet: &[u8], now: Duration) -> Result<Vec<Request>, WireError> {
        let plain = self.key.open(packet)?;
        let mut cursor = Cursor::from_slice(&plain);
        let salt = i64::deserialize(&mut cursor)?;
        let session_id = i64::deserialize(&mut cursor)?;
        let (msg_id, seq_no, body) = message(&mut cursor)?;
        if *self.session_id.get_or_insert(session_id) != session_id {
            return Err(WireError::Session);
        }
        if !(0..i64::from(MAX_SALTS)).contains(&salt.wrapping_sub(self.salt)) {
            self.service(
                &tl::enums::BadMsgNotification::BadServerSalt(tl::types::BadServerSalt {
                    bad_msg_id: msg_id,
                    bad_msg_seqno: seq_no,
                    error_code: SALT_WRONG,
                    new_server_salt: self.salt,
                })
                .to_bytes(),
            );
            return Ok(Vec::new());
        }
        if let Some(error_code) = complaint(msg_id, now) {
            let notification =
                tl::types::BadMsgNotification { bad_msg_id: msg_id, bad_msg_seqno: seq_no, error_code };
            self.service(&tl::enums::BadMsgNotification::Notification(notification).to_bytes());
            return Ok(Vec::new());
        }
        if !std::mem::replace(&mut self.is_told, true) {
            // What was sent to an earlier session of this key will not be repeated.
            let unique_id = fastrand::i64(..);
            let new =
                tl::types::NewSessionCreated { first_msg_id: msg_id, unique_id, server_salt: self.salt };
            self.push(tl::enums::NewSession::from(new).to_bytes());
        }
        let mut requests = Vec::new();
        self.take(msg_id, body, now, &mut requests)?;
        Ok(requests)
    }

    /// Answers a request with the bytes of its result.
    pub(super) fn answer(&mut self, msg_id: i64, result: &[u8]) {
        let mut body = RPC_RESULT.to_bytes();
        msg_id.serialize(&mut body);
        if result.len() >= COMPRESS_FROM {
            GZIP_PACKED.serialize(&mut body);
            compress(result).serialize(&mut body);
        } else {
            body.extend_from_slice(result);
        }
        if let Some((_, answer)) = self.seen.iter_mut().find(|(seen, _)| *seen == msg_id) {
            *answer = Some(body.clone());
        }
        self.outbox.push(Message { is_answer: true, is_content: true, body });
    }

    /// Refuses a request.
    pub(super) fn refuse(&mut self, msg_id: i64, error_code: i32, error_message: &str) {
        let error = tl::types::RpcError { error_code, error_message: error_message.to_owned() };
        self.answer(msg_id, &tl::enums::RpcError::from(error).to_bytes());
    }

    /// Sends something unasked.
    pub(super) fn push(&mut self, body: Vec<u8>) {
        self.outbox.push(Message { is_answer: false, is_content: true, body });
    }

    /// Everything that waits, as one packet.
    pub(super) fn poll_packet(&mut self, now: Duration) -> Option<Vec<u8>> {
        let session_id = self.session_id?;
        let mut messages = std::mem::take(&mut self.outbox).into_iter();
        let first = messages.next()?;
        let mut plain = self.salt.to_bytes();
        session_id.serialize(&mut plain);
        if messages.len() == 0 {
            self.write(&first, now, &mut plain);
            return Some(self.key.seal(&plain));
        }
        let n = messages.len() + 1;
        let mut container = MSG_CONTAINER.to_bytes();
        i32::try_from(n).expect("few messages wait").serialize(&mut container);
        for message in std::iter::once(first).chain(messages) {
            self.write(&message, now, &mut container);
        }
        // A container has a later id than what is in it.
        self.write(&Message { is_answer: false, is_content: false, body: container }, now, &mut plain);
        Some(self.key.seal(&plain))
    }

    fn write(&mut self, message: &Message, now: Duration, into: &mut Vec<u8>) {
        self.next_msg_id(message.is_answer, now).serialize(into);
        let seq_no = self.n_content * 2 + i32::from(message.is_content);
        self.n_content += i32::from(message.is_content);
        seq_no.serialize(into);
        i32::try_from(message.body.len()).expect("answers are small").serialize(into);
        into.extend_from_slice(&message.body);
    }

    fn next_msg_id(&mut self, is_answer: bool, now: Duration) -> i64 {
        let secs = i64::try_from(now.as_secs()).expect("the year is below 2^31");
        let fraction = (i64::from(now.subsec_nanos()) << 32) / 1_000_000_000;
        let by_time = (secs << 32) | (fraction & !3);
        let base = by_time.max((self.last_msg_id & !3) + 4);
        self.last_msg_id = base + if is_answer { 1 } else { 3 };
        self.last_msg_id
    }

    /// Sends a service message, which nobody acknowledges.
    fn service(&mut self, body: &[u8]) {
        self.outbox.push(Message { is_answer: false, is_content: false, body: body.to_vec() });
    }

    fn take(
        &mut self,
        msg_id: i64,
        body: Vec<u8>,
        now: Duration,
        requests: &mut Vec<Request>,
    ) -> Result<(), WireError> {
        let mut cursor = Cursor::from_slice(&body);
        match u32::deserialize(&mut cursor)? {
            MSG_CONTAINER => {
                let n = usize::try_from(i32::deserialize(&mut cursor)?).map_err(|_| WireError::Short)?;
                if n > MAX_CONTAINED {
                    return Err(WireError::Short);
                }
                for _ in 0..n {
                    let (msg_id, _, body) = message(&mut cursor)?;
                    // The protocol allows no container in a container.
                    if body.get(..4) == Some(&MSG_CONTAINER.to_le_bytes()) {
                        return Err(WireError::Short);
                    }
                    self.take(msg_id, body, now, requests)?;
                }
            }
            GZIP_PACKED => {
                let body = expand(&Vec::<u8>::deserialize(&mut cursor)?)?;
                if body.get(..4) == Some(&GZIP_PACKED.to_le_bytes()) {
                    return Err(WireError::Compression);
                }
                self.take(msg_id, body, now, requests)?;
            }
            tl::types::MsgsAck::CONSTRUCTOR_ID | tl::types::HttpWait::CONSTRUCTOR_ID => {}
            tl::functions::Ping::CONSTRUCTOR_ID => {
                let ping = tl::functions::Ping::deserialize(&mut cursor)?;
                self.pong(msg_id, ping.ping_id);
            }
            tl::functions::PingDelayDisconnect::CONSTRUCTOR_ID => {
                let ping = tl::functions::PingDelayDisconnect::deserialize(&mut cursor)?;
                self.pong(msg_id, ping.ping_id);
            }
            tl::functions::GetFutureSalts::CONSTRUCTOR_ID => {
                let wanted = tl::functions::GetFutureSalts::deserialize(&mut cursor)?.num;
                self.future_salts(msg_id, wanted, now);
            }
            tl::functions::DestroySession::CONSTRUCTOR_ID => {
                let session = tl::functions::DestroySession::deserialize(&mut cursor)?;
                let none = tl::types::DestroySessionNone { session_id: session.session_id };
                self.service(&tl::enums::DestroySessionRes::from(none).to_bytes());
            }
            _ => requests.extend(self.first_time(msg_id).then_some(Request { msg_id, body })),
        }
        Ok(())
    }

    /// False for a request that has come before: it is answered as it was then, or will be when
    /// that is done.
    fn first_time(&mut self, msg_id: i64) -> bool {
        if let Some((_, answer)) = self.seen.iter().find(|(seen, _)| *seen == msg_id) {
            let again = answer.clone().map(|body| Message { is_answer: true, is_content: true, body });
            self.outbox.extend(again);
            return false;
        }
        if self.seen.len() == MAX_REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back((msg_id, None));
        true
    }

    /// Bare, not inside an answer, as the protocol has it.
    fn pong(&mut self, msg_id: i64, ping_id: i64) {
        let pong = tl::types::Pong { msg_id, ping_id };
        let body = tl::enums::Pong::from(pong).to_bytes();
        self.outbox.push(Message { is_answer: true, is_content: false, body });
    }

    /// Bare as well. All of them are valid already: when they are used is the client's to decide.
    fn future_salts(&mut self, req_msg_id: i64, wanted: i32, now: Duration) {
        let now = i32::try_from(now.as_secs()).unwrap_or(i32::MAX);
        let salts = (0..wanted.clamp(2, MAX_SALTS)).map(|n| tl::types::FutureSalt {
            valid_since: now.saturating_add(n * SALT_LIFE),
            valid_until: now.saturating_add((n + 2) * SALT_LIFE),
            salt: self.salt.wrapping_add(i64::from(n)),
        });
        let salts = tl::types::FutureSalts { req_msg_id, now, salts: tl::RawVec(salts.collect()) };
        let body = tl::enums::FutureSalts::from(salts).to_bytes();
        self.outbox.push(Message { is_answer: true, is_content: false, body });
    }
}

/// What is wrong with a message's id, if anything.
fn complaint(msg_id: i64, now: Duration) -> Option<i32> {
    let sent = u64::try_from(msg_id >> 32).unwrap_or(0);
    match msg_id {
        _ if sent + MAX_AGE < now.as_secs() => Some(MSG_ID_TOO_LOW),
        _ if sent > now.as_secs() + MAX_LEAD => Some(MSG_ID_TOO_HIGH),
        _ if msg_id % 4 != 0 => Some(MSG_ID_NOT_A_CLIENTS),
        _ => None,
    }
}

/// Id, sequence number and body of one message.
fn message(cursor: &mut Cursor<'_>) -> Result<(i64, i32, Vec<u8>), WireError> {
    let msg_id = i64::deserialize(cursor)?;
    let seq_no = i32::deserialize(cursor)?;
    let len = usize::try_from(i32::deserialize(cursor)?).map_err(|_| WireError::Short)?;
    if len as u64 > MAX_EXPANDED {
        return Err(WireError::Short);
    }
    let mut body = vec![0; len];
    cursor.read_exact(&mut body)?;
    Ok((msg_id, seq_no, body))
}

fn expand(packed: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut body = Vec::new();
    let read = GzDecoder::new(packed).take(MAX_EXPANDED + 1).read_to_end(&mut body);
    match read {
        Ok(len) if len as u64 <= MAX_EXPANDED => Ok(body),
        _ => Err(WireError::Compression),
    }
}

fn compress(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).expect("writing into memory does not fail");
    encoder.finish().expect("writing into memory does not fail")
}

#[cfg(test)]
mod tests;
