//! The listening side.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{SocketAddrUnix, SocketFlags};

use crate::conn::{new_socket, retry};
use crate::{BACKLOG, Conn, LinkError, PeerCred};

/// A `SOCK_SEQPACKET` socket that takes connections.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Listens at `path`, which gets the permissions `mode` (`0o660`); connecting needs write permission.
    /// A socket left by a process that is gone is replaced; a living one is not.
    ///
    /// # Errors
    /// [`LinkError::InUse`], or the directory cannot be written.
    pub fn bind(path: &Path, mode: u32) -> Result<Self, LinkError> {
        let address = SocketAddrUnix::new(path).map_err(|e| LinkError::io("name of the socket", e))?;
        let socket = new_socket()?;
        // The mode of the socket's inode, less the umask, becomes that of the name: never wider than wanted,
        // not even for a moment.
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode))
            .map_err(|e| LinkError::io("setting permissions", e))?;
        match rustix::net::bind(&socket, &address) {
            Ok(()) => {}
            Err(Errno::ADDRINUSE) => {
                remove_stale(path)?;
                rustix::net::bind(&socket, &address).map_err(|e| LinkError::io("binding the socket", e))?;
            }
            Err(errno) => return Err(LinkError::io("binding the socket", errno)),
        }
        rustix::fs::chmod(path, Mode::from_raw_mode(mode))
            .map_err(|e| LinkError::io("setting permissions", e))?;
        rustix::net::listen(&socket, BACKLOG).map_err(|e| LinkError::io("listening", e))?;
        Ok(Self(socket))
    }

    /// Takes a listening socket that was inherited or received.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// Out of descriptors, or the socket is not a listening one.
    pub fn accept(&self) -> Result<(Conn, PeerCred), LinkError> {
        let fd = retry(|| rustix::net::accept_with(&self.0, SocketFlags::CLOEXEC))
            .map_err(|e| LinkError::io("accepting", e))?;
        let conn = Conn::from_fd(fd)?;
        let peer = conn.peer()?;
        Ok((conn, peer))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Removes a socket on which nobody listens.
fn remove_stale(path: &Path) -> Result<(), LinkError> {
    let in_use = || LinkError::InUse { path: path.display().to_string() };
    let kind = std::fs::symlink_metadata(path)
        .map_err(|source| LinkError::Io { doing: "looking at the socket", source })?;
    if !kind.file_type().is_socket() {
        return Err(in_use());
    }
    match Conn::connect(path) {
        Err(LinkError::Io { source, .. }) if source.kind() == std::io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
                .map_err(|source| LinkError::Io { doing: "removing a stale socket", source })
        }
        _ => Err(in_use()),
    }
}
