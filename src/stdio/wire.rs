//! The lines themselves: what goes out on stdout and comes in on stdin, as JSON.
//!
//! `docs/stdio.md` is the contract that other programs are written against; the names and
//! shapes here are its.

mod read;
#[cfg(test)]
mod tests;

use serde::{Serialize, Serializer};
use serde_json::Value;

pub(super) use self::read::{Command, In, MAX_LINE_BYTES, Rejected, read};
use crate::call::signaling::{Method, Request};
use crate::secret::Secret;

/// The version of the line format.
const PROTOCOL: u32 = 1;

/// A line from us to the caller.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Out {
    Hello {
        protocol: u32,
        version: &'static str,
    },
    Request {
        id: u64,
        chat: String,
        #[serde(flatten)]
        method: WireMethod,
    },
    Event {
        t_ms: u64,
        chat: String,
        #[serde(flatten)]
        event: Event,
    },
    Ack {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Value>,
    },
    Error {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        chat: Option<String>,
        code: &'static str,
        message: String,
    },
}

impl Out {
    /// The first line.
    pub(super) const fn hello() -> Self {
        Self::Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION") }
    }

    /// A request of the call in `chat`, under an id that is unique in this process.
    pub(super) fn request(id: u64, chat: String, request: Request) -> Self {
        Self::Request { id, chat, method: request.method.into() }
    }

    /// May this line be lost when the caller does not read?
    pub(super) const fn expendable(&self) -> bool {
        matches!(self, Self::Event { event: Event::Position { .. } | Event::Stats { .. }, .. })
    }
}

/// The `method` of a request with its arguments beside it.
#[derive(Debug, Serialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub(super) enum WireMethod {
    Join {
        attempt: u32,
        source: i32,
        #[serde(serialize_with = "exposed")]
        params: Secret<String>,
        muted: bool,
        video_stopped: bool,
        join_as: Option<String>,
        invite_hash: Option<String>,
    },
    Edit {
        muted: Option<bool>,
        volume: Option<u32>,
        raise_hand: Option<bool>,
        video_stopped: Option<bool>,
        video_paused: Option<bool>,
    },
    Check {
        sources: Vec<i32>,
    },
    Participants {
        sources: Vec<i32>,
        offset: String,
    },
    Leave {
        source: i32,
    },
}

/// The caller is the one who must have it.
fn exposed<S: Serializer>(secret: &Secret<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

impl From<Method> for WireMethod {
    fn from(method: Method) -> Self {
        match method {
            Method::Join(join) => Self::Join {
                attempt: join.attempt,
                source: join.source,
                params: join.params,
                muted: join.muted,
                video_stopped: join.video_stopped,
                join_as: join.join_as,
                invite_hash: join.invite_hash,
            },
            Method::Edit(edit) => Self::Edit {
                muted: edit.muted,
                volume: edit.volume,
                raise_hand: edit.raise_hand,
                video_stopped: edit.video_stopped,
                video_paused: edit.video_paused,
            },
            Method::Check { sources } => Self::Check { sources },
            Method::Participants { sources, offset } => Self::Participants { sources, offset },
            Method::Leave { source } => Self::Leave { source },
        }
    }
}

/// The `event` of an event line with its fields beside it.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    Status { status: &'static str, reason: Option<&'static str>, error: Option<WireError> },
    ItemStarted { item: u64, source: String, plan: WirePlan },
    Position { item: u64, position_ms: i64, duration_ms: Option<i64> },
    ItemEnded { item: u64, reason: &'static str, error: Option<String> },
    Stats { stats: Vec<Value> },
}

/// Why a call failed.
#[derive(Debug, Serialize)]
pub(super) struct WireError {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) retryable: bool,
}

/// What is done with the tracks of an item; `null` for a track that is not sent.
#[derive(Debug, Serialize)]
pub(super) struct WirePlan {
    pub(super) audio: Option<String>,
    pub(super) video: Option<String>,
}
