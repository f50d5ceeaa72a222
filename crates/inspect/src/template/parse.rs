//! From tokens to tags, by the grammar of `jinja2.parser`, with the tags that no chat template needs left out.

use super::ast::{Arguments, Expr, Kind, Tag, Target};
use super::lex::{Placed, Token, Unreadable};
use crate::limits;

/// Words that are no names.
const RESERVED: &[&str] =
    &["and", "or", "not", "if", "else", "elif", "in", "is", "for", "recursive", "import"];

/// What may nest, and where `break` is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    For,
    If,
    /// After `else` of a loop or of a condition.
    Else(&'static str),
    Other(&'static str),
}

pub(super) struct Parser<'a> {
    tokens: &'a [Placed],
    pos: usize,
    depth: usize,
    tags: Vec<Tag>,
    /// Bodies that are open, innermost last.
    blocks: Vec<Block>,
}

type Parsed<T> = Result<T, Unreadable>;

/// Reads all tags. What each needs to be closed is checked; their nesting is not kept, since no rule needs it.
pub(super) fn parse(tokens: &[Placed]) -> Parsed<Vec<Tag>> {
    let mut parser = Parser { tokens, pos: 0, depth: 0, tags: Vec::new(), blocks: Vec::new() };
    loop {
        let at = parser.at();
        match parser.next() {
            Token::End if parser.blocks.is_empty() => return Ok(parser.tags),
            Token::OutputBegin => {
                let value = parser.tuple(true)?;
                parser.tags.push(Tag { at, kind: Kind::Evaluate(value) });
                parser.expect(&Token::OutputEnd)?;
            }
            Token::TagBegin => {
                parser.tag(at)?;
                parser.expect(&Token::TagEnd)?;
            }
            _ => return Err(Unreadable { at, what: "template ends within a block" }),
        }
    }
}

impl Parser<'_> {
    fn at(&self) -> usize {
        self.tokens.get(self.pos).map_or(0, |placed| placed.at)
    }

    fn fail<T>(&self, what: &'static str) -> Parsed<T> {
        Err(Unreadable { at: self.at(), what })
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.pos).map_or(&Token::End, |placed| &placed.token)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.pos += 1;
        token
    }

    fn expect(&mut self, token: &Token) -> Parsed<()> {
        if self.peek() == token {
            self.pos += 1;
            return Ok(());
        }
        self.fail("tag goes on where it has to end")
    }

    fn eat(&mut self, op: &'static str) -> bool {
        let found = *self.peek() == Token::Op(op);
        self.pos += usize::from(found);
        found
    }

    fn need(&mut self, op: &'static str) -> Parsed<()> {
        if self.eat(op) { Ok(()) } else { self.fail("an operator is missing") }
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Name(name) if name == word)
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.pos += usize::from(found);
        found
    }

    fn name(&mut self) -> Parsed<String> {
        match self.next() {
            Token::Name(name) if !RESERVED.contains(&name.as_str()) => Ok(name),
            _ => self.fail("expected a name"),
        }
    }

    fn push(&mut self, at: usize, kind: Kind) {
        self.tags.push(Tag { at, kind });
    }

    fn open(&mut self, block: Block) -> Parsed<()> {
        if self.blocks.len() >= limits::TEMPLATE_DEPTH {
            return self.fail("blocks are nested too deeply");
        }
        self.blocks.push(block);
        Ok(())
    }

    fn close(&mut self, allowed: &[Block]) -> Parsed<()> {
        match self.blocks.pop() {
            Some(block) if allowed.contains(&block) => Ok(()),
            _ => self.fail("block ends that was not begun"),
        }
    }

    fn tag(&mut self, at: usize) -> Parsed<()> {
        let Token::Name(word) = self.next() else { return self.fail("tag has no name") };
        match word.as_str() {
            "for" => self.for_tag(at),
            "if" => {
                self.condition(at)?;
                self.open(Block::If)
            }
            "elif" => {
                self.close(&[Block::If])?;
                self.condition(at)?;
                self.open(Block::If)
            }
            // The body after it belongs to no loop of its own, so `break` in it would be the outer one's.
            "else" => {
                let of = if self.blocks.last() == Some(&Block::For) { "for" } else { "if" };
                self.close(&[Block::If, Block::For])?;
                self.open(Block::Else(of))
            }
            "endif" => self.close(&[Block::If, Block::Else("if")]),
            "endfor" => self.close(&[Block::For, Block::Else("for")]),
            "set" => self.set_tag(at),
            "macro" => self.macro_tag(at),
            "call" => self.call_tag(at),
            "filter" => {
                let rendered = self.filters(Expr::Rendered, true)?;
                self.push(at, Kind::Evaluate(rendered));
                self.open(Block::Other("filter"))
            }
            "with" => self.with_tag(at),
            "generation" => self.open(Block::Other("generation")),
            "endset" => self.close(&[Block::Other("set")]),
            "endmacro" => {
                self.close(&[Block::Other("macro")])?;
                // The name may be repeated.
                if matches!(self.peek(), Token::Name(_)) {
                    self.pos += 1;
                }
                Ok(())
            }
            "endcall" => self.close(&[Block::Other("call")]),
            "endfilter" => self.close(&[Block::Other("filter")]),
            "endwith" => self.close(&[Block::Other("with")]),
            "endgeneration" => self.close(&[Block::Other("generation")]),
            "break" | "continue" if self.blocks.contains(&Block::For) => Ok(()),
            _ => Err(Unreadable { at, what: "tag is not one of the allow list" }),
        }
    }

    fn condition(&mut self, at: usize) -> Parsed<()> {
        let value = self.tuple(false)?;
        self.push(at, Kind::Evaluate(value));
        Ok(())
    }

    fn for_tag(&mut self, at: usize) -> Parsed<()> {
        let target = self.target(false)?;
        if !self.eat_word("in") {
            return self.fail("expected `in`");
        }
        let over = self.tuple(false)?;
        self.push(at, Kind::For { target, over });
        if self.eat_word("if") {
            let condition = self.expression()?;
            self.push(at, Kind::Evaluate(condition));
        }
        self.open(Block::For)
    }

    fn target(&mut self, fields: bool) -> Parsed<Target> {
        let wrapped = self.eat("(");
        let first = self.name()?;
        if fields && !wrapped && self.eat(".") {
            return Ok(Target::Field(first, self.name()?));
        }
        let mut names = vec![first];
        let mut tuple = false;
        while self.eat(",") {
            tuple = true;
            if !matches!(self.peek(), Token::Name(_)) || self.is_word("in") {
                break;
            }
            names.push(self.name()?);
        }
        if wrapped {
            self.need(")")?;
        }
        match names.pop() {
            Some(only) if names.is_empty() && !tuple => Ok(Target::Name(only)),
            Some(last) => {
                names.push(last);
                Ok(Target::Names(names))
            }
            None => self.fail("expected a name"),
        }
    }

    fn set_tag(&mut self, at: usize) -> Parsed<()> {
        let target = self.target(true)?;
        if self.eat("=") {
            let value = self.tuple(true)?;
            self.push(at, Kind::Set(target, value));
            return Ok(());
        }
        let rendered = self.filters(Expr::Rendered, false)?;
        self.push(at, Kind::Set(target, rendered));
        self.open(Block::Other("set"))
    }

    fn parameters(&mut self) -> Parsed<Vec<(String, Option<Expr>)>> {
        let mut parameters = Vec::new();
        self.need("(")?;
        while !self.eat(")") {
            if !parameters.is_empty() {
                self.need(",")?;
                if self.eat(")") {
                    break;
                }
            }
            let name = self.name()?;
            let default = if self.eat("=") { Some(self.expression()?) } else { None };
            parameters.push((name, default));
        }
        Ok(parameters)
    }

    fn macro_tag(&mut self, at: usize) -> Parsed<()> {
        let name = self.name()?;
        let parameters = self.parameters()?;
        self.push(at, Kind::Macro { name, parameters });
        self.open(Block::Other("macro"))
    }

    fn call_tag(&mut self, at: usize) -> Parsed<()> {
        if *self.peek() == Token::Op("(") {
            let parameters = self.parameters()?;
            self.push(at, Kind::Parameters(parameters));
        }
        let call = self.expression()?;
        if !matches!(call, Expr::Call(..)) {
            return self.fail("call block does not call");
        }
        self.push(at, Kind::Evaluate(call));
        self.open(Block::Other("call"))
    }

    fn with_tag(&mut self, at: usize) -> Parsed<()> {
        while *self.peek() != Token::TagEnd {
            let name = self.name()?;
            self.need("=")?;
            let value = self.expression()?;
            self.push(at, Kind::Set(Target::Name(name), value));
            if !self.eat(",") {
                break;
            }
        }
        self.open(Block::Other("with"))
    }

    /// One or more expressions; with a comma, a tuple.
    fn tuple(&mut self, conditions: bool) -> Parsed<Expr> {
        let one = |parser: &mut Self| if conditions { parser.expression() } else { parser.either() };
        let first = one(self)?;
        if *self.peek() != Token::Op(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.eat(",") {
            if matches!(self.peek(), Token::TagEnd | Token::OutputEnd | Token::Op(")")) {
                break;
            }
            items.push(one(self)?);
        }
        Ok(Expr::Items(items))
    }

    fn expression(&mut self) -> Parsed<Expr> {
        if self.depth >= limits::TEMPLATE_DEPTH {
            return self.fail("expressions are nested too deeply");
        }
        self.depth += 1;
        let mut value = self.either()?;
        let mut chain = 0;
        while self.eat_word("if") {
            chain = self.longer(chain)?;
            let condition = self.either()?;
            let otherwise = if self.eat_word("else") { Some(Box::new(self.expression()?)) } else { None };
            value = Expr::Condition(Box::new(value), Box::new(condition), otherwise);
        }
        self.depth -= 1;
        Ok(value)
    }

    /// Counts the links of a chain, each of which makes a tree one deeper.
    fn longer(&self, chain: usize) -> Parsed<usize> {
        if chain >= limits::TEMPLATE_CHAIN {
            return self.fail("expression is too long a chain");
        }
        Ok(chain + 1)
    }

    fn either(&mut self) -> Parsed<Expr> {
        if self.depth >= limits::TEMPLATE_DEPTH {
            return self.fail("expressions are nested too deeply");
        }
        self.depth += 1;
        let mut operands = vec![self.negation()?];
        while self.eat_word("or") || self.eat_word("and") {
            operands.push(self.negation()?);
        }
        self.depth -= 1;
        Ok(single(operands, Expr::Either))
    }

    fn negation(&mut self) -> Parsed<Expr> {
        let mut negated = false;
        while self.eat_word("not") {
            negated = true;
        }
        let value = self.comparison()?;
        Ok(if negated { Expr::Truth(vec![value]) } else { value })
    }

    fn comparison(&mut self) -> Parsed<Expr> {
        let mut operands = vec![self.sum()?];
        loop {
            let op = ["==", "!=", "<=", ">=", "<", ">"].into_iter().any(|op| self.eat(op));
            if !op && !self.eat_word("in") {
                let not_in = self.is_word("not")
                    && matches!(self.tokens.get(self.pos + 1).map(|placed| &placed.token), Some(Token::Name(word)) if word == "in");
                if !not_in {
                    return Ok(single(operands, Expr::Truth));
                }
                self.pos += 2;
            }
            operands.push(self.sum()?);
        }
    }

    fn sum(&mut self) -> Parsed<Expr> {
        let mut operands = vec![self.joined()?];
        while self.eat("+") || self.eat("-") {
            operands.push(self.joined()?);
        }
        Ok(single(operands, Expr::Arithmetic))
    }

    fn joined(&mut self) -> Parsed<Expr> {
        let mut operands = vec![self.product()?];
        while self.eat("~") {
            operands.push(self.product()?);
        }
        Ok(single(operands, Expr::Join))
    }

    fn product(&mut self) -> Parsed<Expr> {
        let mut operands = vec![self.unary(true)?];
        // A power is how a short template asks for a long text, and no template in use needs one.
        while ["*", "//", "/", "%"].into_iter().any(|op| self.eat(op)) {
            operands.push(self.unary(true)?);
        }
        Ok(single(operands, Expr::Arithmetic))
    }

    fn unary(&mut self, filtered: bool) -> Parsed<Expr> {
        let mut signed = false;
        while self.eat("-") || self.eat("+") {
            signed = true;
        }
        let primary = self.primary()?;
        let mut value = self.postfix(primary)?;
        if signed {
            value = Expr::Sign(Box::new(value));
        }
        if filtered { self.filters(value, false) } else { Ok(value) }
    }

    fn primary(&mut self) -> Parsed<Expr> {
        match self.next() {
            Token::Name(name) => match name.as_str() {
                "true" | "false" | "none" | "True" | "False" | "None" => Ok(Expr::Constant),
                word if RESERVED.contains(&word) => self.fail("expected an expression"),
                _ => Ok(Expr::Name(name)),
            },
            Token::Text(mut text) => {
                while let Token::Text(more) = self.peek() {
                    text.push_str(more);
                    self.pos += 1;
                }
                Ok(Expr::Text(text))
            }
            Token::Integer | Token::Float => Ok(Expr::Number),
            Token::Op("(") => {
                if self.eat(")") {
                    return Ok(Expr::Items(Vec::new()));
                }
                let value = self.tuple(true)?;
                self.need(")")?;
                Ok(value)
            }
            Token::Op("[") => Ok(Expr::Items(self.list("]")?)),
            Token::Op("{") => self.dict(),
            _ => self.fail("expected an expression"),
        }
    }

    fn list(&mut self, close: &'static str) -> Parsed<Vec<Expr>> {
        let mut items = Vec::new();
        while !self.eat(close) {
            if !items.is_empty() {
                self.need(",")?;
                if self.eat(close) {
                    break;
                }
            }
            items.push(self.expression()?);
        }
        Ok(items)
    }

    fn dict(&mut self) -> Parsed<Expr> {
        let mut members = Vec::new();
        while !self.eat("}") {
            if !members.is_empty() {
                self.need(",")?;
                if self.eat("}") {
                    break;
                }
            }
            let key = self.expression()?;
            self.need(":")?;
            members.push((key, self.expression()?));
        }
        Ok(Expr::Dict(members))
    }

    fn postfix(&mut self, mut value: Expr) -> Parsed<Expr> {
        let mut chain = 0;
        loop {
            chain = self.longer(chain)?;
            if self.eat(".") {
                value = match self.next() {
                    Token::Name(name) => Expr::Attribute(Box::new(value), name),
                    Token::Integer => Expr::Index(Box::new(value), Box::new(Expr::Number)),
                    _ => return self.fail("expected a name after the dot"),
                };
            } else if self.eat("[") {
                let index = self.index()?;
                value = Expr::Index(Box::new(value), Box::new(index));
            } else if self.eat("(") {
                value = Expr::Call(Box::new(value), self.arguments()?);
            } else {
                return Ok(value);
            }
        }
    }

    /// What stands in brackets: an expression, or the bounds of a slice.
    fn index(&mut self) -> Parsed<Expr> {
        let mut bounds = Vec::new();
        let mut colons = 0;
        loop {
            if self.eat(":") {
                colons += 1;
            } else if self.eat("]") {
                break;
            } else if bounds.len() > colons || bounds.len() > 2 {
                return self.fail("index is no single expression");
            } else {
                bounds.push(self.expression()?);
            }
        }
        match (colons, bounds.pop()) {
            (0, Some(only)) if bounds.is_empty() => Ok(only),
            (1 | 2, last) => {
                bounds.extend(last);
                Ok(Expr::Slice(bounds))
            }
            _ => self.fail("index is no single expression"),
        }
    }

    fn arguments(&mut self) -> Parsed<Arguments> {
        let mut arguments = Arguments::default();
        let mut first = true;
        while !self.eat(")") {
            if !first {
                self.need(",")?;
                if self.eat(")") {
                    break;
                }
            }
            first = false;
            let named = match (self.peek(), self.tokens.get(self.pos + 1).map(|placed| &placed.token)) {
                (Token::Name(name), Some(Token::Op("="))) => Some(name.clone()),
                _ => None,
            };
            if let Some(name) = named {
                self.pos += 2;
                arguments.named.push((name, self.expression()?));
            } else {
                arguments.positional.push(self.expression()?);
            }
        }
        Ok(arguments)
    }

    /// Filters and tests after a value. `bare` begins with the name of a filter, as in its block.
    fn filters(&mut self, mut value: Expr, mut bare: bool) -> Parsed<Expr> {
        let mut chain = 0;
        loop {
            chain = self.longer(chain)?;
            if std::mem::take(&mut bare) || self.eat("|") {
                let name = self.name()?;
                let arguments = if self.eat("(") { self.arguments()? } else { Arguments::default() };
                value = Expr::Filter(Box::new(value), name, arguments);
            } else if self.eat_word("is") {
                value = self.test(value)?;
            } else if self.eat("(") {
                value = Expr::Call(Box::new(value), self.arguments()?);
            } else {
                return Ok(value);
            }
        }
    }

    fn test(&mut self, value: Expr) -> Parsed<Expr> {
        self.eat_word("not");
        let Token::Name(name) = self.next() else { return self.fail("expected the name of a test") };
        let mut arguments = Arguments::default();
        if self.eat("(") {
            arguments = self.arguments()?;
        } else {
            let follows = match self.peek() {
                Token::Name(word) => !matches!(word.as_str(), "else" | "or" | "and" | "is" | "if"),
                Token::Text(_) | Token::Integer | Token::Float => true,
                Token::Op(op) => matches!(*op, "[" | "{"),
                _ => false,
            };
            if follows {
                let primary = self.primary()?;
                arguments.positional.push(self.postfix(primary)?);
            }
        }
        Ok(Expr::Test(Box::new(value), name, arguments))
    }
}

fn single(mut operands: Vec<Expr>, many: impl FnOnce(Vec<Expr>) -> Expr) -> Expr {
    match operands.pop() {
        Some(only) if operands.is_empty() => only,
        Some(last) => {
            operands.push(last);
            many(operands)
        }
        None => Expr::Constant,
    }
}
