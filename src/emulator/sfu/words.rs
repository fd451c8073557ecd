//! What goes into the server and what comes out, besides datagrams: its configuration, join
//! requests and their answers, events.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::DROP_AFTER;
use crate::call::signaling::ParticipantRow;
use crate::emulator::ParticipantId;
use crate::emulator::weather::Weather;

/// How the answer's `setup` relates to what the client sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnswerSetup {
    /// The other role, as it should be.
    #[default]
    Opposite,
    /// The client's own role repeated, as some answers have been seen. Roles on the wire are the
    /// opposite all the same.
    Echo,
}

/// How the server behaves.
#[derive(Clone, Debug)]
pub struct SfuConfig {
    /// The UDP address that clients are told.
    pub local: SocketAddr,
    /// What stands in the answer's `setup`.
    pub answer_setup: AnswerSetup,
    /// Whether answers list H.264. All of Telegram's that are known do.
    pub h264: bool,
    /// The weather between the server and everybody who does not join as an observer.
    pub weather: Option<Weather>,
    /// When a participant without transport is dropped.
    pub drop_after: Duration,
    /// The bitrate that REMB announces to senders.
    pub remb_bps: u64,
}

impl SfuConfig {
    /// The usual server at `local`.
    pub const fn new(local: SocketAddr) -> Self {
        let answer_setup = AnswerSetup::Opposite;
        Self { local, answer_setup, h264: true, weather: None, drop_after: DROP_AFTER, remb_bps: 5_000_000 }
    }
}

/// A request to join, as `phone.joinGroupCall` has it.
#[derive(Clone, Default)]
pub struct JoinRequest {
    /// Which call.
    pub chat: String,
    /// Who joins; a second join under the same name replaces the first.
    pub name: String,
    /// Telegram's JSON. It holds an ICE password and is not printed.
    pub params: String,
    /// Enter with the microphone off.
    pub muted: bool,
    /// Enter with the camera off.
    pub video_stopped: bool,
    /// An instrument rather than a subject: its link has no weather.
    pub observer: bool,
}

impl fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chat, name, params: _, muted, video_stopped, observer } = self;
        f.debug_struct("JoinRequest")
            .field("chat", chat)
            .field("name", name)
            .field("muted", muted)
            .field("video_stopped", video_stopped)
            .field("observer", observer)
            .finish_non_exhaustive()
    }
}

/// The answer to a join.
#[derive(Clone, PartialEq, Eq)]
pub struct Joined {
    /// Names this connection.
    pub participant: ParticipantId,
    /// `updateGroupCallConnection.params`; for a page the SDP answer. Either holds an ICE
    /// password and is not printed.
    pub params: String,
}

impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joined").field("participant", &self.participant).finish_non_exhaustive()
    }
}

/// What happens on the server.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SfuEvent {
    /// Rows changed; whoever passes them on marks the viewer's own as `self`.
    Participants {
        /// Where.
        chat: String,
        /// Changed rows.
        rows: Vec<ParticipantRow>,
        /// The list's version after them.
        version: i32,
    },
    /// A transport came up.
    Connected {
        /// Whose.
        participant: ParticipantId,
    },
    /// A transport went down; the participant stays in the list for a while.
    Disconnected {
        /// Whose.
        participant: ParticipantId,
    },
    /// A transport can never come up.
    Refused {
        /// Whose.
        participant: ParticipantId,
        /// Such as a certificate that does not have the announced fingerprint.
        reason: String,
    },
    /// The call of a chat is over.
    Discarded {
        /// Where.
        chat: String,
    },
    /// A participant was dropped for having no transport.
    Dropped {
        /// Who.
        participant: ParticipantId,
    },
}
