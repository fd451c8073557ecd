//! A socket → its datagrams, each with the time at which it was read, which is at once: this task
//! does nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::net::BATCH;

/// No datagram that WebRTC sends is longer.
const DATAGRAM: usize = 2048;

/// A datagram that has left the socket.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) from: SocketAddr,
    pub(super) bytes: Vec<u8>,
    /// Unix time.
    pub(super) at: Duration,
}

/// Moves datagrams from the socket to the loop. Ends on `cancel`.
pub(super) async fn empty(socket: Arc<UdpSocket>, arrived: mpsc::Sender<Arrival>, cancel: CancellationToken) {
    let mut buffer = vec![0; DATAGRAM];
    let mut n_dropped = 0_u64;
    loop {
        let ready = tokio::select! {
            () = cancel.cancelled() => return,
            ready = socket.readable() => ready,
        };
        if let Err(error) = ready {
            // It never is again: the runtime ends.
            tracing::warn!(%error, "the emulator's socket is not readable");
            return;
        }
        for _ in 0..BATCH {
            match socket.try_recv_from(&mut buffer) {
                Ok((len, from)) => {
                    let arrival = Arrival { from, bytes: buffer[..len].to_vec(), at: unix_now() };
                    if arrived.try_send(arrival).is_err() {
                        n_dropped += 1;
                        tracing::debug!(n_dropped, "the emulator is too slow and drops datagrams");
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => tracing::trace!(%error, "no datagram"),
            }
        }
        // A flood must not keep the loop from its turn on a runtime with one thread.
        tokio::task::yield_now().await;
    }
}

#[expect(clippy::disallowed_methods, reason = "this loop owns the socket and the clock")]
fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
