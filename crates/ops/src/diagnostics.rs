//! What the warden tells of the node for diagnostics. Nothing here can hold a name or a word that a tenant, a person or
//! a file of theirs chose: every field is a number, a truth value, a digest of a program of the platform, or a word of a
//! closed set. What is to be told more needs a field, and so a decision, here.

use base::Digest;

use crate::List;
use crate::warden::RunKind;

/// Programs of the platform.
pub const PROGRAMS_MAX: usize = 8;
/// The node's own processes.
pub const SERVICES_MAX: usize = 8;
/// Kinds and states of runs, each pair once.
pub const RUN_COUNTS_MAX: usize = 16;
/// Controllers of control groups.
pub const CONTROLLERS_MAX: usize = 8;
/// Places whose file systems are told.
pub const PLACES_MAX: usize = 8;

names! {
    /// A program of the platform.
    pub enum Program {
        /// `strongroom-warden`.
        1 Warden = "strongroom-warden",
        /// `strongroom-keeper`.
        2 Keeper = "strongroom-keeper",
        /// `strongroom`.
        3 Strongroom = "strongroom",
        /// `strongroom-porter`.
        4 Porter = "strongroom-porter",
        /// `strongroom-runtime`.
        5 Runtime = "strongroom-runtime",
    }
}

record! {
    /// A program as it was opened at the start of the node, and as it is executed.
    pub struct ProgramFacts {
        /// Which.
        program: Program,
        /// SHA-256 of its bytes.
        digest: Digest,
    }
}

names! {
    /// A process of the node.
    pub enum Service {
        /// The warden itself.
        1 Warden = "warden",
        /// The keeper.
        2 Keeper = "keeper",
        /// Control.
        3 Control = "control",
        /// The gateway.
        4 Gateway = "gateway",
        /// The relay.
        5 Relay = "relay",
    }
}

names! {
    /// Whether a process of the node is up.
    pub enum ServiceState {
        /// It runs.
        1 Running = "running",
        /// It ended, and is to be started again.
        2 Waiting = "waiting",
        /// It did not stay up, and is started no more.
        3 GivenUp = "given-up",
        /// It is not meant to run: the gateway, in safe mode.
        4 Down = "down",
    }
}

record! {
    /// What the kernel says of a process (proc_pid_status(5)).
    pub struct ProcessFacts {
        /// Its number.
        pid: u32,
        /// Its effective user.
        uid: u32,
        /// Its effective group.
        gid: u32,
        /// Effective capabilities, one bit each.
        capabilities: u64,
        /// Those that it can ever have.
        bounding: u64,
        /// Whether it can gain no privilege by what it executes.
        no_new_privileges: bool,
        /// 0 without a system-call filter, 2 with one.
        seccomp: u8,
        /// Its threads.
        threads: u32,
        /// Bytes of memory that it holds.
        resident_bytes: u64,
    }
}

record! {
    /// A process of the node.
    pub struct ServiceFacts {
        /// Which.
        service: Service,
        /// Whether it is up.
        state: ServiceState,
        /// Times that it was started again within the last minute.
        restarts: u32,
        /// What the kernel says of it; none where it does not run.
        process: Option<ProcessFacts>,
    }
}

names! {
    /// How far a run is.
    pub enum RunState {
        /// Its inputs are being filled or hashed.
        1 Filling = "filling",
        /// Every input is frozen.
        2 Ready = "ready",
        /// Its workload runs.
        3 Running = "running",
        /// Its workload is frozen.
        4 Frozen = "frozen",
        /// Its workload has ended.
        5 Ended = "ended",
    }
}

record! {
    /// How many runs there are of a kind in a state.
    pub struct RunCount {
        /// The kind.
        kind: RunKind,
        /// The state.
        state: RunState,
        /// How many.
        count: u32,
    }
}

record! {
    /// The memory-backed mounts of all runs.
    pub struct MountFacts {
        /// Inputs that are read-only for good.
        frozen: u32,
        /// Inputs that are being filled.
        filling: u32,
        /// Plaintext bytes of all inputs, as ordered.
        input_bytes: u64,
        /// Writable scratches.
        scratches: u32,
    }
}

names! {
    /// A controller of control groups.
    pub enum Controller {
        /// Memory.
        1 Memory = "memory",
        /// Processes and threads.
        2 Pids = "pids",
        /// CPU time.
        3 Cpu = "cpu",
        /// Device nodes.
        4 Devices = "devices",
        /// Stopping all processes of a group.
        5 Freezer = "freezer",
    }
}

names! {
    /// Which hierarchy has a controller.
    pub enum Hierarchy {
        /// None.
        1 Absent = "absent",
        /// Version 1.
        2 V1 = "v1",
        /// Version 2.
        3 V2 = "v2",
    }
}

record! {
    /// Where a controller is.
    pub struct ControllerFacts {
        /// Which.
        controller: Controller,
        /// Where.
        hierarchy: Hierarchy,
    }
}

record! {
    /// Control groups of this node.
    pub struct GroupFacts {
        /// Each controller once.
        controllers: List<ControllerFacts, CONTROLLERS_MAX>,
        /// Whether one write ends every process of a group.
        kill: bool,
        /// Groups of runs that exist; more than there are runs are remains.
        groups: u32,
    }
}

names! {
    /// A place of the node.
    pub enum Place {
        /// The state directory.
        1 State = "state",
        /// The audit log.
        2 Log = "log",
        /// The programs.
        3 Programs = "programs",
    }
}

names! {
    /// Kind of a file system, by its number (statfs(2)).
    pub enum FileSystem {
        /// None of those below.
        1 Other = "other",
        /// ext2, ext3 or ext4.
        2 Ext = "ext",
        /// XFS.
        3 Xfs = "xfs",
        /// Btrfs.
        4 Btrfs = "btrfs",
        /// In memory.
        5 Tmpfs = "tmpfs",
        /// Layers.
        6 Overlay = "overlay",
        /// ZFS.
        7 Zfs = "zfs",
        /// Over the network.
        8 Network = "network",
    }
}

record! {
    /// The file system at a place of the node.
    pub struct PlaceFacts {
        /// Which place.
        place: Place,
        /// What is there.
        file_system: FileSystem,
        /// Its bytes.
        total_bytes: u64,
        /// Bytes that are left for users who are not root.
        free_bytes: u64,
        /// Files that it can still take; 0 where it does not count them.
        free_files: u64,
        /// Whether it is mounted read-only.
        read_only: bool,
        /// Whether set-user-id programs gain nothing there.
        nosuid: bool,
        /// Whether nothing is executed from there.
        noexec: bool,
    }
}

record! {
    /// What the warden sees.
    pub struct Diagnostics {
        /// The programs.
        programs: List<ProgramFacts, PROGRAMS_MAX>,
        /// The processes.
        services: List<ServiceFacts, SERVICES_MAX>,
        /// Whether the processes have users of their own.
        separated: bool,
        /// Runs by kind and state; pairs of which there is none are left out.
        runs: List<RunCount, RUN_COUNTS_MAX>,
        /// Most runs at a time.
        runs_max: u32,
        /// Processes of all workloads.
        workload_processes: u32,
        /// Mounts of all runs.
        mounts: MountFacts,
        /// Control groups.
        groups: GroupFacts,
        /// File systems.
        places: List<PlaceFacts, PLACES_MAX>,
        /// Outcomes that wait for the keeper.
        outcomes_waiting: u32,
    }
}
