//! The tables of `ARCHITECTURE.md` that grant exceptions.

/// What the tables allow.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Exceptions {
    /// Edges between cores: from, to.
    pub(crate) core_edges: Vec<(String, String)>,
    /// Cipher, signature and TLS libraries outside their home crates: crate, library.
    pub(crate) cryptography: Vec<(String, String)>,
}

impl Exceptions {
    pub(crate) fn parse(text: &str) -> Self {
        Self {
            core_edges: pairs(text, "## Allowed core-to-core edges"),
            cryptography: pairs(text, "## Allowed cryptography edges"),
        }
    }
}

/// The first two cells of each row of the table under a heading.
fn pairs(text: &str, heading: &str) -> Vec<(String, String)> {
    text.lines()
        .skip_while(|line| line.trim_end() != heading)
        .skip(1)
        .take_while(|line| !line.starts_with('#'))
        .filter(|line| line.starts_with('|'))
        // The table's head and the line under it.
        .skip(2)
        .filter_map(|line| {
            let mut cells =
                line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
            Some((cells.next()?, cells.next()?))
        })
        .collect()
}
