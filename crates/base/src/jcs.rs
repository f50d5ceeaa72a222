//! Canonical JSON (RFC 8785, JCS), for the subset that this platform writes: no floating-point numbers,
//! integers within ±2^53.

use serde_json::Value;

/// Integers beyond this magnitude are not exact in every JSON reader (RFC 8785 section 3.2.2.3).
pub const INTEGER_MAX: u64 = 1 << 53;

/// The value cannot be written canonically.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("canonical JSON takes integers within 2^53 and no fractions, not `{number}`")]
pub struct JcsError {
    number: String,
}

/// The canonical bytes of `value`: members sorted by UTF-16 code units, no white space, minimal escapes.
///
/// # Errors
/// A number that is not an integer within ±2^53.
pub fn to_vec(value: &Value) -> Result<Vec<u8>, JcsError> {
    let mut out = Vec::new();
    write(value, &mut out)?;
    Ok(out)
}

fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), JcsError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(n) => {
            let exact = n.as_u64().is_some_and(|v| v <= INTEGER_MAX)
                || n.as_i64().is_some_and(|v| v.unsigned_abs() <= INTEGER_MAX);
            if !exact {
                return Err(JcsError { number: n.to_string() });
            }
            out.extend_from_slice(n.to_string().as_bytes());
        }
        Value::String(s) => string(s, out),
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push(b'{');
            for (i, (key, item)) in members.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                string(key, out);
                out.push(b':');
                write(item, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\r' => out.extend_from_slice(b"\\r"),
            c if c < ' ' => out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes()),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_sort_by_utf16_and_escapes_are_minimal() {
        let value: Value =
            serde_json::from_str(r#"{"\u20ac":1,"\r":"a\u0001\/","1":true,"\ud83d\ude02":[],"\ufb33":null}"#)
                .unwrap();
        let text = String::from_utf8(to_vec(&value).unwrap()).unwrap();
        assert_eq!(text, "{\"\\r\":\"a\\u0001/\",\"1\":true,\"€\":1,\"😂\":[],\"\u{fb33}\":null}");
    }

    #[test]
    fn fractions_and_large_integers_are_refused() {
        for bad in ["1.5", "9007199254740993", "1e400"] {
            if let Ok(value) = serde_json::from_str::<Value>(bad) {
                assert!(to_vec(&value).is_err(), "{bad}");
            }
        }
    }
}
