//! The three forms of a failure: human, plain, JSON.

use super::Format;
use super::table::printable;
use crate::error::Failure;

/// The text for standard error.
pub(crate) fn render_failure(failure: &Failure, format: Format, color: bool) -> String {
    let Failure { exit, code, what, because, help, audit, defect } = failure;
    if matches!(format, Format::Json | Format::Jsonl) {
        let value = serde_json::json!({
            "schema": "strongroom.error/1",
            "code": code,
            "what": what,
            "because": because,
            "help": help,
            "audit": audit,
            "exit": exit.code(),
        });
        return format!("{value}\n");
    }
    let (start, end) = if color { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    let mut out = match format {
        Format::Plain => format!("error: {code}\nwhat: {}\n", printable(what)),
        _ => format!("{start}error[{code}]{end}: {}\n", printable(what)),
    };
    let margin = if format == Format::Plain { "" } else { "  " };
    for line in because.iter().flat_map(|b| b.lines()) {
        out.push_str(&format!("{margin}because: {}\n", printable(line)));
    }
    if let Some(help) = help {
        out.push_str(&format!("{margin}help: {}\n", printable(help)));
    }
    if *defect {
        out.push_str(&format!(
            "{margin}help: this is a defect of the platform; report it with `strongroom doctor -o json` and the \
             lines of `logs/` in the state directory\n"
        ));
    }
    if let Some(audit) = audit {
        out.push_str(&format!("{margin}audit: {}\n", printable(audit)));
    }
    out
}
