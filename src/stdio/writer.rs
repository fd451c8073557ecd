//! Lines → stdout, in order; what nobody misses is dropped first when the caller does not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::wire::Out;

/// Lines that wait for the caller to read.
const CAPACITY: usize = 1024;
/// Room that is kept for lines that must not be lost.
const RESERVE: usize = 256;
/// Lines that are written together.
const AT_ONCE: usize = 64;

/// Where lines are put.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    queue: mpsc::Sender<Out>,
    dropped: Arc<AtomicU64>,
}

impl Lines {
    /// A writer of lines. The task ends, with the reason, when all senders are gone or the
    /// other side has closed.
    pub(super) fn to(
        output: impl AsyncWrite + Send + Unpin + 'static,
    ) -> (Self, JoinHandle<std::io::Result<()>>) {
        let (queue, lines) = mpsc::channel(CAPACITY);
        (Self { queue, dropped: Arc::default() }, tokio::spawn(write(lines, output)))
    }

    /// Puts a line that must arrive; waits for room.
    pub(super) async fn send(&self, line: Out) {
        if line.expendable() {
            if self.queue.capacity() <= RESERVE || self.queue.try_send(line).is_err() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        // A writer that is gone means that nobody reads any more: the session ends by that.
        let _ = self.queue.send(line).await;
    }

    /// Lines that were not written because the caller did not read.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until the other side has closed.
    pub(super) async fn closed(&self) {
        self.queue.closed().await;
    }
}

/// Whatever waits is written at once: to the system, each writing is a trip to another thread.
async fn write(mut lines: mpsc::Receiver<Out>, mut output: impl AsyncWrite + Unpin) -> std::io::Result<()> {
    let (mut waiting, mut text) = (Vec::new(), Vec::new());
    while lines.recv_many(&mut waiting, AT_ONCE).await > 0 {
        text.clear();
        for line in waiting.drain(..) {
            serde_json::to_writer(&mut text, &line).map_err(std::io::Error::other)?;
            text.push(b'\n');
        }
        output.write_all(&text).await?;
        output.flush().await?;
    }
    output.flush().await
}
