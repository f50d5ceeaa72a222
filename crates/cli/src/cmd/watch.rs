//! `strongroom job watch`: the events of a job as they come, across restarts of the node.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::job::SHOW;
use crate::clock::Stopwatch;
use crate::error::{CliError, Failure};
use crate::exit::Exit;
use crate::output::{Answer, Format, print, printable};
use crate::progress::{Mode, say};
use crate::session::{Scope, Session};

/// How long a node that went away is waited for.
const AWAY_SECONDS: u64 = 120;
/// How often progress is told where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Follows a job until it ends. Exit 3 unless it finished.
pub(super) fn watch(session: &Session, scope: &Scope, id: &str) -> Result<Exit, Failure> {
    let mut shown = Shown::new(session);
    if shown.people() {
        say(&format!("watching {id}; Ctrl-C leaves it running"));
    }
    let mut away: Option<Stopwatch> = None;
    let job = loop {
        let followed =
            scope.client.lines(&scope.route(&["jobs", id, "events"]), &mut |line| shown.line(line));
        let state = followed.and_then(|()| scope.client.get::<api::Job>(&scope.route(&["jobs", id])));
        match state {
            _ if shown.reader_gone => return Ok(Exit::Done),
            Ok(job) if ended(&job.state) => break job,
            Ok(_) => away = None,
            Err(failure) if failure.exit == Exit::Unreachable => {
                let since = *away.get_or_insert_with(|| {
                    say("the node does not answer; waiting for it");
                    Stopwatch::start()
                });
                if since.elapsed().as_secs() > AWAY_SECONDS {
                    return Err(failure);
                }
            }
            Err(failure) => return Err(failure),
        }
        std::thread::sleep(Duration::from_millis(300));
    };
    shown.close();
    if session.style.format != Format::Jsonl {
        print(&mut std::io::stdout().lock(), &Answer::record(&job, SHOW), &session.style)?;
    }
    if let (true, Some(model)) = (shown.people(), &job.model) {
        say(&format!("next: strongroom model show {model} --tenant {}", scope.tenant));
    }
    Ok(if job.state == "finished" { Exit::Done } else { Exit::No })
}

/// Whether nothing more happens to the job by itself.
fn ended(state: &str) -> bool {
    matches!(state, "finished" | "failed" | "stopped" | "held")
}

/// What was shown so far, and how.
struct Shown {
    format: Format,
    bar: Option<ProgressBar>,
    said: Option<Stopwatch>,
    /// Time of the newest event, and the lines of that time: a stream that is opened again starts over.
    newest: String,
    at_newest: BTreeSet<String>,
    reader_gone: bool,
}

impl Shown {
    fn new(session: &Session) -> Self {
        let format = session.style.format;
        let live = session.progress == Mode::Auto
            && std::io::stderr().is_terminal()
            && matches!(format, Format::Text | Format::Json);
        let bar = live.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self {
            format,
            bar,
            said: None,
            newest: String::new(),
            at_newest: BTreeSet::new(),
            reader_gone: false,
        }
    }

    fn people(&self) -> bool {
        matches!(self.format, Format::Text | Format::Plain)
    }

    fn close(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn line(&mut self, line: &str) -> Result<ControlFlow<()>, Failure> {
        let event: api::JobEvent = serde_json::from_str(line)
            .map_err(|e| CliError::Answer { what: "job.watch".to_owned(), reason: e.to_string() })?;
        if event.time < self.newest || (event.time == self.newest && self.at_newest.contains(line)) {
            return Ok(ControlFlow::Continue(()));
        }
        if event.time > self.newest {
            self.at_newest.clear();
            self.newest.clone_from(&event.time);
        }
        self.at_newest.insert(line.to_owned());
        self.tell(&event, line)?;
        Ok(if self.reader_gone || event.kind == "end" {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    fn tell(&mut self, event: &api::JobEvent, line: &str) -> Result<(), Failure> {
        match self.format {
            Format::Jsonl => self.write(line),
            Format::Json | Format::Csv => {
                self.progress(event);
                Ok(())
            }
            Format::Text | Format::Plain if event.kind == "progress" => {
                self.progress(event);
                Ok(())
            }
            Format::Text | Format::Plain => {
                let time = event.time.get(11..19).unwrap_or(&event.time);
                self.write(&format!("{time}  {:<10}  {}", event.kind, printable(event.message.trim_end())))
            }
        }
    }

    /// The live line on a terminal; elsewhere a line each ten seconds.
    fn progress(&mut self, event: &api::JobEvent) {
        let text = format!("{}: {}", event.state, printable(event.message.trim_end()));
        if let Some(bar) = &self.bar {
            bar.set_message(text);
        } else if self.said.is_none_or(|at| at.elapsed() >= LINE_EVERY) {
            self.said = Some(Stopwatch::start());
            say(&text);
        }
    }

    fn write(&mut self, line: &str) -> Result<(), Failure> {
        let written = match &self.bar {
            Some(bar) => bar.suspend(|| writeln!(std::io::stdout().lock(), "{line}")),
            None => writeln!(std::io::stdout().lock(), "{line}"),
        };
        match written {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                self.reader_gone = true;
                Ok(())
            }
            other => Ok(other.map_err(CliError::file("write", std::path::Path::new("standard output")))?),
        }
    }
}
