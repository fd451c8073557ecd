//! Sound → its strongest tone, the level of each channel, when it beeped, how much was made up.
//!
//! ```text
//! samples ─► blocks of 10 ms ─► the last 350 ms ─► outside beeps: levels, spectrum
//!                                     └─► beeps, to a fraction of a sample
//! ```
//!
//! A beep counts as soon as 100 ms of it are known; until then its blocks wait, so that neither
//! the beep nor its edges ever get into the level of what lies below it.

use std::collections::VecDeque;
use std::f64::consts::TAU;

use realfft::RealFftPlanner;

use super::Sound;
use super::sight::MAX_REMEMBERED;
use crate::time::MediaTime;

const SAMPLE_RATE: u32 = 48_000;

/// Samples per channel of a block: 10 ms, ten cycles of the beep.
const BLOCK: usize = 480;

/// The tone of the beep.
const BEEP_HZ: f64 = 1000.0;

/// A block beeps when so much of its power is at [`BEEP_HZ`]. In the clips it is 87 % in beeps
/// and below 1 % outside.
const BEEP_SHARE: f64 = 0.5;

/// RMS of the quietest beep, −40 dBFS: silence and rounding noise have no tone.
const BEEP_FLOOR: f64 = 0.01;

/// So many blocks without a beep come before one: the clips beep for 100 ms of every second.
const QUIET_BLOCKS: usize = 30;

/// So many blocks without concealment come before a beep whose edge counts: after a loss Opus
/// predicts from what it has made up, and a tone takes some 50 ms to sound as it was sent.
const CLEAN_BLOCKS: usize = 15;

/// Blocks before and after the one in which a beep is noticed that are kept out of the levels.
const EXCLUDED_BEFORE: usize = 3;
const EXCLUDED_AFTER: usize = 18;

/// Blocks that must have come after the first beeping one before its edge is looked for.
const LOOK_AHEAD: usize = 9;

/// Blocks that wait: a beep found in one of them may still exclude those before it.
const WAITING: usize = LOOK_AHEAD + EXCLUDED_BEFORE + 1;

/// Half of the window in which the edge of a beep is sought: 1 ms, so the window holds two
/// cycles and is blind to what has twice or no part of the beep's frequency.
const EDGE_HALF: usize = 48;

/// The beep's full height is measured this long after it was noticed, past the codec's ringing.
const PLATEAU: std::ops::Range<usize> = 2 * BLOCK..7 * BLOCK;

/// Samples of one spectrum: 341 ms, 2.9 Hz a bin.
const SPECTRUM: usize = 16_384;

/// Sound that is off the clock by more than this is not the continuation of what came before.
const MAX_STEP: MediaTime = MediaTime::from_millis(5);

/// What has been heard.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    /// Sum of all sound, made up or not, and of silence in its place.
    pub(super) heard: MediaTime,
    pub(super) concealed: MediaTime,
    /// When the latest sound came.
    pub(super) last_arrival: Option<MediaTime>,
    /// When the beeps began, by the sender's clock.
    pub(super) beeps: VecDeque<MediaTime>,
    /// Mean square of each channel outside beeps.
    power: [f64; 2],
    n_blocks: u64,
    spectrum: Spectrum,
    /// The block that is being filled.
    filling: Block,
    /// When the next sample is due, by the sender's clock.
    expected: Option<MediaTime>,
    waiting: VecDeque<Block>,
    /// Whether the block looked at last beeps, and how many in a row before it do not.
    beeping: bool,
    n_quiet: usize,
    /// How many in a row up to the block looked at last are not concealed.
    n_clean: usize,
    /// Blocks to come that are still to be excluded.
    n_excluded: usize,
}

/// 10 ms of sound.
#[derive(Clone, Debug, Default)]
struct Block {
    /// Interleaved, up to [`BLOCK`] × 2 samples.
    samples: Vec<f32>,
    /// Of the first sample.
    taken: Option<MediaTime>,
    concealed: bool,
    beeps: bool,
    excluded: bool,
}

impl Hearing {
    pub(super) fn handle_sound(&mut self, sound: &Sound<'_>) {
        let n_samples = sound.samples.len() / 2;
        let duration = after(n_samples);
        self.heard += duration;
        self.last_arrival = Some(sound.arrival);
        if sound.concealed {
            self.concealed += duration;
        }
        if let (Some(expected), Some(taken)) = (self.expected, sound.taken)
            && (taken - expected).abs() > MAX_STEP
        {
            self.start_anew();
        }
        self.expected = sound.taken.map(|taken| taken + duration);

        let mut rest = sound.samples;
        while rest.len() >= 2 {
            if self.filling.samples.is_empty() {
                let n_done = (sound.samples.len() - rest.len()) / 2;
                self.filling.taken = sound.taken.map(|taken| taken + after(n_done));
            }
            let n_wanted = BLOCK * 2 - self.filling.samples.len();
            let (now, later) = rest.split_at(n_wanted.min(rest.len() & !1));
            self.filling.samples.extend_from_slice(now);
            self.filling.concealed |= sound.concealed;
            rest = later;
            if self.filling.samples.len() == BLOCK * 2 {
                let block = std::mem::take(&mut self.filling);
                self.handle_block(block);
            }
        }
    }

    pub(super) fn handle_silence(&mut self, duration: MediaTime) {
        self.heard += duration;
        self.concealed += duration;
    }

    /// Frequency of the strongest tone in hertz; `None` before [`SPECTRUM`] samples without beeps.
    pub(super) fn dominant_hz(&self) -> Option<f64> {
        self.spectrum.peak_hz()
    }

    /// RMS of left and right outside beeps, where a full-scale square wave has 0 dBFS.
    pub(super) fn levels_dbfs(&self) -> Option<[f64; 2]> {
        let n_blocks = self.n_blocks as f64;
        (self.n_blocks > 0).then(|| self.power.map(|power| 10.0 * (power / n_blocks).max(1e-12).log10()))
    }

    /// What waits belongs to another place of the sound than what comes.
    fn start_anew(&mut self) {
        self.filling = Block::default();
        self.waiting.clear();
        self.spectrum.interrupt();
        self.beeping = false;
        self.n_quiet = 0;
        self.n_clean = 0;
        self.n_excluded = 0;
    }

    fn handle_block(&mut self, mut block: Block) {
        block.beeps = is_beep(&block.samples);
        block.excluded = self.n_excluded > 0;
        self.n_excluded = self.n_excluded.saturating_sub(1);
        self.waiting.push_back(block);
        self.seek_beep();
        if self.waiting.len() > WAITING
            && let Some(settled) = self.waiting.pop_front()
        {
            self.handle_settled(&settled);
        }
    }

    /// Looks at the one block that has exactly [`LOOK_AHEAD`] others after it.
    fn seek_beep(&mut self) {
        let Some(i) = self.waiting.len().checked_sub(LOOK_AHEAD + 1) else { return };
        let beeps = self.waiting[i].beeps && self.waiting[i + 1].beeps;
        let (starts, n_quiet) = (beeps && !self.beeping, self.n_quiet);
        self.beeping = beeps;
        self.n_quiet = if beeps { 0 } else { self.n_quiet + 1 };
        self.n_clean = if self.waiting[i].concealed { 0 } else { self.n_clean + 1 };
        if !starts {
            return;
        }
        let first = i.saturating_sub(EXCLUDED_BEFORE);
        self.waiting.range_mut(first..).for_each(|block| block.excluded = true);
        self.n_excluded = EXCLUDED_AFTER - LOOK_AHEAD;
        let around = self.waiting.range(first..);
        let is_clean = self.n_clean > CLEAN_BLOCKS && !around.clone().any(|block| block.concealed);
        if n_quiet < QUIET_BLOCKS || !is_clean {
            return;
        }
        let mono: Vec<f64> = around.clone().flat_map(|block| mono(&block.samples)).collect();
        let taken = around.clone().next().and_then(|block| block.taken);
        if let (Some(taken), Some(edge)) = (taken, find_edge(&mono, (i - first) * BLOCK)) {
            if self.beeps.len() == MAX_REMEMBERED {
                self.beeps.pop_front();
            }
            let nanos = (edge * 1e9 / f64::from(SAMPLE_RATE)) as i64;
            self.beeps.push_back(taken + MediaTime::from_nanos(nanos));
        }
    }

    fn handle_settled(&mut self, block: &Block) {
        if block.excluded || block.concealed {
            self.spectrum.interrupt();
            return;
        }
        for pair in block.samples.chunks_exact(2) {
            for (power, sample) in self.power.iter_mut().zip(pair) {
                *power += f64::from(*sample).powi(2) / BLOCK as f64;
            }
        }
        self.n_blocks += 1;
        self.spectrum.handle_samples(mono(&block.samples));
    }
}

/// Power by frequency, summed over stretches of sound without gaps.
#[derive(Debug, Default)]
struct Spectrum {
    stretch: Vec<f64>,
    power: Vec<f64>,
}

impl Spectrum {
    fn interrupt(&mut self) {
        self.stretch.clear();
    }

    fn handle_samples(&mut self, samples: impl Iterator<Item = f64>) {
        self.stretch.extend(samples);
        if self.stretch.len() < SPECTRUM {
            return;
        }
        self.stretch.truncate(SPECTRUM);
        for (i, sample) in self.stretch.iter_mut().enumerate() {
            // A Hann window: without it a strong tone between two bins hides all others.
            *sample *= 0.5 - 0.5 * (TAU * i as f64 / SPECTRUM as f64).cos();
        }
        let transform = RealFftPlanner::new().plan_fft_forward(SPECTRUM);
        let mut bins = transform.make_output_vec();
        transform.process(&mut self.stretch, &mut bins).expect("both have the size the plan asks for");
        self.power.resize(bins.len(), 0.0);
        for (power, bin) in self.power.iter_mut().zip(&bins) {
            *power += bin.norm_sqr();
        }
        self.stretch.clear();
    }

    fn peak_hz(&self) -> Option<f64> {
        // The first bins are what is not sound: an offset, and its leakage.
        let (bin, power) = self.power.iter().enumerate().skip(3).max_by(|a, b| a.1.total_cmp(b.1))?;
        if *power <= f64::MIN_POSITIVE {
            return None;
        }
        // A parabola through the logarithms finds the top between bins.
        let [below, top, above] =
            [bin - 1, bin, bin + 1].map(|i| self.power.get(i).map_or(0.0, |power| power.max(1e-30).ln()));
        let curve = below - 2.0 * top + above;
        let shift = if curve < 0.0 { ((below - above) / (2.0 * curve)).clamp(-0.5, 0.5) } else { 0.0 };
        Some((bin as f64 + shift) * f64::from(SAMPLE_RATE) / SPECTRUM as f64)
    }
}

/// Whether most of a block is the beep's tone.
fn is_beep(samples: &[f32]) -> bool {
    let (mut re, mut im, mut power) = (0.0, 0.0, 0.0);
    for (i, sample) in mono(samples).enumerate() {
        let (sin, cos) = beep_phase(i).sin_cos();
        re += sample * cos;
        im += sample * sin;
        power += sample * sample;
    }
    // A sine of amplitude a has the power a²/2 and the sum a·n/2.
    let n_samples = BLOCK as f64;
    let tone = 2.0 * (re * re + im * im) / (n_samples * n_samples);
    tone >= BEEP_FLOOR * BEEP_FLOOR && tone >= BEEP_SHARE * power / n_samples
}

/// Where in `sound` the beep begins that block `noticed` has in it, in samples.
///
/// The amplitude at the beep's frequency in a sliding window grows in a straight line while the
/// window enters the beep, so it passes half of its full height when its middle is at the edge.
/// What a codec smears over the edge is the same on both sides of that.
fn find_edge(sound: &[f64], noticed: usize) -> Option<f64> {
    let mut sums = Vec::with_capacity(sound.len() + 1);
    let (mut re, mut im) = (0.0, 0.0);
    sums.push((re, im));
    for (i, sample) in sound.iter().enumerate() {
        let (sin, cos) = beep_phase(i).sin_cos();
        re += sample * cos;
        im += sample * sin;
        sums.push((re, im));
    }
    let amplitude = |center: usize| {
        let (from, to) = (sums[center - EDGE_HALF], sums[center + EDGE_HALF]);
        (to.0 - from.0).hypot(to.1 - from.1) / EDGE_HALF as f64
    };
    let plateau = noticed + PLATEAU.start..(noticed + PLATEAU.end).min(sound.len() - EDGE_HALF);
    let n_samples = plateau.len();
    if n_samples == 0 {
        return None;
    }
    let half = plateau.clone().map(amplitude).sum::<f64>() / n_samples as f64 / 2.0;
    let below = (EDGE_HALF..plateau.start).rev().find(|&center| amplitude(center) < half)?;
    let (low, high) = (amplitude(below), amplitude(below + 1));
    (high >= half).then(|| below as f64 + (half - low) / (high - low))
}

fn beep_phase(i: usize) -> f64 {
    TAU * BEEP_HZ * i as f64 / f64::from(SAMPLE_RATE)
}

fn mono(samples: &[f32]) -> impl Iterator<Item = f64> {
    samples.chunks_exact(2).map(|pair| f64::midpoint(f64::from(pair[0]), f64::from(pair[1])))
}

fn after(n_samples: usize) -> MediaTime {
    MediaTime::from_ticks(i64::try_from(n_samples).unwrap_or(i64::MAX), SAMPLE_RATE)
}
