//! One binary for all scenarios: links once, shares the lab.

use tokio::sync::{Mutex, MutexGuard};

#[cfg(all(feature = "emulator", feature = "openh264"))]
mod bridge;
#[cfg(feature = "emulator")]
mod browser;
#[cfg(all(feature = "emulator", feature = "openh264"))]
mod cache;
#[cfg(all(feature = "cli", feature = "card"))]
mod card;
#[cfg(all(feature = "emulator", feature = "openh264"))]
mod clips;
mod corpus;
#[cfg(all(feature = "cli", feature = "openh264"))]
mod damage;
#[cfg(feature = "cli")]
mod demo;
mod ffprobe;
#[cfg(all(feature = "emulator", any(feature = "openh264", feature = "telegram")))]
mod foreign;
mod formats;
mod fuzz;
#[cfg(all(feature = "cli", feature = "openh264"))]
mod goldens;
#[cfg(all(feature = "emulator", feature = "openh264"))]
mod keyframes;
mod layers;
#[cfg(all(feature = "emulator", feature = "http"))]
mod live;
mod negotiation;
#[cfg(all(feature = "emulator", feature = "openh264"))]
mod ntgcalls;
#[cfg(all(feature = "emulator", feature = "openh264"))]
mod pause;
#[cfg(all(feature = "http", feature = "openh264"))]
mod pixels;
#[cfg(all(feature = "cli", feature = "openh264"))]
mod played;
#[cfg(feature = "cli")]
mod prepare;
#[cfg(feature = "emulator")]
mod publisher;
#[cfg(feature = "emulator")]
mod round_trip;
#[cfg(all(feature = "emulator", feature = "http"))]
mod slow;
#[cfg(feature = "http")]
mod sources;
#[cfg(feature = "cli")]
mod stdio;
#[cfg(all(feature = "emulator", feature = "telegram"))]
mod telegram;
#[cfg(feature = "emulator")]
mod together;
#[cfg(feature = "openh264")]
mod tracks;
#[cfg(feature = "emulator")]
mod watcher;
#[cfg(feature = "emulator")]
mod webdriver;

/// Tests that decode and measure in real time take turns: two at once would starve each other.
static TURN: Mutex<()> = Mutex::const_new(());

/// Waits for the turn of a test that is not async.
#[cfg(feature = "cli")]
fn realtime() -> MutexGuard<'static, ()> {
    TURN.blocking_lock()
}

/// Waits for the turn of a test that is async.
#[cfg(feature = "emulator")]
async fn realtime_async() -> MutexGuard<'static, ()> {
    TURN.lock().await
}
