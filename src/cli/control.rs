//! The door through which `telecast ctl` steers a running `telecast play`: a line of JSON in, a
//! line of JSON out, over a socket in the account's directory that only its owner can open.
//!
//! ```text
//!  {"command":"add","source":"b.mp4","place":"next"}   ─►
//!                         ◄─   {"ok":true,"items":[4],"status":{…}}
//! ```
//!
//! docs/radio.md describes it for other programs.

mod server;
mod wire;

use std::path::PathBuf;

pub(super) use server::{Door, Find, Programmes};
pub(super) use wire::{Answer, Asked, Place, Request, Shown};

/// Where the `play` of an account listens. There is one at a time: its session is locked.
pub(super) fn socket_path(account: &str) -> anyhow::Result<PathBuf> {
    Ok(super::account::directory()?.join(format!("{account}.sock")))
}
