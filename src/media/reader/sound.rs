//! The sound track of an item: everything is decoded, what can be copied is copied.
//!
//! Copied packets are decoded too: their loudness is announced with every packet, and the
//! samples are there when a volume other than 1.0, a gap or an odd packet asks for encoding.
//! So "copy" is a property of each slot and may change with every one of them.
//!
//! The encoder lags [`LOOKAHEAD`](crate::media::codec::opus::LOOKAHEAD) samples behind its input. It is fed that far ahead, so that
//! an encoded slot sounds exactly when a copied one would.

mod output;

use std::collections::VecDeque;

use super::{Next, PATIENCE, PATIENCE_BYTES, ReaderOptions, ReaderStats};
use crate::media::audio::grid::fade_to_silence;
use crate::media::audio::stretch::StretchError;
use crate::media::audio::{AudioBuffer, Grid, Leveler, Loudness, Resampler, Slot, Stretcher};
use crate::media::codec::audio::AudioDecoder;
use crate::media::codec::opus::{CHANNELS, Encoder, FRAME, FRAME_SAMPLES, Repacker, SAMPLE_RATE, fade_in};
use crate::media::demux::{Packet, Track};
use crate::media::pace::Paces;
use crate::media::plan::Refusal;
use crate::media::{Frame, MediaError, MediaKind};
use crate::time::MediaTime;

use self::output::Output;

/// A packet that is off by less follows the one before: Matroska rounds times to milliseconds,
/// live recordings jitter. More is a gap or an overlap. Below what anybody hears as unsynchronous.
const TOLERANCE: MediaTime = MediaTime::from_millis(15);
/// A run of copied packets that begins this close to the grid is put on it (2.5 ms).
const SNAP_SAMPLES: i64 = 120;
/// [`FRAME_SAMPLES`] for arithmetic on positions.
const SLOT: i64 = FRAME_SAMPLES as i64;
/// Telegram's own limit.
const MAX_VOLUME: f32 = 2.0;
/// Five seconds of AAC without a single packet that can be decoded: nobody waits longer.
const MAX_FAILURES_IN_ROW: u32 = 250;

/// Where the speed changes, sound falls silent and rises again in so many samples: 5 ms.
const FADE_SAMPLES: usize = 240;

/// Packets → slots of 20 ms → frames.
#[derive(Debug)]
pub(super) struct Sound {
    origin: MediaTime,
    /// The plan allows slots to be copied.
    copy: bool,
    packets: VecDeque<Packet>,
    n_bytes: usize,
    /// No packet comes any more.
    ended: bool,
    /// The last slot is complete.
    finished: bool,
    /// Makes packets of 20 ms of others, for a track that is copied.
    repacker: Option<Repacker>,
    decoder: AudioDecoder,
    resampler: Resampler,
    run: Option<Run>,
    paces: Paces,
    /// Up to here, on the clock of the item, everything has been decoded.
    reached: MediaTime,
    /// The next run begins in the middle of the sound.
    rises: bool,
    grid: Grid,
    /// The slot that is sent next and the one behind it, which the encoder looks ahead into;
    /// more where loudness is measured ahead.
    ready: VecDeque<Slot>,
    /// How many slots are ready before the first is sent.
    depth: usize,
    /// Slots before this one are only history.
    first: i64,
    output: Output,
}

/// Packets that follow each other without a gap.
#[derive(Debug)]
struct Run {
    /// When its first sample is heard, on the clock of the file.
    start: MediaTime,
    rate: u32,
    n_in: i64,
    /// Where it goes on, in samples at 48 kHz from the start of the item, in the time in which it is
    /// played.
    at: i64,
    /// Where it is not played at the speed that it has.
    stretcher: Option<Stretcher>,
}

impl Run {
    /// When the sample is heard that comes next.
    fn expected(&self) -> MediaTime {
        self.start + MediaTime::from_ticks(self.n_in, self.rate)
    }
}

impl Sound {
    pub(super) fn new(
        track: &Track,
        copy: bool,
        origin: MediaTime,
        options: &ReaderOptions,
    ) -> Result<Self, MediaError> {
        let refused = |undecodable| MediaError::Refused {
            kind: MediaKind::Audio,
            refusal: Refusal::Sound(std::sync::Arc::new(undecodable)),
            remedy: None,
        };
        let decoder = AudioDecoder::new(track).map_err(refused)?;
        let resampler = Resampler::new(decoder.rate()).map_err(|error| refused(error.into()))?;
        let volume = usable(options.volume).unwrap_or(1.0);
        let leveler = options.loudness_lufs.map(f64::from).map(|target| match options.known_loudness {
            Some(known) => Leveler::knowing(target, known),
            None => Leveler::new(target),
        });
        Ok(Self {
            origin,
            copy,
            packets: VecDeque::new(),
            n_bytes: 0,
            ended: false,
            finished: false,
            repacker: if copy { Some(Repacker::new(origin)?) } else { None },
            decoder,
            resampler,
            run: None,
            paces: Paces::default(),
            reached: MediaTime::ZERO,
            rises: false,
            grid: Grid::default(),
            ready: VecDeque::new(),
            depth: leveler.as_ref().map_or(0, Leveler::lookahead_slots).max(2),
            first: 0,
            output: Output::new(Encoder::new(options.opus)?, volume, leveler),
        })
    }

    pub(super) fn push(&mut self, packet: Packet) {
        self.n_bytes += packet.data.len();
        self.packets.push_back(packet);
    }

    /// No packet comes any more.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// No frame comes any more.
    pub(super) fn abandon(&mut self) {
        self.forget(self.first);
        (self.ended, self.finished) = (true, true);
    }

    /// Whether a frame is ready; decodes as many packets as that takes.
    pub(super) fn peek(&mut self) -> Result<Next, MediaError> {
        loop {
            self.cut();
            if self.ready.len() == self.depth {
                break;
            }
            if let Some(packet) = self.packets.pop_front() {
                self.n_bytes -= packet.data.len();
                self.take(packet)?;
            } else if !self.ended {
                return Ok(Next::Starved);
            } else if !self.finished {
                for rest in self.repacker.as_mut().map(Repacker::flush).unwrap_or_default() {
                    self.decode(&rest)?;
                }
                self.finish_run();
                self.grid.finish();
                self.finished = true;
            } else {
                break;
            }
        }
        Ok(self.ready.front().map_or(Next::End, |slot| Next::At(slot.pts())))
    }

    /// The frame that [`peek`](Self::peek) announced.
    pub(super) fn pop(&mut self) -> Result<Option<Frame>, MediaError> {
        let Some(slot) = self.ready.pop_front() else { return Ok(None) };
        Ok(Some(self.output.frame(slot, self.ready.front())?))
    }

    /// The samples of the frame that was popped last, and its volume.
    pub(super) fn heard(&self) -> (&[f32], f32) {
        self.output.heard()
    }

    /// How loud everything is that was heard so far, if that is measured.
    pub(super) fn loudness(&self) -> Option<Loudness> {
        self.output.loudness()
    }

    /// So much waits here that the other track is not waited for any more.
    pub(super) fn is_impatient(&self) -> bool {
        let span = match (self.packets.front(), self.packets.back()) {
            (Some(first), Some(last)) => last.pts - first.pts,
            _ => MediaTime::ZERO,
        };
        span > PATIENCE || self.n_bytes > PATIENCE_BYTES
    }

    /// The other track went on to `until` without any sound coming.
    pub(super) fn fill_with_silence(&mut self, until: MediaTime) {
        self.finish_run();
        // The slot that `until` falls into, the one after it, so that this track is ahead, and
        // one more for the encoder to look into.
        let slots = until.to_ticks(SAMPLE_RATE).div_euclid(SLOT).saturating_add(3);
        self.grid.silence_until(slots.saturating_mul(SLOT));
    }

    pub(super) fn set_volume(&mut self, volume: f32) {
        if let Some(volume) = usable(volume) {
            self.output.set_volume(volume);
        }
    }

    /// The next packet is the first that is played at another speed; where it begins, as far as sound
    /// has come.
    pub(super) fn begin_change(&mut self) -> MediaTime {
        if self.run.is_some() {
            self.finish_run();
            self.rises = true;
            if !self.grid.fade_end(FADE_SAMPLES)
                && let Some(slot) = self.ready.back_mut()
            {
                fade_to_silence(&mut slot.samples[(FRAME_SAMPLES - FADE_SAMPLES) * CHANNELS..]);
                slot.original = None;
            }
        }
        self.reached
    }

    /// The speeds from here on.
    pub(super) fn set_paces(&mut self, paces: &Paces) {
        self.paces.clone_from(paces);
    }

    /// Goes on at the first slot from `place` on.
    pub(super) fn seek(&mut self, place: MediaTime) {
        self.paces.restart(place);
        (self.reached, self.rises) = (place, false);
        let first = place.ceil_to(FRAME).to_ticks(SAMPLE_RATE).div_euclid(SLOT);
        self.forget(first);
        (self.ended, self.finished) = (false, false);
    }

    pub(super) fn add_stats(&self, stats: &mut ReaderStats) {
        let time =
            |n_samples| MediaTime::from_ticks(i64::try_from(n_samples).unwrap_or(i64::MAX), SAMPLE_RATE);
        stats.damaged_sound = self.decoder.failures();
        stats.silence = time(self.grid.silence());
        stats.overlap = time(self.grid.overlap());
    }

    fn forget(&mut self, first: i64) {
        self.packets.clear();
        self.n_bytes = 0;
        // What was begun belongs to the place before.
        drop(self.repacker.as_mut().map(Repacker::flush));
        self.decoder.reset();
        self.resampler.restart();
        self.run = None;
        self.ready.clear();
        // The slot before fills the encoder's memory.
        self.grid.restart((first - 1).max(0));
        self.first = first;
        self.output.restart(first > 0);
    }

    fn cut(&mut self) {
        while self.ready.len() < self.depth {
            match self.grid.pop() {
                Some(slot) if slot.index < self.first => self.output.remember(slot.samples),
                Some(slot) => {
                    self.output.measure(&slot.samples);
                    self.ready.push_back(slot);
                }
                None => return,
            }
        }
    }

    fn take(&mut self, packet: Packet) -> Result<(), MediaError> {
        let Some(repacker) = &mut self.repacker else { return self.decode(&packet) };
        repacker.push(packet).iter().try_for_each(|packet| self.decode(packet))
    }

    fn decode(&mut self, packet: &Packet) -> Result<(), MediaError> {
        let sound = self.decoder.decode(packet).into_stereo();
        let n_packets = self.decoder.failures_in_row();
        if n_packets >= MAX_FAILURES_IN_ROW {
            return Err(MediaError::DamagedSound { n_packets, at: packet.pts - self.origin });
        }
        if sound.is_empty() {
            return Ok(());
        }
        let follows = self
            .run
            .as_ref()
            .is_some_and(|run| run.rate == sound.rate && (sound.start - run.expected()).abs() <= TOLERANCE);
        if !follows && !self.start_run(packet, &sound) {
            return Ok(());
        }
        let run = self.run.as_mut().expect("started above");
        run.n_in += sound.len() as i64;
        let begin = run.at - i64::from(packet.trim_start);
        let is_whole = sound.len() + packet.trim_start as usize == FRAME_SAMPLES && packet.trim_end == 0;
        let free = begin >= self.grid.end();
        let is_plain = run.stretcher.is_none() && !self.rises;
        if self.copy && n_packets == 0 && is_whole && free && is_plain && begin.rem_euclid(SLOT) == 0 {
            self.grid.push(begin, &vec![0.0; packet.trim_start as usize * CHANNELS]);
            self.grid.push(run.at, &sound.samples);
            run.at += sound.len() as i64;
            self.grid.attach(begin.div_euclid(SLOT), packet.data.clone());
            return Ok(());
        }
        let mut stereo = Vec::new();
        self.resampler.push(&sound.samples, &mut stereo);
        self.place(&stereo);
        Ok(())
    }

    /// Ends the run so far and begins one with `sound`; `false` when that is no sound at all.
    fn start_run(&mut self, packet: &Packet, sound: &AudioBuffer) -> bool {
        self.finish_run();
        if self.resampler.rate() != sound.rate {
            let Ok(resampler) = Resampler::new(sound.rate) else { return false };
            self.resampler = resampler;
        }
        let begun = sound.start - self.origin;
        // A change may lie a little behind the place that the sound has come to.
        let newest = self.paces.last().percent;
        let percent = if self.rises { newest } else { self.paces.percent_at(begun) };
        let is_moved = self.paces.play_of(begun) != begun || percent != 100;
        let at = if is_moved {
            self.paces.play_of(begun).to_ticks(SAMPLE_RATE)
        } else if self.copy {
            let begin = (packet.pts - self.origin).to_ticks(SAMPLE_RATE);
            let slot = begin.saturating_add(SLOT / 2).div_euclid(SLOT).saturating_mul(SLOT);
            let begin = if begin.abs_diff(slot) <= SNAP_SAMPLES.unsigned_abs() { slot } else { begin };
            begin.saturating_add(i64::from(packet.trim_start))
        } else {
            begun.to_ticks(SAMPLE_RATE)
        };
        let stretcher = (percent != 100).then(|| Stretcher::new(percent)).transpose();
        let stretcher =
            stretcher.inspect_err(|error| tracing::warn!(%error, percent, "no such speed")).ok().flatten();
        self.run = Some(Run { start: sound.start, rate: sound.rate, n_in: 0, at, stretcher });
        true
    }

    fn finish_run(&mut self) {
        let mut stereo = Vec::new();
        self.resampler.finish(&mut stereo);
        self.place(&stereo);
        let Some(run) = &mut self.run else { return };
        self.reached = run.expected() - self.origin;
        if let Some(stretcher) = run.stretcher.take() {
            self.stretched(|out| stretcher.finish(out));
        }
        self.run = None;
    }

    fn place(&mut self, stereo: &[f32]) {
        match self.run.as_mut().and_then(|run| run.stretcher.take()) {
            Some(mut stretcher) => {
                let is_sound = self.stretched(|out| stretcher.push(stereo, out));
                if let Some(run) = self.run.as_mut().filter(|_| is_sound) {
                    run.stretcher = Some(stretcher);
                }
            }
            None => self.put(stereo.to_vec()),
        }
    }

    /// Places what a stretcher has made. False when it can go no further.
    fn stretched(&mut self, work: impl FnOnce(&mut Vec<f32>) -> Result<(), StretchError>) -> bool {
        let mut stereo = Vec::new();
        let done = work(&mut stereo);
        self.put(stereo);
        if let Err(error) = &done {
            tracing::debug!(%error, "sound cannot be stretched further");
            self.run = None;
        }
        done.is_ok()
    }

    fn put(&mut self, mut stereo: Vec<f32>) {
        let Some(run) = &mut self.run else { return };
        if !stereo.is_empty() && std::mem::take(&mut self.rises) {
            fade_in(&mut stereo);
        }
        self.grid.push(run.at, &stereo);
        run.at = run.at.saturating_add((stereo.len() / CHANNELS) as i64);
    }
}

/// A volume that can be applied; nothing for what is no number.
fn usable(volume: f32) -> Option<f32> {
    (!volume.is_nan()).then(|| volume.clamp(0.0, MAX_VOLUME))
}
