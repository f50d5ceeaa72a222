//! The part of AC-10's probe that looks for ways to the network beside the relay: control tries to make sockets, and what the
//! kernel says of control and gateway is read.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;

use ops::List;
use ops::warden::{Operation, Response};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};

use crate::node::{Node, correlation};
use crate::{Fail, endpoints};

/// What leads out of the machine, and what could listen to it.
const FAMILIES: [(&str, AddressFamily, SocketType); 6] = [
    ("TCP", AddressFamily::INET, SocketType::STREAM),
    ("UDP", AddressFamily::INET, SocketType::DGRAM),
    ("TCP over IPv6", AddressFamily::INET6, SocketType::STREAM),
    ("UDP over IPv6", AddressFamily::INET6, SocketType::DGRAM),
    ("packet", AddressFamily::PACKET, SocketType::DGRAM),
    ("netlink", AddressFamily::NETLINK, SocketType::RAW),
];
/// Longest text of the kernel's that is read.
const TEXT_MAX: u64 = 16 << 20;

/// What was seen.
pub(super) enum Ways {
    /// None but the relay.
    None(String),
    /// Perhaps some.
    Unknown(String),
    /// This one.
    This(String),
}

/// Looks.
pub(super) fn ways(node: &Node) -> Result<Ways, Fail> {
    for (name, family, kind) in FAMILIES {
        match rustix::net::socket(family, kind, None) {
            Err(Errno::PERM) => {}
            Ok(_) => return Ok(Ways::This(format!("control can make a {name} socket"))),
            Err(error) => {
                return Ok(Ways::Unknown(format!("whether control can make a {name} socket: {error}")));
            }
        }
    }
    let gateway = peer(&node.config.gateway_socket())?;
    let relay = peer(&node.config.relay_socket())?;
    for (name, pid) in [("gateway", gateway), ("relay", relay)] {
        if !is_filtered(pid)? {
            return Ok(Ways::This(format!("the {name} has no system-call filter")));
        }
    }
    if let Some(way) = held(node, [std::process::id(), gateway])? {
        return Ok(Ways::This(way));
    }
    if !node.connects_nowhere {
        return Ok(Ways::Unknown(
            "control and gateway make no sockets, but this kernel has no Landlock for TCP, so a connection that somebody made \
             to them could be taken apart and connected elsewhere: use Linux 6.7 or newer with Landlock"
                .to_owned(),
        ));
    }
    Ok(Ways::None(format!(
        "control cannot make sockets ({}: each refused), nor can the gateway (process {gateway}); each TCP socket that they \
         hold is of a listener of theirs, and Landlock lets them connect none; only the relay (process {relay}) connects out, \
         and logs each connection before it is made",
        FAMILIES.map(|(name, ..)| name).join(", ")
    )))
}

/// The process that listens there.
fn peer(socket: &Path) -> Result<u32, Fail> {
    let down = |e: &dyn std::fmt::Display| Fail::unavailable("a process of the node does not listen", e);
    let stream = UnixStream::connect(socket);
    // The relay speaks in whole messages.
    let cred = match stream {
        Ok(stream) => rustix::net::sockopt::socket_peercred(&stream).map_err(|e| down(&e))?.pid,
        Err(_) => {
            let pid = link::Conn::connect(socket).and_then(|conn| conn.peer()).map_err(|e| down(&e))?.pid;
            rustix::process::Pid::from_raw(pid).ok_or_else(|| down(&"no process"))?
        }
    };
    u32::try_from(rustix::process::Pid::as_raw(Some(cred))).map_err(|e| down(&e))
}

fn text(path: &str) -> Result<String, Fail> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(TEXT_MAX).read_to_string(&mut text))
        .map_err(|e| Fail::storage(format!("`{path}` cannot be read"), e))?;
    Ok(text)
}

fn is_filtered(pid: u32) -> Result<bool, Fail> {
    let status = text(&format!("/proc/{pid}/status"))?;
    Ok(status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2")))
}

/// A socket of these processes that is not of their listeners.
fn held(node: &Node, pids: [u32; 2]) -> Result<Option<String>, Fail> {
    let port = |address: Option<String>| address.and_then(|a| a.rsplit(':').next()?.parse::<u16>().ok());
    let ports = [port(endpoints::address(node)), port(node.plane.as_ref().map(|plane| plane.url.clone()))];
    // Before the sockets are listed: a connection that ends in between is in neither.
    let operation = Operation::Sockets { pids: List::clip(pids.to_vec()) };
    let answer = node.warden.order(&node.keeper, operation, correlation()?, "", "platform")?;
    let (Response::Sockets { sockets, hidden }, _) = answer else {
        return Err(Fail::internal("the warden gave an answer of another kind", "sockets"));
    };
    if let Some(pid) = hidden.iter().next() {
        return Err(Fail::unavailable("the kernel lets nobody look at sockets", format!("process {pid}")));
    }
    let mut local = BTreeMap::new();
    for table in ["tcp", "tcp6"] {
        // A kernel without IPv6 has one of them.
        if let Ok(text) = text(&format!("/proc/self/net/{table}")) {
            local.extend(text.lines().skip(1).filter_map(entry));
        }
    }
    for socket in sockets.iter() {
        let what =
            || format!("process {} holds a socket ({}) that is of no listener", socket.pid, socket.protocol);
        if !socket.protocol.starts_with("TCP") {
            return Ok(Some(what()));
        }
        // One that is in no table has ended.
        if local.get(&socket.inode).is_some_and(|own| !ports.contains(&Some(*own))) {
            return Ok(Some(what()));
        }
    }
    Ok(None)
}

/// Inode and local port of a line of `/proc/net/tcp`: number, local address, remote address, state, and six fields more
/// before the inode.
fn entry(line: &str) -> Option<(u64, u16)> {
    let mut fields = line.split_whitespace();
    let port = u16::from_str_radix(fields.nth(1)?.rsplit(':').next()?, 16).ok()?;
    Some((fields.nth(7)?.parse().ok()?, port))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_line_of_the_kernel_is_read() {
        let line = "   0: 0100007F:20FB 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100";
        assert_eq!(super::entry(line), Some((4711, 8443)));
        assert_eq!(super::entry("sl"), None);
    }
}
