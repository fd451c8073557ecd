//! Data-channel messages: which video we want, and which video others want of us.
//!
//! The channel carries JSON texts told apart by `colibriClass`, a dialect of Jitsi's bridge.
//! Only two classes matter: `ReceiverVideoConstraints` from us, without which the server
//! forwards no video, and `SenderVideoConstraints` from it. All others are read leniently or
//! kept by their name.

use serde::Serialize;
use serde_json::{Map, Value};

/// The longest message that is read: what both ends announce for SCTP.
pub const MAX_MESSAGE_BYTES: usize = 262_144;
/// Endpoints in one list that are kept; a call shows far fewer videos.
const MAX_ENDPOINTS: usize = 1024;

/// How tall a picture we ask for. The server picks the layer that comes nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quality {
    /// 180 lines.
    Thumbnail,
    /// 360 lines.
    Medium,
    /// 720 lines, and on stage.
    Full,
}

impl Quality {
    /// Lines of the picture.
    pub const fn height(self) -> u32 {
        match self {
            Self::Thumbnail => 180,
            Self::Medium => 360,
            Self::Full => 720,
        }
    }
}

/// The wish to see one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoRequest {
    /// From the participant's row.
    pub endpoint: String,
    /// Rather nothing than less.
    pub min: Quality,
    /// No more than this.
    pub max: Quality,
}

/// `ReceiverVideoConstraints`: exactly these videos and no others. Without requests it tells
/// the server to forward no video at all.
///
/// The message replaces all earlier ones. Telegram's clients repeat it every five seconds
/// while they want any video.
pub fn receiver_video_constraints(requests: &[VideoRequest]) -> String {
    let constraints = requests.iter().map(|request| {
        let heights = Heights { min_height: request.min.height(), max_height: request.max.height() };
        (request.endpoint.clone(), serde_json::to_value(heights).expect("numbers always serialize"))
    });
    let on_stage = requests.iter().filter(|request| request.max == Quality::Full);
    let message = ReceiverVideoConstraints {
        colibri_class: "ReceiverVideoConstraints",
        default_constraints: MaxHeight { max_height: 0 },
        on_stage_endpoints: on_stage.map(|request| request.endpoint.as_str()).collect(),
        constraints: constraints.collect(),
    };
    serde_json::to_string(&message).expect("strings and numbers always serialize")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReceiverVideoConstraints<'a> {
    colibri_class: &'static str,
    default_constraints: MaxHeight,
    on_stage_endpoints: Vec<&'a str>,
    constraints: Map<String, Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MaxHeight {
    max_height: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Heights {
    min_height: u32,
    max_height: u32,
}

/// Something that the server says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerMessage {
    /// `SenderVideoConstraints`: the tallest picture of us that anybody wants.
    SenderVideoConstraints {
        /// In lines; 0 when nobody watches.
        ideal_height: u32,
    },
    /// `DebugMessage`: the server's view of the layers, for people.
    Debug {
        /// Lines of text.
        message: String,
    },
    /// `DominantSpeakerEndpointChangeEvent`.
    DominantSpeaker {
        /// Who speaks now.
        endpoint: String,
        /// Who spoke before, latest first.
        previous: Vec<String>,
    },
    /// `LastNEndpointsChangeEvent`.
    LastN {
        /// Those that are forwarded.
        endpoints: Vec<String>,
    },
    /// `EndpointConnectivityStatusChangeEvent`.
    EndpointConnectivity {
        /// Who.
        endpoint: String,
        /// Whether media arrives from there.
        active: bool,
    },
    /// A class that we do not know, to be ignored.
    Unknown {
        /// Its name.
        class: String,
    },
}

/// Why a message cannot be read. Ignoring it is always safe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ColibriError {
    /// Longer than SCTP was told.
    #[error("the data-channel message has {bytes} bytes; at most {limit} are read")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// Not JSON at all.
    #[error("the data-channel message is no JSON")]
    NotJson(#[from] serde_json::Error),
    /// JSON, but not of this dialect.
    #[error("the data-channel message has no colibriClass")]
    NoClass,
    /// A known class without what makes it useful.
    #[error("the data-channel message {class} has no valid {field}")]
    BadField {
        /// Which message.
        class: &'static str,
        /// What is missing or of the wrong type.
        field: &'static str,
    },
}

impl ServerMessage {
    /// Reads one text message.
    ///
    /// # Errors
    ///
    /// When it is too long, no JSON, without a class, or of a known class without its value.
    pub fn parse(text: &str) -> Result<Self, ColibriError> {
        if text.len() > MAX_MESSAGE_BYTES {
            return Err(ColibriError::TooLarge { bytes: text.len(), limit: MAX_MESSAGE_BYTES });
        }
        let message: Value = serde_json::from_str(text)?;
        let class = message.get("colibriClass").and_then(Value::as_str).ok_or(ColibriError::NoClass)?;
        Ok(match class {
            "SenderVideoConstraints" => {
                let constraints = message.get("videoConstraints");
                let ideal_height =
                    constraints.and_then(|constraints| height(constraints.get("idealHeight")?));
                let missing = ColibriError::BadField {
                    class: "SenderVideoConstraints",
                    field: "videoConstraints.idealHeight",
                };
                Self::SenderVideoConstraints { ideal_height: ideal_height.ok_or(missing)? }
            }
            "DebugMessage" => Self::Debug { message: text_of(&message, "message").unwrap_or_default() },
            "DominantSpeakerEndpointChangeEvent" => {
                const FIELD: &str = "dominantSpeakerEndpoint";
                let missing =
                    ColibriError::BadField { class: "DominantSpeakerEndpointChangeEvent", field: FIELD };
                Self::DominantSpeaker {
                    endpoint: text_of(&message, FIELD).ok_or(missing)?,
                    previous: texts_of(&message, "previousSpeakers"),
                }
            }
            "LastNEndpointsChangeEvent" => Self::LastN { endpoints: texts_of(&message, "lastNEndpoints") },
            "EndpointConnectivityStatusChangeEvent" => {
                const CLASS: &str = "EndpointConnectivityStatusChangeEvent";
                let missing = |field| ColibriError::BadField { class: CLASS, field };
                Self::EndpointConnectivity {
                    endpoint: text_of(&message, "endpoint").ok_or_else(|| missing("endpoint"))?,
                    active: flag(message.get("active")).ok_or_else(|| missing("active"))?,
                }
            }
            class => Self::Unknown { class: class.to_owned() },
        })
    }
}

/// A number, or a string with one; fractions are cut, negative numbers are none.
fn height(value: &Value) -> Option<u32> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok()?,
        value => value.as_f64()?,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
    (0.0..=f64::from(u32::MAX)).contains(&number).then_some(number as u32)
}

/// Jitsi's bridge writes this flag as a string, Telegram's types say boolean.
fn flag(value: Option<&Value>) -> Option<bool> {
    match value? {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn text_of(message: &Value, key: &str) -> Option<String> {
    message.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// The strings of a list; what is no string is left out.
fn texts_of(message: &Value, key: &str) -> Vec<String> {
    let list = message.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).take(MAX_ENDPOINTS).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_requests_ask_for_no_video() {
        expect![[r#"{"colibriClass":"ReceiverVideoConstraints","defaultConstraints":{"maxHeight":0},"onStageEndpoints":[],"constraints":{}}"#]].assert_eq(&receiver_video_constraints(&[]));
    }

    #[test]
    fn requests_name_their_heights_and_the_stage() {
        let request = |endpoint: &str, min, max| VideoRequest { endpoint: endpoint.to_owned(), min, max };
        expect![[r#"{"colibriClass":"ReceiverVideoConstraints","defaultConstraints":{"maxHeight":0},"onStageEndpoints":["5be1f03a9d72c846"],"constraints":{"5be1f03a9d72c846":{"maxHeight":720,"minHeight":180},"77aa01\"\n":{"maxHeight":360,"minHeight":360}}}"#]].assert_eq(&receiver_video_constraints(&[
            request("5be1f03a9d72c846", Quality::Thumbnail, Quality::Full),
            request("77aa01\"\n", Quality::Medium, Quality::Medium),
        ]));
    }

    #[test]
    fn reads_what_the_server_says() {
        let check =
            |text: &str, expected: Expect| expected.assert_debug_eq(&ServerMessage::parse(text).unwrap());
        check(
            r#"{"colibriClass":"SenderVideoConstraints","videoConstraints":{"idealHeight":360}}"#,
            expect![[r#"
                SenderVideoConstraints {
                    ideal_height: 360,
                }
            "#]],
        );
        check(
            r#"{"colibriClass":"SenderVideoConstraints","videoConstraints":{"idealHeight":"0"},"x":[]}"#,
            expect![[r#"
                SenderVideoConstraints {
                    ideal_height: 0,
                }
            "#]],
        );
        check(
            r#"{"colibriClass":"DebugMessage","message":"endpoint=5be1 target=180p/180 ideal=180p/180\n"}"#,
            expect![[r#"
                Debug {
                    message: "endpoint=5be1 target=180p/180 ideal=180p/180\n",
                }
            "#]],
        );
        check(
            r#"{"colibriClass":"DominantSpeakerEndpointChangeEvent","dominantSpeakerEndpoint":"a","previousSpeakers":["b",1]}"#,
            expect![[r#"
                DominantSpeaker {
                    endpoint: "a",
                    previous: [
                        "b",
                    ],
                }
            "#]],
        );
        check(
            r#"{"colibriClass":"LastNEndpointsChangeEvent","lastNEndpoints":["a","b"]}"#,
            expect![[r#"
            LastN {
                endpoints: [
                    "a",
                    "b",
                ],
            }
        "#]],
        );
        check(
            r#"{"colibriClass":"EndpointConnectivityStatusChangeEvent","endpoint":"a","active":"false"}"#,
            expect![[r#"
                EndpointConnectivity {
                    endpoint: "a",
                    active: false,
                }
            "#]],
        );
        check(
            r#"{"colibriClass":"ServerHello","version":"1"}"#,
            expect![[r#"
            Unknown {
                class: "ServerHello",
            }
        "#]],
        );
    }

    #[test]
    fn unreadable_messages_say_why() {
        let check = |text: &str, expected: Expect| {
            expected.assert_eq(&ServerMessage::parse(text).unwrap_err().to_string());
        };
        check("", expect!["the data-channel message is no JSON"]);
        check("[]", expect!["the data-channel message has no colibriClass"]);
        check(r#"{"colibriClass":7}"#, expect!["the data-channel message has no colibriClass"]);
        check(
            r#"{"colibriClass":"SenderVideoConstraints"}"#,
            expect![
                "the data-channel message SenderVideoConstraints has no valid videoConstraints.idealHeight"
            ],
        );
        check(
            r#"{"colibriClass":"SenderVideoConstraints","videoConstraints":{"idealHeight":-1}}"#,
            expect![
                "the data-channel message SenderVideoConstraints has no valid videoConstraints.idealHeight"
            ],
        );
        check(
            r#"{"colibriClass":"EndpointConnectivityStatusChangeEvent","endpoint":"a"}"#,
            expect!["the data-channel message EndpointConnectivityStatusChangeEvent has no valid active"],
        );
        check(
            &" ".repeat(MAX_MESSAGE_BYTES + 1),
            expect!["the data-channel message has 262145 bytes; at most 262144 are read"],
        );
        check(&"[".repeat(MAX_MESSAGE_BYTES), expect!["the data-channel message is no JSON"]);
    }

    proptest! {
        #[test]
        fn nothing_panics(
            class in prop::sample::select(vec!["SenderVideoConstraints", "LastNEndpointsChangeEvent", "x"]),
            rest in "[\\[\\]{}\":,a-z0-9.eE+-]{0,40}",
        ) {
            let _ = ServerMessage::parse(&rest);
            let _ = ServerMessage::parse(&format!(r#"{{"colibriClass":"{class}","videoConstraints":{rest}}}"#));
            let height = format!(r#"{{"videoConstraints":{{"idealHeight":{rest}}},"colibriClass":"{class}"}}"#);
            let _ = ServerMessage::parse(&height);
        }
    }
}
