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
pub(super) enum Binding<'a> {
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
    pub(super) bindings: BTreeMap<String, Vec<Binding<'a>>>,
    macros: BTreeMap<&'a str, &'a [(String, Option<Expr>)]>,
    /// Work left, so that bindings which refer to each other cannot multiply.
    pub(super) steps: Cell<u32>,
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
        if !names::is_bindable(name) || taken || (!is_macro && self.macros.contains_key(name)) {
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
        let bound = self.bindings.contains_key(name);
        let leads = name.starts_with('_') && !(bound && names::is_bindable(name));
        if names::OBJECTS.contains(&name) && !bound || leads {
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
}
