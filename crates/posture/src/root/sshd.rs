//! sshd's configuration, read as sshd reads it (sshd_config(5); the lexer is that of OpenSSH 9's `strdelim` and
//! `argv_split`), for the two settings that let root in.
//!
//! For each keyword the first value wins, except that a `Match` block overrides for the connections that it matches.
//! Whether a block can match root is not worked out: any block that lets root in counts. What is read are the files;
//! a server that was not reloaded since they changed goes by what it read then.

use super::{Checked, Finding};

/// Where sshd looks when it is not told otherwise.
pub const DEFAULT: &str = "/etc/ssh/sshd_config";
/// Relative names in `Include` are below this.
const FOLDER: &str = "/etc/ssh/";
/// Deepest `Include`, as in sshd (`SERVCONF_MAX_DEPTH`).
const DEPTH_MAX: usize = 16;
/// Files of one configuration; a package drops one file, so this is far above what hosts have.
const FILES_MAX: usize = 256;
/// White space within a line.
const BLANK: [char; 3] = [' ', '\t', '\r'];

/// A file of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its path.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// A file that cannot be read, or a line that sshd would not take: why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unread(pub String);

/// Gives the files that a path or pattern of `Include` names, in the order of their names; none where there are none.
pub trait Files {
    /// # Errors
    /// [`Unread`]; what is not read cannot be judged.
    fn named(&mut self, pattern: &str) -> Result<Vec<Source>, Unread>;
}

/// How a server that runs was started, as far as that changes its configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Start {
    /// `-f`: its configuration.
    path: String,
    /// `-o`: lines before those of the file.
    lines: Vec<String>,
}

impl Start {
    /// From the words of its command line.
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut start = Self { path: DEFAULT.to_owned(), lines: Vec::new() };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            for (option, is_path) in [("-f", true), ("-o", false)] {
                let Some(rest) = word.strip_prefix(option) else { continue };
                let value = if rest.is_empty() { words.next().unwrap_or("") } else { rest };
                if is_path {
                    value.clone_into(&mut start.path);
                } else {
                    start.lines.push(value.to_owned());
                }
                break;
            }
        }
        start
    }
}

/// Checks the configuration of every server that runs, and the default one if it is there.
pub fn check(running: &[Start], files: &mut dyn Files) -> Checked {
    let default = Start::from_words([]);
    let mut starts: Vec<&Start> = running.iter().chain([&default]).collect();
    starts.sort();
    starts.dedup();
    let (mut findings, mut clean, mut unread) = (Vec::new(), Vec::new(), Vec::new());
    for start in starts {
        match read(start, files) {
            Ok(None) if running.contains(start) => unread.push(format!(
                "sshd runs and its configuration `{}` is not there",
                start.path.escape_debug()
            )),
            Ok(None) => {}
            Ok(Some(seen)) => {
                clean.push(format!("{}: {}", start.path, seen.summary()));
                findings.extend(seen.findings(&start.path));
            }
            Err(Unread(why)) => unread.push(why),
        }
    }
    if findings.is_empty() && !unread.is_empty() {
        return Checked::Unknown(unread.join("; "));
    }
    Checked::of(findings, || match clean.is_empty() {
        true => format!("no sshd runs and there is no {DEFAULT}"),
        false => clean.join("; "),
    })
}

/// Whether a name of a file matches one part of a pattern of `Include`: `*` and `?` as in glob(7), and no name that
/// begins with a dot unless the pattern does. None for what else a pattern may hold, which is not worked out.
pub fn matches(pattern: &str, name: &str) -> Option<bool> {
    if pattern.contains(['[', '\\', '~']) {
        return None;
    }
    if name.starts_with('.') && !pattern.starts_with('.') {
        return Some(false);
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    // Row by row: whether the first characters of the pattern match the first of the name.
    let mut row: Vec<bool> = std::iter::once(true).chain(name.iter().map(|_| false)).collect();
    for p in &pattern {
        let mut next = vec![*p == '*' && row.first().copied().unwrap_or(false)];
        for (at, c) in name.iter().enumerate() {
            let diagonal = row.get(at).copied().unwrap_or(false);
            let above = row.get(at.saturating_add(1)).copied().unwrap_or(false);
            let left = next.last().copied().unwrap_or(false);
            next.push(match p {
                '*' => above || left,
                '?' => diagonal,
                p => diagonal && p == c,
            });
        }
        row = next;
    }
    Some(row.last().copied().unwrap_or(false))
}

/// A value and the line that sets it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    value: String,
    path: String,
    line: usize,
}

impl Setting {
    fn is(&self, value: &str) -> bool {
        self.value.eq_ignore_ascii_case(value)
    }

    fn place(&self) -> String {
        format!("line {} of {}", self.line, self.path)
    }
}

/// A keyword that lets root in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keyword {
    RootLogin,
    EmptyPasswords,
}

impl Keyword {
    const ALL: [Self; 2] = [Self::RootLogin, Self::EmptyPasswords];

    const fn name(self) -> &'static str {
        match self {
            Self::RootLogin => "PermitRootLogin",
            Self::EmptyPasswords => "PermitEmptyPasswords",
        }
    }
}

/// What was read: the values outside `Match`, and what a `Match` block opens again.
#[derive(Debug, Default)]
struct Effective {
    root_login: Option<Setting>,
    empty_passwords: Option<Setting>,
    opened: Vec<(Keyword, Setting, String)>,
}

/// A `Match` block: its conditions, and which keywords it has set.
struct Block {
    conditions: String,
    set: Vec<Keyword>,
}

impl Effective {
    fn set(&mut self, keyword: Keyword, setting: Setting, block: Option<&mut Block>) {
        let Some(block) = block else {
            let place = match keyword {
                Keyword::RootLogin => &mut self.root_login,
                Keyword::EmptyPasswords => &mut self.empty_passwords,
            };
            place.get_or_insert(setting);
            return;
        };
        if !block.set.contains(&keyword) {
            block.set.push(keyword);
            if !setting.is("no") {
                self.opened.push((keyword, setting, block.conditions.clone()));
            }
        }
    }

    fn summary(&self) -> String {
        let root = self.root_login.as_ref();
        root.map_or_else(String::new, |s| format!("PermitRootLogin {} ({})", s.value, s.place()))
    }

    fn findings(&self, config: &str) -> Vec<Finding> {
        let mut all = Vec::new();
        match &self.root_login {
            Some(setting) if setting.is("no") => {}
            Some(setting) => all.push(wrong(Keyword::RootLogin, setting, "")),
            None => all.push(Finding::new(
                format!("{config} does not set PermitRootLogin: by default root logs in with a key"),
                format!("put `PermitRootLogin no` on a line before all others of {config}, and reload sshd"),
            )),
        }
        // Not set is `no`.
        if let Some(setting) = self.empty_passwords.as_ref().filter(|s| !s.is("no")) {
            all.push(wrong(Keyword::EmptyPasswords, setting, ""));
        }
        for (keyword, setting, conditions) in &self.opened {
            all.push(wrong(*keyword, setting, &format!(" within `Match {conditions}`")));
        }
        all
    }
}

fn wrong(keyword: Keyword, setting: &Setting, within: &str) -> Finding {
    let (name, value, place) = (keyword.name(), setting.value.escape_debug(), setting.place());
    Finding::new(
        format!("{place} says `{name} {value}`{within}"),
        format!("make {place} `{name} no`, and reload sshd"),
    )
}

/// None where the file is not there.
fn read(start: &Start, files: &mut dyn Files) -> Result<Option<Effective>, Unread> {
    let mut reading = Reading { files, left: FILES_MAX, seen: Effective::default() };
    let lines = Source { path: "sshd's command line".to_owned(), text: start.lines.join("\n") };
    reading.source(&lines, None, 0)?;
    let sources = reading.files.named(&start.path)?;
    for source in &sources {
        reading.source(source, None, 0)?;
    }
    Ok((!sources.is_empty()).then_some(reading.seen))
}

struct Reading<'a> {
    files: &'a mut dyn Files,
    left: usize,
    seen: Effective,
}

impl Reading<'_> {
    /// Reads one file. A `Match` in it ends with it; `outer` is the block that includes it.
    fn source(&mut self, source: &Source, mut outer: Option<&mut Block>, depth: usize) -> Result<(), Unread> {
        let mut own: Option<Block> = None;
        for (index, text) in source.text.split('\n').enumerate() {
            let line = index.saturating_add(1);
            let refuse = |why: &str| Unread(format!("line {line} of {}: {why}", source.path));
            let Some((word, rest)) = keyword(text).map_err(refuse)? else { continue };
            let mut block = own.as_mut().or(outer.as_deref_mut());
            if word.eq_ignore_ascii_case("Match") {
                own = Some(Block { conditions: rest.trim().escape_debug().to_string(), set: Vec::new() });
            } else if word.eq_ignore_ascii_case("Include") {
                if depth >= DEPTH_MAX {
                    return Err(refuse("too many levels of Include"));
                }
                for pattern in words(rest).map_err(refuse)? {
                    let absolute = pattern.starts_with(['/', '~']);
                    let pattern = if absolute { pattern } else { format!("{FOLDER}{pattern}") };
                    for included in self.files.named(&pattern)? {
                        self.left = self.left.checked_sub(1).ok_or_else(|| refuse("too many files"))?;
                        self.source(&included, block.as_deref_mut(), depth.saturating_add(1))?;
                    }
                }
            } else if let Some(found) = Keyword::ALL.into_iter().find(|k| word.eq_ignore_ascii_case(k.name()))
            {
                let value = words(rest).map_err(refuse)?.into_iter().next();
                let value = value.ok_or_else(|| refuse("a keyword without a value"))?;
                self.seen.set(found, Setting { value, path: source.path.clone(), line }, block);
            }
        }
        Ok(())
    }
}

/// The keyword of a line and what follows it; none where it is empty or a comment.
fn keyword(line: &str) -> Result<Option<(String, &str)>, &'static str> {
    let line = line.trim_end_matches([' ', '\t', '\r', '\u{c}']);
    let (mut word, mut rest) = delimited(line)?;
    if word.is_empty() {
        (word, rest) = delimited(rest)?;
    }
    Ok((!word.is_empty() && !word.starts_with('#')).then_some((word, rest)))
}

/// `strdelim`: the text up to white space, one `=` or a quoted part, and what follows.
fn delimited(text: &str) -> Result<(String, &str), &'static str> {
    let Some((head, tail)) = text.find([' ', '\t', '\r', '"', '=']).and_then(|at| text.split_at_checked(at))
    else {
        return Ok((text.to_owned(), ""));
    };
    if let Some(quoted) = tail.strip_prefix('"') {
        let (inner, rest) = quoted.split_once('"').ok_or("a quote is not closed")?;
        return Ok((format!("{head}{inner}"), rest.trim_start_matches(BLANK)));
    }
    let rest = match tail.strip_prefix('=') {
        Some(rest) => rest.trim_start_matches(BLANK),
        None => {
            let rest = tail.trim_start_matches(BLANK);
            rest.strip_prefix('=').map_or(rest, |rest| rest.trim_start_matches(BLANK))
        }
    };
    Ok((head.to_owned(), rest))
}

/// `argv_split`: words with quotes, escapes and a comment at the end.
fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut all = Vec::new();
    let mut rest = text.chars().peekable();
    loop {
        while rest.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
        if matches!(rest.peek(), None | Some('#')) {
            return Ok(all);
        }
        let (mut word, mut quote) = (String::new(), None);
        while let Some(c) = rest.next_if(|c| quote.is_some() || !matches!(c, ' ' | '\t')) {
            match (c, quote) {
                ('\\', _) => {
                    let escaped = |c: &char| matches!(c, '\'' | '"' | '\\') || (*c == ' ' && quote.is_none());
                    word.push(rest.next_if(escaped).unwrap_or('\\'));
                }
                ('"' | '\'', None) => quote = Some(c),
                (c, Some(open)) if c == open => quote = None,
                (c, _) => word.push(c),
            }
        }
        if quote.is_some() {
            return Err("a quote is not closed");
        }
        all.push(word);
    }
}
