//! A folder of prepared files, found by what is in their sources: what has to be transcoded is
//! prepared beside the first play, and copied in every later one.
//!
//! ```text
//! find(film.avi) ─► key of its content ─► DIR/3f…a2.mp4 there? ─► play that
//!                                         └─ not yet ─► play film.avi, and a worker prepares it
//! ```
//!
//! A file that is renamed or moved keeps its place, one that is changed gets another. When the
//! folder is full, what was played longest ago goes first.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use tracing::{debug, info, warn};

use super::prepare::{self, Options, PrepareError};

/// Sources that wait to be prepared; one more is asked for again when it is played again.
const WAITING: usize = 256;
/// Of a long file, so many pieces of this size are read for its key, spread over all of it: a
/// film is found in milliseconds.
const PIECES: u64 = 64;
const PIECE: u64 = 64 << 10;
/// What is written begins with a dot until it is whole, see [`prepare`].
const UNFINISHED: &str = ".part";

/// A cache. Clones are the same cache; its worker ends with the last of them.
#[derive(Clone, Debug)]
pub struct Cache {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    /// `None` once it is ending.
    orders: Option<SyncSender<(PathBuf, PathBuf)>>,
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
        for (path, _, _) in files(&folder)?.into_iter().filter(|(path, ..)| is_unfinished(path)) {
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
        let key = match key(source) {
            Ok(key) => key,
            Err(error) => {
                debug!(source = %source.display(), %error, "nothing that can be prepared");
                return None;
            }
        };
        let prepared = self.shared.folder.join(format!("{key}.mp4"));
        if let Ok(file) = File::options().append(true).open(&prepared) {
            #[expect(clippy::disallowed_methods, reason = "when a file was last used is told by the clock")]
            let now = SystemTime::now();
            if let Err(error) = file.set_modified(now) {
                debug!(%error, "it will be taken for older than it is");
            }
            return Some(prepared);
        }
        let orders = self.shared.orders.as_ref().expect("it is taken away when nobody can ask any more");
        if orders.try_send((source.to_path_buf(), prepared)).is_err() {
            debug!(source = %source.display(), "too many wait to be prepared");
        }
        None
    }
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

fn work(inbox: &Receiver<(PathBuf, PathBuf)>, folder: &Path, max_bytes: u64, ending: &AtomicBool) {
    let options = Options { beside: true, as_loud: true };
    while let Ok((source, prepared)) = inbox.recv() {
        if prepared.exists() || ending.load(Ordering::Relaxed) {
            continue;
        }
        let go_on = |_, _| {
            if ending.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        match prepare::needs_it(&source).and_then(|needed| {
            if needed { prepare::prepare(&source, &prepared, options, go_on).map(Some) } else { Ok(None) }
        }) {
            Ok(Some(_)) => info!(source = %source.display(), "prepared: it will be copied from now on"),
            Ok(None) => debug!(source = %source.display(), "copied as it is"),
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
    name.strip_suffix(".mp4")
        .is_some_and(|key| key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_unfinished(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == &UNFINISHED[1..])
}

/// SHA-256 of the length and the content; of a file over 4 MiB, of 64 pieces of it.
fn key(source: &Path) -> io::Result<String> {
    let metadata = fs::metadata(source)?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let (mut file, len) = (File::open(source)?, metadata.len());
    let mut hash = Sha256::new();
    hash.update(len.to_le_bytes());
    let mut piece = Vec::new();
    for nth in 0..PIECES {
        // The first piece is at the beginning and the last one at the end.
        let at = if len <= PIECES * PIECE { nth * PIECE } else { (len - PIECE) / (PIECES - 1) * nth };
        if at >= len {
            break;
        }
        piece.clear();
        file.seek(SeekFrom::Start(at))?;
        file.by_ref().take(PIECE).read_to_end(&mut piece)?;
        hash.update(&piece);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn keyed(nth: u8) -> String {
        format!("{}.mp4", format!("{nth:02x}").repeat(32))
    }

    #[test]
    fn what_is_in_a_file_names_it_and_not_where_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (dir.path().join("a.avi"), dir.path().join("b.mov"));
        for len in [0, 1, 70_000, 9 << 20] {
            let mut bytes: Vec<u8> = (0..len).map(|n: usize| (n % 251) as u8).collect();
            fs::write(&here, &bytes).unwrap();
            fs::write(&there, &bytes).unwrap();
            assert_eq!(key(&here).unwrap(), key(&there).unwrap());
            bytes.push(1);
            fs::write(&there, &bytes).unwrap();
            assert_ne!(key(&here).unwrap(), key(&there).unwrap(), "{len} bytes and one more");
        }
        assert!(key(dir.path()).is_err());
        assert!(key(Path::new("https://host/film.mp4")).is_err());
    }

    #[test]
    fn what_was_used_longest_ago_makes_room_and_what_is_not_ours_stays() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let base = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for nth in 0..4_u8 {
            fs::write(at(&keyed(nth)), [0; 100]).unwrap();
            let file = File::options().append(true).open(at(&keyed(nth))).unwrap();
            // The last is the oldest.
            file.set_modified(base - Duration::from_secs(u64::from(nth))).unwrap();
        }
        fs::write(at("holiday.mp4"), [0; 1000]).unwrap();
        make_room(dir.path(), 250).unwrap();
        let left: Vec<bool> = (0..4).map(|nth| at(&keyed(nth)).exists()).collect();
        assert_eq!(left, [true, true, false, false]);
        assert!(at("holiday.mp4").exists());
    }

    #[test]
    fn what_a_crash_has_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join(format!(".{}{UNFINISHED}", keyed(7)));
        fs::write(&left, b"half").unwrap();
        fs::write(dir.path().join(keyed(7)), b"whole").unwrap();
        drop(Cache::open(dir.path(), 1 << 20).unwrap());
        assert!(!left.exists() && dir.path().join(keyed(7)).exists());
    }
}
