//! Durations as people write them, and lines and columns of byte offsets.

/// Seconds of `90s`, `20m`, `2h` or `1d`; `None` for anything else.
pub(crate) fn duration_s(text: &str) -> Option<u64> {
    let units = [("s", 1u64), ("m", 60), ("h", 3600), ("d", 86_400)];
    let (digits, unit) = units.iter().find_map(|(u, s)| text.strip_suffix(u).map(|d| (d, *s)))?;
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// Line and column, from 1, of a byte offset.
pub(crate) fn place(text: &str, offset: usize) -> (usize, usize) {
    let mut at = offset.min(text.len());
    while !text.is_char_boundary(at) {
        at = at.saturating_sub(1);
    }
    let before = text.get(..at).unwrap_or("");
    let line = before.matches('\n').count().saturating_add(1);
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()).saturating_add(1);
    (line, column)
}
