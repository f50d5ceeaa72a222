//! The allow list: which globals a pickle may name, and with which arguments each may be called.
//! Nothing else is ever accepted, whatever it is: there is no deny list.

use crate::tensor::Dtype;

/// A listed global.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    /// A typed storage class: only inside a persistent id, never called.
    StorageType(Dtype),
    /// A `torch.dtype` constant: a value, never called.
    TorchDtype,
    TorchSize,
    NpReconstruct,
    NpScalar,
    /// The class `numpy.ndarray`: only as argument of `_reconstruct`.
    NdArray,
    NpDtype,
    Encode,
    Set,
    FrozenSet,
    ByteArray,
    Complex,
}

/// Protocols below 3 carry Python 2 names, which the reader maps. Only the mappings that lead to a listed
/// module matter; any other name is not listed before or after it.
pub(crate) fn python3_module(module: &str) -> &str {
    match module {
        "__builtin__" => "builtins",
        "copy_reg" => "copyreg",
        other => other,
    }
}

/// Exact match of module and name.
pub(crate) fn lookup(module: &str, name: &str) -> Option<Entry> {
    Some(match (module, name) {
        ("collections", "OrderedDict") => Entry::OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2") => Entry::RebuildTensor,
        ("torch._utils", "_rebuild_parameter") => Entry::RebuildParameter,
        ("torch", "Size") => Entry::TorchSize,
        ("torch.storage", "UntypedStorage") => Entry::StorageType(Dtype::U8),
        ("torch", name) => return storage_type(name).map(Entry::StorageType).or_else(|| torch_dtype(name)),
        ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Entry::NpReconstruct,
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Entry::NpScalar,
        ("numpy", "ndarray") => Entry::NdArray,
        ("numpy", "dtype") => Entry::NpDtype,
        ("_codecs", "encode") => Entry::Encode,
        ("builtins", "set") => Entry::Set,
        ("builtins", "frozenset") => Entry::FrozenSet,
        ("builtins", "bytearray") => Entry::ByteArray,
        ("builtins", "complex") => Entry::Complex,
        _ => return None,
    })
}

fn storage_type(name: &str) -> Option<Dtype> {
    Some(match name {
        "DoubleStorage" => Dtype::F64,
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::Bf16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::Bool,
        "ComplexFloatStorage" => Dtype::C64,
        "ComplexDoubleStorage" => Dtype::C128,
        _ => return None,
    })
}

fn torch_dtype(name: &str) -> Option<Entry> {
    const NAMES: &[&str] = &[
        "float64",
        "float32",
        "float16",
        "bfloat16",
        "float8_e4m3fn",
        "float8_e5m2",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "bool",
        "complex32",
        "complex64",
        "complex128",
    ];
    NAMES.contains(&name).then_some(Entry::TorchDtype)
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
