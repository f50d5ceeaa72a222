//! Models of LightGBM as text, version 3 and 4: a head of `key=value` lines, trees of stated lengths, parameters.

use std::collections::BTreeMap;

use super::{bad, check_children, place};
use crate::cursor::{offset, show};
use crate::json;
use crate::limits::{self, Limits};
use crate::report::{self, Finding, Report, TensorInfo};

/// Whether a text is such a model.
pub(crate) fn claims(text: &str) -> bool {
    text.starts_with("tree\nversion=v")
}

type Lines<'a> = BTreeMap<&'a str, &'a str>;

pub(crate) fn inspect(text: &str, limits: &Limits, report: &mut Report) -> Result<(), Finding> {
    if text.len() > limits.text_bytes {
        return Err(Finding::new(&report::LIMIT, 0, "model is larger than the limit"));
    }
    let (head, rest) = text.split_once("\n\n").ok_or_else(|| bad(0, "head of the model does not end"))?;
    let head = lines(text, head.strip_prefix("tree\n").unwrap_or(head))?;
    let features: u64 =
        number(&head, "max_feature_idx").ok_or_else(|| bad(0, "`max_feature_idx` is missing"))?;
    let sizes = list::<usize>(&head, "tree_sizes").ok_or_else(|| bad(0, "`tree_sizes` is missing"))?;
    if sizes.len() > limits.tensors {
        return Err(Finding::new(&report::LIMIT, 0, "too many trees"));
    }
    let mut left = rest;
    for (index, size) in sizes.iter().enumerate() {
        let (tree, after) = left
            .split_at_checked(*size)
            .ok_or_else(|| bad(place(text, left), format!("tree {index} is shorter than its size says")))?;
        let body = tree.strip_prefix(format!("Tree={index}\n").as_str());
        let body =
            body.ok_or_else(|| bad(place(text, tree), format!("tree {index} is not where its size says")))?;
        let at = place(text, tree);
        let leaves = check_tree(text, body, features)
            .map_err(|finding| Finding { offset: finding.offset.max(at), ..finding })?;
        report.tensors.push(TensorInfo {
            name: format!("tree{index}"),
            dtype: "TREE".to_owned(),
            shape: vec![leaves],
            norm_bits: None,
            digest: None,
        });
        left = after;
    }
    tail(text, left)
}

fn lines<'a>(whole: &str, part: &'a str) -> Result<Lines<'a>, Finding> {
    let mut found = Lines::new();
    for line in part.lines().filter(|line| !line.is_empty()) {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        if found.insert(key, value).is_some() {
            return Err(bad(place(whole, line), format!("key `{}` occurs twice", show(key.as_bytes()))));
        }
    }
    Ok(found)
}

fn number<T: std::str::FromStr>(lines: &Lines<'_>, key: &str) -> Option<T> {
    lines.get(key)?.trim().parse().ok()
}

fn list<T: std::str::FromStr>(lines: &Lines<'_>, key: &str) -> Option<Vec<T>> {
    lines.get(key)?.split_ascii_whitespace().map(|word| word.parse().ok()).collect()
}

/// The number of leaves of a tree that is one.
fn check_tree(whole: &str, body: &str, features: u64) -> Result<u64, Finding> {
    let lines = lines(whole, body)?;
    let fail = |what: &str| bad(0, what);
    let leaves: usize =
        number(&lines, "num_leaves").filter(|leaves| *leaves > 0).ok_or_else(|| fail("no `num_leaves`"))?;
    let values = list::<f64>(&lines, "leaf_value").ok_or_else(|| fail("no `leaf_value`"))?;
    if values.len() != leaves {
        return Err(fail("values and leaves differ in number"));
    }
    let inner = leaves - 1;
    if inner > 0 {
        splits(&lines, inner, leaves, features)?;
    }
    Ok(offset(leaves))
}

fn splits(lines: &Lines<'_>, inner: usize, leaves: usize, features: u64) -> Result<(), Finding> {
    let fail = |what: &str| bad(0, what);
    let get = |key: &str| list::<i64>(lines, key).filter(|list| list.len() == inner);
    let left = get("left_child").ok_or_else(|| fail("`left_child` has another length"))?;
    let right = get("right_child").ok_or_else(|| fail("`right_child` has another length"))?;
    let split = get("split_feature").ok_or_else(|| fail("`split_feature` has another length"))?;
    let kinds = get("decision_type").ok_or_else(|| fail("`decision_type` has another length"))?;
    let thresholds = list::<f64>(lines, "threshold").filter(|list| list.len() == inner);
    let thresholds = thresholds.ok_or_else(|| fail("`threshold` has another length"))?;
    if split
        .iter()
        .any(|feature| u64::try_from(*feature).is_ok_and(|feature| feature > features) || *feature < 0)
    {
        return Err(fail("split is on a feature that is not there"));
    }
    // Leaves are numbered from -1 downwards; as nodes they come after the inner ones.
    let place = |child: &i64| match *child {
        child if child < 0 => {
            i64::try_from(inner).ok().and_then(|inner| inner.checked_add(-(child + 1))).unwrap_or(-1)
        }
        child if usize::try_from(child).is_ok_and(|child| child < inner) => child,
        _ => -1,
    };
    check_children(inner + leaves, left.iter().chain(&right).map(place), 0)?;
    let categories: usize = number(lines, "num_cat").unwrap_or(0);
    if categories > 0 {
        let bounds = list::<usize>(lines, "cat_boundaries").ok_or_else(|| fail("no `cat_boundaries`"))?;
        let bits = list::<u32>(lines, "cat_threshold").ok_or_else(|| fail("no `cat_threshold`"))?;
        let whole =
            bounds.len() == categories.saturating_add(1) && bounds.is_sorted() && bounds.first() == Some(&0);
        if !whole || bounds.last() != Some(&bits.len()) {
            return Err(fail("categories differ in length"));
        }
    }
    // A split by categories keeps the number of its category list as its threshold.
    let categories = u32::try_from(categories).map_or(0.0, f64::from);
    for (kind, index) in kinds.iter().zip(&thresholds) {
        if kind & 1 == 1 && !(index.fract() == 0.0 && (0.0..categories).contains(index)) {
            return Err(fail("split is on categories that are not there"));
        }
    }
    Ok(())
}

/// What follows the trees: importances, parameters in brackets, categories of pandas as JSON.
fn tail(text: &str, rest: &str) -> Result<(), Finding> {
    let fail = |part: &str, what: &str| bad(place(text, part), what);
    let rest = rest
        .strip_prefix("end of trees\n")
        .ok_or_else(|| fail(rest, "trees do not end where they should"))?;
    for line in rest.lines() {
        if line.len() > limits::LIGHTGBM_LINE {
            return Err(fail(line, "line is too long"));
        }
        if let Some(value) = line.strip_prefix("pandas_categorical:") {
            json::parse(value.as_bytes()).map_err(|_| fail(line, "categories of pandas are no JSON"))?;
            continue;
        }
        let known = line.is_empty()
            || matches!(line, "feature_importances:" | "parameters:" | "end of parameters")
            || (line.starts_with('[') && line.ends_with(']'))
            || line.contains('=');
        if !known {
            return Err(fail(line, "line after the trees is not known"));
        }
    }
    Ok(())
}
