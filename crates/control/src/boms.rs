//! Model BoMs: checked, and signed by the keeper.

use std::collections::BTreeMap;

use base::Digest;
use base::names::Name;
use bom::ModelBom;
use integrity::dsse;
use ops::event::{Event, EventKind, Outcome, Phase};
use ops::keeper::SignKind;
use store::records::File;

use crate::Fail;
use crate::clock::now;
use crate::models::signature;
use crate::node::Node;

/// The model that a BoM is of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) tenant: &'a Name,
    pub(crate) name: &'a Name,
    /// Its version, as events name it.
    pub(crate) version: &'a str,
    pub(crate) root_digest: Digest,
    pub(crate) files: &'a [File],
    /// For whom it is written, as in events.
    pub(crate) actor: &'a str,
}

/// Its files with their digests, as `bom` and `integrity` take them.
pub(crate) fn digests(files: &[File]) -> BTreeMap<String, Digest> {
    files.iter().map(|f| (f.path.clone(), f.digest)).collect()
}

/// Checks a record, and has it signed; gives its digest and its envelope. It lacks nothing that the platform can see
/// but what `may_lack` names.
pub(crate) fn sign(
    node: &Node,
    record: &ModelBom,
    subject: Subject<'_>,
    may_lack: &[&str],
    cor: u128,
) -> Result<(Digest, String), Fail> {
    let missing = bom::gate(record, bom::Tier::Observed);
    let missing = missing.iter().filter(|m| !may_lack.contains(&m.field.as_str()));
    let missing: Vec<String> = missing.map(|m| format!("{}: {}", m.field, m.why)).collect();
    if !missing.is_empty() {
        return Err(Fail::refused("SR-CTL-0014", "the Model BoM is not complete").because(missing.join("; ")));
    }
    let document = bom::to_cyclonedx_1_6(record);
    if let Some(problem) = bom::check(&document, &subject.root_digest, &digests(subject.files)).first() {
        return Err(Fail::internal(
            "the Model BoM does not hold together",
            format!("{}: {}", problem.rule, problem.what),
        ));
    }
    let payload = bom::statement(&document, subject.name.as_str(), &subject.root_digest)
        .map_err(|e| Fail::explained(500, &e))?;
    let digest = bom::bom_digest(&document).map_err(|e| Fail::explained(500, &e))?;
    let called = format!("{}@{}", subject.name, subject.version);
    let event = Event::new(EventKind::BomCreate, Phase::Intent, Outcome::Unknown, now().as_millis(), cor)
        .tenant(subject.tenant.as_str())
        .actor(subject.actor)
        .asset("model", &called, Some(subject.root_digest))
        .bom(digest);
    let envelope = node.keeper.audited(event, || {
        let to_sign = dsse::to_sign(dsse::IN_TOTO, &payload);
        let signed = signature(node, SignKind::Bom, to_sign, subject.tenant.as_str(), &called, cor)?;
        let key = integrity::PublicKey::from_pem(node.keys.bom_pem.as_bytes())
            .map_err(|e| Fail::explained(500, &e))?;
        dsse::Envelope::new(dsse::IN_TOTO, payload, signed, &key).map_err(|e| Fail::explained(500, &e))
    })?;
    let text =
        String::from_utf8(envelope.to_bytes()).map_err(|e| Fail::internal("an envelope is not text", e))?;
    Ok((digest, text))
}

/// Who signed the files of a model: this node.
pub(crate) fn signer(node: &Node, bundle: &str) -> Result<bom::Signer, Fail> {
    let key = integrity::PublicKey::from_pem(node.keys.model_pem.as_bytes())
        .map_err(|e| Fail::explained(500, &e))?;
    Ok(bom::Signer {
        name: format!("node {}", node.config.node),
        key_fingerprint: key.fingerprint().map_err(|e| Fail::explained(500, &e))?,
        bundle_digest: base::sha256(bundle.as_bytes()),
    })
}

/// What the log has of a model: its entries about this asset.
pub(crate) fn evidence(
    node: &Node,
    tenant: &Name,
    asset: &str,
) -> Result<Vec<(String, bom::Evidence)>, Fail> {
    let found = crate::auditlog::evidence(node, tenant.as_str(), asset)?;
    let of = |(what, log_index, fingerprint)| (what, bom::Evidence { log_index, fingerprint });
    Ok(found.into_iter().map(of).collect())
}

/// Files as a BoM lists them.
pub(crate) fn entries(files: &[File]) -> Vec<bom::FileEntry> {
    let entry = |f: &File| bom::FileEntry {
        path: f.path.clone(),
        size_bytes: f.size,
        digest: f.digest,
        format: f.media.clone().unwrap_or_default(),
    };
    files.iter().map(entry).collect()
}
