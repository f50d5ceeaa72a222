//! What the platform observes of the host that a job runs on: installed packages, kernel, processor. Read, never
//! executed.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use base::Digest;
use base::wire::lp;
use image::packages::Package;

/// Longest file read for facts: `dpkg`'s status of 20,000 packages is about 25 MiB.
const FACTS_MAX: u64 = 64 * 1024 * 1024;
/// Where Debian keeps the state of its packages.
const DPKG_STATUS: &str = "/var/lib/dpkg/status";

/// Digest of a list of packages: each name and version length-prefixed, sorted; none if there is no list.
pub(crate) fn packages_digest(packages: &[Package]) -> Option<Digest> {
    if packages.is_empty() {
        return None;
    }
    let mut hasher = base::Hasher::new();
    for package in packages {
        hasher.update(&lp(package.name.as_bytes()));
        hasher.update(&lp(package.version.as_bytes()));
    }
    Some(hasher.finish())
}

/// The host as observed.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostFacts {
    pub(crate) packages: Vec<Package>,
    pub(crate) kernel: String,
    pub(crate) cpu_model: String,
    pub(crate) cpu_flags: String,
    pub(crate) cpus: u32,
    pub(crate) memory_bytes: u64,
}

impl HostFacts {
    /// What pins the bits of a computation: a resumed run on other values is equal numerically at best.
    pub(crate) fn hardware(&self, threads: u32) -> Vec<(String, String)> {
        vec![
            ("cpu_model".to_owned(), self.cpu_model.clone()),
            ("isa_flags".to_owned(), base::sha256(self.cpu_flags.as_bytes()).short()),
            ("kernel".to_owned(), self.kernel.clone()),
            ("threads".to_owned(), threads.to_string()),
        ]
    }
}

/// Reads the facts; what cannot be read stays empty and is `unknown` in the BoM.
pub(crate) fn observe() -> HostFacts {
    let cpuinfo = read(Path::new("/proc/cpuinfo"));
    let field = |name: &str| {
        cpuinfo
            .lines()
            .find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == name))
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    let memory_kib = kib(&read(Path::new("/proc/meminfo")), "MemTotal:");
    let mut packages = image::packages::dpkg(&read(Path::new(DPKG_STATUS)));
    packages.sort();
    HostFacts {
        packages,
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        cpu_model: field("model name"),
        cpu_flags: field("flags"),
        cpus: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
        memory_bytes: memory_kib.saturating_mul(1024),
    }
}

/// Memory that could be taken now without swapping, as the kernel estimates it (`MemAvailable`).
pub(crate) fn free_memory_bytes() -> u64 {
    kib(&read(Path::new("/proc/meminfo")), "MemAvailable:").saturating_mul(1024)
}

/// How the machine does.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    pub(crate) swap_bytes: u64,
    pub(crate) uptime_seconds: u64,
    pub(crate) load_hundredths: u64,
}

/// Reads it; what cannot be read is 0.
pub(crate) fn load() -> Load {
    // `0.42 ..`: seconds, or processes, with two digits.
    let hundredths = |path: &str| {
        let text = read(Path::new(path));
        let (whole, part) = text.split_whitespace().next()?.split_once('.')?;
        whole.parse::<u64>().ok()?.checked_mul(100)?.checked_add(part.parse().ok().filter(|p| *p < 100)?)
    };
    Load {
        swap_bytes: kib(&read(Path::new("/proc/meminfo")), "SwapTotal:").saturating_mul(1024),
        uptime_seconds: hundredths("/proc/uptime").unwrap_or(0) / 100,
        load_hundredths: hundredths("/proc/loadavg").unwrap_or(0),
    }
}

/// A line of `/proc/meminfo`.
fn kib(meminfo: &str, name: &str) -> u64 {
    let value = |line: &str| line.strip_prefix(name)?.trim().strip_suffix("kB")?.trim().parse().ok();
    meminfo.lines().find_map(value).unwrap_or(0)
}

fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|f| f.take(FACTS_MAX).read_to_end(&mut bytes));
    if read.is_err() {
        return String::new();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
