//! Sound → the same sound faster or slower, at the same pitch.
//!
//! Sample `n` of a run comes out at `n × 100 / percent`, however long the run is.

use timestretch::{
    Parameters, PitchRatio, PreparedSession, ProcessStatus, RatePolicy, RatioConstraint, SessionConfig,
    SessionError, StreamSession, TempoRate,
};

use crate::media::codec::opus::{CHANNELS, SAMPLE_RATE};

/// Why sound cannot be stretched.
#[derive(Debug, thiserror::Error)]
#[error("the time stretcher failed: {0}")]
pub struct StretchError(#[from] SessionError);

/// Stages of work between two looks at what has come out.
const QUOTA: usize = 32;
/// Samples per channel that are taken out at a time.
const BLOCK: usize = 1024;

/// One uninterrupted run of stereo at 48 kHz.
pub struct Stretcher {
    session: StreamSession,
    /// Input that has not been asked for yet.
    pending: Vec<f32>,
    block: Vec<f32>,
}

impl std::fmt::Debug for Stretcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stretcher").field("pending", &self.pending.len()).finish_non_exhaustive()
    }
}

impl Stretcher {
    /// At `percent` of the speed that it has.
    ///
    /// # Errors
    /// When the speed is out of range.
    pub fn new(percent: u16) -> Result<Self, StretchError> {
        let parameters = Parameters {
            tempo: TempoRate::new(f64::from(percent) / 100.0)?,
            pitch: PitchRatio::UNITY,
            // Places have to be right for hours; a few cents of the pitch are not heard.
            constraint: RatioConstraint::PreserveDuration,
        };
        let config = SessionConfig {
            source_sample_rate: SAMPLE_RATE,
            output_sample_rate: SAMPLE_RATE,
            channels: CHANNELS,
            rate_policy: RatePolicy::NativeOnly,
            parameters,
            ..SessionConfig::default()
        };
        let session = PreparedSession::new(config)?.activate();
        Ok(Self { session, pending: Vec::new(), block: vec![0.0; BLOCK * CHANNELS] })
    }

    /// Takes interleaved stereo and appends what comes of it so far to `out`.
    ///
    /// # Errors
    /// When the stretcher fails, which is a bug of its own.
    pub fn push(&mut self, stereo: &[f32], out: &mut Vec<f32>) -> Result<(), StretchError> {
        // A damaged packet may decode to anything.
        self.pending.extend(stereo.iter().map(|sample| if sample.is_finite() { *sample } else { 0.0 }));
        self.work(false, out)
    }

    /// Ends the run: appends what is left.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(mut self, out: &mut Vec<f32>) -> Result<(), StretchError> {
        self.work(true, out)
    }

    fn work(&mut self, is_end: bool, out: &mut Vec<f32>) -> Result<(), StretchError> {
        while !self.session.finished() {
            match self.session.advance(QUOTA).status {
                ProcessStatus::Fault => {
                    return Err(self.session.fault().unwrap_or(SessionError::InvalidState).into());
                }
                ProcessStatus::NeedSource if !self.pending.is_empty() => {
                    let request = self.session.source_request().ok_or(SessionError::InvalidState)?;
                    let n_samples = self.pending.len().min(request.frames * CHANNELS);
                    let n_frames = self.session.supply(request, &self.pending[..n_samples])?;
                    self.pending.drain(..n_frames * CHANNELS);
                }
                ProcessStatus::NeedSource if is_end => self.session.finish_input()?,
                ProcessStatus::NeedSource => {
                    self.read(out)?;
                    return Ok(());
                }
                _ => {}
            }
            self.read(out)?;
        }
        Ok(())
    }

    fn read(&mut self, out: &mut Vec<f32>) -> Result<(), StretchError> {
        loop {
            let stamp = self.session.read_output(&mut self.block)?;
            if stamp.frames == 0 {
                return Ok(());
            }
            out.extend_from_slice(&self.block[..stamp.frames * CHANNELS]);
            self.session.acknowledge(stamp.consumed(stamp.frames)?)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretched(percent: u16, stereo: &[f32]) -> Vec<f32> {
        let (mut stretcher, mut out) = (Stretcher::new(percent).unwrap(), Vec::new());
        for packet in stereo.chunks(1_920) {
            stretcher.push(packet, &mut out).unwrap();
        }
        stretcher.finish(&mut out).unwrap();
        out.iter().step_by(CHANNELS).copied().collect()
    }

    /// How loud a tone is in a sound, as the factor of a full sine (Goertzel).
    fn amplitude(sound: &[f32], frequency: f64) -> f64 {
        let turn = std::f64::consts::TAU * frequency / f64::from(SAMPLE_RATE);
        let (mut re, mut im) = (0.0, 0.0);
        for (n, sample) in sound.iter().enumerate() {
            let (sin, cos) = (turn * n as f64).sin_cos();
            re += f64::from(*sample) * cos;
            im += f64::from(*sample) * sin;
        }
        2.0 * re.hypot(im) / sound.len() as f64
    }

    #[test]
    fn the_pitch_stays_and_the_length_is_exact() {
        let n_samples = 4 * SAMPLE_RATE as usize;
        let chord: Vec<f32> = (0..n_samples)
            .flat_map(|n| {
                let tone = |f: f32| 0.3 * (std::f32::consts::TAU * f * n as f32 / SAMPLE_RATE as f32).sin();
                [tone(440.0) + tone(1000.0); CHANNELS]
            })
            .collect();
        for percent in [50, 80, 125, 150, 200] {
            let sound = stretched(percent, &chord);
            let expected = n_samples * 100 / usize::from(percent);
            assert!(sound.len().abs_diff(expected) <= 1, "{percent}: {} and not {expected}", sound.len());
            // 100 ms are short enough for a tone that is 0.3 % off.
            let middle = &sound[sound.len() / 2..][..SAMPLE_RATE as usize / 10];
            for frequency in [440.0, 1000.0] {
                let loud = amplitude(middle, frequency);
                assert!((loud - 0.3).abs() < 0.05, "{percent}: {frequency} Hz has {loud}");
            }
        }
    }

    #[test]
    fn what_happens_at_a_time_is_heard_at_that_time() {
        // A burst of 5 ms at every second.
        let burst = |n: usize| {
            let (nth, phase) = (n / SAMPLE_RATE as usize, n % SAMPLE_RATE as usize);
            let sine = (std::f32::consts::TAU * 3000.0 * phase as f32 / SAMPLE_RATE as f32).sin();
            if nth > 0 && phase < 240 { 0.5 * sine } else { 0.0 }
        };
        let stereo: Vec<f32> = (0..6 * SAMPLE_RATE as usize).flat_map(|n| [burst(n); CHANNELS]).collect();
        for (percent, tolerance_ms) in [(50, 3.0), (80, 1.5), (125, 1.5), (200, 1.5)] {
            let sound = stretched(percent, &stereo);
            for nth in 1..6 {
                let middle = (nth * SAMPLE_RATE as usize + 120) * 100 / usize::from(percent);
                let (mut energy, mut moment) = (0.0, 0.0);
                for (n, sample) in sound.iter().enumerate().skip(middle - 2400).take(4800) {
                    let power = f64::from(sample * sample);
                    energy += power;
                    moment += power * n as f64;
                }
                let off_ms = (moment / energy - middle as f64) / 48.0;
                assert!(off_ms.abs() < tolerance_ms, "{percent}: burst {nth} is {off_ms} ms off");
            }
        }
    }

    #[test]
    fn what_is_no_sound_does_no_harm() {
        assert!(stretched(150, &[f32::NAN; 9_600]).iter().all(|sample| sample.is_finite()));
        assert_eq!(stretched(150, &[]).len(), 0);
        assert!(Stretcher::new(2).is_err());
    }
}
