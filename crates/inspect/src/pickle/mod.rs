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
mod machine;
mod names;
mod text;
mod value;

use std::collections::{BTreeMap, BTreeSet};

use crate::limits::Limits;
use crate::report::Finding;

pub(crate) use allow::numpy_code;
pub(crate) use value::View;

/// The storages of a torch container: key and size of `data/<key>`.
pub(crate) type Storages = BTreeMap<String, u64>;

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
    /// Named tensors, when storages were given.
    pub(crate) tensors: Vec<(String, View)>,
    /// The step that the outermost dictionary tells, when storages were given.
    pub(crate) step: Option<u64>,
}

/// Scans a whole byte string. `base` is its offset in the file; `storages` is given inside a torch
/// container only.
pub(crate) fn scan(bytes: &[u8], base: u64, storages: Option<&Storages>, limits: &Limits) -> Scan {
    let mut budget = limits.pickle_opcodes;
    machine::Machine::new(bytes, base, storages, limits, 0).run(&mut budget)
}

/// Whether the bytes begin like a pickle of protocol 2 or later.
pub(crate) fn has_magic(bytes: &[u8]) -> bool {
    matches!(bytes, [0x80, 0..=5, ..])
}
