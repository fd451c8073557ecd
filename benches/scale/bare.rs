//! What the machine allows: how evenly a thread wakes that does nothing else.
//!
//! It wakes every 5 ms, as the four groups of a programme's calls do together, and tells the time
//! from each waking to the fourth after it, which would be 20 ms. What is late here was not made
//! late by telecast.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(5);
const WAKINGS_PER_GAP: usize = 4;

/// The thread, while it runs.
pub(crate) struct Bare {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Instant>>,
}

impl Bare {
    pub(crate) fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (begin, mut wakings) = (Instant::now(), Vec::new());
            for n in 0.. {
                std::thread::sleep((EVERY * n).saturating_sub(begin.elapsed()));
                wakings.push(Instant::now());
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
            }
            wakings
        });
        Self { stop, thread }
    }

    /// Milliseconds between its wakings, in order of size.
    pub(crate) fn gaps(self) -> Vec<f64> {
        self.stop.store(true, Ordering::Relaxed);
        let wakings = self.thread.join().expect("it only sleeps");
        let later = wakings.iter().skip(WAKINGS_PER_GAP);
        let mut gaps: Vec<f64> =
            later.zip(&wakings).map(|(next, it)| (*next - *it).as_secs_f64() * 1000.0).collect();
        gaps.sort_by(f64::total_cmp);
        gaps
    }
}
