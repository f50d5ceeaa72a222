//! What a sealed file of data is: read anywhere in its ciphertext, each chunk verified before a byte of it is looked at,
//! and no byte of it put anywhere.

use std::io;
use std::os::fd::BorrowedFd;

use inspect::data::{self, Carries, Source};
use ops::porter::{SealedFile, Told};
use ops::{List, Text};

use crate::{PorterError, fill};

/// Says it.
pub(crate) fn told(file: &SealedFile, sealed: BorrowedFd<'_>) -> Result<Told, PorterError> {
    let mut plain = Chunks(fill::Plain::open(file, sealed)?);
    let found = data::describe(file.path.as_str(), &mut plain).map_err(|source| {
        // A chunk that does not open is no fault of this process, and is told as where it is opened for a job.
        match source.downcast::<PorterError>() {
            Ok(error) => error,
            Err(source) => PorterError::Io { doing: "reading", path: file.path.to_string(), source },
        }
    })?;
    Ok(Told::Recognised {
        rules: Text::clip(data::RULE_SET),
        format: Text::clip(&found.format),
        records: found.records,
        unit: Text::clip(found.unit),
        columns: found.columns,
        pickle: found.carries.contains(&Carries::Pickle),
        code: found.carries.contains(&Carries::Code),
        refused: found.refused.as_deref().map(Text::clip),
        notes: List::clip(found.notes.iter().map(|note| Text::clip(note)).collect()),
    })
}

/// A sealed file that is read anywhere.
struct Chunks<'a>(fill::Plain<'a>);

impl Source for Chunks<'_> {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_at(&mut self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(at, out)
    }
}
