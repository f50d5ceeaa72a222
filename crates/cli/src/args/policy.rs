//! The verbs of `policy`.

use std::convert::Infallible;
use std::path::PathBuf;

use clap::Subcommand;

/// Which own rules are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RulesOf {
    /// None: those that ship alone.
    Shipped,
    /// A version of the node: its number, or `latest`.
    Version(String),
    /// A file.
    File(PathBuf),
}

impl std::str::FromStr for RulesOf {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        Ok(match text {
            "shipped" => Self::Shipped,
            text if number || text == "latest" => Self::Version(text.to_owned()),
            text => Self::File(PathBuf::from(text)),
        })
    }
}

/// Verbs of `policy`.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check a file of own rules, with those that ship, without a node: 0 it fits, 3 it does not
    #[command(before_long_help = "Examples:
  strongroom policy check rules.cedar")]
    Check {
        /// The file
        file: PathBuf,
    },
    /// Put own rules into force beside those that ship, from the next request on
    #[command(before_long_help = "Examples:
  strongroom policy apply rules.cedar --reason \"no releases before the audit\"
  strongroom policy apply rules.cedar --tests rules.tests.toml --reason \"ticket 4711\" --expect 3

What ships as forbidden stays forbidden, whatever is added. The tests must pass, and are run again at each later apply.")]
    Apply {
        /// File of rules, in Cedar; it takes the place of the own rules before it
        file: PathBuf,
        /// Why, for the log
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Tests of the rules, kept with them; default: those that came with the version in force
        #[arg(long, value_name = "FILE")]
        tests: Option<PathBuf>,
        /// Only if this version is in force; 0 for none
        #[arg(long, value_name = "VERSION")]
        expect: Option<u64>,
    },
    /// Withdraw the own rules: those that ship decide alone
    #[command(before_long_help = "Examples:
  strongroom policy withdraw --reason \"the audit is over\"")]
    Withdraw {
        /// Why, for the log
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// List the versions of own rules: who applied each, when and why, and which is in force
    #[command(before_long_help = "Examples:
  strongroom policy list
  strongroom policy list -o json")]
    List,
    /// Print the rules that ship or a version of own rules, the schema, or the table that they come to
    #[command(before_long_help = "Examples:
  strongroom policy show
  strongroom policy show latest
  strongroom policy show 3 --table
  strongroom policy show --schema
  strongroom policy show --table")]
    Show {
        /// Version of own rules, or `latest`; without one the rules that ship
        #[arg(value_name = "VERSION")]
        of: Option<RulesOf>,
        /// The schema that rules are checked against
        #[arg(long)]
        schema: bool,
        /// The table of roles and operations, as docs/access.md has it
        #[arg(long, conflicts_with = "schema")]
        table: bool,
    },
    /// What changes from one text of own rules to another: rules, and who may do what
    #[command(before_long_help = "Examples:
  strongroom policy diff 2 3
  strongroom policy diff latest rules.cedar
  strongroom policy diff shipped rules.cedar")]
    Diff {
        /// A version, `latest`, `shipped` or a file
        before: RulesOf,
        /// The same
        after: RulesOf,
    },
    /// Run tests of rules: 0 all pass, 3 one does not
    #[command(before_long_help = "Examples:
  strongroom policy test rules.tests.toml
  strongroom policy test rules.tests.toml --policy rules.cedar
  strongroom policy test rules.tests.toml --against 3
  strongroom policy test rules.tests.toml --against shipped

A file of tests:
  [[test]]
  name = \"engineers of acme do not deploy\"
  as = \"ml-engineer\"
  tenant = \"acme\"
  operation = \"endpoint.deploy\"
  expect = \"deny\"
  rule = \"who-trains-does-not-release\"
and, where they matter, `resource`, and `in` for another tenant than that of who asks. `rule` may be left out; empty
it stands for none.")]
    Test {
        /// File of tests, in TOML
        file: PathBuf,
        /// Own rules to test, with those that ship and without a node
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// A version, `latest` or `shipped`; default: what is in force on the node, and where none is known what ships
        #[arg(long, value_name = "VERSION", conflicts_with = "policy")]
        against: Option<RulesOf>,
    },
}
