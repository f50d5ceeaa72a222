//! The probes of models and data: IN-3, IN-8, IN-9. They change copies of records, never the records, and ask who stands
//! by what is served.

use std::sync::Arc;

use base::Digest;
use store::records::{Dataset, Endpoint, EndpointState, File, Model, ModelState, Revocation, RevokedKind};
use store::{PageRequest, StoreError};
use vault::KeyScope;

use super::probes::Seen;
use crate::clock::now;
use crate::node::{Node, correlation, store_fail};
use crate::revocations::Revoked;
use crate::{Fail, datasets, endpoints, imports, models, trust};

/// Endpoints whose bytes in use are hashed in one run of the probe, and the most bytes of each: 1 GiB takes a second.
const HASHED_MAX: usize = 4;
const HASHED_BYTES_MAX: u64 = 1 << 30;
/// Bytes of the data set that is read: about a second.
const READ_BYTES_MAX: u64 = 1 << 30;

/// A model that may be served.
fn admitted(node: &Node) -> Result<Option<Model>, Fail> {
    let registered = node.every::<Model>(|model| model.state == ModelState::Registered)?;
    Ok(registered.into_iter().find(|model| models::admit(node, model).is_ok()))
}

/// A copy of a model that was tampered with, and how.
fn tampered(model: &Model) -> Vec<(&'static str, Model)> {
    let with = |change: &dyn Fn(&mut Model)| {
        let mut copy = model.clone();
        change(&mut copy);
        copy
    };
    let file = |path: &str| File {
        path: path.to_owned(),
        size: 1,
        digest: base::sha256(b"not in the signature"),
        media: None,
    };
    vec![
        ("without a signature", with(&|copy| copy.bundle.clear())),
        (
            "with a changed signature",
            with(&|copy| copy.bundle = copy.bundle.replacen("\"sig\":\"", "\"sig\":\"A", 1)),
        ),
        (
            "with one file of other bytes",
            with(&|copy| {
                if let Some(first) = copy.files.first_mut() {
                    first.digest = base::sha256(b"other bytes");
                }
            }),
        ),
        ("with a file that is not in the signature", with(&|copy| copy.files.push(file("extra.bin")))),
        ("with an adapter alone", with(&|copy| copy.files = vec![file("adapter_model.safetensors")])),
        ("with a file less", with(&|copy| drop(copy.files.pop()))),
        ("under another digest", with(&|copy| copy.root_digest = base::sha256(b"another model"))),
        ("set aside", with(&|copy| copy.state = ModelState::Quarantined)),
    ]
}

/// Asks for the admission of models that were tampered with, and has what is served hashed through its mounts.
pub(super) fn verified_before_use(node: &Arc<Node>) -> Result<Seen, Fail> {
    let Some(model) = admitted(node)? else {
        return Ok(Seen::Unknown(
            "there is no model that may be served, which is needed to see the difference".to_owned(),
        ));
    };
    let mut evidence = vec![format!("positive control: {}@{} is admitted", model.name, model.version)];
    for (how, copy) in tampered(&model) {
        match models::admit(node, &copy) {
            Err(fail) => evidence.push(format!("{how}: {}", fail.line())),
            Ok(()) => return Ok(Seen::Broken(format!("a model {how} is admitted"), evidence)),
        }
    }
    let files = model.files.iter().map(|file| (file.path.clone(), file.digest)).collect();
    if integrity::oms::verify(model.bundle.as_bytes(), node.keys.policy_pem.as_bytes(), &files).is_ok() {
        return Ok(Seen::Broken("it verifies under the key of another purpose".to_owned(), evidence));
    }
    evidence.push("by the key of another signer: refused".to_owned());
    let served = node.every::<Endpoint>(|endpoint| endpoint.state == EndpointState::Serving)?;
    let mut hashed = 0usize;
    for endpoint in &served {
        let of = models::find(node, &endpoint.tenant, &endpoint.model, endpoint.model_version)?;
        let bytes = of.files.iter().map(|file| file.size).fold(0, u64::saturating_add);
        if hashed >= HASHED_MAX || bytes > HASHED_BYTES_MAX {
            continue;
        }
        match endpoints::hash_in_use(node, endpoint) {
            Ok(()) => hashed = hashed.saturating_add(1),
            Err(fail) if fail.is_about_bytes() => {
                return Ok(Seen::Broken(
                    format!("endpoint {} uses bytes that were not verified", endpoint.name),
                    evidence,
                ));
            }
            Err(fail) => return Err(fail),
        }
    }
    if hashed == 0 {
        return Ok(Seen::Unknown(format!(
            "copies that were tampered with are refused ({} of them); nothing is served whose bytes in use could be hashed",
            tampered(&model).len()
        )));
    }
    evidence.push(format!(
        "{hashed} of {} endpoints: the bytes in use, hashed through the mount of the runtime, are those that were verified",
        served.len()
    ));
    Ok(Seen::Holds(
        "what is not signed, changed or listed is not admitted, and what is used is what was verified"
            .to_owned(),
        evidence,
    ))
}

/// Changes copies of a data set's manifest, and compares the stored bytes with another digest.
pub(super) fn data_sets(node: &Arc<Node>) -> Result<Seen, Fail> {
    let page = node
        .meta
        .read(|tx| Ok::<_, StoreError>(tx.list_all::<Dataset>(&PageRequest::default())?.items))
        .map_err(store_fail)?;
    let small = page.into_iter().map(|s| s.record).find(|d| d.bytes <= READ_BYTES_MAX && !d.files.is_empty());
    let Some(set) = small else {
        return Ok(Seen::Unknown(format!(
            "there is no data set of at most {} to look at: bring one in with `strongroom dataset import`",
            base::ByteSize::from_bytes(READ_BYTES_MAX)
        )));
    };
    let scope = KeyScope::Tenant(set.tenant.clone());
    let read = |files: &[File]| {
        let checks = datasets::verify_files(node, &scope, files, "platform", correlation()?)?;
        Ok::<_, Fail>(checks.iter().all(|check| check.ok))
    };
    if !read(&set.files)? || datasets::manifest(&set.files) != set.manifest_digest {
        let what = format!("data set {}@{} is not what was brought in", set.name, set.version);
        return Ok(Seen::Broken(what, Vec::new()));
    }
    let mut evidence =
        vec![format!("positive control: {} files of {}@{} verify", set.files.len(), set.name, set.version)];
    let change = |change: &dyn Fn(&mut Vec<File>)| {
        let mut files = set.files.clone();
        change(&mut files);
        files
    };
    let other = base::sha256(b"one record changed");
    let altered = change(&|files| {
        if let Some(first) = files.first_mut() {
            first.digest = other;
        }
    });
    let added = change(&|files| {
        files.push(File { path: "added".to_owned(), size: 1, digest: other, media: None });
    });
    let removed = change(&|files| drop(files.pop()));
    let renamed = change(&|files| {
        if let Some(first) = files.first_mut() {
            first.path.push_str(".renamed");
        }
    });
    for (how, files) in
        [("altered", &altered), ("inserted", &added), ("deleted", &removed), ("renamed", &renamed)]
    {
        if datasets::manifest(files) == set.manifest_digest {
            return Ok(Seen::Broken(format!("a file that is {how} makes no other version"), evidence));
        }
        evidence.push(format!("a file {how}: another manifest, so another version"));
    }
    // A sealed object is found by the digest of its bytes: another digest has none.
    if read(&altered)? {
        return Ok(Seen::Broken("bytes verify under another digest".to_owned(), evidence));
    }
    evidence.push("the bytes under another digest: refused".to_owned());
    for out in ["../outside", "/etc/passwd", "a/../../b"] {
        if imports::check_path(out).is_ok() {
            return Ok(Seen::Broken(format!("a file may be named `{out}`"), evidence));
        }
    }
    evidence.push("names that lead out of the tree: refused".to_owned());
    match super::data::recognised(node, &set.tenant, &mut evidence)? {
        Some(broken) => return Ok(Seen::Broken(broken, evidence)),
        None => evidence.push("recognised by a process without keys and network".to_owned()),
    }
    Ok(Seen::Holds(
        "a change of data is another version, and data is verified when it is read".to_owned(),
        evidence,
    ))
}

/// Asks whether a floor and a revocation hold on a copy of a live model, and looks at the counters that only rise.
pub(super) fn no_way_back(node: &Arc<Node>) -> Result<Seen, Fail> {
    let Some(model) = admitted(node)? else {
        return Ok(Seen::Unknown("there is no model that may be served, which could be revoked".to_owned()));
    };
    let subject = format!("{}@{}", model.name, model.version);
    let (at, below) = trust::floor_holds(&model, &node.keys.model_pem)?;
    if !at || !below {
        return Ok(Seen::Broken(
            format!("a floor above {subject} admits it, or one at it does not"),
            Vec::new(),
        ));
    }
    let mut evidence = vec![format!(
        "a trust policy whose floor is {}: {subject} is admitted; whose floor is {}: refused",
        model.version,
        model.version.saturating_add(1)
    )];
    let revocation = |digest: Digest| Revocation {
        tenant: model.tenant.clone(),
        digest,
        kind: RevokedKind::File,
        subject: "of the probe".to_owned(),
        reason: "of the probe".to_owned(),
        by: "platform".to_owned(),
        since_ms: now().as_millis(),
    };
    let digests = std::iter::once(model.root_digest).chain(model.files.iter().map(|file| file.digest));
    for digest in digests {
        if Revoked::from(vec![revocation(digest)]).model(node, &model)?.is_none() {
            return Ok(Seen::Broken(format!("{subject} is admitted with {digest} revoked"), evidence));
        }
    }
    let nothing = Revoked::from(vec![revocation(base::sha256(b"of nothing here"))]);
    if nothing.model(node, &model)?.is_some() {
        return Ok(Seen::Unknown("even what is not of the model takes it away".to_owned()));
    }
    evidence.push(format!(
        "the model or any of its {} files revoked, on a copy of the list: refused; positive control: something else revoked: admitted",
        model.files.len()
    ));
    evidence.push(
        "own rules and trust policies have numbers that only rise; releases have a floor of what was active"
            .to_owned(),
    );
    Ok(Seen::Holds(
        "what is revoked or below a floor is not used again, and policies and releases do not go back"
            .to_owned(),
        evidence,
    ))
}
