//! The one table of endpoints: router, authorisation, OpenAPI document and command line derive from it.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::shape::{self, SchemaOf};
use crate::{
    AccessAnswer, Approval, ApprovalDecide, ApprovalRequest, BreakGlassOpen, BreakGlassSeal, Certificate,
    Checkpoint, Dataset, Diagnostics, Document, Egress, Endpoint, EndpointDeploy, EnrolAnswer, EnrolBegin,
    Entries, File, Grant, GrantCreate, IdentityRenew, Image, Import, ImportBegin, Imported, Intake,
    IntakeDecide, IntakeEvaluate, IntakeFacts, Job, JobEvent, JobResume, JobRun, Key, KeyCreate, LogFiles,
    Login, LoginBegin, LoginFinish, LoginMethods, LoginResult, Model, ModelCountersign, NodeReboot,
    NodeRebooting, Page, Passkey, PasskeyAnswer, PasskeyCreation, PasskeyProof, PasskeyRequest,
    PasskeyTicket, PolicyApply, PolicyVersion, PolicyWithdraw, Posture, Receipt, ReleaseActivate,
    ReleaseFile, ReleaseStage, Releases, Revocation, RevocationCreate, RevocationLift, SafeMode,
    SafeModeEnter, SafeModeLeave, Service, ServiceCreate, Session, Status, TenantCreate, TrustApply,
    TrustCheck, TrustOpinions, TrustPolicy, User, UserCreate, Verification, WhoAmI,
};

/// HTTP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Creates or acts.
    Post,
    /// Uploads.
    Put,
}

impl Method {
    /// As HTTP writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// What a call does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Read,
    /// Adds or changes.
    Change,
    /// Ends or removes.
    Destructive,
}

/// A parameter of the query.
#[derive(Debug, Clone, Copy)]
pub struct Query {
    /// Its name.
    pub name: &'static str,
    /// What it asks for.
    pub about: &'static str,
    /// What it looks like.
    pub shape: SchemaOf,
}

/// What a request carries.
#[derive(Debug, Clone, Copy)]
pub enum Input {
    /// Nothing.
    Empty,
    /// A document, whole and in JSON.
    Json(SchemaOf),
    /// Bytes of any kind and any length, taken as they come.
    Bytes,
}

/// What a success answers.
#[derive(Debug, Clone, Copy)]
pub enum Output {
    /// A document.
    Json {
        /// Its type.
        shape: SchemaOf,
        /// What its member `schema` says.
        schema: &'static str,
    },
    /// A file that carries a type of its own.
    File(&'static str),
    /// Bytes that are made while they are sent, of this type.
    Stream(&'static str),
    /// One document a line, as it happens.
    Lines(SchemaOf),
}

/// One endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Method.
    pub method: Method,
    /// Path below `/v1`, parameters in braces; `{*path}` takes the rest.
    pub path: &'static str,
    /// Operation id.
    pub operation: &'static str,
    /// Effect.
    pub effect: Effect,
    /// Whose it is. Which roles may call it is decided by `access` alone; this says for whom it exists.
    pub who: Who,
    /// Kind of the audit event that a call leaves, as `ops::event::EventKind` names it; `none` for reads of
    /// metadata.
    pub audit: &'static str,
    /// What it does, for people; one line.
    pub summary: &'static str,
    /// Parameters of the query; all may be left out, others are refused.
    pub query: &'static [Query],
    /// What a request carries.
    pub input: Input,
    /// What a success answers.
    pub output: Output,
    /// Whether it makes something, so that a repeated request with the same `Idempotency-Key` makes no second one.
    pub creates: bool,
}

/// For whom an endpoint exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The operator of the node, on its local socket.
    Operator,
    /// The operator, and keys of the tenant that the path names; for others it does not exist.
    Tenant,
    /// Everybody who is authenticated.
    Any,
    /// Everybody: how one becomes known.
    Stranger,
}

const fn route(
    method: Method,
    path: &'static str,
    operation: &'static str,
    effect: Effect,
    who: Who,
    audit: &'static str,
) -> Route {
    Route {
        method,
        path,
        operation,
        effect,
        who,
        audit,
        summary: "",
        query: &[],
        input: Input::Empty,
        output: Output::File("application/json"),
        creates: false,
    }
}

/// The rest of a row, in the order in which one would say it.
impl Route {
    const fn says(self, summary: &'static str) -> Self {
        Self { summary, ..self }
    }

    const fn asks(self, query: &'static [Query]) -> Self {
        Self { query, ..self }
    }

    const fn takes<T: JsonSchema>(self) -> Self {
        Self { input: Input::Json(schema::<T>), ..self }
    }

    const fn takes_bytes(self) -> Self {
        Self { input: Input::Bytes, ..self }
    }

    const fn answers<T: Document + JsonSchema>(self) -> Self {
        let shape = schema::<T>;
        Self { output: Output::Json { shape, schema: T::SCHEMA }, ..self }
    }

    const fn lists<T: Document + JsonSchema>(self) -> Self {
        self.asks(PAGING).answers::<Page<T>>()
    }

    const fn answers_lines<T: JsonSchema>(self) -> Self {
        Self { output: Output::Lines(schema::<T>), ..self }
    }

    const fn gives(self, output: Output) -> Self {
        Self { output, ..self }
    }

    const fn creates(self) -> Self {
        Self { creates: true, ..self }
    }

    /// Names of the parameters in the path, in its order.
    pub fn path_params(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.path
            .split('/')
            .filter_map(|part| Some(part.strip_prefix('{')?.strip_suffix('}')?.trim_start_matches('*')))
    }

    /// What a parameter of the path looks like.
    pub fn path_shape(&self, name: &str) -> SchemaOf {
        let under = |noun: &str| self.path.contains(noun);
        match name {
            "job" => schema::<shape::JobName>,
            "version" if under("/releases/") => schema::<shape::ReleaseVersion>,
            "version" => schema::<shape::Version>,
            "name" if under("/release/") => schema::<shape::ReleaseProgram>,
            "digest" if under("/policy/") => schema::<shape::Sha256>,
            "digest" => schema::<shape::ImageDigest>,
            "path" => schema::<shape::FilePath>,
            "id" if under("/imports/") => schema::<shape::ImportId>,
            "id" if under("/keys/") => schema::<shape::KeyId>,
            "id" if under("/passkeys/") => schema::<shape::Sha256>,
            "id" if under("/sessions/") => schema::<shape::SessionId>,
            "id" if under("/approvals/") => schema::<shape::ApprovalId>,
            "number" => schema::<shape::GrantNumber>,
            "id" => schema::<shape::ReceiptId>,
            _ => schema::<shape::Name>,
        }
    }

    /// Whether answers carry a validator (RFC 9110 section 8.8): what is read whole can be asked for again.
    pub const fn validates(&self) -> bool {
        matches!(self.method, Method::Get) && matches!(self.output, Output::Json { .. } | Output::File(_))
    }

    /// Whether pages of a list are answered.
    pub fn is_list(&self) -> bool {
        self.query.iter().any(|q| q.name == "after")
    }

    /// Statuses of the refusals that a caller may meet here; a body of problem details comes with each.
    pub fn refusals(&self) -> Vec<u16> {
        let logged = self.effect != Effect::Read || self.audit != "none";
        let mut statuses = vec![400, 401, 403, 429, 500, 503];
        let mut also = |when: bool, more: &[u16]| statuses.extend(more.iter().filter(|_| when));
        // A search names a tenant in its query.
        also(self.path.contains('{') || ["audit.search", "access.check"].contains(&self.operation), &[404]);
        also(!matches!(self.input, Input::Empty), &[413, 415]);
        // Who is not known yet names by a secret what is theirs, by a way that the node has or has not.
        also(self.who == Who::Stranger, &[404, 409, 422]);
        // The state of the node holds what the warden says of the host.
        also(logged || self.operation == "status", &[409, 422, 507]);
        statuses.sort_unstable();
        statuses.dedup();
        statuses
    }
}

const PAGING: &[Query] = &[
    Query { name: "limit", about: "Most items of this page.", shape: schema::<shape::Limit> },
    Query {
        name: "after",
        about: "`next` of the page before, of this list and this caller's view of it.",
        shape: schema::<shape::Cursor>,
    },
];

const SEARCH: &[Query] = &[
    Query {
        name: "from",
        about: "Index of the first entry that is looked at.",
        shape: schema::<shape::Index>,
    },
    Query {
        name: "last",
        about: "Look at so many of the newest entries; instead of `from`.",
        shape: schema::<shape::Index>,
    },
    Query { name: "limit", about: "Most entries of the answer.", shape: schema::<shape::Limit> },
    Query {
        name: "tenant",
        about: "Entries of this tenant; a key sees those of its own.",
        shape: schema::<shape::Name>,
    },
    Query {
        name: "kind",
        about: "Kind of the event, or the first words of it: `job`, `job.start`.",
        shape: schema::<shape::SearchText>,
    },
    Query { name: "correlation", about: "Entries of one operation.", shape: schema::<shape::SearchText> },
    Query { name: "text", about: "Text that stands in the entry.", shape: schema::<shape::SearchText> },
];

const QUESTION: &[Query] = &[
    Query { name: "role", about: "Role of who asks.", shape: schema::<shape::Role> },
    Query {
        name: "tenant",
        about: "Tenant of who asks; of a key or service, its own.",
        shape: schema::<shape::Name>,
    },
    Query {
        name: "within",
        about: "Tenant in which the thing lies; if left out, that of who asks.",
        shape: schema::<shape::Name>,
    },
    Query { name: "operation", about: "What is asked for.", shape: schema::<shape::OperationName> },
    Query { name: "resource", about: "For which thing.", shape: schema::<shape::ThingName> },
];

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

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
