//! How many others are there → when a call that nobody hears is left.

use std::time::{Duration, Instant};

/// Waits for somebody, and not for ever.
#[derive(Debug, Default)]
pub(super) struct Company {
    /// `None` stays for ever.
    patience: Option<Duration>,
    /// When it is enough.
    leaves_at: Option<Instant>,
}

/// What there is to say or to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alone {
    /// Nobody else is there any more.
    Since {
        /// The call is left after this time.
        leaves_in: Duration,
    },
    /// Nobody has come.
    Enough,
}

impl Company {
    pub(super) fn new(patience: Option<Duration>) -> Self {
        Self { patience, leaves_at: None }
    }

    /// Is there anything to find out?
    pub(super) fn matters(&self) -> bool {
        self.patience.is_some()
    }

    /// So many others take part; `None` is not known.
    pub(super) fn handle(&mut self, n_others: Option<usize>, now: Instant) -> Option<Alone> {
        let patience = self.patience?;
        if n_others != Some(0) {
            self.leaves_at = None;
            return None;
        }
        match self.leaves_at {
            None => {
                self.leaves_at = Some(now + patience);
                Some(Alone::Since { leaves_in: patience })
            }
            Some(at) if at <= now => {
                self.patience = None;
                self.leaves_at = None;
                Some(Alone::Enough)
            }
            Some(_) => None,
        }
    }

    /// When to ask [`handle`](Self::handle) again at the latest.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.leaves_at
    }
}
