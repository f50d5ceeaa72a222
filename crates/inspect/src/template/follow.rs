//! What a key or a value may be, by every binding of the names in it.

use super::ast::{Arguments, Expr};
use super::check::{Binding, Rules};
use super::names;
use crate::limits;

/// How far bindings are followed.
type Trail<'t> = &'t mut Vec<String>;

impl<'a> Rules<'a> {
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
    pub(super) fn is_number(&self, value: &'a Expr, trail: Trail<'_>) -> bool {
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
    pub(super) fn is_constant_key(&self, value: &'a Expr, trail: Trail<'_>) -> bool {
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
    pub(super) fn is_table(&self, value: &'a Expr) -> bool {
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
    pub(super) fn is_key(&self, key: &'a Expr) -> bool {
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
    pub(super) fn is_looked_up(&self, key: &'a Expr, trail: Trail<'_>) -> bool {
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
    pub(super) fn is_computed(&self, value: &'a Expr, trail: Trail<'_>) -> bool {
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
