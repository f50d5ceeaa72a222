//! Opcodes of the memo and of the plain containers.

use crate::cursor::offset;
use crate::limits;
use crate::pickle::machine::Machine;
use crate::pickle::text;
use crate::pickle::value::{Link, Node, Val};
use crate::report::{self, Finding};

/// A whole number that a dictionary holds under one of [`limits::STEP_KEYS`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Counter {
    dict: u32,
    key: usize,
    value: u64,
}

/// The step in the dictionary `root`: under the first of the keys that it has, as last set.
pub(super) fn step(root: Val, counters: &[Counter]) -> Option<u64> {
    let Val::Ref(node) = root else { return None };
    let own = counters.iter().filter(|counter| counter.dict == node);
    // Of equal keys the later one counts, as when the dictionary is built.
    own.rev().min_by_key(|counter| counter.key).map(|counter| counter.value)
}

impl Machine<'_> {
    pub(super) fn index(&mut self, opcode: u8) -> Result<u64, Finding> {
        let index = match opcode {
            b'p' | b'g' => {
                let line = self.line()?;
                let number = text::integer(line).flatten().and_then(|number| u64::try_from(number).ok());
                return number.ok_or_else(|| self.bad(&report::MEMO, "memo index is not a number"));
            }
            b'q' | b'h' => self.cursor.u8().map(u64::from),
            _ => self.cursor.u32().map(u64::from),
        };
        index.ok_or_else(|| self.truncated())
    }

    pub(super) fn put(&mut self, opcode: u8) -> Result<(), Finding> {
        let index = if opcode == 0x94 { offset(self.memo.len()) } else { self.index(opcode)? };
        if index >= self.limits.pickle_memo {
            return Err(self.bad(&report::LIMIT, format!("memo index {index} is above the limit")));
        }
        let value = self.top()?;
        if let Some(old) = self.memo.get(&index).copied() {
            let object = matches!(old, Val::Unknown) || self.get_node(old).is_some_and(Node::is_object);
            if object {
                return Err(self.bad(&report::MEMO, "memo entry of an object is overwritten"));
            }
        }
        self.memo.insert(index, value);
        Ok(())
    }

    pub(super) fn get(&mut self, opcode: u8) -> Result<(), Finding> {
        let index = self.index(opcode)?;
        let value = self.memo.get(&index).copied();
        let value = value.ok_or_else(|| self.bad(&report::MEMO, format!("memo has no entry {index}")))?;
        self.push(value)
    }

    pub(super) fn container(&mut self, opcode: u8) -> Result<(), Finding> {
        match opcode {
            b')' => self.tuple(Vec::new()),
            0x85..=0x87 => {
                let mut items = Vec::with_capacity(3);
                for _ in 0x85..=opcode {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.tuple(items)
            }
            b't' => {
                let items = self.pop_to_mark()?;
                self.tuple(items)
            }
            b']' => self.push_node(Node::List { len: 0, plain: true, links: Vec::new() }),
            b'}' => self.push_node(Node::Dict { only_metadata: true, dunder: false, links: Vec::new() }),
            0x8f => self.push_node(Node::Set),
            0x91 => {
                let items = self.pop_to_mark()?;
                self.check_hashable(&items)?;
                self.push_node(Node::FrozenSet { plain: true })
            }
            b'l' => {
                let items = self.pop_to_mark()?;
                let list = self.node(Node::List { len: 0, plain: true, links: Vec::new() })?;
                self.push(list)?;
                self.append(list, &items)
            }
            _ => {
                let items = self.pop_to_mark()?;
                let dict = self.node(Node::Dict { only_metadata: true, dunder: false, links: Vec::new() })?;
                self.push(dict)?;
                self.set_items(dict, &items)
            }
        }
    }

    pub(super) fn tuple(&mut self, items: Vec<Val>) -> Result<(), Finding> {
        let plain = items.iter().all(|item| self.is_plain(*item));
        let keep = items.len() <= limits::DIMENSIONS || !plain;
        if keep {
            self.spend_links(items.len())?;
        }
        self.push_node(Node::Tuple { items: keep.then(|| items.into_boxed_slice()), plain })
    }

    pub(super) fn spend_links(&mut self, count: usize) -> Result<(), Finding> {
        self.links = self.links.saturating_add(count);
        // Short tuples of numbers come by the thousand (shapes, strides), so they have their own share.
        if self.links > limits::PICKLE_LINKS.saturating_mul(2) {
            return Err(self.bad(&report::LIMIT, "pickle holds too many references"));
        }
        Ok(())
    }

    pub(super) fn check_hashable(&self, items: &[Val]) -> Result<(), Finding> {
        if items.iter().all(|item| self.is_plain(*item)) {
            return Ok(());
        }
        Err(self
            .bad(&report::UNHASHABLE, "an object is used as key or set member, which would run its methods"))
    }

    pub(super) fn fill(&mut self, opcode: u8) -> Result<(), Finding> {
        let items = match opcode {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_to_mark()?,
        };
        let target = self.top()?;
        match opcode {
            b'a' | b'e' => self.append(target, &items),
            b's' | b'u' => self.set_items(target, &items),
            _ => {
                self.check_hashable(&items)?;
                match self.get_node(target) {
                    Some(Node::Set | Node::Instance { .. }) => Ok(()),
                    _ => Err(self.bad(&report::MUTATE, "ADDITEMS on something that is no plain set")),
                }
            }
        }
    }

    pub(super) fn append(&mut self, target: Val, items: &[Val]) -> Result<(), Finding> {
        let plain = items.iter().all(|item| self.is_plain(*item));
        let refs = items.iter().filter(|item| matches!(item, Val::Ref(_))).count();
        self.spend_links(refs)?;
        self.note_keys(items)?;
        let (mut count, mut every) = (0, true);
        let (len, all, links) = match self.get_node_mut(target) {
            Some(Node::List { len, plain, links }) => (len, plain, links),
            Some(Node::Instance { links, .. }) => (&mut count, &mut every, links),
            _ => return Err(self.bad(&report::MUTATE, "APPEND on something that is no plain list")),
        };
        *all = *all && plain;
        for item in items {
            if let Val::Ref(node) = item {
                links.push(Link { key: Val::Int(i64::try_from(*len).unwrap_or(i64::MAX)), node: *node });
            }
            *len = len.saturating_add(1);
        }
        Ok(())
    }

    pub(super) fn set_items(&mut self, target: Val, items: &[Val]) -> Result<(), Finding> {
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(self.bad(&report::STACK, "SETITEMS has a key without a value"));
        }
        self.spend_links(pairs.len())?;
        let (mut metadata, mut special) = (true, false);
        for [key, value] in pairs {
            self.check_hashable(&[*key])?;
            metadata = metadata && self.text(*key) == Some("_metadata");
            special = special || self.text(*key).is_none_or(|key| key.starts_with("__"));
            self.note_field(target, *key, *value)?;
            if let (Val::Ref(dict), Val::Int(value)) = (target, *value) {
                let key = limits::STEP_KEYS.iter().position(|name| self.text(*key) == Some(name));
                let counter = key.zip(u64::try_from(value).ok());
                self.counters.extend(counter.map(|(key, value)| Counter { dict, key, value }));
            }
        }
        let added = offset(pairs.len());
        let links = match self.get_node_mut(target) {
            Some(Node::Dict { only_metadata, dunder, links }) => {
                *only_metadata = *only_metadata && metadata;
                *dunder = *dunder || special;
                links
            }
            Some(Node::Instance { links, .. }) => links,
            Some(Node::OrderedDict { frozen: false, links, len, .. }) => {
                *len = len.saturating_add(added);
                links
            }
            _ => return Err(self.bad(&report::MUTATE, "SETITEM on something that is no plain dictionary")),
        };
        for [key, value] in pairs {
            if let Val::Ref(node) = value {
                links.push(Link { key: *key, node: *node });
            }
        }
        Ok(())
    }
}
