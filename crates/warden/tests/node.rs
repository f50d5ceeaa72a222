//! The real warden with a whole node around it. The other processes are this same executable under other names:
//! a keeper that signs receipts, a porter that fills and hashes, and a control that gives orders and judges.
//! Needs root; otherwise skipped, and said.

#[cfg(test)]
mod parts;

#[cfg(test)]
fn main() -> std::process::ExitCode {
    let name = std::env::args().next().unwrap_or_default();
    match name.rsplit('/').next().unwrap_or_default() {
        "strongroom-keeper" => parts::keeper::main(),
        "strongroom" => parts::control::main(),
        "strongroom-porter" => parts::porter::main(),
        // Where the platform's runtime appears in a sandbox.
        "program" => parts::runtime::main(),
        _ => parts::main(),
    }
}

#[cfg(not(test))]
fn main() {}
