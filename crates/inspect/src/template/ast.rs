//! What a template says, as far as the rules look at it.

/// An expression. Chains of one operator are one node, so that a tree is no deeper than its nesting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expr {
    /// A literal text; adjacent literals are one.
    Text(String),
    /// A literal number.
    Number,
    /// `true`, `none`, ...
    Constant,
    Name(String),
    /// A list or a tuple.
    Items(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Attribute(Box<Expr>, String),
    Index(Box<Expr>, Box<Expr>),
    /// The bounds within an index.
    Slice(Vec<Expr>),
    Call(Box<Expr>, Arguments),
    Filter(Box<Expr>, String, Arguments),
    Test(Box<Expr>, String, Arguments),
    /// `+ - * / // % **`.
    Arithmetic(Vec<Expr>),
    /// `~`.
    Join(Vec<Expr>),
    /// Comparisons and `not`, which give truth values.
    Truth(Vec<Expr>),
    /// `and`, `or`, which give one of their operands.
    Either(Vec<Expr>),
    /// `-x`, `+x`.
    Sign(Box<Expr>),
    /// `then if condition else otherwise`.
    Condition(Box<Expr>, Box<Expr>, Option<Box<Expr>>),
    /// The body that a filter block, a set block or a call block renders.
    Rendered,
}

impl Expr {
    /// Calls `visit` for this expression and all within it.
    pub(super) fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        visit(self);
        match self {
            Self::Text(_) | Self::Number | Self::Constant | Self::Name(_) | Self::Rendered => {}
            Self::Items(items)
            | Self::Slice(items)
            | Self::Arithmetic(items)
            | Self::Join(items)
            | Self::Truth(items)
            | Self::Either(items) => items.iter().for_each(|item| item.walk(visit)),
            Self::Dict(members) => {
                for (key, member) in members {
                    key.walk(visit);
                    member.walk(visit);
                }
            }
            Self::Attribute(base, _) | Self::Sign(base) => base.walk(visit),
            Self::Index(base, key) => {
                base.walk(visit);
                key.walk(visit);
            }
            Self::Call(base, arguments)
            | Self::Filter(base, _, arguments)
            | Self::Test(base, _, arguments) => {
                base.walk(visit);
                arguments.all().for_each(|argument| argument.walk(visit));
            }
            Self::Condition(then, condition, otherwise) => {
                then.walk(visit);
                condition.walk(visit);
                if let Some(otherwise) = otherwise {
                    otherwise.walk(visit);
                }
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Arguments {
    pub(super) positional: Vec<Expr>,
    pub(super) named: Vec<(String, Expr)>,
}

impl Arguments {
    pub(super) fn all(&self) -> impl Iterator<Item = &Expr> {
        self.positional.iter().chain(self.named.iter().map(|(_, value)| value))
    }
}

/// What a value is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Name(String),
    /// `ns.field`.
    Field(String, String),
    Names(Vec<String>),
}

/// A tag, with where it begins.
#[derive(Debug)]
pub(super) struct Tag {
    pub(super) at: usize,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// Printed, or a condition: evaluated and nothing more.
    Evaluate(Expr),
    For {
        target: Target,
        over: Expr,
    },
    Set(Target, Expr),
    Macro {
        name: String,
        parameters: Vec<(String, Option<Expr>)>,
    },
    /// The parameters of a call block, whose values come from the macro.
    Parameters(Vec<(String, Option<Expr>)>),
}

impl Tag {
    /// The expressions of the tag.
    pub(super) fn values(&self) -> Vec<&Expr> {
        match &self.kind {
            Kind::Evaluate(value) | Kind::Set(_, value) | Kind::For { over: value, .. } => vec![value],
            Kind::Macro { parameters, .. } | Kind::Parameters(parameters) => {
                parameters.iter().filter_map(|(_, default)| default.as_ref()).collect()
            }
        }
    }
}
