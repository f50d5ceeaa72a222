//! The one table of endpoints: router, authorisation, OpenAPI document and command line derive from it.

use crate::{
    AccessAnswer, Approval, ApprovalDecide, ApprovalRequest, BreakGlassOpen, BreakGlassSeal, Certificate,
    Checkpoint, Dataset, Diagnostics, Egress, EgressCreate, Endpoint, EndpointDeploy, EnrolAnswer,
    EnrolBegin, Entries, File, Grant, GrantCreate, IdentityRenew, Image, Import, ImportBegin, Imported,
    Intake, IntakeDecide, IntakeEvaluate, IntakeFacts, Job, JobEvent, JobResume, JobRun, Key, KeyCreate,
    LogFiles, Login, LoginBegin, LoginFinish, LoginMethods, LoginResult, Model, ModelCountersign,
    NamedEgress, NodeReboot, NodeRebooting, Passkey, PasskeyAnswer, PasskeyCreation, PasskeyProof,
    PasskeyRequest, PasskeyTicket, PolicyApply, PolicyVersion, PolicyWithdraw, Posture, Receipt,
    ReleaseActivate, ReleaseFile, ReleaseStage, Releases, Revocation, RevocationCreate, RevocationLift,
    SafeMode, SafeModeEnter, SafeModeLeave, Service, ServiceCreate, Session, Status, TenantCreate,
    TrustApply, TrustCheck, TrustOpinions, TrustPolicy, User, UserCreate, Verification, WhoAmI,
};

mod route;

pub use route::{Effect, Input, Method, Output, Query, Route, Who};
use route::{QUESTION, SEARCH, route};

use Effect::{Change, Destructive, Read};
use Method::{Get, Post, Put};
use Who::{Any, Operator, Stranger, Tenant};

/// Every endpoint.
pub const TABLE: &[Route] = &[
    route(Get, "/status", "status", Read, Any, "none")
        .says("State of the node, problems first")
        .answers::<Status>(),
    route(Get, "/whoami", "whoami", Read, Any, "none")
        .says("Who the caller is to the node, and how it knows")
        .answers::<WhoAmI>(),
    route(Get, "/openapi.json", "api.openapi", Read, Any, "none")
        .says("This description: OpenAPI 3.1")
        .gives(Output::File("application/json")),
    route(Post, "/tenants", "tenant.create", Change, Operator, "tenant.create")
        .says("Makes a tenant with a key of its own")
        .takes::<TenantCreate>()
        .answers::<crate::Tenant>()
        .creates(),
    route(Get, "/tenants", "tenant.list", Read, Any, "none")
        .says("Tenants that the caller may know")
        .lists::<crate::Tenant>(),
    route(Get, "/tenants/{tenant}", "tenant.show", Read, Tenant, "none")
        .says("One tenant")
        .answers::<crate::Tenant>(),
    route(Post, "/tenants/{tenant}/imports", "import.begin", Change, Tenant, "dataset.import")
        .says("Begins an import; files are uploaded into it, then it is committed")
        .takes::<ImportBegin>()
        .answers::<Import>()
        .creates(),
    route(
        Put,
        "/tenants/{tenant}/imports/{id}/files/{*path}",
        "import.file",
        Change,
        Tenant,
        "dataset.import",
    )
    .says("Uploads one file of an import; it is sealed as it comes")
    .takes_bytes()
    .answers::<File>(),
    route(Post, "/tenants/{tenant}/imports/{id}/commit", "import.commit", Change, Tenant, "dataset.import")
        .says("Ends an import and makes what it is for")
        .answers::<Imported>()
        .creates(),
    route(Get, "/tenants/{tenant}/datasets", "dataset.list", Read, Tenant, "none")
        .says("Data sets, without their files")
        .lists::<Dataset>(),
    route(Get, "/tenants/{tenant}/datasets/{name}/{version}", "dataset.show", Read, Tenant, "none")
        .says("One version of a data set")
        .answers::<Dataset>(),
    route(
        Post,
        "/tenants/{tenant}/datasets/{name}/{version}/verify",
        "dataset.verify",
        Read,
        Tenant,
        "dataset.verify",
    )
    .says("Opens every file of a data set and compares it with its digest")
    .answers::<Verification>(),
    route(
        Get,
        "/tenants/{tenant}/datasets/{name}/{version}/diff/{to}/{to_version}",
        "dataset.diff",
        Read,
        Tenant,
        "none",
    )
    .says("How one version of a data set differs from another")
    .answers::<crate::DatasetDiff>(),
    route(Get, "/tenants/{tenant}/images", "image.list", Read, Tenant, "none")
        .says("Images, without their packages")
        .lists::<Image>(),
    route(Get, "/tenants/{tenant}/images/{digest}", "image.show", Read, Tenant, "none")
        .says("One image")
        .answers::<Image>(),
    route(Post, "/tenants/{tenant}/jobs", "job.run", Change, Tenant, "job.submit")
        .says("Submits a job; what it reads is pinned by digest")
        .takes::<JobRun>()
        .answers::<Job>()
        .creates(),
    route(Get, "/tenants/{tenant}/jobs", "job.list", Read, Tenant, "none")
        .says("Jobs, the oldest first")
        .lists::<Job>(),
    route(Get, "/tenants/{tenant}/jobs/{job}", "job.show", Read, Tenant, "none")
        .says("One job")
        .answers::<Job>(),
    route(Get, "/tenants/{tenant}/jobs/{job}/events", "job.watch", Read, Tenant, "none")
        .says("What happens to a job, a line an event, until it ends")
        .answers_lines::<JobEvent>(),
    route(Post, "/tenants/{tenant}/jobs/{job}/stop", "job.stop", Destructive, Tenant, "job.stop")
        .says("Stops a job; its newest checkpoint stays")
        .answers::<Job>(),
    route(Post, "/tenants/{tenant}/jobs/{job}/resume", "job.resume", Change, Tenant, "job.resume")
        .says("Goes on with a job that was held, stopped or failed")
        .takes::<JobResume>()
        .answers::<Job>(),
    route(Get, "/tenants/{tenant}/jobs/{job}/checkpoints", "job.checkpoint.list", Read, Tenant, "none")
        .says("Sealed checkpoints of a job, the oldest first")
        .lists::<Checkpoint>(),
    route(Get, "/tenants/{tenant}/models", "model.list", Read, Tenant, "none")
        .says("Models")
        .lists::<Model>(),
    route(Get, "/tenants/{tenant}/models/{name}/{version}", "model.show", Read, Tenant, "none")
        .says("One version of a model")
        .answers::<Model>(),
    route(
        Post,
        "/tenants/{tenant}/models/{name}/{version}/verify",
        "model.verify",
        Read,
        Tenant,
        "model.verify",
    )
    .says("Verifies signature, Model BoM and bytes of a model")
    .answers::<Verification>(),
    route(
        Get,
        "/tenants/{tenant}/models/{name}/{version}/signature",
        "model.signature",
        Read,
        Tenant,
        "none",
    )
    .says("Signature bundle of a model, as OMS writes it")
    .gives(Output::File("application/json")),
    route(
        Get,
        "/tenants/{tenant}/models/{name}/{version}/files/{*path}",
        "model.export",
        Read,
        Tenant,
        "model.export",
    )
    .says("One file of a model, opened")
    .gives(Output::Stream("application/octet-stream")),
    route(Get, "/tenants/{tenant}/models/{name}/{version}/bom", "bom.export", Read, Tenant, "bom.export")
        .says("Signed Model BoM, a DSSE envelope")
        .gives(Output::File("application/json")),
    route(Get, "/tenants/{tenant}/intakes", "intake.list", Read, Tenant, "none")
        .says("Models that were made elsewhere, on their way in, without their files")
        .lists::<Intake>(),
    route(Get, "/tenants/{tenant}/intakes/{name}/{version}", "intake.show", Read, Tenant, "none")
        .says("One of them: where it stands, what was found, which step is next")
        .answers::<Intake>(),
    route(
        Post,
        "/tenants/{tenant}/intakes/{name}/{version}/describe",
        "intake.describe",
        Change,
        Tenant,
        "intake.step",
    )
    .says("Adds what is known of a model in quarantine, and does the steps that need no further word")
    .takes::<IntakeFacts>()
    .answers::<Intake>(),
    route(
        Post,
        "/tenants/{tenant}/intakes/{name}/{version}/evaluate",
        "intake.evaluate",
        Change,
        Tenant,
        "intake.evaluate",
    )
    .says("Has a job measure a model in quarantine, against a bound that is stated before")
    .takes::<IntakeEvaluate>()
    .answers::<Intake>(),
    route(
        Post,
        "/tenants/{tenant}/intakes/{name}/{version}/approve",
        "intake.approve",
        Change,
        Tenant,
        "intake.approve",
    )
    .says("Answers for a model in quarantine: another than who brought it")
    .takes::<IntakeDecide>()
    .answers::<Intake>(),
    route(
        Post,
        "/tenants/{tenant}/intakes/{name}/{version}/admit",
        "intake.admit",
        Change,
        Tenant,
        "intake.admit",
    )
    .says("Signs a model that took every step, and registers it")
    .answers::<Intake>(),
    route(
        Post,
        "/tenants/{tenant}/intakes/{name}/{version}/refuse",
        "intake.refuse",
        Destructive,
        Tenant,
        "intake.refuse",
    )
    .says("Refuses a model in quarantine, for good")
    .takes::<IntakeDecide>()
    .answers::<Intake>(),
    route(Post, "/tenants/{tenant}/endpoints", "endpoint.deploy", Change, Tenant, "endpoint.deploy")
        .says("Admits a model and serves it")
        .takes::<EndpointDeploy>()
        .answers::<Endpoint>()
        .creates(),
    route(Get, "/tenants/{tenant}/endpoints", "endpoint.list", Read, Tenant, "none")
        .says("Endpoints, the oldest first")
        .lists::<Endpoint>(),
    route(Get, "/tenants/{tenant}/endpoints/{name}", "endpoint.show", Read, Tenant, "none")
        .says("One endpoint")
        .answers::<Endpoint>(),
    route(
        Post,
        "/tenants/{tenant}/endpoints/{name}/stop",
        "endpoint.stop",
        Destructive,
        Tenant,
        "endpoint.stop",
    )
    .says("Stops serving")
    .answers::<Endpoint>(),
    route(
        Post,
        "/tenants/{tenant}/endpoints/{name}/verify",
        "endpoint.verify",
        Read,
        Tenant,
        "model.verify",
    )
    .says("Verifies what is served: what admits the model, and the bytes in use")
    .answers::<Verification>(),
    route(
        Post,
        "/tenants/{tenant}/revocations",
        "revocation.create",
        Destructive,
        Tenant,
        "revocation.create",
    )
    .says("Takes a model, a data set or a file out of use, also where it is served")
    .takes::<RevocationCreate>()
    .answers::<Revocation>(),
    route(Post, "/tenants/{tenant}/trust", "trust.apply", Change, Tenant, "trust.apply")
        .says("Puts a trust policy into force: whose signatures count for which models")
        .takes::<TrustApply>()
        .answers::<TrustPolicy>(),
    route(Get, "/tenants/{tenant}/trust", "trust.list", Read, Tenant, "none")
        .says("Versions of the trust policy, the oldest first")
        .lists::<TrustPolicy>(),
    route(Get, "/tenants/{tenant}/trust/{version}", "trust.show", Read, Tenant, "none")
        .says("One version of the trust policy; `latest` is the newest")
        .answers::<TrustPolicy>(),
    route(Post, "/tenants/{tenant}/trust-opinions", "trust.check", Read, Tenant, "none")
        .says("What a trust policy that is not in force would say of every registered model")
        .takes::<TrustCheck>()
        .answers::<TrustOpinions>(),
    route(
        Post,
        "/tenants/{tenant}/models/{name}/{version}/signatures",
        "model.countersign",
        Change,
        Tenant,
        "model.countersign",
    )
    .says("Adds a signature in OpenSSF Model Signing format to a model")
    .takes::<ModelCountersign>()
    .answers::<Model>(),
    route(Get, "/tenants/{tenant}/revocations", "revocation.list", Read, Tenant, "none")
        .says("What is not to be used any more")
        .lists::<Revocation>(),
    route(
        Post,
        "/tenants/{tenant}/revocations/{digest}/lift",
        "revocation.lift",
        Change,
        Tenant,
        "revocation.lift",
    )
    .says("Lets it be used again")
    .takes::<RevocationLift>()
    .answers::<Revocation>(),
    route(Post, "/tenants/{tenant}/keys", "key.create", Change, Tenant, "api_key.create")
        .says("Makes an API key; the answer holds it this once")
        .takes::<KeyCreate>()
        .answers::<Key>()
        .creates(),
    route(Get, "/tenants/{tenant}/keys", "key.list", Read, Tenant, "none")
        .says("API keys, without the keys")
        .lists::<Key>(),
    route(Post, "/tenants/{tenant}/keys/{id}/revoke", "key.revoke", Destructive, Tenant, "api_key.revoke")
        .says("Ends a key now")
        .answers::<Key>(),
    route(Post, "/tenants/{tenant}/egresses", "egress.create", Change, Tenant, "egress.create")
        .says("Makes a place outside that jobs may reach by name")
        .takes::<EgressCreate>()
        .answers::<NamedEgress>()
        .creates(),
    route(Get, "/tenants/{tenant}/egresses", "egress.named", Read, Tenant, "none")
        .says("Places outside that jobs may reach")
        .lists::<NamedEgress>(),
    route(Get, "/tenants/{tenant}/egresses/{name}", "egress.show", Read, Tenant, "none")
        .says("One of them")
        .answers::<NamedEgress>(),
    route(
        Post,
        "/tenants/{tenant}/egresses/{name}/delete",
        "egress.delete",
        Destructive,
        Tenant,
        "egress.delete",
    )
    .says("Deletes one, and ends the connections through it")
    .answers::<NamedEgress>(),
    route(Post, "/tenants/{tenant}/services", "service.create", Change, Tenant, "service.create")
        .says("Makes a service and its first certificate")
        .takes::<ServiceCreate>()
        .answers::<Service>(),
    route(Get, "/tenants/{tenant}/services", "service.list", Read, Tenant, "none")
        .says("Services that call with certificates of their own")
        .lists::<Service>(),
    route(
        Post,
        "/tenants/{tenant}/services/{name}/revoke",
        "service.revoke",
        Destructive,
        Tenant,
        "service.revoke",
    )
    .says("Ends a service now; its name is not given again")
    .answers::<Service>(),
    // It adds nothing to the world: what it answers with ends within the hour and is not kept.
    route(Post, "/identity/renew", "identity.renew", Read, Any, "service.renew")
        .says("A fresh certificate for the service that asks")
        .takes::<IdentityRenew>()
        .answers::<Certificate>(),
    route(Post, "/users", "user.create", Change, Operator, "user.create")
        .says("Makes a person known, who may then be granted roles and log in")
        .takes::<UserCreate>()
        .answers::<User>()
        .creates(),
    route(Get, "/users", "user.list", Read, Operator, "none")
        .says("People who may log in, and what they are granted")
        .lists::<User>(),
    route(Get, "/users/{name}", "user.show", Read, Operator, "none").says("One person").answers::<User>(),
    route(Post, "/users/{name}/enrol", "user.enrol", Change, Operator, "user.enrol")
        .says("Makes the link by which a person enrols a passkey, once; an older link ends")
        .answers::<User>(),
    route(Post, "/users/{name}/disable", "user.disable", Destructive, Operator, "user.disable")
        .says("Ends every session of a person, who may not log in any more")
        .answers::<User>(),
    route(
        Post,
        "/users/{name}/passkeys/{id}/revoke",
        "passkey.revoke",
        Destructive,
        Operator,
        "passkey.revoke",
    )
    .says("Takes a passkey of a person away, as of a device that is lost; their sessions end")
    .answers::<Passkey>(),
    route(Post, "/users/{name}/grants", "grant.create", Change, Operator, "grant.create")
        .says("Grants a person a role for a time")
        .takes::<GrantCreate>()
        .answers::<Grant>(),
    route(
        Post,
        "/users/{name}/grants/{number}/revoke",
        "grant.revoke",
        Destructive,
        Operator,
        "grant.revoke",
    )
    .says("Takes a grant back now; sessions of it end")
    .answers::<Grant>(),
    route(Get, "/login", "login.methods", Read, Stranger, "none")
        .says("How one may log in to this node")
        .answers::<LoginMethods>(),
    route(Post, "/login", "login.begin", Read, Stranger, "none")
        .says("Begins a login; the person proves in a browser who they are")
        .takes::<LoginBegin>()
        .answers::<Login>(),
    route(Post, "/login/finish", "login.finish", Change, Stranger, "session.open")
        .says("Ends a login with a session, or says that it is not done yet")
        .takes::<LoginFinish>()
        .answers::<LoginResult>(),
    route(Post, "/login/passkey/options", "login.challenge", Read, Stranger, "none")
        .says("What the page of a login asks an authenticator for")
        .takes::<PasskeyTicket>()
        .answers::<PasskeyRequest>(),
    route(Post, "/login/passkey", "login.prove", Change, Stranger, "session.refuse")
        .says("Proves by a passkey who somebody is; who began the login ends it")
        .takes::<PasskeyAnswer>()
        .answers::<PasskeyProof>(),
    route(Post, "/enrol/options", "enrol.challenge", Read, Stranger, "none")
        .says("What the page of an enrolment asks an authenticator to make")
        .takes::<EnrolBegin>()
        .answers::<PasskeyCreation>(),
    route(Post, "/enrol", "enrol.finish", Change, Stranger, "passkey.add")
        .says("Registers a passkey; the link is used up by it")
        .takes::<EnrolAnswer>()
        .answers::<Passkey>(),
    route(Post, "/logout", "session.end", Change, Any, "session.end")
        .says("Ends the session that the caller is in")
        .answers::<Session>(),
    route(Get, "/sessions", "session.list", Read, Any, "none")
        .says("Sessions of the caller; who oversees the node sees all")
        .lists::<Session>(),
    route(Post, "/sessions/{id}/revoke", "session.revoke", Destructive, Any, "session.revoke")
        .says("Ends a session now, and what is sent to it within a second")
        .answers::<Session>(),
    route(Post, "/approvals", "approval.request", Change, Any, "approval.request")
        .says("Asks for the approval of another person")
        .takes::<ApprovalRequest>()
        .answers::<Approval>()
        .creates(),
    route(Get, "/approvals", "approval.list", Read, Any, "none")
        .says("Requests for approval, the oldest first")
        .lists::<Approval>(),
    route(Post, "/approvals/{id}/decide", "approval.decide", Change, Any, "approval.decide")
        .says("Approves what another asked for, or refuses it")
        .takes::<ApprovalDecide>()
        .answers::<Approval>(),
    route(Get, "/audit/entries", "audit.search", Read, Any, "log.read")
        .says("Entries of the audit log, oldest first")
        .asks(SEARCH)
        .answers::<Entries>(),
    route(Get, "/audit/files", "audit.files", Read, Operator, "log.export")
        .says("Names of the files that make up the log as of now")
        .answers::<LogFiles>(),
    route(Get, "/audit/files/{*path}", "audit.file", Read, Operator, "none")
        .says("One file of the log")
        .gives(Output::File("application/octet-stream")),
    route(Get, "/access/check", "access.check", Read, Any, "none")
        .says("What the rules in force say to a question; nothing is done")
        .asks(QUESTION)
        .answers::<AccessAnswer>(),
    route(Get, "/policy/versions", "policy.list", Read, Operator, "none")
        .says("Versions of the node's own rules, the oldest first, without their text")
        .lists::<PolicyVersion>(),
    // What is applied or withdrawn stands in the path: whoever decides on the request, or approves it, decides on that.
    route(Post, "/policy/apply/{digest}", "policy.apply", Change, Operator, "policy.apply")
        .says("Puts own rules of this SHA-256 into force beside those that ship, from the next request on")
        .takes::<PolicyApply>()
        .answers::<PolicyVersion>()
        .creates(),
    route(Get, "/policy/versions/{version}", "policy.show", Read, Operator, "none")
        .says("One version of the node's own rules")
        .answers::<PolicyVersion>(),
    route(
        Post,
        "/policy/versions/{version}/withdraw",
        "policy.withdraw",
        Destructive,
        Operator,
        "policy.withdraw",
    )
    .says("Withdraws the node's own rules, of which this version is in force: those that ship decide alone")
    .takes::<PolicyWithdraw>()
    .answers::<PolicyVersion>()
    .creates(),
    route(Get, "/safe-mode", "safe_mode.show", Read, Operator, "none")
        .says("Whether the node is in safe mode, why, and who can lift it")
        .answers::<SafeMode>(),
    // The node stands in the path: whoever approves it approves that.
    route(Post, "/safe-mode/{name}/enter", "safe_mode.enter", Destructive, Operator, "safe_mode.enter")
        .says("Enters safe mode: every key of a tenant is dropped and everything of theirs is ended")
        .takes::<SafeModeEnter>()
        .answers::<SafeMode>(),
    route(Post, "/safe-mode/{name}/leave", "safe_mode.leave", Change, Operator, "safe_mode.leave")
        .says("Leaves safe mode, by two holders of recovery codes")
        .takes::<SafeModeLeave>()
        .answers::<SafeMode>(),
    route(Post, "/break-glass/seal", "break_glass.seal", Change, Operator, "break_glass.seal")
        .says("Makes these the holders of recovery codes, in the place of those before")
        .takes::<BreakGlassSeal>()
        .answers::<SafeMode>(),
    route(Post, "/break-glass/open", "break_glass.open", Destructive, Operator, "break_glass.open")
        .says("Opens break-glass for a while, by a holder of a recovery code; the node enters safe mode")
        .takes::<BreakGlassOpen>()
        .answers::<SafeMode>(),
    route(Post, "/break-glass/close", "break_glass.close", Change, Operator, "break_glass.close")
        .says("Closes break-glass before its time; the node stays in safe mode")
        .answers::<SafeMode>(),
    route(Get, "/egress", "egress.list", Read, Any, "none")
        .says("Bytes of models that left within a day, by principal")
        .lists::<Egress>(),
    route(Get, "/receipts/{id}", "receipt.show", Read, Any, "none")
        .says("What the receipt of an inference leads to")
        .answers::<Receipt>(),
    route(Post, "/posture/run", "posture.run", Change, Operator, "posture.run")
        .says("Runs the probes of every control")
        .answers::<Posture>(),
    route(Get, "/posture", "posture.show", Read, Operator, "none")
        .says("State of every control, as the probes last found it")
        .answers::<Posture>(),
    route(Get, "/node/diagnostics", "node.diagnostics", Read, Operator, "node.diagnose")
        .says("What the node tells of itself to whoever is to help, without a name of anybody")
        .answers::<Diagnostics>(),
    route(Post, "/node/reboot", "node.reboot", Destructive, Operator, "node.reboot")
        .says("Ends the node in order and starts the machine again")
        .takes::<NodeReboot>()
        .answers::<NodeRebooting>(),
    route(Put, "/release/files/{name}", "release.file", Change, Operator, "release.stage")
        .says("Uploads one program of the release that is to be staged")
        .takes_bytes()
        .answers::<ReleaseFile>(),
    route(Post, "/releases", "release.stage", Change, Operator, "release.stage")
        .says("Stages the uploaded programs as a release, if those who are trusted signed it; nothing changes by it")
        .takes::<ReleaseStage>()
        .answers::<Releases>(),
    route(Get, "/releases", "release.list", Read, Operator, "none")
        .says("Which release is active, and which are staged")
        .answers::<Releases>(),
    route(Post, "/releases/{version}/activate", "release.activate", Destructive, Operator, "release.activate")
        .says("Ends the node in order and starts it from a staged release, or from the one before if that does not come up")
        .takes::<ReleaseActivate>()
        .answers::<Releases>(),
    route(Post, "/release/back", "release.back", Destructive, Operator, "release.return")
        .says("Ends the node in order and starts it from the release that was active before")
        .takes::<ReleaseActivate>()
        .answers::<Releases>(),
];

#[cfg(test)]
mod tests {
    use super::Tenant;
    use super::*;

    #[test]
    fn operations_are_unique_and_what_changes_the_world_is_audited() {
        let mut seen = std::collections::BTreeSet::new();
        for route in TABLE {
            assert!(seen.insert(route.operation), "{} twice", route.operation);
            assert!(route.effect == Read || route.audit != "none", "{} leaves no event", route.operation);
            assert_eq!(route.who == Tenant, route.path.contains("{tenant}"), "{}", route.operation);
            assert!(!route.summary.is_empty(), "{} does not say what it does", route.operation);
            assert!(
                !route.creates || route.method == Post,
                "{} makes something, and is no POST",
                route.operation
            );
        }
    }
}
