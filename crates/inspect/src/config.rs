//! The rule for configurations: what makes a loader import or run code, or read outside the model, is refused.
//!
//! Keys alone do not decide, since a vocabulary holds any word as a key: what counts is a key with a value of
//! the kind that its loader acts on. Module paths pass by exact lists.

use crate::cursor::show;
use crate::json::Json;
use crate::keras;
use crate::limits;
use crate::report::{self, Finding};
use crate::template;

/// Keys by which a loader is told to import or run code, whatever the text, list or object is.
const CODE_KEYS: &[&str] = &[
    "auto_map",
    "custom_pipelines",
    "custom_pipeline",
    "custom_generate",
    "custom_object_scope",
    "custom_objects",
    "_target_",
    "__target__",
    "class_path",
    "loader_module",
    "__reduce__",
    "__reduce_ex__",
    "__module__",
    "__class__",
    "__lambda__",
    "__function__",
    "__pickle__",
    "pickle",
    "enable_unsafe_deserialization",
];

/// Keys whose text is imported where it is a dotted path.
const IMPORT_KEYS: &[&str] = &[
    "type",
    "target",
    "class",
    "cls",
    "class_name",
    "module",
    "module_path",
    "module_class",
    "model_class",
    "layer_class",
    "activation_function",
    "activation_fn",
    "sbert_ce_default_activation_function",
    "func",
    "function",
    "callable",
    "entry_point",
    "handler",
    "loader",
    "factory",
    "builder",
    "constructor",
    "import",
    "imports",
    "plugins",
    "logits_processors",
];

/// Modules of sentence-transformers that `modules.json` may list.
const SENTENCE_MODULES: &[&str] = &[
    "sentence_transformers.models.Transformer",
    "sentence_transformers.models.Pooling",
    "sentence_transformers.models.Normalize",
    "sentence_transformers.models.Dense",
    "sentence_transformers.models.CLIPModel",
    "sentence_transformers.models.CNN",
    "sentence_transformers.models.LSTM",
    "sentence_transformers.models.BoW",
    "sentence_transformers.models.WordEmbeddings",
    "sentence_transformers.models.WordWeights",
    "sentence_transformers.models.WeightedLayerPooling",
    "sentence_transformers.models.LayerNorm",
    "sentence_transformers.models.Dropout",
    "sentence_transformers.models.Asym",
    "sentence_transformers.models.Router",
    "sentence_transformers.models.StaticEmbedding",
    "sentence_transformers.models.Transformer.Transformer",
    "sentence_transformers.models.Pooling.Pooling",
    "sentence_transformers.models.Normalize.Normalize",
    "sentence_transformers.models.Dense.Dense",
    "sentence_transformers.sparse_encoder.models.SpladePooling",
    "sentence_transformers.sparse_encoder.models.MLMTransformer",
    "sentence_transformers.sparse_encoder.models.SparseAutoEncoder",
    "sentence_transformers.sparse_encoder.models.SparseStaticEmbedding",
    "sentence_transformers.sparse_encoder.models.IDF",
    "sentence_transformers.sparse_encoder.models.CSR",
];

/// Activations of torch that configurations name by their path.
const ACTIVATIONS: &[&str] = &[
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "ReLU",
    "ReLU6",
    "SELU",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Tanh",
    "Tanhshrink",
];

/// Libraries that a diffusers pipeline takes its parts from, and the pipelines of diffusers that hold parts.
const PIPELINE_LIBRARIES: &[&str] = &[
    "diffusers",
    "transformers",
    "onnxruntime.training",
    "stable_diffusion",
    "stable_diffusion_safe",
    "stable_diffusion_xl",
    "stable_diffusion_3",
    "latent_diffusion",
    "alt_diffusion",
    "versatile_diffusion",
    "paint_by_example",
    "audioldm2",
    "unidiffuser",
    "deepfloyd_if",
    "kandinsky",
    "kandinsky2_2",
    "shap_e",
    "unclip",
    "wuerstchen",
    "stable_audio",
    "spectrogram_diffusion",
    "blip_diffusion",
    "flux",
    "ltx",
    "ltx2",
    "cosmos",
];

/// Applies the rule to a parsed text.
pub(crate) fn check(name: &str, root: &Json) -> Vec<Finding> {
    let mut findings = Vec::new();
    pipeline(name, root, &mut findings);
    modules(root, &mut findings);
    shards(root, &mut findings);
    let mut stack = vec![root];
    while let Some(value) = stack.pop() {
        if findings.len() >= limits::FINDINGS {
            break;
        }
        match value {
            Json::Array(items) => stack.extend(items),
            Json::Object(members) => {
                // A layer of Keras has a rule of its own, which looks at the whole of it.
                if keras::is_object(members) {
                    keras::check_object(value, 0, &mut findings);
                    continue;
                }
                for (key, member) in members {
                    member_rule(key, member, &mut findings);
                    stack.push(member);
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }
    findings
}

fn code(what: String) -> Finding {
    Finding::new(&report::JSON_CODE, 0, what)
}

fn member_rule(key: &str, member: &Json, findings: &mut Vec<Finding>) {
    let shown = show(key.as_bytes());
    let acts = match member {
        Json::String(_) => true,
        Json::Array(items) => !items.is_empty(),
        Json::Object(members) => !members.is_empty(),
        Json::Null | Json::Bool(_) | Json::Number(_) => false,
    };
    if CODE_KEYS.contains(&key) || key.starts_with("py/") {
        if acts || *member == Json::Bool(true) || key.starts_with("py/") {
            findings.push(code(format!("key `{shown}` names code to import")));
        }
    } else if key == "trust_remote_code" {
        if !matches!(member, Json::Bool(false) | Json::Null) {
            findings.push(code(format!("key `{shown}` lets the loader run code of the model")));
        }
    } else if key == "chat_template" || key == "default_chat_template" || key == "template" {
        templates(key, member, findings);
    } else if key == "parent_library" {
        if !matches!(member, Json::String(text) if is_modeling(text)) && acts {
            findings.push(code(format!("key `{shown}` names a module to import")));
        }
    } else if IMPORT_KEYS.contains(&key) {
        let texts: Vec<&Json> = match member {
            Json::Array(items) => items.iter().collect(),
            other => vec![other],
        };
        for text in texts {
            if let Json::String(path) = text
                && is_dotted(path)
                && !is_listed(path)
            {
                let path = show(path.as_bytes());
                findings.push(code(format!("key `{shown}` names `{path}` to import")));
            }
        }
    }
}

/// A template, a list of `{name, template}`, or a map from names to templates.
fn templates(key: &str, member: &Json, findings: &mut Vec<Finding>) {
    let chat = key != "template";
    match member {
        Json::String(text) if chat || text.contains("{{") || text.contains("{%") => {
            findings.extend(template::check(text, 0));
        }
        // The members of the objects are looked at in their turn: their key is `template`.
        Json::Array(items) if chat => {
            let known = |item: &Json| match item {
                Json::Object(members) => members.iter().all(|(key, value)| {
                    matches!(key.as_str(), "name" | "template") && matches!(value, Json::String(_))
                }),
                _ => false,
            };
            if !items.iter().all(known) {
                let what = format!("key `{key}` is no list of named templates");
                findings.push(Finding::new(&report::TEMPLATE, 0, what));
            }
        }
        Json::Object(members) if chat => {
            for (name, value) in members {
                match value {
                    Json::String(text) => findings.extend(template::check(text, 0)),
                    _ => {
                        let what = format!("template `{}` is no text", show(name.as_bytes()));
                        findings.push(Finding::new(&report::TEMPLATE, 0, what));
                    }
                }
            }
        }
        _ => {}
    }
}

/// `a.b`, each part an identifier.
pub(crate) fn is_dotted(path: &str) -> bool {
    path.contains('.')
        && path.split('.').all(|part| {
            part.starts_with(|c: char| c.is_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_alphanumeric() || c == '_')
        })
}

fn is_listed(path: &str) -> bool {
    let activation = ["torch.nn.modules.activation.", "torch.nn."]
        .iter()
        .filter_map(|prefix| path.strip_prefix(prefix))
        .any(|class| ACTIVATIONS.contains(&class));
    activation
        || matches!(path, "torch.nn.modules.linear.Identity" | "torch.nn.Identity")
        || SENTENCE_MODULES.contains(&path)
        || keras::is_module(path)
}

/// `transformers.models.<name>.modeling_<name>`, which is where adapters of PEFT find their base class.
fn is_modeling(path: &str) -> bool {
    let word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let parts = path.strip_prefix("transformers.models.").and_then(|rest| rest.split_once(".modeling_"));
    parts.is_some_and(|(model, modeling)| word(model) && word(modeling))
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `model_index.json` of diffusers: each part is a pair of a library and a class in it.
fn pipeline(name: &str, root: &Json, findings: &mut Vec<Finding>) {
    let Json::Object(members) = root else { return };
    let class = members.iter().find(|(key, _)| key == "_class_name").map(|(_, value)| value);
    let by_name = name.to_ascii_lowercase().ends_with("model_index.json");
    match class {
        Some(Json::String(class)) if !is_identifier(class) => {
            findings.push(code("key `_class_name` is no name of a class".to_owned()));
        }
        Some(Json::String(class)) if by_name || class.contains("Pipeline") => {}
        Some(Json::Array(_)) => {
            findings.push(code("key `_class_name` names a module of the model".to_owned()));
        }
        _ if by_name => {}
        _ => return,
    }
    for (part, value) in members {
        let Json::Array(pair) = value else { continue };
        let listed = match pair.as_slice() {
            [Json::String(library), Json::String(class), ..] => {
                PIPELINE_LIBRARIES.contains(&library.as_str()) && is_identifier(class)
            }
            // Some parts are lists of plain values.
            [Json::String(_), Json::Null, ..] | [Json::Null, Json::String(_), ..] => false,
            _ => true,
        };
        if !listed && part != "_class_name" {
            let what = format!("part `{}` is of a library that is not listed", show(part.as_bytes()));
            findings.push(code(what));
        }
    }
}

/// `modules.json` of sentence-transformers: the path of each module stays within the model.
fn modules(root: &Json, findings: &mut Vec<Finding>) {
    let Json::Array(items) = root else { return };
    for item in items {
        let Json::Object(members) = item else { continue };
        let get = |wanted: &str| members.iter().find(|(key, _)| key == wanted).map(|(_, value)| value);
        let (Some(_), Some(path), Some(kind)) = (get("idx"), get("path"), get("type")) else { continue };
        match kind {
            Json::String(kind) if SENTENCE_MODULES.contains(&kind.as_str()) => {}
            _ => findings.push(code("module of a type that is not listed".to_owned())),
        }
        if !matches!(path, Json::String(path) if is_inside(path)) {
            findings.push(Finding::new(&report::JSON_PATH, 0, "path of a module leaves the model"));
        }
    }
}

/// The index of a model in several files: each of them stands beside it.
fn shards(root: &Json, findings: &mut Vec<Finding>) {
    let Json::Object(members) = root else { return };
    let map = members.iter().find(|(key, _)| key == "weight_map").map(|(_, value)| value);
    let Some(Json::Object(map)) = map else { return };
    if map.iter().any(|(_, file)| !matches!(file, Json::String(path) if is_inside(path))) {
        findings.push(Finding::new(&report::JSON_PATH, 0, "index names a file outside the model"));
    }
}

/// A relative path without a way up.
pub(crate) fn is_inside(path: &str) -> bool {
    !path.starts_with('/')
        && !path.starts_with('~')
        && !path.contains(['\\', ':', '\0'])
        && !path.split('/').any(|part| part == "..")
}

/// Text of a YAML file: tags build objects, and some keys name what to import.
pub(crate) fn check_yaml(text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut at = 0_u64;
    for line in text.split_inclusive('\n') {
        if let Some(what) = yaml_line(line.trim_end()) {
            findings.push(Finding::new(&report::JSON_CODE, at, what));
        }
        at = at.saturating_add(crate::cursor::offset(line.len()));
        if findings.len() >= limits::FINDINGS {
            break;
        }
    }
    findings
}

/// Text that may be YAML: only what builds objects counts there.
pub(crate) fn check_yaml_tags(text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut at = 0_u64;
    for line in text.split_inclusive('\n') {
        if python_tag(line) {
            findings.push(Finding::new(&report::JSON_CODE, at, "YAML names Python objects to build"));
        }
        at = at.saturating_add(crate::cursor::offset(line.len()));
        if findings.len() >= limits::FINDINGS {
            break;
        }
    }
    findings
}

/// Whether a tag of Python stands where a node begins.
fn python_tag(line: &str) -> bool {
    if line.trim_start().starts_with('#') {
        return false;
    }
    let node = |head: &str| {
        let head = head.trim_end();
        let anchor = head.split_whitespace().next_back().filter(|word| word.starts_with('&'));
        let head = head.strip_suffix(anchor.unwrap_or_default()).unwrap_or(head).trim_end();
        head.is_empty() || head.ends_with([':', '-', '[', ',', '{', '?'])
    };
    ["!!python/", "!<tag:yaml.org,2002:python/"]
        .iter()
        .any(|tag| line.match_indices(tag).any(|(at, _)| node(line.get(..at).unwrap_or_default())))
        || line.starts_with("%TAG") && line.contains("tag:yaml.org,2002:python")
}

/// Tags of YAML's own types.
const YAML_TAGS: &[&str] = &[
    "!!str",
    "!!int",
    "!!float",
    "!!bool",
    "!!null",
    "!!seq",
    "!!map",
    "!!set",
    "!!omap",
    "!!pairs",
    "!!binary",
    "!!timestamp",
];

fn yaml_line(line: &str) -> Option<String> {
    let inner = line.trim_start();
    if inner.starts_with('#') {
        return None;
    }
    if inner.starts_with("%TAG") || line.contains("!!python") || line.contains("tag:yaml.org,2002:python") {
        return Some("YAML names Python objects to build".to_owned());
    }
    if inner.starts_with("? ") {
        return Some("YAML writes a key in its long form, which hides it".to_owned());
    }
    let mut before = ':';
    let mut rest = line;
    // A tag stands where a value begins.
    while let Some(at) = rest.find('!') {
        let (head, tail) = rest.split_at(at);
        let anchor = head.split_whitespace().next_back().filter(|word| word.starts_with('&'));
        let node = head.trim_end().strip_suffix(anchor.unwrap_or_default()).unwrap_or(head).trim_end();
        before = node.chars().next_back().unwrap_or(before);
        let spaced = head.is_empty() || head.ends_with([' ', '\t', '[', ',', '{']);
        let word = tail.split([' ', '\t', ',', ']', '}']).next().unwrap_or(tail);
        let tag = word.chars().nth(1).is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '!' | '<'));
        if spaced && tag && matches!(before, ':' | '-' | '[' | ',' | '{' | '?') && !YAML_TAGS.contains(&word)
        {
            return Some(format!("YAML tag `{}` builds an object", show(word.as_bytes())));
        }
        before = '!';
        rest = tail.get(1..).unwrap_or_default();
    }
    yaml_keys(line)
}

/// The first and the last bytes of a text, whole characters.
fn ends(text: &str, len: usize) -> (&str, &str) {
    let first = text.floor_char_boundary(len);
    let last = text.ceil_char_boundary(text.len().saturating_sub(len));
    (text.get(..first).unwrap_or_default(), text.get(last..).unwrap_or_default())
}

fn yaml_keys(line: &str) -> Option<String> {
    for (at, _) in line.match_indices(':') {
        let (head, tail) = line.split_at(at);
        let tail = tail.get(1..).unwrap_or_default();
        if !tail.is_empty() && !tail.starts_with([' ', '\t']) && !head.ends_with(['"', '\'']) {
            continue;
        }
        // No key or value that counts is longer, and a line may have many colons.
        let head = ends(head, limits::YAML_WORD).1;
        let key = head.rsplit(['{', ',', '[']).next().unwrap_or(head).trim();
        let key = key.trim_start_matches("- ").trim();
        if key.starts_with('"') && key.contains('\\') {
            return Some("YAML writes a key with escapes, which hides it".to_owned());
        }
        let key = key.trim_matches(['"', '\'']);
        let value = ends(tail.trim_start(), limits::YAML_WORD).0;
        let value = value.split(['#', ',', '}']).next().unwrap_or_default().trim();
        let value = value.trim_matches(['"', '\'']);
        if key == "trust_remote_code" && !matches!(value, "" | "false" | "False" | "null" | "no") {
            return Some("key `trust_remote_code` lets the loader run code of the model".to_owned());
        }
        let null = matches!(value, "null" | "~" | "false" | "False");
        if CODE_KEYS.contains(&key) && !null
            || IMPORT_KEYS.contains(&key) && is_dotted(value) && !is_listed(value)
        {
            return Some(format!("key `{}` names code to import", show(key.as_bytes())));
        }
    }
    None
}
