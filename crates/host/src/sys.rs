//! The raw system calls that no safe wrapper offers. Every `unsafe` block of the platform is in this file and
//! each is one call.

use std::ffi::{CString, c_char, c_long, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// `CLONE_INTO_CGROUP` (linux/sched.h); does not fit the `int` constants of libc.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// First size of `struct clone_args` that has a `cgroup` field (`CLONE_ARGS_SIZE_VER2`).
const CLONE_ARGS_SIZE: usize = 88;

/// A process that was forked off, held by a descriptor so that its number cannot be reused under us.
#[derive(Debug)]
pub struct Process {
    /// Its number in our pid namespace.
    pub pid: i32,
    /// Its pidfd: readable once it has ended.
    pub pidfd: OwnedFd,
}

/// The last error as [`io::Error`].
fn last() -> io::Error {
    io::Error::last_os_error()
}

/// Turns a system call's result into `io::Result`.
fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(last()) } else { Ok(result) }
}

/// A raw integer as a C `long`, for variadic system calls. Values above the range cannot occur: they are
/// descriptor numbers, sizes and flags.
fn long(value: u64) -> c_long {
    c_long::try_from(value).unwrap_or(-1)
}

/// How many threads this process has.
fn threads() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// Forks with `clone3` and runs `child` in the new process, which ends with the returned code.
///
/// The child is a full copy and may allocate, because this process is checked to have a single thread: no
/// lock can be held by a thread that the child lacks.
///
/// # Errors
/// `Unsupported` when this process has more than one thread; else the error of `clone3`.
pub(crate) fn fork(
    flags: i32,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> u8,
) -> io::Result<Process> {
    if threads()? != 1 {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "sandboxes are made by a single-threaded process",
        ));
    }
    let mut pidfd: RawFd = -1;
    let flags = u64::from(flags.cast_unsigned()) | u64::from(libc::CLONE_PIDFD.cast_unsigned());
    let into = cgroup.map_or(0, |_| CLONE_INTO_CGROUP);
    // flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup
    let args: [u64; CLONE_ARGS_SIZE / 8] = [
        flags | into,
        u64::try_from((&raw mut pidfd).expose_provenance()).unwrap_or(0),
        0,
        0,
        u64::from(libc::SIGCHLD.cast_unsigned()),
        0,
        0,
        0,
        0,
        0,
        cgroup.map_or(0, |fd| u64::from(fd.as_raw_fd().cast_unsigned())),
    ];
    // SAFETY: `args` is a valid clone_args of CLONE_ARGS_SIZE bytes and its pidfd field points to a live integer;
    // without CLONE_VM and without a stack this is fork(2), and the process is single-threaded, so the child's
    // copy of every lock is free.
    // JUSTIFICATION: no safe wrapper forks, and fork(2) cannot enter namespaces or a cgroup at birth.
    #[expect(unsafe_code, reason = "clone3 has no safe wrapper")]
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), CLONE_ARGS_SIZE) })?;
    if pid == 0 {
        let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(125);
        exit_now(code);
    }
    // SAFETY: with CLONE_PIDFD the kernel stored a new descriptor that nothing else owns.
    // JUSTIFICATION: the kernel returns it as a number.
    #[expect(unsafe_code, reason = "a descriptor arrives as a number")]
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Process { pid: i32::try_from(pid).unwrap_or(0), pidfd })
}

/// Forks a process that was itself made by [`fork`] and so has one thread; `child` runs in the copy. Returns its
/// number. Uses `clone`, since a filter answers `clone3` with ENOSYS.
pub(crate) fn fork_plain(child: impl FnOnce() -> u8) -> io::Result<i32> {
    // SAFETY: the caller has one thread, so every lock is free in the copy; glibc keeps its own state right.
    // JUSTIFICATION: no safe wrapper forks.
    #[expect(unsafe_code, reason = "fork has no safe wrapper")]
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(last()),
        0 => exit_now(std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(125)),
        pid => Ok(pid),
    }
}

/// Closes every descriptor but `keep`, in a freshly forked child: what else the parent had open is not its own.
/// The owners of the closed numbers are in the parent's part of the copied memory, which never runs again.
pub(crate) fn close_except(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.iter().map(|fd| fd.cast_unsigned()).collect();
    keep.sort_unstable();
    let mut first = 0u32;
    for fd in keep.into_iter().chain(std::iter::once(u32::MAX)) {
        if first < fd {
            let end = if fd == u32::MAX { fd } else { fd.saturating_sub(1) };
            // SAFETY: see above: nothing that owns these numbers runs in this process.
            // JUSTIFICATION: rustix has no close_range.
            #[expect(unsafe_code, reason = "close_range has no safe wrapper")]
            check(unsafe { libc::syscall(libc::SYS_close_range, long(first.into()), long(end.into()), 0) })?;
        }
        first = fd.saturating_add(1);
    }
    Ok(())
}

/// Ends this process without running destructors or exit handlers of the copied parent.
fn exit_now(code: u8) -> ! {
    // SAFETY: `_exit` has no preconditions.
    // JUSTIFICATION: std's exit would run the parent's exit handlers in the copy.
    #[expect(unsafe_code, reason = "_exit has no safe wrapper")]
    unsafe {
        libc::_exit(i32::from(code))
    }
}

/// Null-terminated pointers to `strings`, valid as long as `strings` is.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
}

/// Executes the file behind `program` (never a path, so what was hashed is what runs). Returns only on error.
pub(crate) fn execveat(program: BorrowedFd<'_>, argv: &[CString], envp: &[CString]) -> io::Error {
    let (argv, envp) = (pointers(argv), pointers(envp));
    // SAFETY: both vectors are null-terminated and point to strings that outlive the call.
    // JUSTIFICATION: executing an open descriptor has no safe wrapper.
    #[expect(unsafe_code, reason = "execveat has no safe wrapper")]
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    last()
}

/// Executes a path. Returns only on error.
pub(crate) fn execve(path: &CString, argv: &[CString], envp: &[CString]) -> io::Error {
    let (argv, envp) = (pointers(argv), pointers(envp));
    // SAFETY: both vectors are null-terminated and point to strings that outlive the call.
    // JUSTIFICATION: std's Command forks; here the process itself becomes the program.
    #[expect(unsafe_code, reason = "execve has no safe wrapper")]
    unsafe {
        libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr())
    };
    last()
}

/// Sets attributes (`MOUNT_ATTR_*`) of the detached mount behind `mount`.
pub(crate) fn mount_setattr(mount: BorrowedFd<'_>, set: u64) -> io::Result<()> {
    // struct mount_attr: attr_set, attr_clr, propagation, userns_fd.
    let attr: [u64; 4] = [set, 0, 0, 0];
    // SAFETY: `attr` is a valid mount_attr of the size given (MOUNT_ATTR_SIZE_VER0 = 32).
    // JUSTIFICATION: rustix has no mount_setattr.
    #[expect(unsafe_code, reason = "mount_setattr has no safe wrapper")]
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            attr.as_ptr(),
            32usize,
        )
    })?;
    Ok(())
}

/// Leaves namespaces for new ones.
pub(crate) fn unshare(flags: rustix::thread::UnshareFlags) -> io::Result<()> {
    // SAFETY: no caller passes FILES or VM, which would change what other threads own.
    // JUSTIFICATION: rustix marks the call unsafe because of those two flags.
    #[expect(unsafe_code, reason = "unsafe only for flags that are not passed")]
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// One instruction of a classic BPF program: code, jump if true, jump if false, operand.
pub(crate) type Instruction = (u16, u8, u8, u32);

/// Puts this process and all its descendants under a seccomp filter, for ever.
pub(crate) fn seccomp(program: &[Instruction]) -> io::Result<()> {
    seccomp_with(program, 0)
}

/// The same for every thread of this process at once; fails if one of them has a filter of its own.
pub(crate) fn seccomp_all_threads(program: &[Instruction]) -> io::Result<()> {
    seccomp_with(program, libc::SECCOMP_FILTER_FLAG_TSYNC)
}

fn seccomp_with(program: &[Instruction], flags: libc::c_ulong) -> io::Result<()> {
    let code: Vec<libc::sock_filter> =
        program.iter().map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
    let len = u16::try_from(code.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog { len, filter: code.as_ptr().cast_mut() };
    // SAFETY: `program` points to `len` instructions that live through the call; the kernel copies them.
    // JUSTIFICATION: no safe wrapper installs a filter.
    #[expect(unsafe_code, reason = "seccomp has no safe wrapper")]
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, std::ptr::from_ref(&program))
    };
    // With `TSYNC` a positive number is the thread that could not be brought under it.
    match check(result)? {
        0 => Ok(()),
        _ => Err(io::ErrorKind::ResourceBusy.into()),
    }
}

/// `prctl` with integer arguments only.
pub(crate) fn prctl(option: i32, argument: u64) -> io::Result<i32> {
    let zero: libc::c_ulong = 0;
    // SAFETY: only options without pointer arguments are passed by the callers in this crate.
    // JUSTIFICATION: rustix lacks PR_SET_MEMORY_MERGE and PR_SET_MDWE.
    #[expect(unsafe_code, reason = "these options have no safe wrapper")]
    let result = unsafe { libc::prctl(option, argument, zero, zero, zero) };
    if result < 0 { Err(last()) } else { Ok(result) }
}

/// Switches on the loopback of this process's network.
pub(crate) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    let up = libc::IFF_UP | libc::IFF_RUNNING;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: libc::c_short::try_from(up).unwrap_or(0) },
    };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::try_from(*from).unwrap_or(0);
    }
    // SAFETY: `request` is a whole `ifreq` that lives through the call; this request reads name and flags of it.
    // JUSTIFICATION: rustix has no wrapper for flags of interfaces.
    #[expect(unsafe_code, reason = "flags of interfaces have no safe wrapper")]
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, std::ptr::from_ref(&request)) };
    if result < 0 { Err(last()) } else { Ok(()) }
}

/// Makes descriptor number `target` a copy of `source` that survives exec.
pub(crate) fn place(source: BorrowedFd<'_>, target: RawFd) -> io::Result<()> {
    // SAFETY: called only in a freshly forked child about to exec, where nothing owns `target`.
    // JUSTIFICATION: the numbers of inherited descriptors are the contract with the program started.
    #[expect(unsafe_code, reason = "dup2 onto a fixed number")]
    let result = unsafe { libc::dup2(source.as_raw_fd(), target) };
    if result < 0 { Err(last()) } else { Ok(()) }
}

/// Marks every descriptor from `first` upward close-on-exec.
pub(crate) fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    let first = u64::from(first.cast_unsigned());
    // SAFETY: the call changes flags only; no descriptor is closed under its owner.
    // JUSTIFICATION: rustix has no close_range.
    #[expect(unsafe_code, reason = "close_range has no safe wrapper")]
    check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            long(first),
            long(u64::from(u32::MAX)),
            long(u64::from(libc::CLOSE_RANGE_CLOEXEC)),
        )
    })?;
    Ok(())
}

/// Which inherited descriptors were taken: bit n stands for number n.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// Takes ownership of a descriptor that the starter of this program placed at `number` (0..64), once, and
/// marks it close-on-exec.
///
/// # Errors
/// The number is out of range, was taken before, or is not open.
pub fn take_inherited(number: u8) -> io::Result<OwnedFd> {
    let bit = 1u64.checked_shl(u32::from(number)).ok_or(io::ErrorKind::InvalidInput)?;
    let fd = RawFd::from(number);
    // SAFETY: F_SETFD only changes a flag and fails with EBADF if the number is not open.
    // JUSTIFICATION: there is no owned descriptor yet to call a safe wrapper on.
    #[expect(unsafe_code, reason = "checking a bare number")]
    let flags = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    if flags < 0 {
        return Err(last());
    }
    if TAKEN.fetch_or(bit, Ordering::SeqCst) & bit != 0 {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "this inherited descriptor was already taken",
        ));
    }
    // SAFETY: the number is open and each number is handed out once per process; programs take their
    // inherited descriptors first thing in main, before anything else could open that number.
    // JUSTIFICATION: inherited descriptors arrive as numbers.
    #[expect(unsafe_code, reason = "inherited descriptors arrive as numbers")]
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What kind of lease a descriptor holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// A read lease: nobody has the file open for writing, and openers for writing wait.
    Read,
    /// None, or one that is being broken.
    None,
}

/// Takes (`Read`) or gives back (`None`) a lease on an open file (fcntl(2), `F_SETLEASE`).
///
/// # Errors
/// `EAGAIN`: somebody has the file open for writing or mapped writable. `EACCES`: not the owner.
pub fn set_lease(file: BorrowedFd<'_>, lease: Lease) -> io::Result<()> {
    let kind = match lease {
        Lease::Read => libc::F_RDLCK,
        Lease::None => libc::F_UNLCK,
    };
    // SAFETY: an integer argument on an open descriptor.
    // JUSTIFICATION: rustix has no F_SETLEASE.
    #[expect(unsafe_code, reason = "F_SETLEASE has no safe wrapper")]
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) };
    if result < 0 { Err(last()) } else { Ok(()) }
}

/// `F_SETSIG` (asm-generic/fcntl.h), which libc lacks.
const F_SETSIG: i32 = 10;

/// Makes the kernel send this process `signal` instead of SIGIO when a lease on `file` is being broken.
///
/// # Errors
/// The kernel's.
pub fn set_lease_signal(file: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: an integer argument on an open descriptor.
    // JUSTIFICATION: rustix has no F_SETSIG.
    #[expect(unsafe_code, reason = "F_SETSIG has no safe wrapper")]
    let result = unsafe { libc::fcntl(file.as_raw_fd(), F_SETSIG, signal) };
    if result < 0 { Err(last()) } else { Ok(()) }
}

/// The lease that is held now (`F_GETLEASE`).
///
/// # Errors
/// The kernel's.
pub fn lease(file: BorrowedFd<'_>) -> io::Result<Lease> {
    // SAFETY: no argument beyond an open descriptor.
    // JUSTIFICATION: rustix has no F_GETLEASE.
    #[expect(unsafe_code, reason = "F_GETLEASE has no safe wrapper")]
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLEASE) };
    match result {
        -1 => Err(last()),
        held if held == libc::F_RDLCK => Ok(Lease::Read),
        _ => Ok(Lease::None),
    }
}

/// Size of a huge page on x86-64 and on AArch64 with pages of 4 KiB. Where it is another, the advice below does less.
const HUGE_PAGE: usize = 2 << 20;

/// Asks the kernel to back the room of a large buffer, before it is filled, with huge pages: one fault then gives
/// 2 MiB instead of 4 KiB. It is advice: no byte changes, and where the kernel does not follow it, or the buffer is
/// small, nothing happens.
pub fn prefer_huge_pages(buffer: &mut Vec<u8>) {
    let room = buffer.spare_capacity_mut();
    // Advice is for whole pages; those that the buffer shares with others stay as they are.
    let skip = room.as_ptr().align_offset(HUGE_PAGE);
    let Some(whole) = room.get_mut(skip..) else { return };
    let len = whole.len() & !(HUGE_PAGE - 1);
    if len == 0 {
        return;
    }
    // SAFETY: the range lies within a live allocation that is borrowed mutably, and MADV_HUGEPAGE changes neither
    // contents nor access rights.
    // JUSTIFICATION: no safe wrapper advises on memory.
    #[expect(unsafe_code, reason = "madvise has no safe wrapper")]
    let _advice = unsafe { libc::madvise(whole.as_mut_ptr().cast(), len, libc::MADV_HUGEPAGE) };
}

/// A set of signals for the kernel: bit n-1 stands for signal n.
fn mask(signals: &[i32]) -> u64 {
    signals.iter().fold(0, |set, s| set | 1u64.checked_shl(s.saturating_sub(1).cast_unsigned()).unwrap_or(0))
}

/// Sets the signal mask of this thread.
fn set_mask(set: u64) -> io::Result<()> {
    // SAFETY: the kernel reads 8 bytes of `set` and writes nothing.
    // JUSTIFICATION: rustix offers this only as an unsafe runtime function.
    #[expect(unsafe_code, reason = "rt_sigprocmask has no safe wrapper")]
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            std::ptr::from_ref(&set),
            std::ptr::null_mut::<c_void>(),
            8usize,
        )
    })?;
    Ok(())
}

/// Blocks `signals` in this thread and returns a descriptor that becomes readable when one is pending; call
/// it before any thread is started.
///
/// # Errors
/// The kernel's.
pub fn signal_fd(signals: &[i32]) -> io::Result<OwnedFd> {
    let set = mask(signals);
    set_mask(set)?;
    // SAFETY: the kernel reads 8 bytes of `set`.
    // JUSTIFICATION: rustix has no signalfd.
    #[expect(unsafe_code, reason = "signalfd has no safe wrapper")]
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1,
            std::ptr::from_ref(&set),
            8usize,
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        )
    })?;
    let fd = RawFd::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the call returned a new descriptor that nothing else owns.
    // JUSTIFICATION: it arrives as a number.
    #[expect(unsafe_code, reason = "a descriptor arrives as a number")]
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Unblocks all signals and gives SIGPIPE its default action again (Rust programs ignore it), in a child
/// before exec.
pub(crate) fn reset_signals() -> io::Result<()> {
    set_mask(0)?;
    // SAFETY: SIG_DFL is a valid action and no handler runs.
    // JUSTIFICATION: ignored signals stay ignored over exec, and std set SIGPIPE to ignored.
    #[expect(unsafe_code, reason = "signal has no safe wrapper")]
    let old = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    if old == libc::SIG_ERR { Err(last()) } else { Ok(()) }
}

/// How a child ended and what it used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ended {
    /// Raw wait status.
    pub(crate) status: i32,
    /// CPU time in microseconds, user and system.
    pub(crate) cpu_us: u64,
    /// Largest resident set, in KiB.
    pub(crate) peak_kib: u64,
}

/// Reaps one child, `pid` or (-1) any; `None` when `block` is false and none has ended.
pub(crate) fn reap(pid: i32, block: bool) -> io::Result<Option<(i32, Ended)>> {
    let mut status = 0;
    // SAFETY: all-zero is a valid rusage.
    // JUSTIFICATION: it is an output buffer of plain integers.
    #[expect(unsafe_code, reason = "a C structure of integers")]
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let options = if block { 0 } else { libc::WNOHANG };
    // SAFETY: both pointers are to live values of the types expected.
    // JUSTIFICATION: rustix has no wait4, and the usage of a child is known only here.
    #[expect(unsafe_code, reason = "wait4 has no safe wrapper")]
    let pid = unsafe { libc::wait4(pid, &raw mut status, options, &raw mut usage) };
    if pid < 0 {
        return Err(last());
    }
    if pid == 0 {
        return Ok(None);
    }
    let micros = |t: libc::timeval| {
        u64::try_from(t.tv_sec)
            .unwrap_or(0)
            .saturating_mul(1_000_000)
            .saturating_add(u64::try_from(t.tv_usec).unwrap_or(0))
    };
    let cpu_us = micros(usage.ru_utime).saturating_add(micros(usage.ru_stime));
    let peak_kib = u64::try_from(usage.ru_maxrss).unwrap_or(0);
    Ok(Some((pid, Ended { status, cpu_us, peak_kib })))
}

/// Socket option that gives a pidfd of the peer (linux 6.5, asm-generic/socket.h); libc does not have it on all targets.
const SO_PEERPIDFD: i32 = 77;

/// A descriptor of the process at the other end of a unix socket.
pub(crate) fn peer_pidfd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut pidfd: RawFd = -1;
    let mut len = libc::socklen_t::try_from(size_of::<RawFd>()).unwrap_or(0);
    // SAFETY: the option's value is one integer, which both pointers describe; both live for the call.
    // JUSTIFICATION: rustix has no SO_PEERPIDFD.
    #[expect(unsafe_code, reason = "getsockopt of this option has no safe wrapper")]
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut pidfd).cast::<c_void>(),
            &raw mut len,
        )
    };
    check(result.into())?;
    // SAFETY: the kernel made this descriptor for us, and nobody else knows it.
    // JUSTIFICATION: it comes as a bare number.
    #[expect(unsafe_code, reason = "the descriptor is ours")]
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
}

#[cfg(test)]
mod tests;
