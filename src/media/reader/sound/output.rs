//! Slots → frames: the file's own packets where they sound as wanted, else encoded.

use crate::media::audio::{Leveler, Loudness, Slot, apply_gain};
use crate::media::codec::opus::{CHANNELS, Encoder, FRAME, FRAME_SAMPLES, SoftClip, ahead, fade_in};
use crate::media::{AudioLevel, Codec, Frame, MediaError, MediaKind};

/// Slots → frames, copied or encoded.
#[derive(Debug)]
pub(super) struct Output {
    encoder: Encoder,
    soft_clip: SoftClip,
    /// The samples of the slot before.
    previous: Vec<f32>,
    /// The slot before was encoded, so the encoder's memory fits the next one.
    encoding: bool,
    /// As set; with the correction of the loudness it is what a slot is to come to.
    volume: f32,
    leveler: Option<Leveler>,
    /// The factor at the end of the slot before; nothing where the next one begins at its own.
    gain: Option<f32>,
    /// The next slot begins in the middle of the sound.
    cut: bool,
    /// So many slots behind a cut are encoded, even where they could be copied: one that rises, and
    /// one that leads a receiver back to the file's own packets.
    settling: u8,
}

impl Output {
    pub(super) fn new(encoder: Encoder, volume: f32, leveler: Option<Leveler>) -> Self {
        let previous = vec![0.0; FRAME_SAMPLES * CHANNELS];
        Self {
            encoder,
            soft_clip: SoftClip::default(),
            previous,
            encoding: false,
            volume,
            leveler,
            gain: None,
            cut: false,
            settling: 0,
        }
    }

    /// Nothing was heard before the next slot, and a new volume applies at once.
    pub(super) fn restart(&mut self, cut: bool) {
        self.cut = cut;
        self.remember(vec![0.0; FRAME_SAMPLES * CHANNELS]);
        self.gain = None;
        if let Some(leveler) = &mut self.leveler {
            leveler.restart();
        }
    }

    /// From the next slot on.
    pub(super) fn set_volume(&mut self, volume: f32) {
        self.volume = volume;
    }

    /// Takes note of sound that is sent later.
    pub(super) fn measure(&mut self, samples: &[f32]) {
        if let Some(leveler) = &mut self.leveler {
            leveler.measure(samples);
        }
    }

    /// The samples of the slot before, and the factor that they were sent with.
    pub(super) fn heard(&self) -> (&[f32], f32) {
        (&self.previous, self.gain.unwrap_or(self.volume))
    }

    /// How loud everything is that was measured, if anything was.
    pub(super) fn loudness(&self) -> Option<Loudness> {
        self.leveler.as_ref()?.measured()
    }

    /// Takes note of a slot that is not sent.
    pub(super) fn remember(&mut self, samples: Vec<f32>) {
        self.previous = samples;
        self.encoding = false;
    }

    pub(super) fn frame(&mut self, slot: Slot, following: Option<&Slot>) -> Result<Frame, MediaError> {
        let pts = slot.pts();
        let mut slot = slot;
        if std::mem::take(&mut self.cut) {
            self.settling = 2;
            fade_in(&mut slot.samples);
            // What is before the cut is not heard.
            self.previous.fill(0.0);
        }
        let settling = self.settling > 0;
        self.settling = self.settling.saturating_sub(1);
        let to = self.volume * self.leveler.as_mut().map_or(1.0, Leveler::next_factor);
        let from = self.gain.replace(to).unwrap_or(to);
        let (data, level) = match slot.original {
            Some(original) if (from, to) == (1.0, 1.0) && !settling => {
                self.encoding = false;
                (original, AudioLevel::of(&slot.samples))
            }
            _ => self.encode(&slot.samples, following, (from, to))?,
        };
        self.previous = slot.samples;
        Ok(Frame {
            kind: MediaKind::Audio,
            codec: Codec::Opus,
            pts,
            duration: FRAME,
            key: true,
            data,
            level: Some(level),
            rotation: 0,
        })
    }

    fn encode(
        &mut self,
        slot: &[f32],
        following: Option<&Slot>,
        (from, to): (f32, f32),
    ) -> Result<(bytes::Bytes, AudioLevel), MediaError> {
        if !self.encoding {
            let mut before = ahead(&self.previous, Some(slot));
            apply_gain(&mut before, from, from);
            self.soft_clip.apply(&mut before);
            self.encoder.restart(&before)?;
            self.encoding = true;
        }
        let mut input = ahead(slot, following.map(|slot| &*slot.samples));
        apply_gain(&mut input, from, to);
        self.soft_clip.apply(&mut input);
        Ok((self.encoder.encode(&input)?, AudioLevel::of(&input)))
    }
}
