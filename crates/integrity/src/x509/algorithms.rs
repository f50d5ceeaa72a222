//! Signatures of certificates, revocation lists and timestamps.
//!
//! `ring` does what it can; P-521, and SHA-512 on the smaller curves, are done by RustCrypto. RSA (2,048 to
//! 8,192 bits) and Ed25519 are for authorities only: a model's own signature is ECDSA in OMS.

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use sha2::Digest as _;
use webpki::ring as ringed;

use crate::key::Curve;

/// Every algorithm that is accepted. SHA-1 and MD5 are not among them.
pub(crate) const ALL: &[&dyn SignatureVerificationAlgorithm] = &[
    ringed::ECDSA_P256_SHA256,
    ringed::ECDSA_P256_SHA384,
    ringed::ECDSA_P384_SHA256,
    ringed::ECDSA_P384_SHA384,
    &Ecdsa { curve: Curve::P256, hash: Hash::Sha512 },
    &Ecdsa { curve: Curve::P384, hash: Hash::Sha512 },
    &Ecdsa { curve: Curve::P521, hash: Hash::Sha256 },
    &Ecdsa { curve: Curve::P521, hash: Hash::Sha384 },
    &Ecdsa { curve: Curve::P521, hash: Hash::Sha512 },
    ringed::ED25519,
    ringed::RSA_PKCS1_2048_8192_SHA256,
    ringed::RSA_PKCS1_2048_8192_SHA384,
    ringed::RSA_PKCS1_2048_8192_SHA512,
    ringed::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    ringed::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    ringed::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// A hash of the SHA-2 family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// The content of its object identifier.
    pub(crate) const fn oid(self) -> &'static [u8] {
        match self {
            Self::Sha256 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01],
            Self::Sha384 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02],
            Self::Sha512 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03],
        }
    }

    /// The one with this object identifier.
    pub(crate) fn from_oid(oid: &[u8]) -> Option<Self> {
        [Self::Sha256, Self::Sha384, Self::Sha512].into_iter().find(|hash| hash.oid() == oid)
    }

    /// The hash of these bytes.
    pub(crate) fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => sha2::Sha256::digest(bytes).to_vec(),
            Self::Sha384 => sha2::Sha384::digest(bytes).to_vec(),
            Self::Sha512 => sha2::Sha512::digest(bytes).to_vec(),
        }
    }
}

/// ECDSA on a curve with a hash.
#[derive(Debug)]
struct Ecdsa {
    curve: Curve,
    hash: Hash,
}

impl Ecdsa {
    fn holds(&self, point: &[u8], message: &[u8], der: &[u8]) -> Option<()> {
        let digest = self.hash.of(message);
        match self.curve {
            Curve::P256 => p256::ecdsa::VerifyingKey::from_sec1_bytes(point)
                .ok()?
                .verify_prehash(&digest, &p256::ecdsa::DerSignature::from_bytes(der).ok()?),
            Curve::P384 => p384::ecdsa::VerifyingKey::from_sec1_bytes(point)
                .ok()?
                .verify_prehash(&digest, &p384::ecdsa::DerSignature::from_bytes(der).ok()?),
            Curve::P521 => {
                // A hash shorter than the order is the same number with zeros before it (FIPS 186-5, 6.4.1);
                // the library wants at least half of the 66 bytes.
                let mut padded = vec![0u8; 66usize.saturating_sub(digest.len())];
                padded.extend_from_slice(&digest);
                p521::ecdsa::VerifyingKey::from_sec1_bytes(point)
                    .ok()?
                    .verify_prehash(&padded, &p521::ecdsa::DerSignature::from_bytes(der).ok()?)
            }
        }
        .ok()
    }
}

impl SignatureVerificationAlgorithm for Ecdsa {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        match self.curve {
            Curve::P256 => alg_id::ECDSA_P256,
            Curve::P384 => alg_id::ECDSA_P384,
            Curve::P521 => alg_id::ECDSA_P521,
        }
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        match self.hash {
            Hash::Sha256 => alg_id::ECDSA_SHA256,
            Hash::Sha384 => alg_id::ECDSA_SHA384,
            Hash::Sha512 => alg_id::ECDSA_SHA512,
        }
    }

    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        self.holds(public_key, message, signature).ok_or(InvalidSignature)
    }
}

/// Whether `signature` over `message` is by this key, with this algorithm (the content of its
/// AlgorithmIdentifier).
pub(crate) fn verifies(key_alg: &[u8], key: &[u8], alg: &[u8], message: &[u8], signature: &[u8]) -> bool {
    ALL.iter()
        .filter(|a| a.public_key_alg_id().as_ref() == key_alg && a.signature_alg_id().as_ref() == alg)
        .any(|a| a.verify_signature(key, message, signature).is_ok())
}

/// The same where the algorithm only names the kind of key and the hash stands apart, as CMS allows.
pub(crate) fn verifies_with_hash(key_alg: &[u8], key: &[u8], hash: Hash, message: &[u8], der: &[u8]) -> bool {
    let alg = match (key_alg == alg_id::RSA_ENCRYPTION.as_ref(), hash) {
        (true, Hash::Sha256) => alg_id::RSA_PKCS1_SHA256,
        (true, Hash::Sha384) => alg_id::RSA_PKCS1_SHA384,
        (true, Hash::Sha512) => alg_id::RSA_PKCS1_SHA512,
        (false, Hash::Sha256) => alg_id::ECDSA_SHA256,
        (false, Hash::Sha384) => alg_id::ECDSA_SHA384,
        (false, Hash::Sha512) => alg_id::ECDSA_SHA512,
    };
    verifies(key_alg, key, alg.as_ref(), message, der)
}
