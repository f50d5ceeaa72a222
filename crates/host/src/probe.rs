//! What this host offers, found by trying it in a throw-away child, never by version numbers.

use std::fs;

use ops::warden::{Feature, FeatureState};
use rustix::thread::UnshareFlags;

use crate::cgroup::{self, Layout};
use crate::confine::{self, Grant, Place};
use crate::launch;
use crate::limits::PAGE;
use crate::mounts::Tmpfs;
use crate::report::feature;
use crate::seccomp::{Filter, Profile};
use crate::sys;

/// Each namespace that a sandbox needs, tried inside a user namespace of its own.
const NAMESPACES: [(&str, i32); 7] = [
    ("namespace.user", 0),
    ("namespace.pid", libc::CLONE_NEWPID),
    ("namespace.mnt", libc::CLONE_NEWNS),
    ("namespace.net", libc::CLONE_NEWNET),
    ("namespace.ipc", libc::CLONE_NEWIPC),
    ("namespace.uts", libc::CLONE_NEWUTS),
    ("namespace.cgroup", libc::CLONE_NEWCGROUP),
];

/// Tries every protection that sandboxes of this node use.
pub fn probe(layout: &Layout) -> Vec<Feature> {
    let mut all: Vec<Feature> =
        NAMESPACES.iter().map(|(name, flag)| tried(name, libc::CLONE_NEWUSER | flag, || true)).collect();
    all.push(tried("seccomp", 0, || {
        confine::harden().is_ok()
            && Filter::new(Profile::Training).load().is_ok()
            && sys::unshare(UnshareFlags::NEWUSER).is_err_and(|e| e.raw_os_error() == Some(libc::EPERM))
    }));
    all.push(tried("landlock", 0, || {
        confine::harden().is_ok()
            && confine::landlock(&[(Place::Path("/usr"), Grant::Read)], None).is_ok_and(|status| status == 2)
            && fs::read("/etc/passwd").is_err_and(|e| e.raw_os_error() == Some(libc::EACCES))
            && fs::read_dir("/usr").is_ok()
    }));
    all.push(noswap());
    all.extend(["memory", "pids", "cpu", "devices", "freezer"].map(|name| controller(layout, name)));
    all.push(state("cgroup.kill", layout.has_v2(), "cgroup v2 tree", "no cgroup v2 tree: by pid namespace"));
    all.push(match cgroup::may_create(layout) {
        Ok(()) => feature("cgroup.delegation", FeatureState::Enforced, "a group was made and removed"),
        Err(error) => feature("cgroup.delegation", FeatureState::Unsupported, &error.to_string()),
    });
    all.extend(hardware());
    all
}

/// Runs `trial` in a child with new namespaces: true = in force there.
fn tried(name: &str, flags: i32, trial: impl FnOnce() -> bool) -> Feature {
    let child = match sys::fork(flags, None, || u8::from(!trial())) {
        Ok(child) => child,
        Err(error) => return feature(name, FeatureState::Unsupported, &error.to_string()),
    };
    match launch::reap(&child) {
        Ok(Some(0)) => feature(name, FeatureState::Enforced, "tried in a child of its own"),
        Ok(code) => feature(name, FeatureState::Failed, &format!("the trial ended with {code:?}")),
        Err(error) => feature(name, FeatureState::Failed, &error.to_string()),
    }
}

fn noswap() -> Feature {
    let tmpfs = Tmpfs { size_bytes: PAGE, inodes: 16, mode: 0o700, uid: 0, gid: 0 };
    match tmpfs.make() {
        Ok(made) => {
            state("memory.noswap", made.noswap, "a mount was made with it", "the kernel refuses the option")
        }
        Err(error) => feature("memory.noswap", FeatureState::Failed, &base::error::chain(&error)),
    }
}

fn controller(layout: &Layout, name: &str) -> Feature {
    let key = format!("cgroup.{name}");
    match layout.holder(name) {
        Some(tree) => feature(&key, FeatureState::Enforced, tree),
        None => feature(&key, FeatureState::Unsupported, "no hierarchy has it"),
    }
}

fn state(name: &str, held: bool, yes: &str, no: &str) -> Feature {
    if held {
        feature(name, FeatureState::Enforced, yes)
    } else {
        feature(name, FeatureState::Unsupported, no)
    }
}

/// What the machine itself is set to (isolation.md section 8).
fn hardware() -> Vec<Feature> {
    let read = |path: &str| fs::read_to_string(path).map(|t| t.trim().to_owned()).ok();
    let is = |name: &str, held: bool, detail: &str| {
        feature(name, if held { FeatureState::Enforced } else { FeatureState::Failed }, detail)
    };
    let swaps = read("/proc/swaps").map_or(0, |t| t.lines().skip(1).count());
    let mut all = vec![is("host.swap_off", swaps == 0, &format!("{swaps} swap areas"))];
    all.push(match read("/sys/kernel/mm/ksm/run") {
        Some(run) => is("host.ksm_off", run == "0", &format!("run={run}")),
        None => feature("host.ksm_off", FeatureState::NotApplicable, "the kernel has no KSM"),
    });
    let pattern = read("/proc/sys/kernel/core_pattern").unwrap_or_default();
    all.push(is("host.core_pattern", !pattern.starts_with('|'), &pattern));
    all.push(match read("/sys/devices/system/cpu/smt/active").as_deref() {
        Some("0") => feature("host.smt_off", FeatureState::Enforced, "no sibling threads"),
        Some(_) => feature("host.smt_off", FeatureState::Failed, "sibling threads share a core"),
        None => feature("host.smt_off", FeatureState::Unsupported, "the kernel does not tell"),
    });
    let resctrl = fs::metadata("/sys/fs/resctrl").is_ok();
    all.push(state("host.resctrl", resctrl, "offered", "no cache or bandwidth partitions"));
    let mut open: Vec<String> = Vec::new();
    for entry in fs::read_dir("/sys/devices/system/cpu/vulnerabilities").into_iter().flatten().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        if text.starts_with("Vulnerable") {
            open.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    open.sort();
    all.push(is("host.cpu_mitigations", open.is_empty(), &format!("vulnerable: {}", open.join(", "))));
    all
}
