//! `name@version`, as people write it.

use std::fmt;
use std::str::FromStr;

use base::names::Name;

/// A name with or without a version; without one the newest is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Versioned {
    /// The name.
    pub(crate) name: Name,
    /// The version, from 1.
    pub(crate) version: Option<u64>,
}

impl FromStr for Versioned {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, version) = match text.split_once('@') {
            None => (text, None),
            Some((name, version)) => {
                let number = version.strip_prefix('v').unwrap_or(version);
                let number: u64 = number.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
                    format!("`{version}` is not a version: write a number from 1, as in `{name}@1`")
                })?;
                (name, Some(number))
            }
        };
        Ok(Self { name: name.parse().map_err(|e: base::names::NameError| e.to_string())?, version })
    }
}

impl fmt::Display for Versioned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "{}@{version}", self.name),
            None => self.name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions_are_told_apart() {
        for (text, version) in [("m", None), ("m@1", Some(1)), ("m@v12", Some(12))] {
            let v: Versioned = text.parse().unwrap();
            assert_eq!((v.name.as_str(), v.version), ("m", version), "{text}");
        }
        for bad in ["", "@1", "m@", "m@0", "m@-1", "m@1@2", "../m@1", "m@x"] {
            assert!(bad.parse::<Versioned>().is_err(), "{bad}");
        }
    }
}
