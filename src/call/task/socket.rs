//! The call's socket, and whether what comes in wakes the call.
//!
//! A call that streams wakes every 20 ms in any case and reads then, and the kernel notes when each
//! datagram came. To be woken for every report as well would cost hundreds of calls more than
//! encrypting all that they send.

use std::net::{SocketAddr, UdpSocket};
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::udp::{self, Buffer, Datagram};

pub(super) enum Socket {
    /// Only what comes in wakes us: a socket that waits to be writable, as tokio's own do, wakes
    /// its task after everything that it has sent.
    Watched(AsyncFd<UdpSocket>),
    /// Nothing wakes us.
    Unwatched(UdpSocket),
}

impl Socket {
    /// A new one on any free port, watched.
    pub(super) fn open() -> std::io::Result<Self> {
        let socket = UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], 0)))?;
        socket.set_nonblocking(true)?;
        if let Err(error) = udp::note_arrivals(&socket) {
            tracing::debug!(%error, "the kernel notes no arrivals: round trips seem longer than they are");
        }
        watch(socket)
    }

    pub(super) fn get_ref(&self) -> &UdpSocket {
        match self {
            Self::Watched(socket) => socket.get_ref(),
            Self::Unwatched(socket) => socket,
        }
    }

    pub(super) fn is_watched(&self) -> bool {
        matches!(self, Self::Watched(_))
    }

    /// Lets what comes in wake us from now on, or not.
    pub(super) fn watched(self, wanted: bool) -> std::io::Result<Self> {
        match (self, wanted) {
            (Self::Unwatched(socket), true) => watch(socket),
            (Self::Watched(socket), false) => Ok(Self::Unwatched(socket.into_inner())),
            (same, _) => Ok(same),
        }
    }

    /// The next datagram that has come.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; else what an earlier datagram of ours met, by ICMP.
    pub(super) fn receive<'a>(&self, buffer: &'a mut Buffer) -> std::io::Result<Datagram<'a>> {
        match self {
            Self::Watched(socket) => socket.try_io(Interest::READABLE, |socket| buffer.receive(socket)),
            Self::Unwatched(socket) => buffer.receive(socket),
        }
    }

    /// Waits until there is something to read. What is unwatched never says so.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Watched(socket) => socket.poll_read_ready(context).map(drop),
            Self::Unwatched(_) => Poll::Pending,
        }
    }
}

#[expect(deprecated, reason = "its successor is unsafe for the sake of descriptors that others close")]
fn watch(socket: UdpSocket) -> std::io::Result<Socket> {
    Ok(Socket::Watched(AsyncFd::with_interest(socket, Interest::READABLE)?))
}
