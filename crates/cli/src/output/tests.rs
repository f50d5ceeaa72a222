use base::Timestamp;
use serde_json::json;

use super::render::render;
use super::*;
use crate::error::{CliError, Failure};

const COLUMNS: &[Column] = &[
    Column::new("name", "NAME", Kind::Plain),
    Column::new("state", "STATE", Kind::State),
    Column::new("bytes", "SIZE", Kind::Bytes),
    Column::new("created", "CREATED", Kind::Time),
];

fn answer() -> Answer {
    let items = vec![
        json!({"name": "a", "state": "finished", "bytes": 30_900_000, "created": "2026-05-01T10:00:00.000Z"}),
        json!({"name": "long,name", "state": "failed", "bytes": 12, "created": "2026-05-01T09:00:00.000Z"}),
    ];
    Answer::list("strongroom.test.list/1", &items, COLUMNS, "none yet")
}

fn style(format: Format) -> Style {
    // 2026-05-01T10:03:00Z
    Style { format, fields: vec![], utc: false, color: false, now: Timestamp::from_millis(1_777_629_780_000) }
}

#[test]
fn text_is_an_aligned_table_with_words_and_symbols() {
    let text = render(&answer(), &style(Format::Text)).unwrap();
    assert_eq!(
        text,
        "NAME       STATE       SIZE      CREATED\n\
         a          ✓ finished  29.4 MiB  3 min ago\n\
         long,name  ✗ failed    12 B      63 min ago\n"
    );
}

#[test]
fn csv_quotes_and_names_the_members() {
    let text = render(&answer(), &style(Format::Csv)).unwrap();
    assert_eq!(
        text,
        "name,state,bytes,created\r\na,finished,30900000,2026-05-01T10:00:00.000Z\r\n\
         \"long,name\",failed,12,2026-05-01T09:00:00.000Z\r\n"
    );
}

#[test]
fn csv_never_gives_a_spreadsheet_a_formula() {
    let answer = Answer::list("s/1", &[json!({"name": "=1+1", "state": "-3"})], COLUMNS, "");
    let text = render(&answer, &style(Format::Csv)).unwrap();
    assert!(text.contains("'=1+1,-3,"), "{text}");
}

#[test]
fn json_has_the_schema_and_fields_narrow_it() {
    let mut style = style(Format::Json);
    style.fields = vec!["name".into()];
    let value: Value = serde_json::from_str(&render(&answer(), &style).unwrap()).unwrap();
    assert_eq!(
        value,
        json!({"schema": "strongroom.test.list/1", "items": [{"name": "a"}, {"name": "long,name"}]})
    );
    style.fields = vec!["nmae".into()];
    let error = render(&answer(), &style).unwrap_err().to_string();
    assert!(error.contains("did you mean `name`"), "{error}");
}

#[test]
fn jsonl_is_one_row_a_line_and_plain_one_member_a_line() {
    assert_eq!(render(&answer(), &style(Format::Jsonl)).unwrap().lines().count(), 2);
    let plain = render(&answer(), &style(Format::Plain)).unwrap();
    assert!(plain.starts_with("name: a\nstate: finished\n"), "{plain}");
}

#[test]
fn names_cannot_drive_the_terminal() {
    let answer = Answer::list("s/1", &[json!({"name": "a\x1b[2Jb\u{202e}c"})], COLUMNS, "");
    let text = render(&answer, &style(Format::Text)).unwrap();
    assert!(!text.contains('\x1b') && !text.contains('\u{202e}'), "{text:?}");
}

#[test]
fn a_failure_has_its_four_parts_in_every_form() {
    let mut failure = Failure::from(CliError::NoNode);
    failure.because = vec!["no directory was named".into()];
    failure.audit = Some("evt_1".into());
    let text = render_failure(&failure, Format::Text, false);
    assert!(text.starts_with("error[SR-CLI-0002]: no node is known here\n  because: no directory"), "{text}");
    assert!(text.contains("\n  help: ") && text.ends_with("\n  audit: evt_1\n"), "{text}");
    let value: Value = serde_json::from_str(&render_failure(&failure, Format::Json, true)).unwrap();
    assert_eq!(value["code"], "SR-CLI-0002");
    assert_eq!(value["exit"], 5);
}
