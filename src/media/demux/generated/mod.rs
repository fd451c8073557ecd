//! A name such as `test:1280x720@30?for=10s` → pictures and sound that are made while they are read.
//!
//! ```text
//! Spec ─┬─ scene ─ I420 ─ encoder ─ H.264 ─┐
//!       └─ sound ─ samples ── PCM ─────────┴─► Packets, by time
//! ```
//!
//! They say what they are: number and time code for people, mark, flash and beep for programs, as
//! `docs/testing.md` describes them, so whoever receives them can tell what is missing.

use bytes::Bytes;

use self::sound::Sound;
pub use self::spec::Spec;
use super::{DemuxError, Demuxer, Packet, Shape, Track};
use crate::media::codec::pcm::PcmLayout;
use crate::media::{Codec, MediaKind};
use crate::time::MediaTime;

#[cfg(feature = "openh264")]
mod pictures;
#[cfg(not(feature = "openh264"))]
#[path = "no_pictures.rs"]
mod pictures;
#[cfg(feature = "openh264")]
mod scene;
mod sound;
mod spec;

/// The name in plans and reports.
pub(in crate::media) const FORMAT: &str = "test";

/// A source that is made while it is read.
struct Generated {
    tracks: Vec<Track>,
    length: MediaTime,
    pictures: Option<(usize, pictures::Pictures)>,
    sound: Option<(usize, Sound)>,
}

/// Opens a generated source. Pictures take `bitrate_bps`, or what suits their size and rate.
///
/// # Errors
/// When pictures are wanted and cannot be encoded.
pub fn open(spec: &Spec, bitrate_bps: Option<u32>) -> Result<Box<dyn Demuxer>, DemuxError> {
    let mut tracks = Vec::new();
    let mut add = |kind, codec, config, shape| {
        tracks.push(Track { kind, codec, duration: spec.length, language: None, config, shape });
        tracks.len() - 1
    };
    let pictures = match &spec.picture {
        Some(picture) => {
            let pictures = pictures::Pictures::new(*picture, bitrate_bps)?;
            let (width, height) = picture.size;
            let shape = Shape::Video { width, height, rotation: 0, pixel: None };
            Some((add(MediaKind::Video, Codec::H264, pictures.config(), shape), pictures))
        }
        None => None,
    };
    let sound = spec.sound.then(|| {
        let shape = Shape::Audio { sample_rate: sound::RATE, channels: sound::CHANNELS };
        (add(MediaKind::Audio, Codec::Pcm(PcmLayout::S16LE), Bytes::new(), shape), Sound::new())
    });
    let length = spec.length.unwrap_or(MediaTime::MAX);
    Ok(Box::new(Generated { tracks, length, pictures, sound }))
}

impl Demuxer for Generated {
    fn format(&self) -> &'static str {
        FORMAT
    }

    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, DemuxError> {
        let seen = self.pictures.as_ref().map(|(_, pictures)| pictures.next_at());
        let heard = self.sound.as_ref().map(|(_, sound)| sound.next_at());
        let (seen, heard) = (seen.unwrap_or(MediaTime::MAX), heard.unwrap_or(MediaTime::MAX));
        if seen.min(heard) >= self.length {
            return Ok(None);
        }
        match (&mut self.pictures, &mut self.sound) {
            (Some((track, pictures)), _) if seen <= heard => pictures.next(*track, self.length).map(Some),
            (_, Some((track, sound))) => Ok(Some(sound.next(*track, self.length))),
            _ => Ok(None),
        }
    }

    fn seek(&mut self, to: MediaTime) -> Result<MediaTime, DemuxError> {
        let last = self.length.saturating_sub(MediaTime::from_ticks(1, sound::RATE));
        let mut place = to.min(last).max(MediaTime::ZERO);
        if let Some((_, pictures)) = &mut self.pictures {
            place = pictures.seek(place);
        }
        if let Some((_, sound)) = &mut self.sound {
            place = sound.seek(place);
        }
        Ok(place)
    }
}

#[cfg(test)]
mod tests;
