//! Audit events: what happened to which asset, by whom, with which outcome. The keeper adds sequence, commit
//! time, boot id and the sender that it saw, and writes them as OCSF (crate `audit`).

use base::Digest;

use crate::{List, Text};

names! {
    /// What happened. Append-only.
    pub enum EventKind {
        /// A node came up; entry 0 of a log records its mode for ever.
        1 NodeStart = "node.start",
        /// A node went down in order.
        2 NodeStop = "node.stop",
        /// A process of the platform started or was restarted.
        3 ComponentStart = "component.start",
        /// A process of the platform ended.
        4 ComponentStop = "component.stop",
        /// A tenant was created.
        10 TenantCreate = "tenant.create",
        /// A data set was imported and sealed.
        20 DatasetImport = "dataset.import",
        /// A data set was verified against its manifest.
        21 DatasetVerify = "dataset.verify",
        /// A data set was opened for a job.
        22 DatasetRead = "dataset.read",
        /// An image was imported, sealed and unpacked once.
        23 ImageImport = "image.import",
        /// A job was accepted.
        30 JobSubmit = "job.submit",
        /// A segment of a job started.
        31 JobStart = "job.start",
        /// A segment ended before the job was done.
        32 JobInterrupt = "job.interrupt",
        /// A job goes on from a checkpoint.
        33 JobResume = "job.resume",
        /// A job is done.
        34 JobFinish = "job.finish",
        /// A job was stopped on request.
        35 JobStop = "job.stop",
        /// A job is held: its owner decides.
        36 JobHold = "job.hold",
        /// A checkpoint was sealed, signed and chained.
        40 CheckpointSeal = "checkpoint.seal",
        /// A checkpoint was verified before a resume.
        41 CheckpointVerify = "checkpoint.verify",
        /// A checkpoint was given back to its job.
        42 CheckpointRestore = "checkpoint.restore",
        /// A checkpoint was set aside.
        43 CheckpointQuarantine = "checkpoint.quarantine",
        /// No checkpoint within the job's `max_lost_seconds`.
        44 CheckpointOverdue = "checkpoint.overdue",
        /// What a job committed is not a checkpoint.
        45 CheckpointMalformed = "checkpoint.malformed",
        /// A model's files were inspected.
        50 ModelInspect = "model.inspect",
        /// A model was registered from a job.
        51 ModelRegister = "model.register",
        /// A model was imported from outside.
        52 ModelImport = "model.import",
        /// A model was verified.
        53 ModelVerify = "model.verify",
        /// A model was loaded into a process.
        54 ModelLoad = "model.load",
        /// A model left a process.
        55 ModelUnload = "model.unload",
        /// A model left the platform.
        56 ModelExport = "model.export",
        /// A model was set aside.
        57 ModelQuarantine = "model.quarantine",
        /// The bytes of a model in use are not those that were verified.
        58 ModelTampered = "model.tampered",
        /// A model, data set or file was revoked.
        240 RevocationCreate = "revocation.create",
        /// A trust policy of a tenant was to take effect.
        242 TrustApply = "trust.apply",
        /// Somebody's signature was added to a model.
        59 ModelCountersign = "model.countersign",
        /// A revocation was taken back.
        241 RevocationLift = "revocation.lift",
        /// A Model BoM was written.
        60 BomCreate = "bom.create",
        /// A Model BoM was verified.
        61 BomVerify = "bom.verify",
        /// A Model BoM left the platform.
        62 BomExport = "bom.export",
        /// An endpoint began to serve.
        70 EndpointDeploy = "endpoint.deploy",
        /// An endpoint stopped.
        71 EndpointStop = "endpoint.stop",
        /// A key was admitted to an endpoint for the first time.
        72 InferenceAdmit = "inference.admit",
        /// One inference was answered (metadata only).
        73 Inference = "inference.request",
        /// Inference records were lost; how many.
        74 InferenceGap = "inference.gap",
        /// An API key was made.
        80 ApiKeyCreate = "api_key.create",
        /// An API key was revoked.
        81 ApiKeyRevoke = "api_key.revoke",
        /// An identity of a service was made.
        86 ServiceCreate = "service.create",
        /// The certificate of a service was renewed.
        87 ServiceRenew = "service.renew",
        /// An identity of a service was revoked.
        88 ServiceRevoke = "service.revoke",
        /// A key scope (tenant or job) was created.
        90 ScopeCreate = "key_scope.create",
        /// A data key was wrapped.
        91 KeyWrap = "key.wrap",
        /// A data key was released.
        92 KeyRelease = "key.release",
        /// A signature was made.
        93 Sign = "key.sign",
        /// A tenant's budget of key releases is used up.
        94 BudgetExhausted = "key.budget_exhausted",
        /// An order to the warden.
        100 WardenOrder = "warden.order",
        /// A sandbox was made.
        101 SandboxCreate = "sandbox.create",
        /// A sandbox ended and its remains were removed.
        102 SandboxEnd = "sandbox.end",
        /// A decision on access: refused.
        110 AccessRefuse = "access.refuse",
        /// The log was read.
        120 LogRead = "log.read",
        /// The log was exported.
        121 LogExport = "log.export",
        /// An unacknowledged tail was dropped after a crash.
        122 LogTailDropped = "log.tail_dropped",
        /// Probes of the controls ran.
        130 PostureRun = "posture.run",
        /// The metadata database is older than the log: refused, or taken as the newest there is by an operator.
        140 MetadataSetBack = "metadata.set_back",
        /// So many bytes of models left that a cap is near.
        150 EgressAlarm = "egress.alarm",
        /// Bytes were to leave beyond a cap, or a connection to where none may go, and did not.
        151 EgressRefuse = "egress.refuse",
        /// A connection was to leave the node.
        152 EgressOpen = "egress.open",
        /// It ended, or did not come about; how many bytes left.
        153 EgressClose = "egress.close",
        /// An egress was made.
        154 EgressCreate = "egress.create",
        /// An egress was deleted.
        155 EgressDelete = "egress.delete",
        /// A job was given a certificate, by which far ends of its egresses know it.
        156 EgressCertify = "egress.certify",
        /// A person was made known.
        160 UserCreate = "user.create",
        /// A link was made by which a person enrols a passkey.
        161 UserEnrol = "user.enrol",
        /// A person may not log in any more.
        162 UserDisable = "user.disable",
        /// Nobody may try to log in as this person for a while.
        163 UserLock = "user.lock",
        /// A person enrolled a passkey.
        164 PasskeyAdd = "passkey.add",
        /// A passkey of a person was taken away.
        167 PasskeyRevoke = "passkey.revoke",
        /// A person was granted a role for a time.
        165 GrantCreate = "grant.create",
        /// A grant was taken back.
        166 GrantRevoke = "grant.revoke",
        /// A person logged in.
        170 SessionOpen = "session.open",
        /// Somebody failed to log in.
        171 SessionRefuse = "session.refuse",
        /// A person logged out.
        172 SessionEnd = "session.end",
        /// A session was revoked.
        173 SessionRevoke = "session.revoke",
        /// Somebody asked for the approval of another.
        180 ApprovalRequest = "approval.request",
        /// Somebody else approved, or refused.
        181 ApprovalDecide = "approval.decide",
        /// A version of the node's own rules was to take effect.
        190 PolicyApply = "policy.apply",
        /// The node's own rules were to be withdrawn, so that those that ship decide alone.
        191 PolicyWithdraw = "policy.withdraw",
        /// The newest version of the node's own rules does not verify: nothing is done until the operator mends it.
        192 PolicyUnverified = "policy.unverified",
        /// The node entered safe mode.
        200 SafeModeEnter = "safe_mode.enter",
        /// The node left safe mode.
        201 SafeModeLeave = "safe_mode.leave",
        /// Recovery codes were made, or replaced.
        202 BreakGlassSeal = "break_glass.seal",
        /// A window of break-glass was opened.
        203 BreakGlassOpen = "break_glass.open",
        /// A window of break-glass ended.
        204 BreakGlassClose = "break_glass.close",
        /// An act under recovery codes was refused.
        205 RecoveryRefuse = "recovery.refuse",
        /// The probe of break-glass ran within a window.
        206 BreakGlassDrill = "break_glass.drill",
        /// Diagnostics of the node were collected.
        210 NodeDiagnose = "node.diagnose",
        /// The machine was to be started again.
        211 NodeReboot = "node.reboot",
        /// A release of the platform was to be staged.
        212 ReleaseStage = "release.stage",
        /// A release was to be activated, and came up.
        213 ReleaseActivate = "release.activate",
        /// The release before was to be taken again, or was because the newer one did not come up.
        214 ReleaseReturn = "release.return",
        /// A model that was made elsewhere was put into quarantine.
        230 IntakeBegin = "intake.begin",
        /// A step of an intake was done, or began anew.
        231 IntakeStep = "intake.step",
        /// A model in quarantine was given to a job that measures it, or that job's number was taken.
        232 IntakeEvaluate = "intake.evaluate",
        /// Somebody answers for a model in quarantine.
        233 IntakeApprove = "intake.approve",
        /// A model left quarantine: it is signed here and registered.
        234 IntakeAdmit = "intake.admit",
        /// A model in quarantine was refused, for good.
        235 IntakeRefuse = "intake.refuse",
    }
}

names! {
    /// Where in an effect the event stands.
    pub enum Phase {
        /// Logged and durable before the effect.
        1 Intent = "intent",
        /// The effect is known.
        2 Outcome = "outcome",
        /// Seen, not caused.
        3 Observed = "observed",
    }
}

names! {
    /// How it ended.
    pub enum Outcome {
        /// Not known: an intent, or the platform stopped before the effect was known.
        1 Unknown = "unknown",
        /// Done.
        2 Success = "success",
        /// Tried and failed.
        3 Failure = "failure",
        /// Not tried: the answer is no.
        4 Refused = "refused",
    }
}

names! {
    /// OCSF severity.
    pub enum Severity {
        /// Ordinary work.
        1 Informational = "informational",
        /// Worth a look.
        2 Low = "low",
        /// Look soon.
        3 Medium = "medium",
        /// Look now.
        4 High = "high",
        /// Act now.
        5 Critical = "critical",
    }
}

record! {
    /// A named detail. Content never enters an event; digests do.
    pub struct Detail {
        /// Name, lower case with underscores.
        key: Text<48>,
        /// Value.
        value: Text<1024>,
    }
}

record! {
    /// What a process hands to the keeper.
    pub struct Event {
        /// What happened.
        kind: EventKind,
        /// Intent, outcome or observation.
        phase: Phase,
        /// How it ended.
        outcome: Outcome,
        /// How much it matters.
        severity: Severity,
        /// When, Unix milliseconds, by the sender's clock.
        time_ms: u64,
        /// Joins intent, effect and outcome ([`base::id::CorrelationId`] bits).
        correlation: u128,
        /// The tenant, empty for the platform.
        tenant: Text<63>,
        /// Who: `operator`, `user:<name>`, `key:<id>`, `service:<tenant>/<name>`, `job:<id>`, `platform`.
        actor: Text<128>,
        /// Kind of the asset: dataset, model, job, checkpoint, endpoint, key, node.
        asset_kind: Text<32>,
        /// Its name or id.
        asset_id: Text<192>,
        /// Its digest.
        asset_digest: Option<Digest>,
        /// Digest of its BoM.
        bom_digest: Option<Digest>,
        /// Why, for people.
        reason: Text<1024>,
        /// The rest.
        details: List<Detail, 32>,
    }
}

impl Event {
    /// An event with nothing said beyond what it must.
    pub fn new(kind: EventKind, phase: Phase, outcome: Outcome, time_ms: u64, correlation: u128) -> Self {
        Self {
            kind,
            phase,
            outcome,
            severity: Severity::Informational,
            time_ms,
            correlation,
            tenant: Text::default(),
            actor: Text::clip("platform"),
            asset_kind: Text::default(),
            asset_id: Text::default(),
            asset_digest: None,
            bom_digest: None,
            reason: Text::default(),
            details: List::default(),
        }
    }

    /// With this tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: &str) -> Self {
        self.tenant = Text::clip(tenant);
        self
    }

    /// By this actor.
    #[must_use]
    pub fn actor(mut self, actor: &str) -> Self {
        self.actor = Text::clip(actor);
        self
    }

    /// About this asset.
    #[must_use]
    pub fn asset(mut self, kind: &str, id: &str, digest: Option<Digest>) -> Self {
        self.asset_kind = Text::clip(kind);
        self.asset_id = Text::clip(id);
        self.asset_digest = digest;
        self
    }

    /// With this BoM digest.
    #[must_use]
    pub fn bom(mut self, digest: Digest) -> Self {
        self.bom_digest = Some(digest);
        self
    }

    /// For this reason.
    #[must_use]
    pub fn because(mut self, reason: &str) -> Self {
        self.reason = Text::clip(reason);
        self
    }

    /// Of this severity.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// With one more detail; beyond the limit it is left out.
    #[must_use]
    pub fn detail(mut self, key: &str, value: &str) -> Self {
        let mut details = self.details.into_inner();
        details.push(Detail { key: Text::clip(key), value: Text::clip(value) });
        self.details = List::clip(details);
        self
    }
}
