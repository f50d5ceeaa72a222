//! CycloneDX 1.6 JSON.
//!
//! What 1.6 has no place for stands in properties named `strongroom:...`: the origin of each field
//! (`strongroom:origin` = `<field>=observed`), its audit record (`strongroom:evidence`), contradicted
//! declarations (`strongroom:conflict`) and what is not known (`strongroom:unknown` = `<field>`).

mod components;
mod formulation;
mod properties;

use std::collections::BTreeMap;

use base::Digest;
use serde_json::{Map, Value, json};

use crate::fact::Fact;
use crate::gate;
use crate::model::ModelBom;
use properties::Properties;

/// `bom-ref` of the tool that writes, which is also who observed.
pub(crate) const TOOL_REF: &str = "tool:strongroom";

/// The record as CycloneDX 1.6. Equal records give equal values, whose canonical bytes are those of
/// [`base::jcs`].
pub fn to_cyclonedx_1_6(bom: &ModelBom) -> Value {
    let mut out = Map::from_iter([
        ("bomFormat".to_owned(), json!("CycloneDX")),
        ("specVersion".to_owned(), json!("1.6")),
        ("serialNumber".to_owned(), serial(bom.serial).into()),
        ("version".to_owned(), bom.version.into()),
        ("metadata".to_owned(), metadata(bom)),
        ("components".to_owned(), components::components(bom).into()),
        ("dependencies".to_owned(), components::dependencies(bom).into()),
    ]);
    if let Some(job) = &bom.job {
        out.insert("formulation".to_owned(), formulation::formulation(bom, job));
    }
    let mut value = Value::Object(out);
    let (compositions, annotations) = (components::compositions(&value), annotations(bom, &value));
    if let Some(members) = value.as_object_mut() {
        members.insert("compositions".to_owned(), compositions);
        members.insert("annotations".to_owned(), annotations);
    }
    value
}

/// `urn:uuid:` and the 128 bits.
fn serial(bits: u128) -> String {
    let hex = base::digest::hex(&bits.to_be_bytes());
    let mut out = "urn:uuid:".to_owned();
    for (i, c) in hex.chars().enumerate() {
        if matches!(i, 8 | 12 | 16 | 20) {
            out.push('-');
        }
        out.push(c);
    }
    out
}

fn metadata(bom: &ModelBom) -> Value {
    let mut properties = Properties::default();
    properties.put("tenant", &bom.tenant);
    properties.put("node", &bom.node);
    properties.put("reason", &bom.reason);
    properties.put("gate", gate::tier(bom).map_or("none", gate::Tier::as_str));
    if let Some(previous) = &bom.previous {
        properties.put("previous-digest", previous);
    }
    for (what, evidence) in &bom.audit {
        properties.put("audit", format!("{what}={}:{}", evidence.log_index, evidence.fingerprint));
    }
    json!({
        "timestamp": bom.timestamp.to_string(),
        "lifecycles": [{"phase": "build"}],
        "tools": {"components": [{
            "type": "application", "bom-ref": TOOL_REF, "name": "strongroom", "version": bom.tool_version,
        }]},
        "authors": [{"name": format!("strongroom on node {}", bom.node)}],
        "component": {
            "type": "application", "bom-ref": "system", "group": bom.tenant, "name": bom.model.name,
            "version": bom.model.version,
        },
        "properties": properties.into_value(),
    })
}

/// One annotation for what was observed, and one for each party that declared something.
fn annotations(bom: &ModelBom, value: &Value) -> Value {
    let mut observed = Vec::new();
    let mut declared: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    each_object(value, &mut |object| {
        let Some(reference) = object.get("bom-ref") else { return };
        for (_, origin) in property_values(object, "origin").filter_map(|v| v.split_once('=')) {
            if origin == "observed" {
                observed.push(reference.clone());
            } else if let Some(party) = origin.strip_prefix("declared by ") {
                declared.entry(party.to_owned()).or_default().push(reference.clone());
            }
        }
    });
    observed.dedup();
    let mut out = Vec::new();
    if !observed.is_empty() {
        out.push(json!({
            "subjects": observed,
            "annotator": {"component": {"type": "application", "name": "strongroom", "version": bom.tool_version}},
            "timestamp": bom.timestamp.to_string(),
            "text": "fields marked observed were seen by the platform that ran the job",
        }));
    }
    for (party, mut subjects) in declared {
        subjects.dedup();
        out.push(json!({
            "subjects": subjects,
            "annotator": {"individual": {"name": party}},
            "timestamp": bom.timestamp.to_string(),
            "text": "fields marked as declared by this party were not seen by the platform",
        }));
    }
    out.into()
}

/// Visits every object, parents first.
pub(crate) fn each_object<'v>(value: &'v Value, visit: &mut dyn FnMut(&'v Map<String, Value>)) {
    match value {
        Value::Object(members) => {
            visit(members);
            for member in members.values() {
                each_object(member, visit);
            }
        }
        Value::Array(items) => {
            for item in items {
                each_object(item, visit);
            }
        }
        _ => {}
    }
}

/// The values of an object's properties `strongroom:<name>`, in order.
pub(crate) fn property_values<'v>(
    object: &'v Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = &'v str> {
    let wanted = format!("strongroom:{name}");
    let list = object.get("properties").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    list.iter()
        .filter(move |p| p.get("name").and_then(Value::as_str) == Some(wanted.as_str()))
        .filter_map(|p| p.get("value").and_then(Value::as_str))
}

/// The `hashes` of one SHA-256.
fn hashes(digest: &Digest) -> Value {
    json!([{"alg": "SHA-256", "content": digest.hex()}])
}

/// A member with the fact's value, if it has one.
fn member<'f>(
    members: &mut Map<String, Value>,
    name: &str,
    fact: &'f Fact,
    wrap: impl FnOnce(&'f str) -> Value,
) {
    if let Some(value) = fact.value() {
        members.insert(name.to_owned(), wrap(value));
    }
}
