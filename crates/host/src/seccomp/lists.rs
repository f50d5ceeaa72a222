//! The calls of each profile. Start: what `strace -f` saw of Python, NumPy and PyTorch 1.13 training, of the
//! runtime and of the porter; then what libc uses for the same purpose on other versions.

use super::Profile;

macro_rules! calls {
    ($($name:ident)*) => { &[$(libc::$name),*] };
}

/// Memory, threads, time, signals to oneself, reading files, polling, and what the first process of a sandbox
/// needs to start and reap the workload.
const CORE: &[i64] = calls! {
    SYS_read SYS_write SYS_close SYS_fstat SYS_stat SYS_lstat SYS_newfstatat SYS_statx SYS_poll SYS_ppoll
    SYS_lseek SYS_mmap SYS_mprotect SYS_munmap SYS_brk SYS_mremap SYS_madvise SYS_msync SYS_membarrier
    SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_rt_sigtimedwait SYS_rt_sigsuspend
    SYS_rt_sigpending SYS_sigaltstack SYS_restart_syscall
    SYS_ioctl SYS_pread64 SYS_pwrite64 SYS_readv SYS_writev SYS_preadv SYS_pwritev SYS_access SYS_faccessat
    SYS_faccessat2 SYS_open SYS_openat SYS_openat2 SYS_readlink SYS_readlinkat SYS_getcwd SYS_getdents64
    SYS_pipe2 SYS_dup SYS_dup2 SYS_dup3 SYS_fcntl SYS_close_range SYS_fadvise64 SYS_statfs SYS_fstatfs
    SYS_select SYS_pselect6 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_wait SYS_epoll_pwait SYS_epoll_pwait2
    SYS_eventfd2 SYS_timerfd_create SYS_timerfd_settime SYS_timerfd_gettime
    SYS_sched_yield SYS_nanosleep SYS_clock_nanosleep SYS_clock_gettime SYS_clock_getres SYS_gettimeofday
    SYS_times SYS_getrusage SYS_sysinfo SYS_uname SYS_getrandom SYS_getcpu
    SYS_getpid SYS_gettid SYS_getppid SYS_getuid SYS_geteuid SYS_getgid SYS_getegid SYS_getgroups
    SYS_getresuid SYS_getresgid SYS_getpgid SYS_getpgrp SYS_getsid SYS_capget
    SYS_futex SYS_set_robust_list SYS_get_robust_list SYS_set_tid_address SYS_rseq SYS_arch_prctl SYS_prctl
    SYS_getrlimit SYS_prlimit64 SYS_sched_getaffinity SYS_sched_getscheduler
    SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_getpriority
    SYS_clone SYS_clone3 SYS_execve SYS_exit SYS_exit_group SYS_wait4 SYS_waitid SYS_kill SYS_tgkill
    SYS_memfd_create SYS_sendmsg SYS_recvmsg SYS_sendto SYS_recvfrom SYS_shutdown SYS_getsockname
    SYS_getpeername SYS_getsockopt SYS_setsockopt
};

/// Serving: accepting on the socket that is passed in.
const INFERENCE: &[i64] = calls! { SYS_accept SYS_accept4 SYS_mlock SYS_munlock };

/// Changing files, more processes, local sockets.
const TRAINING: &[i64] = calls! {
    SYS_getxattr SYS_lgetxattr SYS_fgetxattr SYS_listxattr SYS_fork SYS_vfork SYS_setsid SYS_setpgid SYS_umask SYS_chdir SYS_fchdir SYS_pipe
    SYS_mkdir SYS_mkdirat SYS_rmdir SYS_unlink SYS_unlinkat SYS_rename SYS_renameat SYS_renameat2
    SYS_link SYS_linkat SYS_symlink SYS_symlinkat SYS_truncate SYS_ftruncate SYS_fallocate SYS_flock
    SYS_fsync SYS_fdatasync SYS_sync_file_range SYS_chmod SYS_fchmod SYS_fchmodat SYS_utimes
    SYS_utimensat SYS_sendfile SYS_copy_file_range SYS_splice
    SYS_socket SYS_socketpair SYS_connect SYS_bind SYS_listen SYS_accept SYS_accept4
    SYS_inotify_init1 SYS_inotify_add_watch SYS_inotify_rm_watch SYS_signalfd4
    SYS_timer_create SYS_timer_settime SYS_timer_gettime SYS_timer_delete
    SYS_setitimer SYS_getitimer SYS_sched_setaffinity SYS_setpriority SYS_setrlimit SYS_mlock SYS_munlock
    SYS_personality
};

/// Filling and reading mounts, leases, watches; its own start is by descriptor.
const PORTER: &[i64] = calls! {
    SYS_execveat SYS_mkdir SYS_mkdirat SYS_linkat SYS_symlinkat SYS_unlink SYS_unlinkat SYS_rmdir SYS_rename SYS_renameat SYS_renameat2
    SYS_ftruncate SYS_fallocate SYS_fsync SYS_fdatasync SYS_fchmod SYS_utimensat SYS_copy_file_range
    SYS_sendfile SYS_inotify_init1 SYS_inotify_add_watch SYS_inotify_rm_watch SYS_signalfd4 SYS_umask
    SYS_socketpair SYS_mlock SYS_munlock SYS_fchdir SYS_chdir SYS_setrlimit
};

/// All calls of a profile.
pub(super) fn of(profile: Profile) -> Vec<i64> {
    let more = match profile {
        Profile::Training => TRAINING,
        Profile::Inference => INFERENCE,
        Profile::Porter => PORTER,
    };
    CORE.iter().chain(more).copied().collect()
}
