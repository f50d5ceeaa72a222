//! Files of skops: a ZIP archive with `schema.json`, a tree of nodes that say by name what is to be built, and arrays.

use std::collections::{BTreeMap, BTreeSet};

use crate::json::{self, Json};
use crate::limits::Limits;
use crate::npy;
use crate::pickle::{self, Standing};
use crate::report::{self, Finding, Report};
use crate::zip::Member;

/// Whether the members are those of skops.
pub(crate) fn claims(members: &[Member<'_>]) -> bool {
    let text = |member: &Member<'_>| member.data.windows(10).any(|window| window == b"__loader__");
    members.iter().any(|member| member.name == "schema.json" && text(member))
}

/// Nodes of plain data and of containers; what they build is fixed by the loader.
const PLAIN: &[&str] = &[
    "DictNode",
    "DefaultDictNode",
    "ListNode",
    "SetNode",
    "TupleNode",
    "BytesNode",
    "BytearrayNode",
    "SliceNode",
    "JsonNode",
    "NdArrayNode",
    "MaskedArrayNode",
    "RandomStateNode",
    "RandomGeneratorNode",
    "DTypeNode",
    "SparseMatrixNode",
    "DatetimeTimedeltaNode",
    "CachedNode",
];
/// Nodes that build or name what their class says.
const NAMED: &[&str] = &["ObjectNode", "TypeNode", "FunctionNode", "TreeNode", "LossNode", "ReduceNode"];

/// Inspects the members: the schema, and each array that it names.
pub(crate) fn inspect(members: &[Member<'_>], limits: &Limits, report: &mut Report) -> Result<(), Finding> {
    let what = format!("file of skops with {} members", members.len());
    report.push(Finding::new(&report::SKOPS, 0, what));
    let by_name: BTreeMap<&str, &Member<'_>> = members.iter().map(|member| (member.name, member)).collect();
    let bad = |what: &str| Finding::new(&report::SKOPS_SHAPE, 0, what);
    let schema = by_name.get("schema.json").ok_or_else(|| bad("`schema.json` is missing"))?;
    let root = json::parse(&schema.data)?;
    let mut tree = Tree { at: schema.at, files: BTreeSet::new(), globals: BTreeSet::new(), report };
    tree.walk(&root)?;
    let Tree { files, globals, .. } = tree;
    report.add_globals(globals);
    for member in members.iter().filter(|member| member.name != "schema.json") {
        if !files.contains(member.name) {
            let what = format!("member `{}` belongs to no node", member.name);
            return Err(Finding::new(&report::SKOPS_SHAPE, member.at, what));
        }
        if member.data.starts_with(npy::MAGIC) {
            let stem = member.name.strip_suffix(".npy").unwrap_or(member.name);
            npy::inspect(&member.data, stem, member.at, limits, report)?;
        } else if member.name.ends_with(".npz") {
            let parts = crate::zip::read(&member.data, limits)?;
            npy::inspect_npz(&parts, limits, report)?;
        } else if !member.name.ends_with(".bin") {
            return Err(Finding::new(
                &report::SKOPS_SHAPE,
                member.at,
                format!("member `{}` is no array", member.name),
            ));
        }
    }
    if let Some(file) = files.iter().find(|file| !by_name.contains_key(file.as_str())) {
        return Err(bad(&format!("member `{file}` is missing")));
    }
    Ok(())
}

struct Tree<'r> {
    at: u64,
    files: BTreeSet<String>,
    globals: BTreeSet<(String, String)>,
    report: &'r mut Report,
}

impl Tree<'_> {
    /// Visits every node; the parser bounded depth and number.
    fn walk(&mut self, value: &Json) -> Result<(), Finding> {
        match value {
            Json::Array(items) => items.iter().try_for_each(|item| self.walk(item)),
            Json::Object(members) => {
                if members.iter().any(|(key, _)| key == "__loader__") {
                    self.node(members)?;
                }
                members.iter().try_for_each(|(_, member)| self.walk(member))
            }
            _ => Ok(()),
        }
    }

    fn node(&mut self, members: &[(String, Json)]) -> Result<(), Finding> {
        let text = |key: &str| match members.iter().find(|(name, _)| name == key) {
            Some((_, Json::String(text))) => Some(text.as_str()),
            _ => None,
        };
        let (Some(module), Some(class), Some(loader)) =
            (text("__module__"), text("__class__"), text("__loader__"))
        else {
            return Err(Finding::new(
                &report::SKOPS_SHAPE,
                self.at,
                "node lacks its class, module or loader",
            ));
        };
        if let Some(file) = text("file") {
            self.files.insert(file.to_owned());
        }
        let plain = PLAIN.contains(&loader);
        if !plain && !NAMED.contains(&loader) {
            let what = format!("loader `{}` is not on the list", crate::cursor::show(loader.as_bytes()));
            self.report.push(Finding::new(&report::SKOPS_NODE, self.at, what));
            return Ok(());
        }
        if pickle::is_listed(module, class) || OWN.contains(&(module, class)) {
            return Ok(());
        }
        let shown = crate::cursor::show(format!("{module}.{class}").as_bytes());
        match pickle::standing(module, class) {
            // An object is remade without its constructor; a function is named, to be called later.
            Standing::Catalogued { .. } => {}
            Standing::Own if loader == "ObjectNode" => {}
            _ => {
                let what = format!("`{shown}` is not on the list");
                self.report.push(Finding::new(&report::SKOPS_NODE, self.at, what));
                return Ok(());
            }
        }
        if self.globals.insert((module.to_owned(), class.to_owned())) {
            let what = format!("`{shown}` needs a policy that lists it");
            self.report.push(Finding::new(&report::PICKLE_GLOBAL, self.at, what));
        }
        Ok(())
    }
}

/// Types that skops writes beside those of pickles.
const OWN: &[(&str, &str)] = &[
    ("numpy.random.mtrand", "RandomState"),
    ("numpy.random._generator", "Generator"),
    ("numpy.ma", "MaskedArray"),
    ("datetime", "datetime"),
    ("builtins", "type"),
];
