//! The five forms of a result.

use std::io::{self, Write};

use base::Timestamp;
use serde_json::Value;

use super::table::{Column, Kind, bare, bytes, member, relative, symbol};
use super::{Answer, Format, View};
use crate::error::CliError;

/// Everything that decides how a result looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Style {
    /// The form.
    pub(crate) format: Format,
    /// Members to show, in order; empty: the command's own choice.
    pub(crate) fields: Vec<String>,
    /// Times absolute.
    pub(crate) utc: bool,
    /// Colour on standard output.
    pub(crate) color: bool,
    /// The time that relative times refer to.
    pub(crate) now: Timestamp,
}

/// Writes the result.
///
/// # Errors
/// [`CliError::NoField`], or the output cannot be written. A reader that went away is no error.
pub(crate) fn print(out: &mut dyn Write, answer: &Answer, style: &Style) -> Result<(), CliError> {
    let text = render(answer, style)?;
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(CliError::file("write", std::path::Path::new("standard output"))),
    }
}

/// The result as text.
pub(super) fn render(answer: &Answer, style: &Style) -> Result<String, CliError> {
    let (rows, single) = rows(answer);
    let chosen = choose(answer, &rows, &style.fields)?;
    Ok(match style.format {
        Format::Json if style.fields.is_empty() => json_line(&answer.json, true),
        Format::Json => {
            let narrow: Vec<Value> = rows.iter().map(|row| narrow(row, &style.fields)).collect();
            let schema = answer.json.get("schema").cloned().unwrap_or(Value::Null);
            let mut document = if single {
                narrow.into_iter().next().unwrap_or(Value::Null)
            } else {
                serde_json::json!({ "items": narrow })
            };
            if let Value::Object(map) = &mut document {
                map.insert("schema".to_owned(), schema);
            }
            json_line(&document, true)
        }
        Format::Jsonl => rows
            .iter()
            .map(|row| if style.fields.is_empty() { (*row).clone() } else { narrow(row, &style.fields) })
            .map(|row| json_line(&row, false))
            .collect(),
        Format::Csv => csv(&rows, &chosen),
        Format::Plain => match &answer.view {
            View::Text { text, .. } if style.fields.is_empty() => text.clone(),
            _ => plain(&rows, &chosen),
        },
        Format::Text => match &answer.view {
            View::Text { text, .. } if style.fields.is_empty() => text.clone(),
            View::List { empty, .. } if rows.is_empty() => format!("{empty}\n"),
            View::List { .. } | View::Text { .. } if !single => table(&rows, &chosen, style),
            _ => record(&rows, &chosen, style),
        },
    })
}

/// What a chosen column is: own heading and form, or a bare member.
struct Chosen {
    path: String,
    title: String,
    kind: Kind,
}

/// The rows of a document, and whether it is one thing.
fn rows(answer: &Answer) -> (Vec<&Value>, bool) {
    let key = match &answer.view {
        View::List { .. } => "items",
        View::Text { rows, .. } => rows,
        View::Record { .. } => "",
    };
    match answer.json.get(key).and_then(Value::as_array) {
        Some(items) => (items.iter().collect(), false),
        None => (vec![&answer.json], true),
    }
}

fn choose(answer: &Answer, rows: &[&Value], fields: &[String]) -> Result<Vec<Chosen>, CliError> {
    let columns: &[Column] = match &answer.view {
        View::List { columns, .. } | View::Record { columns } | View::Text { columns, .. } => columns,
    };
    if fields.is_empty() {
        if columns.is_empty() {
            return Ok(rows
                .first()
                .and_then(|row| row.as_object())
                .map(|map| map.keys().map(|key| bare_column(key)).collect())
                .unwrap_or_default());
        }
        return Ok(columns
            .iter()
            .map(|c| Chosen { path: c.path.to_owned(), title: c.title.to_owned(), kind: c.kind })
            .collect());
    }
    fields
        .iter()
        .map(|field| {
            let known = columns.iter().find(|c| c.path == field);
            let there = rows.is_empty() || rows.iter().any(|row| member(row, field).is_some());
            match known {
                Some(c) => Ok(Chosen { path: field.clone(), title: c.title.to_owned(), kind: c.kind }),
                None if there => Ok(bare_column(field)),
                None => Err(no_field(field, rows)),
            }
        })
        .collect()
}

fn bare_column(path: &str) -> Chosen {
    Chosen { path: path.to_owned(), title: path.to_uppercase(), kind: Kind::Plain }
}

fn no_field(field: &str, rows: &[&Value]) -> CliError {
    let known: std::collections::BTreeSet<&str> =
        rows.iter().filter_map(|r| r.as_object()).flat_map(|m| m.keys()).map(String::as_str).collect();
    let mut text = known.iter().copied().collect::<Vec<_>>().join(", ");
    if let Some(near) = base::names::nearest(field, known.iter().copied()) {
        text = format!("{text}; did you mean `{near}`?");
    }
    CliError::NoField { field: field.to_owned(), known: text }
}

/// A row with only these members, nested as they were.
fn narrow(row: &Value, fields: &[String]) -> Value {
    let mut map = serde_json::Map::new();
    for field in fields {
        map.insert(field.clone(), member(row, field).cloned().unwrap_or(Value::Null));
    }
    Value::Object(map)
}

fn json_line(value: &Value, pretty: bool) -> String {
    let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let mut text = text.unwrap_or_default();
    text.push('\n');
    text
}

fn csv(rows: &[&Value], chosen: &[Chosen]) -> String {
    let quote = |text: &str| {
        // A cell that a spreadsheet would run as a formula is text, so it gets an apostrophe.
        let text = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<f64>().is_err() {
            format!("'{text}")
        } else {
            text.to_owned()
        };
        if text.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text
        }
    };
    let mut out = chosen.iter().map(|c| quote(&c.path)).collect::<Vec<_>>().join(",");
    out.push_str("\r\n");
    for row in rows {
        let cells: Vec<String> = chosen.iter().map(|c| quote(&bare(member(row, &c.path)))).collect();
        out.push_str(&cells.join(","));
        out.push_str("\r\n");
    }
    out
}

fn plain(rows: &[&Value], chosen: &[Chosen]) -> String {
    let mut blocks = Vec::new();
    for row in rows {
        let lines: String = chosen
            .iter()
            .map(|c| format!("{}: {}\n", c.path, bare(member(row, &c.path)).replace('\n', "\n  ")))
            .collect();
        blocks.push(lines);
    }
    blocks.join("\n")
}

/// One cell for people: its text, and the escape that colours it.
fn cell(row: &Value, column: &Chosen, style: &Style, short: bool) -> (String, &'static str) {
    let value = member(row, &column.path);
    let text = bare(value);
    if text.is_empty() && column.kind != Kind::Count {
        return ("-".to_owned(), "");
    }
    match column.kind {
        Kind::State => {
            let (symbol, tone) = symbol(&text);
            (format!("{symbol} {text}"), tone.start())
        }
        Kind::Time if style.utc => (text, ""),
        Kind::Time => (relative(&text, style.now), ""),
        Kind::Bytes => (value.and_then(Value::as_u64).map_or(text, bytes), ""),
        Kind::Digest if short => (text.chars().take(12).collect(), ""),
        Kind::Digest | Kind::Plain => (text, ""),
        Kind::Count => (value.and_then(Value::as_array).map_or(0, Vec::len).to_string(), ""),
    }
}

fn table(rows: &[&Value], chosen: &[Chosen], style: &Style) -> String {
    let cells: Vec<Vec<(String, &str)>> = rows
        .iter()
        .map(|row| {
            chosen
                .iter()
                .map(|c| cell(row, c, style, true))
                .map(|(text, tone)| (text.replace('\n', " "), tone))
                .collect()
        })
        .collect();
    let widths: Vec<usize> = chosen
        .iter()
        .enumerate()
        .map(|(i, c)| {
            cells
                .iter()
                .filter_map(|row| row.get(i))
                .map(|(text, _)| text.chars().count())
                .chain([c.title.chars().count()])
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    let heading: Vec<(String, &str)> = chosen.iter().map(|c| (c.title.clone(), "\x1b[1m")).collect();
    for line in std::iter::once(&heading).chain(&cells) {
        let last = line.len().saturating_sub(1);
        for (i, ((text, tone), width)) in line.iter().zip(&widths).enumerate() {
            let pad =
                if i == last { 0 } else { width.saturating_sub(text.chars().count()).saturating_add(2) };
            out.push_str(&painted(text, tone, style.color));
            out.extend(std::iter::repeat_n(' ', pad));
        }
        out.push('\n');
    }
    out
}

fn record(rows: &[&Value], chosen: &[Chosen], style: &Style) -> String {
    let width = chosen.iter().map(|c| c.title.chars().count()).max().unwrap_or(0);
    let indent = " ".repeat(width.saturating_add(2));
    let mut out = String::new();
    for row in rows {
        for column in chosen {
            let (text, tone) = match (column.kind, member(row, &column.path)) {
                // In a record a list is shown whole, one item a line.
                (Kind::Count, Some(Value::Array(items))) if !items.is_empty() => {
                    (items.iter().map(line_of).collect::<Vec<_>>().join("\n"), "")
                }
                (Kind::Count, _) => ("-".to_owned(), ""),
                _ => cell(row, column, style, false),
            };
            let pad = " ".repeat(width.saturating_sub(column.title.chars().count()).saturating_add(2));
            let text = text.trim_end().replace('\n', &format!("\n{indent}"));
            out.push_str(&painted(&column.title, "\x1b[1m", style.color));
            out.push_str(&pad);
            out.push_str(&painted(&text, tone, style.color));
            out.push('\n');
        }
    }
    out
}

/// An item of a list inside a record: its scalar members, joined.
fn line_of(item: &Value) -> String {
    match item {
        Value::Object(map) => map
            .iter()
            .filter(|(_, v)| !v.is_null() && v.as_array().is_none_or(|a| !a.is_empty()))
            .map(|(k, v)| format!("{k} {}", bare(Some(v))))
            .collect::<Vec<_>>()
            .join("  "),
        other => bare(Some(other)),
    }
}

fn painted(text: &str, tone: &str, color: bool) -> String {
    if color && !tone.is_empty() { format!("{tone}{text}\x1b[0m") } else { text.to_owned() }
}
