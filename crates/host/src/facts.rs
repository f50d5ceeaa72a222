//! What the kernel says of processes and file systems of the node, in numbers: for diagnostics.

use std::fs;
use std::path::Path;

use ops::diagnostics::{FileSystem, Place, PlaceFacts, ProcessFacts};
use rustix::fs::StatVfsMountFlags;

use crate::error::HostError;

/// A process; none where it has ended or its file says less than it must.
pub fn process(pid: u32) -> Option<ProcessFacts> {
    of(pid, &fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn of(pid: u32, status: &str) -> Option<ProcessFacts> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim)
    };
    // Real, effective, saved, file system.
    let effective = |name: &str| field(name)?.split_whitespace().nth(1)?.parse().ok();
    let bits = |name: &str| u64::from_str_radix(field(name)?, 16).ok();
    let resident_kib: u64 =
        field("VmRSS").and_then(|t| t.strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0);
    Some(ProcessFacts {
        pid,
        uid: effective("Uid")?,
        gid: effective("Gid")?,
        capabilities: bits("CapEff")?,
        bounding: bits("CapBnd")?,
        no_new_privileges: field("NoNewPrivs")? == "1",
        seccomp: field("Seccomp")?.parse().ok()?,
        threads: field("Threads")?.parse().ok()?,
        resident_bytes: resident_kib.saturating_mul(1024),
    })
}

/// The file system at a path, which itself is not told.
///
/// # Errors
/// The kernel's.
pub fn place(place: Place, path: &Path) -> Result<PlaceFacts, HostError> {
    let kind = rustix::fs::statfs(path).map_err(HostError::at("look at a file system"))?.f_type;
    let state = rustix::fs::statvfs(path).map_err(HostError::at("look at a file system"))?;
    Ok(PlaceFacts {
        place,
        file_system: file_system(u64::try_from(kind).unwrap_or(0)),
        total_bytes: state.f_blocks.saturating_mul(state.f_frsize),
        free_bytes: state.f_bavail.saturating_mul(state.f_frsize),
        free_files: state.f_favail,
        read_only: state.f_flag.contains(StatVfsMountFlags::RDONLY),
        nosuid: state.f_flag.contains(StatVfsMountFlags::NOSUID),
        noexec: state.f_flag.contains(StatVfsMountFlags::NOEXEC),
    })
}

/// By the numbers of statfs(2) and linux/magic.h.
const fn file_system(kind: u64) -> FileSystem {
    match kind {
        0xef53 => FileSystem::Ext,
        0x5846_5342 => FileSystem::Xfs,
        0x9123_683e => FileSystem::Btrfs,
        0x0102_1994 => FileSystem::Tmpfs,
        0x794c_7630 => FileSystem::Overlay,
        0x2fc1_2fc1 => FileSystem::Zfs,
        // NFS, SMB 1 and 2, Ceph.
        0x6969 | 0xff53_4d42 | 0xfe53_4d42 | 0x00c3_6400 => FileSystem::Network,
        _ => FileSystem::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx Uid:\t0\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nThreads:\t9\nVmRSS:\t    10 kB\n\
                          NoNewPrivs:\t1\nSeccomp:\t2\nCapEff:\t0000000000200000\nCapBnd:\t00000000002000ff\n";

    #[test]
    fn a_process_is_told_by_its_effective_ids() {
        let seen = of(7, STATUS).unwrap();
        assert_eq!((seen.pid, seen.uid, seen.gid, seen.threads, seen.resident_bytes), (7, 2, 6, 9, 10_240));
        assert_eq!((seen.capabilities, seen.bounding), (0x20_0000, 0x20_00ff));
        assert!(seen.no_new_privileges && seen.seccomp == 2);
        for missing in ["Uid", "Gid", "Threads", "NoNewPrivs", "Seccomp", "CapEff", "CapBnd"] {
            assert_eq!(of(7, &STATUS.replace(&format!("\n{missing}:"), "\nx:")), None, "{missing}");
        }
        let own = process(std::process::id()).unwrap();
        assert_eq!(own.uid, rustix::process::geteuid().as_raw());
        assert!(own.threads >= 1 && own.resident_bytes > 0);
        // Above the largest process number that a kernel gives.
        assert_eq!(process(1 << 23), None);
    }

    #[test]
    fn a_file_system_is_told_by_its_number() {
        let seen = place(Place::State, Path::new("/proc")).unwrap();
        assert_eq!((seen.file_system, seen.total_bytes), (FileSystem::Other, 0));
        let here = place(Place::Log, &std::env::temp_dir()).unwrap();
        assert!(here.total_bytes >= here.free_bytes && here.total_bytes > 0);
        assert!(place(Place::Log, Path::new("/nonexistent")).is_err());
        assert_eq!(file_system(0xef53), FileSystem::Ext);
    }
}
