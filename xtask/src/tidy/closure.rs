//! How much the trusted processes link.

use std::collections::BTreeSet;
use std::path::Path;

use crate::Violations;

/// A bound on the crates of a binary.
#[derive(Debug)]
pub(crate) struct Limit {
    pub(crate) package: &'static str,
    pub(crate) crates: usize,
}

/// The keeper holds keys, the warden has privilege.
pub(crate) const LIMITS: &[Limit] =
    &[Limit { package: "strongroom-keeper", crates: 60 }, Limit { package: "strongroom-warden", crates: 40 }];

/// What neither may link: network, TLS, database, async.
const DENIED: &[&str] =
    &["tokio", "hyper", "rustls", "rusqlite", "libsqlite3-sys", "aws-lc-rs", "aws-lc-sys"];

/// The crates that a package links on Linux with the features it is built with: normal dependencies,
/// without procedural macros, which run at build time only.
pub(crate) fn of(root: &Path, package: &str) -> Result<BTreeSet<String>, String> {
    let text = super::cargo(
        root,
        &[
            "tree",
            "--locked",
            "--package",
            package,
            "--edges",
            "normal,no-proc-macro",
            "--target",
            "x86_64-unknown-linux-gnu",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ],
    )?;
    Ok(parse(&text))
}

/// `name version`, one each, the package itself included.
pub(crate) fn parse(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some(format!("{} {}", words.next()?, words.next()?))
        })
        .collect()
}

/// Holds a closure against its bound and the denied crates.
pub(crate) fn check(limit: &Limit, crates: &BTreeSet<String>) -> Violations {
    let mut violations = Violations::new();
    if crates.len() > limit.crates {
        violations.push(format!(
            "{} links {} crates, at most {} are allowed: {}",
            limit.package,
            crates.len(),
            limit.crates,
            crates.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
        ));
    }
    for denied in DENIED {
        if crates.iter().any(|found| found.split(' ').next() == Some(denied)) {
            violations.push(format!("{} must not link {denied}", limit.package));
        }
    }
    violations
}
