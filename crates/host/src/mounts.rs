//! Memory-backed mounts that are never attached to a path of the host, and read-only clones of what the host has.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Gid, Mode, StatVfsMountFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, fspick, move_mount,
    open_tree,
};

use crate::error::HostError;
use crate::limits::{PAGE, SCRATCH_INODES};
use crate::sys;

/// Flags of every memory-backed mount: no set-id programs, no devices, nothing executable.
const SEALED: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// What a tmpfs is made like.
#[derive(Debug, Clone, Copy)]
pub struct Tmpfs {
    /// Most bytes.
    pub size_bytes: u64,
    /// Most files and directories.
    pub inodes: u64,
    /// Permissions of its root.
    pub mode: u32,
    /// Owner of its root.
    pub uid: u32,
    /// Group of its root.
    pub gid: u32,
}

/// A mount that is attached nowhere.
#[derive(Debug)]
pub struct Detached {
    /// Its root directory.
    pub root: OwnedFd,
    /// Whether the kernel keeps its pages out of swap.
    pub noswap: bool,
}

impl Tmpfs {
    /// Makes it, detached, nosuid, nodev, noexec, and out of swap where the kernel grants that.
    ///
    /// # Errors
    /// The kernel's.
    pub fn make(&self) -> Result<Detached, HostError> {
        self.make_with(SEALED)
    }

    fn make_with(&self, flags: MountAttrFlags) -> Result<Detached, HostError> {
        let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(HostError::at("open a tmpfs"))?;
        let set = |key: &str, value: String| fsconfig_set_string(&fs, key, value.as_str());
        set("size", self.size_bytes.to_string())
            .and_then(|()| set("nr_inodes", self.inodes.to_string()))
            .and_then(|()| set("mode", format!("{:o}", self.mode)))
            .and_then(|()| set("uid", self.uid.to_string()))
            .and_then(|()| set("gid", self.gid.to_string()))
            .map_err(HostError::at("configure a tmpfs"))?;
        // Refused inside a user namespace and before Linux 6.4: reported, not needed to go on.
        let noswap = fsconfig_set_flag(&fs, "noswap").is_ok();
        fsconfig_create(&fs).map_err(HostError::at("create a tmpfs"))?;
        let root =
            fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, flags).map_err(HostError::at("mount a tmpfs"))?;
        Ok(Detached { root, noswap })
    }
}

/// An input: filled by the porter (`uid`), then frozen. Its limit is its bytes rounded up to pages per file, and
/// one page of table per file and directory.
///
/// # Errors
/// The kernel's.
pub fn input(bytes: u64, files: u32, uid: u32) -> Result<Detached, HostError> {
    input_fs(bytes, files, uid).make()
}

/// An image: like an input, but what is in it may be executed, since nothing else is in the sandbox. It is frozen
/// before anything is.
///
/// # Errors
/// The kernel's.
pub fn image(bytes: u64, entries: u32, uid: u32) -> Result<Detached, HostError> {
    input_fs(bytes, entries, uid).make_with(SEALED.difference(MountAttrFlags::MOUNT_ATTR_NOEXEC))
}

fn input_fs(bytes: u64, files: u32, uid: u32) -> Tmpfs {
    let tables = u64::from(files).saturating_add(16).saturating_mul(4).saturating_mul(PAGE);
    let inodes = u64::from(files).saturating_mul(4).saturating_add(64);
    let size_bytes = bytes.saturating_add(tables);
    Tmpfs { size_bytes, inodes, mode: 0o755, uid, gid: uid }
}

/// The scratch: attached at `/opt/ml` of the workload. Its root belongs to the namespace's root, so that the
/// workload (`inner`) writes only below `checkpoints`, `model` and `output`.
///
/// # Errors
/// The kernel's.
pub fn scratch(bytes: u64, owner: u32, inner: u32) -> Result<Detached, HostError> {
    let made =
        Tmpfs { size_bytes: bytes, inodes: SCRATCH_INODES, mode: 0o755, uid: owner, gid: owner }.make()?;
    for name in [c"checkpoints", c"model", c"output", c"output/data"] {
        directory(made.root.as_fd(), name, inner)?;
    }
    Ok(made)
}

/// One directory of an owner.
fn directory(root: BorrowedFd<'_>, name: &CStr, owner: u32) -> Result<(), HostError> {
    rustix::fs::mkdirat(root, name, Mode::from_raw_mode(0o755)).map_err(HostError::at("make a directory"))?;
    let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
    rustix::fs::chownat(root, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(HostError::at("give a directory to the workload"))
}

/// Makes the file system behind `mount` read-only for everybody and for good, and reads that back.
///
/// # Errors
/// [`HostError::Busy`] while somebody has a file of it open for writing or mapped writable.
pub fn freeze(mount: BorrowedFd<'_>) -> Result<(), HostError> {
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
    let fs = fspick(mount, "", flags).map_err(HostError::at("pick the input's file system"))?;
    fsconfig_set_flag(&fs, "ro").map_err(HostError::at("ask for a read-only file system"))?;
    match fsconfig_reconfigure(&fs) {
        Ok(()) => {}
        Err(Errno::BUSY) => return Err(HostError::Busy),
        Err(error) => return Err(HostError::at("make the input read-only")(error)),
    }
    if is_read_only(mount)? { Ok(()) } else { Err(HostError::Busy) }
}

/// Whether writes through this mount are refused.
///
/// # Errors
/// The kernel's.
pub fn is_read_only(mount: BorrowedFd<'_>) -> Result<bool, HostError> {
    let state = rustix::fs::fstatvfs(mount).map_err(HostError::at("read back the mount's flags"))?;
    Ok(state.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// A clone of one mount of the host at `path` (without what is mounted below it), read-only and nosuid.
pub(crate) fn clone_host(path: &CStr, extra: MountAttrFlags) -> io::Result<OwnedFd> {
    let tree = open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    set_flags(tree.as_fd(), MountAttrFlags::MOUNT_ATTR_NOSUID | extra)?;
    Ok(tree)
}

/// A mount whose root is exactly this open file, so that a program is mapped from what was hashed.
pub(crate) fn clone_file(file: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(file, "", flags)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV;
    set_flags(tree.as_fd(), attributes)?;
    Ok(tree)
}

/// Adds flags to a mount that we own.
pub(crate) fn set_flags(mount: BorrowedFd<'_>, flags: MountAttrFlags) -> io::Result<()> {
    sys::mount_setattr(mount, u64::from(flags.bits()))
}

/// Attaches a detached mount at `path` below `root`.
pub(crate) fn attach(mount: BorrowedFd<'_>, root: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    Ok(move_mount(mount, c"", root, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}
