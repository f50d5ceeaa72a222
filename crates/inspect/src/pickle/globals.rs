//! Opcodes that name globals, call them, set states, and name storages.

use crate::cursor::show;
use crate::limits;
use crate::pickle::machine::Machine;
use crate::pickle::standing::{self, Standing};
use crate::pickle::value::{Node, Stateful, Storage, Val};
use crate::pickle::{Place, allow, joblib, text};
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
        let (module, name) = if self.protocol < 3 { allow::python3(module, name) } else { (module, name) };
        let shown = format!("{}.{}", show(module.as_bytes()), show(name.as_bytes()));
        if text::is_importable(module) && text::is_importable(name) {
            self.scan.names_globals = true;
        }
        if name.contains('.') {
            self.scan.refused += usize::from(text::is_importable(module) && text::is_importable(name));
            self.note(&report::DOTTED, format!("global `{shown}` walks attributes"));
            return Ok(Val::Unknown);
        }
        if let Some(entry) = allow::lookup(module, name) {
            return self.node(Node::Global(entry));
        }
        let (callable, catalogued) = match standing::of(module, name) {
            Standing::Catalogued { callable } => (callable, true),
            Standing::Own => (false, false),
            Standing::Refused => {
                self.scan.refused += usize::from(text::is_importable(module) && text::is_importable(name));
                self.note(&report::GLOBAL, format!("global `{shown}` is not on the allow list"));
                if standing::makes_code(module, name) {
                    self.note(&report::PICKLED_CODE, format!("`{shown}` makes functions out of byte code"));
                }
                return Ok(Val::Unknown);
            }
        };
        self.risk(module, name)?;
        let wrapper = joblib::is_wrapper(module, name);
        self.node(Node::Foreign { callable, catalogued, wrapper })
    }

    /// Records a pair that a policy would have to list, once.
    pub(super) fn risk(&mut self, module: &str, name: &str) -> Result<(), Finding> {
        let pair = (module.to_owned(), name.to_owned());
        if self.scan.globals.contains(&pair) {
            return Ok(());
        }
        if self.scan.globals.len() >= limits::PICKLE_GLOBALS {
            return Err(
                self.bad(&report::LIMIT, "pickle names too many globals that a policy would have to list")
            );
        }
        let shown = format!("{}.{}", show(module.as_bytes()), show(name.as_bytes()));
        self.note(&report::PICKLE_GLOBAL, format!("global `{shown}` needs a policy that lists it"));
        self.scan.globals.insert(pair);
        Ok(())
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
                self.build(target, state, budget)
            }
            _ => {
                let (callable, args) = match opcode {
                    b'o' => (self.pop_to_mark()?.first().copied(), Val::None),
                    0x81 => {
                        let args = self.pop()?;
                        (Some(self.pop()?), args)
                    }
                    _ => {
                        self.pop()?;
                        let args = self.pop()?;
                        (Some(self.pop()?), args)
                    }
                };
                let callable =
                    callable.ok_or_else(|| self.bad(&report::STACK, "OBJ without a class after its MARK"))?;
                self.scan.calls |= self.scan.names_globals;
                let made = self.instance(opcode, callable, args)?;
                self.push(made)
            }
        }
    }

    /// NEWOBJ and NEWOBJ_EX make an instance without running its constructor, which is how pickle remakes objects
    /// of classes. OBJ calls the class, and the reader of a listed class writes none of them. What was refused was
    /// reported when it was named.
    fn instance(&mut self, opcode: u8, callable: Val, args: Val) -> Result<Val, Finding> {
        if callable == Val::Unknown {
            return Ok(Val::Unknown);
        }
        let data = matches!(self.get_node(args), Some(Node::Tuple { .. } | Node::Plain));
        let empty =
            matches!(self.get_node(args), Some(Node::Tuple { items: Some(items), .. }) if items.is_empty());
        match self.get_node(callable) {
            Some(Node::Foreign { catalogued, wrapper, .. }) if opcode != b'o' && data => {
                let (catalogued, wrapper) = (*catalogued, *wrapper);
                let links = self.links_to(args);
                self.node(Node::Instance { catalogued, wrapper, links })
            }
            Some(Node::Global(allow::Entry::Value(allow::Value::Uuid))) if opcode == 0x81 && empty => {
                self.node(Node::Stateful { kind: Stateful::Uuid, built: false })
            }
            _ => {
                self.note(&report::CALL, "OBJ, NEWOBJ or NEWOBJ_EX on a class that does not permit it");
                Ok(Val::Unknown)
            }
        }
    }

    pub(super) fn persistent(&mut self, opcode: u8) -> Result<(), Finding> {
        if opcode == b'P' {
            return Err(self.bad(&report::PERSISTENT, "textual persistent id"));
        }
        let id = self.pop()?;
        if let Some(class) = self.legacy_module(id) {
            return self.push(class);
        }
        let storage = self.storage(id)?;
        self.scan.used.insert(storage.key.clone());
        self.push_node(Node::Storage(Box::new(storage)))
    }

    /// `("storage", class, key, location, elements)`, the key naming a member that holds the elements; in legacy
    /// files a storage that follows the streams, with `None` behind it for "no view of another".
    pub(super) fn storage(&mut self, id: Val) -> Result<Storage, Finding> {
        let bad = |what: &str| self.bad(&report::PERSISTENT, what);
        if matches!(self.place, Place::Bare | Place::Joblib | Place::Inline) {
            return Err(bad("persistent id outside a torch container"));
        }
        let Some(Node::Tuple { items: Some(items), .. }) = self.get_node(id) else {
            return Err(bad("persistent id is not a tuple"));
        };
        let (tag, class, key, location, elements) = match &**items {
            [tag, class, key, location, elements] => (*tag, *class, *key, *location, *elements),
            [tag, class, key, location, elements, Val::None] if self.is_legacy_model() => {
                (*tag, *class, *key, *location, *elements)
            }
            _ => return Err(bad("persistent id is not a tuple of five")),
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
        let key = self.text(key).ok_or_else(|| bad("key of the storage is not a text"))?.to_owned();
        let elements = match elements {
            Val::Int(count) => u64::try_from(count).ok(),
            _ => None,
        };
        let elements = elements.ok_or_else(|| bad("size of the storage is not a count"))?;
        let storage = Storage { key, dtype: *dtype, elements };
        let Place::Zip(storages) = self.place else { return self.legacy_storage(storage) };
        let size = storages.get(&storage.key).ok_or_else(|| bad("storage has no member in the file"))?;
        let used = elements.checked_mul(storage.dtype.size());
        match used.and_then(|used| size.checked_sub(used)) {
            Some(spare) if spare < storage.dtype.size() => Ok(storage),
            _ => Err(bad("size of the storage does not fit its member")),
        }
    }
}
