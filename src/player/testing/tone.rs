//! An item that sounds: a tone as packets that are copied, and what a receiver hears of it.

use std::sync::Arc;

use bytes::Bytes;

use super::Rig;
use crate::media::codec::opus::{CHANNELS, Decoder, Encoder, EncoderOptions, FRAME_SAMPLES, SAMPLE_RATE};
use crate::media::{AudioLevel, Codec, Frame, MediaKind};
use crate::player::item::{FrameReader, Item, ItemError, ItemPlan};
use crate::time::MediaTime;

/// A tone at −9 dBFS.
#[derive(Clone)]
pub(in crate::player) struct Tone {
    packets: Arc<[Bytes]>,
    idx: usize,
    /// Nobody knows how long it is.
    endless: bool,
}

impl Tone {
    pub(in crate::player) fn of_secs(frequency: f32, seconds: usize) -> Self {
        let mut encoder = Encoder::new(EncoderOptions::default()).unwrap();
        let samples: Vec<f32> = (0..seconds * SAMPLE_RATE as usize)
            .flat_map(|n| {
                let sample = 0.5 * (std::f32::consts::TAU * frequency * n as f32 / SAMPLE_RATE as f32).sin();
                [sample, sample]
            })
            .collect();
        let frames = samples.chunks(FRAME_SAMPLES * CHANNELS);
        Self { packets: frames.map(|frame| encoder.encode(frame).unwrap()).collect(), idx: 0, endless: false }
    }

    pub(in crate::player) fn without_length(self) -> Self {
        Self { endless: true, ..self }
    }

    pub(in crate::player) fn packet(&self, idx: usize) -> &Bytes {
        &self.packets[idx]
    }

    pub(in crate::player) fn item(self) -> Item {
        Item::from_reader("tone", move || Ok(Box::new(self.clone())))
    }
}

impl FrameReader for Tone {
    fn plan(&self) -> ItemPlan {
        ItemPlan::new(Some("copy".to_owned()), None)
    }

    fn duration(&self) -> Option<MediaTime> {
        (!self.endless).then(|| MediaTime::from_millis(20 * self.packets.len() as i64))
    }

    fn next_frame(&mut self) -> Result<Option<Frame>, ItemError> {
        let Some(data) = self.packets.get(self.idx).cloned() else { return Ok(None) };
        let pts = MediaTime::from_millis(20 * self.idx as i64);
        self.idx += 1;
        Ok(Some(Frame {
            kind: MediaKind::Audio,
            codec: Codec::Opus,
            pts,
            duration: MediaTime::from_millis(20),
            key: true,
            data,
            level: Some(AudioLevel::from_neg_dbov(12)),
            rotation: 0,
        }))
    }

    fn seek(&mut self, to: MediaTime) -> Result<MediaTime, ItemError> {
        self.idx = usize::try_from(to.as_millis() / 20).unwrap();
        Ok(to)
    }

    fn set_volume(&mut self, _gain: f32) {}
}

/// What a receiver hears on the left of all that has come out.
pub(in crate::player) fn heard(rig: &Rig) -> Vec<f32> {
    let mut decoder = Decoder::new(0).unwrap();
    let frames = rig.frames.iter().map(|(_, due)| &due.frame).filter(|frame| frame.kind == MediaKind::Audio);
    let sound = frames.flat_map(|frame| decoder.decode(&frame.data).unwrap().to_vec());
    sound.step_by(CHANNELS).collect()
}

/// The biggest step that a sound makes beyond what the samples before announce: a click.
pub(in crate::player) fn worst_click(sound: &[f32]) -> f32 {
    sound.windows(3).map(|three| (three[2] - 2.0 * three[1] + three[0]).abs()).fold(0.0, f32::max)
}

/// How loud a tone is in a sound: 1 for one that is as loud as a [`Tone`].
pub(in crate::player) fn loudness(sound: &[f32], frequency: f32) -> f32 {
    let turn = std::f64::consts::TAU * f64::from(frequency) / f64::from(SAMPLE_RATE);
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in sound.iter().enumerate() {
        let (sin, cos) = (turn * n as f64).sin_cos();
        re += f64::from(*sample) * cos;
        im += f64::from(*sample) * sin;
    }
    (4.0 * re.hypot(im) / sound.len() as f64) as f32
}
