//! `strongroom api`: what the node offers, said without a node.

use crate::args::ApiCommand;
use crate::output::Answer;

/// Runs it.
pub(crate) fn run(command: ApiCommand) -> Answer {
    match command {
        ApiCommand::Openapi => {
            let document = api::openapi();
            let text = format!("{document:#}\n");
            Answer::text(document, text)
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_description_is_that_of_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(
            committed,
            format!("{:#}\n", api::openapi()),
            "the API changed: write what `strongroom api openapi` prints to docs/openapi.json, and say in CHANGELOG.md what"
        );
    }
}
