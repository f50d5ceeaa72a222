//! A porter process and the control side of its socket.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base::Digest;
use link::Conn;
use ops::Text;
use ops::porter::{CommitRule, Request, SealedFile, Tensor, TicketKind, Told};
use vault::sef::{HEADER_LEN, Header, Layout};
use vault::{ChunkSize, Content, Dek, FreshDek, KeyScope, Opener, Sealer};

/// The user that job and porter share.
pub(crate) const JOB_UID: u32 = 61_234;
pub(crate) const SCOPE: &str = "acme";

pub(crate) struct Porter {
    pub(crate) conn: Conn,
    child: Child,
    pub(crate) root: PathBuf,
    pub(crate) pipe: Option<File>,
    mounted: bool,
    _dir: tempfile::TempDir,
}

#[derive(Debug)]
pub(crate) struct SealedHere {
    pub(crate) path: String,
    pub(crate) content: Vec<u8>,
    pub(crate) all_finite: Option<bool>,
}

#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) kind: TicketKind,
    pub(crate) rule: CommitRule,
    pub(crate) step: Option<u64>,
    pub(crate) files: Vec<SealedHere>,
    pub(crate) tensors: Vec<Tensor>,
}

/// Counts of what was done, or code and detail of a refusal.
pub(crate) type Answer = Result<(u32, u64), (String, String)>;

/// What came while waiting.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) tickets: Vec<Ticket>,
    pub(crate) malformed: Vec<(String, String)>,
    pub(crate) output: Vec<u8>,
    pub(crate) metrics: Vec<(u64, String, String)>,
    pub(crate) failure: Option<String>,
    pub(crate) packages: Vec<String>,
    pub(crate) recognised: Vec<(String, Option<u64>)>,
    pub(crate) system: Option<(String, String)>,
    pub(crate) tree: Option<(Digest, u32, u64)>,
    files: Vec<SealedHere>,
    tensors: Vec<Tensor>,
    stages: Vec<PathBuf>,
}

impl Porter {
    /// Starts it with one input and scratch, on a tmpfs of its own.
    pub(crate) fn start(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("m");
        fs::create_dir(&root).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=512m,mode=0755", "tmpfs"])
            .arg(&root)
            .status()
            .is_ok_and(|s| s.success());
        assert!(mounted, "these tests mount a tmpfs and change users: run them as root");
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        for name in [
            "scratch",
            "scratch/checkpoints",
            "scratch/model",
            "scratch/output",
            "scratch/output/data",
            "input",
            "stage",
        ] {
            fs::create_dir(root.join(name)).unwrap();
            chown(root.join(name), Some(JOB_UID), Some(JOB_UID)).unwrap();
        }
        let (ours, theirs) = Conn::pair().unwrap();
        ours.set_timeout(Some(Duration::from_secs(15))).unwrap();
        let (read, write) = std::io::pipe().unwrap();
        let theirs: OwnedFd = theirs.into();
        let scratch = File::open(root.join("scratch")).unwrap();
        let input = File::open(root.join("input")).unwrap();
        let read: OwnedFd = read.into();
        let given = [theirs.as_fd(), scratch.as_fd(), read.as_fd(), input.as_fd()];
        // The shell gets copies with high numbers that survive exec and puts them where the porter expects them.
        let copies: Vec<OwnedFd> =
            given.iter().map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 100).unwrap()).collect();
        for copy in &copies {
            rustix::io::fcntl_setfd(copy, rustix::io::FdFlags::empty()).unwrap();
        }
        let places: String =
            (3..).zip(&copies).map(|(to, from)| format!(" {to}<&{}", from.as_raw_fd())).collect();
        let script = format!(
            "exec setpriv --reuid {JOB_UID} --regid {JOB_UID} --clear-groups \"$0\" run --inputs 1 --scratch {} {places}",
            options.join(" ")
        );
        let child = Command::new("bash")
            .args(["-c", &script, env!("CARGO_BIN_EXE_strongroom-porter")])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        for copy in copies {
            rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::CLOEXEC).unwrap();
        }
        let pipe = Some(File::from(OwnedFd::from(write)));
        Self { conn: ours, child, root, pipe, mounted, _dir: dir }
    }

    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.root.join("scratch/checkpoints")
    }

    pub(crate) fn send(&self, request: &Request, fd: Option<&File>) {
        let fds: Vec<_> = fd.iter().map(|f| f.as_fd()).collect();
        self.conn.send(&ops::to_bytes(request), &fds).unwrap();
    }

    /// Asks and hears everything until the answer.
    pub(crate) fn ask(&self, request: &Request, fd: Option<&File>) -> (Answer, Heard) {
        self.send(request, fd);
        let mut heard = Heard::default();
        loop {
            if let Some(answer) = self.hear(&mut heard) {
                return (answer, heard);
            }
        }
    }

    pub(crate) fn watch(&self) {
        let scope = Text::new(SCOPE).unwrap();
        let request = Request::Watch { scope, max_bytes: 64 << 20, max_files: 100 };
        assert!(self.ask(&request, None).0.is_ok());
    }

    pub(crate) fn collect(&self) -> (Answer, Heard) {
        self.ask(&Request::Collect { scope: Text::new(SCOPE).unwrap(), max_bytes: 64 << 20 }, None)
    }

    /// Hears until `enough`.
    pub(crate) fn hear_until(&self, enough: impl Fn(&Heard) -> bool) -> Heard {
        let mut heard = Heard::default();
        while !enough(&heard) {
            let waits = host::channel::wait_readable(&self.conn, 15_000).unwrap();
            assert!(waits, "nothing came any more; heard {heard:?}");
            assert!(self.hear(&mut heard).is_none());
        }
        heard
    }

    /// Whether anything comes within this time.
    pub(crate) fn quiet_for(&self, ms: u64) -> bool {
        !host::channel::wait_readable(&self.conn, ms).unwrap()
    }

    fn new_stage(&self, heard: &Heard) -> PathBuf {
        self.root.join("stage").join(heard.stages.len().to_string())
    }

    /// Takes one message; an answer if it is one.
    fn hear(&self, heard: &mut Heard) -> Option<Answer> {
        let (bytes, _) = self.conn.recv(ops::MESSAGE_MAX, 0).unwrap();
        match ops::from_bytes::<Told>(&bytes).unwrap() {
            Told::Done { files, bytes } => return Some(Ok((files, bytes))),
            Told::Refused { code, detail } => return Some(Err((code.to_string(), detail.to_string()))),
            Told::NeedStage {} => {
                let path = self.new_stage(heard);
                let file = File::options()
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(0o600)
                    .open(&path)
                    .unwrap();
                heard.stages.push(path);
                self.send(&Request::Stage {}, Some(&file));
            }
            Told::Sealed { path, size, digest, dek, verdict, all_finite, .. } => {
                assert_eq!(verdict.as_str(), "load");
                let stage = heard.stages.last().unwrap();
                let content = open(stage, dek.expose(|key| *key), &digest);
                assert_eq!(content.len() as u64, size);
                assert_eq!(base::sha256(&content), digest);
                heard.files.push(SealedHere { path: path.to_string(), content, all_finite });
            }
            Told::Tensors { tensors, .. } => heard.tensors.extend(tensors.into_inner()),
            Told::Committed { ticket, kind, rule, step, files, .. } => {
                let sealed = std::mem::take(&mut heard.files);
                assert_eq!(sealed.len(), files as usize);
                self.send(&Request::Accepted { ticket }, None);
                let tensors = std::mem::take(&mut heard.tensors);
                heard.tickets.push(Ticket { kind, rule, step, files: sealed, tensors });
            }
            Told::Malformed { path, reason } => heard.malformed.push((path.to_string(), reason.to_string())),
            Told::Metric { step, name, value } => {
                heard.metrics.push((step, name.to_string(), value.to_string()));
            }
            Told::Output { bytes } => heard.output.extend_from_slice(&bytes),
            Told::Failure { reason } => heard.failure = Some(reason.to_string()),
            Told::Packages { packages } => {
                heard.packages.extend(packages.iter().map(|p| format!("{}={}", p.name, p.version)));
            }
            Told::System { id, name } => heard.system = Some((id.to_string(), name.to_string())),
            Told::Recognised { format, records, .. } => heard.recognised.push((format.to_string(), records)),
            Told::Tree { digest, entries, bytes } => heard.tree = Some((digest, entries, bytes)),
            Told::Collected { .. } | Told::Inspected { .. } => {}
        }
        None
    }

    /// CPU milliseconds of the porter so far.
    pub(crate) fn cpu_ms(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10
    }

    /// CPU nanoseconds of all threads of the porter so far (`schedstat`, which unlike `stat` counts no ticks).
    pub(crate) fn cpu_ns(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let spent = |task: fs::DirEntry| {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap();
            text.split_whitespace().next().unwrap().parse::<u64>().unwrap()
        };
        tasks.map(|task| spent(task.unwrap())).sum()
    }

    /// Runs a program as the job.
    pub(crate) fn job(&self, program: &str, arguments: &[&str]) -> Child {
        Command::new("setpriv")
            .args([
                "--reuid",
                &JOB_UID.to_string(),
                "--regid",
                &JOB_UID.to_string(),
                "--clear-groups",
                program,
            ])
            .args(arguments)
            .current_dir(self.checkpoints())
            .env("OMP_NUM_THREADS", "1")
            .spawn()
            .unwrap()
    }

    pub(crate) fn shell(&self, script: &str) {
        assert!(self.job("bash", &["-ec", script]).wait().unwrap().success(), "{script}");
    }
}

impl Drop for Porter {
    fn drop(&mut self) {
        self.conn.shutdown();
        self.child.wait().unwrap();
        if self.mounted {
            Command::new("umount").arg("-l").arg(&self.root).status().unwrap();
        }
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

fn key(byte: u8) -> [u8; 32] {
    [byte; 32]
}

/// Opens a sealed file and checks that nothing of it stands in the clear.
pub(crate) fn open(path: &Path, mut dek: [u8; 32], digest: &Digest) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    let header: Header = bytes[..HEADER_LEN].try_into().unwrap();
    let layout = Layout::parse(&header, bytes.len() as u64).unwrap();
    let tags = bytes[at(layout.tags_offset())..].to_vec();
    let scope: KeyScope = SCOPE.parse().unwrap();
    let opener =
        Opener::verify(&header, tags, bytes.len() as u64, &Dek::take(&mut dek), &scope, digest).unwrap();
    let mut content = vec![];
    for i in 0..layout.chunks() {
        let from = at(layout.chunk_offset(i));
        let mut chunk = bytes[from..from + layout.chunk_len(i).unwrap()].to_vec();
        opener.open_chunk(i, &mut chunk).unwrap();
        content.extend(chunk);
    }
    content
}

/// A sealed file as control would send it.
pub(crate) fn seal(dir: &Path, path: &str, content: &[u8]) -> (SealedFile, File, PathBuf) {
    let sealer = Sealer::new(FreshDek::take(&mut key(7)), key(9), ChunkSize::default(), Content::Unknown);
    let mut out = vec![0u8; HEADER_LEN];
    let mut emit = |offset: u64, bytes: &[u8]| {
        out.resize(out.len().max(at(offset) + bytes.len()), 0);
        out[at(offset)..at(offset) + bytes.len()].copy_from_slice(bytes);
        Ok::<(), vault::SefError>(())
    };
    let mut sealer = sealer.unwrap();
    sealer.push(content, &mut emit).unwrap();
    let sealed = sealer.finish(&SCOPE.parse().unwrap(), &mut emit).unwrap();
    out.extend_from_slice(&sealed.tags);
    out[..HEADER_LEN].copy_from_slice(sealed.header.as_ref());
    let stored = dir.join(format!("sealed-{}", path.replace('/', "_")));
    fs::write(&stored, &out).unwrap();
    let file = SealedFile {
        path: Text::new(path).unwrap(),
        size: content.len() as u64,
        digest: base::sha256(content),
        scope: Text::new(SCOPE).unwrap(),
        dek: ops::Key32::new(&key(7)),
    };
    (file, File::open(&stored).unwrap(), stored)
}
