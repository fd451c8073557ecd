//! The names that offer, answer and engine have to spell alike; a format or an extension that one
//! of them spells otherwise is not negotiated.

/// The format of the H.264 that we send: constrained baseline 3.1 in packetization mode 1, which
/// every receiver decodes.
///
/// The server lists H.264 without parameters, and a strict peer connection takes that for
/// another format than the one it offered; the answer has to say the same.
pub const H264_FMTP: &str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";

/// Our one data channel's label; the SFU knows no other.
pub const CHANNEL_LABEL: &str = "data";

/// Loudness of the sound in a packet (RFC 6464).
pub const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
/// Absolute send time, 24 bits of NTP.
pub const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
/// Transport-wide sequence numbers for congestion control.
pub const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
/// Rotation of the picture (3GPP TS 26.114).
pub const VIDEO_ORIENTATION: &str = "urn:3gpp:video-orientation";
