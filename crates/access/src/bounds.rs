//! What rules may cost before they are parsed: the parser recurses, so depth and length of one rule are bounded.

use crate::PolicyError;

/// Longest text: [`RULES_MAX`] rules of 400 bytes, rounded up.
const TEXT_MAX: usize = 4 * 1024 * 1024;
/// Rules in one set.
pub(crate) const RULES_MAX: usize = 10_000;
/// Longest single rule; a chain of operators is as deep as it is long.
const RULE_MAX: usize = 8 * 1024;
/// Deepest nesting of brackets.
const DEPTH_MAX: usize = 32;
/// Longest id of an entity in a request: a path of the API is at most 4,096 bytes.
pub(crate) const ID_MAX: usize = 4096;

/// Where the scan stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum In {
    Code,
    Text,
    Escape,
    Comment,
}

/// Refuses what exceeds the limits. Not a parser: it knows strings, comments, brackets and `;` alone.
pub(crate) fn check(text: &str) -> Result<(), PolicyError> {
    let fail = |line, reason: String| Err(PolicyError::Limit { line, reason });
    if text.len() > TEXT_MAX {
        return fail(0, format!("{} bytes, at most {TEXT_MAX}", text.len()));
    }
    let (mut place, mut line, mut depth, mut length) = (In::Code, 1usize, 0usize, 0usize);
    let mut last = 0u8;
    for byte in text.bytes() {
        length = length.saturating_add(1);
        place = match (place, byte) {
            (In::Code, b'/') if last == b'/' => In::Comment,
            (In::Text, b'\\') => In::Escape,
            (In::Code, b'"') | (In::Escape, _) => In::Text,
            (In::Text, b'"') | (In::Comment, b'\n') => In::Code,
            (same, _) => same,
        };
        if place == In::Code {
            match byte {
                b'(' | b'[' | b'{' => depth = depth.saturating_add(1),
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                b';' => length = 0,
                _ => {}
            }
        }
        line = line.saturating_add(usize::from(byte == b'\n'));
        last = byte;
        if depth > DEPTH_MAX {
            return fail(line, format!("brackets nest deeper than {DEPTH_MAX}"));
        }
        if length > RULE_MAX {
            return fail(line, format!("one rule is longer than {RULE_MAX} bytes"));
        }
    }
    Ok(())
}
