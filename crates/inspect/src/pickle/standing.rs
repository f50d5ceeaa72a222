//! What becomes of a global that is not on the start list: a policy may list it, or nobody can.
//!
//! Three lists decide, all of them of what is known, none of gadgets:
//! - the catalogue: exact pairs of libraries that people save with pickle (estimators, layers, training arguments);
//! - roots: the standard library and packages that can run, fetch or open something; of these only what the start
//!   list and the catalogue name is ever acceptable;
//! - the rest: names that no list knows, such as the classes of a tenant. They may be remade as pickle remakes
//!   instances of classes, never called.
//!
//! Whatever a policy may list stays a risk: without a policy that lists exactly this pair the file is not loaded.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::LazyLock;

/// Lines of `module name`, with `()` behind a name that is called with data.
static CATALOGUE: LazyLock<HashMap<&'static str, bool>> = LazyLock::new(|| {
    include_str!("catalogue.txt")
        .lines()
        .map(|line| line.strip_suffix("()").map_or((line, false), |pair| (pair, true)))
        .collect()
});

/// First components of module names.
static ROOTS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let lines = include_str!("roots.txt").lines().filter(|line| !line.starts_with('#'));
    lines.flat_map(str::split_ascii_whitespace).collect()
});

/// What a policy may make of a global.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A pair of the catalogue; whether it may be called with data.
    Catalogued { callable: bool },
    /// A pair that no list knows: instances of it may be remade.
    Own,
    /// Nothing.
    Refused,
}

/// Looks a pair up that is not on the start list.
pub(super) fn of(module: &str, name: &str) -> Standing {
    if let Some(callable) = CATALOGUE.get(format!("{module} {name}").as_str()) {
        return Standing::Catalogued { callable: *callable };
    }
    let root = module.split('.').next().unwrap_or(module);
    // Python compares names after NFKC, file systems often without case: what is one of the roots to either of
    // them counts as one. Names beyond ASCII are no names of classes here.
    let known = ROOTS.contains(root) || ROOTS.contains(root.to_ascii_lowercase().as_str());
    let plain = module.split('.').chain([name]).all(is_identifier);
    if known || !plain || name.starts_with("__") || ROOTS.contains(name) {
        Standing::Refused
    } else {
        Standing::Own
    }
}

fn is_identifier(part: &str) -> bool {
    !part.starts_with(|first: char| first.is_ascii_digit())
        && !part.is_empty()
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether a pair makes functions out of byte code, as the picklers of closures do.
pub(super) fn makes_code(module: &str, name: &str) -> bool {
    let root = module.split('.').next().unwrap_or(module);
    matches!(root, "dill" | "cloudpickle" | "marshal")
        || matches!(name, "CodeType" | "FunctionType" | "LambdaType" | "_make_function" | "_create_code")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_sorted_and_says_everything_once() {
        let lines: Vec<&str> = include_str!("catalogue.txt").lines().collect();
        assert!(lines.is_sorted());
        assert_eq!(CATALOGUE.len(), lines.len());
        for line in lines {
            let (module, name) = line.strip_suffix("()").unwrap_or(line).split_once(' ').unwrap();
            assert!(module.split('.').chain([name]).all(is_identifier), "{line}");
            assert!(super::super::allow::lookup(module, name).is_none(), "{line} is on the start list");
        }
    }

    #[test]
    fn what_runs_code_has_no_standing() {
        let pairs = [
            ("os", "system"),
            ("builtins", "eval"),
            ("builtins", "getattr"),
            ("operator", "attrgetter"),
            ("functools", "partial"),
            ("types", "FunctionType"),
            ("sklearn.utils._testing", "raises"),
            ("numpy.f2py", "compile"),
            ("torch.hub", "load"),
            ("pandas.io.pickle", "read_pickle"),
            ("site", "main"),
            ("OS", "system"),
            ("mine.os", "__import__"),
            ("mine", "os"),
            ("mine", "a-b"),
            ("m\u{ff49}ne", "Net"),
            ("copyreg", "_extension_registry"),
            ("joblib", "load"),
            ("builtins", "type"),
        ];
        for (module, name) in pairs {
            assert_eq!(of(module, name), Standing::Refused, "{module}.{name}");
        }
        assert_eq!(of("__main__", "Net"), Standing::Own);
        assert_eq!(of("argparse", "Namespace"), Standing::Catalogued { callable: false });
        assert_eq!(of("sklearn.tree._tree", "Tree"), Standing::Catalogued { callable: true });
    }
}
