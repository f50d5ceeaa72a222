//! What a command says: one JSON document, and how people see it.

mod failure;
mod render;
mod table;
#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::exit::Exit;

pub(crate) use failure::render_failure;
pub(crate) use render::{Style, print};
pub(crate) use table::{Column, Kind, bytes, printable};

/// Form of the result on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Tables for people.
    Text,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values (RFC 4180), with a header.
    Csv,
    /// One `name: value` a line, without alignment, colour or symbols: for screen readers and `grep`.
    Plain,
}

/// How a document is laid out for people.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum View {
    /// Rows of `items`.
    List {
        /// What stands in each row.
        columns: &'static [Column],
        /// What to say when there is none.
        empty: &'static str,
    },
    /// One thing.
    Record {
        /// What to show of it.
        columns: &'static [Column],
    },
    /// Text made by the command itself, for `text` and `plain`.
    Text {
        /// The text, ending in a line feed.
        text: String,
        /// Member that holds the rows for `csv` and `jsonl`; empty: the document is the row.
        rows: &'static str,
        /// Columns for `csv`.
        columns: &'static [Column],
    },
}

/// The result of a command.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// The document, with `schema`.
    pub(crate) json: Value,
    /// Its form for people.
    pub(crate) view: View,
    /// Talk for standard error: what changed, what to do next.
    pub(crate) hints: Vec<String>,
    /// How the program ends.
    pub(crate) exit: Exit,
}

impl Answer {
    /// One thing.
    pub(crate) fn record<T: api::Document>(document: &T, columns: &'static [Column]) -> Self {
        Self::of(api::to_json(document), View::Record { columns })
    }

    /// A list; `schema` is `strongroom.<noun>.list/1`.
    pub(crate) fn list<T: serde::Serialize>(
        schema: &'static str,
        items: &[T],
        columns: &'static [Column],
        empty: &'static str,
    ) -> Self {
        let items = serde_json::to_value(items).unwrap_or(Value::Null);
        Self::of(serde_json::json!({ "schema": schema, "items": items }), View::List { columns, empty })
    }

    /// Text made by the command.
    pub(crate) fn text(json: Value, text: String) -> Self {
        Self::of(json, View::Text { text, rows: "", columns: &[] })
    }

    /// Any document and view.
    pub(crate) fn of(json: Value, view: View) -> Self {
        Self { json, view, hints: Vec::new(), exit: Exit::Done }
    }

    /// With a line for standard error.
    #[must_use]
    pub(crate) fn hint(mut self, line: impl Into<String>) -> Self {
        self.hints.push(line.into());
        self
    }

    /// Ending with this code.
    #[must_use]
    pub(crate) const fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}
