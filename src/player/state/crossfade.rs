//! The end of one item and the beginning of the next, heard together.
//!
//! ```text
//! slots      … 97 98 99 │ 0  1  2 … n-1 │ n  n+1 │ …
//! old item   … ██ ██ ██ │ ██ ▇▇ ▆▆ …  ▁ │        │
//! next item             │  ▁ ▂▂ ▃▃ … ██ │ ██ ██  │ ██ …
//! sent          as it is│     mixed     │encoded │ as it is
//! ```
//!
//! The next item is the current one from the first slot of the fade on: that is where it starts,
//! what commands mean, and whose place is told. The old one only lends its sound, and its end is
//! told when its last slot has passed. Both are decoded and mixed here, a slot at a time, and
//! encoded again, which takes a millisecond; before and behind the fade, packets go out as they
//! are.

use std::sync::Arc;

use bytes::Bytes;
use tracing::debug;

use super::{Output, State};
use crate::media::codec::opus::Mixer;
use crate::media::{AudioLevel, Codec, Frame, MediaKind};
use crate::player::deck::{Deck, Slot};
use crate::player::timeline::{Placement, SLOT};
use crate::player::{AfterFailure, EndReason, ItemId, MAX_CROSSFADE, OnFailure, PlayError, PlayerEvent};
use crate::time::MediaTime;

/// Less than this is no fade: items follow each other without a gap.
const SHORTEST: u32 = 5;

/// So many slots behind the fade are encoded, too: they lead a receiver back to the item's own
/// packets.
const LEADING: u32 = 2;

/// A fade from one item to the next.
#[derive(Debug)]
pub(super) struct Crossfade {
    /// Nothing once it has come to its end.
    old: Option<Old>,
    /// The slot that comes next.
    nth: u32,
    n_slots: u32,
    /// Nothing when the sounds cannot be mixed: then one follows the other.
    mixer: Option<Mixer>,
}

/// The item that goes.
#[derive(Debug)]
struct Old {
    deck: Deck,
    /// Where in it the next slot is.
    position: MediaTime,
    /// Nothing more comes of it.
    is_over: bool,
}

/// What one slot holds.
#[derive(Debug, Default)]
pub(super) struct Filling {
    /// The sound; silence where there is none.
    pub(super) sound: Option<(ItemId, Frame)>,
    /// Pictures, and when they are shown on the programme's clock.
    pub(super) pictures: Vec<(ItemId, MediaTime, Frame)>,
}

impl Crossfade {
    /// The item that goes, while it does.
    pub(super) fn old_deck(&mut self) -> Option<&mut Deck> {
        self.old.as_mut().map(|old| &mut old.deck)
    }
}

impl State {
    /// Sets over how long items go over into each other from now on; a fade that has begun stays
    /// as it is.
    pub(in crate::player) fn set_crossfade(&mut self, length: MediaTime) -> Result<(), PlayError> {
        if length < MediaTime::ZERO || length > MAX_CROSSFADE {
            return Err(PlayError::Crossfade { length });
        }
        self.options.crossfade = length;
        Ok(())
    }

    /// Begins a fade when it is time for one.
    pub(super) fn begin_crossfade(&mut self) {
        let Some(n_slots) = self.crossfade_due() else { return };
        let (Some(deck), Some(position)) = (self.current.take(), self.timeline.position()) else { return };
        debug!(item = deck.id.0, n_slots, "goes over into the next item");
        self.drop_successor();
        let (recent, is_sounding) = self.cuts.before_mixing();
        let mixer = Mixer::new(n_slots, recent.iter().map(|packet| &packet[..])).map(|mut mixer| {
            if !is_sounding {
                mixer.interrupt();
            }
            mixer
        });
        let mixer = mixer.inspect_err(|error| debug!(%error, "they cannot be mixed")).ok();
        let old = Some(Old { deck, position, is_over: false });
        self.crossfade = Some(Crossfade { old, nth: 0, n_slots, mixer });
        self.forget_tries();
        self.queue.retire(true, false);
        self.arrange();
    }

    /// How many slots the fade has that begins now.
    fn crossfade_due(&self) -> Option<u32> {
        let (current, next) = (self.current.as_ref()?, self.next.as_ref()?);
        let is_running = matches!(self.timeline.placement(), Placement::Running { .. });
        // What comes after itself is a loop.
        let is_possible = is_running && self.crossfade.is_none() && current.id != next.id;
        if !is_possible
            || self.options.crossfade == MediaTime::ZERO
            || !next.is_ready()
            || next.is_exhausted()
        {
            return None;
        }
        if !current.has_sound() && !next.has_sound() {
            return None;
        }
        let slots = |length: MediaTime| length.max(MediaTime::ZERO).floor_to(SLOT).to_ticks(50);
        let half = |length| slots(length) / 2;
        // Of what is next, nobody may know how long it is.
        let halves = half(current.length()?).min(next.length().map_or(i64::MAX, half));
        let longest = halves.min(slots(self.options.crossfade));
        let left = slots(current.left(self.timeline.position()?)?);
        let n_slots = u32::try_from(left).ok()?;
        (left <= longest && n_slots >= SHORTEST).then_some(n_slots)
    }

    /// Fills a slot with this of the current item and what the old one has.
    pub(super) fn mix(&mut self, audio: Option<Frame>, video: Vec<Frame>) -> Filling {
        let pictures = self.placed(video);
        let (old_audio, old_following) = self.take_of_old();
        let position = self.timeline.position().unwrap_or(MediaTime::ZERO);
        let (Some(current), Some(fade)) = (&self.current, &mut self.crossfade) else {
            return Filling { pictures, ..Filling::default() };
        };
        let nth = fade.nth;
        fade.nth += 1;
        if let Some(mixer) = &mut fade.mixer {
            let following = current.next_sound().map(|frame| &frame.data);
            let here = [old_audio.as_ref().map(|(_, old)| &old.data), audio.as_ref().map(|own| &own.data)];
            match mixer.mix(nth, here, [old_following.as_ref(), following]) {
                Ok(packet) => {
                    let pts = audio.map_or(position, |own| own.pts);
                    return Filling { sound: Some((current.id, mixed(pts, packet))), pictures };
                }
                Err(error) => debug!(item = current.id.0, %error, "the fade becomes a cut"),
            }
            fade.mixer = None;
        }
        let (id, is_old_heard) = (current.id, nth < fade.n_slots / 2);
        let own = audio.map(|own| (id, self.fade_back_in(own)));
        Filling { sound: if is_old_heard { old_audio } else { own }, pictures }
    }

    /// The sound of the old item for this slot, and the packet of its next one.
    fn take_of_old(&mut self) -> (Option<(ItemId, Frame)>, Option<Bytes>) {
        let Some(old) = self.crossfade.as_mut().and_then(|fade| fade.old.as_mut()) else {
            return (None, None);
        };
        let slot = old.deck.take_slot(old.position);
        old.position += SLOT;
        match slot {
            // Pictures are those of the next item.
            Slot::Play { audio, .. } => {
                let following = old.deck.next_sound().map(|frame| frame.data.clone());
                (audio.map(|frame| (old.deck.id, frame)), following)
            }
            // The next item is not held up by what the old one lacks.
            Slot::Starved | Slot::Hole => (None, None),
            Slot::Ended => {
                old.is_over = true;
                (None, None)
            }
        }
    }

    /// The slot is filled: what has come to its end with it is over.
    pub(super) fn step_crossfade(&mut self) {
        let Some(fade) = &self.crossfade else { return };
        let is_done = fade.nth >= fade.n_slots;
        let is_led_back = is_done && (fade.mixer.is_none() || fade.nth >= fade.n_slots + LEADING);
        if is_done || fade.old.as_ref().is_some_and(|old| old.is_over) {
            self.end_old_by_itself();
        }
        if is_led_back {
            self.crossfade = None;
        }
    }

    /// Nothing is heard any more of what the two items had together.
    pub(super) fn end_crossfade(&mut self, reason: EndReason) {
        let reason = if reason == EndReason::Stopped { reason } else { EndReason::Finished };
        if let Some(old) = self.take_old() {
            self.tell_end(old.id, old.source, reason, None);
        }
        self.crossfade = None;
    }

    /// The item that goes has gone, or has failed on its way: then that is told, and the policy
    /// may end everything.
    pub(super) fn end_old_by_itself(&mut self) {
        let Some(mut old) = self.take_old() else { return };
        let Some(error) = old.failed.take().filter(|_| old.is_exhausted()) else {
            return self.tell_end(old.id, old.source, EndReason::Finished, None);
        };
        // The next item plays already: it cannot be tried again.
        let stops = self.options.on_failure == OnFailure::Stop;
        let policy = if stops { AfterFailure::Stop } else { AfterFailure::Skip };
        let (item, source) = (old.id, Arc::clone(&old.source));
        self.tell(PlayerEvent::ItemFailed { item, source, error: error.clone(), policy });
        self.tell_end(old.id, old.source, EndReason::Failed, Some(error));
        if stops {
            self.stop();
        }
    }

    /// The item that goes has failed and has nothing left.
    pub(super) fn has_old_failed(&self) -> bool {
        let old = self.crossfade.as_ref().and_then(|fade| fade.old.as_ref());
        old.is_some_and(|old| old.deck.failed.is_some() && old.deck.is_exhausted())
    }

    fn take_old(&mut self) -> Option<Deck> {
        let Old { deck, .. } = self.crossfade.as_mut()?.old.take()?;
        self.status.n_dropped += deck.n_dropped;
        self.out.push_back(Output::Retire { worker: deck.worker });
        Some(deck)
    }

    /// What is sent is mixed of two items.
    pub(super) fn is_mixing(&self) -> bool {
        self.crossfade.as_ref().is_some_and(|fade| fade.mixer.is_some())
    }

    /// What falls silent in the slot that comes next, when two items are heard.
    pub(super) fn fallen_mix(&mut self) -> Option<(ItemId, Frame)> {
        let (current, fade) = (self.current.as_ref()?, self.crossfade.as_mut()?);
        let pts = self.timeline.position().unwrap_or(MediaTime::ZERO);
        match fade.mixer.as_mut()?.fall(fade.nth) {
            Ok(packet) => Some((current.id, mixed(pts, packet))),
            Err(error) => {
                debug!(item = current.id.0, %error, "cut without a fade");
                None
            }
        }
    }

    /// Silence comes in between.
    pub(super) fn interrupt_crossfade(&mut self) {
        if let Some(mixer) = self.crossfade.as_mut().and_then(|fade| fade.mixer.as_mut()) {
            mixer.interrupt();
        }
    }
}

/// A packet of two items, in its place in the current one.
fn mixed(pts: MediaTime, (data, level): (Bytes, AudioLevel)) -> Frame {
    Frame {
        kind: MediaKind::Audio,
        codec: Codec::Opus,
        pts,
        duration: SLOT,
        key: true,
        data,
        level: Some(level),
        rotation: 0,
    }
}

#[cfg(test)]
mod tests;
