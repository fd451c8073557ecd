//! A packet whose sound rises from silence or falls into it, made of one that does not.
//!
//! Where copied or encoded sound is cut, a loudspeaker would click. The packet at the cut is
//! decoded, faded over 5 ms and encoded again; those around it stay as they are.

use bytes::Bytes;

use super::{CHANNELS, Decoder, Encoder, EncoderOptions, FRAME_SAMPLES, LOOKAHEAD, OpusError};
use crate::media::AudioLevel;

/// Samples of a fade: 5 ms.
const FADE_SAMPLES: usize = 240;
/// So many packets bring a decoder in step with the encoder (80 ms; RFC 7845, 4.6).
pub const PRE_ROLL: usize = 4;

/// `packet` falls silent within 5 ms. `before` are the packets that precede it, [`PRE_ROLL`] or
/// fewer.
///
/// # Errors
/// When a packet is damaged or is not 20 ms long.
pub fn fallen<'a>(
    before: impl IntoIterator<Item = &'a [u8]>,
    packet: &[u8],
) -> Result<(Bytes, AudioLevel), OpusError> {
    let (mut decoder, previous) = in_step(before)?;
    let mut sound = decoded(&mut decoder, packet)?;
    fade_out(&mut sound);
    let mut encoder = Encoder::new(EncoderOptions::default())?;
    encoder.restart(&ahead(&previous, Some(&sound)))?;
    Ok((encoder.encode(&ahead(&sound, None))?, AudioLevel::of(&sound)))
}

/// The first two of three packets, which rise from silence; the third can follow as it is.
///
/// The second one does not rise any more, but it leads a receiver back: a packet that is encoded
/// on the spectrum of a fade would lend that to the next one.
///
/// # Errors
/// When a packet is damaged or is not 20 ms long.
pub fn risen<'a>(
    before: impl IntoIterator<Item = &'a [u8]>,
    packets: [&[u8]; 3],
) -> Result<[(Bytes, AudioLevel); 2], OpusError> {
    let (mut decoder, _) = in_step(before)?;
    let mut sounds = [silence(), silence(), silence()];
    for (sound, packet) in sounds.iter_mut().zip(packets) {
        *sound = decoded(&mut decoder, packet)?;
    }
    let [mut first, second, third] = sounds;
    fade_in(&mut first);
    let mut encoder = Encoder::new(EncoderOptions::default())?;
    encoder.restart(&ahead(&silence(), Some(&first)))?;
    let one = encoder.encode(&ahead(&first, Some(&second)))?;
    let two = encoder.encode(&ahead(&second, Some(&third)))?;
    Ok([(one, AudioLevel::of(&first)), (two, AudioLevel::of(&second))])
}

/// A decoder that has heard these packets, and what the last of them sounds like.
pub(super) fn in_step<'a>(
    before: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(Decoder, Vec<f32>), OpusError> {
    let (mut decoder, mut previous) = (Decoder::new(0)?, silence());
    for packet in before {
        previous = decoded(&mut decoder, packet)?;
    }
    Ok((decoder, previous))
}

pub(super) fn silence() -> Vec<f32> {
    vec![0.0; FRAME_SAMPLES * CHANNELS]
}

pub(super) fn decoded(decoder: &mut Decoder, packet: &[u8]) -> Result<Vec<f32>, OpusError> {
    let sound = decoder.decode(packet)?;
    if sound.len() != FRAME_SAMPLES * CHANNELS {
        return Err(OpusError::Packet("it is not 20 ms long"));
    }
    Ok(sound.to_vec())
}

/// Interleaved stereo that begins in the middle of a sound: it rises over 5 ms.
pub(crate) fn fade_in(stereo: &mut [f32]) {
    for (nth, frame) in stereo.chunks_exact_mut(CHANNELS).take(FADE_SAMPLES).enumerate() {
        let gain = nth as f32 / FADE_SAMPLES as f32;
        frame.iter_mut().for_each(|sample| *sample *= gain);
    }
}

/// Interleaved stereo that ends here: it falls over 5 ms, and the rest is silent.
pub(super) fn fade_out(stereo: &mut [f32]) {
    for (nth, frame) in stereo.chunks_exact_mut(CHANNELS).enumerate() {
        let gain = 1.0 - (nth as f32 / FADE_SAMPLES as f32).min(1.0);
        frame.iter_mut().for_each(|sample| *sample *= gain);
    }
}

/// What an encoder is fed so that a receiver hears `slot`: the same, [`LOOKAHEAD`] later.
pub(crate) fn ahead(slot: &[f32], following: Option<&[f32]>) -> Vec<f32> {
    let mut input = slot[LOOKAHEAD * CHANNELS..].to_vec();
    match following {
        Some(following) => input.extend_from_slice(&following[..LOOKAHEAD * CHANNELS]),
        None => input.resize(FRAME_SAMPLES * CHANNELS, 0.0),
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::codec::opus::{SAMPLE_RATE, SILENCE};

    /// Packets of a tone at −9 dBFS.
    fn tone(n_packets: usize) -> Vec<Bytes> {
        let mut encoder = Encoder::new(EncoderOptions::default()).unwrap();
        let samples = (0..n_packets * FRAME_SAMPLES).flat_map(|n| {
            let sample = 0.5 * (std::f32::consts::TAU * 440.0 * n as f32 / SAMPLE_RATE as f32).sin();
            [sample, sample]
        });
        let samples: Vec<f32> = samples.collect();
        samples.chunks(FRAME_SAMPLES * CHANNELS).map(|frame| encoder.encode(frame).unwrap()).collect()
    }

    /// What a receiver hears of all this.
    fn heard(packets: &[Bytes]) -> Vec<f32> {
        let mut decoder = Decoder::new(0).unwrap();
        packets.iter().flat_map(|packet| decoder.decode(packet).unwrap().to_vec()).collect()
    }

    /// The biggest step that the sound makes beyond what a tone of 440 Hz makes by itself; a click
    /// is a step that the sound before does not announce.
    fn worst_click(sound: &[f32]) -> f32 {
        let left: Vec<f32> = sound.iter().step_by(CHANNELS).copied().collect();
        left.windows(3).map(|three| (three[2] - 2.0 * three[1] + three[0]).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn a_cut_into_silence_clicks_without_a_fade_and_does_not_with_one() {
        let tone = tone(20);
        let (before, rest) = tone.split_at(10);
        let recent = before[10 - PRE_ROLL..].iter().map(|packet| &**packet);
        let (last, level) = fallen(recent, &rest[0]).unwrap();
        let silence = Bytes::from_static(&SILENCE);
        let soft = heard(&[before, &[last, silence.clone(), silence.clone()]].concat());
        let hard: Vec<f32> = [heard(before), vec![0.0; FRAME_SAMPLES]].concat();
        let settled = 5 * FRAME_SAMPLES * CHANNELS;
        assert!(worst_click(&hard[settled..]) > 0.02, "{}", worst_click(&hard[settled..]));
        assert!(worst_click(&soft[settled..]) < 0.01, "{}", worst_click(&soft[settled..]));
        // It ends within the packet, and what is before is untouched.
        let tail = &soft[(10 * FRAME_SAMPLES + FADE_SAMPLES + LOOKAHEAD) * CHANNELS..];
        assert!(tail.iter().all(|sample| sample.abs() < 0.01));
        assert!(level.neg_dbov() > 12 && level.neg_dbov() < 30, "{level:?}");
    }

    #[test]
    fn sound_that_comes_back_rises_and_goes_on_where_the_packets_do() {
        let tone = tone(20);
        let recent = tone[6..10].iter().map(|packet| &**packet);
        let [(first, _), (second, _)] = risen(recent, [&tone[10], &tone[11], &tone[12]]).unwrap();
        let silence = Bytes::from_static(&SILENCE);
        let packets = [&[silence.clone(), silence, first, second], &tone[12..]].concat();
        let (sound, whole) = (heard(&packets), heard(&tone));
        assert!(worst_click(&sound) < 0.012, "{}", worst_click(&sound));
        let begin = 2 * FRAME_SAMPLES * CHANNELS;
        assert!(sound[begin..begin + 100].iter().all(|sample| sample.abs() < 0.1));
        // A decoder needs a few packets until it is in step again; then it is what it would have been.
        let (from, skipped) = (PRE_ROLL * FRAME_SAMPLES * CHANNELS, 8 * FRAME_SAMPLES * CHANNELS);
        let loudest = sound[begin..].iter().copied().fold(0.0, f32::max);
        assert!(loudest < 0.7, "nothing louder than the tone: {loudest}");
        let apart = sound[begin + from..].iter().zip(&whole[begin + from + skipped..]);
        let worst = apart.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 0.1, "{worst}");
    }

    #[test]
    fn what_is_no_packet_of_20_ms_is_refused() {
        assert!(fallen([], &[]).is_err());
        // TOC 0: SILK, 10 ms.
        assert!(fallen([], &[0, 0, 0]).is_err());
    }
}
