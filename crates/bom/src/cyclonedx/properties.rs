//! The properties of one object.

use serde_json::{Value, json};

use crate::fact::Fact;
use crate::redact::environment_value;

/// `strongroom:` properties in the order they were put.
#[derive(Debug, Default)]
pub(super) struct Properties(Vec<Value>);

impl Properties {
    /// One property.
    #[expect(clippy::needless_pass_by_value, reason = "callers pass numbers and texts as they have them")]
    pub(super) fn put(&mut self, name: &str, value: impl ToString) {
        self.0.push(json!({"name": format!("strongroom:{name}"), "value": value.to_string()}));
    }

    /// A fact with its value: `strongroom:<field>` beside its origin.
    pub(super) fn fact(&mut self, field: &str, fact: &Fact) {
        if let Some(value) = fact.value() {
            self.put(field, environment_value(field, value));
        }
        self.origin(field, fact);
    }

    /// A fact whose value stands elsewhere.
    pub(super) fn origin(&mut self, field: &str, fact: &Fact) {
        match fact {
            Fact::Observed { by, evidence, conflicts, .. } => {
                self.put("origin", format!("{field}=observed"));
                self.put("observed-by", format!("{field}={by}"));
                if let Some(evidence) = evidence {
                    self.put("evidence", format!("{field}={}:{}", evidence.log_index, evidence.fingerprint));
                }
                for conflict in conflicts {
                    let value = environment_value(field, &conflict.value);
                    self.put("conflict", format!("{field}=declared by {}: {value}", conflict.by));
                }
            }
            Fact::Declared { by, .. } => self.put("origin", format!("{field}=declared by {by}")),
            Fact::Unknown => self.put("unknown", field),
            Fact::NotApplicable { reason } => self.put("not-applicable", format!("{field}={reason}")),
        }
    }

    /// The list.
    pub(super) fn into_value(self) -> Value {
        self.0.into()
    }
}
