//! **What.** Decides whether a model file may be loaded, from its bytes alone: `load` only when a strict
//! reader accounts for the file to its last byte and nothing in it can run code; `load-with-policy` when it
//! is well-formed and carries a named risk that a policy has to accept.
//!
//! **Why.** A model file can run code in the program that opens it (pickle), be read differently by two
//! readers (ZIP, safetensors, protobuf), or make its reader allocate without bound. The platform verifies
//! models before use by signature, digest and content; this is the content part (controls of the catalogue
//! on the verification of models before use and before start).
//!
//! **Where.** Called by the porter on the verified view, by the checkpoint monitors and by
//! `strongroom model inspect`. A core crate: no I/O, no clock, no other crate of ours but `base`. The
//! caller gives the bytes, in memory or mapped; tensor data is read in place, never copied whole.
//!
//! **Invariants.** Exactly one format matches the whole content, or the file is refused. Every length is
//! held against the bytes that remain before anything is allocated. Anything not understood refuses;
//! pickles pass by an allow list only. No input makes it panic (property test, fuzz targets).

mod archive;
mod config;
mod cursor;
pub mod data;
mod gguf;
mod hdf5;
mod json;
mod keras;
pub mod limits;
mod npy;
mod onnx;
mod pickle;
mod proto;
mod report;
mod safetensors;
mod sentencepiece;
mod sevenz;
mod skops;
mod sniff;
mod tar;
mod template;
pub mod tensor;
mod tensorflow;
mod text;
mod tflite;
mod torch;
mod trees;
mod unpack;
mod xz;
mod zip;

pub use limits::Limits;
pub use report::{Finding, Format, RULES, Report, Risk, Rule, Severity, TensorInfo, Verdict};

use crate::archive::Place;
use crate::sniff::{Claim, Part};

/// Version of the rules, for receipts and caches: a verdict holds for one version only.
pub const RULE_SET: &str = "strongroom.inspect/3";

/// Inspects a whole file. `name_hint` is its name or path, of which only the extension is used: content
/// that is not what the extension claims is refused.
pub fn inspect_bytes(name_hint: &str, bytes: &[u8], limits: &Limits) -> Report {
    inspect_within(name_hint, bytes, limits, &mut Place::outermost(limits))
}

/// How many bytes of a file are enough to inspect it without measuring tensors, told by its first ones; absent where
/// all of it is needed.
pub fn head_len(first: &[u8]) -> Option<u64> {
    safetensors::head_len(first)
}

/// Whether a reader of HDF5 would find a file at this place of another one, by the bytes that stand there. Who inspects a
/// file by its first bytes asks this of what it passes over, and gives all of the file where it is so.
pub fn begins_elsewhere(at: u64, bytes: &[u8]) -> bool {
    at >= 512 && (at / 512).is_power_of_two() && at.is_multiple_of(512) && bytes.starts_with(hdf5::MAGIC)
}

/// Inspects a file of `len` bytes by its first ones, at least [`head_len`] of them, and its last ones, at least
/// [`TAIL`]. `None` where that is not enough to tell.
pub fn inspect_head(name_hint: &str, head: &[u8], len: u64, tail: &[u8], limits: &Limits) -> Option<Report> {
    let limits = Limits { measure: false, ..limits.clone() };
    let needed = head_len(head)?;
    let unread = sniff::refused(head).is_some()
        || unpack::Packed::of(head).is_some()
        || hdf5::is_behind_something(head)
        || sniff::refused_model(head).is_some();
    if unread
        || needed > cursor::offset(head.len())
        || pickle::wants_more(&pickle::scan(head, 0, pickle::Place::Bare, &limits))
    {
        return None;
    }
    let mut report = with(Format::Safetensors, |report| safetensors::inspect(head, len, &limits, report));
    text::check_polyglot(head, &limits, &mut report);
    judge(name_hint, tail, &mut report);
    Some(report)
}

/// Bytes at the end of a file in which the end record of a ZIP archive stands.
pub const TAIL: usize = zip::END_MAX;

/// The same for a file that may stand in an archive.
fn inspect_within(name_hint: &str, bytes: &[u8], limits: &Limits, place: &mut Place) -> Report {
    let claim = sniff::claim(name_hint);
    let mut report = inspect_content(claim, name_hint, bytes, limits, place);
    // What a reader that looks elsewhere than at the beginning would find. Of an archive every member was looked at.
    let archive = report.risks().any(|risk| risk == Risk::Archive);
    if !bytes.starts_with(b"PK") && !archive && hdf5::is_behind_something(bytes) {
        let what = format!("content is {} and an HDF5 file behind it", report.format.as_str());
        report.push(Finding::new(&report::POLYGLOT, 0, what));
    }
    judge(name_hint, bytes, &mut report);
    report
}

/// What name and end of the file add to what the content is.
fn judge(name_hint: &str, tail: &[u8], report: &mut Report) {
    let claim = sniff::claim(name_hint);
    // A reader of ZIP begins at the end and does not look at the rest. Of an archive every member was looked at.
    let zip = matches!(
        report.format,
        Format::TorchZip | Format::Keras | Format::Npz | Format::Other("zip" | "skops" | "unknown")
    );
    let archive = report.risks().any(|risk| risk == Risk::Archive);
    if !zip && !archive && report.verdict < Verdict::Refuse && zip::ends_like_one(tail) {
        let what = format!("content is {} and ends like a ZIP archive", report.format.as_str());
        report.push(Finding::new(&report::POLYGLOT, 0, what));
    }
    match claim {
        Claim::Program => {
            report.push(Finding::new(&report::SCRIPT, 0, "the name is that of a program or script"));
        }
        Claim::Never if matches!(report.format, Format::Other(_)) => {}
        Claim::Never => {
            let what = format!("content is {}, the name claims something else", report.format.as_str());
            report.push(Finding::new(&report::EXTENSION, 0, what));
        }
        Claim::OneOf(formats) if !formats.contains(&report.format) => {
            let what = format!("content is {}, the name claims something else", report.format.as_str());
            report.push(Finding::new(&report::EXTENSION, 0, what));
        }
        Claim::OneOf(_) | Claim::Nothing => {}
    }
    if report.verdict == Verdict::Refuse {
        report.tensors.clear();
        report.all_finite = None;
        report.step = None;
    }
}

/// The tensors of a file that passes inspection (torch ZIP, safetensors, NumPy, ONNX), with digests.
///
/// # Errors
/// The report, when the verdict is not `load`.
pub fn tensors(bytes: &[u8]) -> Result<Vec<TensorInfo>, Box<Report>> {
    let report = inspect_bytes("", bytes, &Limits::default());
    if report.verdict == Verdict::Load { Ok(report.tensors) } else { Err(Box::new(report)) }
}

/// Scans bytes as a bare pickle, whatever they look like. For fuzzing and for callers that know the format.
pub fn inspect_pickle(bytes: &[u8], limits: &Limits) -> Report {
    let mut report = Report::new(Format::Pickle);
    text::pickle(bytes, limits, &mut report);
    report
}

/// Finds the one format of the content and applies its rules.
fn inspect_content(claim: Claim, name: &str, bytes: &[u8], limits: &Limits, place: &mut Place) -> Report {
    if bytes.is_empty() {
        return match claim {
            Claim::OneOf(formats) if !formats.contains(&Format::Text) => {
                Report::refused(Format::Text, Finding::new(&report::EMPTY, 0, "file is empty"))
            }
            _ => Report::new(Format::Text),
        };
    }
    if let Some(report) = archive::inspect(name, bytes, limits, place) {
        return report;
    }
    if let Some((format, why, program)) = sniff::refused(bytes) {
        let rule = if program { &report::SCRIPT } else { &report::KNOWN_OTHER };
        return Report::refused(Format::Other(format), Finding::new(rule, 0, format!("content is {why}")));
    }
    if let Some((format, why)) = sniff::refused_model(bytes) {
        let finding = Finding::new(&report::KNOWN_OTHER, 0, format!("content is {why}"));
        return Report::refused(Format::Other(format), finding);
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK") && !bytes.is_ascii() {
        return inspect_zip(bytes, limits, place);
    }
    if bytes.starts_with(npy::MAGIC) {
        return with(Format::Npy, |report| npy::inspect(bytes, "array", 0, limits, report));
    }
    let is_gguf = bytes.starts_with(gguf::MAGIC);
    if is_gguf || bytes.starts_with(hdf5::MAGIC) {
        let mut report = if is_gguf {
            with(Format::Gguf, |report| gguf::inspect(bytes, limits, report))
        } else {
            with(Format::Hdf5, |report| hdf5::inspect(bytes, limits, report))
        };
        text::check_polyglot(bytes, limits, &mut report);
        return report;
    }
    if tflite::claims(bytes) || trees::claims_ubjson(bytes) {
        let mut report = if tflite::claims(bytes) {
            with(Format::Tflite, |report| tflite::inspect(bytes, limits, report))
        } else {
            with(Format::XgboostUbj, |report| trees::inspect_ubjson(bytes, limits, report))
        };
        text::check_polyglot(bytes, limits, &mut report);
        return report;
    }
    if let Some(mut report) = inspect_proto(name, bytes) {
        text::check_polyglot(bytes, limits, &mut report);
        return report;
    }
    let is_safetensors = safetensors::claims(bytes);
    let is_onnx = !is_safetensors && onnx::claims(bytes);
    if is_safetensors || is_onnx {
        let mut report = if is_safetensors {
            with(Format::Safetensors, |report| {
                safetensors::inspect(bytes, cursor::offset(bytes.len()), limits, report)
            })
        } else {
            with(Format::Onnx, |report| onnx::inspect(bytes, limits, report))
        };
        text::check_polyglot(bytes, limits, &mut report);
        return report;
    }
    text::inspect(claim, name, bytes, limits)
}

/// Protobuf but ONNX, which is told by its fields, and the files of a SavedModel, which are told by their names.
fn inspect_proto(name: &str, bytes: &[u8]) -> Option<Report> {
    match sniff::saved_model_part(name) {
        Some(Part::Fingerprint) => {
            return Some(with(Format::TfPart, |report| tensorflow::fingerprint(bytes, report)));
        }
        Some(Part::KerasMetadata) => {
            return Some(with(Format::TfPart, |report| tensorflow::keras_metadata(bytes, report)));
        }
        Some(Part::Index) => {
            return Some(with(Format::TfPart, |report| tensorflow::variables_index(bytes, report)));
        }
        Some(Part::Data) => {
            let what = "variables of a TensorFlow model, raw numbers without a structure of their own";
            let mut report = Report::refused(Format::TfPart, Finding::new(&report::SAVED_MODEL, 0, what));
            if safetensors::claims(bytes) || onnx::claims(bytes) {
                report.push(Finding::new(
                    &report::POLYGLOT,
                    0,
                    "variables read as a model of another format",
                ));
            }
            return Some(report);
        }
        None => {}
    }
    let saved_model = tensorflow::claims_saved_model(bytes);
    let graph = tensorflow::claims_graph(bytes);
    let pieces = sentencepiece::claims(bytes);
    let mut report = match (saved_model, graph, pieces) {
        (false, false, false) => return None,
        (true, ..) => with(Format::TfSavedModel, |report| tensorflow::inspect_saved_model(bytes, report)),
        (_, true, _) => with(Format::TfGraph, |report| tensorflow::inspect_graph(bytes, report)),
        _ => with(Format::SentencePiece, |report| sentencepiece::inspect(bytes, report)),
    };
    if [saved_model, graph, pieces, onnx::claims(bytes)].into_iter().filter(|claim| *claim).count() > 1 {
        report.push(Finding::new(&report::POLYGLOT, 0, "content reads as two kinds of protobuf"));
    }
    Some(report)
}

fn with(format: Format, check: impl FnOnce(&mut Report) -> Result<(), Finding>) -> Report {
    let mut report = Report::new(format);
    if let Err(finding) = check(&mut report) {
        report.push(finding);
    }
    report
}

fn inspect_zip(bytes: &[u8], limits: &Limits, place: &mut Place) -> Report {
    let members = match zip::read(bytes, limits) {
        Ok(members) => members,
        Err(finding) => return Report::refused(Format::Other("zip"), finding),
    };
    if torch::claims(&members) {
        let len = cursor::offset(bytes.len());
        return with(Format::TorchZip, |report| torch::inspect(&members, len, limits, report));
    }
    if keras::archive::claims(&members) {
        return with(Format::Keras, |report| keras::archive::inspect(&members, limits, report));
    }
    if members.iter().all(|member| member.name.ends_with(".npy") && member.data.starts_with(npy::MAGIC)) {
        return with(Format::Npz, |report| npy::inspect_npz(&members, limits, report));
    }
    if skops::claims(&members) {
        return with(Format::Other("skops"), |report| skops::inspect(&members, limits, report));
    }
    archive::zipped(&members, limits, place)
}
