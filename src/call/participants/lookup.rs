//! SSRCs that somebody uses and nobody is known for: which to ask for, and when again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// SSRCs in one request; Telegram's own clients ask for as many.
const MAX_SOURCES: usize = 50;
/// SSRCs that are remembered. More than these at once is an attack or a broken server.
const MAX_ASKED: usize = 256;
/// An SSRC that the server did not know is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Asks once per SSRC, with one request under way at a time.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    wanted: BTreeSet<i32>,
    asked: BTreeMap<i32, Instant>,
    under_way_since: Option<Instant>,
}

impl Lookup {
    pub(super) fn want(&mut self, source: i32, now: Instant) {
        if self.asked.contains_key(&source) || self.asked.len() >= MAX_ASKED {
            self.asked.retain(|_, at| now < *at + ASK_AGAIN);
        }
        if !self.asked.contains_key(&source) && self.asked.len() < MAX_ASKED {
            self.asked.insert(source, now);
            self.wanted.insert(source);
        }
    }

    /// The request to make now.
    pub(super) fn poll_fetch(&mut self, now: Instant) -> Option<Vec<i32>> {
        let is_busy = self.under_way_since.is_some_and(|since| now < since + ASK_AGAIN);
        if is_busy || self.wanted.is_empty() {
            return None;
        }
        self.under_way_since = Some(now);
        let rest = self.wanted.iter().nth(MAX_SOURCES).copied();
        let later = rest.map(|first| self.wanted.split_off(&first)).unwrap_or_default();
        Some(std::mem::replace(&mut self.wanted, later).into_iter().collect())
    }

    /// The request is over, whatever came of it.
    pub(super) fn handle_answer(&mut self) {
        self.under_way_since = None;
    }
}
