//! Which network sockets a process holds, bound or not, as the kernel says of its descriptors.

use std::fs;
use std::io;
use std::path::Path;

use ops::Text;
use ops::warden::HeldSocket;

use crate::error::HostError;
use crate::limits::SOCKET_FDS_MAX;

/// How the kernel names the protocol of a socket to whoever may look into its process (net/socket.c).
const PROTOCOL: &str = "system.sockprotoname";
/// Protocols that do not leave the machine: `UNIX` and `UNIX-STREAM`, and `NETLINK`, which speaks with the kernel.
const LOCAL: [&str; 3] = ["UNIX", "UNIX-STREAM", "NETLINK"];
/// Longest name of a protocol (`struct proto`), with its zero byte.
const NAME_MAX: usize = 32;

/// Every socket of this process that is neither unix nor netlink. A process that has ended holds none. A socket whose
/// protocol the kernel does not tell counts as one of the network. None where the kernel does not let us look. `left`
/// is how many descriptors may still be looked at; it begins at [`SOCKET_FDS_MAX`].
///
/// # Errors
/// There are more descriptors than are looked at, or `/proc` fails.
pub fn held(pid: u32, left: &mut usize) -> Result<Option<Vec<HeldSocket>>, HostError> {
    let at = |error| HostError::at("look for network sockets")(error);
    let directory = format!("/proc/{pid}/fd");
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if gone(&error) => return Ok(Some(Vec::new())),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(at(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        *left = left.checked_sub(1).ok_or_else(|| {
            HostError::Invalid(format!("the processes have more than {SOCKET_FDS_MAX} descriptors"))
        })?;
        let path = match entry {
            Ok(entry) => entry.path(),
            Err(error) if gone(&error) => break,
            Err(error) => return Err(at(error)),
        };
        match socket(pid, &path) {
            Ok(socket) => found.extend(socket),
            // Closed since it was listed.
            Err(error) if gone(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
            Err(error) => return Err(at(error)),
        }
    }
    Ok(Some(found))
}

fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// The socket behind one entry of `/proc/PID/fd`, if it is one of the network.
fn socket(pid: u32, path: &Path) -> io::Result<Option<HeldSocket>> {
    let link = fs::read_link(path)?;
    let inode = link.to_str().and_then(|l| l.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
    let fd = path.file_name().and_then(|name| name.to_str()?.parse().ok());
    let (Some(inode), Some(fd)) = (inode, fd) else { return Ok(None) };
    let mut name = [0; NAME_MAX];
    let protocol = match rustix::fs::getxattr(path, PROTOCOL, &mut name[..]) {
        Ok(len) => {
            let name = name.get(..len).unwrap_or_default();
            String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()
        }
        Err(error) if gone(&error.into()) => return Err(error.into()),
        Err(_) => String::new(),
    };
    let local = LOCAL.contains(&protocol.as_str());
    Ok((!local).then(|| HeldSocket { pid, fd, inode, protocol: Text::clip(&protocol) }))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::{SOCKET_FDS_MAX, held};

    /// Ours are found by descriptor, the unix pair is not, and one that was never bound is.
    #[test]
    fn network_sockets_are_told_from_local_ones() {
        let (own, mut left) = (std::process::id(), SOCKET_FDS_MAX);
        let (_left, _right) = UnixStream::pair().unwrap();
        let before = held(own, &mut left).unwrap().unwrap().len();
        let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let never_bound =
            rustix::net::socket(rustix::net::AddressFamily::INET6, rustix::net::SocketType::STREAM, None);
        let never_bound = never_bound.unwrap();
        let found = held(own, &mut left).unwrap().unwrap();
        assert_eq!(found.len(), before + 3, "{found:?}");
        for (fd, protocol) in
            [(tcp.as_raw_fd(), "TCP"), (udp.as_raw_fd(), "UDP"), (never_bound.as_raw_fd(), "TCPv6")]
        {
            let fd = u32::try_from(fd).unwrap();
            assert!(
                found.iter().any(|s| s.fd == fd && &*s.protocol == protocol && s.inode > 0),
                "{protocol}: {found:?}"
            );
        }
        // Above the largest process number that a kernel gives.
        assert_eq!(held(1 << 23, &mut left).unwrap(), Some(Vec::new()));
        assert!(left < SOCKET_FDS_MAX && held(own, &mut 2).is_err(), "a part is no answer");
    }
}
