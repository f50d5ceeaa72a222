//! The signed statement: written here, and read with every rule that the schemas do not check.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use base::{Digest, Hasher};

use super::{PREDICATE_TYPE, STATEMENT_TYPE, name};
use crate::error::{SignError, VerifyError, quote};
use crate::limits::{IGNORE_MAX, RESOURCES_MAX};

/// One signed thing: a file, or with shards a range of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Relative path, or `path:start:end` for a shard.
    pub name: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
}

/// How a model was cut into resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// One resource for each file.
    Files,
    /// One for each range of this many bytes; the last of a file may be shorter.
    Shards {
        /// Bytes of a shard, at least 1.
        size_bytes: u64,
    },
}

/// A statement that keeps every rule of OMS v1.0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What the signer calls the model; informative.
    pub model_name: String,
    /// The model's identity: SHA-256 over the raw digests of `resources` in order.
    pub root_digest: Digest,
    /// How the resources were made.
    pub method: Method,
    /// As signed: sorted by name or by tree, unique, at least one.
    pub resources: Vec<Resource>,
    /// Paths that the signer left out, with what is below them.
    pub ignore_paths: Vec<String>,
}

/// The root digest of resources in this order: SHA-256 over their raw digests.
pub fn root_digest<'r>(resources: impl IntoIterator<Item = &'r Resource>) -> Digest {
    let mut hasher = Hasher::new();
    for resource in resources {
        hasher.update(resource.digest.as_bytes());
    }
    hasher.finish()
}

/// The payload to sign for these files, in any order, with method `files`. `ignore_paths` are what the caller
/// left out, such as the signature file within the directory; [`super::DEFAULT_IGNORED`] are not added.
///
/// # Errors
/// No file, no model name, a name that is not a plain relative path, or one name twice.
pub fn statement(
    model_name: &str,
    files: &[Resource],
    ignore_paths: &[String],
) -> Result<Vec<u8>, SignError> {
    if model_name.is_empty() {
        return Err(SignError::NoName);
    }
    if files.len() > RESOURCES_MAX || ignore_paths.len() > IGNORE_MAX {
        return Err(SignError::TooMany(files.len().max(ignore_paths.len())));
    }
    for name in files.iter().map(|f| &f.name).chain(ignore_paths) {
        if let Some(why) = name::fault(name) {
            return Err(SignError::Name { name: quote(name), why });
        }
    }
    // Rust compares text by UTF-8 bytes, which is the order of Unicode code points.
    let by_name: BTreeMap<&str, &Resource> = files.iter().map(|f| (f.name.as_str(), f)).collect();
    if by_name.is_empty() {
        return Err(SignError::Empty);
    }
    if by_name.len() != files.len() {
        let twice =
            files.iter().find(|f| by_name.get(f.name.as_str()).is_some_and(|kept| !std::ptr::eq(*kept, *f)));
        return Err(SignError::Conflict {
            name: quote(twice.map_or("", |f| &f.name)),
            why: "stands twice in the list",
        });
    }
    let ignored: BTreeSet<&str> = ignore_paths.iter().map(String::as_str).collect();
    if let Some(file) = by_name.keys().find(|file| name::covered(file, &ignored)) {
        return Err(SignError::Conflict { name: quote(file), why: "is under a path that is to be ignored" });
    }
    let root = root_digest(by_name.values().copied());
    let resources: Vec<Value> = by_name
        .values()
        .map(|r| json!({"algorithm": "sha256", "digest": r.digest.hex(), "name": r.name}))
        .collect();
    let mut serialization = json!({"allow_symlinks": false, "hash_type": "sha256", "method": "files"});
    if let Some(members) = serialization.as_object_mut().filter(|_| !ignore_paths.is_empty()) {
        members.insert("ignore_paths".to_owned(), json!(ignore_paths));
    }
    let value = json!({
        "_type": STATEMENT_TYPE,
        "subject": [{"name": model_name, "digest": {"sha256": root.hex()}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {"resources": resources, "serialization": serialization},
    });
    Ok(value.to_string().into_bytes())
}

impl Statement {
    /// Reads a statement whose signature is already verified.
    pub(crate) fn from_value(value: &Value) -> Result<Self, VerifyError> {
        let members = object(value, "statement", &["_type", "subject", "predicateType", "predicate"])?;
        is_type(members, "_type", STATEMENT_TYPE)?;
        is_type(members, "predicateType", PREDICATE_TYPE)?;
        let (model_name, stated) = subject(members)?;
        let predicate = object(member(members, "predicate")?, "predicate", &["resources", "serialization"])?;
        let (method, ignore_paths) = serialization(member(predicate, "serialization")?)?;
        let resources = resources(member(predicate, "resources")?, &ignore_paths, method)?;
        let computed = root_digest(&resources);
        if computed != stated {
            return Err(VerifyError::RootDigest { computed, stated });
        }
        Ok(Self { model_name, root_digest: computed, method, resources, ignore_paths })
    }

    /// With shards, the ranges of each file: contiguous from 0, each exactly the shard size but the last.
    pub(crate) fn shards(&self, size_bytes: u64) -> Result<BTreeMap<&str, Vec<Shard>>, VerifyError> {
        let mut files: BTreeMap<&str, Vec<Shard>> = BTreeMap::new();
        for resource in &self.resources {
            let (path, range) = name::shard(&resource.name)
                .ok_or_else(|| invalid(&format!("`{}` is not a shard name", quote(&resource.name))))?;
            files.entry(path).or_default().push(Shard { range, digest: resource.digest });
        }
        for (path, shards) in &mut files {
            shards.sort_by_key(|s| s.range.start);
            let mut at = 0u64;
            let last = shards.len().saturating_sub(1);
            for (i, shard) in shards.iter().enumerate() {
                let len = shard.range.end.saturating_sub(shard.range.start);
                if shard.range.start != at || len > size_bytes || (len < size_bytes && i != last) {
                    return Err(invalid(&format!("the shards of `{}` leave a hole or overlap", quote(path))));
                }
                at = shard.range.end;
            }
        }
        Ok(files)
    }
}

/// A range of a file with its digest.
#[derive(Debug, Clone)]
pub(crate) struct Shard {
    pub(crate) range: std::ops::Range<u64>,
    pub(crate) digest: Digest,
}

fn subject(members: &Map<String, Value>) -> Result<(String, Digest), VerifyError> {
    let [subject] = member(members, "subject")?.as_array().map_or(&[][..], Vec::as_slice) else {
        return Err(invalid("it must have exactly one subject"));
    };
    let subject = object(subject, "subject", &["name", "digest"])?;
    let model_name = text(subject, "name")?;
    if model_name.is_empty() {
        return Err(invalid("the subject has no name"));
    }
    let digests = object(member(subject, "digest")?, "digest", &["sha256"])?;
    Ok((model_name.to_owned(), digest(text(digests, "sha256")?)?))
}

fn serialization(value: &Value) -> Result<(Method, Vec<String>), VerifyError> {
    let allowed = ["method", "hash_type", "shard_size", "allow_symlinks", "ignore_paths"];
    let members = object(value, "serialization", &allowed)?;
    match text(members, "hash_type")? {
        "sha256" => {}
        other @ ("blake2b" | "blake3") => {
            return Err(VerifyError::NotSupported(format!("a signature over `{other}` digests")));
        }
        other => return Err(invalid(&format!("`hash_type` is `{}`", quote(other)))),
    }
    match members.get("allow_symlinks") {
        Some(Value::Bool(false)) => {}
        Some(Value::Bool(true)) => {
            return Err(VerifyError::NotSupported("a signature that followed symbolic links".to_owned()));
        }
        _ => return Err(invalid("`allow_symlinks` must be true or false")),
    }
    let size = members.get("shard_size");
    let method = match (text(members, "method")?, size) {
        ("files", None) => Method::Files,
        ("files", Some(_)) => return Err(invalid("`shard_size` stands beside method `files`")),
        ("shards", size) => {
            let size_bytes = size.and_then(Value::as_u64).filter(|n| *n > 0);
            Method::Shards {
                size_bytes: size_bytes.ok_or_else(|| invalid("`shard_size` must be a positive integer"))?,
            }
        }
        (other, _) => return Err(invalid(&format!("`method` is `{}`", quote(other)))),
    };
    let ignored = match members.get("ignore_paths") {
        None => &[][..],
        Some(list) => list.as_array().ok_or_else(|| invalid("`ignore_paths` must be a list"))?,
    };
    if ignored.len() > IGNORE_MAX {
        return Err(invalid("`ignore_paths` is too long"));
    }
    let mut ignore_paths = Vec::with_capacity(ignored.len());
    for path in ignored {
        let path = path.as_str().ok_or_else(|| invalid("`ignore_paths` must hold texts"))?;
        if let Some(why) = name::fault(path) {
            return Err(invalid(&format!("ignored path `{}`: {why}", quote(path))));
        }
        ignore_paths.push(path.to_owned());
    }
    Ok((method, ignore_paths))
}

fn resources(value: &Value, ignore_paths: &[String], method: Method) -> Result<Vec<Resource>, VerifyError> {
    let list = value.as_array().ok_or_else(|| invalid("`resources` must be a list"))?;
    if list.is_empty() || list.len() > RESOURCES_MAX {
        return Err(invalid(&format!("it lists {} resources", list.len())));
    }
    let ignored: BTreeSet<&str> = ignore_paths.iter().map(String::as_str).collect();
    let mut out: Vec<Resource> = Vec::with_capacity(list.len());
    for item in list {
        // The one level at which unknown members are allowed and ignored.
        let members = item.as_object().ok_or_else(|| invalid("a resource must be an object"))?;
        let name = text(members, "name")?;
        if text(members, "algorithm")? != "sha256" {
            return Err(invalid(&format!("the algorithm of `{}` is not `hash_type`", quote(name))));
        }
        let path = match method {
            Method::Files => name,
            Method::Shards { .. } => name::shard(name).map_or(name, |(path, _)| path),
        };
        if let Some(why) = name::fault(path) {
            return Err(invalid(&format!("resource name `{}`: {why}", quote(name))));
        }
        if name::covered(path, &ignored) {
            return Err(invalid(&format!("`{}` is both listed and ignored", quote(name))));
        }
        out.push(Resource { name: name.to_owned(), digest: digest(text(members, "digest")?)? });
    }
    let tree = |a: &str, b: &str| tree_order(a, b, method);
    if let Some(name) = out_of_order(&out, text_order).filter(|_| out_of_order(&out, tree).is_some()) {
        return Err(invalid(&format!("`{}` stands twice or out of order", quote(name))));
    }
    Ok(out)
}

/// The first resource that does not come after the one before it; with none, names are also unique.
fn out_of_order(list: &[Resource], order: impl Fn(&str, &str) -> Ordering) -> Option<&str> {
    let mut pairs = list.iter().zip(list.iter().skip(1));
    pairs.find(|(a, b)| order(&a.name, &b.name) != Ordering::Less).map(|(_, b)| b.name.as_str())
}

/// The order of OMS v1.0: code points of the whole name.
fn text_order(a: &str, b: &str) -> Ordering {
    a.cmp(b)
}

/// The order in which the reference implementation writes (seen in 1.1.1): component by component, so that
/// `w/x` comes before `w.bin`, and shards of a file by offset. The root digest follows the order, so it is
/// read, never written.
fn tree_order(a: &str, b: &str, method: Method) -> Ordering {
    let parts = |name| match (method, name::shard(name)) {
        (Method::Shards { .. }, Some((path, range))) => (path, range.start, range.end),
        _ => (name, 0, 0),
    };
    let ((path_a, start_a, end_a), (path_b, start_b, end_b)) = (parts(a), parts(b));
    path_a.split('/').cmp(path_b.split('/')).then((start_a, end_a).cmp(&(start_b, end_b)))
}

/// 64 lower-case hex characters, without a prefix.
fn digest(text: &str) -> Result<Digest, VerifyError> {
    let bytes: Option<[u8; 32]> = base::digest::unhex(text).and_then(|b| b.try_into().ok());
    bytes
        .map(Digest::from_bytes)
        .ok_or_else(|| invalid(&format!("`{}` is not a SHA-256 digest", quote(text))))
}

fn is_type(members: &Map<String, Value>, what: &'static str, wanted: &str) -> Result<(), VerifyError> {
    match text(members, what)? {
        found if found == wanted => Ok(()),
        found => Err(VerifyError::WrongType { what, found: quote(found) }),
    }
}

fn member<'v>(members: &'v Map<String, Value>, name: &str) -> Result<&'v Value, VerifyError> {
    members.get(name).ok_or_else(|| invalid(&format!("`{name}` is missing")))
}

fn text<'v>(members: &'v Map<String, Value>, name: &'static str) -> Result<&'v str, VerifyError> {
    crate::dsse::text(members, name).map_err(into_statement)
}

fn object<'v>(
    value: &'v Value,
    what: &'static str,
    allowed: &[&str],
) -> Result<&'v Map<String, Value>, VerifyError> {
    crate::dsse::object(value, what, allowed).map_err(into_statement)
}

/// The same rule broken in the signed statement is the signer's fault, not damage to the file.
fn into_statement(error: VerifyError) -> VerifyError {
    match error {
        VerifyError::Malformed(what) => VerifyError::Statement(what),
        other => other,
    }
}

pub(crate) fn invalid(what: &str) -> VerifyError {
    VerifyError::Statement(what.to_owned())
}
