//! `strongroom status` and `strongroom whoami`.

use crate::error::Failure;
use crate::output::{Answer, Column, Kind, View};
use crate::session::Session;

const COLUMNS: &[Column] = &[
    Column::new("node", "NODE", Kind::Plain),
    Column::new("state", "STATE", Kind::State),
    Column::new("mode", "MODE", Kind::Plain),
    Column::new("version", "VERSION", Kind::Plain),
    Column::new("log_size", "LOG SIZE", Kind::Plain),
    Column::new("gateway", "GATEWAY", Kind::Plain),
];

/// Problems first.
pub(crate) fn status(session: &Session) -> Result<Answer, Failure> {
    let status: api::Status = session.client()?.get("/status")?;
    let view = View::Text { text: text(&status), rows: "", columns: COLUMNS };
    Ok(Answer::of(api::to_json(&status), view))
}

fn text(status: &api::Status) -> String {
    let mut out = String::new();
    for problem in &status.problems {
        out.push_str(&format!("✗ problem: {problem}\n"));
    }
    let mark = if status.state == "normal" { "✓" } else { "!" };
    out.push_str(&format!(
        "{mark} {} node `{}`, mode {}, version {}\n",
        status.state, status.node, status.mode, status.version
    ));
    let counts: Vec<String> = status.counts.iter().map(|(noun, count)| format!("{count} {noun}")).collect();
    out.push_str(&format!("  holds      {}\n", counts.join(", ")));
    out.push_str(&format!("  audit log  {} entries, root {}\n", status.log_size, status.log_root));
    out.push_str(&format!("             key {}\n", status.log_key));
    out.push_str(&format!("  root key   {}\n", status.key_provider));
    match &status.gateway {
        Some(url) => out.push_str(&format!("  gateway    {url}, authority {}\n", status.gateway_ca)),
        None => out.push_str("  gateway    ! not listening\n"),
    }
    match (&status.management, &status.management_ca) {
        (Some(url), Some(ca)) => out.push_str(&format!("  management {url}, authority {ca}\n")),
        _ => out.push_str("  management on the local socket alone\n"),
    }
    for (i, what) in status.simulated.iter().enumerate() {
        out.push_str(&format!("  {}  {what}\n", if i == 0 { "simulated" } else { "         " }));
    }
    for feature in &status.features {
        let mark = match feature.state.as_str() {
            "enforced" => "✓",
            "not-applicable" => "·",
            "failed" => "✗",
            _ => "!",
        };
        out.push_str(&format!("  {mark} {} {}: {}\n", feature.state, feature.name, feature.detail));
    }
    out
}

/// Identity and where it comes from.
pub(crate) fn whoami(session: &Session) -> Result<Answer, Failure> {
    const COLUMNS: &[Column] = &[
        Column::new("principal", "PRINCIPAL", Kind::Plain),
        Column::new("tenant", "TENANT", Kind::Plain),
        Column::new("role", "ROLE", Kind::Plain),
        Column::new("source", "SOURCE", Kind::Plain),
        Column::new("state", "NODE AT", Kind::Plain),
        Column::new("state_source", "FOUND BY", Kind::Plain),
    ];
    let (place, origin) = session.place()?;
    let me: api::WhoAmI = session.client()?.get("/whoami")?;
    let mut json = api::to_json(&me);
    if let serde_json::Value::Object(map) = &mut json {
        map.insert("state".to_owned(), place.into());
        map.insert("state_source".to_owned(), origin.into());
    }
    Ok(Answer::of(json, View::Record { columns: COLUMNS }))
}
