//! `TensorFlow` Lite: a flatbuffer of `schema.fbs`, version 3. Every table, vector and offset that leads to a tensor,
//! a buffer or an operator is followed and held against the file; a model is data, except for its custom operators.

use crate::cursor::{Cursor, offset, show};
use crate::limits::{self, Limits};
use crate::report::{self, Finding, Report, TensorInfo};
use crate::tensor::{self, Dtype, Measure};

/// Whether the content is such a model: its identifier.
pub(crate) fn claims(bytes: &[u8]) -> bool {
    bytes.get(4..8) == Some(b"TFL3")
}

/// Operators that stand for others.
const CUSTOM: i32 = 32;
const DELEGATE: i32 = 51;
const CUSTOM_CALL: i32 = 173;

fn bad(at: usize, what: impl Into<String>) -> Finding {
    Finding::new(&report::TFLITE, offset(at), what)
}

struct Flat<'a> {
    bytes: &'a [u8],
    /// Parts that something refers to.
    extents: Vec<(usize, usize)>,
    /// Bytes of parts that may still be read, since several tables may refer to one.
    left: u64,
    /// Bytes that may still be measured, since several tensors may share a buffer.
    to_measure: u64,
}

/// A table and its fields' offsets.
#[derive(Debug, Clone, Copy)]
struct Table {
    at: usize,
    vtable: usize,
    vtable_len: usize,
    len: usize,
}

impl<'a> Flat<'a> {
    fn u16(&self, at: usize) -> Result<u16, Finding> {
        Cursor::at(self.bytes, at).u16().ok_or_else(|| bad(at, "field is outside the file"))
    }

    fn u32(&self, at: usize) -> Result<u32, Finding> {
        Cursor::at(self.bytes, at).u32().ok_or_else(|| bad(at, "field is outside the file"))
    }

    fn uses(&mut self, at: usize, len: usize) -> Result<(), Finding> {
        let end = at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| bad(at, "part is outside the file"))?;
        if self.extents.len() >= limits::TFLITE_PARTS {
            return Err(Finding::new(&report::LIMIT, offset(at), "model has too many parts"));
        }
        let left = self.left.checked_sub(offset(len));
        self.left =
            left.ok_or_else(|| Finding::new(&report::LIMIT, offset(at), "parts are referred to too often"))?;
        self.extents.push((at, end));
        Ok(())
    }

    /// Where an offset leads, counted from its own place.
    fn follow(&self, at: usize) -> Result<usize, Finding> {
        let step = usize::try_from(self.u32(at)?).ok().filter(|step| *step > 0);
        let target = step.and_then(|step| at.checked_add(step)).filter(|target| *target < self.bytes.len());
        target.ok_or_else(|| bad(at, "offset leads out of the file"))
    }

    fn table(&mut self, at: usize) -> Result<Table, Finding> {
        let back = Cursor::at(self.bytes, at).array().map(i32::from_le_bytes);
        let vtable = back.and_then(|back| i64::try_from(at).ok()?.checked_sub(i64::from(back)));
        let vtable =
            vtable.and_then(|at| usize::try_from(at).ok()).ok_or_else(|| bad(at, "table has no fields"))?;
        let vtable_len = usize::from(self.u16(vtable)?);
        let len = usize::from(self.u16(vtable.saturating_add(2))?);
        if vtable_len < 4
            || !vtable_len.is_multiple_of(2)
            || len < 4
            || !at.is_multiple_of(4)
            || !vtable.is_multiple_of(2)
        {
            return Err(bad(at, "table is malformed"));
        }
        self.uses(vtable, vtable_len)?;
        self.uses(at, len)?;
        Ok(Table { at, vtable, vtable_len, len })
    }

    /// Where a field of a table lies, if it is there.
    fn field(&self, table: Table, index: usize, size: usize) -> Result<Option<usize>, Finding> {
        let slot = 4 + index * 2;
        if slot + 2 > table.vtable_len {
            return Ok(None);
        }
        let within = usize::from(self.u16(table.vtable + slot)?);
        if within == 0 {
            return Ok(None);
        }
        if within < 4 || within + size > table.len || !(table.at + within).is_multiple_of(size) {
            return Err(bad(table.at, "field is outside its table"));
        }
        Ok(Some(table.at + within))
    }

    fn byte(&self, table: Table, index: usize) -> Result<u8, Finding> {
        Ok(match self.field(table, index, 1)? {
            Some(at) => self.bytes.get(at).copied().unwrap_or(0),
            None => 0,
        })
    }

    fn int(&self, table: Table, index: usize) -> Result<u32, Finding> {
        self.field(table, index, 4)?.map_or(Ok(0), |at| self.u32(at))
    }

    fn long(&self, table: Table, index: usize) -> Result<u64, Finding> {
        let at = self.field(table, index, 8)?;
        at.map_or(Ok(0), |at| {
            Cursor::at(self.bytes, at).u64().ok_or_else(|| bad(at, "field is outside the file"))
        })
    }

    /// A vector of elements of `size` bytes: where they begin, and how many.
    fn vector(&mut self, table: Table, index: usize, size: usize) -> Result<(usize, usize), Finding> {
        let Some(field) = self.field(table, index, 4)? else { return Ok((0, 0)) };
        let at = self.follow(field)?;
        let count = usize::try_from(self.u32(at)?).map_err(|_| bad(at, "vector is too long"))?;
        let len = count
            .checked_mul(size)
            .and_then(|len| len.checked_add(4))
            .ok_or_else(|| bad(at, "vector is too long"))?;
        if !at.is_multiple_of(4) {
            return Err(bad(at, "vector is not aligned"));
        }
        self.uses(at, len)?;
        Ok((at + 4, count))
    }

    fn data(&mut self, table: Table, index: usize) -> Result<&'a [u8], Finding> {
        let (at, len) = self.vector(table, index, 1)?;
        Ok(self.bytes.get(at..at.saturating_add(len)).unwrap_or_default())
    }

    fn text(&mut self, table: Table, index: usize) -> Result<&'a str, Finding> {
        let raw = self.data(table, index)?;
        std::str::from_utf8(raw).map_err(|_| bad(table.at, "text is not UTF-8"))
    }

    fn ints(&mut self, table: Table, index: usize) -> Result<Vec<u32>, Finding> {
        let (at, count) = self.vector(table, index, 4)?;
        (0..count).map(|item| self.u32(at + item * 4)).collect()
    }

    fn tables(&mut self, table: Table, index: usize) -> Result<Vec<Table>, Finding> {
        let (at, count) = self.vector(table, index, 4)?;
        let mut tables = Vec::new();
        for item in 0..count {
            let target = self.follow(at + item * 4)?;
            tables.push(self.table(target)?);
        }
        Ok(tables)
    }
}

/// Inspects a whole file.
pub(crate) fn inspect(bytes: &[u8], limits: &Limits, report: &mut Report) -> Result<(), Finding> {
    let budget =
        offset(bytes.len()).saturating_mul(limits::MEASURE_FACTOR).saturating_add(limits::MEASURE_FLOOR);
    let mut flat = Flat { bytes, extents: vec![(0, 8)], left: budget, to_measure: budget };
    let root = flat.follow(0)?;
    let model = flat.table(root)?;
    if flat.int(model, 0)? != 3 {
        return Err(bad(root, "version of the schema is not 3"));
    }
    flat.text(model, 3)?;
    let codes = codes(&mut flat, model, report)?;
    let buffers = buffers(&mut flat, model)?;
    for outside in [8, 9] {
        if !flat.tables(model, outside)?.is_empty() {
            return Err(Finding::new(
                &report::TFLITE_OUTSIDE,
                offset(root),
                "model keeps buffers in other files",
            ));
        }
    }
    let graphs = flat.tables(model, 2)?;
    if graphs.is_empty() {
        return Err(bad(root, "model has no graph"));
    }
    let mut finite = true;
    for graph in graphs {
        finite &= subgraph(&mut flat, graph, codes, &buffers, limits, report)?;
    }
    for item in flat.ints(model, 5)? {
        in_range(root, item, buffers.len())?;
    }
    for entry in flat.tables(model, 6)? {
        flat.text(entry, 0)?;
        in_range(entry.at, flat.int(entry, 1)?, buffers.len())?;
    }
    for signature in flat.tables(model, 7)? {
        flat.text(signature, 2)?;
        for list in [0, 1] {
            for map in flat.tables(signature, list)? {
                flat.text(map, 0)?;
            }
        }
    }
    report.all_finite = limits.measure.then_some(finite);
    gaps(&mut flat)
}

/// Operators by code; returns how many there are.
fn codes(flat: &mut Flat<'_>, model: Table, report: &mut Report) -> Result<usize, Finding> {
    let codes = flat.tables(model, 1)?;
    for code in &codes {
        // Codes from 127 on stand in a field of their own; the higher one counts.
        let old = i32::from(i8::from_le_bytes([flat.byte(*code, 0)?]));
        let new = i32::from_le_bytes(flat.int(*code, 3)?.to_le_bytes());
        let custom = flat.text(*code, 1)?;
        let builtin = old.max(new);
        let shown = show(custom.as_bytes());
        if custom.starts_with("Flex") {
            let what = format!("operator `{shown}` runs one of TensorFlow");
            report.push(Finding::new(&report::TFLITE_OPERATOR, offset(code.at), what));
        } else if builtin == CUSTOM || !custom.is_empty() {
            let what = format!("operator `{shown}` is the application's own");
            report.push(Finding::new(&report::TFLITE_CUSTOM, offset(code.at), what));
        } else if !(0..=limits::TFLITE_OPERATORS).contains(&builtin)
            || matches!(builtin, DELEGATE | CUSTOM_CALL)
        {
            let what = format!("operator {builtin} is not a listed one");
            report.push(Finding::new(&report::TFLITE_OPERATOR, offset(code.at), what));
        }
    }
    Ok(codes.len())
}

fn buffers<'a>(flat: &mut Flat<'a>, model: Table) -> Result<Vec<&'a [u8]>, Finding> {
    let mut buffers = Vec::new();
    for buffer in flat.tables(model, 4)? {
        let data = flat.data(buffer, 0)?;
        let (at, len) = (flat.long(buffer, 1)?, flat.long(buffer, 2)?);
        // Models above 2 GiB keep data behind the flatbuffer.
        if at > 1 || len > 1 {
            let range = usize::try_from(at).ok().zip(usize::try_from(len).ok());
            let (at, len) = range.ok_or_else(|| bad(buffer.at, "buffer is outside the file"))?;
            flat.uses(at, len)?;
            buffers.push(flat.bytes.get(at..at.saturating_add(len)).unwrap_or_default());
        } else {
            buffers.push(data);
        }
    }
    Ok(buffers)
}

fn in_range(at: usize, index: u32, len: usize) -> Result<usize, Finding> {
    let index = usize::try_from(index).ok().filter(|index| *index < len);
    index.ok_or_else(|| bad(at, "index is beyond its list"))
}

fn subgraph(
    flat: &mut Flat<'_>,
    graph: Table,
    codes: usize,
    buffers: &[&[u8]],
    limits: &Limits,
    report: &mut Report,
) -> Result<bool, Finding> {
    let tensors = flat.tables(graph, 0)?;
    let mut finite = true;
    for tensor in &tensors {
        finite &= one_tensor(flat, *tensor, buffers, limits, report)?;
    }
    // -1 stands for an input that is left out.
    let known = |at: usize, items: Vec<u32>| {
        items
            .into_iter()
            .filter(|item| *item != u32::MAX)
            .try_for_each(|item| in_range(at, item, tensors.len()).map(drop))
    };
    known(graph.at, flat.ints(graph, 1)?)?;
    known(graph.at, flat.ints(graph, 2)?)?;
    flat.text(graph, 4)?;
    for operator in flat.tables(graph, 3)? {
        in_range(operator.at, flat.int(operator, 0)?, codes)?;
        for list in [1, 2, 8] {
            known(operator.at, flat.ints(operator, list)?)?;
        }
        flat.data(operator, 5)?;
        flat.data(operator, 7)?;
        for options in [4, 12] {
            if let Some(field) = flat.field(operator, options, 4)? {
                let target = flat.follow(field)?;
                flat.table(target)?;
            }
        }
        let (at, len) = (flat.long(operator, 9)?, flat.long(operator, 10)?);
        if at > 1 || len > 1 {
            let range = usize::try_from(at).ok().zip(usize::try_from(len).ok());
            let (at, len) = range.ok_or_else(|| bad(operator.at, "options are outside the file"))?;
            flat.uses(at, len)?;
        }
    }
    Ok(finite)
}

/// `TensorType`: its word, and what it holds where that is of a fixed size.
fn kind(code: u8) -> Option<(&'static str, Option<Dtype>)> {
    Some(match code {
        0 => ("F32", Some(Dtype::F32)),
        1 => ("F16", Some(Dtype::F16)),
        2 => ("I32", Some(Dtype::I32)),
        3 => ("U8", Some(Dtype::U8)),
        4 => ("I64", Some(Dtype::I64)),
        5 => ("STRING", None),
        6 => ("BOOL", Some(Dtype::Bool)),
        7 => ("I16", Some(Dtype::I16)),
        8 => ("C64", Some(Dtype::C64)),
        9 => ("I8", Some(Dtype::I8)),
        10 => ("F64", Some(Dtype::F64)),
        11 => ("C128", Some(Dtype::C128)),
        12 => ("U64", Some(Dtype::U64)),
        13 => ("RESOURCE", None),
        14 => ("VARIANT", None),
        15 => ("U32", Some(Dtype::U32)),
        16 => ("U16", Some(Dtype::U16)),
        17 => ("I4", None),
        18 => ("BF16", Some(Dtype::Bf16)),
        19 => ("I2", None),
        20 => ("U4", None),
        _ => return None,
    })
}

/// Checks a tensor and its data; whether all numbers are finite.
fn one_tensor(
    flat: &mut Flat<'_>,
    tensor: Table,
    buffers: &[&[u8]],
    limits: &Limits,
    report: &mut Report,
) -> Result<bool, Finding> {
    let shape: Vec<u64> = flat.ints(tensor, 0)?.into_iter().map(u64::from).collect();
    let (word, dtype) =
        kind(flat.byte(tensor, 1)?).ok_or_else(|| bad(tensor.at, "type of a tensor is not known"))?;
    let buffer = in_range(tensor.at, flat.int(tensor, 2)?, buffers.len())?;
    let name = flat.text(tensor, 3)?;
    if let Some(field) = flat.field(tensor, 4, 4)? {
        let target = flat.follow(field)?;
        let quantization = flat.table(target)?;
        for (list, size) in [(0, 4), (1, 4), (2, 4), (3, 8)] {
            flat.vector(quantization, list, size)?;
        }
    }
    let sparse = flat.field(tensor, 6, 4)?;
    if let Some(field) = sparse {
        let target = flat.follow(field)?;
        flat.table(target)?;
    }
    flat.ints(tensor, 7)?;
    if flat.int(tensor, 10)? != 0 {
        return Err(Finding::new(
            &report::TFLITE_OUTSIDE,
            offset(tensor.at),
            "tensor keeps its data in another file",
        ));
    }
    let data = buffers.get(buffer).copied().unwrap_or_default();
    if data.is_empty() {
        return Ok(true);
    }
    if shape.len() > limits::DIMENSIONS || report.tensors.len() >= limits.tensors {
        return Err(Finding::new(&report::LIMIT, offset(tensor.at), "too many tensors or dimensions"));
    }
    let mut measured = None;
    if let (Some(dtype), None) = (dtype, sparse) {
        if tensor::bytes(&shape, dtype.size()) != Some(offset(data.len())) {
            let what = format!("data of `{}` does not have the size of its shape", show(name.as_bytes()));
            return Err(bad(tensor.at, what));
        }
        if limits.measure {
            let left = flat.to_measure.checked_sub(offset(data.len()));
            let what = "tensors share their buffers too often";
            flat.to_measure = left.ok_or_else(|| Finding::new(&report::LIMIT, offset(tensor.at), what))?;
            let mut measure = Measure::new(dtype, &shape);
            measure.update(data);
            measured = Some(measure.finish());
        }
    }
    report.tensors.push(TensorInfo {
        name: name.to_owned(),
        dtype: word.to_owned(),
        shape,
        norm_bits: measured.and_then(|m| m.norm_bits),
        digest: measured.map(|m| m.digest),
    });
    Ok(measured.is_none_or(|m| m.finite))
}

/// Nothing but padding and the small vectors of operators' options lies between the parts.
fn gaps(flat: &mut Flat<'_>) -> Result<(), Finding> {
    flat.extents.sort_unstable();
    flat.extents.push((flat.bytes.len(), flat.bytes.len()));
    let mut last = 0;
    for (at, end) in &flat.extents {
        if at.saturating_sub(last) > limits::TFLITE_GAP {
            let what = format!("{} bytes that nothing refers to", at - last);
            return Err(Finding::new(&report::TFLITE_GAP, offset(last), what));
        }
        last = last.max(*end);
    }
    Ok(())
}
