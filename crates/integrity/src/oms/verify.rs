//! The files against a verified statement.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use base::Digest;

use super::statement::{Method, Resource, Statement};
use super::{DEFAULT_IGNORED, bundle, name};
use crate::error::{Difference, VerifyError};

/// A statement whose signature verified. Only [`bundle::open`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed(Statement);

/// A model that is exactly as signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What the signer calls it; informative.
    pub model_name: String,
    /// Its identity.
    pub root_digest: Digest,
    /// What was signed, in the order that the root digest follows.
    pub resources: Vec<Resource>,
    /// **The verified view**: the files that may be used, and no other.
    pub files: BTreeSet<String>,
    /// Files that are there but under an ignored path (or, with shards, empty): not covered by the signature,
    /// never to be loaded.
    pub ignored: BTreeSet<String>,
}

/// Verifies a signature file with a key and the SHA-256 of every regular file of the model, by relative name.
/// The caller leaves out the signature file itself, and refuses a directory with links or special files.
///
/// # Errors
/// [`VerifyError`]; what differs in the files is in [`VerifyError::Files`], all of it.
pub fn verify(
    bundle: &[u8],
    public_key_pem: &[u8],
    files: &BTreeMap<String, Digest>,
) -> Result<Verified, VerifyError> {
    bundle::open(bundle, public_key_pem)?.check_files(files)
}

impl Signed {
    pub(crate) fn new(statement: Statement) -> Self {
        Self(statement)
    }

    /// What was signed.
    pub fn statement(&self) -> &Statement {
        &self.0
    }

    /// Checks whole files by their digests (method `files`).
    ///
    /// # Errors
    /// [`VerifyError::Files`], or [`VerifyError::NotSupported`] for shards, which need [`Signed::check_shards`].
    pub fn check_files(&self, files: &BTreeMap<String, Digest>) -> Result<Verified, VerifyError> {
        if self.0.method != Method::Files {
            return Err(VerifyError::NotSupported(
                "a signature over shards, checked by whole files,".to_owned(),
            ));
        }
        let mut differences = Vec::new();
        let mut view = BTreeSet::new();
        for Resource { name, digest } in &self.0.resources {
            match files.get(name) {
                None => differences.push(Difference::Missing { name: name.clone() }),
                Some(found) if found != digest => {
                    differences.push(Difference::Changed { name: name.clone() });
                }
                Some(_) => {}
            }
            view.insert(name.clone());
        }
        self.finish(view, files.keys(), |_| false, differences)
    }

    /// Checks ranges of files (method `shards`), or whole files through the same closure. `sizes` holds every
    /// regular file with its length in bytes; `hash` returns the SHA-256 of a range, or `None` if it cannot be
    /// read.
    ///
    /// # Errors
    /// [`VerifyError::Files`], [`VerifyError::Unreadable`], [`VerifyError::Statement`] for ranges that do not
    /// cover a file.
    pub fn check_shards(
        &self,
        sizes: &BTreeMap<String, u64>,
        mut hash: impl FnMut(&str, Range<u64>) -> Option<Digest>,
    ) -> Result<Verified, VerifyError> {
        let mut unreadable = |name: &str, range| {
            hash(name, range).ok_or_else(|| VerifyError::Unreadable { name: name.to_owned() })
        };
        let Method::Shards { size_bytes } = self.0.method else {
            let mut files = BTreeMap::new();
            for (name, len) in sizes {
                files.insert(name.clone(), unreadable(name, 0..*len)?);
            }
            return self.check_files(&files);
        };
        let mut differences = Vec::new();
        let mut view = BTreeSet::new();
        for (path, shards) in self.0.shards(size_bytes)? {
            let signed_len = shards.last().map_or(0, |s| s.range.end);
            match sizes.get(path) {
                None => differences.push(Difference::Missing { name: path.to_owned() }),
                Some(len) if *len != signed_len => {
                    differences.push(Difference::Changed { name: path.to_owned() });
                }
                Some(_) => {
                    for shard in shards {
                        if unreadable(path, shard.range)? != shard.digest {
                            differences.push(Difference::Changed { name: path.to_owned() });
                            break;
                        }
                    }
                }
            }
            view.insert(path.to_owned());
        }
        // OMS leaves empty files out of a statement over shards: no error, but outside the view.
        self.finish(view, sizes.keys(), |name| sizes.get(name) == Some(&0), differences)
    }

    fn finish<'n>(
        &self,
        files: BTreeSet<String>,
        present: impl Iterator<Item = &'n String>,
        harmless: impl Fn(&str) -> bool,
        mut differences: Vec<Difference>,
    ) -> Result<Verified, VerifyError> {
        let paths = self.0.ignore_paths.iter().map(String::as_str).chain(DEFAULT_IGNORED).collect();
        let mut ignored = BTreeSet::new();
        for name in present.filter(|name| !files.contains(*name)) {
            if harmless(name) || name::covered(name, &paths) {
                ignored.insert(name.clone());
            } else {
                differences.push(Difference::Extra { name: name.clone() });
            }
        }
        if !differences.is_empty() {
            differences.sort_by(|a, b| a.name().cmp(b.name()));
            return Err(VerifyError::Files(differences));
        }
        Ok(Verified {
            model_name: self.0.model_name.clone(),
            root_digest: self.0.root_digest,
            resources: self.0.resources.clone(),
            files,
            ignored,
        })
    }
}

impl Difference {
    /// The file's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Missing { name } | Self::Changed { name } | Self::Extra { name } => name,
        }
    }
}
