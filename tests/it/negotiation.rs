//! The WebRTC engine against recorded answers: does it take the session description that we
//! write for the server, and does it then send with the server's numbers?

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rtc::peer_connection::configuration::media_engine::{
    MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_RTX, MIME_TYPE_VP8, MediaEngine,
};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RTCRtpHeaderExtensionCapability, RTCRtpRtxParameters, RtpCodecKind,
};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverId, RTCRtpTransceiverInit};
use telecast::call::params::{Answer, Extension, RemoteParams, Setup, VideoSsrcs};
use telecast::call::sdp::{AnswerOptions, H264_FMTP, OfferView, answer};
use telecast::media::AudioLevel;
use telecast::peer::{Peer, Ssrcs};
use telecast::rtp;
use telecast::rtp::clock::NtpAnchor;

const SSRCS: Ssrcs = Ssrcs { audio: 3_410_846_965, video: 3_410_846_966, video_rtx: 3_410_846_967 };

const OPTIONS: AnswerOptions = AnswerOptions { our_setup: Setup::Passive, ipv6: true };

fn golden(name: &str) -> RemoteParams {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/join").join(name);
    let json = std::fs::read_to_string(path).expect("golden answers are committed");
    match Answer::parse(&json) {
        Ok(Answer::WebRtc(remote)) => *remote,
        other => panic!("{other:?}"),
    }
}

#[expect(clippy::disallowed_methods, reason = "a test has to begin somewhere")]
fn start() -> Instant {
    Instant::now()
}

fn codec(mime_type: &str, clock_rate: u32, channels: u16, fmtp: &str) -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: mime_type.to_owned(),
        clock_rate,
        channels,
        sdp_fmtp_line: fmtp.to_owned(),
        rtcp_feedback: Vec::new(),
    }
}

/// A connection whose offer has other payload types and extension ids than any recorded answer.
struct Engine {
    pc: RTCPeerConnection,
    audio: RTCRtpTransceiverId,
    video: RTCRtpTransceiverId,
    offer: OfferView,
}

impl Engine {
    fn new(now: Instant) -> Self {
        let opus = codec(MIME_TYPE_OPUS, 48_000, 2, "minptime=10;useinbandfec=1");
        let h264 = codec(MIME_TYPE_H264, 90_000, 0, H264_FMTP);
        let rtx = |fmtp| codec(MIME_TYPE_RTX, 90_000, 0, fmtp);
        let mut media = MediaEngine::default();
        for (rtp_codec, payload_type, kind) in [
            (opus.clone(), 96, RtpCodecKind::Audio),
            (h264.clone(), 97, RtpCodecKind::Video),
            (rtx("apt=97"), 98, RtpCodecKind::Video),
            (codec(MIME_TYPE_VP8, 90_000, 0, ""), 120, RtpCodecKind::Video),
            (rtx("apt=120"), 121, RtpCodecKind::Video),
        ] {
            media.register_codec(RTCRtpCodecParameters { rtp_codec, payload_type }, kind).unwrap();
        }
        for (extension, kinds) in [
            (Extension::VideoOrientation, &[RtpCodecKind::Video][..]),
            (Extension::TransportCc, &[RtpCodecKind::Audio, RtpCodecKind::Video]),
            (Extension::AudioLevel, &[RtpCodecKind::Audio]),
            (Extension::AbsSendTime, &[RtpCodecKind::Audio, RtpCodecKind::Video]),
        ] {
            for kind in kinds {
                let uri = extension.uri().to_owned();
                media
                    .register_header_extension(RTCRtpHeaderExtensionCapability { uri }, *kind, None)
                    .unwrap();
            }
        }
        let mut pc = RTCPeerConnectionBuilder::new().with_media_engine(media).build(now).unwrap();
        let mut add = |kind, codec: RTCRtpCodec, ssrc, rtx: Option<u32>| {
            let encoding = RTCRtpEncodingParameters {
                rtp_coding_parameters: RTCRtpCodingParameters {
                    ssrc: Some(ssrc),
                    rtx: rtx.map(|ssrc| RTCRtpRtxParameters { ssrc }),
                    ..RTCRtpCodingParameters::default()
                },
                active: true,
                codec,
                ..RTCRtpEncodingParameters::default()
            };
            let init = RTCRtpTransceiverInit {
                direction: RTCRtpTransceiverDirection::Sendonly,
                streams: Vec::new(),
                send_encodings: vec![encoding],
            };
            pc.add_transceiver_from_kind(kind, Some(init)).unwrap()
        };
        let audio = add(RtpCodecKind::Audio, opus, SSRCS.audio, None);
        let video = add(RtpCodecKind::Video, h264, SSRCS.video, Some(SSRCS.video_rtx));
        pc.create_data_channel("data", None).unwrap();
        let offer = pc.create_offer(None).unwrap();
        let view = OfferView::parse(&offer.sdp).unwrap();
        pc.set_local_description(now, offer).unwrap();
        Self { pc, audio, video, offer: view }
    }

    fn apply(&mut self, remote: &RemoteParams, now: Instant) {
        let sdp = answer(&self.offer, remote, OPTIONS).unwrap();
        let sdp = RTCSessionDescription::answer(sdp.expose().clone()).unwrap();
        self.pc.set_remote_description(now, sdp).unwrap();
    }

    /// Codecs as `id name fmtp` and extensions as `id uri` that a transceiver will send with.
    fn negotiated(&mut self, transceiver: RTCRtpTransceiverId) -> (Vec<String>, Vec<String>) {
        let sender = self.pc.rtp_transceiver(transceiver).unwrap().sender().unwrap();
        let mut sender = self.pc.rtp_sender(sender).unwrap();
        let parameters = &sender.get_parameters().rtp_parameters;
        let codec = |codec: &RTCRtpCodecParameters| {
            format!("{} {} {}", codec.payload_type, codec.rtp_codec.mime_type, codec.rtp_codec.sdp_fmtp_line)
        };
        let codecs = parameters.codecs.iter().map(codec).collect();
        let extensions =
            parameters.header_extensions.iter().map(|known| format!("{:02} {}", known.id, known.uri));
        let mut extensions: Vec<_> = extensions.collect();
        extensions.sort();
        (codecs, extensions)
    }
}

#[test]
fn the_offer_announces_our_ssrcs() {
    let offer = Engine::new(start()).offer;
    let join = offer.join_params(Setup::Passive).unwrap();
    assert_eq!(join.ssrc, SSRCS.audio);
    assert_eq!(join.video, Some(VideoSsrcs { ssrc: SSRCS.video, rtx_ssrc: SSRCS.video_rtx }));
    assert!(
        join.to_json()
            .expose()
            .contains(r#""ssrc-groups":[{"semantics":"FID","sources":[-884120330,-884120329]}]"#)
    );
}

#[test]
fn the_numbers_of_the_answer_win() {
    let now = start();
    for (file, rtx, orientation) in [("answer-webrtc.json", 105, true), ("answer-ugly.json", 107, false)] {
        let mut engine = Engine::new(now);
        engine.apply(&golden(file), now);

        let (codecs, extensions) = engine.negotiated(engine.audio);
        assert_eq!(codecs, ["111 audio/opus minptime=10;useinbandfec=1"]);
        assert_eq!(
            extensions,
            [
                format!("01 {}", Extension::AudioLevel.uri()),
                format!("02 {}", Extension::AbsSendTime.uri()),
                format!("03 {}", Extension::TransportCc.uri()),
            ]
        );

        let (codecs, extensions) = engine.negotiated(engine.video);
        assert_eq!(codecs, [format!("104 video/H264 {H264_FMTP}"), format!("{rtx} video/rtx apt=104")]);
        let mut expected = vec![
            format!("02 {}", Extension::AbsSendTime.uri()),
            format!("03 {}", Extension::TransportCc.uri()),
        ];
        expected.extend(orientation.then(|| format!("13 {}", Extension::VideoOrientation.uri())));
        assert_eq!(extensions, expected, "{file}");
    }
}

#[test]
fn vp8_takes_the_place_of_h264_where_the_server_does_not_take_that() {
    let now = start();
    let mut engine = Engine::new(now);
    engine.apply(&golden("answer-without-h264.json"), now);
    let (codecs, _) = engine.negotiated(engine.video);
    assert_eq!(codecs, ["100 video/VP8 ", "101 video/rtx apt=100"]);
}

#[test]
fn sound_goes_on_where_the_server_takes_neither_h264_nor_vp8() {
    let now = start();
    let mut engine = Engine::new(now);
    let mut remote = golden("answer-without-h264.json");
    remote.video.as_mut().unwrap().payload_types.retain(|listed| listed.name != "VP8");
    engine.apply(&remote, now);
    let audio = engine.audio;
    assert_eq!(engine.negotiated(audio).0, ["111 audio/opus minptime=10;useinbandfec=1"]);
    let video = engine.pc.rtp_transceiver(engine.video).unwrap();
    assert_eq!(video.current_direction(), RTCRtpTransceiverDirection::Inactive);
}

/// The connection that calls use, not the one above.
#[test]
fn the_peer_takes_every_recorded_answer_and_starts_ice() {
    let now = start();
    let anchor = NtpAnchor::new(now, std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    for file in ["answer-webrtc.json", "answer-ugly.json", "answer-minimal.json", "answer-without-h264.json"]
    {
        let remote = golden(file);
        let mut peer = Peer::new(SSRCS, anchor, now).unwrap();
        let offer = OfferView::parse(peer.offer()).unwrap();
        assert_eq!(offer.join_params(Setup::Passive).unwrap().ssrc, SSRCS.audio);
        let options = AnswerOptions { ipv6: false, ..OPTIONS };
        let sdp = answer(&offer, &remote, options).unwrap().expose().clone();
        let local = SocketAddr::from(([192, 0, 2, 7], 40_000));
        peer.handle_answer(sdp, local, remote.audio_extensions(), remote.video_extensions(), now).unwrap();

        let mut checked = Vec::new();
        for step in 1..=50 {
            peer.handle_timeout(now + step * Duration::from_millis(20));
            while let Some(transmit) = peer.poll_transmit() {
                checked.push(transmit.to);
            }
        }
        let server = remote.transport.candidates.iter().filter(|candidate| candidate.ip.is_ipv4());
        for candidate in server {
            let to = SocketAddr::from((candidate.ip, candidate.port));
            assert!(checked.contains(&to), "{file}: no check was sent to {to}, only to {checked:?}");
        }
        let packet = rtp::Packet {
            ssrc: SSRCS.audio,
            payload_type: remote.opus().unwrap().id,
            sequence_number: 1,
            timestamp: 1,
            marker: false,
            audio_level: Some(AudioLevel::SILENCE),
            is_repeatable: false,
            rotation: None,
            payload: bytes::Bytes::from_static(b"opus"),
        };
        peer.send_rtp(packet, now).unwrap();
    }
}
