//! Being a participant: join, stay, leave.

pub mod signaling;
