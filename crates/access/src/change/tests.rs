use super::*;

const BEFORE: &str = "@id(\"stays\") permit (principal in Role::\"deployer\", action == Action::\"job.list\", resource);
@id(\"goes\") forbid (principal, action == Action::\"model.export\", resource in Tenant::\"acme\");
@id(\"turns\") forbid (principal, action == Action::\"image.list\", resource) when { resource in Tenant::\"globex\" };";

const AFTER: &str = "// A comment, and another layout.
@id(\"stays\")
permit (
    principal in Role::\"deployer\",
    action == Action::\"job.list\",
    resource
);
@id(\"turns\") forbid (principal, action == Action::\"image.list\", resource);
@id(\"comes\") permit (principal in Role::\"deployer\", action == Action::\"dataset.list\", resource);";

fn rights(change: &Change) -> Vec<String> {
    let right = |r: &Right| {
        let sign = if r.allowed { '+' } else { '-' };
        format!("{sign} {} {} {}", r.tenant.as_deref().unwrap_or("any"), r.role, r.operation)
    };
    change.rights.iter().map(right).collect()
}

#[test]
fn rules_and_what_they_come_to_are_compared() {
    let change = Change::between(BEFORE, AFTER).unwrap();
    assert_eq!((change.added, change.removed), (vec!["comes".to_owned()], vec!["goes".to_owned()]));
    assert_eq!(change.changed, ["turns"]);
    let change = Change::between(BEFORE, AFTER).unwrap();
    let told = rights(&change);
    for expected in [
        "+ any deployer dataset.list",
        "- any auditor image.list",
        "- any platform-operator image.list",
        "+ acme tenant-admin model.export",
        "+ acme platform-operator model.export",
        "+ globex deployer dataset.list",
    ] {
        assert!(told.contains(&expected.to_owned()), "{expected} is not in {told:?}");
    }
    // Globex had lost its images before; a deployer has none of either.
    assert!(!told.iter().any(|line| line.contains("globex") && line.contains("image.list")), "{told:?}");
    assert!(!told.iter().any(|line| line.contains("deployer image.list")), "{told:?}");
    // Turned round, everything is.
    let back = Change::between(AFTER, BEFORE).unwrap();
    assert_eq!(back.rights.len(), told.len());
    assert!(back.rights.iter().zip(&change.rights).all(|(a, b)| a.allowed != b.allowed));
    assert_eq!((back.added, back.removed), (vec!["goes".to_owned()], vec!["comes".to_owned()]));
}

#[test]
fn layout_and_comments_are_no_change() {
    let spaced = BEFORE.replace(' ', "  ").replace(";", ";\n\n// note\n");
    assert!(Change::between(BEFORE, &spaced).unwrap().is_empty());
    assert!(Change::between("", "// nothing\n").unwrap().is_empty());
    // A reason is part of a rule.
    let because = BEFORE.replace("@id(\"goes\")", "@id(\"goes\") @because(\"x\")");
    let change = Change::between(BEFORE, &because).unwrap();
    assert_eq!((change.changed, change.rights.len()), (vec!["goes".to_owned()], 0));
}

#[test]
fn tenants_beyond_the_limit_are_counted() {
    let text: String = (0..TENANTS_MAX + 3)
        .map(|n| {
            format!("@id(\"r{n}\") forbid (principal, action == Action::\"job.run\", resource in Tenant::\"t{n}\");\n")
        })
        .collect();
    let change = Change::between("", &text).unwrap();
    assert_eq!((change.tenants_left, change.added.len()), (3, TENANTS_MAX + 3));
}
