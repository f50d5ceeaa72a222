//! `strongroom receipt`.

use crate::args::ReceiptCommand;
use crate::client::route;
use crate::clock::Stopwatch;
use crate::error::Failure;
use crate::exit::Exit;
use crate::output::{Answer, Column, Kind};
use crate::session::Session;

/// A receipt is logged within a second; three are waited.
const WAIT_SECONDS: u64 = 3;

const SHOW: &[Column] = &[
    Column::new("id", "ID", Kind::Plain),
    Column::new("state", "STATE", Kind::State),
    Column::new("index", "LOG INDEX", Kind::Plain),
    Column::new("model_digest", "MODEL DIGEST", Kind::Digest),
    Column::new("bom_digest", "BOM DIGEST", Kind::Digest),
    Column::new("checkpoint", "CHECKPOINT", Kind::Plain),
    Column::new("proof", "PROOF", Kind::Count),
];

/// Runs it.
pub(crate) fn run(session: &Session, command: ReceiptCommand) -> Result<Answer, Failure> {
    let ReceiptCommand::Show { id } = command;
    let client = session.client()?;
    let path = route(&["receipts", &id]);
    let watch = Stopwatch::start();
    let mut receipt: api::Receipt = client.get(&path)?;
    while receipt.state == "pending" && watch.elapsed().as_secs() < WAIT_SECONDS {
        std::thread::sleep(std::time::Duration::from_millis(100));
        receipt = client.get(&path)?;
    }
    let exit = if receipt.state == "logged" { Exit::Done } else { Exit::No };
    Ok(Answer::record(&receipt, SHOW).exit(exit))
}
