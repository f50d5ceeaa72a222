//! What control and a run's porter say to each other.
//!
//! # Descriptors that the warden gives to `strongroom-porter run --inputs N [--scratch]`
//! | descriptor | what |
//! |---|---|
//! | 0 | `/dev/null` |
//! | 1, 2 | `/dev/null` or the warden's log of this porter |
//! | 3 | socket to control (SEQPACKET) |
//! | 4 | directory of the scratch mount (`checkpoints`, `model`, `output` below it), or `/dev/null` without `--scratch` |
//! | 5 | read end of the workload's standard output and error |
//! | 6 … 5+N | directory of each input's mount, writable until frozen; the porter closes it after `FillDone` |
//!
//! `strongroom-porter hash [--image]` gets the directory to hash as descriptor 3 and writes [`HashResult`] on
//! descriptor 1; with `--image` links are part of the tree and not refused.
//!
//! # Order
//! Control asks, the porter answers `Done` or `Refused` to each request, in order. Beside that the porter tells
//! `Told` messages at any time. Sealing: the porter asks for a stage (`Told::NeedStage`), control gives one
//! (`Request::Stage`, with the descriptor of an empty file, no answer), the porter writes one sealed file into it
//! and tells `Told::Sealed`; when all files of a checkpoint or result are sealed it tells `Told::Committed` and
//! control answers `Request::Accepted` or `Request::Rejected` (no answer).

use base::{Digest, TensorDigest};

use crate::{Blob, Key32, List, Text};

/// Most tensors told in one message.
pub const TENSORS_MAX: usize = 128;
/// Most risks told of one file: 64 x 258 bytes at most. A pickle of scikit-learn names about 20.
pub const RISKS_MAX: usize = 64;
/// Longest name of a risk.
pub const RISK_BYTES_MAX: usize = 256;
/// Most packages told in one message: 128 x 260 bytes at most.
pub const PACKAGES_MAX: usize = 128;

/// Most notes told of one file of data.
pub const NOTES_MAX: usize = 4;

record! {
    /// One sealed file to open into a mount; the ciphertext comes as a descriptor with the message.
    pub struct SealedFile {
        /// Relative path with `/`, no `.` or `..` components.
        path: Text<1024>,
        /// Plaintext bytes.
        size: u64,
        /// SHA-256 of the plaintext.
        digest: Digest,
        /// Key scope under which it was sealed.
        scope: Text<128>,
        /// Its data key.
        dek: Key32,
    }
}

choice! {
    /// From control.
    pub enum Request {
        /// Opens one file into an input. One descriptor.
        1 Fill { /// Index of the input.
            input: u8,
            /// The file.
            file: SealedFile },
        /// The input is complete: close every descriptor of it.
        2 FillDone { /// Index of the input.
            input: u8 },
        /// Empties `checkpoints`, before files are restored.
        3 RestoreBegin {},
        /// Opens one file into `checkpoints`. One descriptor.
        4 Restore { /// The file.
            file: SealedFile },
        /// Watches `checkpoints` and seals what the job commits, under this scope.
        5 Watch { /// Key scope of the job.
            scope: Text<128>,
            /// Largest checkpoint, in bytes.
            max_bytes: u64,
            /// Most files in a checkpoint.
            max_files: u32 },
        /// A stage for one sealed file. One descriptor. No answer.
        6 Stage {},
        /// The checkpoint or result is durable. No answer.
        7 Accepted { /// Which, as told.
            ticket: u32 },
        /// It was not taken. No answer.
        8 Rejected { /// Which, as told.
            ticket: u32,
            /// Why.
            reason: Text<512> },
        /// The workload has ended: seal a last commit, then inspect and seal what is in `model`, under this scope.
        9 Collect { /// Key scope of the tenant.
            scope: Text<128>,
            /// Largest result, in bytes.
            max_bytes: u64 },
        /// Leave.
        10 Finish {},
        /// Inspects each file of an input that is filled and not done; one `Told::Inspected` a file, then `Done`.
        11 Inspect { /// Index of the input.
            input: u8 },
        /// Unpacks a layer of an image into an input, above the layers before. One descriptor.
        12 Unpack { /// Index of the input.
            input: u8,
            /// The layer: an archive.
            layer: SealedFile,
            /// How it is compressed.
            compression: Compression,
            /// Most bytes that the image may have when it is unpacked.
            max_bytes: u64 },
        /// Looks at an unpacked image that is not done: `Told::System` if it names itself,
        /// `Told::Packages` as many as it takes, `Told::Tree`, `Done`.
        13 Survey { /// Index of the input.
            input: u8 },
        /// Says what one file of data is, read from its ciphertext and put nowhere: `Told::Recognised`, then `Done`.
        /// One descriptor.
        14 Recognise { /// The file.
            file: SealedFile },
    }
}

names! {
    /// How a layer of an image is compressed.
    pub enum Compression {
        /// Not at all.
        1 None = "none",
        /// gzip (RFC 1952).
        2 Gzip = "gzip",
        /// Zstandard (RFC 8878).
        3 Zstd = "zstd",
    }
}

names! {
    /// Whose list names a package.
    pub enum PackageSource {
        /// `dpkg`.
        1 Dpkg = "dpkg",
        /// `apk`.
        2 Apk = "apk",
        /// Python's metadata directories.
        3 Python = "python",
    }
}

record! {
    /// A package that an image says it holds.
    pub struct Package {
        /// Whose list names it.
        source: PackageSource,
        /// Its name.
        name: Text<128>,
        /// Its version.
        version: Text<128>,
    }
}

names! {
    /// How a commit was recognised.
    pub enum CommitRule {
        /// A rename.
        1 Rename = "rename",
        /// A marker file.
        2 Marker = "marker",
        /// A read lease on a quiet file.
        3 Lease = "lease",
        /// The workload has ended, nobody writes any more.
        4 Ended = "ended",
    }
}

record! {
    /// One tensor of a sealed file.
    pub struct Tensor {
        /// Its name.
        name: Text<256>,
        /// Its type, `f32`.
        dtype: Text<16>,
        /// Its shape.
        shape: List<u64, 8>,
        /// Over type, shape and numbers, as `inspect::tensor` says.
        digest: TensorDigest,
        /// IEEE 754 bits of its L2 norm as f64; none for types that have none.
        norm_bits: Option<u64>,
    }
}

names! {
    /// What a ticket is.
    pub enum TicketKind {
        /// A checkpoint.
        1 Checkpoint = "checkpoint",
        /// The job's result: the files of its model.
        2 Model = "model",
    }
}

choice! {
    /// From the porter.
    pub enum Told {
        /// The request was done; counts of what it concerned.
        1 Done { /// Files.
            files: u32,
            /// Bytes.
            bytes: u64 },
        /// The request was not done.
        2 Refused { /// Stable code, `SR-PRT-0001`.
            code: Text<16>,
            /// Why.
            detail: Text<1024> },
        /// Give me a stage.
        3 NeedStage {},
        /// One file of a ticket is sealed in the stage given last.
        4 Sealed { /// The ticket.
            ticket: u32,
            /// Relative path.
            path: Text<1024>,
            /// Plaintext bytes.
            size: u64,
            /// SHA-256 of the plaintext.
            digest: Digest,
            /// Its data key.
            dek: Key32,
            /// Format, as inspected.
            format: Text<32>,
            /// Verdict of the inspection: load, load-with-policy, refuse.
            verdict: Text<24>,
            /// Findings, as text with their codes.
            findings: List<Text<256>, 8>,
            /// Whether every float is finite; none where there are no floats to read.
            all_finite: Option<bool> },
        /// Tensors of the file sealed last.
        5 Tensors { /// The ticket.
            ticket: u32,
            /// Some of them, in order.
            tensors: List<Tensor, TENSORS_MAX> },
        /// All files of the ticket are sealed.
        6 Committed { /// The ticket.
            ticket: u32,
            /// What it is.
            kind: TicketKind,
            /// How the commit was recognised.
            rule: CommitRule,
            /// Training step, if known.
            step: Option<u64>,
            /// How many files.
            files: u32,
            /// When it was committed, Unix milliseconds.
            committed_ms: u64 },
        /// What the job wrote is no checkpoint.
        7 Malformed { /// Relative path.
            path: Text<1024>,
            /// Why.
            reason: Text<512> },
        /// A metric that the job claims.
        8 Metric { /// Step.
            step: u64,
            /// Name.
            name: Text<64>,
            /// Value as text.
            value: Text<32> },
        /// What the job printed.
        9 Output { /// Bytes, not necessarily UTF-8.
            bytes: Blob<16384> },
        /// The result is collected: `Committed` with kind model came before, unless there were no files.
        10 Collected { /// How many files.
            files: u32 },
        /// The reason that the job left in `output/failure`.
        11 Failure { /// Text.
            reason: Text<1024> },
        /// What the inspector says of one file.
        12 Inspected { /// Relative path.
            path: Text<1024>,
            /// Format, as inspected.
            format: Text<32>,
            /// load, load-with-policy, refuse.
            verdict: Text<24>,
            /// Findings, as text with their codes.
            findings: List<Text<256>, 8>,
            /// Every risk that a trust policy has to accept, as it names it.
            risks: List<Text<RISK_BYTES_MAX>, RISKS_MAX> },
        /// Packages of an unpacked image.
        13 Packages { /// Some of them.
            packages: List<Package, PACKAGES_MAX> },
        /// What the system of an unpacked image calls itself (os-release(5)).
        15 System { /// Its `ID`.
            id: Text<128>,
            /// Its name for people.
            name: Text<128> },
        /// What a file of data is (`inspect::data`).
        16 Recognised { /// Version of the rules by which it was told.
            rules: Text<32>,
            /// Its format.
            format: Text<256>,
            /// How many records it holds, if that can be told.
            records: Option<u64>,
            /// What a record is.
            unit: Text<16>,
            /// Columns of a table.
            columns: Option<u64>,
            /// Whether it carries serialised objects.
            pickle: bool,
            /// Whether it carries programs.
            code: bool,
            /// Why it is refused, whatever a policy says.
            refused: Option<Text<256>>,
            /// What else is to be said, for people.
            notes: List<Text<256>, NOTES_MAX> },
        /// The tree of an unpacked image.
        14 Tree { /// Its digest (`image::tree`).
            digest: Digest,
            /// Files, directories and links.
            entries: u32,
            /// Bytes of its files.
            bytes: u64 },
    }
}

record! {
    /// What `strongroom-porter hash` writes.
    pub struct HashResult {
        /// Manifest digest, as in [`crate::warden::Input`].
        manifest: Digest,
        /// Files.
        files: u32,
        /// Bytes.
        bytes: u64,
    }
}

/// Longest encoded [`HashResult`].
pub const HASH_RESULT_MAX: usize = 64;
