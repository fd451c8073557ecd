//! `telecast play` with an account of one's own: one programme, any number of chats.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::control::{self, Door, Find, Programme};
use super::exit::{self, Because, Exit};
use super::metrics::Metrics;
use super::play::begin_at;
use super::sources::SourceArgs;
use super::{say, stop, values};
use crate::call::{Call, CallEvent, ChatId, JoinOptions, LeftReason, Property};
use crate::media::{Reader, ReaderOptions};
use crate::player::journal::{Journal, Saved, SavedChat};
use crate::player::{
    AfterFailure, EndReason, Item, ItemError, OnFailure, Player, PlayerEvent, PlayerOptions,
};
use crate::telegram::{ChatName, Client, FileLink, SignalingOptions, TelegramSignaling};
use crate::time::MediaTime;

/// What to stream, and where.
pub(super) struct Stream {
    pub(super) sources: Vec<PathBuf>,
    pub(super) chats: Vec<String>,
    pub(super) player: PlayerOptions,
    pub(super) start_at: Option<Duration>,
    /// Where the programme is kept.
    pub(super) journal: Option<Journal>,
    /// Where Prometheus may ask.
    pub(super) metrics: Option<SocketAddr>,
    /// What it was when the last process ended.
    pub(super) resume: Option<Saved>,
    /// Whose `telecast ctl` steers this.
    pub(super) account: String,
    /// For what is queued later.
    pub(super) from: SourceArgs,
    pub(super) stay: bool,
    pub(super) start: bool,
    pub(super) reader: ReaderOptions,
    pub(super) join: JoinOptions,
}

impl Stream {
    /// Whatever can be said without a connection is said before there is one.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        let mut names = Vec::new();
        for chat in std::mem::take(&mut self.chats) {
            let name = chat.parse::<ChatName>()?;
            // Twice in one chat, an account would throw itself out again and again.
            if names.contains(&name) {
                say::remark(format_args!("{chat} is given more than once and is joined once"));
            } else {
                names.push(name);
                self.chats.push(chat);
            }
        }
        let mut pictures = Vec::new();
        let mut sources = Vec::new();
        for source in std::mem::take(&mut self.sources) {
            let source = &source;
            if let Some(link) = link(source) {
                // What is in it can only be seen with a connection.
                link.parse::<FileLink>()?;
                pictures.push(true);
                sources.push(source.clone());
                continue;
            }
            let reader = Reader::open(source, self.reader.clone());
            match reader.with_context(|| format!("cannot play {}", source.display())) {
                Ok(reader) => {
                    pictures.push(reader.plan().video.played_track().is_some());
                    sources.push(source.clone());
                }
                // It could be played once; the others still can.
                Err(error) if self.resume.is_some() => {
                    say::remark(format_args!("{error:#}; passed over"));
                    if let Some(saved) = self.resume.as_mut().filter(|_| sources.is_empty()) {
                        saved.position = MediaTime::ZERO;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        if sources.is_empty() {
            let text = "nothing of what the journal holds can be played; remove it to begin anew";
            return Err(Because(Exit::Media, text.into()).into());
        }
        self.sources = sources;
        self.join.video_stopped = !pictures.first().copied().unwrap_or_default();
        Ok(())
    }

    /// The queue. Files at Telegram are looked into first: nobody joins for what cannot be played.
    async fn items(&mut self, client: &Client) -> anyhow::Result<Vec<Item>> {
        let mut items = Vec::new();
        for (nth, source) in self.sources.iter().enumerate() {
            let Some(text) = link(source) else {
                items.push(Item::file_with(source, self.reader.clone()));
                continue;
            };
            let link: FileLink = text.parse()?;
            let file = client.open_file(&link).await?;
            let (input, options) = (text.to_owned(), self.reader.clone());
            let look = move || Reader::from_source(Box::new(file), input, options);
            let reader = tokio::task::spawn_blocking(look).await?;
            let reader = reader.with_context(|| format!("cannot play {text}"))?;
            if nth == 0 {
                self.join.video_stopped = reader.plan().video.played_track().is_none();
            }
            items.push(remote(client, link, text, self.reader.clone()));
        }
        begin_at(&mut items, self.start_at);
        Ok(items)
    }

    pub(super) async fn run(mut self, client: &Client) -> anyhow::Result<Exit> {
        let stop = stop::on_signal()?;
        let items = self.items(client).await?;
        let (seats, seen) = watch::channel(Vec::new());
        let metrics = match self.metrics {
            Some(addr) => Some(Metrics::open(addr, seen).await?),
            None => None,
        };
        let signaling = TelegramSignaling::new(client.clone(), SignalingOptions { start: self.start });
        let player = Player::start(self.player.clone());
        let mut events = player.follow().await;
        let calls: Vec<Call> =
            self.chats.iter().map(|chat| self.join_chat(chat, &signaling, &player)).collect();
        seats.send_replace(calls.iter().map(|call| (call.clone(), player.clone())).collect());
        let mut watched = JoinSet::new();
        let (listening, listeners) = watch::channel(self.chats.iter().map(|chat| self.ghost(chat)).collect());
        for (nth, call) in calls.iter().enumerate() {
            watched.spawn(watch(call.clone()));
            watched.spawn(remember(call.ssrc(), nth, listening.clone()));
        }
        // The beginning is for those who are there: nothing plays before somebody has joined.
        let nothing_joined = tokio::select! {
            joined = any_joined(&calls) => !joined,
            () = stop.cancelled() => true,
        };
        // One that is stopped before it is where it was must not write that down.
        let begun = !nothing_joined
            && tokio::select! {
                begun = self.begin(&player, items) => begun.map(|()| true)?,
                () = stop.cancelled() => false,
            };
        let keeper = match self.journal.take() {
            Some(journal) if begun => Some(journal.keep(&player, listeners).await?),
            _ => None,
        };
        let mut steered = JoinSet::new();
        match control::socket_path(&self.account).and_then(|path| Ok(Door::open(path)?)) {
            Ok(door) => {
                let find = self.find(client);
                let programme = Programme { player: player.clone(), calls: calls.clone().into(), find };
                steered.spawn(door.serve(programme));
            }
            Err(error) => say::remark(format_args!("`telecast ctl` cannot steer this: {error}")),
        }
        let ended = async {
            let (mut played, mut failure) = (false, None);
            loop {
                match events.recv().await {
                    Some(PlayerEvent::QueueEnded) if self.stay && played => {}
                    Some(PlayerEvent::QueueEnded) | None => {
                        return failure.filter(|_| !played);
                    }
                    Some(PlayerEvent::ItemEnded {
                        source,
                        reason: EndReason::Failed,
                        error: Some(error),
                        ..
                    }) => {
                        say::remark(format_args!("cannot play {source}: {error}"));
                        failure = Some(error);
                    }
                    Some(PlayerEvent::ItemFailed { source, error, policy, .. }) => match policy {
                        AfterFailure::Retry { nth, of, pause } => {
                            let secs = pause.as_secs();
                            say::remark(format_args!(
                                "{source} failed: {error}; again in {secs} s (try {nth} of {of})"
                            ));
                        }
                        AfterFailure::Stop => return Some(error),
                        AfterFailure::Skip => {}
                    },
                    Some(PlayerEvent::ItemStuck { item }) => {
                        say::remark(format_args!(
                            "nothing has come of item {item} for 3 s; it is waited for"
                        ));
                    }
                    Some(PlayerEvent::ItemStarted { source, .. }) => {
                        played = true;
                        say::remark(format_args!("playing {source}"));
                    }
                    Some(_) => {}
                }
            }
        };
        let unplayed = tokio::select! {
            () = all_closed(&calls) => None,
            () = stop.cancelled() => None,
            failure = ended => failure,
        };
        if let Some(keeper) = keeper {
            keeper.stop().await;
        }
        let exit = leave(&calls, &stop).await;
        watched.shutdown().await;
        steered.shutdown().await;
        if let Some(metrics) = metrics {
            metrics.close().await;
        }
        player.close().await;
        match unplayed {
            Some(error) => {
                let what = match self.player.on_failure {
                    OnFailure::Stop => "an item failed",
                    _ => "nothing could be played",
                };
                let text = format!("{what}: {:#}", anyhow::Error::new(error));
                Err(Because(Exit::Media, text).into())
            }
            None => exit,
        }
    }
}

impl Stream {
    fn join_chat(&self, chat: &str, signaling: &TelegramSignaling, player: &Player) -> Call {
        let options = JoinOptions { ghost: self.ghost(chat).ssrc, ..self.join.clone() };
        Call::join(ChatId(chat.to_owned()), signaling, player, options)
    }

    /// What an earlier process may have left in a chat.
    fn ghost(&self, chat: &str) -> SavedChat {
        let saved = self.resume.iter().flat_map(|saved| &saved.chats).find(|saved| saved.name == chat);
        saved.cloned().unwrap_or_else(|| SavedChat { name: chat.to_owned(), ssrc: None })
    }

    /// Queues everything, and goes to where the last process was.
    async fn begin(&self, player: &Player, items: Vec<Item>) -> anyhow::Result<()> {
        let Some(saved) = &self.resume else {
            for item in items {
                player.enqueue(item).await?;
            }
            return Ok(());
        };
        // Nothing is heard before the place is found.
        player.pause().await?;
        for item in items {
            player.enqueue(item).await?;
        }
        if saved.position > MediaTime::ZERO
            && let Err(error) = player.seek(saved.position).await
        {
            say::remark(format_args!("the place is lost: {error}"));
        }
        let paused = if saved.paused { ", paused" } else { "" };
        let place = values::clock(saved.position.to_duration());
        say::remark(format_args!("going on at {place} with what was left{paused}"));
        if !saved.paused {
            player.resume().await?;
        }
        Ok(())
    }

    /// How something that is queued while we play becomes items.
    fn find(&self, client: &Client) -> Arc<Find> {
        let (client, from, options) = (client.clone(), self.from.clone(), self.reader.clone());
        Arc::new(move |source| {
            if source == "-" {
                anyhow::bail!("standard input belongs to `telecast play`; queue a file");
            }
            if let Some(text) = link(Path::new(source)) {
                return Ok(vec![remote(&client, text.parse()?, text, options.clone())]);
            }
            let files = from.expand(&[PathBuf::from(source)])?;
            // One that cannot be played is refused at once; in a list it is passed over later.
            if let [file] = &files[..] {
                Reader::open(file, options.clone()).with_context(|| format!("cannot play {source}"))?;
            }
            Ok(files.into_iter().map(|file| Item::file_with(file, options.clone())).collect())
        })
    }
}

/// Opens a journal, and says so when it was no use.
pub(super) fn open_journal(path: &Path) -> anyhow::Result<Journal> {
    let journal = Journal::open(path)?;
    if let Some(aside) = journal.set_aside() {
        let (path, aside) = (path.display(), aside.display());
        say::remark(format_args!("the journal {path} was broken and lies at {aside} now; a new one begins"));
    }
    Ok(journal)
}

/// The text of a source that is a link to a message and no file.
fn link(source: &Path) -> Option<&str> {
    source.to_str().filter(|text| FileLink::is_meant(text) && !source.exists())
}

/// The file in a message: found anew for every play, and read while it is fetched.
fn remote(client: &Client, link: FileLink, name: &str, options: ReaderOptions) -> Item {
    let (client, runtime, input) = (client.clone(), Handle::current(), name.to_owned());
    Item::from_reader(name, move || {
        let file = runtime.block_on(client.open_file(&link)).map_err(ItemError::reader)?;
        Ok(Box::new(Reader::from_source(Box::new(file), &input[..], options.clone())?))
    })
}

/// Leaves every chat, and tells why those that were over before ended.
async fn leave(calls: &[Call], stop: &CancellationToken) -> anyhow::Result<Exit> {
    let reason = if stop.is_cancelled() { LeftReason::Command } else { LeftReason::Ended };
    let mut worst = Ok(Exit::Ok);
    for call in calls {
        call.leave(reason.clone()).await;
    }
    for call in calls {
        match call.closed().await {
            LeftReason::Failed(error) => {
                worst = Err(anyhow::Error::new(error).context(format!("{} failed", call.chat())));
            }
            other if exit::of_reason(&other) != Exit::Ok && worst.is_ok() => {
                say::remark(format_args!("{}: {}", call.chat(), other.word()));
                worst = Ok(exit::of_reason(&other));
            }
            _ => {}
        }
    }
    worst
}

/// True when one has joined, false when all have failed.
async fn any_joined(calls: &[Call]) -> bool {
    let mut waiting = JoinSet::new();
    for call in calls {
        let call = call.clone();
        waiting.spawn(async move { call.joined().await.is_ok() });
    }
    while let Some(joined) = waiting.join_next().await {
        if matches!(joined, Ok(true)) {
            return true;
        }
    }
    false
}

async fn all_closed(calls: &[Call]) {
    for call in calls {
        call.closed().await;
    }
}

fn no_camera(limit: Option<u32>) -> String {
    let of = limit.map_or_else(String::new, |limit| format!(" of at most {limit}"));
    format!("there is no room for one more camera{of}; sound only, until another is switched off")
}

const fn thing(property: Property) -> &'static str {
    match property {
        Property::Microphone => "the microphone",
        Property::Camera => "the camera",
        Property::Hand => "the raised hand",
    }
}

/// Keeps in mind by which SSRC the `nth` chat knows us.
async fn remember(
    mut ssrc: watch::Receiver<Option<u32>>,
    nth: usize,
    listening: watch::Sender<Vec<SavedChat>>,
) {
    while ssrc.changed().await.is_ok() {
        let now = *ssrc.borrow_and_update();
        listening.send_modify(|chats| chats[nth].ssrc = now);
    }
}

/// Tells what a person may want to know of a call.
async fn watch(call: Call) {
    let mut events = call.events();
    let chat = call.chat().clone();
    loop {
        let text = match events.recv().await {
            Ok(CallEvent::Status(status)) => status.word().to_owned(),
            Ok(CallEvent::FloodWait { wait }) => {
                format!("Telegram asks to wait {} s before joining", wait.as_secs())
            }
            Ok(CallEvent::Waiting { until }) => {
                format!(
                    "waits for the video chat, which is to begin at {}; --start begins it now, if this account may",
                    values::moment(until)
                )
            }
            Ok(CallEvent::Retrying { why, .. }) => format!("trying again, because {why}"),
            Ok(CallEvent::Alone { leaves_in }) => {
                format!("nobody else is here; leaves in {} s", leaves_in.as_secs())
            }
            Ok(CallEvent::MutedByAdmin { muted: true }) => {
                "muted by an admin; nobody hears anything until one allows it".to_owned()
            }
            Ok(CallEvent::MutedByAdmin { muted: false }) => "an admin allows to speak".to_owned(),
            Ok(CallEvent::CameraNotAllowed { limit }) => no_camera(limit),
            Ok(CallEvent::EditRefused { property, error }) => {
                format!("{} could not be switched: {error}", thing(property))
            }
            Ok(CallEvent::VideoNotAccepted { .. }) => "no H.264 here, sound only".to_owned(),
            Ok(_) | Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        say::remark(format_args!("{chat}: {text}"));
    }
}
