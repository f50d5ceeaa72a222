//! The signed statement, read with every rule that the schemas do not check.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use base::Digest;

use super::draft::root_digest;
use super::hash::{FileDigest, HashType};
use super::measure::{Method, Serialization};
use super::{Accept, PREDICATE_TYPE, STATEMENT_TYPE, name};
use crate::error::{VerifyError, quote};
use crate::limits::{IGNORE_MAX, RESOURCES_MAX};

/// One signed thing: a file, or with shards a range of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Relative path, or `path:start:end` for a shard.
    pub name: String,
    /// The hash of its bytes.
    pub digest: FileDigest,
}

/// A statement that keeps every rule of OMS v1.0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What the signer calls the model; informative.
    pub model_name: String,
    /// The model's identity: SHA-256 over the raw digests of `resources` in order.
    pub root_digest: Digest,
    /// How the resources were made.
    pub serialization: Serialization,
    /// As signed: sorted by name or by tree, unique, at least one.
    pub resources: Vec<Resource>,
    /// Paths that the signer left out, with what is below them.
    pub ignore_paths: Vec<String>,
    /// Whether the signer followed symbolic links; true only where the caller accepts it.
    pub allow_symlinks: bool,
}

impl Statement {
    /// Reads a statement whose signature is already verified.
    pub(crate) fn from_value(value: &Value, accept: Accept) -> Result<Self, VerifyError> {
        let members = object(value, "statement", &["_type", "subject", "predicateType", "predicate"])?;
        is_type(members, "_type", STATEMENT_TYPE)?;
        is_type(members, "predicateType", PREDICATE_TYPE)?;
        let (model_name, stated) = subject(members)?;
        let predicate = object(member(members, "predicate")?, "predicate", &["resources", "serialization"])?;
        let Form { serialization, ignore_paths, allow_symlinks } =
            form(member(predicate, "serialization")?, accept)?;
        let resources = resources(member(predicate, "resources")?, &ignore_paths, serialization, accept)?;
        let computed = root_digest(&resources);
        if computed != stated {
            return Err(VerifyError::RootDigest { computed, stated });
        }
        let root_digest = computed;
        let read = Self { model_name, root_digest, serialization, resources, ignore_paths, allow_symlinks };
        if let Method::Shards { size_bytes } = serialization.method {
            read.shards(size_bytes)?;
        }
        Ok(read)
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
    pub(crate) digest: FileDigest,
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

/// What stands under `serialization`.
struct Form {
    serialization: Serialization,
    ignore_paths: Vec<String>,
    allow_symlinks: bool,
}

fn form(value: &Value, accept: Accept) -> Result<Form, VerifyError> {
    let allowed = ["method", "hash_type", "shard_size", "allow_symlinks", "ignore_paths"];
    let members = object(value, "serialization", &allowed)?;
    let hash_name = text(members, "hash_type")?;
    let method = method(text(members, "method")?, members.get("shard_size"), accept)?;
    let plain = match method {
        // Up to version 1.1.1 the reference writes the size into the name of the hash.
        Method::Shards { size_bytes } if accept.legacy_shards => unsharded(hash_name, size_bytes),
        _ => hash_name,
    };
    let hash =
        HashType::parse(plain).ok_or_else(|| invalid(&format!("`hash_type` is `{}`", quote(hash_name))))?;
    let allow_symlinks = match members.get("allow_symlinks") {
        Some(Value::Bool(true)) if !accept.symlinks => {
            return Err(VerifyError::NotSupported("a signature that followed symbolic links".to_owned()));
        }
        Some(Value::Bool(followed)) => *followed,
        _ => return Err(invalid("`allow_symlinks` must be true or false")),
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
    Ok(Form { serialization: Serialization { hash, method }, ignore_paths, allow_symlinks })
}

fn method(name: &str, size: Option<&Value>, accept: Accept) -> Result<Method, VerifyError> {
    match (name, size) {
        ("files", None) => Ok(Method::Files),
        ("files", Some(_)) => Err(invalid("`shard_size` stands beside method `files`")),
        ("shards", size) => size
            .and_then(|size| size.as_u64().or_else(|| accept.legacy_shards.then(|| integral(size)).flatten()))
            .filter(|size| *size > 0)
            .map(|size_bytes| Method::Shards { size_bytes })
            .ok_or_else(|| invalid("`shard_size` must be a positive integer")),
        (other, _) => Err(invalid(&format!("`method` is `{}`", quote(other)))),
    }
}

/// An integer that was written as `1000.0`. Only as far as a double holds every integer.
fn integral(value: &Value) -> Option<u64> {
    let text = value.as_f64().filter(|n| (0.0..=9_007_199_254_740_992.0).contains(n))?.to_string();
    text.parse().ok()
}

/// `sha256` of `sha256-sharded-1000`, where 1000 is the size of a shard.
fn unsharded(name: &str, size_bytes: u64) -> &str {
    name.strip_suffix(&format!("-sharded-{size_bytes}")).unwrap_or(name)
}

fn resources(
    value: &Value,
    ignore_paths: &[String],
    serialization: Serialization,
    accept: Accept,
) -> Result<Vec<Resource>, VerifyError> {
    let Serialization { hash, method } = serialization;
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
        let algorithm = text(members, "algorithm")?;
        let plain = match method {
            Method::Shards { size_bytes } if accept.legacy_shards => unsharded(algorithm, size_bytes),
            _ => algorithm,
        };
        if plain != hash.name() {
            return Err(invalid(&format!("the algorithm of `{}` is not `hash_type`", quote(name))));
        }
        let path = match method {
            Method::Files => name,
            Method::Shards { .. } => name::shard(name).map_or(name, |(path, _)| path),
        };
        // A model of one file has no directory to be named in: the reference calls the file `.`.
        let alone = list.len() == 1 && name == super::SINGLE && method == Method::Files;
        if let Some(why) = name::fault(path).filter(|_| !alone) {
            return Err(invalid(&format!("resource name `{}`: {why}", quote(name))));
        }
        if name::covered(path, &ignored) {
            return Err(invalid(&format!("`{}` is both listed and ignored", quote(name))));
        }
        let digest = text(members, "digest")?;
        let digest = FileDigest::parse(hash, digest)
            .ok_or_else(|| invalid(&format!("`{}` is not a {hash} digest", quote(digest))))?;
        out.push(Resource { name: name.to_owned(), digest });
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
