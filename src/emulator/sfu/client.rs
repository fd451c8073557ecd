//! A participant for tests: `str0m` as a full ICE agent, and a loop that runs several of them
//! against an [`Sfu`] in virtual time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::channel::{ChannelConfig, ChannelId};
use str0m::config::Fingerprint;
use str0m::format::{Codec, FormatParams};
use str0m::media::{Direction, Frequency, KeyframeRequestKind, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionMap, RawPacket, RtpPacket, RtpWrite, Ssrc};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc, RtcConfig};

use super::{JoinRequest, Joined, Sfu};

/// How far apart the steps of virtual time are.
const STEP: Duration = Duration::from_millis(1);

/// The first sequence numbers. Those of the camera soon wrap.
pub(super) const FIRST_AUDIO: u64 = 500;
const FIRST_VIDEO: u64 = 65_500;

/// What a test client does differently.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) name: &'static str,
    /// The audio SSRC; the camera has the next two.
    pub(super) ssrc: u32,
    /// `active` or `passive`.
    pub(super) setup: &'static str,
    /// Announce a certificate that is not ours.
    pub(super) wrong_fingerprint: bool,
    /// Open the data channel; needs `active`, as with the client that is tested by this server.
    pub(super) channel: bool,
    pub(super) observer: bool,
    /// Announce three layers: the camera's SSRCs are then `ssrc` + 1, 3 and 5.
    pub(super) layers: bool,
}

impl Script {
    pub(super) fn new(name: &'static str, ssrc: u32, setup: &'static str) -> Self {
        Self {
            name,
            ssrc,
            setup,
            wrong_fingerprint: false,
            channel: setup == "active",
            observer: false,
            layers: false,
        }
    }
}

pub(super) struct Client {
    pub(super) addr: SocketAddr,
    /// What the server sees as our address, behind a NAT.
    pub(super) seen_as: SocketAddr,
    pub(super) script: Script,
    rtc: Rtc,
    timeout: Instant,
    out: VecDeque<Vec<u8>>,
    pub(super) server: SocketAddr,
    pub(super) connected_at: Option<Instant>,
    pub(super) error: Option<String>,
    pub(super) channel: Option<ChannelId>,
    pub(super) messages: Vec<Value>,
    pub(super) packets: Vec<(Instant, RtpPacket)>,
    pub(super) keyframe_requests: usize,
    /// Packets sent so far: sound, pictures.
    pub(super) n_sent: (u64, u64),
    /// Received sender reports: SSRC, NTP, RTP time.
    pub(super) reports: Vec<(u32, std::time::SystemTime, u32)>,
    pub(super) n_rtcp: std::collections::BTreeMap<&'static str, usize>,
}

impl Client {
    /// Makes an agent at 127.0.0.1:`port` and its join parameters.
    pub(super) fn new(port: u16, script: Script, now: Instant) -> (Self, String) {
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let mut exts = ExtensionMap::empty();
        exts.set(1, Extension::AudioLevel);
        exts.set(2, Extension::AbsoluteSendTime);
        exts.set(3, Extension::TransportSequenceNumber);
        exts.set(13, Extension::VideoOrientation);
        let mut config = RtcConfig::new()
            .clear_codecs()
            .set_rtp_mode(true)
            .enable_raw_packets(true)
            .set_extension_map(exts)
            .set_rtcp_report_interval_audio(Duration::from_millis(700))
            .set_rtcp_report_interval_video(Duration::from_millis(400));
        let codecs = config.codec_config();
        codecs.add_config(
            111.into(),
            None,
            Codec::Opus,
            Frequency::FORTY_EIGHT_KHZ,
            Some(2),
            FormatParams::default(),
        );
        codecs.add_h264(104.into(), Some(105.into()), true, 0x42_e0_1f);
        codecs.add_config(
            100.into(),
            Some(101.into()),
            Codec::Vp8,
            Frequency::NINETY_KHZ,
            None,
            FormatParams::default(),
        );
        let mut rtc = config.build(now);
        rtc.add_local_candidate(Candidate::host(addr, Protocol::Udp).expect("an address"));
        let mut direct = rtc.direct_api();
        direct.enable_twcc_feedback();
        direct.declare_media("a".into(), MediaKind::Audio);
        direct.declare_stream_tx(script.ssrc.into(), None, "a".into(), None);
        direct.declare_media("v".into(), MediaKind::Video);
        direct
            .declare_stream_tx((script.ssrc + 1).into(), Some((script.ssrc + 2).into()), "v".into(), None)
            .set_rtx_cache(2000, Duration::from_secs(3), None);
        let mut groups =
            vec![serde_json::json!({ "semantics": "FID", "sources": [script.ssrc + 1, script.ssrc + 2] })];
        if script.layers {
            let primaries = [1, 3, 5].map(|n| script.ssrc + n);
            groups.insert(0, serde_json::json!({ "semantics": "SIM", "sources": primaries }));
            for layer in [1, 2] {
                let (ssrc, mid) = (script.ssrc + 1 + 2 * layer, Mid::from(&format!("v{layer}")[..]));
                groups.push(serde_json::json!({ "semantics": "FID", "sources": [ssrc, ssrc + 1] }));
                direct.declare_media(mid, MediaKind::Video);
                direct.declare_stream_tx(ssrc.into(), Some((ssrc + 1).into()), mid, None);
            }
        }
        let IceCreds { ufrag, pass } = direct.local_ice_credentials();
        let mut fingerprint = direct.local_dtls_fingerprint().to_string().split_off("sha-256 ".len());
        if script.wrong_fingerprint {
            let flipped = if fingerprint.starts_with('0') { "1" } else { "0" };
            fingerprint.replace_range(..1, flipped);
        }
        let params = serde_json::json!({
            "ssrc": script.ssrc.cast_signed(), "ufrag": ufrag, "pwd": pass,
            "fingerprints": [{ "hash": "sha-256", "setup": script.setup, "fingerprint": fingerprint }],
            "ssrc-groups": groups,
        });
        let client = Self::from_rtc(addr, script, rtc, now);
        (client, params.to_string())
    }

    /// Makes a browser-like agent with `n_slots` m-lines of each kind, its offer, and what it needs
    /// to take the answer.
    pub(super) fn page(port: u16, n_slots: usize, now: Instant) -> (Self, String, SdpPendingOffer) {
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let mut rtc = RtcConfig::new().set_rtp_mode(true).enable_raw_packets(true).build(now);
        rtc.add_local_candidate(Candidate::host(addr, Protocol::Udp).expect("an address"));
        let mut changes = rtc.sdp_api();
        for _ in 0..n_slots {
            changes.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
            changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        }
        changes.add_channel("data".into());
        let (offer, pending) = changes.apply().expect("an offer");
        let script = Script::new("page", 0, "active");
        (Self::from_rtc(addr, script, rtc, now), offer.to_sdp_string(), pending)
    }

    /// Applies the answer to a page's offer and starts.
    pub(super) fn apply_sdp(
        &mut self,
        server: SocketAddr,
        answer: &str,
        pending: SdpPendingOffer,
        now: Instant,
    ) {
        self.server = server;
        let answer = SdpAnswer::from_sdp_string(answer).expect("SDP");
        self.rtc.sdp_api().accept_answer(pending, answer).expect("fits the offer");
        self.handle_timeout(now);
    }

    fn from_rtc(addr: SocketAddr, script: Script, rtc: Rtc, now: Instant) -> Self {
        Self {
            addr,
            seen_as: addr,
            script,
            rtc,
            timeout: now,
            out: VecDeque::new(),
            server: addr,
            connected_at: None,
            error: None,
            channel: None,
            messages: Vec::new(),
            packets: Vec::new(),
            keyframe_requests: 0,
            n_sent: (0, 0),
            reports: Vec::new(),
            n_rtcp: std::collections::BTreeMap::new(),
        }
    }

    /// Applies the answer and starts.
    pub(super) fn apply(&mut self, answer: &str, now: Instant) {
        let answer: Value = serde_json::from_str(answer).expect("JSON");
        let transport = &answer["transport"];
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        let candidate = &transport["candidates"][0];
        self.server =
            format!("{}:{}", text(&candidate["ip"]), text(&candidate["port"])).parse().expect("an address");
        let fingerprint = format!("sha-256 {}", text(&transport["fingerprints"][0]["fingerprint"]));
        let mut direct = self.rtc.direct_api();
        direct.set_ice_controlling(true);
        direct.set_remote_ice_credentials(IceCreds {
            ufrag: text(&transport["ufrag"]),
            pass: text(&transport["pwd"]),
        });
        direct.set_remote_fingerprint(fingerprint.parse::<Fingerprint>().expect("a fingerprint"));
        direct.start_dtls(self.script.setup == "active").expect("DTLS starts");
        if self.script.channel {
            direct.start_sctp(true);
            direct.create_data_channel(ChannelConfig { label: "data".into(), ..ChannelConfig::default() });
        }
        self.rtc.add_remote_candidate(Candidate::host(self.server, Protocol::Udp).expect("an address"));
        self.handle_timeout(now);
    }

    /// Expects another participant's streams.
    pub(super) fn expect(&mut self, other: u32) {
        let mut direct = self.rtc.direct_api();
        let mid = |letter: &str| Mid::from(&format!("{letter}{other}")[..]);
        direct.declare_media(mid("a"), MediaKind::Audio);
        direct.expect_stream_rx(other.into(), None, mid("a"), None);
        direct.declare_media(mid("v"), MediaKind::Video);
        direct.expect_stream_rx((other + 1).into(), Some((other + 2).into()), mid("v"), None);
    }

    /// Sends a packet with this RTP time.
    pub(super) fn send(&mut self, kind: MediaKind, time: u32, payload: &[u8], now: Instant) {
        let (mid, pt) = if kind.is_audio() { ("a", 111) } else { ("v", 104) };
        let (n_audio, n_video) = &mut self.n_sent;
        let (n, first) = if kind.is_audio() { (n_audio, FIRST_AUDIO) } else { (n_video, FIRST_VIDEO) };
        let seq = first + *n;
        *n += 1;
        let mut ext_vals = str0m::media::ExtensionValues::default();
        if kind.is_audio() {
            (ext_vals.audio_level, ext_vals.voice_activity) = (Some(-30), Some(true));
        }
        let packet =
            RtpWrite::new(pt.into(), seq.into(), time, now, payload).nackable(true).ext_vals(ext_vals);
        let packet = packet.marker(kind.is_video());
        self.rtc.direct_api().stream_tx_by_mid(mid.into(), None).expect("declared").write_rtp(packet);
        self.handle_timeout(now);
    }

    /// Sends one packet of a layer above the first.
    pub(super) fn send_layer(&mut self, layer: u32, seq: u64, time: u32, payload: &[u8], now: Instant) {
        let packet = RtpWrite::new(104.into(), seq.into(), time, now, payload).nackable(true).marker(true);
        let mid = Mid::from(&format!("v{layer}")[..]);
        self.rtc.direct_api().stream_tx_by_mid(mid, None).expect("declared").write_rtp(packet);
        self.handle_timeout(now);
    }

    pub(super) fn say(&mut self, message: &Value, now: Instant) {
        let channel = self.channel.expect("the channel is open");
        let mut channel = self.rtc.channel(channel).expect("the channel is open");
        assert!(channel.write(false, message.to_string().as_bytes()).expect("the channel works"));
        self.handle_timeout(now);
    }

    pub(super) fn request_keyframe(&mut self, of: u32, now: Instant) {
        let mut direct = self.rtc.direct_api();
        direct.stream_rx(&Ssrc::from(of)).expect("expected").request_keyframe(KeyframeRequestKind::Pli);
        self.handle_timeout(now);
    }

    /// Packets received on one SSRC.
    pub(super) fn received(&self, ssrc: u32) -> Vec<&RtpPacket> {
        self.packets.iter().map(|(_, packet)| packet).filter(|packet| *packet.header.ssrc == ssrc).collect()
    }

    pub(super) fn heights(&self) -> Vec<u64> {
        let of = |message: &Value| message["videoConstraints"]["idealHeight"].as_u64();
        self.messages.iter().filter_map(of).collect()
    }

    fn receive(&mut self, bytes: &[u8], now: Instant) {
        let receive = Receive::new(Protocol::Udp, self.server, self.addr, bytes).expect("a datagram of ours");
        let handled = self.rtc.handle_input(Input::Receive(now, receive));
        self.drain(handled, now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        let handled = self.rtc.handle_input(Input::Timeout(now));
        self.drain(handled, now);
    }

    fn drain(&mut self, handled: Result<(), str0m::RtcError>, now: Instant) {
        let mut result = handled;
        loop {
            if let Err(error) = &result {
                self.error.get_or_insert_with(|| error.to_string());
                return;
            }
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.timeout = at;
                    return;
                }
                Ok(Output::Transmit(transmit)) => self.out.push_back(transmit.contents.to_vec()),
                Ok(Output::Event(event)) => self.handle_event(event, now),
                Err(error) => result = Err(error),
            }
        }
    }

    fn handle_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Connected => self.connected_at = Some(now),
            Event::ChannelOpen(id, _) => self.channel = Some(id),
            Event::ChannelData(data) => self.messages.push(serde_json::from_slice(&data.data).expect("JSON")),
            Event::KeyframeRequest(_) => self.keyframe_requests += 1,
            Event::RtpPacket(packet) => self.packets.push((now, packet)),
            Event::RawPacket(raw) => {
                use str0m::rtp::rtcp::Rtcp;
                if let RawPacket::RtcpRx(rtcp) = *raw {
                    let name = match &rtcp {
                        Rtcp::Nack(_) => "nack",
                        Rtcp::ReceiverReport(_) => "rr",
                        Rtcp::Twcc(_) => "twcc",
                        Rtcp::Remb(_) => "remb",
                        Rtcp::Pli(_) => "pli",
                        Rtcp::SenderReport(report) => {
                            let info = &report.sender_info;
                            let rtp = u32::try_from(info.rtp_time.numer()).expect("32 bits on the wire");
                            self.reports.push((*info.ssrc, info.ntp_time, rtp));
                            "sr"
                        }
                        _ => "other",
                    };
                    *self.n_rtcp.entry(name).or_default() += 1;
                }
            }
            _ => {}
        }
    }
}

/// A server, its clients and the clock.
pub(super) struct World {
    pub(super) sfu: Sfu,
    pub(super) clients: Vec<Client>,
    pub(super) now: Instant,
    pub(super) start: Instant,
    pub(super) events: Vec<super::SfuEvent>,
}

impl World {
    pub(super) fn new(config: super::SfuConfig) -> Self {
        let now = crate::emulator::test_start();
        Self { sfu: Sfu::new(config, now), clients: Vec::new(), now, start: now, events: Vec::new() }
    }

    /// Joins a client and returns its index and the answer.
    pub(super) fn join(&mut self, script: Script) -> (usize, Joined) {
        let port = 50_000 + u16::try_from(self.clients.len()).expect("few clients");
        let (observer, name) = (script.observer, script.name.to_owned());
        let (mut client, params) = Client::new(port, script, self.now);
        let request = JoinRequest { chat: "c".into(), name, params, observer, ..JoinRequest::default() };
        let joined = self.sfu.join(&request, self.now).expect("joins");
        client.apply(&joined.params, self.now);
        self.clients.push(client);
        (self.clients.len() - 1, joined)
    }

    /// Joins a page and returns its index.
    pub(super) fn join_page(&mut self, n_slots: usize) -> usize {
        let port = 50_000 + u16::try_from(self.clients.len()).expect("few clients");
        let (mut page, offer, pending) = Client::page(port, n_slots, self.now);
        let joined = self.sfu.join_browser("c", "page", &offer, self.now).expect("joins");
        page.apply_sdp(self.sfu.config.local, &joined.params, pending, self.now);
        self.clients.push(page);
        self.clients.len() - 1
    }

    /// Lets time pass, one millisecond at a time.
    pub(super) fn run(&mut self, duration: Duration) {
        self.run_with(duration, |_| {});
    }

    /// Lets time pass and does something at every step.
    pub(super) fn run_with(&mut self, duration: Duration, mut each: impl FnMut(&mut Self)) {
        let end = self.now + duration;
        while self.now < end {
            each(self);
            self.exchange();
            self.now += STEP;
        }
    }

    pub(super) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.now + limit;
        while !done(self) {
            assert!(self.now < end, "not within {limit:?}");
            self.exchange();
            self.now += STEP;
        }
    }

    fn exchange(&mut self) {
        let now = self.now;
        loop {
            let mut quiet = true;
            for client in &mut self.clients {
                if client.timeout <= now {
                    client.handle_timeout(now);
                }
                while let Some(bytes) = client.out.pop_front() {
                    quiet = false;
                    self.sfu.handle_datagram(client.seen_as, &bytes, now);
                }
            }
            if self.sfu.poll_timeout().is_some_and(|at| at <= now) {
                self.sfu.handle_timeout(now);
            }
            while let Some((to, bytes)) = self.sfu.poll_transmit() {
                quiet = false;
                if let Some(client) = self.clients.iter_mut().find(|client| client.seen_as == to) {
                    client.receive(&bytes, now);
                }
            }
            while let Some(event) = self.sfu.poll_event() {
                self.events.push(event);
            }
            if quiet {
                return;
            }
        }
    }
}
