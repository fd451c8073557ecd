//! Coded units: what is inside the packets of one codec.

pub mod aac;
pub mod audio;
pub mod h264;
pub mod opus;
pub mod pcm;
