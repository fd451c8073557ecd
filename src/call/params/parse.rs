//! JSON of `updateGroupCallConnection` → [`Answer`].
//!
//! The server writes numbers as strings in one place and as numbers in the next, writes an
//! empty object as `[]`, and may leave out what its own clients ignore. So every value is read
//! by what it has to become, whatever its JSON type, and checked on the way; the JSON tree
//! never leaves this file.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::answer::{
    Answer, AnswerError, Candidate, CandidateKind, Extension, PayloadType, RemoteParams, RtcpFeedback,
    Section, Skipped, Transport,
};
use super::{Fingerprint, FingerprintError};
use crate::secret::Secret;

/// The longest answer that is read. Real ones have about 3 kB.
pub const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Candidates in an answer; real ones have two.
const MAX_CANDIDATES: usize = 64;
/// Payload types in a section; real ones have six.
const MAX_PAYLOAD_TYPES: usize = 64;
/// Header extensions in a section; one-byte headers have ids for fourteen.
const MAX_EXTENSIONS: usize = 64;
/// Probing SSRCs; real answers have one.
const MAX_SERVER_SOURCES: usize = 64;
/// Fingerprints; real answers have one.
const MAX_FINGERPRINTS: usize = 16;
/// Format parameters, and feedback entries, of one codec.
const MAX_PER_CODEC: usize = 32;
/// Length of any text that is kept: RFC 8839 ends ICE credentials there.
const MAX_TEXT_BYTES: usize = 256;
/// How many omissions are told; a hostile answer could have a hundred thousand.
const MAX_SKIPPED: usize = 256;
/// Where an RTMP encoder connects may be longer.
const MAX_URL_BYTES: usize = 2048;

/// What a host candidate has when the answer does not say (RFC 8445 section 5.1.2.1).
const HOST_PRIORITY: u32 = 2_130_706_431;
/// Every video format of RTP has this clock. One recorded answer says 9000, a slip.
const VIDEO_CLOCK_RATE: u32 = 90_000;
/// Opus always has this clock in RTP (RFC 7587).
const AUDIO_CLOCK_RATE: u32 = 48_000;

type Object = Map<String, Value>;

pub(super) fn answer(json: &str) -> Result<Answer, AnswerError> {
    if json.len() > MAX_ANSWER_BYTES {
        return Err(AnswerError::TooLarge { bytes: json.len(), limit: MAX_ANSWER_BYTES });
    }
    let Value::Object(root) = serde_json::from_str(json).map_err(AnswerError::NotJson)? else {
        return Err(AnswerError::NotAnObject);
    };
    let flag = |key| root.get(key).is_some_and(is_true);
    // A stream answer has no transport; should there be one after all, the flag decides, as in
    // Telegram's own clients.
    if flag("stream") || (flag("rtmp") && !root.contains_key("transport")) {
        return Ok(if flag("rtmp") {
            let secret =
                |key| root.get(key).and_then(|value| printable(value, MAX_URL_BYTES)).map(Secret::new);
            Answer::Rtmp { url: secret("rtmp_stream_url"), key: secret("rtmp_stream_key") }
        } else {
            Answer::Stream
        });
    }
    let mut reader = Reader::default();
    let transport = match root.get("transport") {
        None | Some(Value::Null) => return Err(AnswerError::NoTransport),
        // The server's way to write an empty object.
        Some(Value::Array(list)) if list.is_empty() => return Err(AnswerError::NoTransport),
        Some(Value::Object(transport)) => reader.transport(transport)?,
        Some(_) => return Err(bad("transport", "is no object")),
    };
    let audio = reader.section(&root, "audio", AUDIO_CLOCK_RATE)?;
    let mut video = reader.section(&root, "video", VIDEO_CLOCK_RATE)?;
    if let (Some(audio), Some(video)) = (&audio, &mut video) {
        reader.keep_apart(audio, video);
    }
    let (endpoint, server_sources) = match root.get("video") {
        Some(Value::Object(video)) => (reader.endpoint(video), reader.server_sources(video)?),
        _ => (None, Vec::new()),
    };
    let skipped = reader.skipped;
    Ok(Answer::WebRtc(Box::new(RemoteParams { transport, audio, video, endpoint, server_sources, skipped })))
}

/// Collects what had to be left out.
#[derive(Default)]
struct Reader {
    skipped: Vec<Skipped>,
}

impl Reader {
    fn skip(&mut self, field: impl Into<String>, why: &'static str) {
        if self.skipped.len() < MAX_SKIPPED {
            self.skipped.push(Skipped { field: field.into(), why });
        }
    }

    fn transport(&mut self, transport: &Object) -> Result<Transport, AnswerError> {
        let ice_ufrag = required_text(transport, "transport", "ufrag")?;
        let ice_pwd = Secret::new(required_text(transport, "transport", "pwd")?);
        let fingerprint = fingerprint(transport)?;
        let mut candidates = Vec::new();
        for (idx, value) in list(transport, "transport", "candidates", MAX_CANDIDATES)?.iter().enumerate() {
            match candidate(value, idx) {
                Ok(candidate) => candidates.push(candidate),
                Err(why) => self.skip(format!("transport.candidates[{idx}]"), why),
            }
        }
        if candidates.is_empty() {
            return Err(AnswerError::NoCandidates { skipped: std::mem::take(&mut self.skipped) });
        }
        Ok(Transport { ice_ufrag, ice_pwd, fingerprint, candidates })
    }

    fn section(
        &mut self,
        root: &Object,
        name: &'static str,
        clock_rate: u32,
    ) -> Result<Option<Section>, AnswerError> {
        let Some(Value::Object(object)) = root.get(name) else {
            return Ok(None);
        };
        let mut section = Section::default();
        for (idx, value) in list(object, name, "payload-types", MAX_PAYLOAD_TYPES)?.iter().enumerate() {
            let field = format!("{name}.payload-types[{idx}]");
            match self.payload_type(value, &field, clock_rate) {
                Ok(codec) if section.payload_types.iter().any(|known| known.id == codec.id) => {
                    self.skip(field, "repeats an id");
                }
                Ok(codec) => section.payload_types.push(codec),
                Err(why) => self.skip(field, why),
            }
        }
        for (idx, value) in list(object, name, "rtp-hdrexts", MAX_EXTENSIONS)?.iter().enumerate() {
            let field = format!("{name}.rtp-hdrexts[{idx}]");
            match extension(value) {
                Ok(Some((extension, id))) => {
                    let repeats = |&(known, known_id): &(Extension, u8)| known == extension || known_id == id;
                    if section.extensions.iter().any(repeats) {
                        self.skip(field, "repeats an id or a uri");
                    } else {
                        section.extensions.push((extension, id));
                    }
                }
                Ok(None) => {} // An extension that we do not use.
                Err(why) => self.skip(field, why),
            }
        }
        Ok(Some(section))
    }

    fn payload_type(
        &mut self,
        value: &Value,
        field: &str,
        clock_rate: u32,
    ) -> Result<PayloadType, &'static str> {
        let Value::Object(object) = value else {
            return Err("is no object");
        };
        let id = object.get("id").and_then(integer).and_then(|id| u8::try_from(id).ok());
        let id = id.filter(|id| *id < 128).ok_or("has no id between 0 and 127")?;
        if (64..=95).contains(&id) {
            return Err("has an id that means RTCP on a shared port");
        }
        let name = object.get("name").and_then(|name| printable(name, MAX_TEXT_BYTES));
        let name = name.ok_or("has no printable name")?;
        let clock_rate =
            match object.get("clockrate").and_then(integer).and_then(|rate| u32::try_from(rate).ok()) {
                // Not every audio codec has the clock of Opus, and the others are only listed.
                Some(rate) if clock_rate == AUDIO_CLOCK_RATE && !name.eq_ignore_ascii_case("opus") => rate,
                _ => clock_rate,
            };
        let parameters = match object.get("parameters") {
            Some(Value::Object(parameters)) => self.parameters(parameters, field)?,
            // Anything but an object is the server's way to write none.
            _ => Vec::new(),
        };
        let feedback = match object.get("rtcp-fbs") {
            Some(Value::Array(entries)) => feedback(entries)?,
            _ => Vec::new(),
        };
        Ok(PayloadType { id, name, clock_rate, parameters, feedback })
    }

    fn parameters(&mut self, object: &Object, field: &str) -> Result<Vec<(String, String)>, &'static str> {
        let mut parameters = Vec::new();
        for (key, value) in object {
            let Some(value) = text(value) else { continue };
            // One codec's parameters come as a whole format line under the key `fmtp`.
            let line = if key == "fmtp" { value } else { format!("{key}={value}") };
            for pair in line.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
                if !is_printable(pair) || pair.len() > MAX_TEXT_BYTES {
                    self.skip(
                        format!("{field}.parameters"),
                        "holds spaces, control characters or long values",
                    );
                    continue;
                }
                if parameters.len() == MAX_PER_CODEC {
                    return Err("has too many parameters");
                }
                let (key, value) = pair.split_once('=').unwrap_or(("", pair));
                parameters.push((key.to_owned(), value.to_owned()));
            }
        }
        parameters.sort();
        Ok(parameters)
    }

    /// Audio and video share one transport, so no number may mean two things (RFC 8843).
    fn keep_apart(&mut self, audio: &Section, video: &mut Section) {
        video.payload_types.retain(|codec| {
            let free = audio.payload_types.iter().all(|known| known.id != codec.id);
            if !free {
                self.skip(format!("video payload type {}", codec.id), "is an audio payload type too");
            }
            free
        });
        video.extensions.retain(|&(extension, id)| {
            let free = audio.extensions.iter().all(|&(known, known_id)| known_id != id || known == extension);
            if !free {
                self.skip(format!("video header extension {id}"), "is another one in audio");
            }
            free
        });
    }

    fn endpoint(&mut self, video: &Object) -> Option<String> {
        let endpoint = video.get("endpoint")?;
        let text = printable(endpoint, MAX_TEXT_BYTES);
        if text.is_none() {
            self.skip("video.endpoint", "is no printable text");
        }
        text
    }

    fn server_sources(&mut self, video: &Object) -> Result<Vec<u32>, AnswerError> {
        let mut sources = Vec::new();
        for (idx, value) in list(video, "video", "server_sources", MAX_SERVER_SOURCES)?.iter().enumerate() {
            match integer(value).and_then(ssrc) {
                Some(source) => sources.push(source),
                None => self.skip(format!("video.server_sources[{idx}]"), "is no SSRC"),
            }
        }
        Ok(sources)
    }
}

fn fingerprint(transport: &Object) -> Result<Fingerprint, AnswerError> {
    let entries = list(transport, "transport", "fingerprints", MAX_FINGERPRINTS)?;
    let sha256 = |entry: &&Value| match entry.get("hash") {
        Some(Value::String(hash)) => hash.eq_ignore_ascii_case(Fingerprint::HASH),
        // Without a name the length of the value decides.
        None | Some(Value::Null) => true,
        Some(_) => false,
    };
    let entry = entries.iter().find(sha256).ok_or(AnswerError::NoFingerprint)?;
    let Some(Value::String(value)) = entry.get("fingerprint") else {
        return Err(AnswerError::NoFingerprint);
    };
    let broken = |_: FingerprintError| bad("transport.fingerprints", "holds no sha-256 value");
    value.trim().parse().map_err(broken)
}

fn candidate(value: &Value, idx: usize) -> Result<Candidate, &'static str> {
    let Value::Object(object) = value else {
        return Err("is no object");
    };
    let field = |key| object.get(key).and_then(text);
    if field("protocol").is_some_and(|protocol| !protocol.eq_ignore_ascii_case("udp")) {
        return Err("is not UDP");
    }
    if field("component").is_some_and(|component| component != "1") {
        return Err("is for separate RTCP");
    }
    let ip: IpAddr = field("ip").and_then(|ip| ip.parse().ok()).ok_or("has no IP address")?;
    if ip.is_unspecified() || ip.is_multicast() {
        return Err("has an address that nobody can answer from");
    }
    let port = object.get("port").and_then(integer).and_then(|port| u16::try_from(port).ok());
    let port = port.filter(|port| *port != 0).ok_or("has no port between 1 and 65535")?;
    let priority = match object.get("priority") {
        None | Some(Value::Null) => HOST_PRIORITY,
        Some(value) => integer(value)
            .and_then(|priority| u32::try_from(priority).ok())
            .ok_or("has a priority that is no 32-bit number")?,
    };
    let kind = match field("type") {
        None => CandidateKind::Host,
        Some(name) => CandidateKind::from_name(&name).ok_or("has an unknown type")?,
    };
    let foundation = match object.get("foundation") {
        None | Some(Value::Null) => (idx + 1).to_string(),
        // RFC 8839: up to 32 characters.
        Some(value) => printable(value, 32).ok_or("has a foundation that is no short text")?,
    };
    Ok(Candidate { foundation, priority, ip, port, kind })
}

/// `None` for an extension that we do not use.
fn extension(value: &Value) -> Result<Option<(Extension, u8)>, &'static str> {
    let uri = value.get("uri").and_then(Value::as_str).ok_or("has no uri")?;
    let Some(extension) = Extension::ALL.into_iter().find(|extension| extension.uri() == uri) else {
        return Ok(None);
    };
    let id = value.get("id").and_then(integer).and_then(|id| u8::try_from(id).ok());
    // RFC 8285: one-byte headers; 15 is reserved.
    let id = id.filter(|id| (1..=14).contains(id)).ok_or("has no id between 1 and 14")?;
    Ok(Some((extension, id)))
}

fn feedback(entries: &[Value]) -> Result<Vec<RtcpFeedback>, &'static str> {
    if entries.len() > MAX_PER_CODEC {
        return Err("has too much feedback");
    }
    let mut feedback = Vec::new();
    for entry in entries {
        let Some(kind) = entry.get("type").and_then(Value::as_str) else { continue };
        // Some write `ccm fir` as one type, others apart.
        let name = match entry.get("subtype").and_then(Value::as_str) {
            Some(subtype) if !subtype.is_empty() => format!("{kind} {subtype}"),
            _ => kind.to_owned(),
        };
        feedback.extend(RtcpFeedback::from_name(&name).filter(|known| !feedback.contains(known)));
    }
    Ok(feedback)
}

/// A list of at most `limit` entries; missing, `null` and anything else is an empty one.
fn list<'a>(object: &'a Object, parent: &str, key: &str, limit: usize) -> Result<&'a [Value], AnswerError> {
    match object.get(key) {
        Some(Value::Array(list)) if list.len() > limit => {
            Err(AnswerError::TooMany { field: format!("{parent}.{key}"), limit })
        }
        Some(Value::Array(list)) => Ok(list),
        _ => Ok(&[]),
    }
}

fn required_text(object: &Object, parent: &str, key: &str) -> Result<String, AnswerError> {
    let field = || format!("{parent}.{key}");
    match object.get(key) {
        None | Some(Value::Null) => Err(bad(field(), "is missing")),
        Some(value) => printable(value, MAX_TEXT_BYTES)
            .ok_or_else(|| bad(field(), "is empty, too long, or holds spaces or control characters")),
    }
}

fn bad(field: impl Into<String>, why: &'static str) -> AnswerError {
    AnswerError::BadField { field: field.into(), why }
}

/// `true` in any of its spellings; `false`, `null` and the rest are false.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => *flag,
        Value::String(text) => text == "true" || text == "1",
        Value::Number(_) => integer(value) == Some(1),
        _ => false,
    }
}

/// A string, or a number or flag as one.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// A text of visible ASCII characters: nothing in it can end a line or a token.
fn printable(value: &Value, max_bytes: usize) -> Option<String> {
    text(value).filter(|text| text.len() <= max_bytes && is_printable(text))
}

fn is_printable(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A whole number, or a string with one.
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// `1.0` is how some serializers write 1.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked and 2^53 fits")]
fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64)
}

/// An SSRC, signed as in TL or unsigned as in RTP.
fn ssrc(number: i64) -> Option<u32> {
    u32::try_from(number).ok().or_else(|| i32::try_from(number).ok().map(i32::cast_unsigned))
}
