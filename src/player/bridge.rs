//! A keyframe where a copied file has none: frames of the programme in, the same frames or
//! encoded ones in their place out.
//!
//! ```text
//! frame ─► Bridge ──────────── copying ─────────────► calls
//!            │ follows a long group                     ▲
//!            ▼                                          │ from a request to the file's next keyframe
//!          thread: decode ─── bridging: encode ─────────┘
//! ```
//!
//! A file with a keyframe every two seconds needs nothing of this: its next one is waited for.
//! In a longer group a decoder follows the copied pictures. When somebody asks, the current
//! picture is encoded as a keyframe and its successors after it, until the file has a keyframe of
//! its own; then copying goes on. Places and due times stay those of the file's pictures, so the
//! calls notice nothing but a keyframe. One bridge serves all calls of a programme.
//!
//! While no pictures come (a pause, an empty queue, a stall), whoever asks gets the last one as a
//! keyframe: see `still`.

mod still;
mod thread;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::{debug, warn};

use self::still::Still;
use self::thread::{Answer, Order, Thread};
use super::{ItemId, SharedFrame, Slate};
use crate::media::{Codec, MediaKind};
use crate::time::MediaTime;

/// A keyframe of the file that comes within this is waited for.
const NEAR: MediaTime = MediaTime::from_secs(2);
/// While the length of an item's groups is not known, a group that reaches this age is taken for
/// a long one: many files have a keyframe every second.
const UNKNOWN: MediaTime = MediaTime::from_millis(1200);
/// From the time when a keyframe is due until another is made because somebody asks: one is as
/// large as many pictures.
const BETWEEN_KEYS: Duration = Duration::from_millis(300);
/// Bytes of a group that are kept for a decoder to catch up with.
const MAX_GROUP_BYTES: usize = 16 << 20;

/// What happens to the pictures of a programme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// They go out as they are.
    Copying,
    /// Encoded ones go out in their place.
    Bridging,
}

/// The pictures of one programme on their way to its calls.
#[derive(Debug)]
pub(super) struct Bridge {
    mode: Mode,
    /// Whose pictures these are, and how far apart its keyframes are at most, as far as is known.
    item: Option<ItemId>,
    longest_group: Option<MediaTime>,
    /// Where the file's last keyframe lies.
    group_at: Option<MediaTime>,
    /// When the last keyframe of either kind is due.
    last_key_due: Option<Instant>,
    /// Somebody waits for a keyframe that the file will not have soon.
    wanted: bool,
    /// The pictures since the file's last keyframe; none when they are too many.
    group: Vec<SharedFrame>,
    group_bytes: usize,
    /// Copied bytes of the group, for the bitrate of what is encoded.
    copied_bytes: u64,
    /// The decoder has all pictures of the group.
    following: bool,
    /// The group cannot be followed: it is too large, or a picture of it is missing.
    broken: bool,
    still: Still,
    thread: Option<Thread>,
    answers: mpsc::Receiver<Answer>,
    outbox: mpsc::Sender<Answer>,
    /// Frames that come back from the thread: later ones must not overtake them.
    n_inside: usize,
    /// Pictures that the thread could not take or encode in time.
    n_dropped: u64,
}

impl Default for Bridge {
    fn default() -> Self {
        let (outbox, answers) = mpsc::channel(thread::ORDERS);
        Self {
            mode: Mode::Copying,
            item: None,
            longest_group: None,
            group_at: None,
            last_key_due: None,
            wanted: false,
            group: Vec::new(),
            group_bytes: 0,
            copied_bytes: 0,
            following: false,
            broken: false,
            still: Still::default(),
            thread: None,
            answers,
            outbox,
            n_inside: 0,
            n_dropped: 0,
        }
    }
}

impl Bridge {
    /// With a card for when there is nothing else to see.
    pub(super) fn new(slate: Option<Slate>) -> Self {
        Self { still: Still::new(slate), ..Self::default() }
    }

    /// Takes the next frame of the programme; gives it back when it goes out as it is now.
    pub(super) fn handle_frame(&mut self, frame: SharedFrame, now: Instant) -> Option<SharedFrame> {
        if frame.frame.kind != MediaKind::Video {
            return Some(frame);
        }
        if frame.frame.codec != Codec::H264 {
            self.group_at = None;
            self.group.clear();
            return Some(frame);
        }
        if frame.frame.key { self.handle_key(frame) } else { self.handle_successor(frame, now) }
    }

    /// The file's own keyframe: whatever was encoded ends here.
    fn handle_key(&mut self, frame: SharedFrame) -> Option<SharedFrame> {
        if self.item != frame.item {
            self.item = frame.item;
            self.longest_group = None;
        } else if let Some(begun) = self.group_at {
            self.longest_group = self.longest_group.max(Some(frame.at - begun));
        }
        // A picture may still be inside the decoder, and this one pushes it out.
        let was_bridging = std::mem::replace(&mut self.mode, Mode::Copying) == Mode::Bridging;
        if was_bridging {
            debug!(at = ?frame.at, "copying goes on");
        }
        self.still.handle_key();
        self.group_at = Some(frame.at);
        self.last_key_due = self.last_key_due.max(Some(frame.due));
        self.wanted = false;
        (self.following, self.broken) = (false, false);
        self.group.clear();
        (self.group_bytes, self.copied_bytes) = (0, 0);
        self.remember(&frame);
        if was_bridging || self.n_inside > 0 { self.send_through(frame) } else { Some(frame) }
    }

    fn handle_successor(&mut self, frame: SharedFrame, now: Instant) -> Option<SharedFrame> {
        // Before the first keyframe nobody can decode anything, and no decoder can follow.
        let Some(begun) = self.group_at else { return Some(frame) };
        self.remember(&frame);
        let stood = self.still.handle_successor();
        if stood || self.is_long(frame.at - begun) {
            self.follow();
        }
        if stood && self.can_bridge() {
            // Whoever has seen the still cannot go on with what refers to earlier pictures.
            return self.encode(frame, true);
        }
        if self.wanted && self.may_make_key(now) && self.is_long(frame.at - begun) && self.can_bridge() {
            self.wanted = false;
            return self.encode(frame, true);
        }
        match self.mode {
            Mode::Bridging => self.encode(frame, false),
            Mode::Copying if self.n_inside > 0 => self.send_through(frame),
            Mode::Copying => {
                if self.following && !self.order(Order::Follow { frame: Arc::clone(&frame) }) {
                    self.broken = true;
                }
                Some(frame)
            }
        }
    }

    /// Somebody cannot go on without a keyframe.
    pub(super) fn request(&mut self, now: Instant) {
        // One that is on its way answers this, too.
        let is_coming = self.last_key_due.is_none_or(|due| due >= now);
        self.wanted |= !is_coming;
    }

    /// What comes back from the thread. Cancel safe.
    pub(super) async fn recv(&mut self) -> Answer {
        // The other end is ours, too: there is always a sender.
        self.answers.recv().await.unwrap_or(Answer::Followed)
    }

    /// Takes an answer into account; gives the frames that go out now.
    pub(super) fn handle_answer(&mut self, answer: Answer) -> Vec<SharedFrame> {
        match answer {
            Answer::Followed => Vec::new(),
            Answer::Lost => {
                self.broken = true;
                Vec::new()
            }
            Answer::Still { of, data } => {
                self.still.handle_made(of, data);
                Vec::new()
            }
            Answer::Frames { frames, n_dropped } => {
                self.n_inside -= 1;
                self.n_dropped += n_dropped;
                let keys = frames.iter().filter(|frame| frame.frame.key);
                self.last_key_due = self.last_key_due.max(keys.map(|frame| frame.due).max());
                frames
            }
        }
    }

    /// Ends the thread and waits for it: for one picture at most.
    pub(super) fn close(&mut self) {
        self.answers.close();
        if self.n_dropped > 0 {
            warn!(n_pictures = self.n_dropped, "pictures were left out while a keyframe was bridged to");
        }
        self.thread = None;
    }

    /// The next keyframe of the file is not near, as far as is known.
    fn is_long(&self, age: MediaTime) -> bool {
        self.longest_group.map_or(age > UNKNOWN, |longest| longest > NEAR) || age > NEAR
    }

    fn may_make_key(&self, now: Instant) -> bool {
        self.last_key_due.is_none_or(|due| due + BETWEEN_KEYS <= now)
    }

    fn can_bridge(&self) -> bool {
        self.following && !self.broken
    }

    /// Keeps a picture of the group for the decoder, or hands it over if that follows already.
    fn remember(&mut self, frame: &SharedFrame) {
        self.copied_bytes += frame.frame.data.len() as u64;
        self.group_bytes += frame.frame.data.len();
        if self.group_bytes > MAX_GROUP_BYTES {
            // A decoder that follows already can go on without them.
            self.broken |= !self.following;
            self.group = Vec::new();
            return;
        }
        self.group.push(Arc::clone(frame));
    }

    /// Lets the decoder have all pictures so far, from the keyframe on.
    fn follow(&mut self) {
        if self.following || self.broken {
            return;
        }
        // The newest one is handed over by whoever decides what happens to it.
        let group = self.group.split_last().map_or_else(Vec::new, |(_newest, before)| before.to_vec());
        self.following = self.order(Order::Begin { group });
        self.broken = !self.following;
    }

    /// Hands a picture to the encoder in place of letting it go.
    fn encode(&mut self, frame: SharedFrame, key: bool) -> Option<SharedFrame> {
        let (begun, due) = (self.group_at.unwrap_or(frame.at), frame.due);
        let bitrate_bps = bitrate(self.copied_bytes, frame.at - begun);
        if self.order(Order::Encode { frame: Arc::clone(&frame), key, bitrate_bps }) {
            if self.mode == Mode::Copying {
                debug!(at = ?frame.at, "a keyframe is asked for: pictures are encoded up to the file's next one");
            }
            self.mode = Mode::Bridging;
            self.n_inside += 1;
            if key {
                // It answers whoever asks from now on.
                self.last_key_due = self.last_key_due.max(Some(due));
            }
            return None;
        }
        // The decoder misses this one: no picture after it in this group can be made.
        self.broken = true;
        if self.mode == Mode::Bridging {
            self.n_dropped += 1;
            return None;
        }
        Some(frame)
    }

    /// Lets a frame pass behind those that are in the thread.
    fn send_through(&mut self, frame: SharedFrame) -> Option<SharedFrame> {
        if self.order(Order::Pass { frame }) {
            self.n_inside += 1;
        } else {
            // Whoever misses it asks for a keyframe.
            self.n_dropped += 1;
            self.broken = true;
        }
        None
    }

    /// False when the thread is behind, or cannot be started.
    fn order(&mut self, order: Order) -> bool {
        if self.thread.is_none() {
            match Thread::start(self.outbox.clone()) {
                Ok(thread) => self.thread = Some(thread),
                Err(error) => {
                    warn!(%error, "no thread for bridging: keyframes come only from the file");
                    return false;
                }
            }
        }
        self.thread.as_ref().is_some_and(|thread| thread.order(order))
    }
}

/// Bits per second of the group so far, for an encoder that needs a little more for the same.
fn bitrate(bytes: u64, length: MediaTime) -> u32 {
    let length_ms = u64::try_from(length.as_millis()).unwrap_or(0).max(500);
    u32::try_from(bytes * 8 * 1250 / length_ms).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
