//! One run of a sandbox with its porter: from `StartPorter` to `Destroy` (ops::warden).
//!
//! Everything that happens to a run arrives in one queue, so that its owner (a job's supervisor, an endpoint) is
//! one loop over one kind of message.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use base::id::RunId;
use base::{ByteSize, Digest, Timestamp};
use link::{Conn, LinkError};
use ops::porter::{Compression, Request, SealedFile, Told};
use ops::relay::Egress;
use ops::warden::{Exit, Input, Limits, Operation, Response, RunKind};
use ops::{Key32, List, Text};
use training::contract::{TreeFile, tree_digest};
use vault::KeyScope;

use crate::clock::now;
use crate::keygroups::{KeyRing, Use};
use crate::node::Node;
use crate::{Fail, workloads};

/// Messages of a run that wait for its owner; a porter that tells more waits itself.
const QUEUE_MAX: usize = 256;
/// Messages kept while an answer is awaited: a porter tells little before the workload starts, so more is a flood.
const BACKLOG_MAX: usize = 256;
/// A porter that does not take a message for so long is as good as gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for a porter's answer: it opens or seals one file at 0.5 GB/s or better.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// What happens to a run.
#[derive(Debug)]
pub(crate) enum RunEvent {
    /// The porter tells.
    Told(Told),
    /// The porter is gone.
    PorterGone,
    /// The workload has ended.
    Exited(Exit),
}

/// A sealed file with what opens it.
#[derive(Debug, Clone)]
pub(crate) struct FileRef {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) digest: Digest,
    pub(crate) scope: KeyScope,
}

/// One input: what it is and its files.
#[derive(Debug, Clone)]
pub(crate) struct InputPlan {
    pub(crate) kind: ops::warden::InputKind,
    pub(crate) files: Vec<FileRef>,
    /// Of an image, whose files are its layers: what they come to, and how each is compressed.
    pub(crate) unpacked: Option<(Unpacked, Vec<Compression>)>,
}

/// The tree that layers come to, and the room that it takes to get there: entries and bytes that a later layer
/// replaces count too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unpacked {
    pub(crate) tree: Digest,
    pub(crate) entries: u32,
    pub(crate) bytes: u64,
}

impl InputPlan {
    /// Files that are mounted as they are.
    pub(crate) fn files(kind: ops::warden::InputKind, files: Vec<FileRef>) -> Self {
        Self { kind, files, unpacked: None }
    }

    fn order(&self) -> Input {
        let kind = self.kind.clone();
        match &self.unpacked {
            Some((tree, _)) => Input { kind, bytes: tree.bytes, files: tree.entries, manifest: tree.tree },
            None => Input {
                kind,
                bytes: self.files.iter().map(|f| f.size).fold(0, u64::saturating_add),
                files: u32::try_from(self.files.len()).unwrap_or(u32::MAX),
                manifest: manifest_digest(&self.files),
            },
        }
    }
}

/// For whom and why a run opens objects, as in events.
#[derive(Debug, Clone)]
pub(crate) struct Purpose {
    pub(crate) tenant: String,
    pub(crate) actor: String,
    pub(crate) what: String,
    pub(crate) correlation: u128,
}

/// A run.
#[derive(Debug)]
pub(crate) struct Run {
    node: Arc<Node>,
    pub(crate) id: RunId,
    purpose: Purpose,
    porter: Arc<Conn>,
    events: Receiver<RunEvent>,
    sender: SyncSender<RunEvent>,
    backlog: VecDeque<RunEvent>,
    /// When what it asks of its porter must be over; none where each answer has its own time.
    ends: Option<Timestamp>,
    destroyed: bool,
    /// Whether egresses were opened to it.
    opened: bool,
}

/// Manifest digest of the files of an input.
pub(crate) fn manifest_digest(files: &[FileRef]) -> Digest {
    let files: Vec<_> =
        files.iter().map(|f| TreeFile { path: f.path.clone(), size: f.size, digest: f.digest }).collect();
    tree_digest(&files)
}

impl Run {
    /// Starts the porter of a new run; nothing of the tenant has been opened yet.
    pub(crate) fn start_porter(
        node: &Arc<Node>,
        id: RunId,
        kind: RunKind,
        limits: Limits,
        inputs: &[InputPlan],
        purpose: Purpose,
    ) -> Result<Self, Fail> {
        let inputs = inputs.iter().map(InputPlan::order);
        let operation = Operation::StartPorter {
            run: id.bits(),
            tenant: text(&purpose.tenant)?,
            kind,
            limits,
            inputs: List::new(inputs.collect()).map_err(|e| Fail::invalid(format!("inputs: {e}")))?,
        };
        let (_, mut fds) = node.warden.order(
            &node.keeper,
            operation,
            purpose.correlation,
            &purpose.tenant,
            &purpose.actor,
        )?;
        let socket =
            fds.pop().ok_or_else(|| Fail::internal("the warden gave no porter socket", "protocol"))?;
        let porter = Arc::new(Conn::from_fd(socket).map_err(link_fail)?);
        porter.set_timeout(Some(SEND_TIMEOUT)).map_err(link_fail)?;
        let (sender, events) = sync_channel(QUEUE_MAX);
        let reader = Arc::clone(&porter);
        let queue = sender.clone();
        std::thread::Builder::new()
            .name(format!("porter-{id}"))
            .spawn(move || read_porter(&reader, &queue))
            .map_err(|e| Fail::internal("no thread for the porter", e))?;
        Ok(Self {
            node: Arc::clone(node),
            id,
            purpose,
            porter,
            events,
            sender,
            backlog: VecDeque::new(),
            ends: None,
            destroyed: false,
            opened: false,
        })
    }

    /// Everything that is asked of the porter must be answered by then.
    pub(crate) fn must_end(&mut self, at: Timestamp) {
        self.ends = Some(at);
    }

    /// Opens the files of one input into its mount, which stays writable for the porter.
    /// The answer to the last file: of an image, entries and bytes so far.
    pub(crate) fn open_files(&mut self, input: u8, plan: &InputPlan) -> Result<(u32, u64), Fail> {
        let mut ring = KeyRing::default();
        let mut done = (0, 0);
        let (max_bytes, compressions) = match &plan.unpacked {
            Some((tree, compressions)) => (tree.bytes, compressions.as_slice()),
            None => (0, [].as_slice()),
        };
        for (number, file) in plan.files.iter().enumerate() {
            let (sealed, ciphertext) = self.sealed(file, &mut ring)?;
            let request = match compressions.get(number) {
                Some(compression) => {
                    Request::Unpack { input, layer: sealed, compression: *compression, max_bytes }
                }
                None => Request::Fill { input, file: sealed },
            };
            done = self.ask(&request, Some(&ciphertext))?;
        }
        Ok(done)
    }

    /// Opens the files of one input into its mount, and makes the mount read-only for good.
    pub(crate) fn fill(&mut self, index: usize, plan: &InputPlan) -> Result<(), Fail> {
        let input = u8::try_from(index).map_err(|_| Fail::invalid("too many inputs"))?;
        self.open_files(input, plan)?;
        self.ask(&Request::FillDone { input }, None)?;
        self.order(Operation::FreezeMount { run: self.id.bits(), input })?;
        Ok(())
    }

    /// Puts the files of a checkpoint into the job's directory, which is emptied first.
    pub(crate) fn restore(&mut self, files: &[FileRef]) -> Result<(), Fail> {
        self.ask(&Request::RestoreBegin {}, None)?;
        let mut ring = KeyRing::default();
        for file in files {
            let (sealed, ciphertext) = self.sealed(file, &mut ring)?;
            self.ask(&Request::Restore { file: sealed }, Some(&ciphertext))?;
        }
        Ok(())
    }

    /// Has the porter say what a file of data is; its answer arrives like everything else.
    pub(crate) fn recognise(&self, file: &FileRef, ring: &mut KeyRing) -> Result<(), Fail> {
        let (sealed, ciphertext) = self.sealed(file, ring)?;
        self.tell(&Request::Recognise { file: sealed }, Some(&ciphertext))
    }

    fn sealed(&self, file: &FileRef, ring: &mut KeyRing) -> Result<(SealedFile, File), Fail> {
        let (key, ciphertext) = self.node.open_object(&file.scope, &file.digest).map_err(|fail| {
            let title = format!("`{}`: {}", crate::fail::printable(&file.path), fail.title);
            Fail { title, ..fail }
        })?;
        let why = Use {
            actor: &self.purpose.actor,
            purpose: &self.purpose.what,
            correlation: self.purpose.correlation,
        };
        let dek = ring.release(&self.node.keeper, &file.scope, &key, why)?;
        let sealed = SealedFile {
            path: text(&file.path)?,
            size: file.size,
            digest: file.digest,
            scope: text(&file.scope.to_string())?,
            dek: dek.expose(Key32::new),
        };
        Ok((sealed, ciphertext))
    }

    /// Starts the workload; its end arrives as [`RunEvent::Exited`]. Where it is to have egresses: the socket on which it
    /// asks for them.
    pub(crate) fn start(&mut self, operation: Operation) -> Result<Option<OwnedFd>, Fail> {
        let (_, fds) = self.order(operation)?;
        let mut fds = fds.into_iter();
        let pipe = fds.next().ok_or_else(|| Fail::internal("the warden gave no exit pipe", "protocol"))?;
        let queue = self.sender.clone();
        std::thread::Builder::new()
            .name(format!("exit-{}", self.id))
            .spawn(move || read_exit(pipe, &queue))
            .map_err(|e| Fail::internal("no thread for the workload's end", e))?;
        Ok(fds.next())
    }

    /// Opens egresses to the workload, by the socket on which it asks for them, with a certificate where the relay speaks in
    /// its name.
    pub(crate) fn open(
        &mut self,
        egresses: Vec<(Egress, Option<ByteSize>)>,
        socket: OwnedFd,
    ) -> Result<(), Fail> {
        self.opened = true;
        let whose = (self.purpose.tenant.as_str(), self.purpose.actor.as_str());
        self.node.relay.open(self.id.bits(), whose, egresses, socket)?;
        workloads::certify(&self.node, self.id.bits(), whose.0, whose.1)
    }

    /// Gives an order about this run.
    pub(crate) fn order(&self, operation: Operation) -> Result<(Response, Vec<OwnedFd>), Fail> {
        let p = &self.purpose;
        self.node.warden.order(&self.node.keeper, operation, p.correlation, &p.tenant, &p.actor)
    }

    /// The next thing that happens, within `wait`.
    pub(crate) fn next(&mut self, wait: Duration) -> Option<RunEvent> {
        if let Some(event) = self.backlog.pop_front() {
            return Some(event);
        }
        match self.events.recv_timeout(wait) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(RunEvent::PorterGone),
        }
    }

    /// Tells the porter something that has no answer.
    pub(crate) fn tell(&self, request: &Request, file: Option<&File>) -> Result<(), Fail> {
        let fds: Vec<_> = file.iter().map(|f| f.as_fd()).collect();
        self.porter.send(&ops::to_bytes(request), &fds).map_err(link_fail)
    }

    /// Asks the porter and waits for its answer; what it tells meanwhile is kept in order.
    pub(crate) fn ask(&mut self, request: &Request, file: Option<&File>) -> Result<(u32, u64), Fail> {
        self.tell(request, file)?;
        let since = now();
        loop {
            if self.backlog.len() >= BACKLOG_MAX {
                self.porter.shutdown();
                return Err(Fail::internal(
                    "the porter of this run tells without end instead of answering",
                    "flood",
                ));
            }
            let time = now();
            let spent = Duration::from_millis(time.millis_since(since));
            let left = self.ends.map_or(ANSWER_TIMEOUT, |end| Duration::from_millis(end.millis_since(time)));
            match self.events.recv_timeout(ANSWER_TIMEOUT.saturating_sub(spent).min(left)) {
                Ok(RunEvent::Told(Told::Done { files, bytes })) => return Ok((files, bytes)),
                Ok(RunEvent::Told(Told::Refused { code, detail })) => {
                    return Err(porter_refused(&code, &format!("the porter refused: {detail}")));
                }
                Ok(RunEvent::PorterGone) | Err(RecvTimeoutError::Disconnected) => {
                    self.backlog.push_back(RunEvent::PorterGone);
                    return Err(Fail::unavailable("the porter of this run is gone", "its socket was closed"));
                }
                Ok(event) => self.backlog.push_back(event),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Fail::unavailable("the porter of this run does not answer", "timeout"));
                }
            }
        }
    }

    /// What is enforced on the workload, read back from the kernel.
    pub(crate) fn report(&self) -> Result<Vec<ops::warden::Feature>, Fail> {
        match self.order(Operation::Report { run: self.id.bits() })? {
            (Response::Features { features }, _) => Ok(features.into_inner()),
            _ => Err(Fail::internal("the warden gave an answer of another kind", "report")),
        }
    }

    /// Ends everything of the run and removes what is left of it.
    pub(crate) fn destroy(&mut self) -> Result<(), Fail> {
        if self.destroyed {
            return Ok(());
        }
        self.porter.shutdown();
        if std::mem::take(&mut self.opened) {
            self.node.relay.close(self.id.bits());
        }
        self.order(Operation::Destroy { run: self.id.bits() })?;
        self.destroyed = true;
        Ok(())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Err(fail) = self.destroy() {
            crate::log::line("run", &format!("{} could not be removed: {}", self.id, fail.line()));
        }
    }
}

fn read_porter(conn: &Conn, queue: &SyncSender<RunEvent>) {
    loop {
        let told = match conn.recv(ops::MESSAGE_MAX, 0) {
            Ok((bytes, _)) => ops::from_bytes::<Told>(&bytes),
            // The socket's limit is for sending; a porter may be silent for as long as its job is.
            Err(LinkError::TimedOut) => continue,
            Err(_) => break,
        };
        let Ok(told) = told else {
            crate::log::line("run", "a porter sent what is no message; its connection is closed");
            break;
        };
        if queue.send(RunEvent::Told(told)).is_err() {
            return;
        }
    }
    // The receiver may be gone with the run; then nobody waits for this.
    drop(queue.send(RunEvent::PorterGone));
}

fn read_exit(pipe: OwnedFd, queue: &SyncSender<RunEvent>) {
    let mut bytes = Vec::new();
    let limit = u64::try_from(ops::warden::EXIT_MAX).unwrap_or(u64::MAX);
    let read = File::from(pipe).take(limit).read_to_end(&mut bytes);
    let exit = read.ok().and_then(|_| ops::from_bytes::<Exit>(&bytes).ok()).unwrap_or_else(|| Exit {
        cause: ops::warden::EndCause::StartFailed,
        code: 0,
        memory_peak_bytes: 0,
        cpu_ms: 0,
        detail: Text::clip("the warden ended before the workload did"),
    });
    drop(queue.send(RunEvent::Exited(exit)));
}

/// What a refusal of the porter means: a lack of the node (descriptors, space, a stage) is no verdict on the bytes.
pub(crate) fn porter_refused(code: &str, title: &str) -> Fail {
    let lack = matches!(code, "SR-PRT-0009" | "SR-PRT-0010" | "SR-PRT-0011" | "SR-PRT-0012");
    let status = if lack { 503 } else { 422 };
    let help = format!("see what it means with `strongroom explain {code}`");
    Fail { code: code.to_owned(), status, ..Fail::refused("SR-PRT-0001", title) }.help(help)
}

pub(crate) fn text<const MAX: usize>(value: &str) -> Result<Text<MAX>, Fail> {
    Text::new(value).map_err(|e| Fail::invalid(format!("`{}`: {e}", crate::fail::printable(value))))
}

#[expect(clippy::needless_pass_by_value, reason = "the form that `map_err` takes")]
fn link_fail(error: LinkError) -> Fail {
    Fail::unavailable("the porter of this run cannot be reached", base::error::chain(&error))
}
