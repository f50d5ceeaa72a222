//! One row of the table: what an endpoint is.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::shape::{self, SchemaOf};
use crate::{Document, Page};

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

pub(super) const fn route(
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
    pub(super) const fn says(self, summary: &'static str) -> Self {
        Self { summary, ..self }
    }

    pub(super) const fn asks(self, query: &'static [Query]) -> Self {
        Self { query, ..self }
    }

    pub(super) const fn takes<T: JsonSchema>(self) -> Self {
        Self { input: Input::Json(schema::<T>), ..self }
    }

    pub(super) const fn takes_bytes(self) -> Self {
        Self { input: Input::Bytes, ..self }
    }

    pub(super) const fn answers<T: Document + JsonSchema>(self) -> Self {
        let shape = schema::<T>;
        Self { output: Output::Json { shape, schema: T::SCHEMA }, ..self }
    }

    pub(super) const fn lists<T: Document + JsonSchema>(self) -> Self {
        self.asks(PAGING).answers::<Page<T>>()
    }

    pub(super) const fn answers_lines<T: JsonSchema>(self) -> Self {
        Self { output: Output::Lines(schema::<T>), ..self }
    }

    pub(super) const fn gives(self, output: Output) -> Self {
        Self { output, ..self }
    }

    pub(super) const fn creates(self) -> Self {
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
            "version" | "to_version" => schema::<shape::Version>,
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

pub(super) const SEARCH: &[Query] = &[
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

pub(super) const QUESTION: &[Query] = &[
    Query { name: "role", about: "Role of who asks; this or `as`.", shape: schema::<shape::Role> },
    Query {
        name: "as",
        about: "Who asks, if it is not anybody of a role: `key:ID`, `service:NAME` or `user:NAME`, with the roles that \
                they have now by themselves and by grants.",
        shape: schema::<shape::Asker>,
    },
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
