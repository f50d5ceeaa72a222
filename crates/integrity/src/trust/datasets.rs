//! What data sets of a tenant may carry that runs in the program which opens it. Nothing, unless it is said.

use super::document::DatasetsDocument;
use super::error::TrustError;
use super::pattern::Pattern;
use crate::error::quote;
use crate::limits::RULES_MAX;

/// The part of a policy that is about data sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Datasets {
    /// Data sets that may hold serialised objects (pickles, arrays of objects).
    pub accept_pickle: Vec<Pattern>,
    /// Data sets that may hold programs and scripts.
    pub accept_code: Vec<Pattern>,
}

impl Datasets {
    pub(super) fn read(document: Option<&DatasetsDocument>) -> Result<Self, TrustError> {
        let Some(document) = document else { return Ok(Self::default()) };
        let read = |place: &str, names: &[String]| {
            if names.len() > RULES_MAX {
                return Err(TrustError::value(place, format!("at most {RULES_MAX} names")));
            }
            let one = |name: &String| {
                let why =
                    || format!("`{}` is no name, and no beginning of names with `*` at its end", quote(name));
                Pattern::parse(name).ok_or_else(|| TrustError::value(place, why()))
            };
            names.iter().map(one).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            accept_pickle: read("datasets.accept_pickle", &document.accept_pickle)?,
            accept_code: read("datasets.accept_code", &document.accept_code)?,
        })
    }

    /// Whether a data set of this name may hold serialised objects.
    pub fn accepts_pickle(&self, dataset: &str) -> bool {
        self.accept_pickle.iter().any(|pattern| pattern.matches(dataset))
    }

    /// Whether it may hold programs.
    pub fn accepts_code(&self, dataset: &str) -> bool {
        self.accept_code.iter().any(|pattern| pattern.matches(dataset))
    }
}
