//! ECDSA over NIST P-256 (FIPS 186-5) on a digest that another process made: signatures of models and Model BoMs.

use base::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{Signature, SigningKey};

use crate::note::NoteError;

/// DER of `SubjectPublicKeyInfo { id-ecPublicKey, prime256v1 }` up to the 65 bytes of the uncompressed point
/// (RFC 5480 section 2).
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// Characters in a line of PEM (RFC 7468 section 2).
const PEM_LINE: usize = 64;

/// A signing key.
pub struct P256Signer(SigningKey);

impl std::fmt::Debug for P256Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("P256Signer(..)")
    }
}

impl P256Signer {
    /// From the 32-byte big-endian secret scalar.
    ///
    /// # Errors
    /// Zero, or not below the order of the group.
    pub fn new(secret: &[u8; 32]) -> Result<Self, NoteError> {
        SigningKey::from_slice(secret).map(Self).map_err(|_| NoteError::PrivateKey)
    }

    /// The public key as SubjectPublicKeyInfo in PEM (RFC 5480, RFC 7468).
    pub fn public_pem(&self) -> String {
        let mut der = SPKI_PREFIX.to_vec();
        der.extend_from_slice(self.0.verifying_key().to_sec1_point(false).as_bytes());
        let text = STANDARD.encode(der);
        let mut pem = "-----BEGIN PUBLIC KEY-----\n".to_owned();
        for line in text.as_bytes().chunks(PEM_LINE) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        pem
    }

    /// DER signature (RFC 3279 section 2.2.3) over a SHA-256 digest, with the deterministic nonce of RFC 6979.
    ///
    /// # Errors
    /// The library refuses, which does not happen for a valid key.
    pub fn sign(&self, digest: &Digest) -> Result<Vec<u8>, NoteError> {
        let signature: Signature =
            self.0.sign_prehash(digest.as_bytes()).map_err(|_| NoteError::PrivateKey)?;
        let (r, s) = signature.split_bytes();
        let mut body = integer(&r);
        body.extend_from_slice(&integer(&s));
        // Two integers of at most 35 bytes: a length below 128 is one byte.
        let mut der = vec![0x30, u8::try_from(body.len()).unwrap_or(0)];
        der.extend_from_slice(&body);
        Ok(der)
    }
}

/// A DER INTEGER of an unsigned big-endian number: no leading zeros but one where the top bit is set.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len().saturating_sub(1));
    let digits = bytes.get(start..).unwrap_or_default();
    let pad = digits.first().is_some_and(|b| b & 0x80 != 0);
    let len = digits.len().saturating_add(usize::from(pad));
    let mut der = vec![0x02, u8::try_from(len).unwrap_or(0)];
    if pad {
        der.push(0);
    }
    der.extend_from_slice(digits);
    der
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_minimal() {
        assert_eq!(integer(&[0, 0, 0x7f]), [2, 1, 0x7f]);
        assert_eq!(integer(&[0, 0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[0, 0]), [2, 1, 0]);
    }

    #[test]
    fn ring_accepts_what_we_sign() {
        let signer = P256Signer::new(&[9; 32]).unwrap();
        let point = signer.0.verifying_key().to_sec1_point(false);
        let key = ring::signature::UnparsedPublicKey::new(
            &ring::signature::ECDSA_P256_SHA256_ASN1,
            point.as_bytes(),
        );
        // Enough that numbers with and without padding, and short ones, come up.
        for i in 0..2000u32 {
            let message = i.to_le_bytes();
            let signature = signer.sign(&base::sha256(&message)).unwrap();
            key.verify(&message, &signature).unwrap();
            assert!(key.verify(b"other", &signature).is_err());
        }
        assert!(signer.public_pem().starts_with("-----BEGIN PUBLIC KEY-----\n"));
        assert!(P256Signer::new(&[0; 32]).is_err());
        assert!(P256Signer::new(&[0xff; 32]).is_err());
    }
}
