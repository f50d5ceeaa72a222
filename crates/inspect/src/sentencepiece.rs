//! SentencePiece models: `ModelProto` of `sentencepiece_model.proto`. Data alone, so a walk over known fields vouches
//! for it. Precompiled normalisation is a table that is not looked into.

use crate::cursor::{offset, show};
use crate::limits;
use crate::proto::{self, Reader, Value};
use crate::report::{self, Finding, Report};

/// Whether the content is such a model: its messages to the second level.
pub(crate) fn claims(bytes: &[u8]) -> bool {
    let (mut pieces, mut specs) = (0_u32, 0_u32);
    let whole = proto::all_fields(bytes, |number, value| match (number, value) {
        (1, Value::Len(start, end)) => {
            pieces += 1;
            let mut named = false;
            proto::all_fields(bytes.get(start..end).unwrap_or_default(), |number, value| {
                named |= number == 1;
                matches!(
                    (number, value),
                    (1, Value::Len(..)) | (2, Value::Fixed32(_)) | (3, Value::Varint(_))
                )
            }) && named
        }
        (2 | 3, Value::Len(..)) => {
            specs += 1;
            true
        }
        (4 | 5, Value::Len(..)) => true,
        _ => false,
    });
    whole && pieces > 0 && specs > 0
}

fn bad(at: usize, what: impl Into<String>) -> Finding {
    Finding::new(&report::SENTENCEPIECE, offset(at), what)
}

/// Inspects a whole file that claims to be one.
pub(crate) fn inspect(bytes: &[u8], report: &mut Report) -> Result<(), Finding> {
    let mut reader = Reader::new(bytes, 0, bytes.len());
    let mut fields = 0_u64;
    let mut seen = 0_u8;
    while !reader.is_done() {
        let at = reader.pos;
        fields += 1;
        if fields > limits::PROTO_FIELDS {
            return Err(Finding::new(&report::LIMIT, offset(at), "too many pieces"));
        }
        let Some((number, Value::Len(start, end))) = reader.field() else {
            return Err(bad(at, "field is malformed"));
        };
        let body = bytes.get(start..end).unwrap_or_default();
        if number == 1 {
            piece(body, start)?;
            continue;
        }
        let bit = 1_u8.checked_shl(u32::try_from(number).unwrap_or(u32::MAX)).unwrap_or(0);
        if seen & bit != 0 {
            return Err(bad(at, "a specification is there twice"));
        }
        seen |= bit;
        let fits = match number {
            2 => spec(body, trainer),
            3 | 5 => spec(body, normalizer),
            4 => spec(body, |number, value| number == 1 && matches!(value, Value::Len(..))),
            _ => false,
        };
        if !fits {
            return Err(bad(start, "specification has a field that is not known"));
        }
    }
    report.all_finite = None;
    Ok(())
}

fn piece(body: &[u8], at: usize) -> Result<(), Finding> {
    let mut text = None;
    let whole = proto::all_fields(body, |number, value| match (number, value) {
        (1, Value::Len(start, end)) => {
            let new = std::str::from_utf8(body.get(start..end).unwrap_or_default()).ok();
            text.is_none() && {
                text = new;
                new.is_some()
            }
        }
        (2, Value::Fixed32(_)) => true,
        // normal, unknown, control, user-defined, unused, byte.
        (3, Value::Varint(kind)) => (1..=6).contains(&kind),
        _ => false,
    });
    if whole && text.is_some() {
        return Ok(());
    }
    Err(bad(at, format!("piece `{}` is malformed", show(text.unwrap_or_default().as_bytes()))))
}

fn spec(body: &[u8], known: impl Fn(u64, Value) -> bool) -> bool {
    proto::all_fields(body, |number, value| match value {
        Value::Len(start, end) => known(number, value) && is_flat(body.get(start..end).unwrap_or_default()),
        _ => known(number, value),
    })
}

/// A text or a table, of bounded size.
fn is_flat(body: &[u8]) -> bool {
    body.len() <= limits::SENTENCEPIECE_TABLE
}

/// `TrainerSpec`: names of files, types, numbers.
fn trainer(number: u64, value: Value) -> bool {
    match value {
        Value::Varint(_) => matches!(number, 3 | 4 | 6..=29 | 31..=35 | 40..=43 | 48..=53),
        Value::Fixed32(_) => matches!(number, 10 | 15 | 51),
        Value::Len(..) => matches!(number, 1 | 2 | 5 | 7 | 30 | 31 | 36 | 44..=48 | 54),
        Value::Fixed64(_) => false,
    }
}

/// `NormalizerSpec`: a name, two tables, three flags.
fn normalizer(number: u64, value: Value) -> bool {
    match value {
        Value::Varint(_) => matches!(number, 3..=5),
        Value::Len(..) => matches!(number, 1 | 2 | 6),
        _ => false,
    }
}
