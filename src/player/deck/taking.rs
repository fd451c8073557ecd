//! The frames of one item → those of the next slot.

use bytes::Bytes;

use super::{Deck, MAX_LAG, Slot};
use crate::media::{AudioLevel, Frame};
use crate::player::timeline::SLOT;
use crate::time::MediaTime;

/// The last picture may be cut this much so that sound follows sound without a gap.
const MAX_CUT: MediaTime = MediaTime::from_millis(100);

/// A time in which an item has neither sound nor picture is shortened when longer than this:
/// no honest file has it, and a broken time stamp would silence the programme for hours.
const MAX_HOLE: MediaTime = MediaTime::from_secs(10);

/// Sound continues in the next slot as long as it is off by less: time stamps that jitter around
/// half a slot must not lose frames.
const KEEP_STEP: MediaTime = MediaTime::from_millis(15);

/// After a hole, sound goes to the nearest slot.
const FIND_STEP: MediaTime = MediaTime::from_millis(10);

/// Pictures that come later than this after their time are not worth showing.
const MAX_LATE: MediaTime = MediaTime::from_millis(500);

impl Deck {
    /// Which place of the item the first slot should fall on: its first frame, moved so that the
    /// sound lies on the grid of slots and no picture is due before the slot.
    pub(in crate::player) fn start_position(&self) -> MediaTime {
        let first = self.first_pts().unwrap_or(MediaTime::ZERO);
        let origin = self.landed.map_or(first, |landed| first.max(landed));
        match self.audio.frames.front() {
            Some(audio) => audio.pts - (audio.pts - origin).max(MediaTime::ZERO).ceil_to(SLOT),
            None => origin,
        }
    }

    /// Takes what belongs into the slot that begins at `position` of the item.
    pub(in crate::player) fn take_slot(&mut self, position: MediaTime) -> Slot {
        self.cursor = Some(position);
        self.drop_late(position);
        if self.has_ended(position) {
            return Slot::Ended;
        }
        if self.is_starved(position) {
            self.sounding = false;
            return Slot::Starved;
        }
        if self.is_hole(position) {
            self.cursor = None;
            self.sounding = false;
            return Slot::Hole;
        }
        let step = self.audio_step();
        let slot_end = position + SLOT;
        let audio = self.audio.take_if(|frame| frame.pts - position < step);
        self.sounding = audio.is_some();
        let video: Vec<_> = std::iter::from_fn(|| self.video.take_if(|frame| frame.pts < slot_end)).collect();
        self.bytes -= audio.iter().chain(&video).map(|frame| frame.data.len()).sum::<usize>();
        self.cursor = Some(slot_end);
        Slot::Play { audio, video }
    }

    /// The sound of the slot that comes next, where it is here already.
    pub(in crate::player) fn next_sound(&self) -> Option<&Frame> {
        let cursor = self.cursor?;
        self.audio.frames.front().filter(|frame| (frame.pts - cursor).abs() < SLOT)
    }

    /// That and the one behind it.
    pub(in crate::player) fn next_sounds(&self) -> Option<[&Frame; 2]> {
        Some([self.next_sound()?, self.audio.frames.get(1)?])
    }

    /// Other bytes for the sound that comes next.
    pub(in crate::player) fn replace_next_sound(&mut self, (data, level): (Bytes, AudioLevel)) {
        if let Some(frame) = self.audio.frames.front_mut() {
            self.bytes = self.bytes + data.len() - frame.data.len();
            (frame.data, frame.level) = (data, Some(level));
        }
    }

    fn audio_step(&self) -> MediaTime {
        if self.sounding { KEEP_STEP } else { FIND_STEP }
    }

    fn drop_late(&mut self, position: MediaTime) {
        let step = self.audio_step();
        while let Some(frame) = self.audio.take_if(|frame| frame.pts - position < -step) {
            self.bytes -= frame.data.len();
            self.n_dropped += 1;
        }
        let mut need_key = false;
        while let Some(frame) = self.video.take_if(|frame| {
            // What follows a lost picture refers to it, up to the next key.
            need_key = frame.pts + MAX_LATE < position || (need_key && !frame.key);
            need_key
        }) {
            self.bytes -= frame.data.len();
            self.n_dropped += 1;
        }
        self.wait_key |= need_key && self.video.frames.is_empty();
    }

    fn is_starved(&self, position: MediaTime) -> bool {
        let dry = (self.audio.live && self.audio.frames.is_empty())
            || (self.video.live && self.video.reach(position) < SLOT);
        dry && self.wants_more() && self.longest_reach(position) < MAX_LAG
    }

    fn is_hole(&self, position: MediaTime) -> bool {
        let shown_until = position.max(self.audio.played_until).max(self.video.played_until);
        self.first_pts().is_some_and(|first| first - shown_until > MAX_HOLE)
    }

    fn has_ended(&self, position: MediaTime) -> bool {
        let (audio_end, video_end) = (self.audio.end, self.video.end);
        // Sound follows sound at once: what little the picture lasts longer is cut.
        let may_cut = audio_end.zip(video_end).is_some_and(|(audio_end, video_end)| {
            video_end - audio_end <= self.video.last_duration.min(MAX_CUT)
        });
        let end = if may_cut { audio_end } else { audio_end.max(video_end) };
        self.eof
            && self.audio.frames.is_empty()
            && (may_cut || self.video.frames.is_empty())
            && end.is_none_or(|end| end <= position)
    }
}
