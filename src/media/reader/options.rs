//! How an item is read, and what had to be repaired on the way.

#[cfg(feature = "card")]
use crate::media::CardOptions;
use crate::media::audio::Loudness;
use crate::media::cache::Cache;
use crate::media::codec::opus::EncoderOptions;
use crate::media::plan::PlanOptions;
use crate::media::source::SourceOptions;
use crate::time::MediaTime;

/// How an item is read.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ReaderOptions {
    /// Which tracks are wanted.
    pub plan: PlanOptions,
    /// How loud: 1.0 is as recorded. See [`Reader::set_volume`](super::Reader::set_volume).
    pub volume: f32,
    /// How loud the whole item is to be by EBU R 128, in LUFS; `None` leaves it as it is. Sound is
    /// then read 3 s ahead, and a copied track is encoded while it is corrected.
    pub loudness_lufs: Option<f32>,
    /// How loud the item is, where that is known: it is brought to `loudness_lufs` by one factor,
    /// and nothing is read ahead. A [`cache`](Self::cache) keeps it of what has played once.
    pub known_loudness: Option<Loudness>,
    /// How sound is encoded that cannot be copied.
    pub opus: EncoderOptions,
    /// How sources other than files are opened.
    pub source: SourceOptions,
    /// Where prepared files are, which are played instead when nothing but the usual is asked
    /// for: no other track, no other size. It also keeps how loud files are.
    pub cache: Option<Cache>,
    /// Shows a card where there is sound and no picture: cover, title, progress and what is heard.
    #[cfg(feature = "card")]
    pub card: Option<CardOptions>,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self {
            plan: PlanOptions::default(),
            volume: 1.0,
            loudness_lufs: None,
            known_loudness: None,
            opus: EncoderOptions::default(),
            source: SourceOptions::default(),
            cache: None,
            #[cfg(feature = "card")]
            card: None,
        }
    }
}

/// What had to be repaired so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReaderStats {
    /// Packets of sound that could not be decoded and became silence.
    pub damaged_sound: u64,
    /// Silence put where the file has a gap in its sound.
    pub silence: MediaTime,
    /// Sound dropped because the file has two sounds for one instant.
    pub overlap: MediaTime,
    /// Pictures before the first keyframe, and damaged ones, which nobody could decode.
    pub skipped_pictures: u64,
    /// Pictures left out by the transcoder because they came too late.
    pub late_pictures: u64,
    /// Places where the container is damaged.
    pub damaged_places: u64,
}
