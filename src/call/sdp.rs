//! Session descriptions at the edge of the peer connection: our offer is mined for the join,
//! and the server's parameters become the answer that the peer connection expects.
//!
//! ```text
//! peer ── offer ──► OfferView ──► JoinParams ──► Telegram
//! peer ◄─ answer ── answer()  ◄── RemoteParams ◄─ Telegram
//! ```
//!
//! Telegram itself never sees a session description. The answer is written from numbers,
//! addresses and checked tokens only, and repeats nothing of the offer but the mids. It says
//! `ice-lite` because the server only answers checks and we have to lead, and it states the
//! DTLS role opposite to ours whatever the server's own parameters claim.

use std::fmt::Write as _;

use super::params::{
    AnswerError, Candidate, CandidateKind, Extension, Fingerprint, FingerprintError, JoinParams, PayloadType,
    RemoteParams, Section, Setup, Skipped, VideoFormat, VideoSsrcs,
};
pub use crate::peer::names::H264_FMTP;
use crate::secret::Secret;

/// Both ends of Telegram's SCTP use this port.
const SCTP_PORT: u16 = 5000;
/// What Telegram's clients announce for data-channel messages, in bytes.
const MAX_MESSAGE_SIZE: u32 = 262_144;

/// The Opus parameters of RFC 7587 that a server may set; all have numbers as values.
const OPUS_PARAMETERS: [&str; 9] = [
    "maxplaybackrate",
    "maxaveragebitrate",
    "stereo",
    "sprop-stereo",
    "cbr",
    "useinbandfec",
    "usedtx",
    "minptime",
    "maxptime",
];

/// What a local offer says about us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferView {
    /// ICE user name fragment.
    pub ice_ufrag: String,
    /// ICE password.
    pub ice_pwd: Secret<String>,
    /// Of our certificate.
    pub fingerprint: Fingerprint,
    /// Media sections in their order; an answer needs the same ones.
    pub sections: Vec<OfferSection>,
}

/// One `m=` section of a local offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferSection {
    /// Its identification tag (RFC 5888).
    pub mid: String,
    /// What it is for.
    pub kind: SectionKind,
    /// The streams that are announced, in their order.
    pub ssrcs: Vec<u32>,
    /// Pairs of stream and retransmissions (`FID`, RFC 5576).
    pub repairs: Vec<VideoSsrcs>,
}

/// What a section is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SectionKind {
    /// Opus.
    Audio,
    /// H.264, or VP8.
    Video,
    /// The data channel.
    Application,
}

/// Why a local offer cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// Something that every offer has.
    #[error("the local offer has no {0}")]
    Missing(&'static str),
    /// A fingerprint that is no SHA-256.
    #[error("the local offer has a fingerprint that Telegram does not take")]
    Fingerprint(#[from] FingerprintError),
    /// A section that is neither audio, video nor the data channel.
    #[error("the local offer has a section of an unknown kind: {0}")]
    UnknownSection(String),
    /// An SSRC that is no number.
    #[error("the local offer has an SSRC line that is no SSRC: {0}")]
    Ssrc(String),
}

impl OfferView {
    /// Reads what a join needs from an offer.
    ///
    /// Everything is bundled into one transport, so the first credentials found are ours,
    /// whether they stand above the sections or in one.
    ///
    /// # Errors
    ///
    /// When the offer lacks credentials, a SHA-256 fingerprint or a mid.
    pub fn parse(sdp: &str) -> Result<Self, OfferError> {
        let mut ice_ufrag = None;
        let mut ice_pwd = None;
        let mut fingerprint = None;
        let mut sections: Vec<OfferSection> = Vec::new();
        for line in sdp.lines() {
            if let Some(media) = line.strip_prefix("m=") {
                sections.push(OfferSection {
                    mid: String::new(),
                    kind: section_kind(media)?,
                    ssrcs: Vec::new(),
                    repairs: Vec::new(),
                });
                continue;
            }
            let Some((name, value)) = line.strip_prefix("a=").and_then(|attribute| attribute.split_once(':'))
            else {
                continue;
            };
            match (name, sections.last_mut()) {
                ("ice-ufrag", _) if ice_ufrag.is_none() => ice_ufrag = Some(value.to_owned()),
                ("ice-pwd", _) if ice_pwd.is_none() => ice_pwd = Some(Secret::new(value.to_owned())),
                ("fingerprint", _) if fingerprint.is_none() => {
                    let value = value.strip_prefix(Fingerprint::HASH).ok_or(FingerprintError)?;
                    fingerprint = Some(value.trim().parse()?);
                }
                ("mid", Some(section)) => section.mid = value.to_owned(),
                ("ssrc", Some(section)) => {
                    let ssrc = ssrc(value.split(' ').next().unwrap_or_default(), line)?;
                    if !section.ssrcs.contains(&ssrc) {
                        section.ssrcs.push(ssrc);
                    }
                }
                ("ssrc-group", Some(section)) => {
                    if let ["FID", first, second] = value.split(' ').collect::<Vec<_>>()[..] {
                        let pair = VideoSsrcs { ssrc: ssrc(first, line)?, rtx_ssrc: ssrc(second, line)? };
                        section.repairs.push(pair);
                    }
                }
                _ => {}
            }
        }
        if sections.iter().any(|section| section.mid.is_empty()) {
            return Err(OfferError::Missing("mid"));
        }
        Ok(Self {
            ice_ufrag: ice_ufrag.ok_or(OfferError::Missing("ICE user name"))?,
            ice_pwd: ice_pwd.ok_or(OfferError::Missing("ICE password"))?,
            fingerprint: fingerprint.ok_or(OfferError::Missing("fingerprint"))?,
            sections,
        })
    }

    /// The join that fits this offer: SSRCs are those that it announces.
    ///
    /// # Errors
    ///
    /// When no audio SSRC is announced; without one the server refuses the join.
    pub fn join_params(&self, setup: Setup) -> Result<JoinParams, OfferError> {
        let section = |kind| self.sections.iter().find(|section| section.kind == kind);
        let audio = section(SectionKind::Audio).and_then(|section| section.ssrcs.first());
        Ok(JoinParams {
            ssrc: *audio.ok_or(OfferError::Missing("audio SSRC"))?,
            ice_ufrag: self.ice_ufrag.clone(),
            ice_pwd: self.ice_pwd.clone(),
            fingerprint: self.fingerprint,
            setup,
            video: section(SectionKind::Video).and_then(|section| section.repairs.first()).copied(),
        })
    }
}

fn section_kind(media: &str) -> Result<SectionKind, OfferError> {
    let name = media.split(' ').next().unwrap_or_default();
    Ok(match name {
        "audio" => SectionKind::Audio,
        "video" => SectionKind::Video,
        "application" => SectionKind::Application,
        _ => return Err(OfferError::UnknownSection(name.to_owned())),
    })
}

fn ssrc(text: &str, line: &str) -> Result<u32, OfferError> {
    text.parse().map_err(|_| OfferError::Ssrc(line.to_owned()))
}

/// How to write an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerOptions {
    /// The role that our join announced; the answer states the opposite.
    pub our_setup: Setup,
    /// Keep IPv6 candidates, after the IPv4 ones. Broken IPv6 routes are common and stall ICE.
    pub ipv6: bool,
}

/// The answer to our offer that the server would have written if it wrote any.
///
/// The video section is for H.264, or for VP8 when the server takes no H.264. It is rejected when
/// that is not taken either; the connection then has sound only.
///
/// # Errors
///
/// When the server takes no Opus, and when only IPv6 candidates exist but are not wanted.
pub fn answer(
    offer: &OfferView,
    remote: &RemoteParams,
    options: AnswerOptions,
) -> Result<Secret<String>, AnswerError> {
    let candidates = candidates(&remote.transport.candidates, options.ipv6)?;
    let sections = offer.sections.iter().map(|section| {
        Ok((
            section.mid.as_str(),
            match section.kind {
                SectionKind::Audio => Media::Audio(remote.opus()?),
                SectionKind::Video => match (remote.h264(), remote.vp8()) {
                    (Some(h264), _) => Media::Video(h264, "H264/90000", H264_FMTP),
                    (None, Some(vp8)) => Media::Video(vp8, "VP8/90000", ""),
                    (None, None) => Media::Rejected,
                },
                SectionKind::Application => Media::Application,
            },
        ))
    });
    let sections: Vec<_> = sections.collect::<Result<_, AnswerError>>()?;

    let mut sdp = Sdp::default();
    // Nobody compares origins here, so the session id needs no clock.
    for line in ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0"] {
        sdp.line(line);
    }
    let accepted = sections.iter().filter(|(_, media)| !matches!(media, Media::Rejected));
    sdp.line(format_args!(
        "a=group:BUNDLE{}",
        accepted.fold(String::new(), |mids, (mid, _)| mids + " " + mid)
    ));
    for line in ["a=ice-lite", "a=ice-options:trickle", "a=msid-semantic:WMS *"] {
        sdp.line(line);
    }
    let transport = TransportLines { remote, candidates: &candidates, setup: options.our_setup.opposite() };
    for (mid, media) in sections {
        match media {
            Media::Audio(opus) => {
                sdp.rtp_section("audio", &[opus.id], mid, &transport);
                sdp.codec(opus, "opus/48000/2", &opus_fmtp(opus));
                sdp.extensions(remote.audio.as_ref());
            }
            Media::Video(VideoFormat { codec, rtx }, rtpmap, fmtp) => {
                let ids: Vec<u8> = [Some(codec), rtx].into_iter().flatten().map(|codec| codec.id).collect();
                sdp.rtp_section("video", &ids, mid, &transport);
                sdp.codec(codec, rtpmap, fmtp);
                if let Some(rtx) = rtx {
                    sdp.codec(rtx, "rtx/90000", &format!("apt={}", codec.id));
                }
                sdp.extensions(remote.video.as_ref());
            }
            Media::Application => sdp.application_section(mid, &transport),
            Media::Rejected => {
                sdp.line("m=video 0 UDP/TLS/RTP/SAVPF 0");
                sdp.line("c=IN IP4 0.0.0.0");
                sdp.line(format_args!("a=mid:{mid}"));
                sdp.line("a=inactive");
            }
        }
    }
    Ok(Secret::new(sdp.0))
}

/// What a section of the answer holds.
enum Media<'a> {
    Audio(&'a PayloadType),
    /// How the codec is called, and its parameters.
    Video(VideoFormat<'a>, &'static str, &'static str),
    Application,
    Rejected,
}

/// IPv4 before IPv6, then by priority.
fn candidates(all: &[Candidate], ipv6: bool) -> Result<Vec<&Candidate>, AnswerError> {
    let mut kept: Vec<_> = all.iter().filter(|candidate| ipv6 || candidate.ip.is_ipv4()).collect();
    kept.sort_by_key(|candidate| (candidate.ip.is_ipv6(), std::cmp::Reverse(candidate.priority)));
    if kept.is_empty() {
        let why = "is IPv6, which is switched off";
        let skipped = |idx| Skipped { field: format!("transport.candidates[{idx}]"), why };
        return Err(AnswerError::NoCandidates { skipped: (0..all.len()).map(skipped).collect() });
    }
    Ok(kept)
}

/// Empty when the server sets nothing that RFC 7587 knows.
fn opus_fmtp(opus: &PayloadType) -> String {
    let known = opus.parameters.iter().filter(|(key, value)| {
        OPUS_PARAMETERS.contains(&key.as_str()) && value.bytes().all(|digit| digit.is_ascii_digit())
    });
    known.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(";")
}

struct TransportLines<'a> {
    remote: &'a RemoteParams,
    candidates: &'a [&'a Candidate],
    setup: Setup,
}

/// The text so far.
#[derive(Default)]
struct Sdp(String);

impl Sdp {
    fn line(&mut self, line: impl std::fmt::Display) {
        write!(self.0, "{line}\r\n").expect("writing to a String cannot fail");
    }

    fn rtp_section(&mut self, kind: &str, ids: &[u8], mid: &str, transport: &TransportLines<'_>) {
        let ids = ids.iter().fold(String::new(), |ids, id| format!("{ids} {id}"));
        self.line(format_args!("m={kind} 9 UDP/TLS/RTP/SAVPF{ids}"));
        self.line("c=IN IP4 0.0.0.0");
        self.line("a=rtcp:9 IN IP4 0.0.0.0");
        self.line(format_args!("a=mid:{mid}"));
        self.line("a=rtcp-mux");
        self.line("a=rtcp-rsize");
        self.transport(transport);
        self.line("a=recvonly");
    }

    fn application_section(&mut self, mid: &str, transport: &TransportLines<'_>) {
        self.line("m=application 9 UDP/DTLS/SCTP webrtc-datachannel");
        self.line("c=IN IP4 0.0.0.0");
        self.line(format_args!("a=mid:{mid}"));
        self.transport(transport);
        self.line(format_args!("a=sctp-port:{SCTP_PORT}"));
        self.line(format_args!("a=max-message-size:{MAX_MESSAGE_SIZE}"));
    }

    fn transport(&mut self, lines: &TransportLines<'_>) {
        let transport = &lines.remote.transport;
        self.line(format_args!("a=ice-ufrag:{}", transport.ice_ufrag));
        self.line(format_args!("a=ice-pwd:{}", transport.ice_pwd.expose()));
        self.line(format_args!("a=fingerprint:{} {}", Fingerprint::HASH, transport.fingerprint));
        self.line(format_args!("a=setup:{}", lines.setup));
        for Candidate { foundation, priority, ip, port, kind } in lines.candidates {
            // RFC 8839 section 5.1: a base that is not told has this address and port.
            let base = match (kind, ip.is_ipv4()) {
                (CandidateKind::Host, _) => "",
                (_, true) => " raddr 0.0.0.0 rport 9",
                (_, false) => " raddr :: rport 9",
            };
            let kind = kind.as_str();
            self.line(format_args!(
                "a=candidate:{foundation} 1 udp {priority} {ip} {port} typ {kind}{base} generation 0"
            ));
        }
    }

    fn codec(&mut self, codec: &PayloadType, rtpmap: &str, fmtp: &str) {
        let id = codec.id;
        self.line(format_args!("a=rtpmap:{id} {rtpmap}"));
        if !fmtp.is_empty() {
            self.line(format_args!("a=fmtp:{id} {fmtp}"));
        }
        for feedback in &codec.feedback {
            self.line(format_args!("a=rtcp-fb:{id} {}", feedback.as_str()));
        }
    }

    fn extensions(&mut self, section: Option<&Section>) {
        for (extension, id) in section.iter().flat_map(|section| &section.extensions) {
            self.line(format_args!("a=extmap:{id} {}", Extension::uri(*extension)));
        }
    }
}

#[cfg(test)]
mod tests;
