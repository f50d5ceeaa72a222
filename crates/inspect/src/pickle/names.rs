//! Names of tensors: the path of keys that leads to each from the root.

use std::collections::{BTreeMap, HashSet};

use crate::limits;
use crate::pickle::machine::Machine;
use crate::pickle::value::{Link, Node, Val, View};
use crate::report::{self, Finding};

/// Walks the finished value. A tensor that is reachable by several paths has the name of the first; two
/// different tensors whose paths read alike are told apart by a `#n` at the end.
pub(super) fn collect(
    machine: &Machine<'_>,
    root: Val,
    limit: usize,
) -> Result<Vec<(String, View)>, Finding> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut repeats: BTreeMap<String, u32> = BTreeMap::new();
    // One step per visited node, so that paths cost no memory until a tensor is found.
    let mut steps: Vec<Step> = Vec::new();
    let mut stack = vec![(None, root, 0_usize)];
    while let Some((step, value, depth)) = stack.pop() {
        let Some(node) = machine.get_node(value) else { continue };
        if let Node::Tensor(view) = node {
            if found.len() >= limit {
                return Err(machine.bad(&report::LIMIT, "too many tensors"));
            }
            let path = path(machine, &steps, step);
            let count = repeats.entry(path.clone()).or_insert(0);
            *count += 1;
            let name = if *count == 1 { path } else { format!("{path}#{count}") };
            found.push((name, (**view).clone()));
            continue;
        }
        let mut fresh = children(node);
        fresh.retain(|link| seen.insert(link.node));
        if depth >= limits::NAME_DEPTH && !fresh.is_empty() {
            return Err(machine.bad(&report::LIMIT, "checkpoint is nested too deeply to name its tensors"));
        }
        // Pushed in reverse, so that tensors come out in the order of the file.
        for Link { key, node } in fresh.into_iter().rev() {
            let index = steps.len();
            steps.push(Step { parent: step, key });
            stack.push((Some(index), Val::Ref(node), depth + 1));
        }
    }
    Ok(found)
}

/// One key on the way from the root.
struct Step {
    parent: Option<usize>,
    key: Val,
}

fn path(machine: &Machine<'_>, steps: &[Step], last: Option<usize>) -> String {
    let mut parts = Vec::new();
    let mut next = last;
    while let Some(step) = next.and_then(|index| steps.get(index)) {
        parts.push(match step.key {
            Val::Int(number) => number.to_string(),
            // The state of an object adds no part to the path.
            Val::None => {
                next = step.parent;
                continue;
            }
            Val::Bool(value) => value.to_string(),
            key => machine.text_up_to(key, limits::NAME_PART).unwrap_or("?").to_owned(),
        });
        next = step.parent;
    }
    parts.reverse();
    let mut name = parts.join(".");
    if name.len() > limits::NAME_BYTES {
        let cut = name.floor_char_boundary(limits::NAME_BYTES);
        name.truncate(cut);
    }
    name
}

fn children(node: &Node) -> Vec<Link> {
    match node {
        Node::List { links, .. }
        | Node::Dict { links, .. }
        | Node::OrderedDict { links, .. }
        | Node::Built { links }
        | Node::Instance { links, .. } => links.clone(),
        Node::Tuple { items: Some(items), .. } => items
            .iter()
            .zip(0_i64..)
            .filter_map(|(item, at)| match item {
                Val::Ref(node) => Some(Link { key: Val::Int(at), node: *node }),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}
