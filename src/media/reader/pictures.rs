//! The picture track of an item: copied and checked, or handed to the transcoder.
//!
//! A copy can turn out wrong in the middle: the first B-frame comes, or a second that is too
//! much for a call. The pictures since the last keyframe are kept for that, so that a decoder
//! can catch up and the item goes on, transcoded from there.

use std::collections::VecDeque;

use super::{PATIENCE, PATIENCE_BYTES};
use crate::media::codec::h264::{self, ReorderWatch, Sps};
use crate::media::demux::{Packet, Shape, Track};
use crate::media::pixel::PixelAspect;
use crate::media::plan::{Obstacle, PictureOptions, can_transcode};
use crate::media::transcode::{TranscodeError, Transcoder};
use crate::media::{Codec, Frame, MediaKind};
use crate::time::MediaTime;

/// How much faster than real time pictures run that are to be decoded but not shown: a file cut
/// between two keyframes begins with them. A receiver cannot be told to hide pictures.
const HIDDEN_SPEED: i64 = 8;
/// The step of RTP's video clock: pictures must differ by at least that much.
const TICK: MediaTime = MediaTime::from_millis(1);
/// The window in which the peak of a bitrate counts.
const PEAK_WINDOW: MediaTime = MediaTime::from_secs(1);
/// Pictures since the last keyframe that are kept, in bytes. A longer group cannot be caught up
/// with; its next keyframe is waited for.
#[cfg(feature = "openh264")]
const MAX_GROUP_BYTES: usize = 16 << 20;
/// A picture that is this little ahead of its time would come too late when encoded.
const LEAST_LEAD: MediaTime = MediaTime::from_millis(100);

/// When a picture is shown that the file has at `pts`, on the clock of the file: pictures before
/// zero are pressed together right before it.
pub(super) fn shown_at(pts: MediaTime) -> MediaTime {
    const CLOCK: u32 = 705_600_000;
    if pts < MediaTime::ZERO { MediaTime::from_ticks(pts.to_ticks(CLOCK) / HIDDEN_SPEED, CLOCK) } else { pts }
}

/// What pictures need to know of their track and of what is wanted.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) origin: MediaTime,
    pub(super) options: PictureOptions,
    /// The stream promises that its pictures are never reordered, so B-slices are harmless.
    pub(super) order_is_promised: bool,
    /// Pictures per second, about.
    #[cfg_attr(not(feature = "openh264"), expect(dead_code, reason = "only a transcoder asks for it"))]
    pub(super) fps: f32,
    /// What the pixels are.
    pub(super) pixel: PixelAspect,
}

/// Access units waiting for their turn.
#[derive(Debug)]
pub(super) struct Pictures {
    setup: Setup,
    codec: Codec,
    /// Clockwise quarter turns for a player to apply.
    rotation: u8,
    /// The container says what pixels are, whatever the stream says.
    is_pixel_told: bool,
    watch: ReorderWatch,
    /// The last sequence parameter set.
    sps: Vec<u8>,
    /// Why pictures are not copied from some place on, and where that is.
    obstacle: Option<(Obstacle, MediaTime)>,
    transcoder: Option<Transcoder>,
    /// Why the transcoder is gone, until it is told.
    broken: Option<TranscodeError>,
    /// A keyframe came since the start or the last seek.
    started: bool,
    /// No more pictures come.
    ended: bool,
    last: Option<MediaTime>,
    /// The last picture that was taken.
    taken: Option<MediaTime>,
    frames: VecDeque<Frame>,
    n_bytes: usize,
    /// Bytes of the copied pictures of the last second.
    window: VecDeque<(MediaTime, usize)>,
    window_bytes: usize,
    /// What a decoder needs to catch up.
    #[cfg(feature = "openh264")]
    group: Vec<Packet>,
    #[cfg(feature = "openh264")]
    group_bytes: usize,
    n_skipped: u64,
}

impl Pictures {
    pub(super) fn new(track: &Track, setup: Setup) -> Self {
        let (rotation, is_pixel_told) = match track.shape {
            Shape::Video { rotation, pixel, .. } => ((rotation / 90 % 4) as u8, pixel.is_some()),
            Shape::Audio { .. } => (0, false),
        };
        Self {
            setup,
            codec: track.codec.clone(),
            rotation,
            is_pixel_told,
            watch: ReorderWatch::new(),
            sps: Vec::new(),
            obstacle: None,
            transcoder: None,
            broken: None,
            started: false,
            ended: false,
            last: None,
            taken: None,
            frames: VecDeque::new(),
            n_bytes: 0,
            window: VecDeque::new(),
            window_bytes: 0,
            #[cfg(feature = "openh264")]
            group: Vec::new(),
            #[cfg(feature = "openh264")]
            group_bytes: 0,
            n_skipped: 0,
        }
    }

    pub(super) fn push(&mut self, packet: Packet) {
        if packet.data.is_empty() || self.broken.is_some() {
            return;
        }
        self.started |= packet.key;
        if !self.started {
            self.n_skipped += 1;
            return;
        }
        if self.transcoder.is_some() {
            return self.transcode(packet);
        }
        if self.obstacle.is_some() {
            return;
        }
        if let Some(obstacle) = self.obstacle_in(&packet) {
            return self.stop_copying(obstacle, packet);
        }
        self.copy(packet);
    }

    fn copy(&mut self, packet: Packet) {
        let mut pts = shown_at(packet.pts) - self.setup.origin;
        if let Some(last) = self.last.filter(|last| pts < *last + TICK) {
            pts = last + TICK;
        }
        self.last = Some(pts);
        self.n_bytes += packet.data.len();
        #[cfg(feature = "openh264")]
        self.remember(&packet);
        self.frames.push_back(Frame {
            kind: MediaKind::Video,
            codec: self.codec.clone(),
            pts,
            duration: packet.duration,
            key: packet.key,
            data: packet.data,
            level: None,
            rotation: self.rotation,
        });
    }

    /// What stands against copying this picture and all that follow.
    fn obstacle_in(&mut self, packet: &Packet) -> Option<Obstacle> {
        if self.codec != Codec::H264 {
            return None;
        }
        let size = if packet.key { self.learn(&packet.data) } else { None };
        if !self.setup.order_is_promised && self.watch.push(packet.pts, &packet.data).is_some() {
            return Some(Obstacle::BFrames);
        }
        if !can_transcode() {
            return None;
        }
        if !packet.key && h264::refreshes_slowly(&packet.data) {
            return Some(Obstacle::IntraRefresh);
        }
        let options = self.setup.options;
        if !self.setup.pixel.is_square() {
            return Some(Obstacle::Pixels(self.setup.pixel));
        }
        size.and_then(|size| options.obstacle_of(size)).or_else(|| self.peak_with(packet))
    }

    /// Takes a changed parameter set into account: the size of its pictures.
    fn learn(&mut self, annex_b: &[u8]) -> Option<(u32, u32)> {
        let set = h264::nal_units(annex_b).find(|nal| h264::nal_type(nal) == h264::NAL_SPS)?;
        if set == self.sps {
            return None;
        }
        let is_first = self.sps.is_empty();
        self.sps = set.to_vec();
        let sps = Sps::parse(set)?;
        if !is_first {
            self.setup.order_is_promised = sps.keeps_order();
        }
        if !self.is_pixel_told {
            self.setup.pixel = sps.pixel.unwrap_or(PixelAspect::SQUARE);
        }
        Some((sps.width, sps.height))
    }

    /// The bitrate of the last second, if it is too much.
    fn peak_with(&mut self, packet: &Packet) -> Option<Obstacle> {
        let at = packet.dts.unwrap_or(packet.pts);
        self.window.push_back((at, packet.data.len()));
        self.window_bytes += packet.data.len();
        while let Some((_, len)) = self.window.pop_front_if(|(first, _)| at - *first >= PEAK_WINDOW) {
            self.window_bytes -= len;
        }
        let bps = self.window_bytes as u64 * 8;
        (bps > self.setup.options.copy_bps).then_some(Obstacle::Peak { bps })
    }

    /// Goes on without copying, if that is possible.
    fn stop_copying(&mut self, obstacle: Obstacle, packet: Packet) {
        let at = shown_at(packet.pts) - self.setup.origin;
        tracing::debug!(?obstacle, ?at, "the picture is not copied from here on");
        self.obstacle = Some((obstacle, at));
        #[cfg(feature = "openh264")]
        self.begin_transcoding(packet);
        #[cfg(not(feature = "openh264"))]
        drop(packet);
    }

    /// Why the copy ended, and where; nothing comes after it when there is no transcoder.
    pub(super) const fn obstacle(&self) -> Option<(Obstacle, MediaTime)> {
        self.obstacle
    }

    pub(super) const fn is_transcoding(&self) -> bool {
        self.transcoder.is_some()
    }

    /// When the next picture is seen; `None` when there is none yet, or none any more.
    pub(super) fn peek(&mut self) -> Result<Option<MediaTime>, TranscodeError> {
        if let Some(frame) = self.frames.front() {
            // A B-frame may come that is shown before this picture. Only the next packet tells.
            let is_certain = self.setup.order_is_promised
                || self.ended
                || self.frames.len() > 1
                || self.obstacle.is_some()
                || self.codec != Codec::H264;
            return Ok(is_certain.then_some(frame.pts));
        }
        if let Some(error) = self.broken.take() {
            self.transcoder = None;
            return Err(error);
        }
        self.transcoder.as_mut().map_or(Ok(None), Transcoder::peek)
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        let frame = match self.frames.pop_front() {
            Some(frame) => {
                self.n_bytes -= frame.data.len();
                frame
            }
            None => self.transcoder.as_mut()?.pop()?,
        };
        self.taken = Some(frame.pts);
        Some(frame)
    }

    /// No more packets come.
    pub(super) fn end(&mut self) {
        self.ended = true;
        if let Some(Err(error)) = self.transcoder.as_mut().map(Transcoder::end) {
            self.break_down(error);
        }
    }

    fn break_down(&mut self, error: TranscodeError) {
        tracing::debug!(%error, "the transcoder gave up");
        self.broken = Some(error);
    }

    /// So much waits here that the other track is not waited for any more.
    pub(super) fn is_impatient(&self) -> bool {
        let made = self.transcoder.iter().flat_map(|transcoder| transcoder.frames());
        let span =
            match (self.frames.iter().chain(made.clone()).next(), self.frames.iter().chain(made).last()) {
                (Some(first), Some(last)) => last.pts - first.pts,
                _ => MediaTime::ZERO,
            };
        span > PATIENCE || self.n_bytes > PATIENCE_BYTES
    }

    /// The item plays at `position`: what is about to be too late need not be encoded.
    pub(super) fn set_position(&self, position: MediaTime) {
        if let Some(transcoder) = &self.transcoder {
            transcoder.set_not_before(position + LEAST_LEAD);
        }
    }

    /// Somebody waits for a keyframe. False when none can be made here.
    pub(super) fn request_key(&self) -> bool {
        if let Some(transcoder) = &self.transcoder {
            transcoder.request_key();
        }
        self.transcoder.is_some()
    }

    /// Encoded pictures take so many bits per second from now on.
    pub(super) fn set_bitrate(&mut self, bitrate_bps: u32) {
        self.setup.options.bitrate_bps = Some(bitrate_bps);
        if let Some(transcoder) = &self.transcoder {
            transcoder.set_bitrate(bitrate_bps);
        }
    }

    #[cfg(test)]
    pub(super) fn n_waiting(&self) -> usize {
        self.frames.len()
    }

    /// Units that nobody could decode: those before the first keyframe, and damaged ones.
    pub(super) fn n_skipped(&self) -> u64 {
        self.n_skipped + self.transcoder.as_ref().map_or(0, Transcoder::n_undecodable)
    }

    pub(super) fn n_late(&self) -> u64 {
        self.transcoder.as_ref().map_or(0, Transcoder::n_late)
    }

    /// Forgets what waits; the next packet is a keyframe again. Transcoded pictures are shown
    /// from `show_from` on.
    pub(super) fn seek(&mut self, show_from: MediaTime) {
        self.frames.clear();
        self.n_bytes = 0;
        self.watch = ReorderWatch::new();
        self.window.clear();
        self.window_bytes = 0;
        #[cfg(feature = "openh264")]
        self.forget_group();
        (self.last, self.taken, self.started, self.ended) = (None, None, false, false);
        match self.transcoder.as_mut().map(|transcoder| transcoder.seek(show_from)) {
            Some(Err(error)) => self.break_down(error),
            Some(Ok(())) => {}
            None => self.obstacle = None,
        }
    }
}

#[cfg(feature = "openh264")]
impl Pictures {
    /// Everything is transcoded, from the next packet on.
    pub(super) fn start_transcoder(&mut self) -> std::io::Result<()> {
        let options = self.setup.options;
        let transcoder = Transcoder::start(crate::media::transcode::Settings {
            height: options.encoded_height(),
            bitrate_bps: options.bitrate_bps,
            max_fps: options.fps,
            fps: self.setup.fps,
            pixel: self.setup.pixel,
            rotation: self.rotation,
        })?;
        // What lies before zero is there to be decoded only.
        transcoder.show_from(MediaTime::ZERO - self.setup.origin);
        self.transcoder = Some(transcoder);
        Ok(())
    }

    fn begin_transcoding(&mut self, packet: Packet) {
        if let Err(error) = self.start_transcoder() {
            // Without a thread the item ends here, as it would without a transcoder.
            tracing::warn!(%error, "no transcoder can be started");
            return;
        }
        let at = shown_at(packet.pts) - self.setup.origin;
        // Pictures that were ready to be copied and are shown after this one take their turn after it.
        while self.frames.pop_back_if(|frame| frame.pts > at).is_some() {}
        self.n_bytes = self.frames.iter().map(|frame| frame.data.len()).sum();
        let copied = self.frames.back().map(|frame| frame.pts).or(self.taken);
        if let (Some(copied), Some(transcoder)) = (copied, &self.transcoder) {
            transcoder.show_from(copied + TICK);
        }
        for packet in std::mem::take(&mut self.group) {
            self.transcode(packet);
        }
        self.group_bytes = 0;
        self.transcode(packet);
    }

    fn transcode(&mut self, packet: Packet) {
        let pts = packet.pts - self.setup.origin;
        let unit = crate::media::transcode::Unit { pts, duration: packet.duration, data: packet.data };
        if let Some(Err(error)) = self.transcoder.as_mut().map(|transcoder| transcoder.push(unit)) {
            self.break_down(error);
        }
    }

    fn remember(&mut self, packet: &Packet) {
        if packet.key {
            self.forget_group();
        }
        let is_whole = packet.key || !self.group.is_empty();
        self.group_bytes += packet.data.len();
        if is_whole && self.group_bytes <= MAX_GROUP_BYTES {
            self.group.push(packet.clone());
        } else {
            self.group = Vec::new();
        }
    }

    fn forget_group(&mut self) {
        self.group.clear();
        self.group_bytes = 0;
    }
}

#[cfg(not(feature = "openh264"))]
impl Pictures {
    fn transcode(&mut self, _packet: Packet) {}
}
