//! `strongroom help`.

use clap::CommandFactory;

use crate::args::Cli;
use crate::error::{CliError, Failure};
use crate::exit::TABLE;
use crate::output::{Answer, Column, Kind, View};

const COLUMNS: &[Column] =
    &[Column::new("code", "CODE", Kind::Plain), Column::new("meaning", "MEANING", Kind::Plain)];

/// Help on a topic or a command.
pub(crate) fn run(topic: &[String]) -> Result<Answer, Failure> {
    if topic == ["exit-codes"] {
        let items: Vec<_> = TABLE
            .iter()
            .map(|(exit, meaning)| serde_json::json!({ "code": exit.code(), "meaning": meaning }))
            .collect();
        return Ok(Answer::list("strongroom.help.exit-codes/1", &items, COLUMNS, ""));
    }
    let mut root = Cli::command();
    root.build();
    let mut command = &mut root;
    let mut path = String::from("strongroom");
    for word in topic {
        let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
        path.push(' ');
        path.push_str(word);
        command = command.find_subcommand_mut(word).ok_or_else(|| {
            let near = base::names::nearest(word, names.iter().map(String::as_str));
            let near = near.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
            CliError::Usage(format!("no help on `{word}`{near}"))
        })?;
    }
    let text = command.render_long_help().to_string();
    let json = serde_json::json!({ "schema": "strongroom.help/1", "topic": path, "text": text });
    Ok(Answer::of(json, View::Text { text, rows: "", columns: &[] }))
}
