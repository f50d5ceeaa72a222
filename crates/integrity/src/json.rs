//! Strict JSON (RFC 8259): a member name twice in one object, or nesting beyond the limit, refuses the text.
//!
//! Two readers that resolve a duplicate differently see two documents under one signature, so the usual
//! "last one wins" is not available here.

use std::fmt;

use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::quote;
use crate::limits::{BUNDLE_MAX, JSON_DEPTH_MAX};

/// The bytes are not JSON that this platform reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Longer than the limit.
    #[error("JSON of {len} bytes, limit {limit}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Syntax, UTF-8, a duplicate member, nesting, or bytes after the value.
    #[error("not strict JSON: {0}")]
    Syntax(String),
}

impl base::Explain for JsonError {
    fn code(&self) -> &'static str {
        "SR-INT-0001"
    }
    fn help(&self) -> Option<base::Help> {
        Some("the file is damaged or of another kind; get it again from whoever signed it")
    }
}

/// Parses one JSON value of at most 64 MiB and 64 levels, without duplicate members.
///
/// # Errors
/// [`JsonError`].
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    if bytes.len() > BUNDLE_MAX {
        return Err(JsonError::TooLong { len: bytes.len(), limit: BUNDLE_MAX });
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = reader
        .deserialize_any(Strict { depth: 0 })
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|e| JsonError::Syntax(e.to_string()))?;
    Ok(value)
}

/// Builds a [`Value`] at this depth.
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(&self) -> Result<Strict, E> {
        let depth = self.depth.saturating_add(1);
        if depth > JSON_DEPTH_MAX {
            return Err(E::custom(format_args!("nested deeper than {JSON_DEPTH_MAX} levels")));
        }
        Ok(Strict { depth })
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }
    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(item) = items.next_element_seed(self.deeper()?)? {
            out.push(item);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if out.contains_key(&name) {
                return Err(A::Error::custom(format_args!("member `{}` stands twice", quote(&name))));
            }
            let value = members.next_value_seed(self.deeper()?)?;
            out.insert(name, value);
        }
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_refused_at_every_level() {
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"[{"x":{"a":1,"b":2,"a":3}}]"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":1} {}"#,
            "{\"a\":\"\u{1}\"}",
            r#""\ud800""#,
            "",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn depth_is_bounded_on_both_sides_of_the_limit() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(parse(nested(JSON_DEPTH_MAX).as_bytes()).is_ok());
        assert!(parse(nested(JSON_DEPTH_MAX + 2).as_bytes()).is_err());
    }

    #[test]
    fn agrees_with_the_plain_reader_on_what_it_accepts() {
        let text = r#" {"a":[1,-2,3.5,null,true,"\u20ac\n"],"b":{"c":18446744073709551615,"":{}}} "#;
        assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }
}
