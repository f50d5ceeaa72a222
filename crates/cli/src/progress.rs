//! Progress on standard error: a bar on a terminal, else a line every ten seconds.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock::Stopwatch;
use crate::output::bytes;

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What kind of progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// A bar on a terminal, else lines.
    Auto,
    /// One JSON object a line, on standard error.
    Jsonl,
    /// None.
    Off,
}

/// Progress of one stream of bytes; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Progress(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    Off,
    Bar(ProgressBar),
    Lines { label: String, total: u64, json: bool, state: Mutex<Lines> },
}

#[derive(Debug)]
struct Lines {
    done: u64,
    said: Duration,
    watch: Stopwatch,
}

impl Progress {
    /// Starts to count towards `total` bytes.
    pub(crate) fn new(mode: Mode, label: &str, total: u64) -> Self {
        let lines = |json| Kind::Lines {
            label: label.to_owned(),
            total,
            json,
            state: Mutex::new(Lines { done: 0, said: Duration::ZERO, watch: Stopwatch::start() }),
        };
        Self(Arc::new(match mode {
            Mode::Off => Kind::Off,
            Mode::Jsonl => lines(true),
            Mode::Auto if std::io::stderr().is_terminal() => {
                let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
                let style =
                    "{prefix} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
                if let Ok(style) = ProgressStyle::with_template(style) {
                    bar.set_style(style);
                }
                bar.set_prefix(label.to_owned());
                Kind::Bar(bar)
            }
            Mode::Auto => lines(false),
        }))
    }

    /// Adds bytes that are done.
    pub(crate) fn add(&self, count: u64) {
        match &*self.0 {
            Kind::Off => {}
            Kind::Bar(bar) => bar.inc(count),
            Kind::Lines { label, total, json, state } => {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                state.done = state.done.saturating_add(count);
                let elapsed = state.watch.elapsed();
                if elapsed.saturating_sub(state.said) < LINE_EVERY {
                    return;
                }
                state.said = elapsed;
                say(&if *json {
                    let (done, ms) = (state.done, elapsed.as_millis().to_string());
                    serde_json::json!({ "label": label, "done": done, "total": total, "elapsed_ms": ms })
                        .to_string()
                } else {
                    format!("{label}: {} of {}", bytes(state.done), bytes(*total))
                });
            }
        }
    }

    /// Ends it.
    pub(crate) fn finish(&self) {
        if let Kind::Bar(bar) = &*self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Writes a line to standard error; if nobody listens, that is no failure of the command.
pub(crate) fn say(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}
