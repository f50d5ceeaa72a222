//! Generated documents: `docs/controls/`, from the catalogue and `docs/controls/map.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use posture::{Catalogue, Control};
use toml::{Table, Value};

use crate::Violations;

/// What exists for a control.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Built {
    code: Vec<String>,
    test: Vec<String>,
    probe: Vec<String>,
    evidence: Vec<String>,
    note: String,
}

/// Areas of the catalogue.
const AREAS: &[(&str, &str)] = &[
    ("AC", "Access"),
    ("IN", "Integrity"),
    ("DP", "Data protection"),
    ("AU", "Audit"),
    ("IR", "Incident response"),
    ("RE", "Resilience"),
    ("IS", "Isolation"),
    ("IA", "Inference attacks"),
    ("TR", "Training"),
    ("MB", "Model Bill of Materials"),
];

/// The probes that `strongroom posture run` runs.
const PROBES: &str = "crates/control/src/posture/probes.rs";

const NOT_BUILT: &str = "not built";

/// Writes the documents.
pub(crate) fn write(root: &Path) -> Result<String, Violations> {
    let pages = pages(root)?;
    for (path, text) in &pages {
        std::fs::write(path, text).map_err(|error| vec![format!("{}: {error}", path.display())])?;
    }
    Ok(format!("docs: {} pages written", pages.len()))
}

/// Pages that differ from what would be written.
pub(crate) fn stale(root: &Path) -> Violations {
    match pages(root) {
        Ok(pages) => pages
            .iter()
            .filter(|(path, text)| std::fs::read_to_string(path).ok().as_deref() != Some(text.as_str()))
            .map(|(path, _)| format!("{}: is stale; run `cargo xtask docs`", path.display()))
            .collect(),
        Err(violations) => violations,
    }
}

fn pages(root: &Path) -> Result<Vec<(PathBuf, String)>, Violations> {
    let folder = root.join("docs/controls");
    let catalogue = Catalogue::load().map_err(|error| vec![error.to_string()])?;
    let map_path = folder.join("map.toml");
    let text = std::fs::read_to_string(&map_path)
        .map_err(|error| vec![format!("{}: {error}", map_path.display())])?;
    let mut built = parse_map(&text, &catalogue)?;
    let probes =
        std::fs::read_to_string(root.join(PROBES)).map_err(|error| vec![format!("{PROBES}: {error}")])?;
    for (id, probe) in probes_of(&probes) {
        let Some(entry) = built.get_mut(&id) else {
            return Err(vec![format!("{PROBES} has a probe for `{id}`, which docs/controls/map.toml lacks")]);
        };
        entry.probe.push(probe);
    }
    let missing = missing_files(root, &built);
    if !missing.is_empty() {
        return Err(missing);
    }
    let mut pages = vec![(folder.join("README.md"), index(&catalogue, &built))];
    for (area, title) in AREAS {
        pages.push((folder.join(format!("{area}.md")), page(area, title, &catalogue, &built)));
    }
    Ok(pages)
}

/// Reads the map: a table for each control, of lists of text and one note. Unknown controls and keys are
/// refused, and so is code without a test.
fn parse_map(text: &str, catalogue: &Catalogue) -> Result<BTreeMap<String, Built>, Violations> {
    let table: Table = text.parse().map_err(|error| vec![format!("docs/controls/map.toml: {error}")])?;
    let mut violations = Violations::new();
    let mut built = BTreeMap::new();
    for (id, value) in &table {
        if catalogue.get(id).is_none() {
            violations.push(format!("docs/controls/map.toml: `{id}` is no control"));
        }
        match entry(value) {
            Ok(entry) if entry.test.is_empty() => {
                violations.push(format!("docs/controls/map.toml: `{id}` has code and no test"));
            }
            Ok(entry) => drop(built.insert(id.clone(), entry)),
            Err(key) => {
                violations.push(format!("docs/controls/map.toml: `{id}`: `{key}` is not as expected"));
            }
        }
    }
    if violations.is_empty() { Ok(built) } else { Err(violations) }
}

/// Rows of the table of probes: `("AC-3", stranger),`, one a line.
fn probes_of(text: &str) -> Vec<(String, String)> {
    let row = |line: &str| {
        let inner = line.trim().strip_prefix("(\"")?.strip_suffix("),")?;
        let (id, probe) = inner.split_once("\", ")?;
        Some((id.to_owned(), format!("posture run: {probe}")))
    };
    text.lines()
        .skip_while(|line| !line.contains("const ALL:"))
        .take_while(|line| line.trim() != "];")
        .filter_map(row)
        .collect()
}

fn entry(value: &Value) -> Result<Built, String> {
    let mut built = Built::default();
    for (key, value) in value.as_table().ok_or("table")? {
        let list = || -> Option<Vec<String>> {
            value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        };
        match key.as_str() {
            "code" => built.code = list().ok_or(key.as_str())?,
            "test" => built.test = list().ok_or(key.as_str())?,
            "evidence" => built.evidence = list().ok_or(key.as_str())?,
            "note" => built.note = value.as_str().ok_or(key.as_str())?.to_owned(),
            _ => return Err(key.clone()),
        }
    }
    Ok(built)
}

/// Code and tests that the map names exist. A name may go on after the path: `path::test`.
fn missing_files(root: &Path, built: &BTreeMap<String, Built>) -> Violations {
    let mut violations = Violations::new();
    for (id, entry) in built {
        for name in entry.code.iter().chain(&entry.test) {
            let (path, item) =
                name.split_once("::").map_or((name.as_str(), None), |(path, item)| (path, Some(item)));
            let full = root.join(path);
            if !full.exists() {
                violations.push(format!("docs/controls/map.toml: `{id}`: `{path}` does not exist"));
            } else if let Some(item) = item
                && !std::fs::read_to_string(&full).is_ok_and(|text| text.contains(item))
            {
                violations.push(format!("docs/controls/map.toml: `{id}`: `{path}` has no `{item}`"));
            }
        }
    }
    violations
}

const HEAD: &str =
    "<!-- Written by `cargo xtask docs` from crates/posture/controls.json and map.toml. -->\n\n";

fn index(catalogue: &Catalogue, built: &BTreeMap<String, Built>) -> String {
    let mut out = HEAD.to_owned();
    out.push_str("# Controls\n\n");
    out.push_str("An independent catalogue of 108 controls based on public descriptions of TS 104 033.\n");
    out.push_str("`strongroom posture run` says of each what was seen on a live node; these pages say what is built.\n");
    out.push_str("Code and tests in the tables exist (`cargo xtask tidy` checks it); what is not listed is not built.\n\n");
    out.push_str("| area | controls | with code and tests |\n|---|---|---|\n");
    for (area, title) in AREAS {
        let controls: Vec<&Control> = of(catalogue, area).collect();
        let done = controls.iter().filter(|control| built.contains_key(&control.id)).count();
        out.push_str(&format!("| [{title}]({area}.md) | {} | {done} |\n", controls.len()));
    }
    out
}

fn of<'c>(catalogue: &'c Catalogue, area: &str) -> impl Iterator<Item = &'c Control> {
    catalogue.controls().iter().filter(move |control| control.area() == area)
}

fn page(area: &str, title: &str, catalogue: &Catalogue, built: &BTreeMap<String, Built>) -> String {
    let mut out = HEAD.to_owned();
    out.push_str(&format!("# {title}\n"));
    for control in of(catalogue, area) {
        out.push_str(&format!("\n## {}\n\n{}\n\n", control.id, control.statement));
        let entry = built.get(&control.id).cloned().unwrap_or_default();
        out.push_str("| | |\n|---|---|\n");
        for (head, items) in [
            ("code", &entry.code),
            ("test", &entry.test),
            ("probe", &entry.probe),
            ("evidence", &entry.evidence),
        ] {
            let cell = match items.as_slice() {
                [] => NOT_BUILT.to_owned(),
                items => items.iter().map(|item| cell(item)).collect::<Vec<_>>().join("<br>"),
            };
            out.push_str(&format!("| {head} | {cell} |\n"));
        }
        if !entry.note.is_empty() {
            out.push_str(&format!("\n{}\n", entry.note));
        }
    }
    out
}

/// Paths and commands in code style; a bar would end the cell.
fn cell(item: &str) -> String {
    format!("`{}`", item.replace('|', "\\|"))
}

#[cfg(test)]
mod tests;
