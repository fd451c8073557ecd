//! A live source → its packets, no later than wanted.
//!
//! ```text
//! source ─ packets ─► thread ─► Backlog ─► next_packet
//!                                  └─► left out: what is too late
//! ```
//!
//! A live source goes on while nobody takes its packets: while the programme is paused, and when
//! the network has held them back and brings them all at once. Whoever played all of them would be
//! late from then on, for ever. So a thread of its own reads whatever comes, when it comes, and
//! [`Backlog`] decides what is left out.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use self::backlog::{Backlog, LeftOut};
use super::{DemuxError, Demuxer, Packet, Track};
use crate::media::source::{Liveness, MIN_LATENCY};
use crate::time::MediaTime;

mod arrivals;
mod backlog;

/// How far back is looked to see what a source can be relied on: longer than the bursts of most, …
const WINDOW: Duration = Duration::from_secs(20);
/// … and so many of those that are announced.
const WINDOW_IN_PIECES: u32 = 3;

/// Packets of a source that does not wait.
pub(in crate::media) struct Live {
    format: &'static str,
    tracks: Vec<Track>,
    shared: Arc<Shared>,
}

struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    begun: Instant,
}

struct Waiting {
    backlog: Backlog,
    /// The source's last word.
    end: Option<Result<(), DemuxError>>,
    /// Nobody takes anything any more.
    over: bool,
}

impl Live {
    /// Begins to read. What is played later than `latency` is left out.
    ///
    /// The thread ends when this is dropped and the source has said one more word; a source that
    /// says none fails within its patience.
    ///
    /// # Errors
    /// When the system gives no more threads.
    #[expect(clippy::disallowed_methods, reason = "when packets come is known to nobody else")]
    pub(in crate::media) fn open(
        source: Box<dyn Demuxer>,
        latency: Duration,
        liveness: Liveness,
    ) -> Result<Self, DemuxError> {
        let format = source.format();
        // It has no length, whatever a station's encoder has noted of some file.
        let tracks: Vec<Track> =
            source.tracks().iter().map(|track| Track { duration: None, ..track.clone() }).collect();
        let window = WINDOW.max(liveness.piece * WINDOW_IN_PIECES);
        let [latency, window] = [latency.max(MIN_LATENCY), window].map(MediaTime::from_duration);
        let backlog = Backlog::new(&tracks, latency, window);
        let waiting = Mutex::new(Waiting { backlog, end: None, over: false });
        let shared = Arc::new(Shared { waiting, changed: Condvar::new(), begun: Instant::now() });
        let last_word = LastWord(Arc::clone(&shared));
        Builder::new().name("live".to_owned()).spawn(move || read(source, &last_word.0, liveness))?;
        Ok(Self { format, tracks, shared })
    }
}

/// The thread.
fn read(mut source: Box<dyn Demuxer>, shared: &Shared, liveness: Liveness) {
    loop {
        let next = source.next_packet();
        let now = shared.now();
        let mut waiting = shared.lock();
        if waiting.over {
            return;
        }
        match next {
            Ok(Some(packet)) => waiting.backlog.handle_packet(packet, now),
            // Perhaps in the middle of a packet.
            Ok(None) | Err(DemuxError::Truncated { .. }) if liveness.is_endless => {
                waiting.end = Some(Err(DemuxError::HungUp));
            }
            Ok(None) => waiting.end = Some(Ok(())),
            Err(error) => waiting.end = Some(Err(error)),
        }
        let is_over = waiting.end.is_some();
        drop(waiting);
        shared.changed.notify_all();
        if is_over {
            return;
        }
    }
}

/// Ends the source when its thread ends, also by a panic: nobody waits for ever.
struct LastWord(Arc<Shared>);

impl Drop for LastWord {
    fn drop(&mut self) {
        self.0.lock().end.get_or_insert(Err(DemuxError::Crashed));
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> MediaTime {
        MediaTime::from_duration(self.begun.elapsed())
    }
}

impl Demuxer for Live {
    fn format(&self) -> &'static str {
        self.format
    }

    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, DemuxError> {
        let mut waiting = self.shared.lock();
        loop {
            if let Some(packet) = waiting.backlog.poll_packet(self.shared.now()) {
                let left_out = waiting.backlog.take_left_out();
                drop(waiting);
                if let Some(LeftOut { time, n_packets, n_bytes }) = left_out {
                    tracing::info!(?time, n_packets, n_bytes, "left out what would have been too late");
                }
                return Ok(Some(packet));
            }
            if let Some(end) = waiting.end.take() {
                // It is told once how it ended.
                waiting.end = Some(Ok(()));
                return end.map(|()| None);
            }
            waiting = self.shared.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn is_live(&self) -> bool {
        true
    }

    /// Stays at the present, which is the only place that there is.
    fn seek(&mut self, _: MediaTime) -> Result<MediaTime, DemuxError> {
        let mut waiting = self.shared.lock();
        waiting.backlog.catch_up(MediaTime::ZERO, self.shared.now());
        Ok(waiting.backlog.place_of_next())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shared.lock().over = true;
    }
}

#[cfg(test)]
mod tests;
