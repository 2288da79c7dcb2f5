//! The conditions of filters: as much of Groovy as conditions about a record are made of.
//!
//! Comparisons of fields, texts, numbers, `true`, `false` and `null`, joined by `&&`, `||`, `!` and parentheses. Whatever
//! else Groovy has is refused by naming what is not understood.

use super::tokens::{Token, not_understood, tokens};

/// A condition, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// One of them holds.
    Or(Box<Expression>, Box<Expression>),
    /// Both hold.
    And(Box<Expression>, Box<Expression>),
    /// It does not hold.
    Not(Box<Expression>),
    /// Two operands in a relation.
    Compare(Operand, Comparison, Operand),
    /// One of the literals equals the operand.
    In(Operand, Vec<Literal>),
    /// What is true by itself.
    Truth(Operand),
}

/// A relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What is compared.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A value.
    Literal(Literal),
    /// A field of the record.
    Path(Path),
}

/// A value in the text of a condition.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Literal {
    Null,
    Boolean(bool),
    Integer(i64),
    Decimal(f64),
    Text(String),
}

/// `value.after.id`: a name, and the fields below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// `value`, `key` or `topic`.
    pub root: String,
    /// The fields, each with whether `?.` stands before it.
    pub fields: Vec<(String, bool)>,
}

/// Nesting that a condition may have.
const DEPTH_MAX: usize = 64;

impl Expression {
    /// Whether it asks which table a record is of, so that not every field need be one of every table.
    pub fn tells_tables_apart(&self) -> bool {
        let is_source = |path: &Path| path.fields.first().is_some_and(|(name, _)| name == "source");
        self.has_path(&|path| path.root == "topic" || is_source(path))
    }

    /// Whether it looks at a part of the record: `value`, `key` or `topic`.
    pub fn asks_for(&self, root: &str) -> bool {
        self.has_path(&|path| path.root == root)
    }

    fn has_path(&self, is_it: &dyn Fn(&Path) -> bool) -> bool {
        let is_asked = |operand: &Operand| matches!(operand, Operand::Path(path) if is_it(path));
        match self {
            Self::Or(left, right) | Self::And(left, right) => left.has_path(is_it) || right.has_path(is_it),
            Self::Not(inner) => inner.has_path(is_it),
            Self::Compare(left, _, right) => is_asked(left) || is_asked(right),
            Self::In(operand, _) | Self::Truth(operand) => is_asked(operand),
        }
    }

    /// From the text of a condition. The error names the part that is not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let tokens = tokens(text)?;
        let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
        let expression = parser.or()?;
        match parser.peek() {
            None => Ok(expression),
            Some(token) => Err(not_understood(token)),
        }
    }
}

struct Parser<'t> {
    tokens: &'t [Token],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, symbol: &str) -> bool {
        let is_it = matches!(self.peek(), Some(Token::Symbol(known)) if *known == symbol);
        if is_it {
            self.at = self.at.saturating_add(1);
        }
        is_it
    }

    fn or(&mut self) -> Result<Expression, String> {
        let mut left = self.and()?;
        while self.take("||") {
            left = Expression::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expression, String> {
        let mut left = self.not()?;
        while self.take("&&") {
            left = Expression::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expression, String> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > DEPTH_MAX {
            return Err("it is nested too deep".to_owned());
        }
        let expression = if self.take("!") {
            Expression::Not(Box::new(self.not()?))
        } else if self.take("(") {
            let inner = self.or()?;
            if !self.take(")") {
                return Err(self.peek().map_or_else(|| "a parenthesis has no end".to_owned(), not_understood));
            }
            inner
        } else {
            self.comparison()?
        };
        self.depth = self.depth.saturating_sub(1);
        Ok(expression)
    }

    fn comparison(&mut self) -> Result<Expression, String> {
        use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        let left = self.operand()?;
        if self.peek() == Some(&Token::Name("in".to_owned())) {
            self.at = self.at.saturating_add(1);
            return Ok(Expression::In(left, self.list()?));
        }
        let relations =
            [("==", Equal), ("!=", NotEqual), ("<=", LessOrEqual), (">=", GreaterOrEqual), ("<", Less), (">", Greater)];
        match relations.iter().find(|(symbol, _)| self.take(symbol)) {
            Some((_, relation)) => Ok(Expression::Compare(left, *relation, self.operand()?)),
            None => Ok(Expression::Truth(left)),
        }
    }

    fn list(&mut self) -> Result<Vec<Literal>, String> {
        if !self.take("[") {
            return Err("`in` wants a list of literals in brackets".to_owned());
        }
        let mut literals = Vec::new();
        loop {
            match self.operand()? {
                Operand::Literal(literal) => literals.push(literal),
                Operand::Path(_) => return Err("`in` wants a list of literals".to_owned()),
            }
            if self.take("]") {
                return Ok(literals);
            }
            if !self.take(",") {
                return Err(self.peek().map_or_else(|| "a list has no end".to_owned(), not_understood));
            }
        }
    }

    fn operand(&mut self) -> Result<Operand, String> {
        let token = self.peek().ok_or("it ends where something is to follow")?.clone();
        self.at = self.at.saturating_add(1);
        match token {
            Token::Literal(literal) => Ok(Operand::Literal(literal)),
            Token::Name(root) if matches!(root.as_str(), "value" | "key" | "topic") => {
                self.path(root).map(Operand::Path)
            }
            token => Err(not_understood(&token)),
        }
    }

    fn path(&mut self, root: String) -> Result<Path, String> {
        let mut fields = Vec::new();
        loop {
            let is_safe = self.take("?.");
            if !is_safe && !self.take(".") {
                break;
            }
            match self.peek() {
                Some(Token::Name(name) | Token::Literal(Literal::Text(name))) => fields.push((name.clone(), is_safe)),
                Some(token) => return Err(not_understood(token)),
                None => return Err("it ends where the name of a field is to follow".to_owned()),
            }
            self.at = self.at.saturating_add(1);
        }
        if let (Some(Token::Symbol("(")), Some((name, _))) = (self.peek(), fields.last()) {
            return Err(format!("the call of `{name}` is not understood"));
        }
        Ok(Path { root, fields })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> Operand {
        let mut parts = text.split('.');
        let root = parts.next().unwrap().trim_end_matches('?').to_owned();
        let is_safe = text.contains('?');
        let fields = parts.map(|name| (name.trim_end_matches('?').to_owned(), is_safe));
        Operand::Path(Path { root, fields: fields.collect() })
    }

    fn text(text: &str) -> Operand {
        Operand::Literal(Literal::Text(text.to_owned()))
    }

    fn equal(left: Operand, right: Operand) -> Box<Expression> {
        Box::new(Expression::Compare(left, Comparison::Equal, right))
    }

    #[test]
    fn and_binds_more_than_or_and_not_more_than_both() {
        let parsed = Expression::parse("value.op == 'u' && value.after.id == 2 || !(value.op == \"d\")").unwrap();
        let two = Operand::Literal(Literal::Integer(2));
        let and = Expression::And(equal(path("value.op"), text("u")), equal(path("value.after.id"), two));
        let not = Expression::Not(equal(path("value.op"), text("d")));
        assert_eq!(parsed, Expression::Or(Box::new(and), Box::new(not)));
    }

    #[test]
    fn a_condition_that_asks_for_the_table_is_known() {
        let asks = |condition| Expression::parse(condition).unwrap().tells_tables_apart();
        assert!(asks("!(topic == 'x') && value.after.id == 1") && asks("value.source.table in ['a', 'b']"));
        assert!(!asks("value.after.topic == 'x' || value.op == 'c'"));
    }

    #[test]
    fn paths_numbers_and_lists_are_read() {
        assert_eq!(Expression::parse("value?.after?.x"), Ok(Expression::Truth(path("value?.after?.x"))));
        let parsed = Expression::parse("value.after.n in [1, -2.5, 'x', null, true];").unwrap();
        use Literal::{Boolean, Decimal, Integer, Null, Text};
        let list = vec![Integer(1), Decimal(-2.5), Text("x".to_owned()), Null, Boolean(true)];
        assert_eq!(parsed, Expression::In(path("value.after.n"), list));
        let parsed = Expression::parse("value.after.'odd name' >= 12L").unwrap();
        assert!(matches!(parsed, Expression::Compare(_, Comparison::GreaterOrEqual, Operand::Literal(Integer(12)))));
    }

    #[test]
    fn what_else_groovy_has_is_named() {
        for (condition, named) in [
            ("value.after.name.startsWith('x')", "startsWith"),
            ("valueSchema.field('a') != null", "valueSchema"),
            ("value.op =~ /x/", "=~"),
            ("value.op == 'u' ? true : false", "?"),
            ("def x = 1", "="),
            ("value.after.n == 010", "010"),
            ("value.op == \"a$b\"", "$"),
            ("value.after.tags[0] == 'a'", "["),
            ("value.op == 'u", "no end"),
            ("(value.op == 'u'", "no end"),
            ("value.op ==", "ends"),
            ("", "ends"),
        ] {
            let error = Expression::parse(condition).unwrap_err();
            assert!(error.contains(named), "{condition}: {error}");
        }
        assert!(Expression::parse(&"!".repeat(1_000)).unwrap_err().contains("deep"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_condition_or_refused(text in "[a-z0-9.?!&|=<>()\\[\\]', \"$-]{0,40}") {
            let _ = Expression::parse(&text);
        }
    }
}
