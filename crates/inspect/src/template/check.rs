//! The rules on what was read: nothing is rendered, and the order of tags does not matter to them.
//!
//! A template reaches code by attributes (`x.__class__`), by texts that become attributes (`x['__cl' ~ 'ass__']`,
//! since Jinja looks for an attribute where there is no such key), and by what it may call. So attributes and
//! constant keys are looked at by name, calls go to listed functions and methods alone, and a key that is
//! computed is a number or a name out of data that the template did not put together.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::ast::{Arguments, Expr, Kind, Tag, Target};
use super::names;
use crate::cursor::show;
use crate::limits;

/// What a name may stand for. All bindings of a name count, wherever they are.
#[derive(Debug, Clone, Copy)]
enum Binding<'a> {
    Value(&'a Expr),
    /// An element of what a loop goes over.
    Element(&'a Expr),
    /// A part of the elements that a loop takes apart.
    Part(&'a Expr),
    /// Something that the rules do not follow.
    Unknown,
}

/// What a parameter without a default is before a call binds it.
static NOTHING: Expr = Expr::Constant;

pub(super) struct Rules<'a> {
    bindings: BTreeMap<String, Vec<Binding<'a>>>,
    macros: BTreeMap<&'a str, &'a [(String, Option<Expr>)]>,
    /// Work left, so that bindings which refer to each other cannot multiply.
    steps: Cell<u32>,
    problems: Vec<(usize, String)>,
    at: usize,
}

/// What is wrong with the template: where, and what.
pub(super) fn check(tags: &[Tag]) -> Vec<(usize, String)> {
    let mut rules = Rules {
        bindings: BTreeMap::new(),
        macros: BTreeMap::new(),
        steps: Cell::new(limits::TEMPLATE_STEPS),
        problems: Vec::new(),
        at: 0,
    };
    for tag in tags {
        rules.bind_tag(tag);
    }
    for tag in tags {
        rules.bind_calls(tag);
    }
    for tag in tags {
        rules.at = tag.at;
        rules.tag(tag);
    }
    rules.problems
}

/// How far bindings are followed.
type Trail<'t> = &'t mut Vec<String>;

impl<'a> Rules<'a> {
    fn bind(&mut self, name: &str, binding: Binding<'a>) {
        self.bindings.entry(name.to_owned()).or_default().push(binding);
    }

    fn bind_tag(&mut self, tag: &'a Tag) {
        match &tag.kind {
            Kind::Evaluate(_) => {}
            Kind::For { target: Target::Names(names), over } => {
                for name in names {
                    self.bind(name, Binding::Part(over));
                }
            }
            Kind::For { target, over } => self.bind_target(target, Binding::Element(over)),
            Kind::Set(target, value) => {
                self.bind_target(target, Binding::Value(value));
                // `set ns = namespace(x=0)` binds `ns.x` as well.
                if let (Target::Name(name), Expr::Call(_, arguments)) = (target, value) {
                    for (field, value) in &arguments.named {
                        self.bind(&format!("{name}.{field}"), Binding::Value(value));
                    }
                }
            }
            Kind::Macro { name, parameters } => {
                // Two macros of one name could mix up whose parameters a call binds.
                if self.macros.insert(name, parameters).is_some() {
                    self.at = tag.at;
                    self.problem(format!("macro `{}` is there twice", show(name.as_bytes())));
                }
                for (name, default) in parameters {
                    self.bind(name, default.as_ref().map_or(Binding::Value(&NOTHING), Binding::Value));
                }
            }
            Kind::Parameters(parameters) => {
                for (name, _) in parameters {
                    self.bind(name, Binding::Unknown);
                }
            }
        }
    }

    /// What calls of macros bind their parameters to.
    fn bind_calls(&mut self, tag: &'a Tag) {
        let mut bound = Vec::new();
        for value in tag.values() {
            value.walk(&mut |value| {
                let Expr::Call(callee, arguments) = value else { return };
                let Expr::Name(name) = &**callee else { return };
                let Some(parameters) = self.macros.get(name.as_str()) else { return };
                for ((name, _), value) in parameters.iter().zip(&arguments.positional) {
                    bound.push((name.as_str(), value));
                }
                bound.extend(arguments.named.iter().map(|(name, value)| (name.as_str(), value)));
            });
        }
        for (name, value) in bound {
            self.bind(name, Binding::Value(value));
        }
    }

    fn bind_target(&mut self, target: &'a Target, binding: Binding<'a>) {
        match target {
            Target::Name(name) => self.bind(name, binding),
            Target::Field(name, field) => self.bind(&format!("{name}.{field}"), binding),
            Target::Names(names) => names.iter().for_each(|name| self.bind(name, Binding::Unknown)),
        }
    }

    fn problem(&mut self, what: impl Into<String>) {
        if self.problems.len() < limits::FINDINGS {
            self.problems.push((self.at, what.into()));
        }
    }

    fn tag(&mut self, tag: &'a Tag) {
        match &tag.kind {
            Kind::Evaluate(value) => self.value(value),
            Kind::For { target, over } => {
                self.target(target);
                self.value(over);
            }
            Kind::Set(target, value) => {
                self.target(target);
                self.value(value);
            }
            Kind::Macro { name, parameters } => {
                self.target_name(name, true);
                self.parameters(parameters);
            }
            Kind::Parameters(parameters) => self.parameters(parameters),
        }
    }

    fn parameters(&mut self, parameters: &'a [(String, Option<Expr>)]) {
        for (name, default) in parameters {
            self.target_name(name, false);
            if let Some(value) = default {
                self.value(value);
            }
        }
    }

    fn target(&mut self, target: &Target) {
        match target {
            Target::Name(name) => self.target_name(name, false),
            Target::Names(names) => names.iter().for_each(|name| self.target_name(name, false)),
            Target::Field(name, field) => {
                self.target_name(name, false);
                self.attribute(field);
            }
        }
    }

    /// A name that is bound is no function, or a call of it would be a call of something else.
    fn target_name(&mut self, name: &str, is_macro: bool) {
        let taken = names::FUNCTIONS.contains(&name) || names::OBJECTS.contains(&name) || name == "loop";
        if !names::is_plain(name) || taken || (!is_macro && self.macros.contains_key(name)) {
            self.problem(format!("`{}` is given another meaning", show(name.as_bytes())));
        }
    }

    fn attribute(&mut self, name: &str) {
        if !names::is_plain(name) {
            self.problem(format!("attribute `{}` leads to code", show(name.as_bytes())));
        }
    }

    fn value(&mut self, value: &'a Expr) {
        match value {
            Expr::Text(_) | Expr::Number | Expr::Constant | Expr::Rendered => {}
            Expr::Name(name) => self.name(name),
            Expr::Items(items)
            | Expr::Slice(items)
            | Expr::Arithmetic(items)
            | Expr::Join(items)
            | Expr::Truth(items)
            | Expr::Either(items) => items.iter().for_each(|item| self.value(item)),
            Expr::Dict(members) => {
                for (key, member) in members {
                    self.value(key);
                    self.value(member);
                }
            }
            Expr::Attribute(base, name) => {
                self.value(base);
                self.attribute(name);
            }
            Expr::Index(base, key) => {
                self.value(base);
                self.value(key);
                self.index(base, key);
            }
            Expr::Call(callee, arguments) => self.call(callee, arguments),
            Expr::Filter(base, name, arguments) => {
                self.value(base);
                arguments.all().for_each(|argument| self.value(argument));
                self.filter(name, arguments);
            }
            Expr::Test(base, name, arguments) => {
                let asked = matches!(&**base, Expr::Name(name) if names::FUNCTIONS.contains(&name.as_str()));
                // `strftime_now is defined` is how a template asks for a function.
                if !(asked && matches!(name.as_str(), "defined" | "undefined")) {
                    self.value(base);
                }
                arguments.all().for_each(|argument| self.value(argument));
                self.test_name(name);
            }
            Expr::Sign(inner) => self.value(inner),
            Expr::Condition(then, condition, otherwise) => {
                self.value(then);
                self.value(condition);
                if let Some(otherwise) = otherwise {
                    self.value(otherwise);
                }
            }
        }
    }

    fn name(&mut self, name: &str) {
        let shown = show(name.as_bytes());
        if names::OBJECTS.contains(&name) && !self.bindings.contains_key(name) || name.starts_with('_') {
            self.problem(format!("name `{shown}` leads to code"));
        } else if names::FUNCTIONS.contains(&name) {
            self.problem(format!("function `{shown}` is used as a value"));
        }
    }

    fn call(&mut self, callee: &'a Expr, arguments: &'a Arguments) {
        arguments.all().for_each(|argument| self.value(argument));
        match callee {
            Expr::Name(name) if names::FUNCTIONS.contains(&name.as_str()) => {}
            Expr::Name(name) if self.macros.contains_key(name.as_str()) => {}
            Expr::Name(name) => {
                self.problem(format!("call of `{}`, which is no listed function", show(name.as_bytes())));
            }
            Expr::Attribute(base, method) => {
                self.value(base);
                let of_loop =
                    matches!(method.as_str(), "cycle" | "changed") && **base == Expr::Name("loop".into());
                if !names::METHODS.contains(&method.as_str()) && !of_loop {
                    let shown = show(method.as_bytes());
                    self.problem(format!("call of method `{shown}`, which is not listed"));
                }
            }
            _ => self.problem("call of something that is no name"),
        }
    }

    fn filter(&mut self, name: &str, arguments: &'a Arguments) {
        let shown = show(name.as_bytes());
        if names::APPLYING.contains(&name) {
            self.applying(name, arguments);
            return;
        }
        // `format` puts values into a text by `%`, which reaches no attribute.
        if name == "format" {
            return;
        }
        let Some(known) = names::find_filter(name) else {
            self.problem(format!("filter `{shown}` is not listed"));
            return;
        };
        let named = arguments.named.iter().all(|(name, _)| known.named.contains(&name.as_str()));
        if arguments.positional.len() > known.positional || !named {
            self.problem(format!("filter `{shown}` has arguments that are not listed"));
        }
    }

    /// Filters that apply another one, or a test, to each element.
    fn applying(&mut self, name: &str, arguments: &'a Arguments) {
        let shown = show(name.as_bytes());
        // `map(attribute='text')`, as the templates of several families have it: by a plain constant alone.
        if let ("map", [], [(named, Expr::Text(path))]) =
            (name, arguments.positional.as_slice(), arguments.named.as_slice())
            && named == "attribute"
            && path.split('.').all(names::is_plain)
        {
            return;
        }
        if !arguments.named.is_empty() {
            self.problem(format!("filter `{shown}` maps by named arguments"));
        }
        let word = |index: usize| match arguments.positional.get(index) {
            None => Some(None),
            Some(Expr::Text(text)) => Some(Some(text.as_str())),
            Some(_) => None,
        };
        let paths = matches!(name, "selectattr" | "rejectattr");
        if paths {
            match word(0) {
                Some(Some(path)) if path.split('.').all(names::is_plain) => {}
                _ => self.problem(format!("filter `{shown}` follows a path that is no plain constant")),
            }
        }
        match word(usize::from(paths)) {
            Some(None) if name != "map" => {}
            Some(Some(filter)) if name == "map" => match names::find_filter(filter) {
                Some(known) if arguments.positional.len() <= known.positional + 1 => {}
                _ => self.problem(format!("filter `{}` is not listed", show(filter.as_bytes()))),
            },
            Some(Some(test)) => self.test_name(test),
            _ => self.problem(format!("filter `{shown}` applies what is no constant")),
        }
    }

    fn test_name(&mut self, name: &str) {
        // The operators are tests as well, by their signs.
        let sign = matches!(name, "==" | "!=" | "<" | "<=" | ">" | ">=");
        if !sign && !names::TESTS.contains(&name) {
            self.problem(format!("test `{}` is not listed", show(name.as_bytes())));
        }
    }

    fn index(&mut self, base: &'a Expr, key: &'a Expr) {
        match key {
            Expr::Text(text) if names::is_plain(text) => {}
            Expr::Text(text) => {
                self.problem(format!("key `{}` leads to code", show(text.as_bytes())));
            }
            Expr::Slice(bounds) => {
                if !bounds.iter().all(|bound| self.is_number(bound, &mut Vec::new())) {
                    self.problem("bound of a slice is no number");
                }
            }
            _ if self.is_number(key, &mut Vec::new()) => {}
            _ if self.is_constant_key(key, &mut Vec::new()) => {}
            _ if self.is_computed(base, &mut Vec::new()) => {
                self.problem("key is computed for what a computed key led to");
            }
            _ if self.is_table(base) && self.is_looked_up(key, &mut Vec::new()) => {}
            _ if self.is_key(key) => {}
            _ => self.problem("key is computed from text"),
        }
    }

    fn step(&self) -> bool {
        let left = self.steps.get();
        self.steps.set(left.saturating_sub(1));
        left > 0
    }

    /// Whether a rule holds for every binding of a name. A name within its own binding is taken to hold: what
    /// is not its own then decides.
    fn every(
        &self,
        name: &str,
        trail: Trail<'_>,
        rule: impl Fn(&Self, Binding<'a>, Trail<'_>) -> bool,
    ) -> bool {
        if trail.iter().any(|seen| seen == name) {
            return true;
        }
        let Some(bindings) = self.bindings.get(name) else { return false };
        if !self.step() || trail.len() >= limits::TEMPLATE_DEPTH {
            return false;
        }
        trail.push(name.to_owned());
        let holds = bindings.iter().all(|binding| rule(self, *binding, trail));
        trail.pop();
        holds
    }

    /// Whether a value is a number, whatever the data is.
    fn is_number(&self, value: &'a Expr, trail: Trail<'_>) -> bool {
        if !self.step() {
            return false;
        }
        let binding = |rules: &Self, binding: Binding<'a>, trail: Trail<'_>| match binding {
            Binding::Value(value) => rules.is_number(value, trail),
            Binding::Element(Expr::Call(callee, _)) => **callee == Expr::Name("range".to_owned()),
            _ => false,
        };
        match value {
            // `none` as a key leads nowhere.
            Expr::Number | Expr::Constant | Expr::Truth(_) | Expr::Test(..) => true,
            Expr::Arithmetic(items) => items.iter().all(|item| self.is_number(item, trail)),
            Expr::Sign(inner) => self.is_number(inner, trail),
            Expr::Name(name) => self.every(name, trail, binding),
            Expr::Attribute(base, field) => match &**base {
                Expr::Name(name) if name == "loop" => matches!(
                    field.as_str(),
                    "index" | "index0" | "revindex" | "revindex0" | "length" | "depth" | "depth0"
                ),
                Expr::Name(name) => self.every(&format!("{name}.{field}"), trail, binding),
                _ => false,
            },
            Expr::Filter(_, name, _) => matches!(name.as_str(), "length" | "count" | "int" | "wordcount"),
            Expr::Call(callee, _) => matches!(
                &**callee,
                Expr::Attribute(_, method) if matches!(method.as_str(), "index" | "rindex" | "find" | "rfind" | "count")
            ),
            Expr::Condition(then, _, Some(otherwise)) => {
                self.is_number(then, trail) && self.is_number(otherwise, trail)
            }
            _ => false,
        }
    }

    /// Whether a value is one of a few constant texts that are plain keys.
    fn is_constant_key(&self, value: &'a Expr, trail: Trail<'_>) -> bool {
        match value {
            Expr::Constant => true,
            Expr::Text(text) => names::is_plain(text),
            Expr::Name(name) => self.every(name, trail, |rules, binding, trail| match binding {
                Binding::Value(value) => rules.is_constant_key(value, trail),
                Binding::Element(over) => rules.are_constant_keys(over, trail),
                _ => false,
            }),
            Expr::Condition(then, _, Some(otherwise)) => {
                self.is_constant_key(then, trail) && self.is_constant_key(otherwise, trail)
            }
            _ => false,
        }
    }

    fn are_constant_keys(&self, value: &'a Expr, trail: Trail<'_>) -> bool {
        match value {
            Expr::Items(items) => items.iter().all(|item| self.is_constant_key(item, trail)),
            Expr::Name(name) => self.every(name, trail, |rules, binding, trail| match binding {
                Binding::Value(value) => rules.are_constant_keys(value, trail),
                _ => false,
            }),
            _ => false,
        }
    }

    /// Whether a value is a table that the template spells out: a dictionary with constant keys.
    fn is_table(&self, value: &'a Expr) -> bool {
        let spelt = |value: &Expr| match value {
            Expr::Dict(members) => members.iter().all(|(key, _)| matches!(key, Expr::Text(_) | Expr::Number)),
            _ => false,
        };
        match value {
            Expr::Name(name) => self.every(name, &mut Vec::new(), |_, binding, _| match binding {
                Binding::Value(value) => spelt(value),
                _ => false,
            }),
            _ => spelt(value),
        }
    }

    /// Whether a key is what loops over data give.
    fn is_key(&self, key: &'a Expr) -> bool {
        match key {
            Expr::Name(name) => self.every(name, &mut Vec::new(), |rules, binding, trail| match binding {
                Binding::Part(over) | Binding::Element(over) => rules.is_data(over, trail),
                _ => false,
            }),
            _ => false,
        }
    }

    /// Whether a value is taken out of data as it is: of the template's own there are plain constants alone, and no
    /// text is changed.
    fn is_data(&self, value: &'a Expr, trail: Trail<'_>) -> bool {
        if !self.step() {
            return false;
        }
        let binding = |rules: &Self, binding: Binding<'a>, trail: Trail<'_>| match binding {
            Binding::Value(value) | Binding::Element(value) | Binding::Part(value) => {
                rules.is_data(value, trail)
            }
            Binding::Unknown => false,
        };
        match value {
            // A parameter without a default, before a call binds it.
            Expr::Constant | Expr::Number => true,
            // No part of it may be a name with underscores either, since data may be sliced.
            Expr::Text(text) => names::is_plain(text) && !text.contains("__"),
            Expr::Items(items) => items.iter().all(|item| self.is_data(item, trail)),
            Expr::Dict(members) => members.iter().all(|(key, member)| {
                matches!(key, Expr::Text(text) if names::is_plain(text)) && self.is_data(member, trail)
            }),
            Expr::Name(name) if !self.bindings.contains_key(name) => true,
            Expr::Name(name) => self.every(name, trail, binding),
            Expr::Attribute(base, field) => match &**base {
                Expr::Name(name) if self.bindings.contains_key(&format!("{name}.{field}")) => {
                    self.every(&format!("{name}.{field}"), trail, binding)
                }
                _ => self.is_data(base, trail),
            },
            Expr::Index(base, key) => {
                (matches!(&**key, Expr::Text(_) | Expr::Slice(_)) || self.is_number(key, trail))
                    && self.is_data(base, trail)
            }
            Expr::Filter(base, name, _) => DATA_FILTERS.contains(&name.as_str()) && self.is_data(base, trail),
            Expr::Call(callee, arguments) => match &**callee {
                Expr::Attribute(base, method) => {
                    matches!(method.as_str(), "keys" | "items" | "values")
                        && *arguments == Arguments::default()
                        && self.is_data(base, trail)
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether a key for a table that the template spells out comes from data, or from constants.
    fn is_looked_up(&self, key: &'a Expr, trail: Trail<'_>) -> bool {
        match key {
            Expr::Text(text) => names::is_plain(text),
            Expr::Condition(then, _, Some(otherwise)) => {
                self.is_looked_up(then, trail) && self.is_looked_up(otherwise, trail)
            }
            Expr::Either(items) => items.iter().all(|item| self.is_looked_up(item, trail)),
            Expr::Filter(base, name, _) if matches!(name.as_str(), "lower" | "upper" | "trim" | "string") => {
                self.is_looked_up(base, trail)
            }
            Expr::Name(name) if self.bindings.contains_key(name) => {
                self.every(name, trail, |rules, binding, trail| match binding {
                    Binding::Value(value) => rules.is_looked_up(value, trail),
                    Binding::Element(value) | Binding::Part(value) => {
                        rules.is_data(value, trail) || rules.are_constant_keys(value, trail)
                    }
                    Binding::Unknown => false,
                })
            }
            _ => self.is_data(key, trail),
        }
    }

    /// Whether a value came by a computed key that is no number.
    fn is_computed(&self, value: &'a Expr, trail: Trail<'_>) -> bool {
        if !self.step() {
            return true;
        }
        match value {
            Expr::Index(base, key) => {
                let plain = matches!(&**key, Expr::Text(_) | Expr::Slice(_))
                    || self.is_number(key, &mut Vec::new())
                    || self.is_constant_key(key, &mut Vec::new());
                !plain || self.is_computed(base, trail)
            }
            Expr::Attribute(base, _) => self.is_computed(base, trail),
            Expr::Filter(base, _, arguments) => {
                self.is_computed(base, trail) || arguments.all().any(|value| self.is_computed(value, trail))
            }
            Expr::Call(callee, arguments) => {
                self.is_computed(callee, trail) || arguments.all().any(|value| self.is_computed(value, trail))
            }
            Expr::Either(items) | Expr::Items(items) | Expr::Arithmetic(items) => {
                items.iter().any(|item| self.is_computed(item, trail))
            }
            Expr::Dict(members) => members.iter().any(|(_, member)| self.is_computed(member, trail)),
            Expr::Condition(then, _, otherwise) => {
                self.is_computed(then, trail)
                    || otherwise.as_ref().is_some_and(|value| self.is_computed(value, trail))
            }
            Expr::Name(name) => {
                if trail.contains(name) {
                    return false;
                }
                if trail.len() >= limits::TEMPLATE_DEPTH {
                    return true;
                }
                trail.push(name.clone());
                let fields = format!("{name}.");
                let fields =
                    self.bindings.range(fields.clone()..).take_while(|(at, _)| at.starts_with(&fields));
                let own = self.bindings.get_key_value(name).into_iter();
                let found = own.chain(fields).any(|(_, bindings)| {
                    bindings.iter().any(|binding| match binding {
                        Binding::Value(value) | Binding::Element(value) | Binding::Part(value) => {
                            self.is_computed(value, trail)
                        }
                        Binding::Unknown => false,
                    })
                });
                trail.pop();
                found
            }
            _ => false,
        }
    }
}

/// Filters that give elements of what they get, as they are.
const DATA_FILTERS: &[&str] = &[
    "dictsort",
    "first",
    "items",
    "last",
    "list",
    "reject",
    "rejectattr",
    "reverse",
    "select",
    "selectattr",
    "sort",
    "unique",
];
