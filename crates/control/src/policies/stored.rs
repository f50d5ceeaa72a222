//! A version of own rules as it is kept: a signed statement, and the texts that it names by digest.

use access::Policies;
use base::{Digest, sha256};
use integrity::PublicKey;
use integrity::dsse::Envelope;
use serde::{Deserialize, Serialize};
use store::MetaStore;
use store::records::{Policy, PolicyText};

use crate::Fail;
use crate::node::store_fail;

/// What is under the signature besides the statement, so that it is of nothing else.
pub(super) const PAYLOAD_TYPE: &str = "application/vnd.strongroom.policy+json";
/// Which statement it is.
const SCHEMA: &str = "strongroom.policy.statement/1";

/// What the keeper signs: which rules, by whom, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Statement {
    schema: String,
    version: u64,
    /// SHA-256 of the rules.
    rules: Digest,
    /// SHA-256 of their tests.
    tests: Option<Digest>,
    author: String,
    applied_ms: u64,
    reason: String,
}

impl Statement {
    pub(super) fn new(
        version: u64,
        text: &str,
        tests: Option<&str>,
        author: &str,
        applied_ms: u64,
        reason: &str,
    ) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            version,
            rules: sha256(text.as_bytes()),
            tests: tests.map(|tests| sha256(tests.as_bytes())),
            author: author.to_owned(),
            applied_ms,
            reason: reason.to_owned(),
        }
    }

    /// Its canonical JSON (RFC 8785).
    pub(super) fn payload(&self) -> Result<Vec<u8>, Fail> {
        let value =
            serde_json::to_value(self).map_err(|e| Fail::internal("a statement cannot be written", e))?;
        base::jcs::to_vec(&value).map_err(|e| Fail::internal("a statement cannot be written", e))
    }

    /// The statement of a record, if it is signed and about this version; else what is wrong.
    pub(super) fn open(key: &str, record: &Policy) -> Result<Self, String> {
        let key = PublicKey::from_pem(key.as_bytes()).map_err(|e| e.to_string())?;
        let envelope = Envelope::parse(record.envelope.as_bytes()).map_err(|e| e.to_string())?;
        let payload = envelope.verify(PAYLOAD_TYPE, &key).map_err(|e| e.to_string())?;
        let statement: Self =
            serde_json::from_slice(payload).map_err(|e| format!("the statement cannot be read: {e}"))?;
        if statement.schema != SCHEMA || statement.version != record.version {
            return Err(format!("the statement is about version {}", statement.version));
        }
        Ok(statement)
    }

    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    pub(super) const fn rules(&self) -> Digest {
        self.rules
    }

    pub(super) fn author(&self) -> &str {
        &self.author
    }

    pub(super) const fn applied_ms(&self) -> u64 {
        self.applied_ms
    }

    pub(super) fn reason(&self) -> &str {
        &self.reason
    }
}

/// A version whose signature and texts verify.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) statement: Statement,
    pub(super) text: String,
    pub(super) tests: Option<String>,
}

impl Version {
    /// Reads and verifies a version; the inner failure says what does not verify.
    pub(super) fn open(meta: &MetaStore, key: &str, record: &Policy) -> Result<Result<Self, String>, Fail> {
        let statement = match Statement::open(key, record) {
            Ok(statement) => statement,
            Err(fault) => return Ok(Err(fault)),
        };
        let read = |digest: Digest| {
            let stored = meta.read(|tx| tx.platform().get::<PolicyText>(&digest)).map_err(store_fail)?;
            let text = stored.map(|stored| stored.record.text).filter(|t| sha256(t.as_bytes()) == digest);
            Ok::<_, Fail>(text)
        };
        let lost = |what: &str| Ok(Err(format!("{what} are not those that were signed")));
        let Some(text) = read(statement.rules)? else { return lost("its rules") };
        let tests = match statement.tests {
            None => None,
            Some(digest) => match read(digest)? {
                Some(tests) => Some(tests),
                None => return lost("its tests"),
            },
        };
        Ok(Ok(Self { statement, text, tests }))
    }

    /// Its rules, with those that ship. A newer release may have taken away what they are about.
    pub(super) fn policies(&self) -> Result<Policies, String> {
        Policies::with_own(&self.text).map_err(|e| format!("this release does not take its rules: {e}"))
    }

    /// Whether it has rules; one that withdrew those before it has none.
    pub(super) const fn has_rules(&self) -> bool {
        !self.text.is_empty()
    }
}
