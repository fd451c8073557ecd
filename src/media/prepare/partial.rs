//! A file that is being written, beside the one it becomes: one writer at a time, and nothing
//! is left of it where it does not become that.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// What its name ends with; it begins with a dot.
pub(in crate::media) const UNFINISHED: &str = ".part";

/// Ours to write, and removed in the end.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    /// Holds the lock, which the system takes away when a program ends in whatever way.
    _lock: File,
    is_whole: bool,
}

impl Partial {
    /// For `output`; nothing while somebody else writes it. What a crash has left is taken over.
    pub(super) fn claim(output: &Path) -> io::Result<Option<Self>> {
        // Beside the output, so that it can take its place in one step.
        let mut name = OsString::from(".");
        name.push(output.file_name().unwrap_or_default());
        name.push(UNFINISHED);
        let path = output.with_file_name(name);
        loop {
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            if is_taken(&file) {
                return Ok(None);
            }
            // Whoever had it may have finished since it was opened: then the lock is on the output.
            if is_at(&file, &path) {
                return Ok(Some(Self { path, _lock: file, is_whole: false }));
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the place of the output.
    pub(super) fn finish(mut self, output: &Path) -> io::Result<()> {
        fs::rename(&self.path, output)?;
        self.is_whole = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_whole {
            // Perhaps it is gone already; what failed is told either way.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether somebody is writing a file with such a name, here or in another program.
pub(in crate::media) fn is_being_written(partial: &Path) -> bool {
    File::open(partial).is_ok_and(|file| is_taken(&file))
}

/// Takes the lock of a file, or says that somebody has it. A file system without locks keeps
/// nobody away.
#[cfg(unix)]
fn is_taken(file: &File) -> bool {
    matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock))
}

/// A lock would keep FFmpeg away, too.
#[cfg(not(unix))]
fn is_taken(_file: &File) -> bool {
    false
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let (Ok(file), Ok(there)) = (file.metadata().map(place), fs::metadata(path).map(place)) else {
        return false;
    };
    file == there
}

#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}
