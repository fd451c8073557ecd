//! The life of a call as stories, each in a fraction of a second of real time.

mod bad_input;
mod company;
mod connecting;
mod driver;
mod edits;
mod flapping;
mod ghosts;
mod lab;
mod statistics;
mod staying;
mod storm;
