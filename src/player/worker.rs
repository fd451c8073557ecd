//! One thread per loaded item: opens it, reads what it is asked for, seeks, ends.
//!
//! ```text
//! task ── Order: read n frames, seek ──► worker ── Report: opened, frame, end … ──► task
//! ```
//!
//! The worker only works on order, so it waits in exactly one place, never blocks on a full
//! channel while the programme runs, and ends as soon as the programme drops its [`Worker`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;
use tracing::{debug, error, trace};

use super::deck::{Opened, Want};
use super::item::{Item, ItemError, ItemPlan};
use crate::media::Frame;
use crate::media::pace::Pace;
use crate::time::MediaTime;

/// Names one thread; the same item played twice has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct WorkerId(pub(super) u64);

/// Room for orders. The deck leaves fewer unanswered: one seek, and two reads before and after it.
const ORDERS: usize = 16;

/// So many frames are handed over together, unless reading them takes too long.
const BATCH: usize = 8;

/// A source that is slow or live is not held back by more than this.
const BATCH_PATIENCE: Duration = Duration::from_millis(10);

/// What a worker says.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) worker: WorkerId,
    pub(super) event: WorkerEvent,
}

/// What can happen on a worker's thread.
#[derive(Debug)]
pub(super) enum WorkerEvent {
    /// The item is open.
    Opened(Opened),
    /// Its tracks are played in another way from now on.
    Replanned(ItemPlan),
    /// It cannot be opened; the thread ends.
    NotOpened(ItemError),
    /// Some of the frames asked for.
    Frames { generation: u32, frames: Vec<Frame> },
    /// Frames go by at another speed, from a place on that no frame told so far lies behind.
    Paced { generation: u32, pace: Pace },
    /// No more frames.
    End { generation: u32 },
    /// Reading failed; a seek may still help.
    ReadFailed { generation: u32, error: ItemError },
    /// The seek of this generation is done.
    Landed { generation: u32, result: Result<MediaTime, ItemError> },
    /// The last word of every worker, also of one that panicked.
    Gone,
}

/// How frames read from now on are to be.
#[derive(Debug)]
struct Wishes {
    gain: AtomicU32,
    speed_percent: AtomicU16,
}

/// The owner's end of a worker. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Worker {
    orders: SyncSender<Want>,
    wishes: Arc<Wishes>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts the thread; it opens `item` at once and reports what it finds.
    pub(super) fn spawn(
        id: WorkerId,
        item: Item,
        gain: f32,
        speed_percent: u16,
        reports: Sender<Report>,
    ) -> Result<Self, ItemError> {
        let (orders, inbox) = sync_channel(ORDERS);
        let wishes = Arc::new(Wishes { gain: gain.to_bits().into(), speed_percent: speed_percent.into() });
        let shared = Arc::clone(&wishes);
        let reporter = Reporter { worker: id, reports };
        let thread = Builder::new()
            .name(format!("item-reader-{}", id.0))
            .spawn(move || run(&item, &inbox, &shared, &reporter))
            .map_err(|cause| ItemError::Thread(Arc::new(cause)))?;
        Ok(Self { orders, wishes, thread })
    }

    /// Hands over an order without waiting.
    pub(super) fn order(&self, want: Want) {
        match self.orders.try_send(want) {
            // A worker that is gone says so itself.
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(want)) => error!(?want, "the item's reader has too many orders: a bug"),
        }
    }

    /// How loud frames read from now on are.
    pub(super) fn set_volume(&self, gain: f32) {
        self.wishes.gain.store(gain.to_bits(), Ordering::Relaxed);
    }

    /// How fast frames read from now on go by.
    pub(super) fn set_speed(&self, percent: u16) {
        self.wishes.speed_percent.store(percent, Ordering::Relaxed);
    }

    /// Tells the thread to end, without waiting: it does once its reader has returned.
    pub(super) fn dismiss(self) -> Dismissed {
        Dismissed { thread: self.thread }
    }
}

/// A worker that has no owner to work for any more.
#[derive(Debug)]
pub(super) struct Dismissed {
    thread: JoinHandle<()>,
}

impl Dismissed {
    /// Waits for the thread: briefly, after [`WorkerEvent::Gone`].
    pub(super) fn join(self) {
        let name = self.thread.thread().name().unwrap_or_default().to_owned();
        match self.thread.join() {
            Ok(()) => trace!(name, "the item's reader has ended"),
            Err(_) => error!(name, "the item's reader panicked"),
        }
    }
}

/// Sends reports, and the last one by being dropped.
struct Reporter {
    worker: WorkerId,
    reports: Sender<Report>,
}

impl Reporter {
    /// False when nobody listens any more.
    fn send(&self, event: WorkerEvent) -> bool {
        self.reports.blocking_send(Report { worker: self.worker, event }).is_ok()
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.send(WorkerEvent::Gone);
    }
}

/// The thread. Returns when the orders' sender or the reports' receiver is gone.
fn run(item: &Item, orders: &Receiver<Want>, wishes: &Wishes, reporter: &Reporter) {
    let mut reader = match item.open() {
        Ok(reader) => reader,
        Err(error) => {
            debug!(source = %item.source(), %error, "cannot open the item");
            reporter.send(WorkerEvent::NotOpened(error));
            return;
        }
    };
    let mut plan = reader.plan();
    let opened = Opened { plan: plan.clone(), duration: reader.duration() };
    if !reporter.send(WorkerEvent::Opened(opened)) {
        return;
    }
    let mut generation = 0;
    let mut credit = 0;
    let mut applied_gain = None;
    let mut applied_speed = 100;
    let mut batch = Batch::default();
    while let Some(order) = next_order(orders, credit) {
        let event = match order {
            Some(Want::Read { generation: of, n_frames, position, key }) => {
                // Reads that were on their way when a seek was ordered count no more.
                if of == generation {
                    credit += n_frames;
                    position.into_iter().for_each(|position| reader.set_position(position));
                }
                if key {
                    reader.request_keyframe();
                }
                let now = reader.plan();
                if now == plan {
                    continue;
                }
                plan = now.clone();
                WorkerEvent::Replanned(now)
            }
            Some(Want::Seek { generation: of, to }) => {
                generation = of;
                credit = 0;
                batch = Batch::default();
                WorkerEvent::Landed { generation, result: reader.seek(to) }
            }
            None => {
                let percent = wishes.speed_percent.load(Ordering::Relaxed);
                if std::mem::replace(&mut applied_speed, percent) != percent
                    && let Some(pace) = reader.set_speed(percent)
                    && !reporter.send(WorkerEvent::Paced { generation, pace })
                {
                    return;
                }
                let wanted = f32::from_bits(wishes.gain.load(Ordering::Relaxed));
                if applied_gain != Some(wanted) {
                    reader.set_volume(wanted);
                    applied_gain = Some(wanted);
                }
                let end = match reader.next_frame() {
                    Ok(Some(frame)) => {
                        credit -= 1;
                        if !batch.push(frame) && credit > 0 {
                            continue;
                        }
                        None
                    }
                    Ok(None) => Some(WorkerEvent::End { generation }),
                    Err(error) => Some(WorkerEvent::ReadFailed { generation, error }),
                };
                let frames = std::mem::take(&mut batch).frames;
                if !frames.is_empty() && !reporter.send(WorkerEvent::Frames { generation, frames }) {
                    return;
                }
                let Some(end) = end else { continue };
                credit = 0;
                end
            }
        };
        if !reporter.send(event) {
            return;
        }
    }
}

/// Frames on their way to the programme: one message for several costs one wake-up.
#[derive(Default)]
struct Batch {
    frames: Vec<Frame>,
    begun: Option<Instant>,
}

impl Batch {
    /// True when it is time to hand them over.
    #[expect(clippy::disallowed_methods, reason = "how long a read takes is known only afterwards")]
    fn push(&mut self, frame: Frame) -> bool {
        let begun = *self.begun.get_or_insert_with(Instant::now);
        self.frames.push(frame);
        self.frames.len() >= BATCH || begun.elapsed() >= BATCH_PATIENCE
    }
}

/// The next order; `Some(None)` when there is none and frames are still owed; `None` at the end.
fn next_order(orders: &Receiver<Want>, credit: usize) -> Option<Option<Want>> {
    if credit == 0 {
        return orders.recv().ok().map(Some);
    }
    match orders.try_recv() {
        Ok(order) => Some(Some(order)),
        Err(TryRecvError::Empty) => Some(None),
        Err(TryRecvError::Disconnected) => None,
    }
}
