//! `.keras` files: a ZIP of a configuration, metadata and weights, all of which are read.

use crate::config;
use crate::cursor::show;
use crate::hdf5;
use crate::json::{self, Json};
use crate::limits::Limits;
use crate::report::{self, Finding, Format, Report, Severity};
use crate::zip::Member;

const CONFIG: &str = "config.json";
const METADATA: &str = "metadata.json";
const WEIGHTS: &str = "model.weights.h5";
/// Files of layers that keep some, such as vocabularies.
const ASSETS: &str = "assets/";

/// Whether the members are those of such a file.
pub(crate) fn claims(members: &[Member<'_>]) -> bool {
    let has = |wanted: &str| members.iter().any(|member| member.name == wanted);
    has(CONFIG) && (has(METADATA) || has(WEIGHTS))
}

/// Inspects the members of a container.
pub(crate) fn inspect(members: &[Member<'_>], limits: &Limits, report: &mut Report) -> Result<(), Finding> {
    for wanted in [CONFIG, METADATA, WEIGHTS] {
        if !members.iter().any(|member| member.name == wanted) {
            return Err(Finding::new(&report::KERAS_MEMBER, 0, format!("member `{wanted}` is missing")));
        }
    }
    for member in members {
        match member.name {
            CONFIG => configuration(member, report)?,
            METADATA => metadata(member)?,
            WEIGHTS => weights(member, limits, report)?,
            name => asset(member, name)?,
        }
    }
    Ok(())
}

/// A finding within a member, placed in the file where the member is stored as it is.
fn place(member: &Member<'_>, mut finding: Finding) -> Finding {
    finding.offset = member.at.saturating_add(if member.stored { finding.offset } else { 0 });
    finding
}

fn parse(member: &Member<'_>) -> Result<Json, Finding> {
    json::parse(&member.data).map_err(|finding| place(member, finding))
}

fn configuration(member: &Member<'_>, report: &mut Report) -> Result<(), Finding> {
    let root = parse(member)?;
    match &root {
        Json::Object(members) if super::is_object(members) => {}
        _ => return Err(Finding::new(&report::KERAS_CODE, member.at, "configuration is no object of Keras")),
    }
    let mut findings = Vec::new();
    super::check_object(&root, member.at, &mut findings);
    findings.into_iter().for_each(|finding| report.push(finding));
    Ok(())
}

/// Version and date, as texts.
fn metadata(member: &Member<'_>) -> Result<(), Finding> {
    let known = match parse(member)? {
        Json::Object(members) => members.iter().all(|(key, value)| {
            matches!(key.as_str(), "keras_version" | "date_saved") && matches!(value, Json::String(_))
        }),
        _ => false,
    };
    if known {
        return Ok(());
    }
    Err(Finding::new(&report::KERAS_MEMBER, member.at, "metadata is more than a version and a date"))
}

/// The weights: an HDF5 file that is followed to its last part.
fn weights(member: &Member<'_>, limits: &Limits, report: &mut Report) -> Result<(), Finding> {
    if !member.data.starts_with(hdf5::MAGIC) {
        return Err(Finding::new(&report::KERAS_MEMBER, member.at, "weights are no HDF5 file"));
    }
    let mut inner = Report::new(Format::Hdf5);
    if let Err(finding) = hdf5::walk(&member.data, limits, &mut inner) {
        inner.push(finding);
    }
    for mut finding in inner.findings {
        // What a bare file may leave to a policy is refused here: Keras does not write it.
        if finding.severity == Severity::Risk {
            finding = Finding::new(&report::HDF5_UNREAD, finding.offset, finding.explanation);
        }
        report.push(place(member, finding));
    }
    report.tensors.append(&mut inner.tensors);
    Ok(())
}

/// A vocabulary: plain text.
fn asset(member: &Member<'_>, name: &str) -> Result<(), Finding> {
    let text = std::str::from_utf8(&member.data).ok().filter(|text| !text.contains('\0'));
    let inside = name.strip_prefix(ASSETS).is_some_and(config::is_inside);
    if inside && text.is_some_and(|text| !text.starts_with("#!")) {
        return Ok(());
    }
    let what = format!("member `{}` is none that Keras writes", show(name.as_bytes()));
    Err(Finding::new(&report::KERAS_MEMBER, member.at, what))
}
