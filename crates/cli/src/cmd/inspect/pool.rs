//! Confined processes at work: small files share one for each core, a large file has its own.
//!
//! A process that ends over a file has said nothing of it, so that file is refused, and the next one is handed to a
//! new process.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use link::Conn;

use super::child::Order;
use super::said::Said;
use crate::confined;
use crate::error::CliError;
use crate::output::bytes;
use crate::progress::Progress;
use crate::walk::Entry;

/// Longest report: 64 findings, and names of globals that a policy would have to list.
const REPORT_MAX: u32 = 4 << 20;
/// Files up to this size share a process.
const SMALL: u64 = 16 << 20;
/// Files that one process inspects at most.
const FILES_EACH: u32 = 4_096;
/// Most processes at once.
const WORKERS_MAX: usize = 64;

/// Inspects all files, each by a confined process, and says of each what it is, in their order.
pub(super) fn inspect_all(files: &[Entry], numbers: bool, progress: &Progress) -> Vec<Said> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Large files first, so that none of them is begun when the others are done.
    let mut order: Vec<usize> = (0..files.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(files.get(*at).map_or(0, |file| file.size)));
    let next = AtomicUsize::new(0);
    let results = Mutex::new(vec![None; files.len()]);
    let work = || {
        let mut worker = None;
        while let Some(at) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Some(file) = files.get(*at) else { break };
            let said = inspect(file, numbers, &mut worker, progress);
            let said = said.unwrap_or_else(|error| Said::refused(&error));
            if let Some(slot) = results.lock().unwrap_or_else(PoisonError::into_inner).get_mut(*at) {
                *slot = Some(said);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..cores.min(WORKERS_MAX).min(files.len()) {
            scope.spawn(work);
        }
        work();
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let missing = |file: &Entry| {
        let reason = "it was not inspected".to_owned();
        Said::refused(&CliError::Inspector { path: file.path.clone(), reason })
    };
    results.into_iter().zip(files).map(|(said, file)| said.unwrap_or_else(|| missing(file))).collect()
}

fn inspect(
    entry: &Entry,
    numbers: bool,
    shared: &mut Option<Worker>,
    progress: &Progress,
) -> Result<Said, CliError> {
    let failed = |reason: String| CliError::Inspector { path: entry.path.clone(), reason };
    if entry.size > confined::FILE_MAX {
        return Err(failed(format!("files above {} are not inspected", bytes(confined::FILE_MAX))));
    }
    let file = entry.open()?;
    let order = Order { name: entry.name.clone(), size: entry.size, numbers };
    if entry.size > SMALL {
        return Worker::start(entry.size)?.ask(&order, &file, progress).map_err(failed);
    }
    let mut worker = match shared.take() {
        Some(worker) if worker.asked < FILES_EACH => worker,
        _ => Worker::start(SMALL)?,
    };
    let said = worker.ask(&order, &file, progress).map_err(failed)?;
    *shared = Some(worker);
    Ok(said)
}

/// A confined process. Dropped, its socket closes and it ends.
struct Worker {
    child: Child,
    orders: Option<Conn>,
    out: ChildStdout,
    asked: u32,
}

impl Worker {
    fn start(largest: u64) -> Result<Self, CliError> {
        let program = std::env::current_exe().map_err(CliError::file("find", Path::new("this program")))?;
        let failed = |reason: String| CliError::Inspector { path: "-".into(), reason };
        let (ours, theirs) = Conn::pair().map_err(|e| failed(e.to_string()))?;
        let mut child = Command::new(program)
            .args([confined::COMMAND, "--", &largest.to_string()])
            .env_clear()
            .current_dir("/")
            .stdin(std::os::fd::OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| failed(e.to_string()))?;
        let out = child.stdout.take().ok_or_else(|| failed("it has no output".to_owned()))?;
        Ok(Self { child, orders: Some(ours), out, asked: 0 })
    }

    /// Hands one file over and waits for what is said of it.
    fn ask(&mut self, order: &Order, file: &std::fs::File, progress: &Progress) -> Result<Said, String> {
        self.asked = self.asked.saturating_add(1);
        let message = serde_json::to_vec(order).map_err(|e| e.to_string())?;
        let orders = self.orders.as_ref().ok_or("it has ended")?;
        if let Err(error) = orders.send(&message, &[file.as_fd()]) {
            return Err(self.ended(&error.to_string()));
        }
        let mut told = 0_u64;
        loop {
            let (kind, content) = match self.frame() {
                Ok(frame) => frame,
                Err(error) => return Err(self.ended(&error.to_string())),
            };
            match (kind, <[u8; 8]>::try_from(content.as_slice())) {
                (b'r', _) => {
                    progress.add(order.size.saturating_sub(told));
                    return serde_json::from_slice(&content).map_err(|e| e.to_string());
                }
                (b'p', Ok(more)) => {
                    let more = u64::from_le_bytes(more).min(order.size.saturating_sub(told));
                    told = told.saturating_add(more);
                    progress.add(more);
                }
                _ => return Err("it said something else than a report".to_owned()),
            }
        }
    }

    fn frame(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.out.read_exact(&mut head)?;
        let [kind, len @ ..] = head;
        let len = u32::from_le_bytes(len);
        if len > REPORT_MAX {
            return Err(std::io::Error::other("report is too long"));
        }
        let mut content = vec![0; usize::try_from(len).map_err(std::io::Error::other)?];
        self.out.read_exact(&mut content)?;
        Ok((kind, content))
    }

    /// How the process ended, of which nothing more is to be had.
    fn ended(&mut self, what: &str) -> String {
        self.orders = None;
        match self.child.wait().map(|status| (status.signal(), status.code())) {
            Ok((Some(signal), _)) => {
                format!("it was ended by signal {signal}: over its limit of memory or time")
            }
            Ok((None, Some(code))) => format!("it ended with status {code}: {what}"),
            _ => what.to_owned(),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.orders = None;
        // It ends by itself when nobody can give orders any more; what does not is ended.
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ended = self.child.kill();
        }
        let _status = self.child.wait();
    }
}
