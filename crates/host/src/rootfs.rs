//! The root file system of a sandbox or porter: a small tmpfs with the host's `/usr` read-only and a short fixed
//! list from `/etc`, or with the top of an image; five device nodes, and generated files that say what was granted
//! and no more.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen,
};

use crate::confine::{Step, at};
use crate::error::HostError;
use crate::limits::{ROOT_BYTES, ROOT_INODES};
use crate::mounts::{self, Tmpfs};

mod top;

/// A directory that every host has and that a new process may cover in its own mount namespace.
const STAGING: &CStr = c"/usr";
/// Device nodes of every sandbox.
const DEVICES: [(&CStr, &CStr); 5] = [
    (c"/dev/null", c"dev/null"),
    (c"/dev/zero", c"dev/zero"),
    (c"/dev/full", c"dev/full"),
    (c"/dev/random", c"dev/random"),
    (c"/dev/urandom", c"dev/urandom"),
];
/// Links at the root of a merged-`/usr` system.
const MERGED: [(&CStr, &CStr); 4] =
    [(c"/bin", c"bin"), (c"/sbin", c"sbin"), (c"/lib", c"lib"), (c"/lib64", c"lib64")];

/// Mounts and texts that are prepared before the process exists.
#[derive(Debug)]
pub(crate) struct Prepared {
    root: OwnedFd,
    /// Mount and where it goes, in order.
    mounts: Vec<(OwnedFd, CString)>,
    links: Vec<(CString, CString)>,
    files: Vec<(&'static CStr, String)>,
    directories: Vec<CString>,
    /// The frozen mount of an image, in place of the host's programs.
    image: Option<OwnedFd>,
    /// Whether the procfs shows only processes, as it must where a workload runs.
    pub(crate) only_pids: bool,
}

/// What a process may see of the machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown {
    /// CPUs that it was granted, rounded up.
    pub(crate) cpus: u32,
    /// Memory that it was granted.
    pub(crate) memory_bytes: u64,
}

impl Prepared {
    /// The host's programs, read-only, for a process whose namespace's root is `owner`.
    pub(crate) fn host(owner: u32, shown: Shown) -> Result<Self, HostError> {
        let mut made = Self::empty(owner)?;
        for directory in [c"usr", c"etc", c"opt"] {
            made.directory(directory);
        }
        let ro = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
        made.clone_in(c"/usr", c"usr", ro).map_err(HostError::at("take the host's /usr"))?;
        for (path, name) in MERGED {
            made.merged(path, name)?;
        }
        made.etc(ro)?;
        made.platform(shown)?;
        Ok(made)
    }

    /// The top of a frozen image; nothing of the host's.
    pub(crate) fn image(owner: u32, shown: Shown, image: OwnedFd) -> Result<Self, HostError> {
        let mut made = Self::empty(owner)?;
        made.directory(c"opt");
        made.image = Some(image);
        made.platform(shown)?;
        Ok(made)
    }

    fn empty(owner: u32) -> Result<Self, HostError> {
        let tmpfs =
            Tmpfs { size_bytes: ROOT_BYTES, inodes: ROOT_INODES, mode: 0o755, uid: owner, gid: owner };
        Ok(Self {
            root: tmpfs.make()?.root,
            mounts: Vec::new(),
            links: Vec::new(),
            files: Vec::new(),
            directories: Vec::new(),
            image: None,
            only_pids: true,
        })
    }

    /// What every root has: places of the kernel, and what was granted.
    fn platform(&mut self, shown: Shown) -> Result<(), HostError> {
        for directory in [c"dev", c"proc", c"proc/pid", c"tmp", c"run"] {
            self.directory(directory);
        }
        for (path, name) in DEVICES {
            let noexec = MountAttrFlags::MOUNT_ATTR_NOEXEC;
            self.clone_in(path, name, noexec).map_err(HostError::at("take a device node"))?;
            self.files.push((name, String::new()));
        }
        self.generated(shown);
        Ok(())
    }

    fn clone_in(&mut self, path: &CStr, name: &CStr, flags: MountAttrFlags) -> io::Result<()> {
        self.mounts.push((mounts::clone_host(path, flags)?, name.to_owned()));
        Ok(())
    }

    /// `/bin -> usr/bin` and the like, as on the host; a host with real directories there is not supported.
    fn merged(&mut self, path: &CStr, name: &CStr) -> Result<(), HostError> {
        match rustix::fs::readlinkat(CWD, path, Vec::new()) {
            Ok(target) if target.to_bytes().starts_with(b"usr/") => {
                self.links.push((target, name.to_owned()));
                Ok(())
            }
            Err(rustix::io::Errno::NOENT) => Ok(()),
            Ok(_) | Err(_) => Err(HostError::Invalid(format!(
                "the host's {} is not a link into /usr, so its programs cannot be an image",
                path.to_string_lossy()
            ))),
        }
    }

    /// The library cache, the alternatives, the time zone; users are generated, the host's are nobody's business.
    fn etc(&mut self, ro: MountAttrFlags) -> Result<(), HostError> {
        let flags = ro | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        if self.clone_in(c"/etc/ld.so.cache", c"etc/ld.so.cache", flags).is_ok() {
            self.files.push((c"etc/ld.so.cache", String::new()));
        }
        if self.clone_in(c"/etc/alternatives", c"etc/alternatives", flags).is_ok() {
            self.directories.push(c"etc/alternatives".to_owned());
        }
        if let Ok(zone) = rustix::fs::readlinkat(CWD, c"/etc/localtime", Vec::new())
            && zone.to_bytes().starts_with(b"/usr/share/zoneinfo/")
        {
            self.links.push((zone, c"etc/localtime".to_owned()));
        }
        self.files.push((
            c"etc/passwd",
            "root:x:0:0::/:/usr/sbin/nologin\njob:x:1000:1000::/tmp:/usr/sbin/nologin\n".to_owned(),
        ));
        self.files.push((c"etc/group", "root:x:0:\njob:x:1000:\n".to_owned()));
        Ok(())
    }

    /// `/proc` and `/dev` of a sandbox beside the procfs and the nodes.
    fn generated(&mut self, shown: Shown) {
        for (target, name) in [
            (c"pid/self", c"proc/self"),
            (c"pid/thread-self", c"proc/thread-self"),
            (c"pid/self/mounts", c"proc/mounts"),
            (c"/proc/self/fd", c"dev/fd"),
            (c"/proc/self/fd/0", c"dev/stdin"),
            (c"/proc/self/fd/1", c"dev/stdout"),
            (c"/proc/self/fd/2", c"dev/stderr"),
        ] {
            self.links.push((target.to_owned(), name.to_owned()));
        }
        let host = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        self.files.push((c"proc/cpuinfo", cpuinfo(&host, shown.cpus)));
        let kib = shown.memory_bytes / 1024;
        self.files.push((
            c"proc/meminfo",
            format!(
                "MemTotal: {kib:>14} kB\nMemFree: {kib:>15} kB\nMemAvailable: {kib:>10} kB\n\
                 SwapTotal: {:>13} kB\nSwapFree: {:>14} kB\n",
                0, 0
            ),
        ));
        let line = |name: String| format!("{name} 0 0 0 0 0 0 0 0 0 0\n");
        let mut stat = line("cpu ".to_owned());
        stat.extend((0..shown.cpus).map(|i| line(format!("cpu{i}"))));
        self.files.push((c"proc/stat", stat));
    }

    /// Adds a directory below the root.
    pub(crate) fn directory(&mut self, path: &CStr) {
        self.directories.push(path.to_owned());
    }

    /// Adds a directory unless it is there.
    pub(crate) fn directory_once(&mut self, path: &CStr) {
        if !self.directories.iter().any(|d| d.as_c_str() == path) {
            self.directories.push(path.to_owned());
        }
    }

    /// Every descriptor that [`Prepared::enter`] uses.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let mounts = self.mounts.iter().map(|(fd, _)| fd);
        std::iter::once(&self.root).chain(&self.image).chain(mounts).map(AsRawFd::as_raw_fd)
    }

    /// Adds an empty file to mount on.
    pub(crate) fn file(&mut self, path: &'static CStr) {
        self.files.push((path, String::new()));
    }

    /// Adds a mount, attached after all earlier ones.
    pub(crate) fn mount(&mut self, mount: OwnedFd, path: CString) {
        self.mounts.push((mount, path));
    }

    /// In the new process, in its own mount namespace: builds the root and makes it the only thing there is.
    pub(crate) fn enter(&self) -> Step {
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change(c"/", private).map_err(at("make mounts private"))?;
        let root = self.root.as_fd();
        mounts::attach(root, CWD, STAGING).map_err(at("attach the root"))?;
        for directory in &self.directories {
            rustix::fs::mkdirat(root, directory, Mode::from_raw_mode(0o755))
                .map_err(at("make a directory"))?;
        }
        for (target, name) in &self.links {
            rustix::fs::symlinkat(target, root, name).map_err(at("make a link"))?;
        }
        if let Some(image) = &self.image {
            top::show(image.as_fd(), root)?;
        }
        for (name, text) in &self.files {
            write(root, name, text).map_err(at("write a generated file"))?;
        }
        // While the host's procfs is still visible: the kernel demands that of a namespace without privilege.
        let proc = proc(self.only_pids).map_err(at("mount a procfs"))?;
        mounts::attach(proc.as_fd(), root, c"proc/pid").map_err(at("attach the procfs"))?;
        for (mount, path) in &self.mounts {
            mounts::attach(mount.as_fd(), root, path).map_err(at("attach a mount"))?;
        }
        mounts::set_flags(root, MountAttrFlags::MOUNT_ATTR_RDONLY).map_err(at("make the root read-only"))?;
        rustix::process::fchdir(root).map_err(at("enter the root"))?;
        rustix::process::pivot_root(c".", c".").map_err(at("pivot to the root"))?;
        rustix::mount::unmount(c".", UnmountFlags::DETACH).map_err(at("leave the host's root"))?;
        rustix::process::chdir(c"/").map_err(at("enter the root"))
    }
}

/// Writes one small file.
fn write(root: BorrowedFd<'_>, name: &CStr, text: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(root, name, flags, Mode::from_raw_mode(0o444))?;
    let mut left = text.as_bytes();
    while !left.is_empty() {
        let wrote = rustix::io::write(&file, left)?;
        left = left.get(wrote..).unwrap_or(&[]);
    }
    Ok(())
}

/// A procfs of this pid namespace.
fn proc(only_pids: bool) -> io::Result<OwnedFd> {
    let fs = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    if only_pids {
        fsconfig_set_string(&fs, "subset", "pid")?;
    }
    fsconfig_set_string(&fs, "hidepid", "invisible")?;
    fsconfig_create(&fs)?;
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
}

/// The host's first processor, once per granted CPU: model and flags are real, the number is the grant.
fn cpuinfo(host: &str, cpus: u32) -> String {
    let first = host.split("\n\n").next().unwrap_or("");
    let mut out = String::new();
    for cpu in 0..cpus {
        for line in first.lines() {
            let key = line.split(':').next().unwrap_or("").trim_end();
            match key {
                "processor" | "core id" | "apicid" | "initial apicid" => {
                    out.push_str(&format!("{key}\t: {cpu}\n"));
                }
                "siblings" | "cpu cores" => out.push_str(&format!("{key}\t: {cpus}\n")),
                // What tells one machine from another of its kind.
                "microcode" | "physical id" | "cpu MHz" => {}
                _ => {
                    out.push_str(line);
                    out.push('\n');
                }
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::cpuinfo;

    #[test]
    fn cpuinfo_shows_the_grant_and_not_the_machine() {
        let host = "processor\t: 0\nmodel name\t: X\nmicrocode\t: 0xa\ncpu cores\t: 64\n\nprocessor\t: 1\n";
        let shown = cpuinfo(host, 2);
        assert_eq!(shown.matches("model name\t: X").count(), 2);
        assert!(shown.contains("processor\t: 1\n") && shown.contains("cpu cores\t: 2\n"));
        assert!(!shown.contains("microcode") && !shown.contains("64"));
    }
}
