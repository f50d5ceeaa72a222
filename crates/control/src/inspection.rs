//! Inspection of files that come from outside: in a porter's confined process, never in control.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::id::RunId;
use base::names::Name;
use ops::porter::{Request, Told};
use ops::warden::{InputKind, Limits, RunKind};
use store::records::File;
use vault::KeyScope;

use crate::Fail;
use crate::clock::{now, random};
use crate::models::Inspected;
use crate::node::Node;
use crate::run::{FileRef, InputPlan, Purpose, Run, RunEvent};

/// Memory of an inspection beyond the files themselves (integrity.md section 4.5).
const PARSER_BYTES: u64 = 512 << 20;
/// Processes and threads of an inspection.
const PIDS: u32 = 16;
/// Most risks of one model, each of at most [`ops::porter::RISK_BYTES_MAX`] bytes: more nobody could weigh.
const RISKS_MAX: usize = 1024;
/// How often the wait looks at the clock.
const TICK: std::time::Duration = std::time::Duration::from_millis(100);

/// Opens the files into a frozen mount and has the porter inspect each; gives them back with their formats.
pub(crate) fn inspect(
    node: &Arc<Node>,
    tenant: &Name,
    name: &Name,
    mut files: Vec<File>,
    actor: &str,
    correlation: u128,
) -> Result<(Vec<File>, Inspected), Fail> {
    files.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    let scope = KeyScope::Tenant(tenant.clone());
    let refs = files.iter().map(|f| FileRef {
        path: f.path.clone(),
        size: f.size,
        digest: f.digest,
        scope: scope.clone(),
    });
    let plan = InputPlan::files(InputKind::Model {}, refs.collect());
    let bytes = files.iter().map(|f| f.size).fold(0, u64::saturating_add);
    let limits = Limits {
        memory_bytes: bytes.saturating_mul(2).saturating_add(PARSER_BYTES),
        image_bytes: 0,
        cpu_milli: node.facts.cpus.saturating_mul(1000),
        pids: PIDS,
        scratch_bytes: 0,
    };
    let purpose = Purpose {
        tenant: tenant.to_string(),
        actor: actor.to_owned(),
        what: format!("inspect {name}"),
        correlation,
    };
    let id = RunId::new(now(), random::<10>()?);
    let mut run =
        Run::start_porter(node, id, RunKind::Serving, limits, std::slice::from_ref(&plan), purpose)?;
    run.open_files(0, &plan)?;
    let inspected = collect(&mut run, &mut files, bytes)?;
    run.destroy()?;
    Ok((files, inspected))
}

fn collect(run: &mut Run, files: &mut [File], bytes: u64) -> Result<Inspected, Fail> {
    // integrity.md section 4.5: 10 s and 2 s for each GiB, each wait doubled for a loaded machine.
    let limit_ms = 2 * (10_000 + 2_000 * (bytes >> 30).saturating_add(1));
    let since = now();
    let mut found = Inspected { verdict: "load".to_owned(), findings: Vec::new(), risks: BTreeSet::new() };
    let rank = |verdict: &str| match verdict {
        "load" => 0,
        "load-with-policy" => 1,
        _ => 2,
    };
    run.tell(&Request::Inspect { input: 0 }, None)?;
    let mut seen = 0usize;
    loop {
        match run.next(TICK) {
            Some(RunEvent::Told(Told::Inspected { path, format, verdict, findings, risks })) => {
                seen = seen.saturating_add(1);
                if seen > files.len() {
                    // More answers than files: what else it says is not believed, and not kept.
                    found.verdict = "refuse".to_owned();
                    found.findings.push("the inspection answered more than it was asked".to_owned());
                    return Ok(found);
                }
                if let Some(file) = files.iter_mut().find(|f| f.path == path.as_str()) {
                    file.media = Some(format.to_string());
                }
                found.findings.extend(findings.iter().map(|f| format!("{}: {f}", path.as_str())));
                found.risks.extend(risks.iter().map(ToString::to_string));
                if found.risks.len() > RISKS_MAX {
                    found.verdict = "refuse".to_owned();
                    found.findings.push(format!("it has more than {RISKS_MAX} risks"));
                    return Ok(found);
                }
                if rank(verdict.as_str()) > rank(&found.verdict) {
                    found.verdict = verdict.to_string();
                }
            }
            Some(RunEvent::Told(Told::Done { .. })) if seen == files.len() => return Ok(found),
            Some(RunEvent::Told(Told::Done { .. })) => {
                return Err(Fail::internal(
                    "not every file was inspected",
                    format!("{seen} of {}", files.len()),
                ));
            }
            Some(RunEvent::Told(Told::Refused { detail, .. })) => {
                return Err(Fail::refused(
                    "SR-CTL-0011",
                    format!("the files could not be inspected: {detail}"),
                ));
            }
            // A parser that ends without an answer was ended by a file: that is a refusal.
            Some(RunEvent::PorterGone) => {
                found.verdict = "refuse".to_owned();
                found.findings.push("the inspection ended without an answer".to_owned());
                return Ok(found);
            }
            Some(RunEvent::Told(_) | RunEvent::Exited(_)) | None => {}
        }
        if now().millis_since(since) > limit_ms {
            found.verdict = "refuse".to_owned();
            found.findings.push(format!("the inspection took more than {limit_ms} ms"));
            return Ok(found);
        }
    }
}
