//! A line of the caller → what it says, or why it was skipped.
//!
//! Rows of participants come as programs print TL: what is not set is absent or null, and a peer
//! is an object.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::call::signaling::{ParticipantRow, ParticipantsPage, Reply, SignalingError, Update};
use crate::secret::Secret;

/// A longer line is not read.
pub(in crate::stdio) const MAX_LINE_BYTES: usize = 1024 * 1024;

/// A line from the caller to us.
#[derive(Debug, PartialEq)]
pub(in crate::stdio) enum In {
    /// The end of one of our requests.
    Reply { id: u64, result: Result<Reply, SignalingError> },
    /// Something happened in a chat.
    Update { chat: String, update: Update },
    /// The caller wants something.
    Command { reference: Option<Value>, chat: Option<String>, command: Command },
}

/// What a caller can want.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::stdio) enum Command {
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
    Speed { percent: u32 },
    Crossfade { length_ms: i64 },
    Play { source: String, now: bool },
}

/// Why a line was skipped.
#[derive(Debug, PartialEq)]
pub(in crate::stdio) struct Rejected {
    pub(in crate::stdio) reference: Option<Value>,
    pub(in crate::stdio) chat: Option<String>,
    pub(in crate::stdio) code: &'static str,
    pub(in crate::stdio) message: String,
}

/// Reads one line. Empty ones are `None`.
pub(in crate::stdio) fn read(line: &[u8]) -> Result<Option<In>, Rejected> {
    let bad = |code, message: String| Rejected { reference: None, chat: None, code, message };
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    let line = std::str::from_utf8(line)
        .map_err(|error| bad("bad_json", format!("this line is no UTF-8: {error}")))?;
    let mut value: Value = serde_json::from_str(line)
        .map_err(|error| bad("bad_json", format!("this line is no JSON: {error}")))?;
    let Value::Object(object) = &mut value else {
        return Err(bad("bad_json", "a line holds one JSON object".into()));
    };
    // Whatever it is, it is echoed as it came.
    let reference = object.remove("ref").filter(|reference| !reference.is_null());
    object.values_mut().for_each(drop_nulls);
    object.retain(|_, value| !value.is_null());
    if let Some(rows) = object.get_mut("participants").and_then(Value::as_array_mut) {
        rows.iter_mut().for_each(name_peer);
    }
    let chat = object.get("chat").and_then(Value::as_str).map(str::to_owned);
    let bad = |code, message| Rejected { reference: reference.clone(), chat: chat.clone(), code, message };
    if chat.is_none() && object.contains_key("chat") {
        return Err(bad("bad_field", "chat: it is a string, as in our lines".into()));
    }
    let bad_field = |message| bad("bad_field", message);
    match object.get("type").and_then(Value::as_str) {
        Some("reply") => {
            let which = object.get("id").and_then(Value::as_u64);
            let which = which.map_or_else(|| "a reply".to_owned(), |id| format!("the reply to request {id}"));
            let reply: ReplyLine = fields(value, &which).map_err(bad_field)?;
            Ok(Some(In::Reply { id: reply.id, result: reply.into_result() }))
        }
        Some("update") => {
            let update: UpdateLine = fields(value, "an update").map_err(bad_field)?;
            let chat = update.chat.clone();
            let update = update
                .into_update()
                .ok_or_else(|| bad_field("an update needs params, participants, call or discarded".into()))?;
            Ok(Some(In::Update { chat, update }))
        }
        Some("command") => {
            let line: CommandLine = fields(value, "a command").map_err(bad_field)?;
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

/// Takes the keys out of a line; an error says where in which line it is.
fn fields<T: DeserializeOwned>(value: Value, line: &str) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        // The path of what is missing is that of the line itself.
        let place = if path == "." { String::new() } else { format!("{path}: ") };
        format!("in {line}: {place}{}", error.into_inner())
    })
}

/// Programs print what is not set as null. Depth is limited by the parser.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.values_mut().for_each(drop_nulls);
            object.retain(|_, value| !value.is_null());
        }
        Value::Array(array) => array.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// A peer only has to differ from others: in TL it is an object, here it becomes its text.
fn name_peer(row: &mut Value) {
    if let Some(peer) = row.get_mut("peer").filter(|peer| !peer.is_string()) {
        peer.sort_all_objects();
        *peer = Value::String(peer.to_string());
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
    can_start_video: Option<bool>,
    unmuted_video_limit: Option<u32>,
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
        let CallLine { join_muted, schedule_date, can_start_video, unmuted_video_limit } = self.call?;
        Some(Update::Call { join_muted, schedule_date, can_start_video, unmuted_video_limit })
    }
}

#[derive(Deserialize)]
struct CommandLine {
    command: String,
    position_ms: Option<i64>,
    percent: Option<u32>,
    length_ms: Option<i64>,
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
            "speed" => Command::Speed { percent: self.percent.ok_or_else(|| missing("percent"))? },
            "crossfade" => {
                Command::Crossfade { length_ms: self.length_ms.ok_or_else(|| missing("length_ms"))? }
            }
            "play" => {
                let source = self.source.clone().ok_or_else(|| missing("source"))?;
                Command::Play { source, now: self.now }
            }
            other => return Err(format!("there is no command {other:?}")),
        })
    }
}
