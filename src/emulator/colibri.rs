//! The data channel's JSON, the server's half: what a receiver wants to see, and what a sender
//! is told that anybody wants.

use std::collections::HashMap;

use serde_json::{Value, json};

/// More endpoints than any client asks for at once; the rest of a message is ignored.
const MAX_ENDPOINTS: usize = 256;

/// Longer messages are ignored: the channel's own limit is four times this.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Which heights a receiver wants of whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Constraints {
    default: u32,
    by_endpoint: HashMap<String, u32>,
}

impl Constraints {
    /// Everything at any height: what a page that shows everybody wants.
    pub(super) fn everything() -> Self {
        Self { default: 720, by_endpoint: HashMap::new() }
    }

    /// Reads a `ReceiverVideoConstraints`; `None` for any other message.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_MESSAGE_BYTES {
            return None;
        }
        let message: Value = serde_json::from_str(text).ok()?;
        if message.get("colibriClass")?.as_str()? != "ReceiverVideoConstraints" {
            return None;
        }
        let by_endpoint = match message.get("constraints").and_then(Value::as_object) {
            None => HashMap::new(),
            Some(map) => map
                .iter()
                .take(MAX_ENDPOINTS)
                .map(|(endpoint, wanted)| (endpoint.clone(), max_height(wanted)))
                .collect(),
        };
        let default = message.get("defaultConstraints").map_or(0, max_height);
        Some(Self { default, by_endpoint })
    }

    /// The height wanted of `endpoint`; 0 for not at all.
    pub(super) fn height_of(&self, endpoint: &str) -> u32 {
        self.by_endpoint.get(endpoint).copied().unwrap_or(self.default)
    }
}

/// "Somebody wants this height of you", 0 for "nobody wants you".
pub(super) fn sender_video_constraints(ideal_height: u32) -> String {
    json!({ "colibriClass": "SenderVideoConstraints", "videoConstraints": { "idealHeight": ideal_height } })
        .to_string()
}

fn max_height(constraint: &Value) -> u32 {
    constraint
        .get("maxHeight")
        .and_then(Value::as_u64)
        .map_or(0, |height| u32::try_from(height).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_clients_send() {
        let text = r#"{"colibriClass":"ReceiverVideoConstraints","defaultConstraints":{"maxHeight":0},
            "onStageEndpoints":["a"],"constraints":{"a":{"minHeight":180,"maxHeight":720},"b":{"maxHeight":180}}}"#;
        let wanted = Constraints::parse(text).expect("constraints");
        assert_eq!(["a", "b", "c"].map(|endpoint| wanted.height_of(endpoint)), [720, 180, 0]);
    }

    #[test]
    fn anything_else_is_ignored() {
        for text in
            ["", "{}", "[]", r#"{"colibriClass":"DebugMessage","message":"x"}"#, r#"{"colibriClass":7}"#]
        {
            assert_eq!(Constraints::parse(text), None, "{text}");
        }
        let odd = r#"{"colibriClass":"ReceiverVideoConstraints","constraints":{"a":{"maxHeight":-3},"b":7}}"#;
        assert_eq!(Constraints::parse(odd).map(|c| c.height_of("a") + c.height_of("b")), Some(0));
    }
}
