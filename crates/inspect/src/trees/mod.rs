//! Ensembles of trees as data: XGBoost as JSON and UBJSON, LightGBM as text. None can run code; what is checked is
//! that a reader which trusts the lengths and indices in them stays within its arrays and ends.

mod lightgbm;
mod ubjson;
mod xgboost;

use crate::cursor::offset;
use crate::json::Json;
use crate::limits::Limits;
use crate::report::{self, Finding, Report};

pub(crate) use lightgbm::{claims as claims_lightgbm, inspect as inspect_lightgbm};
pub(crate) use xgboost::{claims as claims_xgboost, inspect as inspect_xgboost};

fn bad(at: u64, what: impl Into<String>) -> Finding {
    Finding::new(&report::TREES, at, what)
}

/// Whether the content begins as XGBoost writes UBJSON: an object whose keys have lengths of 64 bits.
pub(crate) fn claims_ubjson(bytes: &[u8]) -> bool {
    bytes.starts_with(b"{L\0\0\0\0\0\0\0")
}

/// Inspects a model in UBJSON.
pub(crate) fn inspect_ubjson(bytes: &[u8], limits: &Limits, report: &mut Report) -> Result<(), Finding> {
    if bytes.len() > limits.text_bytes {
        return Err(Finding::new(&report::LIMIT, 0, "model is larger than the limit"));
    }
    let root = ubjson::parse(bytes)?;
    if !xgboost::claims(&root) {
        return Err(bad(0, "content is no model of XGBoost"));
    }
    xgboost::inspect(&root, report)
}

/// Children of nodes form trees: each is a node that exists and has one parent, and the root has none. So whoever
/// follows them comes to an end.
fn check_children(count: usize, children: impl Iterator<Item = i64>, at: u64) -> Result<(), Finding> {
    let mut seen = vec![false; count];
    for child in children {
        let place = usize::try_from(child).ok().filter(|child| *child != 0);
        let slot = place.and_then(|child| seen.get_mut(child));
        match slot {
            Some(slot) if !*slot => *slot = true,
            Some(_) => return Err(bad(at, format!("node {child} has two parents"))),
            None => return Err(bad(at, format!("child {child} is no node of its tree"))),
        }
    }
    Ok(())
}

fn member<'a>(value: &'a Json, key: &str) -> Option<&'a Json> {
    match value {
        Json::Object(members) => members.iter().find(|(name, _)| name == key).map(|(_, value)| value),
        _ => None,
    }
}

/// Offset of a part of a text.
fn place(whole: &str, part: &str) -> u64 {
    offset((part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize))
}
