//! Runs of sound at any instant → slots of exactly 20 ms that follow each other without a gap.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::media::codec::opus::{CHANNELS, FRAME, FRAME_SAMPLES};
use crate::time::MediaTime;

/// [`FRAME_SAMPLES`] for arithmetic on positions.
const SLOT: i64 = FRAME_SAMPLES as i64;

/// 20 ms of sound at a fixed place of the item.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Counted from the start of the item.
    pub index: i64,
    /// [`FRAME_SAMPLES`] interleaved stereo samples.
    pub samples: Vec<f32>,
    /// The packet that this sound was decoded from, where it fills exactly this slot.
    pub original: Option<Bytes>,
}

impl Slot {
    /// When the slot begins.
    pub fn pts(&self) -> MediaTime {
        FRAME * self.index
    }
}

/// Samples waiting to be cut.
#[derive(Debug)]
enum Run {
    Silence(i64),
    /// Interleaved stereo and how many samples per channel of it are used up.
    Sound(Vec<f32>, usize),
}

/// The cutter. Positions are samples at 48 kHz from the start of the item.
///
/// What comes too late for its place is dropped, what is missing is silence; both are counted.
#[derive(Debug, Default)]
pub struct Grid {
    /// The slot that is cut next.
    next: i64,
    /// The position behind everything that was pushed.
    end: i64,
    /// Something was pushed since the start, so what comes late overlaps it.
    begun: bool,
    runs: VecDeque<Run>,
    originals: VecDeque<(i64, Bytes)>,
    silence: u64,
    overlap: u64,
}

impl Grid {
    /// The position behind everything that was pushed.
    pub const fn end(&self) -> i64 {
        self.end
    }

    /// Samples of silence put into gaps so far.
    pub const fn silence(&self) -> u64 {
        self.silence
    }

    /// Samples dropped so far because their place was taken.
    pub const fn overlap(&self) -> u64 {
        self.overlap
    }

    /// Starts again: the next slot is `index`, everything before it is dropped uncounted.
    pub fn restart(&mut self, index: i64) {
        *self = Self {
            next: index,
            end: index.saturating_mul(SLOT),
            silence: self.silence,
            overlap: self.overlap,
            ..Self::default()
        };
    }

    /// Places interleaved stereo at `at`.
    pub fn push(&mut self, at: i64, stereo: &[f32]) {
        self.silence_until(at);
        let late = usize::try_from(self.end.saturating_sub(at)).unwrap_or(0);
        let n_samples = stereo.len() / CHANNELS;
        let dropped = late.min(n_samples);
        if self.begun {
            self.overlap += dropped as u64;
        }
        if dropped < n_samples {
            self.end = self.end.saturating_add((n_samples - dropped) as i64);
            self.begun = true;
            self.runs.push_back(Run::Sound(stereo[dropped * CHANNELS..].to_vec(), 0));
        }
    }

    /// Remembers that the sound of slot `index`, which is pushed already, was decoded from `packet`.
    pub fn attach(&mut self, index: i64, packet: Bytes) {
        if index >= self.next {
            self.originals.push_back((index, packet));
        }
    }

    /// Fills the gap up to `at`, if there is one, with silence.
    pub fn silence_until(&mut self, at: i64) {
        let missing = at.saturating_sub(self.end);
        if missing > 0 {
            self.begun = true;
            self.runs.push_back(Run::Silence(missing));
            self.end = at;
            self.silence += missing.unsigned_abs();
        }
    }

    /// What was pushed last falls silent over up to `n_samples`. False when nothing of it is here
    /// any more.
    pub fn fade_end(&mut self, n_samples: usize) -> bool {
        let Some(Run::Sound(sound, used)) = self.runs.back_mut() else { return false };
        let begun = (*used * CHANNELS).max(sound.len().saturating_sub(n_samples * CHANNELS));
        fade_to_silence(&mut sound[begun..]);
        true
    }

    /// Ends the sound: the last slot is filled up with silence.
    pub fn finish(&mut self) {
        let rest = self.end.rem_euclid(SLOT);
        if rest != 0 {
            self.runs.push_back(Run::Silence(SLOT - rest));
            self.end = self.end.saturating_add(SLOT - rest);
        }
    }

    /// The next slot once all of it is there.
    pub fn pop(&mut self) -> Option<Slot> {
        if self.end.saturating_sub(self.next.saturating_mul(SLOT)) < SLOT {
            return None;
        }
        let index = self.next;
        self.next += 1;
        let mut samples = Vec::with_capacity(FRAME_SAMPLES * CHANNELS);
        while samples.len() < FRAME_SAMPLES * CHANNELS {
            let wanted = FRAME_SAMPLES - samples.len() / CHANNELS;
            let used_up =
                match self.runs.front_mut().expect("the runs add up to `end`, which is a slot ahead") {
                    Run::Silence(left) => {
                        let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(wanted);
                        samples.resize(samples.len() + taken * CHANNELS, 0.0);
                        *left -= taken as i64;
                        *left == 0
                    }
                    Run::Sound(sound, used) => {
                        let rest = &sound[*used * CHANNELS..];
                        let taken = (rest.len() / CHANNELS).min(wanted);
                        samples.extend_from_slice(&rest[..taken * CHANNELS]);
                        *used += taken;
                        *used * CHANNELS == sound.len()
                    }
                };
            if used_up {
                self.runs.pop_front();
            }
        }
        Some(Slot { index, samples, original: self.original_of(index) })
    }

    fn original_of(&mut self, index: i64) -> Option<Bytes> {
        while self.originals.front().is_some_and(|(of, _)| *of < index) {
            self.originals.pop_front();
        }
        if self.originals.front()?.0 != index {
            return None;
        }
        self.originals.pop_front().map(|(_, packet)| packet)
    }
}

/// Interleaved stereo that ends in silence.
pub fn fade_to_silence(stereo: &mut [f32]) {
    let n_samples = stereo.len() / CHANNELS;
    for (nth, frame) in stereo.chunks_exact_mut(CHANNELS).enumerate() {
        let gain = 1.0 - (nth as f32 + 1.0) / n_samples as f32;
        frame.iter_mut().for_each(|sample| *sample *= gain);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stereo(value: f32, n_samples: usize) -> Vec<f32> {
        vec![value; n_samples * CHANNELS]
    }

    fn drain(grid: &mut Grid) -> Vec<Slot> {
        std::iter::from_fn(|| grid.pop()).collect()
    }

    #[test]
    fn a_start_offset_and_a_gap_are_silence_and_the_end_is_padded() {
        let mut grid = Grid::default();
        grid.push(100, &stereo(1.0, 900));
        grid.push(2000, &stereo(2.0, 100));
        grid.finish();
        let slots = drain(&mut grid);
        assert_eq!(slots.iter().map(|slot| slot.index).collect::<Vec<_>>(), [0, 1, 2]);
        let all: Vec<f32> = slots.iter().flat_map(|slot| slot.samples.iter().copied()).collect();
        let at = |n: usize| all[2 * n];
        assert_eq!(
            (at(99), at(100), at(999), at(1000), at(1999), at(2000), at(2099), at(2100)),
            (0., 1., 1., 0., 0., 2., 2., 0.)
        );
        assert_eq!((grid.silence(), grid.overlap()), (1100, 0));
    }

    #[test]
    fn sound_before_the_start_is_dropped_and_an_overlap_is_counted() {
        let mut grid = Grid::default();
        grid.push(-1024, &stereo(1.0, 1024));
        assert_eq!(grid.overlap(), 0, "nothing was there to overlap");
        grid.push(-24, &stereo(2.0, 1000));
        grid.push(900, &stereo(3.0, 100));
        assert_eq!((grid.end(), grid.overlap()), (1000, 76));
        let slot = grid.pop().unwrap();
        assert_eq!((slot.samples[0], slot.samples[2 * 959]), (2.0, 2.0));
        assert_eq!(grid.pop(), None, "the second slot is not full");
    }

    #[test]
    fn a_packet_stays_with_its_slot() {
        let mut grid = Grid::default();
        grid.restart(5);
        for index in 4..8 {
            grid.push(index * SLOT, &stereo(index as f32, FRAME_SAMPLES));
            if index != 6 {
                grid.attach(index, Bytes::from(vec![index as u8]));
            }
        }
        let originals: Vec<_> =
            drain(&mut grid).into_iter().map(|s| (s.index, s.original.map(|p| p[0]))).collect();
        assert_eq!(originals, [(5, Some(5)), (6, None), (7, Some(7))]);
    }

    #[test]
    fn a_gap_of_years_takes_no_memory() {
        let mut grid = Grid::default();
        grid.push(0, &stereo(1.0, 10));
        grid.push(i64::MAX - 5, &stereo(1.0, 10));
        assert_eq!(grid.runs.len(), 3);
        assert_eq!(drain_some(&mut grid, 3), [0, 1, 2]);
        grid.restart(i64::MAX / 2);
        grid.push(i64::MAX, &stereo(1.0, 10));
        grid.push(i64::MIN, &stereo(1.0, 10));
    }

    fn drain_some(grid: &mut Grid, n: usize) -> Vec<i64> {
        std::iter::from_fn(|| grid.pop()).take(n).map(|slot| slot.index).collect()
    }

    proptest! {
        /// Against a model that writes every sample to its own place: first come, first served.
        #[test]
        fn every_sample_has_its_place(
            pieces in proptest::collection::vec((-3000_i64..20_000, 1_usize..3000, any::<bool>()), 1..20),
        ) {
            let mut grid = Grid::default();
            let mut model: Vec<f32> = Vec::new();
            let mut slots = Vec::new();
            let mut at = 0_i64;
            for (number, (jump, n_samples, contiguous)) in pieces.iter().enumerate() {
                at = if *contiguous { at } else { at + jump };
                let value = number as f32 + 1.0;
                grid.push(at, &stereo(value, *n_samples));
                at += *n_samples as i64;
                if let Ok(until) = usize::try_from(at) {
                    let from = usize::try_from(at - *n_samples as i64).unwrap_or(0);
                    model.resize(model.len().max(from), 0.0);
                    model.resize(model.len().max(until), value);
                }
                slots.extend(drain(&mut grid));
            }
            grid.finish();
            slots.extend(drain(&mut grid));
            prop_assert!(grid.pop().is_none());
            for (index, slot) in slots.iter().enumerate() {
                prop_assert_eq!(slot.index, index as i64);
                prop_assert_eq!(slot.samples.len(), FRAME_SAMPLES * CHANNELS);
            }
            prop_assert_eq!(slots.len(), model.len().div_ceil(FRAME_SAMPLES));
            let cut = slots.iter().flat_map(|slot| slot.samples.iter().step_by(2).copied());
            model.resize(slots.len() * FRAME_SAMPLES, 0.0);
            prop_assert!(cut.eq(model));
        }
    }
}
