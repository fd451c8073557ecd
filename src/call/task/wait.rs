//! What the call's task waits for: its timer before all else, and everything else only when it is
//! that which has called.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Instant;

use tokio::time::Sleep;

use super::Driver;
use crate::call::Command;
use crate::call::signaling::Incoming;
use crate::player::SharedFrame;
use crate::udp::Buffer;

/// What a turn is for.
pub(super) enum Turn {
    /// The timer has run out, for more than a packet of media.
    Due,
    /// The programme has a frame; `None` when it is over.
    Frame(Option<SharedFrame>),
    /// Something has come in, or the socket tells of an error.
    Readable,
    /// The signaling side says something; `None` when it is gone.
    Incoming(Option<Incoming>),
    /// The user wants something; `None` when nobody holds the call any more.
    Command(Option<Command>),
    /// The signaling side takes requests again, or never will.
    Room,
}

/// The timer, and who else has called.
pub(super) struct Wait {
    sleep: Pin<Box<Sleep>>,
    is_armed: bool,
    due: Option<Instant>,
    rest: Option<Instant>,
    is_soon: bool,
    bell: Arc<Bell>,
    room: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Wait {
    pub(super) fn new() -> Self {
        Self {
            sleep: Box::pin(tokio::time::sleep_until(tokio::time::Instant::now())),
            is_armed: false,
            due: None,
            rest: None,
            is_soon: false,
            bell: Arc::default(),
            room: None,
        }
    }

    /// Wakes at `due`. At `rest` something else than media is due; `is_soon` means that frames are
    /// fetched then.
    pub(super) fn arm(&mut self, due: Option<Instant>, rest: Option<Instant>, is_soon: bool) {
        if let Some(at) = due
            && (self.due != due || !self.is_armed)
        {
            self.sleep.as_mut().reset(at.into());
        }
        self.is_armed = due.is_some();
        (self.due, self.rest, self.is_soon) = (due, rest, is_soon);
    }

    /// When something else than media is due.
    pub(super) fn rest(&self) -> Option<Instant> {
        self.rest
    }

    /// Everybody has to be asked once: who was ready and has not been asked does not call again.
    pub(super) fn begin(&mut self) {
        self.bell.rung.store(true, Ordering::Relaxed);
    }

    fn poll_due(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.is_armed {
            return Poll::Pending;
        }
        ready!(self.sleep.as_mut().poll(context));
        self.is_armed = false;
        Poll::Ready(())
    }
}

/// Wakes the task, and remembers that it was not its timer.
#[derive(Default)]
struct Bell {
    rung: AtomicBool,
    task: OnceLock<Waker>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Before the task is woken, so that it finds it.
        self.rung.store(true, Ordering::Release);
        if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }
}

impl Driver {
    /// What to do next. Packets of media leave on the way.
    pub(super) fn poll_turn(
        &mut self,
        context: &mut Context<'_>,
        wait: &mut Wait,
        buffer: &mut Buffer,
    ) -> Poll<Turn> {
        while wait.poll_due(context).is_ready() {
            if !self.stream(wait, buffer) {
                return Poll::Ready(Turn::Due);
            }
        }
        if !wait.bell.rung.swap(false, Ordering::Acquire) {
            return Poll::Pending;
        }
        // A task keeps its waker for life.
        wait.bell.task.get_or_init(|| context.waker().clone());
        let waker = Waker::from(Arc::clone(&wait.bell));
        self.poll_others(&mut Context::from_waker(&waker), wait)
    }

    fn poll_others(&mut self, context: &mut Context<'_>, wait: &mut Wait) -> Poll<Turn> {
        if let Some(frames) = self.frames.as_mut().filter(|_| !wait.is_soon)
            && let Poll::Ready(frame) = frames.poll_recv(context)
        {
            return Poll::Ready(Turn::Frame(frame));
        }
        if self.socket.as_ref().is_some_and(|socket| socket.poll_readable(context).is_ready()) {
            return Poll::Ready(Turn::Readable);
        }
        if self.link_open
            && let Poll::Ready(incoming) = self.ends.link.incoming.poll_recv(context)
        {
            return Poll::Ready(Turn::Incoming(incoming));
        }
        if let Poll::Ready(command) = self.ends.commands.poll_recv(context) {
            return Poll::Ready(Turn::Command(command));
        }
        if !self.participant.has_request() {
            wait.room = None;
            return Poll::Pending;
        }
        let requests = &self.ends.link.requests;
        let room = wait.room.get_or_insert_with(|| {
            let requests = requests.clone();
            // Whether there is room or nobody reads any more is found by whoever sends.
            Box::pin(async move { drop(requests.reserve_owned().await) })
        });
        ready!(room.as_mut().poll(context));
        wait.room = None;
        Poll::Ready(Turn::Room)
    }
}
