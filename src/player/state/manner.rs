//! How items are played: how loud, and how fast.

use super::{Output, State};
use crate::media::pace::SPEEDS;
use crate::player::worker::WorkerId;
use crate::player::{MAX_VOLUME_PERCENT, PlayError};

impl State {
    /// Sets how loud items are. What has been read already keeps its volume.
    pub(in crate::player) fn set_volume(&mut self, percent: u16) -> Result<(), PlayError> {
        if percent > MAX_VOLUME_PERCENT {
            return Err(PlayError::Volume { percent });
        }
        if percent == self.volume {
            return Ok(());
        }
        self.volume = percent;
        for worker in self.heard() {
            self.out.push_back(Output::Volume { worker, gain: self.gain() });
        }
        // What has been read ahead of the next item would begin at the old volume.
        self.drop_next();
        self.arrange();
        Ok(())
    }

    /// Sets how fast items go by. What has been read already keeps its speed.
    pub(in crate::player) fn set_speed(&mut self, percent: u16) -> Result<(), PlayError> {
        if !SPEEDS.contains(&percent) {
            return Err(PlayError::Speed { percent });
        }
        if percent == self.options.speed_percent {
            return Ok(());
        }
        self.options.speed_percent = percent;
        for worker in self.heard() {
            self.out.push_back(Output::Speed { worker, percent });
        }
        self.drop_next();
        self.arrange();
        Ok(())
    }

    /// The workers of what is heard now, or goes on with it.
    fn heard(&mut self) -> Vec<WorkerId> {
        let old = self.crossfade.as_mut().and_then(|fade| fade.old_deck());
        self.current.iter().chain(&self.successor).chain(old.as_deref()).map(|deck| deck.worker).collect()
    }
}
