//! Any number of channels → two, by the coefficients of ITU-R BS.775.
//!
//! The center and the surround channels go to both or to their side 3 dB quieter; the
//! low-frequency channel is left out, as every player for two loudspeakers does. The sum is
//! scaled so that full scale in all channels stays full scale.

use std::f32::consts::FRAC_1_SQRT_2;

/// Where a channel's loudspeaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In front, on the left.
    Left,
    /// In front, on the right.
    Right,
    /// In front, in the middle; also mono.
    Center,
    /// Beside or behind, on the left.
    SurroundLeft,
    /// Beside or behind, on the right.
    SurroundRight,
    /// Behind, in the middle.
    SurroundCenter,
    /// Low frequencies, or a place that two loudspeakers leave out.
    LeftOut,
}

impl Place {
    /// How much of the channel each ear gets.
    const fn coefficients(self) -> [f32; 2] {
        match self {
            Self::Left => [1.0, 0.0],
            Self::Right => [0.0, 1.0],
            Self::Center => [FRAC_1_SQRT_2, FRAC_1_SQRT_2],
            Self::SurroundLeft => [FRAC_1_SQRT_2, 0.0],
            Self::SurroundRight => [0.0, FRAC_1_SQRT_2],
            Self::SurroundCenter => [0.5, 0.5],
            Self::LeftOut => [0.0, 0.0],
        }
    }
}

/// How the channels of one sound become two.
#[derive(Clone, Debug, PartialEq)]
pub struct Downmix {
    matrix: Vec<[f32; 2]>,
}

impl Downmix {
    /// For channels at these places, in the order of their samples.
    pub fn new(places: &[Place]) -> Self {
        let mut matrix: Vec<_> = places.iter().map(|place| place.coefficients()).collect();
        if let [Place::Center] = places {
            return Self { matrix: vec![[1.0, 1.0]] };
        }
        let sum = |ear: usize| matrix.iter().map(|row| row[ear]).sum::<f32>();
        let loudest = sum(0).max(sum(1));
        if loudest > 1.0 {
            matrix.iter_mut().flatten().for_each(|coefficient| *coefficient /= loudest);
        }
        Self { matrix }
    }

    /// How much each ear gets of every channel, in the order of the samples.
    pub fn matrix(&self) -> &[[f32; 2]] {
        &self.matrix
    }

    /// Interleaved samples of all channels → interleaved stereo.
    pub fn apply(&self, samples: &[f32]) -> Vec<f32> {
        let frames = samples.chunks_exact(self.matrix.len().max(1));
        let ear = |frame: &[f32], ear: usize| -> f32 {
            frame.iter().zip(&self.matrix).map(|(sample, row)| sample * row[ear]).sum()
        };
        frames.flat_map(|frame| [ear(frame, 0), ear(frame, 1)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Place::{Center, Left, LeftOut, Right, SurroundLeft, SurroundRight};

    #[test]
    fn stereo_and_mono_stay_as_they_are() {
        assert_eq!(Downmix::new(&[Left, Right]).apply(&[0.5, -0.25]), [0.5, -0.25]);
        assert_eq!(Downmix::new(&[Center]).apply(&[0.5, 0.25]), [0.5, 0.5, 0.25, 0.25]);
    }

    #[test]
    fn surround_keeps_its_proportions_and_never_clips() {
        let mix = Downmix::new(&[Left, Right, Center, LeftOut, SurroundLeft, SurroundRight]);
        let all = mix.apply(&[1.0; 6]);
        assert!(all.iter().all(|sample| (sample - 1.0).abs() < 1e-6), "{all:?}");
        let left = mix.apply(&[1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let center = mix.apply(&[0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
        let low = mix.apply(&[0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
        let behind = mix.apply(&[0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        assert!((left[0] - 1.0 / (1.0 + 2.0_f32.sqrt())).abs() < 1e-6 && left[1] == 0.0);
        assert!((center[0] / left[0] - FRAC_1_SQRT_2).abs() < 1e-6 && center[0] == center[1]);
        assert!(behind[0] == 0.0 && (behind[1] - center[1]).abs() < 1e-6);
        assert_eq!(low, [0.0, 0.0]);
    }
}
