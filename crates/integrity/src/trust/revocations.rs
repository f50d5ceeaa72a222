//! What is trusted no longer: a signed, numbered list.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use base::{Digest, Timestamp};

use super::document;
use super::error::TrustError;
use crate::dsse::Envelope;
use crate::error::quote;
use crate::key::PublicKey;
use crate::limits::{REVOCATIONS_MAX, SKEW_MILLIS};

/// The DSSE payload type of a list.
pub const REVOCATIONS_TYPE: &str = "application/vnd.strongroom.revocations+json";

/// `schema` of a list.
const SCHEMA: &str = "strongroom.revocations/1";

/// What an entry names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A key, by its OMS fingerprint.
    Key,
    /// A certificate of a signer or of an authority, by its SHA-256.
    Certificate,
    /// A model, by its root digest.
    RootDigest,
    /// A file of any model, by its SHA-256.
    FileDigest,
    /// A data set that a model was trained on, by the name that its BoM gives it.
    Dataset,
}

/// Something that is trusted no longer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What is named.
    pub kind: Kind,
    /// Its name: 64 hex characters, or for a data set any name.
    pub id: String,
    /// Since when it is known to be bad, as RFC 3339; for people. What is listed is refused at once, also what was
    /// signed before: the time of a signature proves nothing once its key is lost.
    pub since: String,
    /// Why; for people.
    pub reason: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    schema: String,
    list_version: u64,
    issued: String,
    next_update: String,
    entries: Vec<Entry>,
}

/// A list whose signature verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocations {
    digest: Digest,
    list_version: u64,
    issued: Timestamp,
    next_update: Timestamp,
    /// By what they name. Of two that name the same, the first is kept: they say the same to a program.
    entries: BTreeMap<(Kind, String), Entry>,
}

impl Revocations {
    /// Opens the DSSE envelope around a list.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn open(envelope: &[u8], key: &PublicKey) -> Result<Self, TrustError> {
        let envelope = Envelope::parse(envelope).map_err(TrustError::Signature)?;
        let payload = envelope.verify(REVOCATIONS_TYPE, key).map_err(TrustError::Signature)?;
        Self::parse(payload)
    }

    /// Reads a list that nobody has signed yet: to check it before it is signed.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustError> {
        let (document, digest): (Document, Digest) = document::read(bytes)?;
        if document.schema != SCHEMA {
            let found = quote(&document.schema);
            return Err(TrustError::value("schema", format!("it is `{found}`, not `{SCHEMA}`")));
        }
        if document.list_version == 0 {
            return Err(TrustError::value("list_version", "lists count from 1"));
        }
        if document.entries.len() > REVOCATIONS_MAX {
            return Err(TrustError::value("entries", format!("more than {REVOCATIONS_MAX}")));
        }
        let issued = document::time("issued", &document.issued)?;
        let next_update = document::time("next_update", &document.next_update)?;
        if next_update <= issued {
            return Err(TrustError::value("next_update", "it is not after `issued`"));
        }
        let mut entries = BTreeMap::new();
        for entry in document.entries {
            let place = format!("entry `{}`", quote(&entry.id));
            document::time(&place, &entry.since)?;
            document::word(&place, &entry.id)?;
            let digest = base::digest::unhex(&entry.id).is_some_and(|bytes| bytes.len() == 32);
            if entry.kind != Kind::Dataset && !digest {
                return Err(TrustError::value(place, "it is not 64 lower-case hex characters"));
            }
            entries.entry((entry.kind, entry.id.clone())).or_insert(entry);
        }
        Ok(Self { digest, list_version: document.list_version, issued, next_update, entries })
    }

    /// Whether it may take the place of a list that is known: a higher number, or the very same list.
    ///
    /// # Errors
    /// [`TrustError::Rollback`].
    pub fn replaces(&self, known: &Self) -> Result<(), TrustError> {
        let same = self.list_version == known.list_version && self.digest == known.digest;
        if same || self.list_version > known.list_version {
            return Ok(());
        }
        Err(TrustError::Rollback { known: known.list_version, offered: self.list_version })
    }

    /// SHA-256 of its canonical form.
    pub const fn digest(&self) -> Digest {
        self.digest
    }
    /// Its number.
    pub const fn list_version(&self) -> u64 {
        self.list_version
    }
    /// When it is to be replaced.
    pub const fn next_update(&self) -> Timestamp {
        self.next_update
    }
    /// All entries.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Whether it was issued after `now`, as far as clocks agree.
    pub(crate) fn is_of_the_future(&self, now: Timestamp) -> bool {
        self.issued > now.plus_millis(SKEW_MILLIS)
    }

    /// The entry that names this, if there is one.
    pub fn find(&self, kind: Kind, id: &str) -> Option<&Entry> {
        self.entries.get(&(kind, id.to_owned()))
    }
}
