//! A Telegram-like video chat on this machine: join parameters in, answers and media out.
//!
//! The server is written against the same facts as the client but shares no protocol code with
//! it: another WebRTC stack, its own JSON in both directions. So the two can disagree, and a
//! mistake of one is not repeated by the other.
//!
//! ```text
//!          in process        HTTP              web page
//!               \              |                  /
//!                `------- Emulator (one task, one UDP socket)
//!                              |
//!                             Sfu    pure: requests, datagrams and time in;
//!                            /   \         answers, datagrams and events out
//!                        Room     Participant ─ Transport ─ IceFront
//! ```

use serde::{Deserialize, Serialize};

mod answer;
mod arrival;
mod colibri;
mod forward;
mod http;
mod ice;
pub mod marks;
pub mod measure;
mod media;
mod meter;
#[cfg(feature = "telegram")]
pub mod mtproto;
mod net;
mod participant;
mod payload;
mod room;
mod rpc;
mod sfu;
mod signaling;
mod stats;
mod transport;
pub mod watcher;
mod weather;

pub use http::HttpDoor;
pub use meter::Arrivals;
pub use net::{Emulator, EmulatorError, EmulatorOptions};
pub use participant::Slot;
pub use rpc::RpcError;
pub use sfu::{AnswerSetup, DROP_AFTER, JoinRequest, Joined, Sfu, SfuConfig, SfuEvent};
pub use stats::{ParticipantStats, StreamStats};
pub use weather::{Direction, Drop, DropKind, Lane, Weather, WeatherError};

/// Names one connection of one participant; a rejoin has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ParticipantId(pub u64);

impl std::fmt::Display for ParticipantId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Where virtual time starts in tests.
#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "an `Instant` cannot be made without a clock; only differences matter"
)]
fn test_start() -> std::time::Instant {
    std::time::Instant::now()
}
