//! Key schedule, nonces and MACs (`trust.md` section 6.2).

use base::Digest;
use base::digest::ct_eq;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::{hkdf, hmac};
use zeroize::Zeroizing;

use super::{ChunkSize, MACED, MAGIC, SUITE_AES_256_GCM, SefError, TAG_LEN, VERSION};
use crate::keys::KEY_LEN;
use crate::scope::KeyScope;

/// Whether a chunk is the last: it changes the nonce, so that a cut at a chunk boundary is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    Inner,
    Last,
}

/// The keys of one file.
pub(super) struct FileKeys {
    encrypt: LessSafeKey,
    mac: hmac::Key,
    commitment: [u8; 32],
}

impl FileKeys {
    /// Derives the keys of the file with this salt.
    pub(super) fn derive(dek: &[u8; KEY_LEN], salt: &[u8; 32], chunk: ChunkSize) -> Result<Self, SefError> {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(dek);
        let p = params(chunk);
        let expand = |label: &[u8; 8]| -> Result<Zeroizing<[u8; 32]>, SefError> {
            let mut key = Zeroizing::new([0u8; 32]);
            let info: [&[u8]; 2] = [label, &p];
            prk.expand(&info, hkdf::HKDF_SHA256)
                .and_then(|okm| okm.fill(key.as_mut()))
                .map_err(|_| SefError::Cipher)?;
            Ok(key)
        };
        let encrypt =
            UnboundKey::new(&AES_256_GCM, expand(b"sef1 enc")?.as_ref()).map_err(|_| SefError::Cipher)?;
        Ok(Self {
            encrypt: LessSafeKey::new(encrypt),
            mac: hmac::Key::new(hmac::HMAC_SHA256, expand(b"sef1 mac")?.as_ref()),
            commitment: *expand(b"sef1 com")?,
        })
    }

    /// Commits the file to its DEK.
    pub(super) const fn commitment(&self) -> &[u8; 32] {
        &self.commitment
    }

    /// Binds the file to its scope and content.
    pub(super) fn context(&self, scope: &KeyScope, digest: &Digest) -> [u8; 32] {
        self.hmac(&[b"sef1 ctx", &scope.lp(), digest.as_bytes()])
    }

    /// Binds header, length and every tag.
    pub(super) fn header_mac(&self, maced: &[u8; MACED], tags: &[u8]) -> [u8; 32] {
        let tags = ring::digest::digest(&ring::digest::SHA256, tags);
        self.hmac(&[maced, tags.as_ref()])
    }

    /// Encrypts a chunk where it stands.
    pub(super) fn seal(
        &self,
        index: u64,
        position: Position,
        chunk: &mut [u8],
    ) -> Result<[u8; TAG_LEN], SefError> {
        let tag = self
            .encrypt
            .seal_in_place_separate_tag(nonce(index, position), Aad::empty(), chunk)
            .map_err(|_| SefError::Cipher)?;
        tag.as_ref().try_into().map_err(|_| SefError::Cipher)
    }

    /// Decrypts a chunk where it stands; `false`, and zeros instead of a chunk, if the tag does not verify.
    pub(super) fn open(&self, index: u64, position: Position, tag: [u8; TAG_LEN], chunk: &mut [u8]) -> bool {
        let nonce = nonce(index, position);
        let opened =
            self.encrypt.open_in_place_separate_tag(nonce, Aad::empty(), tag.into(), chunk, 0..).is_ok();
        if !opened {
            chunk.fill(0);
        }
        opened
    }

    fn hmac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.mac);
        for part in parts {
            context.update(part);
        }
        let mut out = [0u8; 32];
        for (to, from) in out.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        out
    }
}

impl std::fmt::Debug for FileKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FileKeys(..)")
    }
}

/// Equality in constant time.
pub(super) fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    ct_eq(a, b)
}

/// Bytes 4..8 of the header.
fn params(chunk: ChunkSize) -> [u8; 4] {
    let [low, high] = VERSION.to_le_bytes();
    [low, high, SUITE_AES_256_GCM, chunk.log2()]
}

/// The first 8 bytes of a header: magic and parameters.
pub(super) fn prefix(chunk: ChunkSize) -> [u8; 8] {
    let [m0, m1, m2, m3] = *MAGIC;
    let [p0, p1, p2, p3] = params(chunk);
    [m0, m1, m2, m3, p0, p1, p2, p3]
}

fn nonce(index: u64, position: Position) -> Nonce {
    let flag: u32 = match position {
        Position::Inner => 0,
        Position::Last => 1,
    };
    let mut bytes = [0u8; NONCE_LEN];
    let (head, tail) = bytes.split_at_mut(4);
    head.copy_from_slice(&flag.to_le_bytes());
    tail.copy_from_slice(&index.to_le_bytes());
    // INVARIANT: the key is derived from a random salt and a DEK that seals once, and a sealer counts up.
    Nonce::assume_unique_for_key(bytes)
}
