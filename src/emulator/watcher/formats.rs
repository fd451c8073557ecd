//! The numbers of the dialect → str0m's configuration.

use str0m::RtcConfig;
use str0m::format::{Codec, FormatParams};
use str0m::media::Frequency;
use str0m::rtp::{Extension, ExtensionMap};

use super::payload;

/// The header extensions, by the numbers of the dialect.
pub(super) fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::empty();
    map.set(1, Extension::AudioLevel);
    map.set(2, Extension::AbsoluteSendTime);
    map.set(3, Extension::TransportSequenceNumber);
    map.set(13, Extension::VideoOrientation);
    map
}

/// The codecs, by the numbers of the dialect.
pub(super) fn configure_codecs(config: &mut RtcConfig) {
    let codecs = config.codec_config();
    let opus = FormatParams { min_p_time: Some(10), use_inband_fec: Some(true), ..FormatParams::default() };
    codecs.add_config(payload::PT_OPUS.into(), None, Codec::Opus, Frequency::FORTY_EIGHT_KHZ, Some(2), opus);
    for (codec, (pt, rtx)) in [(Codec::Vp8, payload::PT_VP8), (Codec::Vp9, payload::PT_VP9)] {
        let format = FormatParams::default();
        codecs.add_config(pt.into(), Some(rtx.into()), codec, Frequency::NINETY_KHZ, None, format);
    }
    let (pt, rtx) = payload::PT_H264;
    codecs.add_h264(pt.into(), Some(rtx.into()), true, 0x42_e0_1f);
}

/// The codec in our words.
pub(super) fn codec_of(codec: Codec) -> crate::media::Codec {
    match codec {
        Codec::Opus => crate::media::Codec::Opus,
        Codec::H264 => crate::media::Codec::H264,
        Codec::Vp8 => crate::media::Codec::Vp8,
        Codec::Vp9 => crate::media::Codec::Vp9,
        other => crate::media::Codec::Unknown(other.to_string()),
    }
}
