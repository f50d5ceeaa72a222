//! A fact with its origin.

use base::Digest;

/// The audit record that shows where a fact comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Its index in the node's log.
    pub log_index: u64,
    /// SHA-256 of the stored log entry.
    pub fingerprint: Digest,
}

/// A declaration that differs from what was observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// What was declared.
    pub value: String,
    /// By whom.
    pub by: String,
}

/// What is known of one field. There is no way to hold a value without saying where it comes from, and none to
/// leave a field out: `Unknown` is written into the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// The platform saw it.
    Observed {
        /// The value.
        value: String,
        /// The process that saw it, such as `warden`.
        by: String,
        /// Where the log says so.
        evidence: Option<Evidence>,
        /// Declarations that say otherwise.
        conflicts: Vec<Conflict>,
    },
    /// Somebody says so.
    Declared {
        /// The value.
        value: String,
        /// A person, organisation or program.
        by: String,
    },
    /// Nobody said, and the platform could not see.
    Unknown,
    /// The field has no meaning here.
    NotApplicable {
        /// Why not.
        reason: String,
    },
}

/// The origin alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// The platform saw it.
    Observed,
    /// Somebody says so.
    Declared,
    /// Not known.
    Unknown,
    /// Has no meaning here.
    NotApplicable,
}

impl Fact {
    /// A fact that the process `by` saw.
    #[expect(clippy::needless_pass_by_value, reason = "callers pass numbers and texts as they have them")]
    pub fn observed(value: impl ToString, by: &str) -> Self {
        Self::Observed { value: value.to_string(), by: by.to_owned(), evidence: None, conflicts: Vec::new() }
    }

    /// A fact that the process `by` saw and the log holds.
    #[expect(clippy::needless_pass_by_value, reason = "callers pass numbers and texts as they have them")]
    pub fn observed_in(value: impl ToString, by: &str, evidence: Evidence) -> Self {
        let (value, by) = (value.to_string(), by.to_owned());
        Self::Observed { value, by, evidence: Some(evidence), conflicts: Vec::new() }
    }

    /// A fact that `by` states.
    #[expect(clippy::needless_pass_by_value, reason = "callers pass numbers and texts as they have them")]
    pub fn declared(value: impl ToString, by: &str) -> Self {
        Self::Declared { value: value.to_string(), by: by.to_owned() }
    }

    /// The value, if there is one.
    pub fn value(&self) -> Option<&str> {
        match self {
            Self::Observed { value, .. } | Self::Declared { value, .. } => Some(value),
            Self::Unknown | Self::NotApplicable { .. } => None,
        }
    }

    /// The origin.
    pub fn mark(&self) -> Mark {
        match self {
            Self::Observed { .. } => Mark::Observed,
            Self::Declared { .. } => Mark::Declared,
            Self::Unknown => Mark::Unknown,
            Self::NotApplicable { .. } => Mark::NotApplicable,
        }
    }

    /// Takes a declaration. An observation stays: a declaration that differs from it is kept beside it as a
    /// conflict. Anything else becomes what was declared last. Returns whether there is a conflict.
    pub fn declare(&mut self, value: &str, by: &str) -> bool {
        match self {
            Self::Observed { value: seen, .. } if seen == value => false,
            Self::Observed { conflicts, .. } => {
                let conflict = Conflict { value: value.to_owned(), by: by.to_owned() };
                if !conflicts.contains(&conflict) {
                    conflicts.push(conflict);
                }
                true
            }
            Self::Declared { .. } | Self::Unknown | Self::NotApplicable { .. } => {
                *self = Self::declared(value, by);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_never_overwrites_an_observation() {
        let mut fact = Fact::observed("42", "warden");
        assert!(!fact.declare("42", "acme"), "agreement is no conflict");
        assert!(fact.declare("43", "acme"));
        assert!(fact.declare("43", "acme"));
        assert_eq!((fact.value(), fact.mark()), (Some("42"), Mark::Observed));
        let Fact::Observed { conflicts, .. } = &fact else { panic!("{fact:?}") };
        assert_eq!(conflicts, &[Conflict { value: "43".into(), by: "acme".into() }]);
    }

    #[test]
    fn a_declaration_fills_what_nobody_saw() {
        let mut fact = Fact::Unknown;
        assert!(!fact.declare("MIT", "acme"));
        assert_eq!((fact.value(), fact.mark()), (Some("MIT"), Mark::Declared));
    }
}
