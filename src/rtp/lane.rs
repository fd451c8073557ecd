//! One stream of a sender: the frames that wait for their time, and which of them are sent.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tracing::debug;

use super::report::Schedule;
use super::send::SendStream;
use super::stats::StreamStats;
use crate::media::MediaKind;
use crate::player::{DueFrame, SharedFrame};
use crate::time::MediaTime;

/// A picture this late would be shown late or not at all.
const MAX_VIDEO_LATENESS: Duration = Duration::from_millis(500);

/// Sound is worth more: a receiver stretches what it has before it gives up.
const MAX_AUDIO_LATENESS: Duration = Duration::from_secs(1);

/// Frames that may wait: five seconds of sound, four of fast video.
const MAX_FRAMES: usize = 256;

/// A stream, what waits for it and what happened to it.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) stream: SendStream,
    pub(super) reports: Schedule,
    /// What the stream does not count itself.
    pub(super) counted: StreamStats,
    pub(super) muted: bool,
    /// How long after its due time a frame leaves.
    stagger: Duration,
    frames: VecDeque<Queued>,
    /// Nothing but a key frame can be decoded next.
    needs_key: bool,
    /// The end of the queue has a hole: nothing but a key frame can follow there.
    cut: bool,
    /// Where the last frame lay that was sent.
    last: Option<MediaTime>,
    /// Why the last frame was left out, if it was.
    dropping: Option<Dropped>,
}

#[derive(Debug)]
struct Queued {
    frame: SharedFrame,
    /// When it leaves.
    due: Instant,
    /// Where it lies in the call's time.
    elapsed: MediaTime,
}

/// A frame whose packets are about to leave.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) frame: SharedFrame,
    /// When its first packet leaves.
    pub(super) due: Instant,
    pub(super) n_packets: usize,
}

/// Why a frame is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    /// The stream is muted.
    Muted,
    /// Its time is over.
    Late,
    /// It continues what was not sent.
    NotDecodable,
    /// It lies before what was sent already.
    OutOfOrder,
    /// Nothing in it can be sent.
    Unreadable,
    /// The answer does not list its codec.
    NotNegotiated,
    /// Too many wait.
    QueueFull,
}

impl Lane {
    pub(super) fn new(stream: SendStream, stagger: Duration) -> Self {
        let video = stream.config().kind == MediaKind::Video;
        Self {
            stream,
            reports: Schedule::default(),
            counted: StreamStats::default(),
            muted: false,
            stagger,
            frames: VecDeque::new(),
            needs_key: video,
            cut: false,
            last: None,
            dropping: None,
        }
    }

    /// When the next frame is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.frames.front().map(|queued| queued.due)
    }

    /// Whether a receiver has to be given a key frame before anything else.
    pub(super) fn needs_key(&self) -> bool {
        (self.needs_key || self.cut) && !self.muted
    }

    /// Lets a frame wait.
    pub(super) fn enqueue(&mut self, frame: SharedFrame, elapsed: MediaTime) -> Result<(), Dropped> {
        let dropped = if self.frames.len() >= MAX_FRAMES {
            Dropped::QueueFull
        } else if self.cut && !frame.frame.key {
            Dropped::NotDecodable
        } else {
            self.cut = false;
            let due = frame.due + self.stagger;
            self.frames.push_back(Queued { frame, due, elapsed });
            return Ok(());
        };
        self.cut = self.is_video();
        self.note(dropped, &frame, None);
        Err(dropped)
    }

    /// Leaves out what no receiver could decode; a key frame of the same codec would not help.
    pub(super) fn pass_over(&mut self, frame: &DueFrame) {
        self.note(Dropped::NotNegotiated, frame, None);
    }

    /// Begins the next frame: its packets are in the stream then. Or leaves it out.
    pub(super) fn begin(&mut self, now: Instant) -> Result<Begun, Dropped> {
        let queued = self.frames.pop_front().expect("a frame is begun when one is due");
        match self.admit(&queued, now) {
            Ok(n_packets) => {
                self.needs_key = false;
                self.last = Some(queued.elapsed);
                self.dropping = None;
                Ok(Begun { frame: queued.frame, due: queued.due, n_packets })
            }
            Err(dropped) => {
                // What cannot be read was not there for the encoder of the next frames either.
                self.needs_key |= self.is_video() && dropped != Dropped::Unreadable;
                self.note(dropped, &queued.frame, Some(now));
                Err(dropped)
            }
        }
    }

    pub(super) fn stats(&self) -> StreamStats {
        let sent = self.stream.counters();
        StreamStats {
            ssrc: self.stream.config().ssrc,
            format: Some(self.stream.format()),
            packets_sent: sent.packets + sent.retransmitted_packets,
            bytes_sent: sent.octets + sent.retransmitted_octets,
            retransmitted_packets_sent: sent.retransmitted_packets,
            retransmitted_bytes_sent: sent.retransmitted_octets,
            frames_sent: sent.frames,
            key_frames_sent: sent.key_frames,
            ..self.counted.clone()
        }
    }

    /// The number of packets, or why there are none.
    fn admit(&mut self, Queued { frame, due, elapsed }: &Queued, now: Instant) -> Result<usize, Dropped> {
        let max_lateness = if self.is_video() { MAX_VIDEO_LATENESS } else { MAX_AUDIO_LATENESS };
        if self.muted {
            return Err(Dropped::Muted);
        }
        if now.saturating_duration_since(*due) > max_lateness {
            return Err(Dropped::Late);
        }
        if self.needs_key && !frame.frame.key {
            return Err(Dropped::NotDecodable);
        }
        if self.last.is_some_and(|last| *elapsed <= last) {
            return Err(Dropped::OutOfOrder);
        }
        match self.stream.handle_frame(&frame.frame, *elapsed) {
            0 => Err(Dropped::Unreadable),
            n_packets => Ok(n_packets),
        }
    }

    /// Counts, and says so once per reason.
    fn note(&mut self, dropped: Dropped, frame: &DueFrame, now: Option<Instant>) {
        if dropped != Dropped::Muted {
            self.counted.frames_dropped += 1;
        }
        if self.dropping != Some(dropped) {
            let late_ms = now.map(|now| now.saturating_duration_since(frame.due).as_millis());
            debug!(kind = ?frame.frame.kind, at = ?frame.at, late_ms, reason = ?dropped, "frames left out");
            self.dropping = Some(dropped);
        }
    }

    fn is_video(&self) -> bool {
        self.stream.config().kind == MediaKind::Video
    }
}
