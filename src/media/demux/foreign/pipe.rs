//! A child that writes into a pipe → what it writes, as long as it does not fall silent.

use std::io::{self, Read};
use std::process::ChildStdout;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::media::child::{Child, End};
use crate::media::source::opening::Opening;

/// So long FFmpeg listens to a source before it says anything.
const LISTENING: Duration = Duration::from_secs(5);

/// The child behind a pipe. Both the reader and the demuxer own it: whoever is dropped last ends it.
#[derive(Clone, Debug)]
pub(super) struct Running(Arc<Process>);

#[derive(Debug)]
struct Process {
    child: Mutex<Child>,
    /// It was ended because nothing came.
    is_silent: AtomicBool,
}

impl Running {
    pub(super) fn new(child: Child) -> Self {
        Self(Arc::new(Process { child: Mutex::new(child), is_silent: AtomicBool::new(false) }))
    }

    pub(super) fn child(&self) -> MutexGuard<'_, Child> {
        self.0.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn end(&self) -> End {
        self.child().wait()
    }

    fn give_up(&self) {
        self.0.is_silent.store(true, Ordering::Release);
        self.child().kill();
    }

    /// Nothing more comes because nothing came.
    pub(super) fn is_silent(&self) -> bool {
        self.0.is_silent.load(Ordering::Acquire)
    }
}

/// The child's output; keeps the child alive.
pub(super) struct Output {
    stdout: ChildStdout,
    running: Running,
    /// Of whoever waits for it to go on, …
    patience: Option<Duration>,
    /// … and to begin.
    listening: Duration,
    /// Of whoever waits for it to be open.
    opening: Option<Opening>,
}

impl Output {
    pub(super) const fn new(
        stdout: ChildStdout,
        running: Running,
        patience: Option<Duration>,
        opening: Option<Opening>,
    ) -> Self {
        Self { stdout, running, patience, listening: LISTENING, opening }
    }
}

impl Read for Output {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(patience) = self.patience
            && !is_readable(&self.stdout, patience + self.listening)?
        {
            self.running.give_up();
        }
        if let Some(opening) = &self.opening
            && let Some(left) = opening.left()
            && !is_readable(&self.stdout, left)?
        {
            self.running.child().kill();
            return Err(opening.give_up());
        }
        self.listening = Duration::ZERO;
        self.stdout.read(buf)
    }
}

/// Whether something comes, or the end, within this time.
#[cfg(target_os = "linux")]
fn is_readable(pipe: &ChildStdout, within: Duration) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let timeout = Timespec::try_from(within).map_err(|_| io::ErrorKind::InvalidInput)?;
    // A signal ends the waiting early, and it begins anew.
    loop {
        match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other? > 0),
        }
    }
}

/// FFmpeg gives up by itself, where it does.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere the system may refuse")]
const fn is_readable(_pipe: &ChildStdout, _within: Duration) -> io::Result<bool> {
    Ok(true)
}
