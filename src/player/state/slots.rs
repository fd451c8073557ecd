//! Fills one slot after the other: with the item that runs, or with silence.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::warn;

use super::crossfade::Filling;
use super::{Output, State};
use crate::media::{AudioLevel, Codec, Frame, MediaKind};
use crate::player::deck::{Opened, Slot};
use crate::player::timeline::{Placement, SLOT};
use crate::player::{DueFrame, ItemId, PlayerEvent};
use crate::time::MediaTime;

/// A slot this late is still played: the receivers' jitter buffers absorb it. A later one is
/// filled with silence and the item goes on afterwards, because a burst of overdue sound would
/// be thrown away by every receiver.
pub(super) const LATE: Duration = Duration::from_millis(100);

/// After a standstill of the whole process longer than this, the slots between are left out
/// instead of being sent as silence all at once.
const MAX_CATCH_UP: Duration = Duration::from_secs(2);

/// How often a position is reported.
const REPORT_EVERY: MediaTime = MediaTime::from_secs(1);

/// An item of which nothing has come for so long is stuck. A receiver drops a source after a
/// second; three are more than a slow disk or a busy server needs.
const STUCK_AFTER: MediaTime = MediaTime::from_secs(3);

/// The smallest step between two pictures: one tick of the RTP video clock.
const VIDEO_TICK_RATE: u32 = 90_000;

/// 20 ms of stereo silence (RFC 6716): the mode of the music around it, with the silence flag set.
pub(super) const SILENCE: &[u8] = &[0xfc, 0xff, 0xfe];

impl State {
    /// Fills the next slot and moves on.
    pub(super) fn fill_slot(&mut self, now: Instant) {
        let at = self.timeline.slot_at();
        let lateness = now.saturating_duration_since(self.timeline.due(at));
        if lateness > MAX_CATCH_UP {
            let was_running = matches!(self.timeline.placement(), Placement::Running { .. });
            let n_slots = self.timeline.jump_to(now);
            warn!(n_slots, "the process stood still; these slots are left out");
            if was_running {
                self.status.stalled += SLOT * n_slots;
            }
            return;
        }
        let tail = self.cuts.take_tail().filter(|_| lateness <= LATE);
        let Filling { sound, pictures } = match tail {
            // What was cut comes to its end; all else begins behind it.
            Some(tail) => Filling { sound: Some(tail), ..Filling::default() },
            None if lateness > LATE => self.sit_out(),
            None => self.play_slot(),
        };
        let (item, frame) = sound.map_or_else(|| (None, silence(at)), |(item, frame)| (Some(item), frame));
        self.cuts.note(item, &frame.data);
        self.send(item, at, frame);
        for (item, shown_at, frame) in pictures {
            // Only a file whose pictures are out of order or late ever needs the floor.
            let tick = MediaTime::from_ticks(1, VIDEO_TICK_RATE);
            let video_at = shown_at.max(self.last_video_at.map_or(at, |last| at.max(last + tick)));
            self.last_video_at = Some(video_at);
            self.send(Some(item), video_at, frame);
        }
        self.timeline.step();
        self.step_crossfade();
        self.arrange();
    }

    fn send(&mut self, item: Option<ItemId>, at: MediaTime, frame: Frame) {
        let due = self.timeline.due(at);
        self.out.push_back(Output::Frame(DueFrame { item, at, due, frame }));
    }

    /// The slot comes too late to be played.
    fn sit_out(&mut self) -> Filling {
        self.interrupt_crossfade();
        if matches!(self.timeline.placement(), Placement::Running { .. }) {
            self.tell_stalled();
            self.timeline.hold();
        }
        if self.stalling {
            self.status.stalled += SLOT;
        }
        self.starved_for += SLOT;
        if self.starved_for == STUCK_AFTER
            && let Some(deck) = &self.current
        {
            self.tell(PlayerEvent::ItemStuck { item: deck.id });
        }
        Filling::default()
    }

    /// What the current item, or the one after it, has for the next slot.
    fn play_slot(&mut self) -> Filling {
        loop {
            if self.is_held() || self.tries.is_waiting() {
                return Filling::default();
            }
            self.begin_crossfade();
            if self.hand_over()
                && let Some(sound) = self.cuts.take_tail()
            {
                return Filling { sound: Some(sound), ..Filling::default() };
            }
            let Some(deck) = &self.current else { return Filling::default() };
            let placement = self.timeline.placement();
            if !matches!(placement, Placement::Running { .. }) && !deck.is_ready() {
                return self.sit_out();
            }
            match placement {
                Placement::Running { .. } => {}
                Placement::Held { position } => self.timeline.run_from(position),
                Placement::Cued => {
                    let position = deck.start_position();
                    self.start(position);
                }
            }
            (self.stalling, self.starved_for) = (false, MediaTime::ZERO);
            match self.take_slot() {
                Slot::Play { audio, video } if self.crossfade.is_some() => return self.mix(audio, video),
                Slot::Play { audio, video } => {
                    let sound = audio.map(|frame| self.fade_back_in(frame));
                    let item = self.current.as_ref().map(|deck| deck.id);
                    return Filling { sound: item.zip(sound), pictures: self.placed(video) };
                }
                Slot::Starved => return self.sit_out(),
                Slot::Hole => self.timeline.cue(),
                Slot::Ended => {
                    self.finish_by_itself();
                    self.arrange();
                    // What two items had together falls now; the next one begins behind it.
                    if let Some(sound) = self.cuts.take_tail() {
                        return Filling { sound: Some(sound), ..Filling::default() };
                    }
                }
            }
        }
    }

    /// Where pictures of the current item lie on the programme's clock.
    pub(super) fn placed(&self, video: Vec<Frame>) -> Vec<(ItemId, MediaTime, Frame)> {
        let (Some(deck), Placement::Running { base }) = (&self.current, self.timeline.placement()) else {
            return Vec::new();
        };
        video.into_iter().map(|frame| (deck.id, base + frame.pts, frame)).collect()
    }

    fn take_slot(&mut self) -> Slot {
        let position = self.timeline.position().expect("the item has just been placed");
        let deck = self.current.as_mut().expect("only a loaded item is placed");
        let slot = deck.take_slot(position);
        let place = deck.media_at(position);
        if matches!(slot, Slot::Play { .. }) && place >= self.next_report {
            let item = deck.id;
            let duration = deck.opened.as_ref().and_then(|opened| opened.duration);
            self.next_report = place.floor_to(REPORT_EVERY) + REPORT_EVERY;
            self.tell(PlayerEvent::Position { item, position: place.max(MediaTime::ZERO), duration });
        }
        slot
    }

    /// Places the current item on the next slot.
    fn start(&mut self, position: MediaTime) {
        self.timeline.run_from(position);
        let deck = self.current.as_mut().expect("only a loaded item starts");
        self.next_report = deck.media_at(position);
        if std::mem::replace(&mut deck.started, true) {
            return;
        }
        let Opened { plan, duration } = deck.opened.clone().expect("only an opened item is ready");
        let event =
            PlayerEvent::ItemStarted { item: deck.id, source: Arc::clone(&deck.source), plan, duration };
        self.tell(event);
    }

    fn tell_stalled(&mut self) {
        let Some(deck) = self.current.as_ref().filter(|_| !self.stalling) else { return };
        warn!(item = deck.id.0, position = ?self.timeline.position(), "no frames in time: silence until they come");
        let event = PlayerEvent::ItemStalled { item: deck.id };
        self.stalling = true;
        self.tell(event);
    }
}

/// What is heard when nothing plays.
fn silence(at: MediaTime) -> Frame {
    Frame {
        kind: MediaKind::Audio,
        codec: Codec::Opus,
        pts: at,
        duration: SLOT,
        key: true,
        data: Bytes::from_static(SILENCE),
        level: Some(AudioLevel::SILENCE),
        rotation: 0,
    }
}
