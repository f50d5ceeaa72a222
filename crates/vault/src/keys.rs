//! The key hierarchy: root KEK → tenant KEK → job KEK → one DEK per object (`trust.md` sections 5.1, 6.4). Of many
//! small objects that are sealed together the DEKs are derived from one group key, so that one release opens the group.
//!
//! Random bytes are parameters. Each wrapping takes a nonce of 96 random bits: at most 2^32 wraps under one KEK
//! keep the chance of a repeat below 2^-32 (SP 800-38D section 8.3).

use std::fmt;
use std::str::FromStr;

use base::{Digest, Explain, Fault, Secret};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroize;

use crate::scope::KeyScope;

/// Bytes of every key of this crate.
pub const KEY_LEN: usize = 32;
/// Bytes of a wrapped key: nonce 12, ciphertext 32, tag 16.
pub const WRAPPED_LEN: usize = NONCE_LEN + KEY_LEN + 16;
/// Bytes of a wrapping nonce.
pub type WrapNonce = [u8; NONCE_LEN];

macro_rules! key_types {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        pub struct $name(Secret<[u8; KEY_LEN]>);

        impl $name {
            /// Takes the key out of `bytes`, which are zero afterwards.
            pub fn take(bytes: &mut [u8; KEY_LEN]) -> Self {
                let key = Self(Secret::new(*bytes));
                bytes.zeroize();
                key
            }

            /// Lets `use_it` see the key: to hand it to a process that may hold it, or to a cipher.
            pub fn expose<R>(&self, use_it: impl FnOnce(&[u8; KEY_LEN]) -> R) -> R {
                self.0.expose(use_it)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}

key_types! {
    /// A data-encryption key that has sealed nothing yet. Sealing consumes it and gives back the [`Dek`]:
    /// nonces are counters, so a second sealing under the same key would repeat them.
    FreshDek;
    /// The key of one sealed object; it opens and is wrapped.
    Dek;
    /// A key-encryption key: a tenant's or a job's, of one version, or the root's in software.
    Kek;
    /// The key under which one scope's objects are named.
    AddressKey;
    /// The key of a group of objects, from which the key of each is derived. It is wrapped and released as a [`Dek`],
    /// under a name of its own; it never seals anything itself.
    GroupKey;
}

/// What a member's key is derived for; the salt follows.
const MEMBER_LABEL: &[u8] = b"sr1 group member";

impl GroupKey {
    /// The key for sealing one member. `salt` is random and never used twice.
    pub fn fresh_member(&self, salt: &[u8; KEY_LEN]) -> FreshDek {
        FreshDek(self.member(salt).0)
    }

    /// The key of the member with this salt: HMAC-SHA-256 as a pseudo-random function (SP 800-108, one block).
    pub fn member(&self, salt: &[u8; KEY_LEN]) -> Dek {
        let mut key = *self.expose(|key| base::hmac_sha256(key, &[MEMBER_LABEL, salt])).as_bytes();
        Dek::take(&mut key)
    }
}

impl FreshDek {
    /// What is left after the one sealing.
    pub(crate) fn spend(self) -> Dek {
        Dek(self.0)
    }
}

/// The name of a sealed object: HMAC-SHA-256 of the plaintext's digest under the scope's [`AddressKey`]. It
/// tells nobody which public model a tenant holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName([u8; 32]);

impl ObjectName {
    /// The name with these 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<Digest> for ObjectName {
    /// The name that another process sent as 32 bytes.
    fn from(bytes: Digest) -> Self {
        Self(*bytes.as_bytes())
    }
}

impl From<ObjectName> for Digest {
    /// The name as it travels between processes.
    fn from(name: ObjectName) -> Self {
        Self::from_bytes(name.0)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base::digest::hex(&self.0))
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ObjectName {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = base::digest::unhex(text).ok_or(KeyError::Malformed { what: "object name" })?;
        bytes.try_into().map(Self).map_err(|_| KeyError::Malformed { what: "object name" })
    }
}

/// The name of the object with this plaintext digest in the scope of `address_key` (`trust.md` section 6.4).
pub fn object_name(address_key: &AddressKey, digest: &Digest) -> ObjectName {
    ObjectName(*address_key.expose(|key| base::hmac_sha256(key, &[digest.as_bytes()])).as_bytes())
}

/// A key sealed under another: nonce ‖ AES-256-GCM ciphertext ‖ tag, 60 bytes. It is not secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WrappedKey([u8; WRAPPED_LEN]);

impl WrappedKey {
    /// The blob made of these bytes.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] unless there are exactly 60.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, KeyError> {
        bytes.try_into().map(Self).map_err(|_| KeyError::Malformed { what: "wrapped key" })
    }

    /// The 60 bytes.
    pub const fn as_bytes(&self) -> &[u8; WRAPPED_LEN] {
        &self.0
    }
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base::digest::hex(&self.0))
    }
}

/// A key could not be wrapped, unwrapped or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The wrapped key is not of this key, scope, version or object, or was altered.
    #[error("wrapped key does not open under this key-encryption key for this scope, version and object")]
    Refused,
    /// A name or blob of the wrong length or alphabet.
    #[error("malformed {what}")]
    Malformed {
        /// What it should have been.
        what: &'static str,
    },
    /// A root key of the wrong length.
    #[error("a root key file holds {KEY_LEN} bytes, not {len}")]
    RootKeyLength {
        /// How many it holds.
        len: usize,
    },
    /// The cipher or the key's device failed.
    #[error("the key provider failed to {0}")]
    Provider(&'static str),
}

impl Explain for KeyError {
    fn code(&self) -> &'static str {
        match self {
            Self::Refused => "SR-KEY-0001",
            Self::Malformed { .. } => "SR-KEY-0002",
            Self::RootKeyLength { .. } => "SR-KEY-0003",
            Self::Provider(_) => "SR-KEY-0004",
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Malformed { .. } => Fault::Caller,
            Self::Refused | Self::RootKeyLength { .. } => Fault::Operator,
            Self::Provider(_) => Fault::Platform,
        }
    }

    fn help(&self) -> Option<base::Help> {
        Some(match self {
            Self::Refused => "restore the key set from the backup that belongs to this metadata store",
            Self::Malformed { .. } => "pass the value exactly as the platform printed it",
            Self::RootKeyLength { .. } => "write 32 random bytes to the root key file and nothing else",
            Self::Provider(_) => "check the device or module that holds the root key",
        })
    }
}

/// Wraps and unwraps 32-byte keys. The AAD says what the key is for; see the functions of this module, which
/// are the only callers.
pub trait WrapKey {
    /// Seals `key` under `aad`. `nonce` is random and never used twice.
    ///
    /// # Errors
    /// [`KeyError::Provider`].
    fn wrap(&self, aad: &[u8], key: &[u8; KEY_LEN], nonce: WrapNonce) -> Result<WrappedKey, KeyError>;

    /// Opens `blob` with `aad` and gives the key to `take`, then wipes its own copy.
    ///
    /// # Errors
    /// [`KeyError::Refused`] for another key or AAD or an altered blob.
    fn unwrap(
        &self,
        aad: &[u8],
        blob: &WrappedKey,
        take: &mut dyn FnMut(&mut [u8; KEY_LEN]),
    ) -> Result<(), KeyError>;
}

/// How well a root key is guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Assurance {
    /// In this machine's files and memory: whoever is root can copy it.
    Software,
    /// In a device that does not give it out.
    Hardware,
}

/// What posture and the audit log say about a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProviderInfo {
    /// `key-file`.
    pub kind: &'static str,
    /// How well it guards the key.
    pub assurance: Assurance,
    /// Whether it belongs to `strongroom dev`, which production refuses.
    pub dev: bool,
}

/// Custody of the root KEK.
pub trait KekProvider: WrapKey + Send + Sync {
    /// What it is.
    fn describe(&self) -> ProviderInfo;
}

impl WrapKey for Kek {
    fn wrap(&self, aad: &[u8], key: &[u8; KEY_LEN], nonce: WrapNonce) -> Result<WrappedKey, KeyError> {
        let cipher = self.cipher()?;
        let mut out = *key;
        let sealed =
            cipher.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut out);
        let Ok(tag) = sealed else {
            out.zeroize();
            return Err(KeyError::Provider("wrap a key"));
        };
        let mut blob = Vec::with_capacity(WRAPPED_LEN);
        blob.extend_from_slice(&nonce);
        blob.extend_from_slice(&out);
        blob.extend_from_slice(tag.as_ref());
        WrappedKey::from_slice(&blob)
    }

    fn unwrap(
        &self,
        aad: &[u8],
        blob: &WrappedKey,
        take: &mut dyn FnMut(&mut [u8; KEY_LEN]),
    ) -> Result<(), KeyError> {
        let (nonce, rest) = blob.0.split_first_chunk::<NONCE_LEN>().ok_or(KeyError::Refused)?;
        let (ciphertext, tag) = rest.split_first_chunk::<KEY_LEN>().ok_or(KeyError::Refused)?;
        let tag = tag.try_into().map_err(|_| KeyError::Refused)?;
        let mut key = *ciphertext;
        let opened = self
            .cipher()?
            .open_in_place_separate_tag(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(aad),
                tag,
                &mut key,
                0..,
            )
            .is_ok();
        if opened {
            take(&mut key);
        }
        key.zeroize();
        if opened { Ok(()) } else { Err(KeyError::Refused) }
    }
}

impl Kek {
    fn cipher(&self) -> Result<LessSafeKey, KeyError> {
        let key = self.expose(|key| UnboundKey::new(&AES_256_GCM, key));
        Ok(LessSafeKey::new(key.map_err(|_| KeyError::Provider("load a key"))?))
    }
}

/// The root KEK as bytes of a file that the shell read: assurance is software, and it says so.
#[derive(Debug)]
pub struct KeyFileProvider {
    root: Kek,
    dev: bool,
}

impl KeyFileProvider {
    /// A provider over the file's bytes, which are zero afterwards. `dev` marks a key that `strongroom dev` made.
    ///
    /// # Errors
    /// [`KeyError::RootKeyLength`] unless there are exactly 32 bytes.
    pub fn new(bytes: &mut [u8], dev: bool) -> Result<Self, KeyError> {
        let len = bytes.len();
        let root = <&mut [u8; KEY_LEN]>::try_from(&mut *bytes).map(Kek::take);
        bytes.zeroize();
        Ok(Self { root: root.map_err(|_| KeyError::RootKeyLength { len })?, dev })
    }
}

impl WrapKey for KeyFileProvider {
    fn wrap(&self, aad: &[u8], key: &[u8; KEY_LEN], nonce: WrapNonce) -> Result<WrappedKey, KeyError> {
        self.root.wrap(aad, key, nonce)
    }

    fn unwrap(
        &self,
        aad: &[u8],
        blob: &WrappedKey,
        take: &mut dyn FnMut(&mut [u8; KEY_LEN]),
    ) -> Result<(), KeyError> {
        self.root.unwrap(aad, blob, take)
    }
}

impl KekProvider for KeyFileProvider {
    fn describe(&self) -> ProviderInfo {
        ProviderInfo { kind: "key-file", assurance: Assurance::Software, dev: self.dev }
    }
}

/// Wraps a tenant KEK under the root, or a job KEK under its tenant's KEK (`trust.md` section 5.1:
/// AAD = "sef1 kek" ‖ lp(scope) ‖ u64 version).
///
/// # Errors
/// As [`WrapKey::wrap`].
pub fn wrap_kek(
    by: &dyn WrapKey,
    scope: &KeyScope,
    version: u64,
    kek: &Kek,
    nonce: WrapNonce,
) -> Result<WrappedKey, KeyError> {
    kek.expose(|key| by.wrap(&versioned(*b"sef1 kek", scope, version), key, nonce))
}

/// Reverses [`wrap_kek`].
///
/// # Errors
/// As [`WrapKey::unwrap`].
pub fn unwrap_kek(
    by: &dyn WrapKey,
    scope: &KeyScope,
    version: u64,
    blob: &WrappedKey,
) -> Result<Kek, KeyError> {
    unwrapped(by, &versioned(*b"sef1 kek", scope, version), blob, Kek::take)
}

/// Wraps the address key of a scope under the root. It has no version: names outlive KEK rotation
/// (AAD = "sef1 adr" ‖ lp(scope)).
///
/// # Errors
/// As [`WrapKey::wrap`].
pub fn wrap_address_key(
    by: &dyn WrapKey,
    scope: &KeyScope,
    key: &AddressKey,
    nonce: WrapNonce,
) -> Result<WrappedKey, KeyError> {
    key.expose(|key| by.wrap(&labelled(*b"sef1 adr", scope), key, nonce))
}

/// Reverses [`wrap_address_key`].
///
/// # Errors
/// As [`WrapKey::unwrap`].
pub fn unwrap_address_key(
    by: &dyn WrapKey,
    scope: &KeyScope,
    blob: &WrappedKey,
) -> Result<AddressKey, KeyError> {
    unwrapped(by, &labelled(*b"sef1 adr", scope), blob, AddressKey::take)
}

/// Wraps the DEK of one object under its scope's KEK (`trust.md` section 6.4:
/// AAD = "sef1 dek" ‖ lp(scope) ‖ u64 kek_version ‖ name\[32\]).
///
/// # Errors
/// As [`WrapKey::wrap`].
pub fn wrap_dek(
    by: &dyn WrapKey,
    scope: &KeyScope,
    kek_version: u64,
    name: &ObjectName,
    dek: &Dek,
    nonce: WrapNonce,
) -> Result<WrappedKey, KeyError> {
    dek.expose(|key| by.wrap(&of_object(scope, kek_version, name), key, nonce))
}

/// Reverses [`wrap_dek`].
///
/// # Errors
/// As [`WrapKey::unwrap`].
pub fn unwrap_dek(
    by: &dyn WrapKey,
    scope: &KeyScope,
    kek_version: u64,
    name: &ObjectName,
    blob: &WrappedKey,
) -> Result<Dek, KeyError> {
    unwrapped(by, &of_object(scope, kek_version, name), blob, Dek::take)
}

fn unwrapped<K>(
    by: &dyn WrapKey,
    aad: &[u8],
    blob: &WrappedKey,
    take: fn(&mut [u8; KEY_LEN]) -> K,
) -> Result<K, KeyError> {
    let mut key = None;
    by.unwrap(aad, blob, &mut |bytes| key = Some(take(bytes)))?;
    key.ok_or(KeyError::Provider("return an unwrapped key"))
}

fn labelled(label: [u8; 8], scope: &KeyScope) -> Vec<u8> {
    let mut aad = label.to_vec();
    aad.extend_from_slice(&scope.lp());
    aad
}

fn versioned(label: [u8; 8], scope: &KeyScope, version: u64) -> Vec<u8> {
    let mut aad = labelled(label, scope);
    aad.extend_from_slice(&version.to_le_bytes());
    aad
}

fn of_object(scope: &KeyScope, kek_version: u64, name: &ObjectName) -> Vec<u8> {
    let mut aad = versioned(*b"sef1 dek", scope, kek_version);
    aad.extend_from_slice(name.as_bytes());
    aad
}

#[cfg(test)]
mod tests;
