//! Wire types of models that were made elsewhere, on their way in.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Document, File, JobRun, shape};

wire! {
    /// A model that was made elsewhere, on its way in.
    "strongroom.intake/1" pub struct Intake {
        /// Tenant.
        #[schemars(with = "shape::Name")]
        tenant: String,
        /// Name of the model that it is to become.
        #[schemars(with = "shape::Name")]
        name: String,
        /// Number of this intake of that name, from 1.
        version: u64,
        /// quarantined, sourced, inspected, described, accepted, approved, admitted, refused.
        state: String,
        /// Why, if it was refused.
        #[serde(default)]
        reason: Option<String>,
        /// The steps that it takes, in order; acceptance with `(may be left out)` where the configuration says so.
        required: Vec<String>,
        /// The step that is next.
        #[serde(default)]
        next: Option<String>,
        /// Who brought it, as in events.
        by: String,
        /// From where it is, as who brought it says.
        source: String,
        /// SHA-256 of the key by which the signature that came with it verified.
        #[serde(default)]
        #[schemars(with = "Option<shape::Sha256>")]
        signed_by: Option<String>,
        /// Digest over its files.
        #[schemars(with = "shape::Sha256")]
        digest: String,
        /// Its files.
        files: Vec<File>,
        /// The model whose files it took over: `name@version`.
        #[serde(default)]
        based_on: Option<String>,
        /// Bytes that are hashed for it: those that came, and what was taken over and never hashed by this node.
        hashed_bytes: u64,
        /// Bytes whose digests were taken over with the sealed objects that hold them.
        reused_bytes: u64,
        /// What is said of it, by field.
        declared: BTreeMap<String, String>,
        /// What the inspection said: load, load-with-policy, refuse.
        #[serde(default)]
        verdict: Option<String>,
        /// Findings of the inspection.
        findings: Vec<String>,
        /// What a trust policy must accept for it to be used, as it names it.
        #[serde(default)]
        risks: Vec<String>,
        /// Digest of its Model BoM so far.
        #[serde(default)]
        #[schemars(with = "Option<shape::Sha256>")]
        bom_digest: Option<String>,
        /// What is asked of its behaviour.
        #[serde(default)]
        criterion: Option<IntakeCriterion>,
        /// What was measured, the oldest first.
        evaluations: Vec<IntakeEvaluation>,
        /// The steps that succeeded, in order.
        steps: Vec<IntakeStep>,
        /// The model that it became: `name@version`.
        #[serde(default)]
        model: Option<String>,
        /// When it began.
        #[schemars(with = "shape::Time")]
        created: String,
    }

    /// What is asked of a model's behaviour.
    "strongroom.intake.criterion/1" pub struct IntakeCriterion {
        /// The number that a job is to report.
        metric: String,
        /// It may not be below this.
        #[serde(default)]
        at_least: Option<f64>,
        /// It may not be above this.
        #[serde(default)]
        at_most: Option<f64>,
        /// Who stated it, as in events.
        by: String,
    }

    /// One measurement of a model in quarantine.
    "strongroom.intake.evaluation/1" pub struct IntakeEvaluation {
        /// The job.
        #[schemars(with = "shape::JobId")]
        job: String,
        /// Who submitted it, as in events.
        by: String,
        /// Digest of its code.
        #[schemars(with = "shape::Sha256")]
        code: String,
        /// Digests of the data that it read, by channel.
        data: BTreeMap<String, String>,
        /// The number that it reported, as it wrote it.
        #[serde(default)]
        value: Option<String>,
        /// How it ended; absent until then.
        #[serde(default)]
        ended: Option<String>,
    }

    /// A step that succeeded.
    "strongroom.intake.step/1" pub struct IntakeStep {
        /// Which.
        step: String,
        /// By whom, as in events.
        by: String,
        /// When.
        #[schemars(with = "shape::Time")]
        at: String,
        /// What was found.
        detail: String,
    }
}

request! {
    /// What who brings a model says of it.
    pub struct IntakeBegin {
        /// From where it is.
        #[schemars(with = "shape::Declaration")]
        source: String,
        /// What else is known.
        #[serde(default)]
        facts: IntakeFacts,
        /// The signature that came with it, in OMS format.
        #[serde(default)]
        #[schemars(with = "Option<shape::SignatureFile>")]
        signature: Option<String>,
        /// The public key that it is to verify with, PEM; without one the tenant's trust policy says who may sign.
        #[serde(default)]
        #[schemars(with = "Option<shape::PublicKey>")]
        public_key: Option<String>,
        /// The model of which it is a next version, `name` or `name@version`: its files that do not come are taken over.
        #[serde(default)]
        #[schemars(with = "Option<shape::Reference>")]
        based_on: Option<String>,
        /// Files of that model that are left out.
        #[serde(default)]
        without: Vec<String>,
    }

    /// Declarations about a model. What is left out stays as it is.
    #[derive(Default)]
    pub struct IntakeFacts {
        /// Its licence.
        #[serde(default)]
        #[schemars(with = "Option<shape::Declaration>")]
        license: Option<String>,
        /// Who makes it available.
        #[serde(default)]
        #[schemars(with = "Option<shape::Declaration>")]
        producer: Option<String>,
        /// What it is for.
        #[serde(default)]
        #[schemars(with = "Option<shape::Declaration>")]
        purpose: Option<String>,
        /// The person who answers for it here.
        #[serde(default)]
        #[schemars(with = "Option<shape::Declaration>")]
        accountable: Option<String>,
        /// Its version where it is from.
        #[serde(default)]
        #[schemars(with = "Option<shape::Declaration>")]
        upstream_version: Option<String>,
        /// What it should not be used for.
        #[serde(default)]
        #[schemars(with = "Option<shape::Declaration>")]
        limitations: Option<String>,
    }

    /// Somebody's word on a model in quarantine.
    pub struct IntakeDecide {
        /// Why, for the log.
        #[schemars(with = "shape::Reason")]
        reason: String,
    }
}

/// Has a job measure a model in quarantine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntakeEvaluate {
    /// The number that the job is to report.
    #[schemars(with = "shape::MetricName")]
    pub metric: String,
    /// It may not be below this; either this or `at_most`.
    #[serde(default)]
    pub at_least: Option<f64>,
    /// It may not be above this.
    #[serde(default)]
    pub at_most: Option<f64>,
    /// The job, which reads the model as its channel `model`.
    pub job: JobRun,
}
