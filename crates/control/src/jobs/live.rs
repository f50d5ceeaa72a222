//! What a running job shows: progress, its last lines, and a bounded list of what happened, for watchers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::JobEvent;
use ops::porter::Told;
use store::records::JobState;
use training::progress::{Metric, Progress};

use crate::clock::now;

/// Events kept for watchers; one who comes later sees the newest.
const EVENTS_MAX: usize = 512;
/// Bytes of output kept.
const TAIL_MAX: usize = 16 * 1024;
/// Longest line of output looked at for progress.
const LINE_MAX: usize = 4096;
/// A watcher hears at least this often whether the job still runs.
const WATCH_WAIT: Duration = Duration::from_secs(2);
/// Progress is told to watchers at most this often, in milliseconds.
const PROGRESS_EVERY_MS: u64 = 1000;

/// The state of a running job, shared with those who look at it.
#[derive(Debug)]
pub(super) struct Live {
    state: Mutex<State>,
    changed: Condvar,
    stop: AtomicBool,
}

#[derive(Debug)]
struct State {
    job: JobState,
    progress: Progress,
    checkpoints: u64,
    tail: VecDeque<u8>,
    line: Vec<u8>,
    events: VecDeque<JobEvent>,
    /// Number of the first event kept.
    first: u64,
    told_ms: u64,
    ended: bool,
}

/// What is shown of it.
#[derive(Debug)]
pub(super) struct View {
    pub(super) step: Option<u64>,
    pub(super) metrics: BTreeMap<String, String>,
    pub(super) rate: Option<String>,
    pub(super) tail: String,
}

impl Live {
    pub(super) fn new(job: JobState) -> Self {
        Self {
            state: Mutex::new(State {
                job,
                progress: Progress::new(),
                checkpoints: 0,
                tail: VecDeque::new(),
                line: Vec::new(),
                events: VecDeque::new(),
                first: 0,
                told_ms: 0,
                ended: false,
            }),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ask_to_stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    pub(super) fn is_asked_to_stop(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// The job is in another state.
    pub(super) fn state(&self, job: JobState, message: &str) {
        let mut state = self.lock();
        state.job = job;
        state.push("state", message.to_owned());
        self.changed.notify_all();
    }

    /// Something worth telling.
    pub(super) fn tell(&self, kind: &str, message: String) {
        self.lock().push(kind, message);
        self.changed.notify_all();
    }

    /// A checkpoint was sealed.
    pub(super) fn checkpoint(&self, version: u64, message: String) {
        let mut state = self.lock();
        state.checkpoints = version;
        state.push("checkpoint", message);
        self.changed.notify_all();
    }

    /// What the porter tells about progress; everything else is not for here.
    pub(super) fn told(&self, told: &Told) {
        let at = now().as_millis();
        let mut state = self.lock();
        match told {
            Told::Metric { step, name, value } => {
                if let Ok(value) = value.parse() {
                    state.progress.metric(&Metric { step: *step, name: name.to_string(), value }, at);
                }
            }
            Told::Output { bytes } => state.output(bytes, at),
            _ => return,
        }
        if at.saturating_sub(state.told_ms) >= PROGRESS_EVERY_MS && state.progress.step().is_some() {
            state.told_ms = at;
            let line = state.progress_line();
            state.push("progress", line);
        }
        self.changed.notify_all();
    }

    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    pub(super) fn view(&self) -> View {
        let state = self.lock();
        let (front, back) = state.tail.as_slices();
        View {
            step: state.progress.step(),
            metrics: state.progress.metrics().iter().map(|(k, v)| (k.clone(), format!("{v}"))).collect(),
            rate: state.progress.steps_per_1000_s().map(|r| format!("{}.{:01}", r / 1000, r % 1000 / 100)),
            tail: String::from_utf8_lossy(&[front, back].concat()).into_owned(),
        }
    }
}

impl State {
    fn push(&mut self, kind: &str, mut message: String) {
        // Paths and reasons come from the job, and end on somebody's terminal.
        message.retain(|c| !c.is_control());
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
            self.first = self.first.saturating_add(1);
        }
        self.events.push_back(JobEvent {
            time: now().to_string(),
            kind: kind.to_owned(),
            message,
            step: self.progress.step(),
            state: self.job.as_str().to_owned(),
        });
    }

    fn output(&mut self, bytes: &[u8], at: u64) {
        for byte in bytes {
            if self.tail.len() >= TAIL_MAX {
                self.tail.pop_front();
            }
            self.tail.push_back(*byte);
            if *byte == b'\n' || *byte == b'\r' {
                let line = std::mem::take(&mut self.line);
                let text = String::from_utf8_lossy(&line).into_owned();
                self.progress.line(&text, at);
                if !text.trim().is_empty() {
                    self.push("output", text);
                }
            } else if self.line.len() < LINE_MAX {
                self.line.push(*byte);
            }
        }
    }

    fn progress_line(&self) -> String {
        let p = &self.progress;
        let mut parts = Vec::new();
        if let Some(step) = p.step() {
            parts.push(match p.total() {
                Some(total) => format!("step {step}/{total}"),
                None => format!("step {step}"),
            });
        }
        if let Some(loss) = p.latest("loss").or_else(|| p.latest("train_loss")) {
            parts.push(format!("loss {loss:.4}"));
        }
        if let Some(rate) = p.steps_per_1000_s() {
            parts.push(format!("{}.{} steps/s", rate / 1000, rate % 1000 / 100));
        }
        parts.push(format!("{} checkpoints", self.checkpoints));
        if let Some(left) = p.left_s() {
            parts.push(format!("{left} s left"));
        }
        parts.join(", ")
    }
}

/// One watcher.
#[derive(Debug)]
pub(crate) struct Watch {
    live: Option<Arc<Live>>,
    last: Option<JobEvent>,
}

impl Watch {
    pub(super) fn live(live: Arc<Live>) -> Self {
        Self { live: Some(live), last: None }
    }

    /// A job that does not run: one event says how it is.
    pub(super) fn ended(state: &str, reason: &str) -> Self {
        let event = JobEvent {
            time: now().to_string(),
            kind: "end".to_owned(),
            message: if reason.is_empty() { state.to_owned() } else { format!("{state}: {reason}") },
            step: None,
            state: state.to_owned(),
        };
        Self { live: None, last: Some(event) }
    }

    /// Sends what happens, one JSON object a line, until the job ends or nobody takes it. An empty line says that
    /// the job still runs.
    pub(crate) fn run(self, send: impl Fn(Vec<u8>) -> bool) {
        let line = |event: &JobEvent| {
            let mut bytes = api::to_json(event).to_string().into_bytes();
            bytes.push(b'\n');
            bytes
        };
        let Some(live) = self.live else {
            if let Some(event) = &self.last {
                send(line(event));
            }
            return;
        };
        let mut next = 0u64;
        loop {
            let (events, ended) = {
                let state = live.lock();
                let end = state.first.saturating_add(u64::try_from(state.events.len()).unwrap_or(u64::MAX));
                let state = if end <= next && !state.ended {
                    let waited = live.changed.wait_timeout(state, WATCH_WAIT);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                } else {
                    state
                };
                let skip = usize::try_from(next.saturating_sub(state.first)).unwrap_or(usize::MAX);
                let fresh: Vec<JobEvent> = state.events.iter().skip(skip).cloned().collect();
                next = state.first.saturating_add(u64::try_from(state.events.len()).unwrap_or(u64::MAX));
                (fresh, state.ended)
            };
            if events.is_empty() && !ended && !send(b"\n".to_vec()) {
                return;
            }
            if !events.iter().all(|e| send(line(e))) || ended {
                return;
            }
        }
    }
}
