//! One line for each endpoint: which part of control answers it.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use api::to_json;
use base::names::Name;
use serde::de::DeserializeOwned;
use store::PageRequest;

use super::route::Params;
use super::{BodyReader, LineSender, Pass, Reply, page};
use crate::auth::Principal;
use crate::node::Node;
use crate::{
    Fail, auditlog, datasets, egress, egresses, endpoints, images, imports, intake, jobs, keys, machine,
    models, people, policies, posture, recovery, releases, revocations, services, status, tenants, trust,
};

/// The API's own description, made once: it takes milliseconds.
static DESCRIPTION: LazyLock<Vec<u8>> = LazyLock::new(|| api::openapi().to_string().into_bytes());

/// A request that may be handled.
pub(crate) struct Call<'a> {
    pub(crate) node: &'a Arc<Node>,
    pub(crate) principal: &'a Principal,
    pub(crate) route: &'static api::Route,
    pub(crate) params: &'a Params,
    pub(crate) query: &'a BTreeMap<String, String>,
    /// Counts the request as under way; whoever goes on after the answer began keeps a copy.
    pub(crate) pass: &'a Pass,
}

/// Its body.
pub(crate) enum Input {
    /// Read whole.
    Body(Vec<u8>),
    /// To be read piece by piece.
    Upload(BodyReader),
}

impl Call<'_> {
    pub(super) fn tenant(&self) -> Result<Name, Fail> {
        name("tenant", self.params.need("tenant")?)
    }

    fn named(&self) -> Result<Name, Fail> {
        name("name", self.params.need("name")?)
    }

    fn version(&self) -> Result<u64, Fail> {
        self.version_at("version")
    }

    fn version_at(&self, parameter: &str) -> Result<u64, Fail> {
        let text = self.params.need(parameter)?;
        // `latest` is resolved by whoever answers; 0 is never a version.
        if text == "latest" {
            return Ok(0);
        }
        text.parse().ok().filter(|v| *v > 0).ok_or_else(|| Fail::not_found("version", text))
    }
}

fn name(what: &'static str, text: &str) -> Result<Name, Fail> {
    // A name that cannot be is answered as one that is not there.
    text.parse().map_err(|_| Fail::not_found(what, text))
}

fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fail> {
    // serde would take a list as the members in their order.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Fail::invalid("the request body is not as documented: it is not an object"));
    }
    serde_json::from_slice(bytes)
        .map_err(|e| Fail::invalid(format!("the request body is not as documented: {e}")))
}

/// The body of a request that carries nothing: nothing, or an object without members.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn nothing(bytes: &[u8]) -> Result<(), Fail> {
    if bytes.is_empty() { Ok(()) } else { body::<Nothing>(bytes).map(|Nothing {}| ()) }
}

pub(super) fn json<T: api::Document>(document: &T) -> Reply {
    Reply::Json(to_json(document))
}

/// One page of a list, with its cursor as this caller may use it.
fn paged<T: api::Document>(
    call: &Call<'_>,
    list: impl FnOnce(&PageRequest) -> Result<api::Page<T>, Fail>,
) -> Result<Reply, Fail> {
    let mut found = list(&page::request(call)?)?;
    found.next = found.next.map(|place| page::sealed(call, &place));
    Ok(json(&found))
}

pub(crate) fn handle(call: &Call<'_>, input: Input) -> Result<Reply, Fail> {
    let operation = call.route.operation;
    if let (Input::Body(bytes), api::Input::Empty) = (&input, call.route.input) {
        nothing(bytes)?;
    }
    match input {
        Input::Upload(reader) => {
            let Call { node, params, .. } = call;
            if operation == "release.file" {
                return Ok(json(&releases::file(node, params.need("name")?, reader)?));
            }
            let file =
                imports::file(node, &call.tenant()?, params.need("id")?, params.need("path")?, reader)?;
            Ok(json(&file))
        }
        Input::Body(bytes) => match operation.split_once('.').map_or(operation, |(noun, _)| noun) {
            "job" => job(operation, call, &bytes),
            "model" | "bom" => model(operation, call, &bytes),
            "intake" => incoming(operation, call, &bytes),
            "endpoint" | "key" => serving(operation, call, &bytes),
            "revocation" => revocation(operation, call, &bytes),
            "trust" => trusted(operation, call, &bytes),
            "service" | "identity" => identity(operation, call, &bytes),
            "user" | "passkey" | "grant" => user(operation, call, &bytes),
            "session" | "approval" => session(operation, call, &bytes),
            "audit" | "receipt" => log(operation, call),
            "safe_mode" | "break_glass" => safe_mode(operation, call, &bytes),
            "policy" | "access" => rules(operation, call, &bytes),
            "node" | "release" => whole(operation, call, &bytes),
            _ => rest(operation, call, &bytes),
        },
    }
}

fn rest(operation: &str, call: &Call<'_>, bytes: &[u8]) -> Result<Reply, Fail> {
    let Call { node, principal, .. } = call;
    Ok(match operation {
        "status" => json(&status::status(node, principal)?),
        "whoami" => json(&status::whoami(node, principal)?),
        "tenant.create" => json(&tenants::create(node, principal, &body::<api::TenantCreate>(bytes)?)?),
        "tenant.list" => paged(call, |page| tenants::list(node, principal, page))?,
        "api.openapi" => Reply::Bytes("application/json", DESCRIPTION.clone()),
        "tenant.show" => json(&tenants::show(node, &call.tenant()?)?),
        "import.begin" => {
            json(&imports::begin(node, principal, &call.tenant()?, &body::<api::ImportBegin>(bytes)?)?)
        }
        "import.commit" => json(&imports::commit(node, principal, &call.tenant()?, call.params.need("id")?)?),
        "dataset.list" => {
            let tenant = call.tenant()?;
            paged(call, |page| datasets::list(node, &tenant, page))?
        }
        "dataset.show" => json(&datasets::show(node, &call.tenant()?, &call.named()?, call.version()?)?),
        "dataset.verify" => {
            json(&datasets::verify(node, principal, &call.tenant()?, &call.named()?, call.version()?)?)
        }
        "dataset.diff" => {
            let to = (name("data set", call.params.need("to")?)?, call.version_at("to_version")?);
            json(&datasets::diff(node, &call.tenant()?, &(call.named()?, call.version()?), &to)?)
        }
        "image.list" => {
            let tenant = call.tenant()?;
            paged(call, |page| images::list(node, &tenant, page))?
        }
        "image.show" => json(&images::show(node, &call.tenant()?, call.params.need("digest")?)?),
        "egress.list" => paged(call, |page| egress::list(node, principal, page))?,
        "egress.create" => {
            json(&egresses::create(node, principal, &call.tenant()?, &body::<api::EgressCreate>(bytes)?)?)
        }
        "egress.named" => {
            let tenant = call.tenant()?;
            paged(call, |page| egresses::list(node, &tenant, page))?
        }
        "egress.show" => json(&egresses::show(node, &call.tenant()?, &call.named()?)?),
        "egress.delete" => json(&egresses::delete(node, principal, &call.tenant()?, &call.named()?)?),
        "posture.run" => json(&posture::run(node, principal)?),
        "posture.show" => json(&posture::show(node)?),
        other => return Err(Fail::internal("an endpoint without a handler", other)),
    })
}

/// The node as a whole.
fn whole(operation: &str, call: &Call<'_>, bytes: &[u8]) -> Result<Reply, Fail> {
    let Call { node, principal, params, .. } = call;
    Ok(match operation {
        "node.diagnostics" => json(&machine::diagnostics(node, principal)?),
        "node.reboot" => json(&machine::reboot(node, principal, &body::<api::NodeReboot>(bytes)?)?),
        "release.list" => json(&releases::list(node)?),
        "release.stage" => json(&releases::stage(node, principal, &body::<api::ReleaseStage>(bytes)?)?),
        "release.activate" => {
            let request = body::<api::ReleaseActivate>(bytes)?;
            json(&releases::activate(node, principal, params.need("version")?, &request)?)
        }
        "release.back" => json(&releases::back(node, principal, &body::<api::ReleaseActivate>(bytes)?)?),
        other => return Err(Fail::internal("an endpoint without a handler", other)),
    })
}

fn job(operation: &str, call: &Call<'_>, bytes: &[u8]) -> Result<Reply, Fail> {
    let Call { node, principal, params, .. } = call;
    let tenant = call.tenant()?;
    Ok(match operation {
        "job.run" => json(&jobs::submit(node, principal, &tenant, &body::<api::JobRun>(bytes)?)?),
        "job.list" => paged(call, |page| jobs::list(node, &tenant, page))?,
        "job.show" => json(&jobs::show(node, &tenant, params.need("job")?)?),
        "job.stop" => json(&jobs::stop(node, principal, &tenant, params.need("job")?)?),
        "job.resume" => {
            let request = body::<api::JobResume>(bytes)?;
            json(&jobs::resume(node, principal, &tenant, params.need("job")?, &request.reason)?)
        }
        "job.checkpoint.list" => {
            let job = params.need("job")?;
            paged(call, |page| jobs::checkpoints(node, &tenant, job, page))?
        }
        "job.watch" => {
            let pass = call.pass.clone();
            let watch = jobs::watch(node, &tenant, params.need("job")?)?;
            let (sender, stream) = LineSender::pair(node, principal);
            std::thread::Builder::new()
                .name("watch".to_owned())
                .spawn(move || {
                    let _pass = pass;
                    watch.run(|line| sender.send(line));
                })
                .map_err(|e| Fail::internal("no thread for a watcher", e))?;
            Reply::Stream("application/x-ndjson", stream)
        }
        other => return Err(Fail::internal("an endpoint without a handler", other)),
    })
}

fn model(operation: &str, call: &Call<'_>, bytes: &[u8]) -> Result<Reply, Fail> {
    let Call { node, principal, params, .. } = call;
    let tenant = call.tenant()?;
    if operation == "model.list" {
        return paged(call, |page| models::list(node, &tenant, page));
    }
    let (name, version) = (call.named()?, call.version()?);
    Ok(match operation {
        "model.show" => json(&models::show(node, &tenant, &name, version)?),
        "model.verify" => json(&models::verify(node, principal, &tenant, &name, version)?),
        "model.countersign" => {
            let request = body::<api::ModelCountersign>(bytes)?;
            json(&trust::countersign(node, principal, (&tenant, &name, version), &request.bundle)?)
        }
        "model.signature" => {
            Reply::Bytes("application/json", models::signature_file(node, &tenant, &name, version)?)
        }
        "bom.export" => {
            Reply::Bytes("application/json", models::bom_envelope(node, principal, &tenant, &name, version)?)
        }
        "model.export" => {
            let pass = call.pass.clone();
            let sending = Arc::clone(node);
            let export = models::export(node, principal, &tenant, &name, version, params.need("path")?)?;
            let (sender, stream) = LineSender::pair(node, principal);
            std::thread::Builder::new()
                .name("export".to_owned())
                .spawn(move || {
                    let _pass = pass;
                    export.run(&sending, |piece| sender.send(piece));
                })
                .map_err(|e| Fail::internal("no thread for an export", e))?;
            Reply::Stream("application/octet-stream", stream)
        }
        other => return Err(Fail::internal("an endpoint without a handler", other)),
    })
}

fn trusted(operation: &str, call: &Call<'_>, bytes: &[u8]) -> Result<Reply, Fail> {
    let Call { node, principal, .. } = call;
    let tenant = call.tenant()?;
    Ok(match operation {
        "trust.apply" => json(&trust::apply(node, principal, &tenant, &body::<api::TrustApply>(bytes)?)?),
        "trust.list" => paged(call, |page| trust::list(node, &tenant, page))?,
        "trust.show" => json(&trust::show(node, &tenant, call.version()?)?),
        "trust.check" => json(&trust::check(node, &tenant, &body::<api::TrustCheck>(bytes)?)?),
        other => return Err(Fail::internal("an endpoint without a handler", other)),
    })
}

fn revocation(operation: &str, call: &Call<'_>, bytes: &[u8]) -> Result<Reply, Fail> {
    let Call { node, principal, params, .. } = call;
    let tenant = call.tenant()?;
    Ok(match operation {
        "revocation.create" => {
            json(&revocations::create(node, principal, &tenant, &body::<api::RevocationCreate>(bytes)?)?)
        }
        "revocation.list" => paged(call, |page| revocations::list(node, &tenant, page))?,
        "revocation.lift" => {
            let (digest, request) = (params.need("digest")?, body::<api::RevocationLift>(bytes)?);
            json(&revocations::lift(node, principal, &tenant, digest, &request)?)
        }
        other => return Err(Fail::internal("an endpoint without a handler", other)),
    })
}

fn incoming(operation: &str, call: &Call<'_>, bytes: &[u8]) -> Result<Reply, Fail> {
    let Call { node, principal, .. } = call;
    let tenant = call.tenant()?;
    if operation == "intake.list" {
        return paged(call, |page| intake::list(node, &tenant, page));
    }
    let which = (call.named()?, call.version()?);
    Ok(json(&match operation {
        "intake.show" => intake::show(node, &tenant, &which.0, which.1)?,
        "intake.describe" => {
            intake::describe(node, principal, &tenant, &which, &body::<api::IntakeFacts>(bytes)?)?
        }
        "intake.evaluate" => {
            intake::evaluate(node, principal, &tenant, &which, &body::<api::IntakeEvaluate>(bytes)?)?
        }
        "intake.approve" => {
            intake::approve(node, principal, &tenant, &which, &body::<api::IntakeDecide>(bytes)?)?
        }
        "intake.admit" => intake::admit(node, principal, &tenant, &which)?,
        "intake.refuse" => {
            intake::refuse(node, principal, &tenant, &which, &body::<api::IntakeDecide>(bytes)?)?
        }
        other => return Err(Fail::internal("an endpoint without a handler", other)),
    }))
}

fn serving(operation: &str, call: &Call<'_>, bytes: &[u8]) -> Result<Reply, Fail> {
    let Call { node, principal, params, .. } = call;
    let tenant = call.tenant()?;
    Ok(match operation {
        "endpoint.deploy" => {
            json(&endpoints::deploy(node, principal, &tenant, &body::<api::EndpointDeploy>(bytes)?)?)
        }
        "endpoint.list" => paged(call, |page| endpoints::list(node, &tenant, page))?,
        "endpoint.show" => json(&endpoints::show(node, &tenant, &call.named()?)?),
        "endpoint.verify" => json(&endpoints::verify(node, principal, &tenant, &call.named()?)?),
        "endpoint.stop" => json(&endpoints::stop(node, principal, &tenant, &call.named()?)?),
        "key.create" => json(&keys::create(node, principal, &tenant, &body::<api::KeyCreate>(bytes)?)?),
        "key.list" => paged(call, |page| keys::list(node, &tenant, page))?,
        "key.revoke" => json(&keys::revoke(node, principal, &tenant, params.need("id")?)?),
        other => return Err(Fail::internal("an endpoint without a handler", other)),
    })
}

fn identity(operation: &str, call: &Call<'_>, bytes: &[u8]) -> Result<Reply, Fail> {
    let Call { node, principal, .. } = call;
    Ok(match operation {
        "service.create" => {
            json(&services::create(node, principal, &call.tenant()?, &body::<api::ServiceCreate>(bytes)?)?)
        }
        "service.list" => {
            let tenant = call.tenant()?;
            paged(call, |page| services::list(node, &tenant, page))?
        }
        "service.revoke" => json(&services::revoke(node, principal, &call.tenant()?, &call.named()?)?),
        "identity.renew" => json(&services::renew(node, principal, &body::<api::IdentityRenew>(bytes)?)?),
        other => return Err(Fail::internal("an endpoint without a handler", other)),
    })
}

fn rules(operation: &str, call: &Call<'_>, bytes: &[u8]) -> Result<Reply, Fail> {
    let Call { node, principal, params, query, .. } = call;
    Ok(match operation {
        "policy.list" => paged(call, |page| policies::list(node, page))?,
        "policy.show" => json(&policies::show(node, call.version()?)?),
        "policy.apply" => {
            let digest = params.need("digest")?;
            json(&policies::apply(node, principal, digest, &body::<api::PolicyApply>(bytes)?)?)
        }
        "policy.withdraw" => {
            json(&policies::withdraw(node, principal, call.version()?, &body::<api::PolicyWithdraw>(bytes)?)?)
        }
        "access.check" => json(&policies::check::check(node, principal, query)?),
        other => return Err(Fail::internal("an endpoint without a handler", other)),
    })
}

fn safe_mode(operation: &str, call: &Call<'_>, bytes: &[u8]) -> Result<Reply, Fail> {
    let Call { node, principal, params, .. } = call;
    Ok(json(&match operation {
        "safe_mode.show" => recovery::show(node)?,
        "safe_mode.enter" => {
            recovery::enter(node, principal, params.need("name")?, &body::<api::SafeModeEnter>(bytes)?)?
        }
        "safe_mode.leave" => {
            recovery::leave(node, principal, params.need("name")?, &body::<api::SafeModeLeave>(bytes)?)?
        }
        "break_glass.seal" => recovery::seal(node, principal, &body::<api::BreakGlassSeal>(bytes)?)?,
        "break_glass.open" => recovery::open(node, principal, &body::<api::BreakGlassOpen>(bytes)?)?,
        "break_glass.close" => recovery::close(node, principal)?,
        other => return Err(Fail::internal("an endpoint without a handler", other)),
    }))
}

fn user(operation: &str, call: &Call<'_>, bytes: &[u8]) -> Result<Reply, Fail> {
    let Call { node, principal, params, .. } = call;
    let named = || name("person", params.need("name")?);
    Ok(match operation {
        "user.create" => json(&people::create(node, principal, &body::<api::UserCreate>(bytes)?)?),
        "user.list" => paged(call, |page| people::list(node, page))?,
        "user.show" => json(&people::show(node, &named()?)?),
        "user.enrol" => json(&people::enrol(node, principal, &named()?)?),
        "user.disable" => json(&people::disable(node, principal, &named()?)?),
        "passkey.revoke" => json(&people::revoke_passkey(node, principal, &named()?, params.need("id")?)?),
        "grant.create" => {
            json(&people::grant(node, principal, &named()?, &body::<api::GrantCreate>(bytes)?)?)
        }
        "grant.revoke" => json(&people::revoke_grant(node, principal, &named()?, params.need("number")?)?),
        other => return Err(Fail::internal("an endpoint without a handler", other)),
    })
}

fn session(operation: &str, call: &Call<'_>, bytes: &[u8]) -> Result<Reply, Fail> {
    let Call { node, principal, params, .. } = call;
    Ok(match operation {
        "session.list" => paged(call, |page| people::sessions(node, principal, page))?,
        "session.revoke" => json(&people::revoke_session(node, principal, params.need("id")?)?),
        "session.end" => json(&people::end(node, principal)?),
        "approval.request" => json(&people::request(node, principal, &body::<api::ApprovalRequest>(bytes)?)?),
        "approval.list" => paged(call, |page| people::approvals(node, principal, page))?,
        "approval.decide" => {
            let decision = body::<api::ApprovalDecide>(bytes)?;
            json(&people::decide(node, principal, params.need("id")?, &decision)?)
        }
        other => return Err(Fail::internal("an endpoint without a handler", other)),
    })
}

/// What is answered to who is not known yet.
pub(crate) fn stranger(
    node: &Arc<Node>,
    source: &str,
    route: &'static api::Route,
    input: Input,
) -> Result<Reply, Fail> {
    let Input::Body(bytes) = input else { return Err(Fail::internal("an upload of a stranger", route.path)) };
    let refused = |fail: Fail| {
        let refusal = crate::auth::Refusal::from(fail);
        node.refusals.record(node, (source, None), route.operation, route.path, &refusal);
        refusal.fail
    };
    Ok(match route.operation {
        "login.methods" => json(&people::methods(node)),
        "login.begin" => json(&people::begin(node, source, &body::<api::LoginBegin>(&bytes)?)?),
        "login.finish" => {
            let request = body::<api::LoginFinish>(&bytes)?;
            json(&people::finish(node, source, &request).map_err(refused)?)
        }
        "login.challenge" => {
            json(&people::passkey(node, &body::<api::PasskeyTicket>(&bytes)?).map_err(refused)?)
        }
        "login.prove" => json(&people::prove(node, &body::<api::PasskeyAnswer>(&bytes)?).map_err(refused)?),
        "enrol.challenge" => {
            json(&people::creation(node, &body::<api::EnrolBegin>(&bytes)?).map_err(refused)?)
        }
        "enrol.finish" => json(&people::register(node, &body::<api::EnrolAnswer>(&bytes)?).map_err(refused)?),
        other => return Err(Fail::internal("an endpoint without a handler", other)),
    })
}

fn log(operation: &str, call: &Call<'_>) -> Result<Reply, Fail> {
    let Call { node, principal, params, query, .. } = call;
    Ok(match operation {
        "audit.search" => json(&auditlog::search(node, principal, query)?),
        "audit.files" => json(&auditlog::files(node, principal)?),
        "audit.file" => Reply::Bytes("application/octet-stream", auditlog::file(node, params.need("path")?)?),
        "receipt.show" => json(&auditlog::receipt(node, principal, params.need("id")?)?),
        other => return Err(Fail::internal("an endpoint without a handler", other)),
    })
}
