//! What a call asks of Telegram and what comes back, in our words.
//!
//! A [`Signaling`] opens one [`Link`] per chat: requests go out with an id, replies come back
//! with the same id, in any order and at any time; updates come unasked. Nothing here waits,
//! so a slow server never stalls the media, and a late reply of an old join can be told apart.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::secret::Secret;

pub mod words;

/// A way to Telegram's phone.* methods: the real one, a program at the other end of a pipe,
/// or the emulator in this process.
pub trait Signaling: Send + Sync + std::fmt::Debug {
    /// Opens the conversation about one chat. Dropping the link ends it.
    fn open(&self, chat: &ChatId) -> Link;
}

/// One chat's conversation: two bounded channels.
#[derive(Debug)]
pub struct Link {
    /// From the call to Telegram.
    pub requests: mpsc::Sender<Request>,
    /// From Telegram to the call.
    pub incoming: mpsc::Receiver<Incoming>,
}

/// How many requests or updates may wait in a [`Link`] before the sender has to.
pub const LINK_CAPACITY: usize = 64;

/// A chat by whatever name the signaling knows it.
///
/// Printed, a link to Telegram ends where it would let its readers in or speak.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChatId(pub String);

impl std::fmt::Display for ChatId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let secrets = ["t.me/+", "/joinchat/", "invite=", "voicechat=", "videochat=", "livestream="];
        let secret = |key: &&str| self.0.find(*key).map(|at| at + key.len());
        match secrets.iter().filter_map(secret).min() {
            Some(end) if end < self.0.len() => write!(f, "{}…", &self.0[..end]),
            _ => f.write_str(&self.0),
        }
    }
}

impl std::fmt::Debug for ChatId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChatId({self})")
    }
}

/// Names a request within one link.
pub type RequestId = u64;

/// Something asked of Telegram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Comes back in the reply.
    pub id: RequestId,
    /// What is asked.
    pub method: Method,
}

/// The phone.* methods that a call uses.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// `phone.joinGroupCall`.
    Join(Join),
    /// `phone.editGroupCallParticipant` for ourselves.
    Edit(Edit),
    /// `phone.checkGroupCall`: which of these audio SSRCs does the server still know?
    Check {
        /// Audio SSRCs as TL has them.
        sources: Vec<i32>,
    },
    /// `phone.getGroupParticipants`, one page.
    Participants {
        /// Only these SSRCs; empty for all.
        sources: Vec<i32>,
        /// Where the page starts; empty for the first.
        offset: String,
    },
    /// `phone.leaveGroupCall`.
    Leave {
        /// The audio SSRC of the connection that ends.
        source: i32,
    },
}

/// The arguments of a join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// 1 for the first try of this call, then 2, 3 …
    pub attempt: u32,
    /// The audio SSRC, as it stands in `params`.
    pub source: i32,
    /// The JSON that goes into `dataJSON.data`, verbatim. It holds our ICE password.
    pub params: Secret<String>,
    /// Enter with the microphone shown as off.
    pub muted: bool,
    /// Enter with the camera shown as off.
    pub video_stopped: bool,
    /// The peer to appear as; `None` for oneself.
    pub join_as: Option<String>,
    /// The hash of a speaker link.
    pub invite_hash: Option<String>,
}

/// A change of our own row; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// Microphone off.
    pub muted: Option<bool>,
    /// 1 to 20 000; 10 000 is 100 %.
    pub volume: Option<u32>,
    /// Ask to speak.
    pub raise_hand: Option<bool>,
    /// Camera off.
    pub video_stopped: Option<bool>,
    /// Camera paused.
    pub video_paused: Option<bool>,
}

/// Something that Telegram says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Incoming {
    /// The end of a request.
    Reply {
        /// Which request.
        id: RequestId,
        /// How it ended.
        result: Result<Reply, SignalingError>,
    },
    /// Something happened in the call.
    Update(Update),
}

/// The value of a successful request.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// To a join: `updateGroupCallConnection.params`, unparsed.
    Joined {
        /// JSON. It holds the server's ICE password.
        params: Secret<String>,
    },
    /// To a check: those SSRCs that the server still knows.
    Sources(Vec<i32>),
    /// To a participants request: one page.
    Participants(ParticipantsPage),
    /// Done, no value.
    Done,
}

/// One page of `phone.getGroupParticipants`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParticipantsPage {
    /// Rows.
    pub participants: Vec<ParticipantRow>,
    /// The list's version.
    pub version: i32,
    /// Where the next page starts; empty when this was the last.
    pub next_offset: String,
}

/// One row of the participant list, fields as in TL `groupCallParticipant`; absent means false.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct ParticipantRow {
    /// Who, by whatever name the signaling has.
    pub peer: String,
    /// Audio SSRC; 0 without a media connection.
    pub source: i32,
    /// This is us.
    #[serde(rename = "self")]
    pub is_self: bool,
    /// The microphone is off.
    pub muted: bool,
    /// May switch the microphone on without asking.
    pub can_self_unmute: bool,
    /// Is gone.
    pub left: bool,
    /// Has come just now.
    pub just_joined: bool,
    /// The row counts for the version.
    pub versioned: bool,
    /// The row lacks what depends on the viewer.
    pub min: bool,
    /// Has a video slot.
    pub video_joined: bool,
    /// 1 to 20 000; `None` is 10 000, 100 %.
    pub volume: Option<u32>,
    /// Asks to speak; higher asked earlier.
    pub raise_hand_rating: Option<i64>,
    /// The camera.
    pub video: Option<VideoRow>,
    /// The screen.
    pub presentation: Option<VideoRow>,
}

/// A camera or screen of a participant (`groupCallParticipantVideo`).
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct VideoRow {
    /// Paused by its sender.
    pub paused: bool,
    /// Its name on the data channel.
    pub endpoint: String,
    /// SIM and FID groups.
    pub source_groups: Vec<SourceGroup>,
    /// The SSRC of the screen's sound.
    pub audio_source: Option<i32>,
}

/// SSRCs that belong together (`groupCallParticipantVideoSourceGroup`).
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct SourceGroup {
    /// `SIM` or `FID`.
    pub semantics: String,
    /// Members, as TL has them.
    pub sources: Vec<i32>,
}

/// What Telegram tells unasked.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Update {
    /// `updateGroupCallConnection` on its own.
    Connection {
        /// JSON, with the server's ICE password.
        params: Secret<String>,
        /// Which of our joins it answers, where the signaling knows.
        attempt: Option<u32>,
        /// For the screen's connection, not the main one.
        presentation: bool,
    },
    /// `updateGroupCallParticipants`.
    Participants {
        /// Changed rows.
        participants: Vec<ParticipantRow>,
        /// The list's version after them.
        version: i32,
    },
    /// `updateGroupCall`: what changed of the call itself.
    Call {
        /// Newcomers enter muted.
        join_muted: Option<bool>,
        /// Unix time of the start, for a call that has not begun.
        schedule_date: Option<i64>,
        /// Whether one more camera may be switched on.
        can_start_video: Option<bool>,
        /// How many cameras there may be at once.
        unmuted_video_limit: Option<u32>,
    },
    /// `groupCallDiscarded`: the call is over.
    Discarded,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignalingError {
    /// Telegram refused.
    #[error("{}", words::sentence(*.code, .message))]
    Rpc {
        /// As HTTP has them: 400, 403, 420, 500 …
        code: i32,
        /// `GROUPCALL_FORBIDDEN`, `FLOOD_WAIT_5` …
        message: String,
    },
    /// It cannot be done now, for a reason that Telegram has no word for.
    #[error("{message}")]
    Unavailable {
        /// A stable word for programs.
        code: &'static str,
        /// What happened and what to do.
        message: String,
        /// Is it worth trying again later?
        retryable: bool,
    },
    /// The video chat has not begun.
    #[error("the video chat is scheduled and has not begun; wait, or let an admin start it (--start)")]
    Scheduled {
        /// Unix time of the start.
        at: i64,
    },
    /// Nobody answered in time.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The way to Telegram is gone.
    #[error("the connection to the signaling side is closed")]
    Closed,
}

impl SignalingError {
    /// Is it worth asking the same again later?
    pub fn retryable(&self) -> bool {
        match self {
            Self::Rpc { code, message } => words::passes(*code, message),
            Self::Unavailable { retryable, .. } => *retryable,
            Self::Timeout(_) | Self::Scheduled { .. } => true,
            Self::Closed => false,
        }
    }

    /// How long Telegram asks to wait: the seconds of `FLOOD_WAIT_n`.
    pub fn flood_wait(&self) -> Option<Duration> {
        let Self::Rpc { message, .. } = self else { return None };
        let secs = message.strip_prefix("FLOOD_WAIT_")?.parse().ok()?;
        Some(Duration::from_secs(secs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_is_printed_without_what_lets_its_readers_in() {
        for (text, shown) in [
            ("@name", "@name"),
            ("-1001234567890", "-1001234567890"),
            ("t.me/name?videochat=abc", "t.me/name?videochat=…"),
            ("https://t.me/+AbCdEfGh", "https://t.me/+…"),
            ("t.me/joinchat/AbCdEfGh", "t.me/joinchat/…"),
            ("tg://join?invite=AbCdEfGh", "tg://join?invite=…"),
            ("t.me/+", "t.me/+"),
        ] {
            let chat = ChatId(text.to_owned());
            assert_eq!(
                (chat.to_string(), format!("{chat:?}")),
                (shown.to_owned(), format!("ChatId({shown})"))
            );
        }
    }
}
