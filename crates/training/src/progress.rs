//! How far a job is: from `metrics.jsonl`, and from what it prints.

use std::collections::BTreeMap;

use crate::limits;

#[cfg(test)]
mod tests;

/// One value that the job claims.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Training step.
    pub step: u64,
    /// Its name.
    pub name: String,
    /// Its value; may be infinite or not a number.
    pub value: f64,
}

/// Reads one line of `metrics.jsonl`: `{"step": n, "name": s, "value": f}`. Python writes `NaN` and `Infinity`,
/// which are not JSON and are read all the same.
pub fn metric_line(line: &str) -> Option<Metric> {
    if line.len() > limits::METRIC_LINE_MAX {
        return None;
    }
    let value: serde_json::Value = serde_json::from_str(line).ok().or_else(|| {
        let quoted = line
            .replace("-Infinity", "\"-inf\"")
            .replace("Infinity", "\"inf\"")
            .replace(": NaN", ": \"nan\"")
            .replace(":NaN", ":\"nan\"");
        serde_json::from_str(&quoted).ok()
    })?;
    let name = value.get("name")?.as_str()?;
    let number = value.get("value")?;
    let number = number.as_f64().or_else(|| number.as_str()?.parse().ok())?;
    let named = !name.is_empty() && name.len() <= 64 && !name.chars().any(char::is_control);
    named.then(|| Metric {
        step: value.get("step").and_then(serde_json::Value::as_u64).unwrap_or(0),
        name: name.to_owned(),
        value: number,
    })
}

/// What a printed line says about progress.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Printed {
    /// Step.
    pub step: Option<u64>,
    /// Steps in all.
    pub total: Option<u64>,
    /// Loss.
    pub loss: Option<f64>,
}

/// Reads a printed line: the words `step`, `iter` or `iteration` before `12` or `12/90`, and `loss` before a
/// number, with `=`, `:` or a space between.
pub fn printed_line(line: &str) -> Printed {
    let mut printed = Printed::default();
    if line.len() > limits::METRIC_LINE_MAX {
        return printed;
    }
    let lower = line.to_ascii_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| c.is_whitespace() || matches!(c, ':' | '=' | ',' | '|' | '[' | ']'))
        .filter(|w| !w.is_empty())
        .collect();
    for pair in words.windows(2) {
        let [key, value] = pair else { continue };
        match *key {
            "step" | "iter" | "iteration" | "global_step" => {
                let (step, total) = value.split_once('/').unwrap_or((value, ""));
                printed.step = printed.step.or_else(|| step.parse().ok());
                printed.total = printed.total.or_else(|| total.parse().ok());
            }
            "loss" | "train_loss" => printed.loss = printed.loss.or_else(|| value.parse().ok()),
            _ => {}
        }
    }
    printed
}

/// The state of a run, from its metrics and lines.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    step: Option<u64>,
    total: Option<u64>,
    latest: BTreeMap<String, f64>,
    /// (milliseconds, step), rising.
    seen: Vec<(u64, u64)>,
}

/// Most names of metrics that are kept.
const NAMES_MAX: usize = 64;

impl Progress {
    /// Nothing known.
    pub fn new() -> Self {
        Self::default()
    }

    /// The job recorded a metric.
    pub fn metric(&mut self, metric: &Metric, now_ms: u64) {
        self.at(metric.step, now_ms);
        if self.latest.len() < NAMES_MAX || self.latest.contains_key(&metric.name) {
            self.latest.insert(metric.name.clone(), metric.value);
        }
    }

    /// The job printed a line.
    pub fn line(&mut self, line: &str, now_ms: u64) {
        let printed = printed_line(line);
        if let Some(total) = printed.total {
            self.total = Some(total);
        }
        if let Some(step) = printed.step {
            self.at(step, now_ms);
        }
        if let Some(loss) = printed.loss {
            self.latest.insert("loss".to_owned(), loss);
        }
    }

    fn at(&mut self, step: u64, now_ms: u64) {
        // A resumed run starts below: earlier points would give a wrong rate.
        if self.step.is_some_and(|s| step < s) {
            self.seen.clear();
        }
        self.step = Some(step);
        if self.seen.last().is_none_or(|(_, s)| step > *s) {
            if self.seen.len() >= limits::PROGRESS_WINDOW {
                self.seen.remove(0);
            }
            self.seen.push((now_ms, step));
        }
    }

    /// The last step.
    pub const fn step(&self) -> Option<u64> {
        self.step
    }

    /// Steps in all, if the job said so.
    pub const fn total(&self) -> Option<u64> {
        self.total
    }

    /// The last value of a metric.
    pub fn latest(&self, name: &str) -> Option<f64> {
        self.latest.get(name).copied()
    }

    /// The last value of every metric.
    pub const fn metrics(&self) -> &BTreeMap<String, f64> {
        &self.latest
    }

    /// Steps in a thousand seconds, over the window.
    pub fn steps_per_1000_s(&self) -> Option<u64> {
        let ((t0, s0), (t1, s1)) = (*self.seen.first()?, *self.seen.last()?);
        let elapsed = t1.checked_sub(t0).filter(|ms| *ms > 0)?;
        s1.checked_sub(s0)?.checked_mul(1_000_000)?.checked_div(elapsed)
    }

    /// Seconds left, if the job said how many steps there are.
    pub fn left_s(&self) -> Option<u64> {
        let left = self.total?.saturating_sub(self.step?);
        let rate = self.steps_per_1000_s().filter(|r| *r > 0)?;
        left.checked_mul(1000)?.checked_div(rate)
    }
}
