//! The run: one workflow, one task for each segment.
//!
//! CycloneDX 1.6 has no task type for training, so a segment is a `build` with property
//! `strongroom:task=train`. An input is exactly one of resource, parameters or variables.

use base::Digest;
use serde_json::{Map, Value, json};

use super::components::{CODE_REF, IMAGE_REF, MACHINE_REF, checkpoint_ref, datasets};
use super::properties::Properties;
use crate::fact::Fact;
use crate::model::{Cause, CheckpointState, Decision, Job, ModelBom, Segment};
use crate::redact;

pub(super) fn formulation(bom: &ModelBom, job: &Job) -> Value {
    let mut properties = Properties::default();
    properties.put("task", "train");
    properties.put("commit-rule", &job.commit_rule);
    properties.put("submitted-by", &job.submitted_by);
    properties.put("origin", "run=observed");
    properties.fact("reproducible", &job.reproducible);
    for (name, fact) in &job.resources {
        properties.fact(&format!("resource:{name}"), fact);
    }
    let tasks: Vec<Value> = job.segments.iter().map(|segment| task(bom, job, segment)).collect();
    let order: Vec<Value> = job
        .segments
        .iter()
        .zip(job.segments.iter().skip(1))
        .map(|(before, after)| json!({"ref": task_ref(after.number), "dependsOn": [task_ref(before.number)]}))
        .collect();
    json!([{
        "bom-ref": "formula",
        "workflows": [{
            "bom-ref": "workflow", "uid": job.id, "name": job.name, "taskTypes": ["build"],
            "description": format!("training run `{}` of tenant `{}`", job.name, bom.tenant),
            "trigger": {
                "type": "api", "bom-ref": "trigger", "uid": format!("{}#submission", job.id),
                "timeActivated": job.started.to_string(),
            },
            "timeStart": job.started.to_string(), "timeEnd": job.finished.to_string(),
            "tasks": tasks, "taskDependencies": order,
            "resourceReferences": [{"ref": CODE_REF}, {"ref": IMAGE_REF}, {"ref": MACHINE_REF}],
            "runtimeTopology": [{"ref": MACHINE_REF, "dependsOn": ["processor"]}],
            "properties": properties.into_value(),
        }],
    }])
}

fn task_ref(number: u32) -> String {
    format!("train#{number}")
}

fn task(bom: &ModelBom, job: &Job, segment: &Segment) -> Value {
    let mut properties = Properties::default();
    properties.put("task", "train");
    properties.put("segment", segment.number);
    properties.put("cause", cause(segment.cause));
    if !segment.detail.is_empty() {
        properties.put("cause-detail", &segment.detail);
    }
    if let Some(digest) = &segment.resumed_from {
        properties.put("resumed-from", digest);
    }
    if let Some(steps) = segment.lost_steps {
        properties.put("lost-steps", steps);
    }
    properties.origin("seed", &job.seed);
    for (name, fact) in &job.hyperparameters {
        properties.origin(&format!("hyperparameter:{name}"), fact);
    }
    properties.put("origin", "segment=observed");
    json!({
        "bom-ref": task_ref(segment.number), "uid": format!("{}#{}", job.id, segment.number),
        "name": task_ref(segment.number), "taskTypes": ["build"],
        "timeStart": segment.started.to_string(), "timeEnd": segment.ended.to_string(),
        "inputs": inputs(bom, job, segment), "outputs": outputs(job, segment), "steps": steps(job, segment),
        "properties": properties.into_value(),
    })
}

fn inputs(bom: &ModelBom, job: &Job, segment: &Segment) -> Vec<Value> {
    let mut out = vec![json!({"resource": {"ref": CODE_REF}}), json!({"resource": {"ref": IMAGE_REF}})];
    out.extend(datasets(bom).into_keys().map(|name| json!({"resource": {"ref": name}})));
    let resumed = segment.resumed_from.as_ref().and_then(|digest| checkpoint_of(job, digest, segment.number));
    out.extend(resumed.map(|version| json!({"resource": {"ref": checkpoint_ref(version)}})));
    let mut parameters: Vec<Value> =
        job.hyperparameters.iter().filter_map(|(name, fact)| parameter(name, fact)).collect();
    parameters.extend(parameter("seed", &job.seed).filter(|_| !job.hyperparameters.contains_key("seed")));
    if !parameters.is_empty() {
        out.push(json!({"parameters": parameters}));
    }
    let variables: Vec<Value> = job
        .variables
        .iter()
        .map(|(name, value)| json!({"name": name, "value": redact::environment_value(name, value)}))
        .collect();
    if !variables.is_empty() {
        out.push(json!({"environmentVars": variables}));
    }
    out
}

fn parameter(name: &str, fact: &Fact) -> Option<Value> {
    let value = redact::environment_value(name, fact.value()?);
    Some(json!({"name": name, "value": value, "dataType": "string"}))
}

/// The version of the checkpoint with this digest that a segment before `segment` wrote, the latest of them.
fn checkpoint_of(job: &Job, digest: &Digest, segment: u32) -> Option<u64> {
    job.checkpoints.iter().filter(|c| c.digest == *digest && c.segment < segment).map(|c| c.version).max()
}

fn outputs(job: &Job, segment: &Segment) -> Vec<Value> {
    let own = job.checkpoints.iter().filter(|c| c.segment == segment.number);
    let mut out: Vec<Value> =
        own.map(|c| json!({"type": "artifact", "resource": {"ref": checkpoint_ref(c.version)}})).collect();
    if segment.cause == Cause::Completed {
        out.push(json!({"type": "artifact", "resource": {"ref": super::components::MODEL_REF}}));
    }
    out
}

fn steps(job: &Job, segment: &Segment) -> Vec<Value> {
    let mut out: Vec<Value> = job
        .decisions
        .iter()
        .filter(|d| d.segment == segment.number)
        .map(|d| resume(job, segment, d))
        .collect();
    let executed = redact::command(&job.command).join(" ");
    out.push(json!({"name": "train", "description": "the submitted command", "commands": [{"executed": executed}]}));
    for checkpoint in job.checkpoints.iter().filter(|c| c.segment == segment.number) {
        let step = checkpoint.step.map_or_else(String::new, |step| format!(" at step {step}"));
        let description = match checkpoint.state {
            CheckpointState::Good => format!("checkpoint {}{step}", checkpoint.version),
            CheckpointState::Rejected | CheckpointState::Quarantined => {
                format!("checkpoint {}{step}, later rejected: {}", checkpoint.version, checkpoint.reason)
            }
        };
        let mut properties = Properties::default();
        properties.put("checkpoint:version", checkpoint.version);
        properties.put("checkpoint:digest", checkpoint.digest);
        out.push(
            json!({"name": "checkpoint", "description": description, "properties": properties.into_value()}),
        );
    }
    let (name, description) = match segment.cause {
        Cause::Completed => ("end", "the program ended with success".to_owned()),
        _ if segment.detail.is_empty() => ("interruption", cause(segment.cause).to_owned()),
        _ => ("interruption", format!("{}: {}", cause(segment.cause), segment.detail)),
    };
    let mut end = Properties::default();
    end.put("at", segment.ended);
    out.push(json!({"name": name, "description": description, "properties": end.into_value()}));
    out
}

fn resume(job: &Job, segment: &Segment, decision: &Decision) -> Value {
    let mut properties = Properties::default();
    properties.put("at", decision.at);
    let mut text = match &decision.chosen {
        Some(digest) => {
            properties.put("chosen", digest);
            match checkpoint_of(job, digest, segment.number) {
                Some(version) => format!("resumed from checkpoint {version}"),
                None => format!("resumed from {}", digest.short()),
            }
        }
        None => "started from the beginning".to_owned(),
    };
    for rejected in &decision.rejected {
        properties.put("rejected", format!("{}={}", checkpoint_ref(rejected.version), rejected.reason));
        text.push_str(&format!("; checkpoint {} rejected: {}", rejected.version, rejected.reason));
    }
    if let Some(steps) = segment.lost_steps {
        text.push_str(&format!("; {steps} steps done again"));
    }
    if !decision.continuation.is_empty() {
        text.push_str(&format!("; continuation: {}", decision.continuation));
        properties.put("continuation", &decision.continuation);
    }
    let mut out = Map::new();
    out.insert("name".to_owned(), json!("resume"));
    out.insert("description".to_owned(), text.into());
    out.insert("properties".to_owned(), properties.into_value());
    out.into()
}

fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Completed => "completed",
        Cause::Killed => "killed",
        Cause::OutOfMemory => "out of memory",
        Cause::Failed => "failed",
        Cause::Stopped => "stopped",
        Cause::TimedOut => "timed out",
        Cause::NodeLost => "node lost",
        Cause::Quarantined => "quarantined",
    }
}
