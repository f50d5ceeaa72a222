//! Keras: which classes a configuration may build. Every object of it names a module and a class; both are on
//! exact lists, since a loader imports what they name.

pub(crate) mod archive;
mod names;

use crate::cursor::show;
use crate::json::Json;
use crate::limits;
use crate::report::{self, Finding};

/// Whether the members are those of a serialised object.
pub(crate) fn is_object(members: &[(String, Json)]) -> bool {
    let has = |wanted: &str| members.iter().any(|(key, _)| key == wanted);
    members.iter().any(|(key, value)| key == "class_name" && matches!(value, Json::String(_)))
        && (has("config") || has("module") || has("registered_name"))
}

/// Whether configurations may name this module of Keras.
pub(crate) fn is_module(path: &str) -> bool {
    names::MODULES.iter().any(|module| module.path == path)
}

fn code(at: u64, what: String) -> Finding {
    Finding::new(&report::KERAS_CODE, at, what)
}

/// Checks an object and all within it.
pub(crate) fn check_object(root: &Json, at: u64, findings: &mut Vec<Finding>) {
    let mut stack = vec![root];
    while let Some(value) = stack.pop() {
        if findings.len() >= limits::FINDINGS {
            return;
        }
        match value {
            Json::Array(items) => stack.extend(items),
            Json::Object(members) => {
                object(members, at, findings);
                stack.extend(members.iter().map(|(_, member)| member));
            }
            Json::String(text) => {
                if leaves(text) {
                    let what =
                        format!("text `{}` is a path or address outside the file", show(text.as_bytes()));
                    findings.push(Finding::new(&report::KERAS_PATH, at, what));
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }
}

/// Keys that no configuration of listed classes has, whatever their value.
const CODE_KEYS: &[&str] = &[
    "__lambda__",
    "__function__",
    "__pickle__",
    "__reduce__",
    "__main__",
    "enable_unsafe_deserialization",
    "trust_remote_code",
    "custom_objects",
    "safe_mode",
    "get_file",
    "exec",
    "eval",
];

/// Keys of layers that name a file to read.
const FILE_KEYS: &[&str] =
    &["vocabulary", "vocabulary_path", "filepath", "file_path", "asset_path", "call_endpoint"];

fn object(members: &[(String, Json)], at: u64, findings: &mut Vec<Finding>) {
    let mut class = None;
    let mut module = None;
    for (key, value) in members {
        match (key.as_str(), value) {
            ("class_name", Json::String(text)) => class = Some(text.as_str()),
            ("class_name", _) => findings.push(code(at, "`class_name` is no text".to_owned())),
            ("module", Json::String(text)) => module = Some(text.as_str()),
            ("registered_name", Json::String(text)) if text.contains('>') => {
                findings.push(code(at, format!("`{}` is a class of a package", show(text.as_bytes()))));
            }
            (key, value) if FILE_KEYS.contains(&key) && matches!(value, Json::String(_)) => {
                let what = format!("key `{key}` names a file to read");
                findings.push(Finding::new(&report::KERAS_PATH, at, what));
            }
            (key, _) if CODE_KEYS.contains(&key) => {
                findings.push(code(at, format!("key `{key}` carries code")));
            }
            _ => {}
        }
    }
    let Some(class) = class else {
        if let Some(module) = module
            && !is_module(module)
        {
            findings.push(code(at, format!("module `{}` is not listed", show(module.as_bytes()))));
        }
        return;
    };
    if !names::is_listed(module, class) {
        let place =
            module.map_or(String::new(), |module| format!(" of module `{}`", show(module.as_bytes())));
        findings.push(code(at, format!("class `{}`{place} is not listed", show(class.as_bytes()))));
    }
    let registered = members.iter().find(|(key, _)| key == "registered_name").map(|(_, value)| value);
    match registered {
        None | Some(Json::Null) => {}
        Some(Json::String(name)) if name == class => {}
        Some(_) => findings
            .push(code(at, format!("class `{}` is registered under another name", show(class.as_bytes())))),
    }
}

/// An address, an absolute path, or one that goes up.
fn leaves(text: &str) -> bool {
    let drive = text.as_bytes().get(1..3).is_some_and(|rest| rest == b":\\" || rest == b":/");
    text.contains("://")
        || (text.starts_with('/') && text.len() > 1)
        || text.starts_with("~/")
        || text.starts_with("\\\\")
        || (drive && text.starts_with(|c: char| c.is_ascii_alphabetic()))
        || text.split(['/', '\\']).any(|part| part == "..")
}
