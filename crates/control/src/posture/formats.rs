//! The probe of IN-4: files that would run code, lie about their lengths or claim to be something else go through the very
//! inspection that models from outside go through, in its confined process.

use std::sync::Arc;

use store::records::{File, Tenant};
use vault::KeyScope;

use super::probes::Seen;
use crate::Fail;
use crate::node::{Node, correlation};

/// Name, what it is, and its bytes. None does anything beyond what it is named for: nothing here executes one.
const HOSTILE: [(&str, &str, &[u8]); 6] = [
    (
        "exec.pkl",
        "a pickle that calls builtins.exec",
        b"\x80\x02cbuiltins\nexec\nX\x04\x00\x00\x00passq\x00\x85R.",
    ),
    (
        "cut.pkl",
        "a pickle that calls posix.system and then breaks off",
        b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00trueq\x00\x85R",
    ),
    ("bomb.safetensors", "a safetensors header of 2^62 bytes", b"\0\0\0\0\0\0\0\x40{}"),
    (
        "overlap.safetensors",
        "safetensors data that overlaps",
        b"\x69\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}xyz",
    ),
    (
        "counts.gguf",
        "GGUF with 2^60 tensors",
        b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\0",
    ),
    ("program.json", "a program that is named as a configuration", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0"),
];
/// What must pass beside them.
const PLAIN: (&str, &[u8]) = ("plain.json", b"{\"hidden_size\": 8}");

/// Has the samples inspected. They stay sealed in the first tenant's scope, the same few hundred bytes each time.
pub(super) fn inspected(node: &Arc<Node>) -> Result<Seen, Fail> {
    let Some(tenant) = node.every::<Tenant>(|_| true)?.into_iter().next() else {
        return Ok(Seen::Unknown(
            "there is no tenant in whose scope a sample could be sealed: make one with `strongroom tenant create`"
                .to_owned(),
        ));
    };
    let scope = KeyScope::Tenant(tenant.name.clone());
    let mut files = Vec::new();
    for (path, mut bytes) in HOSTILE.map(|(name, _, bytes)| (name, bytes)).into_iter().chain([PLAIN]) {
        let most = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let sealed = node.seal(&scope, &mut bytes, most)?;
        files.push(File { path: path.to_owned(), size: sealed.len, digest: sealed.digest, media: None });
    }
    let name = "probe".parse().map_err(|e| Fail::internal("a name cannot be", e))?;
    let (_, found) =
        crate::inspection::inspect(node, &tenant.name, &name, files, "probe:IN-4", correlation()?)?;
    let of = |path: &str| found.findings.iter().find(|finding| finding.starts_with(&format!("{path}: ")));
    if let Some(finding) = of(PLAIN.0) {
        return Ok(Seen::Unknown(format!(
            "even a plain file is not taken, so a refusal says nothing: {finding}"
        )));
    }
    let mut evidence = Vec::new();
    for (path, what, _) in HOSTILE {
        match of(path) {
            Some(finding) => evidence.push(format!("{what}: {finding}")),
            None => return Ok(Seen::Broken(format!("nothing is found in {what}"), evidence)),
        }
    }
    if found.verdict != "refuse" {
        return Ok(Seen::Broken(format!("files that run code come to `{}`", found.verdict), evidence));
    }
    evidence.push(format!("positive control: {} beside them has no finding", PLAIN.0));
    evidence.push(
        "inspected by a process without keys and network, with a limit on memory and on time".to_owned(),
    );
    Ok(Seen::Holds(
        "files that can run code, or whose lengths cannot be, are refused before anything loads them"
            .to_owned(),
        evidence,
    ))
}
