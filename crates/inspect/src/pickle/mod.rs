//! Pickle (protocols 0-5, PEP 307, PEP 3154, PEP 574): an abstract machine with all 68 opcodes.
//!
//! The machine keeps an exact model of stack, mark stack and memo, but nothing is imported, called or
//! built. A file passes only if every opcode is understood, every global is on the allow list and every
//! call has the shape that its entry permits. What stands before a defect counts as executed, so that a
//! stream that breaks after its call is still reported for the call.

mod allow;
mod calls;
mod constants;
mod containers;
mod globals;
mod joblib;
mod legacy;
mod machine;
mod names;
mod numpy;
mod standing;
mod text;
mod torch;
mod value;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use crate::limits::Limits;
use crate::report::{self, Finding};

pub(crate) use allow::numpy_code;
pub(crate) use joblib::uses_wrappers;
pub(crate) use standing::Standing;
pub(crate) use value::View;

/// The storages of a torch container: key and size of `data/<key>`.
pub(crate) type Storages = BTreeMap<String, u64>;

/// Where a pickle stands, which says what may be in it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'a> {
    /// A file of its own, or a byte string.
    Bare,
    /// A torch ZIP container with these storages.
    Zip(&'a Storages),
    /// The five streams of a torch file from before 1.6.
    Legacy,
    /// A file of joblib, with arrays behind their wrappers.
    Joblib,
    /// One stream within a file of joblib: an array of objects.
    Inline,
}

/// What a scan saw.
#[expect(clippy::struct_excessive_bools, reason = "independent observations, no state")]
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// In the order of execution.
    pub(crate) findings: Vec<Finding>,
    /// Complete streams.
    pub(crate) streams: usize,
    /// Every byte belongs to a complete stream.
    pub(crate) complete: bool,
    /// Some global with an importable name was named, listed or not.
    pub(crate) names_globals: bool,
    /// A call was executed on a global that was named, listed or not.
    pub(crate) calls: bool,
    /// Byte strings are nested beyond the limit, each beginning like a pickle.
    pub(crate) too_deep: bool,
    /// The first value is the magic number of legacy torch files.
    pub(crate) legacy_torch: bool,
    /// Keys of the storages that were referred to.
    pub(crate) used: BTreeSet<String>,
    /// Globals off the start list that a policy may list.
    pub(crate) globals: BTreeSet<(String, String)>,
    /// How many globals with importable names were refused.
    pub(crate) refused: usize,
    /// Where the last complete stream ends.
    pub(crate) end: usize,
    /// What the streams of a legacy torch file say of its storages.
    pub(crate) legacy: legacy::Parts,
    /// Arrays that stood inline in a file of joblib.
    pub(crate) arrays: usize,
    /// Named tensors, when storages were given.
    pub(crate) tensors: Vec<(String, View)>,
    /// The step that the outermost dictionary tells, when storages were given.
    pub(crate) step: Option<u64>,
}

/// Scans a whole byte string. `base` is its offset in the file.
pub(crate) fn scan(bytes: &[u8], base: u64, place: Place<'_>, limits: &Limits) -> Scan {
    let mut budget = limits.pickle_opcodes;
    machine::Machine::new(bytes, base, place, limits, 0).run(&mut budget)
}

/// Whether a scan of the first bytes of a file would have gone on with more of them.
pub(crate) fn wants_more(scan: &Scan) -> bool {
    let unread = |finding: &Finding| {
        finding.code == report::LIMIT.code || machine::CUT.contains(&finding.explanation.as_str())
    };
    scan.complete || scan.findings.iter().any(unread)
}

/// Whether a pair is on the start list.
pub(crate) fn is_listed(module: &str, name: &str) -> bool {
    allow::lookup(module, name).is_some()
}

/// What a policy may make of a pair that is not.
pub(crate) fn standing(module: &str, name: &str) -> Standing {
    standing::of(module, name)
}

/// Whether the bytes begin like a pickle of protocol 2 or later.
pub(crate) fn has_magic(bytes: &[u8]) -> bool {
    matches!(bytes, [0x80, 0..=5, ..])
}
