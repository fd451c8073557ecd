//! What is seen while no pictures come: the last one, as a keyframe for whoever asks.
//!
//! Nobody who was there needs it; whoever comes in a pause, or has lost a picture right before it,
//! would look at nothing until it is over. The sound, which never stops, is the clock.
//!
//! Where there is a card for it, an empty queue or a stall shows that instead, to everybody.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::thread::Order;
use super::{Bridge, bitrate};
use crate::media::Frame;
use crate::player::{DueFrame, SharedFrame, Slate};
use crate::time::MediaTime;

/// Pictures that are further apart than this stand still in between.
const STANDS_AFTER: MediaTime = MediaTime::from_millis(500);

/// How far the still of the present picture is.
#[derive(Debug, Default)]
pub(super) struct Still {
    /// The place of the picture that is shown, and the keyframe that shows it; nothing where it
    /// cannot be made.
    made: Option<(MediaTime, Option<Bytes>)>,
    /// The picture that the thread works on.
    ordered: Option<MediaTime>,
    /// It has gone out, or the card has, and no picture of the file after it.
    shown: bool,
    slate: Option<Slate>,
    /// The card is to be seen, and has gone out.
    slate_wanted: bool,
    slate_shown: bool,
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
    /// Whether the card is to be seen, if there is one.
    pub(in crate::player) fn set_slate(&mut self, wanted: bool) {
        self.still.slate_wanted = wanted;
        self.still.slate_shown &= wanted;
    }

    /// Time passes with `sound`; gives the card when it is to be seen, or the still when somebody
    /// waits for it and it is ready.
    pub(in crate::player) fn poll_still(&mut self, sound: &SharedFrame, now: Instant) -> Option<SharedFrame> {
        if let Some(slate) = self.still.slate.as_ref().filter(|_| self.still.slate_wanted) {
            let is_due = !self.still.slate_shown || self.wanted && self.may_make_key(now);
            if !is_due || self.n_inside > 0 {
                return None;
            }
            let frame = slate.frame().clone();
            self.still.slate_shown = true;
            return Some(self.stand(sound, frame));
        }
        if !self.wanted || self.n_inside > 0 || !self.may_make_key(now) {
            return None;
        }
        let last = self.group.last().filter(|last| sound.at - last.at >= STANDS_AFTER)?;
        let of = last.at;
        match &self.still.made {
            Some((made, data)) if *made == of => {
                let data = data.clone()?;
                let frame = Frame { key: true, data, ..last.frame.clone() };
                Some(self.stand(sound, frame))
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

    /// Puts a picture that stands beside `sound`.
    fn stand(&mut self, sound: &SharedFrame, frame: Frame) -> SharedFrame {
        (self.wanted, self.still.shown) = (false, true);
        self.last_key_due = Some(sound.due);
        Arc::new(DueFrame { item: None, at: sound.at, due: sound.due, frame })
    }
}
