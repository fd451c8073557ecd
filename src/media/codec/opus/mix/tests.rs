//! Two tones go over into each other, and a receiver decodes what comes of it.

use super::*;
use crate::media::codec::opus::{LOOKAHEAD, PRE_ROLL, SAMPLE_RATE};

const SLOT: usize = FRAME_SAMPLES;

/// So many slots come before the fade and after it.
const AROUND: usize = 50;
/// Slots of the second tone alone that the mixer makes.
const LEADING: usize = 2;

/// Packets of a tone at −9 dBFS.
fn tone(frequency: f32, n_packets: usize) -> Vec<Bytes> {
    let mut encoder = Encoder::new(EncoderOptions::default()).unwrap();
    let samples = (0..n_packets * SLOT).flat_map(|n| {
        let sample = 0.5 * (std::f32::consts::TAU * frequency * n as f32 / SAMPLE_RATE as f32).sin();
        [sample, sample]
    });
    let samples: Vec<f32> = samples.collect();
    samples.chunks(SLOT * CHANNELS).map(|frame| encoder.encode(frame).unwrap()).collect()
}

/// The packets of a fade of so many slots between two tones.
fn fade(first: f32, second: f32, n_slots: usize) -> Vec<Bytes> {
    let first = tone(first, AROUND + n_slots);
    let second = tone(second, n_slots + LEADING + AROUND);
    let recent = first[AROUND - PRE_ROLL..AROUND].iter().map(|packet| &packet[..]);
    let mut mixer = Mixer::new(n_slots as u32, recent).unwrap();
    let mut packets = first[..AROUND].to_vec();
    for nth in 0..n_slots + LEADING {
        let two = |nth: usize| [first[AROUND..].get(nth), second.get(nth)];
        packets.push(mixer.mix(nth as u32, two(nth), two(nth + 1)).unwrap().0);
    }
    packets.extend_from_slice(&second[n_slots + LEADING..]);
    packets
}

/// What a receiver hears on the left.
fn heard(packets: &[Bytes]) -> Vec<f32> {
    let mut decoder = Decoder::new(0).unwrap();
    let sound = packets.iter().flat_map(|packet| decoder.decode(packet).unwrap().to_vec());
    sound.step_by(CHANNELS).collect()
}

/// How loud a tone is in this sound, as the factor of a full sine (Goertzel).
fn amplitude(sound: &[f32], frequency: f32) -> f32 {
    let turn = std::f64::consts::TAU * f64::from(frequency) / f64::from(SAMPLE_RATE);
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in sound.iter().enumerate() {
        let (sin, cos) = (turn * n as f64).sin_cos();
        re += f64::from(*sample) * cos;
        im += f64::from(*sample) * sin;
    }
    (2.0 * re.hypot(im) / sound.len() as f64) as f32
}

/// The biggest bend of the sound beyond what a tone makes by itself: a click.
fn worst_click(sound: &[f32]) -> f32 {
    sound.windows(3).map(|three| (three[2] - 2.0 * three[1] + three[0]).abs()).fold(0.0, f32::max)
}

fn db(ratio: f32) -> f32 {
    20.0 * ratio.log10()
}

#[test]
fn each_tone_has_the_power_that_its_place_gives_it() {
    let n_slots = 100;
    let sound = heard(&fade(440.0, 1000.0, n_slots));
    // 100 ms hold whole periods of both tones.
    let n_samples = SAMPLE_RATE as usize / 10;
    let begun = AROUND * SLOT + LOOKAHEAD;
    for tenth in 0..20 {
        let at = begun + tenth * n_samples;
        let window = &sound[at..at + n_samples];
        let way = (tenth as f32 + 0.5) / 20.0 * std::f32::consts::FRAC_PI_2;
        let (first, second) = (amplitude(window, 440.0) / 0.5, amplitude(window, 1000.0) / 0.5);
        for (is, wanted) in [(first, way.cos()), (second, way.sin())] {
            assert!((is - wanted).abs() < 0.04, "{tenth}: {is} and not {wanted}");
            assert!(wanted < 0.1 || db(is / wanted).abs() < 0.5, "{tenth}: {} dB off", db(is / wanted));
        }
        let power = db(first.hypot(second));
        assert!(power.abs() < 0.5, "{tenth}: the power is {power} dB off");
    }
}

#[test]
fn nothing_clicks_where_it_begins_and_where_it_ends() {
    for n_slots in [5, 50] {
        let sound = heard(&fade(440.0, 1000.0, n_slots));
        // By itself, 1 kHz at −9 dBFS bends by 0.0086 from one sample to the next.
        let click = worst_click(&sound[10 * SLOT..]);
        assert!(click < 0.0115, "{n_slots}: {click}");
    }
    let (first, second) = (tone(440.0, 40), tone(1000.0, 40));
    let hard = heard(&[&first[..20], &second[..20]].concat());
    assert!(worst_click(&hard[10 * SLOT..]) > 0.0115, "a cut would be noticed");
}

#[test]
fn it_can_stand_still_in_the_middle() {
    let (first, second) = (tone(440.0, 40), tone(1000.0, 40));
    let two = |nth: usize| [first.get(nth), second.get(nth)];
    let mut mixer = Mixer::new(20, []).unwrap();
    let mut packets: Vec<_> =
        (0..10).map(|nth| mixer.mix(nth, two(nth as usize), two(nth as usize + 1)).unwrap().0).collect();
    packets.push(mixer.fall(10).unwrap().0);
    packets.resize(packets.len() + 10, Bytes::from_static(&crate::media::codec::opus::SILENCE));
    for nth in 10..20 {
        packets.push(mixer.mix(nth, two(nth as usize), two(nth as usize + 1)).unwrap().0);
    }
    let sound = heard(&packets);
    assert!(worst_click(&sound[5 * SLOT..]) < 0.0115, "{}", worst_click(&sound[5 * SLOT..]));
    let quiet = &sound[12 * SLOT..20 * SLOT];
    assert!(quiet.iter().all(|sample| sample.abs() < 0.001), "silence in between");
    let after = &sound[22 * SLOT + LOOKAHEAD..27 * SLOT + LOOKAHEAD];
    let way = 13.5 / 20.0 * std::f32::consts::FRAC_PI_2;
    let apart = db(amplitude(after, 1000.0) / 0.5 / way.sin());
    assert!(apart.abs() < 0.5, "it goes on where it stood: {apart} dB");
}

#[test]
fn a_sound_that_is_missing_is_silence() {
    let first = tone(440.0, 30);
    let mut mixer = Mixer::new(10, []).unwrap();
    let packets: Vec<_> = (0..12)
        .map(|nth| mixer.mix(nth as u32, [first.get(nth), None], [first.get(nth + 1), None]).unwrap().0)
        .collect();
    let sound = heard(&packets);
    assert!(sound[..5 * SLOT].iter().any(|sample| sample.abs() > 0.4));
    assert!(sound[11 * SLOT..].iter().all(|sample| sample.abs() < 0.005), "it is gone");
    assert!(mixer.mix(12, [Some(&Bytes::from_static(&[0, 0, 0])), None], [None, None]).is_err());
}
