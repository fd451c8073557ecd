//! How much of an item is here: is more to be read, may it begin, is it over?

use super::lane::Lane;
use super::{Deck, MAX_LAG};
use crate::time::MediaTime;

/// How far ahead of playing every track is read. Long enough for a slow disk or a busy
/// machine, short enough that a change of the volume is heard soon.
pub(super) const AHEAD: MediaTime = MediaTime::from_millis(500);

/// What every track must have before an item starts, or goes on after it ran dry. Starting with
/// less would make a reader that is barely fast enough stutter.
const REFILL: MediaTime = MediaTime::from_millis(100);

/// Up to here is read in search of a track that lags. More than [`MAX_LAG`], so that a track
/// which has ended early does not stop the other one at every slot.
const MAX_SPREAD: MediaTime = MediaTime::from_secs(5);

/// Memory for the frames of one item, whatever the file says: four seconds at 64 Mbit/s.
pub(super) const MAX_BYTES: usize = 32 << 20;

impl Deck {
    pub(super) fn wants_more(&self) -> bool {
        if self.eof || self.bytes >= MAX_BYTES {
            return false;
        }
        let Some(from) = self.cursor.or_else(|| self.first_pts()) else { return true };
        self.lanes().any(|lane| lane.reach(from) < AHEAD) && self.longest_reach(from) < MAX_SPREAD
    }

    /// Enough is here to begin, or to go on after the frames had run out.
    pub(in crate::player) fn is_ready(&self) -> bool {
        if self.opened.is_none() || self.is_seeking() {
            return false;
        }
        if !self.wants_more() {
            return true;
        }
        let Some(from) = self.cursor.or_else(|| self.first_pts()) else { return false };
        self.lanes().all(|lane| lane.reach(from) >= REFILL) || self.longest_reach(from) >= MAX_LAG
    }

    /// As much is here as is read ahead.
    pub(in crate::player) fn is_full(&self) -> bool {
        self.opened.is_some() && !self.is_seeking() && !self.wants_more() && !self.is_exhausted()
    }

    /// The tracks that the plan plays.
    pub(super) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        [&self.audio, &self.video].into_iter().filter(|lane| lane.live)
    }

    pub(super) fn longest_reach(&self, from: MediaTime) -> MediaTime {
        self.lanes().map(|lane| lane.reach(from)).max().unwrap_or(MediaTime::ZERO)
    }

    /// Nothing is buffered and nothing will come.
    pub(in crate::player) fn is_exhausted(&self) -> bool {
        self.eof && self.first_pts().is_none()
    }

    pub(super) fn first_pts(&self) -> Option<MediaTime> {
        let first = |lane: &Lane| lane.frames.front().map(|frame| frame.pts);
        match (first(&self.audio), first(&self.video)) {
            (Some(audio), Some(video)) => Some(audio.min(video)),
            (audio, video) => audio.or(video),
        }
    }
}
