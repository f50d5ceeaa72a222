use ops::event::{EventKind, Phase};

use super::*;

fn stamp(index: u64) -> Stamp<'static> {
    Stamp {
        index: LeafIndex::new(index),
        sequence: index,
        chain: "dev.strongroom.local/audit/n/t/acme",
        uid: EventId::from_bits(0x0190_0000_0000_7000_8000_0000_0000_0001),
        logged_ms: 1_795_000_000_001,
        mono_ns: u64::MAX,
        boot_id: &[7; 16],
        sender: "control",
        sender_uid: 991,
        node: "n",
        version: "0.1.0",
        generation: Some((7, sha256(b"generation"))),
    }
}

fn full(kind: EventKind, phase: Phase, outcome: Outcome) -> Event {
    Event::new(kind, phase, outcome, 1_795_000_000_000, 77)
        .tenant("acme")
        .actor("key:\"quoted\"\u{1}\n")
        .asset("model", "m\\1€😂", Some(sha256(b"a")))
        .bom(sha256(b"b"))
        .because("because\tof this")
        .detail("z_last", "2")
        .detail("a_first", "1")
        .detail("😂", "utf-16 order differs from utf-8 here")
        .detail("\u{fb33}", "x")
}

#[test]
fn every_kind_is_canonical_json_in_every_phase() {
    for kind in EventKind::ALL {
        for phase in Phase::ALL {
            for outcome in Outcome::ALL {
                for event in [full(*kind, *phase, *outcome), Event::new(*kind, *phase, *outcome, u64::MAX, 0)]
                {
                    let entry = encode(&event, &stamp(5));
                    let value: serde_json::Value = serde_json::from_slice(&entry).unwrap();
                    let canonical = base::jcs::to_vec(&value).unwrap();
                    assert_eq!(
                        String::from_utf8(entry.clone()).unwrap(),
                        String::from_utf8(canonical).unwrap(),
                        "{kind}"
                    );
                    let parsed = parse(&entry).unwrap();
                    assert_eq!(parsed.event, kind.name());
                    assert_eq!((parsed.index, parsed.sequence), (5, 5));
                    assert_eq!(parsed.tenant, event.tenant.as_str());
                }
            }
        }
    }
}

#[test]
fn an_event_that_would_be_too_long_keeps_the_digest_of_its_details() {
    let mut event = full(EventKind::ModelInspect, Phase::Outcome, Outcome::Refused);
    for i in 0..40 {
        event = event.detail(&format!("d{i}"), &"\u{1}".repeat(1024));
    }
    let entry = encode(&event, &stamp(1));
    assert!(entry.len() <= ENTRY_MAX);
    let text = String::from_utf8(entry).unwrap();
    assert!(text.contains("\"details_omitted\":true") && text.contains("details_digest"));
}

#[test]
fn ids_are_in_the_form_of_rfc_9562() {
    assert_eq!(uuid(stamp(0).uid), "01900000-0000-7000-8000-000000000001");
}

#[test]
fn the_tenant_is_part_of_the_chain() {
    assert_eq!(chain("o", ""), "o");
    assert_eq!(chain("o", "acme"), "o/t/acme");
}
