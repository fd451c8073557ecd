//! One loaded item: frames from its worker in, the frames of each 20 ms slot out.
//!
//! The deck buffers a little of every track, asks the worker for more when a track runs low,
//! and knows whether a slot can be played, must wait for the worker, or lies behind the end.

mod lane;
mod reach;
mod taking;

use self::lane::Lane;
use super::ItemId;
use super::item::{ItemError, ItemPlan};
use super::worker::WorkerId;
use crate::media::pace::{Pace, Paces};
use crate::media::plan::VideoCodecs;
use crate::media::{Codec, Frame, MediaKind};
use crate::time::MediaTime;

/// When one track is here this far and another is not, the other has a hole, has ended early or
/// is stored far away: the item goes on without it.
const MAX_LAG: MediaTime = MediaTime::from_secs(3);

/// How many frames a worker may be asked for at a time, and when it is asked again.
const CREDIT: usize = 16;
const CREDIT_LOW: usize = 8;

/// What the next slot of an item holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// Play these: at most one of sound, any number of pictures.
    Play {
        /// `None` where the sound has a hole or the item has none.
        audio: Option<Frame>,
        /// In order; their `pts` are before the slot's end.
        video: Vec<Frame>,
    },
    /// The worker has not delivered it yet.
    Starved,
    /// Nothing for a long time: go on at the next frame instead.
    Hole,
    /// The item ended before this slot.
    Ended,
}

/// Something the deck wants from its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// More frames of this generation. The item plays at `position`, where it plays; with `key`,
    /// whoever encodes pictures is to make a keyframe.
    Read { generation: u32, n_frames: usize, position: Option<MediaTime>, key: bool },
    /// Go there; what comes from now on is of this generation.
    Seek { generation: u32, to: MediaTime },
}

#[derive(Debug)]
pub(super) struct Deck {
    pub(super) id: ItemId,
    pub(super) worker: WorkerId,
    pub(super) source: std::sync::Arc<str>,
    /// What its reader was opened for, where that makes a difference.
    pub(super) codecs: Option<VideoCodecs>,
    /// Of the picture that came last.
    shown: Option<Codec>,
    /// Where it begins, unless it is sought.
    from: MediaTime,
    /// Frames from there on are not played.
    until: Option<MediaTime>,
    /// `None` until the worker has opened the item.
    pub(super) opened: Option<Opened>,
    /// Its start has been announced.
    pub(super) started: bool,
    /// Why no more frames come; what is buffered still plays.
    pub(super) failed: Option<ItemError>,
    generation: u32,
    seek_in_flight: bool,
    seek_wanted: Option<MediaTime>,
    /// Where it is sought, until it has landed.
    sought: Option<MediaTime>,
    /// The seek that is under way is no more than a wish.
    begins_anywhere: bool,
    /// A viewer waits for a keyframe.
    pub(super) key_wanted: bool,
    /// Frames asked for and not yet come.
    credit: usize,
    /// Where the last seek landed.
    landed: Option<MediaTime>,
    /// How the media goes by; frames have the times in which they are played.
    paces: Paces,
    /// Time up to which everything has been played.
    cursor: Option<MediaTime>,
    audio: Lane,
    video: Lane,
    bytes: usize,
    eof: bool,
    abandoned: bool,
    had_frames: bool,
    /// Pictures are thrown away until one that needs no other.
    wait_key: bool,
    /// The slot before had sound of this item.
    sounding: bool,
    /// Frames that came too late or overlapped and were not played.
    pub(super) n_dropped: u64,
}

/// What is known once an item is open.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub(super) plan: ItemPlan,
    pub(super) duration: Option<MediaTime>,
}

impl Deck {
    pub(super) fn new(id: ItemId, worker: WorkerId, source: std::sync::Arc<str>) -> Self {
        Self {
            id,
            worker,
            source,
            codecs: None,
            shown: None,
            from: MediaTime::ZERO,
            until: None,
            opened: None,
            started: false,
            failed: None,
            generation: 0,
            seek_in_flight: false,
            seek_wanted: None,
            sought: None,
            begins_anywhere: false,
            key_wanted: false,
            credit: 0,
            landed: None,
            paces: Paces::default(),
            cursor: None,
            audio: Lane::default(),
            video: Lane::default(),
            bytes: 0,
            eof: false,
            abandoned: false,
            had_frames: false,
            wait_key: true,
            sounding: false,
            n_dropped: 0,
        }
    }

    /// Plays only what lies between these two.
    pub(super) fn bound(&mut self, (from, until): (MediaTime, Option<MediaTime>)) {
        (self.from, self.until) = (from, until);
        if from > MediaTime::ZERO {
            self.seek(from);
        }
    }

    /// Begins at `position`, or where it can.
    pub(super) fn go_on_near(&mut self, position: MediaTime) {
        self.seek(position);
        self.begins_anywhere = true;
    }

    /// A seek that cannot be done does no harm.
    pub(super) fn begins_anywhere(&self) -> bool {
        self.begins_anywhere
    }

    /// Where it ends at the latest.
    pub(super) fn until(&self) -> Option<MediaTime> {
        self.until
    }

    /// Where it begins and ends, as far as that is known.
    pub(super) fn ends(&self) -> Option<(MediaTime, MediaTime)> {
        let duration = self.opened.as_ref()?.duration;
        let end = duration.into_iter().chain(self.until).min()?;
        Some((self.from, end.max(self.from)))
    }

    /// How long that takes at the speed of now.
    pub(super) fn length(&self) -> Option<MediaTime> {
        self.ends().map(|(begin, end)| self.played(end - begin))
    }

    /// How long it goes on behind the slot at `position`, as far as that is known.
    pub(super) fn left(&self, position: MediaTime) -> Option<MediaTime> {
        self.ends().map(|(_, end)| self.played(end - self.media_at(position)))
    }

    fn played(&self, media: MediaTime) -> MediaTime {
        media.scaled(100, u32::from(self.paces.last().percent))
    }

    /// The place in the recording that is played at `position`.
    pub(super) fn media_at(&self, position: MediaTime) -> MediaTime {
        self.paces.media_of(position)
    }

    /// Frames go by at another speed.
    pub(super) fn handle_pace(&mut self, generation: u32, pace: Pace) {
        if generation == self.generation {
            self.paces.push(pace);
            // Until when the last picture would have been shown counts no more: the next one may
            // come sooner, and has to be waited for.
            if !self.eof {
                self.video.end = self.video.end.map(|end| end.min(pace.play));
            }
        } else {
            // What it was read for is gone; the speed is that of the place that is sought.
            self.paces.change(MediaTime::ZERO, pace.percent);
        }
    }

    /// The plan plays sound.
    pub(super) fn has_sound(&self) -> bool {
        self.audio.live
    }

    /// The worker has opened the item.
    pub(super) fn open(&mut self, opened: Opened) {
        self.audio.live = opened.plan.audio.is_some();
        self.video.live = opened.plan.video.is_some();
        self.opened = Some(opened);
        if !self.audio.live && !self.video.live {
            self.fail(ItemError::NoFrames);
        }
    }

    /// Its tracks are played in another way.
    pub(super) fn replan(&mut self, plan: ItemPlan) {
        if let Some(opened) = &mut self.opened {
            opened.plan = plan;
        }
    }

    /// No more frames come, because of this; what is buffered still plays.
    pub(super) fn fail(&mut self, error: ItemError) {
        self.eof = true;
        self.failed.get_or_insert(error);
    }

    /// The worker has come to the end.
    pub(super) fn handle_end(&mut self, generation: u32) {
        if generation != self.generation {
            return;
        }
        self.eof = true;
        self.credit = 0;
        if !self.had_frames && self.landed.is_none() {
            self.fail(ItemError::NoFrames);
        }
    }

    /// The worker cannot read on.
    pub(super) fn handle_read_failed(&mut self, generation: u32, error: ItemError) {
        // What lies behind the place where it stops concerns nobody.
        if generation == self.generation && !self.eof {
            self.credit = 0;
            self.fail(error);
        }
    }

    /// A frame has come.
    pub(super) fn handle_frame(&mut self, generation: u32, frame: Frame) {
        if generation != self.generation {
            return;
        }
        self.credit = self.credit.saturating_sub(1);
        let is_video = frame.kind == MediaKind::Video;
        let lane = if is_video { &mut self.video } else { &mut self.audio };
        let duration = frame.duration.max(MediaTime::ZERO);
        let frame_end = frame.pts + duration;
        let before_landing = self.landed.is_some_and(|landed| {
            // A picture is shown from its pts on; of a sound, what is after the landing counts.
            if is_video { frame.pts < landed } else { frame_end <= landed }
        });
        if !lane.live || before_landing {
            return;
        }
        let media = self.paces.media_of(frame.pts);
        lane.over = self.until.is_some_and(|until| media >= until);
        if lane.over {
            // The other track may have been stored far behind, or have ended.
            let is_far = self.until.is_some_and(|until| media - until >= MAX_LAG);
            if is_far || self.lanes().all(|lane| lane.over) {
                self.stop();
            }
            return;
        }
        lane.end = lane.end.max(Some(frame_end));
        lane.last_duration = duration;
        if is_video && self.wait_key {
            if !frame.key {
                return;
            }
            self.wait_key = false;
        }
        self.had_frames = true;
        if is_video && self.shown.as_ref() != Some(&frame.codec) {
            self.shown = Some(frame.codec.clone());
        }
        self.bytes += frame.data.len();
        lane.frames.push_back(frame);
    }

    /// Nothing more is wanted of it, unless it is sought.
    fn stop(&mut self) {
        self.eof = true;
        self.credit = 0;
        self.had_frames = true;
    }

    /// The worker's thread is gone. A fault, unless it had said all it had to.
    pub(super) fn abandon(&mut self) {
        self.abandoned = true;
        self.seek_in_flight = false;
        self.seek_wanted = None;
        if !self.eof {
            self.fail(ItemError::Crashed);
        }
    }

    /// Nobody is left who could seek.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// Asks for another place; everything buffered is gone.
    pub(super) fn seek(&mut self, to: MediaTime) {
        self.seek_wanted = Some(to);
        self.sought = Some(to);
        self.begins_anywhere = false;
        self.generation = self.generation.wrapping_add(1);
        self.credit = 0;
        self.landed = None;
        self.cursor = None;
        for lane in [&mut self.audio, &mut self.video] {
            lane.clear();
        }
        self.bytes = 0;
        self.eof = false;
        self.failed = None;
        self.wait_key = true;
        self.sounding = false;
    }

    /// The worker has done a seek, or could not. True when it was the one that counts.
    pub(super) fn handle_landed(&mut self, generation: u32, landed: Option<MediaTime>) -> bool {
        self.seek_in_flight = false;
        if generation != self.generation {
            return false;
        }
        self.landed = landed;
        self.sought = None;
        if let Some(landed) = landed {
            self.paces.restart(landed);
        }
        true
    }

    /// A seek is asked for and not yet done.
    pub(super) fn is_seeking(&self) -> bool {
        self.seek_in_flight || self.seek_wanted.is_some()
    }

    /// Where it begins as soon as it can, if that is not its beginning.
    pub(super) fn begins_at(&self) -> Option<MediaTime> {
        self.sought.or(self.landed)
    }

    /// Its pictures can be sent to those who take these, or opening it for them would not help.
    pub(super) fn suits(&self, codecs: VideoCodecs) -> bool {
        let Some(opened_for) = self.codecs else { return true };
        let has_none = self.opened.is_some() && !self.video.live;
        let is_shown = self.shown.as_ref().is_some_and(|codec| codecs.take(codec));
        opened_for.and(codecs) == opened_for || has_none || is_shown
    }

    /// What the worker should do now. Never leaves it more than a handful of orders behind: one
    /// seek at a time, and two reads for each.
    pub(super) fn poll_want(&mut self) -> Option<Want> {
        self.opened.as_ref()?;
        if let Some(to) = self.seek_wanted
            && !self.seek_in_flight
        {
            self.seek_wanted = None;
            self.seek_in_flight = true;
            return Some(Want::Seek { generation: self.generation, to });
        }
        if self.is_seeking() || self.credit > CREDIT_LOW || !self.wants_more() {
            return None;
        }
        self.credit += CREDIT;
        let key = std::mem::take(&mut self.key_wanted);
        Some(Want::Read { generation: self.generation, n_frames: CREDIT, position: self.cursor, key })
    }
}

#[cfg(test)]
mod tests;
