//! Tells control what the job prints and measures, at a bounded rate, in a thread of its own: the job's pipe is
//! always drained.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use link::Conn;
use ops::porter::Told;
use ops::{Blob, Text};
use rustix::event::{PollFd, PollFlags};
use training::contract::METRICS_FILE;
use training::progress::{Metric, metric_line, printed_line};

use crate::{PorterError, clock, limits, steps, tree};

/// The running thread.
#[derive(Debug)]
pub(crate) struct Teller {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Teller {
    /// Starts it. `output` is the job's output directory, if it has one.
    pub(crate) fn start(
        conn: &Conn,
        pipe: OwnedFd,
        output: Option<OwnedFd>,
        told: Arc<steps::Told>,
    ) -> Result<Self, PorterError> {
        let stop = Arc::new(AtomicBool::new(false));
        let conn = conn.try_clone()?;
        let flag = Arc::clone(&stop);
        let mut state = State {
            conn,
            output,
            told,
            line: Vec::new(),
            second: 0,
            bytes: 0,
            left_out: 0,
            offset: 0,
            partial: Vec::new(),
            metrics: 0,
        };
        let thread = std::thread::Builder::new()
            .name("teller".into())
            .spawn(move || state.serve(&pipe, &flag))
            .map_err(|source| PorterError::Io { doing: "starting", path: "thread".into(), source })?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Tells what is left and ends. The workload is gone, so the pipe ends too.
    pub(crate) fn finish(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; what was told stays told.
            thread.join().unwrap_or_default();
        }
    }
}

struct State {
    conn: Conn,
    output: Option<OwnedFd>,
    told: Arc<steps::Told>,
    /// Of the present line of output, at most [`limits::LINE_MAX`].
    line: Vec<u8>,
    /// The second that is being counted, and what was told and left out in it.
    second: u64,
    bytes: u64,
    left_out: u64,
    /// How far `metrics.jsonl` was read, and an unfinished line of it.
    offset: u64,
    partial: Vec<u8>,
    metrics: u64,
}

impl State {
    fn serve(&mut self, pipe: &OwnedFd, stop: &AtomicBool) {
        let mut open = true;
        let mut buffer = vec![0u8; 16 * 1024];
        let mut metrics_due = 0;
        loop {
            let last = stop.load(Ordering::SeqCst);
            let now = clock::monotonic_ms();
            // Metrics that control cannot take now stay in their file.
            if last || (now >= metrics_due && self.writable()) {
                self.read_metrics(last);
                metrics_due = now.saturating_add(limits::METRICS_EVERY_MS);
            }
            let ready = open && wait(pipe, if last { 0 } else { 100 });
            if ready {
                match rustix::io::read(pipe, &mut buffer) {
                    Ok(0) => open = false,
                    Ok(count) => self.print(buffer.get(..count).unwrap_or_default()),
                    Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                    Err(_) => open = false,
                }
            } else if last {
                self.left_out_note(true);
                return;
            } else if !open {
                clock::pause_ms(100);
            }
        }
    }

    /// Counts towards the present second; starts a new one.
    fn tick(&mut self) {
        let second = clock::monotonic_ms() / 1000;
        if second != self.second {
            self.left_out_note(false);
            self.second = second;
            self.bytes = 0;
            self.metrics = 0;
        }
    }

    fn writable(&self) -> bool {
        let mut set = [PollFd::new(&self.conn, PollFlags::OUT)];
        rustix::event::poll(&mut set, Some(&clock::timespec(0))).is_ok_and(|n| n > 0)
    }

    /// Says how much was left out. At the end it waits for control to take it.
    fn left_out_note(&mut self, last: bool) {
        if self.left_out > 0 && (last || self.writable()) {
            let note = format!("\n[{} bytes of output left out: too much in one second]\n", self.left_out);
            self.left_out = 0;
            self.tell_output(note.into_bytes());
        }
    }

    fn tell_output(&self, bytes: Vec<u8>) {
        if let Ok(bytes) = Blob::new(bytes) {
            self.tell(&Told::Output { bytes });
        }
    }

    /// Control being gone is noticed by the main thread.
    fn tell(&self, told: &Told) {
        self.conn.send(&ops::to_bytes(told), &[]).unwrap_or_default();
    }

    fn print(&mut self, bytes: &[u8]) {
        self.tick();
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        // A control that does not read must not stop the job.
        if self.bytes.saturating_add(len) <= limits::OUTPUT_BYTES_PER_S && self.writable() {
            self.bytes = self.bytes.saturating_add(len);
            self.tell_output(bytes.to_vec());
        } else {
            self.left_out = self.left_out.saturating_add(len);
        }
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            if self.line.len().saturating_add(part.len()) <= limits::LINE_MAX {
                self.line.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                if let Some(step) = printed_line(&String::from_utf8_lossy(&line)).step {
                    self.told.add(clock::unix_ms(), step);
                }
            }
        }
    }

    /// Reads what was appended to `metrics.jsonl`. A file that shrank is read from its start.
    fn read_metrics(&mut self, to_the_end: bool) {
        self.tick();
        let Some(output) = &self.output else { return };
        let Ok((fd, entry)) = tree::open_file(output.as_fd(), METRICS_FILE) else { return };
        if entry.size < self.offset {
            self.offset = 0;
            self.partial.clear();
        }
        let mut buffer = vec![0u8; limits::METRICS_READ];
        let mut metrics = Vec::new();
        // At the end at most 16 times 256 KiB: 4 MiB of lines that nobody has read yet.
        for _ in 0..if to_the_end { 16 } else { 1 } {
            let Ok(count @ 1..) = tree::read_at(fd.as_fd(), &mut buffer, self.offset) else { break };
            self.offset = self.offset.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            for part in buffer.get(..count).unwrap_or_default().split_inclusive(|b| *b == b'\n') {
                if self.partial.len().saturating_add(part.len()) <= limits::LINE_MAX {
                    self.partial.extend_from_slice(part);
                }
                if part.ends_with(b"\n") {
                    let line = std::mem::take(&mut self.partial);
                    metrics.extend(metric_line(String::from_utf8_lossy(&line).trim_end()));
                }
            }
        }
        self.tell_metrics(metrics);
    }

    fn tell_metrics(&mut self, metrics: Vec<Metric>) {
        if let Some(last) = metrics.last() {
            self.told.add(clock::unix_ms(), last.step);
        }
        let room = limits::METRICS_PER_S.saturating_sub(self.metrics);
        let many = u64::try_from(metrics.len()).unwrap_or(u64::MAX) > room;
        let told: Vec<Metric> = if many {
            // Of too many, the last of each name.
            let latest: BTreeMap<String, Metric> = metrics.into_iter().map(|m| (m.name.clone(), m)).collect();
            latest.into_values().take(64).collect()
        } else {
            metrics
        };
        self.metrics = self.metrics.saturating_add(u64::try_from(told.len()).unwrap_or(u64::MAX));
        for metric in told {
            let value = Text::clip(&metric.value.to_string());
            self.tell(&Told::Metric { step: metric.step, name: Text::clip(&metric.name), value });
        }
    }
}

fn wait(pipe: &OwnedFd, ms: u64) -> bool {
    let mut set = [PollFd::new(pipe, PollFlags::IN)];
    rustix::event::poll(&mut set, Some(&clock::timespec(ms))).is_ok_and(|n| n > 0)
}
