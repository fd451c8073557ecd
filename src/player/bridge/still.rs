//! What is seen while no pictures come: the last one, as a keyframe for whoever asks.
//!
//! Nobody who was there needs it; whoever comes in a pause, or has lost a picture right before it,
//! would look at nothing until it is over. The sound, which never stops, is the clock.
//!
//! Where there is a slate, an empty queue or a stall shows that instead, to everybody: a card once,
//! a video round and round.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::thread::Order;
use super::{Bridge, bitrate};
use crate::media::Frame;
use crate::player::timeline::SLOT;
use crate::player::{DueFrame, SharedFrame, Slate};
use crate::time::MediaTime;

/// Pictures that are further apart than this stand still in between.
const STANDS_AFTER: MediaTime = MediaTime::from_millis(500);

/// A keyframe of the slate that comes within this is waited for.
const NEAR_KEY: MediaTime = MediaTime::from_millis(200);

/// A round that is further behind begins anew.
const LATE: MediaTime = MediaTime::from_millis(100);

/// How far the still of the present picture is.
#[derive(Debug, Default)]
pub(super) struct Still {
    /// The place of the picture that is shown, and the keyframe that shows it; nothing where it
    /// cannot be made.
    made: Option<(MediaTime, Option<Bytes>)>,
    /// The picture that the thread works on.
    ordered: Option<MediaTime>,
    /// It has gone out, or the slate has, and no picture of the file after it.
    shown: bool,
    slate: Option<Slate>,
    /// The slate is to be seen.
    slate_wanted: bool,
    /// How far it is; nothing before it has begun.
    round: Option<Round>,
}

/// One round of the slate.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// When its beginning is seen.
    begun: MediaTime,
    /// The picture that comes next.
    next: usize,
}

impl Still {
    pub(super) fn new(slate: Option<Slate>) -> Self {
        Self { slate, ..Self::default() }
    }

    /// A keyframe of the file: nothing before it matters any more.
    pub(super) fn handle_key(&mut self) {
        (self.made, self.ordered, self.shown) = (None, None, false);
    }

    /// Another picture of the file. True when it refers to pictures that somebody has not seen.
    pub(super) fn handle_successor(&mut self) -> bool {
        self.made = None;
        std::mem::take(&mut self.shown)
    }

    pub(super) fn handle_made(&mut self, of: MediaTime, data: Option<Bytes>) {
        if self.ordered == Some(of) {
            self.ordered = None;
            self.made = Some((of, data));
        }
    }
}

impl Bridge {
    /// Whether the slate is to be seen, if there is one.
    pub(in crate::player) fn set_slate(&mut self, wanted: bool) {
        self.still.slate_wanted = wanted;
        self.still.round = self.still.round.filter(|_| wanted);
    }

    /// Time passes with `sound`; gives what is seen of the slate beside it, or the still when
    /// somebody waits for it and it is ready.
    pub(in crate::player) fn poll_still(&mut self, sound: &SharedFrame, now: Instant) -> Vec<SharedFrame> {
        match self.still.slate.clone().filter(|_| self.still.slate_wanted) {
            Some(slate) if slate.frames().len() == 1 => {
                self.poll_card(&slate, sound, now).into_iter().collect()
            }
            Some(slate) => self.poll_round(&slate, sound, now),
            None => self.poll_last(sound, now).into_iter().collect(),
        }
    }

    /// The card when it begins to be seen, and when somebody waits for it.
    fn poll_card(&mut self, slate: &Slate, sound: &SharedFrame, now: Instant) -> Option<SharedFrame> {
        let is_due = self.still.round.is_none() || self.wanted && self.may_make_key(now);
        if !is_due || self.n_inside > 0 {
            return None;
        }
        self.still.round = Some(Round { begun: sound.at, next: 0 });
        Some(self.stand(sound, sound.at, slate.frames()[0].clone()))
    }

    /// The pictures of a video that lie beside this sound. Whoever waits for a keyframe gets the next
    /// one that is near, or the last one again.
    fn poll_round(&mut self, slate: &Slate, sound: &SharedFrame, now: Instant) -> Vec<SharedFrame> {
        if self.still.round.is_none() && self.n_inside > 0 {
            return Vec::new();
        }
        let (frames, length) = (slate.frames(), slate.length());
        let from_here = Round { begun: sound.at, next: 0 };
        let mut round = self.still.round.unwrap_or(from_here);
        let place = |round: Round| round.begun + frames[round.next].pts;
        if place(round) + LATE < sound.at {
            // Slots have been left out.
            round = from_here;
        }
        if self.wanted && self.may_make_key(now) {
            let coming = frames[round.next..].iter().find(|frame| frame.key);
            let next_key = round.begun + coming.map_or(length, |frame| frame.pts);
            if next_key - sound.at > NEAR_KEY {
                let key = frames[..round.next].iter().rposition(|frame| frame.key).unwrap_or(0);
                round = Round { begun: sound.at - frames[key].pts, next: key };
            }
        }
        let mut seen = Vec::new();
        while place(round) < sound.at + SLOT {
            let frame = frames[round.next].clone();
            seen.push(self.stand(sound, place(round).max(sound.at), frame));
            round.next += 1;
            if round.next == frames.len() {
                round = Round { begun: round.begun + length, next: 0 };
            }
        }
        self.still.round = Some(round);
        seen
    }

    /// The last picture of the file, as a keyframe.
    fn poll_last(&mut self, sound: &SharedFrame, now: Instant) -> Option<SharedFrame> {
        if !self.wanted || self.n_inside > 0 || !self.may_make_key(now) {
            return None;
        }
        let last = self.group.last().filter(|last| sound.at - last.at >= STANDS_AFTER)?;
        let of = last.at;
        match &self.still.made {
            Some((made, data)) if *made == of => {
                let data = data.clone()?;
                let frame = Frame { key: true, data, ..last.frame.clone() };
                Some(self.stand(sound, sound.at, frame))
            }
            _ if self.still.ordered == Some(of) => None,
            _ => {
                let length = of - self.group_at.unwrap_or(of);
                let bitrate_bps = bitrate(self.copied_bytes, length);
                let ordered = self.order(Order::Still { group: self.group.clone(), bitrate_bps });
                self.still.ordered = ordered.then_some(of);
                None
            }
        }
    }

    /// Puts a picture that is no item's beside `sound`.
    fn stand(&mut self, sound: &SharedFrame, at: MediaTime, frame: Frame) -> SharedFrame {
        let due = sound.due + (at - sound.at).to_duration();
        self.still.shown = true;
        if frame.key {
            self.wanted = false;
            self.last_key_due = Some(due);
        }
        Arc::new(DueFrame { item: None, at, due, frame })
    }
}
