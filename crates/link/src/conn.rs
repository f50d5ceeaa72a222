//! One connection.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use crate::{FDS_MAX, LinkError, PACKET_MAX};

/// Room for the ancillary data of [`FDS_MAX`] descriptors.
const CONTROL_LEN: usize = rustix::cmsg_space!(ScmRights(FDS_MAX));

/// Who is at the other end, as the kernel recorded it when the connection was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCred {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Process id at the time of connecting; for messages to people only, since ids are reused.
    pub pid: i32,
}

/// A `SOCK_SEQPACKET` connection. `send` and `recv` may be called from several threads; each moves one whole
/// message.
#[derive(Debug)]
pub struct Conn(OwnedFd);

impl Conn {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// No socket there, nobody listens, or no permission.
    pub fn connect(path: &Path) -> Result<Self, LinkError> {
        let address = SocketAddrUnix::new(path).map_err(|e| LinkError::io("name of the socket", e))?;
        let socket = new_socket()?;
        retry(|| rustix::net::connect(&socket, &address)).map_err(|e| match e {
            // Here "try again" means that the listener's queue is full.
            Errno::AGAIN => LinkError::TimedOut,
            other => LinkError::Io { doing: "connecting", source: other.into() },
        })?;
        Self::from_fd(socket)
    }

    /// Takes an already connected `SOCK_SEQPACKET` socket, for example one end of [`Conn::pair`] that was
    /// inherited or received.
    ///
    /// # Errors
    /// Not such a socket.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, LinkError> {
        let kind = sockopt::socket_type(&fd).map_err(|e| LinkError::io("looking at a descriptor", e))?;
        if kind != SocketType::SEQPACKET {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a SOCK_SEQPACKET socket");
            return Err(LinkError::Io { doing: "taking a descriptor", source });
        }
        sockopt::set_socket_send_buffer_size(&fd, PACKET_MAX)
            .map_err(|e| LinkError::io("setting the buffer size", e))?;
        Ok(Self(fd))
    }

    /// Two connected ends, for a parent and the child that it starts.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn pair() -> Result<(Self, Self), LinkError> {
        let (a, b) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(|e| LinkError::io("making a pair of sockets", e))?;
        Ok((Self::from_fd(a)?, Self::from_fd(b)?))
    }

    /// Another handle of the same connection: what is sent through one or the other goes the same way.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn try_clone(&self) -> Result<Self, LinkError> {
        self.0
            .try_clone()
            .map(Self)
            .map_err(|source| LinkError::Io { doing: "duplicating a descriptor", source })
    }

    /// The longest that `send` and `recv` wait each; `None` is for ever.
    ///
    /// # Errors
    /// A zero duration.
    pub fn set_timeout(&self, limit: Option<Duration>) -> Result<(), LinkError> {
        for which in [Timeout::Recv, Timeout::Send] {
            sockopt::set_socket_timeout(&self.0, which, limit)
                .map_err(|e| LinkError::io("setting a timeout", e))?;
        }
        Ok(())
    }

    /// Who is at the other end. Only for peers in this process's own process-id namespace or one below it.
    ///
    /// # Errors
    /// The socket is not connected.
    pub fn peer(&self) -> Result<PeerCred, LinkError> {
        let cred =
            sockopt::socket_peercred(&self.0).map_err(|e| LinkError::io("asking who the peer is", e))?;
        Ok(PeerCred {
            uid: cred.uid.as_raw(),
            gid: cred.gid.as_raw(),
            pid: rustix::process::Pid::as_raw(Some(cred.pid)),
        })
    }

    /// Sends one message with descriptors.
    ///
    /// # Errors
    /// Empty or above [`PACKET_MAX`], more than [`FDS_MAX`] descriptors, the peer is gone or does not take it
    /// in time. On an error nothing was sent.
    pub fn send(&self, message: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        if message.is_empty() || message.len() > PACKET_MAX {
            return Err(LinkError::Size { len: message.len(), limit: PACKET_MAX });
        }
        if fds.len() > FDS_MAX {
            return Err(LinkError::Descriptors { limit: FDS_MAX });
        }
        let sent = retry(|| {
            let mut space = [MaybeUninit::<u8>::uninit(); CONTROL_LEN];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(Errno::TOOBIG);
            }
            rustix::net::sendmsg(&self.0, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL)
        })
        .map_err(|e| LinkError::io("sending", e))?;
        if sent == message.len() { Ok(()) } else { Err(LinkError::Size { len: sent, limit: message.len() }) }
    }

    /// Receives one message of at most `max_len` bytes with at most `max_fds` descriptors.
    ///
    /// # Errors
    /// [`LinkError::Closed`] at the end, a longer message, more descriptors, or nothing in time. Descriptors
    /// of a refused message are closed.
    pub fn recv(&self, max_len: usize, max_fds: usize) -> Result<(Vec<u8>, Vec<OwnedFd>), LinkError> {
        let max_len = max_len.min(PACKET_MAX);
        let max_fds = max_fds.min(FDS_MAX);
        let mut message = vec![0u8; max_len];
        let mut fds = Vec::new();
        let received = loop {
            let mut space = [MaybeUninit::<u8>::uninit(); CONTROL_LEN];
            let room = if max_fds == 0 { &mut [][..] } else { &mut space[..] };
            let mut control = RecvAncillaryBuffer::new(room);
            let mut parts = [IoSliceMut::new(&mut message)];
            match rustix::net::recvmsg(&self.0, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(LinkError::io("receiving", errno)),
                Ok(received) => {
                    for part in control.drain() {
                        if let RecvAncillaryMessage::ScmRights(rights) = part {
                            fds.extend(rights);
                        }
                    }
                    break received;
                }
            }
        };
        if received.bytes == 0 {
            return Err(LinkError::Closed);
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(LinkError::Size { len: received.bytes, limit: max_len });
        }
        if received.flags.contains(ReturnFlags::CTRUNC) || fds.len() > max_fds {
            return Err(LinkError::Descriptors { limit: max_fds });
        }
        message.truncate(received.bytes);
        Ok((message, fds))
    }

    /// Ends the connection in both directions; a `recv` that waits in another thread returns.
    pub fn shutdown(&self) {
        // The only failure is that the peer was faster, which is what was wanted.
        rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both).unwrap_or_default();
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Conn> for OwnedFd {
    fn from(conn: Conn) -> Self {
        conn.0
    }
}

/// A new socket of our kind.
pub(crate) fn new_socket() -> Result<OwnedFd, LinkError> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|e| LinkError::io("making a socket", e))
}

/// Calls again while a signal interrupts.
pub(crate) fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
