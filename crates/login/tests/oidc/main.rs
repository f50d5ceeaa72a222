//! Logins by OpenID providers over real connections: one that is not ours, and one that lies.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test ends by panicking, and waits for real processes"
)]

mod lies;
mod real;
mod support;
