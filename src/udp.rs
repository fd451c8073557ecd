//! A UDP socket → its datagrams, each with the time at which the kernel got it: who reads late does
//! not measure late.

use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, UNIX_EPOCH};

use nix::sys::socket::sockopt::ReceiveTimestamp;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use nix::sys::time::TimeVal;

/// Room for a datagram: none that WebRTC sends is longer, because none may be fragmented on its way.
pub(crate) const MAX_DATAGRAM: usize = 2048;

/// Lets the kernel note when each datagram comes. Without it, [`Buffer::receive`] tells no times.
///
/// # Errors
/// When the kernel knows no such option.
pub(crate) fn note_arrivals(socket: &impl AsFd) -> std::io::Result<()> {
    Ok(setsockopt(socket, ReceiveTimestamp, &true)?)
}

/// A datagram that has left its socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'a> {
    pub(crate) from: SocketAddr,
    pub(crate) bytes: &'a [u8],
    /// When it came, in Unix time, to the microsecond; `None` where the kernel does not say.
    pub(crate) at: Option<Duration>,
}

/// Where datagrams are read to.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    control: Vec<u8>,
}

impl Buffer {
    /// Longer datagrams than [`MAX_DATAGRAM`] are cut, and will mean nothing to anybody.
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; MAX_DATAGRAM], control: nix::cmsg_space!(TimeVal) }
    }

    /// Reads one datagram.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; else what an earlier datagram met, by ICMP.
    pub(crate) fn receive(&mut self, socket: &impl AsRawFd) -> std::io::Result<Datagram<'_>> {
        let mut slices = [IoSliceMut::new(&mut self.bytes)];
        let message = recvmsg::<SockaddrStorage>(
            socket.as_raw_fd(),
            &mut slices,
            Some(&mut self.control),
            MsgFlags::empty(),
        )?;
        let from = message.address.as_ref().and_then(address).ok_or(std::io::ErrorKind::InvalidData)?;
        let at = message.cmsgs()?.find_map(|told| match told {
            ControlMessageOwned::ScmTimestamp(at) => Some(since_1970(at)),
            _ => None,
        });
        let len = message.bytes;
        Ok(Datagram { from, at, bytes: &self.bytes[..len] })
    }
}

impl Datagram<'_> {
    /// How long ago it came, when the wall clock shows `unix_now`. A clock that was set meanwhile
    /// tells nothing.
    pub(crate) fn age(&self, unix_now: Duration) -> Duration {
        let age = self.at.and_then(|at| unix_now.checked_sub(at));
        age.filter(|age| *age < MAX_AGE).unwrap_or_default()
    }
}

/// No datagram waits longer in its socket.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "for the loops that own a socket")]
pub(crate) fn unix_now() -> Duration {
    std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn address(of: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = of.as_sockaddr_in().map(|it| SocketAddr::from((it.ip(), it.port())));
    v4.or_else(|| of.as_sockaddr_in6().map(|it| SocketAddr::from((it.ip(), it.port()))))
}

fn since_1970(at: TimeVal) -> Duration {
    let part = |value: i64| u64::try_from(value).unwrap_or_default();
    Duration::from_secs(part(at.tv_sec())) + Duration::from_micros(part(at.tv_usec()))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a datagram that waits is what is tested")]
    fn tells_when_a_datagram_came_and_not_when_it_was_read() {
        let to = UdpSocket::bind("127.0.0.1:0").unwrap();
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        note_arrivals(&to).unwrap();
        let mut buffer = Buffer::new();
        // The kernel begins to do so a moment after the first socket has asked for it; what came
        // before has the time at which it is read.
        let notes = (0..1000).any(|_| {
            from.send_to(b"another", to.local_addr().unwrap()).unwrap();
            let sent = unix_now();
            std::thread::sleep(Duration::from_millis(2));
            buffer.receive(&to).unwrap().at.is_some_and(|at| at <= sent)
        });
        assert!(notes, "the kernel notes no arrivals");

        let before = unix_now();
        from.send_to(b"a datagram", to.local_addr().unwrap()).unwrap();
        let sent = unix_now();
        std::thread::sleep(Duration::from_millis(60));

        let datagram = buffer.receive(&to).unwrap();
        assert_eq!((datagram.from, datagram.bytes), (from.local_addr().unwrap(), &b"a datagram"[..]));
        let at = datagram.at.expect("the kernel says so");
        // It came while it was sent, in whole microseconds.
        assert!(before <= at + Duration::from_micros(1) && at <= sent, "{before:?} {at:?} {sent:?}");
        let age = datagram.age(unix_now());
        assert!(age >= Duration::from_millis(60) && age < MAX_AGE, "{age:?}");
        assert_eq!(datagram.age(before - Duration::from_secs(3600)), Duration::ZERO, "the clock was set");
    }

    #[test]
    fn an_empty_socket_and_one_of_ipv6() {
        let socket = UdpSocket::bind("[::1]:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut buffer = Buffer::new();
        let error = buffer.receive(&socket).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        socket.send_to(&[7; MAX_DATAGRAM + 1], socket.local_addr().unwrap()).unwrap();
        let datagram = buffer.receive(&socket).unwrap();
        assert_eq!((datagram.from, datagram.bytes), (socket.local_addr().unwrap(), &[7; MAX_DATAGRAM][..]));
        assert_eq!(datagram.at, None);
    }
}
