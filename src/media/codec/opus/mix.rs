//! Packets of two sounds → packets of one that goes over from the first to the second.
//!
//! ```text
//! first   ─ decode ─► × cos ─┐
//!                            ├─► + ─ encode ─► packet
//! second  ─ decode ─► × sin ─┘
//! ```
//!
//! Both sounds have the same power at every moment of the way: two that have nothing to do with
//! each other are together as loud as one. The encoder looks ahead, so the packets of the slot
//! behind the present one are wanted as well; each packet is decoded once.

use bytes::Bytes;

use super::fade::{ahead, decoded, fade_in, fade_out, in_step, silence};
use super::{CHANNELS, Decoder, Encoder, EncoderOptions, FRAME_SAMPLES, OpusError, SoftClip};
use crate::media::AudioLevel;

/// A slot's packet of both sounds; nothing where one is silent.
pub type Two<'a> = [Option<&'a Bytes>; 2];

/// Goes over from one sound to another.
#[derive(Debug)]
pub struct Mixer {
    n_slots: u32,
    voices: [Voice; 2],
    encoder: Encoder,
    soft_clip: SoftClip,
    /// What was heard in the slot before.
    previous: Vec<f32>,
    /// The encoder's memory fits the next slot.
    encoding: bool,
    /// The next slot begins in the middle of the sound.
    cut: bool,
}

/// One of both sounds.
#[derive(Debug)]
struct Voice {
    decoder: Decoder,
    /// The packet of the next slot, and what it sounds like.
    next: Option<(Bytes, Vec<f32>)>,
}

impl Mixer {
    /// Goes over within `n_slots` of 20 ms. `before` are the packets of the first sound that have
    /// been sent last, [`PRE_ROLL`](super::PRE_ROLL) or fewer.
    ///
    /// # Errors
    /// When one of them is damaged or is not 20 ms long.
    pub fn new<'a>(n_slots: u32, before: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, OpusError> {
        let (decoder, previous) = in_step(before)?;
        let voices = [Voice { decoder, next: None }, Voice { decoder: Decoder::new(0)?, next: None }];
        Ok(Self {
            n_slots: n_slots.max(1),
            voices,
            encoder: Encoder::new(EncoderOptions::default())?,
            soft_clip: SoftClip::default(),
            previous,
            encoding: false,
            cut: false,
        })
    }

    /// The packet of slot `nth`, counted from 0. Behind the last one only the second sound is
    /// heard, which leads a receiver to the packets of that alone.
    ///
    /// # Errors
    /// When a packet is damaged or is not 20 ms long.
    pub fn mix(
        &mut self,
        nth: u32,
        here: Two<'_>,
        following: Two<'_>,
    ) -> Result<(Bytes, AudioLevel), OpusError> {
        let mut sounds = [silence(), silence()];
        for ((voice, packet), sound) in self.voices.iter_mut().zip(here).zip(&mut sounds) {
            *sound = voice.take(packet)?;
        }
        let mut mixed = self.blend(nth, &sounds);
        for ((voice, packet), sound) in self.voices.iter_mut().zip(following).zip(&mut sounds) {
            *sound = voice.look(packet)?;
        }
        let next = self.blend(nth.saturating_add(1), &sounds);
        if std::mem::take(&mut self.cut) {
            fade_in(&mut mixed);
        }
        self.encode(mixed, Some(&next))
    }

    /// The packet of slot `nth` once more, or for the first time: it falls silent within 5 ms.
    /// What is mixed after that rises.
    ///
    /// # Errors
    /// When libopus fails.
    pub fn fall(&mut self, nth: u32) -> Result<(Bytes, AudioLevel), OpusError> {
        let sounds = self.voices.each_ref().map(Voice::next_sound);
        let mut mixed = self.blend(nth, &sounds);
        fade_out(&mut mixed);
        // The encoder has looked ahead at what is not heard any more.
        self.encoding = false;
        let fallen = self.encode(mixed, None);
        self.interrupt();
        fallen
    }

    /// Silence came in between: what is mixed next rises from it.
    pub fn interrupt(&mut self) {
        (self.previous, self.encoding, self.cut) = (silence(), false, true);
    }

    fn blend(&self, nth: u32, [first, second]: &[Vec<f32>; 2]) -> Vec<f32> {
        let n_samples = self.n_slots as usize * FRAME_SAMPLES;
        let begun = nth as usize * FRAME_SAMPLES;
        let frames = first.chunks_exact(CHANNELS).zip(second.chunks_exact(CHANNELS));
        let mixed = frames.enumerate().flat_map(|(idx, (first, second))| {
            let way = (begun + idx).min(n_samples) as f32 / n_samples as f32;
            let (rising, falling) = (way * std::f32::consts::FRAC_PI_2).sin_cos();
            [0, 1].map(|side| first[side] * falling + second[side] * rising)
        });
        mixed.collect()
    }

    fn encode(
        &mut self,
        mixed: Vec<f32>,
        following: Option<&[f32]>,
    ) -> Result<(Bytes, AudioLevel), OpusError> {
        if !self.encoding {
            let mut before = ahead(&self.previous, Some(&mixed));
            self.soft_clip.apply(&mut before);
            self.encoder.restart(&before)?;
            self.encoding = true;
        }
        let mut input = ahead(&mixed, following);
        self.soft_clip.apply(&mut input);
        let level = AudioLevel::of(&mixed);
        self.previous = mixed;
        Ok((self.encoder.encode(&input)?, level))
    }
}

impl Voice {
    fn take(&mut self, packet: Option<&Bytes>) -> Result<Vec<f32>, OpusError> {
        let sound = self.look(packet)?;
        self.next = None;
        Ok(sound)
    }

    /// Decodes the packet of the next slot, unless that is done already.
    fn look(&mut self, packet: Option<&Bytes>) -> Result<Vec<f32>, OpusError> {
        let Some(packet) = packet else { return Ok(silence()) };
        if let Some((seen, sound)) = &self.next
            && seen == packet
        {
            return Ok(sound.clone());
        }
        let sound = decoded(&mut self.decoder, packet)?;
        self.next = Some((packet.clone(), sound.clone()));
        Ok(sound)
    }

    fn next_sound(&self) -> Vec<f32> {
        self.next.as_ref().map_or_else(silence, |(_, sound)| sound.clone())
    }
}

#[cfg(test)]
mod tests;
