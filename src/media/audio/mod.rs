//! Decoded sound: from whatever a file has to 48 kHz stereo on the 20 ms grid of an item.
//!
//! ```text
//! AudioBuffer ─ to_stereo ─► Resampler ─► Grid ─► Slot (20 ms)
//! ```

pub mod downmix;
pub mod grid;
pub mod loudness;
pub mod resample;
pub mod stretch;

pub use downmix::{Downmix, Place};
pub use grid::{Grid, Slot};
pub use loudness::{Leveler, Loudness};
pub use resample::{ResampleError, Resampler};
pub use stretch::Stretcher;

use crate::time::MediaTime;

/// Decoded sound and when it is heard.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioBuffer {
    /// When the first sample is heard, on the clock of the file.
    pub start: MediaTime,
    /// Samples per second and channel.
    pub rate: u32,
    /// How many samples stand for one instant.
    pub channels: u16,
    /// Interleaved, full scale ±1.
    pub samples: Vec<f32>,
}

impl AudioBuffer {
    /// Samples per channel.
    pub fn len(&self) -> usize {
        self.samples.len() / usize::from(self.channels.max(1))
    }

    /// No sound at all.
    pub const fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Throws away `front` samples per channel from the start, and so starts later, and `back`
    /// from the end.
    pub fn trim(&mut self, front: usize, back: usize) {
        let len = self.len();
        let front = front.min(len);
        let back = back.min(len - front);
        let channels = usize::from(self.channels.max(1));
        self.samples.truncate((len - back) * channels);
        self.samples.drain(..front * channels);
        self.start += MediaTime::from_ticks(i64::try_from(front).unwrap_or(i64::MAX), self.rate);
    }

    /// The same sound with two channels: mono on both sides, the first two of more.
    pub fn into_stereo(mut self) -> Self {
        match self.channels {
            2 => {}
            1 => self.samples = self.samples.iter().flat_map(|&sample| [sample, sample]).collect(),
            n => {
                let frames = self.samples.chunks_exact(usize::from(n.max(1)));
                self.samples =
                    frames.flat_map(|frame| [frame[0], *frame.get(1).unwrap_or(&frame[0])]).collect();
            }
        }
        self.channels = 2;
        self
    }
}

/// Scales interleaved stereo while the factor goes from `from` to `to` in a straight line.
pub fn apply_gain(stereo: &mut [f32], from: f32, to: f32) {
    let n_steps = (stereo.len() / 2).max(1) as f32;
    for (n, frame) in stereo.chunks_exact_mut(2).enumerate() {
        let gain = from + (to - from) * (n as f32 + 1.0) / n_steps;
        frame[0] *= gain;
        frame[1] *= gain;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(channels: u16, samples: &[f32]) -> AudioBuffer {
        AudioBuffer { start: MediaTime::ZERO, rate: 48_000, channels, samples: samples.to_vec() }
    }

    #[test]
    fn trimming_moves_the_start() {
        let mut sound = buffer(2, &[1., 2., 3., 4., 5., 6., 7., 8.]);
        sound.trim(1, 2);
        assert_eq!(sound.samples, [3., 4.]);
        assert_eq!(sound.start, MediaTime::from_ticks(1, 48_000));
        sound.trim(9, 9);
        assert!(sound.is_empty());
        assert_eq!(sound.start, MediaTime::from_ticks(2, 48_000));
    }

    #[test]
    fn becomes_stereo() {
        assert_eq!(buffer(1, &[1., 2.]).into_stereo().samples, [1., 1., 2., 2.]);
        assert_eq!(buffer(2, &[1., 2.]).into_stereo().samples, [1., 2.]);
        assert_eq!(buffer(3, &[1., 2., 9., 3., 4., 9.]).into_stereo().samples, [1., 2., 3., 4.]);
    }

    #[test]
    fn gain_arrives_where_it_was_sent() {
        let mut sound = [1.0_f32; 8];
        apply_gain(&mut sound, 1.0, 0.0);
        assert_eq!(sound, [0.75, 0.75, 0.5, 0.5, 0.25, 0.25, 0.0, 0.0]);
    }
}
