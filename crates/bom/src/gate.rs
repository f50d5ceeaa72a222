//! The completeness gate: what must be known before a model may be promoted or served. It fails closed.

use std::collections::BTreeSet;

use crate::fact::{Fact, Mark};
use crate::model::{Cause, Inspection, ModelBom, Role};

/// How much a record must tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Everything that the platform itself can see. What only people know may be unknown, if it says so.
    Observed,
    /// That, and what people must declare: licence, purpose, producer, accountable person, origin of data.
    Full,
}

impl Tier {
    /// As it stands in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::Full => "full",
        }
    }
}

/// A field that the gate wants and the record does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The field, as `merge_declared` would name it where it can be declared.
    pub field: String,
    /// What is wanted, in words.
    pub why: &'static str,
}

/// The highest tier that the record meets; `None` if not even [`Tier::Observed`].
pub fn tier(bom: &ModelBom) -> Option<Tier> {
    [Tier::Full, Tier::Observed].into_iter().find(|tier| gate(bom, *tier).is_empty())
}

/// What is missing for this tier; empty means that the gate is open.
pub fn gate(bom: &ModelBom, wanted: Tier) -> Vec<Missing> {
    let mut out = List { wanted, missing: Vec::new() };
    out.identity(bom);
    out.model(bom);
    out.data(bom);
    out.run(bom);
    out.missing
}

struct List {
    wanted: Tier,
    missing: Vec<Missing>,
}

impl List {
    fn need(&mut self, holds: bool, field: &str, why: &'static str) {
        if !holds {
            self.missing.push(Missing { field: field.to_owned(), why });
        }
    }

    /// A fact that the platform can see. A declaration does not stand in for it.
    fn seen(&mut self, fact: &Fact, field: &str) {
        let holds = match fact.mark() {
            Mark::Observed => fact.value().is_some_and(|v| !v.is_empty()),
            Mark::NotApplicable => true,
            Mark::Declared | Mark::Unknown => false,
        };
        self.need(holds, field, "must be observed by the platform");
    }

    /// A fact that somebody must state.
    fn stated(&mut self, fact: &Fact, field: &str) {
        if self.wanted == Tier::Full {
            let holds =
                matches!(fact.mark(), Mark::NotApplicable) || fact.value().is_some_and(|v| !v.is_empty());
            self.need(holds, field, "must be declared");
        }
    }

    fn identity(&mut self, bom: &ModelBom) {
        self.need(bom.serial != 0, "serial", "must be 128 random bits");
        self.need(bom.version >= 1, "version", "starts at 1");
        self.need(
            bom.version <= 1 || bom.previous.is_some(),
            "previous",
            "a later version names the one before",
        );
        self.need(!bom.tool_version.is_empty(), "tool_version", "must be named");
        self.need(!bom.node.is_empty(), "node", "must be named");
        self.need(!bom.tenant.is_empty(), "tenant", "must be named");
        self.need(!bom.audit.is_empty(), "audit", "must name the log entries that tell of the model");
    }

    fn model(&mut self, bom: &ModelBom) {
        let model = &bom.model;
        self.need(!model.name.is_empty() && !model.version.is_empty(), "model.name", "must be named");
        self.need(!model.files.is_empty(), "model.files", "every file must be listed");
        self.need(bom.signer.is_some(), "signer", "the files must be signed");
        let may_load = |i: &&Inspection| match i.verdict.as_str() {
            "load" => true,
            "load-with-policy" => i.accepted.as_ref().is_some_and(|by| !by.is_empty()),
            _ => false,
        };
        let passed: BTreeSet<&str> =
            bom.inspections.iter().filter(may_load).map(|i| i.path.as_str()).collect();
        let inspected = model.files.iter().all(|file| passed.contains(file.path.as_str()));
        self.need(
            inspected,
            "inspections",
            "every file must be inspected with verdict `load`, or its risks accepted by a policy",
        );
        for (fact, field) in [
            (&model.license, "model.license"),
            (&model.purpose, "model.purpose"),
            (&model.producer, "model.producer"),
            (&model.accountable, "model.accountable"),
            (&model.architecture, "model.architecture"),
            (&model.task, "model.task"),
            (&model.parameters, "model.parameters"),
        ] {
            self.stated(fact, field);
        }
    }

    fn data(&mut self, bom: &ModelBom) {
        let trained = bom.datasets.iter().any(|d| d.role != Role::Test);
        // A run that was given no data makes its own from its code, which the record lists; the platform saw that.
        let made = bom.datasets.is_empty() && self.wanted == Tier::Observed;
        let named = bom.job.is_none() || trained || made;
        self.need(named, "datasets", "a run must name the data it read");
        for dataset in &bom.datasets {
            let named = |field: &str| format!("dataset.{}.{field}", dataset.name);
            self.need(!dataset.name.is_empty() && !dataset.version.is_empty(), "datasets", "must be named");
            self.need(dataset.files > 0, &named("files"), "must hold at least one file");
            self.stated(&dataset.license, &named("license"));
            self.stated(&dataset.origin, &named("origin"));
        }
    }

    fn run(&mut self, bom: &ModelBom) {
        let Some(job) = &bom.job else {
            // Made elsewhere: nothing of the run was seen here, so a named ancestor must stand for it.
            self.need(
                bom.model.base.is_some(),
                "job",
                "a model made elsewhere must name where it comes from",
            );
            return;
        };
        self.need(!job.id.is_empty() && !job.submitted_by.is_empty(), "job.id", "must be named");
        self.need(!job.command.is_empty(), "job.command", "must be recorded");
        self.need(!job.code.files.is_empty(), "code.files", "every file of the code must be listed");
        self.need(!job.commit_rule.is_empty(), "job.commit_rule", "must be stated");
        // A digest says which programs there were even where nothing in them lists packages or names a system.
        let pinned = job.environment.pinned.value() == Some("true");
        self.need(pinned || !job.environment.packages.is_empty(), "environment.packages", "must be listed");
        if pinned {
            self.stated(&job.environment.os, "environment.os");
        } else {
            self.seen(&job.environment.os, "environment.os");
        }
        let last = job.segments.last().map(|s| s.cause);
        self.need(last == Some(Cause::Completed), "job.segments", "the last segment must have completed");
        let resumed: Vec<u32> = job.segments.iter().skip(1).map(|s| s.number).collect();
        let explained = resumed.iter().all(|n| job.decisions.iter().any(|d| d.segment == *n));
        self.need(explained, "job.decisions", "every resume must say what it chose and why");
        for (fact, field) in [
            (&job.environment.image, "environment.image"),
            (&job.environment.pinned, "environment.pinned"),
            (&job.environment.kernel, "environment.kernel"),
            (&job.hardware.cpu_model, "hardware.cpu_model"),
            (&job.hardware.cpus, "hardware.cpus"),
            (&job.hardware.memory_bytes, "hardware.memory_bytes"),
        ] {
            self.seen(fact, field);
        }
        self.stated(&job.seed, "job.seed");
        self.stated(&job.code.git_commit, "code.git_commit");
    }
}
