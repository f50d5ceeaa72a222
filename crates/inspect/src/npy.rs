//! `NumPy` `.npy` (NEP 1, versions 1-3) and `.npz`: header in a literal grammar of our own, exact length.

use std::borrow::Cow;

use crate::cursor::{Cursor, offset};
use crate::limits::{self, Limits};
use crate::pickle::{self, Place};
use crate::report::{self, Finding, Report, TensorInfo};
use crate::tensor::{self, Dtype, Measure};
use crate::zip::Member;

/// First bytes of every array.
pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// Inspects one array; `name` becomes the tensor's name, `base` its offset in the file.
pub(crate) fn inspect(
    bytes: &[u8],
    name: &str,
    base: u64,
    limits: &Limits,
    report: &mut Report,
) -> Result<(), Finding> {
    let bad = |what: &str| Finding::new(&report::NPY_HEADER, base, what);
    let (text, data_at) = parts(bytes, base)?;
    let data = bytes.get(data_at..).unwrap_or_default();
    let header = match header(&text, base) {
        // What the pickle would do is told with the refusal.
        Err(finding) if finding.code == report::NPY_OBJECT.code => {
            let at = base.saturating_add(offset(data_at));
            let scan = pickle::scan(data, at, Place::Bare, limits);
            scan.findings.into_iter().for_each(|finding| report.push(finding));
            return Err(finding);
        }
        other => other?,
    };
    let want = tensor::bytes(&header.shape, header.item);
    if want != Some(offset(data.len())) {
        let what = format!("array has {} bytes of data, not what its header says", data.len());
        return Err(Finding::new(&report::NPY_LENGTH, base.saturating_add(offset(data_at)), what));
    }
    let measured = match header.dtype {
        Some(dtype) if limits.measure => {
            let mut measure = Measure::new(dtype, &header.shape);
            let walked = if header.fortran {
                let mut reversed = header.shape.clone();
                reversed.reverse();
                let mut strides = tensor::row_major(&reversed).unwrap_or_default();
                strides.reverse();
                tensor::walk(data, header.item, 0, &header.shape, &strides, |block| measure.update(block))
            } else {
                measure.update(data);
                Some(())
            };
            walked.ok_or_else(|| bad("array leaves its data"))?;
            let measured = measure.finish();
            report.all_finite = Some(report.all_finite.unwrap_or(true) && measured.finite);
            Some(measured)
        }
        _ => None,
    };
    report.tensors.push(TensorInfo {
        name: name.to_owned(),
        dtype: header.dtype.map_or(header.code, |dtype| dtype.as_str().to_owned()),
        shape: header.shape,
        norm_bits: measured.and_then(|m| m.norm_bits),
        digest: measured.map(|m| m.digest),
    });
    Ok(())
}

/// The text of the header, and where the data begins.
fn parts(bytes: &[u8], base: u64) -> Result<(Cow<'_, str>, usize), Finding> {
    let bad = |what: &str| Finding::new(&report::NPY_HEADER, base, what);
    let mut cursor = Cursor::new(bytes);
    if cursor.take(MAGIC.len()) != Some(MAGIC) {
        return Err(bad("magic is missing"));
    }
    let version = cursor.u8().zip(cursor.u8()).ok_or_else(|| bad("file ends within the version"))?;
    let len = match version {
        (1, 0) => cursor.u16().map(usize::from),
        (2 | 3, 0) => cursor.u32().and_then(|len| usize::try_from(len).ok()),
        _ => return Err(bad("unknown version")),
    };
    let len = len.filter(|len| *len <= limits::NPY_HEADER).ok_or_else(|| bad("header is too long"))?;
    let text = cursor.take(len).ok_or_else(|| bad("file ends within the header"))?;
    // Versions 1 and 2 write Latin-1, of which each byte is a character; version 3 writes UTF-8.
    let text = match version {
        (3, _) => std::str::from_utf8(text).map(Cow::Borrowed).map_err(|_| bad("header is not text"))?,
        _ => Cow::Owned(text.iter().copied().map(char::from).collect::<String>()),
    };
    Ok((text, cursor.pos()))
}

/// Shape of an array by its first bytes, and how long its header says that the file is.
pub(crate) fn layout(head: &[u8]) -> Result<(Vec<u64>, u64), Finding> {
    let (text, data_at) = parts(head, 0)?;
    let header = header(&text, 0)?;
    let len = tensor::bytes(&header.shape, header.item).and_then(|len| len.checked_add(offset(data_at)));
    let len = len.ok_or_else(|| Finding::new(&report::NPY_HEADER, 0, "array is too large"))?;
    Ok((header.shape, len))
}

/// Inspects the members of an `.npz`.
pub(crate) fn inspect_npz(
    members: &[Member<'_>],
    limits: &Limits,
    report: &mut Report,
) -> Result<(), Finding> {
    for member in members {
        let stem = member.name.strip_suffix(".npy").unwrap_or(member.name);
        inspect(&member.data, stem, member.at, limits, report)?;
    }
    Ok(())
}

#[derive(Debug)]
struct Header {
    item: u64,
    /// Little-endian plain types only; others are accounted for, not measured.
    dtype: Option<Dtype>,
    code: String,
    fortran: bool,
    shape: Vec<u64>,
}

/// `{'descr': .., 'fortran_order': .., 'shape': (..), }`, padded with spaces, ended by a newline.
fn header(text: &str, base: u64) -> Result<Header, Finding> {
    let bad = |what: &str| Finding::new(&report::NPY_HEADER, base, what);
    let mut parser = Literal { rest: text.as_bytes() };
    let value = parser.value(0).ok_or_else(|| bad("header is not a literal"))?;
    let tail = parser.rest;
    let spaces = tail.strip_suffix(b"\n").unwrap_or(tail);
    if !spaces.iter().all(|byte| *byte == b' ') {
        return Err(bad("header is followed by something else than spaces"));
    }
    let Value::Dict(members) = value else { return Err(bad("header is not a dictionary")) };
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    for (key, value) in members {
        let slot_taken = match (key.as_str(), value) {
            ("descr", value) => descr.replace(value).is_some(),
            ("fortran_order", Value::Bool(value)) => fortran.replace(value).is_some(),
            ("shape", Value::Tuple(dims)) => {
                let dims: Option<Vec<u64>> = dims.iter().map(Value::as_int).collect();
                shape.replace(dims.ok_or_else(|| bad("shape is not a tuple of sizes"))?).is_some()
            }
            _ => return Err(bad("header has an unknown member")),
        };
        if slot_taken {
            return Err(bad("header repeats a member"));
        }
    }
    let (Some(descr), Some(fortran), Some(shape)) = (descr, fortran, shape) else {
        return Err(bad("header lacks a member"));
    };
    if shape.len() > limits::DIMENSIONS {
        return Err(bad("too many dimensions"));
    }
    let (item, dtype) = descr_size(&descr, base, 0)?;
    let code = match descr {
        Value::Text(code) => code,
        _ => "structured".to_owned(),
    };
    Ok(Header { item, dtype, code, fortran, shape })
}

/// Item size of a type; objects are refused wherever they stand.
fn descr_size(descr: &Value, base: u64, depth: usize) -> Result<(u64, Option<Dtype>), Finding> {
    let bad = |what: &str| Finding::new(&report::NPY_HEADER, base, what);
    match descr {
        Value::Text(code) => {
            let split = code.split_at_checked(1);
            let Some((order @ ("<" | ">" | "|" | "="), kind)) = split else {
                return Err(bad("type has no byte order"));
            };
            if kind.starts_with('O') {
                return Err(Finding::new(&report::NPY_OBJECT, base, "array holds Python objects"));
            }
            if let Some(item) = date_size(kind) {
                return Ok((item, None));
            }
            let (item, _) = pickle::numpy_code(kind).ok_or_else(|| bad("unknown type"))?;
            Ok((item, if order == ">" { None } else { plain(kind) }))
        }
        Value::List(fields) if depth < limits::NPY_DEPTH => {
            let mut total = 0_u64;
            for field in fields {
                let Value::Tuple(parts) = field else { return Err(bad("field is not a tuple")) };
                let (kind, shape) = match parts.as_slice() {
                    [name, kind] if is_field_name(name) => (kind, Vec::new()),
                    [name, kind, Value::Tuple(dims)] if is_field_name(name) => {
                        let dims: Option<Vec<u64>> = dims.iter().map(Value::as_int).collect();
                        (kind, dims.ok_or_else(|| bad("shape of a field is not a tuple of sizes"))?)
                    }
                    _ => return Err(bad("field is not a name, a type and a shape")),
                };
                let (item, _) = descr_size(kind, base, depth + 1)?;
                let size = tensor::bytes(&shape, item).and_then(|size| total.checked_add(size));
                total = size.ok_or_else(|| bad("size of a type overflows"))?;
            }
            Ok((total, None))
        }
        _ => Err(bad("type is neither a code nor a list of fields")),
    }
}

/// A name, or a title and a name.
fn is_field_name(name: &Value) -> bool {
    match name {
        Value::Text(_) => true,
        Value::Tuple(parts) => matches!(parts.as_slice(), [Value::Text(_), Value::Text(_)]),
        _ => false,
    }
}

/// Dates and durations: `M8[ns]`, `m8`, ...
fn date_size(kind: &str) -> Option<u64> {
    let unit = kind.strip_prefix("M8").or_else(|| kind.strip_prefix("m8"))?;
    let inner = unit.strip_prefix('[').and_then(|unit| unit.strip_suffix(']'));
    let known = unit.is_empty()
        || inner.is_some_and(|name| {
            let letters = name.trim_start_matches(|char: char| char.is_ascii_digit());
            ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"].contains(&letters)
        });
    known.then_some(8)
}

fn plain(kind: &str) -> Option<Dtype> {
    Some(match kind {
        "f8" => Dtype::F64,
        "f4" => Dtype::F32,
        "f2" => Dtype::F16,
        "i8" => Dtype::I64,
        "i4" => Dtype::I32,
        "i2" => Dtype::I16,
        "i1" => Dtype::I8,
        "u8" => Dtype::U64,
        "u4" => Dtype::U32,
        "u2" => Dtype::U16,
        "u1" => Dtype::U8,
        "b1" => Dtype::Bool,
        "c8" => Dtype::C64,
        "c16" => Dtype::C128,
        _ => return None,
    })
}

/// The literals that a header may hold.
#[derive(Debug, PartialEq, Eq)]
enum Value {
    Text(String),
    Bool(bool),
    Int(u64),
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Dict(Vec<(String, Value)>),
}

impl Value {
    fn as_int(&self) -> Option<u64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }
}

struct Literal<'a> {
    rest: &'a [u8],
}

impl Literal<'_> {
    fn eat(&mut self, token: &[u8]) -> bool {
        self.rest = self.rest.trim_ascii_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > limits::NPY_DEPTH * 2 {
            return None;
        }
        if self.eat(b"True") {
            return Some(Value::Bool(true));
        }
        if self.eat(b"False") {
            return Some(Value::Bool(false));
        }
        if self.eat(b"(") {
            return self.items(b")", depth).map(Value::Tuple);
        }
        if self.eat(b"[") {
            return self.items(b"]", depth).map(Value::List);
        }
        if self.eat(b"{") {
            return self.dict(depth);
        }
        match self.rest.first()? {
            b'\'' | b'"' => self.text().map(Value::Text),
            _ => self.int(),
        }
    }

    fn items(&mut self, close: &[u8], depth: usize) -> Option<Vec<Value>> {
        let mut items = Vec::new();
        loop {
            if self.eat(close) {
                return Some(items);
            }
            items.push(self.value(depth + 1)?);
            if !self.eat(b",") {
                // `(1)` is not a tuple in Python, so a single item needs its comma.
                let single = close == b")" && items.len() == 1;
                return (self.eat(close) && !single).then_some(items);
            }
        }
    }

    fn dict(&mut self, depth: usize) -> Option<Value> {
        let mut members = Vec::new();
        loop {
            if self.eat(b"}") {
                return Some(Value::Dict(members));
            }
            let Value::Text(key) = self.value(depth + 1)? else { return None };
            if !self.eat(b":") {
                return None;
            }
            members.push((key, self.value(depth + 1)?));
            if !self.eat(b",") {
                return self.eat(b"}").then_some(Value::Dict(members));
            }
        }
    }

    /// A quoted text without escapes.
    fn text(&mut self) -> Option<String> {
        let (quote, rest) = self.rest.split_first()?;
        let end = rest.iter().position(|byte| byte == quote)?;
        let (inner, after) = rest.split_at_checked(end)?;
        if inner.iter().any(|byte| *byte == b'\\' || *byte < 0x20) {
            return None;
        }
        self.rest = after.get(1..)?;
        String::from_utf8(inner.to_vec()).ok()
    }

    /// A decimal integer; Python 2 wrote an `L` behind large ones.
    fn int(&mut self) -> Option<Value> {
        let len = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, after) = self.rest.split_at_checked(len)?;
        let leading_zero = digits.len() > 1 && digits.first() == Some(&b'0');
        if leading_zero {
            return None;
        }
        let value = std::str::from_utf8(digits).ok()?.parse().ok()?;
        self.rest = after.strip_prefix(b"L").unwrap_or(after);
        Some(Value::Int(value))
    }
}
