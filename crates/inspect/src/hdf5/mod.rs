//! HDF5 (the HDF Group's File Format Specification, version 3): a walk over its objects that follows every link
//! and reads every message, and no numbers.
//!
//! What makes a library read another file or load a plug-in is refused: external and user-defined links, external
//! and virtual storage, filters but those that come with the library. So is what this reader does not know:
//! links and attributes in dense storage, which files hold that were written for new libraries alone.

mod chunk;
mod group;
mod object;

use std::collections::BTreeSet;

use crate::cursor::{Cursor, offset, show};
use crate::json;
use crate::keras;
use crate::limits::{self, Limits};
use crate::pickle;
use crate::report::{self, Finding, Report, TensorInfo};

pub(crate) const MAGIC: &[u8] = b"\x89HDF\r\n\x1a\n";
/// An address that is none.
const UNDEFINED: u64 = u64::MAX;

fn bad(at: u64, what: impl Into<String>) -> Finding {
    Finding::new(&report::HDF5, at, what)
}

fn outside(at: u64, what: impl Into<String>) -> Finding {
    Finding::new(&report::HDF5_OUTSIDE, at, what)
}

/// Where a signature may stand when something precedes the file: 512 bytes, and twice as many each time.
pub(crate) fn is_behind_something(bytes: &[u8]) -> bool {
    let places = std::iter::successors(Some(512_usize), |at| at.checked_mul(2));
    places
        .take_while(|at| *at < bytes.len())
        .any(|at| bytes.get(at..).is_some_and(|rest| rest.starts_with(MAGIC)))
}

struct Walker<'a, 'l> {
    bytes: &'a [u8],
    limits: &'l Limits,
    /// Addresses of objects that were seen, which hard links may name again.
    seen: BTreeSet<u64>,
    /// Objects to look at, with their paths.
    next: Vec<(u64, String)>,
    /// Parts of the file that are in use.
    extents: Vec<(u64, u64)>,
    /// Work left: messages, entries and nodes.
    steps: u64,
    /// Bytes of paths that may still be kept.
    path_bytes: usize,
    /// Bytes of values of attributes that may still be looked at, since several may refer to one.
    value_bytes: u64,
    report: &'l mut Report,
}

/// Inspects a file of its own, which keeps a risk.
pub(crate) fn inspect(bytes: &[u8], limits: &Limits, report: &mut Report) -> Result<(), Finding> {
    walk(bytes, limits, report)?;
    report.push(Finding::new(&report::HDF5_RISK, 0, "HDF5 file, which nothing ties to a model format"));
    Ok(())
}

/// Inspects a file within a container whose rules are stricter.
pub(crate) fn walk(bytes: &[u8], limits: &Limits, report: &mut Report) -> Result<(), Finding> {
    let mut walker = Walker {
        bytes,
        limits,
        seen: BTreeSet::new(),
        next: Vec::new(),
        extents: Vec::new(),
        steps: limits::HDF5_STEPS,
        path_bytes: limits::HDF5_PATHS,
        value_bytes: offset(bytes.len()).saturating_add(limits::MEASURE_FLOOR),
        report,
    };
    walker.superblock()?;
    while let Some((at, path)) = walker.next.pop() {
        walker.object(at, &path)?;
    }
    walker.overlaps()
}

impl<'a> Walker<'a, '_> {
    fn cursor(&self, at: u64) -> Result<Cursor<'a>, Finding> {
        let place = usize::try_from(at).ok().filter(|at| *at < self.bytes.len());
        let place = place.ok_or_else(|| bad(at, "address is outside the file"))?;
        Ok(Cursor::at(self.bytes, place))
    }

    fn step(&mut self, at: u64) -> Result<(), Finding> {
        self.steps = self
            .steps
            .checked_sub(1)
            .ok_or_else(|| Finding::new(&report::LIMIT, at, "file has too many parts"))?;
        Ok(())
    }

    /// Takes note of a part in use, which must lie within the file.
    fn uses(&mut self, at: u64, len: u64) -> Result<(), Finding> {
        let end = at.checked_add(len).filter(|end| *end <= offset(self.bytes.len()));
        let end = end.ok_or_else(|| bad(at, format!("{len} bytes do not lie within the file")))?;
        if len > 0 {
            self.extents.push((at, end));
        }
        Ok(())
    }

    /// No two parts share bytes, or two readers could see two files.
    fn overlaps(&mut self) -> Result<(), Finding> {
        self.extents.sort_unstable();
        let mut last = 0;
        for (at, end) in &self.extents {
            if *at < last {
                return Err(Finding::new(&report::HDF5_OVERLAP, *at, "two parts of the file share bytes"));
            }
            last = *end;
        }
        Ok(())
    }

    fn push(&mut self, at: u64, path: String) -> Result<(), Finding> {
        if path.len() > limits::HDF5_PATH {
            return Err(Finding::new(&report::LIMIT, at, "path of an object is too long"));
        }
        if self.seen.insert(at) {
            let left = self.path_bytes.checked_sub(path.len());
            let what = "paths of the objects are too long together";
            self.path_bytes = left.ok_or_else(|| Finding::new(&report::LIMIT, at, what))?;
            self.next.push((at, path));
        }
        Ok(())
    }

    fn superblock(&mut self) -> Result<(), Finding> {
        let mut cursor = self.cursor(0)?;
        cursor.take(MAGIC.len());
        let cut = || bad(0, "superblock is cut off");
        let version = cursor.u8().ok_or_else(cut)?;
        let sizes = match version {
            0 | 1 => {
                let versions = cursor.array::<4>().ok_or_else(cut)?;
                if versions != [0; 4] {
                    return Err(bad(9, "superblock names versions that are not known"));
                }
                let sizes = cursor.u8().zip(cursor.u8());
                cursor.take(1 + 2 + 2 + 4 + if version == 1 { 4 } else { 0 }).ok_or_else(cut)?;
                sizes
            }
            2 | 3 => {
                let sizes = cursor.u8().zip(cursor.u8());
                cursor.take(1).ok_or_else(cut)?;
                sizes
            }
            _ => return Err(bad(8, format!("version {version} of the superblock is not known"))),
        };
        if sizes != Some((8, 8)) {
            return Err(bad(9, "offsets and lengths are not of 8 bytes"));
        }
        let base = cursor.u64().ok_or_else(cut)?;
        let second = cursor.u64().ok_or_else(cut)?;
        let end = cursor.u64().ok_or_else(cut)?;
        if base != 0 || end != offset(self.bytes.len()) {
            return Err(bad(0, "superblock states another place or length of the file"));
        }
        let root = if version < 2 {
            let driver = cursor.u64().ok_or_else(cut)?;
            if second != UNDEFINED || driver != UNDEFINED {
                return Err(outside(0, "file names a driver or a list of free space"));
            }
            cursor.u64().ok_or_else(cut)?;
            let root = cursor.u64().ok_or_else(cut)?;
            cursor.take(24).ok_or_else(cut)?;
            root
        } else {
            if second != UNDEFINED {
                self.push(second, "superblock".to_owned())?;
            }
            let root = cursor.u64().ok_or_else(cut)?;
            cursor.u32().ok_or_else(cut)?;
            root
        };
        self.uses(0, offset(cursor.pos()))?;
        self.push(root, String::new())
    }

    fn tensor(&mut self, path: &str, shape: Vec<u64>, dtype: &'static str) -> Result<(), Finding> {
        if self.report.tensors.len() >= self.limits.tensors {
            return Err(Finding::new(&report::LIMIT, 0, "too many data sets"));
        }
        self.report.tensors.push(TensorInfo {
            name: path.to_owned(),
            dtype: dtype.to_owned(),
            shape,
            norm_bits: None,
            digest: None,
        });
        Ok(())
    }

    /// The value of an attribute: a configuration of Keras, or bytes that must not be a pickle, since some
    /// libraries unpickle what looks like one.
    fn attribute(&mut self, at: u64, name: &str, value: &[u8]) -> Result<(), Finding> {
        let left = self.value_bytes.checked_sub(offset(value.len()));
        let what = "attributes refer to values too often";
        self.value_bytes = left.ok_or_else(|| Finding::new(&report::LIMIT, at, what))?;
        // Texts of a fixed length are filled up with zeros.
        let end = value.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let text = value.get(..end).unwrap_or_default();
        let config = name.ends_with("_config");
        if config || text.trim_ascii_start().starts_with(b"{\"") {
            match json::parse(text) {
                Ok(root) => {
                    let mut findings = Vec::new();
                    keras::check_object(&root, at, &mut findings);
                    findings.into_iter().for_each(|finding| self.report.push(finding));
                    return Ok(());
                }
                Err(finding) if config => {
                    let what = format!("attribute `{}`: {}", show(name.as_bytes()), finding.explanation);
                    return Err(bad(at, what));
                }
                Err(_) => {}
            }
        }
        let scan = pickle::scan(value, at, pickle::Place::Bare, self.limits);
        if scan.calls || scan.names_globals {
            let what = format!("attribute `{}` is a pickle", show(name.as_bytes()));
            return Err(Finding::new(&report::HDF5_PICKLE, at, what));
        }
        Ok(())
    }
}
