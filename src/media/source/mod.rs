//! A name (a path, `-`, an address) → bytes that can be demuxed, or a sentence that says what to
//! do about it.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::opening::Opening;
use super::demux::MediaSource;
use super::demux::generated::Spec;
use crate::secret::Secret;

pub mod hls;
#[cfg(feature = "http")]
mod http;
pub mod list;
pub(super) mod opening;
pub mod resolver;
mod stdin;
pub mod stream;

/// The name of standard input.
pub(super) const STDIN: &str = "-";

/// Schemes of addresses that are live. FFmpeg reads them.
const LIVE_SCHEMES: &[&str] = &["rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "udp"];

/// How late a live source may be, where nothing else is asked for: enough for what networks and
/// servers hold back now and then.
const LATENCY: Duration = Duration::from_secs(5);
/// How long a source may take to begin, where nothing else is asked for: at a megabit per second,
/// the index of a film of five hours.
const OPENING: Duration = Duration::from_secs(60);
/// Nobody could play closer to the present without running dry again and again.
pub const MIN_LATENCY: Duration = Duration::from_secs(1);

/// What is known of a source that goes on whether anybody reads it or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Liveness {
    /// It comes in pieces of at most this length, each at once.
    pub piece: Duration,
    /// It never says that it is over: who has nothing more of it has lost it.
    pub is_endless: bool,
}

/// How sources other than files are opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceOptions {
    /// Lines to send with every request to a web server.
    pub headers: Vec<(String, Secret<String>)>,
    /// How long a server may take to answer, or be silent in the middle.
    pub patience: Duration,
    /// How long an address may take as a whole until its first pictures and sound are there, however
    /// little it is silent. What plays may take as long as it does.
    pub opening: Duration,
    /// Longer files on the web are refused.
    pub max_bytes: u64,
    /// How late a live source may be played, at least [`MIN_LATENCY`]: what a pause or the network
    /// has held back for longer is left out.
    pub latency: Duration,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            headers: Vec::new(),
            patience: Duration::from_secs(15),
            opening: OPENING,
            max_bytes: 64 << 30,
            latency: LATENCY,
        }
    }
}

/// Whether a name is an address and not a path.
pub fn is_address(name: &str) -> bool {
    name.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty()
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

/// What the scheme of an address alone tells of a live source.
pub fn live_by_scheme(path: &Path) -> Option<Liveness> {
    let scheme = path.to_str()?.split_once("://")?.0.to_ascii_lowercase();
    LIVE_SCHEMES.contains(&scheme.as_str()).then(Liveness::default)
}

/// A source that is open.
pub struct Source {
    /// What is in it, from its first byte on.
    pub bytes: Box<dyn MediaSource>,
    /// `None` for what waits to be read, or may come faster than it is played.
    pub live: Option<Liveness>,
    /// Limits the time until something comes of it.
    pub(super) opening: Option<Opening>,
}

impl Source {
    /// Whatever `open` makes of the bytes, unless they come too slowly for that.
    ///
    /// # Errors
    /// Those of `open`, and [`SourceError::Slow`].
    pub(super) fn opened<T, E: From<SourceError>>(
        self,
        open: impl FnOnce(Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let opening = self.opening.clone();
        opening::limited(opening.as_ref(), || open(self))
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("live", &self.live).finish_non_exhaustive()
    }
}

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
    /// The server cannot be reached, or the connection broke.
    #[cfg(feature = "http")]
    #[error("cannot fetch {location}; check the address and the connection")]
    Http {
        /// The address.
        location: String,
        /// What the connection says.
        #[source]
        cause: Box<ureq::Error>,
    },
    /// The server sends, and too slowly to begin.
    #[error(
        "{location} sends so slowly that it could not be opened within {} s; try again later or take another address, \
         or save it as a file and play that",
        .limit.as_secs_f64()
    )]
    Slow {
        /// The address.
        location: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The server says no.
    #[error(
        "the server answers {location} with status {status}; check the address, or send what it asks for with --header"
    )]
    Status {
        /// The address.
        location: String,
        /// The status of HTTP.
        status: u16,
    },
    /// Longer than allowed.
    #[error("{location} has {length} bytes, and at most {limit} are fetched")]
    TooLong {
        /// The address.
        location: String,
        /// Its length.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// An address of a kind that telecast does not read itself.
    #[error("telecast does not read {location} itself; only files, `-`, http and https")]
    Scheme {
        /// The address.
        location: String,
    },
    /// A generated source that cannot be made.
    #[error("`{name}` cannot be made: {what}; for example test:1280x720@30?for=10s")]
    Test {
        /// As given.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// Standard input is read once.
    #[error("standard input is in use or was read already; it can be played once")]
    StdinTaken,
    /// A list names nothing to play.
    #[error("{} names no media; put files into it, or lines with paths", path.display())]
    NothingListed {
        /// The folder or playlist.
        path: PathBuf,
    },
    /// A list names too much, or itself.
    #[error("{} names {what}", path.display())]
    List {
        /// The folder or playlist.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The program that finds media behind an address failed.
    #[error("the resolver `{command}` {what}")]
    Resolver {
        /// The command.
        command: String,
        /// What went wrong, with its last words.
        what: String,
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

/// Opens a source with the usual options.
///
/// # Errors
/// As [`open_with`].
pub fn open(path: &Path) -> Result<Box<dyn MediaSource>, SourceError> {
    open_with(path, &SourceOptions::default()).map(|source| source.bytes)
}

/// Opens a source for [`demux::open`](super::demux::open): a file, `-` for standard input, or an
/// address of http or https.
///
/// # Errors
/// When it is missing, empty, a directory, no regular file or not readable; when a server cannot
/// be reached or refuses.
#[cfg_attr(not(feature = "http"), expect(unused_variables, reason = "only servers are asked with options"))]
pub fn open_with(path: &Path, options: &SourceOptions) -> Result<Source, SourceError> {
    let waits = |bytes| Source { bytes, live: None, opening: None };
    match path.to_str() {
        Some(STDIN) => Ok(waits(Box::new(stdin::open()?))),
        #[cfg(feature = "http")]
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => http::open(url, options),
        Some(address) if is_address(address) => Err(SourceError::Scheme { location: address.to_owned() }),
        _ => open_file(path).map(waits),
    }
}

/// What a name asks to be made, if it means a generated source.
///
/// # Errors
/// When that cannot be made.
pub fn test(path: &Path) -> Result<Option<Spec>, SourceError> {
    let Some(name) = path.to_str().filter(|name| Spec::is_meant(name)) else { return Ok(None) };
    Spec::parse(name).map(Some).map_err(|what| SourceError::Test { name: name.to_owned(), what })
}

/// Whether a name means standard input.
pub fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == STDIN
}

fn open_file(path: &Path) -> Result<Box<dyn MediaSource>, SourceError> {
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
        open_file(path).err().expect("this path cannot be opened")
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
    fn a_scheme_tells_what_is_live() {
        let is_live = |name: &str| live_by_scheme(Path::new(name)).is_some();
        assert!(["rtsp://a/b", "RTMP://a/b", "udp://@239.0.0.1:1234"].into_iter().all(is_live));
        // A film may be fetched from any place on; whether a server sends it live is seen later.
        assert!(!["https://a/film.avi", "rtsp.mp4", "-", "a:b//c"].into_iter().any(is_live));
    }

    #[test]
    fn a_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clip");
        std::fs::write(&path, b"bytes").unwrap();
        let mut text = String::new();
        open_file(&path).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "bytes");
    }
}
