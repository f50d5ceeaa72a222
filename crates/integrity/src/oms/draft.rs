//! The statement, as it is written.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use base::{Digest, Hasher};

use super::measure::{Measured, Method, Serialization};
use super::statement::Resource;
use super::{PREDICATE_TYPE, STATEMENT_TYPE, name};
use crate::error::{SignError, quote};
use crate::limits::{IGNORE_MAX, RESOURCES_MAX};

/// The root digest of resources in this order: SHA-256 over their raw digests.
pub fn root_digest<'r>(resources: impl IntoIterator<Item = &'r Resource>) -> Digest {
    let mut hasher = Hasher::new();
    for resource in resources {
        hasher.update(resource.digest.as_bytes());
    }
    hasher.finish()
}

/// A model as it was read, before it is signed.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'d> {
    /// What the signer calls the model; informative.
    pub model_name: &'d str,
    /// How its files were measured.
    pub serialization: Serialization,
    /// Every file that is to be signed, by relative name.
    pub files: &'d BTreeMap<String, Measured>,
    /// What the caller left out, such as the signature file within the directory;
    /// [`super::DEFAULT_IGNORED`] are not added.
    pub ignore_paths: &'d [String],
}

impl Draft<'_> {
    /// The resources in the order of the statement. Empty files have none with shards: OMS leaves them out.
    ///
    /// # Errors
    /// A file that was measured in another way.
    pub fn resources(&self) -> Result<Vec<Resource>, SignError> {
        let mut out = Vec::with_capacity(self.files.len());
        for (name, measured) in self.files {
            let ranges = self.serialization.ranges(measured.len).ok_or(SignError::TooMany(usize::MAX))?;
            let ranges: Vec<_> = ranges.take(measured.digests.len().saturating_add(1)).collect();
            let of_type = measured.digests.iter().all(|d| d.hash_type() == self.serialization.hash);
            if ranges.len() != measured.digests.len() || !of_type {
                let why = "was not measured in the way that is to be signed";
                return Err(SignError::Conflict { name: quote(name), why });
            }
            if out.len().saturating_add(ranges.len()) > RESOURCES_MAX {
                return Err(SignError::TooMany(out.len().saturating_add(ranges.len())));
            }
            out.extend(ranges.iter().zip(&measured.digests).map(|(range, digest)| Resource {
                name: match self.serialization.method {
                    Method::Files => name.clone(),
                    Method::Shards { .. } => format!("{name}:{}:{}", range.start, range.end),
                },
                digest: *digest,
            }));
        }
        out.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(out)
    }

    /// The payload to sign.
    ///
    /// # Errors
    /// No file with content, no model name, a name that is not a plain relative path.
    pub fn statement(&self) -> Result<Vec<u8>, SignError> {
        for name in self.files.keys() {
            faultless(name)?;
        }
        let ignored: BTreeSet<&str> = self.ignore_paths.iter().map(String::as_str).collect();
        if let Some(file) = self.files.keys().find(|file| name::covered(file, &ignored)) {
            return Err(conflict(file));
        }
        compose(self.model_name, self.serialization, &self.resources()?, self.ignore_paths)
    }
}

/// The payload to sign for these whole files with their SHA-256, in any order. `ignore_paths` are as in
/// [`Draft::ignore_paths`].
///
/// # Errors
/// No file, no model name, a name that is not a plain relative path, or one name twice.
pub fn statement(
    model_name: &str,
    files: &[Resource],
    ignore_paths: &[String],
) -> Result<Vec<u8>, SignError> {
    for file in files {
        faultless(&file.name)?;
    }
    let ignored: BTreeSet<&str> = ignore_paths.iter().map(String::as_str).collect();
    if let Some(file) = files.iter().find(|file| name::covered(&file.name, &ignored)) {
        return Err(conflict(&file.name));
    }
    compose(model_name, Serialization::default(), files, ignore_paths)
}

fn faultless(name: &str) -> Result<(), SignError> {
    name::fault(name).map_or(Ok(()), |why| Err(SignError::Name { name: quote(name), why }))
}

fn conflict(file: &str) -> SignError {
    SignError::Conflict { name: quote(file), why: "is under a path that is to be ignored" }
}

fn compose(
    model_name: &str,
    serialization: Serialization,
    resources: &[Resource],
    ignore_paths: &[String],
) -> Result<Vec<u8>, SignError> {
    let Serialization { hash, method } = serialization;
    if model_name.is_empty() {
        return Err(SignError::NoName);
    }
    if resources.len() > RESOURCES_MAX || ignore_paths.len() > IGNORE_MAX {
        return Err(SignError::TooMany(resources.len().max(ignore_paths.len())));
    }
    for path in ignore_paths {
        faultless(path)?;
    }
    // Rust compares text by UTF-8 bytes, which is the order of Unicode code points.
    let by_name: BTreeMap<&str, &Resource> = resources.iter().map(|r| (r.name.as_str(), r)).collect();
    if by_name.is_empty() {
        return Err(SignError::Empty);
    }
    if by_name.len() != resources.len() {
        let twice = resources
            .iter()
            .find(|r| by_name.get(r.name.as_str()).is_some_and(|kept| !std::ptr::eq(*kept, *r)));
        let name = quote(twice.map_or("", |r| &r.name));
        return Err(SignError::Conflict { name, why: "stands twice in the list" });
    }
    if let Some(other) = resources.iter().find(|r| r.digest.hash_type() != hash) {
        let why = "was not measured in the way that is to be signed";
        return Err(SignError::Conflict { name: quote(&other.name), why });
    }
    let root = root_digest(by_name.values().copied());
    let listed: Vec<Value> = by_name
        .values()
        .map(|r| json!({"algorithm": hash.name(), "digest": r.digest.hex(), "name": r.name}))
        .collect();
    let mut form = serde_json::Map::from_iter([
        ("allow_symlinks".to_owned(), false.into()),
        ("hash_type".to_owned(), hash.name().into()),
    ]);
    match method {
        Method::Files => form.insert("method".to_owned(), "files".into()),
        Method::Shards { size_bytes } => {
            form.insert("shard_size".to_owned(), size_bytes.into());
            form.insert("method".to_owned(), "shards".into())
        }
    };
    if !ignore_paths.is_empty() {
        form.insert("ignore_paths".to_owned(), json!(ignore_paths));
    }
    let value = json!({
        "_type": STATEMENT_TYPE,
        "subject": [{"name": model_name, "digest": {"sha256": root.hex()}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {"resources": listed, "serialization": form},
    });
    Ok(value.to_string().into_bytes())
}
