//! Checkpoints of a job: taken from its porter, signed, chained, pruned; and the choice of the one to resume from.

use std::collections::BTreeSet;

use base::id::{CheckpointId, JobId, RunId};
use base::names::Name;
use base::{Digest, Timestamp};
use ops::Key32;
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use ops::keeper::SignKind;
use ops::porter::{CommitRule, Request, Told};
use store::records::{Checkpoint, CheckpointState, File, Object};
use store::{Stage, StoreError};
use training::contract::Contract;
use training::manifest::{FileEntry, Format, Manifest, ResumeNote, TensorEntry};
use training::monitor::{Monitor, Verdict};
use training::policy::{Kept, removable};
use training::resume::{Candidate, Check, Conditions, Decision, Resume, Step, Trusted};
use vault::KeyScope;

use super::stored_checkpoints;
use crate::Fail;
use crate::clock::{now, random};
use crate::models::signature;
use crate::node::{Node, store_fail};
use crate::run::Run;

/// Files that a porter may have sealed and not yet committed; each holds a descriptor.
const STAGES_MAX: usize = 512;

/// One sealed file that is not yet an object.
#[derive(Debug)]
pub(super) struct SealedStage {
    stage: Stage,
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) digest: Digest,
    dek: Key32,
    pub(super) format: String,
    pub(super) verdict: String,
    pub(super) findings: Vec<String>,
    all_finite: Option<bool>,
}

/// What one commit of the job consists of.
#[derive(Debug, Default)]
pub(super) struct Ticket {
    pub(super) files: Vec<SealedStage>,
    pub(super) tensors: Vec<TensorEntry>,
}

/// The stage given to the porter, and what it sealed of one ticket. A porter works on one ticket at a time: when it
/// asks for another stage or goes on to another ticket, it gave the former up, and that is dropped. So what control
/// keeps is bounded, whatever a porter tells.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    given: Option<Stage>,
    open: Option<(u32, Ticket)>,
}

impl Tickets {
    /// Takes what the porter tells about sealing; true if it was about that.
    pub(super) fn told(&mut self, node: &Node, run: &Run, told: &Told) -> Result<bool, Fail> {
        match told {
            Told::NeedStage {} => {
                if self.open.as_ref().is_some_and(|(_, t)| t.files.len() >= STAGES_MAX) {
                    return Err(Fail::too_large(format!("a commit has more than {STAGES_MAX} files")));
                }
                let stage = node.objects.create_stage().map_err(store_fail)?;
                run.tell(&Request::Stage {}, Some(stage.file()))?;
                self.given = Some(stage);
            }
            Told::Sealed { ticket, path, size, digest, dek, format, verdict, findings, all_finite } => {
                let stage = self
                    .given
                    .take()
                    .ok_or_else(|| Fail::internal("a file was sealed without a stage", path))?;
                self.ticket(*ticket).files.push(SealedStage {
                    stage,
                    path: path.to_string(),
                    size: *size,
                    digest: *digest,
                    dek: dek.clone(),
                    format: format.to_string(),
                    verdict: verdict.to_string(),
                    findings: findings.iter().map(ToString::to_string).collect(),
                    all_finite: *all_finite,
                });
            }
            Told::Tensors { ticket, tensors } => {
                let ticket = self.ticket(*ticket);
                let room = training::limits::CHECKPOINT_TENSORS_MAX.saturating_sub(ticket.tensors.len());
                ticket.tensors.extend(tensors.iter().take(room).map(|t| TensorEntry {
                    name: t.name.to_string(),
                    dtype: t.dtype.to_string(),
                    shape: t.shape.to_vec(),
                    digest: t.digest,
                    norm_bits: t.norm_bits,
                }));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn ticket(&mut self, number: u32) -> &mut Ticket {
        if self.open.as_ref().is_some_and(|(open, _)| *open != number) {
            self.open = None;
        }
        &mut self.open.get_or_insert_with(|| (number, Ticket::default())).1
    }

    /// The ticket that the porter says is complete: exactly so many files, at least one, each under a path of its own
    /// that another tool reads in one way only.
    pub(super) fn take(&mut self, number: u32, files: u32) -> Result<Ticket, Fail> {
        let ticket = self.open.take().filter(|(open, _)| *open == number).map(|(_, ticket)| ticket);
        let ticket = ticket.unwrap_or_default();
        if ticket.files.is_empty() || u32::try_from(ticket.files.len()) != Ok(files) {
            return Err(Fail::internal(
                "the porter told of a commit that it did not seal",
                format!("{} of {files} files", ticket.files.len()),
            ));
        }
        let mut paths = BTreeSet::new();
        for file in &ticket.files {
            crate::imports::check_path(&file.path)?;
            if !paths.insert(file.path.as_str()) {
                return Err(Fail::internal(
                    "the porter sealed one path twice",
                    crate::fail::printable(&file.path),
                ));
            }
        }
        Ok(ticket)
    }
}

impl SealedStage {
    /// Checks what the porter wrote and makes it an object of this scope.
    pub(super) fn adopt(self, node: &Node, scope: &KeyScope) -> Result<(FileEntry, File), Fail> {
        let dek = self.dek.expose(|dek| vault::Dek::take(&mut { *dek }));
        self.stage.reader(&dek, scope, &self.digest).map_err(store_fail)?;
        let (stage, digest, size) = (self.stage, self.digest, self.size);
        let name = self.dek.expose(|dek| node.adopt(scope, stage, digest, size, dek))?;
        let file = File {
            path: self.path.clone(),
            size: self.size,
            digest: self.digest,
            media: Some(self.format.clone()),
        };
        let entry = FileEntry {
            path: self.path,
            size: self.size,
            digest: self.digest,
            object: Digest::from(name),
            format: self.format,
            verdict: self.verdict,
            findings: self.findings,
            all_finite: self.all_finite,
        };
        Ok((entry, file))
    }
}

/// What every checkpoint of a segment shares.
#[derive(Debug)]
pub(super) struct ChainContext {
    pub(super) tenant: Name,
    pub(super) job: JobId,
    pub(super) run: RunId,
    pub(super) contract: Contract,
    pub(super) hardware: Vec<(String, String)>,
    pub(super) resume: ResumeNote,
    pub(super) keep: u32,
    pub(super) correlation: u128,
    pub(super) monitor: Monitor,
    /// What the retention looks at; none until the first checkpoint of the segment, and after a failure.
    pub(super) present: Option<Vec<Present>>,
}

/// How a commit came about, as the porter tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct CommitNote {
    pub(super) rule: CommitRule,
    pub(super) step: Option<u64>,
    pub(super) committed: Timestamp,
}

impl ChainContext {
    fn scope(&self) -> KeyScope {
        KeyScope::Job(self.tenant.clone(), self.job)
    }

    /// Makes a commit the next checkpoint of the chain: intent, objects, signature, one transaction, outcome.
    pub(super) fn commit(
        &mut self,
        node: &Node,
        ticket: Ticket,
        note: CommitNote,
    ) -> Result<Checkpoint, Fail> {
        let event = Event::new(
            EventKind::CheckpointSeal,
            Phase::Intent,
            Outcome::Unknown,
            now().as_millis(),
            self.correlation,
        )
        .tenant(self.tenant.as_str())
        .actor(&format!("job:{}", self.job))
        .asset("checkpoint", &self.job.to_string(), None);
        let record = node.keeper.audited_with(
            event,
            || self.seal(node, ticket, note),
            |event, c: &Checkpoint| {
                event
                    .asset("checkpoint", &format!("{}/{}", c.job, c.version), Some(c.manifest_digest))
                    .detail("version", &c.version.to_string())
                    .detail("step", &c.step.map_or_else(|| "unknown".to_owned(), |s| s.to_string()))
                    .detail("state", c.state.as_str())
                    .detail("previous", &c.prev.map(|d| d.hex()).unwrap_or_default())
            },
        )?;
        // The checkpoint is in the chain and counts; old ones that could not be removed are tried at the next.
        if let Err(fail) = self.prune(node, &record) {
            crate::log::line("job", &format!("{}: old checkpoints stay: {}", self.job, fail.line()));
        }
        Ok(record)
    }

    fn seal(&mut self, node: &Node, ticket: Ticket, note: CommitNote) -> Result<Checkpoint, Fail> {
        if let Some(bad) = ticket.files.iter().find(|f| f.verdict != "load") {
            return Err(Fail::refused(
                "SR-CTL-0013",
                format!("`{}` may not be loaded: {}", bad.path, bad.findings.join("; ")),
            ));
        }
        let scope = self.scope();
        let (mut entries, mut files) = (Vec::new(), Vec::new());
        for sealed in ticket.files {
            let (entry, file) = sealed.adopt(node, &scope)?;
            entries.push(entry);
            files.push(file);
        }
        let head = node
            .meta
            .read(|tx| tx.of(&self.tenant).last_under::<Checkpoint, _, _>(&self.job))
            .map_err(store_fail)?
            .map(|s| s.record);
        let findings = self.monitor.observe(&entries, &ticket.tensors);
        let verdict = training::monitor::verdict(&findings);
        let sealed_at = now();
        let manifest = Manifest {
            format: Format::NOW,
            job: self.job,
            run: self.run,
            version: head.as_ref().map_or(1, |h| h.version.saturating_add(1)),
            step: note.step,
            prev: head.as_ref().map(|h| h.manifest_digest),
            committed_at: note.committed,
            sealed_at,
            commit_rule: note.rule,
            files: entries,
            tensors: ticket.tensors,
            contract: self.contract.clone(),
            hardware: self.hardware.clone(),
            resume: self.resume.clone(),
            monitor: verdict,
            monitor_findings: findings.iter().map(ToString::to_string).collect(),
            key_id: base::digest::hex(&node.keys.checkpoint),
        };
        let bytes = manifest.to_bytes().map_err(|e| Fail::explained(500, &e))?;
        let digest = Manifest::digest_of(&bytes);
        let subject = format!("{}/{}", self.job, manifest.version);
        let signature =
            signature(node, SignKind::Checkpoint, digest, self.tenant.as_str(), &subject, self.correlation)?;
        let record = Checkpoint {
            tenant: self.tenant.clone(),
            job: self.job,
            id: CheckpointId::new(sealed_at, random::<10>()?),
            version: manifest.version,
            step: note.step,
            manifest: String::from_utf8(bytes).map_err(|e| Fail::internal("a manifest is not text", e))?,
            manifest_digest: digest,
            signature: base::digest::hex(&signature),
            prev: manifest.prev,
            state: if verdict == Verdict::Good { CheckpointState::Good } else { CheckpointState::Suspect },
            reason: (verdict != Verdict::Good).then(|| manifest.monitor_findings.join("; ")),
            bytes: files.iter().map(|f| f.size).fold(0, u64::saturating_add),
            files,
            rule: note.rule.name().to_owned(),
            committed_ms: note.committed.as_millis(),
            sealed_ms: sealed_at.as_millis(),
        };
        // The key is (job, version): of two writers that both follow the same head, one fails.
        node.meta.transaction(|tx| tx.of(&self.tenant).insert(&record)).map_err(store_fail)?;
        Ok(record)
    }

    /// Removes the files of versions that the retention lets go. Of their records stays what the chain and the Model BoM
    /// need: version, step, digests, signature and times.
    fn prune(&mut self, node: &Node, newest: &Checkpoint) -> Result<(), Fail> {
        // All records of the job are read once in a segment; from then on only what is present is looked at.
        let mut present = match self.present.take() {
            Some(present) => present,
            None => present_of(stored_checkpoints(node, &self.tenant, self.job)?.iter()),
        };
        if present.last().is_none_or(|last| last.version < newest.version) {
            present.push(Present::of(newest));
        }
        let kept: Vec<Kept> = present
            .iter()
            .map(|p| Kept { version: p.version, good: p.good, first_after_resume: false, pinned: p.pinned })
            .collect();
        let gone = removable(&kept, self.keep);
        let (leave, stay): (Vec<Present>, Vec<Present>) =
            present.into_iter().partition(|p| gone.contains(&p.version));
        let stays: BTreeSet<Digest> = stay.iter().flat_map(|p| p.files.iter().copied()).collect();
        // What fails here is read again from the records at the next checkpoint.
        for old in &leave {
            self.remove(node, old, &stays)?;
        }
        self.present = Some(stay);
        Ok(())
    }

    /// One transaction, then the files: what a crash leaves of those has no record, and is removed at the next start.
    fn remove(&self, node: &Node, old: &Present, stays: &BTreeSet<Digest>) -> Result<(), Fail> {
        let scope = self.scope();
        let key = (self.job, old.version);
        let names = node
            .meta
            .transaction(|tx| {
                let rows = tx.of(&self.tenant);
                let Some(mut stored) = rows.get::<Checkpoint>(&key)? else { return Ok(Vec::new()) };
                strip(&mut stored.record);
                rows.update(&stored)?;
                let mut names = BTreeSet::new();
                for digest in old.files.iter().filter(|digest| !stays.contains(digest)) {
                    let key = (scope.clone(), *digest);
                    if let Some(object) = rows.get::<Object>(&key)? {
                        rows.delete::<Object>(&key, object.rev)?;
                        names.insert(object.record.name);
                    }
                }
                Ok::<_, StoreError>(names.into_iter().collect())
            })
            .map_err(store_fail)?;
        for name in names {
            match node.objects.discard(&name) {
                Ok(()) | Err(StoreError::Missing { .. }) => {}
                Err(error) => return Err(store_fail(error)),
            }
        }
        Ok(())
    }
}

/// What the retention needs of a checkpoint whose files are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Present {
    version: u64,
    good: bool,
    /// Kept whatever the rules say: evidence.
    pinned: bool,
    files: Vec<Digest>,
}

impl Present {
    fn of(record: &Checkpoint) -> Self {
        Self {
            version: record.version,
            good: record.state == CheckpointState::Good,
            pinned: !matches!(record.state, CheckpointState::Good | CheckpointState::Pruned),
            files: record.files.iter().map(|f| f.digest).collect(),
        }
    }
}

/// What stays of a record whose files are removed.
fn strip(record: &mut Checkpoint) {
    record.state = CheckpointState::Pruned;
    record.reason = Some("newer ones are kept".to_owned());
    record.files = Vec::new();
    record.manifest = String::new();
}

/// Those of a job's checkpoints whose files are there, oldest first. One that was pruned and still names its files, as
/// an earlier release left it, is given up with the others.
fn present_of<'a>(all: impl Iterator<Item = &'a Checkpoint>) -> Vec<Present> {
    all.filter(|c| c.state != CheckpointState::Pruned || !c.files.is_empty()).map(Present::of).collect()
}

fn set_state(node: &Node, checkpoint: &Checkpoint, state: CheckpointState, reason: &str) -> Result<(), Fail> {
    let key = (checkpoint.job, checkpoint.version);
    node.meta
        .transaction(|tx| {
            let rows = tx.of(&checkpoint.tenant);
            let Some(mut stored) = rows.get::<Checkpoint>(&key)? else { return Ok(()) };
            stored.record.state = state;
            stored.record.reason = Some(reason.to_owned());
            rows.update(&stored)?;
            Ok::<_, StoreError>(())
        })
        .map_err(store_fail)
}

/// Chooses the checkpoint to resume from: the newest that passes every check. What does not pass is set aside and
/// recorded with its reason.
pub(super) fn choose(
    node: &Node,
    tenant: &Name,
    job: JobId,
    contract: Contract,
    hardware: Vec<(String, String)>,
    correlation: u128,
) -> Result<(Decision, Option<Checkpoint>), Fail> {
    let stored = stored_checkpoints(node, tenant, job)?;
    let usable: Vec<&Checkpoint> = stored.iter().filter(|c| c.state != CheckpointState::Pruned).collect();
    let first = usable.iter().map(|c| c.version).min().unwrap_or(0);
    // Pruned versions before the oldest that is left are no candidates; their digests still anchor the chain.
    let trusted = Trusted {
        digests: stored
            .iter()
            .filter(|c| c.version.saturating_add(1) >= first)
            .map(|c| (c.version, c.manifest_digest))
            .collect(),
    };
    let candidates = usable
        .iter()
        .map(|c| Candidate {
            version: c.version,
            manifest: Some(c.manifest.clone().into_bytes()),
            quarantined: matches!(c.state, CheckpointState::Quarantined | CheckpointState::Rejected)
                .then(|| c.reason.clone().unwrap_or_default()),
        })
        .collect();
    let mut search = Resume::new(trusted, candidates, Conditions { contract, before: None, hardware });
    let decision = loop {
        match search.step() {
            Step::Decided(decision) => break decision,
            Step::Need { version, check } => {
                let candidate = usable.iter().find(|c| c.version == version);
                let result = match candidate {
                    Some(candidate) => examine(node, candidate, check, correlation)?,
                    None => Err("it is not in the store".to_owned()),
                };
                search.answer(version, check, result).map_err(|e| Fail::explained(500, &e))?;
            }
        }
    };
    let rejected = match &decision {
        Decision::Chosen { rejected, .. } | Decision::None { rejected } => rejected.as_slice(),
        Decision::FromStart => &[],
    };
    for passed_over in rejected {
        let Some(checkpoint) = usable.iter().find(|c| c.version == passed_over.version) else { continue };
        let reason = format!("{}: {}", passed_over.check.name(), passed_over.detail);
        let event = Event::new(
            EventKind::CheckpointQuarantine,
            Phase::Intent,
            Outcome::Unknown,
            now().as_millis(),
            correlation,
        )
        .tenant(tenant.as_str())
        .asset("checkpoint", &format!("{job}/{}", checkpoint.version), Some(checkpoint.manifest_digest))
        .severity(Severity::High)
        .because(&reason);
        node.keeper.audited(event, || match checkpoint.state {
            CheckpointState::Good => set_state(node, checkpoint, CheckpointState::Rejected, &reason),
            _ => Ok(()),
        })?;
    }
    let chosen = match &decision {
        Decision::Chosen { version, .. } => {
            usable.iter().find(|c| c.version == *version).map(|c| (*c).clone())
        }
        _ => None,
    };
    Ok((decision, chosen))
}

/// One check of one version; the outer error says that it could not be made at all.
fn examine(
    node: &Node,
    checkpoint: &Checkpoint,
    check: Check,
    correlation: u128,
) -> Result<Result<(), String>, Fail> {
    let event = |outcome: Outcome, reason: &str| {
        Event::new(EventKind::CheckpointVerify, Phase::Outcome, outcome, now().as_millis(), correlation)
            .tenant(checkpoint.tenant.as_str())
            .asset(
                "checkpoint",
                &format!("{}/{}", checkpoint.job, checkpoint.version),
                Some(checkpoint.manifest_digest),
            )
            .because(reason)
            .detail("check", check.name())
    };
    let result = match check {
        Check::Signature => verify_signature(node, checkpoint),
        Check::Open => {
            let scope = KeyScope::Job(checkpoint.tenant.clone(), checkpoint.job);
            let checks =
                crate::datasets::verify_files(node, &scope, &checkpoint.files, "platform", correlation)?;
            match checks.into_iter().find(|c| !c.ok) {
                None => Ok(()),
                Some(failed) => {
                    if let Some(file) = checkpoint.files.iter().find(|f| f.path == failed.name) {
                        node.quarantine(&scope, &file.digest, &failed.detail)?;
                    }
                    Err(format!("`{}`: {}", failed.name, failed.detail))
                }
            }
        }
        // The verdict stands in the signed manifest, over the digest that was just compared.
        Check::Format => match Manifest::from_bytes(checkpoint.manifest.as_bytes()) {
            Ok(manifest) => match manifest.files.iter().find(|f| f.verdict != "load") {
                None => Ok(()),
                Some(file) => Err(format!("`{}` may not be loaded", file.path)),
            },
            Err(error) => Err(error.to_string()),
        },
        other => Err(format!("check `{}` is not made here", other.name())),
    };
    let (outcome, reason) = match &result {
        Ok(()) => (Outcome::Success, String::new()),
        Err(reason) => (Outcome::Refused, reason.clone()),
    };
    node.keeper.append(event(outcome, &reason))?;
    Ok(result)
}

fn verify_signature(node: &Node, checkpoint: &Checkpoint) -> Result<(), String> {
    let signature = base::digest::unhex(&checkpoint.signature).ok_or("the signature is not hex")?;
    let mut message = ops::keeper::CHECKPOINT_CONTEXT.to_vec();
    message.extend_from_slice(checkpoint.manifest_digest.as_bytes());
    if audit::note::verify_raw(&node.keys.checkpoint, &message, &signature) {
        Ok(())
    } else {
        Err("the signature over its manifest does not verify".to_owned())
    }
}

#[cfg(test)]
mod tests;
