//! Content without a binary signature: bare pickle, JSON, plain text, and what could be two of them.

use crate::config;
use crate::json;
use crate::limits::Limits;
use crate::pickle::{self, Place};
use crate::report::{self, Finding, Format, Report, Verdict};
use crate::sniff::Claim;
use crate::template;
use crate::torch;
use crate::trees;

/// Tells pickle, JSON and text apart and applies their rules.
pub(crate) fn inspect(claim: Claim, name: &str, bytes: &[u8], limits: &Limits) -> Report {
    let claims_pickle = matches!(claim, Claim::OneOf(formats) if formats.contains(&Format::Pickle));
    let text = plain_text(bytes);
    if text.is_none() && pickle::has_magic(bytes) || claims_pickle {
        let mut report = Report::new(Format::Pickle);
        pickle(bytes, limits, &mut report);
        return report;
    }
    let Some(text) = text else {
        // A pickle of protocol 0 or 1 has no signature. It passes only if all of it is one.
        let scan = pickle::scan(bytes, 0, Place::Bare, limits);
        if scan.complete || scan.names_globals {
            let mut report = Report::new(Format::Pickle);
            pickle(bytes, limits, &mut report);
            return report;
        }
        let what = "content is of no known format";
        return Report::refused(Format::Other("unknown"), Finding::new(&report::UNKNOWN, 0, what));
    };
    let is_template = matches!(claim, Claim::OneOf(formats) if formats.contains(&Format::Template));
    let mut report = if is_template {
        inspect_template(text)
    } else if trees::claims_lightgbm(text) {
        let mut report = Report::new(Format::LightgbmText);
        if let Err(finding) = trees::inspect_lightgbm(text, limits, &mut report) {
            report.push(finding);
        }
        report
    } else if matches!(text.trim_start().as_bytes().first(), Some(b'{' | b'[')) {
        inspect_json(claim, name, bytes, limits)
    } else {
        inspect_plain(name, text, limits)
    };
    check_polyglot(bytes, limits, &mut report);
    report
}

/// Scans a bare pickle. Streams that follow each other are one file, as long as each passes.
pub(crate) fn pickle(bytes: &[u8], limits: &Limits, report: &mut Report) {
    let mut scan = pickle::scan(bytes, 0, Place::Bare, limits);
    if scan.legacy_torch {
        return torch::inspect_legacy(bytes, limits, report);
    }
    if pickle::uses_wrappers(&scan) && !scan.complete {
        let joblib = pickle::scan(bytes, 0, Place::Joblib, limits);
        // Who takes the arrays for opcodes, as every reader but joblib does, must not find more than joblib.
        if scan.refused > joblib.refused {
            let what = "bytes of an array of joblib are opcodes that name globals";
            report.push(Finding::new(&report::POLYGLOT, 0, what));
        }
        let what = format!("file of joblib with {} arrays between the opcodes", joblib.arrays);
        report.push(Finding::new(&report::JOBLIB, 0, what));
        scan = joblib;
    }
    let complete = scan.complete;
    for finding in scan.findings {
        report.push(finding);
    }
    report.add_globals(scan.globals);
    if !complete && report.verdict < Verdict::Refuse {
        report.push(Finding::new(&report::STREAM, 0, "content is no complete pickle"));
    }
}

/// Refuses content that a pickle reader would act on as well. A stream of plain data does nothing to its
/// reader, and short texts such as `N.` are such streams, so it does not count. In text a global counts when
/// it is called or the stream is complete, because a list of words may begin with `c`, a word and a line.
pub(crate) fn check_polyglot(bytes: &[u8], limits: &Limits, report: &mut Report) {
    let scan = pickle::scan(bytes, 0, Place::Bare, limits);
    let binary =
        !matches!(report.format, Format::Text | Format::Json | Format::XgboostJson | Format::LightgbmText);
    // A stream that outlasts the limits was not read to its end, so nobody knows what it would do.
    let unread = scan.findings.iter().any(|finding| finding.code == report::LIMIT.code);
    if unread || scan.calls || (scan.names_globals && (binary || scan.complete)) {
        let what = format!("content is {} and a pickle that names globals", report.format.as_str());
        report.push(Finding::new(&report::POLYGLOT, 0, what));
    }
}

/// UTF-8 without NUL and without control characters other than white space and escape sequences.
fn plain_text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let odd = |byte: &u8| *byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b);
    if bytes.iter().any(odd) { None } else { Some(text) }
}

fn inspect_json(claim: Claim, name: &str, bytes: &[u8], limits: &Limits) -> Report {
    if bytes.len() > limits.text_bytes {
        let finding = Finding::new(&report::LIMIT, 0, "JSON is larger than the limit");
        return Report::refused(Format::Json, finding);
    }
    match json::parse_python(bytes) {
        Ok(root) => {
            let trees = trees::claims_xgboost(&root);
            let mut report = Report::new(if trees { Format::XgboostJson } else { Format::Json });
            if trees && let Err(finding) = trees::inspect_xgboost(&root, &mut report) {
                report.push(finding);
            }
            config::check(name, &root).into_iter().for_each(|finding| report.push(finding));
            report
        }
        // A text may begin with a bracket. Only a name that says text, and not JSON, makes it one.
        Err(finding) if finding.code == report::JSON.code => match claim {
            Claim::OneOf(formats) if formats.contains(&Format::Text) => {
                inspect_plain(name, std::str::from_utf8(bytes).unwrap_or_default(), limits)
            }
            _ => Report::refused(Format::Json, finding),
        },
        Err(finding) => Report::refused(Format::Json, finding),
    }
}

fn inspect_template(text: &str) -> Report {
    let mut report = Report::new(Format::Template);
    template::check(text, 0).into_iter().for_each(|finding| report.push(finding));
    report
}

fn inspect_plain(name: &str, text: &str, limits: &Limits) -> Report {
    let mut report = Report::new(Format::Text);
    if text.len() > limits.text_bytes {
        report.push(Finding::new(&report::LIMIT, 0, "text is larger than the limit"));
    }
    let lower = name.to_ascii_lowercase();
    let last = lower.rsplit(['/', '\\']).next().unwrap_or(&lower);
    let found = if last.ends_with(".yaml") || last.ends_with(".yml") {
        config::check_yaml(text)
    } else if let Some(matter) = front_matter(text) {
        config::check_yaml_tags(matter)
    } else if !last.contains('.') {
        // `MLmodel` and the like are YAML that names what loads a model.
        config::check_yaml_tags(text)
    } else {
        Vec::new()
    };
    found.into_iter().for_each(|finding| report.push(finding));
    report
}

/// The YAML between two lines `---` at the beginning of a model card.
fn front_matter(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("---\n").or_else(|| text.strip_prefix("---\r\n"))?;
    let end = rest.find("\n---").unwrap_or(rest.len());
    rest.get(..end)
}
