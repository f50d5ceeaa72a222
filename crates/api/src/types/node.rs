//! Wire types of the node as a whole: diagnostics, and starting the machine again.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base::{Digest, Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::{Document, shape};

/// A word that the platform says: written in its own text, or made of a number, a digest or a time. No other text becomes
/// one, so that no name and no secret can stand where a document has only these. (A client reads them from what a node
/// says.)
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Word(Cow<'static, str>);

impl Word {
    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The one of these that the text is; `other` where it is none.
    pub fn among(words: &[&'static str], text: &str) -> Self {
        words.iter().find(|word| **word == text).copied().unwrap_or("other").into()
    }

    /// A version in numbers, as a text begins with it: `6.18.44` of `6.18.44-1-name`; at most four numbers.
    pub fn version(text: &str) -> Self {
        let numbers = text.split('.').take(4).map_while(|part| {
            let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
            let whole = digits.len() == part.len();
            digits.parse::<u32>().ok().map(|number| (number, whole))
        });
        let mut parts = Vec::new();
        for (number, whole) in numbers {
            parts.push(number.to_string());
            if !whole {
                break;
            }
        }
        Self(if parts.is_empty() { "unknown".into() } else { parts.join(".").into() })
    }

    /// The id of a control of the catalogue, `AC-1`; none of a text that is not of this form.
    pub fn control(id: &str) -> Option<Self> {
        let (family, number) = id.split_once('-')?;
        let fits = family.len() == 2 && family.bytes().all(|b| b.is_ascii_uppercase());
        let number: u16 = number.parse().ok().filter(|_| fits)?;
        Some(Self(format!("{family}-{number}").into()))
    }
}

impl From<&'static str> for Word {
    fn from(word: &'static str) -> Self {
        Self(Cow::Borrowed(word))
    }
}

impl From<Digest> for Word {
    fn from(digest: Digest) -> Self {
        Self(digest.hex().into())
    }
}

impl From<Timestamp> for Word {
    fn from(time: Timestamp) -> Self {
        Self(time.to_string().into())
    }
}

impl JsonSchema for Word {
    fn schema_name() -> Cow<'static, str> {
        "Word".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[ -~]{1,200}$" })
    }
}

wire! {
    /// What the node tells of itself to whoever is to help: numbers and words of the platform's own, nothing that a tenant
    /// or a person chose.
    "strongroom.node.diagnostics/1" pub struct Diagnostics {
        /// When it was collected.
        collected: Word,
        /// Version of the software.
        version: Word,
        /// `dev` or `production`.
        mode: Word,
        /// The machine.
        machine: DiagnosticMachine,
        /// Programs of the platform, as they are executed.
        programs: Vec<DiagnosticProgram>,
        /// Processes of the node.
        processes: Vec<DiagnosticProcess>,
        /// Whether the processes have users of their own.
        separated: bool,
        /// Runs, as the warden has them.
        runs: DiagnosticRuns,
        /// Control groups.
        groups: DiagnosticGroups,
        /// File systems of the node.
        places: Vec<DiagnosticPlace>,
        /// Protections that the host offers or not, by name.
        features: BTreeMap<Word, Word>,
        /// How many there are, by noun.
        holds: BTreeMap<Word, u64>,
        /// Jobs by state.
        jobs: BTreeMap<Word, u64>,
        /// Endpoints by state.
        endpoints: BTreeMap<Word, u64>,
        /// Models by state.
        models: BTreeMap<Word, u64>,
        /// The audit log.
        log: DiagnosticLog,
        /// What is configured, as far as numbers and switches go.
        configuration: DiagnosticConfiguration,
        /// State of the controls, as the probes last found it.
        #[serde(default)]
        posture: Option<DiagnosticPosture>,
        /// What is not here, and why.
        left_out: Vec<Word>,
    }

    /// The machine.
    "strongroom.node.diagnostics.machine/1" pub struct DiagnosticMachine {
        /// Version of the kernel, in numbers.
        kernel: Word,
        /// Kind of processor.
        architecture: Word,
        /// Processors.
        cpus: u32,
        /// Memory.
        memory_bytes: u64,
        /// Memory that programs can still have.
        memory_available_bytes: u64,
        /// Space of swap.
        swap_bytes: u64,
        /// Seconds since the machine started.
        uptime_seconds: u64,
        /// Processes that ran or waited in the last minute, in hundredths.
        load_hundredths: u64,
    }

    /// A program of the platform.
    "strongroom.node.diagnostics.program/1" pub struct DiagnosticProgram {
        /// Its name.
        program: Word,
        /// SHA-256 of its bytes.
        digest: Word,
    }

    /// A process of the node.
    "strongroom.node.diagnostics.process/1" pub struct DiagnosticProcess {
        /// Which.
        process: Word,
        /// running, waiting (to be started again), given-up, down (in safe mode, the gateway).
        state: Word,
        /// Times that it was started again within the last minute.
        restarts: u32,
        /// Its number, where it runs.
        #[serde(default)]
        pid: Option<u32>,
        /// Its effective user.
        #[serde(default)]
        uid: Option<u32>,
        /// Its effective group.
        #[serde(default)]
        gid: Option<u32>,
        /// Effective capabilities: a bit for each (capabilities(7)).
        #[serde(default)]
        capabilities: Option<u64>,
        /// Capabilities that it can ever have.
        #[serde(default)]
        bounding: Option<u64>,
        /// Whether it can gain no privilege by what it executes.
        #[serde(default)]
        no_new_privileges: Option<bool>,
        /// 0 without a system-call filter, 2 with one.
        #[serde(default)]
        seccomp: Option<u8>,
        /// Its threads.
        #[serde(default)]
        threads: Option<u32>,
        /// Bytes of memory that it holds.
        #[serde(default)]
        resident_bytes: Option<u64>,
    }

    /// Runs.
    "strongroom.node.diagnostics.runs/1" pub struct DiagnosticRuns {
        /// By kind and state.
        counts: Vec<DiagnosticRunCount>,
        /// Most at a time.
        most: u32,
        /// Processes of all workloads.
        processes: u32,
        /// Inputs that are mounted read-only for good.
        mounts_frozen: u32,
        /// Inputs that are being filled.
        mounts_filling: u32,
        /// Plaintext bytes of all inputs, in memory.
        input_bytes: u64,
        /// Writable scratches.
        scratches: u32,
        /// Outcomes of orders that wait for the keeper.
        outcomes_waiting: u32,
    }

    /// How many runs there are of a kind in a state.
    "strongroom.node.diagnostics.run/1" pub struct DiagnosticRunCount {
        /// training or serving.
        kind: Word,
        /// filling, ready, running, frozen, ended.
        state: Word,
        /// How many.
        count: u32,
    }

    /// Control groups.
    "strongroom.node.diagnostics.groups/1" pub struct DiagnosticGroups {
        /// Which hierarchy has each controller: v1, v2, absent.
        controllers: BTreeMap<Word, Word>,
        /// Whether one write ends every process of a group.
        kill: bool,
        /// Groups of runs that exist; more than there are runs are remains.
        groups: u32,
    }

    /// The file system at a place of the node.
    "strongroom.node.diagnostics.place/1" pub struct DiagnosticPlace {
        /// state, log, programs.
        place: Word,
        /// Its kind.
        file_system: Word,
        /// Its bytes.
        total_bytes: u64,
        /// Bytes that are left.
        free_bytes: u64,
        /// Files that it can still take; 0 where it does not count them.
        free_files: u64,
        /// Whether it is mounted read-only.
        read_only: bool,
        /// Whether set-user-id programs gain nothing there.
        nosuid: bool,
        /// Whether nothing is executed from there.
        noexec: bool,
    }

    /// The audit log.
    "strongroom.node.diagnostics.log/1" pub struct DiagnosticLog {
        /// Its entries.
        entries: u64,
        /// Its root.
        root: Word,
    }

    /// What is configured. A setting that is not a number or a switch is not here.
    "strongroom.node.diagnostics.configuration/1" pub struct DiagnosticConfiguration {
        /// Numbers: users of the processes, shares, caps, times, and how many of each thing there are.
        numbers: BTreeMap<Word, u64>,
        /// Switches, and whether something is set at all.
        switches: BTreeMap<Word, bool>,
    }

    /// State of the controls.
    "strongroom.node.diagnostics.posture/1" pub struct DiagnosticPosture {
        /// When the probes ran.
        ran: Word,
        /// Count by status.
        totals: BTreeMap<Word, u64>,
        /// Controls that failed.
        failed: Vec<Word>,
    }

    /// The machine is to start again.
    "strongroom.node.reboot/1" pub struct NodeRebooting {
        /// `restarting`: the node ends in order, then the machine starts again.
        #[schemars(with = "Word")]
        state: String,
        /// Jobs that were under way; they go on from their newest checkpoint.
        jobs: u64,
        /// Endpoints that were serving; they are deployed again.
        endpoints: u64,
    }
}

request! {
    /// Starts the machine again.
    pub struct NodeReboot {
        /// Why, for the log.
        #[schemars(with = "shape::Reason")]
        reason: String,
        /// Whether jobs and endpoints that are under way are ended with the node.
        #[serde(default)]
        stop_jobs: bool,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every text in the schema of a document, by where it stands.
    fn texts(schema: &serde_json::Value, at: &str, found: &mut Vec<(String, serde_json::Value)>) {
        match schema {
            serde_json::Value::Object(map) => {
                let kind = map.get("type");
                let is_text = |v: &serde_json::Value| v == "string";
                if kind.is_some_and(|k| is_text(k) || k.as_array().is_some_and(|a| a.iter().any(is_text))) {
                    found.push((at.to_owned(), schema.clone()));
                }
                map.iter().for_each(|(name, inner)| texts(inner, &format!("{at}/{name}"), found));
            }
            serde_json::Value::Array(all) => all.iter().for_each(|inner| texts(inner, at, found)),
            _ => {}
        }
    }

    #[test]
    fn diagnostics_hold_no_text_but_words() {
        let mut generator = SchemaGenerator::default();
        let schema = generator.root_schema_for::<Diagnostics>();
        let mut found = Vec::new();
        texts(&schema.to_value(), "", &mut found);
        let places: Vec<&str> = found.iter().map(|(at, _)| at.as_str()).collect();
        assert_eq!(places, ["/$defs/Word"], "a text that is no word: {found:?}");
        // The control: of a document with a name in it, the name is found.
        let mut found = Vec::new();
        texts(&SchemaGenerator::default().root_schema_for::<crate::Feature>().to_value(), "", &mut found);
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn no_text_of_others_becomes_a_word() {
        for (text, word) in [
            ("6.18.44", "6.18.44"),
            ("6.18.44-acme-secret", "6.18.44"),
            ("6.1.0-13-cloud-amd64", "6.1.0"),
            ("6.acme.1", "6"),
            ("6x.2", "6"),
            ("acme", "unknown"),
            ("", "unknown"),
            ("1.2.3.4.5", "1.2.3.4"),
            ("99999999999", "unknown"),
        ] {
            assert_eq!(Word::version(text).as_str(), word, "{text}");
        }
        assert_eq!(Word::among(&["a", "b"], "b").as_str(), "b");
        assert_eq!(Word::among(&["a", "b"], "acme").as_str(), "other");
        assert_eq!(Word::control("AC-1").unwrap().as_str(), "AC-1");
        for text in ["acme", "AC-", "AC-acme", "ACME-1", "ac-1", "AC-1-acme", "AC-99999", "AC-+1x"] {
            assert!(Word::control(text).is_none(), "{text}");
        }
    }
}
