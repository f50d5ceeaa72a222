use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

pub(crate) mod control;
pub(crate) mod keeper;
pub(crate) mod porter;
pub(crate) mod runtime;
mod states;

/// Users of the test node: three of their own, or without root this one for all.
fn users() -> (u32, u32, u32, u32) {
    let own = rustix::process::geteuid().as_raw();
    if own == 0 { (61_001, 61_002, 61_003, 61_004) } else { (own, own, own, own) }
}

/// The configuration that every process is given.
pub(crate) fn config() -> base::config::Config {
    base::config::Config::parse("test", &std::fs::read_to_string(state().join("strongroom.toml")).unwrap())
        .unwrap()
}

/// Whether the processes have users of their own.
pub(crate) fn separated() -> bool {
    let users = config().users;
    users.keeper != users.control
}

/// The state directory, from the configuration that every process is given.
pub(crate) fn state() -> PathBuf {
    let words: Vec<String> = std::env::args().collect();
    let at = words.iter().position(|w| w == "--config").expect("--config");
    Path::new(&words[at + 1]).parent().expect("a directory").to_path_buf()
}

/// Runs one node to its end and passes on what control judged.
pub(crate) fn main() -> ExitCode {
    if std::env::args().any(|a| a == "--list") {
        // A runner also asks for the ignored ones alone: there are none.
        if !std::env::args().any(|a| a == "--ignored") {
            println!("a whole node: test");
        }
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() {
        println!("node: not root: what needs root is expected to be reported as missing");
    }
    let state = std::env::temp_dir().join(format!("strongroom-warden-{}", std::process::id()));
    let programs = state.join("programs");
    std::fs::create_dir_all(&programs).unwrap();
    let own = std::env::current_exe().unwrap();
    for name in ["strongroom-keeper", "strongroom", "strongroom-porter", "strongroom-runtime"] {
        std::fs::copy(&own, programs.join(name)).unwrap();
    }
    let (keeper, control, gateway, relay) = users();
    let config = format!(
        "version = 1\nmode = \"dev\"\nnode = \"test\"\nstate = {state:?}\nprograms = {programs:?}\n\
         [users]\nkeeper = {keeper}\ncontrol = {control}\ngateway = {gateway}\nrelay = {relay}\noperator = 0\n\
         [gateway]\nlisten = \"127.0.0.1:0\"\n[jobs]\n"
    );
    let file = state.join("strongroom.toml");
    std::fs::write(&file, config).unwrap();
    let mut warden = Command::new(env!("CARGO_BIN_EXE_strongroom-warden"))
        .args(["--config", file.to_str().unwrap(), "--die-with-parent"])
        .stderr(Stdio::from(std::fs::File::create(state.join("warden.log")).unwrap()))
        .spawn()
        .unwrap();
    let verdict = state.join("control/verdict");
    for _ in 0..300 {
        if verdict.exists() || warden.try_wait().unwrap().is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    // Of capabilities the warden keeps ten: no network, no modules, no raw devices, no time.
    let status = std::fs::read_to_string(format!("/proc/{}/status", warden.id())).unwrap_or_default();
    let bounding = status.lines().find_map(|l| l.strip_prefix("CapBnd:")).unwrap_or("").trim();
    let bounding = u64::from_str_radix(bounding, 16).unwrap_or(u64::MAX);
    assert!(!rustix::process::geteuid().is_root() || bounding.count_ones() == 10, "{bounding:x}");
    Command::new("kill").arg(warden.id().to_string()).status().unwrap();
    let ended = warden.wait().unwrap();
    let said = std::fs::read_to_string(&verdict).unwrap_or_else(|_| "control gave no verdict".to_owned());
    let log = std::fs::read_to_string(state.join("warden.log")).unwrap();
    let told = std::fs::read_to_string(state.join("log/events")).unwrap_or_default();
    let control_log = std::fs::read_to_string(state.join("logs/control.log")).unwrap_or_default();
    let porter_log = std::fs::read_to_string(state.join("logs/porter.log")).unwrap_or_default();
    let subtree = format!("strongroom-{}", base::sha256(state.as_os_str().as_encoded_bytes()).short());
    let groups =
        ["memory", "pids", "unified", "."].map(|c| Path::new("/sys/fs/cgroup").join(c).join(&subtree));
    let left = left_processes(&programs) + groups.iter().filter(|g| g.exists()).count();
    std::fs::remove_dir_all(&state).unwrap();
    let events =
        ["start_porter success", "freeze_mount failure", "start refused", "kill success", "destroy success"];
    let missing: Vec<_> = events.iter().filter(|e| !told.lines().any(|l| l == **e)).collect();
    if said.trim() == "ok" && ended.success() && missing.is_empty() && left == 0 {
        println!("test a whole node ... ok\nnode: 1 passed, 0 failed, 0 skipped");
        return ExitCode::SUCCESS;
    }
    println!(
        "test a whole node ... FAILED\n{said}\nended {ended}, {left} processes left, not told: {missing:?}"
    );
    println!(
        "--- warden\n{log}\n--- control\n{control_log}\n--- porter\n{porter_log}\n--- keeper was told\n{told}"
    );
    ExitCode::FAILURE
}

/// Processes that still run one of the node's programs.
fn left_processes(programs: &Path) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let runs = |p: &std::fs::DirEntry| {
        std::fs::read_link(p.path().join("exe")).is_ok_and(|e| e.starts_with(programs))
    };
    processes.filter(runs).count()
}
