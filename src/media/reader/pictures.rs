//! The picture track of an item: nothing is decoded, everything is checked.

use std::collections::VecDeque;

use super::{PATIENCE, PATIENCE_BYTES};
use crate::media::codec::h264::ReorderWatch;
use crate::media::demux::{Packet, Shape, Track};
use crate::media::{Frame, MediaKind};
use crate::time::MediaTime;

/// How much faster than real time pictures run that are to be decoded but not shown: a file cut
/// between two keyframes begins with them. A receiver cannot be told to hide pictures.
const HIDDEN_SPEED: i64 = 8;
/// The step of RTP's video clock: pictures must differ by at least that much.
const TICK: MediaTime = MediaTime::from_millis(1);

/// When a picture is shown that the file has at `pts`, on the clock of the file: pictures before
/// zero are pressed together right before it.
pub(super) fn shown_at(pts: MediaTime) -> MediaTime {
    const CLOCK: u32 = 705_600_000;
    if pts < MediaTime::ZERO { MediaTime::from_ticks(pts.to_ticks(CLOCK) / HIDDEN_SPEED, CLOCK) } else { pts }
}

/// Access units waiting for their turn.
#[derive(Debug)]
pub(super) struct Pictures {
    origin: MediaTime,
    /// Clockwise quarter turns for a player to apply.
    rotation: u8,
    /// The stream promises that its pictures are never reordered, so B-slices are harmless.
    order_is_promised: bool,
    watch: ReorderWatch,
    /// Where a picture came that is shown before an earlier one.
    reordered_at: Option<MediaTime>,
    /// A keyframe came since the start or the last seek.
    started: bool,
    last: Option<MediaTime>,
    frames: VecDeque<Frame>,
    n_bytes: usize,
    n_skipped: u64,
}

impl Pictures {
    pub(super) fn new(track: &Track, origin: MediaTime, order_is_promised: bool) -> Self {
        let rotation = match track.shape {
            Shape::Video { rotation, .. } => (rotation / 90 % 4) as u8,
            Shape::Audio { .. } => 0,
        };
        Self {
            origin,
            rotation,
            order_is_promised,
            watch: ReorderWatch::new(),
            reordered_at: None,
            started: false,
            last: None,
            frames: VecDeque::new(),
            n_bytes: 0,
            n_skipped: 0,
        }
    }

    pub(super) fn push(&mut self, packet: Packet) {
        if self.reordered_at.is_some() || packet.data.is_empty() {
            return;
        }
        self.started |= packet.key;
        if !self.started {
            self.n_skipped += 1;
            return;
        }
        let mut pts = shown_at(packet.pts) - self.origin;
        if !self.order_is_promised && self.watch.push(packet.pts, &packet.data).is_some() {
            self.reordered_at = Some(pts);
            return;
        }
        if let Some(last) = self.last.filter(|last| pts < *last + TICK) {
            pts = last + TICK;
        }
        self.last = Some(pts);
        self.n_bytes += packet.data.len();
        self.frames.push_back(Frame {
            kind: MediaKind::Video,
            pts,
            duration: packet.duration,
            key: packet.key,
            data: packet.data,
            level: None,
            rotation: self.rotation,
        });
    }

    /// When the next picture is seen.
    pub(super) fn peek(&self) -> Option<MediaTime> {
        self.frames.front().map(|frame| frame.pts)
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.n_bytes -= frame.data.len();
        Some(frame)
    }

    /// Where the first B-frame is; nothing comes after it.
    pub(super) const fn reordered_at(&self) -> Option<MediaTime> {
        self.reordered_at
    }

    /// So much waits here that the other track is not waited for any more.
    pub(super) fn is_impatient(&self) -> bool {
        let span = match (self.frames.front(), self.frames.back()) {
            (Some(first), Some(last)) => last.pts - first.pts,
            _ => MediaTime::ZERO,
        };
        span > PATIENCE || self.n_bytes > PATIENCE_BYTES
    }

    #[cfg(test)]
    pub(super) fn n_waiting(&self) -> usize {
        self.frames.len()
    }

    pub(super) const fn n_skipped(&self) -> u64 {
        self.n_skipped
    }

    /// Forgets what waits; the next picture is a keyframe again.
    pub(super) fn seek(&mut self) {
        self.frames.clear();
        self.n_bytes = 0;
        self.watch = ReorderWatch::new();
        (self.reordered_at, self.last, self.started) = (None, None, false);
    }
}
