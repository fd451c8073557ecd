//! H.264 that cannot be copied → H.264 that every receiver decodes, on a thread of its own.
//!
//! ```text
//! Pictures ── Unit ──► decode ─ in order ─ late? too many? ─ scale ─ encode ──► Frame ──► Pictures
//!              (bounded)                                                (bounded)
//! ```
//!
//! The owner pushes access units and takes frames; every unit is answered, so it always knows
//! how many are under way and never waits for something that does not come. What is asked for
//! while it runs (a keyframe, another bitrate) waits in atomics for the next picture.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use tracing::{debug, trace};

use super::codec::h264::coder::{CoderError, Decoder, Encoder, EncoderOptions};
use super::picture::{Picture, Scaler, fit};
use super::pixel::PixelAspect;
use super::{Codec, Frame, MediaKind};
use crate::time::MediaTime;

/// Units under way: enough to keep the thread busy while the owner reads a file, and few enough
/// that a change is seen soon.
const UNDER_WAY: usize = 8;
/// The bitrate where none is given: bits per pixel, and its bounds.
const BITS_PER_PIXEL: f64 = 0.055;
const BITRATES: (f64, f64) = (200_000.0, 4_000_000.0);
/// A keyframe comes at least this often; one that is asked for comes at once.
const KEY_EVERY_SECS: f32 = 2.0;
/// Units in a row without a picture after which nothing more is expected.
const MAX_UNDECODABLE: u32 = 600;

/// How pictures are transcoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Settings {
    /// How long the shorter edge of the pictures is at most.
    pub(super) height: u32,
    /// Bits per second; `None` goes by size and rate.
    pub(super) bitrate_bps: Option<u32>,
    /// Pictures per second at most.
    pub(super) max_fps: Option<u32>,
    /// Pictures per second of the file, about.
    pub(super) fps: f32,
    /// What pixels of the file are; those that are encoded are square.
    pub(super) pixel: PixelAspect,
    /// Clockwise quarter turns that the viewer applies.
    pub(super) rotation: u8,
}

/// One access unit to transcode.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    /// When its picture is shown, on the clock of the item.
    pub(super) pts: MediaTime,
    pub(super) duration: MediaTime,
    pub(super) data: Bytes,
}

#[derive(Debug)]
enum Order {
    Unit {
        epoch: u32,
        unit: Unit,
    },
    /// What is inside the decoder comes out.
    End {
        epoch: u32,
    },
    /// What comes next begins with a keyframe and has nothing to do with what came before.
    Restart,
}

type Answer = Result<Vec<Frame>, CoderError>;

/// What both sides look at.
#[derive(Debug, Default)]
struct Shared {
    key_wanted: AtomicBool,
    /// 0 is the one that the thread began with.
    bitrate_bps: AtomicU32,
    /// Milliseconds on the item's clock: earlier pictures come too late.
    not_before: AtomicI64,
    /// Milliseconds on the item's clock: earlier pictures are decoded for others only.
    show_from: AtomicI64,
    /// Rises with every seek; older units are thrown away.
    epoch: AtomicU32,
    n_late: AtomicU64,
    n_undecodable: AtomicU64,
}

/// The owner's end. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Transcoder {
    /// Gone only in `drop`.
    orders: Option<SyncSender<Order>>,
    answers: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    n_under_way: usize,
    frames: VecDeque<Frame>,
    ended: bool,
}

impl Transcoder {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub(super) fn start(settings: Settings) -> std::io::Result<Self> {
        // One place more than units can be under way: the restart of a seek.
        let (orders, inbox) = sync_channel(UNDER_WAY + 2);
        let (outbox, answers) = sync_channel(UNDER_WAY + 2);
        let shared = Arc::new(Shared { show_from: AtomicI64::new(i64::MIN), ..Shared::default() });
        shared.not_before.store(i64::MIN, Ordering::Relaxed);
        let worker_shared = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("transcoder".to_owned())
            .spawn(move || Worker::new(settings, worker_shared).run(&inbox, &outbox))?;
        Ok(Self {
            orders: Some(orders),
            answers,
            thread: Some(thread),
            shared,
            n_under_way: 0,
            frames: VecDeque::new(),
            ended: false,
        })
    }

    /// Hands over the next unit in decoding order; waits while too many are under way.
    ///
    /// # Errors
    /// When the thread cannot go on.
    pub(super) fn push(&mut self, unit: Unit) -> Result<(), TranscodeError> {
        let epoch = self.shared.epoch.load(Ordering::Relaxed);
        self.order(Order::Unit { epoch, unit })
    }

    /// No more units come.
    ///
    /// # Errors
    /// When the thread cannot go on.
    pub(super) fn end(&mut self) -> Result<(), TranscodeError> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        let epoch = self.shared.epoch.load(Ordering::Relaxed);
        self.order(Order::End { epoch })
    }

    /// When the next frame is shown, if one is ready. After [`end`](Self::end) this waits until
    /// there is one, or none will come any more.
    ///
    /// # Errors
    /// When the thread cannot go on.
    pub(super) fn peek(&mut self) -> Result<Option<MediaTime>, TranscodeError> {
        while let Ok(answer) = self.answers.try_recv() {
            self.take(answer)?;
        }
        while self.frames.is_empty() && self.ended && self.n_under_way > 0 {
            self.wait()?;
        }
        Ok(self.frames.front().map(|frame| frame.pts))
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        self.frames.pop_front()
    }

    /// How many frames are ready.
    pub(super) fn frames(&self) -> &VecDeque<Frame> {
        &self.frames
    }

    /// Forgets everything under way. The next unit is a keyframe; its successors are shown from
    /// `show_from` on.
    ///
    /// # Errors
    /// When the thread cannot go on.
    pub(super) fn seek(&mut self, show_from: MediaTime) -> Result<(), TranscodeError> {
        self.shared.epoch.fetch_add(1, Ordering::Relaxed);
        while self.n_under_way > 0 {
            self.wait()?;
        }
        self.frames.clear();
        self.ended = false;
        self.shared.not_before.store(i64::MIN, Ordering::Relaxed);
        self.show_from(show_from);
        self.send(Order::Restart)
    }

    /// Pictures before this are decoded and not shown.
    pub(super) fn show_from(&self, at: MediaTime) {
        self.shared.show_from.store(at.as_millis(), Ordering::Relaxed);
    }

    /// Pictures before this come too late to be worth encoding.
    pub(super) fn set_not_before(&self, at: MediaTime) {
        self.shared.not_before.store(at.as_millis(), Ordering::Relaxed);
    }

    /// The next picture is to be a keyframe.
    pub(super) fn request_key(&self) {
        self.shared.key_wanted.store(true, Ordering::Relaxed);
    }

    /// From the next picture on, so many bits per second.
    pub(super) fn set_bitrate(&self, bitrate_bps: u32) {
        self.shared.bitrate_bps.store(bitrate_bps, Ordering::Relaxed);
    }

    /// Pictures that were decoded and not encoded because they came too late.
    pub(super) fn n_late(&self) -> u64 {
        self.shared.n_late.load(Ordering::Relaxed)
    }

    /// Units that could not be decoded.
    pub(super) fn n_undecodable(&self) -> u64 {
        self.shared.n_undecodable.load(Ordering::Relaxed)
    }

    fn order(&mut self, order: Order) -> Result<(), TranscodeError> {
        while self.n_under_way >= UNDER_WAY {
            self.wait()?;
        }
        self.send(order)?;
        self.n_under_way += 1;
        Ok(())
    }

    fn send(&self, order: Order) -> Result<(), TranscodeError> {
        let orders = self.orders.as_ref().ok_or(TranscodeError::Gone)?;
        orders.send(order).map_err(|_| TranscodeError::Gone)
    }

    fn wait(&mut self) -> Result<(), TranscodeError> {
        let answer = self.answers.recv().map_err(|_| TranscodeError::Gone)?;
        self.take(answer)
    }

    fn take(&mut self, answer: Answer) -> Result<(), TranscodeError> {
        self.n_under_way -= 1;
        self.frames.extend(answer?);
        Ok(())
    }
}

impl Drop for Transcoder {
    fn drop(&mut self) {
        self.shared.epoch.fetch_add(1, Ordering::Relaxed);
        self.orders = None;
        // Answers that nobody takes must not hold the thread: there is room for all of them.
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the transcoder panicked");
        }
    }
}

/// Why transcoding ended.
#[derive(Debug, thiserror::Error)]
pub enum TranscodeError {
    /// The codec gave up.
    #[error(transparent)]
    Coder(#[from] CoderError),
    /// A long run of pictures cannot be decoded.
    #[error("the transcoder's thread has ended: a bug")]
    Gone,
}

/// The thread's side.
struct Worker {
    settings: Settings,
    shared: Arc<Shared>,
    decoder: Option<Decoder>,
    scaler: Scaler,
    encoder: Option<Encoder>,
    /// How long the pictures last that are inside the decoder.
    durations: BTreeMap<MediaTime, MediaTime>,
    /// The next picture needs no other.
    fresh: bool,
    /// Where the last frame lies, and in which period of the wanted rate.
    last: Option<MediaTime>,
    n_failed_in_a_row: u32,
}

impl Worker {
    fn new(settings: Settings, shared: Arc<Shared>) -> Self {
        Self {
            settings,
            shared,
            decoder: None,
            scaler: Scaler::default(),
            encoder: None,
            durations: BTreeMap::new(),
            fresh: true,
            last: None,
            n_failed_in_a_row: 0,
        }
    }

    fn run(mut self, orders: &Receiver<Order>, answers: &SyncSender<Answer>) {
        while let Ok(order) = orders.recv() {
            let current = self.shared.epoch.load(Ordering::Relaxed);
            let answer = match order {
                Order::Restart => {
                    self.restart();
                    continue;
                }
                Order::Unit { epoch, .. } | Order::End { epoch } if epoch != current => Ok(Vec::new()),
                Order::Unit { unit, .. } => self.transcode(unit),
                Order::End { .. } => self.flush(),
            };
            if answers.send(answer).is_err() {
                return;
            }
        }
    }

    fn restart(&mut self) {
        self.decoder = None;
        self.durations.clear();
        (self.fresh, self.last, self.n_failed_in_a_row) = (true, None, 0);
    }

    fn transcode(&mut self, unit: Unit) -> Answer {
        let mut decoder = match self.decoder.take() {
            Some(decoder) => decoder,
            None => Decoder::new()?,
        };
        self.durations.insert(unit.pts, unit.duration);
        let mut made = Vec::new();
        let decoded =
            decoder.decode(unit.pts, &unit.data, |pts, picture| made.push(self.encode(pts, picture)));
        self.decoder = Some(decoder);
        if let Err(error) = decoded {
            trace!(pts = ?unit.pts, %error, "an access unit that cannot be decoded");
            self.durations.clear();
            self.shared.n_undecodable.fetch_add(1, Ordering::Relaxed);
            self.n_failed_in_a_row += 1;
            return if self.n_failed_in_a_row > MAX_UNDECODABLE { Err(error) } else { Ok(Vec::new()) };
        }
        self.n_failed_in_a_row = 0;
        made.into_iter().filter_map(Result::transpose).collect()
    }

    fn flush(&mut self) -> Answer {
        let Some(mut decoder) = self.decoder.take() else { return Ok(Vec::new()) };
        let mut made = Vec::new();
        decoder.flush(|pts, picture| made.push(self.encode(pts, picture)));
        made.into_iter().filter_map(Result::transpose).collect()
    }

    /// Encodes a picture, unless nobody would see it.
    fn encode(&mut self, pts: MediaTime, picture: &Picture<'_>) -> Result<Option<Frame>, CoderError> {
        let lasts = self.durations.remove(&pts).unwrap_or_default();
        let is_before = |limit: &AtomicI64| pts.as_millis() < limit.load(Ordering::Relaxed);
        if is_before(&self.shared.show_from) || self.last.is_some_and(|last| pts <= last) {
            return Ok(None);
        }
        if let (Some(fps), Some(last)) = (self.settings.max_fps, self.last)
            && period(pts, fps) == period(last, fps)
        {
            return Ok(None);
        }
        if is_before(&self.shared.not_before) {
            self.shared.n_late.fetch_add(1, Ordering::Relaxed);
            return Ok(None);
        }
        let squared = self.settings.pixel.squared((picture.width, picture.height));
        let size = fit(squared, self.settings.height);
        let scaled = if size == (picture.width, picture.height) {
            None
        } else {
            let Some(scaled) = self.scaler.scale(picture, size) else { return Ok(None) };
            Some(scaled)
        };
        let encoder = match self.encoder.take().filter(|encoder| encoder.size() == size) {
            Some(encoder) => encoder,
            None => {
                self.fresh = true;
                start_encoder(self.settings, size)?
            }
        };
        let encoder = self.encoder.insert(encoder);
        match self.shared.bitrate_bps.load(Ordering::Relaxed) {
            0 => {}
            bitrate => encoder.set_bitrate(bitrate)?,
        }
        let key = self.shared.key_wanted.swap(false, Ordering::Relaxed) || self.fresh;
        let Some(encoded) = encoder.encode(scaled.as_ref().unwrap_or(picture), key)? else { return Ok(None) };
        self.fresh &= !encoded.key;
        self.last = Some(pts);
        let shortest = self.settings.max_fps.map_or(MediaTime::ZERO, |fps| MediaTime::from_ticks(1, fps));
        Ok(Some(Frame {
            kind: MediaKind::Video,
            codec: Codec::H264,
            pts,
            duration: lasts.max(shortest),
            key: encoded.key,
            data: encoded.data,
            level: None,
            rotation: self.settings.rotation,
        }))
    }
}

/// Which picture of a stream with `fps` pictures per second this one would be.
fn period(pts: MediaTime, fps: u32) -> i64 {
    (pts + MediaTime::from_millis(1)).floor_to(MediaTime::from_ticks(1, fps)).to_ticks(fps)
}

fn start_encoder(settings: Settings, size: (u32, u32)) -> Result<Encoder, CoderError> {
    #[expect(clippy::cast_precision_loss, reason = "a rate of pictures is a small number")]
    let fps = settings.max_fps.map_or(settings.fps, |max| settings.fps.min(max as f32));
    let bitrate_bps = settings.bitrate_bps.unwrap_or_else(|| bitrate_for(size, fps));
    debug!(?size, fps, bitrate_bps, "pictures are encoded");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some hundred at most")]
    let key_every = (fps * KEY_EVERY_SECS).round().clamp(1.0, 1000.0) as u32;
    Encoder::new(EncoderOptions { size, fps, bitrate_bps, key_every })
}

/// What a picture of this size needs to look decent.
pub(crate) fn bitrate_for(size: (u32, u32), fps: f32) -> u32 {
    let pixels = f64::from(size.0) * f64::from(size.1) * f64::from(fps);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to millions")]
    let bitrate = (pixels * BITS_PER_PIXEL).clamp(BITRATES.0, BITRATES.1) as u32;
    bitrate
}

#[cfg(test)]
mod tests;
