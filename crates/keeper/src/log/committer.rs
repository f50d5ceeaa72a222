//! The committing thread and the queue before it.

use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use audit::TreeSize;
use base::Digest;
use ops::event::Event;
use ops::keeper::Generation;

use super::writer::Writer;
use super::{Identity, Pending, newest, publish};
use crate::error::{AppendError, KeeperError};

/// The last committed head.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// Entries.
    pub(crate) size: TreeSize,
    /// Root.
    pub(crate) root: Digest,
    /// The signed note.
    pub(super) note: Vec<u8>,
    /// First entry of the segment that it stands in.
    pub(super) segment: u64,
    /// Where that segment's committed frames end.
    pub(super) end: u64,
}

/// Events of one request, and where its answer goes.
struct Job {
    events: Vec<Pending>,
    answer: SyncSender<Result<u64, AppendError>>,
}

struct Shared {
    identity: Identity,
    /// Bounded by the number of connections: each waits for its answer before it asks again.
    queue: Mutex<VecDeque<Job>>,
    wake: Condvar,
    head: Mutex<Head>,
    /// The newest generation of the metadata database that is committed.
    generation: Mutex<Option<Generation>>,
    moved: Condvar,
}

/// The log, for any number of threads.
#[derive(Clone)]
pub(crate) struct Log(Arc<Shared>);

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Log({})", self.head().size)
    }
}

/// A thread that panicked while it held the lock left whole values behind: they are only replaced, never edited.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    /// Starts the threads that commit and publish.
    ///
    /// # Errors
    /// No thread can be made.
    pub(super) fn start(
        identity: Identity,
        writer: Writer,
        generation: Option<Generation>,
    ) -> Result<Self, KeeperError> {
        let head = head_of(&writer);
        let shared = Arc::new(Shared {
            identity,
            queue: Mutex::new(VecDeque::new()),
            wake: Condvar::new(),
            head: Mutex::new(head),
            generation: Mutex::new(generation),
            moved: Condvar::new(),
        });
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(run)
                .map(drop)
                .map_err(KeeperError::file("starting a thread for", std::path::Path::new(name)))
        };
        let (committing, publishing) = (Self(Arc::clone(&shared)), Self(Arc::clone(&shared)));
        spawn("commit", Box::new(move || committing.commit_loop(writer)))?;
        spawn("publish", Box::new(move || publish::run(&publishing)))?;
        Ok(Self(shared))
    }

    /// What does not change.
    pub(crate) fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// The last committed head.
    pub(crate) fn head(&self) -> Head {
        locked(&self.0.head).clone()
    }

    /// The newest generation of the metadata database that is committed.
    pub(crate) fn generation(&self) -> Option<Generation> {
        locked(&self.0.generation).clone()
    }

    /// Waits until the log has more than `size` entries.
    pub(super) fn wait_beyond(&self, size: u64) -> Head {
        let mut head = locked(&self.0.head);
        while head.size.get() <= size {
            head = self.0.moved.wait(head).unwrap_or_else(PoisonError::into_inner);
        }
        head.clone()
    }

    /// Appends events as one consecutive run; returns when they are durable, with the index of the first.
    ///
    /// # Errors
    /// They are not in the log.
    pub(crate) fn append(&self, events: Vec<Pending>) -> Result<u64, AppendError> {
        if events.is_empty() {
            return Ok(self.head().size.get());
        }
        let (answer, wait) = sync_channel(1);
        locked(&self.0.queue).push_back(Job { events, answer });
        self.0.wake.notify_one();
        wait.recv().unwrap_or(Err(AppendError::Stopped))
    }

    /// Appends events of the keeper itself.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub(crate) fn append_own(&self, events: Vec<Event>) -> Result<u64, AppendError> {
        let sender_uid = self.identity().uid;
        let own = |event| Pending { event, sender: "keeper", sender_uid, generation: None };
        self.append(events.into_iter().map(own).collect())
    }

    /// Commits whatever waits, at once: while one commit is being synced, the next one collects itself.
    fn commit_loop(&self, mut writer: Writer) {
        loop {
            let jobs = self.take();
            let parts: Vec<&[Pending]> = jobs.iter().map(|j| j.events.as_slice()).collect();
            let done = writer.commit(&self.0.identity, &parts);
            if done.is_ok() {
                let mut generation = locked(&self.0.generation);
                let told = jobs.iter().flat_map(|job| job.events.iter().map(|e| e.generation.clone()));
                *generation = told.fold(generation.take(), newest);
                drop(generation);
                *locked(&self.0.head) = head_of(&writer);
                self.0.moved.notify_all();
            }
            let mut next = done.as_ref().copied().unwrap_or(0);
            for job in jobs {
                let answer = done.clone().map(|_| next);
                next = next.saturating_add(u64::try_from(job.events.len()).unwrap_or(0));
                // A connection that went away does not change what is in the log.
                job.answer.send(answer).unwrap_or_default();
            }
        }
    }

    /// Waits for work and takes as much as one commit holds.
    fn take(&self) -> Vec<Job> {
        let mut queue = locked(&self.0.queue);
        while queue.is_empty() {
            queue = self.0.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let (mut jobs, mut entries, mut bytes) = (Vec::new(), 0usize, 0usize);
        while Writer::has_room(entries, bytes)
            && let Some(job) = queue.pop_front()
        {
            entries = entries.saturating_add(job.events.len());
            // An entry is at most this long, so a commit stays within a segment whatever is in it.
            let longest = job.events.len().saturating_mul(estimate(&job.events));
            bytes = bytes.saturating_add(longest);
            jobs.push(job);
        }
        jobs
    }
}

/// The longest that one of these events can be as an entry: its texts, six times when every byte is escaped, and
/// what the keeper adds.
fn estimate(events: &[Pending]) -> usize {
    let texts = |e: &Event| {
        let details: usize = e.details.iter().map(|d| d.key.len().saturating_add(d.value.len())).sum();
        let own = [e.reason.len(), e.actor.len(), e.asset_id.len(), e.asset_kind.len(), e.tenant.len()];
        own.iter().sum::<usize>().saturating_add(details)
    };
    let longest = events.iter().map(|p| texts(&p.event)).max().unwrap_or(0);
    longest.saturating_mul(6).saturating_add(4096).min(audit::limits::ENTRY_MAX)
}

fn head_of(writer: &Writer) -> Head {
    let (segment, end) = writer.segment.as_ref().map_or((0, 0), |s| (s.first, s.end));
    Head {
        size: writer.frontier.size(),
        root: writer.frontier.root(),
        note: writer.note.clone(),
        segment,
        end,
    }
}
