//! Decoded pictures and sound → what a participant saw and heard, and a verdict on it.
//!
//! ```text
//! pictures ─► Sight ──── numbers, freezes, flashes ─┐
//!                                                   ├─► Report { verdict, … }
//! sound ────► Hearing ── tone, levels, beeps ───────┘
//! ```
//!
//! Everything is read from what arrived and was decoded; nothing comes from the sender. The
//! clips in `media/` carry their own truth (`docs/testing.md`), so of them more is known than of
//! any other file: which pictures are missing, how far sound and picture are apart, which tone
//! and levels are right. Whether it is a clip is read from the media, too.

mod hearing;
mod report;
mod sight;
#[cfg(test)]
mod tests;

use std::time::Duration;

use hearing::Hearing;
use sight::Sight;

pub use report::{AudioReport, Report, Skew, Verdict, VideoReport};

use super::marks::Luma;
use crate::media::Codec;
use crate::time::MediaTime;

/// A decoded picture.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// Its luma plane.
    pub luma: Luma<'a>,
    /// When it could have been shown, on the receiver's clock.
    pub arrival: MediaTime,
    /// When the sender took it, on the one clock that sound and picture share (by sender reports,
    /// RFC 3550 §6.4.1); `None` before the first report.
    pub taken: Option<MediaTime>,
}

/// Decoded sound, with or without a packet behind it.
#[derive(Clone, Copy, Debug)]
pub struct Sound<'a> {
    /// Interleaved stereo at 48 kHz, full scale ±1.
    pub samples: &'a [f32],
    /// When its packet came, or, if it is made up, the packet after it; on the receiver's clock.
    pub arrival: MediaTime,
    /// When the sender took the first sample, on the same clock as [`Picture::taken`].
    pub taken: Option<MediaTime>,
    /// The decoder made it up because nothing came: it counts as concealed, and neither tone nor
    /// level nor beeps are taken from it.
    pub concealed: bool,
}

/// What a receiver knows besides pictures and sound.
#[derive(Clone, Debug, Default)]
pub struct Reception {
    /// The present, on the clock of [`Picture::arrival`]: what has not come for a while by now is
    /// missing, though nothing came after it to tell.
    pub now: MediaTime,
    /// From the wish to join until the first media packet.
    pub join: Duration,
    /// Codec of the received video; `None` when no video packet came.
    pub video: Option<Codec>,
    /// Codec of the received sound; `None` when no audio packet came.
    pub audio: Option<Codec>,
    /// Audio packets received, each counted once.
    pub audio_packets: u64,
    /// Packets of both tracks that did not come when they should have.
    pub packets_lost: u64,
    /// Those of `packets_lost` that came later.
    pub packets_repaired: u64,
    /// Frames that came, and that the receiver itself was too slow to decode.
    pub frames_dropped: u64,
}

/// Which tracks whoever started the stream wanted to be seen and heard; the other is not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Without video the verdict is bad.
    pub video: bool,
    /// Without sound the verdict is bad.
    pub audio: bool,
}

/// Collects what is decoded; [`Measure::report`] may be asked at any time.
#[derive(Debug, Default)]
pub struct Measure {
    sight: Sight,
    hearing: Hearing,
}

impl Measure {
    /// Nothing seen or heard yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A picture has been decoded. Pictures come in the order in which they are shown.
    pub fn handle_picture(&mut self, picture: &Picture<'_>) {
        self.sight.handle_picture(picture);
    }

    /// Sound has been decoded or made up. It comes in the order in which it is heard.
    pub fn handle_sound(&mut self, sound: &Sound<'_>) {
        self.hearing.handle_sound(sound);
    }

    /// So much sound was not there when it had to be played, and no samples stand for it.
    pub fn handle_silence(&mut self, duration: MediaTime) {
        self.hearing.handle_silence(duration);
    }

    /// What has been seen and heard so far.
    pub fn report(&self, reception: &Reception, wanted: Wanted) -> Report {
        report::make(&self.sight, &self.hearing, reception, wanted)
    }
}
