//! **What.** Who may do what: a Cedar schema of the platform's roles, things and operations, the rules that ship, and
//! the decision on one request with the version and the names of the rules that made it; how long the session of a
//! person lasts; what two people must agree on; and how many bytes of weights may leave.
//!
//! **Why.** Rights that are spread over handlers cannot be read, reviewed or shown to an auditor. Here they are one
//! text, checked against one schema before it takes effect, and the table that it comes to is committed and compared.
//!
//! **Where.** Used by `control`, which asks for every request, and by `strongroom access` and `strongroom policy`,
//! which answer without a node. A core crate: no I/O, no clock, no state.
//!
//! **Invariants.** Nothing is allowed unless a rule permits it, and no rule outweighs one that forbids. Rules that name
//! an operation, role or thing that the schema does not have are refused whole. Names of a request become ids of
//! entities and never text of a rule. A rule that cannot be evaluated denies. Rules of one's own are
//! added to those that ship: what those forbid stays forbidden.

pub mod approval;
mod bounds;
mod change;
mod decision;
pub mod egress;
mod error;
mod own;
mod role;
mod rules;
pub mod session;
mod suite;

pub use change::{Change, Right};
pub use decision::{Circumstances, Decision, Mode, Principal, Request};
pub use error::PolicyError;
pub use own::{OWN_MAX, own_rules};
pub use role::{Role, UnknownRole};
pub use rules::{Operation, Policies, SHIPPED};
pub use suite::{Suite, TESTS_TEXT_MAX, Verdict};
