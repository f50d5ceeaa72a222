//! Value types of the standard library. With the arguments that are accepted here their constructors only keep
//! them: nothing is opened, looked up or computed beyond the size of the arguments.

use crate::limits;
use crate::pickle::allow::{Entry, Value};
use crate::pickle::machine::Machine;
use crate::pickle::value::{Node, Val};
use crate::report::Finding;

impl Machine<'_> {
    pub(super) fn call_value(&mut self, value: Value, items: &[Val]) -> Result<Node, Finding> {
        let fits = match value {
            Value::DefaultDict => return self.default_dict(items),
            Value::Counter => return self.counter(items),
            Value::Deque => return self.deque(items),
            Value::Path => items.iter().all(|part| self.text(*part).is_some()),
            Value::DateTime => self.bytes_and_zone(items, 10),
            Value::Time => self.bytes_and_zone(items, 6),
            Value::Date => matches!(*items, [data] if self.byte_len(data) == Some(4)),
            Value::TimeDelta => matches!(*items, [Val::Int(_), Val::Int(_), Val::Int(_)]),
            Value::TimeZone => match *items {
                [delta] => self.is_value(delta),
                [delta, name] => self.is_value(delta) && self.text(name).is_some(),
                _ => false,
            },
            Value::Decimal => matches!(*items, [text] if self.number_text(text, b"+-.eEINFinfasyNn")),
            // An exponent would be computed.
            Value::Fraction => match *items {
                [Val::Int(_) | Val::Number, Val::Int(_) | Val::Number] => true,
                [text] => self.number_text(text, b"-/"),
                _ => false,
            },
            Value::Slice | Value::Range => {
                (1..=3).contains(&items.len())
                    && items.iter().all(|item| matches!(item, Val::Int(_) | Val::Number | Val::None))
            }
            Value::Uuid => false,
        };
        if fits {
            Ok(Node::Plain)
        } else {
            Err(self.arguments("value type of the standard library is not made of what it writes"))
        }
    }

    fn is_value(&self, value: Val) -> bool {
        matches!(self.get_node(value), Some(Node::Plain))
    }

    fn bytes_and_zone(&self, items: &[Val], len: u64) -> bool {
        match *items {
            [data] => self.byte_len(data) == Some(len),
            [data, zone] => self.byte_len(data) == Some(len) && self.is_value(zone),
            _ => false,
        }
    }

    fn number_text(&self, value: Val, others: &[u8]) -> bool {
        self.text(value).is_some_and(|text| {
            text.len() <= limits::PICKLE_DIGITS
                && text.bytes().all(|byte| byte.is_ascii_digit() || others.contains(&byte))
        })
    }

    /// `(factory[, dict])`: the factory is called for missing keys, so it is a built-in type.
    fn default_dict(&self, items: &[Val]) -> Result<Node, Finding> {
        let factory = |value| {
            value == Val::None
                || matches!(
                    self.get_node(value),
                    Some(Node::Global(
                        Entry::Factory
                            | Entry::Dict
                            | Entry::Bytes
                            | Entry::Set
                            | Entry::FrozenSet
                            | Entry::OrderedDict
                    ))
                )
        };
        match *items {
            [] => Ok(dict()),
            [value] if factory(value) => Ok(dict()),
            _ => Err(self.arguments("defaultdict makes its values by something else than a built-in type")),
        }
    }

    fn counter(&self, items: &[Val]) -> Result<Node, Finding> {
        match *items {
            [] => Ok(dict()),
            [counts] => match self.get_node(counts) {
                Some(Node::Dict { .. }) => Ok(dict()),
                _ => Err(self.arguments("Counter is not made of a dictionary")),
            },
            _ => Err(self.arguments("Counter is not made of a dictionary")),
        }
    }

    fn deque(&self, items: &[Val]) -> Result<Node, Finding> {
        let bound = match *items {
            [] => true,
            [list] | [list, Val::Int(0..) | Val::None] => self.is_list(list),
            _ => false,
        };
        if !bound {
            return Err(self.arguments("deque is not made of a list"));
        }
        let links = items.first().map(|list| self.links_to(*list)).unwrap_or_default();
        Ok(Node::List { len: 0, plain: false, links })
    }

    fn is_list(&self, value: Val) -> bool {
        matches!(self.get_node(value), Some(Node::List { .. } | Node::Tuple { .. }))
    }
}

fn dict() -> Node {
    Node::Dict { only_metadata: false, dunder: false, links: Vec::new() }
}
