//! Abstract values of the pickle machine. Nothing is imported, called or built: an object is only the
//! name of its kind and what later checks need to know about it.

use crate::pickle::allow::Entry;
use crate::tensor::Dtype;

/// A value on the stack: a constant, or a reference to a node. 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Val {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits or a float: data that no check looks into.
    Number,
    Float,
    /// Text that stands in the input, valid UTF-8.
    Str {
        off: u64,
        len: u32,
    },
    /// Decoded text, an index into the machine's table.
    Text(u32),
    /// Text whose characters depend on the reader's encoding.
    Opaque,
    /// Bytes that stand in the input.
    Bytes {
        len: u64,
    },
    /// A node.
    Ref(u32),
    /// The result of something refused.
    Unknown,
}

/// A storage named by a persistent id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Storage {
    pub(crate) key: String,
    pub(crate) dtype: Dtype,
    pub(crate) elements: u64,
}

/// A view of a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) storage: Storage,
    pub(crate) start: u64,
    pub(crate) shape: Vec<u64>,
    pub(crate) strides: Vec<u64>,
    /// The type of the elements: of the storage, or given with the tensor.
    pub(crate) dtype: Dtype,
    /// Whether the elements are what the bytes say. Quantised, conjugated and negated views are not measured.
    pub(crate) plain: bool,
}

/// A key-value link to a node that may hold tensors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) key: Val,
    pub(crate) node: u32,
}

/// A reference type.
#[derive(Debug)]
pub(crate) enum Node {
    /// `items` is kept when short, or when a node is among them.
    Tuple {
        items: Option<Box<[Val]>>,
        plain: bool,
    },
    List {
        len: u64,
        plain: bool,
        links: Vec<Link>,
    },
    /// `only_metadata`: every key is the text `_metadata`; `dunder`: some key is no text or begins with `__`.
    Dict {
        only_metadata: bool,
        dunder: bool,
        links: Vec<Link>,
    },
    Set,
    FrozenSet {
        plain: bool,
    },
    Global(Entry),
    /// `frozen`: it serves as an empty set of backward hooks.
    OrderedDict {
        len: u64,
        frozen: bool,
        has_state: bool,
        links: Vec<Link>,
    },
    Storage(Box<Storage>),
    Tensor(Box<View>),
    /// `masked`: its state has a mask and a fill value besides.
    NdArray {
        built: bool,
        masked: bool,
    },
    NpDtype {
        item: u64,
        kind: Kind,
        built: bool,
        frozen: bool,
    },
    /// Bytes that are no constant: written as Latin-1 text, or a byte array.
    Encoded {
        len: u64,
    },
    /// A finished value without behaviour: size, scalar, complex, date, path.
    Plain,
    /// A finished object made of others, and where they are.
    Built {
        links: Vec<Link>,
    },
    /// An object that takes its state once and runs nothing for it: random generators, `UUID`.
    Stateful {
        kind: Stateful,
        built: bool,
    },
    /// A global off the start list that a policy may list.
    Foreign {
        callable: bool,
        catalogued: bool,
        /// The wrapper of arrays of joblib.
        wrapper: bool,
    },
    /// What was made of such a global.
    Instance {
        catalogued: bool,
        wrapper: bool,
        links: Vec<Link>,
    },
}

/// Kinds of `NumPy` types, by what their state may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Number,
    /// Text and raw bytes, whose size is their own; raw bytes may have fields.
    Flexible,
    Date,
    /// Of the class of records, whose size its state says.
    Record,
    Object,
}

/// Kinds of objects with a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stateful {
    /// Of `NumPy`: its state is read by the library's own checked code.
    Random,
    /// Of torch: seed, offset and a tensor.
    TorchGenerator,
    Uuid,
}

impl Node {
    /// Whether overwriting a memo entry that holds it hides a callable or a called object.
    pub(crate) fn is_object(&self) -> bool {
        !matches!(
            self,
            Self::Tuple { .. } | Self::List { .. } | Self::Dict { .. } | Self::Set | Self::FrozenSet { .. }
        )
    }
}
