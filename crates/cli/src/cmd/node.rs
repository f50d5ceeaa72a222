//! `strongroom node`: the node as a whole.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use api::{Diagnostics, NodeReboot, NodeRebooting, Word};
use serde_json::json;

use super::model::write_new;
use crate::args::NodeCommand;
use crate::error::Failure;
use crate::output::{Answer, Column, Kind, View, bytes};
use crate::session::Session;

const WRITTEN: &[Column] = &[
    Column::new("file", "FILE", Kind::Plain),
    Column::new("bytes", "SIZE", Kind::Bytes),
    Column::new("sha256", "SHA-256", Kind::Plain),
    Column::new("holds", "HOLDS", Kind::Plain),
];

const REBOOTING: &[Column] = &[
    Column::new("state", "STATE", Kind::State),
    Column::new("jobs", "JOBS", Kind::Plain),
    Column::new("endpoints", "ENDPOINTS", Kind::Plain),
];

const PROCESSES: &[Column] = &[
    Column::new("process", "PROCESS", Kind::Plain),
    Column::new("state", "STATE", Kind::State),
    Column::new("uid", "USER", Kind::Plain),
    Column::new("capabilities", "CAPABILITIES", Kind::Plain),
    Column::new("resident_bytes", "MEMORY", Kind::Bytes),
];

/// Runs it.
pub(crate) fn run(session: &Session, command: NodeCommand) -> Result<Answer, Failure> {
    match command {
        NodeCommand::Diagnostics { to } => {
            let found: Diagnostics = session.client()?.get("/node/diagnostics")?;
            let json = api::to_json(&found);
            let Some(file) = to else {
                let view = View::Text { text: text(&found), rows: "processes", columns: PROCESSES };
                return Ok(Answer::of(json, view));
            };
            let document = serde_json::to_vec_pretty(&json).unwrap_or_default();
            write_new(&file, &document)?;
            let holds: Vec<&str> =
                json.as_object().map(|m| m.keys().map(String::as_str).collect()).unwrap_or_default();
            let written = json!({
                "schema": "strongroom.node.diagnostics.file/1",
                "file": file.display().to_string(),
                "bytes": document.len(),
                "sha256": base::sha256(&document).hex(),
                "holds": holds,
                "left_out": found.left_out,
            });
            Ok(Answer::of(written, View::Record { columns: WRITTEN })
                .hint("it holds nobody's names and no secret; read it before you hand it on all the same"))
        }
        NodeCommand::Reboot { reason, stop_jobs } => {
            let body = NodeReboot { reason, stop_jobs };
            let answer: NodeRebooting = session.client()?.post("/node/reboot", &body)?;
            Ok(Answer::record(&answer, REBOOTING)
                .hint("the node ends in order, then the machine starts again")
                .hint("what happened stands in the log afterwards: `strongroom audit search --kind node.reboot`"))
        }
    }
}

/// For people: what is likeliest to matter first.
fn text(of: &Diagnostics) -> String {
    let mut out = String::new();
    // Writing into a text does not fail.
    let mut line = |words: String| writeln!(out, "{words}").unwrap_or_default();
    let machine = &of.machine;
    line(format!(
        "version {}, mode {}, collected {}",
        of.version.as_str(),
        of.mode.as_str(),
        of.collected.as_str()
    ));
    line(format!(
        "machine     kernel {} on {}, {} processors, {} of {} memory available, up {} s",
        machine.kernel.as_str(),
        machine.architecture.as_str(),
        machine.cpus,
        bytes(machine.memory_available_bytes),
        bytes(machine.memory_bytes),
        machine.uptime_seconds
    ));
    for process in &of.processes {
        let (uid, caps) = (process.uid.unwrap_or(0), process.capabilities.unwrap_or(0));
        line(format!(
            "process     {} {}: user {uid}, {} capabilities, {} restarts, {}",
            process.process.as_str(),
            process.state.as_str(),
            caps.count_ones(),
            process.restarts,
            bytes(process.resident_bytes.unwrap_or(0))
        ));
    }
    for program in &of.programs {
        line(format!("program     {} sha256:{}", program.program.as_str(), program.digest.as_str()));
    }
    for run in &of.runs.counts {
        line(format!("runs        {} {} {}", run.count, run.kind.as_str(), run.state.as_str()));
    }
    line(format!(
        "mounts      {} frozen, {} filling, {} scratches, {} of inputs",
        of.runs.mounts_frozen,
        of.runs.mounts_filling,
        of.runs.scratches,
        bytes(of.runs.input_bytes)
    ));
    for place in &of.places {
        line(format!(
            "disk        {}: {}, {} of {} free",
            place.place.as_str(),
            place.file_system.as_str(),
            bytes(place.free_bytes),
            bytes(place.total_bytes)
        ));
    }
    line(format!("groups      {}; {} of runs", words(&of.groups.controllers), of.groups.groups));
    line(format!("features    {}", words(&of.features)));
    for (noun, counts) in
        [("holds", &of.holds), ("jobs", &of.jobs), ("endpoints", &of.endpoints), ("models", &of.models)]
    {
        line(format!("{noun:<11} {}", counted(counts)));
    }
    line(format!("log         {} entries", of.log.entries));
    line(format!("settings    {}", words(&of.configuration.numbers)));
    line(format!("switches    {}", words(&of.configuration.switches)));
    match &of.posture {
        Some(posture) => line(format!("controls    {}", counted(&posture.totals))),
        None => line("controls    no probe has run yet".to_owned()),
    }
    of.left_out.iter().for_each(|what| line(format!("left out    {}", what.as_str())));
    out
}

fn words<T: serde::Serialize>(of: &BTreeMap<Word, T>) -> String {
    let value = |value: &T| match serde_json::to_value(value).unwrap_or_default() {
        serde_json::Value::String(word) => word,
        other => other.to_string(),
    };
    of.iter().map(|(name, of)| format!("{} {}", name.as_str(), value(of))).collect::<Vec<_>>().join(", ")
}

fn counted(of: &BTreeMap<Word, u64>) -> String {
    if of.is_empty() {
        return "none".to_owned();
    }
    of.iter().map(|(name, count)| format!("{count} {}", name.as_str())).collect::<Vec<_>>().join(", ")
}
