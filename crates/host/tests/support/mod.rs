//! Shared by the tests of this crate: a runner for a single-threaded process (sandboxes are forked only from
//! one) and a sandbox with everything made as the warden makes it.

use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use strongroom_host as host;

use host::cgroup::{Layout, Limits, RunGroups};
use host::mounts;
use host::sandbox::{self, Command, End, Ids, Sandbox, Spec};
use host::seccomp::Profile;

/// A test: its name as a sentence, and what it does.
pub(crate) type Case = (&'static str, fn());

/// Runs all cases whose name contains the filter, one after the other.
pub(crate) fn main(suite: &str, cases: &[Case]) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|a| a == flag);
    if has("--list") {
        // A runner also asks for the ignored ones alone: there are none.
        for (name, _) in cases.iter().filter(|_| !has("--ignored")) {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let filter = arguments.iter().find(|a| !a.starts_with('-')).cloned().unwrap_or_default();
    let exact = has("--exact");
    let meant = |name: &str| if exact { name == filter } else { name.contains(&filter) };
    let chosen: Vec<&Case> = cases.iter().filter(|(name, _)| meant(name)).collect();
    if !rustix::process::geteuid().is_root() {
        println!("{suite}: SKIPPED all {} tests: they need root", chosen.len());
        return ExitCode::SUCCESS;
    }
    let mut failed = Vec::new();
    for (name, case) in &chosen {
        match std::panic::catch_unwind(AssertUnwindSafe(case)) {
            Ok(()) => println!("test {name} ... ok"),
            Err(_) => {
                println!("test {name} ... FAILED");
                failed.push(name);
            }
        }
    }
    let subtree = format!("strongroom-test-{}", std::process::id());
    Layout::detect(&subtree).unwrap().close();
    let left = std::path::Path::new("/sys/fs/cgroup/memory").join(&subtree);
    assert!(!left.exists(), "control groups of the test are left");
    println!("{suite}: {} passed, {} failed, 0 skipped", chosen.len() - failed.len(), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A C string.
pub(crate) fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// How a sandbox of the tests is made.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) slot: u32,
    pub(crate) memory: u64,
    pub(crate) pids: u32,
    pub(crate) profile: Profile,
    pub(crate) scratch: u64,
}

impl Default for Setting {
    fn default() -> Self {
        Self { slot: 65_000, memory: 1 << 30, pids: 512, profile: Profile::Training, scratch: 256 << 20 }
    }
}

/// A running sandbox with all that belongs to it.
pub(crate) struct Running {
    pub(crate) sandbox: Sandbox,
    pub(crate) groups: RunGroups,
    pub(crate) output: OwnedFd,
}

/// What a finished sandbox left.
pub(crate) struct Done {
    pub(crate) end: End,
    pub(crate) output: String,
    pub(crate) oom_kills: u64,
}

/// Starts `argv` with these inputs (mount and place below /opt/ml).
pub(crate) fn start(setting: &Setting, argv: &[&str], inputs: Vec<(&OwnedFd, String)>) -> Running {
    try_start(setting, argv, None, inputs).unwrap_or_else(|error| panic!("{}", base::error::chain(&error)))
}

/// As [`start`], with its error.
pub(crate) fn try_start(
    setting: &Setting,
    argv: &[&str],
    image: Option<&OwnedFd>,
    inputs: Vec<(&OwnedFd, String)>,
) -> Result<Running, host::HostError> {
    let ids = Ids::slot(setting.slot).unwrap();
    let layout = Layout::detect(&format!("strongroom-test-{}", std::process::id())).unwrap();
    let limits = Limits { memory_bytes: setting.memory, image_bytes: 0, cpu_milli: 2000, pids: setting.pids };
    let groups = layout.create("run", &limits).unwrap();
    let scratch = mounts::scratch(setting.scratch, ids.owner(), ids.inner()).unwrap().root;
    let (output, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let spec = Spec {
        ids,
        image,
        scratch: Some(&scratch),
        inputs,
        command: Command::Inside(argv.iter().map(|a| c(a)).collect()),
        env: vec![c("PATH=/usr/bin:/bin"), c("HOME=/tmp"), c("OMP_NUM_THREADS=2"), c("PYTHONHASHSEED=0")],
        cwd: c("/opt/ml"),
        output: writer.as_fd(),
        fds: Vec::new(),
        profile: setting.profile,
        cpu_milli: 2000,
        memory_bytes: setting.memory,
        scratch_bytes: setting.scratch,
        listens: None,
    };
    match sandbox::start(&spec, &groups.work) {
        Ok(sandbox) => Ok(Running { sandbox, groups, output }),
        Err(error) => {
            groups.remove();
            assert_eq!(groups.left(), 0, "control groups are left");
            Err(error)
        }
    }
}

impl Running {
    /// Waits for the end by itself, within a minute.
    pub(crate) fn finish(self) -> Done {
        let mut output = String::new();
        let mut reader = std::fs::File::from(self.output.try_clone().unwrap());
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        output.push_str(&String::from_utf8_lossy(&bytes));
        assert!(
            host::channel::wait_readable(self.sandbox.pidfd(), 60_000).unwrap(),
            "the sandbox did not end"
        );
        let end = self.sandbox.reap().unwrap();
        self.groups.work.wait_empty().unwrap();
        let oom_kills = self.groups.work.usage().oom_kills;
        self.groups.remove();
        assert_eq!(self.groups.left(), 0, "control groups are left");
        Done { end, output, oom_kills }
    }
}

/// Runs `argv` to its end.
pub(crate) fn run(setting: &Setting, argv: &[&str]) -> Done {
    start(setting, argv, Vec::new()).finish()
}

/// Runs a Python program to its end.
pub(crate) fn python(setting: &Setting, program: &str) -> Done {
    run(setting, &["/usr/bin/python3", "-I", "-c", program])
}
