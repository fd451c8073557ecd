//! Frames that a program makes while they play → an item.
//!
//! ```text
//! program ── FramePusher ──(bounded)──► FrameSource ──► Reader ──► item
//!            H.264, VP8, VP9 or I420; Opus or samples
//! ```
//!
//! What is pushed is treated as what stands in a file: copied where it can be, transcoded where it
//! cannot, turned up and down. Raw pictures are encoded as they are taken out, on the item's thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use self::source::Source;
use super::item::{Item, ItemError};
use crate::media::codec::pcm::PcmLayout;
use crate::media::{MediaKind, Reader, ReaderOptions};
use crate::time::MediaTime;

mod source;

/// What a program is going to push.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PushOptions {
    /// The pictures; `None` for sound alone.
    pub video: Option<PushedVideo>,
    /// The sound; `None` for pictures alone.
    pub audio: Option<PushedAudio>,
    /// How many frames may wait to be taken. A full queue makes `push` wait and `try_push` fail.
    pub queue: usize,
    /// An item that nothing was pushed to for so long has failed.
    pub patience: Duration,
}

impl Default for PushOptions {
    fn default() -> Self {
        Self { video: None, audio: None, queue: 64, patience: Duration::from_secs(10) }
    }
}

/// Pictures that are pushed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PushedVideo {
    /// How they are coded.
    pub coding: PictureCoding,
    /// Pixels.
    pub size: (u32, u32),
    /// Pictures per second, about: what each of them lasts.
    pub fps: u32,
}

/// How pushed pictures are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PictureCoding {
    /// Access units in Annex B form.
    H264,
    /// Frames.
    Vp8,
    /// Frames, superframes in one piece.
    Vp9,
    /// Raw pictures: luma, then both chroma planes, without padding; encoded here as H.264 with so
    /// many bits per second, or what suits their size, and a keyframe every second.
    I420 {
        /// Bits per second.
        bitrate_bps: Option<u32>,
    },
}

/// Sound that is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PushedAudio {
    /// Packets of 48 kHz, mono or stereo.
    Opus,
    /// Interleaved samples.
    Pcm {
        /// How they lie in the bytes.
        layout: PcmLayout,
        /// Per second and channel.
        sample_rate: u32,
        /// 1 is mono, 2 is stereo.
        channels: u16,
    },
}

/// One picture, or a piece of sound, on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Sound or picture.
    pub kind: MediaKind,
    /// When it is seen, or its first sample heard, on the item's clock. Rises with every one of a kind.
    pub pts: MediaTime,
    /// As the options said it would be.
    pub data: Bytes,
}

/// Why something was not pushed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// As much as may wait does: push it again later, or go on with the next one.
    #[error("{} frames wait already; push later, or leave this one out", .0)]
    Full(usize),
    /// The item is over.
    #[error("the item is over: it was skipped, has failed, or its programme has ended")]
    Gone,
    /// No such track was announced.
    #[error("no {} was announced in the options", .0)]
    NoTrack(&'static str),
    /// The bytes are not what was announced.
    #[error("{what} has {found} bytes, which is not {wanted}")]
    Size {
        /// A picture or a piece of sound.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there would have to be.
        wanted: String,
    },
}

/// Why what was announced cannot be pushed, or not be read any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushedError {
    /// Options without a track, or with one that cannot be.
    #[error("nothing can be pushed: {0}")]
    Options(&'static str),
    /// It was played already.
    #[error("what a program pushes plays once; make a new source to play again")]
    Played,
    /// The program went silent.
    #[error("the program has pushed nothing for {:.0} s", .0.as_secs_f64())]
    Idle(Duration),
}

/// The program's end. Dropping all its clones ends the item after what waits.
#[derive(Clone, Debug)]
pub struct FramePusher {
    queue: SyncSender<Pushed>,
    options: Arc<PushOptions>,
    n_refused: Arc<AtomicU64>,
}

/// The item's end, for [`Item::pushed`].
#[derive(Debug)]
pub struct FrameSource {
    queue: Receiver<Pushed>,
    options: Arc<PushOptions>,
}

/// Both ends of a queue of frames.
///
/// # Errors
/// When the options announce nothing that can be pushed.
pub fn frames(options: PushOptions) -> Result<(FramePusher, FrameSource), PushedError> {
    let wrong = |what| Err(PushedError::Options(what));
    match (&options.video, &options.audio) {
        (None, None) => return wrong("neither sound nor pictures were announced"),
        (Some(PushedVideo { fps: 0, .. }), _) => return wrong("no picture per second"),
        (Some(PushedVideo { coding: PictureCoding::I420 { .. }, .. }), _)
            if cfg!(not(feature = "openh264")) =>
        {
            return wrong("this build cannot encode pictures (feature openh264)");
        }
        (Some(PushedVideo { coding: PictureCoding::I420 { .. }, size: (width, height), .. }), _)
            if ![width, height].into_iter().all(|edge| (16..=4096).contains(edge) && edge % 2 == 0) =>
        {
            return wrong("the edges of raw pictures are even, from 16 to 4096");
        }
        (_, Some(PushedAudio::Pcm { sample_rate: 0, .. } | PushedAudio::Pcm { channels: 0, .. })) => {
            return wrong("sound without samples");
        }
        _ => {}
    }
    let (sender, queue) = sync_channel(options.queue.max(1));
    let options = Arc::new(options);
    let source = FrameSource { queue, options: Arc::clone(&options) };
    Ok((FramePusher { queue: sender, options, n_refused: Arc::default() }, source))
}

impl FramePusher {
    /// Hands over a frame, and waits while too many wait already: not for async code.
    ///
    /// # Errors
    /// When it is not what was announced, or nobody takes it any more.
    pub fn push(&self, frame: Pushed) -> Result<(), PushError> {
        self.check(&frame)?;
        self.queue.send(frame).map_err(|_| PushError::Gone)
    }

    /// Hands over a frame without waiting.
    ///
    /// # Errors
    /// When it is not what was announced, nobody takes it any more, or too many wait already.
    pub fn try_push(&self, frame: Pushed) -> Result<(), PushError> {
        self.check(&frame)?;
        self.queue.try_send(frame).map_err(|error| match error {
            TrySendError::Full(_) => {
                self.n_refused.fetch_add(1, Ordering::Relaxed);
                PushError::Full(self.options.queue.max(1))
            }
            TrySendError::Disconnected(_) => PushError::Gone,
        })
    }

    /// How many frames did not fit so far.
    pub fn n_refused(&self) -> u64 {
        self.n_refused.load(Ordering::Relaxed)
    }

    fn check(&self, frame: &Pushed) -> Result<(), PushError> {
        let found = frame.data.len();
        match frame.kind {
            MediaKind::Video => {
                let video = self.options.video.ok_or(PushError::NoTrack("picture"))?;
                let (width, height) = (video.size.0 as usize, video.size.1 as usize);
                let wanted = width * height * 3 / 2;
                if matches!(video.coding, PictureCoding::I420 { .. }) && found != wanted {
                    return Err(PushError::Size { what: "a picture", found, wanted: wanted.to_string() });
                }
            }
            MediaKind::Audio => {
                let audio = self.options.audio.ok_or(PushError::NoTrack("sound"))?;
                if let PushedAudio::Pcm { layout, channels, .. } = audio {
                    let sample = layout.sample_bytes() as usize * usize::from(channels);
                    if !found.is_multiple_of(sample) {
                        let wanted = format!("a multiple of {sample}");
                        return Err(PushError::Size { what: "sound", found, wanted });
                    }
                }
            }
        }
        Ok(())
    }
}

impl FrameSource {
    /// The next frame; `Ok(None)` when no more come.
    fn next(&self) -> Result<Option<Pushed>, PushedError> {
        match self.queue.recv_timeout(self.options.patience) {
            Ok(frame) => Ok(Some(frame)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(PushedError::Idle(self.options.patience)),
        }
    }
}

impl Item {
    /// What a program pushes through the other end of `source`. It plays once, from its first
    /// frame on, and cannot be sought in.
    ///
    /// `name` is how events and statistics name it.
    pub fn pushed(name: impl Into<Arc<str>>, source: FrameSource, reader: ReaderOptions) -> Self {
        let name = name.into();
        let input = name.to_string();
        let source = Mutex::new(Some(source));
        Self::from_reader(name, move || {
            let source = source.lock().unwrap_or_else(PoisonError::into_inner).take();
            let source = source.ok_or_else(|| ItemError::reader(PushedError::Played))?;
            let demuxer = Source::new(source).map_err(crate::media::MediaError::from)?;
            Ok(Box::new(Reader::new(Box::new(demuxer), input.clone(), reader.clone())?))
        })
    }
}

#[cfg(test)]
mod tests;
