use base::Digest;
use ops::event::{Event, Outcome, Phase};
use ops::keeper::{Generation, Scope, SignKind};
use ops::recovery::Act;
use ops::{List, Text};

use super::*;

fn requests() -> Vec<Request> {
    let scope = Scope { tenant: Text::clip("acme"), job: None };
    let digest = Digest::from_bytes([1; 32]);
    let event = Event::new(EventKind::WardenOrder, Phase::Intent, Outcome::Unknown, 0, 0);
    let generation = Generation { g: 1, hash: digest };
    let all = vec![
        Request::Hello { role: Role::Control },
        Request::Status {},
        Request::Append { events: List::default() },
        Request::CreateScope { scope: scope.clone(), correlation: 0 },
        Request::Wrap { scope: scope.clone(), dek: ops::Key32::new(&[0; 32]), digest },
        Request::Unwrap {
            scope: scope.clone(),
            name: digest,
            blob: [0; 60],
            kek_version: 1,
            actor: Text::default(),
            purpose: Text::default(),
            correlation: 0,
        },
        Request::Sign {
            kind: SignKind::Model,
            digest,
            tenant: Text::default(),
            subject: Text::default(),
            correlation: 0,
        },
        Request::Authorise { operation: digest, event },
        Request::ObjectName { scope, digest },
        Request::AppendBound { events: List::default(), generation },
        Request::Bound {},
        Request::Recovery {},
        Request::EnterSafe { reason: Text::default(), actor: Text::default(), correlation: 0 },
        Request::Recover {
            act: Act::Leave { reason: Text::default() },
            proofs: List::default(),
            actor: Text::default(),
            correlation: 0,
        },
        Request::CloseWindow { actor: Text::default(), correlation: 0 },
    ];
    // A new request does not pass before it stands here and in the table below.
    assert_eq!(all.iter().map(Request::tag).collect::<Vec<_>>(), Request::TAGS);
    all
}

#[test]
fn keys_and_receipts_are_for_control_alone() {
    let table: Vec<(&str, [bool; 4])> = requests()
        .iter()
        .map(|r| {
            (
                operation(r).0,
                [Role::Control, Role::Gateway, Role::Warden, Role::Relay]
                    .map(|role| may_ask(role, r).is_ok()),
            )
        })
        .collect();
    assert_eq!(
        table,
        [
            ("hello", [true, true, true, true]),
            ("status", [true, true, true, true]),
            ("append", [true, true, true, true]),
            ("create scope", [true, false, false, false]),
            ("wrap", [true, false, false, false]),
            ("unwrap", [true, false, false, false]),
            ("sign", [true, false, false, false]),
            ("authorise", [true, false, false, false]),
            ("object name", [true, false, false, false]),
            ("append with a generation", [true, false, false, false]),
            ("generation", [true, false, false, false]),
            ("recovery", [true, true, true, false]),
            ("enter safe mode", [true, false, true, false]),
            ("recover", [true, false, false, false]),
            ("close break-glass", [true, false, false, false]),
        ]
    );
}

#[test]
fn nobody_reports_what_the_keeper_does() {
    for role in Role::ALL.iter().copied() {
        for kind in [
            EventKind::KeyRelease,
            EventKind::SafeModeLeave,
            EventKind::ScopeCreate,
            EventKind::LogTailDropped,
        ] {
            assert!(may_report(role, kind).is_err());
        }
    }
    assert!(may_report(Role::Gateway, EventKind::Inference).is_ok());
    assert!(may_report(Role::Gateway, EventKind::ModelImport).is_err());
    assert!(may_report(Role::Warden, EventKind::JobFinish).is_err());
    assert!(may_report(Role::Control, EventKind::JobFinish).is_ok());
    assert!(may_report(Role::Relay, EventKind::EgressOpen).is_ok());
    assert!(may_report(Role::Relay, EventKind::EgressAlarm).is_err());
    // What left is the relay's word: control cannot say that of its own connections.
    assert!(may_report(Role::Control, EventKind::EgressOpen).is_err());
    assert!(may_report(Role::Control, EventKind::EgressClose).is_err());
}

#[test]
fn with_users_of_their_own_the_kernel_decides_the_role() {
    let users = Users { keeper: 10, control: 11, gateway: 12, relay: 13, operator: 1000 };
    assert!(separated(&users, 10));
    for (uid, claimed, allowed) in [
        (11, Role::Control, true),
        (12, Role::Gateway, true),
        (13, Role::Relay, true),
        (13, Role::Control, false),
        (11, Role::Relay, false),
        (0, Role::Warden, true),
        (12, Role::Control, false),
        (11, Role::Warden, false),
        (0, Role::Control, false),
        (10, Role::Control, false),
        (1000, Role::Control, false),
        (1000, Role::Warden, false),
    ] {
        assert_eq!(role_of(uid, claimed, &users, 10).is_ok(), allowed, "{uid} {claimed}");
    }
}

#[test]
fn under_one_user_separation_has_failed_and_strangers_are_still_refused() {
    let users = Users { keeper: 5, control: 5, gateway: 5, relay: 5, operator: 5 };
    assert!(!separated(&users, 5));
    assert!(role_of(5, Role::Control, &users, 5).is_ok());
    assert!(role_of(6, Role::Control, &users, 5).is_err());
    let as_root = Users { keeper: 10, control: 11, gateway: 0, relay: 13, operator: 0 };
    assert!(!separated(&as_root, 10));
    let users = Users { keeper: 10, control: 11, gateway: 12, relay: 13, operator: 0 };
    assert!(!separated(&users, 99));
}

#[test]
fn only_users_with_a_role_are_connected_at_all() {
    let users = Users { keeper: 11, control: 12, gateway: 13, relay: 14, operator: 1000 };
    for (uid, expected) in
        [(0, true), (12, true), (13, true), (14, true), (1000, false), (11, false), (65534, false)]
    {
        assert_eq!(may_connect(uid, &users, 11), expected, "{uid}");
    }
    // One user for everything: that one, and root.
    let single = Users { keeper: 1000, control: 1000, gateway: 1000, relay: 1000, operator: 1000 };
    for (uid, expected) in [(0, true), (1000, true), (65534, false)] {
        assert_eq!(may_connect(uid, &single, 1000), expected, "{uid}");
    }
}
