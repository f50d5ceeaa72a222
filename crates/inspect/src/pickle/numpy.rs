//! What rebuilds arrays, types, scalars and random generators of `NumPy`, and the states they take.

use crate::limits;
use crate::pickle::allow::{self, Entry, Numpy};
use crate::pickle::machine::Machine;
use crate::pickle::value::{Kind, Node, Stateful, Val};
use crate::report::{self, Finding};
use crate::tensor;

impl Machine<'_> {
    pub(super) fn call_numpy(&mut self, numpy: Numpy, items: &[Val]) -> Result<Node, Finding> {
        match numpy {
            Numpy::Reconstruct => self.np_reconstruct(items),
            Numpy::ReconstructMasked => self.np_reconstruct_masked(items),
            Numpy::Scalar => self.np_scalar(items),
            Numpy::Dtype => self.np_dtype(items),
            Numpy::FromBuffer => self.np_from_buffer(items),
            Numpy::Random => {
                let part = |value: Val| match self.get_node(value) {
                    Some(
                        Node::Stateful { kind: Stateful::Random, .. }
                        | Node::Global(Entry::Name | Entry::Numpy(Numpy::Random)),
                    ) => true,
                    _ => self.text(value).is_some(),
                };
                match items {
                    [] => {}
                    [one] if part(*one) => {}
                    [one, two] if part(*one) && part(*two) => {}
                    _ => return Err(self.arguments("random generator is not made of its parts")),
                }
                Ok(Node::Stateful { kind: Stateful::Random, built: false })
            }
            Numpy::SeedSequence => match *items {
                [class, Val::Int(_), Val::None]
                    if matches!(self.get_node(class), Some(Node::Global(Entry::Name))) =>
                {
                    Ok(Node::Stateful { kind: Stateful::Random, built: false })
                }
                _ => Err(self.arguments("seed sequence is not made as it is written")),
            },
        }
    }

    /// `(numpy.ndarray, (0,), b"b")`: an empty array whose state follows by BUILD.
    fn np_reconstruct(&self, items: &[Val]) -> Result<Node, Finding> {
        let [class, shape, code] = items else {
            return Err(self.arguments("arguments of _reconstruct are not of its shape"));
        };
        let class_ok = matches!(self.get_node(*class), Some(Node::Global(Entry::NdArray)));
        let code_ok = self.byte_len(*code) == Some(1) || self.text(*code) == Some("b");
        if class_ok && code_ok && self.dims(*shape)? == [0] {
            return Ok(Node::NdArray { built: false, masked: false });
        }
        Err(self.arguments("arguments of _reconstruct are not of its shape"))
    }

    /// `(numpy.ma.MaskedArray, numpy.ndarray, (0,), b"b")`: the same with a mask.
    fn np_reconstruct_masked(&self, items: &[Val]) -> Result<Node, Finding> {
        if let [class, rest @ ..] = items
            && matches!(self.get_node(*class), Some(Node::Global(Entry::MaskedArray)))
        {
            self.np_reconstruct(rest)?;
            return Ok(Node::NdArray { built: false, masked: true });
        }
        Err(self.arguments("arguments of _mareconstruct are not of its shape"))
    }

    /// `(bytes, dtype, shape, order)`, as protocol 5 writes an array.
    fn np_from_buffer(&mut self, items: &[Val]) -> Result<Node, Finding> {
        let bad = |machine: &Self| machine.arguments("arguments of _frombuffer are not of its shape");
        let [data, dtype, shape, order] = *items else { return Err(bad(self)) };
        let (Some(len), Some("C" | "F")) = (self.byte_len(data), self.text(order)) else {
            return Err(bad(self));
        };
        let shape = self.dims(shape)?;
        match self.use_dtype(dtype) {
            Some((item, kind)) if kind != Kind::Object && tensor::bytes(&shape, item) == Some(len) => {
                Ok(Node::NdArray { built: true, masked: false })
            }
            _ => Err(self.arguments("array does not have the bytes of its shape")),
        }
    }

    /// `(code, False, True)`: a fresh copy, so that the state which follows changes no built-in type.
    fn np_dtype(&mut self, items: &[Val]) -> Result<Node, Finding> {
        let bad = |machine: &Self| machine.arguments("numpy.dtype is not of a kind that is listed");
        let [code, align, copy] = items else { return Err(bad(self)) };
        let flags =
            matches!(align, Val::Bool(false) | Val::Int(0)) && matches!(copy, Val::Bool(true) | Val::Int(1));
        if flags && matches!(self.get_node(*code), Some(Node::Global(Entry::Record))) {
            return Ok(Node::NpDtype { item: 0, kind: Kind::Record, built: false, frozen: false });
        }
        let code = self.text(*code).unwrap_or_default();
        let (item, kind) = match (code, allow::numpy_code(code)) {
            ("O8" | "O4" | "O", _) => (8, Kind::Object),
            ("M8" | "m8", _) => (8, Kind::Date),
            (_, Some((item, flexible))) => (item, if flexible { Kind::Flexible } else { Kind::Number }),
            _ => return Err(bad(self)),
        };
        if !flags {
            return Err(bad(self));
        }
        if kind == Kind::Object {
            self.risk("numpy", "object_")?;
        }
        Ok(Node::NpDtype { item, kind, built: false, frozen: false })
    }

    /// Takes a type into use: its state may not change after this.
    pub(super) fn use_dtype(&mut self, value: Val) -> Option<(u64, Kind)> {
        match self.get_node_mut(value) {
            Some(Node::NpDtype { item, kind, frozen, .. }) => {
                *frozen = true;
                Some((*item, *kind))
            }
            _ => None,
        }
    }

    fn np_scalar(&mut self, items: &[Val]) -> Result<Node, Finding> {
        if let [dtype, data] = items {
            let len = self.byte_len(*data);
            if let Some((item, kind)) = self.use_dtype(*dtype)
                && len == Some(item)
                && kind != Kind::Object
            {
                return Ok(Node::Plain);
            }
        }
        Err(self.arguments("numpy scalar does not have the bytes of its type"))
    }

    /// `(version, shape, dtype, is_fortran, bytes)`; of an array of objects a list of them. With a mask, the bytes of
    /// the mask and what stands for masked elements follow.
    pub(super) fn check_array_state(&mut self, state: Val, masked: bool) -> Result<(), Finding> {
        let bad = |machine: &Self| machine.bad(&report::BUILD, "state of an array is not of its shape");
        let Some(Node::Tuple { items: Some(items), .. }) = self.get_node(state) else {
            return Err(bad(self));
        };
        let (shape, dtype, data, mask) = match **items {
            [Val::Int(1), shape, dtype, Val::Bool(_), data] if !masked => (shape, dtype, data, None),
            [Val::Int(1), shape, dtype, Val::Bool(_) | Val::Int(0 | 1), data, mask, fill] if masked => {
                (shape, dtype, data, Some((mask, fill)))
            }
            _ => return Err(bad(self)),
        };
        let shape = self.dims(shape)?;
        let (item, kind) = self.use_dtype(dtype).ok_or_else(|| bad(self))?;
        if let Some((mask, fill)) = mask {
            // One flag for each element; of a structure one for each field, whose number is not kept.
            let flags = self.byte_len(mask).ok_or_else(|| bad(self))?;
            let count = tensor::bytes(&shape, 1).ok_or_else(|| bad(self))?;
            let fits = if kind == Kind::Flexible || kind == Kind::Record {
                flags == count || count > 0 && flags.is_multiple_of(count)
            } else {
                flags == count
            };
            if !fits || !self.is_fill(fill) {
                return Err(bad(self));
            }
        }
        if kind == Kind::Object {
            let Some(Node::List { len, .. }) = self.get_node(data) else { return Err(bad(self)) };
            let count = tensor::bytes(&shape, 1);
            return if count == Some(*len) { Ok(()) } else { Err(bad(self)) };
        }
        let len = self.byte_len(data).ok_or_else(|| bad(self))?;
        if tensor::bytes(&shape, item) != Some(len) {
            return Err(self.bad(&report::BUILD, "array does not have the bytes of its shape"));
        }
        Ok(())
    }

    /// `(3, order, None, names, fields, size, alignment, flags)`: no subtype, no object flags; dates add their
    /// unit, with version 4. Returns the size of an element.
    pub(super) fn check_dtype_state(&self, state: Val, item: u64, kind: Kind) -> Result<u64, Finding> {
        let bad = || self.bad(&report::BUILD, "state of a numpy type is not of its shape");
        let Some(Node::Tuple { items: Some(items), .. }) = self.get_node(state) else { return Err(bad()) };
        let (version, order, names, fields, layout) = match **items {
            [
                Val::Int(version),
                order,
                Val::None,
                names,
                fields,
                Val::Int(size),
                Val::Int(align),
                Val::Int(flags),
            ] => (version, order, names, fields, (size, align, flags)),
            [
                Val::Int(4),
                order,
                Val::None,
                Val::None,
                Val::None,
                Val::Int(-1),
                Val::Int(-1),
                Val::Int(0),
                unit,
            ] if kind == Kind::Date => {
                return if self.is_order(order) && self.is_unit(unit) { Ok(item) } else { Err(bad()) };
            }
            [
                Val::Int(3),
                order,
                base,
                Val::None,
                Val::None,
                Val::Int(size),
                Val::Int(align),
                Val::Int(0),
            ] if kind == Kind::Flexible && base != Val::None => {
                let fits = u64::try_from(size) == Ok(item) && (1..=64).contains(&align);
                let fits = fits && self.is_order(order) && self.is_subarray(base, item);
                return if fits { Ok(item) } else { Err(bad()) };
            }
            _ => return Err(bad()),
        };
        let (size, align, flags) = layout;
        let fits = match kind {
            _ if version != 3 || !self.is_order(order) => false,
            Kind::Date => false,
            // Raw bytes with fields: a structure. Its flags say nothing of objects.
            Kind::Flexible if names != Val::None => {
                u64::try_from(size) == Ok(item)
                    && (1..=64).contains(&align)
                    && matches!(flags & !0x10, 0 | 8 | 0x80)
                    && self.are_fields(names, fields, item)
            }
            // The same as a class of records, whose size its state says.
            Kind::Record => {
                u64::try_from(size).is_ok_and(|size| self.are_fields(names, fields, size))
                    && (1..=64).contains(&align)
                    && matches!(flags & !0x10, 0 | 8 | 0x80)
            }
            _ if names != Val::None || fields != Val::None => false,
            // Text carries NPY_NEEDS_INIT (8), raw bytes nothing.
            Kind::Flexible => {
                u64::try_from(size) == Ok(item) && (1..=4).contains(&align) && matches!(flags, 0 | 8)
            }
            Kind::Number => layout == (-1, -1, 0),
            Kind::Object => layout == (-1, -1, 63),
        };
        let item = if kind == Kind::Record { u64::try_from(size).unwrap_or_default() } else { item };
        if fits { Ok(item) } else { Err(bad()) }
    }

    /// `(dtype, (2, 3))`: elements that are arrays of a type without objects.
    fn is_subarray(&self, base: Val, item: u64) -> bool {
        let Some(Node::Tuple { items: Some(parts), .. }) = self.get_node(base) else { return false };
        let [dtype, shape] = **parts else { return false };
        let Some(Node::NpDtype { item: size, kind, .. }) = self.get_node(dtype) else { return false };
        let shape = match shape {
            Val::Int(count) => u64::try_from(count).map(|count| vec![count]).ok(),
            shape => self.dims(shape).ok(),
        };
        *kind != Kind::Object && shape.and_then(|shape| tensor::bytes(&shape, *size)) == Some(item)
    }

    /// What stands for masked elements: nothing, a plain value, or an array.
    fn is_fill(&self, fill: Val) -> bool {
        matches!(fill, Val::None | Val::Bool(_) | Val::Int(_) | Val::Float)
            || self.text(fill).is_some()
            || self.byte_len(fill).is_some()
            || matches!(
                self.get_node(fill),
                Some(Node::Plain | Node::NdArray { built: true, .. } | Node::Tuple { plain: true, .. })
            )
    }

    fn is_order(&self, order: Val) -> bool {
        matches!(self.text(order), Some("<" | ">" | "|" | "="))
    }

    /// `(None, (unit, count, ..))`; before NumPy 2 an empty dictionary stood for `None`.
    fn is_unit(&self, unit: Val) -> bool {
        let Some(Node::Tuple { items: Some(items), .. }) = self.get_node(unit) else { return false };
        let [metadata, inner] = **items else { return false };
        let empty = matches!(self.get_node(metadata), Some(Node::Dict { links, dunder: false, .. }) if links.is_empty());
        if metadata != Val::None && !empty {
            return false;
        }
        let Some(Node::Tuple { items: Some(parts), .. }) = self.get_node(inner) else { return false };
        matches!(parts.split_first(), Some((name, numbers))
            if self.byte_len(*name).is_some_and(|len| len <= 8)
                && numbers.len() <= 4
                && numbers.iter().all(|number| matches!(number, Val::Int(1..=1_000_000))))
    }

    /// Names of a structure, and for each a type without objects that lies within it.
    fn are_fields(&self, names: Val, fields: Val, item: u64) -> bool {
        let Some(Node::Tuple { items: Some(names), .. }) = self.get_node(names) else { return false };
        let Some(Node::Dict { links, .. }) = self.get_node(fields) else { return false };
        let inside = |link: &super::value::Link| {
            let Some(Node::Tuple { items: Some(field), .. }) = self.get_node(Val::Ref(link.node)) else {
                return false;
            };
            let (dtype, at) = match **field {
                [dtype, Val::Int(at)] => (dtype, at),
                // A field with a title stands under both of its names.
                [dtype, Val::Int(at), title] if self.text(title).is_some() => (dtype, at),
                _ => return false,
            };
            let Some(Node::NpDtype { item: size, kind, .. }) = self.get_node(dtype) else { return false };
            let end = u64::try_from(at).ok().and_then(|at| at.checked_add(*size));
            *kind != Kind::Object && end.is_some_and(|end| end <= item)
        };
        !names.is_empty()
            && (names.len()..=names.len().saturating_mul(2)).contains(&links.len())
            && names.len() <= limits::DIMENSIONS
            && names.iter().all(|name| self.text(*name).is_some())
            && links.iter().all(inside)
    }
}
