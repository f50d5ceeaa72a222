//! `torch.save` ZIP files: strict container, allow-listed pickle, storages accounted for.

use std::collections::BTreeMap;

use crate::cursor::Cursor;
use crate::limits::{self, Limits};
use crate::pickle::{self, Place, Storages, View};
use crate::report::{self, Finding, Report, TensorInfo};
use crate::tensor::{self, Measure};
use crate::zip::Member;

/// Whether the members are those of `torch.save`: one folder with a `data.pkl` in it.
pub(crate) fn claims(members: &[Member<'_>]) -> bool {
    members.iter().any(|member| {
        member.name.split_once('/').is_some_and(|(_, rest)| {
            matches!(rest, "data.pkl" | "constants.pkl") || rest.starts_with("code/")
        })
    })
}

struct Parts<'m> {
    pickle: &'m Member<'m>,
    storages: Storages,
    prefix: &'m str,
}

/// Inspects the members of a container.
pub(crate) fn inspect(
    members: &[Member<'_>],
    file_len: u64,
    limits: &Limits,
    report: &mut Report,
) -> Result<(), Finding> {
    let parts = parts(members)?;
    let scan = pickle::scan(&parts.pickle.data, parts.pickle.at, Place::Zip(&parts.storages), limits);
    for finding in scan.findings {
        report.push(finding);
    }
    report.add_globals(scan.globals);
    if scan.streams > 1 {
        report.push(Finding::new(&report::SECOND_STREAM, parts.pickle.at, "a reader stops after the first"));
    }
    if !scan.complete || report.verdict == crate::Verdict::Refuse {
        return Ok(());
    }
    if let Some(unused) = parts.storages.keys().find(|key| !scan.used.contains(*key)) {
        let what = format!("member `data/{unused}` belongs to no tensor");
        return Err(Finding::new(&report::STORAGE, 0, what));
    }
    report.step = scan.step;
    let by_name: BTreeMap<&str, &Member<'_>> = members.iter().map(|member| (member.name, member)).collect();
    let data =
        |key: &str| by_name.get(format!("{}/data/{key}", parts.prefix).as_str()).map(|member| &*member.data);
    measure(&scan.tensors, data, file_len, limits, report)
}

/// Inspects a file of before torch 1.6: five pickles, then each storage as a count of elements and its bytes.
pub(crate) fn inspect_legacy(bytes: &[u8], limits: &Limits, report: &mut Report) {
    report.push(Finding::new(
        &report::LEGACY_TORCH,
        0,
        "five pickles and storages, as torch wrote before 1.6",
    ));
    if let Err(finding) = legacy(bytes, limits, report) {
        report.push(finding);
    }
}

fn legacy(bytes: &[u8], limits: &Limits, report: &mut Report) -> Result<(), Finding> {
    let scan = pickle::scan(bytes, 0, Place::Legacy, limits);
    for finding in scan.findings {
        report.push(finding);
    }
    report.add_globals(scan.globals);
    let mut cursor = Cursor::at(bytes, scan.end);
    let at = |cursor: &Cursor<'_>| crate::cursor::offset(cursor.pos());
    if !scan.complete {
        return Err(Finding::new(&report::LEGACY_LAYOUT, at(&cursor), "the five pickles are not whole"));
    }
    if report.verdict == crate::Verdict::Refuse {
        return Ok(());
    }
    let mut data: BTreeMap<&str, &[u8]> = BTreeMap::new();
    for key in &scan.legacy.keys {
        let bad =
            |what: &str| Finding::new(&report::LEGACY_LAYOUT, at(&cursor), format!("storage `{key}` {what}"));
        let storage = scan.legacy.storages.get(key).ok_or_else(|| bad("belongs to no tensor"))?;
        let (mut next, short) = (cursor.clone(), bad("is longer than what is left of the file"));
        if next.u64() != Some(storage.elements) {
            return Err(bad("has another number of elements than its tensors say"));
        }
        let len =
            storage.elements.checked_mul(storage.dtype.size()).and_then(|len| usize::try_from(len).ok());
        let raw = len.and_then(|len| next.take(len)).ok_or(short)?;
        if data.insert(key, raw).is_some() {
            return Err(bad("is listed twice"));
        }
        cursor = next;
    }
    if data.len() != scan.legacy.storages.len() {
        return Err(Finding::new(&report::LEGACY_LAYOUT, at(&cursor), "a tensor has no storage in the file"));
    }
    if !cursor.is_done() {
        return Err(Finding::new(&report::LEGACY_LAYOUT, at(&cursor), "bytes after the last storage"));
    }
    report.step = scan.step;
    let len = crate::cursor::offset(bytes.len());
    measure(&scan.tensors, |key| data.get(key).copied(), len, limits, report)
}

fn parts<'m>(members: &'m [Member<'m>]) -> Result<Parts<'m>, Finding> {
    let prefix = members.first().and_then(|member| member.name.split_once('/')).map(|(prefix, _)| prefix);
    let prefix = prefix.ok_or_else(|| Finding::new(&report::TORCH_MEMBER, 0, "member outside a folder"))?;
    let mut storages = Storages::new();
    let mut main = None;
    for member in members {
        let stranger = |rule| {
            Finding::new(rule, member.at, format!("member `{}` is not one of a checkpoint", member.name))
        };
        let rest = match member.name.split_once('/') {
            Some((folder, rest)) if folder == prefix => rest,
            _ => return Err(stranger(&report::TORCH_MEMBER)),
        };
        match rest {
            "data.pkl" => main = Some(member),
            "version" if member.data.trim_ascii_end() == b"3" => {}
            "byteorder" if &*member.data == b"little" => {}
            "byteorder" => {
                return Err(Finding::new(&report::STORAGE, member.at, "byte order is not `little`"));
            }
            ".format_version" | ".storage_alignment" | ".data/serialization_id"
                if member.data.len() <= 64 && member.data.iter().all(u8::is_ascii_digit) => {}
            "constants.pkl" => return Err(stranger(&report::TORCHSCRIPT)),
            _ if rest.starts_with("code/") => return Err(stranger(&report::TORCHSCRIPT)),
            _ => {
                let key = rest.strip_prefix("data/").filter(|key| is_key(key));
                let key = key.ok_or_else(|| stranger(&report::TORCH_MEMBER))?;
                if !member.stored {
                    let what = "tensor data is compressed";
                    return Err(Finding::new(&report::STORAGE, member.at, what));
                }
                storages.insert(key.to_owned(), crate::cursor::offset(member.data.len()));
            }
        }
    }
    let pickle = main.ok_or_else(|| Finding::new(&report::TORCH_MEMBER, 0, "`data.pkl` is missing"))?;
    Ok(Parts { pickle, storages, prefix })
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.len() <= 20 && key.bytes().all(|byte| byte.is_ascii_digit())
}

fn measure<'d>(
    tensors: &[(String, View)],
    data: impl Fn(&str) -> Option<&'d [u8]>,
    file_len: u64,
    limits: &Limits,
    report: &mut Report,
) -> Result<(), Finding> {
    let mut left = file_len.saturating_mul(limits::MEASURE_FACTOR).saturating_add(limits::MEASURE_FLOOR);
    let mut finite = true;
    for (name, view) in tensors {
        let dtype = view.dtype;
        let mut measured = None;
        if limits.measure && view.plain {
            let cost = tensor::bytes(&view.shape, dtype.size()).and_then(|cost| left.checked_sub(cost));
            left = cost.ok_or_else(|| {
                Finding::new(&report::LIMIT, 0, format!("tensor `{name}` repeats its storage too often"))
            })?;
            let data = data(&view.storage.key).unwrap_or_default();
            let mut measure = Measure::new(dtype, &view.shape);
            let walked = tensor::walk(data, dtype.size(), view.start, &view.shape, &view.strides, |block| {
                measure.update(block);
            });
            if walked.is_none() {
                return Err(Finding::new(&report::STORAGE, 0, format!("tensor `{name}` leaves its storage")));
            }
            let found = measure.finish();
            finite = finite && found.finite;
            measured = Some(found);
        }
        report.tensors.push(TensorInfo {
            name: name.clone(),
            dtype: dtype.as_str().to_owned(),
            shape: view.shape.clone(),
            norm_bits: measured.and_then(|m| m.norm_bits),
            digest: measured.map(|m| m.digest),
        });
    }
    report.all_finite = limits.measure.then_some(finite);
    Ok(())
}
