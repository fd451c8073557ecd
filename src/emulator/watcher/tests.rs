//! The watcher against a server and sender made of str0m alone, under virtual time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::crypto::Fingerprint;
use str0m::format::Codec;
use str0m::media::{MediaKind as StrMediaKind, MediaTime as StrMediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output as RtcOutput, Rtc, RtcConfig};

use super::decode::{CHANNELS, Decoded, Decoding, SAMPLE_RATE};
use super::payload::tests::answer;
use super::state::{Arrivals, Output, State};
use super::{WatchError, loss::LossCounts};
use crate::call::signaling::{ParticipantRow, SourceGroup, VideoRow};
use crate::emulator::marks;
use crate::time::MediaTime;

const AUDIO_SSRC: u32 = 3_000_000_001;
const VIDEO_SSRC: u32 = 12;
const RTX_SSRC: u32 = 13;
const FRAME: Duration = Duration::from_millis(20);
/// How long a datagram is under way.
const DELAY: Duration = Duration::from_millis(10);

/// What came out of the decoders.
#[derive(Default)]
struct Heard {
    /// When each came, when it was taken, and its number.
    pictures: Vec<(MediaTime, Option<MediaTime>, u32)>,
    sound: Vec<f32>,
    sound_taken: Vec<Option<MediaTime>>,
    concealed: MediaTime,
    n_failed: u32,
}

struct Lab {
    now: Instant,
    server: Rtc,
    server_timeout: Instant,
    state: State,
    decoding: Decoding,
    /// Datagrams under way: when they arrive, to the watcher or to the server, and what.
    wire: Vec<(Instant, bool, Vec<u8>)>,
    /// Decides which datagrams of media get lost, by their count.
    lose: fn(u32) -> bool,
    /// How long datagrams of media are under way, by their count.
    delay: fn(u32) -> Duration,
    n_media: u32,
    connected: bool,
    closed: bool,
    messages: Vec<serde_json::Value>,
    n_plis: u32,
    heard: Heard,
    encoder: opus::Encoder,
    n_frames: u32,
    video: bool,
}

fn addr(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

#[expect(
    clippy::disallowed_methods,
    reason = "an Instant cannot be made from nothing; everything after is computed"
)]
fn some_instant() -> Instant {
    Instant::now()
}

impl Lab {
    fn new(active: bool) -> Self {
        let now = some_instant();
        let mut state = State::new(addr(1000), None, active, now).unwrap();
        let params: serde_json::Value = serde_json::from_str(state.join_params().expose()).unwrap();

        let mut server = RtcConfig::new()
            .set_crypto_provider(str0m::crypto::from_feature_flags().into())
            .set_ice_lite(true)
            .clear_codecs()
            .set_extension_map(super::formats::extensions())
            .set_rtcp_report_interval_audio(Duration::from_millis(500))
            .set_rtcp_report_interval_video(Duration::from_millis(500));
        super::formats::configure_codecs(&mut server);
        let mut server = server.build(now);
        server.add_local_candidate(Candidate::host(addr(2000), "udp").unwrap());
        let mut direct = server.direct_api();
        direct.set_ice_controlling(false);
        let text = |key: &str| params[key].as_str().unwrap().to_owned();
        direct.set_remote_ice_credentials(str0m::IceCreds { ufrag: text("ufrag"), pass: text("pwd") });
        let print = params["fingerprints"][0]["fingerprint"].as_str().unwrap();
        direct.set_remote_fingerprint(format!("sha-256 {print}").parse::<Fingerprint>().unwrap());
        let setup = params["fingerprints"][0]["setup"].as_str().unwrap();
        assert_eq!(setup, if active { "active" } else { "passive" });
        direct.start_dtls(!active).unwrap();
        direct.start_sctp(false);
        direct.declare_media(Mid::from("a"), StrMediaKind::Audio);
        direct.declare_media(Mid::from("v"), StrMediaKind::Video);
        direct.declare_stream_tx(AUDIO_SSRC.into(), None, Mid::from("a"), None);
        let video = direct.declare_stream_tx(VIDEO_SSRC.into(), Some(RTX_SSRC.into()), Mid::from("v"), None);
        // Without a limit on the share of retransmissions: the tests lose more than most networks.
        video.set_rtx_cache(1000, Duration::from_secs(3), None);
        let theirs = if active { "passive" } else { "active" };
        let answer = answer(&direct.local_ice_credentials(), direct.local_dtls_fingerprint(), 2000, theirs);
        state.handle_answer(&answer.to_string(), now).unwrap();

        let encoder =
            opus::Encoder::new(SAMPLE_RATE, opus::Channels::Stereo, opus::Application::Audio).unwrap();
        Self {
            now,
            server,
            server_timeout: now,
            state,
            decoding: Decoding::new().unwrap(),
            wire: Vec::new(),
            lose: |_| false,
            delay: |_| DELAY,
            n_media: 0,
            connected: false,
            closed: false,
            messages: Vec::new(),
            n_plis: 0,
            heard: Heard::default(),
            encoder,
            n_frames: 0,
            video: false,
        }
    }

    fn row() -> ParticipantRow {
        ParticipantRow {
            peer: "bot".into(),
            source: AUDIO_SSRC.cast_signed(),
            video_joined: true,
            video: Some(VideoRow {
                endpoint: "9c04d1e7720ab35f".into(),
                source_groups: vec![SourceGroup {
                    semantics: "FID".into(),
                    sources: vec![VIDEO_SSRC.cast_signed(), RTX_SSRC.cast_signed()],
                }],
                ..VideoRow::default()
            }),
            ..ParticipantRow::default()
        }
    }

    fn join(active: bool) -> Self {
        let mut lab = Self::new(active);
        lab.state.handle_participants(&[Self::row()], lab.now).unwrap();
        lab.run(Duration::from_secs(1));
        assert!(lab.connected);
        lab
    }

    fn run(&mut self, time: Duration) {
        self.run_until(self.now + time).unwrap();
    }

    fn run_until(&mut self, end: Instant) -> Result<(), WatchError> {
        loop {
            self.pump();
            let arrival = self.wire.iter().map(|(at, ..)| *at).min();
            let timeouts = [Some(self.server_timeout), Some(self.state.poll_timeout()), arrival];
            let next = timeouts.into_iter().flatten().min().unwrap().max(self.now);
            if next > end {
                self.now = end;
                return Ok(());
            }
            self.now = next;
            let (due, rest) = std::mem::take(&mut self.wire).into_iter().partition(|(at, ..)| *at <= next);
            self.wire = rest;
            for (_, to_watcher, datagram) in due {
                if to_watcher {
                    self.state.handle_datagram(addr(2000), &datagram, self.now)?;
                } else {
                    let receive = Receive::new(Protocol::Udp, addr(1000), addr(2000), &datagram).unwrap();
                    self.server.handle_input(Input::Receive(self.now, receive)).unwrap();
                }
                self.pump();
            }
            self.state.handle_timeout(self.now)?;
            self.server.handle_input(Input::Timeout(self.now)).unwrap();
        }
    }

    fn pump(&mut self) {
        loop {
            match self.server.poll_output().unwrap() {
                RtcOutput::Timeout(at) => break self.server_timeout = at,
                RtcOutput::Transmit(transmit) => {
                    let contents = transmit.contents.to_vec();
                    let media = (128..192).contains(&contents[0]) && !super::state::is_rtcp(&contents);
                    self.n_media += u32::from(media);
                    let delay = if media { (self.delay)(self.n_media) } else { DELAY };
                    if !(media && (self.lose)(self.n_media)) {
                        self.wire.push((self.now + delay, true, contents));
                    }
                }
                RtcOutput::Event(Event::ChannelData(data)) => {
                    self.messages.push(serde_json::from_slice(&data.data).unwrap());
                }
                RtcOutput::Event(Event::KeyframeRequest(_)) => self.n_plis += 1,
                RtcOutput::Event(_) => {}
            }
        }
        while let Some(output) = self.state.poll_output() {
            match output {
                Output::Transmit { to, datagram } => {
                    assert_eq!(to, addr(2000));
                    self.wire.push((self.now + DELAY, false, datagram));
                }
                Output::Connected => self.connected = true,
                Output::Closed => self.closed = true,
                Output::NewSource => self.decoding.handle_new_source().unwrap(),
                Output::SenderReport { kind, timestamp, ntp } => {
                    self.decoding.handle_report(kind, timestamp, ntp)
                }
                Output::Frame(frame) => {
                    let heard = &mut self.heard;
                    self.decoding.handle_frame(&frame, &mut |decoded| match decoded {
                        Decoded::Picture(picture) => {
                            let number = marks::read_frame_number(&picture.luma).unwrap();
                            heard.pictures.push((picture.arrival, picture.taken, number));
                        }
                        Decoded::Sound(sound) => {
                            heard.sound.extend(sound.samples);
                            heard.sound_taken.push(sound.taken);
                            if sound.concealed {
                                heard.concealed += MediaTime::from_ticks(
                                    (sound.samples.len() / CHANNELS) as i64,
                                    SAMPLE_RATE,
                                );
                            }
                        }
                        Decoded::Silence(time) => heard.concealed += time,
                        Decoded::Failed => heard.n_failed += 1,
                    });
                }
            }
        }
    }

    /// Sends 20 ms of a 1 kHz tone at a timestamp near the wrap.
    fn send_audio(&mut self) {
        let start = self.n_frames * 960;
        let samples: Vec<f32> = (start..start + 960)
            .flat_map(|n| {
                let phase = f64::from(n) * 1000.0 / f64::from(SAMPLE_RATE) * std::f64::consts::TAU;
                [0.5 * phase.sin() as f32, 0.25 * phase.sin() as f32]
            })
            .collect();
        let packet = self.encoder.encode_vec_float(&samples, 1500).unwrap();
        let timestamp = (u64::from(u32::MAX) - 9600) + u64::from(start);
        let pt = super::payload::PT_OPUS.into();
        let time = StrMediaTime::new(timestamp, str0m::media::Frequency::FORTY_EIGHT_KHZ);
        let writer = self.server.writer(Mid::from("a")).unwrap();
        writer.write(pt, self.now, time, packet).unwrap();
        self.n_frames += 1;
    }

    fn send_video(&mut self, data: Vec<u8>) {
        let timestamp = u64::from(self.n_frames) * 1800 + 5;
        let time = StrMediaTime::new(timestamp, str0m::media::Frequency::NINETY_KHZ);
        let writer = self.server.writer(Mid::from("v")).unwrap();
        writer.write(super::payload::PT_H264.0.into(), self.now, time, data).unwrap();
    }

    fn play(&mut self, n_frames: u32, mut video: impl FnMut(u32) -> Option<Vec<u8>>) {
        let start = self.now;
        for n in 0..n_frames {
            if self.video
                && let Some(data) = video(n)
            {
                self.send_video(data);
            }
            self.send_audio();
            self.run_until(start + FRAME * (n + 1)).unwrap();
        }
    }

    fn arrivals(&self) -> Arrivals {
        self.state.arrivals(self.now)
    }
}

/// RMS of one channel.
fn rms(samples: &[f32], channel: usize) -> f64 {
    let samples: Vec<f64> = samples.iter().skip(channel).step_by(CHANNELS).map(|s| f64::from(*s)).collect();
    (samples.iter().map(|s| s * s).sum::<f64>() / samples.len() as f64).sqrt()
}

#[test]
fn joins_in_both_dtls_roles_and_hears() {
    for active in [true, false] {
        let mut lab = Lab::join(active);
        lab.play(100, |_| None);
        lab.run(Duration::from_millis(100));
        let arrivals = lab.arrivals();
        assert_eq!(arrivals.audio, LossCounts { received: 100, lost: 0, repaired: 0 });
        assert_eq!(arrivals.audio_codec, Some(crate::media::Codec::Opus));
        assert_eq!(lab.heard.concealed, MediaTime::ZERO);
        assert_eq!(lab.heard.sound.len(), 100 * 960 * CHANNELS);
        let tail = &lab.heard.sound[48_000..];
        assert!((rms(tail, 0) - 0.5 / 2_f64.sqrt()).abs() < 0.02, "left {}", rms(tail, 0));
        assert!((rms(tail, 1) - 0.25 / 2_f64.sqrt()).abs() < 0.02, "right {}", rms(tail, 1));
    }
}

#[test]
fn without_a_name_the_first_who_speaks_or_shows_something_is_watched() {
    let mut lab = Lab::new(true);
    let silent =
        ParticipantRow { peer: "watcher".into(), source: 77, muted: true, ..ParticipantRow::default() };
    lab.state.handle_participants(&[silent], lab.now).unwrap();
    assert_eq!(lab.arrivals().peer, None);
    lab.state.handle_participants(&[Lab::row()], lab.now).unwrap();
    assert_eq!(lab.arrivals().peer.as_deref(), Some("bot"));
    let other = ParticipantRow { peer: "late".into(), source: 78, ..ParticipantRow::default() };
    lab.state.handle_participants(&[other], lab.now).unwrap();
    assert_eq!(lab.arrivals().peer.as_deref(), Some("bot"));
}

#[test]
fn asks_for_the_video_it_wants_and_repeats_it() {
    let mut lab = Lab::join(true);
    lab.run(Duration::from_secs(6));
    let wanted = |message: &serde_json::Value| {
        message["colibriClass"] == "ReceiverVideoConstraints"
            && message["onStageEndpoints"][0] == "9c04d1e7720ab35f"
            && message["constraints"]["9c04d1e7720ab35f"]["maxHeight"] == 720
    };
    assert!(lab.messages.len() >= 2 && lab.messages.iter().all(wanted), "{:?}", lab.messages);
}

#[test]
fn lost_sound_is_concealed_and_counted() {
    let mut lab = Lab::join(true);
    lab.lose = |n| n % 10 == 5;
    lab.play(100, |_| None);
    lab.run(Duration::from_millis(300));
    let arrivals = lab.arrivals();
    assert_eq!((arrivals.audio.received, arrivals.audio.lost, arrivals.audio.repaired), (90, 10, 0));
    assert_eq!(lab.heard.concealed, MediaTime::from_millis(200));
    assert_eq!(lab.heard.sound.len(), 100 * 960 * CHANNELS, "gaps are filled");
}

#[test]
fn sound_that_comes_too_late_is_concealed_once() {
    let mut lab = Lab::join(true);
    lab.play(50, |_| None);
    // The sender stalls, then goes on where it stopped.
    lab.run(Duration::from_millis(300));
    lab.play(50, |_| None);
    lab.run(Duration::from_millis(100));
    let concealed = lab.heard.concealed.as_millis();
    assert!((290..=301).contains(&concealed), "{concealed} ms");
}

#[test]
fn both_tracks_get_times_on_one_clock() {
    let mut lab = Lab::join(true);
    lab.play(100, |_| None);
    lab.run(Duration::from_millis(100));
    let known: Vec<MediaTime> = lab.heard.sound_taken.iter().filter_map(|taken| *taken).collect();
    assert!(known.len() > 50, "only {} of 100 frames have a time", known.len());
    for pair in known.windows(2) {
        let step = (pair[1] - pair[0]).to_ticks(1_000_000);
        assert!((19_900..=20_100).contains(&step), "{step} µs");
    }
}

#[test]
fn a_silent_server_is_an_error_after_ten_seconds() {
    let mut lab = Lab::new(true);
    let before = lab.now;
    lab.wire.clear();
    let result = loop {
        let next = lab.state.poll_timeout().max(lab.now);
        lab.now = next;
        if let Err(error) = lab.state.handle_timeout(next) {
            break error;
        }
        assert!(next < before + Duration::from_secs(20));
    };
    assert!(matches!(result, WatchError::NotConnected(_)), "{result}");
    assert!(lab.now >= before + Duration::from_secs(10));
}

#[cfg(feature = "openh264")]
mod pictures {
    use openh264::OpenH264API;
    use openh264::encoder::{BitRate, Encoder, EncoderConfig, IntraFramePeriod};
    use openh264::formats::YUVSource;

    use crate::emulator::marks::tests::Image;

    use super::*;

    /// A picture that carries its number.
    struct Numbered {
        luma: Image,
        chroma: Vec<u8>,
    }

    impl YUVSource for Numbered {
        fn dimensions(&self) -> (usize, usize) {
            (self.luma.width, self.luma.height)
        }
        fn strides(&self) -> (usize, usize, usize) {
            (self.luma.width, self.luma.width / 2, self.luma.width / 2)
        }
        fn y(&self) -> &[u8] {
            &self.luma.luma
        }
        fn u(&self) -> &[u8] {
            &self.chroma
        }
        fn v(&self) -> &[u8] {
            &self.chroma
        }
    }

    /// Access units of numbered pictures with a keyframe every `gop`.
    fn encoder(gop: u32) -> impl FnMut(u32) -> Option<Vec<u8>> {
        let config = EncoderConfig::new()
            .bitrate(BitRate::from_bps(1_000_000))
            .skip_frames(false)
            .intra_frame_period(IntraFramePeriod::from_num_frames(gop));
        let mut encoder = Encoder::with_api_config(OpenH264API::from_source(), config).unwrap();
        move |n| {
            let luma = Image::clip(n, n % 30 < 3, 320, 180);
            let picture = Numbered { luma, chroma: vec![128; 160 * 90] };
            Some(encoder.encode(&picture).unwrap().to_vec())
        }
    }

    fn numbers(lab: &Lab) -> Vec<u32> {
        lab.heard.pictures.iter().map(|(_, _, number)| *number).collect()
    }

    #[test]
    fn sees_every_picture_in_order() {
        let mut lab = Lab::join(true);
        lab.video = true;
        lab.play(100, encoder(50));
        lab.run(Duration::from_millis(100));
        let arrivals = lab.arrivals();
        assert_eq!((arrivals.video.lost, arrivals.n_undecodable, arrivals.n_malformed), (0, 0, 0));
        assert_eq!(arrivals.video_codec, Some(crate::media::Codec::H264));
        assert_eq!(numbers(&lab), (0..100).collect::<Vec<u32>>());
        // Sound and picture were sent at the same instants, from other timestamps.
        let sound = lab.heard.sound_taken[99].unwrap();
        let picture = lab.heard.pictures[99].1.unwrap();
        assert!((sound - picture).abs() < MediaTime::from_millis(1), "{sound:?} {picture:?}");
    }

    #[test]
    fn lost_pictures_are_repaired_by_retransmission() {
        let mut lab = Lab::join(true);
        lab.video = true;
        let mut encode = encoder(50);
        lab.lose = |n| n % 7 == 3;
        lab.play(140, &mut encode);
        // Nobody misses the last packet before another one comes.
        lab.lose = |_| false;
        lab.play(10, |n| encode(n + 140));
        lab.run(Duration::from_millis(500));
        let video = lab.arrivals().video;
        assert!(video.lost > 10, "{video:?}");
        assert_eq!(video.repaired, video.lost);
        assert_eq!(numbers(&lab), (0..150).collect::<Vec<u32>>());
    }

    #[test]
    fn a_picture_is_waited_for_as_long_as_a_repair_from_far_away_takes() {
        let mut lab = Lab::join(true);
        lab.video = true;
        lab.server.direct_api().stream_tx(&VIDEO_SSRC.into()).unwrap().set_rtx_cache(0, Duration::ZERO, None);
        let mut encode = encoder(50);
        // Enough for the round trip to be known.
        lab.play(150, &mut encode);
        lab.delay = |n| if n % 40 == 7 { Duration::from_millis(400) } else { DELAY };
        lab.play(100, |n| encode(n + 150));
        lab.delay = |_| DELAY;
        lab.play(50, |n| encode(n + 250));
        lab.run(Duration::from_millis(500));
        assert_eq!(numbers(&lab), (0..300).collect::<Vec<u32>>());
        let video = lab.arrivals().video;
        assert!(video.lost > 0 && video.lost == video.repaired, "{video:?}");
    }

    #[test]
    fn after_a_loss_without_repair_the_picture_waits_for_a_keyframe_and_asks_for_one() {
        let mut lab = Lab::join(true);
        lab.video = true;
        let mut encode = encoder(50);
        lab.play(20, &mut encode);
        // Everything is lost for a while, and what is resent, too.
        lab.lose = |_| true;
        lab.play(10, &mut encode);
        lab.lose = |_| false;
        let before = lab.heard.pictures.len();
        lab.server.direct_api().stream_tx(&VIDEO_SSRC.into()).unwrap().set_rtx_cache(0, Duration::ZERO, None);
        let mut next = 30;
        lab.play(70, |_| {
            let data = encode(next);
            next += 1;
            data
        });
        lab.run(Duration::from_millis(500));
        let arrivals = lab.arrivals();
        assert!(arrivals.video.lost >= 10 && arrivals.video.repaired == 0, "{arrivals:?}");
        assert!(arrivals.n_undecodable > 0, "{arrivals:?}");
        assert!(lab.n_plis > 0);
        // Play goes on with a keyframe, clean from its first picture on.
        assert!(lab.heard.pictures.len() > before + 20);
        assert_eq!(lab.heard.n_failed, 0);
    }

    #[test]
    fn a_peer_that_comes_back_is_watched_again() {
        let mut lab = Lab::join(true);
        lab.video = true;
        lab.play(10, encoder(50));
        let gone = ParticipantRow { left: true, ..Lab::row() };
        lab.state.handle_participants(&[gone], lab.now).unwrap();
        lab.play(10, |_| None);
        let heard = lab.heard.sound.len();
        lab.state.handle_participants(&[Lab::row()], lab.now).unwrap();
        lab.play(20, encoder(50));
        lab.run(Duration::from_millis(200));
        assert!(lab.heard.sound.len() >= heard + 19 * 960 * CHANNELS);
        assert!(lab.heard.pictures.len() >= 28, "{}", lab.heard.pictures.len());
    }
}

#[test]
fn codecs_are_those_of_the_dialect() {
    let mut config = RtcConfig::new().clear_codecs();
    super::formats::configure_codecs(&mut config);
    let found: Vec<(Codec, u8)> =
        config.codec_config().params().iter().map(|p| (p.spec().codec, *p.pt())).collect();
    assert_eq!(found, [(Codec::Opus, 111), (Codec::Vp8, 100), (Codec::Vp9, 102), (Codec::H264, 104)]);
}
