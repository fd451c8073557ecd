//! Being a participant: join, stay, leave.

pub mod colibri;
pub mod params;
pub mod participants;
pub mod sdp;
pub mod signaling;
