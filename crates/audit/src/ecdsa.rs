//! ECDSA over NIST P-256 (FIPS 186-5) on a digest that another process made: signatures of models and Model BoMs.

use base::Digest;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{DerSignature, Signature, SigningKey};
use p256::pkcs8::{EncodePublicKey, LineEnding};

use crate::note::NoteError;

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
    ///
    /// # Errors
    /// It cannot be encoded, which does not happen for a valid key.
    pub fn public_pem(&self) -> Result<String, NoteError> {
        self.0.verifying_key().to_public_key_pem(LineEnding::LF).map_err(|_| NoteError::PrivateKey)
    }

    /// DER signature over a SHA-256 digest, with the deterministic nonce of RFC 6979.
    ///
    /// # Errors
    /// The library refuses, which does not happen for a valid key.
    pub fn sign(&self, digest: &Digest) -> Result<Vec<u8>, NoteError> {
        let signature: Signature =
            self.0.sign_prehash(digest.as_bytes()).map_err(|_| NoteError::PrivateKey)?;
        let der: DerSignature = signature.to_der();
        Ok(der.as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_accepts_what_we_sign() {
        let signer = P256Signer::new(&[9; 32]).unwrap();
        let message = b"message";
        let signature = signer.sign(&base::sha256(message)).unwrap();
        let point = signer.0.verifying_key().to_sec1_point(false);
        let key = ring::signature::UnparsedPublicKey::new(
            &ring::signature::ECDSA_P256_SHA256_ASN1,
            point.as_bytes(),
        );
        key.verify(message, &signature).unwrap();
        assert!(key.verify(b"other", &signature).is_err());
        assert!(signer.public_pem().unwrap().starts_with("-----BEGIN PUBLIC KEY-----\n"));
        assert!(P256Signer::new(&[0; 32]).is_err());
        assert!(P256Signer::new(&[0xff; 32]).is_err());
    }
}
