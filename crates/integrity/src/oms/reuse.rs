//! To sign or verify anew what has hardly changed, reading only what has.
//!
//! A digest may be taken over without the bytes being read again only where nothing can have changed them: from the
//! sealed store, whose objects are written once and named by their content under a key of their scope. So a
//! [`Baseline`] is made of a model that verified and of the objects that hold its files, and a file keeps its digest if
//! it is *the same object of the same scope*. Names, times and sizes of files prove nothing and have no place here;
//! on plain files there is no such store, and the command line reads all of them.
//!
//! ```text
//! Baseline::new(scope, &signed, &verified, &objects)   what was verified, and which object holds each file
//!     .plan(&scope, serialization, &files)             what is known, and which files must be read
//!     .complete(measured)                              the whole model again, for a Draft or Signed::check
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::hash::FileDigest;
use super::measure::{Measured, Method, Serialization};
use super::verify::{Signed, Verified};
use crate::error::quote;

/// The scope of a key under which objects are named: a tenant, or a job. Objects of two scopes have nothing to do with
/// each other, even if their names were the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyScope(String);

impl KeyScope {
    /// The scope of this name, as the store calls it.
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// An object of the immutable store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredObject {
    /// Its name in its scope.
    pub name: String,
    /// Bytes of its content.
    pub len: u64,
}

/// Why digests cannot be taken over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReuseError {
    /// A verified file has no object.
    #[error("file `{name}` of the earlier version is not in the store")]
    NoObject {
        /// Its name.
        name: String,
    },
    /// An object is not as long as the file was signed, so it is not of this file.
    #[error("object and signature of file `{name}` do not agree")]
    Disagree {
        /// Its name.
        name: String,
    },
    /// Not exactly the files that were to be read were read.
    #[error("file `{name}` was to be read, or was read and is not in the plan")]
    Incomplete {
        /// Its name.
        name: String,
    },
}

impl base::Explain for ReuseError {
    fn code(&self) -> &'static str {
        "SR-INT-0026"
    }
    fn fault(&self) -> base::Fault {
        base::Fault::Platform
    }
    fn help(&self) -> Option<base::Help> {
        Some("read and sign the whole model, which needs no earlier version: `strongroom model import`")
    }
}

/// What is known of the content of objects, from a model that verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    scope: KeyScope,
    serialization: Serialization,
    known: BTreeMap<StoredObject, Measured>,
}

impl Baseline {
    /// The files of the verified view with the object that holds each.
    ///
    /// # Errors
    /// [`ReuseError::NoObject`], [`ReuseError::Disagree`].
    pub fn new(
        scope: KeyScope,
        signed: &Signed,
        verified: &Verified,
        objects: &BTreeMap<String, StoredObject>,
    ) -> Result<Self, ReuseError> {
        let serialization = signed.statement().serialization;
        let mut digests: BTreeMap<&str, Vec<FileDigest>> = BTreeMap::new();
        let mut lens: BTreeMap<&str, u64> = BTreeMap::new();
        // The statement, not what was found: it is what was signed and what everything was compared with.
        match serialization.method {
            Method::Files => {
                for resource in &signed.statement().resources {
                    digests.entry(&resource.name).or_default().push(resource.digest);
                }
            }
            Method::Shards { size_bytes } => {
                for (path, shards) in signed.statement().shards(size_bytes).unwrap_or_default() {
                    lens.insert(path, shards.last().map_or(0, |s| s.range.end));
                    digests.insert(path, shards.iter().map(|s| s.digest).collect());
                }
            }
        }
        let mut known = BTreeMap::new();
        for name in &verified.files {
            let quoted = || quote(name);
            let object = objects.get(name).ok_or_else(|| ReuseError::NoObject { name: quoted() })?;
            let digests = digests.remove(name.as_str());
            let digests = digests.ok_or_else(|| ReuseError::Disagree { name: quoted() })?;
            if lens.get(name.as_str()).is_some_and(|len| *len != object.len) {
                return Err(ReuseError::Disagree { name: quoted() });
            }
            let measured = Measured::of(object.len, digests);
            // One object under two names has one content.
            if known.insert(object.clone(), measured.clone()).is_some_and(|before| before != measured) {
                return Err(ReuseError::Disagree { name: quoted() });
            }
        }
        Ok(Self { scope, serialization, known })
    }

    /// Which of these files must be read. `files` holds every file of the model as it is now, with its object in the
    /// store, or none where it is not there. In another scope, or to be measured in another way, all must be.
    pub fn plan(
        &self,
        scope: &KeyScope,
        serialization: Serialization,
        files: &BTreeMap<String, Option<StoredObject>>,
    ) -> Plan {
        let comparable = *scope == self.scope && serialization == self.serialization;
        let mut plan = Plan { known: BTreeMap::new(), read: BTreeSet::new() };
        for (name, object) in files {
            match object.as_ref().filter(|_| comparable).and_then(|object| self.known.get(object)) {
                Some(measured) => {
                    plan.known.insert(name.clone(), measured.clone());
                }
                None => {
                    plan.read.insert(name.clone());
                }
            }
        }
        plan
    }
}

/// What is known without reading, and what must be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    known: BTreeMap<String, Measured>,
    read: BTreeSet<String>,
}

impl Plan {
    /// Files that must be read.
    pub fn to_read(&self) -> &BTreeSet<String> {
        &self.read
    }

    /// Files whose digests are taken over.
    pub fn reused(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(String::as_str)
    }

    /// The whole model, once exactly the files that must be read were read.
    ///
    /// # Errors
    /// [`ReuseError::Incomplete`].
    pub fn complete(
        self,
        read: BTreeMap<String, Measured>,
    ) -> Result<BTreeMap<String, Measured>, ReuseError> {
        let other = self.read.iter().find(|name| !read.contains_key(*name));
        let other = other.or_else(|| read.keys().find(|name| !self.read.contains(*name)));
        if let Some(name) = other {
            return Err(ReuseError::Incomplete { name: quote(name) });
        }
        let mut all = self.known;
        all.extend(read);
        Ok(all)
    }
}
