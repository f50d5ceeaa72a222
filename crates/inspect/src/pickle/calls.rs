//! Calls and states: for each listed global the arguments that it may be called with, and for the kinds of object
//! that have a state, what that state may be. Those of torch, `NumPy` and the standard library's values stand in
//! files of their own.

use crate::limits;
use crate::pickle::Place;
use crate::pickle::allow::{Entry, Value};
use crate::pickle::machine::Machine;
use crate::pickle::value::{Node, Stateful, Val};
use crate::report::{self, Finding};

impl Machine<'_> {
    /// The result of calling `callable` with the tuple `args`. `None` when the callable was already
    /// reported as refused: the stream goes on with an unknown value.
    pub(super) fn reduce(
        &mut self,
        callable: Val,
        args: Val,
        budget: &mut u64,
    ) -> Result<Option<Node>, Finding> {
        if callable == Val::Unknown {
            return Ok(None);
        }
        let entry = match self.get_node(callable) {
            Some(Node::Global(entry)) => *entry,
            Some(Node::Foreign { callable, catalogued, .. }) => {
                let (callable, catalogued) = (*callable, *catalogued);
                return self.call_foreign(callable, catalogued, args);
            }
            _ => return Err(self.bad(&report::CALL, "pickle calls a value that is no listed global")),
        };
        let items = self.call_items(args)?;
        self.call_entry(entry, &items, budget).map(Some)
    }

    fn call_items(&self, args: Val) -> Result<Box<[Val]>, Finding> {
        let Some(Node::Tuple { items: Some(items), .. }) = self.get_node(args) else {
            return Err(self.bad(&report::ARGUMENTS, "arguments are not a short tuple"));
        };
        if items.len() > limits::PICKLE_ARGUMENTS {
            return Err(self.bad(&report::ARGUMENTS, "call has too many arguments"));
        }
        Ok(items.clone())
    }

    fn call_entry(&mut self, entry: Entry, items: &[Val], budget: &mut u64) -> Result<Node, Finding> {
        match entry {
            Entry::OrderedDict => match items {
                [] => Ok(Node::OrderedDict { len: 0, frozen: false, has_state: false, links: Vec::new() }),
                _ => Err(self.arguments("OrderedDict takes no arguments here")),
            },
            Entry::Torch(torch) => self.call_torch(torch, items),
            Entry::Numpy(numpy) => self.call_numpy(numpy, items),
            Entry::Value(value) => self.call_value(value, items),
            Entry::Reconstructor => self.reconstruct(items),
            Entry::Encode => self.encode(items, budget),
            Entry::Set | Entry::FrozenSet => self.set(entry, items),
            Entry::ByteArray => match items {
                [] => Ok(Node::Encoded { len: 0 }),
                [value] => match self.byte_len(*value) {
                    Some(len) => Ok(Node::Encoded { len }),
                    None => Err(self.arguments("bytearray takes bytes")),
                },
                _ => Err(self.arguments("bytearray takes bytes")),
            },
            Entry::Bytes => match items {
                [] => Ok(Node::Encoded { len: 0 }),
                _ => Err(self.arguments("bytes takes no arguments here")),
            },
            Entry::Complex => match items {
                [Val::Float | Val::Int(_), Val::Float | Val::Int(_)] => Ok(Node::Plain),
                _ => Err(self.arguments("complex takes two numbers")),
            },
            Entry::StorageType(_)
            | Entry::TorchDtype(_)
            | Entry::TensorClass
            | Entry::NdArray
            | Entry::MaskedArray
            | Entry::Record
            | Entry::Factory
            | Entry::Dict
            | Entry::Object
            | Entry::Name => {
                Err(self.bad(&report::CALL, "pickle calls a listed value that may only be referred to"))
            }
        }
    }

    /// `(class, object, None)`: an instance without a call of its constructor. `(class, dict, {..})` is one of a class
    /// that is a dictionary: the built-in type fills it. With another base this would call more.
    fn reconstruct(&mut self, items: &[Val]) -> Result<Node, Finding> {
        if let [class, base, Val::None] = *items
            && matches!(self.get_node(base), Some(Node::Global(Entry::Object)))
        {
            match self.get_node(class) {
                Some(Node::Foreign { catalogued, .. }) => {
                    return Ok(Node::Instance { catalogued: *catalogued, wrapper: false, links: Vec::new() });
                }
                Some(Node::Global(Entry::Value(Value::Uuid))) => {
                    return Ok(Node::Stateful { kind: Stateful::Uuid, built: false });
                }
                _ => {}
            }
        }
        if let [class, base, content] = *items
            && matches!(self.get_node(base), Some(Node::Global(Entry::Dict)))
            && matches!(self.get_node(content), Some(Node::Dict { .. }))
            && let Some(Node::Foreign { catalogued, .. }) = self.get_node(class)
        {
            return Ok(Node::Instance {
                catalogued: *catalogued,
                wrapper: false,
                links: self.links_to(content),
            });
        }
        Err(self.bad(&report::GLOBAL, "`copyreg._reconstructor` makes something else than a plain instance"))
    }

    /// A call of something off the start list: of the catalogue's callables with data, else none.
    fn call_foreign(&mut self, callable: bool, catalogued: bool, args: Val) -> Result<Option<Node>, Finding> {
        if !callable {
            self.note(&report::GLOBAL, "pickle calls a global that is not on the allow list");
            return Ok(None);
        }
        if !matches!(self.get_node(args), Some(Node::Tuple { .. })) {
            return Err(self.arguments("arguments are not a tuple"));
        }
        Ok(Some(Node::Instance { catalogued, wrapper: false, links: self.links_to(args) }))
    }

    /// Links to the members of a tuple or to the one value, to name the tensors below it.
    pub(super) fn links_to(&self, value: Val) -> Vec<super::value::Link> {
        match value {
            Val::Ref(node) => vec![super::value::Link { key: Val::None, node }],
            _ => Vec::new(),
        }
    }

    pub(super) fn arguments(&self, what: &str) -> Finding {
        self.bad(&report::ARGUMENTS, what)
    }

    /// A tuple of non-negative integers.
    pub(super) fn dims(&self, value: Val) -> Result<Vec<u64>, Finding> {
        let bad = || self.arguments("expected a tuple of sizes");
        let Some(Node::Tuple { items: Some(items), .. }) = self.get_node(value) else { return Err(bad()) };
        if items.len() > limits::DIMENSIONS {
            return Err(bad());
        }
        items
            .iter()
            .map(|item| match item {
                Val::Int(size) => u64::try_from(*size).map_err(|_| bad()),
                _ => Err(bad()),
            })
            .collect()
    }

    /// `(text, "latin1")`: bytes as protocols below 3 write them.
    fn encode(&mut self, items: &[Val], budget: &mut u64) -> Result<Node, Finding> {
        let bad = |machine: &Self| machine.arguments("_codecs.encode is not of text to latin1");
        let [value, codec] = items else { return Err(bad(self)) };
        if !matches!(self.text(*codec), Some("latin1" | "latin-1")) {
            return Err(bad(self));
        }
        let text = self.text_up_to(*value, u32::MAX).ok_or_else(|| bad(self))?;
        // The memo lets a file decode one long text many times, so bytes count as well as opcodes.
        let cost = crate::cursor::offset(text.len()) / limits::PICKLE_BYTES_PER_OPCODE;
        *budget = budget
            .checked_sub(cost)
            .ok_or_else(|| self.bad(&report::LIMIT, "pickle decodes too much text"))?;
        let decoded: Result<Vec<u8>, _> = text.chars().map(|char| u8::try_from(u32::from(char))).collect();
        let decoded = decoded.map_err(|_| bad(self))?;
        self.nested(&decoded, 0, budget)?;
        Ok(Node::Encoded { len: crate::cursor::offset(decoded.len()) })
    }

    fn set(&self, entry: Entry, items: &[Val]) -> Result<Node, Finding> {
        let plain = match items {
            [] => true,
            [list] => matches!(self.get_node(*list), Some(Node::List { plain: true, .. })),
            _ => false,
        };
        if !plain {
            return Err(self.arguments("set is not made of a list of plain values"));
        }
        Ok(if entry == Entry::Set { Node::Set } else { Node::FrozenSet { plain: true } })
    }

    pub(super) fn byte_len(&self, value: Val) -> Option<u64> {
        match value {
            Val::Bytes { len } => Some(len),
            _ => match self.get_node(value) {
                Some(Node::Encoded { len }) => Some(*len),
                _ => None,
            },
        }
    }

    /// BUILD: `__setstate__` or an update of the attributes.
    pub(super) fn build(&mut self, target: Val, state: Val, budget: &mut u64) -> Result<(), Finding> {
        let bad = |machine: &Self, what: &str| machine.bad(&report::BUILD, what);
        if target == Val::Unknown {
            return Ok(());
        }
        match self.get_node(target) {
            Some(Node::OrderedDict { frozen: false, has_state: false, .. }) => {
                let Some(Node::Dict { only_metadata: true, .. }) = self.get_node(state) else {
                    return Err(bad(self, "state of an OrderedDict is more than `_metadata`"));
                };
                if let Some(Node::OrderedDict { has_state, .. }) = self.get_node_mut(target) {
                    *has_state = true;
                }
                Ok(())
            }
            Some(Node::NdArray { built: false, masked }) => {
                let masked = *masked;
                self.check_array_state(state, masked)?;
                if let Some(Node::NdArray { built, .. }) = self.get_node_mut(target) {
                    *built = true;
                }
                Ok(())
            }
            Some(Node::NpDtype { built: false, frozen: false, item, kind }) => {
                let (item, kind) = (*item, *kind);
                let size = self.check_dtype_state(state, item, kind)?;
                if let Some(Node::NpDtype { built, item, .. }) = self.get_node_mut(target) {
                    *item = size;
                    *built = true;
                }
                Ok(())
            }
            Some(Node::Stateful { kind, built: false }) => {
                let kind = *kind;
                if state == Val::Unknown || !self.fits(kind, state) {
                    return Err(bad(self, "state of an object is not of its shape"));
                }
                if let Some(Node::Stateful { built, .. }) = self.get_node_mut(target) {
                    *built = true;
                }
                Ok(())
            }
            Some(Node::Instance { wrapper: true, .. }) if matches!(self.place, Place::Joblib) => {
                self.inline_array(target, state, budget)
            }
            Some(Node::Instance { .. }) => self.build_instance(target, state),
            _ => Err(bad(self, "BUILD on an object that has no state rule, or has its state")),
        }
    }

    fn fits(&self, kind: Stateful, state: Val) -> bool {
        match (kind, self.get_node(state)) {
            (Stateful::Random, Some(Node::Dict { .. } | Node::Tuple { .. })) => true,
            (Stateful::Uuid, Some(Node::Dict { links, .. })) => links.is_empty(),
            (Stateful::TorchGenerator, Some(Node::Tuple { items: Some(items), .. })) => match **items {
                [Val::Int(_) | Val::Number, Val::None | Val::Int(_), tensor] => {
                    matches!(self.get_node(tensor), Some(Node::Tensor(_)))
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// The state of an instance of a class off the start list: what its policy accepts. A pair of two states
    /// would be set attribute by attribute, the class itself included.
    fn build_instance(&mut self, target: Val, state: Val) -> Result<(), Finding> {
        if let Some(Node::Tuple { items: Some(items), .. }) = self.get_node(state)
            && let [_, slots] = **items
            && let Some(Node::Dict { dunder: true, .. }) = self.get_node(slots)
        {
            return Err(self.bad(&report::BUILD, "state sets a special attribute"));
        }
        let added = self.links_to(state);
        self.spend_links(added.len())?;
        if let Some(Node::Instance { links, .. }) = self.get_node_mut(target) {
            links.extend(added);
        }
        Ok(())
    }
}
