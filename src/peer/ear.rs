//! Cryptography as the engine has it, and an ear for the SRTP master keys that pass through it.
//!
//! The engine has no way to ask for the keys of media. It derives the session keys from them by
//! encrypting single blocks (RFC 3711 §4.3), uses single blocks for nothing else, and begins with
//! our side and the label 0, whose block is the master salt itself. So every first block under a
//! new key is key and salt of one direction, ours before theirs; [`super::srtp`] checks that.

use std::sync::{Arc, mpsc};

use rtc::crypto::{
    ActiveKeyExchange, AeadAlgorithm, AeadCipher, BlockCipherAlgorithm, CbcAlgorithm, CbcCipher,
    CryptoAlgorithm, CryptoError, HashAlgorithm, HmacAlgorithm, KeyExchangeAlgorithm, Mac, PublicKey,
    RTCCrypto, RTCCryptoProvider, RTCRandom, SecretVec, SignatureScheme, SigningKey, StreamCipher,
    StreamCipherAlgorithm,
};

/// A key, and the block that was encrypted with it.
pub(super) struct Heard {
    pub(super) key: SecretVec,
    pub(super) block: SecretVec,
}

/// The engine's provider with an ear.
pub(super) struct Ear {
    inner: Arc<dyn RTCCryptoProvider>,
    heard: mpsc::Sender<Heard>,
}

impl Ear {
    /// The provider, and the end where keys come out. A handshake has about twenty blocks.
    pub(super) fn new(inner: Arc<dyn RTCCryptoProvider>) -> (Self, mpsc::Receiver<Heard>) {
        let (heard, receiver) = mpsc::channel();
        (Self { inner, heard }, receiver)
    }
}

impl RTCCryptoProvider for Ear {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn crypto(&self) -> &dyn RTCCrypto {
        self
    }

    fn random(&self) -> &dyn RTCRandom {
        self.inner.random()
    }
}

impl RTCCrypto for Ear {
    fn block_encrypt(
        &self,
        algorithm: BlockCipherAlgorithm,
        key: &[u8],
        block: &mut [u8],
    ) -> Result<(), CryptoError> {
        let heard = Heard { key: SecretVec::new(key.to_vec()), block: SecretVec::new(block.to_vec()) };
        // Nobody listens any more once the keys are known.
        let _ = self.heard.send(heard);
        self.inner.crypto().block_encrypt(algorithm, key, block)
    }

    fn supports(&self, algorithm: CryptoAlgorithm) -> bool {
        self.inner.crypto().supports(algorithm)
    }

    fn hash(&self, algorithm: HashAlgorithm, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.inner.crypto().hash(algorithm, data)
    }

    fn new_hmac(&self, algorithm: HmacAlgorithm, key: &[u8]) -> Result<Box<dyn Mac>, CryptoError> {
        self.inner.crypto().new_hmac(algorithm, key)
    }

    fn new_stream_cipher(
        &self,
        algorithm: StreamCipherAlgorithm,
        key: &[u8],
    ) -> Result<Box<dyn StreamCipher>, CryptoError> {
        self.inner.crypto().new_stream_cipher(algorithm, key)
    }

    fn new_aead(&self, algorithm: AeadAlgorithm, key: &[u8]) -> Result<Box<dyn AeadCipher>, CryptoError> {
        self.inner.crypto().new_aead(algorithm, key)
    }

    fn new_cbc(&self, algorithm: CbcAlgorithm, key: &[u8]) -> Result<Box<dyn CbcCipher>, CryptoError> {
        self.inner.crypto().new_cbc(algorithm, key)
    }

    fn start_key_exchange(
        &self,
        algorithm: KeyExchangeAlgorithm,
    ) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        self.inner.crypto().start_key_exchange(algorithm)
    }

    fn generate_signing_key(&self, scheme: SignatureScheme) -> Result<Arc<dyn SigningKey>, CryptoError> {
        self.inner.crypto().generate_signing_key(scheme)
    }

    fn import_signing_key(
        &self,
        scheme: SignatureScheme,
        pkcs8_der: &[u8],
    ) -> Result<Arc<dyn SigningKey>, CryptoError> {
        self.inner.crypto().import_signing_key(scheme, pkcs8_der)
    }

    fn verify_signature(
        &self,
        scheme: SignatureScheme,
        public_key: PublicKey<'_>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.inner.crypto().verify_signature(scheme, public_key, message, signature)
    }
}
