//! The table of endpoints as an OpenAPI 3.1 document. Nothing in it is written twice: paths, effects and parameters
//! come from the table, schemas from the wire types.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use crate::shape::{IdempotencyKey, SchemaOf};
use crate::table::{Effect, Input, Output, Route, TABLE, Who};
use crate::{PREFIX, Problem};

/// What a reader must know before the first call.
const ABOUT: &str = "The API of one Strongroom node: HTTP/1.1 over its unix socket. \
Who calls is what the kernel says of the peer process (the operator of the node), or the key in `Authorization`. \
What a caller may not know exists is not found, so 404 says nothing of other tenants. \
Answers gain members over time and lose none; requests with unknown members are refused. \
No answer may be cached; one with an `ETag` can be asked for again with `If-None-Match`. \
Paths have one spelling: what needs no percent-encoding has none, and nothing is normalised.";

/// Schemas of requests and of answers: members with a default may be left out of the one, and never of the other.
struct Schemas {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let with = |settings: SchemaSettings| {
            settings
                .with(|s| {
                    s.definitions_path = "/components/schemas".into();
                    s.meta_schema = None;
                })
                .into_generator()
        };
        Self {
            requests: with(SchemaSettings::draft2020_12().for_deserialize()),
            answers: with(SchemaSettings::draft2020_12().for_serialize()),
        }
    }

    fn request(&mut self, shape: SchemaOf) -> Value {
        shape(&mut self.requests).to_value()
    }

    fn answer(&mut self, shape: SchemaOf) -> Value {
        shape(&mut self.answers).to_value()
    }

    /// Every schema that was referred to, by name. No type is of both kinds.
    fn all(mut self) -> Value {
        let mut all = self.requests.take_definitions(true);
        for (name, mut schema) in self.answers.take_definitions(true) {
            open(&mut schema);
            all.insert(name, schema);
        }
        Value::Object(all)
    }
}

/// Answers gain members: what is closed because it is an enum in Rust is open on the wire.
fn open(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("additionalProperties") == Some(&Value::Bool(false)) {
                map.remove("additionalProperties");
            }
            map.values_mut().for_each(open);
        }
        Value::Array(list) => list.iter_mut().for_each(open),
        _ => {}
    }
}

/// The document, of exactly the endpoints in the table.
pub fn openapi() -> Value {
    let mut schemas = Schemas::new();
    let mut paths: Map<String, Value> = Map::new();
    for route in TABLE {
        let path = format!("{PREFIX}{}", route.path.replace("{*", "{"));
        let operation = operation(route, &mut schemas);
        let item = paths.entry(path).or_insert_with(|| json!({}));
        if let Value::Object(item) = item {
            item.insert(route.method.as_str().to_ascii_lowercase(), operation);
        }
    }
    let problem = schemas.answer(|generator| generator.subschema_for::<Problem>());
    let headers = json!({
        "RequestId": {
            "description": "Id of the request; the body of a refusal carries it too.",
            "schema": { "type": "string", "pattern": "^evt_[0-7][0-9a-hjkmnp-tv-z]{25}$" },
        },
        "ETag": {
            "description": "Strong validator of exactly these bytes.",
            "schema": { "type": "string", "pattern": "^\"[0-9a-f]{32}\"$" },
        },
        "RetryAfter": {
            "description": "Seconds after which it is worth trying again.",
            "schema": { "type": "integer", "minimum": 1 },
        },
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Strongroom",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "servers": [{ "url": "/", "description": "The node's socket, `run/control.sock` below its state directory." }],
        "security": [{ "key": [] }, {}],
        "tags": tags(),
        "paths": paths,
        "components": {
            "securitySchemes": { "key": {
                "type": "http",
                "scheme": "bearer",
                "description": "A tenant's management key. Without one, the caller is the user of the peer process: \
                    the operator of the node, or nobody.",
            } },
            "headers": headers,
            "responses": { "Problem": {
                "description": "Refused, and why (RFC 9457).",
                "headers": { "X-Request-Id": { "$ref": "#/components/headers/RequestId" } },
                "content": { "application/problem+json": { "schema": problem } },
            } },
            "schemas": schemas.all(),
        },
    })
}

/// The noun of an operation: its first word, and for what the node says of itself `node`.
fn noun(route: &Route) -> &'static str {
    route.operation.split_once('.').map_or("node", |(noun, _)| noun)
}

fn tags() -> Vec<Value> {
    let mut nouns: Vec<_> = TABLE.iter().map(noun).collect();
    nouns.sort_unstable();
    nouns.dedup();
    nouns.into_iter().map(|noun| json!({ "name": noun })).collect()
}

fn operation(route: &Route, schemas: &mut Schemas) -> Value {
    let mut operation = json!({
        "operationId": route.operation,
        "summary": route.summary,
        "tags": [noun(route)],
        "parameters": parameters(route, schemas),
        "responses": responses(route, schemas),
        "x-strongroom-effect": match route.effect {
            Effect::Read => "read",
            Effect::Change => "change",
            Effect::Destructive => "destructive",
        },
        "x-strongroom-audit": route.audit,
        "x-strongroom-action": format!("Action::\"{}\"", route.operation),
        "x-strongroom-for": match route.who {
            Who::Operator => "operator",
            Who::Tenant => "tenant",
            Who::Any => "any",
            Who::Stranger => "stranger",
        },
    });
    let content = match route.input {
        Input::Empty => return operation,
        Input::Json(shape) => json!({ "application/json": { "schema": schemas.request(shape) } }),
        Input::Bytes => json!({ "application/octet-stream": {} }),
    };
    if let Value::Object(map) = &mut operation {
        map.insert("requestBody".to_owned(), json!({ "required": true, "content": content }));
    }
    operation
}

fn parameters(route: &Route, schemas: &mut Schemas) -> Vec<Value> {
    let mut all: Vec<Value> = route
        .path_params()
        .map(|name| {
            let mut parameter = json!({
                "name": name, "in": "path", "required": true, "schema": schemas.request(route.path_shape(name)),
            });
            if route.path.contains("{*path}") && name == "path" {
                set(&mut parameter, "description", "Takes the rest of the path: `/` between its parts stays as it is.");
                set(&mut parameter, "x-strongroom-rest", true);
            }
            parameter
        })
        .collect();
    all.extend(route.query.iter().map(|q| {
        json!({ "name": q.name, "in": "query", "description": q.about, "schema": schemas.request(q.shape) })
    }));
    if route.validates() {
        all.push(json!({
            "name": "If-None-Match", "in": "header",
            "description": "Validators that the caller has; if one of them still holds, the answer is 304.",
            "schema": { "type": "string" },
        }));
    }
    if route.creates {
        all.push(json!({
            "name": "Idempotency-Key", "in": "header",
            "description": "Makes a repeated request safe: the same key with the same request is done once. \
                Kept for 24 hours for each caller; an import's as long as the import.",
            "schema": schemas.request(|generator| generator.subschema_for::<IdempotencyKey>()),
        }));
    }
    all
}

fn responses(route: &Route, schemas: &mut Schemas) -> Value {
    let content = match route.output {
        Output::Json { shape, schema } => json!({ "application/json": { "schema": { "allOf": [
            schemas.answer(shape),
            { "type": "object", "properties": { "schema": { "const": schema } }, "required": ["schema"] },
        ] } } }),
        Output::File("application/json") => json!({ "application/json": { "schema": { "type": "object" } } }),
        Output::File(kind) | Output::Stream(kind) => json!({ kind: {} }),
        Output::Lines(shape) => {
            let line = schemas.answer(shape);
            json!({ "application/x-ndjson": { "x-strongroom-line": line } })
        }
    };
    let mut headers = json!({ "X-Request-Id": { "$ref": "#/components/headers/RequestId" } });
    let mut responses = Map::new();
    if route.validates() {
        responses.insert(
            "304".to_owned(),
            json!({ "description": "The caller has it already.", "headers": headers.clone() }),
        );
        set(&mut headers, "ETag", json!({ "$ref": "#/components/headers/ETag" }));
    }
    responses
        .insert("200".to_owned(), json!({ "description": "Done.", "headers": headers, "content": content }));
    for status in route.refusals() {
        responses.insert(status.to_string(), json!({ "$ref": "#/components/responses/Problem" }));
    }
    Value::Object(responses)
}

fn set(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Value::Object(map) = object {
        map.insert(name.to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(target)) = map.get("$ref") {
                    found.insert(target.clone());
                }
                map.values().for_each(|v| references(v, found));
            }
            Value::Array(list) => list.iter().for_each(|v| references(v, found)),
            _ => {}
        }
    }

    #[test]
    fn every_endpoint_is_described_and_every_reference_leads_somewhere() {
        let document = openapi();
        let mut described = BTreeSet::new();
        for item in document["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                assert!(described.insert(operation["operationId"].as_str().unwrap().to_owned()));
                assert!(
                    operation["responses"]["401"].is_object() && operation["responses"]["200"].is_object()
                );
            }
        }
        assert_eq!(described, TABLE.iter().map(|r| r.operation.to_owned()).collect());
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for target in found {
            let pointer = target.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{target}");
        }
    }

    #[test]
    fn requests_are_closed_and_answers_are_open() {
        let document = openapi();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let requests: BTreeSet<&str> = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .flat_map(|item| item.as_object().unwrap().values())
            .filter_map(|o| o.pointer("/requestBody/content/application~1json/schema/$ref")?.as_str())
            .map(|target| target.rsplit('/').next().unwrap())
            .collect();
        assert!(requests.len() >= 6, "{requests:?}");
        for (name, schema) in schemas {
            let closed = schema.to_string().contains("\"additionalProperties\":false");
            // What requests are made of may be either.
            let part =
                requests.iter().any(|of| schemas[*of].to_string().contains(&format!("/schemas/{name}\"")));
            let request = requests.contains(name.as_str());
            assert!(closed == request || (part && !request), "{name}");
        }
    }

    #[test]
    fn members_that_an_answer_always_has_are_required_of_it() {
        let document = openapi();
        let job = document.pointer("/components/schemas/Job/required").unwrap().to_string();
        assert!(job.contains("\"reason\""), "{job}");
        let key = document.pointer("/components/schemas/Key/required").unwrap().to_string();
        assert!(!key.contains("\"secret\"") && key.contains("\"revoked\""), "{key}");
    }
}
