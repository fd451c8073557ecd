//! Shared by the tests of this folder: a clip made of numbers, and workers without threads.

pub(super) mod tone;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::deck::{Opened, Want};
use super::item::{FrameReader, Item, ItemError, ItemPlan};
use super::state::{Output, State, Ticket};
use super::worker::{Report, WorkerEvent, WorkerId};
use super::{DueFrame, PlayError, PlayerEvent, PlayerOptions, PlayerStatus};
use crate::media::pace::{Pace as Speed, Paces};
use crate::media::{Codec, Frame, MediaKind};
use crate::time::MediaTime;

/// What a test plays. Every frame carries its index in its track.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clip {
    /// Length of the sound in 20 ms frames; `None` for no sound.
    pub(super) n_audio: Option<i64>,
    /// Length of the picture in frames; `None` for no picture.
    pub(super) n_video: Option<i64>,
    /// `pts` of the first sound.
    pub(super) audio_from: MediaTime,
    /// `pts` of the first picture.
    pub(super) video_from: MediaTime,
    /// Pictures per second.
    pub(super) fps: u32,
    /// Every how many pictures one is a key.
    pub(super) gop: i64,
    /// Reading fails at this time.
    pub(super) fails_at: Option<MediaTime>,
    /// It cannot even be opened.
    pub(super) unreadable: bool,
    /// It comes as it comes.
    pub(super) cannot_seek: bool,
    /// Its pictures are VP8.
    pub(super) vp8: bool,
}

impl Clip {
    /// Sound and 25 pictures a second, for `secs`.
    pub(super) fn of_secs(secs: i64) -> Self {
        Self {
            n_audio: Some(secs * 50),
            n_video: Some(secs * 25),
            audio_from: MediaTime::ZERO,
            video_from: MediaTime::ZERO,
            fps: 25,
            gop: 25,
            fails_at: None,
            unreadable: false,
            cannot_seek: false,
            vp8: false,
        }
    }

    pub(super) fn audio_pts(&self, idx: i64) -> MediaTime {
        self.audio_from + MediaTime::from_millis(20 * idx)
    }

    pub(super) fn video_pts(&self, idx: i64) -> MediaTime {
        self.video_from + MediaTime::from_ticks(idx, self.fps)
    }

    pub(super) fn item(self, source: &str) -> Item {
        Item::from_reader(source, move || self.open())
    }

    /// The same, which becomes VP8 where somebody takes no H.264.
    pub(super) fn adapting(self, source: &str) -> Item {
        Item::adapting(source, move |codecs| Self { vp8: self.vp8 || !codecs.h264, ..self }.open())
    }

    pub(super) fn open(self) -> Result<Box<dyn FrameReader>, ItemError> {
        if self.unreadable {
            return Err(broken());
        }
        Ok(Box::new(ClipReader {
            clip: self,
            audio_idx: 0,
            video_idx: 0,
            heard: self.audio_from,
            paces: Paces::default(),
        }))
    }
}

pub(super) fn broken() -> ItemError {
    ItemError::reader(std::io::Error::other("broken on purpose"))
}

struct ClipReader {
    clip: Clip,
    audio_idx: i64,
    video_idx: i64,
    /// When the next sound is played.
    heard: MediaTime,
    paces: Paces,
}

impl ClipReader {
    fn sound_left(&self) -> bool {
        let end = self.clip.n_audio.map(|n| self.clip.audio_pts(n));
        end.is_some_and(|end| self.paces.media_of(self.heard) < end)
    }
}

impl FrameReader for ClipReader {
    fn plan(&self) -> ItemPlan {
        let words = |n: Option<i64>| n.map(|_| "copy".to_owned());
        ItemPlan::new(words(self.clip.n_audio), words(self.clip.n_video))
    }

    fn duration(&self) -> Option<MediaTime> {
        let audio = self.clip.n_audio.map(|n| self.clip.audio_pts(n));
        audio.max(self.clip.n_video.map(|n| self.clip.video_pts(n)))
    }

    fn next_frame(&mut self) -> Result<Option<Frame>, ItemError> {
        let clip = self.clip;
        let audio = self.sound_left().then_some(self.heard);
        let video = clip.n_video.filter(|n| self.video_idx < *n).map(|_| clip.video_pts(self.video_idx));
        let video = video.map(|media| self.paces.play_of(media));
        let (kind, pts, idx) = match (audio, video) {
            (None, None) => return Ok(None),
            (Some(audio), video) if video.is_none_or(|video| audio <= video) => {
                (MediaKind::Audio, audio, &mut self.audio_idx)
            }
            (_, video) => (MediaKind::Video, video.expect("one of both"), &mut self.video_idx),
        };
        if clip.fails_at.is_some_and(|at| self.paces.media_of(pts) >= at) {
            return Err(broken());
        }
        let number = *idx;
        *idx += 1;
        let is_audio = kind == MediaKind::Audio;
        let frame = MediaTime::from_millis(20);
        if is_audio {
            self.heard += frame;
        }
        let percent = u32::from(self.paces.percent_at(self.paces.media_of(pts)));
        let picture = MediaTime::from_ticks(1, clip.fps).scaled(100, percent);
        Ok(Some(Frame {
            kind,
            codec: if clip.vp8 && !is_audio { Codec::Vp8 } else { crate::media::usual_codec(kind) },
            pts,
            duration: if is_audio { frame } else { picture },
            key: is_audio || number % clip.gop == 0,
            data: Bytes::copy_from_slice(&number.to_be_bytes()),
            level: None,
            rotation: 0,
        }))
    }

    fn seek(&mut self, to: MediaTime) -> Result<MediaTime, ItemError> {
        let clip = self.clip;
        if clip.cannot_seek {
            return Err(broken());
        }
        let mut landed = to;
        if let Some(n) = clip.n_video {
            let key = (0..n).rev().find(|idx| idx % clip.gop == 0 && clip.video_pts(*idx) <= to).unwrap_or(0);
            self.video_idx = key;
            landed = clip.video_pts(key);
        }
        if let Some(n) = clip.n_audio {
            self.audio_idx = (0..n).find(|idx| clip.audio_pts(*idx + 1) > landed).unwrap_or(n);
            self.heard = clip.audio_pts(self.audio_idx);
        }
        self.paces.restart(landed);
        Ok(landed)
    }

    fn set_speed(&mut self, percent: u16) -> Option<Speed> {
        let reached = if self.sound_left() {
            self.paces.media_of(self.heard)
        } else {
            self.clip.video_pts(self.video_idx)
        };
        Some(self.paces.change(reached, percent))
    }

    fn set_volume(&mut self, _gain: f32) {}
}

/// The number that a [`Clip`]'s frame carries.
pub(super) fn number(frame: &Frame) -> i64 {
    i64::from_be_bytes(frame.data.as_ref().try_into().expect("a frame of a Clip"))
}

/// How long workers take under the test's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    pub(super) open: Duration,
    pub(super) frame: Duration,
    pub(super) seek: Duration,
    /// From the worker's word to the state's ear.
    pub(super) report: Duration,
}

/// A state, its workers and a clock that a test turns.
pub(super) struct Rig {
    pub(super) state: State,
    pub(super) now: Instant,
    pub(super) pace: Pace,
    workers: BTreeMap<WorkerId, SlowWorker>,
    /// Reports on their way.
    mail: VecDeque<(Instant, Report)>,
    /// What has come out and no test has looked at.
    pub(super) frames: Vec<(Instant, DueFrame)>,
    pub(super) events: Vec<(Instant, PlayerEvent)>,
    pub(super) sought: Vec<(Ticket, Result<MediaTime, PlayError>)>,
    pub(super) status: PlayerStatus,
    pub(super) n_opened: usize,
}

struct SlowWorker {
    item: Item,
    reader: Option<Box<dyn FrameReader>>,
    orders: VecDeque<Want>,
    generation: u32,
    credit: usize,
    free_at: Instant,
    speed_wanted: u16,
    speed: u16,
}

impl Rig {
    pub(super) fn new(options: PlayerOptions, pace: Pace) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
        let now = Instant::now();
        let state = State::new(options, now);
        let mut rig = Self {
            state,
            now,
            pace,
            workers: BTreeMap::new(),
            mail: VecDeque::new(),
            frames: Vec::new(),
            events: Vec::new(),
            sought: Vec::new(),
            status: PlayerStatus::default(),
            n_opened: 0,
        };
        rig.carry_out();
        rig
    }

    /// Lets the clock run, waking everything in time.
    pub(super) fn run(&mut self, length: Duration) {
        let end = self.now + length;
        self.carry_out();
        loop {
            let timer = self.state.poll_timeout().map(|(due, _)| due);
            let worker = self.workers.values().filter(|w| w.has_work()).map(|w| w.free_at).min();
            let mail = self.mail.front().map(|(due, _)| *due);
            let Some(wake) = timer.into_iter().chain(worker).chain(mail).min().filter(|wake| *wake <= end)
            else {
                break;
            };
            self.now = self.now.max(wake);
            self.work();
            self.carry_out();
        }
        self.now = end;
    }

    /// Lets the clock run while everything sleeps: a hiccup of the machine.
    pub(super) fn freeze(&mut self, length: Duration) {
        self.now += length;
        self.work();
        self.carry_out();
    }

    /// Every worker's thread dies.
    pub(super) fn crash(&mut self) {
        self.carry_out();
        for (id, worker) in &mut self.workers {
            worker.free_at = self.now + Duration::from_secs(1 << 30);
            let report = Report { worker: *id, event: WorkerEvent::Gone };
            self.mail.push_back((self.now + self.pace.report, report));
        }
        self.work();
        self.carry_out();
    }

    /// How many workers have not been told to end.
    pub(super) fn n_workers(&self) -> usize {
        self.workers.len()
    }

    fn work(&mut self) {
        let now = self.now;
        for (id, worker) in &mut self.workers {
            while worker.has_work() && worker.free_at <= now {
                if let Some(event) = worker.work(self.pace, now) {
                    self.mail.push_back((now + self.pace.report, Report { worker: *id, event }));
                }
            }
        }
        while let Some((_, report)) = self.mail.pop_front_if(|(due, _)| *due <= now) {
            self.state.handle_report(report);
        }
    }

    /// Does what the state wants done at this moment.
    pub(super) fn carry_out(&mut self) {
        while let Some(output) = self.state.poll_output(self.now) {
            match output {
                Output::Frame(frame) => self.frames.push((self.now, frame)),
                Output::Event(event) => self.events.push((self.now, event)),
                Output::Status(status) => self.status = status,
                Output::Open { worker, item, speed_percent, .. } => {
                    self.n_opened += 1;
                    let slow = SlowWorker {
                        item,
                        reader: None,
                        orders: VecDeque::new(),
                        generation: 0,
                        credit: 0,
                        free_at: self.now + self.pace.open,
                        speed_wanted: speed_percent,
                        speed: 100,
                    };
                    self.workers.insert(worker, slow);
                }
                Output::Order { worker, want } => {
                    let worker = self.workers.get_mut(&worker).expect("orders go to living workers");
                    worker.free_at = worker.free_at.max(self.now + worker.delay(want, self.pace));
                    worker.orders.push_back(want);
                }
                Output::Volume { worker, .. } => assert!(self.workers.contains_key(&worker)),
                Output::Speed { worker, percent } => {
                    self.workers.get_mut(&worker).expect("a living worker").speed_wanted = percent;
                }
                Output::Retire { worker } => {
                    self.workers.remove(&worker).expect("a worker is retired once");
                }
                Output::Sought { ticket, result } => self.sought.push((ticket, result)),
            }
        }
    }
}

impl SlowWorker {
    fn has_work(&self) -> bool {
        self.reader.is_none() || self.credit > 0 || !self.orders.is_empty()
    }

    fn delay(&self, want: Want, pace: Pace) -> Duration {
        match want {
            _ if self.has_work() => Duration::ZERO,
            Want::Read { .. } => pace.frame,
            Want::Seek { .. } => pace.seek,
        }
    }

    fn work(&mut self, pace: Pace, now: Instant) -> Option<WorkerEvent> {
        let Some(reader) = &mut self.reader else {
            self.free_at = now + pace.frame;
            return Some(match self.item.open() {
                Ok(reader) => {
                    let opened = Opened { plan: reader.plan(), duration: reader.duration() };
                    self.reader = Some(reader);
                    WorkerEvent::Opened(opened)
                }
                Err(error) => {
                    // Nothing more comes from a thread that has ended.
                    self.free_at = now + Duration::from_secs(1 << 30);
                    WorkerEvent::NotOpened(error)
                }
            });
        };
        match self.orders.pop_front() {
            Some(Want::Read { generation, n_frames, .. }) => {
                if generation == self.generation {
                    self.credit += n_frames;
                }
                None
            }
            Some(Want::Seek { generation, to }) => {
                self.generation = generation;
                self.credit = 0;
                self.free_at = now + pace.seek;
                Some(WorkerEvent::Landed { generation, result: reader.seek(to) })
            }
            None if self.speed != self.speed_wanted => {
                self.speed = self.speed_wanted;
                let generation = self.generation;
                reader.set_speed(self.speed).map(|pace| WorkerEvent::Paced { generation, pace })
            }
            None => {
                self.free_at = now + pace.frame;
                let generation = self.generation;
                self.credit -= 1;
                Some(match reader.next_frame() {
                    Ok(Some(frame)) => WorkerEvent::Frames { generation, frames: vec![frame] },
                    Ok(None) => {
                        self.credit = 0;
                        WorkerEvent::End { generation }
                    }
                    Err(error) => {
                        self.credit = 0;
                        WorkerEvent::ReadFailed { generation, error }
                    }
                })
            }
        }
    }
}
