//! Tokens of Jinja, as `jinja2.lexer` cuts them. Where it and other readers could differ, nothing passes.

use crate::limits;

/// One token within a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Name(String),
    Text(String),
    /// Digits only; the value does not matter to any rule.
    Integer,
    Float,
    /// `==`, `//`, `(`, ...
    Op(&'static str),
    /// `{{` and `{%`.
    OutputBegin,
    OutputEnd,
    TagBegin,
    TagEnd,
    End,
}

/// A token and where it begins.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) at: usize,
}

/// Why a template cannot be read.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) at: usize,
    pub(super) what: &'static str,
}

/// Longest first, so that a prefix does not hide a longer one.
const OPERATORS: &[&str] = &[
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<",
    "=", ".", ":", "|", ",",
];

struct Lexer<'a> {
    text: &'a str,
    pos: usize,
    tokens: Vec<Placed>,
    /// The closing brackets that are due, innermost last.
    open: Vec<&'static str>,
}

/// Cuts a whole template; text between tags is left out, since it is only printed.
pub(super) fn tokens(text: &str, limit: usize) -> Result<Vec<Placed>, Unreadable> {
    let mut lexer = Lexer { text, pos: 0, tokens: Vec::new(), open: Vec::new() };
    while let Some(begin) = lexer.next_tag() {
        lexer.pos = begin + 2;
        let kind = text.get(begin..begin + 2).unwrap_or_default();
        if kind == "{#" {
            lexer.comment(begin)?;
            continue;
        }
        lexer.eat_sign();
        let (first, last, close) = match kind {
            "{{" => (Token::OutputBegin, Token::OutputEnd, "}}"),
            _ => (Token::TagBegin, Token::TagEnd, "%}"),
        };
        lexer.push(first, begin);
        lexer.tag(last, close, limit)?;
    }
    let end = text.len();
    lexer.push(Token::End, end);
    Ok(lexer.tokens)
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.pos..).unwrap_or_default()
    }

    fn fail<T>(&self, what: &'static str) -> Result<T, Unreadable> {
        Err(Unreadable { at: self.pos, what })
    }

    fn push(&mut self, token: Token, at: usize) {
        self.tokens.push(Placed { token, at });
    }

    /// Where the next `{{`, `{%` or `{#` begins.
    fn next_tag(&self) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let window = bytes.get(self.pos..)?.windows(2);
        window
            .enumerate()
            .find(|(_, pair)| matches!(pair, [b'{', b'{' | b'%' | b'#']))
            .map(|(at, _)| self.pos + at)
    }

    /// The sign of white space control after an opening.
    fn eat_sign(&mut self) {
        if self.rest().starts_with(['-', '+']) {
            self.pos += 1;
        }
    }

    /// Comments do not nest: the first end ends them.
    fn comment(&mut self, begin: usize) -> Result<(), Unreadable> {
        match self.rest().find("#}") {
            Some(len) => {
                self.pos += len + 2;
                Ok(())
            }
            None => Err(Unreadable { at: begin, what: "comment is not closed" }),
        }
    }

    fn tag(&mut self, last: Token, close: &str, limit: usize) -> Result<(), Unreadable> {
        loop {
            let skipped = self.rest().len() - self.rest().trim_start_matches([' ', '\t', '\r', '\n']).len();
            self.pos += skipped;
            if self.tokens.len() >= limit {
                return self.fail("template has too many tokens");
            }
            let at = self.pos;
            // Within brackets the end of a tag is none: `{{ {'a': {}} }}`.
            if self.open.is_empty() {
                let rest = self.rest();
                let signs: &[char] = if close == "%}" { &['-', '+'] } else { &['-'] };
                let signed = rest.strip_prefix(signs).filter(|rest| rest.starts_with(close));
                if rest.starts_with(close) || signed.is_some() {
                    self.pos += close.len() + usize::from(signed.is_some());
                    self.push(last, at);
                    return Ok(());
                }
            }
            let token = self.token()?;
            self.push(token, at);
        }
    }

    fn token(&mut self) -> Result<Token, Unreadable> {
        let Some(first) = self.rest().chars().next() else { return self.fail("tag is not closed") };
        match first {
            '"' | '\'' => self.string(first).map(Token::Text),
            '0'..='9' => self.number(),
            'a'..='z' | 'A'..='Z' | '_' => {
                let len = self.rest().find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let name = self.rest().get(..len.unwrap_or(self.rest().len())).unwrap_or_default().to_owned();
                self.pos += name.len();
                // A letter beyond ASCII would go on the name for one reader and end it for another.
                if self.rest().chars().next().is_some_and(|c| !c.is_ascii()) {
                    return self.fail("name is not ASCII");
                }
                Ok(Token::Name(name))
            }
            _ => self.operator(),
        }
    }

    fn operator(&mut self) -> Result<Token, Unreadable> {
        let found = OPERATORS.iter().find(|op| self.rest().starts_with(**op));
        let Some(op) = found else { return self.fail("character has no meaning in a tag") };
        match *op {
            "(" => self.open.push(")"),
            "[" => self.open.push("]"),
            "{" => self.open.push("}"),
            ")" | "]" | "}" if self.open.pop() != Some(*op) => return self.fail("brackets do not match"),
            _ => {}
        }
        self.pos += op.len();
        Ok(Token::Op(op))
    }

    /// Decimal numbers; the other bases have no use in a template.
    fn number(&mut self) -> Result<Token, Unreadable> {
        let begin = self.pos;
        let digits = |lexer: &mut Self| {
            let rest = lexer.rest();
            let len = rest.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(rest.len());
            lexer.pos += len;
        };
        digits(self);
        let mut token = Token::Integer;
        let fraction =
            self.rest().strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        if fraction {
            self.pos += 1;
            digits(self);
            token = Token::Float;
        }
        if self.rest().starts_with(['e', 'E']) {
            let after = self.rest().get(1..).unwrap_or_default();
            let unsigned = after.strip_prefix(['-', '+']).unwrap_or(after);
            if unsigned.starts_with(|c: char| c.is_ascii_digit()) {
                self.pos += self.rest().len() - unsigned.len();
                digits(self);
                token = Token::Float;
            }
        }
        let digits = self.text.get(begin..self.pos).unwrap_or_default();
        // An underscore stands between two digits, and no whole number but zero begins with one.
        let zeros = token == Token::Integer
            && digits.starts_with('0')
            && digits.contains(|c| ('1'..='9').contains(&c));
        let long = token == Token::Integer && digits.len() > limits::TEMPLATE_DIGITS;
        let odd = long
            || zeros
            || digits.contains("__")
            || digits.split(['.', 'e', 'E']).any(|part| part.ends_with('_'));
        if odd || self.rest().starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            return self.fail("number runs into a name");
        }
        Ok(token)
    }

    /// A literal, with the escapes of Python resolved: `"\x5f"` is an underscore.
    fn string(&mut self, quote: char) -> Result<String, Unreadable> {
        self.pos += 1;
        let mut out = String::new();
        loop {
            let Some(next) = self.rest().chars().next() else { return self.fail("text is not closed") };
            self.pos += next.len_utf8();
            match next {
                '\\' => self.escape(&mut out)?,
                _ if next == quote => return Ok(out),
                _ => out.push(next),
            }
        }
    }

    fn escape(&mut self, out: &mut String) -> Result<(), Unreadable> {
        let Some(next) = self.rest().chars().next() else { return self.fail("text is not closed") };
        let plain = match next {
            'n' => Some('\n'),
            't' => Some('\t'),
            'r' => Some('\r'),
            'a' => Some('\x07'),
            'b' => Some('\x08'),
            'f' => Some('\x0c'),
            'v' => Some('\x0b'),
            '\\' | '\'' | '"' => Some(next),
            _ => None,
        };
        if let Some(plain) = plain {
            self.pos += 1;
            out.push(plain);
            return Ok(());
        }
        let (skip, radix, max) = match next {
            'x' => (1, 16, 2),
            'u' => (1, 16, 4),
            'U' => (1, 16, 8),
            '0'..='7' => (0, 8, 3),
            'N' => return self.fail("character is named by its Unicode name"),
            // A line that goes on vanishes; anything else keeps its backslash.
            '\n' => {
                self.pos += 1;
                return Ok(());
            }
            _ => {
                out.push('\\');
                return Ok(());
            }
        };
        self.pos += skip;
        let digits: String = self.rest().chars().take(max).take_while(|c| c.is_digit(radix)).collect();
        if digits.is_empty() || (radix == 16 && digits.len() != max) {
            return self.fail("escape is cut off");
        }
        self.pos += digits.len();
        match u32::from_str_radix(&digits, radix).ok().and_then(char::from_u32) {
            Some(found) => out.push(found),
            None => return self.fail("escape is no character"),
        }
        Ok(())
    }
}
