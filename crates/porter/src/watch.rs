//! Watches `checkpoints` and gives a private copy of what the job commits.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use ops::porter::CommitRule;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use crate::commit::{Change, Commits, Unit, is_final};
use crate::snapshot::{self, Breaks, Copied, NoCopy};
use crate::tree::{self, Entry, Named};
use crate::{PorterError, clock, limits};

/// Limits of a checkpoint, from the job.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) max_bytes: u64,
    pub(crate) max_files: usize,
}

/// One attempt.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// Nothing is due, or it was not to be had now.
    Nothing,
    /// A committed unit, copied.
    Copied { unit: Unit, rule: CommitRule, files: Vec<Copied>, seen: Vec<Entry> },
    /// What is there can be no checkpoint.
    Refused { path: String, error: PorterError },
}

/// The watch on a directory.
#[derive(Debug)]
pub(crate) struct Watch {
    dir: OwnedFd,
    events: OwnedFd,
    /// Watched directories by watch descriptor: path below `dir`, empty for itself.
    watched: BTreeMap<i32, String>,
    commits: Commits,
    bounds: Bounds,
    /// What each unit looked like when it was last sealed, refused or found at the start.
    settled: BTreeMap<Unit, Vec<Entry>>,
    /// Paths that were already told to be no part of a checkpoint.
    reported: BTreeSet<String>,
    rescan_ms: u64,
}

const EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::EXCL_UNLINK);

impl Watch {
    /// Starts watching. What is there now counts as sealed.
    pub(crate) fn start(dir: OwnedFd, bounds: Bounds, quiet_ms: u64) -> Result<Self, PorterError> {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(PorterError::io("watching", "checkpoints"))?;
        let mut watch = Self {
            dir,
            events,
            watched: BTreeMap::new(),
            commits: Commits::new(quiet_ms),
            bounds,
            settled: BTreeMap::new(),
            reported: BTreeSet::new(),
            rescan_ms: 0,
        };
        watch.add("");
        watch.look(true)?;
        Ok(watch)
    }

    /// For waiting together with other descriptors.
    pub(crate) fn events(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Milliseconds until something is due.
    pub(crate) fn wait_ms(&self, now_ms: u64) -> u64 {
        let rescan = self.rescan_ms.saturating_sub(now_ms);
        self.commits.wait_ms(now_ms).map_or(rescan, |wait| wait.min(rescan))
    }

    /// Watches one directory and all below it. One that cannot be watched is found by the rescan.
    fn add(&mut self, path: &str) {
        let (told, now) = (!path.is_empty(), clock::monotonic_ms());
        let mut waiting = vec![path.to_owned()];
        while let Some(path) = waiting.pop() {
            if self.watched.len() >= limits::WATCHES_MAX || path.split('/').count() > limits::DEPTH_MAX {
                return;
            }
            let opened = if path.is_empty() { self.dir.try_clone().ok() } else { self.open(&path) };
            let Some(fd) = opened else { continue };
            // The descriptor is what was resolved safely; its own link in /proc leads to nothing else.
            let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
            if let Ok(number) = inotify::add_watch(&self.events, link, EVENTS) {
                self.watched.insert(number, path.clone());
            }
            let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
            let names = tree::list(fd.as_fd(), &prefix).unwrap_or_default();
            for named in names {
                match named {
                    Named::Directory(path) => waiting.push(path),
                    // Written before the watch was there: a marker among them counts all the same.
                    Named::File(entry) if told => {
                        self.commits.change(&entry.path, false, Change::Closed, now);
                    }
                    Named::File(_) | Named::Other(_) => {}
                }
            }
        }
    }

    fn open(&self, path: &str) -> Option<OwnedFd> {
        tree::open_dir(self.dir.as_fd(), path).ok()
    }

    /// Takes in what happened.
    pub(crate) fn read_events(&mut self) {
        let now = clock::monotonic_ms();
        let mut buffer = [MaybeUninit::<u8>::uninit(); 16 * 1024];
        let mut happened = Vec::new();
        let mut overflow = false;
        let mut reader = inotify::Reader::new(self.events.as_fd(), &mut buffer);
        while let Ok(event) = reader.next() {
            let flags = event.events();
            overflow |= flags.contains(ReadFlags::QUEUE_OVERFLOW);
            let name = event.file_name().and_then(|n| n.to_str().ok()).map(str::to_owned);
            happened.push((event.wd(), flags, name));
        }
        for (number, flags, name) in happened {
            if flags.contains(ReadFlags::IGNORED) {
                self.watched.remove(&number);
            }
            let (Some(parent), Some(name)) = (self.watched.get(&number), name) else { continue };
            let path = if parent.is_empty() { name } else { format!("{parent}/{name}") };
            let is_directory = flags.contains(ReadFlags::ISDIR);
            if is_directory {
                self.add(&path);
            }
            let change = if flags.contains(ReadFlags::MOVED_TO) {
                Change::MovedIn
            } else if flags.contains(ReadFlags::CLOSE_WRITE) {
                Change::Closed
            } else {
                Change::Touched
            };
            self.commits.change(&path, is_directory, change, now);
        }
        if overflow {
            self.rescan_ms = 0;
        }
    }

    /// Looks at everything, for what no event told: an overflow, a directory made and filled before it was watched.
    fn look(&mut self, settle: bool) -> Result<(), PorterError> {
        let now = clock::monotonic_ms();
        self.rescan_ms = now.saturating_add(limits::RESCAN_MS);
        let mut units = vec![Unit::Files];
        for named in tree::list(self.dir.as_fd(), "")? {
            if let Named::Directory(name) = named
                && is_final(&name)
            {
                units.push(Unit::Directory(name));
            }
        }
        self.settled.retain(|unit, _| units.contains(unit));
        for unit in units {
            let Ok(found) = self.entries(&unit) else {
                self.commits.mark(unit, CommitRule::Lease, now);
                continue;
            };
            if settle {
                self.settled.insert(unit, found);
            } else if !found.is_empty()
                && self.settled.get(&unit) != Some(&found)
                && !self.commits.waits(&unit)
            {
                self.commits.mark(unit, CommitRule::Lease, now);
            }
        }
        Ok(())
    }

    /// The files of a unit as they are now.
    fn entries(&self, unit: &Unit) -> Result<Vec<Entry>, PorterError> {
        match unit {
            Unit::Directory(name) => tree::walk(self.dir.as_fd(), name, self.bounds.max_files),
            Unit::Files => {
                let mut files = Vec::new();
                for named in tree::list(self.dir.as_fd(), "")? {
                    match named {
                        Named::File(entry) if is_final(&entry.path) => files.push(entry),
                        Named::File(_) | Named::Directory(_) | Named::Other(_) => {}
                    }
                }
                if files.len() > self.bounds.max_files {
                    let limit = u64::try_from(self.bounds.max_files).unwrap_or(u64::MAX);
                    return Err(PorterError::Limit { path: "checkpoints".into(), what: "files", limit });
                }
                files.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
                Ok(files)
            }
        }
    }

    /// Names directly in `checkpoints` that are neither files nor directories, each told once.
    pub(crate) fn strange(&mut self) -> Vec<(String, PorterError)> {
        let names = tree::list(self.dir.as_fd(), "").unwrap_or_default();
        let mut found = Vec::new();
        for named in names {
            let Named::Other(error) = named else { continue };
            let path = match &error {
                PorterError::Kind { path, .. } => path.clone(),
                _ => continue,
            };
            if self.reported.len() < limits::REPORTED_MAX && self.reported.insert(path.clone()) {
                found.push((path, error));
            }
        }
        found
    }

    /// Tries the next unit that is due. With `ended` the workload is gone: everything that changed is due.
    pub(crate) fn attempt(&mut self, breaks: &Breaks, ended: bool) -> Attempt {
        let now = clock::monotonic_ms();
        if now >= self.rescan_ms {
            // What cannot be listed now is listed the next time.
            self.look(false).unwrap_or_default();
        }
        let Some((unit, rule, since)) = self.commits.take_due(now, ended) else { return Attempt::Nothing };
        let files = match self.entries(&unit) {
            Ok(files) if files.is_empty() || self.settled.get(&unit) == Some(&files) => {
                return Attempt::Nothing;
            }
            Ok(files) => files,
            Err(PorterError::Io { source, .. })
                if source.raw_os_error() == Some(Errno::NOENT.raw_os_error()) =>
            {
                return Attempt::Nothing;
            }
            Err(error) => return self.refuse(unit, Vec::new(), error),
        };
        match snapshot::take(&self.dir, &files, self.bounds.max_bytes, breaks, || self.entries(&unit)) {
            Ok(copies) => {
                let rule = if ended { CommitRule::Ended } else { rule };
                Attempt::Copied { unit, rule, files: copies, seen: files }
            }
            Err(NoCopy::Busy) if ended => Attempt::Nothing,
            Err(NoCopy::Busy) => {
                self.commits.again_quiet(&unit, rule, since, now);
                Attempt::Nothing
            }
            Err(NoCopy::Refused(error)) => self.refuse(unit, files, error),
        }
    }

    fn refuse(&mut self, unit: Unit, seen: Vec<Entry>, error: PorterError) -> Attempt {
        let path = match &unit {
            Unit::Files => seen.first().map_or_else(|| "checkpoints".to_owned(), |e| e.path.clone()),
            Unit::Directory(name) => name.clone(),
        };
        let known = format!("{path}: {error}");
        self.settled.insert(unit, seen);
        if self.reported.len() < limits::REPORTED_MAX && self.reported.insert(known) {
            Attempt::Refused { path, error }
        } else {
            Attempt::Nothing
        }
    }

    /// A unit was sealed, or is no checkpoint as it is: wait for another change.
    pub(crate) fn settle(&mut self, unit: Unit, seen: Vec<Entry>) {
        self.settled.insert(unit, seen);
    }

    /// A unit could not be sealed through no fault of the job.
    pub(crate) fn retry(&mut self, unit: &Unit, rule: CommitRule) {
        let now = clock::monotonic_ms();
        self.commits.again(unit, rule, now, limits::RETRY_MS, now);
    }

    /// Whether anything waits; after the workload ended, whether there is more to try.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.commits.wait_ms(clock::monotonic_ms()).is_none()
    }

    /// The workload has ended: look at everything once more.
    pub(crate) fn last_look(&mut self) {
        self.read_events();
        self.look(false).unwrap_or_default();
    }
}
