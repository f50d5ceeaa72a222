//! `cargo xtask ci`: what must hold before a change lands, in the order of cost.

use std::path::Path;
use std::process::Command;

use crate::{Violations, tidy};

/// Runs every step and stops at the first that fails.
pub(crate) fn run(root: &Path) -> Result<String, Violations> {
    step(root, "cargo", &["fmt", "--all", "--check"])?;
    println!("{}", tidy::run(root)?);
    // The release profile throughout, so that `make build`, `make run` and this share every dependency.
    step(
        root,
        "cargo",
        &["clippy", "--release", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
    )?;
    step(root, "cargo", &["build", "--release", "--workspace", "--locked"])?;
    if has_nextest(root) {
        step(root, "cargo", &["nextest", "run", "--release", "--workspace", "--locked", "--no-fail-fast"])?;
        step(root, "cargo", &["test", "--release", "--workspace", "--locked", "--doc"])?;
    } else {
        step(root, "cargo", &["test", "--release", "--workspace", "--locked", "--no-fail-fast"])?;
    }
    step(root, "scripts/end-to-end.sh", &[])?;
    Ok("ci: all steps passed".to_owned())
}

fn has_nextest(root: &Path) -> bool {
    let output = Command::new("cargo").args(["nextest", "--version"]).current_dir(root).output();
    output.is_ok_and(|output| output.status.success())
}

fn step(root: &Path, program: &str, args: &[&str]) -> Result<(), Violations> {
    println!("ci: {program} {}", args.join(" "));
    let program =
        if program.contains('/') { root.join(program).display().to_string() } else { program.to_owned() };
    match Command::new(&program).args(args).current_dir(root).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(vec![format!("ci: `{program} {}` ended with {status}", args.join(" "))]),
        Err(error) => Err(vec![format!("ci: `{program}` does not start: {error}")]),
    }
}
