//! The node as a whole: what it tells of itself to whoever is to help, and starting the machine again.
//!
//! Diagnostics are an allow-list: what stands in them is named here, field by field, and each is a number, a switch or a
//! [`Word`], which no text of a tenant, a person or a configuration can become.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{
    DiagnosticConfiguration, DiagnosticGroups, DiagnosticLog, DiagnosticMachine, DiagnosticPlace,
    DiagnosticPosture, DiagnosticProcess, DiagnosticProgram, DiagnosticRunCount, DiagnosticRuns, Diagnostics,
    NodeReboot, NodeRebooting, Word,
};
use base::config::{Config, Mode, SecondFactor};
use ops::diagnostics::{Diagnostics as Seen, ServiceFacts};
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use ops::warden::{Feature, Operation, Response};
use store::StoreError;
use store::records::{ApiKey, Dataset, Endpoint, EndpointState, Job, JobState, Model, Object, Tenant, User};

use crate::Fail;
use crate::auth::{By, Principal};
use crate::clock::now;
use crate::fail::reason;
use crate::hostfacts;
use crate::node::{Node, correlation, store_fail};

/// What the warden's probe tries, by name (`host::probe`). Its details are not told: some are text of the host.
const FEATURES: [&str; 24] = [
    "namespace.user",
    "namespace.pid",
    "namespace.mnt",
    "namespace.net",
    "namespace.ipc",
    "namespace.uts",
    "namespace.cgroup",
    "seccomp",
    "landlock",
    "memory.noswap",
    "cgroup.memory",
    "cgroup.pids",
    "cgroup.cpu",
    "cgroup.devices",
    "cgroup.freezer",
    "cgroup.kill",
    "cgroup.delegation",
    "host.swap_off",
    "host.ksm_off",
    "host.core_pattern",
    "host.smt_off",
    "host.resctrl",
    "host.cpu_mitigations",
    "other",
];
/// What the state of a control is called (`posture`).
const STATUSES: [&str; 5] = ["pass", "fail", "manual", "not_applicable", "unknown"];
/// What is not in the report, and why.
const LEFT_OUT: [&str; 5] = [
    "lines of logs: they cannot be proven free of names of tenants and their things",
    "names of tenants, people, data sets, models, jobs and endpoints: they are counted",
    "settings that are text (names, addresses, paths, providers): whether they are set is told",
    "details of features and reasons of controls: they quote the host; see `strongroom status` on the node",
    "keys, tokens and their hashes: nothing that makes this report reads them",
];

/// Collects diagnostics.
pub(crate) fn diagnostics(node: &Arc<Node>, principal: &Principal) -> Result<Diagnostics, Fail> {
    let event = Event::new(
        EventKind::NodeDiagnose,
        Phase::Intent,
        Outcome::Unknown,
        now().as_millis(),
        correlation()?,
    )
    .by(principal)
    .asset("node", &node.config.node, None);
    node.keeper.audited(event, || collect(node))
}

fn collect(node: &Arc<Node>) -> Result<Diagnostics, Fail> {
    let keeper = node.keeper.status()?;
    let seen = seen(node)?;
    let Response::Features { features } =
        node.warden.order(&node.keeper, Operation::Probe {}, 0, "", "platform")?.0
    else {
        return Err(Fail::internal("the warden gave an answer of another kind", "probe"));
    };
    let text = |mode| if mode == Mode::Dev { "dev" } else { "production" };
    Ok(Diagnostics {
        collected: now().into(),
        version: env!("CARGO_PKG_VERSION").into(),
        mode: text(node.config.mode).into(),
        machine: machine(node),
        programs: seen
            .programs
            .iter()
            .map(|p| DiagnosticProgram { program: p.program.name().into(), digest: p.digest.into() })
            .collect(),
        processes: seen.services.iter().map(process).collect(),
        separated: seen.separated && keeper.separated,
        runs: runs(&seen),
        groups: DiagnosticGroups {
            controllers: seen
                .groups
                .controllers
                .iter()
                .map(|c| (c.controller.name().into(), c.hierarchy.name().into()))
                .collect(),
            kill: seen.groups.kill,
            groups: seen.groups.groups,
        },
        places: places(&seen),
        features: features.iter().map(feature).collect(),
        holds: holds(node)?,
        jobs: states(node, |job: &Job| job.state.as_str())?,
        endpoints: states(node, |endpoint: &Endpoint| endpoint.state.as_str())?,
        models: states(node, |model: &Model| model.state.as_str())?,
        log: DiagnosticLog { entries: keeper.log_size, root: keeper.log_root.into() },
        configuration: configuration(&node.config),
        posture: posture(node),
        left_out: LEFT_OUT.map(Word::from).to_vec(),
    })
}

/// What the warden alone sees.
fn seen(node: &Node) -> Result<Seen, Fail> {
    match node.warden.order(&node.keeper, Operation::CollectDiagnostics {}, correlation()?, "", "platform")?.0
    {
        Response::Diagnostics { seen } => Ok(seen),
        _ => Err(Fail::internal("the warden gave an answer of another kind", "collect_diagnostics")),
    }
}

fn machine(node: &Node) -> DiagnosticMachine {
    let now = hostfacts::load();
    DiagnosticMachine {
        kernel: Word::version(&node.facts.kernel),
        architecture: std::env::consts::ARCH.into(),
        cpus: node.facts.cpus,
        memory_bytes: node.facts.memory_bytes,
        memory_available_bytes: hostfacts::free_memory_bytes(),
        swap_bytes: now.swap_bytes,
        uptime_seconds: now.uptime_seconds,
        load_hundredths: now.load_hundredths,
    }
}

fn process(of: &ServiceFacts) -> DiagnosticProcess {
    let facts = of.process.as_ref();
    DiagnosticProcess {
        process: of.service.name().into(),
        state: of.state.name().into(),
        restarts: of.restarts,
        pid: facts.map(|f| f.pid),
        uid: facts.map(|f| f.uid),
        gid: facts.map(|f| f.gid),
        capabilities: facts.map(|f| f.capabilities),
        bounding: facts.map(|f| f.bounding),
        no_new_privileges: facts.map(|f| f.no_new_privileges),
        seccomp: facts.map(|f| f.seccomp),
        threads: facts.map(|f| f.threads),
        resident_bytes: facts.map(|f| f.resident_bytes),
    }
}

fn runs(seen: &Seen) -> DiagnosticRuns {
    let counts = seen.runs.iter().map(|run| DiagnosticRunCount {
        kind: run.kind.name().into(),
        state: run.state.name().into(),
        count: run.count,
    });
    DiagnosticRuns {
        counts: counts.collect(),
        most: seen.runs_max,
        processes: seen.workload_processes,
        mounts_frozen: seen.mounts.frozen,
        mounts_filling: seen.mounts.filling,
        input_bytes: seen.mounts.input_bytes,
        scratches: seen.mounts.scratches,
        outcomes_waiting: seen.outcomes_waiting,
    }
}

fn places(seen: &Seen) -> Vec<DiagnosticPlace> {
    let place = |p: &ops::diagnostics::PlaceFacts| DiagnosticPlace {
        place: p.place.name().into(),
        file_system: p.file_system.name().into(),
        total_bytes: p.total_bytes,
        free_bytes: p.free_bytes,
        free_files: p.free_files,
        read_only: p.read_only,
        nosuid: p.nosuid,
        noexec: p.noexec,
    };
    seen.places.iter().map(place).collect()
}

fn feature(of: &Feature) -> (Word, Word) {
    (Word::among(&FEATURES, &of.name), of.state.name().into())
}

/// Counts by noun.
fn holds(node: &Node) -> Result<BTreeMap<Word, u64>, Fail> {
    node.meta
        .read(|tx| {
            Ok::<_, StoreError>(BTreeMap::from([
                ("tenants".into(), tx.count_all::<Tenant>()?),
                ("people".into(), tx.count_all::<User>()?),
                ("keys".into(), tx.count_all::<ApiKey>()?),
                ("objects".into(), tx.count_all::<Object>()?),
                ("datasets".into(), tx.count_all::<Dataset>()?),
                ("jobs".into(), tx.count_all::<Job>()?),
                ("models".into(), tx.count_all::<Model>()?),
                ("endpoints".into(), tx.count_all::<Endpoint>()?),
            ]))
        })
        .map_err(store_fail)
}

/// Counts by state, over all tenants.
fn states<R: store::meta::Record>(
    node: &Node,
    state: impl Fn(&R) -> &'static str,
) -> Result<BTreeMap<Word, u64>, Fail> {
    let mut counts = BTreeMap::new();
    for record in node.every::<R>(|_| true)? {
        let count: &mut u64 = counts.entry(Word::from(state(&record))).or_default();
        *count = count.saturating_add(1);
    }
    Ok(counts)
}

/// Every setting by name, so that a new one does not compile before it was decided here what of it is told.
fn configuration(config: &Config) -> DiagnosticConfiguration {
    let Config {
        version,
        mode: _,
        node: _,
        state: _,
        programs: _,
        users,
        gateway: _,
        management,
        jobs,
        tenants,
        egress,
        login,
        sessions,
        access: _,
        intake,
        release,
        models,
    } = config;
    let oidc = login.oidc.as_ref();
    let count = |n: Option<usize>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    let numbers = BTreeMap::from([
        ("version".into(), u64::from(*version)),
        ("users.keeper".into(), u64::from(users.keeper)),
        ("users.control".into(), u64::from(users.control)),
        ("users.gateway".into(), u64::from(users.gateway)),
        ("users.relay".into(), u64::from(users.relay)),
        ("users.operator".into(), u64::from(users.operator)),
        ("tenants.running_jobs".into(), u64::from(tenants.running_jobs)),
        ("tenants.endpoints".into(), u64::from(tenants.endpoints)),
        ("models.recheck_seconds".into(), u64::from(models.recheck_seconds)),
        ("egress.per_principal".into(), egress.per_principal.bytes()),
        ("egress.total".into(), egress.total.bytes()),
        ("sessions.idle_seconds".into(), u64::from(sessions.idle_seconds)),
        ("sessions.absolute_seconds".into(), u64::from(sessions.absolute_seconds)),
        ("sessions.fresh_seconds".into(), u64::from(sessions.fresh_seconds)),
        ("release.keys".into(), count(release.as_ref().map(|r| r.keys.len()))),
        ("release.threshold".into(), release.as_ref().map_or(0, |r| u64::from(r.threshold))),
        ("intake.sources".into(), count(Some(intake.sources.len()))),
        ("login.oidc.scopes".into(), count(oidc.map(|o| o.scopes.len()))),
        ("login.oidc.grants".into(), count(oidc.map(|o| o.grants.len()))),
    ]);
    let switches = BTreeMap::from([
        ("management".into(), management.is_some()),
        ("jobs.allow_host_image".into(), jobs.allow_host_image),
        ("login.passkeys".into(), login.passkeys.is_some()),
        ("login.oidc".into(), oidc.is_some()),
        ("login.oidc.client_secret_file".into(), oidc.is_some_and(|o| o.client_secret_file.is_some())),
        ("login.oidc.ca_file".into(), oidc.is_some_and(|o| o.ca_file.is_some())),
        (
            "login.oidc.sees_second_factor".into(),
            oidc.is_some_and(|o| !matches!(o.second_factor, SecondFactor::Provider)),
        ),
        ("access.two_people".into(), config.two_people()),
        ("intake.acceptance".into(), config.acceptance() == base::config::Acceptance::Required),
    ]);
    DiagnosticConfiguration { numbers, switches }
}

/// The last run of the probes, if there was one.
fn posture(node: &Node) -> Option<DiagnosticPosture> {
    let (ran, found) = node.posture.last()?;
    let failed = found.controls.iter().filter(|control| control.status == "fail");
    Some(DiagnosticPosture {
        ran: ran.into(),
        totals: found.totals.iter().map(|(status, count)| (Word::among(&STATUSES, status), *count)).collect(),
        failed: failed.filter_map(|control| Word::control(&control.id)).collect(),
    })
}

/// Ends the node in order and starts the machine again.
pub(crate) fn reboot(
    node: &Arc<Node>,
    principal: &Principal,
    request: &NodeReboot,
) -> Result<NodeRebooting, Fail> {
    let reason = reason(&request.reason)?;
    let correlation = correlation()?;
    let active = |job: &Job| !job.state.is_final() && job.state != JobState::Held;
    let serves = |e: &Endpoint| matches!(e.state, EndpointState::Serving | EndpointState::Starting);
    let under_way = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let answer = NodeRebooting {
        state: "restarting".to_owned(),
        jobs: under_way(node.every::<Job>(active)?.len()),
        endpoints: under_way(node.every::<Endpoint>(serves)?.len()),
    };
    let event =
        Event::new(EventKind::NodeReboot, Phase::Intent, Outcome::Unknown, now().as_millis(), correlation)
            .by(principal)
            .because(reason)
            .asset("node", &node.config.node, None)
            .severity(Severity::High)
            .detail("stop_jobs", &request.stop_jobs.to_string())
            .detail("jobs", &answer.jobs.to_string())
            .detail("endpoints", &answer.endpoints.to_string());
    node.keeper.audited(event, || {
        let order = Operation::Reboot { stop_runs: request.stop_jobs };
        node.warden.order(&node.keeper, order, correlation, "", &principal.actor()).map(drop).map_err(helped)
    })?;
    Ok(answer)
}

/// What to do where the warden does not end the node.
pub(crate) fn helped(fail: Fail) -> Fail {
    match fail.code.as_str() {
        "SR-WRD-0020" => fail.help("start the machine again yourself"),
        "SR-WRD-0021" => {
            fail.help("wait until they have ended, or repeat the command with `--stop-jobs` to end them")
        }
        _ => fail,
    }
}

#[cfg(test)]
mod tests {
    use base::Timestamp;

    use super::*;

    #[test]
    fn a_configuration_is_told_without_its_texts() {
        let text = "version = 1\nmode = \"dev\"\nnode = \"planted-node\"\nstate = \"/planted/state\"\n\
            programs = \"/planted/programs\"\n[users]\nkeeper = 1\ncontrol = 2\ngateway = 3\nrelay = 5\noperator = 4\n\
            [gateway]\nlisten = \"127.0.0.1:0\"\n[management]\nlisten = \"127.0.0.1:4711\"\n[jobs]\n\
            [login.passkeys]\nhost = \"planted.example\"\n[login.oidc]\nissuer = \"https://planted.example\"\n\
            client_id = \"planted\"\nclient_secret_file = \"/planted/secret\"\nsecond_factor = \"provider\"\n\
            groups_claim = \"planted\"\n[[login.oidc.grants]]\ngroup = \"planted\"\nrole = \"security\"\n";
        let told = configuration(&Config::parse("test", text).unwrap());
        let json = serde_json::to_string(&api::to_json(&told)).unwrap();
        assert!(!json.contains("planted") && !json.contains("4711"), "{json}");
        assert_eq!(told.numbers[&Word::from("login.oidc.grants")], 1);
        assert!(told.switches[&Word::from("login.oidc.client_secret_file")]);
        assert!(!told.switches[&Word::from("login.oidc.ca_file")]);
    }

    /// What another process says is told by the words that are known here.
    #[test]
    fn a_feature_that_is_not_known_has_no_name() {
        use ops::Text;
        use ops::warden::FeatureState;
        let of = |name: &str| {
            let (name, detail) = (Text::clip(name), Text::clip("planted"));
            feature(&Feature { name, state: FeatureState::Failed, detail })
        };
        assert_eq!(of("seccomp").0.as_str(), "seccomp");
        let (name, state) = of("planted");
        assert_eq!((name.as_str(), state.as_str()), ("other", "failed"));
        let at = Word::from(Timestamp::from_millis(0));
        assert_eq!(at.as_str(), "1970-01-01T00:00:00.000Z");
    }
}
