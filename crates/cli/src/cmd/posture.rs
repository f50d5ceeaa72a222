//! `strongroom posture`.

use crate::args::PostureCommand;
use crate::error::Failure;
use crate::exit::Exit;
use crate::output::{Answer, Column, Kind, View};
use crate::session::Session;

const COLUMNS: &[Column] = &[
    Column::new("id", "CONTROL", Kind::Plain),
    Column::new("status", "STATUS", Kind::State),
    Column::new("reason", "REASON", Kind::Plain),
];

/// Runs it. A control that failed is the answer no.
pub(crate) fn run(session: &Session, command: PostureCommand) -> Result<Answer, Failure> {
    let client = session.client()?;
    let posture: api::Posture = match command {
        PostureCommand::Run => client.act("/posture/run")?,
        PostureCommand::Show => client.get("/posture")?,
    };
    let failed = posture.controls.iter().any(|c| c.status == "fail");
    let view = View::Text { text: text(&posture), rows: "controls", columns: COLUMNS };
    let answer = Answer::of(api::to_json(&posture), view).exit(if failed { Exit::No } else { Exit::Done });
    Ok(match posture.ran {
        Some(_) => answer,
        None => answer.hint("no probe has run yet; run them with `strongroom posture run`"),
    })
}

fn text(posture: &api::Posture) -> String {
    let width = posture.controls.iter().map(|c| c.id.len()).max().unwrap_or(0);
    let mut out = String::new();
    for control in &posture.controls {
        let mark = match control.status.as_str() {
            "pass" => "✓ pass          ",
            "fail" => "✗ fail          ",
            "manual" => "· manual        ",
            "not_applicable" => "· not applicable",
            _ => "? unknown       ",
        };
        out.push_str(&format!("{:width$}  {mark}  {}\n", control.id, control.reason));
    }
    let totals: Vec<String> =
        posture.totals.iter().map(|(status, count)| format!("{status} {count}")).collect();
    out.push_str(&format!("\n{} controls: {}\n", posture.controls.len(), totals.join(", ")));
    out.push_str("An independent catalogue based on public descriptions of TS 104 033; pass only where a probe saw it.\n");
    out
}
