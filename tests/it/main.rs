//! One binary for all scenarios: links once, shares the lab.

mod layers;
mod negotiation;
#[cfg(feature = "emulator")]
mod publisher;
#[cfg(feature = "emulator")]
mod watcher;
