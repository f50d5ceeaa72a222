//! GGUF, versions 2 and 3 (the format's specification in ggml's documentation, and what `gguf.cpp` accepts).
//!
//! The metadata, the list of tensors, and the data: contiguous in the order of its offsets, each part padded
//! to the alignment with zeros, so that the file is accounted for to its last byte.

use std::collections::BTreeSet;

use crate::config;
use crate::cursor::{Cursor, offset, show};
use crate::json;
use crate::limits::{self, Limits};
use crate::report::{self, Finding, Report, TensorInfo};
use crate::template;
use crate::tensor::{self, Dtype, Measure};

pub(crate) const MAGIC: &[u8] = b"GGUF";

/// A type of numbers as they lie in the file: elements and bytes of a block.
struct Ggml {
    code: u32,
    name: &'static str,
    elements: u64,
    bytes: u64,
    /// The plain numbers it holds, where it is no quantisation.
    plain: Option<Dtype>,
}

const fn quant(code: u32, name: &'static str, elements: u64, bytes: u64) -> Ggml {
    Ggml { code, name, elements, bytes, plain: None }
}

const fn plain(code: u32, name: &'static str, dtype: Dtype) -> Ggml {
    Ggml { code, name, elements: 1, bytes: dtype.size(), plain: Some(dtype) }
}

/// `ggml_type`. Left out are codes that were withdrawn and `Q8_1`, of which readers give two sizes: nobody can
/// say what they hold.
const TYPES: &[Ggml] = &[
    plain(0, "F32", Dtype::F32),
    plain(1, "F16", Dtype::F16),
    quant(2, "Q4_0", 32, 18),
    quant(3, "Q4_1", 32, 20),
    quant(6, "Q5_0", 32, 22),
    quant(7, "Q5_1", 32, 24),
    quant(8, "Q8_0", 32, 34),
    quant(10, "Q2_K", 256, 84),
    quant(11, "Q3_K", 256, 110),
    quant(12, "Q4_K", 256, 144),
    quant(13, "Q5_K", 256, 176),
    quant(14, "Q6_K", 256, 210),
    quant(15, "Q8_K", 256, 292),
    quant(16, "IQ2_XXS", 256, 66),
    quant(17, "IQ2_XS", 256, 74),
    quant(18, "IQ3_XXS", 256, 98),
    quant(19, "IQ1_S", 256, 50),
    quant(20, "IQ4_NL", 32, 18),
    quant(21, "IQ3_S", 256, 110),
    quant(22, "IQ2_S", 256, 82),
    quant(23, "IQ4_XS", 256, 136),
    plain(24, "I8", Dtype::I8),
    plain(25, "I16", Dtype::I16),
    plain(26, "I32", Dtype::I32),
    plain(27, "I64", Dtype::I64),
    plain(28, "F64", Dtype::F64),
    quant(29, "IQ1_M", 256, 56),
    plain(30, "BF16", Dtype::Bf16),
    quant(34, "TQ1_0", 256, 54),
    quant(35, "TQ2_0", 256, 66),
    quant(39, "MXFP4", 32, 17),
    quant(40, "NVFP4", 64, 36),
    quant(41, "Q1_0", 128, 18),
];

/// Bytes of a value of a fixed size, by its type.
const fn scalar(kind: u32) -> Option<usize> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

const STRING: u32 = 8;
const ARRAY: u32 = 9;
const BOOL: u32 = 7;
const U32: u32 = 4;
/// Bytes of the shortest metadata entry: an empty key, a type, a value of one byte.
const ENTRY_MIN: u64 = 8 + 4 + 1;
/// Bytes of the shortest entry of a tensor.
const TENSOR_MIN: u64 = 8 + 4 + 4 + 8;
const ALIGNMENT: u64 = 32;

struct Reader<'a, 'l> {
    cursor: Cursor<'a>,
    limits: &'l Limits,
    alignment: u64,
    findings: Vec<Finding>,
}

struct Tensor<'a> {
    name: &'a str,
    kind: &'static Ggml,
    shape: Vec<u64>,
    start: u64,
    bytes: u64,
}

fn bad(at: usize, what: impl Into<String>) -> Finding {
    Finding::new(&report::GGUF, offset(at), what)
}

fn limit(at: usize, what: impl Into<String>) -> Finding {
    Finding::new(&report::LIMIT, offset(at), what)
}

/// Inspects a whole file.
pub(crate) fn inspect(bytes: &[u8], limits: &Limits, report: &mut Report) -> Result<(), Finding> {
    let mut reader =
        Reader { cursor: Cursor::at(bytes, MAGIC.len()), limits, alignment: ALIGNMENT, findings: Vec::new() };
    let (tensors, keys) = reader.counts()?;
    reader.metadata(keys)?;
    let mut tensors = reader.tensors(tensors)?;
    reader.findings.drain(..).for_each(|finding| report.push(finding));
    let start =
        align(offset(reader.cursor.pos()), reader.alignment).ok_or_else(|| bad(0, "header is too long"))?;
    let end = layout(bytes, &mut tensors, reader.cursor.pos(), start, reader.alignment)?;
    if offset(bytes.len()) != end {
        let what = format!("tensors end at {end}, the file at {}", bytes.len());
        return Err(Finding::new(&report::GGUF_LAYOUT, end.min(offset(bytes.len())), what));
    }
    measure(bytes, &tensors, start, limits, report);
    Ok(())
}

fn align(at: u64, alignment: u64) -> Option<u64> {
    at.checked_next_multiple_of(alignment)
}

impl<'a> Reader<'a, '_> {
    fn cut(&self) -> Finding {
        bad(self.cursor.pos(), "file ends within its header")
    }

    fn u32(&mut self) -> Result<u32, Finding> {
        self.cursor.u32().ok_or_else(|| self.cut())
    }

    fn u64(&mut self) -> Result<u64, Finding> {
        self.cursor.u64().ok_or_else(|| self.cut())
    }

    /// Version and counts; each count is held against what remains.
    fn counts(&mut self) -> Result<(u64, u64), Finding> {
        let at = self.cursor.pos();
        let version = self.u32()?;
        if version != 0 && version.trailing_zeros() >= 16 {
            return Err(bad(at, "file is big-endian, which is not read here"));
        }
        if !matches!(version, 2 | 3) {
            return Err(bad(at, format!("version {version} is neither 2 nor 3")));
        }
        let tensors = self.u64()?;
        let keys = self.u64()?;
        let left = offset(self.cursor.remaining());
        let least = keys.checked_mul(ENTRY_MIN).zip(tensors.checked_mul(TENSOR_MIN));
        match least.and_then(|(keys, tensors)| keys.checked_add(tensors)) {
            Some(least) if least <= left => {}
            _ => return Err(bad(at, "counts are larger than the file")),
        }
        if keys > limits::GGUF_KEYS || tensors > offset(self.limits.tensors) {
            return Err(limit(at, "too many tensors or metadata entries"));
        }
        Ok((tensors, keys))
    }

    fn text(&mut self, max: u64) -> Result<&'a str, Finding> {
        let at = self.cursor.pos();
        let len = self.u64()?;
        if len > offset(self.cursor.remaining()) {
            return Err(bad(at, format!("text of {len} bytes is longer than the file")));
        }
        if len > max {
            return Err(limit(at, format!("text of {len} bytes is too long")));
        }
        let raw =
            usize::try_from(len).ok().and_then(|len| self.cursor.take(len)).ok_or_else(|| self.cut())?;
        std::str::from_utf8(raw).map_err(|_| bad(at, "text is not UTF-8"))
    }

    fn metadata(&mut self, count: u64) -> Result<(), Finding> {
        let mut keys = BTreeSet::new();
        for _ in 0..count {
            let at = self.cursor.pos();
            let key = self.text(limits::GGUF_KEY)?;
            let shown = show(key.as_bytes());
            if key.is_empty() || key.chars().any(char::is_control) {
                return Err(bad(at, format!("`{shown}` is no key")));
            }
            if !keys.insert(key) {
                return Err(Finding::new(
                    &report::GGUF_LAYOUT,
                    offset(at),
                    format!("key `{shown}` occurs twice"),
                ));
            }
            let kind = self.u32()?;
            self.value(key, kind)?;
        }
        Ok(())
    }

    fn value(&mut self, key: &str, kind: u32) -> Result<(), Finding> {
        let at = self.cursor.pos();
        let is_template = key == "tokenizer.chat_template" || key.starts_with("tokenizer.chat_template.");
        if is_template && kind != STRING {
            return Err(Finding::new(&report::TEMPLATE, offset(at), "chat template is no text"));
        }
        if key == "general.alignment" && kind != U32 {
            return Err(bad(at, "alignment is no number of 32 bits"));
        }
        match kind {
            STRING => {
                let text = self.text(limits::GGUF_STRING)?;
                if is_template {
                    self.findings.extend(template::check(text, offset(at.saturating_add(8))));
                } else if key == "tokenizer.huggingface.json" {
                    let root = json::parse(text.as_bytes())?;
                    self.findings.extend(config::check("tokenizer.json", &root));
                }
                Ok(())
            }
            ARRAY => self.array(1),
            U32 if key == "general.alignment" => {
                self.alignment = u64::from(self.u32()?);
                if !self.alignment.is_power_of_two() || !(8..=65_536).contains(&self.alignment) {
                    return Err(bad(
                        at,
                        format!("alignment {} is no power of two from 8 to 65536", self.alignment),
                    ));
                }
                Ok(())
            }
            _ => self.scalars(kind, 1),
        }
    }

    fn scalars(&mut self, kind: u32, count: u64) -> Result<(), Finding> {
        let at = self.cursor.pos();
        let size = scalar(kind).ok_or_else(|| bad(at, format!("value has the unknown type {kind}")))?;
        let len = usize::try_from(count).ok().and_then(|count| count.checked_mul(size));
        let raw = len
            .and_then(|len| self.cursor.take(len))
            .ok_or_else(|| bad(at, "array is longer than the file"))?;
        if kind == BOOL && raw.iter().any(|byte| *byte > 1) {
            return Err(bad(at, "truth value is neither 0 nor 1"));
        }
        Ok(())
    }

    fn array(&mut self, depth: u32) -> Result<(), Finding> {
        let at = self.cursor.pos();
        if depth > limits::GGUF_DEPTH {
            return Err(limit(at, "arrays are nested too deeply"));
        }
        let kind = self.u32()?;
        let count = self.u64()?;
        // The shortest text is its length, the shortest array its type and length.
        let least = match kind {
            STRING => 8,
            ARRAY => 12,
            _ => return self.scalars(kind, count),
        };
        if count.checked_mul(least).is_none_or(|least| least > offset(self.cursor.remaining())) {
            return Err(bad(at, format!("array of {count} elements is longer than the file")));
        }
        for _ in 0..count {
            if kind == STRING {
                self.text(limits::GGUF_STRING)?;
            } else {
                self.array(depth + 1)?;
            }
        }
        Ok(())
    }

    fn tensors(&mut self, count: u64) -> Result<Vec<Tensor<'a>>, Finding> {
        let mut names = BTreeSet::new();
        let mut tensors = Vec::new();
        for _ in 0..count {
            let at = self.cursor.pos();
            let tensor = self.tensor(at)?;
            if !names.insert(tensor.name) {
                let what = format!("tensor `{}` occurs twice", show(tensor.name.as_bytes()));
                return Err(Finding::new(&report::GGUF_LAYOUT, offset(at), what));
            }
            tensors.push(tensor);
        }
        Ok(tensors)
    }

    fn tensor(&mut self, at: usize) -> Result<Tensor<'a>, Finding> {
        let name = self.text(limits::GGUF_TENSOR_NAME)?;
        let fail = |what: &str| bad(at, format!("tensor `{}`: {what}", show(name.as_bytes())));
        let rank = self.u32()?;
        if rank > limits::GGUF_DIMENSIONS {
            return Err(fail("more than four dimensions"));
        }
        let mut shape = Vec::new();
        for _ in 0..rank {
            shape.push(self.u64()?);
        }
        let code = self.u32()?;
        let start = self.u64()?;
        let kind = TYPES.iter().find(|kind| kind.code == code).ok_or_else(|| fail("unknown type"))?;
        // Blocks lie along the first dimension, which varies fastest.
        if shape.first().copied().unwrap_or(1) % kind.elements != 0 {
            return Err(fail("a row is no whole number of blocks"));
        }
        let count = tensor::count(&shape).ok_or_else(|| fail("shape overflows"))?;
        let bytes = (count / kind.elements).checked_mul(kind.bytes).ok_or_else(|| fail("shape overflows"))?;
        shape.reverse();
        Ok(Tensor { name, kind, shape, start, bytes })
    }
}

/// Where the data ends. It begins at `start`, each tensor where the one before it ended, and zeros fill up.
fn layout(
    bytes: &[u8],
    tensors: &mut [Tensor<'_>],
    header_end: usize,
    start: u64,
    alignment: u64,
) -> Result<u64, Finding> {
    tensors.sort_by_key(|tensor| (tensor.start, tensor.bytes));
    if tensors.is_empty() {
        // Without data the padding may be left out.
        let padded = offset(bytes.len()) == start;
        let end = if padded { start } else { offset(header_end) };
        zeros(bytes, offset(header_end), end)?;
        return Ok(end);
    }
    zeros(bytes, offset(header_end), start)?;
    let overflow = || bad(header_end, "offsets overflow");
    let mut next = 0_u64;
    let mut end = start;
    for tensor in tensors.iter() {
        if tensor.start != next {
            let how = if tensor.start < next { "overlaps" } else { "leaves a hole before" };
            let what = format!("data {how} tensor `{}`", show(tensor.name.as_bytes()));
            return Err(Finding::new(&report::GGUF_LAYOUT, tensor.start, what));
        }
        let unpadded = next.checked_add(tensor.bytes).ok_or_else(overflow)?;
        next = align(unpadded, alignment).ok_or_else(overflow)?;
        end = start.checked_add(unpadded).ok_or_else(overflow)?;
        let padded = start.checked_add(next).ok_or_else(overflow)?;
        // The last one need not be padded.
        if offset(bytes.len()) >= padded {
            zeros(bytes, end, padded)?;
            end = padded;
        }
    }
    Ok(end)
}

fn zeros(bytes: &[u8], from: u64, to: u64) -> Result<(), Finding> {
    let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
    let gap = range.and_then(|(from, to)| bytes.get(from..to));
    match gap {
        Some(gap) if gap.iter().all(|byte| *byte == 0) => Ok(()),
        Some(_) => Err(Finding::new(&report::GGUF_LAYOUT, from, "padding is not zero")),
        None => Err(Finding::new(&report::GGUF_LAYOUT, from, "file ends before its data")),
    }
}

fn measure(bytes: &[u8], tensors: &[Tensor<'_>], start: u64, limits: &Limits, report: &mut Report) {
    let mut finite = true;
    for tensor in tensors {
        let from = usize::try_from(start.saturating_add(tensor.start)).ok();
        let range = from.zip(usize::try_from(tensor.bytes).ok());
        let data = range.and_then(|(from, len)| bytes.get(from..from.checked_add(len)?)).unwrap_or_default();
        let measured = tensor.kind.plain.filter(|_| limits.measure).map(|dtype| {
            let mut measure = Measure::new(dtype, &tensor.shape);
            measure.update(data);
            let found = measure.finish();
            finite = finite && found.finite;
            found
        });
        report.tensors.push(TensorInfo {
            name: tensor.name.to_owned(),
            dtype: tensor.kind.name.to_owned(),
            shape: tensor.shape.clone(),
            norm_bits: measured.and_then(|m| m.norm_bits),
            digest: measured.map(|m| m.digest),
        });
    }
    let all_plain = tensors.iter().all(|tensor| tensor.kind.plain.is_some());
    // Of quantised numbers nothing is known, unless a plain one is not finite already.
    report.all_finite = (limits.measure && (all_plain || !finite)).then_some(finite);
}
