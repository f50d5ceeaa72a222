use proptest::prelude::*;

use super::*;

const GOOD: &str = "[[test]]
name = \"engineers do not deploy\"
as = \"ml-engineer\"
tenant = \"acme\"
operation = \"endpoint.deploy\"
expect = \"deny\"
rule = \"who-trains-does-not-release\"

[[test]]
name = \"engineers train\"
as = \"ml-engineer\"
tenant = \"acme\"
operation = \"job.run\"
resource = \"x\"
expect = \"allow\"

[[test]]
name = \"a tenant is a boundary\"
as = \"tenant-admin\"
tenant = \"acme\"
in = \"globex\"
operation = \"model.show\"
expect = \"deny\"
rule = \"tenant-boundary\"

[[test]]
name = \"no rule lets a deployer revoke\"
as = \"deployer\"
tenant = \"acme\"
operation = \"key.revoke\"
expect = \"deny\"
rule = \"\"

[[test]]
name = \"the operator\"
as = \"platform-operator\"
in = \"acme\"
operation = \"model.export\"
expect = \"allow\"
rule = \"operator-may-everything\"
";

fn failed(text: &str, policies: &Policies) -> Vec<String> {
    let run = Suite::parse("t.toml", text).unwrap().run(policies);
    run.into_iter().filter(|v| !v.passed).map(|v| format!("{} {}", v.name, v.expected)).collect()
}

#[test]
fn each_test_compares_the_decision_and_the_rule_that_made_it() {
    let shipped = Policies::shipped().unwrap();
    assert_eq!(failed(GOOD, &shipped), Vec::<String>::new());
    assert_eq!(Suite::parse("t.toml", GOOD).unwrap().len(), 5);
    // Allowed instead of denied, and denied by another rule than expected.
    let wrong = GOOD.replacen("\"deny\"", "\"allow\"", 1);
    assert_eq!(failed(&wrong, &shipped), ["engineers do not deploy allow by `who-trains-does-not-release`"]);
    let wrong = GOOD.replace("rule = \"tenant-boundary\"", "rule = \"node-boundary\"");
    assert_eq!(failed(&wrong, &shipped), ["a tenant is a boundary deny by `node-boundary`"]);
    let wrong = GOOD.replace("rule = \"tenant-boundary\"", "rule = \"\"");
    assert_eq!(failed(&wrong, &shipped), ["a tenant is a boundary deny by no rule"]);
    let own = "@id(\"stop\") forbid (principal, action == Action::\"job.run\", resource);";
    assert_eq!(failed(GOOD, &Policies::with_own(own).unwrap()), ["engineers train allow"]);
    assert!(Suite::parse("t.toml", "").unwrap().is_empty());
}

#[test]
fn tests_that_cannot_be_asked_are_refused() {
    let test = |lines: &str| format!("[[test]]\nname = \"n\"\nexpect = \"deny\"\n{lines}\n");
    let many: String = (0..=TESTS_MAX)
        .map(|n| {
            format!("[[test]]\nname = \"{n}\"\nas = \"auditor\"\ntenant = \"a\"\noperation = \"status\"\nexpect = \"allow\"\n")
        })
        .collect();
    assert!(many.len() < TESTS_TEXT_MAX);
    for (text, word) in [
        (test("as = \"root\"\ntenant = \"acme\"\noperation = \"status\""), "no role"),
        (test("as = \"auditor\"\noperation = \"status\""), "write `tenant`"),
        (test("as = \"platform-operator\"\ntenant = \"acme\"\noperation = \"status\""), "write `in`"),
        (test("as = \"auditor\"\ntenant = \"\u{430}cme\"\noperation = \"status\""), "test 1"),
        // What does not exist is denied, and a test of it would pass for ever.
        (test("as = \"auditor\"\ntenant = \"acme\"\noperation = \"job.runn\""), "did you mean `job.run`?"),
        (
            test("as = \"auditor\"\ntenant = \"acme\"\noperation = \"status\"\nexpects = 1"),
            "unknown key `expects`",
        ),
        (
            test("as = \"auditor\"\ntenant = \"acme\"\noperation = \"status\"").replace("deny", "maybe"),
            "maybe",
        ),
        (
            test("as = \"auditor\"\ntenant = \"acme\"\noperation = \"status\"").repeat(2),
            "two tests are called `n`",
        ),
        ("[[test]]\nname = \"".to_owned(), "t.toml:2"),
        ("[[tests]]\n".to_owned(), "unknown key `tests`"),
        (GOOD.replacen("engineers do", "\\u001b do", 1), "control character"),
        (many, "1001 tests"),
        ("#".repeat(TESTS_TEXT_MAX + 1), "at most"),
    ] {
        let shown: String = text.chars().take(120).collect();
        let Err(error) = Suite::parse("t.toml", &text) else { panic!("taken: {shown}") };
        assert_eq!(base::Explain::code(&error), "SR-POL-0007");
        assert!(error.to_string().contains(word), "{shown}: {error}");
    }
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "\\PC{0,200}|(\\[\\[test\\]\\]|\n|=|name|\"|as| |x){0,40}") {
        let _answer = Suite::parse("t.toml", &text);
    }
}
