//! What a data file is and how many records it holds: told by its content, in bounded memory whatever its size.
//!
//! A file that is damaged is said to be damaged and is data all the same. What could run code in the program that
//! opens it is told as what it [`Carries`], wherever it stands: a policy decides about it. What cannot be looked into,
//! although code could stand in it, and what reads as data and as a pickle, is refused, and no policy lets it in.

mod archive;
mod arrays;
mod arrow;
mod code;
mod image;
mod input;
mod json;
mod parquet;
mod table;
mod text;
mod zip;

use std::collections::BTreeSet;
use std::io::Read;

use crate::cursor::offset;
use crate::limits;
use crate::unpack::Packed;

pub use input::Source;
use input::{Input, Watched};

/// Version of the rules: counts of two versions are comparable only if it is the same.
pub const RULE_SET: &str = "strongroom.data/1";

/// What runs in the program that opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Carries {
    /// Serialised objects: pickles, arrays of objects, joblib, and what other languages have of that kind.
    Pickle,
    /// Programs and scripts.
    Code,
}

impl Carries {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pickle => "pickle",
            Self::Code => "code",
        }
    }
}

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its format: `csv`, `gzip(csv)`, `unknown`.
    pub format: String,
    /// How many records it holds, where that can be told.
    pub records: Option<u64>,
    /// What a record is: `rows`, `lines`, `values`, `images`, `samples`, `items`; empty where none are told.
    pub unit: &'static str,
    /// Columns of a table.
    pub columns: Option<u64>,
    /// What runs in the program that opens it.
    pub carries: BTreeSet<Carries>,
    /// Why it is refused, whatever a policy says.
    pub refused: Option<String>,
    /// What else is to be said, for people.
    pub notes: Vec<String>,
}

impl Described {
    fn new(format: impl Into<String>) -> Self {
        Self {
            format: format.into(),
            records: None,
            unit: "",
            columns: None,
            carries: BTreeSet::new(),
            refused: None,
            notes: Vec::new(),
        }
    }

    fn counted(format: impl Into<String>, records: u64, unit: &'static str) -> Self {
        Self { records: Some(records), unit, ..Self::new(format) }
    }

    /// A format that is recognised and whose content is not as the format wants it.
    fn damaged(format: &str, why: impl AsRef<str>) -> Self {
        Self::new(format).note(format!("damaged: {}", why.as_ref()))
    }

    fn carrying(format: &str, what: Carries, why: impl Into<String>) -> Self {
        let mut described = Self::new(format).note(why);
        described.carries.insert(what);
        described
    }

    fn refused(format: &str, why: impl Into<String>) -> Self {
        let mut described = Self::new(format);
        described.refuse(why.into());
        described
    }

    fn refuse(&mut self, why: String) {
        self.refused.get_or_insert_with(|| clip(why));
    }

    fn note(mut self, text: impl Into<String>) -> Self {
        self.tell(text);
        self
    }

    fn tell(&mut self, text: impl Into<String>) {
        if self.notes.len() < limits::DATA_NOTES {
            self.notes.push(clip(text.into()));
        }
    }

    /// Takes over what a member of an archive carries.
    fn absorb(&mut self, name: &str, inner: &Self) {
        let shown = crate::cursor::show(name.as_bytes());
        if let Some(why) = &inner.refused {
            self.refuse(format!("`{shown}`: {why}"));
        }
        if !inner.carries.is_subset(&self.carries) {
            self.tell(format!("`{shown}`: {}", inner.notes.first().unwrap_or(&inner.format)));
        }
        self.carries.extend(&inner.carries);
    }
}

fn clip(mut text: String) -> String {
    let mut end = text.len().min(limits::DATA_NOTE);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.truncate(end);
    text
}

/// Where a file stands: how deep in others, and what all that is in it may still take.
#[derive(Debug)]
struct Place {
    depth: usize,
    members: u64,
}

/// Says what a file is. Of its name only the ending is used: what may not be decided by content (a table of one column
/// is a text, too) and names of programs.
///
/// # Errors
/// The source could not be read.
pub fn describe(name: &str, source: &mut dyn Source) -> std::io::Result<Described> {
    let mut watched = Watched::new(source);
    let mut place = Place { depth: 0, members: limits::DATA_MEMBERS };
    let described = within(name, &mut Input::of(&mut watched), &mut place);
    match watched.into_failure() {
        Some(failure) => Err(failure),
        None => Ok(described),
    }
}

/// The first bytes of a file.
#[derive(Debug)]
struct Head {
    bytes: Vec<u8>,
    /// They are all of it.
    whole: bool,
}

impl Head {
    fn read(input: &mut Input<'_>) -> std::io::Result<Self> {
        let mut head = Self { bytes: Vec::new(), whole: false };
        head.extend(input, limits::DATA_HEAD)?;
        Ok(head)
    }

    /// Reads on until there are so many bytes, or the file ends.
    fn extend(&mut self, input: &mut Input<'_>, most: usize) -> std::io::Result<()> {
        let want = most.saturating_sub(self.bytes.len());
        if !self.whole && want > 0 {
            input.take(offset(want)).read_to_end(&mut self.bytes)?;
            // One byte more tells whether there is more.
            self.whole = self.bytes.len() < most || input.is_at_end()?;
        }
        Ok(())
    }
}

/// Says what a file is that may stand in another one. All of a stream has been read after it.
fn within(name: &str, input: &mut Input<'_>, place: &mut Place) -> Described {
    let cannot = |error: std::io::Error| Described::refused("unread", format!("it cannot be read: {error}"));
    let mut head = match Head::read(input) {
        Ok(head) => head,
        Err(error) => return cannot(error),
    };
    if head.bytes.is_empty() {
        return Described::counted("empty", 0, "");
    }
    let described = told(name, &mut head, input, place);
    let mut described = described.unwrap_or_else(cannot);
    // A stream is read to its end, so that its checksums and bounds hold for all of it.
    if let Err(error) = input.drain() {
        described.refuse(format!("it cannot be read to its end: {error}"));
    }
    described
}

fn told(name: &str, head: &mut Head, input: &mut Input<'_>, place: &mut Place) -> std::io::Result<Described> {
    if let Some(code) = code::told(name, &head.bytes) {
        return Ok(code);
    }
    if let Some(packed) = Packed::of(code::uncut(&head.bytes)) {
        return archive::packed(packed, name, head, input, place);
    }
    if crate::tar::claims(&head.bytes) {
        if code::acts(head, input)? {
            return Ok(Described::refused(
                "tar",
                "it is a tar archive, and a pickle by the name of its first member",
            ));
        }
        return archive::tape(head, input, place);
    }
    if head.bytes.starts_with(b"PK\x03\x04") || head.bytes.starts_with(b"PK\x05\x06") {
        return zip::zipped(head, input, place);
    }
    if head.bytes.starts_with(crate::npy::MAGIC) {
        return arrays::npy(head, input);
    }
    // Whatever else it is: who opens it as a pickle runs it.
    if let Some(pickle) = code::pickle(head, input)? {
        return Ok(pickle);
    }
    let described = leaf(name, head, input)?;
    let tail = input.tail(&head.bytes)?;
    // What opens a ZIP archive looks for it from the end.
    if crate::zip::ends_like_one(&tail) {
        let why = format!("it is {} and ends like a ZIP archive", described.format);
        return Ok(Described::refused(&described.format, why));
    }
    Ok(described)
}

fn leaf(name: &str, head: &mut Head, input: &mut Input<'_>) -> std::io::Result<Described> {
    if head.bytes.starts_with(parquet::MAGIC) || head.bytes.starts_with(parquet::SEALED) {
        return parquet::describe(head, input);
    }
    if let Some(arrow) = arrow::describe(head, input)? {
        return Ok(arrow);
    }
    if let Some(image) = image::describe(head, input)? {
        return Ok(image);
    }
    if let Some(array) = arrays::describe(head, input)? {
        return Ok(array);
    }
    text::describe(name, head, input)
}
