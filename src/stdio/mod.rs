//! Signaling as lines of JSON: the media side of calls for programs in any language.
//!
//! ```text
//!  stdin  ─► input, wire ─► session ─► Call, Player
//!  stdout ◄─ writer ◄── lines ◄── session ◄─ requests, statuses, item events
//! ```
//!
//! Another program makes the calls to Telegram; this side joins, streams and tells. The lines
//! are described in `docs/stdio.md`.

mod door;
mod input;
mod session;
mod wire;
mod writer;

pub use session::{Failure, Options, run};
