//! Models of XGBoost (its JSON schema, `doc/model.schema`).

use super::{bad, check_children, member};
use crate::json::Json;
use crate::report::{Finding, Report, TensorInfo};

/// Whether the root is that of a model.
pub(crate) fn claims(root: &Json) -> bool {
    matches!(member(root, "learner"), Some(Json::Object(_)))
        && matches!(member(root, "version"), Some(Json::Array(_)))
}

pub(crate) fn inspect(root: &Json, report: &mut Report) -> Result<(), Finding> {
    only(root, &["learner", "version", "Config"])?;
    let learner = member(root, "learner").ok_or_else(|| bad(0, "`learner` is missing"))?;
    let known = [
        "attributes",
        "feature_names",
        "feature_types",
        "gradient_booster",
        "learner_model_param",
        "objective",
        "cats",
    ];
    only(learner, &known)?;
    let booster =
        member(learner, "gradient_booster").ok_or_else(|| bad(0, "`gradient_booster` is missing"))?;
    let model = match member(booster, "name") {
        Some(Json::String(name)) if name == "gblinear" => {
            let weights = member(booster, "model").and_then(|model| array(model, "weights"));
            let weights = weights.ok_or_else(|| bad(0, "linear model has no weights"))?;
            numbers(weights).ok_or_else(|| bad(0, "weight is no number"))?;
            return Ok(());
        }
        Some(Json::String(name)) if name == "gbtree" => member(booster, "model"),
        Some(Json::String(name)) if name == "dart" => {
            member(booster, "gbtree").and_then(|inner| member(inner, "model"))
        }
        _ => return Err(bad(0, "booster is none that is known")),
    };
    let model = model.ok_or_else(|| bad(0, "`model` is missing"))?;
    let trees = array(model, "trees").ok_or_else(|| bad(0, "`trees` is missing"))?;
    let info =
        array(model, "tree_info").and_then(integers).ok_or_else(|| bad(0, "`tree_info` is missing"))?;
    let stated = member(model, "gbtree_model_param").and_then(|param| count(param, "num_trees"));
    if info.len() != trees.len() || stated != Some(trees.len()) {
        return Err(bad(0, "number of trees is stated in two ways"));
    }
    if let Some(Json::Array(dropped)) = member(booster, "weight_drop")
        && dropped.len() != trees.len()
    {
        return Err(bad(0, "trees and their weights differ in number"));
    }
    if let Some(starts) = array(model, "iteration_indptr").and_then(integers) {
        let last = i64::try_from(trees.len()).ok();
        if !starts.is_sorted()
            || starts.first().is_some_and(|first| *first != 0)
            || starts.last().copied() != last
        {
            return Err(bad(0, "iterations do not cover the trees"));
        }
    }
    let groups = groups(learner);
    if info.iter().any(|group| !(0..groups).contains(group)) {
        return Err(bad(0, "tree is of a class that is not there"));
    }
    for (index, value) in trees.iter().enumerate() {
        let nodes = tree(value).map_err(|what| bad(0, format!("tree {index}: {what}")))?;
        report.tensors.push(TensorInfo {
            name: format!("tree{index}"),
            dtype: "TREE".to_owned(),
            shape: vec![crate::cursor::offset(nodes)],
            norm_bits: None,
            digest: None,
        });
    }
    Ok(())
}

/// Classes or targets, of which each tree is for one.
fn groups(learner: &Json) -> i64 {
    let param = member(learner, "learner_model_param");
    let stated = |key| param.and_then(|param| count(param, key)).unwrap_or(1).max(1);
    i64::try_from(stated("num_class").max(stated("num_target"))).unwrap_or(i64::MAX)
}

fn only(value: &Json, known: &[&str]) -> Result<(), Finding> {
    match value {
        Json::Object(members) if members.iter().all(|(key, _)| known.contains(&key.as_str())) => Ok(()),
        _ => Err(bad(0, "model has a member that is not known")),
    }
}

fn array<'a>(value: &'a Json, key: &str) -> Option<&'a [Json]> {
    match member(value, key) {
        Some(Json::Array(items)) => Some(items),
        _ => None,
    }
}

/// A number in a text, as parameters are written.
fn count(value: &Json, key: &str) -> Option<usize> {
    match member(value, key) {
        Some(Json::String(text) | Json::Number(text)) => text.parse().ok(),
        _ => None,
    }
}

fn integers(items: &[Json]) -> Option<Vec<i64>> {
    let integer = |item: &Json| match item {
        Json::Number(text) => text.parse().ok(),
        Json::Bool(flag) => Some(i64::from(*flag)),
        _ => None,
    };
    items.iter().map(integer).collect()
}

fn numbers(items: &[Json]) -> Option<()> {
    items.iter().all(|item| matches!(item, Json::Number(_))).then_some(())
}

/// Arrays with one entry for each node.
const PER_NODE: &[&str] =
    &["left_children", "right_children", "parents", "split_indices", "split_conditions", "default_left"];
/// Those that some writers leave out or leave empty, or that have several entries for each node.
const OPTIONAL: &[&str] = &["base_weights", "loss_changes", "sum_hessian", "split_type", "leaf_weights"];

/// The number of nodes of a tree that is one.
fn tree(value: &Json) -> Result<usize, &'static str> {
    let param = member(value, "tree_param").ok_or("`tree_param` is missing")?;
    let nodes = count(param, "num_nodes").ok_or("`num_nodes` is missing")?;
    let width = count(param, "size_leaf_vector").unwrap_or(1).max(1);
    for name in PER_NODE {
        let items = array(value, name).ok_or("an array is missing")?;
        if items.len() != nodes {
            return Err("arrays have another length than there are nodes");
        }
    }
    let wide = nodes.checked_mul(width).ok_or("number of nodes overflows")?;
    for name in OPTIONAL {
        let Some(items) = array(value, name) else { continue };
        // Leaves of vectors are kept beside the nodes, one vector for each leaf.
        let leaves = *name == "leaf_weights" && items.len() < wide && items.len().is_multiple_of(width);
        if !(items.is_empty() || items.len() == nodes || items.len() == wide || leaves) {
            return Err("arrays have another length than there are nodes");
        }
        numbers(items).ok_or("an entry is no number")?;
    }
    let get = |name| array(value, name).and_then(integers).ok_or("an entry is no whole number");
    let (left, right) = (get("left_children")?, get("right_children")?);
    let vectors = array(value, "leaf_weights").is_some_and(|weights| !weights.is_empty());
    let mut children = Vec::new();
    for (left, right) in left.iter().zip(&right) {
        match (left, right) {
            (-1, -1) => {}
            // A leaf of vectors keeps the place of its vector in the other child.
            (-1, leaf) if vectors && *leaf >= 0 && usize::try_from(*leaf).is_ok_and(|leaf| leaf < nodes) => {}
            _ => children.extend([*left, *right]),
        }
    }
    check_children(nodes, children.into_iter(), 0).map_err(|_| "children do not form a tree")?;
    let features = count(param, "num_feature").unwrap_or(0);
    let splits = get("split_indices")?;
    for (split, left) in splits.iter().zip(&left) {
        let inside = usize::try_from(*split).is_ok_and(|split| split < features);
        if *left != -1 && features > 0 && !inside {
            return Err("split is on a feature that is not there");
        }
    }
    numbers(array(value, "split_conditions").unwrap_or_default()).ok_or("an entry is no number")?;
    categories(value, nodes)?;
    Ok(nodes)
}

fn categories(value: &Json, nodes: usize) -> Result<(), &'static str> {
    let get = |name| match member(value, name) {
        None => Ok(Vec::new()),
        Some(Json::Array(items)) => integers(items).ok_or("a category is no whole number"),
        Some(_) => Err("categories are no list"),
    };
    let all = get("categories")?;
    let (at, starts, sizes) =
        (get("categories_nodes")?, get("categories_segments")?, get("categories_sizes")?);
    if at.len() != starts.len() || at.len() != sizes.len() {
        return Err("categories differ in length");
    }
    let total = i64::try_from(all.len()).unwrap_or(i64::MAX);
    let node_count = i64::try_from(nodes).unwrap_or(i64::MAX);
    for ((node, start), size) in at.iter().zip(&starts).zip(&sizes) {
        let end = start.checked_add(*size);
        if !(0..node_count).contains(node) || *start < 0 || *size < 0 || end.is_none_or(|end| end > total) {
            return Err("categories lie outside their list");
        }
    }
    Ok(())
}
