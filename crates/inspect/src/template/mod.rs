//! Templates of tokenizers: Jinja, read to its last tag and held against allow lists; never rendered.
//!
//! Own lexer and parser, because the reader that counts is `jinja2` in the loading program: an engine with
//! other escapes or tags would see another template.

mod ast;
mod check;
mod follow;
mod lex;
mod names;
mod parse;
#[cfg(test)]
mod tests;

use crate::cursor::offset;
use crate::limits;
use crate::report::{self, Finding};

/// The findings of a template that begins at `at` of the file; where it is escaped there, offsets are those
/// within it.
pub(crate) fn check(text: &str, at: u64) -> Vec<Finding> {
    if text.len() > limits::TEMPLATE_BYTES {
        return vec![Finding::new(&report::LIMIT, at, "template is larger than the limit")];
    }
    let tags = lex::tokens(text, limits::TEMPLATE_TOKENS).and_then(|tokens| parse::parse(&tokens));
    let tags = match tags {
        Ok(tags) => tags,
        Err(error) => {
            let place = at.saturating_add(offset(error.at));
            let what = format!("template cannot be read: {}", error.what);
            return vec![Finding::new(&report::TEMPLATE, place, what)];
        }
    };
    check::check(&tags)
        .into_iter()
        .map(|(place, what)| {
            let what = format!("template: {what}");
            Finding::new(&report::TEMPLATE_CODE, at.saturating_add(offset(place)), what)
        })
        .collect()
}
