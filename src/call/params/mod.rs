//! What goes to Telegram with a join, and what comes back: JSON strings ⇄ types.
//!
//! ```text
//! JoinParams ── to_json ──► phone.joinGroupCall(params)
//! Answer     ◄── parse ───  updateGroupCallConnection.params
//! ```
//!
//! The join says who we are on the wire (ICE credentials, certificate, SSRCs); the answer says
//! where the server is and how it numbers codecs and header extensions. Neither is a session
//! description: [`sdp`](super::sdp) turns them into one.
//!
//! Nothing that a server writes leaves this module unchecked: an [`Answer`] holds numbers,
//! addresses and printable text without spaces, so no line break can reach a session
//! description.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::peer::Ssrcs;
use crate::secret::Secret;

mod answer;
mod parse;
#[cfg(test)]
mod tests;

pub use answer::{
    Answer, AnswerError, Candidate, CandidateKind, Extension, PayloadType, RemoteParams, RtcpFeedback,
    Section, Skipped, Transport, VideoFormat,
};
pub use parse::MAX_ANSWER_BYTES;

/// Our side of a join.
///
/// No candidates: the server learns our address from the first connectivity check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinParams {
    /// The audio SSRC, not zero; others see it as our `source`.
    pub ssrc: u32,
    /// ICE user name fragment of the local offer.
    pub ice_ufrag: String,
    /// ICE password of the local offer.
    pub ice_pwd: Secret<String>,
    /// Of the certificate that we present in DTLS.
    pub fingerprint: Fingerprint,
    /// Our DTLS role.
    pub setup: Setup,
    /// The camera's SSRCs; `None` announces no video, and none can be added later.
    pub video: Option<VideoSsrcs>,
}

impl JoinParams {
    /// The string for `dataJSON.data`.
    ///
    /// SSRCs are signed 32-bit numbers there, as everywhere in TL.
    pub fn to_json(&self) -> Secret<String> {
        let wire = JoinWire {
            ssrc: self.ssrc.cast_signed(),
            ufrag: &self.ice_ufrag,
            pwd: self.ice_pwd.expose(),
            fingerprints: [FingerprintWire {
                hash: Fingerprint::HASH,
                setup: self.setup.as_str(),
                fingerprint: self.fingerprint.to_string(),
            }],
            ssrc_groups: self
                .video
                .iter()
                .map(|video| GroupWire {
                    semantics: "FID",
                    sources: [video.ssrc.cast_signed(), video.rtx_ssrc.cast_signed()],
                })
                .collect(),
        };
        Secret::new(serde_json::to_string(&wire).expect("strings and numbers always serialize"))
    }
}

/// The join as JSON; the order of the fields is the order of the keys.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct JoinWire<'a> {
    ssrc: i32,
    ufrag: &'a str,
    pwd: &'a str,
    fingerprints: [FingerprintWire; 1],
    ssrc_groups: Vec<GroupWire>,
}

#[derive(Serialize)]
struct FingerprintWire {
    hash: &'static str,
    setup: &'static str,
    fingerprint: String,
}

#[derive(Serialize)]
struct GroupWire {
    semantics: &'static str,
    sources: [i32; 2],
}

/// The camera's stream and the one that repairs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VideoSsrcs {
    /// The H.264 stream.
    pub ssrc: u32,
    /// Its retransmissions (RFC 4588).
    pub rtx_ssrc: u32,
}

/// SSRCs for one connection, numbered as Telegram's own clients do: audio A, video A + 1,
/// retransmissions A + 2, from a random A that is not zero. All three have 31 bits, so their
/// signed form in TL is positive.
///
/// A rejoin needs new ones: the server refuses an SSRC that it still knows.
pub fn random_ssrcs(rng: &mut fastrand::Rng) -> Ssrcs {
    let audio = rng.u32(1..=0x7fff_ffff - 2);
    Ssrcs { audio, video: audio + 1, video_rtx: audio + 2 }
}

/// A DTLS role as session descriptions write it (RFC 4145, RFC 8842): that of whoever says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Setup {
    /// Waits for the ClientHello: the DTLS server.
    Passive,
    /// Sends the ClientHello: the DTLS client.
    Active,
}

impl Setup {
    /// The role of the other side.
    pub const fn opposite(self) -> Self {
        match self {
            Self::Passive => Self::Active,
            Self::Active => Self::Passive,
        }
    }

    /// `passive` or `active`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passive => "passive",
            Self::Active => "active",
        }
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The SHA-256 of a DTLS certificate; the only hash that any Telegram client uses.
///
/// Reads and writes as `AB:CD:…` (RFC 8122), upper case when written.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The name of the hash in JSON and SDP.
    pub const HASH: &'static str = "sha-256";
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, byte) in self.0.iter().enumerate() {
            let colon = if idx == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {self}", Self::HASH)
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().filter(|pair| pair.len() == 2).ok_or(FingerprintError)?;
            if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(FingerprintError);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| FingerprintError)?;
        }
        if pairs.next().is_some() { Err(FingerprintError) } else { Ok(Self(bytes)) }
    }
}

/// A text that is no SHA-256 fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sha-256 fingerprint has 32 bytes written as two hexadecimal digits, with colons between")]
pub struct FingerprintError;
