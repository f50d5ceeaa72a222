//! `strongroom policy test` and `policy diff`: what rules come to, before they take effect.

use std::path::Path;

use access::{Change, Policies, Right, Suite, TESTS_TEXT_MAX, Verdict};
use serde_json::{Value, json};

use super::policy::{read, refused, rules_of};
use crate::args::RulesOf;
use crate::error::Failure;
use crate::exit::Exit;
use crate::output::{Answer, Column, Kind, View};
use crate::session::Session;

const TESTS: &[Column] = &[
    Column::new("passed", "PASSED", Kind::Plain),
    Column::new("name", "TEST", Kind::Plain),
    Column::new("expected", "EXPECTED", Kind::Plain),
    Column::new("allowed", "ALLOWED", Kind::Plain),
    Column::new("why", "WHY", Kind::Plain),
];

const RIGHTS: &[Column] = &[
    Column::new("allowed", "ALLOWED", Kind::Plain),
    Column::new("role", "ROLE", Kind::Plain),
    Column::new("operation", "OPERATION", Kind::Plain),
    Column::new("tenant", "TENANT", Kind::Plain),
];

/// Runs tests. One that fails is the answer no, and so is a file without any.
pub(super) fn test(session: &Session, file: &Path, of: Option<RulesOf>) -> Result<Answer, Failure> {
    let text = read(file, TESTS_TEXT_MAX)?;
    let suite = Suite::parse(&file.display().to_string(), &text).map_err(|e| refused(&e))?;
    let (policies, of) = match of {
        Some(of) => (rules_of(session, &of)?.1, shown(&of)),
        None => in_force(session)?,
    };
    let verdicts = suite.run(&policies);
    let failed = verdicts.iter().filter(|verdict| !verdict.passed).count();
    let row = |v: &Verdict| {
        json!({
            "passed": v.passed,
            "name": v.name,
            "expected": v.expected,
            "allowed": v.decision.allowed,
            "rules": v.decision.reasons,
            "why": v.decision.why,
        })
    };
    let json = json!({
        "schema": "strongroom.policy.test/1",
        "against": of,
        "policy_version": policies.version().hex(),
        "failed": failed,
        "items": verdicts.iter().map(row).collect::<Vec<_>>(),
    });
    let view = View::List { columns: TESTS, empty: "the file has no test" };
    let exit = if failed == 0 && !suite.is_empty() { Exit::Done } else { Exit::No };
    let hint = format!("{failed} of {} tests fail against {of}", verdicts.len());
    Ok(Answer::of(json, view).hint(hint).exit(exit))
}

/// What decides on the node, or what ships where no node is known.
fn in_force(session: &Session) -> Result<(Policies, String), Failure> {
    if session.place().is_err() {
        return Ok((rules_of(session, &RulesOf::Shipped)?.1, shown(&RulesOf::Shipped)));
    }
    let versions: Vec<api::PolicyVersion> = session.client()?.list("/policy/versions")?;
    let of = match versions.last() {
        Some(last) => RulesOf::Version(last.version.to_string()),
        None => RulesOf::Shipped,
    };
    Ok((rules_of(session, &of)?.1, shown(&of)))
}

fn shown(of: &RulesOf) -> String {
    match of {
        RulesOf::Shipped => "the rules that ship".to_owned(),
        RulesOf::Version(version) => format!("version {version}"),
        RulesOf::File(path) => path.display().to_string(),
    }
}

/// Compares two texts of own rules.
pub(super) fn diff(session: &Session, before: &RulesOf, after: &RulesOf) -> Result<Answer, Failure> {
    let ((old, _), (new, _)) = (rules_of(session, before)?, rules_of(session, after)?);
    let change = Change::between(&old, &new).map_err(|e| refused(&e))?;
    let right = |r: &Right| json!({"allowed": r.allowed, "role": r.role.as_str(), "operation": r.operation, "tenant": r.tenant});
    let rights: Vec<Value> = change.rights.iter().map(right).collect();
    let json = json!({
        "schema": "strongroom.policy.diff/1",
        "before": shown(before),
        "after": shown(after),
        "added": change.added,
        "removed": change.removed,
        "changed": change.changed,
        "rights": rights,
        "tenants_not_compared": change.tenants_left,
    });
    let answer = Answer::of(json, View::Text { text: text(&change), rows: "rights", columns: RIGHTS });
    Ok(match change.tenants_left {
        0 => answer,
        left => answer.hint(format!("the rules name {left} more tenants, whose rights were not compared")),
    })
}

fn text(change: &Change) -> String {
    if change.is_empty() {
        return "nothing changes\n".to_owned();
    }
    let mut out = String::new();
    for (sign, names) in [('+', &change.added), ('-', &change.removed), ('~', &change.changed)] {
        names.iter().for_each(|name| out.push_str(&format!("{sign} rule {name}\n")));
    }
    for right in &change.rights {
        let sign = if right.allowed { "+ may" } else { "- may no longer" };
        let whose = right.tenant.as_deref().map_or("any other tenant".to_owned(), |t| format!("tenant {t}"));
        out.push_str(&format!("{sign}: {} {} in {whose}\n", right.role, right.operation));
    }
    out
}
