//! One entry of the log: an event as OCSF 1.8.0 in canonical JSON.

use std::collections::BTreeMap;

use base::id::{CorrelationId, EventId};
use base::{Digest, sha256};
use ops::event::{Event, Outcome, Severity};

use crate::json::Object;
use crate::limits::ENTRY_MAX;
use crate::ocsf::{self, Class, Form};
use crate::tree::LeafIndex;

/// What the keeper adds to an event; the sender cannot set it.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// Position in the log.
    pub index: LeafIndex,
    /// Position in the chain, from 0 without gaps.
    pub sequence: u64,
    /// The chain: [`chain`].
    pub chain: &'a str,
    /// The event's own id.
    pub uid: EventId,
    /// Commit time, Unix milliseconds, by the keeper's clock.
    pub logged_ms: u64,
    /// The keeper's monotonic clock, nanoseconds.
    pub mono_ns: u64,
    /// This boot of the keeper.
    pub boot_id: &'a [u8; 16],
    /// The process that the event came from, by its peer credentials: `control`, `gateway`, `warden`, `keeper`.
    pub sender: &'a str,
    /// User id of that process.
    pub sender_uid: u32,
    /// The node.
    pub node: &'a str,
    /// Version of the platform.
    pub version: &'a str,
    /// Generation of the metadata database when the event was told, and its hash; none where the sender has none.
    pub generation: Option<(u64, Digest)>,
}

/// The chain of a tenant's entries, or of the platform's own if `tenant` is empty.
pub fn chain(origin: &str, tenant: &str) -> String {
    if tenant.is_empty() { origin.to_owned() } else { format!("{origin}/t/{tenant}") }
}

/// The entry's bytes, at most [`ENTRY_MAX`]: where details would make it longer, their digest stands for them.
pub fn encode(event: &Event, stamp: &Stamp<'_>) -> Vec<u8> {
    let entry = write(event, stamp, Details::Whole);
    if entry.len() <= ENTRY_MAX {
        return entry;
    }
    // Without details, an entry has at most 3 KiB of texts, six times that when every byte is escaped.
    write(event, stamp, Details::Digest)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Details {
    Whole,
    Digest,
}

fn write(event: &Event, stamp: &Stamp<'_>, details: Details) -> Vec<u8> {
    let class = ocsf::class_of(event.kind);
    let mut out = Vec::with_capacity(1536);
    Object::write(&mut out, |o| {
        o.int("activity_id", class.activity);
        if let Some(name) = class.other {
            o.text("activity_name", name);
        }
        first_half(o, event, stamp, class);
        o.text("message", &format!("{} {}", event.kind, said(event)));
        if class.form == Form::AiApi {
            o.object("message_context", |o| {
                o.object("service", |o| o.text("name", "strongroom-gateway"));
            });
        }
        metadata(o, event, stamp, class);
        second_half(o, event, stamp, class);
        status(o, event, class);
        o.int("time", event.time_ms);
        o.int("type_uid", class.type_uid());
        o.object("unmapped", |o| o.object("strongroom", |o| own(o, event, stamp, details)));
        if matches!(class.form, Form::Account | Form::Authentication | Form::UserAccess) {
            o.object("user", |o| o.text("name", asset_name(event, stamp)));
        }
    });
    out
}

/// The outcome in a word: an intent has none yet.
fn said(event: &Event) -> &'static str {
    match event.phase {
        ops::event::Phase::Intent => "intent",
        _ => event.outcome.name(),
    }
}

/// The asset's id, or what comes nearest: OCSF asks for a name wherever it asks for an object.
fn asset_name<'a>(event: &'a Event, stamp: &Stamp<'a>) -> &'a str {
    [event.asset_id.as_str(), event.tenant.as_str()].into_iter().find(|t| !t.is_empty()).unwrap_or(stamp.node)
}

fn actor(o: &mut Object<'_>, event: &Event, stamp: &Stamp<'_>) {
    o.object("actor", |o| {
        o.text("app_name", stamp.sender);
        o.object("user", |o| o.text("name", if event.actor.is_empty() { "platform" } else { &event.actor }));
    });
}

fn device(o: &mut Object<'_>, stamp: &Stamp<'_>) {
    o.object("device", |o| {
        o.text("name", stamp.node);
        o.int("type_id", 1);
    });
}

/// The members of the class whose names sort before `message`.
fn first_half(o: &mut Object<'_>, event: &Event, stamp: &Stamp<'_>, class: Class) {
    let named = |o: &mut Object<'_>| {
        o.text("name", asset_name(event, stamp));
        o.text_if("type", &event.asset_kind);
    };
    if matches!(class.form, Form::Application | Form::Scan | Form::Finding | Form::Compliance) {
        // These classes have no actor in 1.8.0; it stands under `unmapped`.
    } else {
        actor(o, event, stamp);
    }
    if class.form == Form::AiApi {
        o.object("ai_model", |o| {
            o.text("ai_provider", "strongroom");
            o.text("name", asset_name(event, stamp));
            if let Some(digest) = &event.asset_digest {
                o.text("uid", &digest.hex());
            }
        });
    }
    if matches!(class.form, Form::Api | Form::AiApi) {
        o.object("api", |o| {
            o.text("operation", event.kind.name());
            o.object("service", |o| o.text("name", "strongroom"));
        });
    }
    if class.form == Form::Application {
        o.object("app", |o| o.text("name", asset_name(event, stamp)));
    }
    o.int("category_uid", class.category());
    o.int("class_uid", class.uid);
    if class.form == Form::Compliance {
        o.object("compliance", |o| {
            o.texts("standards", &["independent catalogue based on public descriptions of TS 104 033"]);
        });
    }
    if class.form == Form::Datastore {
        o.object("databucket", |o| {
            named(o);
            o.int("type_id", 99);
        });
    }
    if matches!(class.form, Form::Job | Form::Module | Form::Process) {
        device(o, stamp);
    }
    if class.form == Form::Entity {
        o.object("entity", named);
    }
    if matches!(class.form, Form::Finding | Form::Compliance) {
        o.object("finding_info", |o| {
            o.text("title", event.kind.name());
            o.text("uid", &uuid(stamp.uid));
        });
    }
    if class.form == Form::Job {
        o.object("job", |o| o.text("name", asset_name(event, stamp)));
    }
    if class.form == Form::Log {
        o.text("log_name", stamp.chain);
    }
}

/// The members of the class whose names sort between `metadata` and `status_code`.
fn second_half(o: &mut Object<'_>, event: &Event, stamp: &Stamp<'_>, class: Class) {
    if class.form == Form::Module {
        o.object("module", |o| {
            o.object("file", |o| {
                o.text("name", asset_name(event, stamp));
                o.int("type_id", 1);
            });
            o.int("load_type_id", 1);
        });
    }
    if class.form == Form::UserAccess {
        let role = event.details.iter().find(|detail| detail.key.as_str() == "role");
        o.texts("privileges", &[role.map_or("unknown", |role| role.value.as_str())]);
    }
    if class.form == Form::Process {
        o.object("process", |o| {
            o.text("name", "sandbox");
            o.text("uid", asset_name(event, stamp));
        });
    }
    if matches!(class.form, Form::Api | Form::AiApi) {
        o.one("resources", |o| {
            o.text("name", asset_name(event, stamp));
            o.text_if("type", &event.asset_kind);
        });
    }
    if class.form == Form::Scan {
        o.object("scan", |o| {
            o.text("name", asset_name(event, stamp));
            o.int("type_id", 1);
        });
    }
    if class.form == Form::Authentication {
        o.object("service", |o| o.text("name", "strongroom"));
    }
    o.int("severity_id", severity(event.severity));
    if matches!(class.form, Form::Api | Form::AiApi | Form::Datastore) {
        o.object("src_endpoint", |o| {
            o.text("name", stamp.node);
            o.text("svc_name", stamp.sender);
        });
    }
}

fn metadata(o: &mut Object<'_>, event: &Event, stamp: &Stamp<'_>, class: Class) {
    o.object("metadata", |o| {
        o.text("correlation_uid", &CorrelationId::from_bits(event.correlation).to_string());
        o.text("log_name", stamp.chain);
        o.int("logged_time", stamp.logged_ms);
        o.object("product", |o| {
            o.text("name", "Strongroom");
            o.text("vendor_name", "Strongroom");
            o.text("version", stamp.version);
        });
        o.texts("profiles", if class.form == Form::AiApi { &["ai_operation"] } else { &[] });
        o.int("sequence", stamp.sequence);
        o.text_if("tenant_uid", &event.tenant);
        o.text("uid", &uuid(stamp.uid));
        o.text("version", ocsf::VERSION);
    });
}

fn status(o: &mut Object<'_>, event: &Event, class: Class) {
    o.text("status_code", said(event));
    o.text_if("status_detail", &event.reason);
    // A finding has a life of its own, in which it is new (1); other classes say success or failure.
    let finding = matches!(class.form, Form::Finding | Form::Compliance);
    o.int(
        "status_id",
        match (finding, event.outcome) {
            (true, _) | (false, Outcome::Success) => 1,
            (false, Outcome::Unknown) => 0,
            (false, Outcome::Failure | Outcome::Refused) => 2,
        },
    );
}

/// What OCSF has no place for.
fn own(o: &mut Object<'_>, event: &Event, stamp: &Stamp<'_>, details: Details) {
    o.text("actor", &event.actor);
    o.object("asset", |o| {
        if let Some(digest) = &event.bom_digest {
            o.text("bom_digest", &digest.hex());
        }
        if let Some(digest) = &event.asset_digest {
            o.text("digest", &digest.hex());
        }
        o.text_if("id", &event.asset_id);
        o.text_if("kind", &event.asset_kind);
    });
    o.text("boot_id", &base::digest::hex(stamp.boot_id));
    if details == Details::Digest {
        let all = ops::to_bytes(&event.details);
        o.text("details_digest", &sha256(&all).hex());
        o.yes("details_omitted");
    } else if !event.details.is_empty() {
        // A later detail of the same name is the one that counts.
        let sorted: BTreeMap<Vec<u16>, _> =
            event.details.iter().map(|d| (d.key.encode_utf16().collect(), d)).collect();
        o.object("details", |o| {
            for detail in sorted.values() {
                o.text(&detail.key, &detail.value);
            }
        });
    }
    o.text("event", event.kind.name());
    if let Some((g, hash)) = &stamp.generation {
        o.object("generation", |o| {
            o.int("g", *g);
            o.text("hash", &hash.hex());
        });
    }
    o.int("index", stamp.index.get());
    o.text("mono_ns", &stamp.mono_ns.to_string());
    o.text("node", stamp.node);
    o.text("outcome", event.outcome.name());
    o.text("phase", event.phase.name());
    o.object("sender", |o| {
        o.text("role", stamp.sender);
        o.int("uid", stamp.sender_uid.into());
    });
}

const fn severity(severity: Severity) -> u64 {
    match severity {
        Severity::Informational => 1,
        Severity::Low => 2,
        Severity::Medium => 3,
        Severity::High => 4,
        Severity::Critical => 5,
    }
}

/// The id's 128 bits in the form of RFC 9562: `xxxxxxxx-xxxx-7xxx-xxxx-xxxxxxxxxxxx`.
fn uuid(id: EventId) -> String {
    let b = id.bits();
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        b >> 96,
        (b >> 80) & 0xffff,
        (b >> 64) & 0xffff,
        (b >> 48) & 0xffff,
        b & 0xffff_ffff_ffff
    )
}

/// What the keeper needs of a stored entry when it opens its log, and verification of every entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The chain's own position.
    pub sequence: u64,
    /// The chain.
    pub chain: String,
    /// Position in the log as the entry says.
    pub index: u64,
    /// Tenant, empty for the platform.
    pub tenant: String,
    /// Name of the kind of event.
    pub event: String,
    /// Phase.
    pub phase: String,
    /// Correlation id as text.
    pub correlation: String,
    /// Generation of the metadata database and its hash, if the entry has one.
    pub generation: Option<(u64, Digest)>,
}

#[derive(serde::Deserialize)]
struct Wire {
    metadata: WireMetadata,
    unmapped: WireUnmapped,
}
#[derive(serde::Deserialize)]
struct WireMetadata {
    sequence: u64,
    log_name: String,
    #[serde(default)]
    tenant_uid: String,
    correlation_uid: String,
}
#[derive(serde::Deserialize)]
struct WireUnmapped {
    strongroom: WireOwn,
}
#[derive(serde::Deserialize)]
struct WireOwn {
    event: String,
    index: u64,
    phase: String,
    #[serde(default)]
    generation: Option<WireGeneration>,
}
#[derive(serde::Deserialize)]
struct WireGeneration {
    g: u64,
    hash: Digest,
}

/// Reads what the platform itself needs of an entry; `None` if it is not one of ours.
pub fn parse(entry: &[u8]) -> Option<Parsed> {
    let Wire { metadata, unmapped: WireUnmapped { strongroom } } = serde_json::from_slice(entry).ok()?;
    Some(Parsed {
        sequence: metadata.sequence,
        chain: metadata.log_name,
        index: strongroom.index,
        tenant: metadata.tenant_uid,
        event: strongroom.event,
        phase: strongroom.phase,
        correlation: metadata.correlation_uid,
        generation: strongroom.generation.map(|g| (g.g, g.hash)),
    })
}

#[cfg(test)]
mod tests;
