//! safetensors: `u64` header length, JSON header, data (the format's README, "Format").

use crate::cursor::{Cursor, offset, show};
use crate::json::{self, Json};
use crate::limits::{self, Limits};
use crate::report::{self, Finding, Report, Severity, TensorInfo};
use crate::tensor::{self, Dtype, Measure};

/// Whether the first bytes can only be meant as safetensors: a plausible length and a brace.
pub(crate) fn claims(bytes: &[u8]) -> bool {
    let mut cursor = Cursor::new(bytes);
    match (cursor.u64(), cursor.u8()) {
        (Some(len), Some(b'{')) => len >= 2 && (len < 1 << 40 || len.to_le_bytes().starts_with(&[0; 4])),
        _ => false,
    }
}

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy)]
enum Element {
    Whole(Dtype),
    /// Several elements in a byte or in three: a name and the bits of each. They have no digest here, and none of them
    /// has a pattern for what is not finite.
    Packed(&'static str, u64),
}

impl Element {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "F4" => Self::Packed("F4", 4),
            "F6_E2M3" => Self::Packed("F6_E2M3", 6),
            "F6_E3M2" => Self::Packed("F6_E3M2", 6),
            _ => Self::Whole(Dtype::from_safetensors(name)?),
        })
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Whole(dtype) => dtype.as_str(),
            Self::Packed(name, _) => name,
        }
    }

    /// Bytes of a tensor, which are whole in any case.
    fn bytes(self, shape: &[u64]) -> Option<u64> {
        match self {
            Self::Whole(dtype) => tensor::bytes(shape, dtype.size()),
            Self::Packed(_, bits) => {
                tensor::bytes(shape, bits).filter(|all| all.is_multiple_of(8)).map(|all| all / 8)
            }
        }
    }
}

struct Entry<'a> {
    name: &'a str,
    dtype: Element,
    shape: Vec<u64>,
    begin: u64,
    end: u64,
}

/// Bytes before the data, when the first bytes claim to be safetensors.
pub(crate) fn head_len(bytes: &[u8]) -> Option<u64> {
    let len = Cursor::new(bytes).u64().filter(|len| *len <= limits::SAFETENSORS_HEADER)?;
    claims(bytes).then(|| len.saturating_add(8))
}

/// Inspects a file of `whole` bytes, of which `bytes` are all, or the first ones where nothing is measured.
pub(crate) fn inspect(bytes: &[u8], whole: u64, limits: &Limits, report: &mut Report) -> Result<(), Finding> {
    let mut cursor = Cursor::new(bytes);
    let len = cursor.u64().ok_or_else(|| header(0, "file ends within the header length"))?;
    if len > limits::SAFETENSORS_HEADER || len > offset(cursor.remaining()) {
        return Err(header(0, format!("header length {len} exceeds the format's limit or the file")));
    }
    let len = usize::try_from(len).map_err(|_| header(0, "header length"))?;
    let text = cursor.take(len).ok_or_else(|| header(0, "file ends within the header"))?;
    let data = bytes.get(cursor.pos()..).unwrap_or_default();
    check_padding(text)?;
    let root = json::parse(text).map_err(|mut finding| {
        finding.offset = finding.offset.saturating_add(8);
        // A repeated key means that two readers see two files; it stays hostile.
        if finding.severity < Severity::Hostile {
            finding = header(finding.offset, finding.explanation);
        }
        finding
    })?;
    let Json::Object(members) = &root else { return Err(header(8, "header is not an object")) };
    let mut entries = Vec::new();
    for (name, value) in members {
        if name == "__metadata__" {
            check_metadata(value)?;
        } else {
            if entries.len() >= limits.tensors {
                return Err(Finding::new(&report::LIMIT, 8, "too many tensors"));
            }
            entries.push(entry(name, value)?);
        }
    }
    check_layout(&mut entries, whole.saturating_sub(offset(cursor.pos())))?;
    measure(&entries, data, limits, report);
    Ok(())
}

fn header(at: u64, what: impl Into<String>) -> Finding {
    Finding::new(&report::ST_HEADER, at, what)
}

/// The header starts with `{` and is padded with spaces only.
fn check_padding(text: &[u8]) -> Result<(), Finding> {
    if text.first() != Some(&b'{') || text.trim_ascii_end().last() != Some(&b'}') {
        return Err(header(8, "header does not start with `{` and end with `}`"));
    }
    let padding = text.len() - text.trim_ascii_end().len();
    let tail = text.get(text.len().saturating_sub(padding)..).unwrap_or_default();
    if tail.iter().any(|byte| *byte != b' ') {
        return Err(header(8, "header is padded with something else than spaces"));
    }
    Ok(())
}

fn check_metadata(value: &Json) -> Result<(), Finding> {
    match value {
        Json::Object(members) if members.iter().all(|(_, value)| matches!(value, Json::String(_))) => Ok(()),
        _ => Err(header(8, "`__metadata__` is not a map from text to text")),
    }
}

fn entry<'a>(name: &'a str, value: &Json) -> Result<Entry<'a>, Finding> {
    let shown = show(name.as_bytes());
    let bad = |what: &str| header(8, format!("tensor `{shown}`: {what}"));
    let Json::Object(members) = value else { return Err(bad("not an object")) };
    let (mut dtype, mut shape, mut range) = (None, None, None);
    for (key, value) in members {
        match (key.as_str(), value) {
            ("dtype", Json::String(text)) => {
                dtype = Some(Element::of(text).ok_or_else(|| bad("unknown dtype"))?);
            }
            ("shape", Json::Array(dims)) => {
                let dims: Option<Vec<u64>> = dims.iter().map(Json::as_u64).collect();
                shape = Some(dims.ok_or_else(|| bad("shape is not a list of sizes"))?);
            }
            ("data_offsets", Json::Array(pair)) => {
                let pair: Option<Vec<u64>> = pair.iter().map(Json::as_u64).collect();
                range = match pair.as_deref() {
                    Some([begin, end]) => Some((*begin, *end)),
                    _ => return Err(bad("data_offsets is not a pair of offsets")),
                };
            }
            _ => return Err(bad("unknown member")),
        }
    }
    let (Some(dtype), Some(shape), Some((begin, end))) = (dtype, shape, range) else {
        return Err(bad("a member is missing"));
    };
    if shape.len() > limits::DIMENSIONS {
        return Err(bad("too many dimensions"));
    }
    if dtype.bytes(&shape).is_none_or(|size| end.checked_sub(begin) != Some(size)) {
        return Err(bad("data range does not have the size that dtype and shape give"));
    }
    Ok(Entry { name, dtype, shape, begin, end })
}

/// Ranges, sorted, start at 0, touch, and end at the end of the file.
fn check_layout(entries: &mut [Entry<'_>], data_len: u64) -> Result<(), Finding> {
    entries.sort_by_key(|entry| (entry.begin, entry.end));
    let mut next = 0_u64;
    for entry in entries.iter() {
        if entry.begin != next {
            let name = show(entry.name.as_bytes());
            let how = if entry.begin < next { "overlaps" } else { "leaves a hole before" };
            let what = format!("a data range {how} tensor `{name}`");
            return Err(Finding::new(&report::ST_LAYOUT, entry.begin, what));
        }
        next = entry.end;
    }
    if next != data_len {
        let what = format!("tensors cover {next} bytes of data, the file has {data_len}");
        return Err(Finding::new(&report::ST_LAYOUT, next.min(data_len), what));
    }
    Ok(())
}

fn measure(entries: &[Entry<'_>], data: &[u8], limits: &Limits, report: &mut Report) {
    let mut finite = true;
    for entry in entries {
        let range = usize::try_from(entry.begin).ok().zip(usize::try_from(entry.end).ok());
        let slice = range.and_then(|(begin, end)| data.get(begin..end)).unwrap_or_default();
        let dtype = match entry.dtype {
            Element::Whole(dtype) if limits.measure => Some(dtype),
            _ => None,
        };
        let measured = dtype.map(|dtype| {
            let mut measure = Measure::new(dtype, &entry.shape);
            measure.update(slice);
            let found = measure.finish();
            finite = finite && found.finite;
            found
        });
        report.tensors.push(TensorInfo {
            name: entry.name.to_owned(),
            dtype: entry.dtype.as_str().to_owned(),
            shape: entry.shape.clone(),
            norm_bits: measured.and_then(|m| m.norm_bits),
            digest: measured.map(|m| m.digest),
        });
    }
    report.all_finite = limits.measure.then_some(finite);
}
