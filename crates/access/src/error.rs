//! Why a set of rules cannot be used.

use base::Explain;

/// Why a set of rules cannot be used. Lines count from 1; 0 where the fault has no one place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Longer, deeper or more than the limits.
    #[error("line {line}: the rules exceed a limit: {reason}")]
    Limit {
        /// Where.
        line: usize,
        /// Which limit.
        reason: String,
    },
    /// Not the language of rules.
    #[error("line {line}: not Cedar: {reason}")]
    Syntax {
        /// Where.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A rule that the schema does not allow, or that can never apply.
    #[error("line {line}: rule `{rule}` does not fit the schema: {reason}")]
    Schema {
        /// Where.
        line: usize,
        /// Name of the rule.
        rule: String,
        /// What is wrong.
        reason: String,
    },
    /// A rule without a name of its own, by which a decision could name it.
    #[error("line {line}: {reason}")]
    Name {
        /// Where.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// With these rules nobody could take them back.
    #[error("the operator could no longer `{operation}`: {why}")]
    LockedOut {
        /// The operation.
        operation: &'static str,
        /// What forbids it.
        why: String,
    },
    /// Tests of rules that cannot be used.
    #[error("the tests of the rules cannot be used: {0}")]
    Tests(String),
    /// The schema that this program carries does not load.
    #[error("the built-in schema is broken: {0}")]
    BuiltIn(String),
}

impl Explain for PolicyError {
    fn code(&self) -> &'static str {
        match self {
            Self::Limit { .. } => "SR-POL-0001",
            Self::Syntax { .. } => "SR-POL-0002",
            Self::Schema { .. } => "SR-POL-0003",
            Self::Name { .. } => "SR-POL-0004",
            Self::BuiltIn(_) => "SR-POL-0005",
            Self::LockedOut { .. } => "SR-POL-0006",
            Self::Tests(_) => "SR-POL-0007",
        }
    }

    fn fault(&self) -> base::Fault {
        match self {
            Self::BuiltIn(_) => base::Fault::Platform,
            _ => base::Fault::Caller,
        }
    }

    fn help(&self) -> Option<base::Help> {
        Some(match self {
            Self::BuiltIn(_) => "this is a defect of the platform; report it",
            Self::LockedOut { .. } => {
                "leave the operator `policy.apply` and `policy.withdraw`: `strongroom policy check rules.cedar`"
            }
            Self::Tests(_) => {
                "see how a test is written with `strongroom policy test --help`, then try it with `strongroom policy test rules.tests.toml`"
            }
            _ => "compare with the rules and the schema that ship: `strongroom policy show --schema`",
        })
    }
}
