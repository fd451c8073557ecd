//! One binary for all scenarios: links once, shares the lab.

use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(all(feature = "emulator", feature = "openh264"))]
mod clips;
#[cfg(feature = "cli")]
mod demo;
mod layers;
mod negotiation;
#[cfg(feature = "emulator")]
mod publisher;
#[cfg(feature = "emulator")]
mod watcher;

/// Tests that decode and measure in real time take turns: two at once would starve each other.
fn realtime() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
