//! The server's half of the two-step password: it keeps a verifier, never the password.
//!
//! See <https://core.telegram.org/api/srp>. Names of values are those of that page.

use grammers_tl_types as tl;
use hmac::Hmac;
use num_bigint::BigUint;
use sha2::{Digest, Sha256, Sha512};

/// The prime that Telegram uses, 2048 bits.
const P: &str = "c71caeb9c6b1c9048e6c522f70f13f73980d40238e3e21c14934d037563d930f\
    48198a0aa7c14058229493d22530f4dbfa336f6e0ac925139543aed44cce7c37\
    20fd51f69458705ac68cd4fe6b6b13abdc9746512969328454f18faf8c595f64\
    2477fe96bb2a941d5bcd1d4ac8cc49880708fa9b378e3c4f3a9060bee67cf9a4\
    a4a695811051907e162753b56b0f6b410dba74d8a84b2a14b3144e0ef1284754\
    fd17ed950d5965b4b9dd46582db1178d169c6bc465b0d6ff9ca3928fef5b9ae4\
    e418fc15e83ebea0f87fa9ff5eed70050ded2849f47bf959d956850ce929851f\
    0d8115f635b105ee2e4e15d04b2454bf6f4fadf034b10403119cd8e3b92fcc5b";
const G: i32 = 3;
const ROUNDS: u32 = 100_000;

/// An account's password as the server knows it.
#[derive(Clone)]
pub(super) struct Verifier {
    salt1: Vec<u8>,
    salt2: Vec<u8>,
    v: BigUint,
    hint: String,
}

/// One attempt to give the password.
pub(super) struct Challenge {
    pub(super) id: i64,
    b: BigUint,
}

impl Verifier {
    pub(super) fn new(password: &str, hint: &str) -> Self {
        let salt = || (0..16).map(|_| fastrand::u8(..)).collect::<Vec<u8>>();
        let (salt1, salt2) = (salt(), salt());
        let x = BigUint::from_bytes_be(&ph2(password.as_bytes(), &salt1, &salt2));
        let v = BigUint::from(3_u32).modpow(&x, &prime());
        Self { salt1, salt2, v, hint: hint.to_owned() }
    }

    pub(super) fn challenge(&self) -> Challenge {
        let secret: Vec<u8> = (0..256).map(|_| fastrand::u8(..)).collect();
        Challenge { id: fastrand::i64(1..), b: BigUint::from_bytes_be(&secret) }
    }

    /// What the client is told.
    pub(super) fn describe(&self, challenge: &Challenge) -> tl::enums::account::Password {
        let algorithm = || {
            tl::types::PasswordKdfAlgoSha256Sha256Pbkdf2Hmacsha512iter100000Sha256ModPow {
                salt1: self.salt1.clone(),
                salt2: self.salt2.clone(),
                g: G,
                p: prime().to_bytes_be(),
            }
            .into()
        };
        tl::types::account::Password {
            has_recovery: false,
            has_secure_values: false,
            has_password: true,
            current_algo: Some(algorithm()),
            srp_b: Some(padded(&self.g_b(challenge)).to_vec()),
            srp_id: Some(challenge.id),
            hint: Some(self.hint.clone()),
            email_unconfirmed_pattern: None,
            new_algo: algorithm(),
            new_secure_algo: tl::enums::SecurePasswordKdfAlgo::Unknown,
            secure_random: vec![],
            pending_reset_date: None,
            login_email_pattern: None,
        }
        .into()
    }

    /// Did the client know the password?
    pub(super) fn check(&self, challenge: &Challenge, answer: &tl::types::InputCheckPasswordSrp) -> bool {
        let p = prime();
        let a = BigUint::from_bytes_be(&answer.a);
        if answer.srp_id != challenge.id || &a % &p == BigUint::ZERO || answer.a.len() > 256 {
            return false;
        }
        let (g_a, g_b) = (padded(&a), padded(&self.g_b(challenge)));
        let u = BigUint::from_bytes_be(&hash(&[&g_a, &g_b]));
        let s = (&a * self.v.modpow(&u, &p)).modpow(&challenge.b, &p);
        let k_a = hash(&[&padded(&s)]);
        let (h_p, h_g) = (hash(&[&p.to_bytes_be()]), hash(&[&padded(&BigUint::from(3_u32))]));
        let mixed: Vec<u8> = h_p.iter().zip(h_g).map(|(a, b)| a ^ b).collect();
        let m1 = hash(&[&mixed, &hash(&[&self.salt1]), &hash(&[&self.salt2]), &g_a, &g_b, &k_a]);
        m1[..] == answer.m1[..]
    }

    fn g_b(&self, challenge: &Challenge) -> BigUint {
        let p = prime();
        let k = BigUint::from_bytes_be(&hash(&[&p.to_bytes_be(), &padded(&BigUint::from(3_u32))]));
        (k * &self.v + BigUint::from(3_u32).modpow(&challenge.b, &p)) % p
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier(***)")
    }
}

impl std::fmt::Debug for Challenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Challenge").field("id", &self.id).finish_non_exhaustive()
    }
}

fn prime() -> BigUint {
    BigUint::parse_bytes(P.as_bytes(), 16).expect("the constant is hexadecimal")
}

fn padded(number: &BigUint) -> [u8; 256] {
    let bytes = number.to_bytes_be();
    let mut padded = [0; 256];
    padded[256 - bytes.len()..].copy_from_slice(&bytes);
    padded
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize().into()
}

fn ph2(password: &[u8], salt1: &[u8], salt2: &[u8]) -> [u8; 32] {
    let salted = |data: &[u8], salt: &[u8]| hash(&[salt, data, salt]);
    let first = salted(&salted(password, salt1), salt2);
    let mut long = [0; 64];
    pbkdf2::pbkdf2::<Hmac<Sha512>>(&first, salt1, ROUNDS, &mut long).expect("any length will do for HMAC");
    salted(&long, salt2)
}
