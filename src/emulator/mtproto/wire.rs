//! The *full* transport: bytes of a TCP stream ⇄ packets.
//!
//! ```text
//! length (4) | number (4) | packet … | CRC-32 (4)      the length counts all of it
//! ```
//!
//! See <https://core.telegram.org/mtproto/mtproto-transports#full>.

/// A container of a hundred messages has about a megabyte.
const MAX_PACKET: usize = 1 << 20;
/// Length, number and checksum.
const OVERHEAD: usize = 12;

/// Why a connection is of no use any more.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum WireError {
    /// The length is impossible.
    #[error("a packet of {0} bytes")]
    Length(u32),
    /// A packet is missing or came twice.
    #[error("packet {got} came, {expected} was due")]
    Number { expected: u32, got: u32 },
    /// Bytes were changed on the way.
    #[error("the checksum is wrong")]
    Checksum,
    /// Something ends too early.
    #[error("the packet ends too early")]
    Short,
    /// The key id, the message key or the padding is wrong.
    #[error("the packet is not encrypted with the key that it names")]
    Encryption,
    /// TL that cannot be read.
    #[error("not TL: {0}")]
    Tl(#[from] grammers_tl_types::deserialize::Error),
    /// Compressed bytes that cannot be expanded, or would be too many.
    #[error("the compressed message cannot be expanded")]
    Compression,
    /// Another session under the same connection.
    #[error("the session changed under the connection")]
    Session,
}

/// One connection's transport.
#[derive(Debug, Default)]
pub(super) struct Framing {
    unread: Vec<u8>,
    n_received: u32,
    n_sent: u32,
}

impl Framing {
    /// Takes bytes of the stream.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// The next packet, when all of it has come.
    pub(super) fn next_packet(&mut self) -> Result<Option<Vec<u8>>, WireError> {
        let Some(len) = word(&self.unread, 0) else { return Ok(None) };
        let size = len as usize;
        if !(OVERHEAD..=MAX_PACKET).contains(&size) || !size.is_multiple_of(4) {
            return Err(WireError::Length(len));
        }
        if self.unread.len() < size {
            return Ok(None);
        }
        let got = word(&self.unread, 4).ok_or(WireError::Short)?;
        if got != self.n_received {
            return Err(WireError::Number { expected: self.n_received, got });
        }
        if word(&self.unread, size - 4) != Some(crc32(&self.unread[..size - 4])) {
            return Err(WireError::Checksum);
        }
        self.n_received += 1;
        let packet = self.unread[8..size - 4].to_vec();
        self.unread.drain(..size);
        Ok(Some(packet))
    }

    /// Wraps a packet for the stream.
    pub(super) fn wrap(&mut self, packet: &[u8]) -> Vec<u8> {
        let len = u32::try_from(packet.len() + OVERHEAD).expect("answers are cut far below 4 GiB");
        let mut bytes = [&len.to_le_bytes()[..], &self.n_sent.to_le_bytes(), packet].concat();
        bytes.extend(crc32(&bytes).to_le_bytes());
        self.n_sent += 1;
        bytes
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(word.try_into().expect("four bytes")))
}

/// The CRC of Ethernet and zip (reflected 0x04C11DB7).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn packets_survive_any_cut() {
        let (mut client, mut server) = (Framing::default(), Framing::default());
        let packets: Vec<Vec<u8>> = (0..5_u8).map(|n| vec![n; usize::from(n) * 8 + 4]).collect();
        let stream: Vec<u8> = packets.iter().flat_map(|packet| client.wrap(packet)).collect();
        let mut seen = Vec::new();
        for piece in stream.chunks(7) {
            server.push(piece);
            while let Some(packet) = server.next_packet().expect("well formed") {
                seen.push(packet);
            }
        }
        assert_eq!(seen, packets);
    }

    #[test]
    fn a_broken_stream_is_named() {
        let whole = Framing::default().wrap(&[1; 16]);
        let broken = |change: fn(&mut Vec<u8>)| {
            let (mut bytes, mut framing) = (whole.clone(), Framing::default());
            change(&mut bytes);
            framing.push(&bytes);
            framing.next_packet().expect_err("broken")
        };
        assert_eq!(broken(|bytes| bytes[9] ^= 1), WireError::Checksum);
        assert_eq!(broken(|bytes| bytes[4] = 3), WireError::Number { expected: 0, got: 3 });
        assert_eq!(broken(|bytes| bytes[3] = 0xff), WireError::Length(0xff00_001c));
        assert_eq!(broken(|bytes| bytes[0] = 8), WireError::Length(8));
    }
}
