//! The warden as control uses it: each order is logged by the keeper first, then given with its receipt.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use link::{Client, LinkError};
use ops::event::{Event, EventKind, Outcome, Phase};
use ops::keeper::{Request, Response as KeeperResponse};
use ops::warden::{Call, Operation, Response};

use crate::Fail;
use crate::clock::now;
use crate::keeper::Keeper;

/// Longest wait for an order: `FreezeMount` hashes all bytes of an input, at about 1.5 GB/s.
const ORDER_TIMEOUT: Duration = Duration::from_secs(120);

/// Connections for orders that take long; with the quick one well below what the warden takes.
const SLOW_LANES: usize = 7;

/// The connections to the warden. On each, orders are given one at a time; hashing an input has lanes of its own, so
/// that a stop of one tenant's job does not wait for the bytes of another's.
#[derive(Debug)]
pub(crate) struct Warden {
    socket: PathBuf,
    quick: Mutex<Option<Client>>,
    slow: [Mutex<Option<Client>>; SLOW_LANES],
}

impl Warden {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket, quick: Mutex::default(), slow: Default::default() }
    }

    /// The connection that an order goes over.
    fn lane(&self, operation: &Operation) -> &Mutex<Option<Client>> {
        let run = match operation {
            Operation::FreezeMount { run, .. } | Operation::HashMount { run, .. } => *run,
            // Copying a release takes as long.
            Operation::StageRelease { .. } => 0,
            _ => return &self.quick,
        };
        let count = u128::try_from(SLOW_LANES).unwrap_or(1);
        usize::try_from(run % count).ok().and_then(|n| self.slow.get(n)).unwrap_or(&self.quick)
    }

    /// Gives one order, logged before where it needs a receipt. `tenant` and `actor` are for the log.
    pub(crate) fn order(
        &self,
        keeper: &Keeper,
        operation: Operation,
        correlation: u128,
        tenant: &str,
        actor: &str,
    ) -> Result<(Response, Vec<OwnedFd>), Fail> {
        self.order_with(keeper, operation, &[], correlation, (tenant, actor))
    }

    /// As [`Warden::order`], with descriptors.
    pub(crate) fn order_with(
        &self,
        keeper: &Keeper,
        operation: Operation,
        files: &[BorrowedFd<'_>],
        correlation: u128,
        (tenant, actor): (&str, &str),
    ) -> Result<(Response, Vec<OwnedFd>), Fail> {
        let receipt = if operation.needs_receipt() {
            let digest = base::sha256(&ops::to_bytes(&operation));
            let event = Event::new(
                EventKind::WardenOrder,
                Phase::Intent,
                Outcome::Unknown,
                now().as_millis(),
                correlation,
            )
            .tenant(tenant)
            .actor(actor)
            .asset("operation", operation.name(), Some(digest));
            match keeper.call(&Request::Authorise { operation: digest, event })? {
                KeeperResponse::Authorised { receipt } => Some(receipt),
                _ => return Err(Fail::internal("the keeper gave an answer of another kind", "authorise")),
            }
        } else {
            None
        };
        self.give(&Call { correlation, receipt, operation }, files)
    }

    /// Gives an order without a receipt, whether it needs one or not: for the probe that sees it refused.
    pub(crate) fn without_receipt(&self, operation: Operation, correlation: u128) -> Result<Response, Fail> {
        self.give(&Call { correlation, receipt: None, operation }, &[]).map(|(response, _)| response)
    }

    fn give(&self, call: &Call, files: &[BorrowedFd<'_>]) -> Result<(Response, Vec<OwnedFd>), Fail> {
        let name = call.operation.name();
        let (answer, fds) = self.send(self.lane(&call.operation), &ops::to_bytes(call), files)?;
        match ops::from_bytes::<Response>(&answer) {
            Ok(Response::Refused { code, detail }) => Err(Fail {
                // Only another digest in a mount is a verdict; the rest is a matter of state, limits or the host.
                status: match code.as_str() {
                    "SR-WRD-0004" | "SR-REL-0001" | "SR-REL-0002" | "SR-REL-0003" | "SR-REL-0004"
                    | "SR-REL-0005" | "SR-REL-0006" => 422,
                    "SR-REL-0007" => 404,
                    "SR-WRD-0002" | "SR-WRD-0003" | "SR-WRD-0020" | "SR-WRD-0021" | "SR-REL-0008"
                    | "SR-REL-0009" | "SR-REL-0010" | "SR-REL-0011" => 409,
                    _ => 503,
                },
                code: code.as_str().to_owned(),
                ..Fail::refused("SR-WRD-0001", format!("the warden refused `{name}`: {}", detail.as_str()))
            }),
            Ok(response) => Ok((response, fds)),
            Err(error) => Err(Fail::internal("the warden's answer cannot be read", error)),
        }
    }

    fn send(
        &self,
        lane: &Mutex<Option<Client>>,
        call: &[u8],
        files: &[BorrowedFd<'_>],
    ) -> Result<(Vec<u8>, Vec<OwnedFd>), Fail> {
        let mut slot = lane.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fresh = false;
        loop {
            let client = match slot.take() {
                Some(client) => client,
                None => {
                    fresh = true;
                    Client::connect(&self.socket, ORDER_TIMEOUT).map_err(|e| unreachable(&e))?
                }
            };
            match client.call(call, files, ops::FDS_MAX) {
                Ok(answer) => {
                    *slot = Some(client);
                    return Ok(answer);
                }
                // An idle connection that the warden closed before: the order was not read, give it anew.
                Err(LinkError::Closed) if !fresh => {}
                Err(error) => return Err(unreachable(&error)),
            }
        }
    }
}

fn unreachable(error: &LinkError) -> Fail {
    Fail::unavailable(
        "the warden cannot be reached, so no sandbox can be made or changed",
        base::error::chain(error),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_order_but_hashing_waits_behind_hashing() {
        let warden = Warden::new(PathBuf::from("/nonexistent"));
        for run in 0..20 {
            let hashing = warden.lane(&Operation::FreezeMount { run, input: 0 });
            for other in [Operation::Kill { run }, Operation::Destroy { run }, Operation::Probe {}] {
                assert!(!std::ptr::eq(hashing, warden.lane(&other)), "{}", other.name());
            }
        }
    }
}
