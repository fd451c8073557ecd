//! The errors that Telegram answers with, by the names that its clients know.

/// A refused request: a code as HTTP has them and an upper-case name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code} {message}")]
pub struct RpcError {
    /// 400, 403, 500 …
    pub code: i32,
    /// `GROUPCALL_JOIN_MISSING` …
    pub message: String,
}

impl RpcError {
    /// Any error: what a test wants a request to fail with.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The join parameters are not what they should be.
    pub(super) fn data_json_invalid() -> Self {
        Self::new(400, "DATA_JSON_INVALID")
    }

    /// An SSRC is in use, or is zero, or is missing: Telegram has one name for the three.
    pub(super) fn ssrc_duplicate() -> Self {
        Self::new(400, "GROUPCALL_SSRC_DUPLICATE_MUCH")
    }

    /// Whoever asks is not in the call.
    pub(super) fn join_missing() -> Self {
        Self::new(400, "GROUPCALL_JOIN_MISSING")
    }

    /// Somebody who is not in the call was named.
    #[cfg(feature = "telegram")]
    pub(super) fn participant_invalid() -> Self {
        Self::new(400, "PARTICIPANT_ID_INVALID")
    }

    /// No such call, or not for you.
    pub(super) fn forbidden() -> Self {
        Self::new(403, "GROUPCALL_FORBIDDEN")
    }

    /// A volume outside 1 to 20 000.
    pub(super) fn volume_invalid() -> Self {
        Self::new(400, "USER_VOLUME_INVALID")
    }
}
