//! The records. Their JSON is this crate's own business: other processes and people see the wire types of `api`.
//! Each kind has a version ([`crate::meta::Record::V`]) that is stored with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;

use base::Digest;
use base::digest::{hex, unhex};
use base::id::{ApprovalId, CheckpointId, EgressId, EndpointId, JobId, KeyId, ReceiptId, SessionId};
use base::names::Name;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vault::{KeyScope, ObjectName, WrappedKey};

mod contents;
mod intake;
mod parts;
mod people;
mod rights;

pub use contents::{Content, Contents};
pub use intake::{Based, Criterion, Declared, Evaluation, IntakeStep, Upstream};
pub use parts::{File, ImageLayer, ImagePackage, Input, KeyGroup, Progress, Segment};
pub use people::{Decided, Enrolment, Subject};
pub use rights::{KeyRole, KeyUse, RevokedKind};

use crate::meta::{GloballyKeyed, Kind, Record};

macro_rules! records {
    ($($(#[$m:meta])* pub struct $n:ident in $table:literal ($($column:literal),+), v $v:literal, key $key:ty {
        $( $(#[$fm:meta])* $f:ident : $t:ty ),* $(,)?
    } owner $owner:expr, keyed $keyed:expr;)*) => {$(
        $(#[$m])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $n { $( $(#[$fm])* pub $f: $t, )* }

        impl Record for $n {
            const KIND: Kind = Kind { table: $table, columns: &[$($column),+] };
            const V: u32 = $v;
            type Key = $key;

            fn owner(&self) -> Option<&Name> {
                let owner: fn(&Self) -> Option<&Name> = $owner;
                owner(self)
            }

            fn key(&self) -> Self::Key {
                let key: fn(&Self) -> $key = $keyed;
                key(self)
            }
        }
    )*

        /// Every kind of record.
        #[cfg(test)]
        pub(crate) const KINDS: &[Kind] = &[$($n::KIND),*];
    };
}

records! {
    /// A tenant.
    pub struct Tenant in "tenant" ("name"), v 1, key Name {
        /// Name; its key scope has the same.
        name: Name,
        /// When it was created, Unix milliseconds.
        created_ms: u64,
        /// Version of its key-encryption key, once the keeper has made it.
        kek_version: Option<u64>,
    } owner |_| None, keyed |r| r.name.clone();

    /// A sealed object and its wrapped key.
    pub struct Object in "object" ("scope", "digest"), v 1, key (KeyScope, Digest) {
        /// Key scope.
        #[serde(with = "text")] scope: KeyScope,
        /// SHA-256 of the plaintext.
        digest: Digest,
        /// Name in the store.
        #[serde(with = "text")] name: ObjectName,
        /// Version of the scope's key that wrapped the data key.
        kek_version: u64,
        /// The wrapped data key.
        #[serde(with = "blob")] wrapped: WrappedKey,
        /// Bytes of plaintext.
        len: u64,
        /// When it was sealed, Unix milliseconds.
        created_ms: u64,
        /// Why it was moved away, if it was.
        quarantined: Option<String>,
        /// The group that its key is derived from; then `wrapped` is the group's key. None: it has a key of its own.
        #[serde(default, skip_serializing_if = "Option::is_none")] group: Option<KeyGroup>,
    } owner |r| Some(r.scope.tenant()), keyed |r| (r.scope.clone(), r.digest);

    /// A data set.
    pub struct Dataset in "dataset" ("name", "version"), v 1, key (Name, u64) {
        /// Tenant.
        tenant: Name,
        /// Name.
        name: Name,
        /// Version, from 1.
        version: u64,
        /// Digest over its files.
        manifest_digest: Digest,
        /// Files, sorted by path.
        files: Vec<File>,
        /// Bytes in all.
        bytes: u64,
        /// When it was imported, Unix milliseconds.
        created_ms: u64,
        /// What its files were recognised as; none in versions from before that was done.
        #[serde(default)]
        contents: Option<Contents>,
    } owner |r| Some(&r.tenant), keyed |r| (r.name.clone(), r.version);

    /// An image: the root file system of jobs that name its digest.
    pub struct Image in "image" ("digest"), v 1, key Digest {
        /// Tenant.
        tenant: Name,
        /// What jobs name: of a directory the digest of its tree, of an OCI image that of its manifest.
        digest: Digest,
        /// What it was given as.
        form: ImageForm,
        /// What people call it.
        name: Name,
        /// Digest of the unpacked tree.
        tree: Digest,
        /// Files, directories and links of the tree.
        entries: u32,
        /// Bytes of its files.
        bytes: u64,
        /// Entries and bytes that unpacking makes, those that a later layer replaces included.
        unpacking: (u32, u64),
        /// Sealed archives, the lowest layer first.
        layers: Vec<ImageLayer>,
        /// Variables that it sets.
        env: Vec<(String, String)>,
        /// What its system calls itself: id, and name for people.
        system: Option<(String, String)>,
        /// How many packages it says it holds.
        packages: u32,
        /// When it was imported, Unix milliseconds.
        created_ms: u64,
    } owner |r| Some(&r.tenant), keyed |r| r.digest;

    /// The packages that an image says it holds: apart, so that a list of images stays small.
    pub struct ImageContents in "image_contents" ("digest"), v 1, key Digest {
        /// Tenant.
        tenant: Name,
        /// The image.
        digest: Digest,
        /// Sorted.
        packages: Vec<ImagePackage>,
    } owner |r| Some(&r.tenant), keyed |r| r.digest;

    /// A training run.
    pub struct Job in "job" ("id"), v 1, key JobId {
        /// Tenant.
        tenant: Name,
        /// Id.
        id: JobId,
        /// Name.
        name: Name,
        /// The job as it was accepted, with every default filled in.
        spec: serde_json::Value,
        /// Digest of its run contract.
        contract: Digest,
        /// Digests that the contract is made of, by name.
        contract_parts: BTreeMap<String, Digest>,
        /// What it reads, pinned: code and data.
        inputs: Vec<Input>,
        /// The image that it runs in; none for the host's programs.
        #[serde(default)] image: Option<Digest>,
        /// Where it stands.
        state: JobState,
        /// Why.
        reason: Option<String>,
        /// Version of its scope's key-encryption key, once the keeper has made it.
        kek_version: Option<u64>,
        /// Attempts so far.
        attempt: u32,
        /// Segments, in order.
        segments: Vec<Segment>,
        /// What it last told.
        progress: Progress,
        /// What was enforced on its sandbox: name, state, detail.
        isolation: Vec<(String, String, String)>,
        /// The last lines that it printed.
        output_tail: String,
        /// The model that it made: name and version.
        model: Option<(Name, u64)>,
        /// When it was accepted, Unix milliseconds.
        submitted_ms: u64,
        /// When it ended, Unix milliseconds.
        ended_ms: Option<u64>,
    } owner |r| Some(&r.tenant), keyed |r| r.id;

    /// A sealed checkpoint.
    pub struct Checkpoint in "checkpoint" ("job", "version"), v 1, key (JobId, u64) {
        /// Tenant.
        tenant: Name,
        /// Job.
        job: JobId,
        /// Id.
        id: CheckpointId,
        /// Version, from 1 without a gap.
        version: u64,
        /// Training step, if known.
        step: Option<u64>,
        /// The manifest, canonical JSON as it was signed.
        manifest: String,
        /// SHA-256 of the manifest.
        manifest_digest: Digest,
        /// Ed25519 signature, hex.
        signature: String,
        /// Digest of the predecessor's manifest.
        prev: Option<Digest>,
        /// Whether a resume may use it.
        state: CheckpointState,
        /// Why, if not.
        reason: Option<String>,
        /// Its files; their objects are in the job's key scope.
        files: Vec<File>,
        /// Bytes in all.
        bytes: u64,
        /// How the commit was recognised.
        rule: String,
        /// When the job committed it, Unix milliseconds.
        committed_ms: u64,
        /// When it was sealed, Unix milliseconds.
        sealed_ms: u64,
    } owner |r| Some(&r.tenant), keyed |r| (r.job, r.version);

    /// A model.
    pub struct Model in "model" ("name", "version"), v 1, key (Name, u64) {
        /// Tenant.
        tenant: Name,
        /// Name.
        name: Name,
        /// Version, from 1.
        version: u64,
        /// Job that made it; none if it was imported.
        job: Option<JobId>,
        /// OMS root digest.
        root_digest: Digest,
        /// Files, sorted by path.
        files: Vec<File>,
        /// Signature bundle, JSON as it is exported.
        bundle: String,
        /// Bundles of others, as they were given, each over the same files.
        #[serde(default)] signatures: Vec<String>,
        /// Who signed.
        signer: String,
        /// SHA-256 of the Model BoM.
        bom_digest: Option<Digest>,
        /// Signed envelope of the Model BoM, JSON as it is exported.
        bom_envelope: Option<String>,
        /// Verdict of the inspection.
        verdict: String,
        /// Findings of the inspection.
        findings: Vec<String>,
        /// What a trust policy must accept for it to be used, as it names it.
        #[serde(default)] risks: BTreeSet<String>,
        /// In the newest version: the oldest of this name that is deployed anew. It only rises.
        #[serde(default)] floor: u64,
        /// Whether it may be served.
        state: ModelState,
        /// Why, if not.
        reason: Option<String>,
        /// When it was registered, Unix milliseconds.
        created_ms: u64,
    } owner |r| Some(&r.tenant), keyed |r| (r.name.clone(), r.version);

    /// A model that was made elsewhere, on its way in: it can be used by nothing but what measures it.
    pub struct Intake in "intake" ("name", "number"), v 1, key (Name, u64) {
        /// Tenant.
        tenant: Name,
        /// Name of the model that it is to become.
        name: Name,
        /// From 1, for each name.
        number: u64,
        /// Where it stands.
        state: IntakeState,
        /// Why, if it was refused.
        reason: Option<String>,
        /// Digest over the files that every step so far was about.
        manifest: Digest,
        /// Files, sorted by path.
        files: Vec<File>,
        /// Whether acceptance may be left out, as the configuration said when it began.
        waivable: bool,
        /// Whether another person must approve it, likewise.
        two_people: bool,
        /// Who brought it, as in events.
        by: String,
        /// From where it is, as who brought it says.
        source: String,
        /// The model whose files it took over.
        #[serde(default)] based: Option<Based>,
        /// The signature that came with it.
        upstream: Option<Upstream>,
        /// What is said of it, by field: license, producer, purpose, accountable, base, and the like.
        declared: BTreeMap<String, Declared>,
        /// Verdict of the inspection, once there was one.
        verdict: Option<String>,
        /// Findings of the inspection.
        findings: Vec<String>,
        /// What a trust policy must accept for it to be used, as it names it.
        #[serde(default)] risks: BTreeSet<String>,
        /// The serial number of its Model BoM: 128 random bits, hex.
        serial: String,
        /// Digest and signed envelope of its Model BoM so far.
        bom: Option<(Digest, String)>,
        /// What is asked of its behaviour, from the first evaluation on.
        criterion: Option<Criterion>,
        /// What was measured, the oldest first.
        evaluations: Vec<Evaluation>,
        /// The steps that succeeded, in order.
        steps: Vec<IntakeStep>,
        /// Version of the model that it became.
        model: Option<u64>,
        /// When it began, Unix milliseconds.
        created_ms: u64,
    } owner |r| Some(&r.tenant), keyed |r| (r.name.clone(), r.number);

    /// A model being served.
    pub struct Endpoint in "endpoint" ("id"), v 1, key EndpointId {
        /// Tenant.
        tenant: Name,
        /// Id.
        id: EndpointId,
        /// Name.
        name: Name,
        /// The model's name.
        model: Name,
        /// The model's version.
        model_version: u64,
        /// OMS root digest of what is served.
        model_digest: Digest,
        /// SHA-256 of its BoM.
        bom_digest: Digest,
        /// Where it stands.
        state: EndpointState,
        /// Why.
        reason: Option<String>,
        /// What is enforced on its sandbox: name, state, detail.
        isolation: Vec<(String, String, String)>,
        /// When it was deployed, Unix milliseconds.
        created_ms: u64,
    } owner |r| Some(&r.tenant), keyed |r| r.id;

    /// An API key, without the key.
    pub struct ApiKey in "api_key" ("id"), v 1, key KeyId {
        /// Id.
        id: KeyId,
        /// What it is good for.
        scope: KeyUse,
        /// What its holder calls it.
        name: Option<String>,
        /// Keyed hash of the key.
        mac: Digest,
        /// When it was made, Unix milliseconds.
        created_ms: u64,
        /// When it ends, Unix milliseconds.
        expires_ms: u64,
        /// Whether it was revoked.
        revoked: bool,
        /// The service of the same tenant on whose certificate alone it is good; none: it is good from anywhere.
        #[serde(default, skip_serializing_if = "Option::is_none")] service: Option<Name>,
    } owner |r| r.scope.tenant(), keyed |r| r.id;

    /// Bytes of models that left within a day: of a principal, or of all of them.
    pub struct Egress in "egress" ("account"), v 1, key String {
        /// Tenant of a key; none for the operator, and for the account of all.
        tenant: Option<Name>,
        /// The principal, as in events; `all` for the account of all.
        account: String,
        /// Hours since 1970 with their bytes.
        hours: Vec<(u64, u64)>,
    } owner |r| r.tenant.as_ref(), keyed |r| r.account.clone();

    /// A place outside that jobs of a tenant may reach.
    pub struct NamedEgress in "named_egress" ("name"), v 1, key Name {
        /// Tenant.
        tenant: Name,
        /// Name.
        name: Name,
        /// What its bytes count as at the relay; another where the name is given again.
        id: EgressId,
        /// A host's name in lower case, or an address.
        host: String,
        /// The port.
        port: u16,
        /// How near it may be, as the relay says it.
        reach: String,
        /// Bytes that may leave by it within a day; none: as of every principal.
        cap: Option<u64>,
        /// Where the relay speaks mutual TLS in the name of jobs: what the server is verified by, in PEM.
        #[serde(default, skip_serializing_if = "Option::is_none")] authority: Option<String>,
        /// When it was made, Unix milliseconds.
        created_ms: u64,
    } owner |r| Some(&r.tenant), keyed |r| r.name.clone();

    /// A service that may call the management plane with certificates of its own. Its name is never given to another.
    pub struct Service in "service" ("name"), v 1, key Name {
        /// Tenant.
        tenant: Name,
        /// Name.
        name: Name,
        /// What it may.
        role: KeyRole,
        /// When it was made, Unix milliseconds.
        created_ms: u64,
        /// From when on its certificate is not renewed, Unix milliseconds.
        ends_ms: u64,
        /// Whether it was revoked.
        revoked: bool,
    } owner |r| Some(&r.tenant), keyed |r| r.name.clone();

    /// What is not to be used any more, by its digest.
    pub struct Revocation in "revocation" ("digest"), v 1, key Digest {
        /// Tenant.
        tenant: Name,
        /// Root digest of a model, manifest digest of a data set, or SHA-256 of a file.
        digest: Digest,
        /// What it is a digest of.
        kind: RevokedKind,
        /// For people: `fashion-mnist@1`; of a file its digest.
        subject: String,
        /// Why.
        reason: String,
        /// By whom, as in events.
        by: String,
        /// Since when, Unix milliseconds.
        since_ms: u64,
    } owner |r| Some(&r.tenant), keyed |r| r.digest;

    /// Whose signatures count for a tenant's models: one version.
    pub struct TrustPolicy in "trust_policy" ("version"), v 1, key u64 {
        /// Tenant.
        tenant: Name,
        /// From 1; only higher ones follow.
        version: u64,
        /// The policy as it was written, in an envelope that the keeper signed.
        envelope: String,
        /// Who put it into force, as in events.
        by: String,
        /// When, Unix milliseconds.
        applied_ms: u64,
        /// Why.
        reason: String,
    } owner |r| Some(&r.tenant), keyed |r| r.version;

    /// A person who may log in. Their name is never given to another.
    pub struct User in "user" ("name"), v 1, key Name {
        /// Name.
        name: Name,
        /// What people call them.
        display: Option<String>,
        /// Who they are to an OpenID provider; none for a person with passkeys of their own.
        subject: Option<Subject>,
        /// When they were made known, Unix milliseconds.
        created_ms: u64,
        /// Whether they may not log in any more.
        disabled: bool,
        /// Times in a row that somebody failed to prove that they are this person.
        failures: u32,
        /// Until when nobody may try, Unix milliseconds.
        locked_until_ms: Option<u64>,
        /// The link by which they may enrol a passkey, if one is out.
        enrolment: Option<Enrolment>,
    } owner |_| None, keyed |r| r.name.clone();

    /// A passkey of a person. No two people have the same.
    pub struct Passkey in "passkey" ("id"), v 1, key Digest {
        /// Whose.
        user: Name,
        /// SHA-256 of the credential id.
        id: Digest,
        /// What is kept of it, as JSON that the crate `login` reads and writes.
        passkey: String,
    } owner |r| Some(&r.user), keyed |r| r.id;

    /// A role that a person has for a time.
    pub struct Grant in "user_grant" ("number"), v 1, key u64 {
        /// Whose.
        user: Name,
        /// From 1, for each person.
        number: u64,
        /// In which tenant; none for a role of the whole node.
        tenant: Option<Name>,
        /// The role.
        role: UserRole,
        /// Why.
        reason: String,
        /// Who granted it, as in events.
        by: String,
        /// When, Unix milliseconds.
        created_ms: u64,
        /// When it ends, Unix milliseconds.
        ends_ms: u64,
        /// Whether it was taken back.
        revoked: bool,
    } owner |r| Some(&r.user), keyed |r| r.number;

    /// A session of a person, without its token.
    pub struct Session in "session" ("id"), v 1, key SessionId {
        /// Whose.
        user: Name,
        /// Id.
        id: SessionId,
        /// Keyed hash of the token.
        mac: Digest,
        /// The tenant that it is of; none for a role of the whole node.
        tenant: Option<Name>,
        /// The role that it is of.
        role: UserRole,
        /// Number of the grant that gives the role; none where groups of the provider gave it.
        grant: Option<u64>,
        /// How the person proved who they are.
        method: String,
        /// From where they logged in.
        from: String,
        /// When, Unix milliseconds.
        proved_ms: u64,
        /// When the last request came, to within some minutes, Unix milliseconds.
        seen_ms: u64,
        /// When it ends whatever happens, Unix milliseconds.
        ends_ms: u64,
        /// When it was revoked or its owner logged out, Unix milliseconds.
        revoked_ms: Option<u64>,
    } owner |r| Some(&r.user), keyed |r| r.id;

    /// A request for the approval of another person.
    pub struct Approval in "approval" ("id"), v 1, key ApprovalId {
        /// Id.
        id: ApprovalId,
        /// The tenant in which the thing lies; none for what is the node's.
        tenant: Option<Name>,
        /// The operation.
        operation: String,
        /// The thing, as in a path of the API.
        resource: String,
        /// Who asked, as in events.
        by: String,
        /// Why.
        reason: String,
        /// When, Unix milliseconds.
        asked_ms: u64,
        /// What was decided, once it was.
        decided: Option<Decided>,
    } owner |r| r.tenant.as_ref(), keyed |r| r.id;

    /// What a request with an idempotency key made.
    pub struct Repeated in "repeated" ("caller", "key"), v 1, key (String, Digest) {
        /// Tenant of the caller; none for the operator of the node.
        tenant: Option<Name>,
        /// Who called, as in events.
        caller: String,
        /// SHA-256 of its idempotency key.
        key: Digest,
        /// SHA-256 of the request.
        request: Digest,
        /// Name of what it made.
        made: String,
        /// When, Unix milliseconds.
        created_ms: u64,
    } owner |r| r.tenant.as_ref(), keyed |r| (r.caller.clone(), r.key);

    /// A version of the node's own rules: a signed statement that names its texts by digest.
    pub struct Policy in "policy" ("version"), v 1, key u64 {
        /// Version, from 1.
        version: u64,
        /// The statement in its signed envelope (DSSE), JSON.
        envelope: String,
    } owner |_| None, keyed |r| r.version;

    /// Rules, or tests of rules, that a version names.
    pub struct PolicyText in "policy_text" ("digest"), v 1, key Digest {
        /// SHA-256 of the text.
        digest: Digest,
        /// The text.
        text: String,
    } owner |_| None, keyed |r| r.digest;

    /// Where the log entry of an inference stands.
    pub struct Receipt in "receipt" ("id"), v 1, key ReceiptId {
        /// Tenant.
        tenant: Name,
        /// Id.
        id: ReceiptId,
        /// Endpoint that answered.
        endpoint: EndpointId,
        /// Index in the log.
        log_index: u64,
    } owner |r| Some(&r.tenant), keyed |r| r.id;
}

impl GloballyKeyed for Tenant {}
impl GloballyKeyed for Job {}
impl GloballyKeyed for Endpoint {}
impl GloballyKeyed for ApiKey {}
impl GloballyKeyed for Receipt {}
impl GloballyKeyed for Session {}
impl GloballyKeyed for Passkey {}
impl GloballyKeyed for Approval {}

macro_rules! states {
    ($($(#[$m:meta])* pub enum $n:ident { $( $(#[$vm:meta])* $v:ident = $text:literal ),* $(,)? })*) => {$(
        $(#[$m])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $n { $( $(#[$vm])* #[serde(rename = $text)] $v, )* }

        impl $n {
            /// The word for it, in the API and for people.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$v => $text, )* }
            }
        }
    )*};
}

states! {
    /// What an image was given as.
    pub enum ImageForm {
        /// A directory.
        Directory = "directory",
        /// An OCI image layout.
        Oci = "oci",
    }
}

states! {
    /// How a layer is compressed.
    pub enum LayerCompression {
        /// Not at all.
        None = "none",
        /// gzip.
        Gzip = "gzip",
        /// Zstandard.
        Zstd = "zstd",
    }
}

states! {
    /// Whose list names a package.
    pub enum ImagePackageSource {
        /// `dpkg`.
        Dpkg = "dpkg",
        /// `apk`.
        Apk = "apk",
        /// Python's metadata directories.
        Python = "python",
    }
}

states! {
    /// Where a job stands.
    pub enum JobState {
        /// Accepted.
        Pending = "pending",
        /// Its mounts are being filled.
        Starting = "starting",
        /// It runs.
        Running = "running",
        /// Interrupted; its resume point is being rebuilt.
        Resuming = "resuming",
        /// It has ended by itself; its model is being collected.
        Finishing = "finishing",
        /// Done.
        Finished = "finished",
        /// Ended without a model.
        Failed = "failed",
        /// Ended on request.
        Stopped = "stopped",
        /// Not restarted until its owner decides.
        Held = "held",
    }

    /// Whether a resume may use a checkpoint.
    pub enum CheckpointState {
        /// It may.
        Good = "good",
        /// A monitor saw something; it may not.
        Suspect = "suspect",
        /// Made after an attack began; kept as evidence.
        Quarantined = "quarantined",
        /// It did not verify.
        Rejected = "rejected",
        /// Its files were removed: newer ones are kept in its place. Its digest stays on the chain.
        Pruned = "pruned",
    }

    /// Whether a model may be served.
    pub enum ModelState {
        /// It may.
        Registered = "registered",
        /// It may not.
        Quarantined = "quarantined",
    }

    /// Where an intake stands: the last of its steps that succeeded.
    pub enum IntakeState {
        /// None yet.
        Quarantined = "quarantined",
        /// Its source.
        Sourced = "sourced",
        /// Its inspection.
        Inspected = "inspected",
        /// Its description.
        Described = "described",
        /// Its acceptance.
        Accepted = "accepted",
        /// Its approval.
        Approved = "approved",
        /// All: it is a model.
        Admitted = "admitted",
        /// It was refused, for good.
        Refused = "refused",
    }

    /// Where an endpoint stands.
    pub enum EndpointState {
        /// Being loaded.
        Starting = "starting",
        /// It answers.
        Serving = "serving",
        /// Not admitted.
        Refused = "refused",
        /// Ended on request.
        Stopped = "stopped",
        /// Ended by itself.
        Failed = "failed",
    }
}

states! {
    /// Role of a person; `access` says what each may.
    pub enum UserRole {
        /// Watches over the node.
        Security = "security",
        /// Reads what a tenant has and what happened to it.
        Auditor = "auditor",
        /// Everything of a tenant.
        TenantAdmin = "tenant-admin",
        /// Makes models.
        MlEngineer = "ml-engineer",
        /// Lets models answer.
        Deployer = "deployer",
    }
}

impl JobState {
    /// Whether it will never run again by itself or by its owner's decision.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Stopped)
    }
}

/// Values of `vault` as their text.
mod text {
    use super::*;

    pub(super) fn serialize<T: Display, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(value)
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        d: D,
    ) -> Result<T, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Wrapped keys as hex.
mod blob {
    use super::*;

    pub(super) fn serialize<S: Serializer>(value: &WrappedKey, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex(value.as_bytes()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<WrappedKey, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        let bytes = unhex(&text).ok_or_else(|| serde::de::Error::custom("a wrapped key is hex"))?;
        WrappedKey::from_slice(&bytes).map_err(serde::de::Error::custom)
    }
}
