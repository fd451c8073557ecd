//! A socket → its datagrams, each with the time of its arrival.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::net::BATCH;
use crate::udp;

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
    if let Err(error) = udp::note_arrivals(&socket) {
        tracing::debug!(%error, "the kernel notes no arrivals: the times are those of reading");
    }
    let mut buffer = udp::Buffer::new();
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
            let received = socket.try_io(Interest::READABLE, || {
                let udp::Datagram { from, bytes, at } = buffer.receive(&socket)?;
                Ok(Arrival { from, bytes: bytes.to_vec(), at: at.unwrap_or_else(udp::unix_now) })
            });
            match received {
                Ok(arrival) => {
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
