//! `TensorFlow` graphs: SavedModel and frozen graphs, read by a bounded walk over their protobuf messages.
//!
//! A graph runs what its operators do, so each must be on the list of those that compute and nothing more
//! (`ops.txt`); then the file carries the risk `saved-model`, which a policy can accept. The operators that read
//! and write checkpoints, which every SavedModel has, pass where nothing but its loader can reach them.

mod files;
mod schema;

use std::collections::{BTreeMap, BTreeSet};

use crate::config;
use crate::cursor::{offset, show};
use crate::json;
use crate::keras;
use crate::limits;
use crate::proto::{self, Reader, Value};
use crate::report::{self, Finding, Report};

pub(crate) use files::{fingerprint, keras_metadata, variables_index};
use schema::{Field, Kind, field};

/// Operators that compute, one a line, in order.
const OPS: &str = include_str!("ops.txt");
/// Operators of the saver.
const SAVER_OPS: &[&str] = &[
    "SaveV2",
    "RestoreV2",
    "MergeV2Checkpoints",
    "ShardedFilename",
    "ShardedFilespec",
    "Save",
    "Restore",
    "RestoreSlice",
];
/// What the functions of the saver are called.
const SAVER_FUNCTIONS: &[&str] = &["__inference__traced_save", "__inference__traced_restore"];

/// Whether the content is a SavedModel: its messages to the second level.
pub(crate) fn claims_saved_model(bytes: &[u8]) -> bool {
    let mut graphs = 0_u32;
    let whole = proto::all_fields(bytes, |number, value| match (number, value) {
        (1, Value::Varint(_)) => true,
        (2, Value::Len(start, end)) => {
            graphs += 1;
            let meta = bytes.get(start..end).unwrap_or_default();
            let mut graph = false;
            proto::all_fields(meta, |number, value| {
                graph |= number == 2;
                (1..=7).contains(&number) && matches!(value, Value::Len(..))
            }) && graph
        }
        _ => false,
    });
    whole && graphs > 0
}

/// Whether the content is a graph: its messages to the second level.
pub(crate) fn claims_graph(bytes: &[u8]) -> bool {
    let mut nodes = 0_u32;
    let whole = proto::all_fields(bytes, |number, value| match (number, value) {
        (1, Value::Len(start, end)) => {
            nodes += 1;
            let node = bytes.get(start..end).unwrap_or_default();
            let (mut name, mut op) = (false, false);
            proto::all_fields(node, |number, value| {
                name |= number == 1;
                op |= number == 2;
                (1..=7).contains(&number) && matches!(value, Value::Len(..))
            }) && name
                && op
        }
        (2 | 4 | 5, Value::Len(..)) | (3, Value::Varint(_)) => true,
        _ => false,
    });
    whole && nodes > 0
}

/// A node of the main graph, as far as the rule on the saver needs it.
struct MainNode<'a> {
    name: &'a str,
    inputs: Vec<&'a str>,
    /// Reads or writes checkpoints.
    saves: bool,
    /// Writes them.
    writes: bool,
    at: usize,
}

/// Where a message is.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    depth: u32,
    /// The function whose body it is in; empty in the main graph.
    function: &'a str,
}

struct Walker<'a> {
    bytes: &'a [u8],
    fields: u64,
    ops: BTreeSet<&'static str>,
    functions: BTreeSet<&'a str>,
    nodes: Vec<MainNode<'a>>,
    /// Names that signatures give to tensors of the graph.
    signature_tensors: Vec<&'a str>,
    /// Collections but those of savers: some name what a loader runs.
    collections: Vec<&'a [u8]>,
    /// The function of the saver that the attributes of the present node name. Their names sort so that one that
    /// writes comes after one that reads, see where it is set.
    called_saver: Option<&'a str>,
    /// What a loader runs to read the variables.
    restore_ops: Vec<&'a str>,
    report: &'a mut Report,
}

fn bad(at: usize, what: impl Into<String>) -> Finding {
    Finding::new(&report::TENSORFLOW, offset(at), what)
}

fn hostile(at: usize, what: impl Into<String>) -> Finding {
    Finding::new(&report::TENSORFLOW_OP, offset(at), what)
}

/// Inspects a SavedModel.
pub(crate) fn inspect_saved_model(bytes: &[u8], report: &mut Report) -> Result<(), Finding> {
    walk(bytes, Kind::SavedModel, report)
}

/// Inspects a frozen graph.
pub(crate) fn inspect_graph(bytes: &[u8], report: &mut Report) -> Result<(), Finding> {
    walk(bytes, Kind::Graph, report)
}

fn walk(bytes: &[u8], kind: Kind, report: &mut Report) -> Result<(), Finding> {
    let mut walker = Walker {
        bytes,
        fields: 0,
        ops: OPS.lines().collect(),
        functions: BTreeSet::new(),
        nodes: Vec::new(),
        signature_tensors: Vec::new(),
        collections: Vec::new(),
        called_saver: None,
        restore_ops: Vec::new(),
        report,
    };
    walker.library(bytes)?;
    walker.message(kind, 0, bytes.len(), Place { depth: 0, function: "" })?;
    walker.saver(kind)?;
    let risk =
        Finding::new(&report::SAVED_MODEL, 0, "graph of listed operators, which its runtime would run");
    walker.report.push(risk);
    Ok(())
}

/// Whether a function is one of the saver: their name, a number.
fn is_saver_function(name: &str) -> bool {
    SAVER_FUNCTIONS.iter().any(|prefix| {
        let rest = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_'));
        rest.is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_')
        })
    })
}

impl<'a> Walker<'a> {
    fn text(&self, start: usize, end: usize) -> Result<&'a str, Finding> {
        let raw = self.bytes.get(start..end).unwrap_or_default();
        std::str::from_utf8(raw).map_err(|_| bad(start, "text is not UTF-8"))
    }

    /// The names of functions, which stand as operators in nodes before and after their definitions.
    fn library(&mut self, bytes: &'a [u8]) -> Result<(), Finding> {
        // Breadth first over the few levels that lead to a definition.
        let mut places = vec![(Kind::SavedModel, 0, bytes.len()), (Kind::Graph, 0, bytes.len())];
        while let Some((kind, start, end)) = places.pop() {
            let mut reader = Reader::new(bytes, start, end);
            while let Some((number, value)) = (!reader.is_done()).then(|| reader.field()).flatten() {
                self.count(start)?;
                let Value::Len(start, end) = value else { continue };
                match (kind, number) {
                    (Kind::OpDef, 1) => {
                        let name = self.text(start, end)?;
                        // A function named like an operator would stand for it with one reader and not with
                        // another. Operators have no underscore, or a single one in front.
                        if !name.contains('_') || (name.starts_with('_') && !name.starts_with("__")) {
                            let what =
                                format!("function `{}` is named like an operator", show(name.as_bytes()));
                            return Err(hostile(start, what));
                        }
                        self.functions.insert(name);
                    }
                    _ => {
                        if let Some(Field::Message(
                            next @ (Kind::MetaGraph
                            | Kind::Graph
                            | Kind::Library
                            | Kind::Function
                            | Kind::OpDef),
                        )) = field(kind, number)
                        {
                            places.push((next, start, end));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, at: usize) -> Result<(), Finding> {
        self.fields = self.fields.saturating_add(1);
        if self.fields > limits::PROTO_FIELDS {
            return Err(Finding::new(&report::LIMIT, offset(at), "too many fields"));
        }
        Ok(())
    }

    fn message(&mut self, kind: Kind, start: usize, end: usize, place: Place<'a>) -> Result<(), Finding> {
        if place.depth > limits::PROTO_DEPTH {
            return Err(Finding::new(&report::LIMIT, offset(start), "messages are nested too deeply"));
        }
        let mut place = Place { depth: place.depth + 1, ..place };
        if kind == Kind::Function {
            place.function = self.function_name(start, end)?;
        }
        let mut reader = Reader::new(self.bytes, start, end);
        while !reader.is_done() {
            let at = reader.pos;
            self.count(at)?;
            let (number, value) = reader.field().ok_or_else(|| bad(at, "field is cut off or malformed"))?;
            let known = field(kind, number)
                .ok_or_else(|| bad(at, format!("field {number} is unknown in its message")))?;
            match (known, value) {
                (Field::Int, Value::Varint(_) | Value::Len(..) | Value::Fixed64(_))
                | (Field::F32, Value::Fixed32(_))
                | (Field::Opaque, Value::Len(..))
                | (Field::Bytes, _) => {}
                (Field::Text, Value::Len(start, end)) => self.text(start, end).map(drop)?,
                (Field::Message(inner), Value::Len(start, end)) => self.message(inner, start, end, place)?,
                _ => return Err(bad(at, "field has another wire type than its schema")),
            }
            if let Value::Len(start, end) = value {
                self.look(kind, number, (start, end))?;
            }
        }
        if kind == Kind::Node {
            self.node(start, end, place)?;
        }
        Ok(())
    }

    fn function_name(&self, start: usize, end: usize) -> Result<&'a str, Finding> {
        let mut name = None;
        let mut reader = Reader::new(self.bytes, start, end);
        while let Some((number, value)) = (!reader.is_done()).then(|| reader.field()).flatten() {
            let (1, Value::Len(start, end)) = (number, value) else { continue };
            let mut signature = Reader::new(self.bytes, start, end);
            while let Some((number, value)) = (!signature.is_done()).then(|| signature.field()).flatten() {
                let (1, Value::Len(from, to)) = (number, value) else { continue };
                if name.replace(self.text(from, to)?).is_some() {
                    return Err(bad(start, "function has two names"));
                }
            }
        }
        name.filter(|name| !name.is_empty()).ok_or_else(|| bad(start, "function has no name"))
    }

    /// Names and configurations outside nodes.
    fn look(&mut self, kind: Kind, number: u64, (start, end): (usize, usize)) -> Result<(), Finding> {
        match (kind, number) {
            (Kind::AssetFile, 2) => {
                let name = self.text(start, end)?;
                if !config::is_inside(name) || name.is_empty() {
                    let what = format!("asset `{}` is outside the model", show(name.as_bytes()));
                    return Err(Finding::new(&report::JSON_PATH, offset(start), what));
                }
            }
            (Kind::TensorInfo, 1) => {
                let name = self.text(start, end)?;
                self.signature_tensors.push(name);
            }
            (Kind::Saver, 3) => {
                let name = self.text(start, end)?;
                self.restore_ops.push(name);
            }
            (Kind::MetaGraph, 4) => {
                let raw = self.bytes.get(start..end).unwrap_or_default();
                let savers = |number, value| matches!((number, value), (1, Value::Len(a, b)) if raw.get(a..b) == Some(b"savers"));
                let mut named = false;
                proto::all_fields(raw, |number, value| {
                    named |= savers(number, value);
                    true
                });
                if !named {
                    self.collections.push(raw);
                }
            }
            // A function is named by an attribute of a node.
            (Kind::Func, 1) => {
                let name = self.text(start, end)?;
                if !name.is_empty() && !self.functions.contains(name) && !self.ops.contains(name) {
                    let what = format!("function `{}` is not in the file", show(name.as_bytes()));
                    self.report.push(hostile(start, what));
                }
                // Of several, one that writes counts.
                if is_saver_function(name) && self.called_saver.is_none_or(|old| old < name) {
                    self.called_saver = Some(name);
                }
            }
            (Kind::UserObject, 3) => self.metadata(start, end)?,
            // Functions by name: the saver's are reached by the loader alone.
            (Kind::ObjectGraph, 2) | (Kind::Object, 6 | 8 | 15) => {
                let raw = self.bytes.get(start..end).unwrap_or_default();
                if SAVER_FUNCTIONS.iter().any(|name| contains(raw, name.as_bytes())) {
                    self.report.push(hostile(start, "an object gives a function of the saver to callers"));
                }
            }
            (Kind::Tensor, 14 | 15) => return Err(bad(start, "constant holds a handle")),
            _ => {}
        }
        Ok(())
    }

    /// Configurations of Keras layers in the object graph.
    fn metadata(&mut self, start: usize, end: usize) -> Result<(), Finding> {
        let raw = self.bytes.get(start..end).unwrap_or_default();
        if raw.is_empty() {
            return Ok(());
        }
        let root = json::parse(raw)?;
        let mut findings = Vec::new();
        keras::check_object(&root, offset(start), &mut findings);
        findings.into_iter().for_each(|finding| self.report.push(finding));
        Ok(())
    }

    fn node(&mut self, start: usize, end: usize, place: Place<'a>) -> Result<(), Finding> {
        let (mut name, mut op) = (None, None);
        let mut inputs = Vec::new();
        let mut reader = Reader::new(self.bytes, start, end);
        while let Some((number, value)) = (!reader.is_done()).then(|| reader.field()).flatten() {
            let Value::Len(from, to) = value else { continue };
            let twice = match number {
                1 => name.replace(self.text(from, to)?).is_some(),
                2 => op.replace(self.text(from, to)?).is_some(),
                3 => {
                    inputs.push(self.text(from, to)?);
                    false
                }
                _ => false,
            };
            if twice {
                return Err(bad(from, "node has two names or operators"));
            }
        }
        let (Some(name), Some(op)) = (name, op) else {
            return Err(bad(start, "node has no name or operator"));
        };
        let saves = SAVER_OPS.contains(&op);
        let writes = saves && !op.starts_with("Restore");
        let called =
            [Some(op), self.called_saver.take()].into_iter().flatten().find(|name| is_saver_function(name));
        if writes && place.function.starts_with("__inference__traced_restore") {
            self.report.push(hostile(start, "the function that reads variables writes files"));
        }
        if saves && !place.function.is_empty() && !is_saver_function(place.function) {
            let what = format!("operator `{}` reads or writes files in a function", show(op.as_bytes()));
            self.report.push(hostile(start, what));
        } else if !saves && !self.ops.contains(op) && !self.functions.contains(op) {
            let what = format!("operator `{}` is not listed", show(op.as_bytes()));
            self.report.push(hostile(start, what));
        }
        if called.is_some() && !place.function.is_empty() {
            self.report.push(hostile(start, "a function calls the saver"));
        }
        if place.function.is_empty() {
            if self.nodes.len() >= limits::GRAPH_NODES {
                return Err(Finding::new(&report::LIMIT, offset(start), "too many nodes"));
            }
            let writes = writes || called.is_some_and(|name| name.starts_with("__inference__traced_save"));
            self.nodes.push(MainNode { name, inputs, saves: saves || called.is_some(), writes, at: start });
        }
        Ok(())
    }

    /// Nothing but the saver's own nodes may depend on one that reads or writes files, no signature may, and what
    /// a loader runs to read variables does not write.
    fn saver(&mut self, kind: Kind) -> Result<(), Finding> {
        let grouped = |name: &str| name.starts_with("save/") || name.starts_with("save_1/");
        let group: BTreeSet<&str> =
            self.nodes.iter().filter(|node| node.saves || grouped(node.name)).map(|node| node.name).collect();
        for node in &self.nodes {
            if node.saves && kind == Kind::Graph {
                return Err(hostile(node.at, "a frozen graph reads or writes files"));
            }
            let inside = group.contains(node.name);
            if let Some(input) = node.inputs.iter().find(|input| !inside && group.contains(base(input))) {
                let node_name = show(node.name.as_bytes());
                let what = format!("node `{node_name}` depends on the saver by `{}`", show(input.as_bytes()));
                return Err(hostile(node.at, what));
            }
        }
        if let Some(name) = self.signature_tensors.iter().find(|name| group.contains(base(name))) {
            return Err(hostile(0, format!("a signature asks for `{}` of the saver", show(name.as_bytes()))));
        }
        let saving: Vec<&MainNode<'_>> = self.nodes.iter().filter(|node| node.saves).collect();
        if saving.len() > limits::SAVER_NODES {
            return Err(Finding::new(&report::LIMIT, 0, "too many nodes of the saver"));
        }
        let bytes: usize = self.collections.iter().map(|raw| raw.len()).sum();
        if bytes.saturating_mul(saving.len().max(1)) > limits::COLLECTION_WORK {
            return Err(Finding::new(&report::LIMIT, 0, "collections of the graph are too large"));
        }
        for raw in &self.collections {
            if contains(raw, b"save/") || saving.iter().any(|node| contains(raw, node.name.as_bytes())) {
                return Err(hostile(0, "a collection names nodes of the saver"));
            }
        }
        self.restores()
    }

    /// Follows what the loader runs to read the variables.
    fn restores(&self) -> Result<(), Finding> {
        let by_name: BTreeMap<&str, &MainNode<'_>> =
            self.nodes.iter().map(|node| (node.name, node)).collect();
        let mut seen = BTreeSet::new();
        let mut next: Vec<&str> = self.restore_ops.iter().map(|name| base(name)).collect();
        while let Some(name) = next.pop() {
            let Some(node) = by_name.get(name).filter(|_| seen.insert(name)) else { continue };
            if node.writes {
                return Err(hostile(node.at, "what reads the variables writes files"));
            }
            next.extend(node.inputs.iter().map(|input| base(input)));
        }
        Ok(())
    }
}

/// The node that an input or a tensor is of: `^name` and `name:0`.
fn base(input: &str) -> &str {
    input.trim_start_matches('^').split(':').next().unwrap_or_default()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
