//! Messages with descriptors over a unix SEQPACKET socket: one message is one datagram, whole or not at all.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use ops::{FDS_MAX, MESSAGE_MAX};

/// A connected pair: both ends close-on-exec.
///
/// # Errors
/// The kernel's.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one message with descriptors. A peer that has gone is an error, never a signal.
///
/// # Errors
/// The kernel's; `WouldBlock` on a full non-blocking socket.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let too_many = fds.len() > FDS_MAX;
    if too_many || (!fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds))) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one message"));
    }
    let sent = rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Takes one message; `None` when the peer has closed. Descriptors arrive close-on-exec.
///
/// # Errors
/// The kernel's; `InvalidData` for a message above the limits (its descriptors are closed).
pub fn receive(socket: impl AsFd) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MESSAGE_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            fds.extend(rights);
        }
    }
    if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message above its limit"));
    }
    if message.bytes == 0 && fds.is_empty() {
        return Ok(None);
    }
    bytes.truncate(message.bytes);
    Ok(Some((bytes, fds)))
}

/// Waits until `fd` is readable (or closed by the peer); false on time-out.
///
/// # Errors
/// The kernel's.
pub fn wait_readable(fd: impl AsFd, timeout_ms: u64) -> io::Result<bool> {
    let deadline = now_ms().saturating_add(timeout_ms);
    loop {
        let left = deadline.saturating_sub(now_ms());
        let timeout = rustix::event::Timespec {
            tv_sec: i64::try_from(left / 1000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(left % 1000).unwrap_or(0).saturating_mul(1_000_000),
        };
        let mut set = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
        match rustix::event::poll(&mut set, Some(&timeout)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Milliseconds of the monotonic clock, for time-outs only.
pub fn now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec)
        .unwrap_or(0)
        .saturating_mul(1000)
        .saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000)
}

/// Sleeps, for polls of kernel files that have no event.
pub(crate) fn sleep_us(micros: u64) {
    let time = rustix::time::Timespec {
        tv_sec: i64::try_from(micros / 1_000_000).unwrap_or(0),
        tv_nsec: i64::try_from(micros % 1_000_000).unwrap_or(0).saturating_mul(1000),
    };
    // An early return only shortens one step of a poll.
    let _early = rustix::thread::nanosleep(&time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_and_its_descriptors_arrive_whole() {
        let (a, b) = pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        send(&a, b"hi", &[file.as_fd()]).unwrap();
        let (bytes, fds) = receive(&b).unwrap().unwrap();
        assert_eq!((bytes.as_slice(), fds.len()), (b"hi".as_slice(), 1));
        drop(a);
        assert!(receive(&b).unwrap().is_none());
    }

    #[test]
    fn more_than_the_limit_is_refused_on_both_sides() {
        let (a, b) = pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let many = vec![file.as_fd(); FDS_MAX + 1];
        assert!(send(&a, b"hi", &many).is_err());
        send(&a, &vec![0; MESSAGE_MAX + 1], &[]).unwrap();
        assert_eq!(receive(&b).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
