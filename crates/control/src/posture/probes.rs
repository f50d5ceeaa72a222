//! The probes. Each attacks a copy or asks the live platform for what it must refuse, and says what it saw. A probe
//! that could only look at a part of its control says `unknown`, never `pass`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use access::{Circumstances, Role};
use api::{TABLE, Who};
use audit::VerifierKey;
use audit::verify::{ReadError, ReadFile};
use integrity::{dsse, oms};
use posture::{Outcome, Status};
use store::records::{Model, Object, Tenant};
use store::{PageRequest, StoreError};

use crate::Fail;
use crate::auditlog::LogDir;
use crate::auth::{Identity, Principal, authorise};
use crate::keeper::{Wrapped, keeper_scope};
use crate::models;
use crate::node::{Node, correlation, store_fail};

/// What a probe found.
pub(super) enum Seen {
    /// The control holds, as far as its whole probe says.
    Holds(String, Vec<String>),
    /// It does not.
    Broken(String, Vec<String>),
    /// Nothing to say.
    Unknown(String),
    /// Judged from many things, each with what was seen.
    Judged(Outcome),
}

type Probe = fn(&Arc<Node>) -> Result<Seen, Fail>;

/// Every probe, by the id of its control.
pub(super) const ALL: &[(&str, Probe)] = &[
    ("AC-1", remote_root),
    ("AC-2", closed_operations),
    ("AC-3", stranger),
    ("AC-4", super::people::step_up),
    ("AC-5", super::identities::mutual),
    ("AC-6", super::people::split_duties),
    ("AC-7", super::people::sessions_end),
    ("AC-8", super::recovery::break_glass),
    ("AC-9", super::planes::apart),
    ("AC-10", super::egress::capped),
    ("AU-2", tampered_log),
    ("AU-10", own_entry),
    ("IN-3", super::models::verified_before_use),
    ("IN-4", super::formats::inspected),
    ("IN-5", super::intake::in_order),
    ("IN-8", super::models::data_sets),
    ("IN-9", super::models::no_way_back),
    ("IS-7", swapped_objects),
    ("MB-1", without_bom),
    ("MB-4", edited_bom),
    ("MB-10", bom_events),
];

pub(super) fn outcome(result: Result<Seen, Fail>) -> Outcome {
    let (status, reason, evidence) = match result {
        Ok(Seen::Holds(reason, evidence)) => (Status::Pass, reason, evidence),
        Ok(Seen::Broken(reason, evidence)) => (Status::Fail, reason, evidence),
        Ok(Seen::Unknown(reason)) => (Status::Unknown, reason, Vec::new()),
        Ok(Seen::Judged(outcome)) => return outcome,
        Err(fail) => (Status::Unknown, format!("the probe could not run: {}", fail.line()), Vec::new()),
    };
    Outcome { status, reason, evidence }
}

/// Looks for ways from the network to root on this host.
fn remote_root(node: &Arc<Node>) -> Result<Seen, Fail> {
    Ok(Seen::Judged(super::host::remote_root(node)))
}

/// Asks for operations that are not in the list, and gives an order without a receipt.
fn closed_operations(node: &Arc<Node>) -> Result<Seen, Fail> {
    super::operations::closed(node)
}

/// Keys of every role, of a tenant without things, ask for every endpoint of every tenant.
fn stranger(node: &Arc<Node>) -> Result<Seen, Fail> {
    let strangers = Role::ALL.into_iter().filter(|role| role.is_a_tenants()).map(|role| Identity::Key {
        tenant: "no-such-tenant".to_owned(),
        id: "key of the probe".to_owned(),
        role,
    });
    let strangers: Vec<Identity> = strangers.collect();
    let tenants =
        node.meta.read(|tx| tx.platform().list::<Tenant>(&PageRequest::default())).map_err(store_fail)?;
    let mut asked = 0u32;
    let rules = node.policies.get();
    for stored in &tenants.items {
        let name = stored.record.name.as_str();
        for (stranger, route) in strangers.iter().flat_map(|s| TABLE.iter().map(move |route| (s, route))) {
            let found = (route.who == Who::Tenant).then_some(name);
            let answer = authorise(&rules.policies, stranger.clone(), route, (found, ""), Circumstances::ALL);
            asked = asked.saturating_add(1);
            let hidden = match (route.who, answer) {
                // It must be answered exactly as a tenant that does not exist.
                (Who::Tenant, answer) => {
                    answer.is_err_and(|refusal| refusal.fail == Fail::not_found("tenant", name))
                }
                (Who::Operator, answer) => answer.is_err(),
                // What everybody may ask says nothing of anybody's things.
                (Who::Any, Err(_)) | (Who::Stranger, _) => true,
                (Who::Any, Ok(principal)) => {
                    crate::tenants::list(node, &principal, &PageRequest::default())?.items.is_empty()
                }
            };
            if !hidden {
                return Ok(Seen::Broken(
                    format!("`{}` of tenant `{name}` was answered", route.operation),
                    Vec::new(),
                ));
            }
        }
    }
    if tenants.items.is_empty() {
        return Ok(Seen::Unknown("there is no tenant whose things could be found".to_owned()));
    }
    let positive = TABLE.iter().filter(|route| operator(node, route).is_ok()).count();
    Ok(Seen::Holds(
        "an identity without grants reads nothing, and an existing tenant is answered as one that does not exist".to_owned(),
        vec![
            format!("{asked} endpoints of {} tenants asked as a stranger of each role: 0 readable, 0 told apart", tenants.items.len()),
            format!("positive control: the operator may call {positive} of {}", TABLE.len()),
        ],
    ))
}

pub(super) fn operator(node: &Node, route: &api::Route) -> Result<Principal, Fail> {
    authorise(
        &node.policies.get().policies,
        Identity::Operator { login: None },
        route,
        (Some("x"), ""),
        Circumstances::ALL,
    )
    .map_err(|refusal| refusal.fail)
}

/// The log as it is under one checkpoint, with some files replaced.
///
/// The log grows while it is looked at: another checkpoint would have other tiles that are not full, and those replaced
/// would not be read. Full tiles never change.
#[derive(Clone)]
struct Overlay<'a> {
    log: &'a LogDir,
    files: RefCell<BTreeMap<String, Vec<u8>>>,
}

impl ReadFile for Overlay<'_> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ReadError> {
        if let Some(bytes) = self.files.borrow().get(path) {
            return Ok(Some(bytes.clone()));
        }
        let read = self.log.read(path)?;
        if let Some(bytes) = read.as_ref().filter(|_| path.contains(".p/")) {
            self.files.borrow_mut().insert(path.to_owned(), bytes.clone());
        }
        Ok(read)
    }
}

/// How often a log that outgrew the look at it is looked at again.
const LOOKS: usize = 5;

/// A copy of the log that verified, its checkpoint, and what that said.
fn clean_copy<'a>(
    log: &'a LogDir,
    key: &VerifierKey,
) -> Result<(Overlay<'a>, Vec<u8>, audit::verify::Report), Fail> {
    let mut left = LOOKS;
    loop {
        let note = log.read("checkpoint").ok().flatten().unwrap_or_default();
        let files = RefCell::new(BTreeMap::from([("checkpoint".to_owned(), note.clone())]));
        let copy = Overlay { log, files };
        let report = audit::verify::verify(&copy, Some(key.clone()), Some(&note))
            .map_err(|e| Fail::explained(500, &e))?;
        left = left.saturating_sub(1);
        // What is not full is removed once the log has grown twice.
        let outgrown = log.head()?.0.size != report.size;
        if report.is_intact() || !outgrown || left == 0 {
            return Ok((copy, note, report));
        }
    }
}

/// Edits, deletes, inserts, reorders and cuts entries of a copy, and verifies each copy.
fn tampered_log(node: &Arc<Node>) -> Result<Seen, Fail> {
    let log = LogDir::of(node);
    let (_, key) = log.head()?;
    let (copy, note, clean) = clean_copy(&log, &key)?;
    if !clean.is_intact() {
        return Ok(Seen::Broken("the node's own log does not verify".to_owned(), vec![clean.to_string()]));
    }
    let path = audit::tile::entries_path(0, audit::tile::tile_width(0, 0, clean.size));
    let bytes = copy.read(&path).ok().flatten().unwrap_or_default();
    let (entries, _) = audit::tile::entries_of(&bytes);
    let entries: Vec<Vec<u8>> = entries.into_iter().map(<[u8]>::to_vec).collect();
    let middle = entries.len() / 2;
    if middle < 1 {
        return Ok(Seen::Unknown("the log is too short to be tampered with".to_owned()));
    }
    let copies: [(&str, Vec<Vec<u8>>); 5] = [
        (
            "edited",
            with(&entries, |e| {
                if let Some(b) = e.get_mut(middle).and_then(|e| e.last_mut()) {
                    *b ^= 1;
                }
            }),
        ),
        ("deleted", with(&entries, |e| drop(e.remove(middle)))),
        ("inserted", with(&entries, |e| e.insert(middle, b"{}".to_vec()))),
        ("reordered", with(&entries, |e| e.swap(middle, middle.saturating_sub(1)))),
        ("cut", with(&entries, |e| e.truncate(middle))),
    ];
    let mut evidence = vec![format!("clean copy of {} entries verifies to its end", clean.size)];
    for (what, entries) in copies {
        let tampered = copy.clone();
        let bundle = audit::tile::bundle(entries.iter().map(Vec::as_slice));
        tampered.files.borrow_mut().insert(path.clone(), bundle);
        match audit::verify::verify(&tampered, Some(key.clone()), Some(&note)) {
            Ok(report) => match report.first_bad() {
                Some(first) => evidence.push(format!("{what}: {first}")),
                None => return Ok(Seen::Broken(format!("a copy with an entry {what} verifies"), evidence)),
            },
            Err(error) => evidence.push(format!("{what}: {error}")),
        }
    }
    Ok(Seen::Holds(
        "every tampered copy of the log is refused and the first bad entry is named".to_owned(),
        evidence,
    ))
}

fn with(entries: &[Vec<u8>], change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<Vec<u8>> {
    let mut copy = entries.to_vec();
    change(&mut copy);
    copy
}

/// A proof that an entry stands in the log; slices of tenants are not made yet, so this is a part.
fn own_entry(node: &Arc<Node>) -> Result<Seen, Fail> {
    let log = LogDir::of(node);
    let (head, key) = log.head()?;
    let last = audit::LeafIndex::new(head.size.get().saturating_sub(1));
    audit::prove::prove(&log, &key, last).map_err(|e| Fail::explained(500, &e))?;
    Ok(Seen::Unknown(format!(
        "the inclusion of entry {last} was proven; a tenant's slice with proof of its completeness is not built"
    )))
}

/// Opens one tenant's object as another tenant's.
fn swapped_objects(node: &Arc<Node>) -> Result<Seen, Fail> {
    let (objects, tenants) = node
        .meta
        .read(|tx| {
            let all = PageRequest::default();
            Ok::<_, StoreError>((
                tx.list_all::<Object>(&all)?.items,
                tx.platform().list::<Tenant>(&all)?.items,
            ))
        })
        .map_err(store_fail)?;
    let pair = objects.iter().map(|s| &s.record).find_map(|o| {
        let other = tenants.iter().map(|t| &t.record.name).find(|t| *t != o.scope.tenant())?;
        Some((o, other.clone()))
    });
    let Some((object, other)) = pair else {
        return Ok(Seen::Unknown("there are no objects of one tenant beside another tenant".to_owned()));
    };
    let wrapped = Wrapped::of(object);
    let cor = correlation()?;
    let purpose = "probe IS-7";
    node.keeper.unwrap(keeper_scope(&object.scope), &wrapped, "platform", purpose, cor)?;
    let swapped = keeper_scope(&vault::KeyScope::Tenant(other.clone()));
    match node.keeper.unwrap(swapped, &wrapped, "platform", purpose, cor) {
        Err(fail) if fail.status == 422 => Ok(Seen::Holds(
            "an object of one tenant does not open as another's".to_owned(),
            vec![
                format!("key of object {} asked for scope `{other}`: {}", object.name, fail.line()),
                format!("positive control: it is released for its own scope `{}`", object.scope),
            ],
        )),
        Err(fail) => Err(fail),
        Ok(_) => Ok(Seen::Broken(
            format!("the key of object {} was released for scope `{other}`", object.name),
            Vec::new(),
        )),
    }
}

fn some_models(node: &Node) -> Result<Vec<Model>, Fail> {
    let page = node.meta.read(|tx| tx.list_all::<Model>(&PageRequest::default())).map_err(store_fail)?;
    Ok(page.items.into_iter().map(|s| s.record).filter(|m| models::admit(node, m).is_ok()).collect())
}

fn no_model() -> Seen {
    Seen::Unknown("there is no model that may be served, which is needed to see the difference".to_owned())
}

/// Asks for the admission of a model whose BoM was taken away.
fn without_bom(node: &Arc<Node>) -> Result<Seen, Fail> {
    let Some(model) = some_models(node)?.pop() else { return Ok(no_model()) };
    let mut bare = model.clone();
    bare.bom_digest = None;
    bare.bom_envelope = None;
    match models::admit(node, &bare) {
        Err(fail) => Ok(Seen::Holds(
            "a model without a Model BoM is not admitted".to_owned(),
            vec![
                format!("{}@{} without its BoM: {}", model.name, model.version, fail.line()),
                "positive control: with its BoM it is admitted".to_owned(),
            ],
        )),
        Ok(()) => Ok(Seen::Broken("a model without a Model BoM is admitted".to_owned(), Vec::new())),
    }
}

/// Edits a Model BoM, and uses it for another model.
fn edited_bom(node: &Arc<Node>) -> Result<Seen, Fail> {
    let Some(model) = some_models(node)?.pop() else { return Ok(no_model()) };
    let envelope = model.bom_envelope.clone().unwrap_or_default();
    let mut evidence = vec!["positive control: the BoM as it was signed is accepted".to_owned()];
    let mut tries = Vec::new();
    for (what, from, to) in
        [("payload", "\"payload\":\"", "\"payload\":\"A"), ("signature", "\"sig\":\"", "\"sig\":\"A")]
    {
        let mut edited = model.clone();
        edited.bom_envelope = Some(envelope.replacen(from, to, 1));
        tries.push((what, edited));
    }
    let mut other = model.clone();
    other.root_digest = base::sha256(b"another model");
    tries.push(("model", other));
    for (what, edited) in tries {
        match models::admit(node, &edited) {
            Err(fail) => evidence.push(format!("{what} changed: {}", fail.line())),
            Ok(()) => {
                return Ok(Seen::Broken(format!("a BoM whose {what} was changed is accepted"), evidence));
            }
        }
    }
    // The key that signs models is not the key that signs BoMs.
    if dsse::open_statement(envelope.as_bytes(), node.keys.model_pem.as_bytes()).is_ok() {
        return Ok(Seen::Broken("the BoM verifies under the key for models".to_owned(), evidence));
    }
    let files = model.files.iter().map(|f| (f.path.clone(), f.digest)).collect();
    if oms::verify(model.bundle.as_bytes(), node.keys.bom_pem.as_bytes(), &files).is_ok() {
        return Ok(Seen::Broken("the model verifies under the key for BoMs".to_owned(), evidence));
    }
    evidence.push("each kind of signature is refused under the other's key".to_owned());
    Ok(Seen::Holds("an edited or reused Model BoM is refused".to_owned(), evidence))
}

/// Looks for the log entries of every BoM that exists.
fn bom_events(node: &Arc<Node>) -> Result<Seen, Fail> {
    let models = some_models(node)?;
    if models.is_empty() {
        return Ok(no_model());
    }
    let query = BTreeMap::from([
        ("kind".to_owned(), ops::event::EventKind::BomCreate.name().to_owned()),
        ("limit".to_owned(), "1000".to_owned()),
    ]);
    let search = TABLE.iter().find(|route| route.operation == "audit.search");
    let search = search.ok_or_else(|| Fail::internal("an endpoint is gone", "audit.search"))?;
    let found = crate::auditlog::search(node, &operator(node, search)?, &query)?;
    let mut evidence = Vec::new();
    for model in &models {
        let digest = model.bom_digest.map(|d| d.hex()).unwrap_or_default();
        let entry = found.entries.iter().find(|e| e.to_string().contains(&digest));
        match entry.and_then(|e| e.pointer("/unmapped/strongroom/index")) {
            Some(index) => {
                evidence.push(format!("BoM of {}@{}: log entry {index}", model.name, model.version));
            }
            None => {
                return Ok(Seen::Broken(
                    format!("the BoM of {}@{} has no entry in the log", model.name, model.version),
                    evidence,
                ));
            }
        }
    }
    Ok(Seen::Holds("every Model BoM has its entry in the audit log".to_owned(), evidence))
}
