//! What can go wrong between us and Telegram, by what one can do about it.

use std::time::Duration;

use grammers_mtproto::transport;
use grammers_mtsender::{InvocationError, RpcError};

use super::client::NOBODY;
use super::session::SessionError;
use crate::call::signaling::SignalingError;
use crate::call::signaling::words::{meaning, passes};

/// What the transport says to a key that it does not know, without its sign.
/// <https://core.telegram.org/mtproto/mtproto-transports#transport-errors>
const UNKNOWN_KEY: u32 = 404;
/// What it says to who connects too often; how long to wait, it does not say.
const TOO_MANY: u32 = 429;
const AFTER_TOO_MANY: Duration = Duration::from_secs(10);

/// Why something asked of Telegram did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelegramError {
    /// Nobody is signed in.
    #[error("nobody is signed in; run `telecast login`")]
    NotSignedIn,
    /// Telegram ended the session: from another device, by the user, or because two processes
    /// used it.
    #[error("{}", signed_out(.0))]
    SignedOut(String),
    /// The data center does not know our key.
    #[error(
        "Telegram does not know this session's key any more; the session file was left as it is; \
         log in again with `telecast login`, which sets it aside"
    )]
    KeyUnknown,
    /// A bot is signed in.
    #[error(
        "Telegram lets only user accounts into video chats, and a bot is signed in; \
         log in with a phone number or a QR code"
    )]
    Bot,
    /// Too many calls; the wait is longer than allowed.
    #[error("Telegram asks to wait {} s before the next {method}", .wait.as_secs())]
    FloodWait {
        /// How long from now.
        wait: Duration,
        /// TL's name of what was called.
        method: &'static str,
    },
    /// Refused.
    #[error("{}", refusal(*.code, .message, .method))]
    Rpc {
        /// As HTTP has them: 400, 403, 500 …
        code: i32,
        /// Telegram's word.
        message: String,
        /// TL's name of what was called.
        method: &'static str,
    },
    /// No answer in time.
    #[error("Telegram did not answer {method} within {} s; check the network, and this machine's clock: who is more than 30 s ahead gets no answer", .after.as_secs())]
    Timeout {
        /// TL's name of what was called.
        method: &'static str,
        /// How long we waited.
        after: Duration,
    },
    /// The connection cannot be made or does not hold.
    #[error("no connection to Telegram ({why}); check the network, or a firewall between")]
    Connection {
        /// What the system said.
        why: String,
    },
    /// An answer that is not of the layer that we speak.
    #[error("Telegram's answer to {method} cannot be read; a newer telecast may help")]
    Unreadable {
        /// TL's name of what was called.
        method: &'static str,
    },
    /// The session cannot be kept.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Nobody to appear as.
    #[error("this account cannot appear as {peer:?} there; --as takes one of {choices}")]
    NoPeer {
        /// What was asked for.
        peer: String,
        /// Who can be, for people.
        choices: String,
    },
    /// No such chat, or not for this account.
    #[error("there is no chat {0}, or this account is not in it; `telecast chats` lists those that it is in")]
    NoChat(String),
    /// What was given names no chat.
    #[error("{0:?} names no chat; give @name, a t.me link, or a number from `telecast chats`")]
    BadName(String),
    /// What was given names no message.
    #[error("{0:?} names no message; copy the link of one: t.me/name/5 or t.me/c/1234567/5")]
    BadLink(String),
    /// The message is not there, or holds no file.
    #[error(
        "there is no file in message {message} of {chat}; check the link, and whether this account can see it"
    )]
    NoFile {
        /// Its title.
        chat: String,
        /// The message's number.
        message: i32,
    },
    /// Telegram keeps the file where only its own apps get it from.
    #[error(
        "Telegram hands this file out through its public caches only, which telecast does not use; download it and play the file"
    )]
    Cdn,
    /// An invite link into a chat that this account is not in.
    #[error("this account is not in {0:?} yet; open the link in Telegram's own app and join, then try again")]
    NotMember(String),
    /// A person, who cannot have a video chat.
    #[error("{0} is a person, and video chats exist in groups and channels; give one of those")]
    Person(String),
    /// The chat has no video chat.
    #[error("{0} has no video chat now; an admin can begin one, or use --start")]
    NoVideoChat(String),
    /// The video chat has not begun.
    #[error("the video chat is scheduled and has not begun; wait, or let an admin start it (--start)")]
    Scheduled {
        /// Unix time.
        at: i64,
    },
    /// An RTMP stream.
    #[error("this is an RTMP live stream: push to its RTMP address with an encoder instead of joining")]
    Rtmp,
    /// An encrypted conference.
    #[error(
        "this is an end-to-end encrypted conference call, which telecast cannot join; use a video chat of a group or channel"
    )]
    Conference,
    /// The join was answered without what we came for.
    #[error("Telegram accepted the join but sent no connection parameters; try again")]
    NoConnection,
    /// The phone number has no account.
    #[error("this number has no Telegram account; make one in Telegram's own app first")]
    NoAccount,
    /// Telegram wants to be signed in to in a way that we do not know.
    #[error(
        "Telegram asks for a kind of login that telecast does not know; \
         try the other one: `telecast login` shows a QR code, with --phone a code is sent"
    )]
    LoginUnsupported,
    /// The client has been shut down.
    #[error("the connection to Telegram has been shut down")]
    Closed,
}

impl TelegramError {
    /// Is it worth trying the same again later?
    pub fn retryable(&self) -> bool {
        match self {
            Self::FloodWait { .. }
            | Self::Timeout { .. }
            | Self::Connection { .. }
            | Self::NoConnection
            | Self::Scheduled { .. } => true,
            Self::Rpc { code, message, .. } => passes(*code, message),
            _ => false,
        }
    }

    /// Telegram's word, where it had one.
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self, Self::Rpc { message, .. } if message == word)
    }

    /// The login is not done before the two-step password was given.
    pub(super) fn wants_password(&self) -> bool {
        matches!(self, Self::SignedOut(word) if word == "SESSION_PASSWORD_NEEDED")
    }

    /// Is the session over, so that a login has to begin with another key? A key that nobody is
    /// signed in with can be used for the next login.
    pub fn ends_session(&self) -> bool {
        match self {
            Self::KeyUnknown => true,
            Self::SignedOut(word) => word != NOBODY && !self.wants_password(),
            _ => false,
        }
    }

    /// What the sender of a request is told of a failure of the library below us.
    pub(super) fn of(error: InvocationError, method: &'static str) -> Self {
        match error {
            InvocationError::Rpc(error) => Self::of_rpc(&error, method),
            InvocationError::Io(error) => Self::Connection { why: error.to_string() },
            InvocationError::Dropped(why) => Self::Connection { why: why.to_owned() },
            InvocationError::Deserialize(_) => Self::Unreadable { method },
            InvocationError::Session(error) => match error.downcast::<SessionError>() {
                Ok(error) if matches!(*error, SessionError::KeyReplaced(_)) => Self::KeyUnknown,
                Ok(error) => Self::Session(*error),
                Err(error) => Self::Connection { why: error.to_string() },
            },
            InvocationError::Transport(transport::Error::BadStatus { status: UNKNOWN_KEY }) => {
                Self::KeyUnknown
            }
            InvocationError::Transport(transport::Error::BadStatus { status: TOO_MANY }) => {
                Self::FloodWait { wait: AFTER_TOO_MANY, method }
            }
            other => Self::Connection { why: other.to_string() },
        }
    }

    fn of_rpc(error: &RpcError, method: &'static str) -> Self {
        let message = match error.value {
            Some(value) => format!("{}_{value}", error.name),
            None => error.name.clone(),
        };
        match (error.code, error.value) {
            (401, _) => Self::SignedOut(message),
            // Telegram ends a session that is used from two places at once, and says so with a 406.
            _ if message == "AUTH_KEY_DUPLICATED" => Self::SignedOut(message),
            (420, Some(secs)) => Self::FloodWait { wait: Duration::from_secs(secs.into()), method },
            (code, _) => Self::Rpc { code, message, method },
        }
    }
}

impl From<TelegramError> for SignalingError {
    fn from(error: TelegramError) -> Self {
        match error {
            TelegramError::Rpc { code, message, .. } => Self::Rpc { code, message },
            TelegramError::FloodWait { wait, .. } => {
                Self::Rpc { code: 420, message: format!("FLOOD_WAIT_{}", wait.as_secs()) }
            }
            TelegramError::SignedOut(message) => Self::Rpc { code: 401, message },
            TelegramError::KeyUnknown => Self::Rpc { code: 401, message: "AUTH_KEY_UNREGISTERED".into() },
            TelegramError::NotSignedIn => Self::Rpc { code: 401, message: "AUTH_KEY_UNREGISTERED".into() },
            TelegramError::Timeout { after, .. } => Self::Timeout(after),
            TelegramError::Scheduled { at } => Self::Scheduled { at },
            TelegramError::Closed => Self::Closed,
            TelegramError::Connection { .. } => {
                Self::Unavailable { code: "no_connection", message: error.to_string(), retryable: true }
            }
            other => {
                let code = match other {
                    TelegramError::NoVideoChat(_) => "no_video_chat",
                    TelegramError::Rtmp => "rtmp",
                    TelegramError::Conference => "conference",
                    TelegramError::NoChat(_) | TelegramError::NotMember(_) | TelegramError::Person(_) => {
                        "no_chat"
                    }
                    TelegramError::BadName(_) | TelegramError::NoPeer { .. } => "bad_name",
                    TelegramError::Bot => "bot",
                    TelegramError::Session(_) => "session",
                    _ => "telegram",
                };
                Self::Unavailable { code, message: other.to_string(), retryable: other.retryable() }
            }
        }
    }
}

fn signed_out(word: &str) -> String {
    match meaning(word) {
        Some(meaning) => format!("{meaning} (Telegram answered {word})"),
        None => format!("Telegram has ended this session ({word}); log in again with `telecast login`"),
    }
}

fn refusal(code: i32, message: &str, method: &str) -> String {
    match (meaning(message), code) {
        (Some(meaning), _) => format!("{meaning} (Telegram answered {code} {message} to {method})"),
        (None, 500 | -503) => format!(
            "Telegram has trouble of its own; try again later (it answered {code} {message} to {method})"
        ),
        (None, _) => format!("Telegram answered {code} {message} to {method}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rpc(code: i32, name: &str, value: Option<u32>) -> TelegramError {
        let error = RpcError { code, name: name.into(), value, caused_by: None };
        TelegramError::of(InvocationError::Rpc(error), "phone.joinGroupCall")
    }

    #[test]
    fn words_become_what_to_do() {
        let text = rpc(400, "JOIN_AS_PEER_INVALID", None).to_string();
        assert!(text.contains("--as") && text.contains("400 JOIN_AS_PEER_INVALID"), "{text}");
        assert!(rpc(500, "WORKER_BUSY_TOO_LONG_RETRY", None).to_string().contains("later"));
        assert!(rpc(500, "X", None).retryable() && !rpc(400, "X", None).retryable());
    }

    #[test]
    fn the_call_hears_telegrams_own_word() {
        let flood = SignalingError::from(rpc(420, "FLOOD_WAIT", Some(7)));
        assert_eq!(flood, SignalingError::Rpc { code: 420, message: "FLOOD_WAIT_7".into() });
        let twice = rpc(406, "AUTH_KEY_DUPLICATED", None);
        assert!(matches!(&twice, TelegramError::SignedOut(word) if word == "AUTH_KEY_DUPLICATED"), "{twice}");
        assert!(twice.to_string().contains("two processes"), "{twice}");
        let banned = rpc(401, "USER_DEACTIVATED_BAN", None);
        assert!(banned.to_string().contains("recover@telegram.org"), "{banned}");
        let out = SignalingError::from(rpc(401, "SESSION_REVOKED", None));
        assert_eq!(out, SignalingError::Rpc { code: 401, message: "SESSION_REVOKED".into() });
        let none = SignalingError::from(TelegramError::NoVideoChat("Title".into()));
        assert!(matches!(&none, SignalingError::Unavailable { code: "no_video_chat", .. }), "{none}");
        assert!(none.to_string().contains("--start"));
    }
}
