use super::*;

static RISKY: Rule = Rule {
    code: "TEST-1",
    severity: Severity::Risk,
    risk: Some(Risk::Hdf5),
    title: "a risk with a name",
    remedy: CONVERT,
};
static NAMELESS: Rule = Rule {
    code: "TEST-2",
    severity: Severity::Risk,
    risk: None,
    title: "a risk without a name",
    remedy: CONVERT,
};

fn report(rules: &[&'static Rule]) -> Report {
    let mut report = Report::new(Format::Text);
    for rule in rules {
        report.push(Finding::new(rule, 0, "seen"));
    }
    report
}

#[test]
fn a_risk_needs_a_policy_and_a_refusal_beats_it() {
    assert_eq!(report(&[&NESTED_PLAIN]).verdict, Verdict::Load);
    let risky = report(&[&RISKY, &NESTED_PLAIN]);
    assert_eq!(risky.verdict, Verdict::LoadWithPolicy);
    assert_eq!(risky.risks().collect::<Vec<_>>(), [Risk::Hdf5]);
    for order in [[&RISKY, &UNKNOWN], [&UNKNOWN, &RISKY]] {
        let refused = report(&order);
        assert_eq!(refused.verdict, Verdict::Refuse);
        assert_eq!(refused.risks().collect::<Vec<_>>(), [Risk::Hdf5], "the risk stays named");
    }
}

#[test]
fn a_risk_without_a_name_refuses() {
    assert_eq!(report(&[&NAMELESS]).verdict, Verdict::Refuse);
    for rule in RULES {
        assert_eq!(rule.severity == Severity::Risk, rule.risk.is_some(), "{}", rule.code);
    }
}

#[test]
fn a_risk_is_kept_where_its_finding_is_not() {
    let mut report = Report::new(Format::Text);
    for _ in 0..limits::FINDINGS {
        report.push(Finding::new(&NESTED_PLAIN, 0, "seen"));
    }
    report.push(Finding::new(&RISKY, 0, "seen"));
    assert_eq!(report.findings.len(), limits::FINDINGS);
    assert_eq!((report.verdict, report.risks().count()), (Verdict::LoadWithPolicy, 1));
}

#[test]
fn risks_are_told_by_their_words() {
    for risk in Risk::ALL {
        assert_eq!(Risk::from_name(risk.as_str()), Some(*risk));
    }
    assert_eq!(Risk::from_name("HDF5"), None);
    assert!(Risk::ALL.is_sorted());
}

#[test]
fn codes_are_in_order_and_occur_once() {
    assert!(RULES.is_sorted_by(|a, b| a.code < b.code));
}

#[test]
fn risks_are_named_as_a_policy_accepts_them() {
    let mut found = report(&[&RISKY, &PICKLE_GLOBAL]);
    // Where no pair is known, what stands there is no risk that a policy can list.
    assert_eq!(found.accepted_as().into_iter().collect::<Vec<_>>(), ["hdf5", "pickle-global"]);
    found.add_globals(BTreeSet::from([("mine".to_owned(), "Net".to_owned())]));
    assert_eq!(found.accepted_as().into_iter().collect::<Vec<_>>(), ["hdf5", "pickle-global:mine:Net"]);
    assert!(report(&[&NESTED_PLAIN]).accepted_as().is_empty());
}
