//! Records for the audit log: a bounded queue and one thread that speaks to the keeper.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use base::id::CorrelationId;
use link::KeeperClient;
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use ops::keeper::{BATCH_MAX, Role};
use tokio::sync::oneshot;

use crate::clock;
use crate::limits::{KEEPER_TIMEOUT, RECORD_EVERY, RECORDS_MAX};

enum Item {
    /// Logged within a second.
    Soon(Event),
    /// Logged now; the sender learns whether it is durable.
    Now(Event, oneshot::Sender<bool>),
    /// Nothing to log: the sender waits until what came before is.
    Drain(oneshot::Sender<bool>),
}

/// Counters, and whether the log takes records.
#[derive(Debug, Default)]
pub(crate) struct State {
    healthy: AtomicBool,
    lost: AtomicU64,
    lost_reported: AtomicU64,
}

/// The gateway's end of the queue.
#[derive(Clone)]
pub(crate) struct Recorder {
    queue: SyncSender<Item>,
    state: Arc<State>,
}

impl Recorder {
    /// Starts the thread that appends.
    pub(crate) fn start(keeper: PathBuf) -> std::io::Result<Self> {
        let (queue, items) = sync_channel(RECORDS_MAX);
        let state = Arc::new(State::default());
        let appender = Appender { keeper, client: None, state: Arc::clone(&state), batch: Vec::new() };
        // Ends when the last sender is dropped and the queue is empty.
        let thread = std::thread::Builder::new().name("recorder".to_owned());
        drop(thread.spawn(move || appender.run(&items))?);
        Ok(Self { queue, state })
    }

    /// Whether the last append worked. While it did not, nothing is served.
    pub(crate) fn is_healthy(&self) -> bool {
        self.state.healthy.load(Ordering::Acquire)
    }

    /// Records lost since the start.
    pub(crate) fn lost(&self) -> u64 {
        self.state.lost.load(Ordering::Acquire)
    }

    /// Hands over a record; a full queue loses and counts it.
    pub(crate) fn soon(&self, event: Event) {
        if self.queue.try_send(Item::Soon(event)).is_err() {
            self.state.lost.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Returns when the event is durable; `false` if it is not.
    pub(crate) async fn now(&self, event: Event) -> bool {
        let (to, done) = oneshot::channel();
        if self.queue.try_send(Item::Now(event, to)).is_err() {
            return false;
        }
        // Twice: a batch may be under way before it.
        matches!(tokio::time::timeout(KEEPER_TIMEOUT * 2, done).await, Ok(Ok(true)))
    }
}

impl Recorder {
    /// Returns when what was handed over before is durable or lost.
    pub(crate) async fn drained(&self) {
        let (to, done) = oneshot::channel();
        // Full: the thread is stuck with the keeper, so there is nothing to wait for.
        if self.queue.try_send(Item::Drain(to)).is_ok() {
            drop(tokio::time::timeout(KEEPER_TIMEOUT * 2, done).await);
        }
    }
}

struct Appender {
    keeper: PathBuf,
    client: Option<KeeperClient>,
    state: Arc<State>,
    /// Records that wait for the next append.
    batch: Vec<Event>,
}

impl Appender {
    fn run(mut self, items: &Receiver<Item>) {
        // Connects at once, so that a keeper that is down shows before the first request.
        self.connect();
        let mut due = clock::tick();
        loop {
            let wait = (due + RECORD_EVERY).saturating_duration_since(clock::tick());
            let urgent = match items.recv_timeout(wait) {
                Ok(Item::Soon(event)) => {
                    self.batch.push(event);
                    None
                }
                Ok(Item::Now(event, done)) => {
                    self.batch.push(event);
                    Some(done)
                }
                Ok(Item::Drain(done)) => Some(done),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    self.flush();
                    return;
                }
            };
            let late = clock::tick().saturating_duration_since(due) >= RECORD_EVERY;
            // One place stays free for a gap event.
            if urgent.is_some() || late || self.batch.len() >= BATCH_MAX.saturating_sub(1) {
                let durable = self.flush();
                due = clock::tick();
                if let Some(done) = urgent {
                    // The request may have been given up.
                    done.send(durable).unwrap_or_default();
                }
            }
        }
    }

    /// Appends the batch; whether all of it is durable. A batch that cannot be appended is lost and counted, since
    /// whether an earlier try arrived is not known and a record must not stand twice.
    fn flush(&mut self) -> bool {
        let lost = self.state.lost.load(Ordering::Acquire);
        let unreported = lost.saturating_sub(self.state.lost_reported.load(Ordering::Acquire));
        if unreported > 0 {
            self.batch.push(gap(unreported));
        }
        if self.batch.is_empty() {
            if self.client.is_none() {
                self.connect();
            }
            return true;
        }
        let events = std::mem::take(&mut self.batch);
        let count = u64::try_from(events.len()).unwrap_or(u64::MAX).saturating_sub(u64::from(unreported > 0));
        self.connect();
        let done = self.client.as_ref().is_some_and(|client| client.append(events).is_ok());
        if done {
            self.state.lost_reported.fetch_add(unreported, Ordering::AcqRel);
        } else {
            self.client = None;
            self.state.lost.fetch_add(count, Ordering::AcqRel);
        }
        self.state.healthy.store(done, Ordering::Release);
        done
    }

    fn connect(&mut self) {
        if self.client.is_none() {
            self.client = KeeperClient::connect(&self.keeper, Role::Gateway, KEEPER_TIMEOUT).ok();
            self.state.healthy.store(self.client.is_some(), Ordering::Release);
            if self.client.is_none() {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

/// Says that records are missing here.
fn gap(lost: u64) -> Event {
    let now = clock::now();
    let correlation = CorrelationId::new(now, clock::random());
    Event::new(
        EventKind::InferenceGap,
        Phase::Observed,
        Outcome::Failure,
        now.as_millis(),
        correlation.bits(),
    )
    .severity(Severity::High)
    .because("inference records could not be handed to the audit log")
    .detail("lost", &lost.to_string())
}
