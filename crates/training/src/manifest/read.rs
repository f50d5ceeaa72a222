//! Reading a manifest: only what [`Manifest::to_bytes`] writes is taken.

use std::str::FromStr;

use base::{Digest, TensorDigest, Timestamp};
use ops::porter::CommitRule;
use serde_json::Value;

use super::{FileEntry, Format, Manifest, ManifestError, ResumeNote, TensorEntry};
use crate::contract::{ChannelDigest, Contract};
use crate::limits;
use crate::monitor::Verdict;

fn wrong(field: &'static str, reason: impl Into<String>) -> ManifestError {
    ManifestError::Field { field, reason: reason.into() }
}

fn get<'a>(value: &'a Value, field: &'static str) -> Result<&'a Value, ManifestError> {
    value.get(field).ok_or_else(|| wrong(field, "is missing"))
}

fn text(value: &Value, field: &'static str) -> Result<String, ManifestError> {
    get(value, field)?.as_str().map(str::to_owned).ok_or_else(|| wrong(field, "is not a text"))
}

fn number(value: &Value, field: &'static str) -> Result<u64, ManifestError> {
    get(value, field)?.as_u64().ok_or_else(|| wrong(field, "is not a whole number"))
}

fn small(value: &Value, field: &'static str) -> Result<u32, ManifestError> {
    u32::try_from(number(value, field)?).map_err(|_| wrong(field, "is too large"))
}

fn flag(value: &Value, field: &'static str) -> Result<bool, ManifestError> {
    get(value, field)?.as_bool().ok_or_else(|| wrong(field, "is not true or false"))
}

fn parse<T: FromStr>(value: &Value, field: &'static str) -> Result<T, ManifestError> {
    text(value, field)?.parse().map_err(|_| wrong(field, "has an invalid value"))
}

/// `None` for JSON's null.
fn option<T>(
    value: &Value,
    field: &'static str,
    read: impl FnOnce(&Value, &'static str) -> Result<T, ManifestError>,
) -> Result<Option<T>, ManifestError> {
    if get(value, field)?.is_null() { Ok(None) } else { read(value, field).map(Some) }
}

fn list<T>(
    value: &Value,
    field: &'static str,
    limit: usize,
    read: impl Fn(&Value) -> Result<T, ManifestError>,
) -> Result<Vec<T>, ManifestError> {
    let items = get(value, field)?.as_array().ok_or_else(|| wrong(field, "is not a list"))?;
    if items.len() > limit {
        return Err(wrong(field, format!("has {} items, limit {limit}", items.len())));
    }
    items.iter().map(read).collect()
}

fn texts(value: &Value, field: &'static str) -> Result<Vec<String>, ManifestError> {
    list(value, field, 1024, |v| {
        v.as_str().map(str::to_owned).ok_or_else(|| wrong(field, "has another type"))
    })
}

pub(super) fn manifest(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    if bytes.len() > limits::MANIFEST_MAX {
        return Err(ManifestError::TooLong { len: bytes.len() });
    }
    let v: Value = serde_json::from_slice(bytes).map_err(|e| wrong("v", format!("is not JSON: {e}")))?;
    let format = Format::from_number(number(&v, "v")?).ok_or_else(|| wrong("v", "is another version"))?;
    let rule = text(&v, "commit_rule")?;
    let note = get(&v, "resume")?;
    let monitor = get(&v, "monitor")?;
    let verdict = text(monitor, "verdict")?;
    let hardware = get(&v, "hardware")?.as_object().ok_or_else(|| wrong("hardware", "is not an object"))?;
    let manifest = Manifest {
        format,
        job: parse(&v, "job")?,
        run: parse(&v, "run")?,
        version: number(&v, "version")?,
        step: option(&v, "step", number)?,
        prev: option(&v, "prev", parse::<Digest>)?,
        committed_at: Timestamp::from_millis(number(&v, "committed_at")?),
        sealed_at: Timestamp::from_millis(number(&v, "sealed_at")?),
        commit_rule: CommitRule::from_name(&rule).ok_or_else(|| wrong("commit_rule", "is not known"))?,
        files: list(&v, "files", limits::CHECKPOINT_FILES_MAX, file)?,
        tensors: list(&v, "tensors", limits::CHECKPOINT_TENSORS_MAX, |t| tensor(t, format))?,
        contract: contract(get(&v, "contract")?)?,
        hardware: hardware
            .iter()
            .map(|(k, v)| {
                let text = v.as_str().ok_or_else(|| wrong("hardware", "has a value that is not a text"))?;
                Ok((k.clone(), text.to_owned()))
            })
            .collect::<Result<_, ManifestError>>()?,
        resume: ResumeNote {
            from_version: option(note, "from_version", number)?,
            restarts: small(note, "restarts")?,
            cause: text(note, "cause")?,
        },
        monitor: Verdict::from_name(&verdict).ok_or_else(|| wrong("verdict", "is not known"))?,
        monitor_findings: texts(monitor, "findings")?,
        key_id: text(&v, "key_id")?,
    };
    // Reading is the inverse of writing: unknown members, another order or a false state digest do not pass.
    if manifest.to_bytes()? == bytes { Ok(manifest) } else { Err(wrong("v", "is not in canonical form")) }
}

fn file(v: &Value) -> Result<FileEntry, ManifestError> {
    let scan = get(v, "scan")?;
    Ok(FileEntry {
        path: text(v, "path")?,
        size: number(v, "size")?,
        digest: parse(v, "digest")?,
        object: parse(v, "object")?,
        format: text(v, "format")?,
        verdict: text(scan, "verdict")?,
        findings: texts(scan, "findings")?,
        all_finite: option(v, "all_finite", flag)?,
    })
}

fn tensor(v: &Value, format: Format) -> Result<TensorEntry, ManifestError> {
    Ok(TensorEntry {
        name: text(v, "name")?,
        dtype: text(v, "dtype")?,
        shape: list(v, "shape", 64, |d| d.as_u64().ok_or_else(|| wrong("shape", "has no whole number")))?,
        digest: match format {
            Format::V1 => TensorDigest::Sha256(parse(v, "digest")?),
            Format::V2 => parse(v, "digest")?,
        },
        norm_bits: option(v, "norm", |v, f| {
            u64::from_str_radix(&text(v, f)?, 16).map_err(|_| wrong(f, "is not 64 bits in hex"))
        })?,
    })
}

fn contract(v: &Value) -> Result<Contract, ManifestError> {
    Ok(Contract {
        code: parse(v, "code")?,
        config: parse(v, "config")?,
        env: parse(v, "env")?,
        command: parse(v, "command")?,
        image: text(v, "image")?,
        image_pinned: flag(v, "image_pinned")?,
        packages: option(v, "packages_lock", parse::<Digest>)?,
        data: list(v, "data", limits::CHANNELS_MAX, |d| {
            Ok(ChannelDigest {
                channel: text(d, "channel")?,
                manifest: parse(d, "manifest")?,
                bytes: number(d, "bytes")?,
                files: small(d, "files")?,
            })
        })?,
    })
}
