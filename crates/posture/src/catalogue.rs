//! The catalogue, embedded at build time.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::PostureError;

/// Controls in the catalogue.
pub const CONTROL_COUNT: usize = 108;

/// The catalogue's file. Members of `maps` begin with a key that names their source: `EN` provisions of
/// ETSI EN 304 223, `V` requirements of OWASP AISVS, `T` techniques of MITRE ATLAS, `N` controls of NIST
/// SP 800-53 revision 5, `AIA` articles of the EU AI Act; other keys are the source's own short name.
/// `origin`: `S` the mission itself, `P` a press description, `A(x)` added from source x, `O` our own.
const SOURCE: &str = include_str!("../controls.json");

/// One requirement.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// Area and number, such as `TR-4`.
    pub id: String,
    /// What must hold.
    pub statement: String,
    /// What an assessor does on a live platform to see whether it holds.
    pub probe: String,
    /// Where other catalogues say the like; see the keys above.
    pub maps: Vec<String>,
    /// Where the requirement comes from.
    pub origin: String,
}

impl Control {
    /// The area of the id: `AC`, `IN`, `DP`, `AU`, `IR`, `RE`, `IS`, `IA`, `TR` or `MB`.
    pub fn area(&self) -> &str {
        self.id.split('-').next().unwrap_or(&self.id)
    }
}

/// All controls, in the order of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    controls: Vec<Control>,
}

impl Catalogue {
    /// Parses the embedded catalogue.
    ///
    /// # Errors
    /// [`PostureError::Catalogue`] when it does not hold exactly [`CONTROL_COUNT`] controls with different
    /// ids. A test shows that the embedded one does.
    pub fn load() -> Result<Self, PostureError> {
        Self::parse(SOURCE)
    }

    pub(crate) fn parse(text: &str) -> Result<Self, PostureError> {
        let controls: Vec<Control> =
            serde_json::from_str(text).map_err(|error| PostureError::Catalogue(error.to_string()))?;
        let mut ids = BTreeSet::new();
        for control in &controls {
            if !ids.insert(control.id.as_str()) {
                return Err(PostureError::Catalogue(format!("`{}` occurs twice", control.id)));
            }
        }
        if controls.len() != CONTROL_COUNT {
            let what = format!("{} controls instead of {CONTROL_COUNT}", controls.len());
            return Err(PostureError::Catalogue(what));
        }
        Ok(Self { controls })
    }

    /// The controls, in order.
    pub fn controls(&self) -> &[Control] {
        &self.controls
    }

    /// One control by id.
    pub fn get(&self, id: &str) -> Option<&Control> {
        self.controls.iter().find(|control| control.id == id)
    }
}
