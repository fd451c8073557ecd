//! What the machine of a call takes and gives: where it stands, what it wants done, what it must
//! know of its peer.

use std::time::Duration;

use super::Property;
use crate::call::error::LeftReason;
use crate::call::params::{RemoteParams, Setup};
use crate::call::signaling::{Request, SignalingError};

/// Where a call stands.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CallStatus {
    /// The join request is out.
    Joining,
    /// The server has answered; ICE and DTLS are under way.
    Connecting,
    /// The transport is up and media is being sent.
    Connected,
    /// The server has confirmed that it receives us, or there is nothing yet that it could receive.
    Joined,
    /// The transport was lost; a new one is being made.
    Reconnecting,
    /// Over.
    Left(LeftReason),
}

impl CallStatus {
    /// One word, as the stdio interface has it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Joined => "joined",
            Self::Reconnecting => "reconnecting",
            Self::Left(_) => "left",
        }
    }
}

/// What the machine wants done.
#[derive(Debug)]
pub(in crate::call) enum Output {
    /// Send this to the signaling side.
    Request(Request),
    /// Build a new peer in this role; then call [`State::handle_offer`](super::State::handle_offer).
    NewPeer {
        /// Which try it is for.
        attempt: u32,
        /// Its DTLS role.
        setup: Setup,
    },
    /// Give the peer of this attempt the server's parameters.
    Answer {
        /// The try that it answers.
        attempt: u32,
        /// The server's side.
        remote: Box<RemoteParams>,
    },
    /// The peer is of no use any more.
    DropPeer,
    /// The status has changed.
    Status(CallStatus),
    /// Tell the user.
    Notice(Notice),
}

/// What the user should know besides the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::call) enum Notice {
    /// Telegram asked us to wait before the next join.
    FloodWait(Duration),
    /// The video chat has not begun; this is the Unix time of its start.
    Waiting(i64),
    /// An admin has muted us, or allowed us to speak again.
    MutedByAdmin(bool),
    /// No more cameras are allowed now; so many may be on at once.
    CameraNotAllowed(Option<u32>),
    /// Telegram will not have it that others see us so.
    EditRefused(Property, SignalingError),
    /// A try failed and another one follows.
    Retrying {
        /// The number of the next try.
        attempt: u32,
        /// Why.
        why: String,
    },
}

/// What the machine must know of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::call) enum Transport {
    /// ICE has a pair.
    IceConnected,
    /// ICE gets no answers.
    IceDisconnected,
    /// DTLS is done.
    Connected,
    /// Gone for good.
    Failed,
    /// Somebody else than announced is at the other end.
    WrongCertificate,
}
