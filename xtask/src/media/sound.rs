//! Sample number → the sound of the clips: a 440 Hz bed and a 1 kHz beep in every second.

use std::f64::consts::{SQRT_2, TAU};

/// RMS level of the bed in dBFS, where 0 dBFS is an RMS of 1.0; the channels differ so that
/// nobody can mix or swap them unseen.
const LEFT_DBFS: f64 = -18.0;
const RIGHT_DBFS: f64 = -24.0;
/// RMS level of the beep, the same in both channels.
const BEEP_DBFS: f64 = -12.0;
const BEEP_HZ: f64 = 1000.0;
/// The beep is as long as the flash. It starts at its full height, with a zero crossing.
const BEEP_SECONDS: f64 = 0.1;
/// The beep fades in its last milliseconds, or it would end with a click.
const BEEP_FADE_SECONDS: f64 = 0.01;

/// The bed: frequency and amplitude relative to the 440 Hz tone. An organ pipe rather than a
/// test tone; all partials have whole cycles in each second, so the loop has no seam.
const ORGAN: &[(f64, f64)] = &[(440.0, 1.0), (220.0, 0.20), (660.0, 0.10), (1320.0, 0.05)];
/// The chords of the music clips, quiet above the same 440 Hz: A major, F sharp minor, D major, E.
const CHORDS: [[f64; 3]; 4] =
    [[220.0, 277.0, 330.0], [185.0, 277.0, 370.0], [147.0, 294.0, 370.0], [165.0, 247.0, 330.0]];
const CHORD_SECONDS: f64 = 2.0;
const CHORD_AMPLITUDE: f64 = 0.16;

/// What lies under the beeps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bed {
    Organ,
    Chords,
}

/// `seconds` of interleaved stereo samples as 16-bit little-endian PCM.
pub(crate) fn pcm(bed: Bed, rate: u32, seconds: u32) -> Vec<u8> {
    let left = gain(LEFT_DBFS) / rms(bed);
    let right = gain(RIGHT_DBFS) / rms(bed);
    let mut bytes = Vec::with_capacity((rate * seconds * 4) as usize);
    for i in 0..rate * seconds {
        let t = f64::from(i) / f64::from(rate);
        let (bed, beep) = (sample(bed, t), beep(f64::from(i % rate) / f64::from(rate)));
        for level in [left, right] {
            let value = ((bed * level + beep) * 32_768.0).round().clamp(-32_768.0, 32_767.0);
            bytes.extend_from_slice(&(value as i16).to_le_bytes());
        }
    }
    bytes
}

fn sample(bed: Bed, t: f64) -> f64 {
    match bed {
        Bed::Organ => ORGAN.iter().map(|(hz, amplitude)| amplitude * (TAU * hz * t).sin()).sum(),
        Bed::Chords => {
            let chord = CHORDS[(t / CHORD_SECONDS) as usize % CHORDS.len()];
            let breath = (t / CHORD_SECONDS).fract();
            let envelope = (TAU / 2.0 * breath).sin();
            let tones: f64 = chord.iter().map(|hz| (TAU * hz * t).sin()).sum();
            (TAU * 440.0 * t).sin() + CHORD_AMPLITUDE * envelope * tones
        }
    }
}

/// RMS of the bed before its gain; sines of different frequencies add their powers.
fn rms(bed: Bed) -> f64 {
    let power: f64 = match bed {
        Bed::Organ => ORGAN.iter().map(|(_, amplitude)| amplitude * amplitude / 2.0).sum(),
        // The envelope is half a sine, whose mean square is one half.
        Bed::Chords => 0.5 + 3.0 * CHORD_AMPLITUDE * CHORD_AMPLITUDE / 2.0 / 2.0,
    };
    power.sqrt()
}

fn beep(since_second: f64) -> f64 {
    if since_second >= BEEP_SECONDS {
        return 0.0;
    }
    let fade = ((BEEP_SECONDS - since_second) / BEEP_FADE_SECONDS).min(1.0);
    gain(BEEP_DBFS) * SQRT_2 * fade * (TAU * BEEP_HZ * since_second).sin()
}

fn gain(dbfs: f64) -> f64 {
    10_f64.powf(dbfs / 20.0)
}
