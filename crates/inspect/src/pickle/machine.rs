//! The machine: opcodes, stack, memo, frames.

use std::collections::HashMap;

use crate::cursor::{Cursor, offset};
use crate::limits::{self, Limits};
use crate::pickle::containers::{self, Counter};
use crate::pickle::value::{Node, Val};
use crate::pickle::{Place, Scan, names};
use crate::pickle::{joblib, legacy};
use crate::report::{self, Finding, Rule, Severity};

/// How a stream fails that ends before its end; with more bytes behind, it might have gone on.
pub(super) const CUT: [&str; 3] = [
    "operand is longer than what is left of the file",
    "pickle ends without STOP",
    "textual operand is too long or has no newline",
];

/// What an opcode leads to.
enum Flow {
    Next,
    Stop,
}

pub(super) struct Machine<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) cursor: Cursor<'a>,
    pub(super) base: u64,
    /// Start of the opcode under execution.
    pub(super) at: usize,
    stream_start: usize,
    pub(super) protocol: u8,
    pub(super) frame_end: Option<usize>,
    pub(super) depth: u32,
    pub(super) stack: Vec<Val>,
    pub(super) marks: Vec<usize>,
    pub(super) memo: HashMap<u64, Val>,
    pub(super) nodes: Vec<Node>,
    pub(super) texts: Vec<String>,
    pub(super) links: usize,
    pub(super) counters: Vec<Counter>,
    pub(super) place: Place<'a>,
    /// Fields of array wrappers of joblib, as last set.
    pub(super) fields: Vec<joblib::Field>,
    pub(super) limits: &'a Limits,
    pub(super) scan: Scan,
}

impl<'a> Machine<'a> {
    pub(super) fn new(bytes: &'a [u8], base: u64, place: Place<'a>, limits: &'a Limits, depth: u32) -> Self {
        Self {
            bytes,
            cursor: Cursor::new(bytes),
            base,
            at: 0,
            stream_start: 0,
            protocol: 0,
            frame_end: None,
            depth,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            nodes: Vec::new(),
            texts: Vec::new(),
            links: 0,
            counters: Vec::new(),
            place,
            fields: Vec::new(),
            limits,
            scan: Scan::default(),
        }
    }

    /// Runs stream after stream to the end of the input or to the first structural defect.
    pub(super) fn run(mut self, budget: &mut u64) -> Scan {
        while !self.cursor.is_done() {
            if self.scan.streams >= limits::PICKLE_STREAMS {
                let finding = self.bad(&report::LIMIT, "too many pickle streams in one file");
                self.scan.findings.push(finding);
                return self.scan;
            }
            if let Err(mut finding) = self.stream(budget) {
                if self.scan.streams > 0
                    && finding.code == report::STREAM.code
                    && self.at == self.stream_start
                {
                    finding = self.bad(&report::TRAILING, "bytes after the end of the pickle are no pickle");
                }
                self.scan.findings.push(finding);
                return self.scan;
            }
            self.scan.streams += 1;
            self.scan.end = self.cursor.pos();
            if self.is_last_stream() {
                self.scan.complete = true;
                return self.scan;
            }
        }
        self.scan.complete = self.scan.streams > 0 && !matches!(self.place, Place::Legacy | Place::Inline);
        self.scan
    }

    /// Whether what follows is no pickle: after the one of an array of objects, and after the five of legacy torch.
    fn is_last_stream(&self) -> bool {
        match self.place {
            Place::Inline => true,
            Place::Legacy => self.scan.streams == legacy::STREAMS,
            Place::Bare | Place::Zip(_) | Place::Joblib => false,
        }
    }

    fn stream(&mut self, budget: &mut u64) -> Result<(), Finding> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        self.nodes.clear();
        self.texts.clear();
        self.links = 0;
        self.counters.clear();
        self.fields.clear();
        self.protocol = 0;
        self.frame_end = None;
        self.stream_start = self.cursor.pos();
        loop {
            self.at = self.cursor.pos();
            *budget =
                budget.checked_sub(1).ok_or_else(|| self.bad(&report::LIMIT, "too many pickle opcodes"))?;
            let Some(opcode) = self.cursor.u8() else {
                return Err(self.bad(&report::STREAM, CUT[1]));
            };
            if self.frame_end.is_some_and(|end| self.at >= end) {
                self.frame_end = None;
            }
            let flow = self.step(opcode, budget)?;
            if self.frame_end.is_some_and(|end| self.cursor.pos() > end) {
                return Err(self.bad(&report::STREAM, "opcode crosses the end of its frame"));
            }
            if matches!(flow, Flow::Stop) {
                return self.stop();
            }
        }
    }

    fn stop(&mut self) -> Result<(), Finding> {
        if self.frame_end.is_some_and(|end| end != self.cursor.pos()) {
            return Err(self.bad(&report::STREAM, "pickle stops within a frame"));
        }
        match (self.stack.as_slice(), self.marks.is_empty()) {
            ([root], true) => {
                self.check_legacy_header(*root)?;
                if matches!(self.place, Place::Zip(_)) || self.is_legacy_model() {
                    let root = *root;
                    self.scan.tensors = names::collect(self, root, self.limits.tensors)?;
                    self.scan.step = containers::step(root, &self.counters);
                }
                Ok(())
            }
            _ => Err(self.bad(&report::STACK, "pickle stops with more or less than one value")),
        }
    }

    pub(super) fn bad(&self, rule: &'static Rule, what: impl Into<String>) -> Finding {
        Finding::new(rule, self.base.saturating_add(offset(self.at)), what)
    }

    /// Records a finding after which the machine can go on.
    pub(super) fn note(&mut self, rule: &'static Rule, what: impl Into<String>) {
        let finding = self.bad(rule, what);
        self.keep(finding);
    }

    /// Keeps a finding. Risks never take the place of what refuses the file.
    pub(super) fn keep(&mut self, finding: Finding) {
        let refusing = finding.severity > Severity::Risk;
        if self.scan.findings.len() < if refusing { limits::FINDINGS * 2 } else { limits::FINDINGS } {
            self.scan.findings.push(finding);
        }
    }

    pub(super) fn truncated(&self) -> Finding {
        self.bad(&report::STREAM, CUT[0])
    }

    fn step(&mut self, opcode: u8, budget: &mut u64) -> Result<Flow, Finding> {
        match opcode {
            b'.' => return Ok(Flow::Stop),
            0x80 => self.protocol()?,
            0x95 => self.frame()?,
            b'N' | 0x88 | 0x89 | b'I' | b'J' | b'K' | b'M' | b'L' | 0x8a | 0x8b | b'F' | b'G' => {
                self.number(opcode)?;
            }
            b'S' | b'T' | b'U' | b'V' | b'X' | 0x8c | 0x8d => self.string(opcode)?,
            b'B' | b'C' | 0x8e | 0x96 => self.byte_string(opcode, budget)?,
            b'(' => self.mark()?,
            b'0' => self.pop_or_mark()?,
            b'1' => drop(self.pop_to_mark()?),
            b'2' => {
                let top = self.top()?;
                self.push(top)?;
            }
            b'p' | b'q' | b'r' | 0x94 => self.put(opcode)?,
            b'g' | b'h' | b'j' => self.get(opcode)?,
            b')' | 0x85 | 0x86 | 0x87 | b't' | b']' | b'l' | b'}' | b'd' | 0x8f | 0x91 => {
                self.container(opcode)?;
            }
            b'a' | b'e' | b's' | b'u' | 0x90 => self.fill(opcode)?,
            b'c' | 0x93 | b'i' => self.global(opcode)?,
            b'R' | 0x81 | 0x92 | b'o' | b'b' => self.call(opcode, budget)?,
            b'P' | b'Q' => self.persistent(opcode)?,
            0x82..=0x84 => {
                return Err(self.bad(&report::EXTENSION_CODE, "pickle uses the extension registry"));
            }
            0x97 | 0x98 => return Err(self.bad(&report::BUFFER, "pickle refers to an out-of-band buffer")),
            other => return Err(self.bad(&report::STREAM, format!("byte 0x{other:02x} is no pickle opcode"))),
        }
        Ok(Flow::Next)
    }

    fn protocol(&mut self) -> Result<(), Finding> {
        let version = self.cursor.u8().ok_or_else(|| self.truncated())?;
        if self.at != self.stream_start || version > 5 {
            return Err(
                self.bad(&report::STREAM, "PROTO is not the first opcode, or names an unknown version")
            );
        }
        self.protocol = version;
        Ok(())
    }

    fn frame(&mut self) -> Result<(), Finding> {
        let len = self.cursor.u64().ok_or_else(|| self.truncated())?;
        if self.frame_end.is_some() {
            return Err(self.bad(&report::STREAM, "frame within a frame"));
        }
        let len = usize::try_from(len).ok().filter(|len| *len <= self.cursor.remaining());
        let end = len.and_then(|len| self.cursor.pos().checked_add(len)).ok_or_else(|| self.truncated())?;
        self.frame_end = Some(end);
        Ok(())
    }

    pub(super) fn push(&mut self, value: Val) -> Result<(), Finding> {
        if self.stack.len() >= self.limits.pickle_stack {
            return Err(self.bad(&report::LIMIT, "pickle stack is too deep"));
        }
        self.stack.push(value);
        Ok(())
    }

    pub(super) fn node(&mut self, node: Node) -> Result<Val, Finding> {
        if self.nodes.len() >= limits::PICKLE_NODES {
            return Err(self.bad(&report::LIMIT, "pickle holds too many objects"));
        }
        let index =
            u32::try_from(self.nodes.len()).map_err(|_| self.bad(&report::LIMIT, "too many objects"))?;
        self.nodes.push(node);
        Ok(Val::Ref(index))
    }

    pub(super) fn push_node(&mut self, node: Node) -> Result<(), Finding> {
        let value = self.node(node)?;
        self.push(value)
    }

    fn mark(&mut self) -> Result<(), Finding> {
        if self.marks.len() >= self.limits.pickle_stack {
            return Err(self.bad(&report::LIMIT, "pickle stack has too many marks"));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// The lowest stack position that the current mark leaves free.
    pub(super) fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    pub(super) fn top(&self) -> Result<Val, Finding> {
        match self.stack.last() {
            Some(value) if self.stack.len() > self.floor() => Ok(*value),
            _ => Err(self.bad(&report::STACK, "pickle takes a value from an empty stack")),
        }
    }

    pub(super) fn pop(&mut self) -> Result<Val, Finding> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    pub(super) fn pop_or_mark(&mut self) -> Result<(), Finding> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    pub(super) fn pop_to_mark(&mut self) -> Result<Vec<Val>, Finding> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => Ok(self.stack.split_off(mark)),
            _ => Err(self.bad(&report::STACK, "opcode needs a MARK and there is none")),
        }
    }

    pub(super) fn get_node(&self, value: Val) -> Option<&Node> {
        match value {
            Val::Ref(index) => self.nodes.get(usize::try_from(index).ok()?),
            _ => None,
        }
    }

    pub(super) fn get_node_mut(&mut self, value: Val) -> Option<&mut Node> {
        match value {
            Val::Ref(index) => self.nodes.get_mut(usize::try_from(index).ok()?),
            _ => None,
        }
    }

    /// The text of a constant that is short enough to be a name, so that looking at it costs little however
    /// often it is done.
    pub(super) fn text(&self, value: Val) -> Option<&str> {
        self.text_up_to(value, limits::PICKLE_NAME)
    }

    /// The text of a constant of at most `limit` bytes.
    pub(super) fn text_up_to(&self, value: Val, limit: u32) -> Option<&str> {
        match value {
            Val::Str { off, len } if len <= limit => {
                let start = usize::try_from(off).ok()?;
                let end = start.checked_add(usize::try_from(len).ok()?)?;
                std::str::from_utf8(self.bytes.get(start..end)?).ok()
            }
            Val::Text(index) => {
                let text = self.texts.get(usize::try_from(index).ok()?)?;
                (u32::try_from(text.len()).ok()? <= limit).then_some(text.as_str())
            }
            _ => None,
        }
    }

    /// Whether hashing the value runs no method of an object.
    pub(super) fn is_plain(&self, value: Val) -> bool {
        match value {
            Val::Unknown => false,
            // Of what a policy accepts it accepts this too; the start list's values hash themselves.
            Val::Ref(_) => matches!(
                self.get_node(value),
                Some(
                    Node::Tuple { plain: true, .. }
                        | Node::FrozenSet { plain: true }
                        | Node::Plain
                        | Node::Foreign { catalogued: true, .. }
                        | Node::Instance { catalogued: true, .. }
                )
            ),
            _ => true,
        }
    }
}
