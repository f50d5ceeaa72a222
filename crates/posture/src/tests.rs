use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::{CONTROL_COUNT, Catalogue, NO_PROBE, Outcome, Posture, PostureError, Status};

fn outcome(status: Status) -> Outcome {
    Outcome { status, reason: "seen".into(), evidence: vec!["probe x".into()] }
}

#[test]
fn the_embedded_catalogue_is_whole() {
    let catalogue = Catalogue::load().unwrap();
    assert_eq!(catalogue.controls().len(), CONTROL_COUNT);
    for control in catalogue.controls() {
        assert!(!control.statement.is_empty() && !control.probe.is_empty(), "{}", control.id);
    }
    let areas: BTreeSet<&str> = catalogue.controls().iter().map(|control| control.area()).collect();
    assert_eq!(
        areas.into_iter().collect::<Vec<_>>(),
        ["AC", "AU", "DP", "IA", "IN", "IR", "IS", "MB", "RE", "TR"]
    );
    assert!(catalogue.get("TR-1").is_some() && catalogue.get("TR-999").is_none());
}

#[test]
fn a_broken_catalogue_is_refused() {
    let one = r#"{"id":"A-1","statement":"s","probe":"p","maps":[],"origin":"S"}"#;
    for text in ["[]".to_owned(), format!("[{one},{one}]"), "{}".to_owned(), one.replace("\"maps\":[],", "")]
    {
        assert!(matches!(Catalogue::parse(&text), Err(PostureError::Catalogue(_))), "{text}");
    }
}

#[test]
fn what_was_not_looked_at_is_unknown() {
    let catalogue = Catalogue::load().unwrap();
    let posture = Posture::from_results(&catalogue, BTreeMap::new()).unwrap();
    assert_eq!(posture.counts().unknown, CONTROL_COUNT);
    assert!(posture.rows().iter().all(|row| row.outcome.reason == NO_PROBE));
}

#[test]
fn results_that_say_too_much_are_refused() {
    let catalogue = Catalogue::load().unwrap();
    let build = |id: &str, outcome: Outcome| {
        Posture::from_results(&catalogue, BTreeMap::from([(id.to_owned(), outcome)])).map(drop)
    };
    assert_eq!(build("TR-1", outcome(Status::Pass)), Ok(()));
    assert_eq!(build("XX-1", outcome(Status::Pass)), Err(PostureError::UnknownControl("XX-1".into())));
    for evidence in [vec![], vec![" ".to_owned()]] {
        let bare = Outcome { evidence, ..outcome(Status::Pass) };
        assert_eq!(build("TR-1", bare), Err(PostureError::NoEvidence("TR-1".into())));
    }
    let silent = Outcome { reason: " ".into(), ..outcome(Status::Fail) };
    assert_eq!(build("TR-1", silent), Err(PostureError::NoReason("TR-1".into())));
}

#[test]
fn the_table_has_a_line_for_each_control_and_the_counts() {
    let catalogue = Catalogue::load().unwrap();
    let results = BTreeMap::from([("AC-1".to_owned(), outcome(Status::Fail))]);
    let text = Posture::from_results(&catalogue, results).unwrap().to_text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), CONTROL_COUNT + 2);
    assert!(
        lines[0].starts_with("AC-1 ") && lines[0].contains("fail") && lines[0].ends_with("seen [probe x]")
    );
    assert_eq!(
        *lines.last().unwrap(),
        "108 controls: 0 pass, 1 fail, 0 manual, 0 not applicable, 107 unknown"
    );
}

proptest! {
    #[test]
    fn the_total_is_always_the_catalogue(results in prop::collection::btree_map(0..CONTROL_COUNT, 0..5_usize, 0..CONTROL_COUNT)) {
        let catalogue = Catalogue::load().unwrap();
        let given: BTreeMap<String, Outcome> = results
            .iter()
            .map(|(at, status)| (catalogue.controls()[*at].id.clone(), outcome(Status::ALL[*status])))
            .collect();
        let posture = Posture::from_results(&catalogue, given).unwrap();
        prop_assert_eq!(posture.rows().len(), CONTROL_COUNT);
        prop_assert_eq!(posture.counts().total(), CONTROL_COUNT);
        let passed = results.values().filter(|status| Status::ALL[**status] == Status::Pass).count();
        prop_assert_eq!(posture.counts().pass, passed);
        for (row, control) in posture.rows().iter().zip(catalogue.controls()) {
            prop_assert_eq!(&row.id, &control.id);
        }
    }
}
