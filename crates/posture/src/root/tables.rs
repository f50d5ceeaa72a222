//! The kernel's tables of network sockets (`/proc/net/tcp` and its kin), and what of the listeners leads to root.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::{Checked, Finding};

/// States of a TCP socket (include/net/tcp_states.h).
const LISTEN: u8 = 10;
const CLOSE: u8 = 7;

/// Services that are root on the host for whoever gets in, whoever runs them.
const ENGINES: [(u16, &str); 3] = [
    (2375, "the Docker API"),
    (2376, "the Docker API"),
    (10250, "the kubelet's API, which executes in containers"),
];

/// Services that give a shell, a screen, administration or a database of root, where root runs them.
const OF_ROOT: [(RangeInclusive<u16>, &str); 20] = [
    (23..=23, "telnet"),
    (512..=512, "rexec"),
    (513..=513, "rlogin"),
    (514..=514, "rsh"),
    (1433..=1433, "a SQL Server database"),
    (1521..=1521, "an Oracle database"),
    (3306..=3306, "a MySQL database"),
    (4200..=4200, "a shell in the browser"),
    (4505..=4506, "a Salt master"),
    (5432..=5432, "a PostgreSQL database"),
    (5900..=5999, "a VNC screen"),
    (5984..=5984, "a CouchDB database"),
    (6000..=6063, "an X11 screen"),
    (6379..=6379, "a Redis database"),
    (7681..=7681, "a shell in the browser"),
    (9090..=9090, "Cockpit"),
    (9200..=9200, "an Elasticsearch database"),
    (10000..=10000, "Webmin"),
    (11211..=11211, "a memcached database"),
    (27017..=27017, "a MongoDB database"),
];

/// A line of a table that is not as the kernel writes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {0} of a table of sockets cannot be read")]
pub struct BadTable(pub usize);

/// One socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Socket {
    address: IpAddr,
    port: u16,
    state: u8,
    uid: u32,
    inode: u64,
}

/// Sockets of one network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sockets {
    listening: Vec<Socket>,
    connected: BTreeSet<u64>,
}

impl Sockets {
    /// Adds the lines of one table, TCP or UDP, of either family.
    ///
    /// # Errors
    /// [`BadTable`]
    pub fn add(&mut self, table: &str) -> Result<(), BadTable> {
        // The first line is the heading.
        for (index, line) in table.lines().enumerate().skip(1) {
            let socket = parse(line).ok_or(BadTable(index.saturating_add(1)))?;
            match socket.state {
                LISTEN => self.listening.push(socket),
                // An unconnected UDP socket is in this state too.
                CLOSE => {}
                _ => drop(self.connected.insert(socket.inode)),
            }
        }
        // The kernel's own, such as those in TIME_WAIT, have none.
        self.connected.remove(&0);
        Ok(())
    }

    /// Whether the socket of this inode has a peer.
    pub fn is_connected(&self, inode: u64) -> bool {
        self.connected.contains(&inode)
    }
}

/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode ...` (proc_net(5)).
fn parse(line: &str) -> Option<Socket> {
    let mut fields = line.split_whitespace().skip(1);
    let (address, port) = endpoint(fields.next()?)?;
    endpoint(fields.next()?)?;
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let mut fields = fields.skip(3);
    let uid = fields.next()?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    Some(Socket { address, port, state, uid, inode })
}

/// `0100007F:1F90`: words of 32 bits as they lie in memory, and the port.
fn endpoint(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut words = Vec::new();
    let mut rest = address;
    while !rest.is_empty() {
        let (word, more) = rest.split_at_checked(8)?;
        words.push(u32::from_str_radix(word, 16).ok()?.to_ne_bytes());
        rest = more;
    }
    let address = match *words.as_slice() {
        [one] => IpAddr::V4(Ipv4Addr::from(one)),
        [_, _, _, _] => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?)).to_canonical(),
        _ => return None,
    };
    Some((address, port))
}

/// Checks what listens beyond this machine.
pub fn listeners(sockets: &Sockets) -> Checked {
    let (mut findings, mut others) = (Vec::new(), BTreeMap::new());
    let open: Vec<&Socket> = sockets.listening.iter().filter(|s| !s.address.is_loopback()).collect();
    for Socket { address, port, uid, .. } in &open {
        let engine = ENGINES.iter().find(|(p, _)| p == port).map(|(_, what)| *what);
        let of_root =
            OF_ROOT.iter().find(|(ports, _)| *uid == 0 && ports.contains(port)).map(|(_, what)| *what);
        match engine.or(of_root) {
            Some(what) => findings.push(Finding::new(
                format!("user {uid} listens on {address} port {port}: {what}"),
                "stop it, bind it to 127.0.0.1, or run it as a user of its own without privilege",
            )),
            None if *uid == 0 => drop(others.insert(*port, address)),
            None => {}
        }
    }
    Checked::of(findings, || {
        let others: Vec<String> = others.keys().map(u16::to_string).collect();
        let others = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
        format!(
            "{} listeners beyond loopback, no known remote shell, screen, administration or database of root; \
             other ports of root: {others}",
            open.len()
        )
    })
}
