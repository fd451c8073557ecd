#![cfg_attr(feature = "emulator", doc = include_str!("../README.md"))]
#![cfg_attr(not(feature = "emulator"), doc = "Join Telegram video chats and stream files into them.")]
// Their macros panic when the other end is gone or the disk is full.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod call;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "emulator")]
pub mod emulator;
pub mod media;
pub mod peer;
pub mod player;
pub mod rtp;
pub mod secret;
pub mod stdio;
#[cfg(feature = "telegram")]
pub mod telegram;
pub mod time;
mod udp;
