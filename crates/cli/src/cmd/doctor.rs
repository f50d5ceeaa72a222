//! `strongroom doctor`: what this host offers and lacks, without a node.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use host::cgroup::Layout;
use ops::warden::FeatureState;
use serde::Serialize;
use serde_json::json;

use crate::client::Client;
use crate::context::find_state;
use crate::exit::Exit;
use crate::output::{Answer, Column, Kind, View, bytes};
use crate::session::Session;

/// Space that the example and its checkpoints need, with a margin.
const SPACE_WANTED: u64 = 2 << 30;
/// Memory that the example's job asks for.
const MEMORY_WANTED: u64 = 4 << 30;
/// How long the probe of an interpreter may take.
const PROBE: Duration = Duration::from_secs(20);

const COLUMNS: &[Column] = &[
    Column::new("group", "GROUP", Kind::Plain),
    Column::new("name", "CHECK", Kind::Plain),
    Column::new("state", "STATE", Kind::State),
    Column::new("detail", "SEEN", Kind::Plain),
    Column::new("fix", "FIX", Kind::Plain),
];

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Row {
    group: &'static str,
    name: String,
    state: &'static str,
    detail: String,
    fix: Option<String>,
}

impl Row {
    fn new(group: &'static str, name: &str, state: &'static str, detail: impl Into<String>) -> Self {
        Self { group, name: name.to_owned(), state, detail: detail.into(), fix: None }
    }

    fn fix(mut self, fix: &str) -> Self {
        if self.state != "ok" {
            self.fix = Some(fix.to_owned());
        }
        self
    }
}

/// Runs every check; exit 3 if one failed.
pub(crate) fn run(session: &Session) -> Answer {
    // Features are tried in forked children, so they come before anything that could start a thread.
    let mut rows = features();
    rows.extend(kernel());
    rows.extend(programs());
    rows.extend(example());
    rows.extend(space(session));
    rows.extend(node(session));
    let failed = rows.iter().any(|r| r.state == "fail");
    let mut text = String::new();
    let mut group = "";
    for row in &rows {
        if row.group != group {
            group = row.group;
            text.push_str(&format!("{group}\n"));
        }
        let mark = match row.state {
            "ok" => "✓ OK     ",
            "warn" => "! WARN   ",
            "fail" => "✗ FAIL   ",
            _ => "? UNKNOWN",
        };
        text.push_str(&format!("  {mark}  {:<22}  {}\n", row.name, row.detail));
        if let Some(fix) = &row.fix {
            text.push_str(&format!("             fix: {fix}\n"));
        }
    }
    let count = |state| rows.iter().filter(|r| r.state == state).count();
    text.push_str(&format!(
        "{} checks: {} ok, {} warn, {} fail, {} unknown\n",
        rows.len(),
        count("ok"),
        count("warn"),
        count("fail"),
        count("unknown")
    ));
    let json = json!({ "schema": "strongroom.doctor/1", "checks": rows });
    let view = View::Text { text, rows: "checks", columns: COLUMNS };
    Answer::of(json, view).exit(if failed { Exit::No } else { Exit::Done })
}

/// What a sandbox must have; without one of these no job of a tenant starts.
fn is_needed(name: &str) -> bool {
    name.starts_with("namespace.")
        || matches!(name, "seccomp" | "landlock" | "cgroup.memory" | "cgroup.pids" | "cgroup.cpu")
}

fn features() -> Vec<Row> {
    let layout = match Layout::detect("doctor") {
        Ok(layout) => layout,
        Err(error) => return vec![Row::new("isolation", "cgroups", "unknown", base::error::chain(&error))],
    };
    host::probe::probe(&layout)
        .into_iter()
        .map(|feature| {
            let state = match feature.state {
                FeatureState::Enforced | FeatureState::NotApplicable => "ok",
                FeatureState::Unsupported | FeatureState::Failed if is_needed(&feature.name) => "fail",
                _ => "warn",
            };
            Row::new("isolation", &feature.name, state, feature.detail.to_string()).fix(advice(&feature.name))
        })
        .collect()
}

/// What makes a protection available.
fn advice(name: &str) -> &'static str {
    match name {
        "namespace.user" => "sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000",
        "landlock" => "start the kernel with lsm=landlock,... (Linux 5.13 or later)",
        "host.swap_off" => "swapoff -a, and take swap out of /etc/fstab",
        "host.ksm_off" => "echo 2 > /sys/kernel/mm/ksm/run",
        "host.core_pattern" => "sysctl -w kernel.core_pattern=core",
        "host.smt_off" => "echo off > /sys/devices/system/cpu/smt/control, where tenants share a node",
        "memory.noswap" => "turn swap off: swapoff -a (the mount option needs Linux 6.3)",
        "cgroup.delegation" => {
            "run as root, or under a delegated group: systemd-run --user --scope -p Delegate=yes"
        }
        name if name.starts_with("cgroup.") => {
            "mount the controller: see cgroups(7), or boot with systemd.unified_cgroup_hierarchy=1"
        }
        _ => "see isolation in ARCHITECTURE.md for what is lost without it",
    }
}

fn kernel() -> Vec<Row> {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy().into_owned();
    let number = |part: Option<&str>| part.and_then(|p| p.parse::<u32>().ok()).unwrap_or(0);
    let mut parts = release.split(['.', '-']);
    let (major, minor) = (number(parts.next()), number(parts.next()));
    let good = (major, minor) >= (6, 1);
    let row = Row::new("machine", "kernel", if good { "ok" } else { "warn" }, release)
        .fix("use Linux 6.1 or later (Debian 12)");
    let info = rustix::system::sysinfo();
    let total = info.totalram.saturating_mul(u64::from(info.mem_unit));
    let memory =
        Row::new("machine", "memory", if total >= MEMORY_WANTED { "ok" } else { "warn" }, bytes(total))
            .fix("the example asks for 4 GiB; lower `memory` in its job file");
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let cpus = Row::new("machine", "cpus", if cpus >= 2 { "ok" } else { "warn" }, cpus.to_string())
        .fix("the example asks for 2; lower `cpus` in its job file");
    let privilege = if rustix::process::geteuid().is_root() {
        Row::new("machine", "privilege", "ok", "root: each process of a node runs as its own user")
    } else {
        Row::new("machine", "privilege", "warn", "an ordinary user: all processes of a node run as you")
            .fix("sudo strongroom dev, to see them kept apart")
    };
    vec![row, memory, cpus, privilege]
}

fn programs() -> Vec<Row> {
    let beside =
        std::env::current_exe().ok().and_then(|p| p.parent().map(Path::to_owned)).unwrap_or_default();
    ["strongroom-warden", "strongroom-keeper", "strongroom-porter", "strongroom-runtime"]
        .iter()
        .map(|name| {
            let path = beside.join(name);
            let state = if path.is_file() { "ok" } else { "fail" };
            Row::new("programs", name, state, path.display().to_string()).fix("make build")
        })
        .collect()
}

/// What the example needs: Debian's Python with PyTorch, and its data set.
fn example() -> Vec<Row> {
    let python = Path::new("/usr/bin/python3");
    let mut rows = vec![
        Row::new(
            "example",
            "python3",
            if python.exists() { "ok" } else { "warn" },
            python.display().to_string(),
        )
        .fix("apt-get install python3"),
    ];
    rows.push(match find_module("torch") {
        Some(true) => Row::new("example", "pytorch", "ok", "/usr/bin/python3 finds `torch`"),
        Some(false) => Row::new("example", "pytorch", "warn", "/usr/bin/python3 does not find `torch`")
            .fix("apt-get install python3-torch python3-numpy libopenblas0-pthread"),
        None => Row::new("example", "pytorch", "unknown", "the interpreter did not answer")
            .fix("apt-get install python3 python3-torch"),
    });
    let data = Path::new("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz");
    rows.push(
        Row::new(
            "example",
            "data set",
            if data.exists() { "ok" } else { "warn" },
            data.display().to_string(),
        )
        .fix("apt-get install dataset-fashion-mnist"),
    );
    rows
}

/// Whether Debian's interpreter finds a module; it is looked for, not imported.
fn find_module(name: &str) -> Option<bool> {
    let program =
        format!("import importlib.util,sys;sys.exit(0 if importlib.util.find_spec('{name}') else 3)");
    let mut child = Command::new("/usr/bin/python3")
        .args(["-I", "-c", &program])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let watch = crate::clock::Stopwatch::start();
    loop {
        match child.try_wait().ok()? {
            Some(status) => return Some(status.success()),
            None if watch.elapsed() > PROBE => {
                drop(child.kill());
                drop(child.wait());
                return None;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn space(session: &Session) -> Vec<Row> {
    let place = find_state(session.state_flag()).map_or_else(|_| std::env::temp_dir(), |(state, _)| state);
    let place: PathBuf = if place.exists() { place } else { std::env::temp_dir() };
    let row = match rustix::fs::statvfs(&place) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let state = if free >= SPACE_WANTED { "ok" } else { "warn" };
            Row::new("state", "disk space", state, format!("{} free at {}", bytes(free), place.display()))
        }
        Err(error) => Row::new("state", "disk space", "unknown", error.to_string()),
    };
    vec![row.fix("free space, or start the node elsewhere: strongroom dev --state DIR")]
}

/// The node that commands would reach, and its configuration.
fn node(session: &Session) -> Vec<Row> {
    let Ok((state, origin)) = find_state(session.state_flag()) else {
        return vec![Row::new("state", "node", "warn", "none is known here").fix("strongroom dev")];
    };
    let file = state.join("strongroom.toml");
    let mut rows = Vec::new();
    if file.exists() {
        rows.push(match super::serve::read_config(&file) {
            Ok(config) => Row::new(
                "state",
                "configuration",
                "ok",
                format!("{} (mode {:?})", file.display(), config.mode),
            ),
            Err(failure) => {
                Row::new("state", "configuration", "fail", failure.what).fix("strongroom dev --state DIR")
            }
        });
    }
    let answer = Client::new(&state, None).and_then(|c| c.get_within::<api::Status>("/status", 5));
    rows.push(match answer {
        Ok(status) if status.problems.is_empty() => Row::new(
            "state",
            "node",
            "ok",
            format!("{} at {} ({})", status.state, state.display(), origin.as_str()),
        ),
        Ok(status) => Row::new("state", "node", "warn", status.problems.join("; ")).fix("strongroom status"),
        Err(failure) => Row::new("state", "node", "warn", format!("{}: {}", state.display(), failure.what))
            .fix("strongroom dev"),
    });
    rows
}
