//! The key set: tenants' and jobs' keys and the platform's signing keys, each wrapped under the root key or its
//! parent. A journal of checksummed records that only grows; a record counts once it is on the disk.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use audit::frame::{self, Frame, Next};
use base::wire::{Reader, WireError, Writer};
use vault::keys::{
    self, AddressKey, KEY_LEN, Kek, KeyError, WRAPPED_LEN, WrapKey, WrappedKey, wrap_address_key, wrap_kek,
};
use vault::scope::KeyScope;
use zeroize::Zeroize;

use crate::clock;
use crate::error::KeeperError;
use crate::limits::{KEY_SET_MAX, SCOPES_MAX};
use crate::state::{State, sync_dir};

/// Record of a scope's keys.
const SCOPE: u8 = 1;
/// Record of a signing key.
const SIGNING: u8 = 2;
/// Version of the first key of a scope; rotation counts up.
const FIRST_VERSION: u64 = 1;
/// Longest scope text: a tenant's name of 63, a slash and a job id of 30.
const SCOPE_TEXT_MAX: usize = 96;

/// A signing key of the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Signing {
    /// Log notes, Ed25519.
    Log,
    /// Receipts, Ed25519.
    Receipt,
    /// Checkpoint manifests, Ed25519.
    Checkpoint,
    /// OMS model signatures, P-256.
    Model,
    /// Model BoM envelopes, P-256.
    Bom,
    /// Versions of a node's own rules, P-256.
    Policy,
}

impl Signing {
    /// All of them, in the order of their tags.
    pub(crate) const ALL: [Self; 6] =
        [Self::Log, Self::Receipt, Self::Checkpoint, Self::Model, Self::Bom, Self::Policy];

    const fn tag(self) -> u8 {
        match self {
            Self::Log => 1,
            Self::Receipt => 2,
            Self::Checkpoint => 3,
            Self::Model => 4,
            Self::Bom => 5,
            Self::Policy => 6,
        }
    }

    fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.tag() == tag)
    }

    /// What its wrapping is bound to.
    fn aad(self) -> [u8; 9] {
        let [a, b, c, d, e, f, g, h] = *b"sr1 sign";
        [a, b, c, d, e, f, g, h, self.tag()]
    }
}

/// The keys of one scope, ready for use.
#[derive(Debug)]
pub(crate) struct ScopeKeys {
    /// Version of the key-encryption key.
    pub(crate) version: u64,
    /// The key-encryption key.
    pub(crate) kek: Kek,
    /// The key that names objects.
    pub(crate) address: AddressKey,
}

/// The key set, open.
#[derive(Debug)]
pub(crate) struct KeySet {
    path: PathBuf,
    file: File,
    /// Set when a record may be half-written, after which nothing more is added.
    broken: bool,
    scopes: BTreeMap<KeyScope, ScopeKeys>,
    /// 32-byte secrets of signing keys, as key types that wipe themselves.
    signing: BTreeMap<Signing, Kek>,
    /// Whether the keys of tenants were wiped: then none is made either, for it would take the place of one on the disk.
    forgotten: bool,
}

impl KeySet {
    /// Opens the key set; makes the signing keys that it does not have yet.
    ///
    /// # Errors
    /// Damaged, or not of this root key.
    pub(crate) fn open(state: &State) -> Result<Self, KeeperError> {
        let path = state.dir.join("keys");
        let (file, bytes) = open_file(&path)?;
        let mut this = Self {
            path,
            file,
            broken: false,
            scopes: BTreeMap::new(),
            signing: BTreeMap::new(),
            forgotten: false,
        };
        let mut at = 0;
        loop {
            match frame::next(&bytes, at) {
                Next::Frame(Frame::Entry(record), after) => {
                    this.load(state, record).map_err(|e| this.damaged(at, e))?;
                    at = after;
                }
                Next::End if at == bytes.len() => break,
                _ => {
                    this.set_aside(&bytes, at)?;
                    break;
                }
            }
        }
        for which in Signing::ALL {
            if !this.signing.contains_key(&which) {
                this.make_signing(state, which)?;
            }
        }
        Ok(this)
    }

    /// The keys of a scope.
    pub(crate) fn scope(&self, scope: &KeyScope) -> Result<&ScopeKeys, KeeperError> {
        self.barred(scope)?;
        self.scopes.get(scope).ok_or_else(|| KeeperError::NoScope(scope.to_string()))
    }

    /// Wipes the keys of every tenant and job from memory; those of the node itself stay.
    pub(crate) fn forget_tenants(&mut self) {
        self.forgotten = true;
        self.scopes.retain(|scope, _| is_nodes(scope));
    }

    /// Refuses a tenant's scope after their keys were wiped.
    fn barred(&self, scope: &KeyScope) -> Result<(), KeeperError> {
        if self.forgotten && !is_nodes(scope) { Err(KeeperError::SafeMode) } else { Ok(()) }
    }

    /// Lets `use_it` see the secret of a signing key.
    pub(crate) fn signing<R>(
        &self,
        which: Signing,
        use_it: impl FnOnce(&[u8; KEY_LEN]) -> R,
    ) -> Result<R, KeeperError> {
        let key = self.signing.get(&which).ok_or(KeyError::Provider("find a signing key"))?;
        Ok(key.expose(use_it))
    }

    /// Makes the keys of a scope and has them on the disk before it returns; `None` if they were there.
    ///
    /// # Errors
    /// The tenant of a job has no keys, or the disk did not take the record: then nothing is made.
    pub(crate) fn create(&mut self, state: &State, scope: &KeyScope) -> Result<Option<u64>, KeeperError> {
        self.barred(scope)?;
        if self.scopes.contains_key(scope) {
            return Ok(None);
        }
        if self.scopes.len() >= SCOPES_MAX {
            return Err(KeeperError::ScopesFull);
        }
        let kek = Kek::take(&mut clock::random()?);
        let address = AddressKey::take(&mut clock::random()?);
        let by: &dyn WrapKey = match scope {
            KeyScope::Tenant(_) => &state.root,
            KeyScope::Job(tenant, _) => &self.scope(&KeyScope::Tenant(tenant.clone()))?.kek,
        };
        let wrapped = wrap_kek(by, scope, FIRST_VERSION, &kek, clock::random()?)?;
        let named = wrap_address_key(&state.root, scope, &address, clock::random()?)?;
        let mut w = Writer::new();
        w.u8(SCOPE).str(&scope.to_string()).u64(FIRST_VERSION);
        w.raw(wrapped.as_bytes()).raw(named.as_bytes());
        self.append(&w.finish())?;
        self.scopes.insert(scope.clone(), ScopeKeys { version: FIRST_VERSION, kek, address });
        Ok(Some(FIRST_VERSION))
    }

    fn make_signing(&mut self, state: &State, which: Signing) -> Result<(), KeeperError> {
        let mut seed = clock::random::<KEY_LEN>()?;
        // A P-256 scalar is below the group's order, which all but 2^-32 of random values are: draw until it is.
        while matches!(which, Signing::Model | Signing::Bom | Signing::Policy)
            && audit::ecdsa::P256Signer::new(&seed).is_err()
        {
            clock::fill(&mut seed)?;
        }
        let wrapped = state.root.wrap(&which.aad(), &seed, clock::random()?)?;
        let key = Kek::take(&mut seed);
        let mut w = Writer::new();
        w.u8(SIGNING).u8(which.tag()).raw(wrapped.as_bytes());
        self.append(&w.finish())?;
        self.signing.insert(which, key);
        Ok(())
    }

    fn append(&mut self, record: &[u8]) -> Result<(), KeeperError> {
        let mut bytes = Vec::new();
        frame::put(&mut bytes, Frame::Entry(record));
        let path = self.path.clone();
        if self.broken {
            let source = std::io::Error::other("an earlier record could not be written; restart the keeper");
            return Err(KeeperError::File { doing: "writing", path, source });
        }
        let before = self.file.metadata().map_err(KeeperError::file("looking at", &path))?.len();
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_all());
        if written.is_err() && self.file.set_len(before).and_then(|()| self.file.sync_all()).is_err() {
            self.broken = true;
        }
        written.map_err(KeeperError::file("writing", &path))
    }

    fn load(&mut self, state: &State, record: &[u8]) -> Result<(), LoadError> {
        let mut r = Reader::new(record);
        match r.u8()? {
            SCOPE => {
                let scope: KeyScope =
                    r.str("scope", SCOPE_TEXT_MAX)?.parse().map_err(|_| WireError::Invalid("scope"))?;
                let version = r.u64()?;
                let wrapped = WrappedKey::from_slice(r.raw(WRAPPED_LEN)?)?;
                let named = WrappedKey::from_slice(r.raw(WRAPPED_LEN)?)?;
                r.finish()?;
                let by: &dyn WrapKey = match &scope {
                    KeyScope::Tenant(_) => &state.root,
                    KeyScope::Job(tenant, _) => {
                        let parent = self.scopes.get(&KeyScope::Tenant(tenant.clone()));
                        &parent.ok_or(WireError::Invalid("order of scopes"))?.kek
                    }
                };
                let kek = keys::unwrap_kek(by, &scope, version, &wrapped)?;
                let address = keys::unwrap_address_key(&state.root, &scope, &named)?;
                self.scopes.insert(scope, ScopeKeys { version, kek, address });
            }
            SIGNING => {
                let which = Signing::from_tag(r.u8()?).ok_or(WireError::Invalid("signing key"))?;
                let wrapped = WrappedKey::from_slice(r.raw(WRAPPED_LEN)?)?;
                r.finish()?;
                let mut key = None;
                state.root.unwrap(&which.aad(), &wrapped, &mut |bytes| {
                    key = Some(Kek::take(bytes));
                    bytes.zeroize();
                })?;
                self.signing.insert(which, key.ok_or(KeyError::Refused)?);
            }
            value => return Err(WireError::Undefined { what: "record", value: value.into() }.into()),
        }
        Ok(())
    }

    fn damaged(&self, at: usize, error: LoadError) -> KeeperError {
        match error {
            LoadError::Key(error) => KeeperError::Key(error),
            LoadError::Wire => KeeperError::KeySet { path: self.path.clone(), at },
        }
    }

    /// A record cut by a crash was never acknowledged. Its bytes are kept in a file beside, so that nothing is
    /// ever lost by a wrong guess; anything longer than one record is damage and refused.
    fn set_aside(&mut self, bytes: &[u8], at: usize) -> Result<(), KeeperError> {
        let tail = bytes.get(at..).unwrap_or_default();
        // A record: header, tag, scope text with its length, version, two wrapped keys.
        let longest = frame::len(1 + 4 + SCOPE_TEXT_MAX + 8 + 2 * WRAPPED_LEN);
        if tail.len() > longest {
            return Err(KeeperError::KeySet { path: self.path.clone(), at });
        }
        let mut aside = self.path.clone();
        aside.set_file_name(format!("keys.cut-{}", base::digest::hex(&clock::random::<8>()?)));
        crate::state::write_new(&aside, tail)?;
        let len = u64::try_from(at).unwrap_or(0);
        let path = self.path.clone();
        self.file
            .set_len(len)
            .and_then(|()| self.file.sync_all())
            .map_err(KeeperError::file("mending", &path))
    }
}

/// Whether a scope is the node's own, which its database is sealed under.
fn is_nodes(scope: &KeyScope) -> bool {
    scope.tenant().as_str() == vault::scope::NODE
}

/// A record does not load.
enum LoadError {
    Wire,
    Key(KeyError),
}

impl From<WireError> for LoadError {
    fn from(_: WireError) -> Self {
        Self::Wire
    }
}

impl From<KeyError> for LoadError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

fn open_file(path: &Path) -> Result<(File, Vec<u8>), KeeperError> {
    let fresh = !path.exists();
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(KeeperError::file("opening", path))?;
    if fresh && let Some(dir) = path.parent() {
        sync_dir(dir)?;
    }
    let mut bytes = Vec::new();
    Read::by_ref(&mut file)
        .take(KEY_SET_MAX.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(KeeperError::file("reading", path))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > KEY_SET_MAX {
        return Err(KeeperError::KeySet { path: path.to_path_buf(), at: bytes.len() });
    }
    Ok((file, bytes))
}

#[cfg(test)]
mod tests;
