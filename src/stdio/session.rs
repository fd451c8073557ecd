//! The session: a caller's lines on one side, calls and programmes on the other.

#![expect(clippy::disallowed_methods, reason = "events carry the time since the start")]

mod commands;

use std::collections::BTreeMap;
use std::future::Future;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use self::commands::answer;
use super::door::Door;
use super::input::read_lines;
use super::wire::{Event, In, Out, Rejected, WireError, WirePlan};
use super::writer::Lines;
use crate::call::{Call, CallEvent, CallStatus, ChatId, JoinOptions, LeftReason};
use crate::media::ReaderOptions;
use crate::player::{EndReason, Item, ItemError, Player, PlayerEvent, PlayerOptions, Repeat};
use crate::time::MediaTime;

/// Lines of the caller that wait to be acted upon.
const INBOX: usize = 256;
/// Statistics are told no more often than this.
const MIN_STATS_EVERY: Duration = Duration::from_millis(100);
/// How long the items may take to be opened before the first join.
const LOOK_FOR_PICTURES: Duration = Duration::from_secs(2);
/// How long the goodbyes and the last lines may take to be written.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long the caller's last lines may take once it has closed its end. Together with the
/// farewell this stays below the three seconds within which the program ends.
const LAST_LINES: Duration = Duration::from_millis(500);

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The chats to join at once; more can be joined by command.
    pub chats: Vec<ChatId>,
    /// What to play, in this order.
    pub items: Vec<Item>,
    /// One programme per chat instead of one for all.
    pub separate: bool,
    /// How programmes behave; they always stay when the queue has ended.
    pub player: PlayerOptions,
    /// Go on after the last item, in silence.
    pub stay: bool,
    /// How often statistics are told.
    pub stats_every: Option<Duration>,
    /// The calls of the moment and their programmes are shown here.
    pub seats: watch::Sender<Vec<(Call, Player)>>,
    /// How files are read that are queued by command.
    pub reader: ReaderOptions,
    /// How to enter. With `video`, a camera is announced where there is a picture to play;
    /// without it, also the items should have sound only.
    pub join: JoinOptions,
}

/// Why a run was no success.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The first chat that failed did so for this reason.
    Left(LeftReason),
    /// No item could be played; this was the first.
    NothingPlayed {
        /// Its name.
        item: Arc<str>,
        /// What was wrong with it.
        error: ItemError,
    },
    /// The lines could not be written, as on a full disk. A reader that has gone is no failure.
    Output(Arc<std::io::Error>),
}

/// Runs until the programme has ended, the caller has gone or `stop` resolves, and then for
/// three seconds at most. `None` means that all went well.
pub async fn run(
    options: Options,
    input: impl AsyncBufRead + Unpin + Send + 'static,
    output: impl AsyncWrite + Unpin + Send + 'static,
    stop: impl Future<Output = ()>,
) -> Option<Failure> {
    let (lines, mut writer) = Lines::to(output);
    lines.send(Out::hello()).await;
    let (notes_sender, notes) = mpsc::channel(INBOX);
    let mut reader = tokio::spawn(read_lines(input, notes_sender.clone()));
    let mut session = Session {
        began: Instant::now(),
        door: Door::new(lines.clone()),
        lines: lines.clone(),
        notes: notes_sender,
        options,
        chats: BTreeMap::new(),
        programme: None,
        failed: None,
        playing: BTreeMap::new(),
        played: false,
        unplayable: None,
        pictures: false,
        tasks: JoinSet::new(),
    };
    // Whatever the session waits for, such as a caller that does not read: these end it.
    tokio::select! {
        () = session.serve(notes) => {}
        () = stop => {}
        () = lines.closed() => {}
        () = input_ended(&mut reader) => {}
    }
    drop(lines);
    let deadline = tokio::time::Instant::now() + FAREWELL;
    if tokio::time::timeout_at(deadline, session.end()).await.is_err() {
        tracing::warn!("the goodbyes were not all taken in time");
    }
    let failed = session.failed.take();
    drop(session);
    reader.abort();
    match tokio::time::timeout_at(deadline, &mut writer).await {
        Ok(Ok(Err(error))) if error.kind() != ErrorKind::BrokenPipe => {
            tracing::error!(%error, "the lines cannot be written");
            Some(Failure::Output(Arc::new(error)))
        }
        Ok(_) => failed,
        Err(_) => {
            // Who does not read within this time does not want the last lines.
            writer.abort();
            failed
        }
    }
}

/// Resolves when the caller has closed its end and its last lines have had their time.
async fn input_ended(reader: &mut JoinHandle<()>) {
    // A reader that ended is gone, however it ended.
    let _ = reader.await;
    tokio::time::sleep(LAST_LINES).await;
}

/// What the session waits for.
pub(super) enum Note {
    Line(Result<In, Rejected>),
    /// The caller has closed its end.
    InputClosed,
    Status(ChatId, CallStatus),
    /// The server takes none of our pictures.
    SoundOnly(ChatId),
    Player(Option<ChatId>, PlayerEvent),
}

struct Session {
    began: Instant,
    door: Door,
    lines: Lines,
    notes: mpsc::Sender<Note>,
    options: Options,
    chats: BTreeMap<ChatId, Seat>,
    /// The programme that all chats share, unless each has its own.
    programme: Option<Player>,
    failed: Option<Failure>,
    /// The item that each programme has told of and not ended, by the chat that owns it.
    playing: BTreeMap<Option<ChatId>, u64>,
    /// At least one item has been heard or seen.
    played: bool,
    /// Why the first item that failed did so.
    unplayable: Option<(Arc<str>, ItemError)>,
    /// There is something to look at for whoever is joined now.
    pictures: bool,
    /// Forwarders of statuses and events, and commands that take their time.
    tasks: JoinSet<()>,
}

/// One chat.
struct Seat {
    call: Call,
    player: Player,
    over: bool,
    /// It has been told to leave.
    leaving: bool,
    /// It is to be joined anew as soon as it has left.
    rejoin: bool,
    queue_ended: bool,
    /// The camera is off for as long as the call lasts, or the server takes no picture of ours.
    sound_only: bool,
}

impl Session {
    async fn serve(&mut self, mut notes: mpsc::Receiver<Note>) {
        self.pictures = self.options.join.video && have_pictures(&self.options.items).await;
        if !self.options.separate {
            self.programme = Some(self.start_player(None).await);
        }
        for chat in self.options.chats.clone() {
            if !self.chats.contains_key(&chat) {
                self.join(chat).await;
            }
        }
        let mut stats =
            self.options.stats_every.map(|every| tokio::time::interval(every.max(MIN_STATS_EVERY)));
        while !self.finished() {
            tokio::select! {
                note = notes.recv() => match note {
                    Some(Note::InputClosed) | None => return,
                    Some(note) => self.handle(note).await,
                },
                () = tick(&mut stats) => self.tell_all_stats().await,
                // Otherwise what has ended would be kept until the end.
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }

    /// Leaves everything; the goodbyes are written, their replies are not waited for.
    async fn end(&mut self) {
        let nothing_played = !self.played && self.programmes_over();
        for seat in self.chats.values().filter(|seat| !seat.over) {
            let reason = if seat.queue_ended { LeftReason::Ended } else { LeftReason::Command };
            seat.call.leave(reason).await;
        }
        let shared = self.programme.is_some();
        let mut closing = JoinSet::new();
        closing.extend(self.programme.take().map(close));
        for (chat, seat) in std::mem::take(&mut self.chats) {
            if !seat.over {
                // Nobody listens to the programmes any more, so their own word does not come.
                if let Some(item) = self.playing.get(&(!shared).then(|| chat.clone())).copied() {
                    let reason = EndReason::Stopped.as_str();
                    self.tell(&chat, Event::ItemEnded { item, reason, error: None }).await;
                }
                let reason = seat.call.closed().await;
                self.tell_status(&chat, &CallStatus::Left(reason.clone())).await;
                self.note_failure(reason);
            }
            closing.spawn(close(seat.player));
        }
        if nothing_played && let Some((item, error)) = self.unplayable.take() {
            self.failed.get_or_insert(Failure::NothingPlayed { item, error });
        }
        while closing.join_next().await.is_some() {}
        self.tasks.shutdown().await;
        if self.lines.dropped() > 0 {
            tracing::warn!(dropped = self.lines.dropped(), "lines that the caller did not read in time");
        }
        let dropped = self.door.all_updates_dropped();
        if dropped > 0 {
            tracing::warn!(dropped, "updates that calls did not take in time");
        }
    }

    /// Is there nobody left to play to, or nothing left to play?
    fn finished(&self) -> bool {
        if self.options.stay {
            // Chats may be joined at any time; the caller ends it.
            return false;
        }
        let given = !self.options.chats.is_empty();
        let nobody = given && self.chats.values().all(|seat| seat.over);
        nobody || (self.options.player.repeat == Repeat::Off && self.programmes_over())
    }

    /// Has every programme that somebody listens to come to its end?
    fn programmes_over(&self) -> bool {
        !self.chats.is_empty() && self.chats.values().all(|seat| seat.over || seat.queue_ended)
    }

    /// Keeps what is the first failure of a chat.
    fn note_failure(&mut self, reason: LeftReason) {
        if matches!(reason, LeftReason::Failed(_)) {
            self.failed.get_or_insert(Failure::Left(reason));
        }
    }

    async fn handle(&mut self, note: Note) {
        match note {
            Note::Line(Ok(line)) => self.handle_line(line).await,
            Note::Line(Err(rejected)) => self.reject(rejected).await,
            Note::Status(chat, status) => {
                self.tell_status(&chat, &status).await;
                if let (CallStatus::Left(reason), Some(seat)) = (status, self.chats.get_mut(&chat)) {
                    seat.over = true;
                    let (rejoin, player) = (seat.rejoin, seat.player.clone());
                    self.show_seats();
                    if self.programme.is_none() {
                        self.tasks.spawn(close(player));
                    }
                    self.note_failure(reason);
                    if rejoin {
                        self.join(chat).await;
                    }
                }
            }
            Note::SoundOnly(chat) => {
                if let Some(seat) = self.chats.get_mut(&chat) {
                    seat.sound_only = true;
                }
            }
            Note::Player(chat, event) => self.handle_player_event(chat, event).await,
            // The loop ends by it.
            Note::InputClosed => {}
        }
    }

    async fn handle_line(&mut self, line: In) {
        match line {
            In::Reply { id, result } => {
                if !self.door.reply(id, result).await {
                    tracing::debug!(id, "a reply to nothing that was asked");
                }
            }
            In::Update { chat, update } => {
                let chat = ChatId(chat);
                if !self.door.update(&chat, update).await {
                    self.reject(unknown_chat(None, &chat)).await;
                }
            }
            In::Command { reference, chat, command } => {
                let chat = chat.map(ChatId);
                if let Some(done) = self.command(&reference, chat.as_ref(), command).await {
                    self.lines.send(answer(reference, chat, done)).await;
                }
            }
        }
    }

    async fn handle_player_event(&mut self, owner: Option<ChatId>, event: PlayerEvent) {
        match &event {
            PlayerEvent::ItemStarted { item, plan, .. } => {
                self.played = true;
                self.pictures |= self.options.join.video && plan.video.is_some();
                self.playing.insert(owner.clone(), item.0);
            }
            PlayerEvent::ItemEnded { item, source, reason, error } => {
                if self.playing.get(&owner) == Some(&item.0) {
                    self.playing.remove(&owner);
                }
                if let (EndReason::Failed, Some(error)) = (reason, error) {
                    self.unplayable.get_or_insert_with(|| (source.clone(), error.clone()));
                }
            }
            _ => {}
        }
        // A shared programme is told to every chat: each line stands for one chat.
        let chats: Vec<ChatId> = match owner {
            Some(chat) => vec![chat],
            None => self.chats.iter().filter(|(_, seat)| !seat.over).map(|(chat, _)| chat.clone()).collect(),
        };
        for chat in chats {
            let event = match &event {
                PlayerEvent::ItemStarted { item, source, plan, .. } => {
                    let sound_only = self.chats.get(&chat).is_some_and(|seat| seat.sound_only);
                    let video = plan.video.clone().filter(|_| !sound_only);
                    let plan = WirePlan { audio: plan.audio.clone(), video };
                    Event::ItemStarted { item: item.0, source: source.to_string(), plan }
                }
                PlayerEvent::Position { item, position, duration } => Event::Position {
                    item: item.0,
                    position_ms: position.as_millis(),
                    duration_ms: duration.map(MediaTime::as_millis),
                },
                PlayerEvent::ItemEnded { item, source, reason, error } => Event::ItemEnded {
                    item: item.0,
                    reason: reason.as_str(),
                    error: error.as_ref().map(|error| format!("cannot play {source}: {}", told(error))),
                },
                PlayerEvent::QueueEnded => {
                    if let Some(seat) = self.chats.get_mut(&chat) {
                        seat.queue_ended = true;
                    }
                    continue;
                }
                _ => continue,
            };
            if let (Event::ItemStarted { .. }, Some(seat)) = (&event, self.chats.get_mut(&chat)) {
                seat.queue_ended = false;
            }
            self.tell(&chat, event).await;
        }
    }

    async fn start_player(&mut self, owner: Option<ChatId>) -> Player {
        let options = PlayerOptions { stay: true, ..self.options.player.clone() };
        let player = Player::start(options);
        let (mut events, notes) = (player.follow().await, self.notes.clone());
        self.tasks.spawn(async move {
            while let Some(event) = events.recv().await {
                if notes.send(Note::Player(owner.clone(), event)).await.is_err() {
                    return;
                }
            }
        });
        for item in &self.options.items {
            if let Err(error) = player.enqueue(item.clone()).await {
                tracing::error!(%error, source = %item.source(), "an item was not queued");
            }
        }
        player
    }

    async fn join(&mut self, chat: ChatId) {
        let player = match &self.programme {
            Some(programme) => programme.clone(),
            None => self.start_player(Some(chat.clone())).await,
        };
        let options = JoinOptions { video_stopped: !self.pictures, ..self.options.join.clone() };
        let call = Call::join(chat.clone(), &self.door, &player, options);
        self.tasks.spawn(note_events(call.events(), chat.clone(), self.notes.clone()));
        let (mut status, notes, name) = (call.status(), self.notes.clone(), chat.clone());
        self.tasks.spawn(async move {
            let mut told = None;
            loop {
                let now = status.borrow_and_update().clone();
                let (word, over) = (now.word(), matches!(now, CallStatus::Left(_)));
                let is_news = told.replace(word) != Some(word);
                if is_news && notes.send(Note::Status(name.clone(), now)).await.is_err() {
                    return;
                }
                if over || status.changed().await.is_err() {
                    return;
                }
            }
        });
        self.chats.insert(
            chat,
            Seat {
                call,
                player,
                over: false,
                leaving: false,
                rejoin: false,
                queue_ended: false,
                sound_only: !self.options.join.video,
            },
        );
        self.show_seats();
    }

    fn show_seats(&self) {
        let seats = self.chats.values().filter(|seat| !seat.over);
        self.options.seats.send_replace(seats.map(|seat| (seat.call.clone(), seat.player.clone())).collect());
    }

    async fn tell_status(&self, chat: &ChatId, status: &CallStatus) {
        let (mut reason, mut error) = (None, None);
        if let CallStatus::Left(left) = status {
            reason = Some(left.word());
            if let LeftReason::Failed(failed) = left {
                let (code, message) = (failed.code().to_owned(), told(failed));
                error = Some(WireError { code, message, retryable: failed.retryable() });
            }
        }
        let status = status.word();
        self.tell(chat, Event::Status { status, reason, error }).await;
    }

    async fn tell_all_stats(&self) {
        let chats: Vec<ChatId> =
            self.chats.iter().filter(|(_, seat)| !seat.over).map(|(chat, _)| chat.clone()).collect();
        for chat in chats {
            self.tell_stats(&chat).await;
        }
    }

    async fn tell_stats(&self, chat: &ChatId) {
        let Some(seat) = self.chats.get(chat) else { return };
        if let Some(stats) = seat.call.stats().await {
            let mut stats = stats.to_rtc_stats();
            let dropped = self.door.updates_dropped(chat);
            stats.push(json!({ "type": "x_signaling", "id": "signaling", "x_updatesDropped": dropped }));
            self.tell(chat, Event::Stats { stats }).await;
        }
    }

    async fn tell(&self, chat: &ChatId, event: Event) {
        let t_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.lines.send(Out::Event { t_ms, chat: chat.0.clone(), event }).await;
    }

    async fn reject(&self, Rejected { reference, chat, code, message }: Rejected) {
        self.lines.send(Out::Error { reference, chat, code, message }).await;
    }
}

/// Puts into the log what the lines have no words for, until the call is over.
async fn note_events(mut events: broadcast::Receiver<CallEvent>, chat: ChatId, notes: mpsc::Sender<Note>) {
    loop {
        match events.recv().await {
            Ok(CallEvent::Status(CallStatus::Left(_))) | Err(RecvError::Closed) => return,
            Ok(CallEvent::FloodWait { wait }) => {
                tracing::warn!(%chat, wait_s = wait.as_secs(), "Telegram asks to wait before joining");
            }
            Ok(CallEvent::Retrying { attempt, why }) => tracing::warn!(%chat, attempt, why, "trying again"),
            Ok(CallEvent::MutedByAdmin { muted: true }) => {
                tracing::warn!(%chat, "muted by an admin; nobody hears anything until one allows it");
            }
            Ok(CallEvent::MutedByAdmin { muted: false }) => tracing::info!(%chat, "an admin allows to speak"),
            Ok(CallEvent::CameraNotAllowed { limit }) => {
                tracing::warn!(%chat, limit, "no room for one more camera, so only sound is sent");
            }
            Ok(CallEvent::EditRefused { property, error }) => {
                tracing::warn!(%chat, ?property, %error, "others do not see us as we want");
            }
            Ok(CallEvent::VideoNotAccepted { listed }) => {
                tracing::warn!(%chat, ?listed, "the server takes neither H.264 nor VP8, so only sound is sent");
                if notes.send(Note::SoundOnly(chat.clone())).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(RecvError::Lagged(n_events)) => {
                tracing::warn!(%chat, n_events, "events of the call were missed")
            }
        }
    }
}

/// Opens items until one has pictures. What takes its time may well have some.
async fn have_pictures(items: &[Item]) -> bool {
    if items.is_empty() {
        // They will come by command.
        return true;
    }
    let items = items.to_vec();
    let found = move || items.iter().any(|item| item.plan().is_ok_and(|plan| plan.video.is_some()));
    let looking = tokio::time::timeout(LOOK_FOR_PICTURES, tokio::task::spawn_blocking(found));
    !matches!(looking.await, Ok(Ok(false)))
}

async fn close(player: Player) {
    player.close().await;
}

fn unknown_chat(reference: Option<Value>, chat: &ChatId) -> Rejected {
    let message = format!("{chat} is not joined");
    Rejected { reference, chat: Some(chat.0.clone()), code: "unknown_chat", message }
}

/// An error with its causes, in one line.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

async fn tick(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}
