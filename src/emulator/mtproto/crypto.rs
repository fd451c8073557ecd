//! MTProto 2.0 as the server has it: packets of the client in, plain bytes out, and back.
//!
//! The key derivation is asymmetric: whatever the client encrypts begins at byte 0 of the key's
//! parts, whatever the server encrypts at byte 8.
//! See <https://core.telegram.org/mtproto/description>.

use aes::Aes256;
use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::wire::WireError;
use crate::secret::Secret;

/// Key id and message key stand before what is encrypted.
const HEADER: usize = 8 + 16;
/// AES works in blocks of this many bytes.
const BLOCK: usize = 16;
/// The protocol wants at least this much padding …
const MIN_PADDING: usize = 12;
/// … and at most this much.
const MAX_PADDING: usize = 1024;
/// Salt, session, message id, sequence number and length.
const PLAIN_HEADER: usize = 8 + 8 + 8 + 4 + 4;

/// A key that client and server have agreed upon.
#[derive(Clone)]
pub(super) struct AuthKey {
    key: Secret<[u8; 256]>,
    id: i64,
}

/// Who encrypted.
#[derive(Clone, Copy)]
enum Side {
    Client = 0,
    Server = 8,
}

impl AuthKey {
    /// A random key.
    pub(super) fn random() -> Self {
        let mut key = [0; 256];
        getrandom::fill(&mut key).expect("the system has randomness, or nothing on it is safe");
        Self::new(key)
    }

    pub(super) fn new(key: [u8; 256]) -> Self {
        let hash = Sha1::digest(key);
        let id = i64::from_le_bytes(hash[12..].try_into().expect("SHA-1 has 20 bytes"));
        Self { key: Secret::new(key), id }
    }

    /// The lower half of the key's SHA-1: stands before every packet.
    pub(super) const fn id(&self) -> i64 {
        self.id
    }

    pub(super) const fn secret(&self) -> &Secret<[u8; 256]> {
        &self.key
    }

    /// Opens a packet of the client.
    pub(super) fn open(&self, packet: &[u8]) -> Result<Vec<u8>, WireError> {
        self.decrypt(packet, Side::Client)
    }

    /// Closes a packet for the client.
    pub(super) fn seal(&self, plain: &[u8]) -> Vec<u8> {
        self.encrypt(plain, Side::Server)
    }

    /// What a client does, for tests.
    #[cfg(test)]
    pub(super) fn seal_as_client(&self, plain: &[u8]) -> Vec<u8> {
        self.encrypt(plain, Side::Client)
    }

    /// What a client does, for tests.
    #[cfg(test)]
    pub(super) fn open_as_client(&self, packet: &[u8]) -> Result<Vec<u8>, WireError> {
        self.decrypt(packet, Side::Server)
    }

    fn decrypt(&self, packet: &[u8], side: Side) -> Result<Vec<u8>, WireError> {
        let (header, body) = packet.split_at_checked(HEADER).ok_or(WireError::Short)?;
        if header[..8] != self.id.to_le_bytes() || body.is_empty() || !body.len().is_multiple_of(BLOCK) {
            return Err(WireError::Encryption);
        }
        let msg_key: [u8; 16] = header[8..].try_into().expect("the header has 24 bytes");
        let (key, iv) = self.derive(&msg_key, side);
        let mut plain = body.to_vec();
        ige(&mut plain, &key, &iv, Direction::Decrypt);
        if self.msg_key(&plain, side) != msg_key {
            return Err(WireError::Encryption);
        }
        let len = plain.get(PLAIN_HEADER - 4..PLAIN_HEADER).ok_or(WireError::Short)?;
        let len = u32::from_le_bytes(len.try_into().expect("four bytes")) as usize;
        let padding = plain.len().checked_sub(PLAIN_HEADER.saturating_add(len)).ok_or(WireError::Short)?;
        if !(MIN_PADDING..=MAX_PADDING).contains(&padding) {
            return Err(WireError::Encryption);
        }
        plain.truncate(PLAIN_HEADER + len);
        Ok(plain)
    }

    fn encrypt(&self, plain: &[u8], side: Side) -> Vec<u8> {
        let mut body = plain.to_vec();
        let padding = MIN_PADDING + (BLOCK - (plain.len() + MIN_PADDING) % BLOCK) % BLOCK;
        body.extend(std::iter::repeat_with(|| fastrand::u8(..)).take(padding));
        let msg_key = self.msg_key(&body, side);
        let (key, iv) = self.derive(&msg_key, side);
        ige(&mut body, &key, &iv, Direction::Encrypt);
        [&self.id.to_le_bytes()[..], &msg_key, &body].concat()
    }

    fn msg_key(&self, padded: &[u8], side: Side) -> [u8; 16] {
        let from = 88 + side as usize;
        let large = Sha256::new().chain_update(&self.key.expose()[from..from + 32]).chain_update(padded);
        large.finalize()[8..24].try_into().expect("SHA-256 has 32 bytes")
    }

    fn derive(&self, msg_key: &[u8; 16], side: Side) -> ([u8; 32], [u8; 32]) {
        let (key, x) = (self.key.expose(), side as usize);
        let a = Sha256::new().chain_update(msg_key).chain_update(&key[x..x + 36]).finalize();
        let b = Sha256::new().chain_update(&key[40 + x..76 + x]).chain_update(msg_key).finalize();
        let mix = |outer: &[u8], inner: &[u8]| {
            let parts = [&outer[..8], &inner[8..24], &outer[24..32]].concat();
            parts.try_into().expect("8 + 16 + 8 bytes")
        };
        (mix(&a, &b), mix(&b, &a))
    }
}

impl std::fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AuthKey").field(&self.key).finish()
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Encrypt,
    Decrypt,
}

/// AES-256 with infinite garble extension: every block is mixed with the block before it, plain
/// and encrypted. `data` has whole blocks only.
fn ige(data: &mut [u8], key: &[u8; 32], iv: &[u8; 32], direction: Direction) {
    let cipher = Aes256::new(&Array::from(*key));
    let (mut before_in, mut before_out) = ([0; BLOCK], [0; BLOCK]);
    let (encrypted, plain) = iv.split_at(BLOCK);
    let (input, output) =
        if direction == Direction::Encrypt { (plain, encrypted) } else { (encrypted, plain) };
    before_in.copy_from_slice(input);
    before_out.copy_from_slice(output);
    for block in data.chunks_exact_mut(BLOCK) {
        let taken: [u8; BLOCK] = (&*block).try_into().expect("chunks are whole");
        let mut mixed = Array::from(xor(taken, before_out));
        match direction {
            Direction::Encrypt => cipher.encrypt_block(&mut mixed),
            Direction::Decrypt => cipher.decrypt_block(&mut mixed),
        }
        let given = xor(mixed.into(), before_in);
        block.copy_from_slice(&given);
        (before_in, before_out) = (taken, given);
    }
}

fn xor(a: [u8; BLOCK], b: [u8; BLOCK]) -> [u8; BLOCK] {
    std::array::from_fn(|idx| a[idx] ^ b[idx])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(len: u32) -> Vec<u8> {
        let mut plain = vec![7; PLAIN_HEADER];
        plain[PLAIN_HEADER - 4..].copy_from_slice(&len.to_le_bytes());
        plain.extend((0..len).map(|n| n.to_le_bytes()[0]));
        plain
    }

    #[test]
    fn what_one_side_closes_the_other_opens() {
        let key = AuthKey::random();
        for len in [0, 4, 12, 16, 1000] {
            let plain = plain(len);
            let packet = key.encrypt(&plain, Side::Client);
            assert_eq!(key.open(&packet).expect("it is whole"), plain, "{len}");
            assert!(key.decrypt(&packet, Side::Server).is_err(), "each direction has its own keys");
        }
    }

    #[test]
    fn whatever_was_changed_is_refused() {
        let key = AuthKey::random();
        let packet = key.encrypt(&plain(40), Side::Client);
        for at in [0, 8, 24, packet.len() - 1] {
            let mut changed = packet.clone();
            changed[at] ^= 1;
            assert!(matches!(key.open(&changed), Err(WireError::Encryption)), "byte {at}");
        }
        for len in [0, 23, 24, 39] {
            assert!(key.open(&packet[..len]).is_err(), "{len} bytes");
        }
        let mut lying = plain(4);
        lying[PLAIN_HEADER - 4..PLAIN_HEADER].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(key.open(&key.encrypt(&lying, Side::Client)), Err(WireError::Short)));
    }

    #[test]
    fn blocks_are_chained_as_defined() {
        let ascending: [u8; 32] = std::array::from_fn(|n| u8::try_from(n).expect("small"));
        let mut data = [0; 32];
        ige(&mut data, &ascending, &ascending, Direction::Encrypt);
        let cipher = Aes256::new(&Array::from(ascending));
        let mut first = Array::from(<[u8; 16]>::try_from(&ascending[..16]).expect("16"));
        cipher.encrypt_block(&mut first);
        let first = xor(first.into(), ascending[16..].try_into().expect("16"));
        assert_eq!(data[..16], first, "c1 = E(p1 + c0) + p0");
        let mut second = Array::from(first);
        cipher.encrypt_block(&mut second);
        assert_eq!(data[16..], <[u8; 16]>::from(second), "c2 = E(p2 + c1) + p1");
        ige(&mut data, &ascending, &ascending, Direction::Decrypt);
        assert_eq!(data, [0; 32]);
    }

    #[test]
    fn a_key_cannot_be_printed() {
        assert_eq!(format!("{:?}", AuthKey::new([0xab; 256])), "AuthKey(***)");
    }
}
