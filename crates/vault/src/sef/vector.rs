//! The known-answer test of `trust.md` section 6.5, run at every start.

use base::{Digest, Hasher};

use super::{ChunkSize, Content, Opener, Sealer, SefError};
use crate::keys::{Dek, FreshDek};
use crate::scope::KeyScope;

/// Bytes of the vector's plaintext: byte i is i mod 251.
const PLAINTEXT_LEN: usize = 100_000;
/// SHA-256 of the sealed file.
const FILE_SHA256: &str = "ca97b300aacb535a2e84687c7bca491f672821e90482b6afb1593d473afd5af1";

/// Seals and opens the published test vector: cipher, key derivation and MACs of this build and processor give
/// the right bytes.
///
/// # Errors
/// [`SefError::Cipher`] if they do not. The caller must then not start.
pub fn self_test() -> Result<(), SefError> {
    let plaintext: Vec<u8> = (0..=250u8).cycle().take(PLAINTEXT_LEN).collect();
    let mut salt = [0u8; 32];
    for (byte, value) in salt.iter_mut().zip(0u8..) {
        *byte = value;
    }
    let scope: KeyScope = "tenant-a".parse().map_err(|_| SefError::Cipher)?;
    let mut sealer =
        Sealer::new(FreshDek::take(&mut [0x42; 32]), salt, ChunkSize::from_log2(16)?, Content::Unknown)?;
    let mut body = Vec::with_capacity(PLAINTEXT_LEN);
    let mut emit = |_, bytes: &[u8]| -> Result<(), SefError> {
        body.extend_from_slice(bytes);
        Ok(())
    };
    sealer.push(&plaintext, &mut emit)?;
    let sealed = sealer.finish(&scope, &mut emit)?;
    let mut hash = Hasher::new();
    for part in [sealed.header.as_slice(), &body, &sealed.tags] {
        hash.update(part);
    }
    let expected: Digest = FILE_SHA256.parse().map_err(|_| SefError::Cipher)?;
    if hash.finish() != expected {
        return Err(SefError::Cipher);
    }
    let dek = Dek::take(&mut [0x42; 32]);
    let file_len = sealed.layout.file_len();
    let opener = Opener::verify(&sealed.header, sealed.tags, file_len, &dek, &scope, &sealed.digest)?;
    for (index, chunk) in (0..).zip(body.chunks_mut(opener.layout().chunk().bytes())) {
        opener.open_chunk(index, chunk)?;
    }
    if body == plaintext { Ok(()) } else { Err(SefError::Cipher) }
}
