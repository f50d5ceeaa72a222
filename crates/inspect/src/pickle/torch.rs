//! What rebuilds tensors and other things of torch.

use crate::limits;
use crate::pickle::allow::{Entry, Torch};
use crate::pickle::machine::Machine;
use crate::pickle::value::{Link, Node, Stateful, Storage, Val, View};
use crate::report::Finding;
use crate::tensor::{self, Dtype};

/// What a tensor is a view of, and how it is to be read.
struct Parts {
    storage: Val,
    start: Val,
    size: Val,
    stride: Val,
    dtype: Option<Dtype>,
    plain: bool,
}

impl Machine<'_> {
    pub(super) fn call_torch(&mut self, torch: Torch, items: &[Val]) -> Result<Node, Finding> {
        match torch {
            Torch::Tensor2 => self.tensor2(items),
            Torch::Tensor3 => self.tensor3(items),
            Torch::Quantized => self.quantized(items),
            Torch::Parameter => self.parameter(items),
            Torch::ParameterState => self.parameter_state(items),
            Torch::Sparse => self.sparse(items),
            Torch::SparseCsr => self.sparse_csr(items),
            Torch::Meta => self.meta(items),
            Torch::FromNumpy => self.of_numpy(items),
            Torch::FromType => self.typed(items),
            Torch::Size => match items {
                [dims] => self.dims(*dims).map(|_| Node::Plain),
                _ => Err(self.arguments("torch.Size takes a tuple of sizes")),
            },
            Torch::Device => self.device(items),
            Torch::Layout => match items {
                [name] if self.text(*name).is_some_and(|name| LAYOUTS.contains(&name)) => Ok(Node::Plain),
                _ => Err(self.arguments("unknown layout")),
            },
            Torch::Generator => match items {
                [device] if matches!(self.get_node(*device), Some(Node::Plain)) => {
                    Ok(Node::Stateful { kind: Stateful::TorchGenerator, built: false })
                }
                _ => Err(self.arguments("torch.Generator takes a device")),
            },
        }
    }

    /// `(storage, offset, size, stride, requires_grad, OrderedDict()[, flags])`, the view inside the storage.
    fn tensor2(&mut self, items: &[Val]) -> Result<Node, Finding> {
        let bad = |machine: &Self| machine.arguments("arguments of _rebuild_tensor_v2 are not of its shape");
        let (storage, start, size, stride, hooks, plain) = match *items {
            [storage, start, size, stride, Val::Bool(_), hooks] => {
                (storage, start, size, stride, hooks, true)
            }
            [storage, start, size, stride, Val::Bool(_), hooks, flags] => {
                self.flags(flags)?;
                (storage, start, size, stride, hooks, false)
            }
            _ => return Err(bad(self)),
        };
        let view = self.view(&Parts { storage, start, size, stride, dtype: None, plain })?;
        self.freeze_hooks(hooks)?;
        Ok(view)
    }

    /// The same with a type behind the hooks, over a storage of bytes.
    fn tensor3(&mut self, items: &[Val]) -> Result<Node, Finding> {
        let (storage, start, size, stride, hooks, dtype) = match *items {
            [storage, start, size, stride, Val::Bool(_), hooks, dtype] => {
                (storage, start, size, stride, hooks, dtype)
            }
            [storage, start, size, stride, Val::Bool(_), hooks, dtype, flags] => {
                self.flags(flags)?;
                (storage, start, size, stride, hooks, dtype)
            }
            _ => return Err(self.arguments("arguments of _rebuild_tensor_v3 are not of its shape")),
        };
        let Some(Node::Global(Entry::TorchDtype(Some(dtype)))) = self.get_node(dtype) else {
            return Err(self.arguments("type of a tensor is not a plain one"));
        };
        let (dtype, plain) = (Some(*dtype), items.len() == 7);
        let view = self.view(&Parts { storage, start, size, stride, dtype, plain })?;
        self.freeze_hooks(hooks)?;
        Ok(view)
    }

    /// `(storage, offset, size, stride, quantizer, requires_grad, hooks)`.
    fn quantized(&mut self, items: &[Val]) -> Result<Node, Finding> {
        let [storage, start, size, stride, quantizer, Val::Bool(_), hooks] = *items else {
            return Err(self.arguments("arguments of _rebuild_qtensor are not of its shape"));
        };
        let fits = match self.get_node(quantizer) {
            Some(Node::Tuple { items: Some(parts), .. }) => match **parts {
                [scheme, Val::Float | Val::Int(_), Val::Int(_)] => self.is_name(scheme),
                [scheme, scales, zeros, Val::Int(0..=64)] => {
                    let tensor = |value| matches!(self.get_node(value), Some(Node::Tensor(_)));
                    self.is_name(scheme) && tensor(scales) && tensor(zeros)
                }
                _ => false,
            },
            _ => false,
        };
        if !fits {
            return Err(self.arguments("quantizer is not of its shape"));
        }
        let view = self.view(&Parts { storage, start, size, stride, dtype: None, plain: false })?;
        self.freeze_hooks(hooks)?;
        Ok(view)
    }

    fn is_name(&self, value: Val) -> bool {
        matches!(self.get_node(value), Some(Node::Global(Entry::Name)))
    }

    fn view(&self, parts: &Parts) -> Result<Node, Finding> {
        let bad = || self.arguments("arguments of a tensor are not of its shape");
        let (Some(Node::Storage(storage)), Val::Int(start)) = (self.get_node(parts.storage), parts.start)
        else {
            return Err(bad());
        };
        let mut storage: Storage = (**storage).clone();
        let dtype = match parts.dtype {
            None => storage.dtype,
            // The storage counts bytes; the view counts elements.
            Some(dtype) if storage.dtype == Dtype::U8 => {
                storage.elements /= dtype.size();
                dtype
            }
            Some(_) => return Err(bad()),
        };
        let start = u64::try_from(start).map_err(|_| bad())?;
        let (shape, strides) = (self.dims(parts.size)?, self.dims(parts.stride)?);
        if shape.len() != strides.len() {
            return Err(bad());
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
        Ok(Node::Tensor(Box::new(View { storage, start, shape, strides, dtype, plain: parts.plain })))
    }

    /// Flags such as `conj`: a dictionary of plain values.
    fn flags(&self, flags: Val) -> Result<(), Finding> {
        match self.get_node(flags) {
            Some(Node::Dict { links, .. }) if links.is_empty() => Ok(()),
            _ => Err(self.arguments("flags of a tensor are not plain")),
        }
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
        let [data, Val::Bool(_), hooks] = *items else {
            return Err(self.arguments("arguments of _rebuild_parameter are not of its shape"));
        };
        let Some(Node::Tensor(view)) = self.get_node(data) else {
            return Err(self.arguments("data of a parameter is not a tensor"));
        };
        let view = view.clone();
        self.freeze_hooks(hooks)?;
        Ok(Node::Tensor(view))
    }

    fn parameter_state(&mut self, items: &[Val]) -> Result<Node, Finding> {
        let [data, grad, hooks, state] = *items else {
            return Err(self.arguments("arguments of _rebuild_parameter_with_state are not of its shape"));
        };
        self.attributes(state)?;
        self.parameter(&[data, grad, hooks])
    }

    /// Attributes that are set on a tensor one by one: plain values only.
    fn attributes(&self, state: Val) -> Result<(), Finding> {
        let plain = match self.get_node(state) {
            Some(Node::Dict { links, dunder, .. }) => links.is_empty() && !dunder,
            Some(Node::OrderedDict { links, has_state, .. }) => links.is_empty() && !has_state,
            Some(Node::Tuple { items: Some(items), .. }) => items.is_empty(),
            _ => false,
        };
        if plain { Ok(()) } else { Err(self.arguments("attributes of a tensor are not plain values")) }
    }

    /// `(layout, (indices.., values, size[, is_coalesced]))`.
    fn sparse(&self, items: &[Val]) -> Result<Node, Finding> {
        let bad = || self.arguments("arguments of _rebuild_sparse_tensor are not of its shape");
        let [layout, parts] = *items else { return Err(bad()) };
        let Some(Node::Tuple { items: Some(parts), .. }) = self.get_node(parts) else { return Err(bad()) };
        let tensors =
            parts.iter().filter(|part| matches!(self.get_node(**part), Some(Node::Tensor(_)))).count();
        let others = parts.iter().all(|part| match self.get_node(*part) {
            Some(Node::Tensor(_) | Node::Plain) => true,
            _ => matches!(part, Val::Bool(_)),
        });
        if !matches!(self.get_node(layout), Some(Node::Plain)) || !others || !(2..=3).contains(&tensors) {
            return Err(bad());
        }
        Ok(Node::Built { links: numbered(parts) })
    }

    /// `(crow_indices, col_indices, values, size, ..)`, as versions before 2.0 wrote the compressed layout.
    fn sparse_csr(&self, items: &[Val]) -> Result<Node, Finding> {
        let tensor = |value: &Val| matches!(self.get_node(*value), Some(Node::Tensor(_)));
        let plain = |value: &Val| matches!(self.get_node(*value), Some(Node::Plain));
        match items {
            [layout, parts] if plain(layout) => self.sparse(&[*layout, *parts]),
            [crow, col, values, size] if [crow, col, values].into_iter().all(tensor) && plain(size) => {
                Ok(Node::Built { links: numbered(items) })
            }
            _ => Err(self.arguments("arguments of _rebuild_sparse_csr_tensor are not of its shape")),
        }
    }

    /// `(dtype, size, stride, requires_grad)`: a tensor without data.
    fn meta(&self, items: &[Val]) -> Result<Node, Finding> {
        let [dtype, size, stride, Val::Bool(_)] = *items else {
            return Err(self.arguments("arguments of a tensor without data are not of its shape"));
        };
        let typed = matches!(self.get_node(dtype), Some(Node::Global(Entry::TorchDtype(_))));
        if !typed || self.dims(size)?.len() != self.dims(stride)?.len() {
            return Err(self.arguments("arguments of a tensor without data are not of its shape"));
        }
        Ok(Node::Plain)
    }

    /// `(array, dtype, device, requires_grad)`.
    fn of_numpy(&self, items: &[Val]) -> Result<Node, Finding> {
        let [array, dtype, device, Val::Bool(_)] = *items else {
            return Err(self.arguments("arguments of a tensor of NumPy are not of its shape"));
        };
        let array = matches!(self.get_node(array), Some(Node::NdArray { built: true, masked: false }));
        let dtype = matches!(self.get_node(dtype), Some(Node::Global(Entry::TorchDtype(_))));
        if !array || !dtype || self.text(device).is_none() {
            return Err(self.arguments("arguments of a tensor of NumPy are not of its shape"));
        }
        Ok(Node::Plain)
    }

    /// `(function, class, arguments, state)`: one of the other functions, then attributes. A class off the start
    /// list is its policy's risk, its state included.
    fn typed(&mut self, items: &[Val]) -> Result<Node, Finding> {
        let bad =
            |machine: &Self| machine.arguments("arguments of _rebuild_from_type_v2 are not of its shape");
        let [function, class, args, state] = *items else { return Err(bad(self)) };
        let torch = match self.get_node(function) {
            Some(Node::Global(Entry::Torch(torch))) if *torch != Torch::FromType => *torch,
            _ => return Err(bad(self)),
        };
        let foreign = match self.get_node(class) {
            Some(Node::Global(Entry::TensorClass)) => false,
            Some(Node::Foreign { .. }) => true,
            _ => return Err(bad(self)),
        };
        let Some(Node::Tuple { items: Some(args), .. }) = self.get_node(args) else { return Err(bad(self)) };
        if args.len() > limits::PICKLE_ARGUMENTS {
            return Err(bad(self));
        }
        let args = args.clone();
        let tensor = self.call_torch(torch, &args)?;
        if !foreign {
            self.attributes(state)?;
        } else if state == Val::Unknown {
            return Err(bad(self));
        }
        Ok(tensor)
    }

    /// `("cpu")`, `("cuda", 0)`.
    fn device(&self, items: &[Val]) -> Result<Node, Finding> {
        let fits = match *items {
            [kind] | [kind, Val::Int(0..)] => self.text(kind).is_some_and(|kind| kind.len() <= 64),
            _ => false,
        };
        if fits { Ok(Node::Plain) } else { Err(self.arguments("torch.device takes a name and a number")) }
    }
}

/// Links to the nodes among some values, by their places.
fn numbered(items: &[Val]) -> Vec<Link> {
    let links = items.iter().zip(0_i64..).filter_map(|(item, at)| match item {
        Val::Ref(node) => Some(Link { key: Val::Int(at), node: *node }),
        _ => None,
    });
    links.collect()
}

/// Layouts that tensors are saved in.
const LAYOUTS: [&str; 6] = [
    "torch.strided",
    "torch.sparse_coo",
    "torch.sparse_csr",
    "torch.sparse_csc",
    "torch.sparse_bsr",
    "torch.sparse_bsc",
];
