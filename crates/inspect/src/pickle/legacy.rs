//! The five streams of a torch file from before 1.6: magic number, protocol, system, object, keys of storages.

use std::collections::BTreeMap;

use crate::limits;
use crate::pickle::Place;
use crate::pickle::machine::Machine;
use crate::pickle::value::{Node, Storage, Val};
use crate::report::{self, Finding};

/// Streams of such a file.
pub(super) const STREAMS: usize = 5;
/// The value of the second stream.
const PROTOCOL: i64 = 1001;

/// What the streams say of the storages behind them.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// Each storage that a tensor refers to.
    pub(crate) storages: BTreeMap<String, Storage>,
    /// The keys of the fifth stream, in the order of the data.
    pub(crate) keys: Vec<String>,
}

impl Machine<'_> {
    fn legacy_stream(&self) -> Option<usize> {
        matches!(self.place, Place::Legacy).then_some(self.scan.streams)
    }

    /// Whether the object itself is being read.
    pub(super) fn is_legacy_model(&self) -> bool {
        self.legacy_stream() == Some(3)
    }

    /// Records a storage; every mention of a key says the same.
    pub(super) fn legacy_storage(&mut self, storage: Storage) -> Result<Storage, Finding> {
        if !self.is_legacy_model() {
            return Err(
                self.bad(&report::PERSISTENT, "persistent id outside the object of a legacy torch file")
            );
        }
        if self.scan.legacy.storages.len() >= limits::TENSORS {
            return Err(self.bad(&report::LIMIT, "too many storages"));
        }
        let known = self.scan.legacy.storages.entry(storage.key.clone()).or_insert_with(|| storage.clone());
        if *known == storage {
            return Ok(storage);
        }
        Err(self.bad(&report::PERSISTENT, "storage is described in two ways"))
    }

    /// `("module", class, file, source)`: a class with the text of its source, which a reader only compares.
    pub(super) fn legacy_module(&self, id: Val) -> Option<Val> {
        let Some(Node::Tuple { items: Some(items), .. }) = self.get_node(id) else { return None };
        let [tag, class, file, source] = **items else { return None };
        let text = |value| value == Val::None || self.text_up_to(value, u32::MAX).is_some();
        let fits = self.is_legacy_model()
            && self.text(tag) == Some("module")
            && matches!(self.get_node(class), Some(Node::Foreign { .. }))
            && text(file)
            && text(source);
        fits.then_some(class)
    }

    /// Keeps the keys that the fifth stream lists.
    pub(super) fn note_keys(&mut self, items: &[Val]) -> Result<(), Finding> {
        if self.legacy_stream() != Some(4) {
            return Ok(());
        }
        for item in items {
            let key = self.text_up_to(*item, limits::NAME_PART).map(str::to_owned);
            let key =
                key.ok_or_else(|| self.bad(&report::LEGACY_LAYOUT, "key of a storage is not a text"))?;
            self.scan.legacy.keys.push(key);
        }
        Ok(())
    }

    /// The values that the streams before the object have to have.
    pub(super) fn check_legacy_header(&self, root: Val) -> Result<(), Finding> {
        if self.legacy_stream() == Some(1) && root != Val::Int(PROTOCOL) {
            return Err(self.bad(&report::LEGACY_LAYOUT, "protocol of a legacy torch file is not 1001"));
        }
        Ok(())
    }

    /// The third stream says how numbers lie in the file.
    pub(super) fn check_legacy_system(&self, key: Val, value: Val) -> Result<(), Finding> {
        let order = self.legacy_stream() == Some(2) && self.text(key) == Some("little_endian");
        if order && value != Val::Bool(true) {
            return Err(self.bad(&report::LEGACY_LAYOUT, "legacy torch file is not little-endian"));
        }
        Ok(())
    }
}
