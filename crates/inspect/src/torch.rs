//! `torch.save` ZIP files: strict container, allow-listed pickle, storages accounted for.

use crate::limits::{self, Limits};
use crate::pickle::{self, Storages, View};
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
    let scan = pickle::scan(&parts.pickle.data, parts.pickle.at, Some(&parts.storages), limits);
    for finding in scan.findings {
        report.push(finding);
    }
    if scan.streams > 1 {
        report.push(Finding::new(&report::SECOND_STREAM, parts.pickle.at, "a reader stops after the first"));
    }
    if !scan.complete || report.verdict != crate::Verdict::Load {
        return Ok(());
    }
    if let Some(unused) = parts.storages.keys().find(|key| !scan.used.contains(*key)) {
        let what = format!("member `data/{unused}` belongs to no tensor");
        return Err(Finding::new(&report::STORAGE, 0, what));
    }
    report.step = scan.step;
    measure(&scan.tensors, members, parts.prefix, file_len, limits, report)
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

fn measure(
    tensors: &[(String, View)],
    members: &[Member<'_>],
    prefix: &str,
    file_len: u64,
    limits: &Limits,
    report: &mut Report,
) -> Result<(), Finding> {
    let by_name: std::collections::BTreeMap<&str, &Member<'_>> =
        members.iter().map(|member| (member.name, member)).collect();
    let mut left = file_len.saturating_mul(limits::MEASURE_FACTOR).saturating_add(limits::MEASURE_FLOOR);
    let mut finite = true;
    for (name, view) in tensors {
        let dtype = view.storage.dtype;
        let mut measured = None;
        if limits.measure {
            let cost = tensor::bytes(&view.shape, dtype.size()).and_then(|cost| left.checked_sub(cost));
            left = cost.ok_or_else(|| {
                Finding::new(&report::LIMIT, 0, format!("tensor `{name}` repeats its storage too often"))
            })?;
            let member = by_name.get(format!("{prefix}/data/{}", view.storage.key).as_str());
            let data = member.map(|member| &*member.data).unwrap_or_default();
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
