//! Which models are meant: one name, or all that begin alike.

use std::fmt;

/// Longest pattern, in bytes: that of the longest model name with room for a prefix of a publisher.
const PATTERN_MAX: usize = 256;

/// A name, or a beginning and `*` at its end. Nothing else is special.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(String);

impl Pattern {
    /// Reads one: not empty, no control characters, `*` only as the last character.
    pub fn parse(text: &str) -> Option<Self> {
        let beginning = text.strip_suffix('*').unwrap_or(text);
        let plain =
            !beginning.contains('*') && !beginning.chars().any(|c| c.is_control() || c.is_whitespace());
        (plain && !text.is_empty() && text.len() <= PATTERN_MAX).then(|| Self(text.to_owned()))
    }

    /// Whether a model of this name is meant.
    pub fn matches(&self, model: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => model.starts_with(beginning),
            None => model == self.0,
        }
    }

    /// Whether there is a name that both mean.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self.0.strip_suffix('*'), other.0.strip_suffix('*')) {
            (Some(a), Some(b)) => a.starts_with(b) || b.starts_with(a),
            (None, _) => other.matches(&self.0),
            (_, None) => self.matches(&other.0),
        }
    }

    /// How closely it says what is meant: a name before any beginning, a longer beginning before a shorter.
    pub fn closeness(&self) -> (bool, usize) {
        (!self.0.ends_with('*'), self.0.len())
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
