//! Opcodes that name globals, call them, set states, and name storages.

use crate::cursor::show;
use crate::pickle::machine::Machine;
use crate::pickle::value::{Node, Storage, Val};
use crate::pickle::{allow, text};
use crate::report::{self, Finding};

impl Machine<'_> {
    pub(super) fn name_line(&mut self) -> Result<String, Finding> {
        let line = self.line()?;
        let text = std::str::from_utf8(line);
        text.map(str::to_owned).map_err(|_| self.bad(&report::STREAM, "name of a global is not UTF-8"))
    }

    pub(super) fn global(&mut self, opcode: u8) -> Result<(), Finding> {
        if opcode == 0x93 {
            let name = self.pop()?;
            let module = self.pop()?;
            let both = self.text(module).zip(self.text(name));
            let Some((module, name)) = both.map(|(module, name)| (module.to_owned(), name.to_owned())) else {
                self.scan.names_globals = true;
                return Err(self.bad(&report::COMPUTED, "STACK_GLOBAL on values that are not constant text"));
            };
            let value = self.resolve(&module, &name)?;
            return self.push(value);
        }
        let module = self.name_line()?;
        let name = self.name_line()?;
        if opcode == b'c' {
            let value = self.resolve(&module, &name)?;
            return self.push(value);
        }
        drop(self.pop_to_mark()?);
        let value = self.resolve(&module, &name)?;
        if value != Val::Unknown {
            self.note(
                &report::CALL,
                format!("INST calls `{}.{}`", show(module.as_bytes()), show(name.as_bytes())),
            );
        }
        self.scan.calls |= self.scan.names_globals;
        self.push(Val::Unknown)
    }

    pub(super) fn resolve(&mut self, module: &str, name: &str) -> Result<Val, Finding> {
        let module = if self.protocol < 3 { allow::python3_module(module) } else { module };
        let shown = format!("{}.{}", show(module.as_bytes()), show(name.as_bytes()));
        if text::is_importable(module) && text::is_importable(name) {
            self.scan.names_globals = true;
        }
        if name.contains('.') {
            self.note(&report::DOTTED, format!("global `{shown}` walks attributes"));
            return Ok(Val::Unknown);
        }
        match allow::lookup(module, name) {
            Some(entry) => self.node(Node::Global(entry)),
            None => {
                self.note(&report::GLOBAL, format!("global `{shown}` is not on the allow list"));
                Ok(Val::Unknown)
            }
        }
    }

    pub(super) fn call(&mut self, opcode: u8, budget: &mut u64) -> Result<(), Finding> {
        match opcode {
            b'R' => {
                let args = self.pop()?;
                let callable = self.pop()?;
                self.scan.calls |= self.scan.names_globals;
                let result = self.reduce(callable, args, budget)?;
                let value = match result {
                    Some(node) => self.node(node)?,
                    None => Val::Unknown,
                };
                self.push(value)
            }
            b'b' => {
                let state = self.pop()?;
                let target = self.top()?;
                self.build(target, state)
            }
            _ => {
                let callable = match opcode {
                    b'o' => self.pop_to_mark()?.first().copied(),
                    0x81 => {
                        self.pop()?;
                        Some(self.pop()?)
                    }
                    _ => {
                        self.pop()?;
                        self.pop()?;
                        Some(self.pop()?)
                    }
                };
                let callable =
                    callable.ok_or_else(|| self.bad(&report::STACK, "OBJ without a class after its MARK"))?;
                self.scan.calls |= self.scan.names_globals;
                // No entry of the list permits OBJ, NEWOBJ or NEWOBJ_EX; the reader of a listed class never
                // writes them. An unlisted class was reported when it was named.
                if callable != Val::Unknown {
                    self.note(&report::CALL, "OBJ, NEWOBJ or NEWOBJ_EX on a class that does not permit it");
                }
                self.push(Val::Unknown)
            }
        }
    }

    pub(super) fn persistent(&mut self, opcode: u8) -> Result<(), Finding> {
        if opcode == b'P' {
            return Err(self.bad(&report::PERSISTENT, "textual persistent id"));
        }
        let id = self.pop()?;
        let storage = self.storage(id)?;
        self.scan.used.insert(storage.key.clone());
        self.push_node(Node::Storage(Box::new(storage)))
    }

    /// `("storage", class, key, location, elements)`, the key naming a member that holds the elements.
    pub(super) fn storage(&self, id: Val) -> Result<Storage, Finding> {
        let bad = |what: &str| self.bad(&report::PERSISTENT, what);
        let storages = self.storages.ok_or_else(|| bad("persistent id outside a torch container"))?;
        let Some(Node::Tuple { items: Some(items), .. }) = self.get_node(id) else {
            return Err(bad("persistent id is not a tuple"));
        };
        let [tag, class, key, location, elements] = **items else {
            return Err(bad("persistent id is not a tuple of five"));
        };
        if self.text(tag) != Some("storage") {
            return Err(bad("persistent id is not a storage"));
        }
        let Some(Node::Global(allow::Entry::StorageType(dtype))) = self.get_node(class) else {
            return Err(bad("class of the storage is not a storage type"));
        };
        if self.text(location).is_none_or(|text| text.len() > 64) {
            return Err(bad("location of the storage is not a short text"));
        }
        let key = self.text(key).ok_or_else(|| bad("key of the storage is not a text"))?;
        let size = storages.get(key).ok_or_else(|| bad("storage has no member in the file"))?;
        let elements = match elements {
            Val::Int(count) => u64::try_from(count).ok(),
            _ => None,
        };
        let elements = elements.ok_or_else(|| bad("size of the storage is not a count"))?;
        let used = elements.checked_mul(dtype.size());
        match used.and_then(|used| size.checked_sub(used)) {
            Some(spare) if spare < dtype.size() => {}
            _ => return Err(bad("size of the storage does not fit its member")),
        }
        Ok(Storage { key: key.to_owned(), dtype: *dtype, elements })
    }
}
