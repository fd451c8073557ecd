//! The server's side of a join, checked and typed.

use std::fmt;
use std::net::IpAddr;

use super::{Fingerprint, parse};
use crate::peer::{ExtensionIds, names};
use crate::secret::Secret;

/// What a join was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A media connection.
    WebRtc(Box<RemoteParams>),
    /// We only listen, and the media comes in parts through MTProto: there are many listeners
    /// and we may not speak. A new join after being allowed to speak gets a connection.
    Stream,
    /// The call is fed from an encoder over RTMP; nobody can send by WebRTC.
    Rtmp {
        /// Where an admin's encoder connects, if it was told.
        url: Option<Secret<String>>,
        /// What it names itself with.
        key: Option<Secret<String>>,
    },
}

impl Answer {
    /// Reads `updateGroupCallConnection.params`.
    ///
    /// Unknown keys are ignored, and a part that can be done without (one of several candidates,
    /// an odd codec) is skipped and listed in [`RemoteParams::skipped`].
    ///
    /// # Errors
    ///
    /// When what remains cannot make a connection, and when a text that has to go into a session
    /// description holds anything but printable characters.
    pub fn parse(json: &str) -> Result<Self, AnswerError> {
        parse::answer(json)
    }
}

/// A media connection as the server describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteParams {
    /// Where the server is and how to prove that it is the one.
    pub transport: Transport,
    /// Absent in the answer to a presentation, which has the numbers of the main connection.
    pub audio: Option<Section>,
    /// Absent where the server takes no video.
    pub video: Option<Section>,
    /// How others and the data channel call our own camera.
    pub endpoint: Option<String>,
    /// SSRCs on which the server sends padding to measure our downlink.
    pub server_sources: Vec<u32>,
    /// What was left out, for the log.
    pub skipped: Vec<Skipped>,
}

impl RemoteParams {
    /// The payload type of Opus.
    ///
    /// # Errors
    ///
    /// [`AnswerError::NoUsableAudioCodec`] when the server does not list Opus.
    pub fn opus(&self) -> Result<&PayloadType, AnswerError> {
        let found = self.audio.as_ref().and_then(|audio| audio.codec("opus"));
        found.ok_or_else(|| AnswerError::NoUsableAudioCodec {
            listed: self.audio.as_ref().map(Section::codec_names).unwrap_or_default(),
        })
    }

    /// How to send H.264 and its retransmissions; `None` when the server does not list it
    /// ([`video_codec_names`](Self::video_codec_names) are what it has instead).
    pub fn h264(&self) -> Option<VideoFormat<'_>> {
        self.video_format(Section::h264)
    }

    /// The same for VP8, which takes the place of H.264 where that is not listed.
    pub fn vp8(&self) -> Option<VideoFormat<'_>> {
        self.video_format(|video| video.codec("VP8"))
    }

    /// The same for VP9.
    pub fn vp9(&self) -> Option<VideoFormat<'_>> {
        self.video_format(|video| video.codec("VP9"))
    }

    fn video_format(&self, find: impl Fn(&Section) -> Option<&PayloadType>) -> Option<VideoFormat<'_>> {
        let video = self.video.as_ref()?;
        let codec = find(video)?;
        Some(VideoFormat { codec, rtx: video.rtx_of(codec.id) })
    }

    /// The video codecs that the server lists, without retransmission formats.
    pub fn video_codec_names(&self) -> Vec<String> {
        self.video.as_ref().map(Section::codec_names).unwrap_or_default()
    }

    /// The header extensions on audio packets; none when there is no audio.
    pub fn audio_extensions(&self) -> ExtensionIds {
        self.audio.as_ref().map(Section::extension_ids).unwrap_or_default()
    }

    /// The header extensions on video packets; none when there is no video.
    pub fn video_extensions(&self) -> ExtensionIds {
        self.video.as_ref().map(Section::extension_ids).unwrap_or_default()
    }
}

/// A codec of pictures as the answer numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoFormat<'a> {
    /// The codec.
    pub codec: &'a PayloadType,
    /// Its retransmission format, found by `apt`.
    pub rtx: Option<&'a PayloadType>,
}

/// ICE and DTLS parameters of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// ICE user name fragment.
    pub ice_ufrag: String,
    /// ICE password.
    pub ice_pwd: Secret<String>,
    /// Of the certificate that the server must present. The role next to it is not kept:
    /// some answers repeat ours, so only our own role is to be trusted.
    pub fingerprint: Fingerprint,
    /// At least one, in the order of the answer; all UDP.
    pub candidates: Vec<Candidate>,
}

/// An address of the server (RFC 8839, `candidate-attribute`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Equal for candidates of the same kind and base.
    pub foundation: String,
    /// Higher is tried first.
    pub priority: u32,
    /// Address. IPv6 stands here too; routes of it are often broken, so the caller chooses.
    pub ip: IpAddr,
    /// UDP port, not zero.
    pub port: u16,
    /// How the server came to it.
    pub kind: CandidateKind,
}

/// The type of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CandidateKind {
    /// An interface of the server; also written `local`.
    Host,
    /// Seen by a STUN server.
    ServerReflexive,
    /// Seen by a peer.
    PeerReflexive,
    /// On a TURN server.
    Relay,
}

impl CandidateKind {
    /// As session descriptions write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::ServerReflexive => "srflx",
            Self::PeerReflexive => "prflx",
            Self::Relay => "relay",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "host" | "local" => Self::Host,
            "srflx" => Self::ServerReflexive,
            "prflx" => Self::PeerReflexive,
            "relay" => Self::Relay,
            _ => return None,
        })
    }
}

/// Codecs and header extensions of audio or video.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// In the order of the answer; ids are unique.
    pub payload_types: Vec<PayloadType>,
    /// Those that we know, with their ids; ids are unique.
    pub extensions: Vec<(Extension, u8)>,
}

impl Section {
    fn extension_ids(&self) -> ExtensionIds {
        let id = |extension| self.extensions.iter().find(|(known, _)| *known == extension).map(|&(_, id)| id);
        ExtensionIds {
            audio_level: id(Extension::AudioLevel),
            abs_send_time: id(Extension::AbsSendTime),
            transport_cc: id(Extension::TransportCc),
            video_orientation: id(Extension::VideoOrientation),
        }
    }

    /// The first codec of that name, in any case.
    fn codec(&self, name: &str) -> Option<&PayloadType> {
        self.payload_types.iter().find(|codec| codec.is(name))
    }

    /// We fragment large pictures, which `packetization-mode=0` forbids: such an entry is
    /// taken only when there is no other. Telegram's own entry has no parameters at all.
    fn h264(&self) -> Option<&PayloadType> {
        let fragments = |codec: &&PayloadType| codec.parameter("packetization-mode") != Some("0");
        let mut entries = self.payload_types.iter().filter(|codec| codec.is("H264"));
        entries.clone().find(fragments).or_else(|| entries.next())
    }

    fn rtx_of(&self, id: u8) -> Option<&PayloadType> {
        let repairs =
            |codec: &&PayloadType| codec.parameter("apt").and_then(|apt| apt.parse().ok()) == Some(id);
        self.payload_types.iter().filter(|codec| codec.is("rtx")).find(repairs)
    }

    fn codec_names(&self) -> Vec<String> {
        self.payload_types.iter().filter(|codec| !codec.is("rtx")).map(|codec| codec.name.clone()).collect()
    }
}

/// One codec as the server numbers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadType {
    /// In RTP packets.
    pub id: u8,
    /// `opus`, `H264`, `rtx` …
    pub name: String,
    /// Ticks per second of its timestamps.
    pub clock_rate: u32,
    /// Format parameters by key; a value without a key has an empty one.
    pub parameters: Vec<(String, String)>,
    /// The feedback that we know, in the order of the answer.
    pub feedback: Vec<RtcpFeedback>,
}

impl PayloadType {
    /// The value of a format parameter.
    pub fn parameter(&self, key: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// The header extensions that we write or read (RFC 8285).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extension {
    /// How loud an audio packet is (RFC 6464).
    AudioLevel,
    /// When a packet left.
    AbsSendTime,
    /// Transport-wide sequence numbers for congestion control.
    TransportCc,
    /// Rotation of the picture (3GPP TS 26.114).
    VideoOrientation,
}

impl Extension {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::AudioLevel, Self::AbsSendTime, Self::TransportCc, Self::VideoOrientation];

    /// Its name in session descriptions.
    pub const fn uri(self) -> &'static str {
        match self {
            Self::AudioLevel => names::AUDIO_LEVEL,
            Self::AbsSendTime => names::ABS_SEND_TIME,
            Self::TransportCc => names::TRANSPORT_CC,
            Self::VideoOrientation => names::VIDEO_ORIENTATION,
        }
    }
}

/// The RTCP feedback that we act on (RFC 4585, RFC 5104).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RtcpFeedback {
    /// Receiver-side bandwidth estimate.
    GoogRemb,
    /// Arrival times for sender-side estimates.
    TransportCc,
    /// Full intra request.
    CcmFir,
    /// Lost packets.
    Nack,
    /// Picture loss.
    NackPli,
}

impl RtcpFeedback {
    /// As session descriptions write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GoogRemb => "goog-remb",
            Self::TransportCc => "transport-cc",
            Self::CcmFir => "ccm fir",
            Self::Nack => "nack",
            Self::NackPli => "nack pli",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::GoogRemb, Self::TransportCc, Self::CcmFir, Self::Nack, Self::NackPli]
            .into_iter()
            .find(|feedback| feedback.as_str() == name)
    }
}

/// A part of an answer that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Where it stood, such as `transport.candidates[2]`.
    pub field: String,
    /// Why.
    pub why: &'static str,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.why)
    }
}

/// Why an answer cannot make a connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// Longer than any server would write.
    #[error("the answer to the join has {bytes} bytes; at most {limit} are read")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// Not JSON at all.
    #[error("the answer to the join is no JSON")]
    NotJson(#[source] serde_json::Error),
    /// JSON, but no object.
    #[error("the answer to the join is no JSON object")]
    NotAnObject,
    /// The server wants no media from us.
    #[error(
        "the answer to the join has no transport: the call has ended, or this account has no access to it"
    )]
    NoTransport,
    /// Nowhere to send to.
    #[error("the answer to the join has no usable candidate{}", list_skipped(.skipped))]
    NoCandidates {
        /// Those that it has, each with what is wrong.
        skipped: Vec<Skipped>,
    },
    /// The server could be anybody.
    #[error("the answer to the join has no sha-256 fingerprint, so the server cannot be verified")]
    NoFingerprint,
    /// A required value is missing or broken.
    #[error("the answer to the join is broken: {field} {why}")]
    BadField {
        /// Such as `transport.pwd`.
        field: String,
        /// What is wrong, without the value.
        why: &'static str,
    },
    /// A list that no server would make so long.
    #[error("the answer to the join is broken: {field} has more than {limit} entries")]
    TooMany {
        /// Such as `transport.candidates`.
        field: String,
        /// What is allowed.
        limit: usize,
    },
    /// The server does not take Opus, and we have nothing else.
    #[error("the server takes no Opus audio (it lists {})", list_names(.listed))]
    NoUsableAudioCodec {
        /// What it takes.
        listed: Vec<String>,
    },
}

fn list_names(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// The first few, in brackets.
fn list_skipped(skipped: &[Skipped]) -> String {
    const SHOWN: usize = 4;
    if skipped.is_empty() {
        return String::new();
    }
    let shown: Vec<_> = skipped.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = match skipped.len().saturating_sub(SHOWN) {
        0 => String::new(),
        n_more => format!("; and {n_more} more"),
    };
    format!(" ({}{more})", shown.join("; "))
}
