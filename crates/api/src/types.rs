//! Wire types, by noun.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Document, shape};

macro_rules! wire {
    ($($(#[$m:meta])* $schema:literal pub struct $n:ident { $( $(#[$fm:meta])* $f:ident : $t:ty ),* $(,)? })*) => {$(
        $(#[$m])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub struct $n { $( $(#[$fm])* pub $f: $t, )* }

        impl Document for $n {
            const SCHEMA: &'static str = $schema;
        }
    )*};
}

macro_rules! request {
    ($($(#[$m:meta])* pub struct $n:ident { $( $(#[$fm:meta])* $f:ident : $t:ty ),* $(,)? })*) => {$(
        $(#[$m])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $n { $( $(#[$fm])* pub $f: $t, )* }
    )*};
}

/// A part of a list, in a stable order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Pass as `after` to go on; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Cursor>")]
    pub next: Option<String>,
}

impl<T: Document> Document for Page<T> {
    const SCHEMA: &'static str = "strongroom.list/1";
}

mod dataset;
mod egress;
mod intake;
mod model;
mod node;
mod people;
mod recovery;
mod release;
mod revocation;
mod trust;

pub use dataset::*;
pub use egress::*;
pub use intake::*;
pub use model::*;
pub use node::*;
pub use people::*;
pub use recovery::*;
pub use release::*;
pub use revocation::*;
pub use trust::*;

wire! {
    /// State of the node. Problems come first.
    "strongroom.status/1" pub struct Status {
        /// What is wrong now, worst first.
        problems: Vec<String>,
        /// `normal`, `degraded`, `safe`.
        state: String,
        /// `dev` or `production`.
        mode: String,
        /// Name of the node.
        node: String,
        /// Version of the software.
        version: String,
        /// What is simulated or absent, and said so.
        simulated: Vec<String>,
        /// Entries in the audit log.
        log_size: u64,
        /// Root of the audit log.
        #[schemars(with = "shape::Sha256")]
        log_root: String,
        /// Verifier key of the audit log.
        log_key: String,
        /// Where the root key comes from.
        key_provider: String,
        /// `https://` address of the gateway, if it listens.
        #[serde(default)]
        gateway: Option<String>,
        /// File with the certificate authority of the gateway, in PEM.
        gateway_ca: String,
        /// `https://` address of the management plane, if it listens.
        #[serde(default)]
        management: Option<String>,
        /// File with the certificate authority of the management plane, in PEM, if it listens.
        #[serde(default)]
        management_ca: Option<String>,
        /// Counts by noun: tenants, datasets, jobs, models, endpoints.
        counts: BTreeMap<String, u64>,
        /// Protections that the host offers or not.
        features: Vec<Feature>,
        /// Signed by whom: PEM of the OMS key.
        model_public_key: String,
        /// PEM of the BoM key.
        bom_public_key: String,
    }

    /// Bytes of models and answers that left within a day.
    "strongroom.egress/1" pub struct Egress {
        /// The principal, as in events; `tenant:NAME` for those of a tenant, `all` for all of them together.
        account: String,
        /// Tenant of a key.
        tenant: Option<String>,
        /// Bytes that left within the last 24 hours, and those that the gateway may send without asking.
        bytes: u64,
        /// Bytes that may leave within 24 hours.
        cap: u64,
    }

    /// One protection.
    "strongroom.feature/1" pub struct Feature {
        /// Its name.
        name: String,
        /// enforced, unsupported, not-applicable, failed.
        state: String,
        /// How that is known, or why not.
        detail: String,
    }

    /// Who the caller is.
    "strongroom.whoami/1" pub struct WhoAmI {
        /// `operator`, `user:<name>`, `key:<id>` or `service:<tenant>/<name>`.
        principal: String,
        /// Tenant of a key, service or session.
        tenant: Option<String>,
        /// Its role, as docs/access.md has it.
        #[serde(default)]
        role: String,
        /// Where the identity comes from.
        source: String,
        /// Who a person is to the OpenID provider that they logged in by.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subject: Option<Subject>,
        /// The session that the caller is in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<Session>,
    }

    /// A tenant.
    "strongroom.tenant/1" pub struct Tenant {
        /// Name.
        #[schemars(with = "shape::Name")]
        name: String,
        /// When it was created.
        #[schemars(with = "shape::Time")]
        created: String,
        /// Datasets, jobs, models, endpoints.
        counts: BTreeMap<String, u64>,
    }

    /// An import that has begun; upload files, then commit.
    "strongroom.import/1" pub struct Import {
        /// Id of the import.
        #[schemars(with = "shape::ImportId")]
        id: String,
    }

    /// An image: a root file system of jobs, pinned by digest.
    "strongroom.image/1" pub struct Image {
        /// Tenant.
        #[schemars(with = "shape::Name")]
        tenant: String,
        /// What a job file names: of a directory the digest of its tree, of an OCI image that of its manifest.
        #[schemars(with = "shape::Sha256")]
        digest: String,
        /// directory, oci.
        form: String,
        /// What people call it.
        #[schemars(with = "shape::Name")]
        name: String,
        /// Digest of the unpacked tree, which is verified in each run.
        #[schemars(with = "shape::Sha256")]
        tree: String,
        /// Files, directories and links.
        entries: u32,
        /// Bytes of its files, unpacked.
        bytes: u64,
        /// Bytes of its layers, as they are stored.
        stored_bytes: u64,
        /// Layers, the lowest first: digests.
        #[schemars(with = "Vec<shape::Sha256>")]
        layers: Vec<String>,
        /// Variables that it sets.
        env: BTreeMap<String, String>,
        /// What its system calls itself.
        #[serde(default)]
        system: Option<String>,
        /// How many packages it says it holds.
        package_count: u32,
        /// These packages, `NAME=VERSION`; in a list of images none.
        packages: Vec<String>,
        /// When it was imported.
        #[schemars(with = "shape::Time")]
        created: String,
    }

    /// Result of a verification.
    "strongroom.verification/1" pub struct Verification {
        /// What was verified.
        subject: String,
        /// Whether everything agreed.
        verified: bool,
        /// Each check and its result.
        checks: Vec<Check>,
    }

    /// One check.
    "strongroom.check/1" pub struct Check {
        /// What was checked.
        name: String,
        /// Whether it holds.
        ok: bool,
        /// What was seen.
        detail: String,
    }

    /// A job.
    "strongroom.job/1" pub struct Job {
        /// Id.
        #[schemars(with = "shape::JobId")]
        id: String,
        /// Tenant.
        #[schemars(with = "shape::Name")]
        tenant: String,
        /// Name.
        #[schemars(with = "shape::Name")]
        name: String,
        /// pending, starting, running, resuming, finishing, finished, failed, stopped, held.
        state: String,
        /// Why it is in this state.
        #[serde(default)]
        reason: Option<String>,
        /// When it was accepted.
        #[schemars(with = "shape::Time")]
        submitted: String,
        /// When it ended.
        #[serde(default)]
        #[schemars(with = "Option<shape::Time>")]
        ended: Option<String>,
        /// Where its programs come from: `host`, or the digest of an image.
        image: String,
        /// Latest training step told.
        #[serde(default)]
        step: Option<u64>,
        /// Latest metrics told, by name; claimed by the job.
        metrics: BTreeMap<String, String>,
        /// Steps a second, over the last minute.
        #[serde(default)]
        rate: Option<String>,
        /// Restarts so far.
        restarts: u32,
        /// Segments, in order.
        segments: Vec<Segment>,
        /// Sealed checkpoints.
        checkpoints: u64,
        /// Digest of the run contract.
        #[schemars(with = "shape::Sha256")]
        contract: String,
        /// The model that it made, `name@version`.
        #[serde(default)]
        model: Option<String>,
        /// What was enforced on its sandbox, read back.
        isolation: Vec<Feature>,
        /// The last lines that it printed.
        output_tail: String,
    }

    /// One uninterrupted run of a job.
    "strongroom.segment/1" pub struct Segment {
        /// From 1.
        number: u32,
        /// When it started.
        #[schemars(with = "shape::Time")]
        started: String,
        /// When it ended.
        #[serde(default)]
        #[schemars(with = "Option<shape::Time>")]
        ended: Option<String>,
        /// How it ended.
        #[serde(default)]
        cause: Option<String>,
        /// Version of the checkpoint that it went on from.
        #[serde(default)]
        resumed_from: Option<u64>,
        /// Why newer ones were not taken.
        #[serde(default)]
        rejected: Vec<String>,
    }

    /// A sealed checkpoint.
    "strongroom.checkpoint/1" pub struct Checkpoint {
        /// Version, from 1.
        version: u64,
        /// Step, if known.
        #[serde(default)]
        step: Option<u64>,
        /// good, suspect, quarantined, rejected.
        state: String,
        /// Digest of its signed manifest.
        #[schemars(with = "shape::Sha256")]
        digest: String,
        /// Bytes.
        bytes: u64,
        /// When it was sealed.
        #[schemars(with = "shape::Time")]
        sealed: String,
        /// How the commit was recognised.
        rule: String,
        /// Names of its objects in the store.
        objects: Vec<String>,
    }

    /// A line of `job watch`.
    "strongroom.job.event/1" pub struct JobEvent {
        /// When.
        #[schemars(with = "shape::Time")]
        time: String,
        /// state, progress, checkpoint, output, alarm, end.
        kind: String,
        /// For people.
        message: String,
        /// Step, if known.
        #[serde(default)]
        step: Option<u64>,
        /// State of the job after it.
        state: String,
    }

    /// An endpoint.
    "strongroom.endpoint/1" pub struct Endpoint {
        /// Id.
        #[schemars(with = "shape::EndpointId")]
        id: String,
        /// Tenant.
        #[schemars(with = "shape::Name")]
        tenant: String,
        /// Name.
        #[schemars(with = "shape::Name")]
        name: String,
        /// The model, `name@version`.
        model: String,
        /// starting, serving, refused, stopped, failed.
        state: String,
        /// Why.
        #[serde(default)]
        reason: Option<String>,
        /// OMS root digest of what is served.
        #[schemars(with = "shape::Sha256")]
        model_digest: String,
        /// Digest of its BoM.
        #[schemars(with = "shape::Sha256")]
        bom_digest: String,
        /// Where to ask, once it serves.
        #[serde(default)]
        url: Option<String>,
        /// When it was deployed.
        #[schemars(with = "shape::Time")]
        created: String,
        /// What is enforced on its sandbox, read back.
        isolation: Vec<Feature>,
    }

    /// An API key, without the key.
    "strongroom.key/1" pub struct Key {
        /// Id.
        #[schemars(with = "shape::KeyId")]
        id: String,
        /// Tenant.
        #[schemars(with = "shape::Name")]
        tenant: String,
        /// The one endpoint that it may ask; absent: it manages the tenant's own things and asks none.
        #[serde(default)]
        endpoint: Option<String>,
        /// Role of a key that manages the tenant's things.
        #[serde(default)]
        role: Option<String>,
        /// The service on whose certificate alone it is good; absent: it is good for whoever has it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        /// When it was made.
        #[schemars(with = "shape::Time")]
        created: String,
        /// When it ends.
        #[schemars(with = "shape::Time")]
        expires: String,
        /// Whether it was revoked.
        revoked: bool,
        /// The key itself; only in the answer that made it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret: Option<String>,
    }

    /// A service that calls the management plane with certificates of its own.
    "strongroom.service/1" pub struct Service {
        /// Its SPIFFE id.
        id: String,
        /// Tenant.
        tenant: String,
        /// Name.
        name: String,
        /// What it may.
        role: String,
        /// When it was made.
        created: String,
        /// From when on its certificate is not renewed.
        ends: String,
        /// Whether it was revoked.
        revoked: bool,
        /// Its certificate; only in the answer that made it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        certificate: Option<Certificate>,
    }

    /// A certificate of a service.
    "strongroom.certificate/1" pub struct Certificate {
        /// The SPIFFE id that it carries.
        id: String,
        /// The certificate, in PEM.
        certificate: String,
        /// When it ends.
        expires: String,
        /// The certificate authority of the management plane, in PEM: whom to trust there.
        authority: String,
    }

    /// A part of the audit log.
    "strongroom.audit.entries/1" pub struct Entries {
        /// The entries that match, oldest first: OCSF 1.8.0.
        entries: Vec<serde_json::Value>,
        /// Index up to which was searched (exclusive).
        searched_to: u64,
        /// Pass as `from` to go on; absent at the end of what can be searched.
        #[serde(default)]
        next: Option<u64>,
        /// Entries that the log holds durably, as the keeper says.
        log_entries: u64,
        /// How many of them, the oldest, can be searched. Fewer than `log_entries` where the disk did not take what
        /// a search reads: the newest entries are safe in the log and appear once there is room.
        searchable_entries: u64,
    }

    /// Files of the audit log, for an export.
    "strongroom.audit.files/1" pub struct LogFiles {
        /// Relative paths, to be fetched one by one; the checkpoint is the last.
        paths: Vec<String>,
        /// Entries in the log.
        size: u64,
    }

    /// What an inference receipt leads to.
    "strongroom.receipt/1" pub struct Receipt {
        /// Its id.
        #[schemars(with = "shape::ReceiptId")]
        id: String,
        /// `logged`, or `pending` for at most a second, or `unknown`.
        state: String,
        /// Index of its entry.
        #[serde(default)]
        index: Option<u64>,
        /// OMS root digest of the model that answered.
        #[serde(default)]
        model_digest: Option<String>,
        /// Digest of its BoM.
        #[serde(default)]
        bom_digest: Option<String>,
        /// Signed checkpoint of the log that covers the entry.
        #[serde(default)]
        checkpoint: Option<String>,
        /// Inclusion proof (RFC 9162), base64, leaf first.
        #[serde(default)]
        proof: Vec<String>,
        /// The entry.
        #[serde(default)]
        entry: Option<serde_json::Value>,
    }

    /// A version of the node's own rules. They are added to those that ship.
    "strongroom.policy.version/1" pub struct PolicyVersion {
        /// Version, from 1.
        version: u64,
        /// Whether it decides now.
        in_force: bool,
        /// Whether signature and texts verify; if not, what follows is not known.
        verified: bool,
        /// SHA-256 of its rules.
        #[serde(default)]
        #[schemars(with = "Option<shape::Sha256>")]
        digest: Option<String>,
        /// Who applied it, as in events.
        author: String,
        /// When.
        #[serde(default)]
        #[schemars(with = "Option<shape::Time>")]
        applied: Option<String>,
        /// Why.
        reason: String,
        /// What decisions record while it is in force: a digest over the schema, the rules that ship and its own; none
        /// where this release takes its rules no longer. Only in an answer about one version, as all that follows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<shape::Sha256>")]
        policy_version: Option<String>,
        /// Its rules; empty for a version that withdrew those before it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// Tests that came with them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tests: Option<String>,
        /// Signed statement about it: a DSSE envelope by the policy key, JSON.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        envelope: Option<String>,
    }

    /// What the rules in force say to a question.
    "strongroom.access.check/1" pub struct AccessAnswer {
        /// Whether it is allowed.
        allowed: bool,
        /// Who asks, where the question names them.
        #[serde(default)]
        who: Option<String>,
        /// Role of who asks; none where they have none there now.
        #[serde(default)]
        role: Option<String>,
        /// Tenant of who asks.
        #[serde(default)]
        tenant: Option<String>,
        /// Tenant in which the thing lies.
        #[serde(default)]
        within: Option<String>,
        /// The operation.
        operation: String,
        /// The thing.
        #[serde(default)]
        resource: Option<String>,
        /// Rules that decided.
        rules: Vec<String>,
        /// The same for people.
        why: String,
        /// What it needs beside the role, where it is allowed.
        #[serde(default)]
        needs: Vec<String>,
        /// Digest of schema and rules.
        #[schemars(with = "shape::Sha256")]
        policy_version: String,
    }

    /// State of every control.
    "strongroom.posture/1" pub struct Posture {
        /// When the probes ran.
        #[serde(default)]
        #[schemars(with = "Option<shape::Time>")]
        ran: Option<String>,
        /// One row for each control of the catalogue.
        controls: Vec<ControlState>,
        /// Count by status; they add up to the number of controls.
        totals: BTreeMap<String, u64>,
    }

    /// State of one control.
    "strongroom.posture.control/1" pub struct ControlState {
        /// Id in the catalogue.
        id: String,
        /// pass, fail, manual, not_applicable, unknown.
        status: String,
        /// Why.
        reason: String,
        /// What was seen, and how to see it again.
        evidence: Vec<String>,
    }
}

request! {
    /// Creates a tenant.
    pub struct TenantCreate {
        /// Name.
        #[schemars(with = "shape::Name")]
        name: String,
    }

    /// Begins an import.
    pub struct ImportBegin {
        /// `dataset`, `code`, `model`, `image-directory` or `image-oci`.
        #[schemars(with = "shape::ImportKind")]
        kind: String,
        /// Name of what is made.
        #[schemars(with = "shape::Name")]
        name: String,
        /// Of an image, the digest that pins it: 64 hex digits.
        #[serde(default)]
        #[schemars(with = "Option<shape::ImagePin>")]
        digest: Option<String>,
        /// Of a model, what is said of it: it goes into quarantine.
        #[serde(default)]
        intake: Option<IntakeBegin>,
    }

    /// Submits a job.
    pub struct JobRun {
        /// Name of the job file, for messages.
        #[schemars(with = "shape::FileName")]
        file: String,
        /// Its text.
        #[schemars(with = "shape::JobFile")]
        text: String,
        /// Import that holds the code.
        #[schemars(with = "shape::ImportId")]
        code: String,
        /// For each input given as a path: channel to the data set that was made of it, `name@version`.
        #[schemars(with = "BTreeMap<String, shape::Reference>")]
        imports: BTreeMap<String, String>,
    }

    /// Why an operator goes on with a held job.
    pub struct JobResume {
        /// The reason, for the log.
        #[schemars(with = "shape::Reason")]
        reason: String,
    }

    /// Deploys an endpoint.
    pub struct EndpointDeploy {
        /// Its name.
        #[schemars(with = "shape::Name")]
        name: String,
        /// The model, `name@version`; without a version the newest.
        #[schemars(with = "shape::Reference")]
        model: String,
    }

    /// Makes an API key.
    pub struct KeyCreate {
        /// The one endpoint that it may ask; absent for a key that manages the tenant's own things.
        #[serde(default)]
        #[schemars(with = "Option<shape::Name>")]
        endpoint: Option<String>,
        /// Role of a key that manages the tenant's things; default `tenant-admin`.
        #[serde(default)]
        #[schemars(with = "Option<shape::KeyRole>")]
        role: Option<String>,
        /// Days until it ends; default 30, at most 365.
        #[serde(default)]
        #[schemars(with = "Option<shape::KeyDays>")]
        days: Option<u32>,
        /// A service of the tenant: the key is then good only on connections with that service's certificate.
        #[serde(default)]
        #[schemars(with = "Option<shape::Name>")]
        service: Option<String>,
    }

    /// Makes a service.
    pub struct ServiceCreate {
        /// Its name.
        name: String,
        /// What it may.
        #[schemars(with = "shape::ServiceRole")]
        role: String,
        /// Days until its certificate is no longer renewed; default 30, at most 365.
        #[serde(default)]
        days: Option<u32>,
        /// Request for its certificate (PKCS #10, PEM) of an ECDSA P-256 key.
        request: String,
    }

    /// Puts own rules into force, in the place of those before them.
    pub struct PolicyApply {
        /// The rules, in Cedar; they are added to those that ship.
        #[schemars(with = "shape::PolicyText")]
        text: String,
        /// Their tests, which must pass now and at each later apply until others replace them; absent: the tests that
        /// came with the version in force.
        #[serde(default)]
        #[schemars(with = "Option<shape::PolicyTests>")]
        tests: Option<String>,
        /// Why, for the log.
        #[schemars(with = "shape::Reason")]
        reason: String,
        /// The version that must be in force; 0 for none.
        #[serde(default)]
        expect: Option<u64>,
    }

    /// Withdraws the node's own rules.
    pub struct PolicyWithdraw {
        /// Why, for the log.
        #[schemars(with = "shape::Reason")]
        reason: String,
    }

    /// Asks for a fresh certificate.
    pub struct IdentityRenew {
        /// Request for it (PKCS #10, PEM) of an ECDSA P-256 key, the present one or a new one.
        request: String,
    }
}

/// What a commit of an import made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Imported {
    /// A data set.
    Dataset(Dataset),
    /// Code; name it in `JobRun`.
    Code(Import),
    /// A model, in quarantine.
    Intake(Box<Intake>),
    /// An image.
    Image(Image),
}

impl Document for Imported {
    const SCHEMA: &'static str = "strongroom.imported/1";
}
