//! The node's own log, for finding faults: one line an event on standard error. It is not the audit log and
//! carries no content and no secret.

use std::io::Write;

/// Writes one line: time, part, message.
pub(crate) fn line(part: &str, message: &str) {
    let text = format!("{} control {part}: {}\n", crate::clock::now(), message.replace('\n', " "));
    // Nowhere else to say that standard error is gone.
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}
