//! What the log is told: a bounded queue and one thread that speaks to the keeper.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use base::id::CorrelationId;
use link::KeeperClient;
use ops::event::{Event, EventKind, Outcome, Phase};
use ops::keeper::{BATCH_MAX, Role};
use tokio::sync::oneshot;

use crate::clock;
use crate::limits::{EVENTS_MAX, KEEPER_TIMEOUT};

type Item = (Event, oneshot::Sender<bool>);

/// The way to the log.
#[derive(Debug, Clone)]
pub(crate) struct Log(SyncSender<Item>);

impl Log {
    /// Starts the thread that appends. It ends with the last sender.
    pub(crate) fn start(keeper: PathBuf) -> std::io::Result<Self> {
        let (queue, items) = sync_channel(EVENTS_MAX);
        let thread = std::thread::Builder::new().name("log".to_owned());
        drop(thread.spawn(move || append(&keeper, &items))?);
        Ok(Self(queue))
    }

    /// Whether the event is durable.
    pub(crate) async fn tell(&self, event: Event) -> bool {
        let (to, done) = oneshot::channel();
        // A full queue is a keeper that is stuck.
        self.0.try_send((event, to)).is_ok() && done.await.unwrap_or(false)
    }
}

/// Appends what there is, in one go, and says whether it stands in the log. What does not is told on the relay's own
/// output: whether an earlier try arrived is not known, and an entry must not stand twice.
fn append(keeper: &std::path::Path, items: &Receiver<Item>) {
    let mut client: Option<KeeperClient> = None;
    while let Ok(first) = items.recv() {
        let more = std::iter::from_fn(|| items.try_recv().ok()).take(BATCH_MAX.saturating_sub(1));
        let (events, done): (Vec<Event>, Vec<_>) = std::iter::once(first).chain(more).unzip();
        let count = events.len();
        client = client.filter(KeeperClient::is_usable);
        if client.is_none() {
            client = KeeperClient::connect(keeper, Role::Relay, KEEPER_TIMEOUT).ok();
        }
        let durable = client.as_ref().is_some_and(|client| client.append(events).is_ok());
        if !durable {
            client = None;
            crate::say(&format!("{count} entries are not in the audit log"));
        }
        for done in done {
            // Whoever asked may have gone.
            done.send(durable).unwrap_or_default();
        }
    }
}

/// An event with a correlation of its own, or that of what it is about.
pub(crate) fn event(kind: EventKind, phase: Phase, outcome: Outcome, correlation: u128) -> Event {
    Event::new(kind, phase, outcome, clock::now().as_millis(), correlation)
}

/// What joins the events of one connection.
pub(crate) fn correlation() -> u128 {
    CorrelationId::new(clock::now(), clock::random()).bits()
}
