//! A video chat on this machine, and how to judge what a participant of it sees and hears.

pub mod marks;
pub mod measure;
pub mod watcher;
