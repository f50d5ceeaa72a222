//! ONNX: a bounded walk over the protobuf messages of `onnx.proto3` (IR version 13 and before).
//!
//! Every field must be known to its message and have the wire type of the schema; fields that are not
//! repeated occur once, because readers differ in which of two they keep. Subgraphs are walked wherever a
//! schema puts them.

use crate::cursor::{offset, show};
use crate::limits::{self, Limits};
use crate::proto::{Reader, Value};
use crate::report::{self, Finding, Report, TensorInfo};
use crate::tensor::{self, Dtype, Measure};

/// Messages of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    OpSet,
    Entry,
    Training,
    Function,
    Graph,
    Node,
    Attribute,
    Tensor,
    Segment,
    SparseTensor,
    ValueInfo,
    Annotation,
    Type,
    TensorType,
    SequenceType,
    MapType,
    Shape,
    Dim,
    DeviceConfiguration,
    NodeDevice,
    Sharding,
    ShardedDim,
    SimpleSharding,
    DeviceGroup,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Int,
    F32,
    Text,
    Bytes,
    Message(Kind),
    Texts,
    BytesList,
    Messages(Kind),
    Ints,
    F32s,
    F64s,
}

impl Field {
    const fn repeats(self) -> bool {
        !matches!(self, Self::Int | Self::F32 | Self::Text | Self::Bytes | Self::Message(_))
    }
}

/// The schema: field by message and number.
#[expect(clippy::match_same_arms, reason = "one line per message and field, in the order of the schema")]
fn field(kind: Kind, number: u64) -> Option<Field> {
    use Field as F;
    use Kind as K;
    Some(match (kind, number) {
        (K::Model, 1 | 5) => F::Int,
        (K::Model, 2 | 3 | 4 | 6) => F::Text,
        (K::Model, 7) => F::Message(K::Graph),
        (K::Model, 8) => F::Messages(K::OpSet),
        (K::Model, 14) => F::Messages(K::Entry),
        (K::Model, 20) => F::Messages(K::Training),
        (K::Model, 25) => F::Messages(K::Function),
        (K::Model, 26) => F::Messages(K::DeviceConfiguration),
        (K::OpSet, 1) => F::Text,
        (K::OpSet, 2) => F::Int,
        (K::Entry, 1 | 2) => F::Text,
        (K::Training, 1 | 2) => F::Message(K::Graph),
        (K::Training, 3 | 4) => F::Messages(K::Entry),
        (K::Function, 1 | 8 | 10 | 12) => F::Text,
        (K::Function, 4..=6) => F::Texts,
        (K::Function, 7) => F::Messages(K::Node),
        (K::Function, 9) => F::Messages(K::OpSet),
        (K::Function, 11) => F::Messages(K::Attribute),
        (K::Function, 13) => F::Messages(K::ValueInfo),
        (K::Function, 14) => F::Messages(K::Entry),
        (K::Graph, 1) => F::Messages(K::Node),
        (K::Graph, 2 | 10) => F::Text,
        (K::Graph, 5) => F::Messages(K::Tensor),
        (K::Graph, 11..=13) => F::Messages(K::ValueInfo),
        (K::Graph, 14) => F::Messages(K::Annotation),
        (K::Graph, 15) => F::Messages(K::SparseTensor),
        (K::Graph, 16) => F::Messages(K::Entry),
        (K::Node, 1 | 2) => F::Texts,
        (K::Node, 3 | 4 | 6 | 7 | 8) => F::Text,
        (K::Node, 5) => F::Messages(K::Attribute),
        (K::Node, 9) => F::Messages(K::Entry),
        (K::Node, 10) => F::Messages(K::NodeDevice),
        (K::Attribute, 1 | 13 | 21) => F::Text,
        (K::Attribute, 2) => F::F32,
        (K::Attribute, 3 | 20) => F::Int,
        (K::Attribute, 4) => F::Bytes,
        (K::Attribute, 5) => F::Message(K::Tensor),
        (K::Attribute, 6) => F::Message(K::Graph),
        (K::Attribute, 7) => F::F32s,
        (K::Attribute, 8) => F::Ints,
        (K::Attribute, 9) => F::BytesList,
        (K::Attribute, 10) => F::Messages(K::Tensor),
        (K::Attribute, 11) => F::Messages(K::Graph),
        (K::Attribute, 14) => F::Message(K::Type),
        (K::Attribute, 15) => F::Messages(K::Type),
        (K::Attribute, 22) => F::Message(K::SparseTensor),
        (K::Attribute, 23) => F::Messages(K::SparseTensor),
        _ => return data_field(kind, number),
    })
}

/// The rest of the schema: tensors, types, device placement.
#[expect(clippy::match_same_arms, reason = "one line per message and field, in the order of the schema")]
fn data_field(kind: Kind, number: u64) -> Option<Field> {
    use Field as F;
    use Kind as K;
    Some(match (kind, number) {
        (K::Tensor, 1 | 5 | 7 | 11) => F::Ints,
        (K::Tensor, 2 | 14) => F::Int,
        (K::Tensor, 3) => F::Message(K::Segment),
        (K::Tensor, 4) => F::F32s,
        (K::Tensor, 6) => F::BytesList,
        (K::Tensor, 8 | 12) => F::Text,
        (K::Tensor, 9) => F::Bytes,
        (K::Tensor, 10) => F::F64s,
        (K::Tensor, 13 | 16) => F::Messages(K::Entry),
        (K::Segment, 1 | 2) => F::Int,
        (K::SparseTensor, 1 | 2) => F::Message(K::Tensor),
        (K::SparseTensor, 3) => F::Ints,
        (K::ValueInfo, 1 | 3) => F::Text,
        (K::ValueInfo, 2) => F::Message(K::Type),
        (K::ValueInfo, 4) => F::Messages(K::Entry),
        (K::Annotation, 1) => F::Text,
        (K::Annotation, 2) => F::Messages(K::Entry),
        (K::Type, 1 | 8) => F::Message(K::TensorType),
        (K::Type, 4 | 9) => F::Message(K::SequenceType),
        (K::Type, 5) => F::Message(K::MapType),
        (K::Type, 6) => F::Text,
        (K::TensorType, 1) => F::Int,
        (K::TensorType, 2) => F::Message(K::Shape),
        (K::SequenceType, 1) => F::Message(K::Type),
        (K::MapType, 1) => F::Int,
        (K::MapType, 2) => F::Message(K::Type),
        (K::Shape, 1) => F::Messages(K::Dim),
        (K::Dim, 1) => F::Int,
        (K::Dim, 2 | 3) => F::Text,
        (K::DeviceConfiguration, 1) => F::Text,
        (K::DeviceConfiguration, 2) => F::Int,
        (K::DeviceConfiguration, 3) => F::Texts,
        (K::NodeDevice, 1) => F::Text,
        (K::NodeDevice, 2) => F::Messages(K::Sharding),
        (K::NodeDevice, 3) => F::Int,
        (K::Sharding, 1) => F::Text,
        (K::Sharding, 2) => F::Ints,
        (K::Sharding, 3) => F::Messages(K::DeviceGroup),
        (K::Sharding, 4) => F::Messages(K::ShardedDim),
        (K::DeviceGroup, 1) => F::Int,
        (K::DeviceGroup, 2) => F::Ints,
        (K::ShardedDim, 1) => F::Int,
        (K::ShardedDim, 2) => F::Messages(K::SimpleSharding),
        (K::SimpleSharding, 1 | 3) => F::Int,
        (K::SimpleSharding, 2) => F::Text,
        _ => return None,
    })
}

/// Whether the content reads as a model to its last byte at the top level: known fields, a graph.
pub(crate) fn claims(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes, 0, bytes.len());
    let (mut graph, mut version) = (false, false);
    while !reader.is_done() {
        let Some((number, value)) = reader.field() else { return false };
        let fits = match (field(Kind::Model, number), &value) {
            (Some(Field::Int), Value::Varint(_)) => true,
            (Some(field), Value::Len(..)) => field != Field::Int,
            _ => false,
        };
        if !fits {
            return false;
        }
        graph |= number == 7;
        version |= number == 1;
    }
    graph && version
}

/// What a tensor said about itself.
#[derive(Debug, Default)]
struct TensorParts {
    name: String,
    dims: Vec<u64>,
    data_type: u64,
    raw: Option<(usize, usize)>,
    /// Elements in the typed fields.
    elements: u64,
    segmented: bool,
    /// An integer entry that is infinite or not a number when read as F16, or as BF16.
    odd_f16: bool,
    odd_bf16: bool,
}

impl TensorParts {
    /// Keeps one dimension more than are allowed, so that too many are seen and not all are stored.
    fn dim(&mut self, dim: u64) {
        if self.dims.len() <= limits::DIMENSIONS {
            self.dims.push(dim);
        }
    }

    /// Half-precision floats are written as integers that hold their bits.
    fn half(&mut self, value: u64) {
        self.odd_f16 |= value & 0x7c00 == 0x7c00;
        self.odd_bf16 |= value & 0x7f80 == 0x7f80;
    }
}

struct Walker<'a> {
    bytes: &'a [u8],
    fields: u64,
    limits: &'a Limits,
    report: &'a mut Report,
    finite: bool,
}

/// Inspects a whole file.
pub(crate) fn inspect(bytes: &[u8], limits: &Limits, report: &mut Report) -> Result<(), Finding> {
    let mut walker = Walker { bytes, fields: 0, limits, report, finite: true };
    walker.message(Kind::Model, 0, bytes.len(), 0)?;
    let finite = walker.finite;
    report.all_finite = limits.measure.then_some(finite);
    Ok(())
}

fn bad(at: usize, what: impl Into<String>) -> Finding {
    Finding::new(&report::ONNX, offset(at), what)
}

impl Walker<'_> {
    fn message(&mut self, kind: Kind, start: usize, end: usize, depth: u32) -> Result<(), Finding> {
        if depth > limits::ONNX_DEPTH {
            return Err(Finding::new(&report::ONNX_DEPTH, offset(start), "messages are nested too deeply"));
        }
        let mut reader = Reader::new(self.bytes, start, end);
        let mut seen = 0_u64;
        let mut tensor = TensorParts::default();
        while !reader.is_done() {
            let at = reader.pos;
            self.fields = self.fields.saturating_add(1);
            if self.fields > limits::ONNX_FIELDS {
                return Err(Finding::new(&report::LIMIT, offset(at), "too many fields"));
            }
            let (number, value) = reader.field().ok_or_else(|| bad(at, "field is cut off or malformed"))?;
            let known = field(kind, number)
                .ok_or_else(|| bad(at, format!("field {number} is unknown in its message")))?;
            // Field numbers of the schema are below 64, so one word remembers them.
            let bit = 1_u64.checked_shl(u32::try_from(number).unwrap_or(u32::MAX)).unwrap_or(0);
            if !known.repeats() && seen & bit != 0 {
                return Err(bad(at, format!("field {number} occurs twice")));
            }
            seen |= bit;
            self.value(known, &value, at, depth)?;
            self.domains(kind, number, &value, at)?;
            if kind == Kind::Tensor {
                self.tensor_field(&mut tensor, number, &value, at)?;
            }
        }
        if kind == Kind::Tensor {
            self.finish_tensor(tensor, start)?;
        }
        Ok(())
    }

    /// Checks the wire type and walks into messages.
    fn value(&mut self, field: Field, value: &Value, at: usize, depth: u32) -> Result<(), Finding> {
        match (field, value) {
            (Field::Int | Field::Ints, Value::Varint(_))
            | (Field::F32 | Field::F32s, Value::Fixed32(_))
            | (Field::F64s, Value::Fixed64(_))
            | (Field::Bytes | Field::BytesList, Value::Len(..)) => Ok(()),
            (Field::Ints, Value::Len(start, end)) => self.varints(*start, *end, |_| {}),
            (Field::F32s, Value::Len(start, end)) if (end - start) % 4 == 0 => Ok(()),
            (Field::F64s, Value::Len(start, end)) if (end - start) % 8 == 0 => Ok(()),
            (Field::Text | Field::Texts, Value::Len(start, end)) => {
                self.text(*start, *end).map(drop).ok_or_else(|| bad(at, "text is not UTF-8"))
            }
            (Field::Message(kind) | Field::Messages(kind), Value::Len(start, end)) => {
                self.message(kind, *start, *end, depth + 1)
            }
            _ => Err(bad(at, "field has another wire type than its schema")),
        }
    }

    fn text(&self, start: usize, end: usize) -> Option<&str> {
        std::str::from_utf8(self.bytes.get(start..end)?).ok()
    }

    fn varints(&self, start: usize, end: usize, mut each: impl FnMut(u64)) -> Result<(), Finding> {
        let mut reader = Reader::new(self.bytes, start, end);
        while !reader.is_done() {
            each(reader.varint().ok_or_else(|| bad(start, "packed number is cut off"))?);
        }
        Ok(())
    }

    /// Operators come from the standard domains, or a policy has to accept theirs.
    fn domains(&mut self, kind: Kind, number: u64, value: &Value, at: usize) -> Result<(), Finding> {
        let is_domain = matches!((kind, number), (Kind::Node, 7) | (Kind::OpSet, 1) | (Kind::Function, 10));
        let Value::Len(start, end) = value else { return Ok(()) };
        if !is_domain {
            return Ok(());
        }
        let domain = self.text(*start, *end).unwrap_or_default();
        if matches!(domain, "" | "ai.onnx" | "ai.onnx.ml") {
            return Ok(());
        }
        let shown = show(domain.as_bytes());
        let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !domain.bytes().all(word) || domain.starts_with('.') {
            return Err(bad(at, format!("operator domain `{shown}` is no name")));
        }
        let what = format!("operator domain `{shown}` is not a standard one");
        self.report.push(Finding::new(&report::ONNX_DOMAIN, offset(at), what));
        Ok(())
    }

    fn tensor_field(
        &mut self,
        tensor: &mut TensorParts,
        number: u64,
        value: &Value,
        at: usize,
    ) -> Result<(), Finding> {
        match (number, value) {
            (1, Value::Varint(dim)) => tensor.dim(*dim),
            (1, Value::Len(start, end)) => self.varints(*start, *end, |dim| tensor.dim(dim))?,
            (2, Value::Varint(code)) => tensor.data_type = *code,
            (3, _) => tensor.segmented = true,
            (8, Value::Len(start, end)) => {
                tensor.name = self.text(*start, *end).unwrap_or_default().to_owned();
            }
            (9, Value::Len(start, end)) => tensor.raw = Some((*start, *end)),
            (5 | 7 | 11, Value::Len(start, end)) => {
                let mut count = 0_u64;
                self.varints(*start, *end, |value| {
                    count += 1;
                    tensor.half(value);
                })?;
                tensor.elements = tensor.elements.saturating_add(count);
            }
            (4, Value::Len(start, end)) => {
                tensor.elements = tensor.elements.saturating_add(offset((end - start) / 4));
                self.finite &= Dtype::F32.all_finite(self.bytes.get(*start..*end).unwrap_or_default());
            }
            (10, Value::Len(start, end)) => {
                tensor.elements = tensor.elements.saturating_add(offset((end - start) / 8));
                self.finite &= Dtype::F64.all_finite(self.bytes.get(*start..*end).unwrap_or_default());
            }
            (4, Value::Fixed32(start)) => {
                tensor.elements = tensor.elements.saturating_add(1);
                let raw = self.bytes.get(*start..start.saturating_add(4)).unwrap_or_default();
                self.finite &= Dtype::F32.all_finite(raw);
            }
            (10, Value::Fixed64(start)) => {
                tensor.elements = tensor.elements.saturating_add(1);
                let raw = self.bytes.get(*start..start.saturating_add(8)).unwrap_or_default();
                self.finite &= Dtype::F64.all_finite(raw);
            }
            (5, Value::Varint(value)) => {
                tensor.elements = tensor.elements.saturating_add(1);
                tensor.half(*value);
            }
            (6 | 7 | 11, _) => tensor.elements = tensor.elements.saturating_add(1),
            (13, _) => {
                let what = "tensor names data outside the file";
                return Err(Finding::new(&report::ONNX_EXTERNAL, offset(at), what));
            }
            (14, Value::Varint(location)) if *location != 0 => {
                let what = "tensor keeps its data outside the file";
                return Err(Finding::new(&report::ONNX_EXTERNAL, offset(at), what));
            }
            _ => {}
        }
        if tensor.dims.len() > limits::DIMENSIONS {
            return Err(Finding::new(&report::ONNX_TENSOR, offset(at), "too many dimensions"));
        }
        Ok(())
    }

    /// Raw data has exactly the size of type and shape; typed data is measured by its field.
    fn finish_tensor(&mut self, tensor: TensorParts, at: usize) -> Result<(), Finding> {
        let fail = |what: &str| Finding::new(&report::ONNX_TENSOR, offset(at), what);
        if tensor.segmented {
            return Err(fail("tensor is stored in segments"));
        }
        if tensor.raw.is_some() && tensor.elements > 0 {
            return Err(fail("tensor has raw and typed data"));
        }
        let count = tensor::count(&tensor.dims).ok_or_else(|| fail("shape overflows"))?;
        let dtype = data_type(tensor.data_type);
        let name = onnx_type_name(tensor.data_type).ok_or_else(|| fail("unknown element type"))?;
        let mut measured = None;
        if let Some((start, end)) = tensor.raw {
            let size = match dtype {
                Some(dtype) => count.checked_mul(dtype.size()),
                None => packed(tensor.data_type, count),
            };
            if size.is_none() && dtype.is_none() {
                return Err(fail("raw data of a type that has no fixed size"));
            }
            if size != Some(offset(end - start)) {
                return Err(fail("raw data does not have the size of its shape"));
            }
            if let Some(dtype) = dtype.filter(|_| self.limits.measure) {
                let mut measure = Measure::new(dtype, &tensor.dims);
                measure.update(self.bytes.get(start..end).unwrap_or_default());
                let found = measure.finish();
                self.finite &= found.finite;
                measured = Some(found);
            }
        }
        let odd = match tensor.data_type {
            10 => tensor.odd_f16,
            16 => tensor.odd_bf16,
            _ => false,
        };
        self.finite &= !odd;
        if tensor.raw.is_none() && !typed_count_fits(tensor.data_type, count, tensor.elements) {
            return Err(fail("typed data does not have the size of its shape"));
        }
        if self.report.tensors.len() >= self.limits.tensors {
            return Err(Finding::new(&report::LIMIT, offset(at), "too many tensors"));
        }
        self.report.tensors.push(TensorInfo {
            name: tensor.name,
            dtype: name.to_owned(),
            shape: tensor.dims,
            norm_bits: measured.and_then(|m| m.norm_bits),
            digest: measured.map(|m| m.digest),
        });
        Ok(())
    }
}

/// `TensorProto.DataType` with a fixed size.
fn data_type(code: u64) -> Option<Dtype> {
    Some(match code {
        1 => Dtype::F32,
        2 => Dtype::U8,
        3 => Dtype::I8,
        4 => Dtype::U16,
        5 => Dtype::I16,
        6 => Dtype::I32,
        7 => Dtype::I64,
        9 => Dtype::Bool,
        10 => Dtype::F16,
        11 => Dtype::F64,
        12 => Dtype::U32,
        13 => Dtype::U64,
        14 => Dtype::C64,
        15 => Dtype::C128,
        16 => Dtype::Bf16,
        17 => Dtype::F8E4M3,
        18 => Dtype::F8E4M3Fnuz,
        19 => Dtype::F8E5M2,
        20 => Dtype::F8E5M2Fnuz,
        24 => Dtype::F8E8M0,
        _ => return None,
    })
}

/// Types of several elements in a byte: the name and the bits of each.
fn packed_type(code: u64) -> Option<(&'static str, u64)> {
    Some(match code {
        21 => ("U4", 4),
        22 => ("I4", 4),
        23 => ("F4", 4),
        25 => ("U2", 2),
        26 => ("I2", 2),
        _ => return None,
    })
}

/// Bytes of so many elements of such a type, the last byte filled up.
fn packed(code: u64, count: u64) -> Option<u64> {
    let (_, bits) = packed_type(code)?;
    Some(count.checked_mul(bits)?.div_ceil(8))
}

fn onnx_type_name(code: u64) -> Option<&'static str> {
    match code {
        8 => Some("STRING"),
        _ => data_type(code).map(Dtype::as_str).or(packed_type(code).map(|(name, _)| name)),
    }
}

/// Typed fields hold one entry per element; complex numbers take two, and of packed types an entry is a byte.
fn typed_count_fits(code: u64, count: u64, elements: u64) -> bool {
    if packed_type(code).is_some() {
        return packed(code, count) == Some(elements);
    }
    let per_element = if matches!(code, 14 | 15) { 2 } else { 1 };
    count.checked_mul(per_element) == Some(elements)
}
