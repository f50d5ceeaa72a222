//! Columns: which member of a document, under which heading, in which form.

use base::Timestamp;
use serde_json::Value;

/// Form of a value for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As it is.
    Plain,
    /// A state: word and symbol.
    State,
    /// RFC 3339; shown relative to now.
    Time,
    /// Bytes; shown in binary units.
    Bytes,
    /// Hex; shown by its first 12 characters in tables.
    Digest,
    /// A list; shown by its length in tables.
    Count,
}

/// One column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Column {
    /// Member, dots for nesting.
    pub(crate) path: &'static str,
    /// Heading.
    pub(crate) title: &'static str,
    /// Form.
    pub(crate) kind: Kind,
}

impl Column {
    /// A column.
    pub(crate) const fn new(path: &'static str, title: &'static str, kind: Kind) -> Self {
        Self { path, title, kind }
    }
}

/// The member at a dotted path.
pub(super) fn member<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, key| value.get(key))
}

/// A value without any form: strings bare, `null` empty, the rest as compact JSON.
pub(super) fn bare(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => printable(text),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).map(printable).collect::<Vec<_>>().join(" ")
        }
        Some(other) => other.to_string(),
    }
}

/// Text with control characters escaped, so that no name or job output can drive the terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                out.extend(c.escape_default());
            }
            c => out.push(c),
        }
    }
    out
}

/// The symbol that goes with a state word.
pub(super) fn symbol(state: &str) -> (&'static str, Tone) {
    match state {
        "pass" | "ok" | "finished" | "serving" | "registered" | "good" | "enforced" | "normal"
        | "verified" | "load" | "logged" => ("✓", Tone::Good),
        "fail" | "failed" | "refused" | "quarantined" | "rejected" | "hostile" | "not verified"
        | "refuse" | "expired" | "revoked" => ("✗", Tone::Bad),
        "warn" | "degraded" | "held" | "suspect" | "unsupported" | "resuming" => ("!", Tone::Warn),
        "running" | "starting" | "pending" | "finishing" => ("…", Tone::Neutral),
        "unknown" => ("?", Tone::Warn),
        _ => ("·", Tone::Neutral),
    }
}

/// Colour of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Bad,
    Warn,
    Neutral,
}

impl Tone {
    /// The escape sequence that starts it; empty for none.
    pub(super) const fn start(self) -> &'static str {
        match self {
            Self::Good => "\x1b[32m",
            Self::Bad => "\x1b[31m",
            Self::Warn => "\x1b[33m",
            Self::Neutral => "",
        }
    }
}

/// `3 min ago`, `in 2 days`; the text itself where it is not a time.
pub(super) fn relative(text: &str, now: Timestamp) -> String {
    let Some(then) = millis(text) else { return text.to_owned() };
    let now = now.as_millis();
    let seconds = now.abs_diff(then) / 1000;
    let span = match seconds {
        0..60 => format!("{seconds} s"),
        60..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    };
    if then > now.saturating_add(999) { format!("in {span}") } else { format!("{span} ago") }
}

/// Unix milliseconds of RFC 3339 in UTC with or without milliseconds.
fn millis(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    if text.len() < 20 || !text.ends_with('Z') || text.get(10..11) != Some("T") {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let fraction = if text.get(19..20) == Some(".") { number(20, 23)? } else { 0 };
    // Days from civil (Howard Hinnant), for years after 1970.
    let shifted = if month <= 2 { year.checked_sub(1)? } else { year };
    let era = shifted / 400;
    let of_era = shifted % 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day.checked_sub(1)?;
    let days = (era * 146_097 + of_era * 365 + of_era / 4 + of_year).checked_sub(of_era / 100 + 719_468)?;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + fraction)
}

/// `30.9 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut tenths = u128::from(count).saturating_mul(10);
    let mut unit = "B";
    for next in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = next;
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}
