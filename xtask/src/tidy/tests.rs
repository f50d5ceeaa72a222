use std::collections::BTreeSet;

use crate::tidy::closure::{self, LIMITS};
use crate::tidy::law::{self, Workspace};
use crate::tidy::sources;
use crate::tidy::table::Exceptions;

/// Metadata with packages given as `name layer dependency,dependency`.
fn workspace(packages: &[(&str, &str, &str)]) -> Workspace {
    let packages: Vec<String> = packages
        .iter()
        .map(|(name, layer, dependencies)| {
            let dependencies: Vec<String> = dependencies
                .split(',')
                .filter(|name| !name.is_empty())
                .map(|name| match name.strip_prefix("dev:") {
                    Some(name) => format!(r#"{{"name":"{name}","kind":"dev"}}"#),
                    None => format!(r#"{{"name":"{name}","kind":null}}"#),
                })
                .collect();
            format!(
                r#"{{"name":"strongroom-{name}","manifest_path":"/w/crates/{name}/Cargo.toml",
                    "metadata":{{"strongroom":{{"layer":"{layer}"}}}},"dependencies":[{}]}}"#,
                dependencies.join(",")
            )
        })
        .collect();
    Workspace::parse(&format!(r#"{{"packages":[{}]}}"#, packages.join(","))).unwrap()
}

fn law(packages: &[(&str, &str, &str)]) -> Vec<String> {
    law::check(&workspace(packages), &Exceptions::default())
}

#[test]
fn edges_go_down_only() {
    let base = ("base", "base", "");
    assert_eq!(
        law(&[base, ("audit", "core", "strongroom-base"), ("store", "adapter", "strongroom-audit")]),
        [""; 0]
    );
    assert_eq!(law(&[base, ("ops", "base", "strongroom-base")]), [""; 0]);
    for (packages, culprit) in [
        (vec![base, ("ops", "base", ""), ("x", "base", "strongroom-ops")], "x (base)"),
        (vec![("store", "adapter", ""), ("audit", "core", "strongroom-store")], "audit (core)"),
        (vec![("bom", "core", ""), ("audit", "core", "strongroom-bom")], "audit (core)"),
        (vec![("net", "adapter", ""), ("store", "adapter", "strongroom-net")], "store (adapter)"),
        (vec![("keeper", "shell", ""), ("warden", "shell", "strongroom-keeper")], "warden (shell)"),
        (vec![("base", "base", "strongroom-cli"), ("cli", "edge", "")], "base (base)"),
    ] {
        let violations = law(&packages);
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert!(violations[0].starts_with(culprit), "{violations:?}");
    }
    assert!(law(&[("x", "attic", "")])[0].contains("attic"));
    assert!(law(&[("x", "", "")])[0].contains("layer"));
    assert_eq!(law(&[("bom", "core", ""), ("audit", "core", "dev:strongroom-bom")]), [""; 0]);
}

#[test]
fn ciphers_have_a_home() {
    assert_eq!(law(&[("vault", "core", "ring"), ("net", "adapter", "rustls,rcgen")]), [""; 0]);
    for library in ["ring", "p256", "p384", "p521", "rustls", "tokio-rustls", "rcgen", "aws-lc-rs"] {
        let violations = law(&[("control", "shell", library)]);
        assert_eq!(violations.len(), 1, "{library}");
        assert!(violations[0].contains(library));
    }
}

const TABLES: &str = "# A

## Allowed core-to-core edges

| from | to | why |
|---|---|---|
| `audit` | `bom` | because |

## Allowed cryptography edges

| crate | library | why |
|---|---|---|
| `keeper` | `ring` | signs |

## Next

| `x` | `y` | not this table |
";

#[test]
fn exceptions_are_read_and_must_be_used() {
    let exceptions = Exceptions::parse(TABLES);
    assert_eq!(exceptions.core_edges, [("audit".to_owned(), "bom".to_owned())]);
    assert_eq!(exceptions.cryptography, [("keeper".to_owned(), "ring".to_owned())]);
    let used =
        workspace(&[("bom", "core", ""), ("audit", "core", "strongroom-bom"), ("keeper", "shell", "ring")]);
    assert_eq!(law::check(&used, &exceptions), [""; 0]);
    let unused = workspace(&[("bom", "core", ""), ("audit", "core", ""), ("keeper", "shell", "")]);
    assert_eq!(law::check(&unused, &exceptions).len(), 2);
    assert_eq!(Exceptions::parse("nothing"), Exceptions::default());
}

#[test]
fn closures_are_bounded() {
    let keeper = &LIMITS[0];
    let crates =
        |names: &[&str]| -> BTreeSet<String> { names.iter().map(|name| format!("{name} v1")).collect() };
    assert_eq!(closure::check(keeper, &crates(&["ring", "serde"])), [""; 0]);
    for denied in ["tokio", "hyper", "rustls", "rusqlite", "aws-lc-rs"] {
        assert_eq!(closure::check(keeper, &crates(&["ring", denied])).len(), 1, "{denied}");
    }
    let many: Vec<String> = (0..61).map(|at| format!("c{at}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(closure::check(keeper, &crates(&many))[0].contains("61 crates"));
    assert_eq!(closure::check(keeper, &crates(&many[..60])), [""; 0]);
    let tree = "strongroom-keeper v0.1.0 (/w)\nring v0.17.14\ncfg-if v1.0.5\nring v0.17.14 (*)\n\n";
    assert_eq!(closure::parse(tree).len(), 3);
}

#[test]
fn cores_do_no_io() {
    for line in [
        "use std::fs;",
        "let x = std::net::TcpStream::connect(a);",
        "std::env::var(\"X\")",
        "use tokio::spawn;",
        "SystemTime::now()",
        "std::time::Instant::now()",
    ] {
        assert_eq!(sources::core_file("a.rs", line).len(), 1, "{line}");
    }
    for line in [
        "// std::fs is not used here",
        "//! never std::net",
        "let text = \"std::env\";",
        "let tokio_like = 1;",
        "#[cfg(test)]\nmod tests {\n    use std::fs;\n}",
    ] {
        assert_eq!(sources::core_file("a.rs", line), [""; 0], "{line}");
    }
    assert_eq!(sources::core_file("a.rs", "#[cfg(test)]\nmod tests;\nuse std::fs;").len(), 1);
}

#[test]
fn unsafe_has_a_home() {
    let sample = format!("{} {{ x() }}", concat!("un", "safe"));
    assert_eq!(sources::unsafe_code("a.rs", &sample).len(), 1);
    assert_eq!(
        sources::unsafe_code("a.rs", "#![forbid(unsafe_code)]\n// unsafe\nlet s = \"unsafe\";"),
        [""; 0]
    );
}

#[test]
fn files_are_short_clean_and_finished() {
    assert_eq!(sources::any_file("a", "x \ny\t\nz").len(), 3);
    assert_eq!(sources::any_file("a", "x\n"), [""; 0]);
    assert_eq!(sources::rust_file("a.rs", &"x\n".repeat(801)).len(), 1);
    assert_eq!(sources::rust_file("a.rs", &"x\n".repeat(800)), [""; 0]);
    for word in [concat!("to", "do!()"), concat!("// Place", "holder")] {
        assert_eq!(sources::finished("a.rs", word).len(), 1, "{word}");
    }
}

#[test]
fn crates_say_what_they_are() {
    let whole = "//! **What.** a\n//!\n//! **Why.** b\n//! **Where.** c\n//! **Invariants.** d\n";
    assert_eq!(sources::doc_paragraphs("lib.rs", whole), [""; 0]);
    assert_eq!(sources::doc_paragraphs("lib.rs", "//! **What.** a\n").len(), 3);
}
