//! A private copy of files that nobody writes, proven by read leases (training.md section 3, rule 3).

use std::os::fd::{AsFd, OwnedFd};

use host::Lease;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use crate::tree::{self, Entry};
use crate::{PorterError, clock, limits};

/// SIGIO, which the kernel sends when a lease is being broken.
const SIGIO: i32 = 29;

/// A file as it was while nobody could write it.
#[derive(Debug)]
pub(crate) struct Copied {
    pub(crate) path: String,
    pub(crate) mtime_ms: u64,
    pub(crate) bytes: Vec<u8>,
}

/// Why there is no copy.
#[derive(Debug)]
pub(crate) enum NoCopy {
    /// Somebody writes, or began to: try again.
    Busy,
    /// It will not do.
    Refused(PorterError),
}

impl From<PorterError> for NoCopy {
    fn from(error: PorterError) -> Self {
        // A file that vanished between two looks is a job at work, not a fault.
        match &error {
            PorterError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Self::Busy,
            _ => Self::Refused(error),
        }
    }
}

/// Tells when a lease of this process is being broken. Made before any thread, so that no thread takes the signal.
#[derive(Debug)]
pub(crate) struct Breaks(OwnedFd);

impl Breaks {
    pub(crate) fn new() -> Result<Self, PorterError> {
        let failed = |source| PorterError::Io { doing: "watching for", path: "lease breaks".into(), source };
        host::signal_fd(&[SIGIO]).map(Self).map_err(failed)
    }

    /// Forgets breaks of earlier leases.
    fn clear(&self) {
        let mut buffer = [0u8; 128 * 8];
        while rustix::io::read(&self.0, &mut buffer).is_ok_and(|n| n > 0) {}
    }

    /// Whether a lease is being broken; costs one poll.
    fn pending(&self) -> bool {
        let mut set = [PollFd::new(&self.0, PollFlags::IN)];
        rustix::event::poll(&mut set, Some(&clock::timespec(0))).is_ok_and(|n| n > 0)
    }
}

/// A file under a read lease, which ends with it.
struct Leased {
    fd: OwnedFd,
    entry: Entry,
}

impl Leased {
    fn take(dir: &OwnedFd, entry: &Entry) -> Result<Self, NoCopy> {
        let (fd, entry_now) = tree::open_file(dir.as_fd(), &entry.path)?;
        if entry_now.version != entry.version {
            return Err(NoCopy::Busy);
        }
        match host::set_lease(fd.as_fd(), Lease::Read) {
            Ok(()) => Ok(Self { fd, entry: entry_now }),
            Err(error) if error.raw_os_error() == Some(Errno::AGAIN.raw_os_error()) => Err(NoCopy::Busy),
            Err(source) => {
                Err(NoCopy::Refused(PorterError::Io { doing: "leasing", path: entry.path.clone(), source }))
            }
        }
    }

    fn holds(&self) -> bool {
        matches!(host::lease(self.fd.as_fd()), Ok(Lease::Read))
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        // Closing gives it back too; this is only sooner than the last of several files.
        host::set_lease(self.fd.as_fd(), Lease::None).unwrap_or_default();
    }
}

/// Copies all of `files`, or none: under read leases on all of them, which must still hold at the end, when `again`
/// must list the same.
pub(crate) fn take(
    dir: &OwnedFd,
    files: &[Entry],
    max_bytes: u64,
    breaks: &Breaks,
    again: impl FnOnce() -> Result<Vec<Entry>, PorterError>,
) -> Result<Vec<Copied>, NoCopy> {
    let total = files.iter().fold(0u64, |sum, f| sum.saturating_add(f.size));
    if total > max_bytes {
        let path = files.first().map(|f| f.path.clone()).unwrap_or_default();
        return Err(NoCopy::Refused(PorterError::Limit {
            path,
            what: "bytes of a checkpoint",
            limit: max_bytes,
        }));
    }
    breaks.clear();
    let leased = files.iter().map(|f| Leased::take(dir, f)).collect::<Result<Vec<_>, _>>()?;
    let mut copies = Vec::with_capacity(leased.len());
    for file in &leased {
        copies.push(copy(file, breaks)?);
    }
    // `pending` alone could miss a break whose signal was merged with one that `clear` took.
    if breaks.pending() || !leased.iter().all(Leased::holds) || again()? != files {
        return Err(NoCopy::Busy);
    }
    Ok(copies)
}

/// Reads a file that nobody changes: one that this process has just written.
pub(crate) fn read_whole(dir: &OwnedFd, path: &str) -> Result<Vec<u8>, PorterError> {
    let (fd, entry) = tree::open_file(dir.as_fd(), path)?;
    let failed = |source| PorterError::Io { doing: "reading", path: path.to_owned(), source };
    let size = usize::try_from(entry.size).map_err(|_| failed(std::io::ErrorKind::OutOfMemory.into()))?;
    let mut bytes = room(size).map_err(failed)?;
    bytes.resize(size, 0);
    let read = tree::read_at(fd.as_fd(), &mut bytes, 0).map_err(failed)?;
    if read == size { Ok(bytes) } else { Err(failed(std::io::ErrorKind::UnexpectedEof.into())) }
}

/// An empty buffer that takes so many bytes. Faults of small pages would cost more than the copy itself.
fn room(size: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(|_| std::io::ErrorKind::OutOfMemory)?;
    host::prefer_huge_pages(&mut bytes);
    Ok(bytes)
}

fn copy(file: &Leased, breaks: &Breaks) -> Result<Copied, NoCopy> {
    let size = usize::try_from(file.entry.size).map_err(|_| NoCopy::Busy)?;
    let failed =
        |source| NoCopy::Refused(PorterError::Io { doing: "reading", path: file.entry.path.clone(), source });
    let mut bytes = room(size).map_err(failed)?;
    while bytes.len() < size {
        if breaks.pending() {
            return Err(NoCopy::Busy);
        }
        let from = bytes.len();
        bytes.resize(from.saturating_add(limits::STEP_BYTES).min(size), 0);
        let offset = u64::try_from(from).unwrap_or(u64::MAX);
        let space = bytes.get_mut(from..).unwrap_or_default();
        let wanted = space.len();
        if tree::read_at(file.fd.as_fd(), space, offset).map_err(failed)? != wanted {
            return Err(NoCopy::Busy);
        }
    }
    Ok(Copied { path: file.entry.path.clone(), mtime_ms: file.entry.mtime_ms, bytes })
}
