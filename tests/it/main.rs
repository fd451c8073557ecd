//! One binary for all scenarios: links once, shares the lab.

mod layers;
mod negotiation;
