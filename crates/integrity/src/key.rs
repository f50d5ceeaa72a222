//! EC keys on the three curves that OMS requires: P-256 with SHA-256, P-384 with SHA-384, P-521 with SHA-512
//! (FIPS 186-5, deterministic nonces of RFC 6979).

use std::fmt;

use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePublicKey as _, LineEnding};

use base::{Digest, sha256};

use crate::limits::PEM_MAX;

/// A curve, with the hash that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256 (secp256r1) with SHA-256.
    P256,
    /// NIST P-384 (secp384r1) with SHA-384.
    P384,
    /// NIST P-521 (secp521r1) with SHA-512.
    P521,
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        })
    }
}

/// The text is not a key that is used here. Never repeats any of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No PEM block of a wanted kind, or more than one.
    #[error("not one PEM block of {wanted}")]
    NotPem {
        /// Which labels are read.
        wanted: &'static str,
    },
    /// The private key is under a password.
    #[error("the private key is encrypted, which is not supported here")]
    Encrypted,
    /// Another algorithm or curve, or damaged.
    #[error("not a valid EC key on P-256, P-384 or P-521")]
    NotEc,
    /// The text is not UTF-8 or too long.
    #[error("a key file is text of at most {PEM_MAX} bytes")]
    NotText,
}

impl base::Explain for KeyError {
    fn code(&self) -> &'static str {
        "SR-INT-0005"
    }
    fn help(&self) -> Option<base::Help> {
        Some("pass an unencrypted PEM file of an EC key on P-256, P-384 or P-521")
    }
}

/// A public key.
#[derive(Clone, PartialEq)]
pub struct PublicKey(Public);

#[derive(Clone, PartialEq)]
enum Public {
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    P521(p521::ecdsa::VerifyingKey),
}

impl PublicKey {
    /// Reads the one `PUBLIC KEY` block (SubjectPublicKeyInfo, RFC 5280) of a PEM text.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let block = one_block(pem, &["PUBLIC KEY"], "PUBLIC KEY")?.text;
        if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_pem(&block) {
            return Ok(Self(Public::P256(key)));
        }
        if let Ok(key) = p384::ecdsa::VerifyingKey::from_public_key_pem(&block) {
            return Ok(Self(Public::P384(key)));
        }
        p521::ecdsa::VerifyingKey::from_public_key_pem(&block)
            .map(|key| Self(Public::P521(key)))
            .map_err(|_| KeyError::NotEc)
    }

    /// Reads a SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// [`KeyError::NotEc`].
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_der(der) {
            return Ok(Self(Public::P256(key)));
        }
        if let Ok(key) = p384::ecdsa::VerifyingKey::from_public_key_der(der) {
            return Ok(Self(Public::P384(key)));
        }
        p521::ecdsa::VerifyingKey::from_public_key_der(der)
            .map(|key| Self(Public::P521(key)))
            .map_err(|_| KeyError::NotEc)
    }

    /// Its curve.
    pub fn curve(&self) -> Curve {
        match self.0 {
            Public::P256(_) => Curve::P256,
            Public::P384(_) => Curve::P384,
            Public::P521(_) => Curve::P521,
        }
    }

    /// The PEM text as OpenSSL prints it: 64 columns, line feeds, one at the end.
    ///
    /// # Errors
    /// [`KeyError::NotEc`], which no key of this type causes.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        match &self.0 {
            Public::P256(key) => key.to_public_key_pem(LineEnding::LF),
            Public::P384(key) => key.to_public_key_pem(LineEnding::LF),
            Public::P521(key) => key.to_public_key_pem(LineEnding::LF),
        }
        .map_err(|_| KeyError::NotEc)
    }

    /// The OMS hint: SHA-256 of the PEM text (not of the DER).
    ///
    /// # Errors
    /// As [`PublicKey::to_pem`].
    pub fn fingerprint(&self) -> Result<Digest, KeyError> {
        Ok(sha256(self.to_pem()?.as_bytes()))
    }

    /// Whether `der` is an ASN.1 DER ECDSA signature of this key over `message`, hashed as the curve says.
    pub fn verifies(&self, message: &[u8], der: &[u8]) -> bool {
        match &self.0 {
            Public::P256(key) => p256::ecdsa::DerSignature::from_bytes(der)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            Public::P384(key) => p384::ecdsa::DerSignature::from_bytes(der)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            Public::P521(key) => p521::ecdsa::DerSignature::from_bytes(der)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PublicKey({}, {})",
            self.curve(),
            self.fingerprint().map(|d| d.short()).unwrap_or_default()
        )
    }
}

/// A private key, wiped on drop.
pub struct PrivateKey(Private);

enum Private {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    P521(p521::ecdsa::SigningKey),
}

impl PrivateKey {
    /// Reads the one `PRIVATE KEY` (PKCS#8, RFC 5958) or `EC PRIVATE KEY` (SEC1, RFC 5915) block of a PEM
    /// text. `EC PARAMETERS` beside it are skipped, as `openssl ecparam -genkey` writes them.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let block = one_block(
            pem,
            &["PRIVATE KEY", "EC PRIVATE KEY"],
            "PRIVATE KEY (PKCS#8) or EC PRIVATE KEY (SEC1)",
        )?;
        let text = block.text.as_str();
        if text.contains("Proc-Type:") {
            return Err(KeyError::Encrypted);
        }
        let sec1 = block.label == "EC PRIVATE KEY";
        let p256 = if sec1 {
            p256::SecretKey::from_sec1_pem(text).ok()
        } else {
            p256::SecretKey::from_pkcs8_pem(text).ok()
        };
        if let Some(key) = p256 {
            return Ok(Self(Private::P256(key.into())));
        }
        let p384 = if sec1 {
            p384::SecretKey::from_sec1_pem(text).ok()
        } else {
            p384::SecretKey::from_pkcs8_pem(text).ok()
        };
        if let Some(key) = p384 {
            return Ok(Self(Private::P384(key.into())));
        }
        let p521 = if sec1 {
            p521::SecretKey::from_sec1_pem(text).ok()
        } else {
            p521::SecretKey::from_pkcs8_pem(text).ok()
        };
        p521.map(|key| Self(Private::P521(key.into()))).ok_or(KeyError::NotEc)
    }

    /// The P-256 key with this scalar (big-endian). For the keeper, which draws 32 random bytes; one in 2^32
    /// draws is not below the group order and is refused, and the keeper then draws again.
    ///
    /// # Errors
    /// [`KeyError::NotEc`]: zero, or not below the group order.
    pub fn from_p256_scalar(scalar: &[u8; 32]) -> Result<Self, KeyError> {
        let key = p256::ecdsa::SigningKey::from_slice(scalar).map_err(|_| KeyError::NotEc)?;
        Ok(Self(Private::P256(key)))
    }

    /// Its public key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(match &self.0 {
            Private::P256(key) => Public::P256(*key.verifying_key()),
            Private::P384(key) => Public::P384(*key.verifying_key()),
            Private::P521(key) => Public::P521(*key.verifying_key()),
        })
    }

    /// The ASN.1 DER ECDSA signature over `message`, hashed as the curve says. The same message gives the same
    /// signature.
    ///
    /// # Errors
    /// [`KeyError::NotEc`], which does not happen with a valid key.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.0 {
            Private::P256(key) => {
                key.try_sign(message).map(|s: p256::ecdsa::DerSignature| s.as_bytes().to_vec())
            }
            Private::P384(key) => {
                key.try_sign(message).map(|s: p384::ecdsa::DerSignature| s.as_bytes().to_vec())
            }
            Private::P521(key) => {
                key.try_sign(message).map(|s: p521::ecdsa::DerSignature| s.as_bytes().to_vec())
            }
        }
        .map_err(|_| KeyError::NotEc)
    }

    /// The DER signature over an already hashed message, for the process that holds the key and is shown only
    /// the digest ([`crate::dsse::to_sign`]). P-256 only, because the digest is SHA-256.
    ///
    /// # Errors
    /// [`KeyError::NotEc`]: the key is on another curve.
    pub fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, KeyError> {
        let Private::P256(key) = &self.0 else { return Err(KeyError::NotEc) };
        key.sign_prehash(digest.as_bytes())
            .map(|s: p256::ecdsa::DerSignature| s.as_bytes().to_vec())
            .map_err(|_| KeyError::NotEc)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({}, ..)", self.public_key().curve())
    }
}

/// A PEM block (RFC 7468), wiped on drop.
struct Block {
    label: &'static str,
    text: p256::elliptic_curve::zeroize::Zeroizing<String>,
}

/// The one block of `pem` whose label is among `labels`. Other blocks are skipped, so that a key file with its
/// curve parameters or a comment is read; two keys in one file are ambiguous and refused.
fn one_block(pem: &[u8], labels: &[&'static str], wanted: &'static str) -> Result<Block, KeyError> {
    let text = std::str::from_utf8(pem).ok().filter(|t| t.len() <= PEM_MAX).ok_or(KeyError::NotText)?;
    let mut found = None;
    let mut current: Option<Block> = None;
    for line in text.lines().map(str::trim_end) {
        if let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|l| l.strip_suffix("-----")) {
            if label == "ENCRYPTED PRIVATE KEY" && labels.contains(&"PRIVATE KEY") {
                return Err(KeyError::Encrypted);
            }
            // Room for the whole, so that growing leaves no copy of a private key behind.
            current = labels.iter().find(|l| **l == label).map(|label| Block {
                label,
                text: String::with_capacity(text.len().saturating_add(2)).into(),
            });
        }
        let Some(block) = &mut current else { continue };
        block.text.push_str(line);
        block.text.push('\n');
        if line.strip_prefix("-----END ").and_then(|l| l.strip_suffix("-----")) == Some(block.label) {
            if found.is_some() {
                return Err(KeyError::NotPem { wanted });
            }
            found = current.take();
        }
    }
    found.ok_or(KeyError::NotPem { wanted })
}
