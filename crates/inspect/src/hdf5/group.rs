//! Groups: symbol tables with their trees and heaps, and links as messages.

use super::object::sized;
use super::{Walker, bad, outside};
use crate::cursor::{Cursor, offset, show};
use crate::limits;
use crate::report::Finding;

/// Bytes of an entry of a symbol table.
const ENTRY: usize = 40;

impl<'a> Walker<'a, '_> {
    pub(super) fn symbol_table(&mut self, at: u64, body: &[u8], path: &str) -> Result<(), Finding> {
        let mut cursor = Cursor::new(body);
        let (Some(tree), Some(heap)) = (cursor.u64(), cursor.u64()) else {
            return Err(bad(at, "symbol table is cut off"));
        };
        let names = self.local_heap(heap)?;
        let mut nodes = vec![(tree, 0_u32)];
        while let Some((at, depth)) = nodes.pop() {
            self.step(at)?;
            if depth > limits::HDF5_DEPTH || !self.seen.insert(at) {
                return Err(bad(at, "tree of a group is too deep or joins itself"));
            }
            let children = self.tree_node(at, 0, 8)?;
            for (child, leaf) in children {
                if leaf {
                    self.symbols(child, names, path)?;
                } else {
                    nodes.push((child, depth + 1));
                }
            }
        }
        Ok(())
    }

    /// The children of a node of a version 1 tree, and whether they are leaves. `key` is the length of its keys.
    pub(super) fn tree_node(&mut self, at: u64, kind: u8, key: usize) -> Result<Vec<(u64, bool)>, Finding> {
        let cut = || bad(at, "node of a tree is cut off");
        let mut cursor = self.cursor(at)?;
        if cursor.take(4) != Some(b"TREE") || cursor.u8() != Some(kind) {
            return Err(bad(at, "expected the node of a tree"));
        }
        let level = cursor.u8().ok_or_else(cut)?;
        let count = cursor.u16().ok_or_else(cut)?;
        cursor.take(16).ok_or_else(cut)?;
        let mut children = Vec::new();
        for _ in 0..count {
            cursor.take(key).ok_or_else(cut)?;
            children.push((cursor.u64().ok_or_else(cut)?, level == 0));
        }
        cursor.take(key).ok_or_else(cut)?;
        self.uses(at, offset(cursor.pos()).saturating_sub(at))?;
        Ok(children)
    }

    /// The names of a group.
    fn local_heap(&mut self, at: u64) -> Result<&'a [u8], Finding> {
        let cut = || bad(at, "heap of names is cut off");
        let mut cursor = self.cursor(at)?;
        if cursor.take(4) != Some(b"HEAP") || cursor.u8() != Some(0) {
            return Err(bad(at, "expected a heap of names"));
        }
        cursor.take(3).ok_or_else(cut)?;
        let len = cursor.u64().ok_or_else(cut)?;
        cursor.u64().ok_or_else(cut)?;
        let data = cursor.u64().ok_or_else(cut)?;
        self.uses(at, 32)?;
        self.uses(data, len)?;
        let start = usize::try_from(data).ok();
        let range = start.zip(usize::try_from(len).ok());
        range.and_then(|(start, len)| self.bytes.get(start..start.checked_add(len)?)).ok_or_else(cut)
    }

    fn symbols(&mut self, at: u64, names: &'a [u8], path: &str) -> Result<(), Finding> {
        let cut = || bad(at, "symbols are cut off");
        let mut cursor = self.cursor(at)?;
        if cursor.take(4) != Some(b"SNOD") || cursor.u8() != Some(1) {
            return Err(bad(at, "expected a node of symbols"));
        }
        cursor.u8().ok_or_else(cut)?;
        let count = cursor.u16().ok_or_else(cut)?;
        for _ in 0..count {
            self.step(at)?;
            let entry = cursor.take(ENTRY).ok_or_else(cut)?;
            let mut fields = Cursor::new(entry);
            let (Some(name), Some(object), Some(kind)) = (fields.u64(), fields.u64(), fields.u32()) else {
                return Err(cut());
            };
            let name = text_at(names, name).ok_or_else(|| bad(at, "name of a symbol is not in its heap"))?;
            match kind {
                0 | 1 => self.child(at, object, path, name)?,
                // A soft link names an object of this file by its path.
                2 => {}
                _ => return Err(outside(at, format!("symbol of kind {kind} is not known"))),
            }
        }
        self.uses(at, offset(cursor.pos()).saturating_sub(at))
    }

    fn child(&mut self, at: u64, object: u64, path: &str, name: &[u8]) -> Result<(), Finding> {
        let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty() && !name.contains('/'));
        let name = name.ok_or_else(|| bad(at, "name of an object is empty or not UTF-8"))?;
        self.push(object, format!("{path}/{name}"))
    }

    /// A link as a message: hard and soft ones stay in the file.
    pub(super) fn link(&mut self, at: u64, body: &'a [u8], path: &str) -> Result<(), Finding> {
        let cut = || bad(at, "link is cut off");
        let mut cursor = Cursor::new(body);
        let (version, flags) = cursor.u8().zip(cursor.u8()).ok_or_else(cut)?;
        if version != 1 || flags & !0x1f != 0 {
            return Err(bad(at, "version of the link is not known"));
        }
        let kind = if flags & 0x08 != 0 { cursor.u8().ok_or_else(cut)? } else { 0 };
        let skipped = if flags & 0x04 != 0 { 8 } else { 0 } + if flags & 0x10 != 0 { 1 } else { 0 };
        cursor.take(skipped).ok_or_else(cut)?;
        let len = sized(&mut cursor, 1 << (flags & 3)).and_then(|len| usize::try_from(len).ok());
        let name = len.and_then(|len| cursor.take(len)).ok_or_else(cut)?;
        match kind {
            0 => {
                let object = cursor.u64().ok_or_else(cut)?;
                self.child(at, object, path, name)
            }
            1 => Ok(()),
            64 => Err(outside(at, format!("link `{}` leads into another file", show(name)))),
            _ => Err(outside(at, format!("link `{}` is of a kind of its own", show(name)))),
        }
    }
}

/// A text in a heap, up to its NUL, which is not far: many names may lie in one heap.
fn text_at(names: &[u8], at: u64) -> Option<&[u8]> {
    let rest = names.get(usize::try_from(at).ok()?..)?;
    let rest = rest.get(..rest.len().min(limits::HDF5_PATH)).unwrap_or(rest);
    let len = rest.iter().position(|byte| *byte == 0)?;
    rest.get(..len)
}
