//! Starts `/usr/bin/true` in our sandbox, in bubblewrap and in crun, one after the other in each round, and prints
//! the time from the order to the reaped end. Ours has all limits, Landlock and the system-call filter; bubblewrap
//! has no limits and no filter; crun has limits on memory, processes and CPU.
//!
//! `cargo run --release -p strongroom-host --example sandbox_start -- [ROUNDS] [CRUN_BUNDLE]`, as root. Where the
//! host has both control group versions, hide the second from crun: run this under `unshare -m` after
//! `umount -l /sys/fs/cgroup/unified` (then ours has no `cgroup.kill` either).

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::ffi::CString;
use std::os::fd::AsFd;
use std::process::{Command as Process, ExitCode, Stdio};

use strongroom_host as host;

use host::cgroup::{Layout, Limits};
use host::mounts;
use host::sandbox::{self, Command, Ids, Spec};
use host::seccomp::Profile;

/// bubblewrap with the same view: read-only programs, all namespaces.
const BWRAP: &[&str] = &[
    "--unshare-all",
    "--ro-bind",
    "/usr",
    "/usr",
    "--symlink",
    "usr/bin",
    "/bin",
    "--symlink",
    "usr/lib",
    "/lib",
    "--symlink",
    "usr/lib64",
    "/lib64",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "--tmpfs",
    "/tmp",
    "--die-with-parent",
    "--new-session",
    "--cap-drop",
    "ALL",
    "/usr/bin/true",
];

fn now_us() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1000
}

/// CPU ticks (10 ms) of this process and its reaped children.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or("");
    after.split_whitespace().skip(11).take(4).filter_map(|n| n.parse::<u64>().ok()).sum()
}

fn ours(layout: &Layout, round: usize) -> Result<(), Box<dyn std::error::Error>> {
    let ids = Ids::slot(64_000)?;
    let limits = Limits { memory_bytes: 256 << 20, image_bytes: 0, cpu_milli: 1000, pids: 64 };
    let groups = layout.create(&format!("bench-{round}"), &limits)?;
    let scratch = mounts::scratch(16 << 20, ids.owner(), ids.inner())?.root;
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    let spec = Spec {
        ids,
        image: None,
        scratch: Some(&scratch),
        inputs: Vec::new(),
        command: Command::Inside(vec![CString::new("/usr/bin/true")?]),
        env: Vec::new(),
        cwd: CString::new("/")?,
        output: null.as_fd(),
        fds: Vec::new(),
        profile: Profile::Training,
        cpu_milli: 1000,
        memory_bytes: 256 << 20,
        scratch_bytes: 16 << 20,
        listens: None,
    };
    let sandbox = sandbox::start(&spec, &groups.work)?;
    host::channel::wait_readable(sandbox.pidfd(), 10_000)?;
    let end = sandbox.reap()?;
    groups.work.wait_empty()?;
    groups.remove();
    if end.code == Some(0) { Ok(()) } else { Err(format!("ended with {end:?}").into()) }
}

fn peer(program: &str, arguments: &[&str]) -> Result<(), Box<dyn std::error::Error>> {
    let status = Process::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("{program}: {status}").into()) }
}

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Box<dyn std::error::Error>> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(40), |n| n.parse())?;
    let bundle = std::env::args().nth(2);
    let layout = Layout::detect(&format!("strongroom-bench-{}", std::process::id()))?;
    let mut rows: Vec<(&str, Vec<u64>, u64)> =
        ["strongroom", "bubblewrap", "crun"].map(|name| (name, Vec::new(), 0)).into();
    for round in 0..rounds {
        for (name, times, cpu) in &mut rows {
            let (from, ticks_before) = (now_us(), ticks());
            match (*name, &bundle) {
                ("strongroom", _) => ours(&layout, round)?,
                ("bubblewrap", _) => peer("bwrap", BWRAP)?,
                (_, Some(bundle)) => peer("crun", &["run", "-b", bundle, &format!("bench-{round}")])?,
                _ => continue,
            }
            times.push(now_us() - from);
            *cpu += ticks() - ticks_before;
        }
    }
    layout.close();
    println!("{:<12} {:>8} {:>10} {:>12}", "", "min ms", "median ms", "CPU ms/run");
    for (name, times, cpu) in &mut rows {
        times.sort_unstable();
        let (Some(min), Some(median)) = (times.first(), times.get(times.len() / 2)) else { continue };
        let runs = u64::try_from(times.len())?;
        let (min_us, median_us, cpu_us) = (*min, *median, *cpu * 10_000 / runs);
        let ms = |us: u64| format!("{}.{:02}", us / 1000, us % 1000 / 10);
        println!("{name:<12} {:>8} {:>10} {:>12}", ms(min_us), ms(median_us), ms(cpu_us));
    }
    Ok(())
}
