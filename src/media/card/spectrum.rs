//! Sound → how strong its low and high tones are, as bars.

use std::collections::VecDeque;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

use crate::media::codec::opus::{CHANNELS, SAMPLE_RATE};

/// Bars, from the lowest tones to the highest.
pub(super) const N_BARS: usize = 28;
/// The tones of the first and of the last bar, in hertz: what music is made of.
const LOWEST: f32 = 50.0;
const HIGHEST: f32 = 14_000.0;
/// Samples that are looked at: 85 ms.
const WINDOW: usize = 4096;
/// Decibels below full scale at which a bar begins and at which it is as high as it gets.
const RANGE: (f32, f32) = (-60.0, -16.0);
/// Music has less power the higher its tones are; so many decibels per octave make up for it.
const TILT: f32 = 3.0;
/// How much a bar falls from one look to the next, at most.
const FALL: f32 = 0.22;

/// The last sounds, and the bars that were shown.
pub(super) struct Spectrum {
    transform: Arc<dyn RealToComplex<f32>>,
    weights: Vec<f32>,
    recent: VecDeque<f32>,
    bars: [f32; N_BARS],
}

impl Default for Spectrum {
    #[expect(clippy::cast_precision_loss, reason = "a window has thousands of samples")]
    fn default() -> Self {
        // Hann's window; a tone of full scale comes out as 1.
        let weight = |n: usize| {
            let turn = std::f32::consts::TAU * n as f32 / WINDOW as f32;
            (1.0 - turn.cos()) * 2.0 / WINDOW as f32
        };
        Self {
            transform: RealFftPlanner::new().plan_fft_forward(WINDOW),
            weights: (0..WINDOW).map(weight).collect(),
            recent: VecDeque::from(vec![0.0; WINDOW]),
            bars: [0.0; N_BARS],
        }
    }
}

impl Spectrum {
    /// Takes interleaved stereo that is played at this volume.
    pub(super) fn hear(&mut self, samples: &[f32], volume: f32) {
        #[expect(clippy::cast_precision_loss, reason = "two")]
        let mono = |both: &[f32]| both.iter().sum::<f32>() / CHANNELS as f32 * volume;
        self.recent.extend(samples.chunks_exact(CHANNELS).map(mono));
        let excess = self.recent.len() - WINDOW;
        self.recent.drain(..excess);
    }

    /// Forgets what was heard.
    pub(super) fn restart(&mut self) {
        self.recent.iter_mut().for_each(|sample| *sample = 0.0);
        self.bars = [0.0; N_BARS];
    }

    /// How high the bars are now, 0 to 1. They rise at once and fall slowly.
    pub(super) fn bars(&mut self) -> &[f32; N_BARS] {
        let mut input: Vec<f32> = self.recent.iter().zip(&self.weights).map(|(s, w)| s * w).collect();
        let mut tones = self.transform.make_output_vec();
        // Both have the lengths that the transform asked for.
        if self.transform.process(&mut input, &mut tones).is_ok() {
            for (bar, height) in self.bars.iter_mut().zip(heights(&tones)) {
                *bar = height.max(*bar - FALL);
            }
        }
        &self.bars
    }
}

fn heights(tones: &[Complex<f32>]) -> impl Iterator<Item = f32> {
    (0..N_BARS).map(|n| {
        let (low, high) = (edge(n), edge(n + 1));
        let bins = bin(low)..=bin(high).max(bin(low));
        let strongest =
            tones.get(bins).unwrap_or_default().iter().map(|tone| tone.norm()).fold(0.0, f32::max);
        let decibels = 20.0 * strongest.max(1e-9).log10() + TILT * (low / 1000.0).log2();
        let height = (decibels - RANGE.0) / (RANGE.1 - RANGE.0);
        // A sample that is no number is as good as none.
        if height.is_finite() { height.clamp(0.0, 1.0) } else { 0.0 }
    })
}

/// The lowest tone of bar `n`.
#[expect(clippy::cast_precision_loss, reason = "there are few bars")]
fn edge(n: usize) -> f32 {
    LOWEST * (HIGHEST / LOWEST).powf(n as f32 / N_BARS as f32)
}

#[expect(clippy::cast_precision_loss, reason = "a window has thousands of samples")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below half the window")]
fn bin(hertz: f32) -> usize {
    (hertz * WINDOW as f32 / SAMPLE_RATE as f32).round() as usize
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// 20 ms of a tone on both sides.
    pub(in crate::media::card) fn tone(hertz: f32, volume: f32, nth: usize) -> Vec<f32> {
        let sample = |n: usize| {
            let at = (nth * 960 + n) as f32 / 48_000.0;
            volume * (std::f32::consts::TAU * hertz * at).sin()
        };
        (0..960).flat_map(|n| [sample(n); 2]).collect()
    }

    #[test]
    fn the_bar_of_a_tone_is_the_highest() {
        for hertz in [60.0, 440.0, 1000.0, 8000.0_f32] {
            let mut spectrum = Spectrum::default();
            for nth in 0..6 {
                spectrum.hear(&tone(hertz, 0.5, nth), 1.0);
            }
            let bars = *spectrum.bars();
            let highest = (0..N_BARS).max_by(|a, b| bars[*a].total_cmp(&bars[*b])).unwrap();
            let range = edge(highest) * 0.75..edge(highest + 1) * 1.3;
            assert!(range.contains(&hertz), "{hertz} Hz: bar {highest} of {range:?}");
            assert!(bars[highest] > 0.6, "{hertz} Hz: {bars:?}");
            let far = (highest + N_BARS / 2) % N_BARS;
            assert!(bars[far] < 0.3, "{hertz} Hz: {bars:?}");
        }
    }

    #[test]
    fn silence_falls_to_nothing_and_volume_counts() {
        let mut spectrum = Spectrum::default();
        (0..6).for_each(|nth| spectrum.hear(&tone(440.0, 0.5, nth), 1.0));
        let loud: f32 = spectrum.bars().iter().sum();
        (0..6).for_each(|_| spectrum.hear(&[0.0; 1920], 1.0));
        let falling: f32 = spectrum.bars().iter().sum();
        assert!(falling > 0.0 && falling < loud, "{loud}, then {falling}");
        for _ in 0..5 {
            spectrum.bars();
        }
        assert_eq!(spectrum.bars(), &[0.0; N_BARS]);
        (0..6).for_each(|nth| spectrum.hear(&tone(440.0, 0.5, nth), 0.1));
        let quiet: f32 = spectrum.bars().iter().sum();
        assert!(quiet > 0.0 && quiet < 0.8 * loud, "{quiet} of {loud}");
        spectrum.restart();
        assert_eq!(spectrum.bars(), &[0.0; N_BARS]);
        spectrum.hear(&[f32::NAN; 1920], 1.0);
        assert!(spectrum.bars().iter().all(|bar| *bar == 0.0));
    }
}
