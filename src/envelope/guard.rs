//! Whether a record passes a filter: its condition over the fields of a table's records, judged as Groovy judges it.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::change::{EncodeError, RowContext};
use super::forms::Layout;
use super::pieces::{SourceNames, source_value};
use super::plan::{Piece, PlanError, TablePlan};
use super::write::{Rows, write_cell, write_source_value};
use crate::connect::{SchemaType, text_of};
use crate::row::{Operation, Values};
use crate::transform::{Comparison, Expression, Guard, Literal, Operand, Path, ValueForm};

/// A condition whose fields have been found.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    Or(Box<Condition>, Box<Condition>),
    And(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
    Compare(Term, Comparison, Term),
    In(Term, Vec<Datum>),
    Truth(Term),
}

/// What is compared.
#[derive(Debug, Clone)]
pub(super) enum Term {
    Literal(Datum),
    /// The record's value, of which nothing but its being there is asked.
    Value,
    Op,
    Source(Piece, Kind),
    /// A row, likewise.
    Row(Part),
    /// A column, and whether it is null where there is no row.
    Column(Part, usize, Kind, bool),
    /// A field that this table does not have, in a condition that tells tables apart.
    Missing,
}

/// Where a column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Before,
    After,
    /// The row after the change, or what is told of the one that is gone.
    Key,
}

/// What values a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Number,
    Text,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Datum {
    Null,
    Boolean(bool),
    Integer(i64),
    Double(f64),
    Text(String),
    /// Something that is not null.
    Thing,
}

/// A record, as far as conditions look at it.
#[derive(Clone, Copy)]
pub(super) struct Judged<'a> {
    pub(super) table: &'a TablePlan,
    pub(super) rows: Rows<'a>,
    pub(super) operation: Operation,
    pub(super) row: RowContext<'a>,
    pub(super) is_tombstone: bool,
}

impl Layout<'_> {
    /// The condition of a filter over this table's records.
    pub(super) fn condition(&self, guard: &Guard) -> Result<Condition, PlanError> {
        self.resolved(&guard.filter.condition, guard)
    }

    fn resolved(&self, expression: &Expression, guard: &Guard) -> Result<Condition, PlanError> {
        let inner = |expression: &Expression| self.resolved(expression, guard).map(Box::new);
        Ok(match expression {
            Expression::Or(left, right) => Condition::Or(inner(left)?, inner(right)?),
            Expression::And(left, right) => Condition::And(inner(left)?, inner(right)?),
            Expression::Not(expression) => Condition::Not(inner(expression)?),
            Expression::Compare(left, comparison, right) => {
                let (left, right) = (self.term(left, guard)?, self.term(right, guard)?);
                if !matches!((&left, &right), (Term::Missing, _) | (_, Term::Missing)) {
                    check_kinds(kind(&left), kind(&right), *comparison)?;
                }
                Condition::Compare(left, *comparison, right)
            }
            Expression::In(left, literals) => {
                let left = self.term(left, guard)?;
                let literals: Vec<Datum> = literals.iter().map(datum).collect();
                for literal in &literals {
                    check_kinds(kind(&left), kind(&Term::Literal(literal.clone())), Comparison::Equal)?;
                }
                Condition::In(left, literals)
            }
            Expression::Truth(operand) => {
                let term = self.term(operand, guard)?;
                if !matches!(term, Term::Missing) && kind(&term) != Some(Kind::Boolean) {
                    return Err(PlanError::Filter("what it takes for true or false is neither".to_owned()));
                }
                Condition::Truth(term)
            }
        })
    }

    fn term(&self, operand: &Operand, guard: &Guard) -> Result<Term, PlanError> {
        match operand {
            Operand::Literal(literal) => Ok(Term::Literal(datum(literal))),
            Operand::Path(path) if guard.filter.condition.tells_tables_apart() => {
                Ok(self.field(path, guard).unwrap_or(Term::Missing))
            }
            Operand::Path(path) => self.field(path, guard).ok_or_else(|| {
                let names = path.fields.iter().map(|(name, _)| format!(".{name}"));
                PlanError::Filter(format!("{}{} is no field that it can look at", path.root, names.collect::<String>()))
            }),
        }
    }

    fn field(&self, path: &Path, guard: &Guard) -> Option<Term> {
        let fields: Vec<(&str, bool)> = path.fields.iter().map(|(name, is_safe)| (name.as_str(), *is_safe)).collect();
        match (path.root.as_str(), &guard.value, fields.as_slice()) {
            ("topic", _, []) => Some(Term::Literal(Datum::Text(guard.topic.clone()))),
            ("key", _, [(name, is_safe)]) => {
                self.options.key_columns.iter().find(|column| column.as_str() == *name)?;
                self.column(Part::Key, name, *is_safe)
            }
            ("value", _, []) => Some(Term::Value),
            ("value", ValueForm::Row(row), [(name, is_safe)]) => {
                self.column(if row.is_before { Part::Before } else { Part::After }, name, *is_safe)
            }
            ("value", ValueForm::Envelope | ValueForm::Tombstone, [(name, _)]) => match *name {
                "op" => Some(Term::Op),
                "before" => Some(Term::Row(Part::Before)),
                "after" => Some(Term::Row(Part::After)),
                _ => None,
            },
            ("value", ValueForm::Envelope | ValueForm::Tombstone, [(parent, _), (name, is_safe)]) => match *parent {
                "before" => self.column(Part::Before, name, *is_safe),
                "after" => self.column(Part::After, name, *is_safe),
                "source" => self.source(name),
                _ => None,
            },
            _ => None,
        }
    }

    fn column(&self, part: Part, name: &str, is_safe: bool) -> Option<Term> {
        let is_named = |column: &Option<super::plan::ColumnPlan>| {
            column.as_ref().is_some_and(|column| column.field_name == name && (column.is_in_value || part == Part::Key))
        };
        let place = self.columns.iter().position(is_named)?;
        let SchemaType::Struct(fields) = &self.row.schema_type else { return None };
        let schema = &fields.iter().find(|field| field.name == name)?.schema;
        let kind = match &schema.schema_type {
            SchemaType::Boolean => Kind::Boolean,
            SchemaType::String => Kind::Text,
            SchemaType::Bytes | SchemaType::Array(_) | SchemaType::Map(..) | SchemaType::Struct(_) => return None,
            _ => Kind::Number,
        };
        schema.has_plain_text().then_some(Term::Column(part, place, kind, is_safe))
    }

    fn source(&self, name: &str) -> Option<Term> {
        let field = self.facts.source.iter().find(|field| field.name() == name)?;
        let kind = match field.schema(self.facts).schema_type {
            SchemaType::String => Kind::Text,
            _ => Kind::Number,
        };
        let names: SourceNames<'_> = self.names();
        Some(Term::Source(source_value(self.facts, names, *field), kind))
    }
}

/// Null compares with everything; what is of two kinds Groovy compares by rules that nobody means.
fn check_kinds(left: Option<Kind>, right: Option<Kind>, comparison: Comparison) -> Result<(), PlanError> {
    let is_equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
    let (Some(left), Some(right)) = (left, right) else {
        return match is_equality {
            true => Ok(()),
            false => Err(PlanError::Filter("it asks which of two is less, and one of them is no value".to_owned())),
        };
    };
    if left != right || (left == Kind::Boolean && !is_equality) {
        return Err(PlanError::Filter("it compares a text, a number or a boolean with another of them".to_owned()));
    }
    Ok(())
}

/// `None` of null and of what is no single value.
fn kind(term: &Term) -> Option<Kind> {
    match term {
        Term::Literal(Datum::Boolean(_)) => Some(Kind::Boolean),
        Term::Literal(Datum::Integer(_) | Datum::Double(_)) => Some(Kind::Number),
        Term::Literal(Datum::Text(_)) | Term::Op => Some(Kind::Text),
        Term::Literal(Datum::Null | Datum::Thing) | Term::Value | Term::Row(_) | Term::Missing => None,
        Term::Source(_, kind) | Term::Column(_, _, kind, _) => Some(*kind),
    }
}

fn datum(literal: &Literal) -> Datum {
    match literal {
        Literal::Null => Datum::Null,
        Literal::Boolean(flag) => Datum::Boolean(*flag),
        Literal::Integer(number) => Datum::Integer(*number),
        Literal::Decimal(number) => Datum::Double(*number),
        Literal::Text(text) => Datum::Text(text.clone()),
    }
}

impl Condition {
    /// Whether the record passes.
    pub(super) fn holds(&self, record: Judged<'_>) -> Result<bool, EncodeError> {
        match self {
            // Alone it has to be one of the two, and not null.
            Self::Truth(term) => match *record.value(term)? {
                Datum::Boolean(flag) => Ok(flag),
                _ => Err(record.undecided()),
            },
            _ => self.is_true(record),
        }
    }

    fn is_true(&self, record: Judged<'_>) -> Result<bool, EncodeError> {
        match self {
            Self::Or(left, right) => Ok(left.is_true(record)? || right.is_true(record)?),
            Self::And(left, right) => Ok(left.is_true(record)? && right.is_true(record)?),
            Self::Not(condition) => Ok(!condition.is_true(record)?),
            Self::Compare(left, comparison, right) => {
                let (left, right) = (record.value(left)?, record.value(right)?);
                Ok(holds(*comparison, compared(&left, &right)))
            }
            Self::In(term, literals) => {
                let value = record.value(term)?;
                Ok(literals.iter().any(|literal| compared(&value, literal) == Some(Ordering::Equal)))
            }
            Self::Truth(term) => Ok(*record.value(term)? == Datum::Boolean(true)),
        }
    }
}

impl Judged<'_> {
    /// The value of a term; what stands in the condition itself is not copied for each record.
    fn value(self, term: &Term) -> Result<Cow<'_, Datum>, EncodeError> {
        Ok(Cow::Owned(match term {
            Term::Literal(datum) => return Ok(Cow::Borrowed(datum)),
            Term::Value if self.is_tombstone => Datum::Null,
            Term::Value => Datum::Thing,
            Term::Missing => return Err(self.undecided()),
            Term::Op | Term::Source(..) | Term::Row(_) if self.is_tombstone => return Err(self.undecided()),
            Term::Op => Datum::Text(self.operation.letter().to_string()),
            Term::Source(piece, kind) => {
                let mut json = Vec::new();
                match piece {
                    Piece::Bytes(bytes) => json.extend_from_slice(bytes),
                    piece => write_source_value(&mut json, piece, self.row),
                }
                read(&json, *kind)
            }
            Term::Row(part) => self.part(*part).map_or(Datum::Null, |_| Datum::Thing),
            Term::Column(part, place, kind, is_safe) => {
                let there = if self.is_tombstone && *part != Part::Key { None } else { self.part(*part) };
                let Some((values, old)) = there else {
                    return if *is_safe { Ok(Cow::Owned(Datum::Null)) } else { Err(self.undecided()) };
                };
                let mut json = Vec::new();
                write_cell(&mut json, self.table, *place, values, old)?;
                read(&json, *kind)
            }
        }))
    }

    fn part(&self, part: Part) -> Option<(Values<'_>, Option<Values<'_>>)> {
        let before = self.rows.before.map(|before| (before, None));
        match part {
            Part::Before => before,
            Part::After => self.rows.after,
            Part::Key => self.rows.after.or(before),
        }
    }

    fn undecided(&self) -> EncodeError {
        EncodeError::Undecided { table: self.table.shape().name() }
    }
}

fn read(json: &[u8], kind: Kind) -> Datum {
    let Some(text) = text_of(json).and_then(|text| String::from_utf8(text).ok()) else { return Datum::Null };
    match kind {
        Kind::Text => Datum::Text(text),
        Kind::Boolean => Datum::Boolean(text == "true"),
        Kind::Number => match text.parse::<i64>() {
            Ok(number) => Datum::Integer(number),
            Err(_) => text.parse::<f64>().map_or(Datum::Null, Datum::Double),
        },
    }
}

/// As Groovy compares: null is less than everything else, texts by their UTF-16 units, doubles as Java does.
fn compared(left: &Datum, right: &Datum) -> Option<Ordering> {
    Some(match (left, right) {
        (Datum::Null, Datum::Null) => Ordering::Equal,
        (Datum::Null, _) => Ordering::Less,
        (_, Datum::Null) => Ordering::Greater,
        (Datum::Boolean(left), Datum::Boolean(right)) => left.cmp(right),
        (Datum::Integer(left), Datum::Integer(right)) => left.cmp(right),
        (Datum::Text(left), Datum::Text(right)) => left.encode_utf16().cmp(right.encode_utf16()),
        (left, right) => double(left)?.total_cmp(&double(right)?),
    })
}

// Groovy itself makes a double of the other number.
#[allow(clippy::cast_precision_loss)]
fn double(datum: &Datum) -> Option<f64> {
    match datum {
        Datum::Integer(number) => Some(*number as f64),
        Datum::Double(number) => Some(*number),
        _ => None,
    }
}

fn holds(comparison: Comparison, ordering: Option<Ordering>) -> bool {
    let Some(ordering) = ordering else { return comparison == Comparison::NotEqual };
    match comparison {
        Comparison::Equal => ordering.is_eq(),
        Comparison::NotEqual => ordering.is_ne(),
        Comparison::Less => ordering.is_lt(),
        Comparison::LessOrEqual => ordering.is_le(),
        Comparison::Greater => ordering.is_gt(),
        Comparison::GreaterOrEqual => ordering.is_ge(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_less_than_everything_and_equal_to_itself() {
        let number = Datum::Integer(i64::MIN);
        assert_eq!(compared(&Datum::Null, &number), Some(Ordering::Less));
        assert_eq!(compared(&Datum::Thing, &Datum::Null), Some(Ordering::Greater));
        assert!(holds(Comparison::Equal, compared(&Datum::Null, &Datum::Null)));
        assert!(holds(Comparison::LessOrEqual, compared(&Datum::Null, &number)));
    }

    #[test]
    fn numbers_of_both_sorts_compare_and_texts_go_by_their_units() {
        assert_eq!(compared(&Datum::Integer(2), &Datum::Double(2.0)), Some(Ordering::Equal));
        let large = |number| Datum::Integer(number);
        assert_eq!(compared(&large(9_007_199_254_740_993), &large(9_007_199_254_740_992)), Some(Ordering::Greater));
        let text = |text: &str| Datum::Text(text.to_owned());
        // A pair of surrogates is less than U+FFFF in Java.
        assert_eq!(compared(&text("😀"), &text("\u{ffff}")), Some(Ordering::Less));
    }

    #[test]
    fn kinds_that_differ_are_refused_and_null_is_of_every_kind() {
        use Comparison::{Equal, Less};
        assert!(check_kinds(Some(Kind::Text), Some(Kind::Text), Less).is_ok());
        assert!(check_kinds(Some(Kind::Text), Some(Kind::Number), Equal).is_err());
        assert!(check_kinds(Some(Kind::Boolean), Some(Kind::Boolean), Less).is_err());
        assert!(check_kinds(Some(Kind::Number), None, Equal).is_ok());
        assert!(check_kinds(Some(Kind::Number), None, Less).is_err());
    }
}
