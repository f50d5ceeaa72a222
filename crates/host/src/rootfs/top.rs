//! The top of an image in a root of our own: each directory of it is mounted, each link is made again. So the
//! platform's places (`/dev`, `/proc`, `/tmp`, `/run`, `/opt/ml`) need none in the image, which stays as it was
//! verified.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::mount::{OpenTreeFlags, UnmountFlags, open_tree};

use crate::confine::{Step, at};
use crate::limits::IMAGE_TOP_MAX;
use crate::mounts;

/// Where the image is attached while its parts are taken. No image has a name like this: it would be a whiteout.
const STAGING: &CStr = c".wh.image";
/// What the platform makes itself; an image has nothing there (`image::path`), and if it had it is not shown.
const PLATFORM: [&CStr; 6] = [c"dev", c"proc", c"run", c"sys", c"tmp", STAGING];
/// The one directory of which an image has a part and the platform another.
const SHARED: &CStr = c"opt";
/// The platform's part of it.
const OWN: &CStr = c"ml";

/// Shows the image's top below `root`, which is attached and still writable. Runs in the new process, in its own
/// mount namespace: the warden itself never looks into an image.
pub(crate) fn show(image: BorrowedFd<'_>, root: BorrowedFd<'_>) -> Step {
    let mode = Mode::from_raw_mode(0o755);
    rustix::fs::mkdirat(root, STAGING, mode).map_err(at("make a place for the image"))?;
    mounts::attach(image, root, STAGING).map_err(at("attach the image"))?;
    let opened = directory(root, STAGING).map_err(at("open the image"))?;
    let staged = opened.as_fd();
    for name in names(staged).map_err(at("list the image"))? {
        if PLATFORM.contains(&name.as_c_str()) {
            continue;
        }
        if name.as_c_str() != SHARED {
            show_one(staged, root, &name).map_err(at("show a part of the image"))?;
            continue;
        }
        // A link to elsewhere in the image is as good; one that leads to nothing is shown as nothing.
        let Ok(opened) = inside(staged, SHARED) else { continue };
        let theirs = opened.as_fd();
        let ours = directory(root, SHARED).map_err(at("open a directory"))?;
        for name in names(theirs).map_err(at("list the image"))? {
            if name.as_c_str() != OWN {
                show_one(theirs, ours.as_fd(), &name).map_err(at("show a part of the image"))?;
            }
        }
    }
    rustix::process::fchdir(root).map_err(at("enter the root"))?;
    rustix::mount::unmount(STAGING, UnmountFlags::DETACH).map_err(at("detach the image"))?;
    rustix::fs::unlinkat(root, STAGING, AtFlags::REMOVEDIR).map_err(at("remove the place of the image"))
}

/// Mounts a directory or file, or makes a link again.
fn show_one(image: BorrowedFd<'_>, root: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let stat = rustix::fs::statat(image, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(image, name, Vec::new())?;
            return Ok(rustix::fs::symlinkat(&target, root, name)?);
        }
        FileType::Directory => rustix::fs::mkdirat(root, name, Mode::from_raw_mode(0o755))?,
        FileType::RegularFile => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            drop(rustix::fs::openat(root, name, flags, Mode::from_raw_mode(0o444))?);
        }
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let part: OwnedFd = open_tree(image, name, flags)?;
    mounts::attach(part.as_fd(), root, name)
}

fn directory(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// As [`directory`]; a link is followed as if the image were the root.
fn inside(image: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    Ok(rustix::fs::openat2(image, name, flags, Mode::empty(), how)?)
}

fn names(directory: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        if names.len() >= IMAGE_TOP_MAX {
            return Err(io::Error::other(format!("more than {IMAGE_TOP_MAX} names in one directory")));
        }
        names.push(entry.file_name().to_owned());
    }
    Ok(names)
}
