//! A whole call under a clock of the test's own: the real participant (rtc) on one side, the
//! emulator's server (str0m) on the other, and nothing between them but the weather.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use crate::call::params::Setup;
use crate::call::participant::{Config, Effect, Participant};
use crate::call::signaling::{
    Edit, Incoming, Method, ParticipantRow, ParticipantsPage, Reply, Request, SignalingError, Update,
};
use crate::call::state::CallStatus;
use crate::call::{CallEvent, JoinOptions, LeftReason};
use crate::emulator::{AnswerSetup, JoinRequest, ParticipantStats, Sfu, SfuConfig, SfuEvent, Weather};
use crate::media::{AudioLevel, Codec, Frame, MediaKind};
use crate::player::{DueFrame, ItemId};
use crate::secret::Secret;
use crate::time::MediaTime;

const CHAT: &str = "lab";
const NAME: &str = "bot";

/// What happens to a join on its way; the default is the server's own answer at once.
pub(super) type Tamper = Box<dyn FnMut(String) -> Option<Result<String, SignalingError>>>;

/// What Telegram says to an edit.
pub(super) type EditAnswer = Box<dyn FnMut(&Edit) -> Result<(), SignalingError>>;

/// One bot, one server.
pub(super) struct Lab {
    pub(super) now: Instant,
    pub(super) begin: Instant,
    pub(super) bot: Participant,
    pub(super) sfu: Sfu,
    pub(super) statuses: Vec<(Duration, CallStatus)>,
    pub(super) events: Vec<CallEvent>,
    pub(super) requests: Vec<Request>,
    /// What the bot's connections were announced with.
    pub(super) ssrcs: Vec<u32>,
    pub(super) tamper: Tamper,
    /// Nothing passes in either direction while this holds.
    pub(super) cut: bool,
    /// No DTLS passes while this holds.
    pub(super) without_dtls: bool,
    /// Telegram says nothing of who takes part, and its lists are empty.
    pub(super) unlisted: bool,
    /// Nobody answers when the list of participants is asked for.
    pub(super) listless: bool,
    /// The signaling side reads no requests while this holds.
    pub(super) deaf: bool,
    /// Telegram takes this long to answer a join.
    pub(super) join_takes: Duration,
    /// Every check is answered with this.
    pub(super) check_answer: Option<SignalingError>,
    /// Called for every edit; the default is that all is well.
    pub(super) edits: EditAnswer,
    /// Sockets that the bot has asked for.
    pub(super) n_sockets: usize,
    local: SocketAddr,
    server: SocketAddr,
    incoming: VecDeque<Incoming>,
    /// Joins that Telegram has not got round to.
    slow: VecDeque<(Instant, Request)>,
    media: Option<Media>,
    /// Of the pictures that are played.
    pub(super) codec: Codec,
}

/// A programme of 20 ms of sound and, at 30 frames a second, pictures of 4 kB.
struct Media {
    item: ItemId,
    origin: Instant,
    next_audio: i64,
    /// Nothing where the programme has no pictures.
    next_video: Option<i64>,
}

impl Lab {
    pub(super) fn new(setup: Setup, weather: &str) -> Self {
        Self::with(JoinOptions { setup, ..JoinOptions::default() }, weather, 1)
    }

    pub(super) fn with(options: JoinOptions, weather: &str, seed: u64) -> Self {
        Self::against(options, weather, seed, AnswerSetup::Opposite)
    }

    /// With a server that writes this role into its answers.
    #[expect(clippy::disallowed_methods, reason = "an arbitrary origin for a clock of our own")]
    pub(super) fn against(options: JoinOptions, weather: &str, seed: u64, answer_setup: AnswerSetup) -> Self {
        let now = Instant::now();
        let server = SocketAddr::from(([127, 0, 0, 1], 32_001));
        let mut weather = Weather::parse(weather).expect("the weather makes sense");
        weather.seed ^= seed;
        let config = SfuConfig { weather: Some(weather), answer_setup, ..SfuConfig::new(server) };
        let bot = Participant::new(Config {
            options,
            anchor: crate::rtp::clock::NtpAnchor::new(
                now,
                SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000),
            ),
            seed,
            stagger: Duration::ZERO,
            route: Some,
        });
        Self {
            now,
            begin: now,
            bot,
            sfu: Sfu::new(config, now),
            statuses: Vec::new(),
            events: Vec::new(),
            requests: Vec::new(),
            ssrcs: Vec::new(),
            tamper: Box::new(|answer| Some(Ok(answer))),
            cut: false,
            without_dtls: false,
            unlisted: false,
            listless: false,
            deaf: false,
            join_takes: Duration::ZERO,
            check_answer: None,
            edits: Box::new(|_| Ok(())),
            n_sockets: 0,
            local: SocketAddr::from(([127, 0, 0, 1], 40_000)),
            server,
            incoming: VecDeque::new(),
            slow: VecDeque::new(),
            media: None,
            codec: Codec::H264,
        }
    }

    /// Starts the bot and runs for this long.
    pub(super) fn join(&mut self, length: Duration) {
        self.bot.start(self.now);
        self.run(length);
    }

    /// Plays from now on.
    pub(super) fn play(&mut self) {
        self.begin_item(Some(0));
    }

    /// Plays a programme without pictures from now on.
    pub(super) fn play_sound_only(&mut self) {
        self.begin_item(None);
    }

    fn begin_item(&mut self, next_video: Option<i64>) {
        let item = ItemId(self.media.as_ref().map_or(1, |media| media.item.0 + 1));
        self.media = Some(Media { item, origin: self.now, next_audio: 0, next_video });
    }

    /// Lets this much time pass.
    pub(super) fn run(&mut self, length: Duration) {
        let end = self.now + length;
        self.run_until(end, |_| false);
        self.now = end;
    }

    /// Lets time pass until the status is reached; false if it was not within `length`.
    pub(super) fn run_to(&mut self, length: Duration, reached: impl Fn(&CallStatus) -> bool) -> bool {
        self.run_until(self.now + length, |lab| lab.statuses.iter().any(|(_, status)| reached(status)))
    }

    /// Something from the signaling side, at once.
    pub(super) fn deliver(&mut self, incoming: Incoming) {
        self.incoming.push_back(incoming);
        self.run(Duration::ZERO);
    }

    /// The newest status.
    pub(super) fn status(&self) -> Option<&CallStatus> {
        self.statuses.last().map(|(_, status)| status)
    }

    /// Why the call ended, if it did.
    pub(super) fn left(&self) -> Option<&LeftReason> {
        match self.status() {
            Some(CallStatus::Left(reason)) => Some(reason),
            _ => None,
        }
    }

    /// When this status came first.
    pub(super) fn when(&self, reached: impl Fn(&CallStatus) -> bool) -> Option<Duration> {
        self.statuses.iter().find(|(_, status)| reached(status)).map(|(at, _)| *at)
    }

    /// How often this was asked of the signaling side.
    pub(super) fn asked(&self, what: impl Fn(&Method) -> bool) -> usize {
        self.requests.iter().filter(|request| what(&request.method)).count()
    }

    /// What the server has seen of the bot.
    pub(super) fn seen(&mut self) -> Option<ParticipantStats> {
        let now = self.now;
        self.sfu.stats(CHAT, now).into_iter().find(|stats| stats.name == NAME)
    }

    /// How many participants the server has.
    pub(super) fn n_members(&mut self) -> usize {
        let now = self.now;
        self.sfu.stats(CHAT, now).len()
    }

    /// Somebody else joins and sends nothing; the server bears that for 20 s.
    pub(super) fn seat_guest(&mut self) {
        let params = r#"{"ssrc":7,"ufrag":"k8Qz","pwd":"Y1nVb0oXw7c3Lr5TgJ2uKeHs","fingerprints":[{"hash":"sha-256",
            "setup":"passive","fingerprint":"3B:91:0C:5E:77:AA:14:D2:60:8F:E1:49:B3:02:CD:7A:95:6E:2F:18:C4:8D:31:F0:5B:A6:E9:13:70:4C:DE:28"}]}"#;
        let request = JoinRequest {
            chat: CHAT.into(),
            name: "guest".into(),
            params: params.into(),
            muted: true,
            video_stopped: true,
            observer: false,
        };
        self.sfu.join(&request, self.now).expect("a guest is welcome");
    }

    fn run_until(&mut self, end: Instant, done: impl Fn(&Self) -> bool) -> bool {
        // Far more turns than any honest second needs: a machine that spins fails here.
        let allowance = 20_000 + 20_000 * usize::try_from((end - self.now).as_secs()).expect("a short test");
        for _ in 0..allowance {
            while self.turn() {}
            if done(self) {
                return true;
            }
            let slow = self.slow.front().map(|(at, _)| *at);
            let next = [self.bot.poll_timeout(), self.sfu.poll_timeout(), self.next_frame_due(), slow];
            let Some(next) = next.into_iter().flatten().min().filter(|at| *at <= end) else { return false };
            self.now = self.now.max(next);
            self.feed();
            while let Some((_, request)) = self.slow.pop_front_if(|(at, _)| *at <= self.now) {
                self.reply(&request);
            }
            if self.bot.poll_timeout().is_some_and(|at| at <= self.now) {
                self.bot.handle_timeout(self.now);
            }
            if self.sfu.poll_timeout().is_some_and(|at| at <= self.now) {
                self.sfu.handle_timeout(self.now);
            }
        }
        panic!("the lab does not come to rest: {:?}", self.statuses);
    }

    /// Moves everything that waits; false when nothing did.
    fn turn(&mut self) -> bool {
        let mut moved = false;
        while let Some(transmit) = self.bot.poll_transmit() {
            moved = true;
            if self.passes(&transmit.payload) {
                self.sfu.handle_datagram(self.local, &transmit.payload, self.now);
            }
        }
        while let Some((to, bytes)) = self.sfu.poll_transmit() {
            moved = true;
            if self.passes(&bytes) && to == self.local {
                self.bot.handle_datagram(self.server, &bytes, self.now, self.now);
            }
        }
        while let Some(effect) = self.bot.poll_effect() {
            moved = true;
            self.handle_effect(effect);
        }
        while let Some(request) = if self.deaf { None } else { self.bot.poll_request() } {
            moved = true;
            self.handle_request(request);
        }
        while let Some(event) = self.sfu.poll_event() {
            moved = true;
            if let SfuEvent::Participants { rows, version, .. } = event
                && !self.unlisted
            {
                let source = self.bot_source();
                let own = |row: ParticipantRow| ParticipantRow { is_self: Some(row.source) == source, ..row };
                let participants = rows.into_iter().map(own).collect();
                self.incoming.push_back(Incoming::Update(Update::Participants { participants, version }));
            }
        }
        while let Some(incoming) = self.incoming.pop_front() {
            moved = true;
            self.bot.handle_incoming(incoming, self.now);
        }
        moved
    }

    fn passes(&self, datagram: &[u8]) -> bool {
        // RFC 7983 tells DTLS by its first byte.
        !(self.cut || self.without_dtls && matches!(datagram.first(), Some(20..=63)))
    }

    fn handle_effect(&mut self, effect: Effect) {
        match effect {
            Effect::NewSocket => {
                self.n_sockets += 1;
                self.local.set_port(self.local.port() + 1);
                self.bot.handle_socket(self.local, self.now);
            }
            Effect::Status(status) => self.statuses.push((self.now - self.begin, status)),
            Effect::Ssrc(ssrc) => self.ssrcs.push(ssrc),
            Effect::Event(event) => self.events.push(event),
        }
    }

    fn handle_request(&mut self, request: Request) {
        self.requests.push(request.clone());
        if matches!(request.method, Method::Join(_)) && !self.join_takes.is_zero() {
            self.slow.push_back((self.now + self.join_takes, request));
        } else {
            self.reply(&request);
        }
    }

    fn reply(&mut self, request: &Request) {
        if let Some(result) = self.answer(&request.method) {
            self.incoming.push_back(Incoming::Reply { id: request.id, result });
        }
    }

    fn answer(&mut self, method: &Method) -> Option<Result<Reply, SignalingError>> {
        let refused = |error: crate::emulator::RpcError| {
            Some(Err(SignalingError::Rpc { code: error.code, message: error.message }))
        };
        match method {
            Method::Join(join) => {
                let request = JoinRequest {
                    chat: CHAT.into(),
                    name: NAME.into(),
                    params: join.params.expose().clone(),
                    muted: join.muted,
                    video_stopped: join.video_stopped,
                    observer: false,
                };
                match self.sfu.join(&request, self.now) {
                    Ok(joined) => {
                        let answer = (self.tamper)(joined.params)?;
                        Some(answer.map(|params| Reply::Joined { params: Secret::new(params) }))
                    }
                    Err(error) => refused(error),
                }
            }
            Method::Check { .. } if self.check_answer.is_some() => self.check_answer.clone().map(Err),
            Method::Edit(edit) => Some((self.edits)(edit).map(|()| Reply::Done)),
            Method::Check { sources } => match self.sfu.check(CHAT, NAME, sources) {
                Ok(sources) => Some(Ok(Reply::Sources(sources))),
                Err(error) => refused(error),
            },
            Method::Leave { source } => match self.sfu.leave(CHAT, NAME, *source, self.now) {
                Ok(()) => Some(Ok(Reply::Done)),
                Err(error) => refused(error),
            },
            Method::Participants { .. } if self.listless => None,
            Method::Participants { .. } if self.unlisted => {
                Some(Ok(Reply::Participants(ParticipantsPage::default())))
            }
            Method::Participants { sources, offset } => {
                let mut page = self.sfu.list(CHAT, sources, offset);
                let own = self.bot_source();
                for row in &mut page.participants {
                    row.is_self = Some(row.source) == own;
                }
                Some(Ok(Reply::Participants(page)))
            }
        }
    }

    fn bot_source(&self) -> Option<i32> {
        self.requests.iter().rev().find_map(|request| match &request.method {
            Method::Join(join) => Some(join.source),
            _ => None,
        })
    }

    fn next_frame_due(&self) -> Option<Instant> {
        let media = self.media.as_ref()?;
        let audio = media.audio_at();
        Some(media.due(media.video_at().map_or(audio, |video| video.min(audio))))
    }

    /// Hands the frames over that are due.
    fn feed(&mut self) {
        while let Some(media) = &mut self.media {
            let (audio, video) = (media.audio_at(), media.video_at());
            let (kind, at) = match video.filter(|video| *video < audio) {
                Some(video) => (MediaKind::Video, video),
                None => (MediaKind::Audio, audio),
            };
            if media.due(at) > self.now {
                return;
            }
            let (item, due) = (media.item, media.due(at));
            let mut frame = media.next(kind, at);
            if kind == MediaKind::Video {
                frame.codec = self.codec.clone();
            }
            self.bot.handle_frame(Arc::new(DueFrame { item: Some(item), at, due, frame }), self.now);
        }
    }
}

impl Media {
    fn audio_at(&self) -> MediaTime {
        MediaTime::from_millis(20) * self.next_audio
    }

    fn video_at(&self) -> Option<MediaTime> {
        Some(MediaTime::from_ticks(self.next_video?, 30))
    }

    fn due(&self, at: MediaTime) -> Instant {
        self.origin + at.to_duration()
    }

    fn next(&mut self, kind: MediaKind, at: MediaTime) -> Frame {
        let frame = |data, duration, key, level| Frame {
            kind,
            codec: crate::media::usual_codec(kind),
            pts: at,
            duration,
            key,
            data,
            level,
            rotation: 0,
        };
        if kind == MediaKind::Audio {
            self.next_audio += 1;
            let level = Some(AudioLevel::from_neg_dbov(20));
            return frame(Bytes::from(vec![0xfc; 240]), MediaTime::from_millis(20), true, level);
        }
        let nth = self.next_video.expect("a picture is due");
        let key = nth % 30 == 0;
        self.next_video = Some(nth + 1);
        let mut data = Vec::new();
        if key {
            data.extend([0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1f, 1, 0, 0, 0, 1, 0x68, 1]);
        }
        data.extend([0, 0, 0, 1, if key { 0x65 } else { 0x41 }]);
        data.extend(vec![0x5a; 4000]);
        frame(Bytes::from(data), MediaTime::from_ticks(1, 30), key, None)
    }
}
