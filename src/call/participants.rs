//! The list of participants, kept in step with the server by version.
//!
//! ```text
//! Update::Participants ─ handle_update ─►┌──────────────┐─ poll_output ─► Changed(…)
//! page of the list     ─ handle_page ───►│ Participants │─ poll_output ─► Fetch(…)
//! now                  ─ handle_timeout ►└──────────────┘
//! ```
//!
//! An update counts only in order. One that comes too early waits; when what is missing stays
//! away for [`GAP_WAIT`], the whole list is fetched again. Until the first page of a fetched
//! list is here, updates are applied as they come *and* kept: the page may be older than they
//! are, and then they are applied on top of it once more, which changes nothing if it is not.
//!
//! Everything is limited, since every number in here comes from outside.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::signaling::{ParticipantRow, ParticipantsPage, VideoRow};

mod lookup;
mod own;
#[cfg(test)]
mod tests;

use lookup::Lookup;
pub use own::{Microphone, OwnRow};

/// How long a missing update may be late before the list is fetched again, as in TDLib.
pub const GAP_WAIT: Duration = Duration::from_secs(1);
/// At most one fetch of the list starts in this time, whatever the server sends.
pub const FETCH_PAUSE: Duration = Duration::from_secs(5);
/// A list that has not come by then is asked for again.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);
/// Participants that are kept; the largest calls have a few thousand.
const MAX_ROWS: usize = 10_000;
/// Rows in updates that wait for an earlier one.
const MAX_WAITING_ROWS: usize = 4096;
/// Pages of one fetch: enough for [`MAX_ROWS`] in steps of fifty.
const MAX_PAGES: usize = 200;
/// SSRCs of one participant's camera or screen; three layers with retransmissions have six.
const MAX_VIDEO_SSRCS: usize = 32;

/// Everybody in the call.
#[derive(Debug, Default)]
pub struct Participants {
    rows: BTreeMap<String, Entry>,
    ssrcs: HashMap<u32, (String, SsrcUse)>,
    own: Option<String>,
    version: Option<i32>,
    /// No update has followed the page that set the version. One with the same version may
    /// have been sent before the page was made, or after; it is applied once.
    version_is_fresh: bool,
    waiting: BTreeMap<i32, Vec<Waiting>>,
    n_waiting_rows: usize,
    fetch: Option<FetchState>,
    last_fetch: Option<Instant>,
    gap_ends: Option<Instant>,
    fetch_due: Option<Instant>,
    lookup: Lookup,
    /// Counts fetches of the list, to tell rows that a fetch has not confirmed.
    generation: u64,
    outputs: VecDeque<Output>,
    n_dropped_rows: u64,
}

#[derive(Debug)]
struct Entry {
    row: ParticipantRow,
    /// The latest fetch that had it, or that was complete when an update told of it.
    generation: u64,
}

#[derive(Debug)]
struct Waiting {
    versioned: bool,
    rows: Vec<ParticipantRow>,
}

/// A fetch of the whole list that is under way.
#[derive(Debug)]
struct FetchState {
    offset: String,
    n_pages: usize,
}

/// What the list asks for and tells.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Output {
    /// To be asked of Telegram; the answer goes to [`Participants::handle_page`].
    Fetch(Fetch),
    /// To be told.
    Changed(Change),
}

/// The arguments of a `phone.getGroupParticipants`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// A page of the list.
    Page {
        /// Where it starts; empty for the first.
        offset: String,
    },
    /// Only the participants with these SSRCs, as TL has them.
    Sources(Vec<i32>),
}

/// A difference between the list before and after.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Somebody new, or seen for the first time.
    Joined(ParticipantRow),
    /// Something of the row is different now.
    Updated(ParticipantRow),
    /// Somebody is gone; the row says with which connection.
    Left(ParticipantRow),
}

/// What an SSRC carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SsrcUse {
    /// Sound of the main connection.
    Microphone,
    /// Sound of the screen.
    ScreenAudio,
    /// The camera or its retransmissions.
    Camera,
    /// The screen or its retransmissions.
    Screen,
}

/// How an update relates to the version that we have.
enum Order {
    Old,
    /// The next one, with the version that follows from it.
    Next(i32),
    /// Changes no version, and we are far enough.
    Unversioned(Age),
    Early,
}

/// Whether an update tells of the version that we have or of an earlier one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    Past,
    Present,
}

impl Participants {
    /// The rows, by peer.
    pub fn iter(&self) -> impl Iterator<Item = &ParticipantRow> {
        self.rows.values().map(|entry| &entry.row)
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Nobody is known.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// One row.
    pub fn get(&self, peer: &str) -> Option<&ParticipantRow> {
        self.rows.get(peer).map(|entry| &entry.row)
    }

    /// Our own row.
    pub fn own(&self) -> Option<&ParticipantRow> {
        self.get(self.own.as_deref()?)
    }

    /// Whose SSRC this is, and what for.
    pub fn by_ssrc(&self, ssrc: u32) -> Option<(&ParticipantRow, SsrcUse)> {
        let (peer, usage) = self.ssrcs.get(&ssrc)?;
        Some((self.get(peer)?, *usage))
    }

    /// The version of the list, once a page was read.
    pub fn version(&self) -> Option<i32> {
        self.version
    }

    /// Rows that found no room, or had no peer.
    pub fn n_dropped_rows(&self) -> u64 {
        self.n_dropped_rows
    }

    /// Fetches the list: after a join, and whenever updates may have been missed. A fetch that is
    /// under way is given up.
    pub fn refetch(&mut self, now: Instant) {
        self.generation += 1;
        self.fetch = Some(FetchState { offset: String::new(), n_pages: 0 });
        self.last_fetch = Some(now);
        self.gap_ends = None;
        self.fetch_due = None;
        self.outputs.push_back(Output::Fetch(Fetch::Page { offset: String::new() }));
    }

    /// An `updateGroupCallParticipants`.
    pub fn handle_update(&mut self, rows: Vec<ParticipantRow>, version: i32, now: Instant) {
        let versioned = rows.iter().any(|row| row.just_joined || row.left || row.versioned);
        if self.version.is_none() || self.awaits_first_page() {
            self.keep(version, versioned, rows.clone(), now);
        }
        match self.order(versioned, version) {
            Order::Old => {}
            Order::Next(version) => {
                self.version = Some(version);
                self.version_is_fresh = false;
                self.apply(rows, Age::Present, now);
                if !self.awaits_first_page() {
                    self.replay(now);
                }
                // What still waits has a new chance to be complete in time.
                self.gap_ends = None;
            }
            Order::Unversioned(age) => self.apply(rows, age, now),
            Order::Early => {
                if self.version.is_none() {
                    self.apply(rows, Age::Present, now);
                } else if !self.awaits_first_page() {
                    self.keep(version, versioned, rows, now);
                }
            }
        }
        self.watch_gap(now);
    }

    /// The answer to a [`Fetch`].
    pub fn handle_page(&mut self, fetch: &Fetch, page: ParticipantsPage, now: Instant) {
        match fetch {
            Fetch::Sources(_) => {
                // A slice of the list: its version says nothing about the rest.
                for row in page.participants {
                    self.upsert(row);
                }
                self.lookup.handle_answer();
                self.poll_lookup(now);
            }
            Fetch::Page { offset } => self.handle_list_page(offset, page, now),
        }
    }

    /// A [`Fetch`] failed; it is repeated after `wait` (a FLOOD_WAIT) or [`FETCH_PAUSE`],
    /// whichever is longer.
    pub fn handle_fetch_failed(&mut self, fetch: &Fetch, wait: Duration, now: Instant) {
        match fetch {
            // Asked again when a packet with that SSRC comes again.
            Fetch::Sources(_) => self.lookup.handle_answer(),
            Fetch::Page { offset } => {
                if self.fetch.as_ref().is_some_and(|fetch| fetch.offset == *offset) {
                    self.fetch = None;
                    self.fetch_due = Some(now + wait.max(FETCH_PAUSE));
                }
            }
        }
    }

    /// A packet came whose SSRC belongs to nobody that we know.
    pub fn handle_unknown_ssrc(&mut self, ssrc: u32, now: Instant) {
        if !self.ssrcs.contains_key(&ssrc) {
            self.lookup.want(ssrc.cast_signed(), now);
            self.poll_lookup(now);
        }
    }

    /// Something is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            self.refetch(now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.fetch.is_some() {
            return self.last_fetch.map(|started| started + FETCH_TIMEOUT);
        }
        let gap_ends = self.gap_ends.map(|at| self.earliest_fetch(at));
        [gap_ends, self.fetch_due].into_iter().flatten().min()
    }

    /// The next thing to do or to tell; empty it after each `handle_…`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// `at`, or later when the last fetch began only just before.
    fn earliest_fetch(&self, at: Instant) -> Instant {
        self.last_fetch.map_or(at, |last| at.max(last + FETCH_PAUSE))
    }

    fn awaits_first_page(&self) -> bool {
        self.fetch.as_ref().is_some_and(|fetch| fetch.n_pages == 0)
    }

    fn order(&self, versioned: bool, version: i32) -> Order {
        let Some(current) = self.version else { return Order::Early };
        match (versioned, version.cmp(&current)) {
            (true, std::cmp::Ordering::Equal) if self.version_is_fresh => Order::Next(current),
            (true, std::cmp::Ordering::Greater) if version == current.saturating_add(1) => {
                Order::Next(version)
            }
            (_, std::cmp::Ordering::Greater) => Order::Early,
            (true, _) => Order::Old,
            (false, std::cmp::Ordering::Less) => Order::Unversioned(Age::Past),
            (false, std::cmp::Ordering::Equal) => Order::Unversioned(Age::Present),
        }
    }

    fn keep(&mut self, version: i32, versioned: bool, rows: Vec<ParticipantRow>, now: Instant) {
        // An empty update counts too: it has a place in the queue.
        self.n_waiting_rows += rows.len().max(1);
        self.waiting.entry(version).or_default().push(Waiting { versioned, rows });
        if self.n_waiting_rows > MAX_WAITING_ROWS {
            tracing::debug!(
                rows = self.n_waiting_rows,
                "too many early participant updates, fetching the list"
            );
            self.clear_waiting();
            self.fetch_due = Some(self.earliest_fetch(now));
        }
    }

    fn clear_waiting(&mut self) {
        self.waiting.clear();
        self.n_waiting_rows = 0;
    }

    /// Applies the updates whose turn has come.
    fn replay(&mut self, now: Instant) {
        while let (Some(current), Some(first)) = (self.version, self.waiting.first_entry()) {
            let version = *first.key();
            let moves = first.get().iter().any(|update| update.versioned);
            if version > current && !(moves && version == current.saturating_add(1)) {
                break;
            }
            let updates = first.remove();
            let is_next = version > current;
            if is_next {
                self.version = Some(version);
                self.version_is_fresh = false;
            }
            for update in updates {
                self.n_waiting_rows -= update.rows.len().max(1);
                if is_next || !update.versioned {
                    self.apply(update.rows, if version < current { Age::Past } else { Age::Present }, now);
                }
            }
        }
    }

    /// Starts the clock when updates wait for a missing one, stops it when none does.
    fn watch_gap(&mut self, now: Instant) {
        if self.waiting.is_empty() || self.version.is_none() || self.fetch.is_some() {
            self.gap_ends = None;
        } else {
            self.gap_ends.get_or_insert(now + GAP_WAIT);
        }
    }

    fn handle_list_page(&mut self, offset: &str, page: ParticipantsPage, now: Instant) {
        let Some(fetch) = self.fetch.as_mut().filter(|fetch| fetch.offset == offset) else {
            return; // An answer that comes after we gave it up.
        };
        fetch.n_pages += 1;
        let is_first = fetch.n_pages == 1;
        let is_last = page.next_offset.is_empty();
        let goes_on = !is_last && page.next_offset != offset && fetch.n_pages < MAX_PAGES;
        if goes_on {
            fetch.offset.clone_from(&page.next_offset);
        }
        if is_first {
            self.version = Some(page.version);
            self.version_is_fresh = true;
        }
        let generation = self.generation;
        for row in page.participants {
            // What an update told since the first page is newer than this page.
            let is_newer_here =
                !is_first && self.rows.get(&row.peer).is_some_and(|e| e.generation == generation);
            if !is_newer_here {
                self.upsert(row);
            }
        }
        if is_first {
            self.replay(now);
        }
        if goes_on {
            self.outputs.push_back(Output::Fetch(Fetch::Page { offset: page.next_offset }));
        } else {
            self.fetch = None;
            if is_last {
                self.sweep();
            }
        }
        self.watch_gap(now);
    }

    /// Removes those that the fetched list no longer has. Our own row stays: whether we are
    /// still joined is told by updates and by `phone.checkGroupCall`.
    fn sweep(&mut self) {
        let gone = self
            .rows
            .iter()
            .filter(|(peer, entry)| entry.generation != self.generation && Some(*peer) != self.own.as_ref());
        let gone: Vec<_> = gone.map(|(peer, _)| peer.clone()).collect();
        for peer in gone {
            if let Some(row) = self.remove(&peer) {
                self.outputs.push_back(Output::Changed(Change::Left(row)));
            }
        }
    }

    /// Applies the rows of an update.
    fn apply(&mut self, rows: Vec<ParticipantRow>, age: Age, now: Instant) {
        for row in rows {
            let is_stranger = !row.is_self && !self.rows.contains_key(&row.peer);
            if row.left {
                self.handle_left(row);
            } else if is_stranger && (row.min || age == Age::Past) {
                // Half a row, or one of somebody who may have left since: ask for the whole one.
                if row.source == 0 {
                    let due = self.earliest_fetch(now);
                    self.fetch_due.get_or_insert(due);
                } else {
                    self.lookup.want(row.source, now);
                }
            } else {
                self.upsert(row);
            }
        }
        self.poll_lookup(now);
    }

    fn handle_left(&mut self, row: ParticipantRow) {
        // After a rejoin the end of our old connection is told, too.
        let is_old_connection = self.own.as_ref() == Some(&row.peer)
            && row.source != 0
            && self.own().is_some_and(|own| own.source != 0 && own.source != row.source);
        if !is_old_connection && self.remove(&row.peer).is_some() {
            self.outputs.push_back(Output::Changed(Change::Left(row)));
        }
    }

    /// Puts a row in place of an older one of the same peer.
    fn upsert(&mut self, mut row: ParticipantRow) {
        let known = self.rows.get(&row.peer).map(|entry| &entry.row);
        if row.peer.is_empty() || row.left || (known.is_none() && self.rows.len() >= MAX_ROWS && !row.is_self)
        {
            self.n_dropped_rows += 1;
            return;
        }
        if let Some(known) = known {
            if row.min {
                row.volume = known.volume;
            }
            row.is_self |= known.is_self;
        }
        // These describe the update, not the participant.
        row.min = false;
        row.just_joined = false;
        row.versioned = false;

        // A list that has not come yet will have to confirm the row.
        let is_unconfirmed = self.version.is_none() || self.awaits_first_page();
        let generation = self.generation.saturating_sub(u64::from(is_unconfirmed));
        let change = match self.rows.get_mut(&row.peer) {
            Some(entry) if entry.row == row => {
                entry.generation = generation;
                return;
            }
            Some(_) => Change::Updated(row.clone()),
            None => Change::Joined(row.clone()),
        };
        self.remove(&row.peer);
        for (ssrc, usage) in ssrcs(&row) {
            self.ssrcs.insert(ssrc, (row.peer.clone(), usage));
        }
        if row.is_self
            && let Some(former) = self.own.replace(row.peer.clone()).and_then(|peer| self.rows.get_mut(&peer))
        {
            // We have joined again as somebody else.
            former.row.is_self = false;
        }
        self.rows.insert(row.peer.clone(), Entry { row, generation });
        self.outputs.push_back(Output::Changed(change));
    }

    fn remove(&mut self, peer: &str) -> Option<ParticipantRow> {
        let Entry { row, .. } = self.rows.remove(peer)?;
        for (ssrc, _) in ssrcs(&row) {
            // Somebody else may have it by now.
            if self.ssrcs.get(&ssrc).is_some_and(|(owner, _)| owner == peer) {
                self.ssrcs.remove(&ssrc);
            }
        }
        if self.own.as_deref() == Some(peer) {
            self.own = None;
        }
        Some(row)
    }

    fn poll_lookup(&mut self, now: Instant) {
        if let Some(sources) = self.lookup.poll_fetch(now) {
            self.outputs.push_back(Output::Fetch(Fetch::Sources(sources)));
        }
    }
}

/// Every SSRC of a participant; zero means none.
fn ssrcs(row: &ParticipantRow) -> impl Iterator<Item = (u32, SsrcUse)> {
    let video = |video: &Option<VideoRow>, usage| {
        let groups = video.iter().flat_map(|video| &video.source_groups);
        let sources: Vec<_> =
            groups.flat_map(|group| group.sources.iter().copied()).take(MAX_VIDEO_SSRCS).collect();
        sources.into_iter().map(move |source| (source, usage))
    };
    let screen_audio = row.presentation.as_ref().and_then(|screen| screen.audio_source);
    std::iter::once((row.source, SsrcUse::Microphone))
        .chain(screen_audio.map(|source| (source, SsrcUse::ScreenAudio)))
        .chain(video(&row.video, SsrcUse::Camera))
        .chain(video(&row.presentation, SsrcUse::Screen))
        .filter(|(source, _)| *source != 0)
        .map(|(source, usage)| (source.cast_unsigned(), usage))
}
