//! Rules on the text of files.

use std::path::{Path, PathBuf};

use crate::Violations;
use crate::tidy::law::Workspace;

/// Lines of a source file at which it must be split.
const MAX_LINES: usize = 800;

/// Folders that hold no sources of ours.
const SKIPPED: &[&str] =
    &["target", ".git", ".venv", ".cache", "corpus", "artifacts", "node_modules", "__pycache__"];

/// Files whose text is checked.
const EXTENSIONS: &[&str] = &["rs", "toml", "md", "py", "sh"];

/// What a core must not reach for: I/O, the environment, the clock, an executor.
const CORE_BANS: &[&str] = &["std::fs", "std::net", "std::env", "tokio", "SystemTime::now", "Instant::now"];

/// Words of unfinished work. Put together here, so that this file passes its own rule.
const BANNED_WORDS: &[&str] = &[concat!("to", "do!"), concat!("place", "holder")];

/// Headed paragraphs of a crate's documentation.
const CRATE_DOC: &[&str] = &["//! **What.**", "//! **Why.**", "//! **Where.**", "//! **Invariants.**"];

/// Checks every file of the workspace.
pub(crate) fn check(root: &Path, workspace: &Workspace) -> Violations {
    let mut files = Vec::new();
    collect(root, &mut files);
    files.sort();
    let mut violations = Violations::new();
    for path in &files {
        let Ok(text) = std::fs::read_to_string(path) else {
            violations.push(format!("{}: is not UTF-8 text", path.display()));
            continue;
        };
        let shown = path.strip_prefix(root).unwrap_or(path).display().to_string();
        violations.extend(any_file(&shown, &text));
        if path.extension().is_some_and(|extension| extension == "rs") {
            violations.extend(rust_file(&shown, &text));
            if !is_test(path) {
                violations.extend(finished(&shown, &text));
            }
            let owner =
                workspace.packages.iter().find(|package| path.starts_with(package.folder.join("src")));
            let core = owner.is_some_and(|package| package.layer == "core");
            if core && !is_test(path) {
                violations.extend(core_file(&shown, &text));
            }
            if owner.is_none_or(|package| package.name != "host") && !shown.starts_with("crates/host/") {
                violations.extend(unsafe_code(&shown, &text));
            }
        }
    }
    for package in &workspace.packages {
        violations.extend(crate_doc(package));
    }
    violations
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(items) = std::fs::read_dir(folder) else { return };
    for item in items.flatten() {
        let path = item.path();
        let name = item.file_name();
        let name = name.to_string_lossy();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            if !SKIPPED.contains(&name.as_ref()) {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known))
        {
            files.push(path);
        }
    }
}

/// A file or folder that holds tests only.
fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs")
}

/// Rules for every file.
pub(crate) fn any_file(path: &str, text: &str) -> Violations {
    let mut violations = Violations::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.ends_with([' ', '\t']) {
            violations.push(format!("{path}:{number}: trailing white space"));
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        violations.push(format!("{path}: no newline at the end"));
    }
    violations
}

/// Rules for Rust files.
pub(crate) fn rust_file(path: &str, text: &str) -> Violations {
    let mut violations = Violations::new();
    let lines = text.lines().count();
    if lines > MAX_LINES {
        violations.push(format!("{path}: {lines} lines; split it (at most {MAX_LINES})"));
    }
    violations
}

/// Rules for Rust files that are no tests.
pub(crate) fn finished(path: &str, text: &str) -> Violations {
    let mut violations = Violations::new();
    for (number, line) in (1..).zip(text.lines()) {
        let lower = line.to_lowercase();
        for word in BANNED_WORDS {
            if lower.contains(word) {
                violations.push(format!("{path}:{number}: `{word}` is unfinished work"));
            }
        }
    }
    violations
}

/// Rules for cores.
pub(crate) fn core_file(path: &str, text: &str) -> Violations {
    let mut violations = Violations::new();
    for (number, line) in code(without_test_modules(text)) {
        for ban in CORE_BANS {
            if has_word(&line, ban) {
                violations.push(format!("{path}:{number}: a core must not use `{ban}`"));
            }
        }
    }
    violations
}

/// `unsafe` as a keyword.
pub(crate) fn unsafe_code(path: &str, text: &str) -> Violations {
    let mut violations = Violations::new();
    for (number, line) in code(text) {
        if has_word(&line, "unsafe") {
            violations.push(format!("{path}:{number}: `unsafe` outside the host crate"));
        }
    }
    violations
}

/// The four paragraphs at the head of a package's documentation.
fn crate_doc(package: &super::law::Package) -> Violations {
    let roots = ["src/lib.rs", "src/main.rs"].map(|file| package.folder.join(file));
    let Some(root) = roots.iter().find(|root| root.exists()) else {
        return vec![format!("{}: neither src/lib.rs nor src/main.rs", package.name)];
    };
    doc_paragraphs(&root.display().to_string(), &std::fs::read_to_string(root).unwrap_or_default())
}

pub(crate) fn doc_paragraphs(path: &str, text: &str) -> Violations {
    let missing = CRATE_DOC.iter().filter(|head| !text.lines().any(|line| line.starts_with(**head)));
    missing.map(|head| format!("{path}: lacks the paragraph `{head}`")).collect()
}

/// Everything before the first inline test module.
fn without_test_modules(text: &str) -> &str {
    let cut = text.match_indices("#[cfg(test)]").find(|(at, head)| {
        let rest = text.get(at + head.len()..).unwrap_or_default().trim_start();
        let line = rest.lines().next().unwrap_or_default();
        line.starts_with("mod ") && line.ends_with('{')
    });
    cut.and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

/// Lines without comments and without the contents of plain string literals, numbered from 1.
fn code(text: &str) -> impl Iterator<Item = (usize, String)> {
    (1..).zip(text.lines()).map(|(number, line)| (number, strip(line)))
}

fn strip(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    let mut in_string = false;
    while let Some(char) = chars.next() {
        match char {
            '\\' if in_string => drop(chars.next()),
            // A quote in a character literal does not open a string.
            '\'' if !in_string && chars.peek() == Some(&'"') => drop(chars.next()),
            '"' => in_string = !in_string,
            '/' if !in_string && chars.peek() == Some(&'/') => return out,
            _ if in_string => {}
            _ => out.push(char),
        }
    }
    out
}

/// Whether `word` stands in the line with no identifier character on either side.
fn has_word(line: &str, word: &str) -> bool {
    let part = |char: char| char.is_alphanumeric() || char == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|head| head.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|tail| tail.chars().next());
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}
