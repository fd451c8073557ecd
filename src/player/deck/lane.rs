//! The frames of one track: in as they are read, out as they are played.

use std::collections::VecDeque;

use crate::media::Frame;
use crate::time::MediaTime;

/// The frames of one track.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// The plan plays this track.
    pub(super) live: bool,
    /// The frame that came last lies behind the place where the item is to stop.
    pub(super) over: bool,
    pub(super) frames: VecDeque<Frame>,
    /// Where the latest frame ends, played or not.
    pub(super) end: Option<MediaTime>,
    /// How long the latest frame lasts.
    pub(super) last_duration: MediaTime,
    /// Where the latest frame that was taken out ends.
    pub(super) played_until: MediaTime,
}

impl Lane {
    /// How much of this track is known from `from` on.
    pub(super) fn reach(&self, from: MediaTime) -> MediaTime {
        self.end.map_or(MediaTime::ZERO, |end| end - from)
    }

    pub(super) fn take_if(&mut self, wanted: impl FnOnce(&Frame) -> bool) -> Option<Frame> {
        let frame = self.frames.pop_front_if(|frame| wanted(frame))?;
        self.played_until = self.played_until.max(frame.pts + frame.duration);
        Some(frame)
    }

    pub(super) fn clear(&mut self) {
        *self = Self { live: self.live, ..Self::default() };
    }
}
