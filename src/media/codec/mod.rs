//! Coded units: what is inside the packets of one codec.

pub mod h264;
