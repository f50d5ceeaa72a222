//! Control groups of a run, in whichever layout the host has: v1, v2, or both. Two groups per run, `work` and
//! `porter`, below one that bounds their memory together. All limits are written before a process exists.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::channel::{now_ms, sleep_us};
use crate::error::HostError;
use crate::limits::{KILL_MS, PORTER_BYTES, PORTER_PIDS};

/// Controllers that bind a run. The first three are mandatory.
const CONTROLLERS: [&str; 5] = ["memory", "pids", "cpu", "devices", "freezer"];
/// Without these nothing is started.
const MANDATORY: [&str; 3] = ["memory", "pids", "cpu"];
/// CFS period in microseconds, the kernel's default.
const PERIOD_US: u64 = 100_000;
/// Device nodes of a workload: null, zero, full, random, urandom.
const NODES: [&str; 5] = ["c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm"];

/// Where the host has which controller.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// v1 controllers with the root of each hierarchy.
    v1: Vec<(&'static str, PathBuf)>,
    /// The v2 hierarchy.
    v2: Option<PathBuf>,
    /// Controllers of the v2 hierarchy that we may use.
    v2_controllers: BTreeSet<&'static str>,
    /// Name of this node's subtree, so that two nodes on one machine do not meet.
    subtree: String,
}

/// Limits of a run.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Workload, scratch and inputs together.
    pub memory_bytes: u64,
    /// An image beside that: held by whoever unpacked it, so no limit of the workload.
    pub image_bytes: u64,
    /// CPU time, in thousandths of a CPU.
    pub cpu_milli: u32,
    /// Processes and threads of the workload.
    pub pids: u32,
}

/// The groups of one process tree (workload or porter).
#[derive(Debug, Default)]
pub struct Group {
    /// Directories that take a process id, v1.
    v1: Vec<(&'static str, PathBuf)>,
    /// The v2 directory.
    v2: Option<PathBuf>,
    v2_controllers: BTreeSet<&'static str>,
}

/// Both groups of a run; removed by [`RunGroups::remove`].
#[derive(Debug)]
pub struct RunGroups {
    /// The workload.
    pub work: Group,
    /// The porter.
    pub porter: Group,
    /// The groups above them.
    parents: Vec<PathBuf>,
}

/// Peak memory and such.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Highest memory use in bytes; 0 if the host cannot tell.
    pub memory_peak_bytes: u64,
    /// CPU time in microseconds; 0 if the host cannot tell.
    pub cpu_us: u64,
    /// Processes and threads now.
    pub pids: u32,
    /// Processes that the memory limit ended.
    pub oom_kills: u64,
}

impl Layout {
    /// Reads which hierarchies are mounted. `subtree` is a name without `/`.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn detect(subtree: &str) -> Result<Self, HostError> {
        let mounts =
            fs::read_to_string("/proc/self/mountinfo").map_err(HostError::at("read the mount table"))?;
        let mut layout = Self { subtree: subtree.to_owned(), ..Self::default() };
        for line in mounts.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let (Some(point), Some(kind)) = (left.split(' ').nth(4), right.split(' ').next()) else {
                continue;
            };
            let point = PathBuf::from(point);
            match kind {
                "cgroup2" if layout.v2.is_none() => layout.v2 = Some(point),
                "cgroup" => {
                    let options = right.rsplit(' ').next().unwrap_or("");
                    for name in CONTROLLERS {
                        let known = layout.v1.iter().any(|(n, _)| *n == name);
                        if !known && options.split(',').any(|o| o == name) {
                            layout.v1.push((name, point.clone()));
                        }
                    }
                }
                _ => {}
            }
        }
        // A hierarchy that we may not write is as good as none: without root that is the rule.
        let subtree = layout.subtree.clone();
        layout.v1.retain(|(_, root)| fs::create_dir_all(root.join(&subtree)).is_ok());
        layout.take_v2();
        Ok(layout)
    }

    /// Makes the subtree in v2 and hands controllers down to it.
    fn take_v2(&mut self) {
        let Some(root) = self.v2.clone() else { return };
        let node = root.join(&self.subtree);
        if fs::create_dir_all(&node).is_err() {
            self.v2 = None;
            return;
        }
        let offered = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        for name in CONTROLLERS {
            if !offered.split_whitespace().any(|o| o == name) {
                continue;
            }
            let enable = format!("+{name}");
            let handed = fs::write(root.join("cgroup.subtree_control"), &enable)
                .and_then(|()| fs::write(node.join("cgroup.subtree_control"), &enable));
            if handed.is_ok() {
                self.v2_controllers.insert(name);
            }
        }
    }

    /// Which hierarchy limits `controller`: `v1`, `v2` or none.
    pub fn holder(&self, controller: &str) -> Option<&'static str> {
        if self.v2_controllers.contains(controller) {
            Some("v2")
        } else {
            self.v1.iter().any(|(name, _)| *name == controller).then_some("v1")
        }
    }

    /// Whether `cgroup.kill`, `cgroup.freeze` and `cgroup.events` can be used.
    pub fn has_v2(&self) -> bool {
        self.v2.is_some()
    }

    /// Makes the groups of a run and writes every limit.
    ///
    /// # Errors
    /// A mandatory controller is missing, or the kernel refuses a limit.
    pub fn create(&self, run: &str, limits: &Limits) -> Result<RunGroups, HostError> {
        for controller in MANDATORY {
            if self.holder(controller).is_none() {
                return Err(HostError::NoLimit { controller });
            }
        }
        self.create_available(run, limits)
    }

    /// As [`Layout::create`], with whatever controllers there are: for a node without root, which says so.
    ///
    /// # Errors
    /// The kernel refuses a limit that it offers.
    pub fn create_available(&self, run: &str, limits: &Limits) -> Result<RunGroups, HostError> {
        let mut groups = RunGroups { work: Group::default(), porter: Group::default(), parents: Vec::new() };
        let made = self.fill(&mut groups, run, limits);
        if let Err(error) = made {
            groups.remove();
            return Err(error);
        }
        Ok(groups)
    }

    fn fill(&self, groups: &mut RunGroups, run: &str, limits: &Limits) -> Result<(), HostError> {
        let mkdir = |path: &Path| fs::create_dir_all(path).map_err(HostError::at("make a control group"));
        for (name, root) in &self.v1 {
            if self.v2_controllers.contains(name) {
                continue;
            }
            let parent = root.join(&self.subtree).join(run);
            for (leaf, group) in [("work", &mut groups.work), ("porter", &mut groups.porter)] {
                let path = parent.join(leaf);
                mkdir(&path)?;
                group.v1.push((name, path));
            }
            groups.parents.push(parent);
        }
        if let Some(root) = &self.v2 {
            let parent = root.join(&self.subtree).join(run);
            mkdir(&parent)?;
            for name in &self.v2_controllers {
                fs::write(parent.join("cgroup.subtree_control"), format!("+{name}"))
                    .map_err(HostError::at("hand down a controller"))?;
            }
            for (leaf, group) in [("work", &mut groups.work), ("porter", &mut groups.porter)] {
                let path = parent.join(leaf);
                mkdir(&path)?;
                group.v2 = Some(path);
                group.v2_controllers.clone_from(&self.v2_controllers);
            }
            groups.parents.push(parent);
        }
        groups.write(limits)
    }

    /// Groups of runs that exist, whoever made them.
    pub fn groups(&self) -> usize {
        let roots = self.v1.iter().map(|(_, root)| root).chain(self.v2.as_ref());
        let runs = roots.filter_map(|root| fs::read_dir(root.join(&self.subtree)).ok());
        runs.map(|runs| runs.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).count())
            .max()
            .unwrap_or(0)
    }

    /// Ends and removes everything of this node, the subtree too.
    pub fn close(&self) {
        self.clear();
        for root in self.v1.iter().map(|(_, root)| root).chain(self.v2.as_ref()) {
            remove(&root.join(&self.subtree));
        }
    }

    /// Ends and removes what an earlier instance of this node left.
    pub fn clear(&self) {
        let roots = self.v1.iter().map(|(_, root)| root).chain(self.v2.as_ref());
        for root in roots {
            let Ok(runs) = fs::read_dir(root.join(&self.subtree)) else { continue };
            for run in runs.flatten().map(|e| e.path()).filter(|p| p.is_dir()) {
                for leaf in ["work", "porter"].map(|l| run.join(l)) {
                    kill_all(&leaf);
                    remove(&leaf);
                }
                remove(&run);
            }
        }
    }
}

/// Ends every process listed in a group, for groups that have no `cgroup.kill`.
fn kill_all(group: &Path) {
    if fs::write(group.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in listed.lines().filter_map(|l| l.parse().ok()).filter_map(rustix::process::Pid::from_raw) {
        // A process that has just gone is what we want.
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Removes an empty group; a group is empty a moment after its last process was reaped.
fn remove(group: &Path) {
    for _ in 0..200 {
        match fs::remove_dir(group) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => sleep_us(1_000),
            _ => return,
        }
    }
}

impl RunGroups {
    /// All limits, and reads each one back.
    fn write(&self, limits: &Limits) -> Result<(), HostError> {
        let whole = limits.memory_bytes.saturating_add(limits.image_bytes).saturating_add(PORTER_BYTES);
        for parent in &self.parents {
            put_if(parent, "memory.limit_in_bytes", &whole.to_string())?;
            put_if(parent, "memory.max", &whole.to_string())?;
        }
        self.work.write(limits.memory_bytes, limits.pids, limits.cpu_milli)?;
        self.porter.write(whole, PORTER_PIDS, limits.cpu_milli)
    }

    /// Removes the groups, which must be empty.
    pub fn remove(&self) {
        for group in [&self.work, &self.porter] {
            for path in group.v1.iter().map(|(_, p)| p).chain(group.v2.as_ref()) {
                remove(path);
            }
        }
        for parent in &self.parents {
            remove(parent);
        }
    }

    /// Groups that still exist.
    pub fn left(&self) -> usize {
        let leaves = [&self.work, &self.porter].into_iter().flat_map(Group::paths);
        leaves.chain(self.parents.iter().map(PathBuf::as_path)).filter(|p| p.exists()).count()
    }
}

/// Writes a limit where the file exists.
fn put_if(group: &Path, file: &str, value: &str) -> Result<(), HostError> {
    let path = group.join(file);
    if path.exists() { fs::write(path, value).map_err(HostError::at("write a limit")) } else { Ok(()) }
}

impl Group {
    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.v1.iter().map(|(_, p)| p.as_path()).chain(self.v2.as_deref())
    }

    fn of(&self, controller: &str) -> Option<&Path> {
        self.v1.iter().find(|(name, _)| *name == controller).map(|(_, p)| p.as_path())
    }

    fn write(&self, memory: u64, pids: u32, cpu_milli: u32) -> Result<(), HostError> {
        let quota = u64::from(cpu_milli).saturating_mul(PERIOD_US / 1000).max(1000);
        let put = |controller: &str, file: &str, value: &str| match self.of(controller) {
            Some(path) => fs::write(path.join(file), value).map_err(HostError::at("write a limit")),
            None => Ok(()),
        };
        put("memory", "memory.limit_in_bytes", &memory.to_string())?;
        put("pids", "pids.max", &pids.to_string())?;
        put("cpu", "cpu.cfs_period_us", &PERIOD_US.to_string())?;
        put("cpu", "cpu.cfs_quota_us", &quota.to_string())?;
        put("devices", "devices.deny", "a *:* rwm")?;
        for node in NODES {
            put("devices", "devices.allow", node)?;
        }
        let Some(v2) = &self.v2 else { return Ok(()) };
        put_if(v2, "memory.max", &memory.to_string())?;
        put_if(v2, "memory.high", &(memory / 10).saturating_mul(9).to_string())?;
        put_if(v2, "memory.swap.max", "0")?;
        put_if(v2, "memory.oom.group", "1")?;
        put_if(v2, "pids.max", &pids.to_string())?;
        put_if(v2, "cpu.max", &format!("{quota} {PERIOD_US}"))
    }

    /// The v2 directory, for a process that is born in it.
    pub(crate) fn birthplace(&self) -> Result<Option<OwnedFd>, HostError> {
        let Some(path) = &self.v2 else { return Ok(None) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).map(Some).map_err(HostError::at("open a control group"))
    }

    /// Puts a process, which waits, into the v1 groups.
    pub(crate) fn add(&self, pid: i32) -> Result<(), HostError> {
        for (_, path) in &self.v1 {
            fs::write(path.join("cgroup.procs"), pid.to_string())
                .map_err(HostError::at("put the process into its control group"))?;
        }
        Ok(())
    }

    /// Ends every process of the group at once. False where the host has no `cgroup.kill`.
    pub fn kill(&self) -> bool {
        self.v2.as_ref().is_some_and(|path| fs::write(path.join("cgroup.kill"), "1").is_ok())
    }

    /// Whether one write ends every process of the group.
    pub fn has_kill(&self) -> bool {
        self.v2.as_ref().is_some_and(|path| path.join("cgroup.kill").exists())
    }

    /// Processes in the group now.
    pub fn processes(&self) -> Vec<i32> {
        let mut all: Vec<i32> = self
            .paths()
            .filter_map(|p| fs::read_to_string(p.join("cgroup.procs")).ok())
            .flat_map(|text| text.lines().filter_map(|l| l.parse().ok()).collect::<Vec<_>>())
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Waits until no process is left.
    ///
    /// # Errors
    /// [`HostError::Unkillable`].
    pub fn wait_empty(&self) -> Result<(), HostError> {
        let deadline = now_ms().saturating_add(KILL_MS);
        loop {
            if self.processes().is_empty() {
                return Ok(());
            }
            if now_ms() > deadline {
                return Err(HostError::Unkillable { limit_ms: KILL_MS });
            }
            sleep_us(200);
        }
    }

    /// Stops or continues every process, and reads back that it did.
    ///
    /// # Errors
    /// The host has no freezer, or it did not take effect in time.
    pub fn freeze(&self, frozen: bool) -> Result<(), HostError> {
        let (file, value, state, wanted) = match (&self.v2, self.of("freezer")) {
            (Some(v2), _) => {
                let bit = if frozen { "1" } else { "0" };
                (v2.join("cgroup.freeze"), bit, v2.join("cgroup.events"), format!("frozen {bit}"))
            }
            (None, Some(v1)) => {
                let word = if frozen { "FROZEN" } else { "THAWED" };
                (v1.join("freezer.state"), word, v1.join("freezer.state"), word.to_owned())
            }
            (None, None) => return Err(HostError::NoLimit { controller: "freezer" }),
        };
        fs::write(file, value).map_err(HostError::at("write the freezer"))?;
        let deadline = now_ms().saturating_add(KILL_MS);
        while now_ms() < deadline {
            let now = fs::read_to_string(&state).map_err(HostError::at("read the freezer"))?;
            if now.lines().any(|l| l == wanted) {
                return Ok(());
            }
            sleep_us(100);
        }
        Err(HostError::Timeout { what: "the freezer", limit_ms: KILL_MS })
    }

    /// What the group used.
    pub fn usage(&self) -> Usage {
        let number = |path: Option<PathBuf>| {
            path.and_then(|p| fs::read_to_string(p).ok()).and_then(|t| t.trim().parse::<u64>().ok())
        };
        let v1 = |c: &str, f: &str| self.of(c).map(|p| p.join(f));
        let v2 = |f: &str| self.v2.as_ref().map(|p| p.join(f));
        let peak = number(v1("memory", "memory.max_usage_in_bytes")).or_else(|| number(v2("memory.peak")));
        let pids = number(v1("pids", "pids.current")).or_else(|| number(v2("pids.current")));
        let oom = field(v1("memory", "memory.oom_control"), "oom_kill")
            .or_else(|| field(v2("memory.events"), "oom_kill"));
        Usage {
            memory_peak_bytes: peak.unwrap_or(0),
            cpu_us: field(v2("cpu.stat"), "usage_usec").unwrap_or(0),
            pids: pids.and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
            oom_kills: oom.unwrap_or(0),
        }
    }

    /// The limit files as the kernel holds them: name and value.
    pub fn read_back(&self) -> Vec<(&'static str, String)> {
        let mut out = Vec::new();
        let mut take = |name: &'static str, path: Option<PathBuf>| {
            if let Some(text) = path.and_then(|p| fs::read_to_string(p).ok()) {
                out.push((name, text.trim().replace('\n', "; ")));
            }
        };
        for (name, controller, v1, v2) in [
            ("memory", "memory", "memory.limit_in_bytes", "memory.max"),
            ("pids", "pids", "pids.max", "pids.max"),
            ("cpu", "cpu", "cpu.cfs_quota_us", "cpu.max"),
            ("devices", "devices", "devices.list", ""),
        ] {
            match self.of(controller) {
                Some(path) => take(name, Some(path.join(v1))),
                None if self.v2_controllers.contains(controller) && !v2.is_empty() => {
                    take(name, self.v2.as_ref().map(|p| p.join(v2)));
                }
                None => {}
            }
        }
        out
    }
}

/// One `name value` line of a file.
fn field(path: Option<PathBuf>, name: &str) -> Option<u64> {
    let text = path.and_then(|p| fs::read_to_string(p).ok())?;
    text.lines().find_map(|l| l.strip_prefix(name)?.trim().parse().ok())
}

/// Whether this process may make groups at all.
///
/// # Errors
/// The kernel's.
pub fn may_create(layout: &Layout) -> io::Result<()> {
    let root = layout.v1.first().map(|(_, p)| p).or(layout.v2.as_ref());
    let Some(root) = root else { return Err(io::ErrorKind::NotFound.into()) };
    let path = root.join(&layout.subtree).join(format!("try-{}", std::process::id()));
    fs::create_dir_all(&path)?;
    fs::remove_dir(path)
}
