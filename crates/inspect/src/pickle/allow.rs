//! The start list: which globals a pickle may name and still load, and with which arguments each may be called.
//! What is not on it is never accepted here; [`super::standing`] says whether a policy may.

use crate::tensor::Dtype;

/// A listed global.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    OrderedDict,
    Encode,
    Set,
    FrozenSet,
    ByteArray,
    Complex,
    Torch(Torch),
    /// A typed storage class: only inside a persistent id, never called.
    StorageType(Dtype),
    /// A `torch.dtype` constant: a value, never called; the type where tensors of it are measured.
    TorchDtype(Option<Dtype>),
    /// `torch.Tensor` and `torch.nn.Parameter`: only as argument.
    TensorClass,
    Numpy(Numpy),
    /// The class `numpy.ndarray`, or one that adds nothing to what its state is: only as argument of `_reconstruct`.
    NdArray,
    /// The class of arrays with a mask: only as argument of `_mareconstruct`.
    MaskedArray,
    /// The class of records: a type of raw bytes with fields.
    Record,
    Value(Value),
    /// A built-in type, which makes an empty value when called without arguments: only as argument.
    Factory,
    /// The type `dict`: likewise, and what a class of dictionaries is remade by.
    Dict,
    /// The type `bytes`, which protocols below 3 call without arguments for an empty value.
    Bytes,
    /// The class `object`: only as argument of `_reconstructor`.
    Object,
    /// `copyreg._reconstructor(class, object, None)`, as protocols 0 and 1 remake an instance.
    Reconstructor,
    /// A class or constant without behaviour of its own: a value, never called.
    Name,
}

/// What rebuilds something of torch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Torch {
    Tensor2,
    Tensor3,
    Parameter,
    ParameterState,
    Quantized,
    Sparse,
    SparseCsr,
    Meta,
    FromNumpy,
    FromType,
    Size,
    Device,
    Layout,
    Generator,
}

/// What rebuilds something of `NumPy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numpy {
    Reconstruct,
    ReconstructMasked,
    Scalar,
    Dtype,
    FromBuffer,
    /// Generators of random numbers and their parts.
    Random,
    SeedSequence,
}

/// Value types of the standard library whose constructor, with these arguments, only keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    DefaultDict,
    Counter,
    Deque,
    Path,
    DateTime,
    Date,
    Time,
    TimeDelta,
    TimeZone,
    Decimal,
    Fraction,
    Slice,
    Range,
    Uuid,
}

/// Protocols below 3 carry Python 2 names, which the reader maps. Only the mappings that lead to a listed pair
/// matter; any other name is not listed before or after it.
pub(crate) fn python3<'n>(module: &'n str, name: &'n str) -> (&'n str, &'n str) {
    match (module, name) {
        ("__builtin__", "xrange") => ("builtins", "range"),
        ("__builtin__", "unicode") => ("builtins", "str"),
        ("__builtin__", "long") => ("builtins", "int"),
        ("__builtin__", name) => ("builtins", name),
        ("copy_reg", name) => ("copyreg", name),
        other => other,
    }
}

/// Exact match of module and name.
pub(crate) fn lookup(module: &str, name: &str) -> Option<Entry> {
    Some(match (module, name) {
        ("collections", "OrderedDict") => Entry::OrderedDict,
        ("_codecs", "encode") => Entry::Encode,
        ("copyreg", "_reconstructor") => Entry::Reconstructor,
        ("builtins", name) => return builtin(name),
        ("torch._utils" | "torch._tensor" | "torch.serialization" | "torch._C", _) => {
            return torch_call(module, name).map(Entry::Torch);
        }
        ("torch.storage", "UntypedStorage") => Entry::StorageType(Dtype::U8),
        ("torch.nn.parameter", "Parameter" | "Buffer") => Entry::TensorClass,
        ("torch", name) => return torch(name),
        (
            "numpy.core.multiarray" | "numpy._core.multiarray" | "numpy.core.numeric" | "numpy._core.numeric",
            _,
        ) => return array_call(module, name).map(Entry::Numpy),
        ("numpy", "ndarray" | "matrix" | "memmap" | "recarray")
        | ("numpy.rec", "recarray")
        | ("numpy.matrixlib.defmatrix", "matrix") => Entry::NdArray,
        ("numpy.ma.core", "_mareconstruct") => Entry::Numpy(Numpy::ReconstructMasked),
        ("numpy.ma" | "numpy.ma.core", "MaskedArray") => Entry::MaskedArray,
        ("numpy" | "numpy.rec", "record") => Entry::Record,
        ("numpy", "dtype") => Entry::Numpy(Numpy::Dtype),
        ("numpy", name) if SCALARS.contains(&name) => Entry::Name,
        _ if module.starts_with("numpy.random.") => return random(module, name),
        _ => return value(module, name).map(Entry::Value),
    })
}

fn builtin(name: &str) -> Option<Entry> {
    Some(match name {
        "set" => Entry::Set,
        "frozenset" => Entry::FrozenSet,
        "bytearray" => Entry::ByteArray,
        "complex" => Entry::Complex,
        "slice" => Entry::Value(Value::Slice),
        "range" => Entry::Value(Value::Range),
        "bytes" => Entry::Bytes,
        "dict" => Entry::Dict,
        "list" | "tuple" | "int" | "float" | "str" | "bool" => Entry::Factory,
        "object" => Entry::Object,
        "Ellipsis" | "NotImplemented" => Entry::Name,
        _ => return None,
    })
}

fn torch_call(module: &str, name: &str) -> Option<Torch> {
    Some(match (module, name) {
        ("torch._utils", "_rebuild_tensor_v2") => Torch::Tensor2,
        ("torch._utils", "_rebuild_tensor_v3") => Torch::Tensor3,
        ("torch._utils", "_rebuild_parameter") => Torch::Parameter,
        ("torch._utils", "_rebuild_parameter_with_state") => Torch::ParameterState,
        ("torch._utils", "_rebuild_qtensor") => Torch::Quantized,
        ("torch._utils", "_rebuild_sparse_tensor") => Torch::Sparse,
        ("torch._utils", "_rebuild_sparse_csr_tensor") => Torch::SparseCsr,
        ("torch._utils", "_rebuild_meta_tensor_no_storage") => Torch::Meta,
        ("torch._utils", "_rebuild_device_tensor_from_numpy") => Torch::FromNumpy,
        ("torch._tensor", "_rebuild_from_type_v2") => Torch::FromType,
        ("torch.serialization", "_get_layout") => Torch::Layout,
        ("torch._C", "Generator") => Torch::Generator,
        _ => return None,
    })
}

fn torch(name: &str) -> Option<Entry> {
    Some(match name {
        "Size" => Entry::Torch(Torch::Size),
        "device" => Entry::Torch(Torch::Device),
        "Tensor" => Entry::TensorClass,
        "per_tensor_affine"
        | "per_channel_affine"
        | "per_tensor_symmetric"
        | "per_channel_symmetric"
        | "per_channel_affine_float_qparams" => Entry::Name,
        _ => return storage_type(name).map(Entry::StorageType).or_else(|| torch_dtype(name)),
    })
}

fn storage_type(name: &str) -> Option<Dtype> {
    Some(match name {
        "DoubleStorage" => Dtype::F64,
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::Bf16,
        "LongStorage" => Dtype::I64,
        "IntStorage" | "QInt32Storage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" | "QInt8Storage" => Dtype::I8,
        "ByteStorage" | "QUInt8Storage" => Dtype::U8,
        "BoolStorage" => Dtype::Bool,
        "ComplexFloatStorage" => Dtype::C64,
        "ComplexDoubleStorage" => Dtype::C128,
        _ => return None,
    })
}

fn torch_dtype(name: &str) -> Option<Entry> {
    let measured = match name {
        "float64" => Dtype::F64,
        "float32" => Dtype::F32,
        "float16" => Dtype::F16,
        "bfloat16" => Dtype::Bf16,
        "float8_e4m3fn" => Dtype::F8E4M3,
        "float8_e5m2" => Dtype::F8E5M2,
        "int64" => Dtype::I64,
        "int32" => Dtype::I32,
        "int16" => Dtype::I16,
        "int8" => Dtype::I8,
        "uint64" => Dtype::U64,
        "uint32" => Dtype::U32,
        "uint16" => Dtype::U16,
        "bool" => Dtype::Bool,
        "complex64" => Dtype::C64,
        "complex128" => Dtype::C128,
        // Types of one byte that have no measure of ours are accounted for as bytes.
        "uint8" | "float8_e4m3fnuz" | "float8_e5m2fnuz" | "float8_e8m0fnu" | "float4_e2m1fn_x2" | "bits8" => {
            Dtype::U8
        }
        "complex32" | "quint8" | "qint8" | "qint32" | "quint4x2" | "quint2x4" => {
            return Some(Entry::TorchDtype(None));
        }
        _ => return None,
    };
    Some(Entry::TorchDtype(Some(measured)))
}

/// Scalar types of `NumPy` that appear as values, such as the `dtype` of a vectoriser.
const SCALARS: [&str; 17] = [
    "float64",
    "float32",
    "float16",
    "longdouble",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint64",
    "uint32",
    "uint16",
    "uint8",
    "bool_",
    "bool",
    "complex64",
    "complex128",
    "str_",
];

fn array_call(module: &str, name: &str) -> Option<Numpy> {
    Some(match (module.rsplit_once('.')?.1, name) {
        ("multiarray", "_reconstruct") => Numpy::Reconstruct,
        ("multiarray", "scalar") => Numpy::Scalar,
        ("numeric", "_frombuffer") => Numpy::FromBuffer,
        _ => return None,
    })
}

fn random(module: &str, name: &str) -> Option<Entry> {
    Some(match (module, name) {
        ("numpy.random._pickle", "__randomstate_ctor" | "__bit_generator_ctor" | "__generator_ctor") => {
            Entry::Numpy(Numpy::Random)
        }
        ("numpy.random.bit_generator" | "numpy.random._bit_generator", "__pyx_unpickle_SeedSequence") => {
            Entry::Numpy(Numpy::SeedSequence)
        }
        ("numpy.random.bit_generator" | "numpy.random._bit_generator", "SeedSequence")
        | ("numpy.random._mt19937", "MT19937")
        | ("numpy.random._pcg64", "PCG64" | "PCG64DXSM")
        | ("numpy.random._philox", "Philox")
        | ("numpy.random._sfc64", "SFC64") => Entry::Name,
        _ => return None,
    })
}

fn value(module: &str, name: &str) -> Option<Value> {
    Some(match (module, name) {
        ("collections", "defaultdict") => Value::DefaultDict,
        ("collections", "Counter") => Value::Counter,
        ("collections", "deque") => Value::Deque,
        ("pathlib" | "pathlib._local", "PosixPath" | "PurePosixPath" | "WindowsPath" | "PureWindowsPath") => {
            Value::Path
        }
        ("datetime", "datetime") => Value::DateTime,
        ("datetime", "date") => Value::Date,
        ("datetime", "time") => Value::Time,
        ("datetime", "timedelta") => Value::TimeDelta,
        ("datetime", "timezone") => Value::TimeZone,
        ("decimal", "Decimal") => Value::Decimal,
        ("fractions", "Fraction") => Value::Fraction,
        ("uuid", "UUID") => Value::Uuid,
        _ => return None,
    })
}

/// Item size of a simple `NumPy` type code such as `f4` or `U12`, and whether its size is part of the code
/// (text and raw bytes). `None` for objects, dates, structures and anything unknown.
pub(crate) fn numpy_code(code: &str) -> Option<(u64, bool)> {
    let (kind, digits) = code.split_at_checked(1)?;
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size: u64 = digits.parse().ok()?;
    match (kind, size) {
        ("b", 1) | ("i" | "u", 1 | 2 | 4 | 8) | ("f", 2 | 4 | 8 | 16) | ("c", 8 | 16 | 32) => {
            Some((size, false))
        }
        ("S" | "V", _) => Some((size, true)),
        ("U", _) => Some((size.checked_mul(4)?, true)),
        _ => None,
    }
}
