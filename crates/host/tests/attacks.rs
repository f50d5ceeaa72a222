//! Attacks from inside a sandbox. Each is a small program that ends with 0 if it succeeded. It counts as blocked
//! only if the same program succeeds outside, as root: a probe that can never succeed proves nothing.
//! Needs root; otherwise every test is skipped, counted and said.

#[cfg(test)]
#[expect(dead_code, reason = "the other suite uses the rest")]
mod support;

#[cfg(test)]
mod attack;

#[cfg(test)]
fn main() -> std::process::ExitCode {
    support::main("attacks", attack::ALL)
}

#[cfg(not(test))]
fn main() {}
