//! The sandbox as its users see it: ordinary programs run, limits hold, inputs cannot change, the end is whole.
//! Needs root; otherwise every test is skipped, counted and said.

#[cfg(test)]
mod support;

#[cfg(test)]
mod cases;

#[cfg(test)]
fn main() -> std::process::ExitCode {
    support::main("sandbox", cases::ALL)
}

#[cfg(not(test))]
fn main() {}
