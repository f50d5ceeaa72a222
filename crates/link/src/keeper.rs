//! The keeper as other processes see it.

use std::path::Path;
use std::time::Duration;

use base::Digest;
use ops::event::Event;
use ops::keeper::{BATCH_MAX, Request, Response, Role, Scope, SignKind};
use ops::receipt::Receipt;
use ops::{List, Text};

use crate::{Client, LinkError};

/// The keeper did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeeperError {
    /// It could not be asked, or did not answer. Whether it acted is not known.
    #[error("the keeper could not be asked")]
    Link(#[from] LinkError),
    /// It answered no.
    #[error("the keeper refused: {detail}")]
    Refused {
        /// Its stable code, `SR-KEY-0001`.
        code: String,
        /// Why.
        detail: String,
    },
    /// It answered something else than was asked.
    #[error("the keeper gave an answer of another kind")]
    Answer,
    /// More events than one message takes.
    #[error("{0} events in one message, limit {BATCH_MAX}")]
    Batch(usize),
}

impl base::Explain for KeeperError {
    fn code(&self) -> &'static str {
        match self {
            Self::Link(_) => "SR-LNK-0010",
            Self::Refused { .. } => "SR-LNK-0011",
            Self::Answer => "SR-LNK-0012",
            Self::Batch(_) => "SR-LNK-0013",
        }
    }
    fn fault(&self) -> base::Fault {
        match self {
            Self::Link(inner) => inner.fault(),
            Self::Refused { .. } | Self::Batch(_) => base::Fault::Caller,
            Self::Answer => base::Fault::Peer,
        }
    }
    fn retry(&self) -> base::Retry {
        match self {
            Self::Link(inner) => inner.retry(),
            _ => base::Retry::Never,
        }
    }
    fn help(&self) -> Option<base::Help> {
        Some("see the state of the keeper with `strongroom status`")
    }
}

/// A blocking connection to the keeper. Threads that share it take turns; open several for parallel work (the
/// keeper puts what waits from all of them into one commit).
#[derive(Debug)]
pub struct KeeperClient(Client);

impl KeeperClient {
    /// Connects and says who speaks.
    ///
    /// # Errors
    /// No keeper there, or it does not take this role from this user.
    pub fn connect(socket: &Path, role: Role, timeout: Duration) -> Result<Self, KeeperError> {
        let this = Self(Client::connect(socket, timeout)?);
        match this.call(&Request::Hello { role })? {
            Response::Welcome {} => Ok(this),
            _ => Err(KeeperError::Answer),
        }
    }

    /// Asks anything.
    ///
    /// # Errors
    /// [`KeeperError::Refused`], or the connection failed.
    pub fn call(&self, request: &Request) -> Result<Response, KeeperError> {
        match self.0.ask(request)? {
            Response::Refused { code, detail } => Err(KeeperError::Refused {
                code: code.as_str().to_owned(),
                detail: detail.as_str().to_owned(),
            }),
            answer => Ok(answer),
        }
    }

    /// Whether the connection can still be used; if not, connect again.
    pub fn is_usable(&self) -> bool {
        self.0.is_usable()
    }

    /// Appends events; returns the log index of the first. They are consecutive and durable.
    ///
    /// # Errors
    /// As [`KeeperClient::call`]; more than [`BATCH_MAX`] events.
    pub fn append(&self, events: Vec<Event>) -> Result<u64, KeeperError> {
        let count = events.len();
        let events = List::new(events).map_err(|_| KeeperError::Batch(count))?;
        match self.call(&Request::Append { events })? {
            Response::Appended { first } => Ok(first),
            _ => Err(KeeperError::Answer),
        }
    }

    /// Makes the keys of a scope, or finds them; returns the version of its key.
    ///
    /// # Errors
    /// As [`KeeperClient::call`].
    pub fn create_scope(&self, scope: Scope, correlation: u128) -> Result<u64, KeeperError> {
        match self.call(&Request::CreateScope { scope, correlation })? {
            Response::ScopeReady { kek_version } => Ok(kek_version),
            _ => Err(KeeperError::Answer),
        }
    }

    /// The name that an object of this digest has in this scope.
    ///
    /// # Errors
    /// As [`KeeperClient::call`].
    pub fn object_name(&self, scope: Scope, digest: Digest) -> Result<Digest, KeeperError> {
        match self.call(&Request::ObjectName { scope, digest })? {
            Response::Named { name } => Ok(name),
            _ => Err(KeeperError::Answer),
        }
    }

    /// Signs a digest; returns the signature and the log entry of it.
    ///
    /// # Errors
    /// As [`KeeperClient::call`].
    pub fn sign(
        &self,
        kind: SignKind,
        digest: Digest,
        tenant: &str,
        subject: &str,
        correlation: u128,
    ) -> Result<(Vec<u8>, u64), KeeperError> {
        let (tenant, subject) = (Text::clip(tenant), Text::clip(subject));
        match self.call(&Request::Sign { kind, digest, tenant, subject, correlation })? {
            Response::Signed { signature, index } => Ok((signature.into_inner(), index)),
            _ => Err(KeeperError::Answer),
        }
    }

    /// Logs the intent of an order to the warden; returns the receipt that the warden asks for.
    ///
    /// # Errors
    /// As [`KeeperClient::call`].
    pub fn authorise(&self, operation: Digest, event: Event) -> Result<Receipt, KeeperError> {
        match self.call(&Request::Authorise { operation, event })? {
            Response::Authorised { receipt } => Ok(receipt),
            _ => Err(KeeperError::Answer),
        }
    }
}
