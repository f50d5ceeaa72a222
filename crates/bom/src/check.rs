//! What a schema cannot check: that a record is consistent with itself and with the model it is shown for.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use base::{Digest, Hasher};
use serde_json::{Map, Value};

use crate::cyclonedx::{each_object, property_values};

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Which rule, such as `dangling-reference`; stable.
    pub rule: &'static str,
    /// What exactly.
    pub what: String,
}

/// Checks a record against itself, and against the verified model: its root digest and the digest of each file by
/// name. Empty means that all holds.
pub fn check(bom: &Value, root_digest: &Digest, files: &BTreeMap<String, Digest>) -> Vec<Problem> {
    run_checks(bom, root_digest, Some(files))
}

/// The same without the model at hand: against itself and the root digest that its statement is bound to. The
/// listed files must hash to that root, so the list is as good as the signature.
pub fn check_record(bom: &Value, root_digest: &Digest) -> Vec<Problem> {
    run_checks(bom, root_digest, None)
}

fn run_checks(bom: &Value, root_digest: &Digest, files: Option<&BTreeMap<String, Digest>>) -> Vec<Problem> {
    let mut checker = Checker { bom, problems: Vec::new() };
    checker.form();
    checker.references();
    checker.cycles();
    checker.digests();
    checker.model(root_digest, files);
    checker.times();
    checker.run();
    checker.marks();
    checker.roles();
    checker.problems.sort();
    checker.problems.dedup();
    checker.problems
}

struct Checker<'b> {
    bom: &'b Value,
    problems: Vec<Problem>,
}

impl<'b> Checker<'b> {
    fn found(&mut self, rule: &'static str, what: impl AsRef<str>) {
        let what = what.as_ref().chars().take(300).flat_map(char::escape_debug).collect();
        self.problems.push(Problem { rule, what });
    }

    fn list(&self, name: &str) -> &'b [Value] {
        self.bom.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn components(&self, kind: &str) -> Vec<&'b Map<String, Value>> {
        let all = self.list("components").iter().filter_map(Value::as_object);
        all.filter(|c| c.get("type").and_then(Value::as_str) == Some(kind)).collect()
    }

    fn form(&mut self) {
        for (name, wanted) in [("bomFormat", "CycloneDX"), ("specVersion", "1.6")] {
            if self.bom.get(name).and_then(Value::as_str) != Some(wanted) {
                self.found("format", format!("`{name}` is not `{wanted}`"));
            }
        }
        let serial = self.bom.get("serialNumber").and_then(Value::as_str).unwrap_or("");
        let digits = serial.strip_prefix("urn:uuid:").unwrap_or("");
        let hex: String = digits.split('-').collect();
        let groups: Vec<usize> = digits.split('-').map(str::len).collect();
        if groups != [8, 4, 4, 4, 12] || base::digest::unhex(&hex).is_none() {
            self.found("serial", format!("serial number `{serial}` is not a lower-case UUID"));
        }
        if self.bom.get("version").and_then(Value::as_u64).is_none_or(|v| v == 0) {
            self.found("version", "version is not a positive integer");
        }
    }

    fn references(&mut self) {
        let mut known = BTreeSet::new();
        let mut twice = Vec::new();
        each_object(self.bom, &mut |object| {
            if let Some(name) = object.get("bom-ref").and_then(Value::as_str)
                && !known.insert(name)
            {
                twice.push(name);
            }
        });
        let mut dangling = Vec::new();
        each_object(self.bom, &mut |object| {
            let one = object.get("ref").and_then(Value::as_str);
            let many =
                ["dependsOn", "provides", "subjects", "assemblies", "claims"].into_iter().flat_map(|name| {
                    object.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
                });
            dangling.extend(one.into_iter().chain(many).filter(|name| !known.contains(name)));
        });
        for name in twice {
            self.found("duplicate-reference", format!("`{name}` names two objects"));
        }
        for name in dangling {
            self.found("dangling-reference", format!("`{name}` names nothing"));
        }
    }

    fn cycles(&mut self) {
        // Dependencies of components and of tasks form one graph each; names never meet.
        let mut edges: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        each_object(self.bom, &mut |object| {
            if let (Some(from), Some(to)) =
                (object.get("ref").and_then(Value::as_str), object.get("dependsOn").and_then(Value::as_array))
            {
                edges.entry(from).or_default().extend(to.iter().filter_map(Value::as_str));
            }
        });
        // Kahn: remove what nothing depends on until nothing is left, or only cycles.
        let mut waiting: BTreeMap<&str, usize> = BTreeMap::new();
        for (from, to) in &edges {
            waiting.entry(from).or_default();
            for name in to {
                let count = waiting.entry(name).or_default();
                *count = count.saturating_add(1);
            }
        }
        let mut free: Vec<&str> = waiting.iter().filter(|(_, n)| **n == 0).map(|(name, _)| *name).collect();
        while let Some(name) = free.pop() {
            waiting.remove(name);
            for to in edges.get(name).into_iter().flatten() {
                if let Some(count) = waiting.get_mut(to) {
                    *count = count.saturating_sub(1);
                    if *count == 0 {
                        free.push(to);
                    }
                }
            }
        }
        let left: Vec<String> = waiting.keys().map(|name| format!("`{name}`")).collect();
        if !left.is_empty() {
            self.found("cycle", format!("dependencies run in a circle through {}", left.join(", ")));
        }
    }

    fn digests(&mut self) {
        let mut bad = Vec::new();
        each_object(self.bom, &mut |object| {
            if let (Some(alg), Some(content)) =
                (object.get("alg"), object.get("content").and_then(Value::as_str))
                && (alg.as_str() != Some("SHA-256") || digest(content).is_none())
            {
                bad.push(content.to_owned());
            }
            let name = object.get("name").and_then(Value::as_str).unwrap_or("");
            let is_digest = ["digest", "fingerprint", "resumed-from", ":previous", ":chosen"]
                .iter()
                .any(|end| name.starts_with("strongroom:") && name.ends_with(end));
            if let Some(value) = object.get("value").and_then(Value::as_str).filter(|_| is_digest)
                && digest(value).is_none()
            {
                bad.push(value.to_owned());
            }
            for value in property_values(object, "evidence") {
                if value.rsplit_once(':').is_none_or(|(_, print)| digest(print).is_none()) {
                    bad.push(value.to_owned());
                }
            }
        });
        for value in bad {
            self.found("digest", format!("`{value}` is not a SHA-256 digest in lower-case hex"));
        }
    }

    fn model(&mut self, root_digest: &Digest, files: Option<&BTreeMap<String, Digest>>) {
        let models = self.components("machine-learning-model");
        let [model] = models.as_slice() else {
            self.found("model", format!("the record tells of {} models, not of one", models.len()));
            return;
        };
        if hash(model) != Some(*root_digest) {
            self.found("root-digest", format!("the record is of another model than {root_digest}"));
        }
        let mut listed: BTreeMap<&str, Option<Digest>> = BTreeMap::new();
        for file in model.get("components").and_then(Value::as_array).into_iter().flatten() {
            let Some(file) = file.as_object() else { continue };
            let name = file.get("name").and_then(Value::as_str).unwrap_or("");
            if listed.insert(name, hash(file)).is_some() {
                self.found("files", format!("file `{name}` is listed twice"));
            }
        }
        if ![text_order, tree_order].into_iter().any(|order| root_of(&listed, order) == *root_digest) {
            self.found("root-of-files", format!("the listed files do not hash to {root_digest}"));
        }
        let Some(files) = files else { return };
        for (name, digest) in files {
            match listed.remove(name.as_str()) {
                None => self.found("files", format!("file `{name}` is not in the record")),
                Some(found) if found != Some(*digest) => {
                    self.found("files", format!("file `{name}` is in the record with another digest"));
                }
                Some(_) => {}
            }
        }
        for name in listed.keys() {
            self.found("files", format!("the record lists file `{name}`, which the model does not have"));
        }
    }

    fn times(&mut self) {
        let written = self.bom.pointer("/metadata/timestamp").and_then(Value::as_str).unwrap_or("");
        let mut bad = Vec::new();
        let mut see = |name: &str, time: &str| {
            if !is_time(time) {
                bad.push(format!("`{time}` of `{name}` is not a time in UTC with milliseconds"));
            } else if time > written {
                bad.push(format!("`{name}` is at {time}, after the record was written"));
            }
        };
        see("metadata", written);
        let mut order = Vec::new();
        each_object(self.bom, &mut |object| {
            let name = object.get("bom-ref").and_then(Value::as_str).unwrap_or("object");
            for member in ["timestamp", "timeStart", "timeEnd", "timeActivated"] {
                if let Some(time) = object.get(member).and_then(Value::as_str) {
                    see(name, time);
                }
            }
            for time in property_values(object, "checkpoint:sealed-at").chain(property_values(object, "at")) {
                see(name, time);
            }
            let (start, end) = (text(object, "timeStart"), text(object, "timeEnd"));
            if !start.is_empty() && start > end {
                order.push(format!("`{name}` ends before it starts"));
            }
        });
        for what in bad.into_iter().chain(order) {
            self.found("time", what);
        }
    }

    /// Segments in order, without overlap, each from a checkpoint of an earlier one that was not rejected by
    /// then (it may be rejected later); the chain of checkpoints.
    fn run(&mut self) {
        let checkpoints: BTreeMap<&str, &Map<String, Value>> = self
            .components("file")
            .into_iter()
            .filter(|c| property_values(c, "checkpoint:version").next().is_some())
            .filter_map(|c| Some((c.get("bom-ref")?.as_str()?, c)))
            .collect();
        self.chain(&checkpoints);
        for workflow in
            self.list("formulation").iter().filter_map(|f| f.get("workflows")?.as_array()).flatten()
        {
            let tasks = workflow.get("tasks").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let mut ended = workflow.get("timeStart").and_then(Value::as_str).unwrap_or("");
            let mut earlier: BTreeMap<&str, Digest> = BTreeMap::new();
            for (at, task) in tasks.iter().filter_map(Value::as_object).enumerate() {
                let name = text(task, "bom-ref");
                if property_values(task, "segment").next() != Some(&at.saturating_add(1).to_string()) {
                    self.found("segments", format!("`{name}` is not segment {}", at.saturating_add(1)));
                }
                if text(task, "timeStart") < ended {
                    self.found("segments", format!("`{name}` starts before the one before it ended"));
                }
                ended = text(task, "timeEnd");
                for step in task.get("steps").and_then(Value::as_array).into_iter().flatten() {
                    let rejected = step.as_object().map(|step| property_values(step, "rejected"));
                    for reference in rejected.into_iter().flatten().filter_map(|r| r.split_once('=')) {
                        earlier.remove(reference.0);
                    }
                }
                let resumed = property_values(task, "resumed-from").next().and_then(digest);
                if resumed.is_some_and(|d| !earlier.values().any(|known| *known == d)) {
                    let what = format!(
                        "`{name}` resumed from no checkpoint of an earlier segment, or a rejected one"
                    );
                    self.found("resumed-from", what);
                }
                for output in task.get("outputs").and_then(Value::as_array).into_iter().flatten() {
                    let reference = output.pointer("/resource/ref").and_then(Value::as_str).unwrap_or("");
                    if let Some(digest) = checkpoints.get(reference).and_then(|c| hash(c)) {
                        earlier.insert(reference, digest);
                    }
                }
            }
            if ended > workflow.get("timeEnd").and_then(Value::as_str).unwrap_or("") {
                self.found("segments", "the last segment ends after the run");
            }
        }
    }

    fn chain(&mut self, checkpoints: &BTreeMap<&str, &Map<String, Value>>) {
        let mut by_version: BTreeMap<u64, &Map<String, Value>> = BTreeMap::new();
        for checkpoint in checkpoints.values() {
            let version =
                property_values(checkpoint, "checkpoint:version").next().and_then(|v| v.parse().ok());
            if let Some(version) = version {
                by_version.insert(version, checkpoint);
            }
        }
        let mut before: BTreeSet<Digest> = BTreeSet::new();
        for (version, checkpoint) in by_version {
            let previous = property_values(checkpoint, "checkpoint:previous").next().and_then(digest);
            if previous.is_some_and(|d| !before.contains(&d)) {
                self.found(
                    "checkpoint-chain",
                    format!("checkpoint {version} follows one that is not recorded"),
                );
            }
            before.extend(hash(checkpoint));
        }
    }

    /// One origin for each field, and `complete` only where nothing is unknown.
    fn marks(&mut self) {
        let mut both = Vec::new();
        each_object(self.bom, &mut |object| {
            let mut marked: BTreeSet<&str> = BTreeSet::new();
            let origins =
                property_values(object, "origin").filter_map(|v| v.split_once('=')).map(|(field, _)| field);
            for field in origins.chain(property_values(object, "unknown")) {
                if !marked.insert(field) {
                    both.push(field);
                }
            }
        });
        for field in both {
            self.found("marks", format!("field `{field}` has two origins"));
        }
        let mut unknown: BTreeSet<&str> = BTreeSet::new();
        for component in self.list("components") {
            each_object(component, &mut |object| {
                if property_values(object, "unknown").next().is_some() {
                    unknown.extend(component.get("bom-ref").and_then(Value::as_str));
                }
            });
        }
        for composition in self.list("compositions") {
            if composition.get("aggregate").and_then(Value::as_str) != Some("complete") {
                continue;
            }
            let assemblies = composition.get("assemblies").and_then(Value::as_array).into_iter().flatten();
            for name in assemblies.filter_map(Value::as_str).filter(|name| unknown.contains(name)) {
                self.found("complete", format!("`{name}` is called complete but has unknown fields"));
            }
        }
    }

    /// The same bytes neither train and test, nor train and validate.
    fn roles(&mut self) {
        let mut roles: BTreeMap<Digest, BTreeSet<&str>> = BTreeMap::new();
        for data in self.components("data") {
            if let (Some(digest), Some(role)) = (hash(data), property_values(data, "dataset:role").next()) {
                roles.entry(digest).or_default().insert(role);
            }
        }
        for (digest, roles) in roles {
            if roles.len() > 1 {
                let roles: Vec<&str> = roles.into_iter().collect();
                self.found("roles", format!("data {digest} is used to {}", roles.join(" and to ")));
            }
        }
    }
}

/// OMS root digest: SHA-256 over the raw digests in order.
fn root_of(files: &BTreeMap<&str, Option<Digest>>, order: fn(&str, &str) -> Ordering) -> Digest {
    let mut names: Vec<(&str, Option<Digest>)> =
        files.iter().map(|(name, digest)| (*name, *digest)).collect();
    names.sort_by(|(a, _), (b, _)| order(a, b));
    let mut hasher = Hasher::new();
    for digest in names.into_iter().filter_map(|(_, digest)| digest) {
        hasher.update(digest.as_bytes());
    }
    hasher.finish()
}

/// The order of OMS v1.0, which this platform writes.
fn text_order(a: &str, b: &str) -> Ordering {
    a.cmp(b)
}

/// The order of the OMS reference implementation, in which an imported model may have been signed.
fn tree_order(a: &str, b: &str) -> Ordering {
    a.split('/').cmp(b.split('/'))
}

fn text<'v>(object: &'v Map<String, Value>, name: &str) -> &'v str {
    object.get(name).and_then(Value::as_str).unwrap_or("")
}

/// The one SHA-256 of an object.
fn hash(object: &Map<String, Value>) -> Option<Digest> {
    match object.get("hashes")?.as_array()?.as_slice() {
        [one] => digest(one.get("content")?.as_str()?),
        _ => None,
    }
}

fn digest(text: &str) -> Option<Digest> {
    let bytes: [u8; 32] = base::digest::unhex(text)?.try_into().ok()?;
    Some(Digest::from_bytes(bytes))
}

/// RFC 3339 in UTC with milliseconds: texts of this form compare as times.
fn is_time(text: &str) -> bool {
    const FORM: &[u8] = b"0000-00-00T00:00:00.000Z";
    text.len() == FORM.len()
        && text.bytes().zip(FORM).all(|(c, f)| if *f == b'0' { c.is_ascii_digit() } else { c == *f })
}
