//! Sound that is not coded: how its samples lie in the bytes.

use symphonia::core::codecs::audio::{AudioCodecId, well_known as id};

/// The name as FFmpeg has it, Symphonia's word for it, and the bytes of one sample.
type Row = (&'static str, AudioCodecId, u32);

/// Every layout that is decoded.
const LAYOUTS: [Row; 16] = [
    ("pcm_u8", id::CODEC_ID_PCM_U8, 1),
    ("pcm_s8", id::CODEC_ID_PCM_S8, 1),
    ("pcm_s16le", id::CODEC_ID_PCM_S16LE, 2),
    ("pcm_s16be", id::CODEC_ID_PCM_S16BE, 2),
    ("pcm_u16le", id::CODEC_ID_PCM_U16LE, 2),
    ("pcm_u16be", id::CODEC_ID_PCM_U16BE, 2),
    ("pcm_s24le", id::CODEC_ID_PCM_S24LE, 3),
    ("pcm_s24be", id::CODEC_ID_PCM_S24BE, 3),
    ("pcm_s32le", id::CODEC_ID_PCM_S32LE, 4),
    ("pcm_s32be", id::CODEC_ID_PCM_S32BE, 4),
    ("pcm_f32le", id::CODEC_ID_PCM_F32LE, 4),
    ("pcm_f32be", id::CODEC_ID_PCM_F32BE, 4),
    ("pcm_f64le", id::CODEC_ID_PCM_F64LE, 8),
    ("pcm_f64be", id::CODEC_ID_PCM_F64BE, 8),
    ("pcm_alaw", id::CODEC_ID_PCM_ALAW, 1),
    ("pcm_mulaw", id::CODEC_ID_PCM_MULAW, 1),
];

/// One of the layouts that telecast decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PcmLayout(usize);

impl PcmLayout {
    /// Signed 16 bits, the low byte first.
    pub const S16LE: Self = Self(2);
    /// Floating point of 32 bits, the low byte first.
    pub const F32LE: Self = Self(10);

    /// By the name that FFmpeg has for it.
    pub fn by_name(name: &str) -> Option<Self> {
        LAYOUTS.iter().position(|(known, ..)| *known == name).map(Self)
    }

    pub(in crate::media) fn by_id(id: AudioCodecId) -> Option<Self> {
        LAYOUTS.iter().position(|(_, known, _)| *known == id).map(Self)
    }

    pub(super) fn id(self) -> AudioCodecId {
        LAYOUTS[self.0].1
    }

    /// The name as FFmpeg has it.
    pub fn name(self) -> &'static str {
        LAYOUTS[self.0].0
    }

    /// Bytes of one sample of one channel.
    pub fn sample_bytes(self) -> u32 {
        LAYOUTS[self.0].2
    }
}
