//! One participant's connection: datagrams in and out, RTP and data-channel events between.
//!
//! A thin coat over `str0m` that keeps its contract (after every change, poll until it asks
//! for time) and hides from it where the participant really is (see [`super::ice`]).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::change::SdpOffer;
use str0m::config::{DtlsCert, Fingerprint};
use str0m::crypto::CryptoProvider;
use str0m::format::{Codec, FormatParams, PayloadParams};
use str0m::ice::StunMessage;
use str0m::media::{Frequency, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionMap, RtpWrite, Ssrc};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc, RtcConfig};

use super::answer::{ABS_SEND_TIME_ID, AUDIO_LEVEL_ID, ORIENTATION_ID, TRANSPORT_CC_ID};
use super::ice::IceFront;
use super::payload::{JoinPayload, Setup};
use crate::secret::Secret;

/// Opus, and after it the video codecs with their RTX, as the answer numbers them.
pub(super) const OPUS_PT: u8 = 111;
/// Payload type of each video codec and of its RTX.
const VIDEO_PTS: [(u8, u8, Codec); 3] =
    [(100, 101, Codec::Vp8), (102, 103, Codec::Vp9), (104, 105, Codec::H264)];

/// Reports go out once per second for audio and video alike, as libwebrtc's do for video.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How often the stack counts what it has sent and received.
const STATS_INTERVAL: Duration = Duration::from_millis(500);

/// How much of a forwarded stream can be repaired: packets and age.
const RTX_CACHE: (usize, Duration) = (2000, Duration::from_secs(3));

/// What all connections of one server share.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) local: SocketAddr,
    crypto: Arc<CryptoProvider>,
    cert: DtlsCert,
}

impl Site {
    /// A server at `local` with a certificate of its own.
    pub(super) fn new(local: SocketAddr) -> Self {
        let crypto = Arc::new(str0m::crypto::from_feature_flags());
        let cert =
            crypto.dtls_provider.generate_certificate().expect("the bundled provider makes certificates");
        Self { local, crypto, cert }
    }

    fn config(&self, creds: &IceCreds) -> RtcConfig {
        RtcConfig::new()
            .set_crypto_provider(self.crypto.clone())
            .set_dtls_cert(self.cert.clone())
            .set_local_ice_credentials(creds.clone())
            .set_ice_lite(true)
            .set_rtp_mode(true)
            .set_stats_interval(Some(STATS_INTERVAL))
            .set_rtcp_report_interval_audio(REPORT_INTERVAL)
            .set_rtcp_report_interval_video(REPORT_INTERVAL)
            .clear_codecs()
    }
}

/// One participant's connection.
#[derive(Debug)]
pub(super) struct Transport {
    rtc: Rtc,
    ice: IceFront,
    local: SocketAddr,
    ufrag: String,
    pwd: Secret<String>,
    /// The DTLS role to take when the first check comes; `None` afterwards.
    pending_setup: Option<Setup>,
    timeout: Instant,
    failure: Option<String>,
}

/// What a connection wants done after a change.
#[derive(Debug, Default)]
pub(super) struct Drained {
    pub(super) datagrams: Vec<(SocketAddr, Vec<u8>)>,
    pub(super) events: Vec<Event>,
    /// A valid connectivity check was among the input.
    pub(super) checked: bool,
}

impl Transport {
    /// A connection for a client that joined with Telegram's JSON. `n` is unique on this server.
    pub(super) fn native(site: &Site, payload: &JoinPayload, n: u64, now: Instant) -> Self {
        let creds = IceCreds { ufrag: random_text(14), pass: random_text(26) };
        let mut config = site.config(&creds).set_extension_map(extensions());
        let codecs = config.codec_config();
        let opus =
            FormatParams { min_p_time: Some(10), use_inband_fec: Some(true), ..FormatParams::default() };
        codecs.add_config(OPUS_PT.into(), None, Codec::Opus, Frequency::FORTY_EIGHT_KHZ, Some(2), opus);
        for (pt, rtx, codec) in VIDEO_PTS {
            let params = FormatParams::default();
            codecs.add_config(pt.into(), Some(rtx.into()), codec, Frequency::NINETY_KHZ, None, params);
        }
        let mut rtc = config.build(now);
        rtc.add_local_candidate(host(site.local));
        let remote = IceCreds { ufrag: payload.ufrag.clone(), pass: payload.pwd.expose().clone() };
        let mut direct = rtc.direct_api();
        direct.set_remote_ice_credentials(remote);
        direct.set_remote_fingerprint(Fingerprint {
            hash_func: "sha-256".into(),
            bytes: payload.fingerprint.clone(),
        });
        direct.enable_twcc_feedback();
        direct.start_sctp(false);
        let ours = match payload.setup {
            Setup::Active => Setup::Passive,
            Setup::Passive => Setup::Active,
        };
        let ice = IceFront::new(site.crypto.clone(), creds.clone(), payload.ufrag.clone(), n);
        Self {
            rtc,
            ice,
            local: site.local,
            ufrag: creds.ufrag,
            pwd: Secret::new(creds.pass),
            pending_setup: Some(ours),
            timeout: now,
            failure: None,
        }
    }

    /// A connection for a page that made an SDP offer, and the answer to it.
    pub(super) fn browser(
        site: &Site,
        offer: &str,
        n: u64,
        now: Instant,
    ) -> Result<(Self, String), str0m::RtcError> {
        let ufrag = offer
            .lines()
            .find_map(|line| line.trim().strip_prefix("a=ice-ufrag:"))
            .unwrap_or_default()
            .to_owned();
        let offer = SdpOffer::from_sdp_string(offer)?;
        let creds = IceCreds { ufrag: random_text(14), pass: random_text(26) };
        let config =
            site.config(&creds).enable_opus(true, false).enable_vp8(true).enable_vp9(true).enable_h264(true);
        let mut rtc = config.build(now);
        rtc.add_local_candidate(host(site.local));
        let answer = rtc.sdp_api().accept_offer(offer)?.to_sdp_string();
        let ice = IceFront::new(site.crypto.clone(), creds.clone(), ufrag, n);
        let transport = Self {
            rtc,
            ice,
            local: site.local,
            ufrag: creds.ufrag,
            pwd: Secret::new(creds.pass),
            pending_setup: None,
            timeout: now,
            failure: None,
        };
        Ok((transport, answer))
    }

    pub(super) fn ufrag(&self) -> &str {
        &self.ufrag
    }

    pub(super) fn pwd(&self) -> &Secret<String> {
        &self.pwd
    }

    /// As SDP writes it, without the name of the hash.
    pub(super) fn fingerprint(&mut self) -> String {
        let text = self.rtc.direct_api().local_dtls_fingerprint().to_string();
        text.split_once(' ').map_or_else(|| text.clone(), |(_, hex)| hex.to_owned())
    }

    /// Ready for media in both directions.
    pub(super) fn is_connected(&self) -> bool {
        self.failure.is_none() && self.rtc.is_alive() && self.rtc.is_connected()
    }

    /// Why the connection can never work, such as a certificate that is not the announced one.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        self.timeout
    }

    /// One datagram of this participant.
    pub(super) fn handle_datagram(
        &mut self,
        from: SocketAddr,
        bytes: &[u8],
        now: Instant,
        out: &mut Drained,
    ) {
        let is_stun = bytes.first().is_some_and(|byte| *byte < 2);
        if !is_stun {
            self.receive(bytes, now, out);
            return;
        }
        let Ok(message) = StunMessage::parse(bytes) else { return };
        let Some(checked) = self.ice.handle_check(&message, from, now) else { return };
        out.checked = true;
        out.datagrams.push((from, checked.reply));
        self.receive(&checked.for_stack, now, out);
        if let Some(setup) = self.pending_setup.take() {
            // Not before: the retransmission timer of a ClientHello runs from its making.
            let started = self.rtc.direct_api().start_dtls(setup == Setup::Active);
            self.note(started);
            self.drain(out);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut Drained) {
        let handled = self.rtc.handle_input(Input::Timeout(now));
        self.note(handled);
        self.drain(out);
    }

    /// Changes the stack and takes what comes of it.
    pub(super) fn change<R>(
        &mut self,
        now: Instant,
        out: &mut Drained,
        change: impl FnOnce(&mut Rtc) -> R,
    ) -> R {
        let result = change(&mut self.rtc);
        self.handle_timeout(now, out);
        result
    }

    /// Declares a stream that this participant sends.
    pub(super) fn expect(&mut self, mid: Mid, kind: MediaKind, ssrc: u32, rtx: Option<u32>, repair: bool) {
        let mut direct = self.rtc.direct_api();
        direct.declare_media(mid, kind);
        direct.expect_stream_rx(ssrc.into(), rtx.map(Ssrc::from), mid, None).suppress_nack(!repair);
    }

    /// Makes an m-line for a stream that is forwarded to this participant.
    pub(super) fn declare_media(&mut self, mid: Mid, kind: MediaKind) {
        self.rtc.direct_api().declare_media(mid, kind);
    }

    /// Declares a stream that is forwarded to this participant on an m-line that exists.
    pub(super) fn declare_stream(&mut self, mid: Mid, ssrc: u32, rtx: Option<u32>) {
        let (packets, age) = RTX_CACHE;
        let mut direct = self.rtc.direct_api();
        direct
            .declare_stream_tx(ssrc.into(), rtx.map(Ssrc::from), mid, None)
            .set_rtx_cache(packets, age, None);
    }

    /// Forgets a stream that is no longer forwarded.
    pub(super) fn undeclare(&mut self, mid: Mid) {
        self.rtc.direct_api().remove_media(mid);
    }

    /// Sends one packet of a forwarded stream.
    pub(super) fn write(&mut self, mid: Mid, packet: RtpWrite, now: Instant, out: &mut Drained) {
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(mid, None) {
            stream.write_rtp(packet);
        }
        self.handle_timeout(now, out);
    }

    /// The payload type that this participant knows `codec` by on one m-line. Of several H.264
    /// ones the one with packetization mode 1, which is what everybody sends.
    pub(super) fn payload_type(&self, mid: Mid, codec: Codec) -> Option<Pt> {
        let offered = self.rtc.media(mid)?.remote_pts();
        let fits = |params: &&PayloadParams| {
            params.spec().codec == codec && (offered.is_empty() || offered.contains(&params.pt()))
        };
        let params = || self.rtc.codec_config().params().iter().filter(fits);
        let fragments = |params: &&PayloadParams| params.spec().format.packetization_mode == Some(1);
        params().find(fragments).or_else(|| params().next()).map(PayloadParams::pt)
    }

    /// Takes the sending stream that an SDP exchange made away again; gives its SSRC and RTX. A
    /// stream without packets would get sender reports that map the present to the timestamp 0.
    pub(super) fn take_stream(&mut self, mid: Mid) -> Option<(u32, Option<u32>)> {
        let mut direct = self.rtc.direct_api();
        let stream = direct.stream_tx_by_mid(mid, None)?;
        let (ssrc, rtx) = (stream.ssrc(), stream.rtx());
        direct.remove_stream_tx(ssrc);
        Some((*ssrc, rtx.map(|rtx| *rtx)))
    }

    fn receive(&mut self, bytes: &[u8], now: Instant, out: &mut Drained) {
        let Ok(receive) = Receive::new(Protocol::Udp, self.ice.alias(), self.local, bytes) else { return };
        let handled = self.rtc.handle_input(Input::Receive(now, receive));
        self.note(handled);
        self.drain(out);
    }

    fn drain(&mut self, out: &mut Drained) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.timeout = at;
                    return;
                }
                // The stack's own answers to checks: they went out already, to the right address.
                Ok(Output::Transmit(transmit)) if transmit.contents.first().is_none_or(|byte| *byte < 2) => {}
                Ok(Output::Transmit(transmit)) => {
                    if let Some(addr) = self.ice.addr() {
                        out.datagrams.push((addr, transmit.contents.to_vec()));
                    }
                }
                Ok(Output::Event(event)) => out.events.push(event),
                Err(error) => self.note(Err(error)),
            }
        }
    }

    /// After an error the stack is of no use: it is disconnected and falls silent.
    fn note(&mut self, result: Result<(), str0m::RtcError>) {
        if let Err(error) = result {
            self.failure.get_or_insert_with(|| error.to_string());
            self.rtc.disconnect();
        }
    }
}

/// The codec of a packet that a native client sends.
pub(super) fn codec_of(pt: u8) -> Option<Codec> {
    let video = VIDEO_PTS.iter().find(|(main, _, _)| *main == pt).map(|(_, _, codec)| *codec);
    video.or_else(|| (pt == OPUS_PT).then_some(Codec::Opus))
}

fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::empty();
    map.set(AUDIO_LEVEL_ID, Extension::AudioLevel);
    map.set(ABS_SEND_TIME_ID, Extension::AbsoluteSendTime);
    map.set(TRANSPORT_CC_ID, Extension::TransportSequenceNumber);
    map.set(ORIENTATION_ID, Extension::VideoOrientation);
    map
}

fn host(addr: SocketAddr) -> Candidate {
    Candidate::host(addr, Protocol::Udp).expect("a bound UDP address makes a host candidate")
}

fn random_text(len: usize) -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(len).collect()
}
