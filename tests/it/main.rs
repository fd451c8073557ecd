//! One binary for all scenarios: links once, shares the lab.

#[cfg(all(feature = "emulator", feature = "openh264"))]
mod clips;
mod layers;
mod negotiation;
#[cfg(feature = "emulator")]
mod publisher;
#[cfg(feature = "emulator")]
mod watcher;
