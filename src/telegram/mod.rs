//! Telegram itself, by MTProto: accounts, chats, and the phone.* methods.
//!
//! The only folder that names grammers; none of its types leaves it.
//!
//! ```text
//!  Session (file) ─► Client ─► get_chat, join_video_chat, …
//!                      └─────► TelegramSignaling ─► Call
//! ```

mod chat;
mod client;
mod error;
mod file;
mod login;
mod pool;
mod rows;
mod session;
mod signaling;
mod video_chat;

pub use chat::{Chat, ChatKind, ChatName, VideoChatId};
pub use client::{Client, ClientOptions};
pub use error::TelegramError;
pub use file::{FileLink, RemoteFile};
pub use login::{Account, LoginStep, QrLogin, QrStep, SentCode};
pub use session::{Datacenter, Session, SessionError};
pub use signaling::{SignalingOptions, TelegramSignaling};
pub use video_chat::{JoinAsPeer, JoinVideoChat, VideoChat};
