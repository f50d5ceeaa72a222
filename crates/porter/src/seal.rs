//! Inspecting and sealing a private copy.

use std::os::fd::BorrowedFd;

use inspect::{Format, Report, Verdict};
use ops::porter::{RISK_BYTES_MAX, RISKS_MAX, Tensor};
use ops::{List, Text};
use vault::{ChunkSize, Content, FreshDek, KeyScope, Sealed, Sealer};

use crate::{PorterError, tree};

/// Failures inside the sealer's callbacks.
struct Inner(PorterError);

impl From<vault::SefError> for Inner {
    fn from(source: vault::SefError) -> Self {
        Self(PorterError::Sealed { path: String::new(), source })
    }
}

/// Seals bytes into an empty file under a fresh key; the header is written last.
pub(crate) fn into(
    stage: BorrowedFd<'_>,
    path: &str,
    bytes: &[u8],
    scope: &KeyScope,
) -> Result<Sealed, PorterError> {
    let (mut key, mut salt) = ([0u8; 32], [0u8; 32]);
    getrandom::fill(&mut key).map_err(|_| PorterError::Random)?;
    getrandom::fill(&mut salt).map_err(|_| PorterError::Random)?;
    let dek = FreshDek::take(&mut key);
    let writing = |errno| PorterError::io("sealing", path)(errno);
    let mut emit = |offset: u64, bytes: &[u8]| {
        tree::write_at(stage, bytes, offset).map_err(|errno| Inner(writing(errno)))
    };
    let named = |Inner(error): Inner| match error {
        PorterError::Sealed { source, .. } => PorterError::Sealed { path: path.to_owned(), source },
        other => other,
    };
    let sealer = Sealer::new(dek, salt, ChunkSize::default(), Content::Unknown);
    let mut sealer = sealer.map_err(|e| named(e.into()))?;
    sealer.push(bytes, &mut emit).map_err(named)?;
    let sealed = sealer.finish(scope, &mut emit).map_err(named)?;
    tree::write_at(stage, &sealed.tags, sealed.layout.tags_offset()).map_err(writing)?;
    tree::write_at(stage, sealed.header.as_ref(), 0).map_err(writing)?;
    Ok(sealed)
}

/// What inspection says, in the words of the protocol.
#[derive(Debug)]
pub(crate) struct Inspected {
    pub(crate) format: Format,
    pub(crate) verdict: Verdict,
    pub(crate) findings: Vec<String>,
    pub(crate) risks: List<Text<RISK_BYTES_MAX>, RISKS_MAX>,
    pub(crate) all_finite: Option<bool>,
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) step: Option<u64>,
}

impl Inspected {
    pub(crate) fn of(path: &str, bytes: &[u8]) -> Self {
        let report = inspect::inspect_bytes(path, bytes, &inspect::Limits::default());
        let mut findings: Vec<String> =
            report.findings.iter().map(|f| format!("{}: {}", f.code, f.explanation)).collect();
        let mut verdict = report.verdict;
        // What cannot be named cannot be accepted.
        let risks = told_risks(&report).unwrap_or_else(|| {
            verdict = Verdict::Refuse;
            findings.insert(
                0,
                format!("it has more than {RISKS_MAX} risks, or one that is too long to be named"),
            );
            List::default()
        });
        Self {
            format: report.format,
            verdict,
            findings,
            risks,
            all_finite: report.all_finite,
            tensors: tensors(path, &report),
            step: report.step,
        }
    }

    /// The findings in one line.
    pub(crate) fn line(&self) -> String {
        if self.findings.is_empty() { "no reason given".to_owned() } else { self.findings.join("; ") }
    }

    pub(crate) fn told_findings(&self) -> List<Text<256>, 8> {
        List::clip(self.findings.iter().map(|f| Text::clip(f)).collect())
    }
}

/// Every risk in the words of the protocol, or nothing if they do not all fit.
fn told_risks(report: &Report) -> Option<List<Text<RISK_BYTES_MAX>, RISKS_MAX>> {
    let risks: Result<Vec<_>, _> = report.accepted_as().into_iter().map(Text::new).collect();
    List::new(risks.ok()?).ok()
}

/// Tensors in the words of the protocol. The file's path is part of a name, so that two files of a checkpoint may
/// hold tensors of one name. A tensor that the protocol cannot carry (a name or shape that is too long) is left out.
fn tensors(path: &str, report: &Report) -> Vec<Tensor> {
    let one = |info: &inspect::TensorInfo| {
        Some(Tensor {
            name: Text::new(format!("{path}:{}", info.name)).ok()?,
            dtype: Text::new(info.dtype.clone()).ok()?,
            shape: List::new(info.shape.clone()).ok()?,
            digest: info.digest?,
            norm_bits: info.norm_bits,
        })
    };
    report.tensors.iter().filter_map(one).collect()
}
