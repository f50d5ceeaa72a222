//! Shapes of text on the wire: what a name, digest, time or id looks like. A type here stands for one pattern, in the
//! fields of `types` (`#[schemars(with = ..)]`) and in the parameters of paths and queries.

use std::borrow::Cow;

use base::names::NAME_MAX;
use schemars::generate::SchemaGenerator;
use schemars::{JsonSchema, Schema, json_schema};

/// Most items of one page of a list.
pub const PAGE_MAX: usize = 1000;
/// Items of one page of a list unless the caller says otherwise.
pub const PAGE_DEFAULT: usize = 100;
/// Longest cursor: 32 characters of authentication, and hex of a key of at most 511 bytes.
pub const CURSOR_MAX: usize = 1054;
/// Longest path of a file, in bytes and so in characters too.
pub const FILE_PATH_MAX: usize = 1024;
/// Longest text that a search of the log looks for.
pub const SEARCH_TEXT_MAX: usize = 256;
/// Longest idempotency key, in characters.
pub const IDEMPOTENCY_KEY_MAX: usize = 64;
/// Longest that a key may be good for, in days.
pub const KEY_DAYS_MAX: u32 = 365;
/// Longest text of a job file, in bytes and so in characters too; `training` takes no longer one.
pub const JOB_FILE_MAX: usize = 64 * 1024;
/// Longest text of a node's own rules, in bytes and so in characters too; `access` takes no longer one.
pub const POLICY_TEXT_MAX: usize = 256 * 1024;
/// Longest text of their tests, likewise.
pub const POLICY_TESTS_MAX: usize = 128 * 1024;
/// Longest that a role is granted for, in hours: 90 days.
pub const GRANT_HOURS_MAX: u32 = 90 * 24;
/// Longest name that people call somebody, in characters.
pub const DISPLAY_MAX: usize = 100;
/// Longest name of a thing in a request for approval, as in events.
pub const RESOURCE_MAX: usize = 192;
/// Longest that names somebody whom the node knows: a word and a name.
pub const ASKER_MAX: usize = NAME_MAX + 8;
/// Longest reason that goes into the log.
pub const REASON_MAX: usize = 1024;

/// Longest text of one declaration about a model, and of its source.
pub const DECLARATION_MAX: usize = 1024;
/// Longest signature that comes with a model, in bytes and so in characters too: half of the largest request.
pub const SIGNATURE_FILE_MAX: usize = 512 * 1024;
/// Longest public key that comes with a model, likewise.
pub const PUBLIC_KEY_MAX: usize = 4096;
/// Longest name of a metric, in bytes; `training` takes no longer one.
pub const METRIC_MAX: usize = 64;

/// Longest text about a release: sixteen signatures.
pub const RELEASE_TEXT_MAX: usize = 4096;

/// The schema of one type, made by a generator that collects what it refers to.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

macro_rules! shapes {
    ($($(#[doc = $about:literal])* $name:ident = $schema:tt;)*) => {$(
        $(#[doc = $about])*
        #[derive(Debug)]
        pub enum $name {}

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

shapes! {
    /// A name that people give ([`base::names::Name`]).
    Name = {
        "type": "string", "minLength": 1, "maxLength": NAME_MAX,
        "pattern": r"^[a-z0-9](\.?[a-z0-9_-])*\.?$",
    };
    /// A name and perhaps a version of it: `name@3`; without a version the newest.
    Reference = {
        "type": "string", "minLength": 1, "maxLength": NAME_MAX + 21,
        "pattern": r"^[a-z0-9](\.?[a-z0-9_-])*\.?(@([1-9][0-9]{0,18}|latest))?$",
    };
    /// A version in a path: a number from 1, or `latest`.
    Version = { "type": "string", "pattern": r"^([1-9][0-9]{0,18}|latest)$" };
    /// An Ed25519 signature, 128 lower-case hex digits.
    Signature = { "type": "string", "pattern": "^[0-9a-f]{128}$" };
    /// SHA-256, 64 lower-case hex digits.
    Sha256 = { "type": "string", "pattern": "^[0-9a-f]{64}$" };
    /// The digest of an image, with or without `sha256:`; in a path also its first eight digits or more.
    ImageDigest = { "type": "string", "pattern": "^(sha256:)?[0-9a-f]{8,64}$" };
    /// What pins an image that is imported.
    ImagePin = { "type": "string", "pattern": "^(sha256:)?[0-9a-f]{64}$" };
    /// A time: RFC 3339 in UTC with milliseconds.
    Time = { "type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$" };
    /// Id of an open import.
    ImportId = { "type": "string", "pattern": "^[0-9a-f]{32}$" };
    /// Id of a job.
    JobId = { "type": "string", "pattern": "^job_[0-7][0-9a-hjkmnp-tv-z]{25}$" };
    /// A job in a path: its id, or its name, which stands for the newest of that name.
    JobName = {
        "type": "string", "minLength": 1, "maxLength": NAME_MAX,
        "pattern": r"^[a-z0-9](\.?[a-z0-9_-])*\.?$",
    };
    /// Id of an endpoint.
    EndpointId = { "type": "string", "pattern": "^end_[0-7][0-9a-hjkmnp-tv-z]{25}$" };
    /// Id of an API key.
    KeyId = { "type": "string", "pattern": "^key_[0-7][0-9a-hjkmnp-tv-z]{25}$" };
    /// Id of a session.
    SessionId = { "type": "string", "pattern": "^ses_[0-7][0-9a-hjkmnp-tv-z]{25}$" };
    /// Id of a request for approval.
    ApprovalId = { "type": "string", "pattern": "^apr_[0-7][0-9a-hjkmnp-tv-z]{25}$" };
    /// Number of a grant.
    GrantNumber = { "type": "string", "pattern": "^[1-9][0-9]{0,18}$" };
    /// What people call somebody.
    Display = { "type": "string", "minLength": 1, "maxLength": DISPLAY_MAX };
    /// The role of a person.
    UserRole = { "type": "string", "enum": ["security", "auditor", "tenant-admin", "ml-engineer", "deployer"] };
    /// For how many hours a role is granted.
    GrantHours = { "type": "integer", "minimum": 1, "maximum": GRANT_HOURS_MAX };
    /// Somebody whom the node knows.
    Asker = { "type": "string", "pattern": "^(key|service|user):.", "maxLength": ASKER_MAX };
    /// Name of an operation, as in docs/access.md.
    OperationName = { "type": "string", "minLength": 1, "maxLength": NAME_MAX };
    /// A thing, as in a path of the API: `name/version`.
    ResourceName = { "type": "string", "maxLength": RESOURCE_MAX };
    /// Id of a receipt.
    ReceiptId = { "type": "string", "pattern": "^rcp_[0-7][0-9a-hjkmnp-tv-z]{25}$" };
    /// A relative path of plain components.
    FilePath = { "type": "string", "minLength": 1, "maxLength": FILE_PATH_MAX };
    /// Where a list goes on, as `next` of the page before said it.
    Cursor = { "type": "string", "pattern": "^[0-9a-f]+$", "maxLength": CURSOR_MAX };
    /// How many items are wanted.
    Limit = { "type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_DEFAULT };
    /// A place in the log.
    Index = { "type": "integer", "minimum": 0, "maximum": u64::MAX };
    /// Text to be looked for.
    SearchText = { "type": "string", "minLength": 1, "maxLength": SEARCH_TEXT_MAX };
    /// An idempotency key: a string of RFC 9651, in its quotes.
    IdempotencyKey = {
        "type": "string", "pattern": r#"^"[!#-\[\]-~]+"$"#, "maxLength": IDEMPOTENCY_KEY_MAX + 2,
    };
    /// What an import makes.
    ImportKind = { "type": "string", "enum": ["dataset", "code", "model", "image-directory", "image-oci"] };
    /// The role of a key that manages a tenant's things.
    KeyRole = { "type": "string", "enum": ["auditor", "tenant-admin", "ml-engineer", "deployer"] };
    /// For how many days a key is good.
    KeyDays = { "type": "integer", "minimum": 1, "maximum": KEY_DAYS_MAX };
    /// The text of a job file.
    JobFile = { "type": "string", "maxLength": JOB_FILE_MAX };
    /// The name of a file, for messages.
    FileName = { "type": "string", "maxLength": FILE_PATH_MAX };
    /// A node's own rules, in Cedar.
    PolicyText = { "type": "string", "maxLength": POLICY_TEXT_MAX };
    /// Tests of rules, in TOML.
    PolicyTests = { "type": "string", "maxLength": POLICY_TESTS_MAX };
    /// The role of a service: one of a key, or an application's.
    ServiceRole = { "type": "string", "enum": ["auditor", "tenant-admin", "ml-engineer", "deployer", "application"] };
    /// A role of `docs/access.md`.
    Role = { "type": "string", "enum": ["platform-operator", "security", "auditor", "tenant-admin", "ml-engineer", "deployer", "application", "node"] };
    /// Which thing: as a path names it, its parts joined by `/`.
    ThingName = { "type": "string", "maxLength": FILE_PATH_MAX };
    /// The version of a release.
    ReleaseVersion = { "type": "string", "pattern": r"^(0|[1-9][0-9]{0,9})(\.(0|[1-9][0-9]{0,9})){2}$" };
    /// The manifest of a release, or its signatures.
    ReleaseText = { "type": "string", "maxLength": RELEASE_TEXT_MAX };
    /// What somebody says of a model: its licence, its source, and the like.
    Declaration = { "type": "string", "minLength": 1, "maxLength": DECLARATION_MAX, "pattern": r"\S" };
    /// A signature that comes with a model: an OMS bundle.
    SignatureFile = { "type": "string", "maxLength": SIGNATURE_FILE_MAX };
    /// The public key of a signature that comes with a model, PEM.
    PublicKey = { "type": "string", "maxLength": PUBLIC_KEY_MAX };
    /// Name of a number that a job reports.
    MetricName = { "type": "string", "minLength": 1, "maxLength": METRIC_MAX };
    /// A program of a release.
    ReleaseProgram = { "type": "string", "enum": ["strongroom", "strongroom-keeper", "strongroom-porter", "strongroom-runtime"] };
    /// Why something is done, for the log.
    Reason = { "type": "string", "minLength": 1, "maxLength": REASON_MAX, "pattern": r"\S" };
}
