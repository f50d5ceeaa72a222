//! An older copy of the metadata database is told from the newest, by the generation that the audit log has.
//!
//! Without this, whoever can replace files of the node could bring back a revoked key or a model that was set aside.

use std::path::{Path, PathBuf};

use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use store::{Agreement, Generation, MetaStore};

use crate::Fail;
use crate::clock::now;
use crate::keeper::Keeper;
use crate::node::{correlation, store_fail};

/// File in control's directory by which an operator takes an older database as the newest there is. It names both
/// generations, so that it is good for one database and one length of the log only.
const ACCEPT_FILE: &str = "accept-set-back";
/// Longest such file: two numbers of 20 digits.
const ACCEPT_MAX: u64 = 64;

/// Compares the database with what the log last recorded of it; refuses one that is older or has another history.
pub(crate) fn check(keeper: &Keeper, meta: &MetaStore, dir: &Path) -> Result<(), Fail> {
    let found = meta.generation().get();
    let Some(logged) = keeper.bound()? else { return Ok(()) };
    let how = match found.compare(&logged) {
        Agreement::Same => return Ok(()),
        Agreement::Ahead { by } => {
            crate::log::line(
                "metadata",
                &format!("{by} changes were made whose outcome the log does not have"),
            );
            return Ok(());
        }
        Agreement::SetBack { by } => format!("it lacks {by} changes that are in the log"),
        Agreement::Forked => "it is as long as the log says, but has another history".to_owned(),
    };
    let accept = Accept { path: dir.join(ACCEPT_FILE), words: format!("{}/{}", found.g, logged.g) };
    let event = Event::new(
        EventKind::MetadataSetBack,
        Phase::Outcome,
        Outcome::Refused,
        now().as_millis(),
        correlation()?,
    )
    .asset("metadata", "metadata.db", None)
    .detail("found", &found.g.to_string())
    .detail("logged", &logged.g.to_string());
    if accept.is_given()? {
        let event = event.actor("operator").severity(Severity::High).because(&how);
        keeper.audited(event, || meta.go_on_from(logged.g).map(drop).map_err(store_fail))?;
        // Good for this once: by now both generations are others.
        std::fs::remove_file(&accept.path).unwrap_or_default();
        crate::log::line(
            "metadata",
            &format!("taken as the newest there is, as `{ACCEPT_FILE}` says: {how}"),
        );
        return Ok(());
    }
    keeper.append(event.severity(Severity::Critical).because(&how))?;
    Err(refusal(&found, &logged, &how, &accept))
}

fn refusal(found: &Generation, logged: &Generation, how: &str, accept: &Accept) -> Fail {
    let title = format!(
        "the metadata database was set back or replaced: it has generation {}, the audit log recorded {}",
        found.g, logged.g
    );
    let next = format!(
        "put the newest `metadata.db` with its `-wal` back; if it is lost, look at what is missing with `strongroom audit verify` on a copy of the log, and take this one by writing `{}` into `{}`",
        accept.words,
        accept.path.display()
    );
    Fail::refused("SR-CTL-0016", title).because(format!("{how}; {next}"))
}

/// What an operator writes to take an older database.
struct Accept {
    path: PathBuf,
    words: String,
}

impl Accept {
    fn is_given(&self) -> Result<bool, Fail> {
        use std::io::Read;
        let file = match std::fs::File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Fail::storage(format!("`{ACCEPT_FILE}` cannot be read"), error)),
        };
        let mut text = String::new();
        file.take(ACCEPT_MAX)
            .read_to_string(&mut text)
            .map_err(|error| Fail::storage(format!("`{ACCEPT_FILE}` cannot be read"), error))?;
        Ok(text.trim() == self.words)
    }
}
