//! A path → bytes that can be demuxed, or a sentence that says what to do about it.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::demux::MediaSource;

/// Why a path cannot be opened as media.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// No such file.
    #[error("there is no file {}; check the path and its spelling", path.display())]
    Missing {
        /// As given.
        path: PathBuf,
    },
    /// A directory stands there.
    #[error("{} is a directory; name a file in it", path.display())]
    Directory {
        /// As given.
        path: PathBuf,
    },
    /// A device, socket or pipe: it cannot be searched for the index.
    #[error("{} is not a regular file; copy what it delivers into a file first", path.display())]
    Special {
        /// As given.
        path: PathBuf,
    },
    /// The operating system says no.
    #[error("no permission to read {}; run `chmod +r` on it or run as its owner", path.display())]
    Permission {
        /// As given.
        path: PathBuf,
        /// The operating system's word.
        #[source]
        cause: io::Error,
    },
    /// Nothing in it.
    #[error("{} is empty; was it downloaded or recorded to the end?", path.display())]
    Empty {
        /// As given.
        path: PathBuf,
    },
    /// Anything else that the operating system reports.
    #[error("cannot open {}", path.display())]
    Io {
        /// As given.
        path: PathBuf,
        /// The operating system's word.
        #[source]
        cause: io::Error,
    },
}

/// Opens a file for [`demux::open`](super::demux::open).
///
/// # Errors
/// When it is missing, empty, a directory, no regular file or not readable.
pub fn open(path: &Path) -> Result<Box<dyn MediaSource>, SourceError> {
    let path_buf = || path.to_path_buf();
    let failed = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => SourceError::Missing { path: path_buf() },
        io::ErrorKind::PermissionDenied => SourceError::Permission { path: path_buf(), cause },
        _ => SourceError::Io { path: path_buf(), cause },
    };
    // Asked before opening: opening a pipe that nobody writes to would wait for ever.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(SourceError::Directory { path: path_buf() });
    }
    if !metadata.is_file() {
        return Err(SourceError::Special { path: path_buf() });
    }
    if metadata.len() == 0 {
        return Err(SourceError::Empty { path: path_buf() });
    }
    let file = File::open(path).map_err(failed)?;
    Ok(Box::new(BufReader::new(file)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn refused(path: &Path) -> SourceError {
        open(path).err().expect("this path cannot be opened")
    }

    #[test]
    fn what_cannot_be_opened_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing.mp4");
        assert!(matches!(refused(&missing), SourceError::Missing { .. }));
        assert!(matches!(refused(dir.path()), SourceError::Directory { .. }));
        assert!(matches!(refused(Path::new("/dev/null")), SourceError::Special { .. }));
        let empty = dir.path().join("empty.mp4");
        File::create(&empty).unwrap();
        assert!(matches!(refused(&empty), SourceError::Empty { .. }));
        assert!(matches!(refused(&empty.join("below")), SourceError::Missing { .. }));
        let message = refused(&missing).to_string();
        assert!(message.contains("missing.mp4") && message.contains("check the path"), "{message}");
    }

    #[test]
    fn a_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clip");
        std::fs::write(&path, b"bytes").unwrap();
        let mut text = String::new();
        open(&path).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "bytes");
    }
}
