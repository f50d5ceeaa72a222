//! Sockets of container engines: who may write to one starts containers, and so is root on the host.

use super::{Checked, Finding};

/// The socket of an engine, as the file system has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSocket {
    /// Its path.
    pub path: String,
    /// Its permission bits.
    pub mode: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Checks the sockets that are there; `looked` says how many paths were looked at.
pub fn engines(sockets: &[EngineSocket], looked: usize) -> Checked {
    let mut findings = Vec::new();
    for EngineSocket { path, mode, uid, gid } in sockets {
        let who = if mode & 0o002 != 0 {
            "everybody".to_owned()
        } else if mode & 0o020 != 0 && *gid != 0 {
            format!("group {gid}")
        } else if mode & 0o200 != 0 && *uid != 0 {
            format!("user {uid}")
        } else {
            continue;
        };
        findings.push(Finding::new(
            format!("{path} may be written by {who}, who can so start a container as root"),
            format!("`chown root:root {path}; chmod 600 {path}`, and the same in the engine's own settings"),
        ));
    }
    Checked::of(findings, || {
        format!(
            "{} sockets of container engines at {looked} known paths, none for others than root",
            sockets.len()
        )
    })
}
