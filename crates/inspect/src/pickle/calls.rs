//! Calls and states: for each listed global the arguments that it may be called with, and for the two
//! kinds of object that have a state, what that state may be.

use crate::limits;
use crate::pickle::allow::{self, Entry};
use crate::pickle::machine::Machine;
use crate::pickle::value::{Node, Val, View};
use crate::report::{self, Finding};
use crate::tensor;

impl Machine<'_> {
    /// The result of calling `callable` with the tuple `args`. `None` when the callable was already
    /// reported as not listed: the stream goes on with an unknown value.
    pub(super) fn reduce(
        &mut self,
        callable: Val,
        args: Val,
        budget: &mut u64,
    ) -> Result<Option<Node>, Finding> {
        if callable == Val::Unknown {
            return Ok(None);
        }
        let Some(Node::Global(entry)) = self.get_node(callable) else {
            return Err(self.bad(&report::CALL, "pickle calls a value that is no listed global"));
        };
        let entry = *entry;
        let Some(Node::Tuple { items: Some(items), .. }) = self.get_node(args) else {
            return Err(self.bad(&report::ARGUMENTS, "arguments are not a short tuple"));
        };
        if items.len() > limits::PICKLE_ARGUMENTS {
            return Err(self.bad(&report::ARGUMENTS, "call has too many arguments"));
        }
        let items = items.clone();
        match entry {
            Entry::OrderedDict => match &*items {
                [] => {
                    Ok(Some(Node::OrderedDict { len: 0, frozen: false, has_state: false, links: Vec::new() }))
                }
                _ => Err(self.arguments("OrderedDict takes no arguments here")),
            },
            Entry::RebuildTensor => self.tensor(&items).map(Some),
            Entry::RebuildParameter => self.parameter(&items).map(Some),
            Entry::TorchSize => match &*items {
                [dims] => self.dims(*dims).map(|_| Some(Node::Plain)),
                _ => Err(self.arguments("torch.Size takes a tuple of sizes")),
            },
            Entry::NpReconstruct => self.np_reconstruct(&items).map(Some),
            Entry::NpScalar => self.np_scalar(&items).map(Some),
            Entry::NpDtype => self.np_dtype(&items).map(Some),
            Entry::Encode => self.encode(&items, budget).map(Some),
            Entry::Set | Entry::FrozenSet => self.set(entry, &items).map(Some),
            Entry::ByteArray => match &*items {
                [] => Ok(Some(Node::Plain)),
                [value] if self.byte_len(*value).is_some() => Ok(Some(Node::Plain)),
                _ => Err(self.arguments("bytearray takes bytes")),
            },
            Entry::Complex => match &*items {
                [Val::Float | Val::Int(_), Val::Float | Val::Int(_)] => Ok(Some(Node::Plain)),
                _ => Err(self.arguments("complex takes two numbers")),
            },
            Entry::StorageType(_) | Entry::TorchDtype | Entry::NdArray => {
                Err(self.bad(&report::CALL, "pickle calls a listed value that may only be referred to"))
            }
        }
    }

    fn arguments(&self, what: &str) -> Finding {
        self.bad(&report::ARGUMENTS, what)
    }

    /// A tuple of non-negative integers.
    fn dims(&self, value: Val) -> Result<Vec<u64>, Finding> {
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

    /// `(storage, offset, size, stride, requires_grad, OrderedDict())`, the view inside the storage.
    fn tensor(&mut self, items: &[Val]) -> Result<Node, Finding> {
        let bad = |machine: &Self| machine.arguments("arguments of _rebuild_tensor_v2 are not of its shape");
        let [storage, Val::Int(start), size, stride, Val::Bool(_), hooks] = items else {
            return Err(bad(self));
        };
        let Some(Node::Storage(storage)) = self.get_node(*storage) else { return Err(bad(self)) };
        let storage = (**storage).clone();
        let start = u64::try_from(*start).map_err(|_| bad(self))?;
        let (shape, strides) = (self.dims(*size)?, self.dims(*stride)?);
        if shape.len() != strides.len() {
            return Err(bad(self));
        }
        // The last element of the view must be inside the storage; an empty view touches nothing.
        let last = shape.iter().zip(&strides).try_fold(start, |sum, (dim, stride)| {
            dim.saturating_sub(1).checked_mul(*stride).and_then(|step| sum.checked_add(step))
        });
        let empty = shape.contains(&0);
        let inside = match last.and_then(|last| last.checked_add(1)) {
            Some(end) => end <= storage.elements,
            None => false,
        };
        if !(inside || (empty && start <= storage.elements)) || tensor::bytes(&shape, 16).is_none() {
            return Err(self.arguments("view of a tensor reaches outside its storage"));
        }
        self.freeze_hooks(*hooks)?;
        Ok(Node::Tensor(Box::new(View { storage, start, shape, strides })))
    }

    /// Backward hooks would be called by autograd, so they must be empty and stay so.
    fn freeze_hooks(&mut self, hooks: Val) -> Result<(), Finding> {
        match self.get_node_mut(hooks) {
            Some(Node::OrderedDict { len: 0, has_state: false, frozen, .. }) => {
                *frozen = true;
                Ok(())
            }
            _ => Err(self.arguments("backward hooks are not an empty OrderedDict")),
        }
    }

    fn parameter(&mut self, items: &[Val]) -> Result<Node, Finding> {
        let [data, Val::Bool(_), hooks] = items else {
            return Err(self.arguments("arguments of _rebuild_parameter are not of its shape"));
        };
        let Some(Node::Tensor(view)) = self.get_node(*data) else {
            return Err(self.arguments("data of a parameter is not a tensor"));
        };
        let view = view.clone();
        self.freeze_hooks(*hooks)?;
        Ok(Node::Tensor(view))
    }

    /// `(numpy.ndarray, (0,), b"b")`: an empty array whose state follows by BUILD.
    fn np_reconstruct(&self, items: &[Val]) -> Result<Node, Finding> {
        let [class, shape, code] = items else {
            return Err(self.arguments("arguments of _reconstruct are not of its shape"));
        };
        let class_ok = matches!(self.get_node(*class), Some(Node::Global(Entry::NdArray)));
        let code_ok = self.byte_len(*code) == Some(1) || self.text(*code) == Some("b");
        if class_ok && code_ok && self.dims(*shape)? == [0] {
            return Ok(Node::NdArray { built: false });
        }
        Err(self.arguments("arguments of _reconstruct are not of its shape"))
    }

    /// `(code, False, True)`: a fresh copy, so that the state which follows changes no built-in type.
    fn np_dtype(&self, items: &[Val]) -> Result<Node, Finding> {
        let [code, align, copy] = items else {
            return Err(self.arguments("arguments of numpy.dtype are not of its shape"));
        };
        let flags =
            matches!(align, Val::Bool(false) | Val::Int(0)) && matches!(copy, Val::Bool(true) | Val::Int(1));
        match self.text(*code).and_then(allow::numpy_code) {
            Some((item, flexible)) if flags => {
                Ok(Node::NpDtype { item, flexible, built: false, frozen: false })
            }
            _ => Err(self.arguments("numpy.dtype is not of a plain numeric or text kind")),
        }
    }

    /// Takes a type into use: its state may not change after this.
    fn use_dtype(&mut self, value: Val) -> Option<u64> {
        match self.get_node_mut(value) {
            Some(Node::NpDtype { item, frozen, .. }) => {
                *frozen = true;
                Some(*item)
            }
            _ => None,
        }
    }

    fn np_scalar(&mut self, items: &[Val]) -> Result<Node, Finding> {
        if let [dtype, data] = items {
            let len = self.byte_len(*data);
            if let Some(item) = self.use_dtype(*dtype)
                && len == Some(item)
            {
                return Ok(Node::Plain);
            }
        }
        Err(self.arguments("numpy scalar does not have the bytes of its type"))
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

    fn byte_len(&self, value: Val) -> Option<u64> {
        match value {
            Val::Bytes { len } => Some(len),
            _ => match self.get_node(value) {
                Some(Node::Encoded { len }) => Some(*len),
                _ => None,
            },
        }
    }

    /// BUILD: `__setstate__` or an update of the attributes.
    pub(super) fn build(&mut self, target: Val, state: Val) -> Result<(), Finding> {
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
            Some(Node::NdArray { built: false }) => {
                self.check_array_state(state)?;
                if let Some(Node::NdArray { built }) = self.get_node_mut(target) {
                    *built = true;
                }
                Ok(())
            }
            Some(Node::NpDtype { built: false, frozen: false, item, flexible }) => {
                let (item, flexible) = (*item, *flexible);
                self.check_dtype_state(state, item, flexible)?;
                if let Some(Node::NpDtype { built, .. }) = self.get_node_mut(target) {
                    *built = true;
                }
                Ok(())
            }
            _ => Err(bad(self, "BUILD on an object that has no state rule, or has its state")),
        }
    }

    /// `(version, shape, dtype, is_fortran, bytes)`.
    fn check_array_state(&mut self, state: Val) -> Result<(), Finding> {
        let bad = |machine: &Self| machine.bad(&report::BUILD, "state of an array is not of its shape");
        let Some(Node::Tuple { items: Some(items), .. }) = self.get_node(state) else {
            return Err(bad(self));
        };
        let [Val::Int(1), shape, dtype, Val::Bool(_), data] = **items else { return Err(bad(self)) };
        let shape = self.dims(shape)?;
        let item = self.use_dtype(dtype).ok_or_else(|| bad(self))?;
        let len = self.byte_len(data).ok_or_else(|| bad(self))?;
        if tensor::bytes(&shape, item) != Some(len) {
            return Err(self.bad(&report::BUILD, "array does not have the bytes of its shape"));
        }
        Ok(())
    }

    /// `(3, order, None, None, None, size, alignment, flags)`: no subtype, no fields, no object flags.
    fn check_dtype_state(&self, state: Val, item: u64, flexible: bool) -> Result<(), Finding> {
        let bad = || self.bad(&report::BUILD, "state of a numpy type is not of its shape");
        let Some(Node::Tuple { items: Some(items), .. }) = self.get_node(state) else { return Err(bad()) };
        let [
            Val::Int(3),
            order,
            Val::None,
            Val::None,
            Val::None,
            Val::Int(size),
            Val::Int(align),
            Val::Int(flags),
        ] = **items
        else {
            return Err(bad());
        };
        let order_ok = matches!(self.text(order), Some("<" | ">" | "|" | "="));
        let layout_ok = if flexible {
            // Text carries NPY_NEEDS_INIT (8), raw bytes nothing.
            u64::try_from(size) == Ok(item) && (1..=4).contains(&align) && matches!(flags, 0 | 8)
        } else {
            (size, align, flags) == (-1, -1, 0)
        };
        if order_ok && layout_ok { Ok(()) } else { Err(bad()) }
    }
}
