//! The files against a verified statement.

use std::collections::{BTreeMap, BTreeSet};

use base::Digest;

use super::hash::FileDigest;
use super::measure::{Measured, Method};
use super::signer::Signer;
use super::statement::{Resource, Statement};
use super::{DEFAULT_IGNORED, bundle, name};
use crate::error::{Difference, VerifyError};

/// A statement whose signature verified. Only the functions that open a bundle make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    statement: Statement,
    signer: Signer,
}

/// What is in a model's directory: every regular file, each measured as [`Statement::serialization`] says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Present {
    /// By relative name. The caller leaves out the signature file itself, and refuses a directory with links or
    /// special files.
    pub files: BTreeMap<String, Measured>,
    /// Directories that hold nothing, by relative name. A signature covers files only, so that such a directory
    /// is something that nobody signed.
    pub empty_directories: BTreeSet<String>,
}

/// What becomes of a file that is neither signed nor ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unsigned {
    /// The model is refused.
    #[default]
    Refuse,
    /// It is reported as ignored and stays outside the view. Never in the platform's own policy.
    Leave,
}

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
    pub(crate) fn new(statement: Statement, signer: Signer) -> Self {
        Self { statement, signer }
    }

    /// What was signed.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// By whom.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Checks whole files by their SHA-256, which is what the store knows.
    ///
    /// # Errors
    /// [`VerifyError::Files`], or [`VerifyError::NotSupported`] for shards and other hashes, which need
    /// [`Signed::check`].
    pub fn check_files(&self, files: &BTreeMap<String, Digest>) -> Result<Verified, VerifyError> {
        if self.statement.serialization != super::Serialization::default() {
            let what = "a signature over shards or other hashes, checked by SHA-256 of whole files,";
            return Err(VerifyError::NotSupported(what.to_owned()));
        }
        let differs = |resource: &Resource| {
            files.get(&resource.name).map(|found| FileDigest::from(*found) != resource.digest)
        };
        let mut differences = Vec::new();
        let mut view = BTreeSet::new();
        for resource in &self.statement.resources {
            note(&resource.name, differs(resource), &mut differences);
            view.insert(resource.name.clone());
        }
        self.finish(view, files.keys(), Unsigned::Refuse, differences)
    }

    /// Checks what is there against what was signed.
    ///
    /// # Errors
    /// [`VerifyError::Files`], all of it; [`VerifyError::Unmeasured`] if a file was measured in another way.
    pub fn check(&self, present: &Present, unsigned: Unsigned) -> Result<Verified, VerifyError> {
        let serialization = self.statement.serialization;
        let hash = serialization.hash;
        let odd = present.files.iter().find(|(_, m)| m.digests.iter().any(|d| d.hash_type() != hash));
        if let Some((name, _)) = odd {
            return Err(VerifyError::Unmeasured { name: name.clone() });
        }
        let mut differences = Vec::new();
        let mut view = BTreeSet::new();
        match serialization.method {
            Method::Files => {
                for Resource { name, digest } in &self.statement.resources {
                    let differs = present.files.get(name).map(|m| m.digests.as_slice() != [*digest]);
                    note(name, differs, &mut differences);
                    view.insert(name.clone());
                }
            }
            Method::Shards { size_bytes } => {
                for (path, shards) in self.statement.shards(size_bytes)? {
                    let signed_len = shards.last().map_or(0, |s| s.range.end);
                    let differs = present.files.get(path).map(|m| {
                        m.len != signed_len || !m.digests.iter().eq(shards.iter().map(|s| &s.digest))
                    });
                    note(path, differs, &mut differences);
                    view.insert(path.to_owned());
                }
            }
        }
        // An empty directory on the way to nothing that is signed.
        let paths = self.ignored();
        let empty = present.empty_directories.iter().filter(|name| !name::covered(name, &paths));
        if unsigned == Unsigned::Refuse {
            differences.extend(empty.map(|name| Difference::EmptyDirectory { name: name.clone() }));
        }
        // OMS leaves empty files out of a statement over shards: no error, but outside the view.
        let shards = serialization.method != Method::Files;
        let harmless = |name: &&String| shards && present.files.get(*name).is_some_and(|m| m.len == 0);
        let (empty, present): (Vec<_>, Vec<_>) = present.files.keys().partition(harmless);
        let mut verified = self.finish(view, present.into_iter(), unsigned, differences)?;
        let beside = empty.into_iter().filter(|name| !verified.files.contains(*name)).cloned();
        let beside: Vec<String> = beside.collect();
        verified.ignored.extend(beside);
        Ok(verified)
    }

    fn ignored(&self) -> BTreeSet<&str> {
        self.statement.ignore_paths.iter().map(String::as_str).chain(DEFAULT_IGNORED).collect()
    }

    fn finish<'n>(
        &self,
        files: BTreeSet<String>,
        present: impl Iterator<Item = &'n String>,
        unsigned: Unsigned,
        mut differences: Vec<Difference>,
    ) -> Result<Verified, VerifyError> {
        let paths = self.ignored();
        let mut ignored = BTreeSet::new();
        for name in present.filter(|name| !files.contains(*name)) {
            if unsigned == Unsigned::Leave || name::covered(name, &paths) {
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
            model_name: self.statement.model_name.clone(),
            root_digest: self.statement.root_digest,
            resources: self.statement.resources.clone(),
            files,
            ignored,
        })
    }
}

/// Notes a signed file that is missing (`None`) or other than it was signed.
fn note(name: &str, differs: Option<bool>, differences: &mut Vec<Difference>) {
    let name = name.to_owned();
    match differs {
        None => differences.push(Difference::Missing { name }),
        Some(true) => differences.push(Difference::Changed { name }),
        Some(false) => {}
    }
}

impl Difference {
    /// The file's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Missing { name }
            | Self::Changed { name }
            | Self::Extra { name }
            | Self::EmptyDirectory { name } => name,
        }
    }
}
