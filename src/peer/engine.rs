//! Sets up the `rtc` engine the way Telegram's SFU wants it, and fills its packet type.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc::data_channel::RTCDataChannelId;
use rtc::ice::mdns::MulticastDnsMode;
use rtc::interceptor::{Registry, Slot};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::{
    MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_RTX, MIME_TYPE_VP8, MediaEngine,
};
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::transport::{CandidateConfig, CandidateHostConfig, RTCIceCandidate};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RTCRtpHeaderExtensionCapability, RTCRtpRtxParameters, RtpCodecKind,
};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use rtc::shared::error::Error;
use rtc::statistics::StatsSelector;

use super::ear::Ear;
use super::names::{ABS_SEND_TIME, AUDIO_LEVEL, CHANNEL_LABEL, H264_FMTP, TRANSPORT_CC, VIDEO_ORIENTATION};
use super::srtp::Srtp;
use super::tap::Tap;
use super::{ExtensionIds, IceChecks, PeerError, Ssrcs};
use crate::rtp;

/// Opus as the SFU lists it.
const OPUS: u8 = 111;
/// H.264 as the SFU lists it.
const H264: u8 = 104;
/// Retransmitted H.264 as the SFU lists it.
const H264_RTX: u8 = 105;
/// VP8 as the SFU lists it.
const VP8: u8 = 100;
/// Retransmitted VP8 as the SFU lists it.
const VP8_RTX: u8 = 101;

/// ICE checks and the nomination happen on ticks of this length. The engine's own 200 ms would
/// cost two of them before DTLS can start.
const ICE_CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// A pair without any answer is given up after this many checks: 5 s at the interval above.
const ICE_MAX_CHECKS: u16 = 250;

/// Where our interceptor stands: nearest to the application.
const TAP_SLOT: usize = 14_000;

/// The RTP header extension form with one-byte headers (RFC 8285 §4.2).
const ONE_BYTE_EXTENSIONS: u16 = 0xBEDE;

/// What [`build`] makes.
pub(super) struct Engine {
    pub(super) pc: RTCPeerConnection,
    pub(super) channel: RTCDataChannelId,
    pub(super) offer: String,
    pub(super) rtcp: mpsc::Receiver<Bytes>,
    pub(super) srtp: Srtp,
}

/// Puts the engine's error into ours.
pub(super) fn failed(doing: &'static str) -> impl FnOnce(Error) -> PeerError {
    move |source| PeerError::Engine { doing, source: Box::new(source) }
}

/// A connection with one audio stream, one video stream and the data channel, in this order.
pub(super) fn build(ssrcs: Ssrcs, now: Instant) -> Result<Engine, PeerError> {
    let (tap, rtcp) = Tap::new();
    let crypto = rtc::crypto::default_provider()
        .map_err(|error| PeerError::Engine { doing: "find its cryptography", source: Box::new(error) })?;
    let (ear, heard) = Ear::new(crypto.clone());
    let settings = SettingEngineBuilder::new()
        .with_crypto_provider(Arc::new(ear))
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        .with_include_loopback_candidate(true)
        .with_ice_connection_attempts(Some(ICE_CHECK_INTERVAL), Some(ICE_MAX_CHECKS))
        .build();
    let mut pc = RTCPeerConnectionBuilder::new()
        .with_media_engine(media_engine().map_err(failed("register codecs"))?)
        .with_setting_engine(settings)
        .with_interceptor_registry(Registry::new().with(Slot::from(TAP_SLOT), tap))
        .build(now)
        .map_err(failed("start"))?;

    add_stream(&mut pc, RtpCodecKind::Audio, opus(), ssrcs.audio, None)?;
    add_stream(
        &mut pc,
        RtpCodecKind::Video,
        video(MIME_TYPE_H264, H264_FMTP),
        ssrcs.video,
        Some(ssrcs.video_rtx),
    )?;
    let channel = pc.create_data_channel(CHANNEL_LABEL, None).map_err(failed("add the data channel"))?.id();
    let offer = pc.create_offer(None).map_err(failed("make an offer"))?;
    let sdp = offer.sdp.clone();
    pc.set_local_description(now, offer).map_err(failed("apply its own offer"))?;
    Ok(Engine { pc, channel, offer: sdp, rtcp, srtp: Srtp::new(crypto, heard) })
}

/// Tells ICE where our socket is.
pub(super) fn add_local_candidate(pc: &mut RTCPeerConnection, local: SocketAddr) -> Result<(), PeerError> {
    let base_config = CandidateConfig {
        network: "udp".to_owned(),
        address: local.ip().to_string(),
        port: local.port(),
        component: 1,
        ..CandidateConfig::default()
    };
    let candidate = CandidateHostConfig { base_config, ..CandidateHostConfig::default() };
    let candidate = candidate.new_candidate_host().map_err(failed("name the local address"))?;
    let candidate = RTCIceCandidate::from(&candidate).to_json().map_err(failed("name the local address"))?;
    pc.add_local_candidate(candidate).map_err(failed("use the local address"))
}

/// What ICE has measured on the pair that it has chosen.
pub(super) fn ice_checks(pc: &mut RTCPeerConnection, now: Instant) -> Option<IceChecks> {
    let report = pc.get_stats(now, StatsSelector::None);
    // The engine fills in its checks for the chosen pair only.
    let pair = report.candidate_pairs().max_by_key(|pair| pair.requests_sent)?;
    let seconds = |value: f64| Duration::try_from_secs_f64(value).unwrap_or_default();
    Some(IceChecks {
        requests_sent: pair.requests_sent,
        responses_received: pair.responses_received,
        round_trip_time: seconds(pair.current_round_trip_time),
        total_round_trip_time: seconds(pair.total_round_trip_time),
    })
}

/// Our packet in the engine's type, with its header extensions written.
///
/// `ntp` is the time of sending, `sequence` the connection's transport-wide number.
pub(super) fn rtp_packet(
    packet: rtp::Packet,
    ids: ExtensionIds,
    sequence: u16,
    ntp: u64,
) -> rtc::rtp::Packet {
    let mut extensions = Vec::with_capacity(4);
    let mut add = |id: Option<u8>, payload: Bytes| {
        if let Some(id) = id {
            extensions.push(rtc::rtp::header::Extension { id, payload });
        }
    };
    if let Some(level) = packet.audio_level {
        // RFC 6464: the top bit says "voice"; the SFU forwards by it, so everything audible has it.
        let voice = if level == crate::media::AudioLevel::SILENCE { 0 } else { 0x80 };
        add(ids.audio_level, Bytes::copy_from_slice(&[voice | level.neg_dbov()]));
    }
    if !packet.is_repeatable {
        // 6.18 fixed point seconds: bits 14 to 38 of the NTP fraction's side.
        let [.., a, b, c] = (ntp >> 14).to_be_bytes();
        add(ids.abs_send_time, Bytes::copy_from_slice(&[a, b, c]));
        add(ids.transport_cc, Bytes::copy_from_slice(&sequence.to_be_bytes()));
    }
    if let Some(rotation) = packet.rotation {
        add(ids.video_orientation, Bytes::copy_from_slice(&[rotation & 3]));
    }
    rtc::rtp::Packet {
        header: rtc::rtp::Header {
            version: 2,
            extension: !extensions.is_empty(),
            marker: packet.marker,
            payload_type: packet.payload_type,
            sequence_number: packet.sequence_number,
            timestamp: packet.timestamp,
            ssrc: packet.ssrc,
            extension_profile: ONE_BYTE_EXTENSIONS,
            extensions,
            ..rtc::rtp::Header::default()
        },
        payload: packet.payload,
    }
}

fn media_engine() -> Result<MediaEngine, Error> {
    let mut engine = MediaEngine::default();
    engine.register_codec(parameters(OPUS, opus()), RtpCodecKind::Audio)?;
    engine.register_codec(parameters(H264, video(MIME_TYPE_H264, H264_FMTP)), RtpCodecKind::Video)?;
    engine.register_codec(parameters(H264_RTX, rtx(H264)), RtpCodecKind::Video)?;
    engine.register_codec(parameters(VP8, video(MIME_TYPE_VP8, "")), RtpCodecKind::Video)?;
    engine.register_codec(parameters(VP8_RTX, rtx(VP8)), RtpCodecKind::Video)?;
    for (uri, kinds) in [
        (AUDIO_LEVEL, &[RtpCodecKind::Audio][..]),
        (ABS_SEND_TIME, &[RtpCodecKind::Audio, RtpCodecKind::Video]),
        (TRANSPORT_CC, &[RtpCodecKind::Audio, RtpCodecKind::Video]),
        (VIDEO_ORIENTATION, &[RtpCodecKind::Video]),
    ] {
        for kind in kinds {
            let extension = RTCRtpHeaderExtensionCapability { uri: uri.to_owned() };
            engine.register_header_extension(extension, *kind, None)?;
        }
    }
    Ok(engine)
}

fn add_stream(
    pc: &mut RTCPeerConnection,
    kind: RtpCodecKind,
    codec: RTCRtpCodec,
    ssrc: u32,
    rtx: Option<u32>,
) -> Result<(), PeerError> {
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            ssrc: Some(ssrc),
            rtx: rtx.map(|ssrc| RTCRtpRtxParameters { ssrc }),
            ..RTCRtpCodingParameters::default()
        },
        codec,
        active: true,
        ..RTCRtpEncodingParameters::default()
    };
    let name = format!("telecast-{kind}");
    let track =
        MediaStreamTrack::new("telecast".to_owned(), name.clone(), name, kind, vec![encoding.clone()]);
    let init = RTCRtpTransceiverInit {
        direction: RTCRtpTransceiverDirection::Sendonly,
        streams: Vec::new(),
        send_encodings: vec![encoding],
    };
    pc.add_transceiver_from_track(track, Some(init)).map_err(failed("add a stream"))?;
    Ok(())
}

fn parameters(payload_type: u8, rtp_codec: RTCRtpCodec) -> RTCRtpCodecParameters {
    RTCRtpCodecParameters { rtp_codec, payload_type }
}

fn opus() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_OPUS.to_owned(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
        rtcp_feedback: feedback(&[("transport-cc", "")]),
    }
}

fn video(mime_type: &str, fmtp: &str) -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: mime_type.to_owned(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: fmtp.to_owned(),
        rtcp_feedback: feedback(&[
            ("goog-remb", ""),
            ("transport-cc", ""),
            ("ccm", "fir"),
            ("nack", ""),
            ("nack", "pli"),
        ]),
    }
}

fn rtx(of: u8) -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_RTX.to_owned(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: format!("apt={of}"),
        rtcp_feedback: Vec::new(),
    }
}

fn feedback(pairs: &[(&str, &str)]) -> Vec<RTCPFeedback> {
    let feedback = |&(typ, parameter): &(&str, &str)| RTCPFeedback {
        typ: typ.to_owned(),
        parameter: parameter.to_owned(),
    };
    pairs.iter().map(feedback).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_orientation_is_written_only_under_a_negotiated_id() {
        let packet = rtp::Packet {
            ssrc: 1,
            payload_type: H264,
            sequence_number: 2,
            timestamp: 3,
            marker: true,
            audio_level: None,
            rotation: Some(1),
            is_repeatable: false,
            payload: Bytes::from_static(b"x"),
        };
        let written = |video_orientation| {
            let ids = ExtensionIds { video_orientation, ..ExtensionIds::default() };
            rtp_packet(packet.clone(), ids, 0, 0).header.extensions
        };
        assert_eq!(written(None), []);
        let [extension] = &written(Some(13))[..] else { panic!("one extension") };
        assert_eq!((extension.id, &extension.payload[..]), (13, &[1][..]));
    }

    #[test]
    fn what_may_leave_twice_is_the_same_both_times() {
        let ids = ExtensionIds { abs_send_time: Some(2), transport_cc: Some(3), ..ExtensionIds::default() };
        let packet = rtp::Packet {
            ssrc: 1,
            payload_type: H264,
            sequence_number: 2,
            timestamp: 3,
            marker: true,
            audio_level: None,
            rotation: None,
            is_repeatable: true,
            payload: Bytes::from_static(b"x"),
        };
        let at = |sequence, ntp| rtp_packet(packet.clone(), ids, sequence, ntp);
        assert_eq!(at(1, 1 << 40), at(2, 2 << 40));
        let once = rtp::Packet { is_repeatable: false, ..packet.clone() };
        assert_eq!(rtp_packet(once, ids, 1, 1 << 40).header.extensions.len(), 2);
    }
}
