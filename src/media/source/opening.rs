//! A server that sends too slowly to begin with → an error in time, and none once it has begun.
//!
//! Every byte may come within the patience for silence and the whole still take for ever. So
//! opening has a limit as a whole; how long something plays has none, because too little of it is
//! seen by the programme that runs dry.

use std::io;
#[cfg(feature = "http")]
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{SourceError, SourceOptions, is_address};

/// The time that is left to open a source, for everybody who waits for it.
#[derive(Clone, Debug)]
pub(in crate::media) struct Opening(Arc<State>);

#[derive(Debug)]
struct State {
    location: String,
    limit: Duration,
    begun: Instant,
    /// In milliseconds from the beginning; `u64::MAX` once it is open.
    until_ms: AtomicU64,
    /// Somebody was not waited for any longer.
    is_late: AtomicBool,
}

impl Opening {
    /// Begins now.
    pub(in crate::media) fn new(location: impl Into<String>, limit: Duration) -> Self {
        let location = location.into();
        let until_ms = AtomicU64::new(millis(limit));
        Self(Arc::new(State { location, limit, begun: now(), until_ms, is_late: AtomicBool::new(false) }))
    }

    /// The same for an address that somebody else reads; everything else is there already.
    pub(in crate::media) fn of(path: &Path, options: &SourceOptions) -> Option<Self> {
        path.to_str().filter(|name| is_address(name)).map(|address| Self::new(address, options.opening))
    }

    /// The time that is left: `Some(0)` when it is over, `None` without a limit.
    pub(in crate::media) fn left(&self) -> Option<Duration> {
        let until_ms = self.0.until_ms.load(Ordering::Acquire);
        let left = || Duration::from_millis(until_ms).saturating_sub(self.0.begun.elapsed());
        (until_ms != u64::MAX).then(left)
    }

    /// Enough has come to wait as long once more.
    pub(in crate::media) fn extend(&self) {
        let until = self.0.begun.elapsed() + self.0.limit;
        self.0.until_ms.store(millis(until), Ordering::Release);
    }

    /// Says to whoever opens it that the time was over before it was open.
    pub(in crate::media) fn give_up(&self) -> io::Error {
        self.0.is_late.store(true, Ordering::Release);
        io::Error::new(io::ErrorKind::TimedOut, self.error())
    }

    /// What came of opening, which is over: from here on there is no limit. What was not waited
    /// for is missing, whatever was made of the rest.
    ///
    /// # Errors
    /// [`SourceError::Slow`] when the time was over before, or as it was.
    fn end<T, E: From<SourceError>>(&self, opened: Result<T, E>) -> Result<T, E> {
        self.0.until_ms.store(u64::MAX, Ordering::Release);
        if self.0.is_late.load(Ordering::Acquire) { Err(self.error().into()) } else { opened }
    }

    fn error(&self) -> SourceError {
        SourceError::Slow { location: self.0.location.clone(), limit: self.0.limit }
    }
}

/// Opens something in time.
///
/// # Errors
/// Those of `open`, and [`SourceError::Slow`].
pub(in crate::media) fn limited<T, E: From<SourceError>>(
    opening: Option<&Opening>,
    open: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let opened = open();
    match opening {
        Some(opening) => opening.end(opened),
        None => opened,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "how long a server takes")]
fn now() -> Instant {
    Instant::now()
}

/// Bytes that are read while something is opened, and on.
#[cfg(feature = "http")]
pub(super) struct Timed<R> {
    pub(super) inner: R,
    pub(super) opening: Opening,
}

#[cfg(feature = "http")]
impl<R: Read> Read for Timed<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.opening.left() {
            Some(Duration::ZERO) => Err(self.opening.give_up()),
            _ => self.inner.read(buf),
        }
    }
}

#[cfg(all(test, feature = "http"))]
mod tests {
    use super::*;

    fn end(opening: &Opening) -> Result<(), SourceError> {
        opening.end(Ok(()))
    }

    #[test]
    fn too_late_is_told_and_what_is_open_has_no_limit() {
        let over = Opening::new("http://a/b", Duration::ZERO);
        let mut bytes = Timed { inner: &b"late"[..], opening: over.clone() };
        let error = bytes.read(&mut [0; 9]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(matches!(end(&over), Err(SourceError::Slow { .. })), "whatever was made of it");

        let open = Opening::new("http://a/b", Duration::ZERO);
        assert_eq!(open.left(), Some(Duration::ZERO));
        end(&open).unwrap();
        assert_eq!(open.left(), None);
        let mut bytes = Timed { inner: &b"whole"[..], opening: open };
        assert_eq!(io::read_to_string(&mut bytes).unwrap(), "whole");

        let hour = Duration::from_secs(3600);
        let long = Opening::new("http://a/b", hour);
        let before = long.left().unwrap();
        long.extend();
        assert!(long.left().unwrap() > before - Duration::from_secs(60) && long.left().unwrap() <= hour);
    }
}
