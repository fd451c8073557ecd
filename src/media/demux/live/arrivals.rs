//! When packets came → how far the source can be relied on to be ahead of the clock.

use std::collections::VecDeque;

use crate::time::MediaTime;

/// What lies in the window is kept in so many parts.
const N_PARTS: u32 = 20;

/// The least, over the last seconds, of how far what had come was ahead of the clock.
///
/// A source that brings ten seconds at once every ten seconds is between nothing and ten seconds
/// ahead. What counts is the nothing: whoever plays later than that by a second never runs dry.
#[derive(Debug)]
pub(super) struct Arrivals {
    window: MediaTime,
    /// When each part begins, and the least in it.
    parts: VecDeque<(MediaTime, MediaTime)>,
}

impl Arrivals {
    /// Looks back for as long as `window`.
    pub(super) const fn new(window: MediaTime) -> Self {
        Self { window, parts: VecDeque::new() }
    }

    /// At `now`, the source is this far ahead.
    pub(super) fn note(&mut self, ahead: MediaTime, now: MediaTime) {
        let length = self.window.scaled(1, N_PARTS);
        let begin = now.floor_to(length);
        match self.parts.back_mut() {
            Some((last, least)) if *last >= begin => *least = ahead.min(*least),
            _ => self.parts.push_back((begin, ahead)),
        }
        while self.parts.front().is_some_and(|(begin, _)| *begin + length + self.window <= now) {
            self.parts.pop_front();
        }
    }

    /// The least of the window, and of `ahead`, which is now.
    pub(super) fn least(&self, ahead: MediaTime) -> MediaTime {
        self.parts.iter().map(|(_, least)| *least).fold(ahead, MediaTime::min)
    }

    /// Takes `removed` off all times of the source.
    pub(super) fn remove(&mut self, removed: MediaTime) {
        for (_, least) in &mut self.parts {
            *least -= removed;
        }
    }
}
