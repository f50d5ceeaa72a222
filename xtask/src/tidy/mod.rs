//! `cargo xtask tidy`: the law of the workspace.

mod closure;
mod law;
mod sources;
mod table;

use std::path::Path;
use std::process::Command;

use crate::{Violations, docs};

/// Checks every rule.
pub(crate) fn run(root: &Path) -> Result<String, Violations> {
    let mut violations = Violations::new();
    match law::Workspace::read(root) {
        Ok(workspace) => {
            let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap_or_default();
            violations.extend(law::check(&workspace, &table::Exceptions::parse(&text)));
            for limit in closure::LIMITS {
                violations.extend(match closure::of(root, limit.package) {
                    Ok(crates) => closure::check(limit, &crates),
                    Err(error) => vec![error],
                });
            }
            violations.extend(sources::check(root, &workspace));
        }
        Err(error) => violations.push(error),
    }
    violations.extend(docs::stale(root));
    if violations.is_empty() {
        Ok("tidy: layers, sources, closures and documents are as they must be".to_owned())
    } else {
        Err(violations)
    }
}

/// The output of `cargo`.
fn cargo(root: &Path, args: &[&str]) -> Result<String, String> {
    let output = Command::new("cargo").args(args).current_dir(root).output();
    let output = output.map_err(|error| format!("tidy: cargo does not start: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("tidy: `cargo {}` failed: {}", args.join(" "), said.trim()));
    }
    String::from_utf8(output.stdout).map_err(|_| "tidy: cargo printed something that is not text".to_owned())
}

#[cfg(test)]
mod tests;
