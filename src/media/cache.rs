//! A folder of prepared files, found by what is in their sources: what has to be transcoded is
//! prepared beside the first play, and copied in every later one.
//!
//! ```text
//! find(film.avi) ─► its identity ─► content known? DIR/3f…a2.mp4 there? ─► play that
//!                                   └─ not yet ─► play film.avi; a worker reads and prepares it
//! ```
//!
//! The content is all of a file: two that differ in one byte never share a prepared one. A file
//! that is renamed or moved keeps its place, one that is changed gets another. How loud a file is
//! is kept beside, once it has been measured. When the folder is full, what was used longest ago
//! goes first.

use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

use tracing::{debug, info, warn};

use self::notes::Identity;
use super::audio::Loudness;
use super::prepare::partial::{UNFINISHED, is_being_written};
use super::prepare::{self, Options, PrepareError};

mod notes;

/// Sources that wait to be prepared; one more is asked for again when it is played again.
const WAITING: usize = 256;

/// A cache. Clones are the same cache; its worker ends with the last of them.
#[derive(Clone, Debug)]
pub struct Cache {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    /// `None` once it is ending.
    orders: Option<SyncSender<PathBuf>>,
    ending: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl PartialEq for Cache {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Cache {
    /// Opens the cache in `folder`, which is made where it is missing, and never lets it grow
    /// over `max_bytes` for longer than it takes to write one file.
    ///
    /// # Errors
    /// When the folder cannot be made, or there is no thread for the worker.
    pub fn open(folder: impl Into<PathBuf>, max_bytes: u64) -> io::Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder)?;
        let is_left = |path: &Path| is_unfinished(path) && !is_being_written(path);
        for (path, ..) in files(&folder)?.into_iter().filter(|(path, ..)| is_left(path)) {
            // Left by a crash; it is only in the way.
            fs::remove_file(path)?;
        }
        let (orders, inbox) = sync_channel(WAITING);
        let ending = Arc::new(AtomicBool::new(false));
        let work = {
            let (folder, ending) = (folder.clone(), Arc::clone(&ending));
            move || work(&inbox, &folder, max_bytes, &ending)
        };
        let worker = std::thread::Builder::new().name("cache".to_owned()).spawn(work)?;
        let shared = Shared { folder, orders: Some(orders), ending, worker: Some(worker) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The prepared file for `source`, if there is one; else it is prepared from now on. Only
    /// files on disk have one.
    pub fn find(&self, source: &Path) -> Option<PathBuf> {
        let identity = self.identity(source)?;
        let content = identity.content(&self.shared.folder);
        let prepared = content.map(|content| self.shared.folder.join(format!("{content}.mp4")));
        if let Some(prepared) = prepared.filter(|prepared| touch(prepared)) {
            return Some(prepared);
        }
        let orders = self.shared.orders.as_ref().expect("it is taken away when nobody can ask any more");
        if orders.try_send(source.to_path_buf()).is_err() {
            debug!(source = %source.display(), "too many wait to be prepared");
        }
        None
    }

    /// How loud `source` is, where that has been measured.
    pub fn loudness(&self, source: &Path) -> Option<Loudness> {
        self.identity(source)?.loudness(&self.shared.folder)
    }

    /// Keeps how loud all of `source` is.
    pub(super) fn keep_loudness(&self, source: &Path, loudness: Loudness) {
        let Some(identity) = self.identity(source) else { return };
        if let Err(error) = identity.keep_loudness(&self.shared.folder, loudness) {
            warn!(source = %source.display(), %error, "cannot keep how loud it is");
        }
    }

    fn identity(&self, source: &Path) -> Option<Identity> {
        let identity = Identity::of(source);
        identity
            .inspect_err(|error| debug!(source = %source.display(), %error, "nothing that a cache knows"))
            .ok()
    }
}

/// Whether a file is there; it counts as used now.
fn touch(path: &Path) -> bool {
    let Ok(file) = File::options().append(true).open(path) else { return false };
    #[expect(clippy::disallowed_methods, reason = "when a file was last used is told by the clock")]
    let now = SystemTime::now();
    if let Err(error) = file.set_modified(now) {
        debug!(%error, "it will be taken for older than it is");
    }
    true
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        drop(self.orders.take());
        if let Some(worker) = self.worker.take() {
            // One that panicked has been seen on stderr.
            let _ = worker.join();
        }
    }
}

fn work(inbox: &Receiver<PathBuf>, folder: &Path, max_bytes: u64, ending: &AtomicBool) {
    let is_ending = || ending.load(Ordering::Relaxed);
    while let Ok(source) = inbox.recv() {
        let learned = Identity::of(&source).and_then(|identity| identity.learn(folder, &source, is_ending));
        let prepared = match learned {
            Ok(Some(content)) => folder.join(format!("{content}.mp4")),
            Ok(None) => continue,
            Err(error) => {
                warn!(source = %source.display(), %error, "cannot be read for the cache");
                continue;
            }
        };
        match prepare_into(&prepared, &source, is_ending) {
            Ok(Some(_)) => info!(source = %source.display(), "prepared: it will be copied from now on"),
            Ok(None) => debug!(source = %source.display(), "copied as it is, or prepared already"),
            Err(PrepareError::Stopped { .. }) => return,
            Err(error) => {
                warn!(source = %source.display(), %error, "cannot be prepared and is played as it is")
            }
        }
        if let Err(error) = make_room(folder, max_bytes) {
            warn!(folder = %folder.display(), %error, "cannot look after the cache");
        }
    }
}

/// Writes what can be copied, where that is needed and not there yet.
fn prepare_into(
    prepared: &Path,
    source: &Path,
    is_ending: impl Fn() -> bool,
) -> Result<Option<prepare::Prepared>, PrepareError> {
    if prepared.exists() || is_ending() || !prepare::needs_it(source)? {
        return Ok(None);
    }
    let options = Options { beside: true, as_loud: true, ..Options::default() };
    let go_on = |_, _| if is_ending() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    prepare::prepare(source, prepared, &options, go_on).map(Some)
}

/// Removes what was used longest ago until the rest fits.
fn make_room(folder: &Path, max_bytes: u64) -> io::Result<()> {
    let mut files = files(folder)?;
    files.sort_by_key(|(_, _, used)| *used);
    let mut n_bytes: u64 = files.iter().map(|(_, n_bytes, _)| n_bytes).sum();
    for (path, size, _) in files {
        if n_bytes <= max_bytes {
            break;
        }
        info!(path = %path.display(), "removed from the cache to make room");
        // Whoever plays it has it open and keeps it until then.
        fs::remove_file(path)?;
        n_bytes -= size;
    }
    Ok(())
}

/// The cache's own files with their sizes and when they were last used.
fn files(folder: &Path) -> io::Result<Vec<(PathBuf, u64, SystemTime)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let (path, metadata) =
            (entry.as_ref().map(fs::DirEntry::path), entry.as_ref().map(fs::DirEntry::metadata));
        let (Ok(path), Ok(Ok(metadata))) = (path, metadata) else { continue };
        if metadata.is_file() && is_own(&path) {
            files.push((path, metadata.len(), metadata.modified()?));
        }
    }
    Ok(files)
}

/// Named by a key: nothing else in the folder is ours to remove.
fn is_own(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = name.strip_prefix('.').and_then(|name| name.strip_suffix(UNFINISHED)).unwrap_or(name);
    let endings = ["mp4", notes::CONTENT, notes::LOUDNESS];
    let (key, ending) = name.rsplit_once('.').unwrap_or_default();
    endings.contains(&ending) && key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_unfinished(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == &UNFINISHED[1..])
}

#[cfg(test)]
mod tests;
