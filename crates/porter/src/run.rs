//! `strongroom-porter run`: one thread that does what control asks and seals what the job commits.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use base::Explain;
use inspect::Verdict;
use link::{Conn, LinkError};
use ops::porter::{
    CommitRule, Compression, HashResult, PACKAGES_MAX, Package, PackageSource, Request, SealedFile,
    TENSORS_MAX, TicketKind, Told,
};
use ops::{List, Text};
use rustix::event::{PollFd, PollFlags};
use training::contract::FAILURE_FILE;
use vault::KeyScope;

use crate::layer::Layer;
use crate::seal::{self, Inspected};
use crate::snapshot::{self, Breaks, Copied, NoCopy};
use crate::teller::Teller;
use crate::unpack::{self, Unpacked};
use crate::watch::{Attempt, Bounds, Watch};
use crate::{PorterError, clock, fill, limits, recognise, steps, survey, tree};

/// Arguments of `run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many input mounts there are.
    pub inputs: u8,
    /// Whether there is a scratch mount.
    pub scratch: bool,
    /// Quiet time before a file is tried, in milliseconds.
    pub quiet_ms: u64,
}

impl Options {
    /// Reads the arguments after `run`; `None` if they are not well-formed.
    pub fn parse(words: &[&str]) -> Option<Self> {
        let mut options = Self { inputs: 0, scratch: false, quiet_ms: limits::QUIET_MS };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--inputs" => options.inputs = words.next()?.parse().ok()?,
                "--scratch" => options.scratch = true,
                "--quiet-ms" => options.quiet_ms = words.next()?.parse().ok()?,
                _ => return None,
            }
        }
        let inputs = usize::from(options.inputs) <= ops::warden::INPUTS_MAX;
        (inputs && (10..=60_000).contains(&options.quiet_ms)).then_some(options)
    }
}

/// An input mount: open until it is complete.
#[derive(Debug)]
struct Input {
    dir: Option<OwnedFd>,
    files: u32,
    bytes: u64,
    /// What an image came to so far.
    unpacked: Unpacked,
}

/// What is watched and under which scope it is sealed.
#[derive(Debug)]
struct Watched {
    watch: Watch,
    scope: KeyScope,
}

struct Porter {
    options: Options,
    conn: Conn,
    inputs: Vec<Input>,
    scratch: Option<OwnedFd>,
    breaks: Breaks,
    teller: Teller,
    told: Arc<steps::Told>,
    watched: Option<Watched>,
    /// Requests that came while a stage was awaited.
    waiting: VecDeque<(Request, Option<OwnedFd>)>,
    tickets: u32,
    finished: bool,
}

/// Serves until control says `Finish` or is gone.
///
/// # Errors
/// The descriptors are not as described in [`ops::porter`], or the socket fails.
pub fn run(options: &Options) -> Result<(), PorterError> {
    let take = |number: u8| {
        host::take_inherited(number).map_err(|source| PorterError::Io {
            doing: "taking descriptor",
            path: number.to_string(),
            source,
        })
    };
    let conn = Conn::from_fd(take(3)?)?;
    let scratch = take(4)?;
    let pipe = take(5)?;
    let inputs = (0..options.inputs)
        .map(|i| {
            Ok(Input {
                dir: Some(take(i.saturating_add(6))?),
                files: 0,
                bytes: 0,
                unpacked: Unpacked::default(),
            })
        })
        .collect::<Result<_, PorterError>>()?;
    let breaks = Breaks::new()?;
    let scratch = options.scratch.then_some(scratch);
    let output = scratch.as_ref().map(|s| directory(s, "output")).transpose()?;
    let told = Arc::new(steps::Told::default());
    let teller = Teller::start(&conn, pipe, output, Arc::clone(&told))?;
    let mut porter = Porter {
        options: *options,
        conn,
        inputs,
        scratch,
        breaks,
        teller,
        told,
        watched: None,
        waiting: VecDeque::new(),
        tickets: 0,
        finished: false,
    };
    match porter.serve() {
        Err(PorterError::Link(LinkError::Closed)) => Ok(()),
        other => other,
    }
}

fn directory(scratch: &OwnedFd, name: &str) -> Result<OwnedFd, PorterError> {
    tree::open_dir(scratch.as_fd(), name).map_err(PorterError::io("opening directory", name))
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Porter {
    fn serve(&mut self) -> Result<(), PorterError> {
        while !self.finished {
            if let Some((request, fd)) = self.waiting.pop_front() {
                self.answer(request, fd)?;
                continue;
            }
            if self.wait() {
                let (request, fd) = self.receive()?;
                self.answer(request, fd)?;
            }
            self.watch_step(false)?;
        }
        Ok(())
    }

    /// Waits for a request or for something to watch; whether there is a request.
    fn wait(&self) -> bool {
        let mut set = vec![PollFd::new(&self.conn, PollFlags::IN)];
        let now = clock::monotonic_ms();
        let timeout = self.watched.as_ref().map(|w| clock::timespec(w.watch.wait_ms(now)));
        let events = self.watched.as_ref().map(|w| w.watch.events());
        if let Some(events) = &events {
            set.push(PollFd::new(events, PollFlags::IN));
        }
        // An interrupted poll is an early look at everything.
        rustix::event::poll(&mut set, timeout.as_ref()).is_ok()
            && set.first().is_some_and(|p| !p.revents().is_empty())
    }

    fn receive(&self) -> Result<(Request, Option<OwnedFd>), PorterError> {
        let (bytes, mut fds) = self.conn.recv(ops::MESSAGE_MAX, 1)?;
        let request = ops::from_bytes::<Request>(&bytes).map_err(LinkError::Message)?;
        Ok((request, fds.pop()))
    }

    fn tell(&self, told: &Told) -> Result<(), PorterError> {
        Ok(self.conn.send(&ops::to_bytes(told), &[])?)
    }

    /// Does one request and answers it.
    fn answer(&mut self, request: Request, fd: Option<OwnedFd>) -> Result<(), PorterError> {
        let done = match request {
            Request::Stage {} | Request::Accepted { .. } | Request::Rejected { .. } => return Ok(()),
            Request::Fill { input, file } => self.fill(input, &file, fd),
            Request::FillDone { input } => self.fill_done(input),
            Request::Unpack { input, layer, compression, max_bytes } => {
                self.unpack(input, &layer, fd, compression, max_bytes)
            }
            Request::Survey { input } => self.survey(input),
            Request::Recognise { file } => self.recognise(&file, fd),
            Request::Inspect { input } => self.inspect_input(input),
            Request::RestoreBegin {} => self.restore_begin(),
            Request::Restore { file } => self.restore(&file, fd),
            Request::Watch { scope, max_bytes, max_files } => self.watch(&scope, max_bytes, max_files),
            Request::Collect { scope, max_bytes } => self.collect(&scope, max_bytes),
            Request::Finish {} => {
                self.finished = true;
                self.teller.finish();
                Ok((0, 0))
            }
        };
        match done {
            Ok((files, bytes)) => self.tell(&Told::Done { files, bytes }),
            Err(error) if error.is_fatal() => Err(error),
            Err(error) => {
                let detail = base::error::chain(&error);
                self.tell(&Told::Refused { code: Text::clip(error.code()), detail: Text::clip(&detail) })
            }
        }
    }

    fn fill(&mut self, input: u8, file: &SealedFile, fd: Option<OwnedFd>) -> Result<(u32, u64), PorterError> {
        let input =
            self.inputs.get_mut(usize::from(input)).ok_or(PorterError::Order("there is no such input"))?;
        let dir = input.dir.as_ref().ok_or(PorterError::Order("the input is already complete"))?;
        let sealed = fd.ok_or(PorterError::Order("no descriptor came with the file"))?;
        let bytes = fill::open_into(dir.as_fd(), file, sealed.as_fd(), 0o444)?;
        input.files = input.files.saturating_add(1);
        input.bytes = input.bytes.saturating_add(bytes);
        Ok((1, bytes))
    }

    /// Puts one layer of an image above those before.
    fn unpack(
        &mut self,
        input: u8,
        file: &SealedFile,
        fd: Option<OwnedFd>,
        compression: Compression,
        max_bytes: u64,
    ) -> Result<(u32, u64), PorterError> {
        let input =
            self.inputs.get_mut(usize::from(input)).ok_or(PorterError::Order("there is no such input"))?;
        let dir = input.dir.as_ref().ok_or(PorterError::Order("the input is already complete"))?;
        let root = tree::open_dir(dir.as_fd(), ".").map_err(PorterError::io("opening", "the image"))?;
        let sealed = fd.ok_or(PorterError::Order("no descriptor came with the layer"))?;
        let plain = fill::Plain::open(file, sealed.as_fd())?;
        let mut layer = Layer::new(file.path.as_str(), plain, compression, max_bytes);
        unpack::layer(root.as_fd(), &mut layer, &mut input.unpacked, max_bytes)?;
        Ok((input.unpacked.entries, input.unpacked.bytes))
    }

    /// Tells what an unpacked image is.
    fn survey(&self, input: u8) -> Result<(u32, u64), PorterError> {
        let input =
            self.inputs.get(usize::from(input)).ok_or(PorterError::Order("there is no such input"))?;
        let dir = input.dir.as_ref().ok_or(PorterError::Order("the input is already complete"))?;
        let wire = |package: &image::packages::Package| Package {
            source: match package.source {
                image::packages::Source::Dpkg => PackageSource::Dpkg,
                image::packages::Source::Apk => PackageSource::Apk,
                image::packages::Source::Python => PackageSource::Python,
            },
            name: Text::clip(&package.name),
            version: Text::clip(&package.version),
        };
        let root = tree::open_dir(dir.as_fd(), ".").map_err(PorterError::io("opening", "the image"))?;
        let said = survey::said(root.as_fd())?;
        if let Some((id, name)) = &said.system {
            self.tell(&Told::System { id: Text::clip(id), name: Text::clip(name) })?;
        }
        for batch in said.packages.chunks(PACKAGES_MAX) {
            self.tell(&Told::Packages { packages: List::clip(batch.iter().map(wire).collect()) })?;
        }
        let HashResult { manifest, files, bytes } = survey::image_digest(dir.as_fd())?;
        self.tell(&Told::Tree { digest: manifest, entries: files, bytes })?;
        Ok((files, bytes))
    }

    /// Tells what a file of data is.
    fn recognise(&self, file: &SealedFile, fd: Option<OwnedFd>) -> Result<(u32, u64), PorterError> {
        let sealed = fd.ok_or(PorterError::Order("no descriptor came with the file"))?;
        self.tell(&recognise::told(file, sealed.as_fd())?)?;
        Ok((1, file.size))
    }

    fn fill_done(&mut self, input: u8) -> Result<(u32, u64), PorterError> {
        let input =
            self.inputs.get_mut(usize::from(input)).ok_or(PorterError::Order("there is no such input"))?;
        let dir = input.dir.take().ok_or(PorterError::Order("the input is already complete"))?;
        if input.unpacked.entries > 0 {
            unpack::settle(dir.as_fd(), ".", 0).map_err(PorterError::io("settling", "the image"))?;
        }
        Ok((input.files, input.bytes))
    }

    /// Inspects the files of an input that is filled and still open.
    fn inspect_input(&self, input: u8) -> Result<(u32, u64), PorterError> {
        let input =
            self.inputs.get(usize::from(input)).ok_or(PorterError::Order("there is no such input"))?;
        let dir = input.dir.as_ref().ok_or(PorterError::Order("the input is already complete"))?;
        let entries = tree::walk(dir.as_fd(), "", limits::WALK_FILES_MAX)?;
        let mut bytes = 0u64;
        for entry in &entries {
            let content = snapshot::read_whole(dir, &entry.path)?;
            let found = Inspected::of(&entry.path, &content);
            bytes = bytes.saturating_add(entry.size);
            self.tell(&Told::Inspected {
                path: Text::new(entry.path.clone()).map_err(|_| PorterError::Path(entry.path.clone()))?,
                format: Text::clip(found.format.as_str()),
                verdict: Text::clip(found.verdict.as_str()),
                findings: found.told_findings(),
                risks: found.risks,
            })?;
        }
        Ok((count(entries.len()), bytes))
    }

    fn below(&self, name: &str) -> Result<OwnedFd, PorterError> {
        let scratch = self.scratch.as_ref().ok_or(PorterError::Order("this run has no scratch"))?;
        directory(scratch, name)
    }

    fn restore_begin(&self) -> Result<(u32, u64), PorterError> {
        if self.watched.is_some() {
            return Err(PorterError::Order("checkpoints are already watched"));
        }
        tree::empty(self.below("checkpoints")?.as_fd(), 0)?;
        Ok((0, 0))
    }

    fn restore(&self, file: &SealedFile, fd: Option<OwnedFd>) -> Result<(u32, u64), PorterError> {
        if self.watched.is_some() {
            return Err(PorterError::Order("checkpoints are already watched"));
        }
        let sealed = fd.ok_or(PorterError::Order("no descriptor came with the file"))?;
        let bytes = fill::open_into(self.below("checkpoints")?.as_fd(), file, sealed.as_fd(), 0o644)?;
        Ok((1, bytes))
    }

    fn watch(&mut self, scope: &str, max_bytes: u64, max_files: u32) -> Result<(u32, u64), PorterError> {
        if self.watched.is_some() {
            return Err(PorterError::Order("checkpoints are already watched"));
        }
        let scope = scope.parse().map_err(|_| PorterError::Order("the key scope is no key scope"))?;
        let max_files = usize::try_from(max_files).unwrap_or(usize::MAX).min(limits::WALK_FILES_MAX);
        let bounds = Bounds { max_bytes, max_files };
        let watch = Watch::start(self.below("checkpoints")?, bounds, self.options.quiet_ms)?;
        self.watched = Some(Watched { watch, scope });
        Ok((0, 0))
    }

    /// Takes in events and tries what is due.
    fn watch_step(&mut self, ended: bool) -> Result<(), PorterError> {
        let Some(mut watched) = self.watched.take() else { return Ok(()) };
        watched.watch.read_events();
        let result = self.seal_due(&mut watched, ended);
        self.watched = Some(watched);
        result
    }

    fn seal_due(&mut self, watched: &mut Watched, ended: bool) -> Result<(), PorterError> {
        let attempt = watched.watch.attempt(&self.breaks, ended);
        if !matches!(attempt, Attempt::Nothing) {
            for (path, error) in watched.watch.strange() {
                self.malformed(&path, &base::error::chain(&error))?;
            }
        }
        match attempt {
            Attempt::Nothing => Ok(()),
            Attempt::Refused { path, error } => self.malformed(&path, &base::error::chain(&error)),
            Attempt::Copied { unit, rule, files, seen } => {
                match self.seal_checkpoint(rule, &files, &watched.scope) {
                    Ok(()) => watched.watch.settle(unit, seen),
                    Err(error) if error.is_fatal() => return Err(error),
                    Err(PorterError::Inspection { path, findings }) => {
                        watched.watch.settle(unit, seen);
                        self.malformed(&path, &findings)?;
                    }
                    Err(error) => {
                        // Not the job's fault: said, and tried again.
                        let path = files.first().map(|f| f.path.clone()).unwrap_or_default();
                        watched.watch.retry(&unit, rule);
                        self.malformed(
                            &path,
                            &format!("not sealed, will be tried again: {}", base::error::chain(&error)),
                        )?;
                    }
                }
                Ok(())
            }
        }
    }

    fn malformed(&self, path: &str, reason: &str) -> Result<(), PorterError> {
        self.tell(&Told::Malformed { path: Text::clip(path), reason: Text::clip(reason) })
    }

    /// Inspects all files first, so that nothing is sealed of what is refused.
    fn inspect(files: &[Copied]) -> Result<Vec<Inspected>, PorterError> {
        let mut inspected = Vec::with_capacity(files.len());
        for file in files {
            let found = Inspected::of(&file.path, &file.bytes);
            if found.verdict != Verdict::Load {
                return Err(PorterError::Inspection { path: file.path.clone(), findings: found.line() });
            }
            inspected.push(found);
        }
        Ok(inspected)
    }

    fn seal_checkpoint(
        &mut self,
        rule: CommitRule,
        files: &[Copied],
        scope: &KeyScope,
    ) -> Result<(), PorterError> {
        let inspected = Self::inspect(files)?;
        let step = steps::of(files, &inspected, &self.told);
        let ticket = self.seal_all(files, inspected, scope)?;
        self.tell(&Told::Committed {
            ticket,
            kind: TicketKind::Checkpoint,
            rule,
            step,
            files: count(files.len()),
            committed_ms: files.iter().map(|f| f.mtime_ms).max().unwrap_or(0),
        })
    }

    /// Seals files under a new ticket.
    fn seal_all(
        &mut self,
        files: &[Copied],
        inspected: Vec<Inspected>,
        scope: &KeyScope,
    ) -> Result<u32, PorterError> {
        self.tickets = self.tickets.saturating_add(1);
        let ticket = self.tickets;
        for (file, found) in files.iter().zip(inspected) {
            let stage = self.stage()?;
            let sealed = seal::into(stage.as_fd(), &file.path, &file.bytes, scope)?;
            drop(stage);
            let path = Text::new(file.path.clone()).map_err(|_| PorterError::Path(file.path.clone()))?;
            self.tell(&Told::Sealed {
                ticket,
                path,
                size: sealed.layout.plaintext_len(),
                digest: sealed.digest,
                dek: sealed.dek.expose(ops::Key32::new),
                format: Text::clip(found.format.as_str()),
                verdict: Text::clip(found.verdict.as_str()),
                findings: found.told_findings(),
                all_finite: found.all_finite,
            })?;
            for batch in found.tensors.chunks(TENSORS_MAX) {
                self.tell(&Told::Tensors { ticket, tensors: List::clip(batch.to_vec()) })?;
            }
        }
        Ok(ticket)
    }

    /// Asks for a stage. Other requests that come meanwhile wait.
    fn stage(&mut self) -> Result<OwnedFd, PorterError> {
        self.tell(&Told::NeedStage {})?;
        let deadline = clock::monotonic_ms().saturating_add(limits::STAGE_WAIT_MS);
        loop {
            let left = deadline.saturating_sub(clock::monotonic_ms());
            let ready = host::channel::wait_readable(&self.conn, left).map_err(|source| PorterError::Io {
                doing: "waiting for",
                path: "a stage".into(),
                source,
            })?;
            if !ready {
                return Err(PorterError::NoStage);
            }
            match self.receive()? {
                (Request::Stage {}, fd) => return fd.ok_or(PorterError::NoStage),
                (Request::Accepted { .. } | Request::Rejected { .. }, _) => {}
                other if self.waiting.len() < limits::REQUESTS_MAX => self.waiting.push_back(other),
                _ => return Err(PorterError::Order("too many requests at once")),
            }
        }
    }

    /// The workload has ended: seals a last commit, then the result.
    fn collect(&mut self, scope: &str, max_bytes: u64) -> Result<(u32, u64), PorterError> {
        let scope: KeyScope =
            scope.parse().map_err(|_| PorterError::Order("the key scope is no key scope"))?;
        if let Some(watched) = &mut self.watched {
            watched.watch.last_look();
        }
        for _ in 0..limits::PENDING_MAX {
            if self.watched.as_mut().is_none_or(|w| w.watch.is_idle()) {
                break;
            }
            self.watch_step(true)?;
        }
        self.watched = None;
        self.teller.finish();
        self.failure()?;
        let files = self.model(max_bytes)?;
        let bytes = files.iter().map(|f| u64::try_from(f.bytes.len()).unwrap_or(u64::MAX)).sum();
        if !files.is_empty() {
            let inspected = Self::inspect(&files)?;
            let ticket = self.seal_all(&files, inspected, &scope)?;
            self.tell(&Told::Committed {
                ticket,
                kind: TicketKind::Model,
                rule: CommitRule::Ended,
                step: None,
                files: count(files.len()),
                committed_ms: files.iter().map(|f| f.mtime_ms).max().unwrap_or(0),
            })?;
        }
        self.tell(&Told::Collected { files: count(files.len()) })?;
        Ok((count(files.len()), bytes))
    }

    /// A private copy of everything in `model`.
    fn model(&self, max_bytes: u64) -> Result<Vec<Copied>, PorterError> {
        let dir = self.below("model")?;
        let list = || tree::walk(dir.as_fd(), "", training::limits::CHECKPOINT_FILES_MAX);
        for _ in 0..10 {
            let files = list()?;
            match snapshot::take(&dir, &files, max_bytes, &self.breaks, list) {
                Ok(copies) => return Ok(copies),
                Err(NoCopy::Refused(error)) => return Err(error),
                // The last process is only just gone.
                Err(NoCopy::Busy) => clock::pause_ms(50),
            }
        }
        Err(PorterError::Order("files of the result are still being written"))
    }

    /// The reason that the job left, if it did.
    fn failure(&self) -> Result<(), PorterError> {
        let Ok((fd, _)) = tree::open_file(self.below("output")?.as_fd(), FAILURE_FILE) else { return Ok(()) };
        let mut buffer = [0u8; 1024];
        let count = tree::read_at(fd.as_fd(), &mut buffer, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()).into_owned();
        if text.trim().is_empty() {
            Ok(())
        } else {
            self.tell(&Told::Failure { reason: Text::clip(text.trim()) })
        }
    }
}
