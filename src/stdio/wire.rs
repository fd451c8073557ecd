//! The lines themselves: what goes out on stdout and comes in on stdin, as JSON.
//!
//! `docs/stdio.md` is the contract that other programs are written against; the names and
//! shapes here are its.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::call::signaling::{
    Method, ParticipantRow, ParticipantsPage, Reply, Request, SignalingError, Update,
};
use crate::secret::Secret;

/// A longer line is not read.
pub(super) const MAX_LINE_BYTES: usize = 1024 * 1024;

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

/// A line from the caller to us.
#[derive(Debug, PartialEq)]
pub(super) enum In {
    /// The end of one of our requests.
    Reply { id: u64, result: Result<Reply, SignalingError> },
    /// Something happened in a chat.
    Update { chat: String, update: Update },
    /// The caller wants something.
    Command { reference: Option<Value>, chat: Option<String>, command: Command },
}

/// What a caller can want.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Command {
    Pause,
    Resume,
    Skip,
    Stop,
    Mute,
    Unmute,
    Join,
    Leave,
    Stats,
    Seek { position_ms: i64 },
    Volume { percent: u32 },
    Play { source: String, now: bool },
}

/// Why a line was skipped.
#[derive(Debug, PartialEq)]
pub(super) struct Rejected {
    pub(super) reference: Option<Value>,
    pub(super) chat: Option<String>,
    pub(super) code: &'static str,
    pub(super) message: String,
}

/// Reads one line. Empty ones are `None`.
pub(super) fn read(line: &str) -> Result<Option<In>, Rejected> {
    let bad = |code, message: String| Rejected { reference: None, chat: None, code, message };
    if line.trim().is_empty() {
        return Ok(None);
    }
    let value: Value = serde_json::from_str(line)
        .map_err(|error| bad("bad_json", format!("this line is no JSON: {error}")))?;
    let Value::Object(ref object) = value else {
        return Err(bad("bad_json", "a line holds one JSON object".into()));
    };
    let reference = object.get("ref").cloned();
    let chat = object.get("chat").and_then(Value::as_str).map(str::to_owned);
    let bad = |code, message| Rejected { reference: reference.clone(), chat: chat.clone(), code, message };
    let field = |error: serde_json::Error| bad("bad_field", error.to_string());
    match object.get("type").and_then(Value::as_str) {
        Some("reply") => {
            let reply: ReplyLine = serde_json::from_value(value).map_err(field)?;
            Ok(Some(In::Reply { id: reply.id, result: reply.into_result() }))
        }
        Some("update") => {
            let update: UpdateLine = serde_json::from_value(value).map_err(field)?;
            let chat = update.chat.clone();
            let update = update.into_update().ok_or_else(|| {
                bad("bad_field", "an update needs params, participants, call or discarded".into())
            })?;
            Ok(Some(In::Update { chat, update }))
        }
        Some("command") => {
            let line: CommandLine = serde_json::from_value(value).map_err(field)?;
            let command = line.into_command().map_err(|message| bad("bad_command", message))?;
            Ok(Some(In::Command { reference: reference.clone(), chat: chat.clone(), command }))
        }
        Some(other) => Err(bad(
            "unknown_type",
            format!("there is no type {other:?}; known are reply, update and command"),
        )),
        None => Err(bad("unknown_type", "the key \"type\" is missing".into())),
    }
}

#[derive(Deserialize)]
struct ReplyLine {
    id: u64,
    params: Option<String>,
    sources: Option<Vec<i32>>,
    participants: Option<Vec<ParticipantRow>>,
    #[serde(default)]
    version: i32,
    #[serde(default)]
    next_offset: String,
    error: Option<ReplyError>,
}

#[derive(Deserialize)]
struct ReplyError {
    code: i32,
    message: String,
}

impl ReplyLine {
    fn into_result(self) -> Result<Reply, SignalingError> {
        if let Some(ReplyError { code, message }) = self.error {
            return Err(SignalingError::Rpc { code, message });
        }
        Ok(match (self.params, self.sources, self.participants) {
            (Some(params), ..) => Reply::Joined { params: Secret::new(params) },
            (_, Some(sources), _) => Reply::Sources(sources),
            (.., Some(participants)) => Reply::Participants(ParticipantsPage {
                participants,
                version: self.version,
                next_offset: self.next_offset,
            }),
            _ => Reply::Done,
        })
    }
}

#[derive(Deserialize)]
struct UpdateLine {
    chat: String,
    params: Option<String>,
    attempt: Option<u32>,
    #[serde(default)]
    presentation: bool,
    participants: Option<Vec<ParticipantRow>>,
    #[serde(default)]
    version: i32,
    call: Option<CallLine>,
    #[serde(default)]
    discarded: bool,
}

#[derive(Deserialize)]
struct CallLine {
    join_muted: Option<bool>,
    schedule_date: Option<i64>,
}

impl UpdateLine {
    fn into_update(self) -> Option<Update> {
        if self.discarded {
            return Some(Update::Discarded);
        }
        if let Some(params) = self.params {
            return Some(Update::Connection {
                params: Secret::new(params),
                attempt: self.attempt,
                presentation: self.presentation,
            });
        }
        if let Some(participants) = self.participants {
            return Some(Update::Participants { participants, version: self.version });
        }
        let CallLine { join_muted, schedule_date } = self.call?;
        Some(Update::Call { join_muted, schedule_date })
    }
}

#[derive(Deserialize)]
struct CommandLine {
    command: String,
    position_ms: Option<i64>,
    percent: Option<u32>,
    source: Option<String>,
    #[serde(default)]
    now: bool,
}

impl CommandLine {
    fn into_command(self) -> Result<Command, String> {
        let missing = |field: &str| format!("{} needs the key {field:?}", self.command);
        Ok(match self.command.as_str() {
            "pause" => Command::Pause,
            "resume" => Command::Resume,
            "skip" => Command::Skip,
            "stop" => Command::Stop,
            "mute" => Command::Mute,
            "unmute" => Command::Unmute,
            "join" => Command::Join,
            "leave" => Command::Leave,
            "stats" => Command::Stats,
            "seek" => Command::Seek { position_ms: self.position_ms.ok_or_else(|| missing("position_ms"))? },
            "volume" => Command::Volume { percent: self.percent.ok_or_else(|| missing("percent"))? },
            "play" => {
                let source = self.source.clone().ok_or_else(|| missing("source"))?;
                Command::Play { source, now: self.now }
            }
            other => return Err(format!("there is no command {other:?}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::call::signaling::Join;

    fn line(out: &Out) -> Value {
        serde_json::to_value(out).expect("our own lines serialize")
    }

    #[test]
    fn lines_out_are_as_documented() {
        assert_eq!(
            line(&Out::hello()),
            json!({"type":"hello","protocol":1,"version":env!("CARGO_PKG_VERSION")})
        );
        let join = Join {
            attempt: 1,
            source: 1_203_778_145,
            params: Secret::new("{}".into()),
            muted: false,
            video_stopped: false,
            join_as: None,
            invite_hash: None,
        };
        let request = Request { id: 9, method: Method::Join(join) };
        assert_eq!(
            line(&Out::request(1, "a".into(), request)),
            json!({"type":"request","id":1,"chat":"a","method":"join","attempt":1,"source":1_203_778_145,
                   "params":"{}","muted":false,"video_stopped":false,"join_as":null,"invite_hash":null})
        );
        let event = Event::Status { status: "left", reason: Some("command"), error: None };
        assert_eq!(
            line(&Out::Event { t_ms: 12, chat: "a".into(), event }),
            json!({"type":"event","t_ms":12,"chat":"a","event":"status","status":"left","reason":"command","error":null})
        );
        assert_eq!(line(&Out::Ack { reference: Some(json!("7")) }), json!({"type":"ack","ref":"7"}));
    }

    #[test]
    fn lines_in_are_read() {
        let read = |line: &str| read(line).expect("a good line").expect("not empty");
        assert_eq!(
            read(r#"{"type":"reply","id":1,"params":"{}"}"#),
            In::Reply { id: 1, result: Ok(Reply::Joined { params: Secret::new("{}".into()) }) }
        );
        assert_eq!(
            read(r#"{"type":"reply","id":3,"sources":[1203778145],"unknown":1}"#),
            In::Reply { id: 3, result: Ok(Reply::Sources(vec![1_203_778_145])) }
        );
        assert_eq!(read(r#"{"type":"reply","id":2}"#), In::Reply { id: 2, result: Ok(Reply::Done) });
        assert_eq!(
            read(r#"{"type":"reply","id":1,"error":{"code":400,"message":"GROUPCALL_FORBIDDEN"}}"#),
            In::Reply {
                id: 1,
                result: Err(SignalingError::Rpc { code: 400, message: "GROUPCALL_FORBIDDEN".into() })
            }
        );
        assert_eq!(
            read(r#"{"type":"update","chat":"a","discarded":true}"#),
            In::Update { chat: "a".into(), update: Update::Discarded }
        );
        assert_eq!(
            read(r#"{"type":"command","ref":"8","chat":"a","command":"seek","position_ms":30000}"#),
            In::Command {
                reference: Some(json!("8")),
                chat: Some("a".into()),
                command: Command::Seek { position_ms: 30_000 }
            }
        );
    }

    #[test]
    fn a_bad_line_is_answered_with_its_reference() {
        for (line, code) in [
            ("{", "bad_json"),
            ("[1]", "bad_json"),
            (r#"{"ref":"7"}"#, "unknown_type"),
            (r#"{"ref":"7","type":"dance"}"#, "unknown_type"),
            (r#"{"ref":"7","type":"reply"}"#, "bad_field"),
            (r#"{"ref":"7","type":"update","chat":"a"}"#, "bad_field"),
            (r#"{"ref":"7","type":"command","command":"seek"}"#, "bad_command"),
            (r#"{"ref":"7","type":"command","command":"dance"}"#, "bad_command"),
        ] {
            let rejected = read(line).expect_err(line);
            assert_eq!(rejected.code, code, "{line}");
            if line.contains("ref") {
                assert_eq!(rejected.reference, Some(json!("7")), "{line}");
            }
        }
        assert_eq!(read("  "), Ok(None));
    }
}
