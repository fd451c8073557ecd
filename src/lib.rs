//! Join Telegram video chats and stream audio and video files into them.

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
pub mod time;
