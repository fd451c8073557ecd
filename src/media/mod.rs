//! Bytes → packets → frames. No clock, no async, and only in `source` sockets: else `Read + Seek`.
//!
//! ```text
//! Source ── demux ──► demux::Packet ── plan: copy ─────────────────────► Frame
//!                                   └─ plan: transcode ─ codec, audio ─► Frame
//! ```
//!
//! The words that everyone else uses are defined here.

use bytes::Bytes;

use crate::time::MediaTime;

#[cfg(feature = "card")]
pub use self::card::CardOptions;
pub use self::error::MediaError;
pub use self::probe::Probe;
pub use self::reader::{Reader, ReaderOptions};
pub use self::transcode::TranscodeError;
#[cfg(feature = "openh264")]
pub(crate) use self::transcode::bitrate_for;

pub mod audio;
pub mod cache;
#[cfg_attr(not(feature = "card"), path = "no_card.rs")]
mod card;
pub(crate) mod child;
pub mod codec;
pub mod demux;
pub mod error;
pub mod pace;
#[cfg(feature = "openh264")]
pub mod picture;
pub mod pixel;
pub mod plan;
pub mod prepare;
pub mod probe;
pub mod reader;
#[cfg(test)]
pub(crate) mod script;
pub mod source;
#[cfg_attr(not(feature = "openh264"), path = "no_transcode.rs")]
mod transcode;

/// What a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

/// How a track is coded. Names as FFmpeg has them ([`Codec::name`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// RFC 6716.
    Opus,
    /// AAC low complexity.
    Aac,
    /// MPEG-1/2 layer III.
    Mp3,
    /// RFC 9639.
    Flac,
    /// Vorbis I.
    Vorbis,
    /// Apple Lossless.
    Alac,
    /// Samples as they are.
    Pcm(codec::pcm::PcmLayout),
    /// ISO/IEC 14496-10.
    H264,
    /// RFC 6386.
    Vp8,
    /// VP9.
    Vp9,
    /// Anything else, by the name the container gives it.
    Unknown(String),
}

impl Codec {
    /// The name as FFmpeg has it: `opus`, `aac`, `mp3`, `flac`, `vorbis`, `alac`, `pcm_s16le`, `h264`, `vp8`, `vp9`.
    pub fn name(&self) -> &str {
        match self {
            Self::Opus => "opus",
            Self::Aac => "aac",
            Self::Mp3 => "mp3",
            Self::Flac => "flac",
            Self::Vorbis => "vorbis",
            Self::Alac => "alac",
            Self::Pcm(layout) => layout.name(),
            Self::H264 => "h264",
            Self::Vp8 => "vp8",
            Self::Vp9 => "vp9",
            Self::Unknown(name) => name,
        }
    }

    /// A codec of pictures as people write it: `H.264`, `VP8`, `VP9`, `HEVC`; what has no such name here
    /// is called as the container does it.
    pub fn spelled(&self) -> String {
        let name = match self {
            Self::H264 => "H.264",
            Self::Unknown(name) => match name.as_str() {
                "hev1" | "hvc1" | "V_MPEGH/ISO/HEVC" => "HEVC",
                "av01" | "V_AV1" => "AV1",
                other => other,
            },
            known => return known.name().to_uppercase(),
        };
        name.to_owned()
    }
}

/// One *encoded* picture, or 20 ms of encoded sound, ready to be packetized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Sound or picture.
    pub kind: MediaKind,
    /// How it is coded: Opus, or H.264, VP8 or VP9.
    pub codec: Codec,
    /// When it is heard or seen, on the clock of its item (0 = start of the item).
    pub pts: MediaTime,
    /// How long it lasts. Sound: always 20 ms.
    pub duration: MediaTime,
    /// A receiver that knows nothing can start here. Always true for sound.
    pub key: bool,
    /// Opus packet, VP8 or VP9 frame, or H.264 access unit in Annex B form with SPS and PPS before
    /// every IDR.
    pub data: Bytes,
    /// How loud the sound in `data` is; `None` for pictures.
    pub level: Option<AudioLevel>,
    /// Clockwise quarter turns, 0 to 3, by which the picture is to be turned; 0 for sound.
    pub rotation: u8,
}

/// Loudness of one audio frame as RFC 6464 sends it: 0 is full scale, 127 is silence (−dBov).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel(u8);

impl AudioLevel {
    /// No sound.
    pub const SILENCE: Self = Self(127);

    /// From −dBov; values over 127 count as silence.
    pub const fn from_neg_dbov(neg_dbov: u8) -> Self {
        Self(if neg_dbov > 127 { 127 } else { neg_dbov })
    }

    /// The RMS of `samples` (interleaved, full scale ±1) against a full-scale square wave.
    pub fn of(samples: &[f32]) -> Self {
        if samples.is_empty() {
            return Self::SILENCE;
        }
        let energy: f64 = samples.iter().map(|s| f64::from(*s) * f64::from(*s)).sum();
        #[expect(clippy::cast_precision_loss, reason = "a frame has thousands of samples, not 2^52")]
        let mean = energy / samples.len() as f64;
        if mean <= 0.0 || !mean.is_finite() {
            return Self::SILENCE;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=127")]
        let level = (-10.0 * mean.log10()).round().clamp(0.0, 127.0) as u8;
        Self(level)
    }

    /// −dBov, 0 (loudest) to 127 (silence).
    pub const fn neg_dbov(self) -> u8 {
        self.0
    }
}

/// What tests make frames of.
#[cfg(test)]
pub(crate) fn usual_codec(kind: MediaKind) -> Codec {
    match kind {
        MediaKind::Audio => Codec::Opus,
        MediaKind::Video => Codec::H264,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_is_rms_in_dbov() {
        assert_eq!(AudioLevel::of(&[]), AudioLevel::SILENCE);
        assert_eq!(AudioLevel::of(&[0.0; 960]), AudioLevel::SILENCE);
        assert_eq!(AudioLevel::of(&[1.0, -1.0]).neg_dbov(), 0);
        assert_eq!(AudioLevel::of(&[0.1; 960]).neg_dbov(), 20);
        assert_eq!(AudioLevel::of(&[f32::NAN]), AudioLevel::SILENCE);
    }
}
