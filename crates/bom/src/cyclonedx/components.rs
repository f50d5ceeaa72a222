//! The model, its files, its data, code, environment and machine.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::properties::Properties;
use super::{each_object, hashes, member, property_values};
use crate::fact::Fact;
use crate::model::{
    CheckpointState, Dataset, Environment, FileEntry, Hardware, Job, Metric, Model, ModelBom, Package,
    PackageSource, Role,
};

pub(super) const MODEL_REF: &str = "model";
pub(super) const CODE_REF: &str = "code";
pub(super) const IMAGE_REF: &str = "environment";
pub(super) const OS_REF: &str = "operating-system";
pub(super) const MACHINE_REF: &str = "machine";

/// The data by `bom-ref`; the same data in the same role is one component.
pub(super) fn datasets(bom: &ModelBom) -> BTreeMap<String, &Dataset> {
    let name = |d: &Dataset| format!("dataset:{}@{}:{}", d.name, d.version, role(d.role));
    bom.datasets.iter().map(|dataset| (name(dataset), dataset)).collect()
}

pub(super) fn checkpoint_ref(version: u64) -> String {
    format!("checkpoint:{version}")
}

/// Every component, always in the same order.
pub(super) fn components(bom: &ModelBom) -> Vec<Value> {
    let mut out = vec![model(bom)];
    out.extend(datasets(bom).into_iter().map(|(reference, d)| dataset(reference, d)));
    let Some(job) = &bom.job else { return out };
    out.push(code(job));
    out.extend(environment(&job.environment));
    out.extend(packages(&job.environment).into_iter().map(|(_, component)| component));
    out.extend(machine(&job.hardware).into_iter().map(|(_, component)| component));
    out.extend(checkpoints(job));
    out
}

/// What depends on what. A component that is not named here depends on nothing that is recorded.
pub(super) fn dependencies(bom: &ModelBom) -> Vec<Value> {
    let mut model: Vec<String> = datasets(bom).into_keys().collect();
    let mut out = vec![json!({"ref": "system", "dependsOn": [MODEL_REF]})];
    if let Some(job) = &bom.job {
        model.extend([CODE_REF.to_owned(), MACHINE_REF.to_owned()]);
        let packages: Vec<String> = packages(&job.environment).into_iter().map(|(name, _)| name).collect();
        out.push(json!({"ref": CODE_REF, "dependsOn": [IMAGE_REF]}));
        let software: Vec<String> = std::iter::once(OS_REF.to_owned()).chain(packages).collect();
        out.push(json!({"ref": IMAGE_REF, "dependsOn": software}));
        let devices: Vec<String> = machine(&job.hardware)
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| name != MACHINE_REF)
            .collect();
        out.push(json!({"ref": MACHINE_REF, "dependsOn": devices}));
    }
    out.push(json!({"ref": MODEL_REF, "dependsOn": model}));
    out
}

/// The model's files are all listed; whether the rest is complete depends on what is unknown.
pub(super) fn compositions(value: &Value) -> Value {
    let (mut whole, mut part) = (Vec::new(), Vec::new());
    for component in value.get("components").and_then(Value::as_array).into_iter().flatten() {
        let mut unknown = false;
        each_object(component, &mut |object| unknown |= property_values(object, "unknown").next().is_some());
        if let Some(reference) = component.get("bom-ref") {
            if unknown { &mut part } else { &mut whole }.push(reference.clone());
        }
    }
    let mut out = Vec::new();
    for (aggregate, assemblies) in [("complete", whole), ("incomplete", part)] {
        if !assemblies.is_empty() {
            out.push(json!({"aggregate": aggregate, "assemblies": assemblies}));
        }
    }
    out.into()
}

fn model(bom: &ModelBom) -> Value {
    let model = &bom.model;
    let mut properties = Properties::default();
    properties.put("origin", "files=observed");
    for (field, fact) in
        [("license", &model.license), ("description", &model.description), ("producer", &model.producer)]
    {
        properties.origin(field, fact);
    }
    properties.origin("accountable", &model.accountable);
    let Some(signer) = &bom.signer else {
        properties.put("unknown", "signer");
        return model_object(bom, properties, Vec::new());
    };
    properties.put("signer", &signer.name);
    properties.put("signer-key-fingerprint", signer.key_fingerprint);
    properties.put("origin", "signer=observed");
    let signature = json!({
        "type": "digital-signature", "url": format!("urn:strongroom:signature:{}", signer.bundle_digest),
        "comment": "OpenSSF Model Signing bundle over the model's files", "hashes": hashes(&signer.bundle_digest),
    });
    model_object(bom, properties, vec![signature])
}

fn model_object(bom: &ModelBom, mut properties: Properties, mut references: Vec<Value>) -> Value {
    let model = &bom.model;
    references.push(json!({
        "type": "distribution",
        "url": format!("urn:strongroom:model:{}:{}:{}", bom.tenant, model.name, model.version),
    }));
    for inspection in &bom.inspections {
        let findings = if inspection.findings.is_empty() {
            String::new()
        } else {
            format!(" ({})", inspection.findings.join("; "))
        };
        let accepted = inspection.accepted.as_ref().map(|by| format!(", {by}")).unwrap_or_default();
        properties.put(
            "inspection",
            format!(
                "{}={} as {} by {}{findings}{accepted}",
                inspection.path, inspection.verdict, inspection.format, inspection.inspector
            ),
        );
    }
    let mut out = Map::from_iter([
        ("type".to_owned(), json!("machine-learning-model")),
        ("bom-ref".to_owned(), json!(MODEL_REF)),
        ("group".to_owned(), json!(bom.tenant)),
        ("name".to_owned(), json!(model.name)),
        ("version".to_owned(), json!(model.version)),
        ("hashes".to_owned(), hashes(&model.root_digest)),
        ("components".to_owned(), files("file", &model.files).into()),
        ("externalReferences".to_owned(), references.into()),
        ("modelCard".to_owned(), model_card(bom)),
        ("properties".to_owned(), properties.into_value()),
    ]);
    member(&mut out, "description", &model.description, Value::from);
    member(&mut out, "licenses", &model.license, |name| json!([{"license": {"name": name}}]));
    member(&mut out, "supplier", &model.producer, |name| json!({"name": name}));
    member(&mut out, "authors", &model.accountable, |name| json!([{"name": name}]));
    let rejected = bom
        .job
        .as_ref()
        .map_or(0, |job| job.checkpoints.iter().filter(|c| c.state != CheckpointState::Good).count());
    let notes = bom.job.as_ref().map(|job| {
        format!(
            "trained by job {} in {} segments with {} checkpoints, {rejected} of them rejected",
            job.id,
            job.segments.len(),
            job.checkpoints.len()
        )
    });
    let ancestors = model.base.iter().map(|base| {
        json!({
            "type": "machine-learning-model", "bom-ref": "base", "name": base.name, "version": base.version,
            "hashes": hashes(&base.digest),
            "properties": [{"name": "strongroom:relation", "value": base.relation}],
        })
    });
    let ancestors: Vec<Value> = ancestors.collect();
    let mut pedigree = Map::new();
    if !ancestors.is_empty() {
        pedigree.insert("ancestors".to_owned(), ancestors.into());
    }
    if let Some(notes) = notes {
        pedigree.insert("notes".to_owned(), notes.into());
    }
    if !pedigree.is_empty() {
        out.insert("pedigree".to_owned(), pedigree.into());
    }
    Value::Object(out)
}

fn model_card(bom: &ModelBom) -> Value {
    let model = &bom.model;
    let mut parameters = Map::new();
    member(&mut parameters, "task", &model.task, Value::from);
    member(&mut parameters, "modelArchitecture", &model.architecture, Value::from);
    if let Some(approach) = model.approach.value().filter(|a| APPROACHES.contains(a)) {
        parameters.insert("approach".to_owned(), json!({"type": approach}));
    }
    if !bom.datasets.is_empty() {
        let refs: Vec<Value> = datasets(bom).into_keys().map(|name| json!({"ref": name})).collect();
        parameters.insert("datasets".to_owned(), refs.into());
    }
    let mut considerations = Map::new();
    member(&mut considerations, "useCases", &model.purpose, |text| json!([text]));
    member(&mut considerations, "technicalLimitations", &model.limitations, |text| json!([text]));
    let figures = metrics(bom).into_values().filter_map(|m| {
        let mut metric = Map::from_iter([
            ("type".to_owned(), step_name(m).into()),
            ("value".to_owned(), m.value.value()?.into()),
        ]);
        if !m.slice.is_empty() {
            metric.insert("slice".to_owned(), m.slice.clone().into());
        }
        Some(Value::Object(metric))
    });
    let figures: Vec<Value> = figures.collect();
    json!({
        "bom-ref": "model-card",
        "modelParameters": parameters,
        "quantitativeAnalysis": {"performanceMetrics": figures},
        "considerations": considerations,
        "properties": card_properties(bom, model),
    })
}

/// What the schema allows as `approach.type`; anything else stands in a property alone.
const APPROACHES: [&str; 5] =
    ["supervised", "unsupervised", "reinforcement-learning", "semi-supervised", "self-supervised"];

fn card_properties(bom: &ModelBom, model: &Model) -> Value {
    let mut properties = Properties::default();
    properties.fact("parameters", &model.parameters);
    properties.origin("architecture", &model.architecture);
    properties.fact("approach", &model.approach);
    properties.origin("task", &model.task);
    properties.origin("purpose", &model.purpose);
    properties.origin("limitations", &model.limitations);
    for (name, metric) in metrics(bom) {
        properties.origin(&format!("metric:{name}"), &metric.value);
    }
    match &model.tensors {
        None => properties.put("unknown", "tensors"),
        Some(tensors) => {
            properties.put("origin", "tensors=observed");
            for tensor in tensors {
                let shape: Vec<String> = tensor.shape.iter().map(ToString::to_string).collect();
                let digest = tensor.digest.map_or_else(String::new, |d| format!(" {d}"));
                let text = format!("{} [{}]{digest}", tensor.dtype, shape.join(", "));
                properties.put(&format!("tensor:{}", tensor.name), text);
            }
        }
    }
    properties.into_value()
}

/// Figures by name, step and slice; of a figure that was reported twice, the last one.
fn metrics(bom: &ModelBom) -> BTreeMap<String, &Metric> {
    let name = |m: &Metric| {
        if m.slice.is_empty() { step_name(m) } else { format!("{} on {}", step_name(m), m.slice) }
    };
    bom.metrics.iter().map(|metric| (name(metric), metric)).collect()
}

fn step_name(metric: &Metric) -> String {
    metric.step.map_or_else(|| metric.name.clone(), |step| format!("{} at step {step}", metric.name))
}

fn dataset(reference: String, dataset: &Dataset) -> Value {
    let mut properties = Properties::default();
    properties.put("dataset:role", role(dataset.role));
    properties.put("dataset:bytes", dataset.size_bytes);
    properties.put("dataset:files", dataset.files);
    properties.put("origin", "manifest=observed");
    properties.origin("license", &dataset.license);
    properties.fact("source", &dataset.origin);
    if dataset.role == Role::Unspecified {
        properties.put("unknown", "role");
    }
    let mut out = Map::from_iter([
        ("type".to_owned(), json!("data")),
        ("bom-ref".to_owned(), reference.into()),
        ("name".to_owned(), dataset.name.clone().into()),
        ("version".to_owned(), dataset.version.clone().into()),
        ("hashes".to_owned(), hashes(&dataset.manifest_digest)),
        ("data".to_owned(), json!([{"type": "dataset", "name": dataset.name}])),
        ("properties".to_owned(), properties.into_value()),
    ]);
    member(&mut out, "licenses", &dataset.license, |name| json!([{"license": {"name": name}}]));
    Value::Object(out)
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Train => "train",
        Role::Validate => "validate",
        Role::Test => "test",
        Role::Unspecified => "unspecified",
    }
}

fn code(job: &Job) -> Value {
    let code = &job.code;
    let mut properties = Properties::default();
    properties.put("origin", "files=observed");
    properties.origin("git-commit", &code.git_commit);
    properties.fact("dirty", &code.dirty);
    let mut out = Map::from_iter([
        ("type".to_owned(), json!("application")),
        ("bom-ref".to_owned(), json!(CODE_REF)),
        ("name".to_owned(), json!("training code")),
        ("hashes".to_owned(), hashes(&code.digest)),
        ("components".to_owned(), files("code-file", &code.files).into()),
        ("properties".to_owned(), properties.into_value()),
    ]);
    member(&mut out, "pedigree", &code.git_commit, |uid| json!({"commits": [{"uid": uid}]}));
    Value::Object(out)
}

fn files(kind: &str, files: &[FileEntry]) -> Vec<Value> {
    let mut sorted: Vec<&FileEntry> = files.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    let one = |file: &FileEntry| {
        let mut properties = Properties::default();
        properties.put("size", file.size_bytes);
        if !file.format.is_empty() {
            properties.put("format", &file.format);
        }
        json!({
            "type": "file", "bom-ref": format!("{kind}:{}", file.path), "name": file.path,
            "hashes": hashes(&file.digest), "properties": properties.into_value(),
        })
    };
    sorted.into_iter().map(one).collect()
}

fn environment(environment: &Environment) -> Vec<Value> {
    let Environment { image, pinned, kernel, os, python, packages: _ } = environment;
    let mut properties = Properties::default();
    properties.origin("image", image);
    properties.fact("image-pinned", pinned);
    properties.fact("python", python);
    let mut system = Properties::default();
    system.origin("os", os);
    system.origin("kernel", kernel);
    let mut os_component = Map::from_iter([
        ("type".to_owned(), json!("operating-system")),
        ("bom-ref".to_owned(), json!(OS_REF)),
        ("name".to_owned(), json!(os.value().unwrap_or("unknown"))),
        ("properties".to_owned(), system.into_value()),
    ]);
    member(&mut os_component, "version", kernel, Value::from);
    vec![
        json!({
            "type": "container", "bom-ref": IMAGE_REF, "name": image.value().unwrap_or("unknown"),
            "properties": properties.into_value(),
        }),
        Value::Object(os_component),
    ]
}

/// Packages with their `bom-ref`, sorted; a package that is listed twice is one component.
fn packages(environment: &Environment) -> Vec<(String, Value)> {
    let mut sorted: Vec<&Package> = environment.packages.iter().collect();
    sorted.sort_by(|a, b| (a.source, &a.name, &a.version).cmp(&(b.source, &b.name, &b.version)));
    sorted.dedup_by(|a, b| (a.source, &a.name, &a.version) == (b.source, &b.name, &b.version));
    let one = |package: &Package| {
        let system = |usual: &'static str| package.system.as_deref().unwrap_or(usual);
        let origin = if package.observed { "package=observed" } else { "package=declared" };
        let (kind, purl) = match package.source {
            PackageSource::Dpkg => (
                "dpkg",
                format!(
                    "pkg:deb/{}/{}@{}",
                    escape(system("debian")),
                    escape(&package.name),
                    escape(&package.version)
                ),
            ),
            PackageSource::Python => {
                ("python", format!("pkg:pypi/{}@{}", escape(&package.name), escape(&package.version)))
            }
            PackageSource::Apk => (
                "apk",
                format!(
                    "pkg:apk/{}/{}@{}",
                    escape(system("alpine")),
                    escape(&package.name),
                    escape(&package.version)
                ),
            ),
        };
        let reference = format!("package:{kind}:{}@{}", package.name, package.version);
        let mut out = json!({
            "type": "library", "bom-ref": reference, "name": package.name, "version": package.version, "purl": purl,
            "properties": [{"name": "strongroom:origin", "value": origin}],
        });
        if let (Some(digest), Some(members)) = (&package.digest, out.as_object_mut()) {
            members.insert("hashes".to_owned(), hashes(digest));
        }
        (reference, out)
    };
    sorted.into_iter().map(one).collect()
}

/// Percent-encoding of the package-URL specification.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~' | b':') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn machine(hardware: &Hardware) -> Vec<(String, Value)> {
    let Hardware { cpu_model, cpus, memory_bytes, threads, accelerators } = hardware;
    let mut properties = Properties::default();
    properties.fact("cpus", cpus);
    properties.fact("memory-bytes", memory_bytes);
    properties.fact("threads", threads);
    if accelerators.is_empty() {
        properties.put("accelerators", "none");
        properties.put("origin", "accelerators=observed");
    }
    let device = |reference: &str, field: &str, name: &Fact| {
        let mut properties = Properties::default();
        properties.origin(field, name);
        json!({
            "type": "device", "bom-ref": reference, "name": name.value().unwrap_or("unknown"),
            "properties": properties.into_value(),
        })
    };
    let whole = json!({
        "type": "device", "bom-ref": MACHINE_REF, "name": "machine", "properties": properties.into_value(),
    });
    let mut out = vec![
        (MACHINE_REF.to_owned(), whole),
        ("processor".to_owned(), device("processor", "cpu-model", cpu_model)),
    ];
    for (i, accelerator) in accelerators.iter().enumerate() {
        let reference = format!("accelerator:{i}");
        let component = device(&reference, "accelerator", accelerator);
        out.push((reference, component));
    }
    out
}

fn checkpoints(job: &Job) -> impl Iterator<Item = Value> {
    job.checkpoints.iter().map(|checkpoint| {
        let mut properties = Properties::default();
        properties.put("checkpoint:version", checkpoint.version);
        match checkpoint.step {
            Some(step) => properties.put("checkpoint:step", step),
            None => properties.put("unknown", "step"),
        }
        properties.put("checkpoint:segment", checkpoint.segment);
        properties.put("checkpoint:bytes", checkpoint.size_bytes);
        properties.put("checkpoint:sealed-at", checkpoint.sealed_at);
        properties.put("checkpoint:state", state(checkpoint.state));
        if !checkpoint.reason.is_empty() {
            properties.put("checkpoint:reason", &checkpoint.reason);
        }
        if let Some(previous) = &checkpoint.previous {
            properties.put("checkpoint:previous", previous);
        }
        properties.put("origin", "checkpoint=observed");
        json!({
            "type": "file", "bom-ref": checkpoint_ref(checkpoint.version),
            "name": format!("checkpoint {}", checkpoint.version), "hashes": hashes(&checkpoint.digest),
            "properties": properties.into_value(),
        })
    })
}

fn state(state: CheckpointState) -> &'static str {
    match state {
        CheckpointState::Good => "good",
        CheckpointState::Rejected => "rejected",
        CheckpointState::Quarantined => "quarantined",
    }
}
