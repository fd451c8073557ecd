//! What survives a restart: a programme's queue, its place in it, how it plays, and which chats
//! listen → SQLite, and back.
//!
//! ```text
//!  player ─ events, status ─► keep() ─ Saved ─► a thread ─► the file (WAL)
//! ```
//!
//! Everything that is written describes one moment, so an item is in it once, whenever the process
//! dies. The file belongs to one process at a time.

mod file;

use std::path::{Path, PathBuf};
use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::{Player, PlayerEvent, Repeat};
use crate::time::MediaTime;

/// Moments that may wait to be written; the thread writes the latest and leaves out the others.
const WAITING: usize = 64;

/// A programme at one moment, as it can be taken up again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// The sources of the items, the current one first, by the names that they were queued under.
    pub sources: Vec<String>,
    /// Where in the first one.
    pub position: MediaTime,
    /// A person had paused it.
    pub paused: bool,
    /// 100 plays as recorded.
    pub volume_percent: u16,
    /// What happens to items that end.
    pub repeat: Repeat,
    /// Who listens.
    pub chats: Vec<SavedChat>,
}

/// A chat that listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedChat {
    /// By whatever name it was joined under.
    pub name: String,
    /// The SSRC of the sound of the last connection: what a crash leaves there is known by it.
    pub ssrc: Option<u32>,
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another process writes it.
    #[error("the journal {} is in use by another process; give each process one of its own", .0.display())]
    InUse(PathBuf),
    /// The file cannot be opened, read or written.
    #[error("the journal {} cannot be used; check the directory, its permissions and the disk", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        cause: rusqlite::Error,
    },
    /// It is broken, and cannot be put aside.
    #[error("the journal {} is broken and cannot be renamed; remove it", .path.display())]
    Stuck {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
    /// The system gives no more threads.
    #[error("cannot start a thread for the journal; too many run already")]
    Thread(#[source] std::io::Error),
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    connection: Connection,
    set_aside: Option<PathBuf>,
    saved: Option<Saved>,
}

impl Journal {
    /// Opens the journal at `path`, or begins one. A file that is broken, or was written by a later
    /// version, is renamed and told by [`Journal::set_aside`].
    ///
    /// # Errors
    /// When another process has it, or the file cannot be used at all.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let (connection, saved, set_aside) = match file::open(path) {
            Ok((connection, saved)) => (connection, saved, None),
            Err(error) if file::is_broken(&error) => {
                let aside = file::put_aside(path)
                    .map_err(|cause| JournalError::Stuck { path: path.to_owned(), cause })?;
                let (connection, saved) = file::open(path).map_err(|error| told(path, error))?;
                (connection, saved, Some(aside))
            }
            Err(error) => return Err(told(path, error)),
        };
        Ok(Self { path: path.to_owned(), connection, set_aside, saved })
    }

    /// What the last process left, if anything was left to play.
    pub fn saved(&self) -> Option<&Saved> {
        self.saved.as_ref().filter(|saved| !saved.sources.is_empty())
    }

    /// Where a broken journal lies now.
    pub fn set_aside(&self) -> Option<&Path> {
        self.set_aside.as_deref()
    }

    /// Writes down what `player` does, and who listens, until it is over, or the [`Keeper`] stops
    /// or is dropped.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub async fn keep(
        self,
        player: &Player,
        chats: watch::Receiver<Vec<SavedChat>>,
    ) -> Result<Keeper, JournalError> {
        let (moments, inbox) = mpsc::channel(WAITING);
        let writer = thread::Builder::new().name("journal".into()).spawn(move || write(self, inbox));
        let writer = writer.map_err(JournalError::Thread)?;
        let stop = CancellationToken::new();
        let watching = follow(player.clone(), player.follow().await, chats, moments, stop.clone());
        Ok(Keeper { stop, task: tokio::spawn(watching), writer: Some(writer) })
    }
}

fn told(path: &Path, cause: rusqlite::Error) -> JournalError {
    if file::is_busy(&cause) {
        return JournalError::InUse(path.to_owned());
    }
    JournalError::File { path: path.to_owned(), cause }
}

/// Writes as long as it lives.
#[derive(Debug)]
pub struct Keeper {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    writer: Option<thread::JoinHandle<()>>,
}

impl Keeper {
    /// Writes down how things are now and stops: what happens later, such as the player's end, is
    /// not in the file.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // A panic has been told.
        let _ = (&mut self.task).await;
        if let Some(writer) = self.writer.take() {
            // Here, too.
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The writer ends with it.
        self.task.abort();
    }
}

/// A moment to be written.
enum Moment {
    Whole(Box<Saved>),
    Position(MediaTime),
}

async fn follow(
    player: Player,
    mut events: mpsc::Receiver<PlayerEvent>,
    mut chats: watch::Receiver<Vec<SavedChat>>,
    moments: mpsc::Sender<Moment>,
    stop: CancellationToken,
) {
    let mut status = player.status();
    let mut last = None;
    loop {
        let is_last = stop.is_cancelled();
        let now = {
            let status = status.borrow_and_update();
            (status.item, status.paused, status.volume_percent, status.repeat, status.n_queued)
        };
        let changed = last.replace(now) != Some(now);
        let moment = if changed || is_last {
            let Ok(line) = player.line().await else { return };
            let (_, paused, volume_percent, repeat, _) = now;
            let sources = line.items.iter().map(|item| item.source.to_string()).collect();
            let (position, chats) = (line.position, chats.borrow_and_update().clone());
            Moment::Whole(Box::new(Saved { sources, position, paused, volume_percent, repeat, chats }))
        } else {
            Moment::Position(status.borrow().position)
        };
        if moments.send(moment).await.is_err() || is_last {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            changed = status.changed() => if changed.is_err() { return },
            // Once nobody is left who could say so, they stay as they are.
            Ok(()) = chats.changed() => last = None,
            event = events.recv() => match event {
                // The status says the rest.
                Some(PlayerEvent::QueueChanged) => last = None,
                Some(_) => {}
                None => return,
            },
        }
    }
}

/// Writes whatever has come, all at once.
fn write(mut journal: Journal, mut inbox: mpsc::Receiver<Moment>) {
    while let Some(mut moment) = inbox.blocking_recv() {
        while let Ok(later) = inbox.try_recv() {
            moment = match (moment, later) {
                (Moment::Whole(mut saved), Moment::Position(position)) => {
                    saved.position = position;
                    Moment::Whole(saved)
                }
                (_, later) => later,
            };
        }
        let written = match moment {
            Moment::Whole(saved) => file::write(&mut journal.connection, &saved),
            Moment::Position(position) => file::write_position(&journal.connection, position),
        };
        if let Err(error) = written {
            error!(%error, path = %journal.path.display(), "the journal was not written; a restart goes on earlier");
        }
    }
    debug!(path = %journal.path.display(), "the journal is closed");
}

#[cfg(test)]
mod tests;
