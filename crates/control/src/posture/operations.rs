//! The probe of AC-2: what is not in the list of operations is refused by the live API, and a privileged order without
//! its receipt by the live warden.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use api::TABLE;
use ops::warden::Operation;
use posture::{Outcome, Status};

use super::probes::Seen;
use crate::Fail;
use crate::node::{Node, correlation};

/// Operations of the kind that other platforms have and this one must not.
const ABSENT: [&str; 5] = [
    "POST /v1/exec",
    "POST /v1/shell",
    "POST /v1/node/command",
    "PUT /v1/warden/orders",
    "GET /v1/debug/pprof",
];
/// Longest wait for an answer.
const WAIT: Duration = Duration::from_secs(5);
/// Longest answer that is read.
const ANSWER_BYTES: u64 = 64 * 1024;

/// Asks for what there is not, orders without a receipt, and looks whom the log names for what is being done: this run.
pub(super) fn closed(node: &Node) -> Result<Seen, Fail> {
    let mut evidence = Vec::new();
    for absent in ABSENT {
        let answer =
            ask(node, absent).map_err(|e| Fail::unavailable("the API does not answer its own probe", e))?;
        // The probe is nobody to the API, which tells strangers nothing of its paths; who is somebody gets a 404.
        let is_refused = answer.starts_with("HTTP/1.1 401 ") && answer.contains("SR-CTL-0004");
        let (method, path) = absent.split_once(' ').unwrap_or((absent, ""));
        if !is_refused || crate::http::is_known(method, path) {
            let line: String = answer.lines().next().unwrap_or("").chars().take(80).collect();
            return Ok(Seen::Broken(format!("the API answers `{absent}` with `{line}`"), evidence));
        }
        evidence.push(format!("`{absent}`: 401 without a credential, and no such operation for anybody"));
    }
    // Of a run that there is not: refused for its receipt, before anything is looked up.
    let order = Operation::Destroy { run: 0 };
    match node.warden.without_receipt(order, correlation()?) {
        Err(fail) if fail.code == "SR-WRD-0001" && fail.title.contains("receipt") => {
            evidence.push(format!("an order to the warden without a receipt: {}", fail.line()));
        }
        Err(fail) => return Err(fail),
        Ok(_) => return Ok(Seen::Broken("the warden took an order without a receipt".to_owned(), evidence)),
    }
    evidence.push(format!(
        "positive control: `posture.run`, one of {} operations, is being answered",
        TABLE.len()
    ));
    match human(node)? {
        Some(who) => {
            evidence.push(who);
            let held = "what is not in the closed list is refused, acts name a human, and rights of people end by themselves";
            Ok(Seen::Holds(held.to_owned(), evidence))
        }
        None => {
            let reason = "what is not in the closed list is refused, and rights of people end by themselves; who asks for \
                          this run cannot be told: it is the operator in no login session (pam_loginuid, Linux 6.5 or newer)";
            Ok(Seen::Judged(Outcome { status: Status::Unknown, reason: reason.to_owned(), evidence }))
        }
    }
}

/// The human whom the log names for this run, which is logged by the time that probes run.
fn human(node: &Node) -> Result<Option<String>, Fail> {
    let Some((index, entry)) = crate::auditlog::newest(node, "posture.run", |_| true)? else {
        return Ok(None);
    };
    let said = |pointer: &str| entry.pointer(pointer).and_then(serde_json::Value::as_str);
    let actor = said("/unmapped/strongroom/actor").unwrap_or("");
    let login = said("/unmapped/strongroom/details/login_uid");
    Ok(match (actor.strip_prefix("user:"), login) {
        (Some(user), _) => Some(format!("entry {index} of the log names the person `{user}` for this run")),
        (None, Some(uid)) => {
            Some(format!("entry {index} of the log names the login of user id {uid} for this run"))
        }
        (None, None) => None,
    })
}

/// One request over the API's own socket.
fn ask(node: &Node, request: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(node.config.control_socket())?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    let head = format!(
        "{request} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
    );
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
