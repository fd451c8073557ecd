//! Where the sound of an item is cut, the packet at the cut is faded, so that nothing clicks.
//!
//! ```text
//! pause    … 8  9  10↘  –  –  –  ↗10  11 …      resumed where it was paused
//! skip     … 8  9  10↘  0   1  …                the next item begins a slot later
//! ```
//!
//! (`↘` falls, `↗` rises, `–` is silence.) What is behind the cut has been read and encoded already; it is decoded, faded and encoded
//! again, which takes a millisecond.

use std::collections::VecDeque;

use bytes::Bytes;
use tracing::debug;

use super::State;
use crate::media::Frame;
use crate::media::codec::opus::{PRE_ROLL, SILENCE, fallen, risen};
use crate::player::ItemId;

/// What a fade needs to know of the sound so far.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    /// The last packets of the item that sounds; empty in silence.
    recent: VecDeque<Bytes>,
    /// Those before the pause.
    paused: VecDeque<Bytes>,
    /// Sound that fades out in the next slot, whatever plays.
    tail: Option<(ItemId, Frame)>,
}

impl Cuts {
    /// This has been handed out; `item` is `None` for silence between items.
    pub(super) fn note(&mut self, item: Option<ItemId>, packet: &Bytes) {
        if item.is_none() || packet[..] == SILENCE {
            self.recent.clear();
            return;
        }
        if self.recent.len() == PRE_ROLL {
            self.recent.pop_front();
        }
        self.recent.push_back(packet.clone());
    }

    /// What has been heard last of the item that sounds, and whether it sounds now.
    pub(super) fn before_mixing(&mut self) -> (VecDeque<Bytes>, bool) {
        let paused = std::mem::take(&mut self.paused);
        if paused.is_empty() { (self.recent.clone(), !self.recent.is_empty()) } else { (paused, false) }
    }

    /// What fades out in the slot that is filled now.
    pub(super) fn take_tail(&mut self) -> Option<(ItemId, Frame)> {
        self.tail.take()
    }
}

impl State {
    /// The item is cut here: what would have come next fades out.
    pub(super) fn fade_out(&mut self) {
        self.cuts.paused.clear();
        let recent = std::mem::take(&mut self.cuts.recent);
        if self.is_mixing() {
            if !recent.is_empty() {
                self.cuts.tail = self.fallen_mix();
            }
            return;
        }
        let Some((id, next)) = self.current.as_ref().and_then(|deck| Some((deck.id, deck.next_sound()?)))
        else {
            return;
        };
        if recent.is_empty() {
            return;
        }
        match fallen(recent.iter().map(|packet| &packet[..]), &next.data) {
            Ok((data, level)) => {
                self.cuts.tail = Some((id, Frame { data, level: Some(level), ..next.clone() }))
            }
            Err(error) => debug!(item = id.0, %error, "cut without a fade"),
        }
    }

    /// The same for a pause: the item goes on from there.
    pub(super) fn fade_for_pause(&mut self) {
        if self.cuts.recent.is_empty() {
            return;
        }
        let recent = self.cuts.recent.clone();
        self.fade_out();
        // What is mixed rises by itself.
        if !self.is_mixing() {
            self.cuts.paused = recent;
        }
    }

    /// The first sound after a pause rises.
    pub(super) fn fade_back_in(&mut self, frame: Frame) -> Frame {
        let before = std::mem::take(&mut self.cuts.paused);
        if before.is_empty() {
            return frame;
        }
        let Some(deck) = &mut self.current else { return frame };
        let Some([second, third]) = deck.next_sounds() else { return frame };
        match risen(before.iter().map(|packet| &packet[..]), [&frame.data, &second.data, &third.data]) {
            Ok([(data, level), second]) => {
                deck.replace_next_sound(second);
                Frame { data, level: Some(level), ..frame }
            }
            Err(error) => {
                debug!(%error, "goes on without a fade");
                frame
            }
        }
    }
}

#[cfg(test)]
mod tests;
