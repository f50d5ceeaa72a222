//! Layers, edges, and who may link a cipher.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Violations;
use crate::tidy::table::Exceptions;

/// Layers from the bottom up. An edge goes to a lower layer only.
const LAYERS: &[&str] = &["base", "core", "adapter", "shell", "edge", "tool"];

/// Libraries of ciphers, signatures and TLS.
const CRYPTOGRAPHY: &[&str] =
    &["ring", "p256", "p384", "p521", "rustls", "tokio-rustls", "rcgen", "aws-lc-rs", "aws-lc-sys"];

/// Crates that may use them.
const CRYPTOGRAPHY_HOMES: &[&str] = &["vault", "net", "integrity", "audit"];

/// One of our packages.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    /// Name without the prefix, which is also its folder's name.
    pub(crate) name: String,
    pub(crate) layer: String,
    pub(crate) folder: PathBuf,
    /// Names of normal dependencies, ours without the prefix.
    pub(crate) dependencies: Vec<String>,
}

/// Our packages.
#[derive(Debug, Clone, Default)]
pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
}

impl Workspace {
    pub(crate) fn read(root: &Path) -> Result<Self, String> {
        let text = super::cargo(root, &["metadata", "--format-version", "1", "--no-deps", "--locked"])?;
        Self::parse(&text)
    }

    /// Reads what `cargo metadata --no-deps` prints.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| format!("tidy: cargo metadata: {error}"))?;
        let packages = value.get("packages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Ok(Self { packages: packages.iter().filter_map(package).collect() })
    }
}

fn short(name: &str) -> String {
    name.strip_prefix("strongroom-").unwrap_or(name).to_owned()
}

fn package(value: &Value) -> Option<Package> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let layer = value.pointer("/metadata/strongroom/layer").and_then(Value::as_str).unwrap_or("");
    let dependencies = value.get("dependencies").and_then(Value::as_array)?;
    Some(Package {
        name: short(text("name")?),
        layer: layer.to_owned(),
        folder: Path::new(text("manifest_path")?).parent()?.to_path_buf(),
        dependencies: dependencies
            .iter()
            // `kind` is null for normal dependencies, else `dev` or `build`.
            .filter(|dependency| dependency.get("kind").is_none_or(Value::is_null))
            .filter_map(|dependency| dependency.get("name").and_then(Value::as_str).map(short))
            .collect(),
    })
}

/// Checks edges between layers and the users of cryptography.
pub(crate) fn check(workspace: &Workspace, exceptions: &Exceptions) -> Violations {
    let mut violations = Violations::new();
    let layers: BTreeMap<&str, &str> =
        workspace.packages.iter().map(|package| (package.name.as_str(), package.layer.as_str())).collect();
    for package in &workspace.packages {
        let name = &package.name;
        let Some(own) = rank(&package.layer) else {
            violations.push(format!("{name}: layer `{}` is none of {}", package.layer, LAYERS.join(", ")));
            continue;
        };
        for dependency in &package.dependencies {
            if let Some(layer) = layers.get(dependency.as_str()) {
                let listed = exceptions.core_edges.iter().any(|(from, to)| from == name && to == dependency);
                let both_core = package.layer == "core" && *layer == "core";
                // Within the lowest layer, `base` is the floor of the floor.
                let floor = package.layer == "base" && dependency == "base";
                let down = rank(layer).is_some_and(|other| other < own);
                if !(down || floor || (both_core && listed)) {
                    violations.push(format!(
                        "{name} ({}) must not use {dependency} ({layer}): edges go down the layers only",
                        package.layer
                    ));
                }
            }
            let listed = exceptions.cryptography.iter().any(|(from, to)| from == name && to == dependency);
            if CRYPTOGRAPHY.contains(&dependency.as_str())
                && !CRYPTOGRAPHY_HOMES.contains(&name.as_str())
                && !listed
            {
                violations.push(format!(
                    "{name} must not use {dependency}: only {} do, and what ARCHITECTURE.md lists",
                    CRYPTOGRAPHY_HOMES.join(", ")
                ));
            }
        }
    }
    violations.extend(unused_exceptions(workspace, exceptions));
    violations
}

/// An exception that nothing needs any more is taken out of the table.
fn unused_exceptions(workspace: &Workspace, exceptions: &Exceptions) -> Violations {
    let used = |(from, to): &&(String, String)| {
        workspace.packages.iter().any(|package| package.name == *from && package.dependencies.contains(to))
    };
    let listed = exceptions.core_edges.iter().chain(&exceptions.cryptography);
    listed
        .filter(|pair| !used(pair))
        .map(|(from, to)| format!("ARCHITECTURE.md allows {from} to use {to}, which it does not"))
        .collect()
}

fn rank(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|known| *known == layer)
}
