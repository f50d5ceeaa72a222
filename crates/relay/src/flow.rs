//! One connection that leaves the node, from its entry in the log to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use net::lease::NotSpent;
use net::workload::{Identity, Presented};
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::RelayError;
use crate::limits::{CERTIFICATE_PAUSE, CHUNK, CONNECT_TIMEOUT, IDLE, LAST_WORDS, SPOKEN_MAX};
use crate::record::{correlation, event};
use crate::table::{Place, Who};
use crate::{Shared, clock, dial, secure};

/// A connection that stands and has moved nothing yet.
#[derive(Debug)]
pub(crate) struct Opened {
    remote: TcpStream,
    place: Place,
    who: Who,
    /// What the relay presents in the name of a run.
    presented: Option<Presented>,
    correlation: u128,
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    Broken,
    Idle,
    Closed,
    Cap,
    NoGrant,
    /// TLS failed where the relay speaks it: how.
    Tls(String),
}

impl End {
    fn because(&self) -> &str {
        match self {
            Self::Done => "",
            Self::Broken => "one side broke it off",
            Self::Idle => "nothing moved either way",
            Self::Closed => "its egress or its run ended",
            Self::Cap => "more would leave than may within a day",
            Self::NoGrant => "control granted no bytes in time",
            Self::Tls(how) => how,
        }
    }
}

/// Bytes of a connection.
#[derive(Debug, Default)]
struct Moved {
    out: AtomicU64,
    back: AtomicU64,
}

fn about(event: Event, who: &Who) -> Event {
    let name = who.egress.name.as_str();
    event
        .tenant(&who.tenant)
        .actor(&who.actor)
        .asset("egress", name, None)
        .detail("host", &who.egress.to.host)
        .detail("port", &who.egress.to.port.to_string())
}

/// Opens a connection: a place for it, an entry in the log, then the connection. What was refused is told.
///
/// # Errors
/// [`RelayError`]; nothing is open then.
pub(crate) async fn open(shared: &Shared, who: Who) -> Result<Opened, RelayError> {
    let correlation = correlation();
    match reach(shared, &who, correlation).await {
        Ok((remote, place, presented)) => Ok(Opened { remote, place, who, presented, correlation }),
        Err((logged, error)) => {
            let why = base::error::chain(&error);
            let told = if logged {
                event(EventKind::EgressClose, Phase::Outcome, Outcome::Failure, correlation)
            } else {
                event(EventKind::EgressRefuse, Phase::Observed, Outcome::Refused, correlation)
                    .severity(Severity::Medium)
            };
            shared.log.tell(about(told, &who).because(&why)).await;
            Err(error)
        }
    }
}

/// The connection and its place, or why not, and whether its intent stands in the log.
async fn reach(
    shared: &Shared,
    who: &Who,
    correlation: u128,
) -> Result<(TcpStream, Place, Option<Presented>), (bool, RelayError)> {
    let to = &who.egress.to;
    let late = |logged| {
        move |_| {
            let reason = format!("no answer within {} s", CONNECT_TIMEOUT.as_secs());
            (logged, RelayError::Unreachable { host: to.host.to_string(), reason })
        }
    };
    let place = shared.table.enter(who).map_err(|e| (false, e))?;
    // One that ends while it is waited for is refused by the far end.
    let presented = match &who.identity {
        Some(of) => {
            let given = tokio::time::timeout(CONNECT_TIMEOUT, certificate(of)).await;
            Some(given.map_err(|_| (false, RelayError::NoIdentity))?)
        }
        None => None,
    };
    let resolve = dial::resolve(to, &shared.resolving);
    let addresses =
        tokio::time::timeout(CONNECT_TIMEOUT, resolve).await.map_err(late(false))?.map_err(|e| (false, e))?;
    let shown: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    let intent = event(EventKind::EgressOpen, Phase::Intent, Outcome::Unknown, correlation);
    let mut intent = about(intent, who).detail("addresses", &shown.join(" "));
    if let Some(presented) = &presented {
        intent = intent.detail("certificate", &presented.digest.hex());
    }
    if !shared.log.tell(intent).await {
        return Err((false, RelayError::Log));
    }
    let connected = tokio::select! {
        () = place.stop.notified() => return Err((true, RelayError::NotOpen(to.host.to_string()))),
        connected = tokio::time::timeout(CONNECT_TIMEOUT, dial::connect(&to.host, &addresses)) => connected,
    };
    let remote = connected.map_err(late(true))?.map_err(|e| (true, e))?;
    Ok((remote, place, presented))
}

/// What a run presents. Control gives it a certificate after its egresses were opened, and again after this process began.
async fn certificate(of: &Identity) -> Presented {
    loop {
        if let Some(presented) = of.presented(clock::now()) {
            return presented;
        }
        tokio::time::sleep(CERTIFICATE_PAUSE).await;
    }
}

impl Opened {
    /// Ends it before anything moved, and tells of it.
    pub(crate) async fn carry_nothing(self, shared: &Shared) {
        let told = event(EventKind::EgressClose, Phase::Outcome, Outcome::Failure, self.correlation);
        shared.log.tell(about(told, &self.who).because(End::Broken.because())).await;
    }

    /// Whether the relay speaks TLS over it, in the name of a run: then it answers the run when that stands.
    pub(crate) const fn is_secured(&self) -> bool {
        self.presented.is_some()
    }

    /// As [`Opened::carry`], for a run: in its name, where that is what its egress is for. All that goes over the wire is
    /// counted, what TLS adds to the run's own bytes too.
    pub(crate) async fn carry_for_run(self, shared: &Arc<Shared>, stream: TcpStream) {
        let (Some(presented), Some(authority)) = (self.presented.clone(), self.who.egress.authority.clone())
        else {
            return self.carry(shared, stream).await;
        };
        let host = self.who.egress.to.host.as_str().to_owned();
        let (spoken, wire) = tokio::io::duplex(SPOKEN_MAX);
        let speak = secure::speak((&host, &authority), &presented, stream, spoken);
        self.pass(shared, wire, speak).await;
    }

    /// Passes bytes on until both sides have said all, or one of the bounds ends it; then tells of it.
    pub(crate) async fn carry<L>(self, shared: &Arc<Shared>, local: L)
    where
        L: AsyncRead + AsyncWrite + Send + 'static,
    {
        self.pass(shared, local, async { Ok(()) }).await;
    }

    /// `beside` has to come to its end too; what fails it ends the connection.
    async fn pass<L>(self, shared: &Arc<Shared>, local: L, beside: impl Future<Output = Result<(), End>>)
    where
        L: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (moved, began) = (Moved::default(), clock::tick());
        let Self { remote, place, who, correlation, .. } = self;
        let end = pump(shared, &place, &moved, (local, remote), beside).await;
        let outcome = if matches!(end, End::Done) { Outcome::Success } else { Outcome::Failure };
        let seconds = clock::tick().saturating_duration_since(began).as_secs();
        let told = event(EventKind::EgressClose, Phase::Outcome, outcome, correlation);
        let told = about(told, &who)
            .because(end.because())
            .detail("bytes_out", &moved.out.load(Ordering::Acquire).to_string())
            .detail("bytes_in", &moved.back.load(Ordering::Acquire).to_string())
            .detail("seconds", &seconds.to_string());
        shared.log.tell(told).await;
        // Its place is free when its end stands in the log, so that a flood of ends waits for the log.
        drop(place);
    }
}

async fn pump<L>(
    shared: &Shared,
    place: &Place,
    moved: &Moved,
    (local, remote): (L, TcpStream),
    beside: impl Future<Output = Result<(), End>>,
) -> End
where
    L: AsyncRead + AsyncWrite,
{
    let (mut from_local, mut to_local) = tokio::io::split(local);
    let (mut from_remote, mut to_remote) = tokio::io::split(remote);
    let out = async {
        let mut chunk = vec![0u8; CHUNK];
        loop {
            let read = from_local.read(&mut chunk).await.map_err(|_| End::Broken)?;
            let Some(bytes @ [_, ..]) = chunk.get(..read) else {
                return to_remote.shutdown().await.map_err(|_| End::Broken);
            };
            let count = u64::try_from(read).unwrap_or(u64::MAX);
            shared.leases.spend(&place.lease, count).await.map_err(|why| match why {
                NotSpent::Refused => End::Cap,
                NotSpent::NoGrant => End::NoGrant,
            })?;
            moved.out.fetch_add(count, Ordering::AcqRel);
            if to_remote.write_all(bytes).await.is_err() {
                // Why the far end took no more may be among what it said last.
                tokio::time::sleep(LAST_WORDS).await;
                return Err(End::Broken);
            }
        }
    };
    let back = async {
        let mut chunk = vec![0u8; CHUNK];
        loop {
            let read = from_remote.read(&mut chunk).await.map_err(|_| End::Broken)?;
            let Some(bytes @ [_, ..]) = chunk.get(..read) else {
                return to_local.shutdown().await.map_err(|_| End::Broken);
            };
            moved.back.fetch_add(u64::try_from(read).unwrap_or(u64::MAX), Ordering::AcqRel);
            to_local.write_all(bytes).await.map_err(|_| End::Broken)?;
        }
    };
    tokio::select! {
        biased;
        () = place.stop.notified() => End::Closed,
        both = async { tokio::try_join!(out, back, beside) } => both.map_or_else(|end| end, |_| End::Done),
        () = idle(moved) => End::Idle,
    }
}

/// Returns when nothing moved for a while.
async fn idle(moved: &Moved) {
    let total = || moved.out.load(Ordering::Acquire).wrapping_add(moved.back.load(Ordering::Acquire));
    let (mut seen, mut since) = (total(), clock::tick());
    loop {
        tokio::time::sleep(IDLE / 10).await;
        let (now, at) = (total(), clock::tick());
        if now != seen {
            (seen, since) = (now, at);
        } else if at.saturating_duration_since(since) >= IDLE {
            return;
        }
    }
}
