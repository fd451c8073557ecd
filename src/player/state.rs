//! The programme as a machine: commands and workers' reports in, frames with their due time,
//! events and orders out. Time is an argument; nothing here waits.
//!
//! Everything happens at slot borders. A slot is filled [`LEAD`] before it is due, with the
//! frames of the item that runs or with silence, and never revised. So what a command changes is
//! heard within [`LEAD`] plus one slot, and the sound has neither gap nor overlap, whatever is
//! asked for in whatever order.
//!
//! Events wait until what they speak of has left: they carry a programme time and come out when
//! it has passed.

mod arrange;
mod codecs;
mod crossfade;
mod cuts;
mod failure;
mod line;
mod manner;
mod seeking;
mod slots;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::debug;

use self::failure::Tries;
use super::deck::{Deck, Want};
use super::item::{Item, ItemError};
use super::queue::Queue;
use super::timeline::{Placement, Timeline};
use super::worker::{Report, WorkerEvent, WorkerId};
use super::{
    DueFrame, EndReason, ItemId, MAX_CROSSFADE, MAX_VOLUME_PERCENT, PlayError, PlayerEvent, PlayerOptions,
    PlayerState, PlayerStatus,
};
use crate::media::pace::SPEEDS;
use crate::media::plan::VideoCodecs;
use crate::time::MediaTime;

/// How long before it is due a slot is handed to the calls. Nothing that is asked for is heard
/// sooner, so it is short: a little more than a slot, so that a call which wakes to send one
/// finds the next one there and need not wake for it. A machine so busy that the programme is
/// later than that has late calls, too.
pub(super) const LEAD: Duration = Duration::from_millis(25);

/// An item that has had nothing for so long makes room for the slate.
#[cfg(feature = "openh264")]
const SLATE_AFTER: MediaTime = MediaTime::from_secs(1);

/// Names a seek until its answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ticket(pub(super) u64);

/// What the driver has to do.
#[derive(Debug)]
pub(super) enum Output {
    /// Hand to every listener.
    Frame(DueFrame),
    /// Tell everyone.
    Event(PlayerEvent),
    /// Show.
    Status(PlayerStatus),
    /// Start a worker.
    Open { worker: WorkerId, item: Item, gain: f32, speed_percent: u16 },
    /// Pass on to a worker.
    Order { worker: WorkerId, want: Want },
    /// Set on a worker.
    Volume { worker: WorkerId, gain: f32 },
    /// Set on a worker.
    Speed { worker: WorkerId, percent: u16 },
    /// End a worker.
    Retire { worker: WorkerId },
    /// Answer a seek.
    Sought { ticket: Ticket, result: Result<MediaTime, PlayError> },
}

/// Why the driver has to wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// A slot has to be filled.
    Slot,
    /// An event is due.
    Event,
}

/// Something that is told when its time has come.
#[derive(Debug)]
enum Pending {
    Event(PlayerEvent),
    QueueEnded,
}

impl Pending {
    fn is_queue_end(&self) -> bool {
        matches!(self, Self::QueueEnded)
    }
}

/// One programme.
#[derive(Debug)]
pub(super) struct State {
    options: PlayerOptions,
    timeline: Timeline,
    queue: Queue,
    current: Option<Deck>,
    /// The next item, opened ahead.
    next: Option<Deck>,
    /// The item before, while it goes over into the current one.
    crossfade: Option<crossfade::Crossfade>,
    /// What all who listen take.
    codecs: VideoCodecs,
    /// The current item, opened once more for those who do not see it.
    successor: Option<Deck>,
    last_worker: u64,
    paused: bool,
    /// Nobody has listened yet, and the first item is kept for whoever does.
    unheard: bool,
    volume: u16,
    /// The seek that waits for its landing.
    ticket: Option<Ticket>,
    last_ticket: u64,
    /// Where the last seek was asked for: what is told of places before it is over.
    sought_at: MediaTime,
    /// The item stands still because its frames do not come.
    stalling: bool,
    /// How long nothing has come of an item that should play.
    starved_for: MediaTime,
    tries: Tries,
    next_report: MediaTime,
    last_video_at: Option<MediaTime>,
    cuts: cuts::Cuts,
    pending: VecDeque<(MediaTime, Pending)>,
    out: VecDeque<Output>,
    /// Something has been queued since the queue last ended.
    busy: bool,
    closing: bool,
    /// The line of those that wait has been changed, and nobody has been told yet.
    queue_changed: bool,
    status: PlayerStatus,
    shown: PlayerStatus,
}

impl State {
    /// A programme whose first slot is due [`LEAD`] from now.
    pub(super) fn new(mut options: PlayerOptions, now: Instant) -> Self {
        options.volume_percent = options.volume_percent.min(MAX_VOLUME_PERCENT);
        options.speed_percent = options.speed_percent.clamp(*SPEEDS.start(), *SPEEDS.end());
        options.crossfade = options.crossfade.max(MediaTime::ZERO).min(MAX_CROSSFADE);
        let status = PlayerStatus::first(&options);
        Self {
            timeline: Timeline::new(now + LEAD),
            queue: Queue::new(options.repeat),
            current: None,
            next: None,
            crossfade: None,
            codecs: VideoCodecs::ALL,
            successor: None,
            last_worker: 0,
            paused: false,
            unheard: options.wait_for_listener,
            volume: options.volume_percent,
            ticket: None,
            last_ticket: 0,
            sought_at: MediaTime::ZERO,
            stalling: false,
            starved_for: MediaTime::ZERO,
            tries: Tries::default(),
            next_report: MediaTime::ZERO,
            last_video_at: None,
            cuts: cuts::Cuts::default(),
            pending: VecDeque::new(),
            out: VecDeque::new(),
            busy: false,
            closing: false,
            queue_changed: false,
            shown: status.clone(),
            status,
            options,
        }
    }

    /// Holds the current item, or the next one to come.
    pub(super) fn pause(&mut self) {
        self.fade_for_pause();
        self.paused = true;
        self.stalling = false;
        self.timeline.hold();
    }

    /// Goes on.
    pub(super) fn resume(&mut self) {
        self.paused = false;
    }

    /// Somebody listens.
    pub(super) fn handle_listener(&mut self) {
        self.unheard = false;
    }

    /// There is nothing to see but a slate.
    #[cfg(feature = "openh264")]
    pub(super) fn wants_slate(&self) -> bool {
        self.current.is_none() || !self.paused && self.starved_for >= SLATE_AFTER
    }

    /// Items do not move, whatever is there to play.
    fn is_held(&self) -> bool {
        self.paused || self.unheard
    }

    /// A viewer waits for a keyframe; a reader that encodes can make one.
    pub(super) fn request_keyframe(&mut self) {
        if let Some(deck) = &mut self.current {
            deck.key_wanted = true;
        }
    }

    /// Ends the current item and empties the queue.
    pub(super) fn stop(&mut self) {
        let waiting = self.queue.clear();
        self.finish(EndReason::Stopped, None);
        for entry in waiting {
            self.tell_end(entry.id, Arc::clone(entry.item.source()), EndReason::Stopped, None);
        }
        self.queue_changed = true;
        self.arrange();
    }

    /// Stops and ends the programme: no more slots.
    pub(super) fn close(&mut self) {
        if !self.closing {
            self.closing = true;
            self.stop();
        }
    }

    /// Items that wait for their turn, and events of items that wait for their time.
    pub(super) fn n_queued(&self) -> usize {
        self.queue.n_upcoming() + self.pending.len()
    }

    /// All has been told and the programme is over.
    pub(super) fn is_finished(&self) -> bool {
        self.closing && self.pending.is_empty() && self.out.is_empty()
    }

    /// Something happened on a worker's thread.
    pub(super) fn handle_report(&mut self, report: Report) {
        let is_current = self.current.as_ref().is_some_and(|deck| deck.worker == report.worker);
        let old = self.crossfade.as_mut().and_then(|fade| fade.old_deck());
        let decks = [&mut self.current, &mut self.next, &mut self.successor].into_iter().flatten().chain(old);
        // A retired worker has nothing to say.
        let Some(deck) = { decks }.find(|deck| deck.worker == report.worker) else { return };
        match report.event {
            WorkerEvent::Opened(opened) => deck.open(opened),
            WorkerEvent::Replanned(plan) => deck.replan(plan),
            WorkerEvent::NotOpened(error) => deck.fail(error),
            WorkerEvent::Frames { generation, frames } => {
                for frame in frames {
                    deck.handle_frame(generation, frame);
                }
            }
            WorkerEvent::Paced { generation, pace } => deck.handle_pace(generation, pace),
            WorkerEvent::End { generation } => deck.handle_end(generation),
            WorkerEvent::ReadFailed { generation, error } => deck.handle_read_failed(generation, error),
            WorkerEvent::Landed { generation, result } => {
                if deck.handle_landed(generation, result.as_ref().ok().copied()) {
                    match result {
                        // The next one begins where it is to begin.
                        Ok(_) if !is_current => {}
                        // What failed goes on where it can: a live source has one place only.
                        Err(_) if deck.begins_anywhere() => {}
                        Ok(landed) => {
                            self.status.position = landed;
                            self.answer_seek(Ok(landed));
                        }
                        Err(error) if is_current && self.ticket.is_some() => {
                            self.answer_seek(Err(PlayError::Seek(error)));
                        }
                        // Nobody asked for it but the item itself.
                        Err(error) => deck.fail(error),
                    }
                }
            }
            WorkerEvent::Gone => {
                deck.abandon();
                if is_current {
                    self.answer_seek(Err(PlayError::Seek(ItemError::Crashed)));
                }
            }
        }
        self.arrange();
    }

    /// What to do next, or nothing until [`State::poll_timeout`].
    pub(super) fn poll_output(&mut self, now: Instant) -> Option<Output> {
        loop {
            if let Some(output) = self.out.pop_front() {
                return Some(output);
            }
            match self.poll_timeout() {
                Some((due, Wake::Slot)) if due <= now => self.fill_slot(now),
                Some((due, Wake::Event)) if due <= now => self.tell_first(),
                _ if std::mem::take(&mut self.queue_changed) => {
                    return Some(Output::Event(PlayerEvent::QueueChanged));
                }
                _ => return self.status_change(),
            }
        }
    }

    /// When [`State::poll_output`] has to be asked again, and why.
    pub(super) fn poll_timeout(&self) -> Option<(Instant, Wake)> {
        let event = self.pending.front().map(|(at, _)| (self.timeline.due(*at), Wake::Event));
        if self.closing {
            return event;
        }
        // The epoch is one LEAD after the start, so this is never before the start.
        let slot = (self.timeline.due(self.timeline.slot_at()) - LEAD, Wake::Slot);
        Some(event.filter(|event| event.0 < slot.0).unwrap_or(slot))
    }

    fn finish(&mut self, reason: EndReason, error: Option<ItemError>) {
        self.fade_out();
        self.end_crossfade(reason);
        self.drop_successor();
        let Some(deck) = self.current.take() else { return };
        self.forget_tries();
        self.timeline.cue();
        (self.stalling, self.starved_for) = (false, MediaTime::ZERO);
        self.status.n_dropped += deck.n_dropped;
        self.answer_seek(Err(PlayError::Superseded));
        self.out.push_back(Output::Retire { worker: deck.worker });
        // What failed once would fail in every round.
        let again = matches!(reason, EndReason::Finished | EndReason::Skipped);
        self.queue.retire(again, reason == EndReason::Skipped);
        self.tell_end(deck.id, deck.source, reason, error);
    }

    fn tell_end(&mut self, item: ItemId, source: Arc<str>, reason: EndReason, error: Option<ItemError>) {
        debug!(item = item.0, reason = reason.as_str(), ?error, "item ended");
        self.tell(PlayerEvent::ItemEnded { item, source, reason, error });
    }

    /// Tells it when all slots filled so far have passed.
    fn tell(&mut self, event: PlayerEvent) {
        self.pending.push_back((self.timeline.slot_at(), Pending::Event(event)));
    }

    fn tell_first(&mut self) {
        let Some((at, pending)) = self.pending.pop_front() else { return };
        match pending {
            Pending::Event(event) => {
                if let PlayerEvent::Position { item, position, .. } = &event
                    && at >= self.sought_at
                    && self.current.as_ref().is_some_and(|deck| deck.id == *item && !deck.is_seeking())
                {
                    self.status.position = *position;
                }
                self.out.push_back(Output::Event(event));
            }
            // Something has been queued in the meantime: the queue goes on without a gap.
            Pending::QueueEnded if self.current.is_some() => self.busy = true,
            // It has even ended; its own end of the queue follows.
            Pending::QueueEnded if self.pending.iter().any(|(_, later)| later.is_queue_end()) => {}
            Pending::QueueEnded => {
                self.out.push_back(Output::Event(PlayerEvent::QueueEnded));
                if !self.options.stay {
                    self.close();
                }
            }
        }
    }

    /// The status, if it has changed since it was last shown.
    fn status_change(&mut self) -> Option<Output> {
        let deck = self.current.as_ref();
        let opened = deck.and_then(|deck| deck.opened.as_ref());
        self.status.state = match (deck, self.timeline.placement()) {
            (None, _) if self.closing && self.pending.is_empty() => PlayerState::Ended,
            (None, _) => PlayerState::Idle,
            (Some(_), _) if self.paused => PlayerState::Paused,
            (Some(_), Placement::Running { .. }) => PlayerState::Playing,
            (Some(_), Placement::Cued | Placement::Held { .. }) => PlayerState::Loading,
        };
        self.status.item = deck.map(|deck| deck.id);
        self.status.source = deck.map(|deck| Arc::clone(&deck.source));
        self.status.plan = opened.map(|opened| opened.plan.clone());
        self.status.duration = opened.and_then(|opened| opened.duration);
        self.status.paused = self.paused;
        self.status.volume_percent = self.volume;
        self.status.crossfade = self.options.crossfade;
        self.status.speed_percent = self.options.speed_percent;
        self.status.n_queued = self.queue.n_upcoming();
        if self.status == self.shown {
            return None;
        }
        self.shown = self.status.clone();
        Some(Output::Status(self.status.clone()))
    }
}

#[cfg(test)]
mod property;
#[cfg(test)]
mod steering;
#[cfg(test)]
mod tests;
