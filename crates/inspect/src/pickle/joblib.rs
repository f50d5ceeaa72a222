//! Files of joblib: behind the wrapper of an array stand its bytes, between two opcodes.
//!
//! A reader other than joblib takes those bytes for opcodes, so the file is also scanned as a plain pickle.

use crate::limits;
use crate::pickle::machine::Machine;
use crate::pickle::value::{Kind, Node, Val};
use crate::pickle::{Place, Scan};
use crate::report::{self, Finding, Severity};
use crate::tensor;

const WRAPPER: (&str, &str) = ("joblib.numpy_pickle", "NumpyArrayWrapper");
/// Attributes of a wrapper that say how to read the bytes behind it.
const FIELDS: [&str; 4] = ["subclass", "shape", "dtype", "numpy_array_alignment_bytes"];

/// One attribute of a wrapper.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    dict: u32,
    name: usize,
    value: Val,
}

/// Whether a scan saw the wrapper of joblib.
pub(crate) fn uses_wrappers(scan: &Scan) -> bool {
    scan.globals.iter().any(|(module, name)| is_wrapper(module, name))
}

pub(super) fn is_wrapper(module: &str, name: &str) -> bool {
    (module, name) == WRAPPER
}

impl Machine<'_> {
    pub(super) fn note_field(&mut self, target: Val, key: Val, value: Val) -> Result<(), Finding> {
        self.check_legacy_system(key, value)?;
        if let (Place::Joblib, Val::Ref(dict)) = (self.place, target)
            && let Some(name) = FIELDS.iter().position(|name| self.text(key) == Some(name))
        {
            self.spend_links(1)?;
            self.fields.push(Field { dict, name, value });
        }
        Ok(())
    }

    fn field(&self, dict: Val, name: &str) -> Option<Val> {
        let name = FIELDS.iter().position(|field| *field == name)?;
        let own = self.fields.iter().rev().take(FIELDS.len() * 2);
        own.filter(|field| Val::Ref(field.dict) == dict)
            .find(|field| field.name == name)
            .map(|field| field.value)
    }

    /// Reads the array behind a wrapper that just got its state.
    pub(super) fn inline_array(&mut self, wrapper: Val, state: Val, budget: &mut u64) -> Result<(), Finding> {
        let bad = |machine: &Self, what: &str| machine.bad(&report::JOBLIB_ARRAY, what);
        if self.frame_end.is_some_and(|end| end != self.cursor.pos()) {
            return Err(bad(self, "array of joblib stands within a frame"));
        }
        self.frame_end = None;
        let fields = (self.field(state, "subclass"), self.field(state, "shape"), self.field(state, "dtype"));
        let (Some(class), Some(shape), Some(dtype)) = fields else {
            return Err(bad(self, "wrapper of joblib lacks a member"));
        };
        if !matches!(self.get_node(class), Some(Node::Global(super::allow::Entry::NdArray))) {
            return Err(bad(self, "array of joblib is of a class of its own"));
        }
        let shape = self.dims(shape)?;
        let (item, kind) =
            self.use_dtype(dtype).ok_or_else(|| bad(self, "type of an array is not a type"))?;
        if kind == Kind::Object {
            self.inline_pickle(budget)?;
        } else {
            if !matches!(self.field(state, "numpy_array_alignment_bytes"), None | Some(Val::None)) {
                let padding = self.cursor.u8().ok_or_else(|| self.truncated())?;
                let padding = self.cursor.take(usize::from(padding)).ok_or_else(|| self.truncated())?;
                if padding.iter().any(|byte| *byte != 0xff) {
                    return Err(bad(self, "padding before an array is not what joblib writes"));
                }
            }
            let len = tensor::bytes(&shape, item).and_then(|len| usize::try_from(len).ok());
            len.and_then(|len| self.cursor.take(len)).ok_or_else(|| self.truncated())?;
        }
        self.scan.arrays += 1;
        if let Val::Ref(index) = wrapper
            && let Some(node) = usize::try_from(index).ok().and_then(|index| self.nodes.get_mut(index))
        {
            *node = Node::NdArray { built: true, masked: false };
        }
        Ok(())
    }

    /// An array of objects is one pickle more.
    fn inline_pickle(&mut self, budget: &mut u64) -> Result<(), Finding> {
        if self.depth >= limits::PICKLE_NESTING {
            return Err(self.bad(&report::LIMIT, "pickles are nested too deeply"));
        }
        let start = self.cursor.pos();
        let rest = self.bytes.get(start..).unwrap_or_default();
        let base = self.base.saturating_add(crate::cursor::offset(start));
        let inner = Machine::new(rest, base, Place::Inline, self.limits, self.depth + 1).run(budget);
        let broken = inner.findings.iter().any(|finding| finding.severity > Severity::Risk);
        self.scan.names_globals |= inner.names_globals;
        self.scan.calls |= inner.calls;
        self.scan.refused += inner.refused;
        for finding in inner.findings.into_iter().filter(|finding| finding.severity != Severity::Risk) {
            self.keep(finding);
        }
        for (module, name) in inner.globals {
            self.risk(&module, &name)?;
        }
        if !inner.complete {
            return Err(self.bad(&report::JOBLIB_ARRAY, "array of objects is no complete pickle"));
        }
        if broken {
            return Err(self.bad(&report::JOBLIB_ARRAY, "array of objects is refused"));
        }
        self.cursor.take(inner.end).ok_or_else(|| self.truncated())?;
        Ok(())
    }
}
