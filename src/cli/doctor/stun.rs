//! One STUN binding request (RFC 8489): whether datagrams leave this network and come back, and
//! from which address the world sees them come.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const MAGIC_COOKIE: u32 = 0x2112_a442;
const HEADER: usize = 20;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;

/// How long an answer is waited for, and how often the request goes out: any datagram may get lost.
const PATIENCE: Duration = Duration::from_millis(700);
const TRIES: u32 = 3;

/// Asks `server` (`HOST:PORT`) how it sees us.
///
/// # Errors
/// When there is no such server, no way to it, or no answer.
pub(super) fn ask(server: &str) -> io::Result<SocketAddr> {
    let nowhere = || io::Error::new(io::ErrorKind::NotFound, "no address has this name");
    let server = server.to_socket_addrs()?.next().ok_or_else(nowhere)?;
    let any = if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    // From now on nobody else's datagrams are taken.
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let transaction = fastrand::u128(..).to_be_bytes();
    let transaction = &transaction[..12];
    let mut answer = [0; 512];
    for _ in 0..TRIES {
        socket.send(&request(transaction))?;
        match socket.recv(&mut answer) {
            Ok(len) => {
                if let Some(address) = mapped_address(&answer[..len], transaction) {
                    return Ok(address);
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))
}

fn request(transaction: &[u8]) -> Vec<u8> {
    let mut request = BINDING_REQUEST.to_be_bytes().to_vec();
    request.extend([0, 0]);
    request.extend(MAGIC_COOKIE.to_be_bytes());
    request.extend(transaction);
    request
}

/// What a success response to this transaction says; nothing for whatever else arrives.
fn mapped_address(answer: &[u8], transaction: &[u8]) -> Option<SocketAddr> {
    let (header, mut attributes) = answer.split_at_checked(HEADER)?;
    let is_answer = header[..2] == BINDING_SUCCESS.to_be_bytes()
        && header[4..8] == MAGIC_COOKIE.to_be_bytes()
        && header[8..] == *transaction;
    if !is_answer {
        return None;
    }
    while let Some((head, rest)) = attributes.split_at_checked(4) {
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = rest.get(..len)?;
        if u16::from_be_bytes([head[0], head[1]]) == XOR_MAPPED_ADDRESS {
            return unmasked(value, &header[4..]);
        }
        attributes = rest.get(len.next_multiple_of(4)..)?;
    }
    None
}

/// The address is hidden by cookie and transaction from those who rewrite addresses on the way.
fn unmasked(value: &[u8], mask: &[u8]) -> Option<SocketAddr> {
    let plain =
        |masked: &[u8]| -> Vec<u8> { masked.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect() };
    let port = u16::from_be_bytes(plain(value.get(2..4)?).try_into().ok()?);
    let address = plain(value.get(4..)?);
    let ip = match value.get(1)? {
        1 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
        2 => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The response of RFC 5769, section 2.2: 192.0.2.1, port 32853.
    const RESPONSE: [u8; 80] = [
        0x01, 0x01, 0x00, 0x3c, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa,
        0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63, 0x74, 0x6f,
        0x72, 0x20, 0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43, 0x00, 0x08, 0x00,
        0x14, 0x2b, 0x91, 0xf5, 0x99, 0xfd, 0x9e, 0x90, 0xc3, 0x8c, 0x74, 0x89, 0xf9, 0x2a, 0xf9, 0xba, 0x53,
        0xf0, 0x6b, 0xe7, 0xd7, 0x80, 0x28, 0x00, 0x04, 0xc0, 0x7d, 0x4c, 0x96,
    ];

    #[test]
    fn the_test_vector_of_the_standard_is_read() {
        let transaction = &RESPONSE[8..20];
        assert_eq!(mapped_address(&RESPONSE, transaction), Some("192.0.2.1:32853".parse().unwrap()));
        assert_eq!(mapped_address(&RESPONSE, &[0; 12]), None, "somebody else's");
        for len in 0..RESPONSE.len() {
            let _whatever_comes = mapped_address(&RESPONSE[..len], transaction);
        }
    }

    #[test]
    fn a_server_that_answers_the_second_time_is_enough() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = server.local_addr().unwrap().to_string();
        let answers = std::thread::spawn(move || {
            let mut request = [0; 64];
            for nth in 0..2 {
                let (_, from) = server.recv_from(&mut request).unwrap();
                let mut answer = RESPONSE;
                answer[8..20].copy_from_slice(&request[8..20]);
                if nth == 1 {
                    server.send_to(&answer, from).unwrap();
                }
            }
        });
        // The mask of an IPv4 address is the cookie alone.
        assert_eq!(ask(&at).unwrap().to_string(), "192.0.2.1:32853");
        answers.join().unwrap();
    }
}
