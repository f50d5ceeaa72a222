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
    /// `only_metadata`: every key is the text `_metadata`.
    Dict {
        only_metadata: bool,
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
    NdArray {
        built: bool,
    },
    NpDtype {
        item: u64,
        flexible: bool,
        built: bool,
        frozen: bool,
    },
    /// Bytes written as Latin-1 text.
    Encoded {
        len: u64,
    },
    /// A finished value without behaviour: size, scalar, complex, byte array.
    Plain,
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
