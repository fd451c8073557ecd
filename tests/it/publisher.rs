//! A participant made of str0m that sends a file's frames as they are, for tests of receivers.

use std::net::UdpSocket;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use str0m::config::Fingerprint;
use str0m::format::{Codec, FormatParams};
use str0m::media::{Frequency, MediaKind, MediaTime as RtpTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc, RtcConfig};
use telecast::media::demux::{self, Packet};
use telecast::media::source;

/// The sound's SSRC; the pictures have the next, their retransmissions the one after.
const SSRC: u32 = 1000;
const AUDIO_PT: u8 = 111;
const VIDEO_PT: (u8, u8) = (104, 105);

/// The transport must be up within this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A participant that has made its join parameters.
pub(crate) struct Publisher {
    rtc: Rtc,
    socket: UdpSocket,
}

/// A participant that sends; dropping it ends it.
pub(crate) struct Playing {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Publisher {
    /// A full ICE agent on the loopback interface.
    pub(crate) fn new() -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let mut extensions = ExtensionMap::empty();
        extensions.set(1, Extension::AudioLevel);
        extensions.set(2, Extension::AbsoluteSendTime);
        extensions.set(3, Extension::TransportSequenceNumber);
        let mut config = RtcConfig::new()
            .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
            .clear_codecs()
            .set_extension_map(extensions)
            .set_rtcp_report_interval_audio(Duration::from_millis(500))
            .set_rtcp_report_interval_video(Duration::from_millis(500));
        let codecs = config.codec_config();
        let opus =
            FormatParams { min_p_time: Some(10), use_inband_fec: Some(true), ..FormatParams::default() };
        codecs.add_config(AUDIO_PT.into(), None, Codec::Opus, Frequency::FORTY_EIGHT_KHZ, Some(2), opus);
        codecs.add_h264(VIDEO_PT.0.into(), Some(VIDEO_PT.1.into()), true, 0x42_e0_1f);
        let mut rtc = config.build(now());
        rtc.add_local_candidate(Candidate::host(socket.local_addr()?, "udp")?);
        let mut direct = rtc.direct_api();
        direct.declare_media(audio(), MediaKind::Audio);
        direct.declare_stream_tx(SSRC.into(), None, audio(), None);
        direct.declare_media(video(), MediaKind::Video);
        direct.declare_stream_tx((SSRC + 1).into(), Some((SSRC + 2).into()), video(), None);
        Ok(Self { rtc, socket })
    }

    /// What goes into the join.
    pub(crate) fn params(&mut self) -> String {
        let direct = self.rtc.direct_api();
        let IceCreds { ufrag, pass } = direct.local_ice_credentials();
        let fingerprint = direct.local_dtls_fingerprint().to_string();
        json!({
            "ssrc": SSRC, "ufrag": ufrag, "pwd": pass,
            "fingerprints": [{
                "hash": "sha-256", "setup": "active",
                "fingerprint": fingerprint.trim_start_matches("sha-256 "),
            }],
            "ssrc-groups": [{ "semantics": "FID", "sources": [SSRC + 1, SSRC + 2] }],
        })
        .to_string()
    }

    /// Connects as the answer says and sends the packets of `file` once, in time.
    pub(crate) fn play(mut self, answer: &str, file: &Path) -> Result<Playing> {
        let packets = read(file)?;
        let answer: Value = serde_json::from_str(answer)?;
        let transport = &answer["transport"];
        let text =
            |value: &Value| value.as_str().map(str::to_owned).context("a string of the answer is missing");
        let candidate = &transport["candidates"][0];
        let server = format!("{}:{}", text(&candidate["ip"])?, text(&candidate["port"])?).parse()?;
        self.rtc.add_remote_candidate(Candidate::host(server, "udp")?);
        let fingerprint = format!("sha-256 {}", text(&transport["fingerprints"][0]["fingerprint"])?);
        let fingerprint: Fingerprint = fingerprint.parse().map_err(anyhow::Error::msg)?;
        let mut direct = self.rtc.direct_api();
        direct.set_ice_controlling(true);
        let creds = IceCreds { ufrag: text(&transport["ufrag"])?, pass: text(&transport["pwd"])? };
        direct.set_remote_ice_credentials(creds);
        direct.set_remote_fingerprint(fingerprint);
        direct.start_dtls(true)?;

        let ended = Arc::new(AtomicBool::new(false));
        let flag = ended.clone();
        let thread =
            std::thread::Builder::new().name("publisher".into()).spawn(move || self.run(&packets, &flag))?;
        Ok(Playing { ended, thread: Some(thread) })
    }

    fn run(mut self, packets: &[Packet], ended: &AtomicBool) -> Result<()> {
        let begin = now();
        let mut next = packets.iter().peekable();
        let mut start = None;
        while !ended.load(Ordering::Relaxed) {
            let connected = self.rtc.is_connected();
            ensure!(connected || now() < begin + CONNECT_TIMEOUT, "the publisher does not connect");
            if connected && start.is_none() {
                start = Some(now());
            }
            let due = |packet: &Packet| start.map(|start: Instant| start + packet.pts.to_duration());
            while let Some(packet) = next.next_if(|packet| due(packet).is_some_and(|at| at <= now())) {
                self.write(packet, due(packet).expect("is started"))?;
                self.drain()?;
            }
            let timeout = self.drain()?;
            let wake = next.peek().and_then(|packet| due(packet)).map_or(timeout, |at| at.min(timeout));
            self.receive(wake)?;
        }
        Ok(())
    }

    fn write(&mut self, packet: &Packet, due: Instant) -> Result<()> {
        let (mid, pt, frequency) = match packet.track {
            0 => (video(), VIDEO_PT.0, Frequency::NINETY_KHZ),
            _ => (audio(), AUDIO_PT, Frequency::FORTY_EIGHT_KHZ),
        };
        let time = u64::try_from(packet.pts.to_ticks(frequency.get())).context("a time before zero")?;
        let writer = self.rtc.writer(mid).context("the media was declared")?;
        Ok(writer.write(pt.into(), due, RtpTime::new(time, frequency), packet.data.to_vec())?)
    }

    fn drain(&mut self) -> Result<Instant> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(at) => return Ok(at),
                Output::Transmit(transmit) => {
                    // What cannot be sent is lost, as on any network.
                    let _ = self.socket.send_to(&transmit.contents, transmit.destination);
                }
                Output::Event(Event::Closed) => bail!("the server has closed the connection"),
                Output::Event(_) => {}
            }
        }
    }

    fn receive(&mut self, until: Instant) -> Result<()> {
        let patience = until.saturating_duration_since(now()).max(Duration::from_micros(200));
        self.socket.set_read_timeout(Some(patience))?;
        let mut bytes = [0; 2048];
        match self.socket.recv_from(&mut bytes) {
            Ok((len, from)) => {
                if let Ok(receive) =
                    Receive::new(Protocol::Udp, from, self.socket.local_addr()?, &bytes[..len])
                {
                    self.rtc.handle_input(Input::Receive(now(), receive))?;
                }
            }
            // Time has passed, or an earlier datagram met nobody.
            Err(_) => self.rtc.handle_input(Input::Timeout(now()))?,
        }
        Ok(())
    }
}

impl Playing {
    /// Ends it; the error if it had ended by itself.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.end().unwrap_or(Ok(()))
    }

    fn end(&mut self) -> Option<Result<()>> {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.take().map(|thread| thread.join().expect("the publisher does not panic"))
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        // Whoever wants to know how it ended calls `stop`.
        let _ = self.end();
    }
}

/// All packets from zero on in the order in which they are due; pictures are track 0.
fn read(file: &Path) -> Result<Vec<Packet>> {
    let mut demuxer = demux::open(source::open(file)?)?;
    let is_video = demuxer.tracks().iter().map(|track| track.kind == telecast::media::MediaKind::Video);
    let is_video: Vec<bool> = is_video.collect();
    let mut packets = Vec::new();
    while let Some(mut packet) = demuxer.next_packet()? {
        packet.track = usize::from(!is_video[packet.track]);
        packets.push(packet);
    }
    packets.retain(|packet| packet.pts >= telecast::time::MediaTime::ZERO);
    packets.sort_by_key(|packet| packet.pts);
    Ok(packets)
}

fn audio() -> Mid {
    Mid::from("a")
}

fn video() -> Mid {
    Mid::from("v")
}

#[expect(clippy::disallowed_methods, reason = "this participant has a real socket and a real clock")]
fn now() -> Instant {
    Instant::now()
}
