//! Endpoints: a model is admitted, opened into a sandbox, and made known to the gateway. A model that does not
//! verify is not served.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use api::{EndpointDeploy, Page};
use base::id::{EndpointId, RunId};
use base::names::Name;
use integrity::trust::Stage;
use ops::List;
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use ops::warden::{Image, InputKind, Limits, Operation, Profile, Program, RunKind};
use store::meta::Stored;
use store::records::{Endpoint, EndpointState, Model};
use store::{PageRequest, StoreError};
use vault::KeyScope;

use crate::auth::{By, Principal, Refusal};
use crate::clock::{now, random};
use crate::node::{Node, correlation, store_fail, time};
use crate::run::{FileRef, InputPlan, Purpose, Run, text};
use crate::shares::Places;
use crate::{Fail, jobs, models, trust};

mod policy;
mod resident;

pub(crate) use policy::{keep_pushing, push_now};
use resident::{Ask, stand_by};
pub(crate) use resident::{hash_in_use, reconsider, verify};

/// Endpoints served at once.
const SERVING_MAX: usize = 64;
/// Memory of a served model beyond its files: the runtime and its buffers. tract keeps the weights a second time.
const RUNTIME_BYTES: u64 = 512 << 20;
/// Processes and threads of a runtime.
const RUNTIME_PIDS: u32 = 64;

/// What is being served.
#[derive(Debug)]
pub(crate) struct Endpoints {
    running: Mutex<HashMap<EndpointId, SyncSender<Ask>>>,
    changing: Mutex<BTreeSet<(Name, Name)>>,
    generation: AtomicU64,
    dirty: AtomicBool,
    pushing: Mutex<()>,
}

impl Default for Endpoints {
    fn default() -> Self {
        Self {
            running: Mutex::default(),
            changing: Mutex::default(),
            // Rises over restarts of control too: no two snapshots share a generation.
            generation: AtomicU64::new(now().as_millis()),
            dirty: AtomicBool::new(true),
            pushing: Mutex::new(()),
        }
    }
}

/// The right to start or stop what is served under one name of one tenant; given back on drop. It is held until the
/// record says what became of it, so that neither two of one name start, nor a stop is lost in a start.
struct Turn<'n> {
    endpoints: &'n Endpoints,
    of: (Name, Name),
}

impl Endpoints {
    fn turn(&self, tenant: &Name, name: &Name) -> Result<Turn<'_>, Fail> {
        let of = (tenant.clone(), name.clone());
        let mut changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if !changing.insert(of.clone()) {
            return Err(Fail::conflict(format!("endpoint `{name}` is being started or stopped; try again")));
        }
        Ok(Turn { endpoints: self, of })
    }

    /// Endpoints that are served or being started, this one included.
    fn taken(&self) -> usize {
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner).len();
        self.running.lock().unwrap_or_else(PoisonError::into_inner).len().saturating_add(changing)
    }
}

impl Endpoints {
    /// Endpoints of a tenant: those that are active, and those that are being started or stopped.
    fn taken_of(&self, tenant: &Name, active: BTreeSet<Name>) -> usize {
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let changing = changing.iter().filter(|(of, _)| of == tenant).map(|(_, name)| name.clone());
        active.into_iter().chain(changing).collect::<BTreeSet<_>>().len()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.endpoints.changing.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.of);
    }
}

fn is_active(record: &Endpoint) -> bool {
    matches!(record.state, EndpointState::Serving | EndpointState::Starting)
}

pub(crate) fn find(node: &Node, tenant: &Name, name: &Name) -> Result<Stored<Endpoint>, Fail> {
    let mut found = all(node, tenant)?.into_iter().filter(|s| s.record.name == *name).collect::<Vec<_>>();
    // The one that serves, else the newest of this name.
    found.sort_by_key(|s| (s.record.state == EndpointState::Serving, s.record.created_ms));
    found.pop().ok_or_else(|| Fail::not_found("endpoint", name.as_str()))
}

fn all(node: &Node, tenant: &Name) -> Result<Vec<Stored<Endpoint>>, Fail> {
    node.tenant(tenant)?;
    let mut found = Vec::new();
    let mut request = PageRequest::default();
    loop {
        let page = node.meta.read(|tx| tx.of(tenant).list::<Endpoint>(&request)).map_err(store_fail)?;
        found.extend(page.items);
        match page.next {
            Some(next) => request.after = Some(next),
            None => return Ok(found),
        }
    }
}

pub(crate) fn list(node: &Node, tenant: &Name, page: &PageRequest) -> Result<Page<api::Endpoint>, Fail> {
    node.tenant(tenant)?;
    let page = node.meta.read(|tx| tx.of(tenant).list::<Endpoint>(page)).map_err(store_fail)?;
    Ok(Page { items: page.items.iter().map(|s| wire(node, &s.record)).collect(), next: page.next })
}

/// What became of the deployment of this id. One that was refused is refused again.
pub(crate) fn deployed(node: &Node, tenant: &Name, id: &str) -> Result<api::Endpoint, Fail> {
    let none = || Fail::not_found("endpoint", id);
    let key: EndpointId = id.parse().map_err(|_| none())?;
    let stored = node.meta.read(|tx| tx.of(tenant).get::<Endpoint>(&key)).map_err(store_fail)?;
    let record = stored.ok_or_else(none)?.record;
    match record.state {
        EndpointState::Refused | EndpointState::Failed => {
            Err(Fail::refused("SR-API-0008", format!("endpoint `{}` was not deployed", record.name))
                .because(record.reason.unwrap_or_default()))
        }
        _ => Ok(wire(node, &record)),
    }
}

pub(crate) fn show(node: &Arc<Node>, tenant: &Name, name: &Name) -> Result<api::Endpoint, Fail> {
    Ok(wire(node, &find(node, tenant, name)?.record))
}

/// Admits a model and serves it.
pub(crate) fn deploy(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    request: &EndpointDeploy,
) -> Result<api::Endpoint, Fail> {
    let name: Name =
        request.name.parse().map_err(|e: base::names::NameError| Fail::invalid(e.to_string()))?;
    let (model, version) = models::reference(&request.model)?;
    let model = models::find(node, tenant, &model, version)?;
    must_be_released_by_another(node, principal, tenant, &model)?;
    let _turn = node.endpoints.turn(tenant, &name)?;
    let active: BTreeSet<Name> =
        all(node, tenant)?.into_iter().filter(|s| is_active(&s.record)).map(|s| s.record.name).collect();
    if active.contains(&name) {
        return Err(Fail::conflict(format!("endpoint `{name}` serves already"))
            .help(format!("stop it with `strongroom endpoint stop {name}`, or choose another name")));
    }
    let share = usize::from(node.config.tenants.endpoints);
    let places = Places { what: "endpoints", key: "endpoints", most: SERVING_MAX, share };
    // Less the one that is to be deployed, which has its turn already.
    let own = node.endpoints.taken_of(tenant, active).saturating_sub(1);
    places.room(own, node.endpoints.taken().saturating_sub(1))?;
    let at = now();
    let record = Endpoint {
        tenant: tenant.clone(),
        id: EndpointId::new(at, random::<10>()?),
        name,
        model: model.name.clone(),
        model_version: model.version,
        model_digest: model.root_digest,
        bom_digest: model.bom_digest.unwrap_or(base::Digest::from_bytes([0; 32])),
        state: EndpointState::Starting,
        reason: None,
        isolation: Vec::new(),
        created_ms: at.as_millis(),
    };
    node.meta
        .transaction(|tx| {
            tx.of(tenant).insert(&record)?;
            principal.made(tx, &record.id.to_string())
        })
        .map_err(store_fail)?;
    let record = serve(node, Some(principal), &record, &model)?;
    Ok(wire(node, &record))
}

/// Who made a model does not release it, where two people are asked for (NIST SP 800-53 AC-5).
fn must_be_released_by_another(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    model: &store::records::Model,
) -> Result<(), Fail> {
    let Some(job) = model.job.filter(|_| node.config.two_people()) else { return Ok(()) };
    let made_by = jobs::submitted_by(node, tenant, &job)?;
    if made_by != principal.actor() {
        return Ok(());
    }
    let thing = format!("{}@{}", model.name, model.version);
    let refusal = Refusal::from(Fail::made_by_the_same(&thing, &made_by));
    let who = (made_by.as_str(), Some(tenant.as_str()));
    node.refusals.record(node, who, "endpoint.deploy", &thing, &refusal);
    Err(refusal.fail)
}

/// In safe mode: writes down that nothing is served. It is served again after that.
pub(crate) fn rest(node: &Arc<Node>) {
    let rested = node.every::<Endpoint>(is_active).and_then(|records| {
        let reason = Some("the node is in safe mode; it is served again after that".to_owned());
        let rest =
            |record| set_state(node, record, EndpointState::Starting, reason.clone(), Vec::new()).map(drop);
        records.iter().try_for_each(rest)
    });
    if let Err(fail) = rested {
        crate::log::line("endpoint", &fail.line());
    }
}

/// Serves again what was served before control was restarted.
pub(crate) fn restore(node: &Arc<Node>) {
    let before = match node.every::<Endpoint>(is_active) {
        Ok(records) => records,
        Err(fail) => return crate::log::line("endpoint", &fail.line()),
    };
    for record in before {
        let again = || {
            let _turn = node.endpoints.turn(&record.tenant, &record.name)?;
            // It may have been stopped since it was listed.
            let id = &record.id;
            let now = node.meta.read(|tx| tx.of(&record.tenant).get::<Endpoint>(id)).map_err(store_fail)?;
            if !now.is_some_and(|s| is_active(&s.record)) {
                return Ok(());
            }
            let model = models::find(node, &record.tenant, &record.model, record.model_version)?;
            serve(node, None, &record, &model).map(drop)
        };
        if let Err(fail) = again() {
            crate::log::line("endpoint", &format!("not served again: {}", fail.line()));
        }
    }
}

/// The event of a deployment, and its end in the record whatever happens. Without a caller it is the platform that
/// serves again what was served before.
fn serve(
    node: &Arc<Node>,
    principal: Option<&Principal>,
    record: &Endpoint,
    model: &Model,
) -> Result<Endpoint, Fail> {
    let cor = correlation()?;
    let actor = principal.map_or_else(|| "platform".to_owned(), |p| p.actor());
    let mut event =
        Event::new(EventKind::EndpointDeploy, Phase::Intent, Outcome::Unknown, now().as_millis(), cor)
            .tenant(record.tenant.as_str())
            .asset("endpoint", record.name.as_str(), Some(record.model_digest))
            .bom(record.bom_digest)
            .detail("model", &format!("{}@{}", record.model, record.model_version));
    if let Some(principal) = principal {
        event = event.by(principal);
    }
    // Who deploys a version releases it; what served before goes on as it was released.
    let stage = if principal.is_some() { Stage::Admit } else { Stage::Load };
    let effect = || {
        let (run, isolation) = start(node, &actor, record, model, (stage, cor))?;
        let floor = principal.map(|_| trust::raise(node, model)).transpose()?;
        Ok((run, isolation, floor))
    };
    let told = |event: Event, (_, _, floor): &(Run, Isolation, Option<u64>)| match floor {
        Some(floor) => event.detail("floor", &floor.to_string()),
        None => event,
    };
    let result = node.keeper.audited_with(event, effect, told);
    let (state, reason, isolation) = match &result {
        Ok((_, isolation, _)) => (EndpointState::Serving, None, isolation.clone()),
        Err(fail) if fail.status < 500 => (EndpointState::Refused, Some(fail.line()), Vec::new()),
        Err(fail) => (EndpointState::Failed, Some(fail.line()), Vec::new()),
    };
    let record = set_state(node, record, state, reason, isolation)?;
    match result {
        Ok((run, ..)) => {
            stand_by(node, &record, run)?;
            // What was decided since it was admitted did not find it among what is served.
            let refused =
                reconsider(node, Some(&record.tenant))?.iter().any(|name| record.name.as_str() == name);
            push_now(node)?;
            if refused {
                let model = models::find(node, &record.tenant, &record.model, record.model_version)?;
                models::admit(node, &model)?;
            }
            Ok(record)
        }
        Err(fail) => Err(fail),
    }
}

type Isolation = Vec<(String, String, String)>;

fn start(
    node: &Arc<Node>,
    actor: &str,
    record: &Endpoint,
    model: &Model,
    (stage, cor): (Stage, u128),
) -> Result<(Run, Isolation), Fail> {
    let event = |outcome| {
        Event::new(EventKind::ModelVerify, Phase::Outcome, outcome, now().as_millis(), cor)
            .tenant(model.tenant.as_str())
            .actor(actor)
            .asset("model", &format!("{}@{}", model.name, model.version), Some(model.root_digest))
    };
    let admitted = models::admit_to(node, model, stage);
    match &admitted {
        Ok(()) => node.keeper.append(event(Outcome::Success))?,
        Err(fail) => {
            node.keeper.append(event(Outcome::Refused).severity(Severity::High).because(&fail.line()))?
        }
    };
    admitted?;
    let loaded = load(node, actor, record, model, cor);
    let mut run = match loaded {
        Ok(run) => run,
        Err(fail) => {
            // Bytes that do not open, or are not those that were signed: this model is not used again.
            if fail.is_about_bytes() {
                models::quarantine(node, model, &fail.line(), cor)?;
                // The model is out of use already; that its files could not be looked at is not the answer.
                if let Err(other) = set_aside(node, model, actor, cor) {
                    crate::log::line("endpoint", &format!("files not set aside: {}", other.line()));
                }
            }
            return Err(fail);
        }
    };
    let program = Program::Runtime { endpoint: record.id.bits(), name: text(record.name.as_str())? };
    run.start(Operation::Start {
        run: run.id.bits(),
        image: Image::Host {},
        program,
        env: List::default(),
        cwd: text("/")?,
        profile: Profile::Inference,
        wall_time_s: 0,
        egress: false,
    })?;
    resident::settled(&mut run, model)?;
    let report = run.report()?;
    let isolation =
        report.iter().map(|f| (f.name.to_string(), f.state.to_string(), f.detail.to_string())).collect();
    Ok((run, isolation))
}

/// Moves the stored files that do not open out of reach, as evidence.
fn set_aside(node: &Node, model: &Model, actor: &str, cor: u128) -> Result<(), Fail> {
    let scope = KeyScope::Tenant(model.tenant.clone());
    let checks = crate::datasets::verify_files(node, &scope, &model.files, actor, cor)?;
    for (file, check) in model.files.iter().zip(checks).filter(|(_, c)| !c.ok) {
        node.quarantine(&scope, &file.digest, &check.detail)?;
    }
    Ok(())
}

/// Opens the model's files into the sandbox's mount and freezes it.
fn load(node: &Arc<Node>, actor: &str, record: &Endpoint, model: &Model, cor: u128) -> Result<Run, Fail> {
    let scope = KeyScope::Tenant(model.tenant.clone());
    let files: Vec<FileRef> = model
        .files
        .iter()
        .map(|f| FileRef { path: f.path.clone(), size: f.size, digest: f.digest, scope: scope.clone() })
        .collect();
    let bytes = files.iter().map(|f| f.size).fold(0, u64::saturating_add);
    let plan = InputPlan::files(InputKind::Model {}, files);
    let purpose = Purpose {
        tenant: model.tenant.to_string(),
        actor: actor.to_owned(),
        what: format!("serve {}@{} at {}", model.name, model.version, record.name),
        correlation: cor,
    };
    let limits = Limits {
        memory_bytes: bytes.saturating_mul(3).saturating_add(RUNTIME_BYTES),
        image_bytes: 0,
        cpu_milli: node.facts.cpus.saturating_mul(1000),
        pids: RUNTIME_PIDS,
        scratch_bytes: 0,
    };
    let id = RunId::new(now(), random::<10>()?);
    let mut run =
        Run::start_porter(node, id, RunKind::Serving, limits, std::slice::from_ref(&plan), purpose)?;
    run.fill(0, &plan)?;
    let event = Event::new(EventKind::ModelLoad, Phase::Outcome, Outcome::Success, now().as_millis(), cor)
        .tenant(model.tenant.as_str())
        .actor(actor)
        .asset("model", &format!("{}@{}", model.name, model.version), Some(model.root_digest))
        .bom(record.bom_digest)
        .detail("run", &id.to_string());
    node.keeper.append(event)?;
    Ok(run)
}

pub(crate) fn stop(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    name: &Name,
) -> Result<api::Endpoint, Fail> {
    let _turn = node.endpoints.turn(tenant, name)?;
    let record = find(node, tenant, name)?.record;
    let event = Event::new(
        EventKind::EndpointStop,
        Phase::Intent,
        Outcome::Unknown,
        now().as_millis(),
        correlation()?,
    )
    .tenant(tenant.as_str())
    .by(principal)
    .asset("endpoint", name.as_str(), Some(record.model_digest));
    node.keeper.audited(event, || {
        let running =
            node.endpoints.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&record.id);
        match running {
            Some(stop) => {
                // A full channel is a stop that was asked for already.
                stop.try_send(Ask::Stop).ok();
                Ok(())
            }
            // It was to be served again after a restart, and could not be.
            None if is_active(&record) => Ok(()),
            None => Err(Fail::conflict(format!("endpoint `{name}` does not serve"))),
        }
    })?;
    let record = set_state(node, &record, EndpointState::Stopped, None, Vec::new())?;
    push_now(node)?;
    Ok(wire(node, &record))
}

fn set_state(
    node: &Node,
    endpoint: &Endpoint,
    state: EndpointState,
    reason: Option<String>,
    isolation: Isolation,
) -> Result<Endpoint, Fail> {
    node.meta
        .transaction(|tx| {
            let rows = tx.of(&endpoint.tenant);
            let Some(mut stored) = rows.get::<Endpoint>(&endpoint.id)? else { return Ok(endpoint.clone()) };
            stored.record.state = state;
            stored.record.reason = reason;
            if !isolation.is_empty() {
                stored.record.isolation = isolation;
            }
            rows.update(&stored)?;
            Ok::<_, StoreError>(stored.record)
        })
        .map_err(store_fail)
}

fn wire(node: &Node, record: &Endpoint) -> api::Endpoint {
    let serving = record.state == EndpointState::Serving;
    let url =
        address(node).filter(|_| serving).map(|a| format!("https://{a}/v2/models/{}/infer", record.name));
    api::Endpoint {
        id: record.id.to_string(),
        tenant: record.tenant.to_string(),
        name: record.name.to_string(),
        model: format!("{}@{}", record.model, record.model_version),
        state: record.state.as_str().to_owned(),
        reason: record.reason.clone(),
        model_digest: record.model_digest.hex(),
        bom_digest: record.bom_digest.hex(),
        url,
        created: time(record.created_ms),
        isolation: record.isolation.iter().map(crate::status::feature).collect(),
    }
}

/// Address of the gateway, as it says itself.
pub(crate) fn address(node: &Node) -> Option<String> {
    let text = std::fs::read_to_string(node.config.listen_file()).ok()?;
    text.trim().parse::<std::net::SocketAddr>().ok().map(|a| a.to_string())
}

#[cfg(test)]
mod tests;
