//! The driver of one programme: owns its clock, its workers and its listeners, decides nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{broadcast, oneshot, watch};
use tracing::{debug, error, trace, warn};

use super::bridge::Bridge;
use super::item::{Item, ItemError};
use super::listener::Tap;
use super::state::{Output, State, Ticket};
use super::worker::{Dismissed, Report, Worker, WorkerEvent, WorkerId};
use super::{
    FOLLOWED, ItemId, Line, MAX_QUEUED, PlayError, PlayerEvent, PlayerOptions, PlayerStatus, QueuedItem,
    Repeat, SharedFrame,
};
use crate::media::MediaKind;
use crate::media::plan::VideoCodecs;
use crate::time::MediaTime;

/// How many reports of workers may wait. Three items are loaded at most, each owing few frames.
const REPORTS: usize = 64;

/// How often an item's reader is asked for a keyframe: about as long as it takes to come.
const BETWEEN_KEYS: Duration = Duration::from_secs(1);

/// How long a worker may take for its last frame when the programme ends. One that takes longer
/// hangs in a read of the system; it ends by itself when that returns.
const JOIN_LIMIT: Duration = Duration::from_secs(2);

/// How many events may wait for a follower before positions and changes of the queue are left out.
const POSITIONS: usize = 256;

/// What a [`super::Player`] asks for.
#[derive(Debug)]
pub(super) enum Command {
    Enqueue { item: Item, now: bool, reply: oneshot::Sender<Result<ItemId, PlayError>> },
    Insert { idx: usize, item: Item, reply: oneshot::Sender<Result<ItemId, PlayError>> },
    Move { item: ItemId, to: usize, reply: oneshot::Sender<Result<(), PlayError>> },
    Remove { item: ItemId, reply: oneshot::Sender<Result<(), PlayError>> },
    Clear { reply: oneshot::Sender<()> },
    Shuffle { seed: u64, reply: oneshot::Sender<()> },
    SkipTo { item: ItemId, reply: oneshot::Sender<Result<(), PlayError>> },
    Queue { reply: oneshot::Sender<Vec<QueuedItem>> },
    Line { reply: oneshot::Sender<Line> },
    Previous { reply: oneshot::Sender<Result<(), PlayError>> },
    Repeat { repeat: Repeat, reply: oneshot::Sender<()> },
    Skip { reply: oneshot::Sender<Result<(), PlayError>> },
    Pause { paused: bool, reply: oneshot::Sender<()> },
    Seek { to: MediaTime, reply: SeekReply },
    SeekBy { offset: MediaTime, reply: SeekReply },
    Keyframe,
    Volume { percent: u16, reply: oneshot::Sender<Result<(), PlayError>> },
    Speed { percent: u16, reply: oneshot::Sender<Result<(), PlayError>> },
    Crossfade { length: MediaTime, reply: oneshot::Sender<Result<(), PlayError>> },
    Stop { reply: oneshot::Sender<()> },
    Listen { tap: Tap },
    Follow { to: Sender<PlayerEvent> },
    Close,
}

type SeekReply = oneshot::Sender<Result<MediaTime, PlayError>>;

/// Runs a programme to its end.
pub(super) async fn run(
    options: PlayerOptions,
    mut commands: Receiver<Command>,
    events: broadcast::Sender<PlayerEvent>,
    status: watch::Sender<PlayerStatus>,
) {
    let (reports, mut inbox) = channel(REPORTS);
    #[cfg(feature = "openh264")]
    let bridge = Bridge::new(options.slate.clone());
    #[cfg(not(feature = "openh264"))]
    let bridge = Bridge::default();
    let mut driver = Driver {
        state: State::new(options, now()),
        workers: HashMap::new(),
        retired: HashMap::new(),
        taps: Vec::new(),
        under_way: VecDeque::new(),
        codecs: VideoCodecs::ALL,
        untaken_item: None,
        untaken_still: false,
        bridge,
        key_asked: None,
        seeks: HashMap::new(),
        reports,
        events,
        followers: Vec::new(),
        n_lost: 0,
        status,
    };
    driver.carry_out();
    let mut has_owner = true;
    while !driver.state.is_finished() {
        let wake = driver.state.poll_timeout().map(|(due, _)| tokio::time::Instant::from_std(due));
        tokio::select! {
            biased;
            () = sleep_until(wake) => {}
            Some(report) = inbox.recv() => driver.handle_report(report),
            answer = driver.bridge.recv() => {
                for frame in driver.bridge.handle_answer(answer) {
                    driver.hand_out(frame);
                }
            }
            command = commands.recv(), if has_owner => match command {
                Some(command) => driver.handle_command(command),
                None => {
                    has_owner = false;
                    driver.state.close();
                }
            },
        }
        driver.carry_out();
    }
    driver.shut_down(inbox).await;
}

async fn sleep_until(wake: Option<tokio::time::Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

#[expect(clippy::disallowed_methods, reason = "the one clock of the programme")]
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

struct Driver {
    state: State,
    workers: HashMap<WorkerId, Worker>,
    /// Workers that have been told to end and have not yet said goodbye.
    retired: HashMap<WorkerId, Dismissed>,
    taps: Vec<Tap>,
    /// What has been handed out and is not due yet: whoever comes to listen gets it, too, and
    /// need not wait for [`LEAD`](super::state::LEAD) to pass.
    under_way: VecDeque<SharedFrame>,
    /// What all who listen take.
    codecs: VideoCodecs,
    /// The last item whose pictures somebody does not take.
    untaken_item: Option<ItemId>,
    /// The same has been said of stills.
    untaken_still: bool,
    /// Makes keyframes where the file has none.
    bridge: Bridge,
    /// When the item's reader was last asked for a keyframe.
    key_asked: Option<Instant>,
    seeks: HashMap<Ticket, SeekReply>,
    reports: Sender<Report>,
    events: broadcast::Sender<PlayerEvent>,
    followers: Vec<Sender<PlayerEvent>>,
    /// Events that a follower was too slow for.
    n_lost: u64,
    status: watch::Sender<PlayerStatus>,
}

impl Driver {
    /// Does all that the state wants done now.
    fn carry_out(&mut self) {
        while let Some(output) = self.state.poll_output(now()) {
            match output {
                Output::Frame(frame) => {
                    let (frame, now) = (Arc::new(frame), now());
                    #[cfg(feature = "openh264")]
                    self.bridge.set_slate(self.state.wants_slate());
                    // Pictures beside a sound come behind it.
                    let is_sound = frame.frame.kind == MediaKind::Audio;
                    let stills = if is_sound { self.bridge.poll_still(&frame, now) } else { Vec::new() };
                    for picture in std::iter::once(&frame).chain(&stills) {
                        self.note_untaken(picture);
                    }
                    let frame = self.bridge.handle_frame(frame, now);
                    for frame in frame.into_iter().chain(stills) {
                        self.hand_out(frame);
                    }
                }
                Output::Event(event) => self.tell(event),
                Output::Status(status) => {
                    self.status.send_replace(status);
                }
                Output::Open { worker, item, gain, speed_percent } => {
                    self.open(worker, Worker::spawn(worker, item, gain, speed_percent, self.reports.clone()));
                }
                Output::Order { worker, want } => {
                    if let Some(worker) = self.workers.get(&worker) {
                        worker.order(want);
                    }
                }
                Output::Volume { worker, gain } => {
                    if let Some(worker) = self.workers.get(&worker) {
                        worker.set_volume(gain);
                    }
                }
                Output::Speed { worker, percent } => {
                    if let Some(worker) = self.workers.get(&worker) {
                        worker.set_speed(percent);
                    }
                }
                Output::Retire { worker } => self.retire(worker),
                Output::Sought { ticket, result } => {
                    if let Some(reply) = self.seeks.remove(&ticket) {
                        answer(reply, result);
                    }
                }
            }
        }
    }

    fn tell(&mut self, event: PlayerEvent) {
        self.tell_followers(&event);
        // Nobody has to listen to events.
        let _nobody = self.events.send(event);
    }

    /// Says of an item, once, that somebody cannot see it although it was opened for all.
    fn note_untaken(&mut self, frame: &SharedFrame) {
        let codec = &frame.frame.codec;
        let is_seen = frame.frame.kind == MediaKind::Audio || self.codecs.take(codec);
        if is_seen || self.state.is_adapting() {
            return;
        }
        // A still belongs to no item.
        let is_told = match frame.item {
            Some(item) => self.untaken_item.replace(item) == Some(item),
            None => std::mem::replace(&mut self.untaken_still, true),
        };
        if is_told {
            return;
        }
        warn!(item = ?frame.item, codec = codec.name(), "one of the chats does not take these pictures");
        if let Some(item) = frame.item {
            self.tell(PlayerEvent::PicturesNotTaken { item, codec: codec.clone() });
        }
    }

    /// Those who listen are others now.
    fn handle_taps(&mut self) {
        self.codecs = self.taps.iter().map(|tap| tap.codecs).reduce(VideoCodecs::and).unwrap_or_default();
        self.state.set_codecs(self.codecs);
    }

    fn tell_followers(&mut self, event: &PlayerEvent) {
        // The next one makes up for a lost one of these.
        let is_position = matches!(event, PlayerEvent::Position { .. } | PlayerEvent::QueueChanged);
        let n_lost = &mut self.n_lost;
        self.followers.retain(|to| {
            let lost = if is_position && to.capacity() <= FOLLOWED - POSITIONS {
                true
            } else {
                match to.try_send(event.clone()) {
                    Ok(()) => false,
                    Err(TrySendError::Full(_)) => true,
                    Err(TrySendError::Closed(_)) => return false,
                }
            };
            if lost {
                if *n_lost == 0 {
                    warn!(?event, "events of the programme are not taken; some are lost");
                }
                *n_lost += 1;
            }
            true
        });
    }

    /// May one more item be queued, and its end be told?
    fn has_room(&self) -> bool {
        let untold = self.followers.iter().map(|to| FOLLOWED - to.capacity()).max().unwrap_or(0);
        // So many of them may be such as are left out when it gets tight.
        self.state.n_queued() + untold.saturating_sub(POSITIONS) < MAX_QUEUED
    }

    fn hand_out(&mut self, shared: SharedFrame) {
        trace!(item = ?shared.item, at = ?shared.at, kind = ?shared.frame.kind, "frame");
        let n_taps = self.taps.len();
        self.taps.retain_mut(|tap| tap.offer(&shared));
        if self.taps.len() < n_taps {
            self.handle_taps();
        }
        let now = now();
        while self.under_way.pop_front_if(|frame| frame.due < now).is_some() {}
        self.under_way.push_back(shared);
    }

    fn open(&mut self, id: WorkerId, spawned: Result<Worker, ItemError>) {
        match spawned {
            Ok(worker) => {
                self.workers.insert(id, worker);
            }
            Err(error) => {
                error!(%error, "an item cannot be loaded");
                self.state.handle_report(Report { worker: id, event: WorkerEvent::NotOpened(error) });
            }
        }
    }

    fn retire(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.remove(&id) {
            self.retired.insert(id, worker.dismiss());
        }
    }

    fn handle_report(&mut self, report: Report) {
        if matches!(report.event, WorkerEvent::Gone) {
            let id = report.worker;
            if let Some(thread) = self.retired.remove(&id) {
                thread.join();
            } else if let Some(worker) = self.workers.remove(&id) {
                worker.dismiss().join();
            }
        }
        self.state.handle_report(report);
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::Enqueue { reply, .. } | Command::Insert { reply, .. } if !self.has_room() => {
                answer(reply, Err(PlayError::QueueFull))
            }
            Command::Insert { idx, item, reply } => answer(reply, Ok(self.state.insert(idx, item))),
            Command::Move { item, to, reply } => answer(reply, self.state.move_to(item, to)),
            Command::Remove { item, reply } => answer(reply, self.state.remove(item)),
            Command::Clear { reply } => {
                self.state.clear();
                answer(reply, ());
            }
            Command::Shuffle { seed, reply } => {
                self.state.shuffle(seed);
                answer(reply, ());
            }
            Command::SkipTo { item, reply } => answer(reply, self.state.skip_to(item)),
            Command::Queue { reply } => answer(reply, self.state.upcoming()),
            Command::Line { reply } => answer(reply, self.state.line()),
            Command::Enqueue { item, now: false, reply } => answer(reply, Ok(self.state.enqueue(item))),
            Command::Enqueue { item, now: true, reply } => answer(reply, Ok(self.state.play_now(item))),
            Command::Previous { reply } => answer(reply, self.state.previous()),
            Command::Repeat { repeat, reply } => {
                self.state.set_repeat(repeat);
                answer(reply, ());
            }
            Command::Skip { reply } => answer(reply, self.state.skip()),
            Command::Pause { paused, reply } => {
                if paused {
                    self.state.pause()
                } else {
                    self.state.resume()
                }
                answer(reply, ());
            }
            Command::Seek { to, reply } => {
                let begun = self.state.seek(to);
                self.await_landing(begun, reply);
            }
            Command::SeekBy { offset, reply } => {
                let begun = self.state.seek_by(offset);
                self.await_landing(begun, reply);
            }
            Command::Keyframe => self.request_keyframe(),
            Command::Volume { percent, reply } => answer(reply, self.state.set_volume(percent)),
            Command::Speed { percent, reply } => answer(reply, self.state.set_speed(percent)),
            Command::Crossfade { length, reply } => answer(reply, self.state.set_crossfade(length)),
            Command::Stop { reply } => {
                self.state.stop();
                answer(reply, ());
            }
            Command::Listen { mut tap } => {
                let now = now();
                if self.under_way.iter().filter(|frame| frame.due >= now).all(|frame| tap.offer(frame)) {
                    self.taps.push(tap);
                }
                self.handle_taps();
                self.state.handle_listener();
                // Whoever comes in the middle cannot begin with what goes on.
                self.request_keyframe();
            }
            Command::Follow { to } => self.followers.push(to),
            Command::Close => self.state.close(),
        }
    }

    fn await_landing(&mut self, begun: Result<Ticket, PlayError>, reply: SeekReply) {
        match begun {
            Ok(ticket) => drop(self.seeks.insert(ticket, reply)),
            Err(error) => answer(reply, Err(error)),
        }
    }

    /// Asks whoever can make one: the item's reader, where it encodes, or the bridge.
    fn request_keyframe(&mut self) {
        let now = now();
        self.bridge.request(now);
        if self.key_asked.is_none_or(|at| now >= at + BETWEEN_KEYS) {
            self.key_asked = Some(now);
            self.state.request_keyframe();
        }
    }

    /// Waits for the workers that still read. Listeners hear the end at once.
    async fn shut_down(mut self, mut inbox: Receiver<Report>) {
        self.taps.clear();
        self.bridge.close();
        for (id, worker) in self.workers.drain() {
            self.retired.insert(id, worker.dismiss());
        }
        let all_gone = async {
            while !self.retired.is_empty() {
                let Some(report) = inbox.recv().await else { break };
                if let WorkerEvent::Gone = report.event
                    && let Some(thread) = self.retired.remove(&report.worker)
                {
                    thread.join();
                }
            }
        };
        if tokio::time::timeout(JOIN_LIMIT, all_gone).await.is_err() {
            error!(n_threads = self.retired.len(), "item readers hang in a read; they end when it returns");
        }
        if self.n_lost > 0 {
            warn!(n_events = self.n_lost, "events of the programme that were not taken in time");
        }
        debug!("the programme is over");
    }
}

/// Answers a command. Whoever asked may have stopped waiting.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    let _gave_up = reply.send(value);
}

#[cfg(test)]
mod tests;
