//! `telecast play` with an account of one's own: one programme for any number of chats, or one for
//! each of them.

mod tell;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::tell::{Outcome, until_ended};
use super::control::{self, Door, Find, Programmes};
use super::exit::{self, Because, Exit};
use super::metrics::Metrics;
use super::play::begin_at;
use super::sources::SourceArgs;
use super::{say, stop, values};
use crate::call::{Call, ChatId, JoinOptions, LeftReason};
use crate::media::source::is_address;
use crate::media::{Reader, ReaderOptions};
use crate::player::journal::{Journal, Saved, SavedChat};
use crate::player::{Item, ItemError, OnFailure, Player, PlayerOptions};
use crate::telegram::{ChatName, Client, FileLink, SignalingOptions, TelegramSignaling};
use crate::time::MediaTime;

/// Whoever tells of a call that is over has this long for it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What to stream, and where.
pub(super) struct Stream {
    pub(super) sources: Vec<PathBuf>,
    /// The first of them, once it has been looked at.
    pub(super) opened: Option<Reader>,
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
    /// A programme for each chat.
    pub(super) separate: bool,
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
        let (mut sources, mut first_error) = (Vec::new(), None);
        for source in std::mem::take(&mut self.sources) {
            let source = &source;
            if let Some(link) = link(source) {
                // What is in it can only be seen with a connection.
                link.parse::<FileLink>()?;
                pictures.push(true);
                sources.push(source.clone());
                continue;
            }
            if !sources.is_empty() && source.to_str().is_some_and(is_address) {
                // Of many stations, each is asked when the one before it begins.
                sources.push(source.clone());
                continue;
            }
            let reader = Reader::open(source, self.reader.clone());
            match reader.with_context(|| format!("cannot play {}", source.display())) {
                Ok(reader) => {
                    pictures.push(reader.plan().video.is_played());
                    // It plays at once, and an address is asked only once.
                    if sources.is_empty() {
                        self.opened = Some(reader);
                    }
                    sources.push(source.clone());
                }
                // It could be played once; the others still can.
                Err(error) if self.resume.is_some() => {
                    say::remark(format_args!("{error:#}; passed over"));
                    if let Some(saved) = self.resume.as_mut().filter(|_| sources.is_empty()) {
                        saved.position = MediaTime::ZERO;
                    }
                }
                Err(error)
                    if matches!(self.player.on_failure, OnFailure::Retry { .. })
                        && source.to_str().is_some_and(is_address) =>
                {
                    say::remark(format_args!("{error:#}; it is tried again"));
                    pictures.push(false);
                    sources.push(source.clone());
                }
                Err(error) if self.player.on_failure != OnFailure::Stop => {
                    say::remark(format_args!("{error:#}; passed over"));
                    first_error.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = first_error.filter(|_| sources.is_empty()) {
            return Err(error);
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
                let options = self.reader.clone();
                items.push(match self.opened.take() {
                    Some(opened) => Item::opened(source, options, opened),
                    None => Item::file_with(source, options),
                });
                continue;
            };
            let link: FileLink = text.parse()?;
            let file = client.open_file(&link).await?;
            let (input, options) = (text.to_owned(), self.reader.clone());
            let look = move || Reader::from_source(Box::new(file), input, options);
            let reader = tokio::task::spawn_blocking(look).await?;
            let reader = reader.with_context(|| format!("cannot play {text}"))?;
            if nth == 0 {
                self.join.video_stopped = !reader.plan().video.is_played();
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
        let n_players = if self.separate { self.chats.len() } else { 1 };
        let players: Arc<[Player]> = (0..n_players).map(|_| Player::start(self.player.clone())).collect();
        // Whoever has no programme of its own hears the one that there is.
        let heard = || self.chats.iter().zip(players.iter().cycle());
        let calls: Vec<Call> =
            heard().map(|(chat, player)| self.join_chat(chat, &signaling, player)).collect();
        seats.send_replace(calls.iter().cloned().zip(players.iter().cycle().cloned()).collect());
        let mut endings = JoinSet::new();
        for (player, call) in players.iter().zip(&calls) {
            let own = self.separate.then(|| call.clone());
            let (events, stay) = (player.follow().await, self.stay);
            endings.spawn(async move {
                let outcome = until_ended(events, stay).await;
                if let Some(call) = own {
                    call.leave(LeftReason::Ended).await;
                }
                outcome
            });
        }
        let mut watched = JoinSet::new();
        let (listening, listeners) = watch::channel(self.chats.iter().map(|chat| self.ghost(chat)).collect());
        for (nth, call) in calls.iter().enumerate() {
            watched.spawn(tell::watch(call.chat().clone(), call.events()));
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
                begun = self.begin(&players, items) => begun.map(|()| true)?,
                () = stop.cancelled() => false,
            };
        let keeper = match self.journal.take() {
            Some(journal) if begun => Some(journal.keep(&players[0], listeners).await?),
            _ => None,
        };
        let mut steered = JoinSet::new();
        match control::socket_path(&self.account).and_then(|path| Ok(Door::open(path)?)) {
            Ok(door) => {
                let find = self.find(client);
                let programmes = Programmes { players: players.clone(), calls: calls.clone().into(), find };
                steered.spawn(door.serve(programmes));
            }
            Err(error) => say::remark(format_args!("`telecast ctl` cannot steer this: {error}")),
        }
        let unplayed = tokio::select! {
            biased;
            // Calls that are left because a programme has ended come after its end.
            failure = all_ended(&mut endings) => failure,
            () = all_closed(&calls) => None,
            () = stop.cancelled() => None,
        };
        if let Some(keeper) = keeper {
            keeper.stop().await;
        }
        let exit = leave(&calls, &stop).await;
        steered.shutdown().await;
        if let Some(metrics) = metrics {
            metrics.close().await;
        }
        endings.shutdown().await;
        // Those who tell of the calls end with them, once they have said the last word.
        seats.send_replace(Vec::new());
        drop(calls);
        let last_words = async { while watched.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WORDS, last_words).await.is_err() {
            tracing::warn!("a call is over and somebody still holds it");
        }
        for player in &players[..] {
            player.close().await;
        }
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
    async fn begin(&self, players: &[Player], items: Vec<Item>) -> anyhow::Result<()> {
        let Some(saved) = &self.resume else {
            for player in players {
                for item in &items {
                    player.enqueue(item.clone()).await?;
                }
            }
            return Ok(());
        };
        // A journal keeps one programme.
        let player = &players[0];
        // Nothing is heard before the place is found.
        player.pause().await?;
        for item in items {
            player.enqueue(item).await?;
        }
        let mut place = MediaTime::ZERO;
        if saved.position > MediaTime::ZERO {
            match player.seek(saved.position).await {
                // What comes live is where it is.
                Ok(found) => place = found,
                Err(error) => say::remark(format_args!("the place is lost: {error}")),
            }
        }
        let paused = if saved.paused { ", paused" } else { "" };
        let place = values::clock(place.to_duration());
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
        #[cfg_attr(not(feature = "card"), expect(unused_mut, reason = "only a card shows the name"))]
        let mut options = options.clone();
        #[cfg(feature = "card")]
        if let Some(card) = &mut options.card {
            card.name = file.name().map(str::to_owned);
        }
        Ok(Box::new(Reader::from_source(Box::new(file), &input[..], options)?))
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
            LeftReason::Ended | LeftReason::Command => {}
            other => {
                say::remark(format_args!("{}: {}", call.chat(), tell::why(&other)));
                if worst.is_ok() {
                    worst = Ok(exit::of_reason(&other));
                }
            }
        }
    }
    worst
}

/// Why nothing could be played, when all programmes have ended, or what ended one of them.
async fn all_ended(endings: &mut JoinSet<Result<Outcome, ItemError>>) -> Option<ItemError> {
    let (mut played, mut failure) = (false, None);
    while let Some(ended) = endings.join_next().await {
        let outcome = match ended {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => return Some(error),
            // A panic has been told.
            Err(_) => continue,
        };
        played |= outcome.played;
        failure = failure.or(outcome.failure);
    }
    failure.filter(|_| !played)
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
