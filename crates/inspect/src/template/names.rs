//! What a template may use, by exact name. Everything else is refused.

/// A filter: its name, how many positional arguments it may have, and which named ones. What takes the path of
/// an attribute is left out of both: a path is a way to reach attributes that no tag names.
pub(super) struct Filter {
    pub(super) name: &'static str,
    pub(super) positional: usize,
    pub(super) named: &'static [&'static str],
}

const fn filter(name: &'static str, positional: usize, named: &'static [&'static str]) -> Filter {
    Filter { name, positional, named }
}

const FILTERS: &[Filter] = &[
    filter("abs", 0, &[]),
    filter("batch", 2, &["linecount", "fill_with"]),
    filter("capitalize", 0, &[]),
    filter("center", 1, &["width"]),
    filter("count", 0, &[]),
    filter("d", 2, &["default_value", "boolean"]),
    filter("default", 2, &["default_value", "boolean"]),
    filter("dictsort", 3, &["case_sensitive", "by", "reverse"]),
    filter("e", 0, &[]),
    filter("escape", 0, &[]),
    filter("first", 0, &[]),
    filter("float", 1, &["default"]),
    filter("forceescape", 0, &[]),
    filter("indent", 3, &["width", "first", "blank"]),
    filter("int", 2, &["default", "base"]),
    filter("items", 0, &[]),
    filter("join", 1, &["d"]),
    filter("last", 0, &[]),
    filter("length", 0, &[]),
    filter("list", 0, &[]),
    filter("lower", 0, &[]),
    filter("max", 1, &["case_sensitive"]),
    filter("min", 1, &["case_sensitive"]),
    filter("replace", 3, &["old", "new", "count"]),
    filter("reverse", 0, &[]),
    filter("round", 2, &["precision", "method"]),
    filter("safe", 0, &[]),
    filter("slice", 2, &["slices", "fill_with"]),
    filter("sort", 2, &["reverse", "case_sensitive"]),
    filter("string", 0, &[]),
    filter("striptags", 0, &[]),
    filter("sum", 0, &["start"]),
    filter("title", 0, &[]),
    filter("tojson", 1, &["indent", "ensure_ascii", "separators", "sort_keys"]),
    filter("trim", 1, &["chars"]),
    filter("truncate", 4, &["length", "killwords", "end", "leeway"]),
    filter("unique", 1, &["case_sensitive"]),
    filter("upper", 0, &[]),
    filter("urlencode", 0, &[]),
    filter("wordcount", 0, &[]),
];

pub(super) fn find_filter(name: &str) -> Option<&'static Filter> {
    FILTERS.iter().find(|filter| filter.name == name)
}

/// Filters that apply a filter or a test, which they name by their first argument.
pub(super) const APPLYING: &[&str] = &["map", "select", "reject", "selectattr", "rejectattr"];

pub(super) const TESTS: &[&str] = &[
    "boolean",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "even",
    "false",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "string",
    "true",
    "undefined",
    "upper",
];

/// Functions that templates get besides their data. As plain values they are refused.
pub(super) const FUNCTIONS: &[&str] =
    &["range", "dict", "namespace", "raise_exception", "strftime_now", "caller"];

/// Objects of the engine and of web frameworks, which lead to modules.
pub(super) const OBJECTS: &[&str] = &[
    "self",
    "super",
    "context",
    "environment",
    "cycler",
    "joiner",
    "lipsum",
    "get_flashed_messages",
    "url_for",
    "gettext",
    "ngettext",
    "config",
    "request",
    "session",
    // What a macro was given beyond its parameters, which nothing names.
    "varargs",
    "kwargs",
];

/// Methods of texts, lists and mappings. `format` and its kin are not among them: a format string names
/// attributes.
pub(super) const METHODS: &[&str] = &[
    "append",
    "capitalize",
    "casefold",
    "count",
    "endswith",
    "extend",
    "find",
    "get",
    "index",
    "insert",
    "isalnum",
    "isalpha",
    "isdecimal",
    "isdigit",
    "islower",
    "isnumeric",
    "isspace",
    "isupper",
    "items",
    "join",
    "keys",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "pop",
    "removeprefix",
    "removesuffix",
    "replace",
    "reverse",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "setdefault",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "update",
    "upper",
    "values",
    "zfill",
];

/// Attributes without an underscore in front that lead from an object to code (`jinja2.sandbox`), and those of
/// frames, tracebacks and functions they lead to.
const LEADING: &[&str] = &[
    "mro",
    "gi_frame",
    "gi_code",
    "gi_yieldfrom",
    "cr_frame",
    "cr_code",
    "cr_await",
    "cr_origin",
    "ag_frame",
    "ag_code",
    "ag_await",
    "tb_frame",
    "tb_next",
    "f_back",
    "f_builtins",
    "f_code",
    "f_globals",
    "f_locals",
    "f_trace",
    "co_code",
    "co_consts",
    "co_names",
    "func_globals",
    "func_code",
    "func_closure",
    "func_defaults",
    "func_dict",
    "im_func",
    "im_self",
    "im_class",
];

/// Whether a template may bind a name of its own: `_args` and `_` are, nothing of the engine is called so.
pub(super) fn is_bindable(name: &str) -> bool {
    !name.starts_with("__") && is_plain(name.strip_prefix('_').unwrap_or(name))
}

/// Whether an attribute or a constant key is plain data.
pub(super) fn is_plain(name: &str) -> bool {
    !name.starts_with('_') && !LEADING.contains(&name)
}
