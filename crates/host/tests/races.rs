//! Swaps between the check of a model's bytes and their use, 10,000 of them, by root and through the very mount that is
//! checked: once it is read-only for good, what is used is what was checked. The control checks by path alone, as loaders
//! do, and the same attack goes through every time.
//! Needs root; otherwise every test is skipped, counted and said.

#[cfg(test)]
#[expect(dead_code, reason = "the other suites use the rest")]
mod support;

#[cfg(test)]
mod race;

#[cfg(test)]
fn main() -> std::process::ExitCode {
    support::main("races", race::ALL)
}

#[cfg(not(test))]
fn main() {}
