//! 20 ms of sound after the other → the factor that brings a whole item to one loudness.
//!
//! The loudness is measured by EBU R 128 while the sound comes by, `LOOKAHEAD_SLOTS` before it
//! is heard: so an item begins at a factor that fits, and what is learned later arrives so
//! slowly that nobody hears it. A loud passage is not made quieter than the rest, because the
//! measure is that of everything so far. Of an item that has been measured before, one factor
//! does for all of it.

use ebur128::{EbuR128, Mode};

use crate::media::codec::opus::{CHANNELS, SAMPLE_RATE};

/// Slots of 20 ms that are measured before the first of them is heard: 3 s, the window of the
/// short-term loudness.
const LOOKAHEAD_SLOTS: usize = 150;
/// Slots between two looks at the meter.
const LOOK_EVERY: u32 = 10;
/// The farthest correction, either way: quieter than that is not meant to be loud.
const FARTHEST_DB: f64 = 20.0;
/// A correction that nobody hears is not worth an encoding.
const INAUDIBLE_DB: f64 = 0.5;
/// What is taken for silence, which has no loudness.
const SILENCE_LUFS: f64 = -60.0;
/// The loudest sample after a correction upwards, in dB below full scale.
const HIGHEST_PEAK_DB: f64 = -1.0;
/// How fast the correction moves once the item is heard: a decibel in two seconds.
const STEP_DB: f64 = 0.5 * 0.02;

/// How loud an item is, all of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loudness {
    /// Integrated loudness by EBU R 128.
    pub lufs: f64,
    /// The farthest sample from zero; 1 is full scale.
    pub peak: f64,
}

impl Loudness {
    /// By how many decibels it has to be changed to come to `target_lufs`.
    fn correction(self, target_lufs: f64) -> f64 {
        let room = (HIGHEST_PEAK_DB - 20.0 * self.peak.max(1e-6).log10()).max(0.0);
        let wanted = (target_lufs - self.lufs).min(room).clamp(-FARTHEST_DB, FARTHEST_DB);
        if wanted.abs() < INAUDIBLE_DB { 0.0 } else { wanted }
    }
}

/// The meter of one item.
pub struct Leveler {
    /// Nothing where the loudness is known.
    meter: Option<EbuR128>,
    target_lufs: f64,
    /// What the loudness so far asks for.
    wanted_db: f64,
    /// What is applied.
    applied_db: f64,
    /// Nothing has been heard since the start or a seek: the correction need not creep.
    fresh: bool,
    until_look: u32,
}

impl std::fmt::Debug for Leveler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { target_lufs, wanted_db, applied_db, .. } = self;
        f.debug_struct("Leveler")
            .field("target_lufs", target_lufs)
            .field("wanted_db", wanted_db)
            .field("applied_db", applied_db)
            .finish_non_exhaustive()
    }
}

impl Leveler {
    /// Brings an item to `target_lufs`, which is measured while it comes by.
    pub fn new(target_lufs: f64) -> Self {
        // The histogram keeps days of sound in a fixed space.
        let mode = Mode::I | Mode::SAMPLE_PEAK | Mode::HISTOGRAM;
        let meter = EbuR128::new(CHANNELS as u32, SAMPLE_RATE, mode).expect("a meter for stereo at 48 kHz");
        Self { meter: Some(meter), target_lufs, wanted_db: 0.0, applied_db: 0.0, fresh: true, until_look: 0 }
    }

    /// The same for an item whose loudness is known: nothing is measured, and nothing creeps.
    pub fn knowing(target_lufs: f64, loudness: Loudness) -> Self {
        let wanted_db = loudness.correction(target_lufs);
        Self { meter: None, target_lufs, wanted_db, applied_db: 0.0, fresh: true, until_look: 0 }
    }

    /// How many slots have to be ready before the first of them is heard, for it to begin right.
    pub const fn lookahead_slots(&self) -> usize {
        if self.meter.is_some() { LOOKAHEAD_SLOTS } else { 0 }
    }

    /// Measures interleaved stereo at 48 kHz that is heard later.
    pub fn measure(&mut self, stereo: &[f32]) {
        let Some(meter) = &mut self.meter else { return };
        if meter.add_frames_f32(stereo).is_err() {
            // Only a wrong number of samples is refused, and nothing is lost by leaving it out.
            return;
        }
        if self.until_look > 0 && !self.fresh {
            self.until_look -= 1;
            return;
        }
        self.until_look = LOOK_EVERY;
        self.wanted_db =
            self.measured().map_or(self.wanted_db, |loudness| loudness.correction(self.target_lufs));
    }

    /// How loud everything is that was measured; nothing for silence, and where nothing is measured.
    pub fn measured(&self) -> Option<Loudness> {
        let meter = self.meter.as_ref()?;
        let lufs = meter.loudness_global().ok().filter(|loudness| *loudness > SILENCE_LUFS)?;
        let peak = meter.sample_peak(0).ok()?.max(meter.sample_peak(1).ok()?);
        Some(Loudness { lufs, peak })
    }

    /// The factor at the end of the slot that is heard next; exactly 1 where nothing is to be
    /// corrected.
    pub fn next_factor(&mut self) -> f32 {
        let step = if std::mem::take(&mut self.fresh) { f64::INFINITY } else { STEP_DB };
        self.applied_db += (self.wanted_db - self.applied_db).clamp(-step, step);
        if self.applied_db == 0.0 { 1.0 } else { 10.0_f64.powf(self.applied_db / 20.0) as f32 }
    }

    /// The item goes on at another place; what is known of its loudness stays.
    pub fn restart(&mut self) {
        self.fresh = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: usize = 960;

    /// 1 kHz, in which a stereo sine of −18 dBFS (RMS) has −15 LUFS or so.
    fn slot(nth: usize, amplitude: f32) -> Vec<f32> {
        let sample = |n: usize| amplitude * (std::f32::consts::TAU * 1000.0 * n as f32 / 48_000.0).sin();
        (nth * SLOT..(nth + 1) * SLOT).flat_map(|n| [sample(n), sample(n)]).collect()
    }

    /// Plays slots of these amplitudes and returns the loudness of what is heard from `from` on.
    fn play(leveler: &mut Leveler, amplitudes: &[f32], from: usize) -> (f64, Vec<f32>) {
        let mut heard = EbuR128::new(2, SAMPLE_RATE, Mode::I).unwrap();
        let (mut factors, mut ahead) = (Vec::new(), 0);
        for nth in 0..amplitudes.len() {
            while ahead < (nth + LOOKAHEAD_SLOTS).min(amplitudes.len()) {
                leveler.measure(&slot(ahead, amplitudes[ahead]));
                ahead += 1;
            }
            let factor = leveler.next_factor();
            factors.push(factor);
            let samples: Vec<f32> = slot(nth, amplitudes[nth]).iter().map(|sample| sample * factor).collect();
            if nth >= from {
                heard.add_frames_f32(&samples).unwrap();
            }
        }
        (heard.loudness_global().unwrap(), factors)
    }

    #[test]
    fn loud_and_quiet_items_come_out_alike_from_their_first_slot_on() {
        for amplitude in [0.9, 0.3, 0.04] {
            let mut leveler = Leveler::new(-16.0);
            let (loudness, factors) = play(&mut leveler, &vec![amplitude; 500], 0);
            assert!((loudness + 16.0).abs() < 0.6, "{amplitude}: {loudness}");
            assert!((factors[0] - factors[499]).abs() < 0.05 * factors[0], "it does not wander");
        }
    }

    #[test]
    fn what_is_known_is_right_from_the_first_slot_to_the_last() {
        // Quiet at first and loud later: whoever measures meanwhile begins too loud.
        let amplitudes: Vec<f32> = [vec![0.05; 200], vec![0.3; 300]].concat();
        let mut measuring = Leveler::new(-16.0);
        play(&mut measuring, &amplitudes, 0);
        let known = measuring.measured().expect("it is not silent");
        assert!((known.peak - 0.3).abs() < 0.01, "{known:?}");
        let mut leveler = Leveler::knowing(-16.0, known);
        assert_eq!(leveler.lookahead_slots(), 0);
        let (loudness, factors) = play(&mut leveler, &amplitudes, 0);
        assert!((loudness + 16.0).abs() < 0.2, "{loudness}");
        assert!(factors.iter().all(|factor| *factor == factors[0]));
        assert_eq!(leveler.measured(), None);
        assert_eq!(Leveler::new(-16.0).measured(), None, "silence has no loudness");
    }

    #[test]
    fn what_is_learned_later_arrives_slowly() {
        let mut leveler = Leveler::new(-16.0);
        let amplitudes: Vec<f32> = [vec![0.05; 400], vec![0.8; 1_500]].concat();
        let (_, factors) = play(&mut leveler, &amplitudes, 0);
        let step = |two: &[f32]| 20.0 * (two[1] / two[0]).log10();
        assert!(factors.windows(2).all(|two| step(two).abs() <= STEP_DB as f32 + 1e-3));
        assert!(factors[0] > 3.0 * factors[1_899], "and it does arrive");
    }

    #[test]
    fn silence_stays_and_what_is_right_is_not_touched() {
        let mut leveler = Leveler::new(-16.0);
        for _ in 0..300 {
            leveler.measure(&vec![0.0; 2 * SLOT]);
            assert_eq!(leveler.next_factor(), 1.0);
        }
        // A stereo sine of this amplitude has −16 LUFS.
        let mut leveler = Leveler::new(-16.0);
        let (_, factors) = play(&mut leveler, &vec![0.158; 500], 0);
        assert!(factors.iter().all(|factor| *factor == 1.0), "{:?}", &factors[..3]);
    }

    #[test]
    fn a_quiet_item_with_a_peak_is_not_driven_into_the_ceiling() {
        let mut leveler = Leveler::new(-16.0);
        let amplitudes: Vec<f32> = (0..500).map(|nth| if nth == 20 { 0.5 } else { 0.02 }).collect();
        let (_, factors) = play(&mut leveler, &amplitudes, 0);
        assert!(factors.iter().all(|factor| 0.5 * factor < 0.9), "{}", factors[0]);
        assert!(factors[0] > 1.5);
    }
}
