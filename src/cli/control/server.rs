//! The side of `telecast play`: requests of anybody who may open the socket → the player.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tracing::warn;

use super::wire::{Answer, Asked, Heard, Place, Request, Shown};
use crate::call::Call;
use crate::player::{Item, ItemId, Player};
use crate::time::MediaTime;

/// A request is shorter; more comes from somebody who speaks something else.
const MAX_LINE: u64 = 64 * 1024;
/// So many may be connected at once; more wait.
const MAX_CONNECTIONS: usize = 8;

/// Turns what somebody wants to hear into items; opens sources, so it blocks.
pub(in crate::cli) type Find = dyn Fn(&str) -> anyhow::Result<Vec<Item>> + Send + Sync;

/// What is steered.
#[derive(Clone)]
pub(in crate::cli) struct Programmes {
    /// One for all calls, or one for each of them, in the same order.
    pub(in crate::cli) players: Arc<[Player]>,
    pub(in crate::cli) calls: Arc<[Call]>,
    pub(in crate::cli) find: Arc<Find>,
}

/// The socket, open. It is removed in the end.
pub(in crate::cli) struct Door {
    listener: UnixListener,
    path: PathBuf,
}

impl Door {
    /// Opens it. What is left of an earlier process is in nobody's use: the session is locked.
    pub(in crate::cli) fn open(path: PathBuf) -> std::io::Result<Self> {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        let door = Self { listener, path };
        std::fs::set_permissions(&door.path, std::fs::Permissions::from_mode(0o600))?;
        Ok(door)
    }

    /// Serves whoever comes, until it is dropped.
    pub(in crate::cli) async fn serve(self, programmes: Programmes) {
        let mut guests = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = guests.join_next() => {}
                came = self.listener.accept(), if guests.len() < MAX_CONNECTIONS => match came {
                    Ok((stream, _)) => {
                        guests.spawn(converse(stream, programmes.clone()));
                    }
                    Err(error) => {
                        warn!(%error, "nobody can steer any more");
                        return;
                    }
                },
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            warn!(%error, path = %self.path.display(), "the socket was not removed");
        }
    }
}

/// Answers line after line, until the guest goes or says something endless.
async fn converse(stream: UnixStream, programmes: Programmes) {
    let (input, mut output) = stream.into_split();
    let mut input = BufReader::new(input);
    loop {
        let mut line = Vec::new();
        match (&mut input).take(MAX_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let is_whole = line.ends_with(b"\n");
        let answer = match Asked::read(&line) {
            Ok(asked) => programmes.answer(asked).await,
            Err(error) => Err(anyhow::anyhow!("this is no request: {error}; docs/radio.md lists them")),
        };
        let answer =
            answer.unwrap_or_else(|error| Answer { error: Some(format!("{error:#}")), ..Answer::default() });
        let mut answer = serde_json::to_vec(&answer).unwrap_or_default();
        answer.push(b'\n');
        if output.write_all(&answer).await.is_err() || !is_whole {
            return;
        }
    }
}

impl Programmes {
    /// The programme that is meant, and who hears it.
    fn of(&self, chat: Option<&str>) -> anyhow::Result<(&Player, &[Call])> {
        let nth = match chat {
            Some(chat) => {
                let found = self.calls.iter().position(|call| call.chat().0 == chat);
                found.with_context(|| format!("{chat} is not among the chats: {}", self.names()))?
            }
            None if self.players.len() == 1 => 0,
            None => bail!("each chat has a programme of its own; name one with --chat: {}", self.names()),
        };
        Ok(match &self.players[..] {
            [player] => (player, &self.calls),
            players => (&players[nth], &self.calls[nth..=nth]),
        })
    }

    fn names(&self) -> String {
        self.calls.iter().map(|call| call.chat().to_string()).collect::<Vec<_>>().join(", ")
    }

    async fn answer(&self, Asked { chat, request }: Asked) -> anyhow::Result<Answer> {
        let (player, calls) = self.of(chat.as_deref())?;
        let mut answer = Answer { ok: true, ..Answer::default() };
        match request {
            Request::Status => {}
            Request::List => {
                answer.queue = Some(player.queue().await?.into_iter().map(Into::into).collect());
            }
            Request::Add { source, place } => answer.items = self.add(player, source, place).await?,
            Request::Remove { item } => player.remove(ItemId(item)).await?,
            Request::Move { item, to } => player.move_to(ItemId(item), to).await?,
            Request::Clear => player.clear().await?,
            Request::Shuffle { seed } => player.shuffle(seed.unwrap_or_else(|| fastrand::u64(..))).await?,
            Request::Skip => player.skip().await?,
            Request::Previous => player.previous().await?,
            Request::SkipTo { item } => player.skip_to(ItemId(item)).await?,
            Request::Seek { to_ms } => drop(player.seek(MediaTime::from_millis(to_ms)).await?),
            Request::SeekBy { by_ms } => drop(player.seek_by(MediaTime::from_millis(by_ms)).await?),
            Request::Pause => player.pause().await?,
            Request::Resume => player.resume().await?,
            Request::Volume { percent } => player.set_volume(percent).await?,
            Request::Speed { percent } => player.set_speed(percent).await?,
            Request::Crossfade { length_ms } => {
                player.set_crossfade(MediaTime::from_millis(length_ms)).await?
            }
            Request::Repeat { what } => player.set_repeat(what.into()).await?,
            Request::Stop => player.stop().await?,
        }
        let chats = calls.iter().map(|call| Heard {
            chat: call.chat().to_string(),
            status: call.status().borrow().word().to_owned(),
        });
        answer.status = Some(Shown::new(&player.status().borrow(), chats.collect()));
        Ok(answer)
    }

    async fn add(&self, player: &Player, source: String, place: Place) -> anyhow::Result<Vec<u64>> {
        let find = Arc::clone(&self.find);
        let items = tokio::task::spawn_blocking(move || find(&source)).await??;
        let mut ids = Vec::new();
        for (nth, item) in items.into_iter().enumerate() {
            let id = match place {
                Place::End => player.enqueue(item).await?,
                Place::Now if nth == 0 => player.play_now(item).await?,
                // Behind the one that plays now.
                Place::Now => player.insert(nth - 1, item).await?,
                Place::Next => player.insert(nth, item).await?,
                Place::At(idx) => player.insert(idx.saturating_add(nth), item).await?,
            };
            ids.push(id.0);
        }
        Ok(ids)
    }
}
