//! Why a call did not come about, and why it ended.

use std::sync::Arc;
use std::time::Duration;

use super::params::AnswerError;
use super::signaling::SignalingError;
use crate::peer::PeerError;

/// Why a call is over.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum LeftReason {
    /// The programme had ended, and the call with it.
    Ended,
    /// The video chat itself is over.
    Discarded,
    /// An admin removed us.
    Kicked,
    /// The same account joined from another device.
    Elsewhere,
    /// We were told to leave.
    Command,
    /// Nobody else was there for [`leave_when_empty`](super::JoinOptions::leave_when_empty).
    Empty,
    /// It never came about, or broke for good.
    Failed(JoinError),
}

impl LeftReason {
    /// One word, as the stdio interface has it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Discarded => "discarded",
            Self::Kicked => "kicked",
            Self::Elsewhere => "elsewhere",
            Self::Command => "command",
            Self::Empty => "empty",
            Self::Failed(_) => "failed",
        }
    }
}

/// How far a connection came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectStage {
    /// No answer to any ICE check.
    Ice,
    /// ICE works, DTLS does not finish.
    Dtls,
}

/// Why a call could not be joined, or could not go on.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// Telegram, or the program between, refused or kept silent.
    #[error(transparent)]
    Signaling(#[from] SignalingError),
    /// The reply to the join was of another kind.
    #[error("the signaling side answered the join with something else")]
    UnexpectedReply,
    /// The answer's parameters cannot be used.
    #[error("the server's answer cannot be used")]
    Answer(#[source] Arc<AnswerError>),
    /// The call is in broadcast mode for us.
    #[error(
        "this video chat is in broadcast mode: new members only listen; \
         ask an admin to let the account speak, then join again"
    )]
    BroadcastOnly,
    /// The call is an RTMP stream.
    #[error("this is an RTMP live stream: push to its RTMP address with an encoder instead of joining")]
    Rtmp,
    /// The transport did not come up.
    #[error("{}", connect_timeout(*.stage, *.after, *.attempts))]
    ConnectTimeout {
        /// How far it came.
        stage: ConnectStage,
        /// How long it was tried.
        after: Duration,
        /// How many peers were tried.
        attempts: u32,
    },
    /// The media server's certificate is not the one that its answer announced.
    #[error(
        "the media server is not the one that Telegram announced: its certificate is another; \
         somebody may be listening in, so nothing was sent; try from another network"
    )]
    WrongCertificate,
    /// The WebRTC engine failed.
    #[error("{0}")]
    Peer(String),
    /// The call's task ended without a word.
    #[error("the call broke off by a bug in telecast; please report it with a log of -vv")]
    Interrupted,
    /// No UDP socket.
    #[error("cannot open a UDP socket: {0}")]
    Socket(String),
}

impl JoinError {
    /// Is it worth trying the same again later?
    pub fn retryable(&self) -> bool {
        match self {
            Self::Signaling(error) => error.retryable(),
            Self::ConnectTimeout { .. } | Self::Socket(_) | Self::Interrupted => true,
            Self::UnexpectedReply
            | Self::Answer(_)
            | Self::BroadcastOnly
            | Self::Rtmp
            | Self::WrongCertificate
            | Self::Peer(_) => false,
        }
    }

    /// A stable word for programs.
    pub fn code(&self) -> &str {
        match self {
            Self::Signaling(SignalingError::Rpc { message, .. }) => message,
            Self::Signaling(SignalingError::Unavailable { code, .. }) => code,
            Self::Signaling(SignalingError::Scheduled { .. }) => "scheduled",
            Self::Signaling(SignalingError::Timeout(_)) => "rpc_timeout",
            Self::Signaling(SignalingError::Closed) => "signaling_closed",
            Self::UnexpectedReply => "unexpected_reply",
            Self::Answer(_) => "bad_answer",
            Self::BroadcastOnly => "broadcast_only",
            Self::Rtmp => "rtmp",
            Self::ConnectTimeout { stage: ConnectStage::Ice, .. } => "ice_timeout",
            Self::ConnectTimeout { stage: ConnectStage::Dtls, .. } => "dtls_timeout",
            Self::WrongCertificate => "wrong_certificate",
            Self::Peer(_) => "peer",
            Self::Interrupted => "interrupted",
            Self::Socket(_) => "socket",
        }
    }
}

impl PartialEq for JoinError {
    /// Causes from other libraries cannot be compared; what a person reads can.
    fn eq(&self, other: &Self) -> bool {
        self.code() == other.code() && self.to_string() == other.to_string()
    }
}

impl From<AnswerError> for JoinError {
    fn from(error: AnswerError) -> Self {
        Self::Answer(Arc::new(error))
    }
}

impl From<PeerError> for JoinError {
    fn from(error: PeerError) -> Self {
        // The engine's error type is not ours to publish; its words are.
        Self::Peer(error.to_string())
    }
}

fn connect_timeout(stage: ConnectStage, after: Duration, attempts: u32) -> String {
    let secs = after.as_secs_f64().round();
    match stage {
        ConnectStage::Ice => format!(
            "the media server did not answer within {secs} s ({attempts} tries): \
             UDP to it is blocked, or it is down; check the firewall for outgoing UDP"
        ),
        ConnectStage::Dtls => format!(
            "the media server answers, but the encrypted connection did not come up within {secs} s \
             ({attempts} tries): too many packets are being lost; try again, or from another network"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_learns_what_to_do() {
        let blocked = JoinError::ConnectTimeout {
            stage: ConnectStage::Ice,
            after: Duration::from_secs(10),
            attempts: 3,
        };
        assert!(blocked.retryable());
        assert!(blocked.to_string().contains("within 10 s (3 tries)"), "{blocked}");
        assert!(blocked.to_string().contains("firewall"), "{blocked}");
        let refused =
            JoinError::from(SignalingError::Rpc { code: 403, message: "GROUPCALL_FORBIDDEN".into() });
        assert_eq!(refused.code(), "GROUPCALL_FORBIDDEN");
        assert!(!refused.retryable());
    }
}
