//! The session: a caller's lines on one side, calls and programmes on the other.

#![expect(clippy::disallowed_methods, reason = "events carry the time since the start")]

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::door::Door;
use super::wire::{self, Command, Event, In, MAX_LINE_BYTES, Out, Rejected, WireError, WirePlan};
use super::writer::Lines;
use crate::call::{Call, CallStatus, ChatId, JoinOptions, LeftReason};
use crate::player::{Item, PlayError, Player, PlayerEvent, PlayerOptions};
use crate::time::MediaTime;

/// Lines of the caller that wait to be acted upon.
const INBOX: usize = 256;
/// After the goodbyes: how long the last lines may take to be written.
const FAREWELL: Duration = Duration::from_secs(2);

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The chats to join at once; more can be joined by command.
    pub chats: Vec<ChatId>,
    /// What to play, in this order.
    pub items: Vec<Item>,
    /// One programme per chat instead of one for all.
    pub separate: bool,
    /// Begin anew after the last item.
    pub loop_all: bool,
    /// Go on after the last item, in silence.
    pub stay: bool,
    /// How often statistics are told.
    pub stats_every: Option<Duration>,
    /// How to enter.
    pub join: JoinOptions,
}

/// Runs until the programme has ended, the caller has gone or `stop` resolves. Returns why the
/// first chat that failed did so.
pub async fn run(
    options: Options,
    input: impl AsyncBufRead + Unpin + Send + 'static,
    output: impl AsyncWrite + Unpin + Send + 'static,
    stop: impl Future<Output = ()>,
) -> Option<LeftReason> {
    let (lines, writer) = Lines::to(output);
    lines.send(Out::hello()).await;
    let (notes_sender, notes) = mpsc::channel(INBOX);
    let reader = tokio::spawn(read_lines(input, notes_sender.clone()));
    let mut session = Session {
        began: Instant::now(),
        door: Door::new(lines.clone()),
        lines,
        notes: notes_sender,
        options,
        chats: BTreeMap::new(),
        programme: None,
        failed: None,
        tasks: tokio::task::JoinSet::new(),
    };
    session.begin().await;
    session.serve(notes, stop).await;
    let failed = session.end().await;
    reader.abort();
    // Who does not read within this time does not want the last lines.
    let _ = tokio::time::timeout(FAREWELL, writer).await;
    failed
}

/// What the session waits for.
enum Note {
    Line(Result<In, Rejected>),
    /// The caller has closed its end.
    InputClosed,
    Status(ChatId, CallStatus),
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
    failed: Option<LeftReason>,
    /// Forwarders of statuses and events.
    tasks: tokio::task::JoinSet<()>,
}

/// One chat.
struct Seat {
    call: Call,
    player: Player,
    over: bool,
    queue_ended: bool,
}

impl Session {
    async fn begin(&mut self) {
        if !self.options.separate {
            self.programme = Some(self.start_player(None).await);
        }
        for chat in self.options.chats.clone() {
            self.join(chat).await;
        }
    }

    async fn serve(&mut self, mut notes: mpsc::Receiver<Note>, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let lines = self.lines.clone();
        let mut unread = std::pin::pin!(lines.closed());
        let mut stats = self.options.stats_every.map(tokio::time::interval);
        loop {
            tokio::select! {
                () = &mut stop => return,
                () = &mut unread => return,
                note = notes.recv() => match note {
                    Some(Note::InputClosed) | None => return,
                    Some(note) => self.handle(note).await,
                },
                () = tick(&mut stats) => self.tell_all_stats().await,
            }
            if self.finished() {
                return;
            }
        }
    }

    /// Leaves everything; the goodbyes are written, their replies are not waited for.
    async fn end(&mut self) -> Option<LeftReason> {
        for seat in self.chats.values().filter(|seat| !seat.over) {
            let reason = if seat.queue_ended { LeftReason::Ended } else { LeftReason::Command };
            seat.call.leave(reason).await;
        }
        for (chat, seat) in std::mem::take(&mut self.chats) {
            let reason = seat.call.closed().await;
            if !seat.over {
                self.tell_status(&chat, &CallStatus::Left(reason)).await;
            }
            seat.player.close().await;
        }
        if let Some(player) = self.programme.take() {
            player.close().await;
        }
        self.tasks.shutdown().await;
        if self.lines.dropped() > 0 {
            tracing::warn!(dropped = self.lines.dropped(), "lines that the caller did not read in time");
        }
        self.failed.take()
    }

    /// Is there nobody left to play to, or nothing left to play?
    fn finished(&self) -> bool {
        let given = !self.options.chats.is_empty();
        let stays = self.options.stay || self.options.loop_all;
        let nobody = given && self.chats.values().all(|seat| seat.over);
        let nothing =
            !stays && !self.chats.is_empty() && self.chats.values().all(|seat| seat.over || seat.queue_ended);
        nobody || nothing
    }

    async fn handle(&mut self, note: Note) {
        match note {
            Note::Line(Ok(line)) => self.handle_line(line).await,
            Note::Line(Err(rejected)) => self.reject(rejected).await,
            Note::Status(chat, status) => {
                self.tell_status(&chat, &status).await;
                if let (CallStatus::Left(reason), Some(seat)) = (status, self.chats.get_mut(&chat)) {
                    seat.over = true;
                    if matches!(reason, LeftReason::Failed(_)) {
                        self.failed.get_or_insert(reason);
                    }
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
                if !self.door.reply(id, result) {
                    tracing::debug!(id, "a reply to nothing that was asked");
                }
            }
            In::Update { chat, update } => {
                let chat = ChatId(chat);
                if !self.door.update(&chat, update) {
                    self.reject(unknown_chat(None, &chat)).await;
                }
            }
            In::Command { reference, chat, command } => {
                let chat = chat.map(ChatId);
                match self.command(chat.as_ref(), command).await {
                    Ok(()) => self.lines.send(Out::Ack { reference }).await,
                    Err((code, message)) => {
                        let chat = chat.map(|chat| chat.0);
                        self.reject(Rejected { reference, chat, code, message }).await;
                    }
                }
            }
        }
    }

    async fn command(
        &mut self,
        chat: Option<&ChatId>,
        command: Command,
    ) -> Result<(), (&'static str, String)> {
        if command == Command::Join {
            let chat = chat.ok_or_else(|| ("bad_command", "join needs the key \"chat\"".to_owned()))?;
            if self.chats.get(chat).is_some_and(|seat| !seat.over) {
                return Err(("already_joined", format!("{chat} is joined already")));
            }
            self.join(chat.clone()).await;
            return Ok(());
        }
        let seat = chat.map(|chat| {
            let seat = self.chats.get(chat).filter(|seat| !seat.over);
            seat.ok_or_else(|| ("unknown_chat", format!("{chat} is not joined; known are {}", self.known())))
        });
        let seat = seat.transpose()?;
        match command {
            Command::Mute | Command::Unmute | Command::Leave | Command::Stats => {
                let seat =
                    seat.ok_or_else(|| ("bad_command", "this command needs the key \"chat\"".to_owned()))?;
                match command {
                    Command::Leave => seat.call.leave(LeftReason::Command).await,
                    Command::Stats => {
                        let chat = seat.call.chat().clone();
                        self.tell_stats(&chat).await;
                    }
                    _ => seat.call.set_muted(command == Command::Mute).await,
                }
                Ok(())
            }
            _ => {
                let player = match (&self.programme, seat) {
                    (Some(programme), _) => programme.clone(),
                    (None, Some(seat)) => seat.player.clone(),
                    (None, None) => {
                        return Err((
                            "bad_command",
                            "with --separate this command needs the key \"chat\"".into(),
                        ));
                    }
                };
                steer(&player, command).await.map_err(|error| ("failed", told(&error)))
            }
        }
    }

    async fn handle_player_event(&mut self, owner: Option<ChatId>, event: PlayerEvent) {
        // A shared programme is told to every chat: each line stands for one chat.
        let chats: Vec<ChatId> = match owner {
            Some(chat) => vec![chat],
            None => self.chats.iter().filter(|(_, seat)| !seat.over).map(|(chat, _)| chat.clone()).collect(),
        };
        for chat in chats {
            let event = match &event {
                PlayerEvent::ItemStarted { item, source, plan, .. } => Event::ItemStarted {
                    item: item.0,
                    source: source.to_string(),
                    plan: WirePlan { audio: plan.audio.clone(), video: plan.video.clone() },
                },
                PlayerEvent::Position { item, position, duration } => Event::Position {
                    item: item.0,
                    position_ms: position.as_millis(),
                    duration_ms: duration.map(MediaTime::as_millis),
                },
                PlayerEvent::ItemEnded { item, reason, error } => Event::ItemEnded {
                    item: item.0,
                    reason: reason.as_str(),
                    error: error.as_ref().map(|error| told(error)),
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
        let options =
            PlayerOptions { loop_all: self.options.loop_all, stay: true, ..PlayerOptions::default() };
        let player = Player::start(options);
        let (mut events, notes) = (player.events(), self.notes.clone());
        self.tasks.spawn(async move {
            loop {
                match events.recv().await {
                    Ok(event) => {
                        if notes.send(Note::Player(owner.clone(), event)).await.is_err() {
                            return;
                        }
                    }
                    Err(RecvError::Lagged(lost)) => tracing::warn!(lost, "events of the player were lost"),
                    Err(RecvError::Closed) => return,
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
        let call = Call::join(chat.clone(), &self.door, &player, self.options.join.clone());
        let (mut status, notes, name) = (call.status(), self.notes.clone(), chat.clone());
        self.tasks.spawn(async move {
            loop {
                let now = status.borrow_and_update().clone();
                let over = matches!(now, CallStatus::Left(_));
                let told = notes.send(Note::Status(name.clone(), now)).await;
                if over || told.is_err() || status.changed().await.is_err() {
                    return;
                }
            }
        });
        self.chats.insert(chat, Seat { call, player, over: false, queue_ended: false });
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
            self.tell(chat, Event::Stats { stats: stats.to_rtc_stats() }).await;
        }
    }

    async fn tell(&self, chat: &ChatId, event: Event) {
        let t_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.lines.send(Out::Event { t_ms, chat: chat.0.clone(), event }).await;
    }

    async fn reject(&self, Rejected { reference, chat, code, message }: Rejected) {
        self.lines.send(Out::Error { reference, chat, code, message }).await;
    }

    fn known(&self) -> String {
        let known: Vec<&str> =
            self.chats.iter().filter(|(_, seat)| !seat.over).map(|(chat, _)| chat.0.as_str()).collect();
        if known.is_empty() { "none".to_owned() } else { known.join(", ") }
    }
}

async fn steer(player: &Player, command: Command) -> Result<(), PlayError> {
    match command {
        Command::Pause => player.pause().await,
        Command::Resume => player.resume().await,
        Command::Skip => player.skip().await,
        Command::Stop => player.stop().await,
        Command::Seek { position_ms } => player.seek(MediaTime::from_millis(position_ms)).await.map(drop),
        Command::Volume { percent } => player.set_volume(u16::try_from(percent).unwrap_or(u16::MAX)).await,
        Command::Play { source, now: true } => player.play_now(Item::file(source)).await.map(drop),
        Command::Play { source, now: false } => player.enqueue(Item::file(source)).await.map(drop),
        Command::Join | Command::Leave | Command::Mute | Command::Unmute | Command::Stats => {
            unreachable!("commands of a chat are handled before those of a programme")
        }
    }
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

/// Reads the caller's lines until it closes its end.
async fn read_lines(mut input: impl AsyncBufRead + Unpin, notes: mpsc::Sender<Note>) {
    let limit = u64::try_from(MAX_LINE_BYTES + 1).expect("a megabyte");
    let mut line = Vec::new();
    let mut skipping = false;
    loop {
        line.clear();
        match (&mut input).take(limit).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let whole = line.ends_with(b"\n");
        let too_long = !whole && line.len() > MAX_LINE_BYTES;
        let rest_of_long_line = skipping;
        skipping = too_long || (skipping && !whole);
        if rest_of_long_line {
            continue;
        }
        let note = if too_long {
            let message = format!("a line of more than {MAX_LINE_BYTES} bytes was skipped");
            Err(Rejected { reference: None, chat: None, code: "line_too_long", message })
        } else {
            match wire::read(&String::from_utf8_lossy(&line)) {
                Ok(None) => continue,
                Ok(Some(line)) => Ok(line),
                Err(rejected) => Err(rejected),
            }
        };
        if notes.send(Note::Line(note)).await.is_err() {
            return;
        }
    }
    // The session may be over already.
    let _ = notes.send(Note::InputClosed).await;
}
