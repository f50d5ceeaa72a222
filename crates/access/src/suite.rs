//! Tests of rules: who asks for what, and what must come of it. A file of them is TOML:
//!
//! ```toml
//! [[test]]
//! name = "engineers of acme do not train on Globex's data"
//! as = "ml-engineer"
//! tenant = "acme"            # of who asks; the operator has none
//! operation = "dataset.show"
//! resource = "data/1"        # which thing; may be left out
//! in = "globex"              # where it lies; left out: that of who asks
//! expect = "deny"
//! rule = "tenant-boundary"   # a rule that decides; "" for none, and left out for any
//! fresh = false              # without a proof of the last minutes; left out: with one
//! approved = false           # without the approval of another person; left out: with it
//! ```

use base::names::Name;
use serde::Deserialize;

use crate::rules::printable;
use crate::{Circumstances, Decision, Mode, Policies, PolicyError, Principal, Request, Role};

/// Longest text of tests, in bytes: 1,000 tests of 128 bytes, rounded up.
pub const TESTS_TEXT_MAX: usize = 128 * 1024;
/// Tests in one file.
const TESTS_MAX: usize = 1000;

/// Tests of rules.
#[derive(Debug, Clone, Default)]
pub struct Suite {
    tests: Vec<Test>,
}

/// One test.
#[derive(Debug, Clone)]
struct Test {
    name: String,
    role: Role,
    tenant: Option<Name>,
    within: Option<Name>,
    operation: String,
    resource: String,
    allow: bool,
    rule: Option<String>,
    given: Circumstances,
}

/// What came of one test.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Name of the test.
    pub name: String,
    /// Whether it was as expected.
    pub passed: bool,
    /// What was expected, in words.
    pub expected: String,
    /// What the rules say.
    pub decision: Decision,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    test: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    #[serde(rename = "as")]
    role: String,
    tenant: Option<String>,
    operation: String,
    #[serde(default)]
    resource: String,
    #[serde(rename = "in")]
    within: Option<String>,
    expect: Expect,
    rule: Option<String>,
    #[serde(default = "given")]
    fresh: bool,
    #[serde(default = "given")]
    approved: bool,
}

/// Unless a test says otherwise, a request comes with all that an operation may need.
const fn given() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expect {
    Allow,
    Deny,
}

impl Suite {
    /// Reads a file of tests, called `file` in messages.
    ///
    /// # Errors
    /// [`PolicyError::Tests`]: not TOML of this shape, too many, or a test that asks for what cannot be asked.
    pub fn parse(file: &str, text: &str) -> Result<Self, PolicyError> {
        if text.len() > TESTS_TEXT_MAX {
            return Err(PolicyError::Tests(format!("{} bytes, at most {TESTS_TEXT_MAX}", text.len())));
        }
        let read: File =
            base::config::parse_toml(file, text).map_err(|e| PolicyError::Tests(e.to_string()))?;
        if read.test.len() > TESTS_MAX {
            return Err(PolicyError::Tests(format!("{} tests, at most {TESTS_MAX}", read.test.len())));
        }
        let known = Policies::shipped()?;
        let mut tests: Vec<Test> = Vec::with_capacity(read.test.len());
        for row in read.test {
            let number = tests.len().saturating_add(1);
            let fail = |reason: String| PolicyError::Tests(format!("{file}: test {number}: {reason}"));
            if row.name.is_empty() || !printable(&row.name) {
                return Err(fail(
                    "a name is 1 to 200 characters, none of them a control character".to_owned(),
                ));
            }
            if tests.iter().any(|test| test.name == row.name) {
                return Err(fail(format!("two tests are called `{}`", row.name)));
            }
            let test = Test::of(row).map_err(fail)?;
            if !known.operations().contains_key(&test.operation) {
                let near =
                    base::names::nearest(&test.operation, known.operations().keys().map(String::as_str));
                let near = near.map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
                let asked: String = test.operation.escape_debug().take(64).collect();
                return Err(fail(format!("there is no operation `{asked}`{near}")));
            }
            tests.push(test);
        }
        Ok(Self { tests })
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.tests.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.tests.is_empty()
    }

    /// Asks these rules each question.
    pub fn run(&self, policies: &Policies) -> Vec<Verdict> {
        self.tests.iter().map(|test| test.run(policies)).collect()
    }
}

impl Test {
    fn of(row: Row) -> Result<Self, String> {
        let name = |text: Option<String>| match text {
            Some(text) => text.parse::<Name>().map(Some).map_err(|e| e.to_string()),
            None => Ok(None),
        };
        let role: Role = row.role.parse().map_err(|e: crate::UnknownRole| e.to_string())?;
        let (tenant, within) = (name(row.tenant)?, name(row.within)?);
        match (role.is_a_tenants(), &tenant) {
            (true, None) => return Err(format!("who has the role `{role}` has a tenant: write `tenant`")),
            (false, Some(_)) => return Err(format!("who has the role `{role}` has no tenant: write `in`")),
            _ => {}
        }
        let allow = matches!(row.expect, Expect::Allow);
        Ok(Self {
            name: row.name,
            role,
            tenant,
            within,
            operation: row.operation,
            resource: row.resource,
            allow,
            rule: row.rule,
            given: Circumstances { fresh: row.fresh, approved: row.approved, mode: Mode::Normal },
        })
    }

    fn run(&self, policies: &Policies) -> Verdict {
        let own = self.tenant.as_ref().map(Name::as_str);
        let decision = policies.decide(&Request {
            principal: Principal::example(self.role, own.unwrap_or("")),
            operation: &self.operation,
            tenant: self.within.as_ref().map(Name::as_str).or(own),
            resource: &self.resource,
            given: self.given,
        });
        let by = match self.rule.as_deref() {
            None => true,
            Some("") => decision.reasons.is_empty(),
            Some(rule) => decision.reasons.iter().any(|reason| reason == rule),
        };
        let verb = if self.allow { "allow" } else { "deny" };
        let expected = match self.rule.as_deref() {
            None => verb.to_owned(),
            Some("") => format!("{verb} by no rule"),
            Some(rule) => format!("{verb} by `{rule}`"),
        };
        Verdict { name: self.name.clone(), passed: decision.allowed == self.allow && by, expected, decision }
    }
}

#[cfg(test)]
mod tests;
