//! Templates where they occur: tokenizer configurations, template files, GGUF metadata.

use strongroom_inspect::Format;

use crate::support::{inspect, loads, refused};

const CODE: &str = "SR-INS-0100";
const UNREADABLE: &str = "SR-INS-0063";

/// In the style of the families of models in use: their constructs, written anew.
#[test]
fn templates_of_known_families_load() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/templates");
    let mut seen = 0;
    for item in std::fs::read_dir(directory).unwrap() {
        let path = item.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(loads(&name, "chat_template.jinja", text.as_bytes()).format, Format::Template);
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let named = |name: &str| format!(r#"{{"name":"{name}","template":"{escaped}"}}"#);
        for config in [
            format!(r#"{{"tokenizer_class":"LlamaTokenizer","chat_template":"{escaped}"}}"#),
            format!(r#"{{"chat_template":[{},{}]}}"#, named("default"), named("tool_use")),
            format!(r#"{{"chat_template":{{"default":"{escaped}"}}}}"#),
        ] {
            assert_eq!(loads(&name, "tokenizer_config.json", config.as_bytes()).format, Format::Json);
        }
        seen += 1;
    }
    assert!(seen >= 12, "only {seen} templates");
}

#[test]
fn hostile_templates_are_found_in_every_place() {
    let hostile = "{{ ''.__class__.__base__ }}";
    refused("file", "chat_template.jinja", hostile.as_bytes(), CODE);
    refused("additional", "additional_chat_templates/rag.jinja", hostile.as_bytes(), CODE);
    let second = format!(r#"{{"name":"b","template":"{hostile}"}}"#);
    for (what, config) in [
        ("text", format!(r#"{{"chat_template":"{hostile}"}}"#)),
        ("default", format!(r#"{{"default_chat_template":"{hostile}"}}"#)),
        ("second of a list", format!(r#"{{"chat_template":[{{"name":"a","template":"x"}},{second}]}}"#)),
        ("map", format!(r#"{{"chat_template":{{"a":"{hostile}"}}}}"#)),
        ("escaped", r#"{"chat_template":"\u007b{ x.\u005f_class__ }}"}"#.to_owned()),
        ("escaped key", format!(r#"{{"chat\u005ftemplate":"{hostile}"}}"#)),
        ("deep", format!(r#"{{"a":[{{"b":{{"chat_template":"{hostile}"}}}}]}}"#)),
        ("other key", format!(r#"{{"x":{{"template":"{hostile}"}}}}"#)),
    ] {
        refused(what, "tokenizer_config.json", config.as_bytes(), CODE);
        refused(what, "", config.as_bytes(), CODE);
    }
    for (what, config) in [
        ("number in the list", r#"{"chat_template":[1]}"#),
        ("nested list", r#"{"chat_template":[["{{ x }}"]]}"#),
        ("other member", r#"{"chat_template":[{"name":"a","template":"x","file":"y"}]}"#),
        ("map of lists", r#"{"chat_template":{"a":["x"]}}"#),
        ("cannot be read", r#"{"chat_template":"{% if %}"}"#),
    ] {
        refused(what, "tokenizer_config.json", config.as_bytes(), UNREADABLE);
    }
    refused("template that is a pickle", "x.jinja", b"cos\nsystem\n(S'id'\ntR.", "SR-INS-0003");
    refused("binary", "x.jinja", b"\x80\x04N.", "SR-INS-0002");
    assert_eq!(inspect("x.txt", hostile.as_bytes()).format, Format::Text, "a text is not rendered");
}
