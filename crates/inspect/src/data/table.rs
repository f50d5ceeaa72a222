//! Tables as text: fields between delimiters, as RFC 4180 quotes them.

/// Between the fields of a record.
const DELIMITERS: [u8; 4] = [b',', b'\t', b';', b'|'];
/// Records by which a header is guessed.
const GUESS_ROWS: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the beginning of a field.
    Start,
    Plain,
    Quoted,
    /// Behind a quote within quotes: the end of the field, or half of a quote.
    Quote,
    /// Behind a carriage return.
    Return,
}

/// Counts the records of a table as its bytes come.
#[derive(Debug)]
pub(super) struct Table {
    delimiter: u8,
    state: State,
    /// Delimiters of this record so far.
    fields: u64,
    blank: bool,
    columns: Option<u64>,
    records: u64,
    /// Why it is none.
    broken: Option<String>,
}

impl Table {
    pub(super) const fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            state: State::Start,
            fields: 0,
            blank: true,
            columns: None,
            records: 0,
            broken: None,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.broken.is_some() {
                return;
            }
            self.step(*byte);
        }
    }

    fn step(&mut self, byte: u8) {
        if self.state == State::Return {
            self.state = State::Start;
            if byte == b'\n' {
                return;
            }
        }
        match (self.state, byte) {
            (State::Quoted, b'"') => self.state = State::Quote,
            (State::Quoted, _) => {}
            (State::Quote, b'"') => self.state = State::Quoted,
            (State::Start, b'"') => {
                self.blank = false;
                self.state = State::Quoted;
            }
            (_, byte) if byte == self.delimiter => {
                self.blank = false;
                self.fields = self.fields.saturating_add(1);
                self.state = State::Start;
            }
            (_, b'\n') => self.end(State::Start),
            (_, b'\r') => self.end(State::Return),
            (State::Quote, _) => {
                self.broken = Some(format!("record {}: text behind a quoted field", self.records + 1));
            }
            _ => {
                self.blank = false;
                self.state = State::Plain;
            }
        }
    }

    /// A record ends. A blank line is none.
    fn end(&mut self, next: State) {
        self.state = next;
        if !self.blank {
            let fields = self.fields.saturating_add(1);
            self.records = self.records.saturating_add(1);
            let columns = *self.columns.get_or_insert(fields);
            if columns != fields {
                let what = format!("record {} has {fields} fields, those before it {columns}", self.records);
                self.broken = Some(what);
            }
        }
        self.fields = 0;
        self.blank = true;
    }

    /// Records and columns of the whole table.
    pub(super) fn finish(mut self) -> Result<(u64, u64), String> {
        if self.state == State::Quoted {
            self.broken.get_or_insert_with(|| "a quoted field is not closed".to_owned());
        }
        if !matches!(self.state, State::Start) || !self.blank {
            self.end(State::Start);
        }
        match self.broken {
            Some(why) => Err(why),
            None => Ok((self.records, self.columns.unwrap_or(0))),
        }
    }
}

/// The delimiter of a table that begins so, if it is one. `named` by its ending, it may have one record or column.
pub(super) fn delimiter(sample: &[u8], whole: bool, named: Option<u8>) -> Option<u8> {
    let end = if whole { sample.len() } else { sample.iter().rposition(|byte| *byte == b'\n')? + 1 };
    let sample = sample.get(..end)?;
    let mut best: Option<(u64, u8)> = None;
    for delimiter in DELIMITERS {
        let mut table = Table::new(delimiter);
        table.push(sample);
        // The sample may end within quotes.
        let found = match table.state {
            State::Quoted if !whole => table.broken.is_none().then_some((table.records, table.columns?)),
            _ => table.finish().ok(),
        };
        let Some((records, columns)) = found else { continue };
        let enough = columns >= 2 && (records >= 2 || named.is_some());
        if enough && best.is_none_or(|(most, _)| columns > most) {
            best = Some((columns, delimiter));
        }
    }
    best.map(|(_, delimiter)| delimiter).or(named)
}

/// Whether the first record looks like the names of columns: no number among them, and a number below one of them in
/// every record that is looked at.
pub(super) fn has_header(sample: &[u8], delimiter: u8) -> bool {
    let mut rows = rows(sample, delimiter).into_iter();
    let Some(first) = rows.next() else { return false };
    let is_number = |field: &String| field.trim().parse::<f64>().is_ok();
    if first.iter().any(|field| is_number(field) || field.trim().is_empty()) {
        return false;
    }
    let rest: Vec<Vec<String>> = rows.collect();
    !rest.is_empty()
        && (0..first.len()).any(|column| rest.iter().all(|row| row.get(column).is_some_and(is_number)))
}

/// The first whole records.
fn rows(sample: &[u8], delimiter: u8) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = Vec::new();
    let mut field = Vec::new();
    let mut table = Table::new(delimiter);
    for byte in sample {
        let (fields, records) = (table.fields, table.records);
        let was = table.state;
        table.step(*byte);
        let text = |field: &mut Vec<u8>| String::from_utf8_lossy(&std::mem::take(field)).into_owned();
        if table.records > records {
            row.push(text(&mut field));
            rows.push(std::mem::take(&mut row));
            if rows.len() >= GUESS_ROWS {
                break;
            }
        } else if table.fields > fields {
            row.push(text(&mut field));
        } else if table.state == State::Plain || was == State::Quoted && table.state == State::Quoted {
            field.push(*byte);
        }
    }
    rows
}
