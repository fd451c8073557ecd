//! Any sample rate → 48 kHz, with the filter's delay taken out: sample `n` of the input comes
//! out at `n × 48000 / rate`.

use audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

use crate::media::codec::opus::{CHANNELS, SAMPLE_RATE};

/// The rates of AAC and mp3, generously. A broken header must not ask for a gigantic filter.
const RATES: std::ops::RangeInclusive<u32> = 7_000..=192_000;
/// Samples per filter block, at least: long enough to keep everything up to 20 kHz.
const MIN_BLOCK: usize = 1024;

/// Why sound cannot be resampled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResampleError {
    /// No rate that sound has.
    #[error("the sample rate of {rate} Hz is outside 7 to 192 kHz")]
    Rate {
        /// The rate.
        rate: u32,
    },
    /// The filter cannot be built.
    #[error("cannot resample from {rate} Hz")]
    Filter {
        /// The rate.
        rate: u32,
        /// What the filter says.
        #[source]
        source: rubato::ResamplerConstructionError,
    },
}

/// One uninterrupted run of stereo after another.
pub struct Resampler {
    rate: u32,
    /// `None`: nothing to do.
    filter: Option<Fft<f32>>,
    /// Input that does not fill a block yet.
    pending: Vec<f32>,
    block: Vec<f32>,
    /// Samples per channel since the run began.
    n_in: u64,
    n_out: u64,
    /// Samples of the filter's delay that are still to be thrown away.
    skip: usize,
}

impl std::fmt::Debug for Resampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rate, n_in, n_out, .. } = self;
        f.debug_struct("Resampler")
            .field("rate", rate)
            .field("n_in", n_in)
            .field("n_out", n_out)
            .finish_non_exhaustive()
    }
}

impl Resampler {
    /// From `rate` to 48 kHz.
    ///
    /// # Errors
    /// When no sound has that rate.
    pub fn new(rate: u32) -> Result<Self, ResampleError> {
        Self::check(rate)?;
        let mut resampler =
            Self { rate, filter: None, pending: Vec::new(), block: Vec::new(), n_in: 0, n_out: 0, skip: 0 };
        if rate != SAMPLE_RATE {
            let (from, to) = (rate as usize, SAMPLE_RATE as usize);
            let unit = from / gcd(from, to);
            // An even number of units puts the middle of the filter on a whole sample.
            let block = unit * MIN_BLOCK.div_ceil(unit).next_multiple_of(2);
            let window = WindowFunction::BlackmanHarris2;
            let filter = Fft::new_custom(from, to, block, 1, CHANNELS, window, FixedSync::Both)
                .map_err(|source| ResampleError::Filter { rate, source })?;
            resampler.block = vec![0.0; filter.output_frames_max() * CHANNELS];
            resampler.skip = filter.output_delay();
            resampler.filter = Some(filter);
        }
        Ok(resampler)
    }

    /// Whether `rate` is one that sound has.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(rate: u32) -> Result<(), ResampleError> {
        if RATES.contains(&rate) { Ok(()) } else { Err(ResampleError::Rate { rate }) }
    }

    /// The rate of the input.
    pub const fn rate(&self) -> u32 {
        self.rate
    }

    /// Adds stereo to the run and appends to `out` what is ready.
    pub fn push(&mut self, stereo: &[f32], out: &mut Vec<f32>) {
        self.n_in += (stereo.len() / CHANNELS) as u64;
        let Some(filter) = &mut self.filter else {
            out.extend_from_slice(stereo);
            return;
        };
        self.pending.extend_from_slice(stereo);
        let needed = filter.input_frames_next() * CHANNELS;
        let mut used = 0;
        while self.pending.len() - used >= needed {
            let n_frames = filter_block(filter, &self.pending[used..used + needed], &mut self.block);
            used += needed;
            let skipped = self.skip.min(n_frames);
            self.skip -= skipped;
            self.n_out += (n_frames - skipped) as u64;
            out.extend_from_slice(&self.block[skipped * CHANNELS..n_frames * CHANNELS]);
        }
        self.pending.drain(..used);
    }

    /// Ends the run: appends the rest, so that the run is as long as its input to the sample,
    /// and makes ready for the next one.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        if let Some(n_block) = self.filter.as_ref().map(rubato::Resampler::input_frames_max) {
            let n_in = self.n_in;
            let wanted = (n_in * u64::from(SAMPLE_RATE)).div_ceil(u64::from(self.rate));
            let zeros = vec![0.0; n_block * CHANNELS];
            while self.n_out < wanted {
                self.push(&zeros, out);
            }
            let excess = usize::try_from(self.n_out - wanted).expect("at most one block too much");
            out.truncate(out.len() - excess * CHANNELS);
        }
        self.restart();
    }

    /// Forgets the run so far.
    pub fn restart(&mut self) {
        if let Some(filter) = &mut self.filter {
            filter.reset();
            self.skip = filter.output_delay();
        }
        self.pending.clear();
        (self.n_in, self.n_out) = (0, 0);
    }
}

/// Runs one block through the filter; samples per channel written to `block`.
fn filter_block(filter: &mut Fft<f32>, input: &[f32], block: &mut [f32]) -> usize {
    let n_in = input.len() / CHANNELS;
    let n_out = block.len() / CHANNELS;
    let source = InterleavedSlice::new(input, CHANNELS, n_in).expect("the input is whole stereo samples");
    let mut target =
        InterleavedSlice::new_mut(block, CHANNELS, n_out).expect("the block is whole stereo samples");
    let (_, written) = filter
        .process_into_buffer(&source, &mut target, None)
        .expect("input and output are as long as the filter asked for");
    written
}

const fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `input` through a fresh resampler in odd pieces.
    fn resampled(rate: u32, input: &[f32]) -> Vec<f32> {
        let mut resampler = Resampler::new(rate).unwrap();
        let mut out = Vec::new();
        for piece in input.chunks(2 * 701) {
            resampler.push(piece, &mut out);
        }
        resampler.finish(&mut out);
        out
    }

    #[test]
    fn an_impulse_comes_out_where_it_went_in() {
        for rate in [8_000, 11_025, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000] {
            for at in [0_usize, 1, 500, 5_000, 20_000] {
                let mut input = vec![0.0; 2 * 30_000];
                input[2 * at] = 1.0;
                let out = resampled(rate, &input);
                // The middle of what came out, between samples.
                let left: Vec<f64> = out.iter().step_by(2).map(|s| f64::from(*s)).collect();
                let peak = (0..left.len()).max_by(|a, b| left[*a].abs().total_cmp(&left[*b].abs())).unwrap();
                let expected = at as f64 * 48_000.0 / f64::from(rate);
                assert!(
                    (peak as f64 - expected).abs() <= 1.0,
                    "{rate} Hz: {at} came out at {peak}, not {expected}"
                );
                assert!(out.iter().skip(1).step_by(2).all(|right| right.abs() < 1e-6), "channels stay apart");
            }
        }
    }

    #[test]
    fn a_run_is_as_long_as_its_input() {
        for (rate, n_in, n_out) in
            [(44_100, 44_100, 48_000), (44_100, 1, 2), (24_000, 777, 1554), (96_000, 3, 2), (48_000, 5, 5)]
        {
            assert_eq!(resampled(rate, &vec![0.5; 2 * n_in]).len(), 2 * n_out, "{rate} Hz");
        }
        assert_eq!(resampled(44_100, &[]).len(), 0);
    }

    #[test]
    fn a_tone_keeps_its_level_and_its_phase() {
        let tone = |rate: f32, n: usize| (std::f32::consts::TAU * 1000.0 * n as f32 / rate).sin() * 0.5;
        let input: Vec<f32> = (0..44_100).flat_map(|n| [tone(44_100.0, n); 2]).collect();
        let out = resampled(44_100, &input);
        for n in 4_800..43_200 {
            assert!((out[2 * n] - tone(48_000.0, n)).abs() < 2e-3, "sample {n}");
        }
    }

    #[test]
    fn runs_do_not_leak_into_each_other() {
        let mut resampler = Resampler::new(44_100).unwrap();
        let mut out = Vec::new();
        resampler.push(&[1.0; 2 * 3000], &mut out);
        resampler.finish(&mut out);
        out.clear();
        resampler.push(&[0.0; 2 * 3000], &mut out);
        resampler.finish(&mut out);
        assert!(out.iter().all(|sample| *sample == 0.0));
    }

    #[test]
    fn absurd_rates_are_errors() {
        for rate in [0, 1, 6_999, 192_001, u32::MAX] {
            assert!(matches!(Resampler::new(rate), Err(ResampleError::Rate { .. })), "{rate}");
        }
    }
}
