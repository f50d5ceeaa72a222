//! Archives and compressed files: never a model, but looked into, so that what is in them is known before anybody
//! unpacks them. Each member is inspected like a file of its own, within one budget of bytes and members.

use crate::limits::{self, Limits};
use crate::report::{self, Finding, Format, Report};
use crate::sniff::{self, Claim};
use crate::unpack::{self, Budget, Packed};
use crate::{sevenz, tar, zip};

/// Where an inspection stands: how deep in archives, and what they may still take.
#[derive(Debug)]
pub(crate) struct Place {
    depth: usize,
    budget: Budget,
}

impl Place {
    pub(crate) fn outermost(limits: &Limits) -> Self {
        Self { depth: 0, budget: Budget { bytes: limits.zip_inflated, members: limits.zip_members } }
    }
}

/// Inspects the content if it is a compressed file or an archive of tar or 7z.
pub(crate) fn inspect(name: &str, bytes: &[u8], limits: &Limits, place: &mut Place) -> Option<Report> {
    if let Some(packed) = Packed::of(bytes) {
        return Some(compressed(packed, name, bytes, limits, place));
    }
    if bytes.starts_with(sevenz::MAGIC) {
        return Some(seven(bytes, limits, place));
    }
    tar::claims(bytes).then(|| tape(bytes, limits, place))
}

fn compressed(packed: Packed, name: &str, bytes: &[u8], limits: &Limits, place: &mut Place) -> Report {
    let format = Format::Other(packed.as_str());
    if let Some(refused) = too_deep(format, place) {
        return refused;
    }
    let data = match unpack::unpack(packed, bytes, &mut place.budget) {
        Ok(data) => data,
        Err(finding) => return Report::refused(format, finding),
    };
    let stem = stem(name);
    place.depth += 1;
    let inner = crate::inspect_within(&stem, &data, limits, place);
    place.depth -= 1;
    let what = format!("{} file of {} bytes, in which was looked", packed.as_str(), data.len());
    let claims_pickle =
        |name| matches!(sniff::claim(name), Claim::OneOf(formats) if formats.contains(&Format::Pickle));
    // joblib opens what it packed by itself.
    if inner.format == Format::Pickle && (claims_pickle(name) || claims_pickle(&stem)) {
        let mut report = inner;
        report.push(Finding::new(&report::JOBLIB, 0, what));
        if !claims_pickle(name) {
            report.format = format;
        }
        return report;
    }
    let mut report = archive(format, what);
    absorb(&mut report, &stem, inner);
    report
}

/// The name without the ending of the compression.
fn stem(name: &str) -> String {
    let Some((stem, extension)) = name.rsplit_once('.') else { return name.to_owned() };
    match extension.to_ascii_lowercase().as_str() {
        "gz" | "bz2" | "xz" | "zst" | "zstd" | "lz4" | "lzma" | "z" | "zlib" => stem.to_owned(),
        "tgz" | "tbz2" | "txz" | "tzst" => format!("{stem}.tar"),
        _ => name.to_owned(),
    }
}

fn tape(bytes: &[u8], limits: &Limits, place: &mut Place) -> Report {
    let format = Format::Other("tar");
    if let Some(refused) = too_deep(format, place) {
        return refused;
    }
    let members = match tar::read(bytes, &mut place.budget) {
        Ok(members) => members,
        Err(finding) => return Report::refused(format, finding),
    };
    let has = |name: &str| members.iter().any(|member| member.name == name);
    if has("pickle") && has("storages") && has("tensors") {
        let what = "torch file of before 0.1.10, a tar of pickles";
        return Report::refused(format, Finding::new(&report::LEGACY_TAR, 0, what));
    }
    let mut report = archive(format, format!("tar archive of {} files", members.len()));
    for member in members {
        within(&mut report, &member.name, member.data, limits, place);
    }
    report
}

fn seven(bytes: &[u8], limits: &Limits, place: &mut Place) -> Report {
    let format = Format::Other("7z");
    if let Some(refused) = too_deep(format, place) {
        return refused;
    }
    let read = match sevenz::read(bytes, &mut place.budget) {
        Ok(read) => read,
        Err(finding) => return Report::refused(format, finding),
    };
    let mut report = archive(format, format!("7z archive of {} files", read.files()));
    for name in &read.empty {
        within(&mut report, name, b"", limits, place);
    }
    for pack in &read.packs {
        let unpacked = match pack.unpack(&mut place.budget) {
            Ok(unpacked) => unpacked,
            Err(finding) => {
                report.push(finding);
                return report;
            }
        };
        for (name, data) in pack.members(&unpacked) {
            within(&mut report, name, data, limits, place);
        }
    }
    report
}

/// A ZIP archive that is no format of its own; its members were unpacked and verified.
pub(crate) fn zipped(members: &[zip::Member<'_>], limits: &Limits, place: &mut Place) -> Report {
    let format = Format::Other("zip");
    if let Some(finding) = code(members) {
        return Report::refused(format, finding);
    }
    if let Some(refused) = too_deep(format, place) {
        return refused;
    }
    let mut report = archive(format, format!("ZIP archive of {} files", members.len()));
    for member in members.iter().filter(|member| !member.name.ends_with('/')) {
        let size = if member.stored { 0 } else { crate::cursor::offset(member.data.len()) };
        let left = (place.budget.bytes.checked_sub(size), place.budget.members.checked_sub(1));
        let (Some(bytes), Some(left)) = left else {
            let what = "archives hold more than they may (`zip_inflated`, `zip_members`)";
            report.push(Finding::new(&report::LIMIT, member.at, what));
            return report;
        };
        place.budget = Budget { bytes, members: left };
        within(&mut report, member.name, &member.data, limits, place);
    }
    report
}

/// Formats within ZIP that carry code, by the members that tell them.
fn code(members: &[zip::Member<'_>]) -> Option<Finding> {
    let what = members.iter().find_map(|member| {
        let last = member.name.rsplit('/').next().unwrap_or(member.name);
        match last {
            _ if member.name.starts_with("MAR-INF/") => Some("TorchServe archive, which runs its handler"),
            "serialized_exported_program.json" | "archive_format" | "serialized_state_dict.pt" => {
                Some("torch.export archive, a program")
            }
            _ if member.name.contains("/aotinductor/") => Some("compiled package of torch, native code"),
            "MANIFEST.MF" if member.name.starts_with("META-INF/") => Some("Java archive"),
            _ => None,
        }
    })?;
    Some(Finding::new(&report::CODE_ARCHIVE, 0, what))
}

fn too_deep(format: Format, place: &Place) -> Option<Report> {
    (place.depth >= limits::ARCHIVE_DEPTH).then(|| {
        let what = format!("archives are nested more than {} deep", limits::ARCHIVE_DEPTH);
        Report::refused(format, Finding::new(&report::LIMIT, 0, what))
    })
}

fn archive(format: Format, what: String) -> Report {
    let mut report = Report::new(format);
    report.push(Finding::new(&report::ARCHIVE, 0, what));
    report
}

fn within(report: &mut Report, name: &str, data: &[u8], limits: &Limits, place: &mut Place) {
    place.depth += 1;
    let inner = crate::inspect_within(name, data, limits, place);
    place.depth -= 1;
    absorb(report, name, inner);
}

/// Takes over what was found in a member; its findings begin with `member` or `archive!member`, and their offsets
/// are within it.
fn absorb(report: &mut Report, name: &str, inner: Report) {
    let shown = crate::cursor::show(name.as_bytes());
    let nested = matches!(inner.format, Format::Other("zip" | "tar" | "7z"));
    for finding in &inner.findings {
        let mut finding = finding.clone();
        finding.explanation = match finding.explanation.strip_prefix('`') {
            Some(rest) if nested && finding.code != report::ARCHIVE.code => format!("`{shown}!{rest}"),
            _ => format!("`{shown}`: {}", finding.explanation),
        };
        report.push(finding);
    }
    report.take_pairs(inner);
}
