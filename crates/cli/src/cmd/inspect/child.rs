//! The confined process: files come in as descriptors, reports go out.

use std::fs::File;
use std::io::{Read, Seek, Write};

use base::Hasher;
use inspect::{Limits, Report, TAIL, begins_elsewhere, head_len, inspect_bytes, inspect_head};

use super::said::{Found, Said};
use crate::args::InspectChildArgs;
use crate::clock::cpu_seconds;
use crate::confined;
use crate::error::{CliError, Failure};
use crate::exit::Exit;

/// Bytes read at a time: they are hashed while they are still in the processor's cache.
const CHUNK: usize = 256 << 10;
/// A file above this is read through without being kept, where its first bytes are enough.
const KEEP: u64 = 8 << 20;
/// Bytes between two words on how far it is.
const TOLD: u64 = 64 << 20;
/// Longest order: a name and a few words.
const ORDER_MAX: usize = 48 << 10;

/// One file to inspect; its descriptor comes with it.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    /// Its name, which tells what it claims to be.
    pub(super) name: String,
    /// Its length when it was found.
    pub(super) size: u64,
    /// Whether the numbers in it are looked at.
    pub(super) numbers: bool,
}

/// Serves orders until the other side closes the socket.
pub(crate) fn run(args: &InspectChildArgs) -> Result<Exit, Failure> {
    let failed = |reason: String| CliError::Inspector { path: "-".into(), reason };
    let inbox = confined::inbox().map_err(|e| failed(e.to_string()))?;
    confined::confine(args.largest).map_err(|e| failed(e.to_string()))?;
    loop {
        let (message, fds) = match inbox.recv(ORDER_MAX, 1) {
            Ok(order) => order,
            Err(link::LinkError::Closed) => return Ok(Exit::Done),
            Err(error) => return Err(failed(error.to_string()).into()),
        };
        let order: Order = serde_json::from_slice(&message).map_err(|e| failed(e.to_string()))?;
        let file = fds.into_iter().next().ok_or_else(|| failed("an order without a file".to_owned()))?;
        let failed = |e: std::io::Error| CliError::Inspector {
            path: order.name.clone().into(),
            reason: e.to_string(),
        };
        confined::allot(cpu_seconds(), order.size).map_err(failed)?;
        let said = one(&order, File::from(file)).map_err(failed)?;
        let bytes = serde_json::to_vec(&said).unwrap_or_default();
        say(b'r', &bytes).map_err(failed)?;
    }
}

/// One frame: a letter, a length, the content.
fn say(kind: u8, content: &[u8]) -> std::io::Result<()> {
    let len = u32::try_from(content.len()).map_err(std::io::Error::other)?;
    let mut out = std::io::stdout().lock();
    out.write_all(&[kind])?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(content)?;
    out.flush()
}

fn one(order: &Order, file: File) -> std::io::Result<Said> {
    let limits = Limits { measure: order.numbers, ..Limits::default() };
    let mut reader = Reader::new(order, file);
    let first = reader.read_to(CHUNK)?;
    // A file whose first bytes tell everything is hashed as it streams by.
    let enough = if order.numbers || order.size <= KEEP { None } else { head_len(&reader.kept) };
    if first && let Some(enough) = enough.and_then(|len| usize::try_from(len).ok()) {
        reader.read_to(enough)?;
        if reader.kept.len() >= enough
            && inspect_head(&order.name, &reader.kept, order.size, &[], &limits).is_some()
        {
            if let Some(tail) = reader.pass()?
                && let Some(report) = inspect_head(&order.name, &reader.kept, order.size, &tail, &limits)
            {
                return Ok(said(report, reader.finish()?));
            }
            // Something in what was passed over has to be seen: from the beginning, with a hash of its own.
            let mut file = reader.file;
            file.rewind()?;
            reader = Reader::new(order, file);
        }
    }
    reader.read_to(usize::MAX)?;
    let digest = reader.digest.clone().finish().hex();
    let content = std::mem::take(&mut reader.kept);
    reader.finish()?;
    Ok(said(inspect_bytes(&order.name, &content, &limits), digest))
}

/// Reads a file once, hashing on the way.
struct Reader {
    file: File,
    size: u64,
    done: u64,
    told: u64,
    kept: Vec<u8>,
    digest: Hasher,
}

impl Reader {
    fn new(order: &Order, file: File) -> Self {
        Self { file, size: order.size, done: 0, told: 0, kept: Vec::new(), digest: Hasher::new() }
    }

    /// Keeps bytes until there are `want` of them, or the file ends. Whether there is more.
    fn read_to(&mut self, want: usize) -> std::io::Result<bool> {
        let room = usize::try_from(self.size).map_err(std::io::Error::other)?.min(want);
        self.kept.try_reserve_exact(room.saturating_sub(self.kept.len())).map_err(std::io::Error::other)?;
        while self.kept.len() < room {
            let from = self.kept.len();
            let step = CHUNK.min(room.saturating_sub(from));
            let got =
                (&mut self.file).take(step.try_into().unwrap_or(u64::MAX)).read_to_end(&mut self.kept)?;
            if got == 0 {
                return Err(changed());
            }
            self.digest.update(self.kept.get(from..).unwrap_or_default());
            self.tell(got)?;
        }
        Ok(self.done < self.size)
    }

    /// Reads the rest without keeping it, but for the last bytes. `None` where another format begins in it.
    fn pass(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; CHUNK];
        let mut tail = self.kept.get(self.kept.len().saturating_sub(TAIL)..).unwrap_or_default().to_vec();
        while self.done < self.size {
            let got = self.file.read(&mut buffer)?;
            let block = buffer.get(..got).unwrap_or_default();
            if block.is_empty() {
                return Err(changed());
            }
            self.digest.update(block);
            // The bytes before the block are there as well, for what begins in them.
            tail.extend_from_slice(block);
            self.tell(got)?;
            let start = self.done.saturating_sub(tail.len().try_into().unwrap_or(u64::MAX));
            let places = (9..63).map(|power| 1_u64 << power).filter(|at| (start..self.done).contains(at));
            for at in places {
                let inner = usize::try_from(at.saturating_sub(start)).map_err(std::io::Error::other)?;
                if begins_elsewhere(at, tail.get(inner..).unwrap_or_default()) {
                    return Ok(None);
                }
            }
            tail.drain(..tail.len().saturating_sub(TAIL));
        }
        Ok(Some(tail))
    }

    fn tell(&mut self, got: usize) -> std::io::Result<()> {
        self.done = self.done.saturating_add(got.try_into().unwrap_or(u64::MAX));
        if self.done.saturating_sub(self.told) >= TOLD {
            let more = self.done.saturating_sub(self.told);
            self.told = self.done;
            say(b'p', &more.to_le_bytes())?;
        }
        Ok(())
    }

    /// The digest, if the file has ended where it should.
    fn finish(mut self) -> std::io::Result<String> {
        if self.done != self.size || self.file.read(&mut [0])? != 0 {
            return Err(changed());
        }
        Ok(self.digest.finish().hex())
    }
}

fn changed() -> std::io::Error {
    std::io::Error::other("the file changed while it was read")
}

fn said(report: Report, digest: String) -> Said {
    Said {
        format: report.format.as_str().to_owned(),
        verdict: report.verdict.as_str().to_owned(),
        digest,
        tensors: report.tensors.len(),
        all_finite: report.all_finite,
        risks: report.risks().map(|risk| risk.as_str().to_owned()).collect(),
        globals: report.globals().map(|(module, name)| format!("{module}.{name}")).collect(),
        findings: report.findings.into_iter().map(Found::from).collect(),
    }
}
