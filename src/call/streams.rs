//! The server's answer → how sound and pictures are sent.

use super::params::{AnswerError, RemoteParams, VideoFormat};
use crate::media::{Codec, MediaKind};
use crate::peer::Ssrcs;
use crate::rtp::send::{PayloadFormat, RtxConfig, StreamConfig};

/// RTP clock of Opus (RFC 7587).
const AUDIO_CLOCK_RATE: u32 = 48_000;
/// RTP clock of video (RFC 6184).
const VIDEO_CLOCK_RATE: u32 = 90_000;

/// How sound is sent.
pub(super) fn audio(remote: &RemoteParams, ssrcs: Ssrcs) -> Result<StreamConfig, AnswerError> {
    Ok(StreamConfig {
        kind: MediaKind::Audio,
        codec: Codec::Opus,
        ssrc: ssrcs.audio,
        payload_type: remote.opus()?.id,
        clock_rate: AUDIO_CLOCK_RATE,
        rtx: None,
        others: Vec::new(),
    })
}

/// How pictures are sent: as H.264, or as VP8 where the server does not list that; others beside it.
pub(super) fn video(remote: &RemoteParams, ssrcs: Ssrcs) -> Option<StreamConfig> {
    let (codec, first) = match (remote.h264(), remote.vp8()) {
        (Some(h264), _) => (Codec::H264, h264),
        (None, Some(vp8)) => (Codec::Vp8, vp8),
        (None, None) => return None,
    };
    let others = [(Codec::Vp8, remote.vp8()), (Codec::Vp9, remote.vp9())].into_iter();
    let others = others.filter(|(other, _)| *other != codec).filter_map(|(codec, format)| {
        let VideoFormat { codec: listed, rtx } = format?;
        Some(PayloadFormat { codec, payload_type: listed.id, rtx_payload_type: rtx.map(|rtx| rtx.id) })
    });
    Some(StreamConfig {
        kind: MediaKind::Video,
        others: others.collect(),
        codec,
        ssrc: ssrcs.video,
        payload_type: first.codec.id,
        clock_rate: VIDEO_CLOCK_RATE,
        rtx: first.rtx.map(|rtx| RtxConfig { ssrc: ssrcs.video_rtx, payload_type: rtx.id }),
    })
}
