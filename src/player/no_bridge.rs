//! Stands for the bridge where no H.264 codec is built: every frame goes out as it is.

use std::time::Instant;

use super::SharedFrame;

/// Does nothing.
#[derive(Debug, Default)]
pub(super) struct Bridge {}

/// Cannot come.
#[derive(Debug)]
pub(super) enum Answer {}

impl Bridge {
    pub(super) fn handle_frame(&mut self, frame: SharedFrame, _now: Instant) -> Option<SharedFrame> {
        Some(frame)
    }

    pub(super) fn poll_still(&mut self, _sound: &SharedFrame, _now: Instant) -> Vec<SharedFrame> {
        Vec::new()
    }

    pub(super) fn request(&mut self, _now: Instant) {}

    pub(super) async fn recv(&mut self) -> Answer {
        std::future::pending().await
    }

    pub(super) fn handle_answer(&mut self, answer: Answer) -> Vec<SharedFrame> {
        match answer {}
    }

    pub(super) fn close(&mut self) {}
}
