//! A record for people, in plain lines.

use serde_json::{Map, Value};

use crate::cyclonedx::property_values;

/// What the record says, one fact a line; interruptions, resumes and rejected checkpoints included. Text from
/// outside is escaped, so that a record cannot draw on the reader's terminal.
pub fn summary(bom: &Value) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.extend(text.chars().map(|c| if draws(c) { '\u{fffd}' } else { c }));
        out.push('\n');
    };
    let components = list(bom, "components");
    if let Some(model) = first(components, "machine-learning-model") {
        model_lines(model, &mut line);
    }
    for data in of_type(components, "data") {
        let role = property(data, "dataset:role");
        line(format!(
            "data        {} {} ({role}), {} files, {} bytes, manifest {}",
            text(data, "name"),
            text(data, "version"),
            property(data, "dataset:files"),
            property(data, "dataset:bytes"),
            short(data)
        ));
    }
    if let Some(code) = first(components, "application") {
        let commits = code.get("pedigree").and_then(|p| p.pointer("/commits/0/uid")).and_then(Value::as_str);
        let commit = commits.unwrap_or("unknown");
        let files = code.get("components").and_then(Value::as_array).map_or(0, Vec::len);
        line(format!("code        {files} files, digest {}, git commit {commit}", short(code)));
    }
    environment_lines(components, &mut line);
    for workflow in
        list(bom, "formulation").iter().flat_map(|f| list(f, "workflows")).filter_map(Value::as_object)
    {
        run_lines(workflow, &mut line);
    }
    mark_lines(bom, &mut line);
    let metadata = bom.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    line(format!(
        "record      version {} of {}, written {} on node {}, gate {}",
        bom.get("version").and_then(Value::as_u64).unwrap_or(0),
        bom.get("serialNumber").and_then(Value::as_str).unwrap_or("?"),
        text(&metadata, "timestamp"),
        property(&metadata, "node"),
        property(&metadata, "gate")
    ));
    out
}

/// Whether a character moves the cursor or turns the direction of text (Unicode TR 9).
fn draws(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn model_lines(model: &Map<String, Value>, line: &mut impl FnMut(String)) {
    line(format!("model       {}/{} {}", text(model, "group"), text(model, "name"), text(model, "version")));
    let digest = model.get("hashes").and_then(|h| h.pointer("/0/content")).and_then(Value::as_str);
    line(format!("digest      {}", digest.unwrap_or("?")));
    for file in
        model.get("components").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
    {
        line(format!(
            "file        {}, {} bytes, digest {}",
            text(file, "name"),
            property(file, "size"),
            short(file)
        ));
    }
    for inspection in property_values(model, "inspection") {
        line(format!("inspected   {inspection}"));
    }
    let key = property(model, "signer-key-fingerprint").chars().take(12).collect::<String>();
    line(format!("signed      by {} with key {key}", property(model, "signer")));
    let card = model.get("modelCard");
    for metric in card
        .and_then(|c| c.pointer("/quantitativeAnalysis/performanceMetrics"))
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
    {
        let slice =
            metric.get("slice").and_then(Value::as_str).map_or_else(String::new, |s| format!(" on {s}"));
        let label = format!("{}{slice}", text(metric, "type"));
        let name = format!("metric:{label}");
        let origin = card.and_then(Value::as_object).and_then(|c| origin(c, &name)).unwrap_or("unknown");
        line(format!("metric      {label} = {} ({origin})", text(metric, "value")));
    }
}

fn environment_lines(components: &[Value], line: &mut impl FnMut(String)) {
    let packages = of_type(components, "library").count();
    if let Some(image) = first(components, "container") {
        let (name, pinned) = (text(image, "name"), property(image, "image-pinned"));
        line(format!("environment image {name} (pinned: {pinned}), {packages} packages"));
    }
    if let Some(os) = first(components, "operating-system") {
        line(format!("system      {}, kernel {}", text(os, "name"), text(os, "version")));
    }
    for device in of_type(components, "device") {
        if text(device, "name") == "machine" {
            let (cpus, memory) = (property(device, "cpus"), property(device, "memory-bytes"));
            line(format!(
                "machine     {cpus} CPUs, {memory} bytes of memory, {} threads",
                property(device, "threads")
            ));
        } else {
            line(format!("device      {}", text(device, "name")));
        }
    }
}

fn run_lines(workflow: &Map<String, Value>, line: &mut impl FnMut(String)) {
    let tasks = workflow.get("tasks").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    line(format!(
        "run         {} ({}), {} to {}, submitted by {}, {} segments",
        text(workflow, "name"),
        text(workflow, "uid"),
        text(workflow, "timeStart"),
        text(workflow, "timeEnd"),
        property(workflow, "submitted-by"),
        tasks.len()
    ));
    for input in tasks.first().into_iter().flat_map(|t| list(t, "inputs")) {
        for parameter in list(input, "parameters").iter().filter_map(Value::as_object) {
            line(format!("setting     {} = {}", text(parameter, "name"), text(parameter, "value")));
        }
    }
    for task in tasks.iter().filter_map(Value::as_object) {
        line(format!(
            "segment {}   {} to {}",
            property(task, "segment"),
            text(task, "timeStart"),
            text(task, "timeEnd")
        ));
        for step in
            task.get("steps").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
        {
            let command = step.get("commands").and_then(|c| c.pointer("/0/executed")).and_then(Value::as_str);
            line(format!("  {:<14}{}", text(step, "name"), command.unwrap_or(text(step, "description"))));
        }
    }
    line(format!("checkpoints {}", property(workflow, "commit-rule")));
    line(format!("repeatable  {}", property(workflow, "reproducible")));
}

/// What is not known, and what was declared against what was seen.
fn mark_lines(bom: &Value, line: &mut impl FnMut(String)) {
    let mut lines = std::collections::BTreeSet::new();
    crate::cyclonedx::each_object(bom, &mut |object| {
        lines.extend(
            property_values(object, "conflict")
                .map(|what| format!("conflict    {what}, but observed otherwise")),
        );
        let name = object.get("bom-ref").and_then(Value::as_str).unwrap_or("record");
        lines
            .extend(property_values(object, "unknown").map(|field| format!("unknown     {field} of {name}")));
    });
    for text in lines {
        line(text);
    }
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn of_type<'v>(components: &'v [Value], kind: &'static str) -> impl Iterator<Item = &'v Map<String, Value>> {
    let all = components.iter().filter_map(Value::as_object);
    all.filter(move |c| c.get("type").and_then(Value::as_str) == Some(kind))
}

fn first<'v>(components: &'v [Value], kind: &'static str) -> Option<&'v Map<String, Value>> {
    of_type(components, kind).next()
}

fn text<'v>(object: &'v Map<String, Value>, name: &str) -> &'v str {
    object.get(name).and_then(Value::as_str).unwrap_or("unknown")
}

fn property<'v>(object: &'v Map<String, Value>, name: &str) -> &'v str {
    property_values(object, name).next().unwrap_or("unknown")
}

fn origin<'v>(object: &'v Map<String, Value>, field: &str) -> Option<&'v str> {
    property_values(object, "origin")
        .filter_map(|v| v.split_once('='))
        .find(|(f, _)| *f == field)
        .map(|(_, o)| o)
}

fn short(object: &Map<String, Value>) -> String {
    let digest = object.get("hashes").and_then(|h| h.pointer("/0/content")).and_then(Value::as_str);
    digest.unwrap_or("?").chars().take(12).collect()
}
