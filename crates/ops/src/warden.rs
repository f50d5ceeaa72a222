//! Operations of the warden: the closed set of privileged acts. None takes a path of the host, a command to run
//! as root, or a mount option.
//!
//! A run is one instance of a sandbox with its porter. Its life: `StartPorter` -> the porter fills the inputs ->
//! `FreezeMount` for each -> `Start` -> (`Signal`, `Freeze`, `Thaw`, `Kill`, `Report`, `Counters`, `HashMount`) -> `Destroy`.

use base::Digest;
use base::release::Version;

use crate::diagnostics::Diagnostics;
use crate::receipt::Receipt;
use crate::release::{Releases, SignedManifest};
use crate::{List, Text};

/// Most inputs of a run: code, configuration, ten channels, an image.
pub const INPUTS_MAX: usize = 13;
/// Most variables of a workload: the run contract's, those of hyperparameters and channels, those of an image.
pub const ENV_MAX: usize = 256;
/// Most processes in one `Sockets`.
pub const SOCKET_PIDS_MAX: usize = 1024;
/// Most sockets in its answer: 1024 of 34 bytes, and 1024 numbers of processes, are 38 KiB of a message's 64.
pub const SOCKETS_MAX: usize = 1024;

names! {
    /// What a run is for.
    pub enum RunKind {
        /// A training job: writable scratch, checkpoints watched.
        1 Training = "training",
        /// A model being served: no scratch, a listening socket.
        2 Serving = "serving",
    }
}

choice! {
    /// What an input is, and so where the sandbox sees it (training.md section 2.1).
    pub enum InputKind {
        /// `/opt/ml/code`.
        1 Code {},
        /// `/opt/ml/input/config`.
        2 Config {},
        /// `/opt/ml/input/data/<name>`.
        3 Channel { /// The channel.
            name: Text<63> },
        /// `/opt/ml/model`, when serving.
        4 Model {},
        /// The root file system: programs and libraries, unpacked from an image. At most one.
        5 Image {},
    }
}

record! {
    /// One read-only input: a memory-backed mount that the porter fills.
    pub struct Input {
        /// What it is.
        kind: InputKind,
        /// Its plaintext bytes; the mount's limit is this and room for its tables.
        bytes: u64,
        /// How many files it has; of an image, files, directories and links.
        files: u32,
        /// Manifest digest: SHA-256 over, for each file sorted by path bytes, `lp(path) ‖ u64 size ‖ sha256`; of an
        /// image, the digest of its tree (`image::tree`).
        manifest: Digest,
    }
}

record! {
    /// Limits of a run; all are written before anything starts.
    pub struct Limits {
        /// Memory of workload, scratch and inputs together, in bytes; the image not counted.
        memory_bytes: u64,
        /// Memory of the image beside that, in bytes; 0 without one.
        image_bytes: u64,
        /// CPU time, in thousandths of a CPU.
        cpu_milli: u32,
        /// Processes and threads.
        pids: u32,
        /// Writable scratch, in bytes.
        scratch_bytes: u64,
    }
}

names! {
    /// Which system-call list the workload gets.
    pub enum Profile {
        /// An interpreter and its libraries.
        1 Training = "training",
        /// `strongroom-runtime`.
        2 Inference = "inference",
    }
}

choice! {
    /// The root file system of the workload.
    pub enum Image {
        /// The host's programs, read-only and by a short fixed list; not pinned.
        1 Host {},
        /// The run's input of kind `Image`, frozen: pinned by its digest.
        2 Pinned {},
    }
}

choice! {
    /// What the sandbox runs.
    pub enum Program {
        /// A command inside the image.
        1 Command { /// Program and arguments, looked up inside the image.
            argv: List<Text<4096>, 64> },
        /// The platform's own runtime, given by descriptor, serving `/opt/ml/model`.
        2 Runtime { /// The endpoint, which names its socket.
            endpoint: u128,
            /// The model's name, for its metadata.
            name: Text<63> },
    }
}

record! {
    /// One environment variable of the workload.
    pub struct EnvVar {
        /// Name.
        name: Text<128>,
        /// Value.
        value: Text<8192>,
    }
}

names! {
    /// Signals that may be sent to a workload.
    pub enum Signal {
        /// Checkpoint and leave.
        1 Term = "TERM",
        /// Checkpoint now and go on; sent only to a process that handles it.
        2 Usr1 = "USR1",
    }
}

choice! {
    /// What may be asked of the warden. The number of descriptors that come back is noted where there are any.
    pub enum Operation {
        /// What the host offers. No receipt.
        1 Probe {},
        /// Makes slot, limits and mounts of a run and starts its porter. One descriptor back: the porter's socket.
        2 StartPorter { /// The run.
            run: u128,
            /// Its tenant.
            tenant: Text<63>,
            /// What it is for.
            kind: RunKind,
            /// Its limits.
            limits: Limits,
            /// Its inputs, in the order in which the porter sees them.
            inputs: List<Input, INPUTS_MAX> },
        /// Makes one input read-only for good and checks its manifest digest. Legal once, after `StartPorter`.
        3 FreezeMount { /// The run.
            run: u128,
            /// Index of the input.
            input: u8 },
        /// Starts the workload. Legal once, when every input is frozen. One descriptor back: a pipe on which one
        /// [`Exit`] record arrives when the workload has ended and no process of it is left.
        4 Start { /// The run.
            run: u128,
            /// Root file system.
            image: Image,
            /// What runs.
            program: Program,
            /// Its environment; nothing else is in it.
            env: List<EnvVar, ENV_MAX>,
            /// Working directory inside the sandbox.
            cwd: Text<256>,
            /// Which system calls.
            profile: Profile,
            /// Ended after this long; 0, for the runtime only, is no limit.
            wall_time_s: u32,
            /// Whether a socket listens on its loopback, at [`crate::relay::PORT`], by which it asks for egresses; that socket
            /// is then a second descriptor that comes back. Not for the runtime.
            egress: bool },
        /// Signals the workload. Legal while it runs.
        5 Signal { /// The run.
            run: u128,
            /// The signal.
            signal: Signal },
        /// Stops all processes of the workload. No receipt.
        6 Freeze { /// The run.
            run: u128 },
        /// Lets them go on.
        7 Thaw { /// The run.
            run: u128 },
        /// Ends all processes of the workload. No receipt.
        8 Kill { /// The run.
            run: u128 },
        /// Ends porter and workload, removes mounts, limits and the slot's remains. Legal always.
        9 Destroy { /// The run.
            run: u128 },
        /// What is enforced on a started run, read back from the kernel. No receipt.
        10 Report { /// The run.
            run: u128 },
        /// Peak memory, CPU time, processes. No receipt.
        11 Counters { /// The run.
            run: u128 },
        /// The network sockets that these processes of the host hold, bound or not: all but unix and netlink. A process
        /// that has ended holds none. No receipt.
        12 Sockets { /// The processes.
            pids: List<u32, SOCKET_PIDS_MAX> },
        /// What the warden alone sees of the node, in numbers and words of closed sets. Legal always. No receipt.
        20 CollectDiagnostics {},
        /// Ends the node in order and starts the machine again. Legal on a node in service that was started by root, while
        /// there is no run, or where runs are to be ended with it.
        21 Reboot { /// Whether runs are ended with the node.
            stop_runs: bool },
        /// Copies a release to where only root writes, after its signatures were checked and each program while it is
        /// copied. Legal always, one at a time. Comes with one descriptor for each program of the manifest.
        22 StageRelease { /// Its manifest and who signed it.
            signed: SignedManifest },
        /// Ends the node in order and starts it from a staged release; if that does not come up, from the one before.
        /// Legal while there is no run, or where runs are to be ended with the node.
        23 ActivateRelease { /// Which.
            version: Version,
            /// Whether runs are ended with the node.
            stop_runs: bool },
        /// The same with the release that was active before.
        24 ReturnRelease { /// Whether runs are ended with the node.
            stop_runs: bool },
        /// The release that is being activated has come up: control of that release says so.
        25 ConfirmRelease { /// Which.
            version: Version },
        /// Which releases there are. No receipt.
        26 ListReleases {},
        /// Hashes a frozen input once more, through the same mount, and compares as `FreezeMount` did. Legal once it is
        /// frozen. No receipt.
        30 HashMount { /// The run.
            run: u128,
            /// Index of the input.
            input: u8 },
    }
}

impl Operation {
    /// Whether the warden refuses it without a keeper's receipt. What ends or stops a workload acts first and is
    /// recorded after; what only reads needs none.
    pub const fn needs_receipt(&self) -> bool {
        match self {
            Self::StartPorter { .. }
            | Self::FreezeMount { .. }
            | Self::Start { .. }
            | Self::Signal { .. }
            | Self::Thaw { .. }
            | Self::Destroy { .. }
            | Self::Reboot { .. }
            | Self::StageRelease { .. }
            | Self::ActivateRelease { .. }
            | Self::ReturnRelease { .. }
            | Self::ConfirmRelease { .. } => true,
            Self::Probe {}
            | Self::Freeze { .. }
            | Self::Kill { .. }
            | Self::Report { .. }
            | Self::Counters { .. }
            | Self::Sockets { .. }
            | Self::CollectDiagnostics {}
            | Self::ListReleases {}
            | Self::HashMount { .. } => false,
        }
    }

    /// Its name in events.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Probe {} => "probe",
            Self::StartPorter { .. } => "start_porter",
            Self::FreezeMount { .. } => "freeze_mount",
            Self::Start { .. } => "start",
            Self::Signal { .. } => "signal",
            Self::Freeze { .. } => "freeze",
            Self::Thaw { .. } => "thaw",
            Self::Kill { .. } => "kill",
            Self::Destroy { .. } => "destroy",
            Self::Report { .. } => "report",
            Self::Counters { .. } => "counters",
            Self::Sockets { .. } => "sockets",
            Self::CollectDiagnostics {} => "collect_diagnostics",
            Self::Reboot { .. } => "reboot",
            Self::StageRelease { .. } => "stage_release",
            Self::ActivateRelease { .. } => "activate_release",
            Self::ReturnRelease { .. } => "return_release",
            Self::ConfirmRelease { .. } => "confirm_release",
            Self::ListReleases {} => "list_releases",
            Self::HashMount { .. } => "hash_mount",
        }
    }
}

record! {
    /// One message to the warden.
    pub struct Call {
        /// Joins it to its intent.
        correlation: u128,
        /// The keeper's receipt, where one is needed.
        receipt: Option<Receipt>,
        /// What is asked.
        operation: Operation,
    }
}

names! {
    /// Whether a protection is in force; `enforced` only after a read-back or a trial, never because a call
    /// returned 0.
    pub enum FeatureState {
        /// In force.
        1 Enforced = "enforced",
        /// The host does not offer it.
        2 Unsupported = "unsupported",
        /// It does not apply to this run.
        3 NotApplicable = "not-applicable",
        /// It was tried and is not in force.
        4 Failed = "failed",
    }
}

record! {
    /// One protection and its state.
    pub struct Feature {
        /// Its name, `namespace.user`, `landlock`, `cgroup.memory`.
        name: Text<64>,
        /// Its state.
        state: FeatureState,
        /// How that is known, or why not.
        detail: Text<256>,
    }
}

record! {
    /// A network socket of a process.
    pub struct HeldSocket {
        /// The process.
        pid: u32,
        /// Its descriptor.
        fd: u32,
        /// The socket's inode, as in the kernel's tables.
        inode: u64,
        /// The kernel's name of its protocol, `TCP`; empty where it does not tell.
        protocol: Text<16>,
    }
}

choice! {
    /// The warden's answer.
    pub enum Response {
        /// Done; descriptors as the operation says.
        1 Done {},
        /// To `Probe` and `Report`.
        2 Features { /// Each protection once.
            features: List<Feature, 128> },
        /// To `Counters`.
        3 Counters { /// Highest memory use, in bytes; 0 where the host cannot tell.
            memory_peak_bytes: u64,
            /// CPU time used, in milliseconds.
            cpu_ms: u64,
            /// Processes now.
            pids: u32 },
        /// Not done.
        4 Refused { /// Stable code, `SR-WRD-0001`.
            code: Text<16>,
            /// Why.
            detail: Text<1024> },
        /// To `Sockets`.
        5 Sockets { /// Each socket once for each descriptor.
            sockets: List<HeldSocket, SOCKETS_MAX>,
            /// Processes into which the kernel does not let the warden look.
            hidden: List<u32, SOCKET_PIDS_MAX> },
        /// To `CollectDiagnostics`.
        20 Diagnostics { /// What was seen.
            seen: Diagnostics },
        /// To `ListReleases`.
        21 Releases { /// What there is.
            releases: Releases },
    }
}

names! {
    /// Why a workload ended.
    pub enum EndCause {
        /// It left by itself with an exit code.
        1 Exited = "exited",
        /// A signal ended it.
        2 Signalled = "signalled",
        /// The memory limit ended it.
        3 OutOfMemory = "out-of-memory",
        /// The wall time ended it.
        4 WallTime = "wall-time",
        /// It could not be started.
        5 StartFailed = "start-failed",
    }
}

record! {
    /// How a workload ended; written once on the pipe that `Start` gave, encoded by [`crate::to_bytes`].
    pub struct Exit {
        /// Why.
        cause: EndCause,
        /// Exit code or signal number.
        code: u32,
        /// Highest memory use, in bytes.
        memory_peak_bytes: u64,
        /// CPU time used, in milliseconds.
        cpu_ms: u64,
        /// Why it could not be started.
        detail: Text<512>,
    }
}

/// Longest encoded [`Exit`], in bytes: version, tags, three integers and a text, rounded up.
pub const EXIT_MAX: usize = 1024;
