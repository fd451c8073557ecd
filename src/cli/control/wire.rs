//! What is said: requests and answers, each a line of JSON.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::values::RepeatArg;
use crate::player::{ItemId, PlayerState, PlayerStatus, QueuedItem};

/// What somebody wants, and of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Asked {
    /// Whose programme is meant, where each chat has one of its own.
    pub(in crate::cli) chat: Option<String>,
    pub(in crate::cli) request: Request,
}

impl Asked {
    pub(super) fn read(line: &[u8]) -> serde_json::Result<Self> {
        let mut value: Value = serde_json::from_slice(line)?;
        let chat = value.as_object_mut().and_then(|keys| keys.remove("chat"));
        let chat = chat.map(serde_json::from_value).transpose()?;
        Ok(Self { chat, request: serde_json::from_value(value)? })
    }

    pub(in crate::cli) fn to_line(&self) -> serde_json::Result<String> {
        let mut value = serde_json::to_value(&self.request)?;
        if let Some(chat) = &self.chat {
            value["chat"] = chat.as_str().into();
        }
        Ok(format!("{value}\n"))
    }
}

/// What somebody wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::cli) enum Request {
    Status,
    List,
    Add {
        source: String,
        #[serde(default)]
        place: Place,
    },
    Remove {
        item: u64,
    },
    Move {
        item: u64,
        to: usize,
    },
    Clear,
    Shuffle {
        seed: Option<u64>,
    },
    Skip,
    Previous,
    SkipTo {
        item: u64,
    },
    Seek {
        to_ms: i64,
    },
    SeekBy {
        by_ms: i64,
    },
    Pause,
    Resume,
    Volume {
        percent: u16,
    },
    Speed {
        percent: u16,
    },
    Crossfade {
        length_ms: i64,
    },
    Repeat {
        what: RepeatArg,
    },
    Stop,
}

/// Where a new item goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum Place {
    /// Behind all others.
    #[default]
    End,
    /// Before those that wait.
    Next,
    /// In place of the current one.
    Now,
    /// So many places behind the next one.
    At(usize),
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Answer {
    pub(in crate::cli) ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) error: Option<String>,
    /// The new items.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::cli) items: Vec<u64>,
    /// Those that wait, after `list`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) queue: Option<Vec<Waiting>>,
    /// How things are now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) status: Option<Shown>,
}

/// An item that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Waiting {
    pub(in crate::cli) item: u64,
    pub(in crate::cli) source: String,
}

impl From<QueuedItem> for Waiting {
    fn from(queued: QueuedItem) -> Self {
        Self { item: queued.id.0, source: queued.source.to_string() }
    }
}

/// A programme at one moment, and where it is heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Shown {
    /// `idle`, `loading`, `playing`, `paused`, `ended`.
    pub(in crate::cli) state: String,
    pub(in crate::cli) item: Option<u64>,
    pub(in crate::cli) source: Option<String>,
    pub(in crate::cli) position_ms: i64,
    pub(in crate::cli) duration_ms: Option<i64>,
    pub(in crate::cli) paused: bool,
    pub(in crate::cli) volume_percent: u16,
    pub(in crate::cli) speed_percent: u16,
    pub(in crate::cli) crossfade_ms: i64,
    /// `off`, `one`, `all`.
    pub(in crate::cli) repeat: String,
    pub(in crate::cli) n_queued: usize,
    pub(in crate::cli) chats: Vec<Heard>,
}

/// A chat of the programme.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Heard {
    pub(in crate::cli) chat: String,
    /// `joined`, `reconnecting`, …
    pub(in crate::cli) status: String,
}

impl Shown {
    pub(super) fn new(status: &PlayerStatus, chats: Vec<Heard>) -> Self {
        let state = match status.state {
            PlayerState::Idle => "idle",
            PlayerState::Loading => "loading",
            PlayerState::Playing => "playing",
            PlayerState::Paused => "paused",
            PlayerState::Ended => "ended",
        };
        Self {
            state: state.to_owned(),
            item: status.item.map(|ItemId(id)| id),
            source: status.source.as_deref().map(str::to_owned),
            position_ms: status.position.as_millis(),
            duration_ms: status.duration.map(|duration| duration.as_millis()),
            paused: status.paused,
            volume_percent: status.volume_percent,
            speed_percent: status.speed_percent,
            crossfade_ms: status.crossfade.as_millis(),
            repeat: status.repeat.as_str().to_owned(),
            n_queued: status.n_queued,
            chats,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_they_are_documented() {
        let read = |text: &str| {
            let asked = Asked::read(text.as_bytes()).map_err(|error| error.to_string())?;
            assert_eq!(asked.chat, None);
            Ok::<_, String>(asked.request)
        };
        assert_eq!(read(r#"{"command":"list"}"#), Ok(Request::List));
        let add = Request::Add { source: "b.mp4".into(), place: Place::Next };
        assert_eq!(read(r#"{"command":"add","source":"b.mp4","place":"next"}"#), Ok(add));
        let add = Request::Add { source: "b.mp4".into(), place: Place::At(3) };
        assert_eq!(read(r#"{"command":"add","source":"b.mp4","place":{"at":3}}"#), Ok(add));
        assert_eq!(read(r#"{"command":"seek_by","by_ms":-5000}"#), Ok(Request::SeekBy { by_ms: -5000 }));
        assert_eq!(read(r#"{"command":"shuffle"}"#), Ok(Request::Shuffle { seed: None }));
        for wrong in [r#"{"command":"dance"}"#, r#"{"command":"volume"}"#, "list", "{}", "[1]", ""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_request_may_name_a_chat() {
        for chat in [None, Some("@one".to_owned())] {
            let asked = Asked { chat, request: Request::Volume { percent: 5 } };
            assert_eq!(Asked::read(asked.to_line().unwrap().as_bytes()).unwrap(), asked);
        }
        assert!(Asked::read(br#"{"command":"list","chat":7}"#).is_err());
    }
}
