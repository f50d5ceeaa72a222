//! The textual operands of protocol 0, read strictly.

use crate::limits;

/// A decimal integer as `int()` reads it, without spaces or underscores. `None`: not one.
/// `Some(None)`: an integer beyond 64 bits.
pub(crate) fn integer(line: &[u8]) -> Option<Option<i64>> {
    let digits = line.strip_prefix(b"-").unwrap_or(line);
    if digits.is_empty() || digits.len() > limits::PICKLE_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(std::str::from_utf8(line).ok()?.parse().ok())
}

/// A float as `repr()` writes it.
pub(crate) fn float(line: &[u8]) -> Option<f64> {
    if line.is_empty() || line.len() > limits::PICKLE_DIGITS {
        return None;
    }
    let text = std::str::from_utf8(line).ok()?;
    let word = text.strip_prefix('-').unwrap_or(text);
    if !matches!(word, "inf" | "nan")
        && !text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
    {
        return None;
    }
    text.parse().ok()
}

/// What `STRING` holds between its quotes, escapes decoded. Bytes, because the reader picks the encoding.
pub(crate) fn quoted(line: &[u8]) -> Option<Vec<u8>> {
    let quote = *line.first()?;
    if line.len() < 2 || !matches!(quote, b'\'' | b'"') || line.last() != Some(&quote) {
        return None;
    }
    let inner = line.get(1..line.len().checked_sub(1)?)?;
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte == quote {
            return None;
        }
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match bytes.next()? {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            escaped @ (b'\\' | b'\'' | b'"') => escaped,
            _ => return None,
        });
    }
    Some(out)
}

/// The operand of `UNICODE`: raw-unicode-escape, that is, Latin-1 with `\uXXXX` and `\UXXXXXXXX`.
pub(crate) fn unicode(line: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let width = match (first, tail.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                out.push(char::from(*first));
                continue;
            }
        };
        let (digits, after) = tail.get(1..)?.split_at_checked(width)?;
        let mut code = 0_u32;
        for digit in digits {
            code = code.checked_mul(16)?.checked_add(char::from(*digit).to_digit(16)?)?;
        }
        out.push(char::from_u32(code)?);
        rest = after;
    }
    Some(out)
}

/// Whether a module or name could be imported at all: dotted identifiers. Used to tell a pickle from data
/// that merely begins like one; never to accept anything.
pub(crate) fn is_importable(name: &str) -> bool {
    !name.is_empty()
        && name.split('.').all(|part| {
            part.chars().next().is_some_and(|first| first.is_alphabetic() || first == '_')
                && part.chars().all(|char| char.is_alphanumeric() || matches!(char, '_' | '-'))
        })
}
