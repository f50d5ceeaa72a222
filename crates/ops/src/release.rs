//! What is said of releases of the platform.

use base::Digest;
use base::release::{MANIFEST_MAX, SIGNERS_MAX, Version};
use base::wire::{Reader, WireError, Writer};

use crate::codec::{Blob, Codec, List};

/// Releases that a node keeps.
pub const RELEASES_MAX: usize = 8;

impl Codec for Version {
    fn encode(&self, w: &mut Writer) {
        for part in [self.major, self.minor, self.patch] {
            w.u32(part);
        }
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { major: r.u32()?, minor: r.u32()?, patch: r.u32()? })
    }
}

record! {
    /// A signature of a release.
    pub struct ReleaseSignature {
        /// Ed25519 public key.
        key: [u8; 32],
        /// Over the bytes of the manifest.
        signature: [u8; 64],
    }
}

record! {
    /// A manifest with its signatures.
    pub struct SignedManifest {
        /// The manifest, as it was signed.
        manifest: Blob<MANIFEST_MAX>,
        /// Its signatures.
        signatures: List<ReleaseSignature, SIGNERS_MAX>,
    }
}

record! {
    /// A release that is staged.
    pub struct ReleaseFacts {
        /// Its version.
        version: Version,
        /// Its floor.
        floor: Version,
        /// SHA-256 of its manifest.
        manifest: Digest,
    }
}

record! {
    /// Which release is active, and what there was and is to be.
    pub struct ReleaseState {
        /// The active one; none: the programs that are installed.
        current: Option<Version>,
        /// The one before it.
        before: Option<Version>,
        /// The one that is being activated, and has not yet been seen to come up.
        pending: Option<Version>,
        /// The last that did not come up.
        returned: Option<Version>,
        /// Nothing older is activated.
        floor: Version,
    }
}

record! {
    /// All that there is of releases.
    pub struct Releases {
        /// Which is active.
        state: ReleaseState,
        /// Those that are staged, the oldest first.
        staged: List<ReleaseFacts, RELEASES_MAX>,
    }
}
