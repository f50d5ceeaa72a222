//! Findings as SARIF 2.1.0 (OASIS), for code scanning and editors.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Inspected;

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// The log, one run, with every rule of this version and every finding.
pub(super) fn render(files: &[Inspected]) -> Vec<u8> {
    let indexes: BTreeMap<&str, usize> =
        inspect::RULES.iter().enumerate().map(|(index, rule)| (rule.code, index)).collect();
    let rules: Vec<Value> = inspect::RULES
        .iter()
        .map(|rule| {
            json!({
                "id": rule.code,
                "shortDescription": { "text": rule.title },
                "help": { "text": rule.remedy },
                "defaultConfiguration": { "level": level(rule.severity.as_str()) },
                "properties": { "severity": rule.severity.as_str() },
            })
        })
        .collect();
    let artifacts: Vec<Value> = files
        .iter()
        .map(|file| {
            let mut artifact = json!({
                "location": { "uri": uri(&file.entry.name) },
                "length": file.entry.size,
            });
            if !file.said.digest.is_empty()
                && let Value::Object(members) = &mut artifact
            {
                members.insert("hashes".to_owned(), json!({ "sha-256": file.said.digest }));
            }
            artifact
        })
        .collect();
    let results: Vec<Value> =
        files.iter().zip(0_usize..).flat_map(|(file, at)| results(file, at, &indexes)).collect();
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "strongroom",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
                "properties": { "ruleSet": inspect::RULE_SET },
            }},
            "columnKind": "unicodeCodePoints",
            "artifacts": artifacts,
            "results": results,
        }],
    });
    format!("{log:#}\n").into_bytes()
}

fn results(file: &Inspected, at: usize, indexes: &BTreeMap<&str, usize>) -> Vec<Value> {
    file.said
        .findings
        .iter()
        .map(|found| {
            let mut physical = json!({ "artifactLocation": { "uri": uri(&file.entry.name), "index": at } });
            // A region within an archive would be one of a file that does not exist.
            if found.offset <= file.entry.size
                && let Value::Object(members) = &mut physical
            {
                members.insert("region".to_owned(), json!({ "byteOffset": found.offset, "byteLength": 0 }));
            }
            let mut result = json!({
                "ruleId": found.code,
                "level": level(&found.severity),
                "message": { "text": format!("{}; {}", found.explanation, found.remedy) },
                "locations": [{ "physicalLocation": physical }],
                "properties": { "verdict": file.said.verdict, "severity": found.severity },
            });
            if let (Some(index), Value::Object(members)) = (indexes.get(found.code.as_str()), &mut result) {
                members.insert("ruleIndex".to_owned(), json!(index));
            }
            result
        })
        .collect()
}

const fn level(severity: &str) -> &'static str {
    match severity.as_bytes() {
        b"notice" => "note",
        b"risk" => "warning",
        _ => "error",
    }
}

/// A relative reference (RFC 3986): what may not stand in a path is escaped, and a colon in the first part, which
/// would read as a scheme.
fn uri(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_references() {
        assert_eq!(uri("a b/ü:1.pt"), "a%20b/%C3%BC%3A1.pt");
        assert_eq!(level("notice"), "note");
        assert_eq!(level("risk"), "warning");
        assert_eq!(level("hostile"), "error");
        assert_eq!(level("a word of later versions"), "error");
    }
}
