//! A part of the probe of IN-8: files of data go through the very recognition that an import goes through.

use std::sync::Arc;

use base::names::Name;
use store::records::File;
use vault::KeyScope;

use crate::node::{Node, correlation};
use crate::{Fail, recognition};

/// Name, what it is, and its bytes. None does anything: nothing here opens one.
const HOSTILE: [(&str, &str, &[u8]); 4] = [
    ("labels.csv", "a pickle that is named as a table", b"\x80\x02}X\x01\x00\x00\x00aK\x01s."),
    (
        "objects.npy",
        "an array of objects",
        b"\x93NUMPY\x01\x00\x3a\x00{'descr':'|O','fortran_order':False,'shape':(1,)}        \n\x80\x02N.",
    ),
    ("rows.txt", "a script that is named as a text", b"#!/bin/sh\ntrue\n"),
    ("images.zip", "an archive that is cut off", b"PK\x03\x04\x14\0\0\0"),
];
/// What must pass beside them, and how many rows it has.
const PLAIN: (&str, &[u8], u64) = ("rows.csv", b"a,b\n1,2\n3,4\n", 3);

/// Has the samples recognised; what is broken, if anything is. They stay sealed in the tenant's scope, the same few
/// hundred bytes each time.
pub(super) fn recognised(
    node: &Arc<Node>,
    tenant: &Name,
    evidence: &mut Vec<String>,
) -> Result<Option<String>, Fail> {
    let scope = KeyScope::Tenant(tenant.clone());
    let mut files = Vec::new();
    for (path, mut bytes) in
        HOSTILE.map(|(name, _, bytes)| (name, bytes)).into_iter().chain([(PLAIN.0, PLAIN.1)])
    {
        let most = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let sealed = node.seal(&scope, &mut bytes, most)?;
        files.push(File { path: path.to_owned(), size: sealed.len, digest: sealed.digest, media: None });
    }
    let name = "probe".parse().map_err(|e| Fail::internal("a name cannot be", e))?;
    let found = recognition::look(node, "probe:IN-8", (tenant, &name), &files, correlation()?)?;
    for ((_, what, _), found) in HOSTILE.iter().zip(&found) {
        let told = found.content.notes.first().or(found.refused.as_ref());
        if found.content.carries.is_empty() && found.refused.is_none() {
            return Ok(Some(format!("{what} is taken for {}", found.content.format)));
        }
        evidence.push(format!("{what}: {}", told.unwrap_or(&found.content.format)));
    }
    match found.last() {
        Some(plain) if plain.content.records == Some(PLAIN.2) && plain.content.carries.is_empty() => {
            evidence.push(format!("positive control: {} rows of {} are counted", PLAIN.2, PLAIN.0));
            Ok(None)
        }
        _ => Ok(Some(format!("the rows of {} are not counted", PLAIN.0))),
    }
}
