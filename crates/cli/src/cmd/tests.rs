//! What the program says about itself is true: codes are explained, advised commands exist, the page is fresh.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Parser;
use clap::error::ErrorKind;

use crate::args::{Cli, ExplainArgs};
use crate::cmd::explain;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every Rust source of the workspace, with its text.
fn sources() -> Vec<(PathBuf, String)> {
    fn visit(dir: &Path, out: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                visit(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut out = Vec::new();
    visit(&root().join("crates"), &mut out);
    out
}

/// The codes in a text: `SR-`, three capitals, `-`, four digits.
fn codes(text: &str) -> BTreeSet<String> {
    text.match_indices("SR-")
        .filter_map(|(at, _)| text.get(at..at + 11))
        .filter(|code| {
            let bytes = code.as_bytes();
            bytes[3..6].iter().all(u8::is_ascii_uppercase)
                && bytes[6] == b'-'
                && bytes[7..].iter().all(u8::is_ascii_digit)
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_code_of_the_workspace_is_explained_with_a_next_step() {
    let table = explain::table().unwrap();
    let mut missing = BTreeMap::new();
    for (path, text) in sources() {
        if path.ends_with("cmd/tests.rs") {
            continue;
        }
        for code in codes(&text) {
            if !table.contains_key(&code) {
                missing.insert(code, path.clone());
            }
        }
    }
    assert!(missing.is_empty(), "codes without an entry in errors.toml: {missing:#?}");
    for (code, entry) in table {
        assert!(!entry.meaning.is_empty() && !entry.next.is_empty(), "{code}");
    }
}

/// The commands in back-ticks of a text.
fn commands(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.strip_prefix("strongroom ")).collect()
}

/// Whether a command exists. Advice may leave out arguments and values, but no word of it may be unknown.
fn fault(command: &str) -> Option<String> {
    let words = crate::args::tests::words(command);
    match Cli::try_parse_from(std::iter::once("strongroom".to_owned()).chain(words)) {
        Ok(_) => None,
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::MissingRequiredArgument
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::MissingSubcommand => None,
            // A flag named without its value.
            ErrorKind::InvalidValue if error.to_string().contains("none was supplied") => None,
            _ => Some(error.to_string()),
        },
    }
}

#[test]
fn every_command_in_the_table_of_codes_exists() {
    let mut seen = 0;
    for (code, entry) in explain::table().unwrap() {
        for text in entry.next.iter().chain(&entry.causes) {
            for command in commands(text) {
                seen += 1;
                assert_eq!(fault(command), None, "{code}: `strongroom {command}`");
            }
        }
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn every_command_that_a_program_advises_exists() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if path.ends_with("cmd/tests.rs") {
            continue;
        }
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for command in commands(line).into_iter().filter(|c| !c.contains('{')) {
                if let Some(error) = fault(command) {
                    wrong.push(format!("{}: `strongroom {command}`: {error}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_command_that_does_not_exist_is_found_out() {
    for bad in ["audit prove evt_1", "modl list", "model verify m@1 --explain", "tenant create"] {
        assert_eq!(fault(bad).is_some(), bad != "tenant create", "{bad}");
    }
}

#[test]
fn the_page_of_codes_is_fresh() {
    let args = ExplainArgs { code: None, all: false, markdown: true };
    let answer = explain::run(&args).unwrap();
    let page = std::fs::read_to_string(root().join("docs/errors.md")).unwrap_or_default();
    assert!(
        answer.json["text"] == page.as_str(),
        "docs/errors.md is stale: target/release/strongroom explain --markdown > docs/errors.md"
    );
}
