//! Aggregation expressions: composed as they read, and written in place, without a tree of values in between.

use bson::{Bson, DateTime, Document};

use super::order::EventOrder;
use super::writer::Writer;

/// Something that MongoDB computes.
pub(super) trait Expression {
    /// Writes it into what is open, under `name` if that is a document.
    fn write(&self, name: &str, writer: &mut Writer);
}

impl<E: Expression + ?Sized> Expression for &E {
    fn write(&self, name: &str, writer: &mut Writer) {
        (**self).write(name, writer);
    }
}

impl Expression for i32 {
    fn write(&self, name: &str, writer: &mut Writer) {
        writer.int32(name, *self);
    }
}

impl Expression for i64 {
    fn write(&self, name: &str, writer: &mut Writer) {
        writer.int64(name, *self);
    }
}

impl Expression for DateTime {
    fn write(&self, name: &str, writer: &mut Writer) {
        writer.date(name, *self);
    }
}

impl Expression for EventOrder {
    fn write(&self, name: &str, writer: &mut Writer) {
        writer.order(name, *self);
    }
}

/// The field at a path.
pub(super) struct Field<P>(pub(super) P);

impl<P: AsRef<str>> Expression for Field<P> {
    fn write(&self, name: &str, writer: &mut Writer) {
        writer.joined_string(name, "$", self.0.as_ref());
    }
}

/// A variable, such as `$$known`, and what stands behind its name, such as `.key`, or nothing.
#[derive(Clone, Copy)]
pub(super) struct Variable<'a>(pub(super) &'static str, pub(super) &'a str);

impl Expression for Variable<'_> {
    fn write(&self, name: &str, writer: &mut Writer) {
        writer.joined_string(name, self.0, self.1);
    }
}

/// A text that is no path, because it does not begin with `$`.
pub(super) struct Text<T>(pub(super) T);

impl<T: AsRef<str>> Expression for Text<T> {
    fn write(&self, name: &str, writer: &mut Writer) {
        writer.string(name, self.0.as_ref());
    }
}

/// Nothing is less than it but what is missing.
pub(super) struct Null;

impl Expression for Null {
    fn write(&self, name: &str, writer: &mut Writer) {
        writer.null(name);
    }
}

/// One of two kinds of expressions.
pub(super) enum Either<A, B> {
    One(A),
    Other(B),
}

impl<A: Expression, B: Expression> Expression for Either<A, B> {
    fn write(&self, name: &str, writer: &mut Writer) {
        match self {
            Self::One(one) => one.write(name, writer),
            Self::Other(other) => other.write(name, writer),
        }
    }
}

/// A value that is never read as an expression.
pub(super) struct Literal<'a>(pub(super) &'a Bson);

impl Expression for Literal<'_> {
    fn write(&self, name: &str, writer: &mut Writer) {
        if matches!(self.0, Bson::String(_) | Bson::Document(_) | Bson::Array(_)) {
            writer.begin_document(name);
            writer.value("$literal", self.0);
            writer.end();
        } else {
            writer.value(name, self.0);
        }
    }
}

/// A list of values that are never read as expressions; what it holds writes each of them.
pub(super) struct Literals<F>(pub(super) F);

impl<F: Fn(&mut Writer)> Expression for Literals<F> {
    fn write(&self, name: &str, writer: &mut Writer) {
        writer.begin_document(name);
        writer.begin_array("$literal");
        (self.0)(writer);
        writer.end();
        writer.end();
    }
}

/// Documents that are never read as expressions.
pub(super) fn documents<'a>(documents: &'a [&'a Document]) -> impl Expression + 'a {
    Literals(move |writer: &mut Writer| {
        for document in documents {
            writer.begin_document("");
            writer.fields(document);
            writer.end();
        }
    })
}

/// `[]`.
pub(super) struct Nothing;

impl Expression for Nothing {
    fn write(&self, name: &str, writer: &mut Writer) {
        writer.begin_array(name);
        writer.end();
    }
}

/// A document whose fields are computed.
pub(super) struct Object<F>(pub(super) F);

impl<F: Fields> Expression for Object<F> {
    fn write(&self, name: &str, writer: &mut Writer) {
        writer.begin_document(name);
        self.0.write(writer);
        writer.end();
    }
}

/// Named expressions.
pub(super) trait Fields {
    fn write(&self, writer: &mut Writer);
}

impl<E: Expression> Fields for (&str, E) {
    fn write(&self, writer: &mut Writer) {
        self.1.write(self.0, writer);
    }
}

impl<A: Fields, B: Fields> Fields for (A, B) {
    fn write(&self, writer: &mut Writer) {
        self.0.write(writer);
        self.1.write(writer);
    }
}

impl<A: Fields, B: Fields, C: Fields> Fields for (A, B, C) {
    fn write(&self, writer: &mut Writer) {
        self.0.write(writer);
        self.1.write(writer);
        self.2.write(writer);
    }
}

/// `{operator: operand}`.
pub(super) struct Of<E>(&'static str, E);

impl<E: Expression> Expression for Of<E> {
    fn write(&self, name: &str, writer: &mut Writer) {
        writer.begin_document(name);
        self.1.write(self.0, writer);
        writer.end();
    }
}

/// `{operator: [operands]}`.
pub(super) struct Call<O>(&'static str, O);

impl<O: Operands> Expression for Call<O> {
    fn write(&self, name: &str, writer: &mut Writer) {
        writer.begin_document(name);
        writer.begin_array(self.0);
        self.1.write(writer);
        writer.end();
        writer.end();
    }
}

/// What an operator is given.
pub(super) trait Operands {
    fn write(&self, writer: &mut Writer);
}

impl<A: Expression, B: Expression> Operands for (A, B) {
    fn write(&self, writer: &mut Writer) {
        self.0.write("", writer);
        self.1.write("", writer);
    }
}

impl<A: Expression, B: Expression, C: Expression> Operands for (A, B, C) {
    fn write(&self, writer: &mut Writer) {
        self.0.write("", writer);
        self.1.write("", writer);
        self.2.write("", writer);
    }
}

impl<E: Expression> Operands for Vec<E> {
    fn write(&self, writer: &mut Writer) {
        self.iter().for_each(|operand| operand.write("", writer));
    }
}

impl Expression for Box<dyn Expression + '_> {
    fn write(&self, name: &str, writer: &mut Writer) {
        (**self).write(name, writer);
    }
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($($operand:ident: $kind:ident),+) = $operator:literal;)+) => {$(
        $(#[$doc])*
        pub(super) fn $name<$($kind: Expression),+>($($operand: $kind),+) -> Call<($($kind),+)> {
            Call($operator, ($($operand),+))
        }
    )+};
}

calls! {
    /// MongoDB compares values of different types as well; what is missing is less than any other.
    gt(left: A, right: B) = "$gt";
    lt(left: A, right: B) = "$lt";
    lte(left: A, right: B) = "$lte";
    eq(left: A, right: B) = "$eq";
    and(left: A, right: B) = "$and";
    or(left: A, right: B) = "$or";
    max(left: A, right: B) = "$max";
    add(left: A, right: B) = "$add";
    /// Also for what is missing.
    if_null(value: A, otherwise: B) = "$ifNull";
    is_in(value: A, list: B) = "$in";
    /// `{"$cond": [if, then, else]}`.
    cond(condition: A, then: B, otherwise: C) = "$cond";
    element_at(list: A, index: B) = "$arrayElemAt";
    both_lists(first: A, second: B) = "$concatArrays";
    set_intersection(left: A, right: B) = "$setIntersection";
    set_difference(left: A, right: B) = "$setDifference";
}

/// Whether it does not hold.
pub(super) fn not<E: Expression>(condition: E) -> Call<Vec<E>> {
    Call("$not", vec![condition])
}

/// Whether one of them holds.
pub(super) fn any_of<E: Expression>(conditions: Vec<E>) -> Call<Vec<E>> {
    Call("$or", conditions)
}

/// Lists one behind the other.
pub(super) fn all_lists<E: Expression>(lists: Vec<E>) -> Call<Vec<E>> {
    Call("$concatArrays", lists)
}

/// Texts one behind the other.
pub(super) fn concat<E: Expression>(texts: Vec<E>) -> Call<Vec<E>> {
    Call("$concat", texts)
}

pub(super) fn size<E: Expression>(list: E) -> Of<E> {
    Of("$size", list)
}

pub(super) fn sum<E: Expression>(list: E) -> Of<E> {
    Of("$sum", list)
}

/// A text without these characters at both ends.
pub(super) fn trim<E: Expression>(input: E, chars: String) -> impl Expression {
    Of("$trim", Object((("input", input), ("chars", Text(chars)))))
}

/// Each element as `each` makes it of the variable `name`.
pub(super) fn map<I: Expression, E: Expression>(input: I, name: &'static str, each: E) -> impl Expression {
    Of("$map", Object((("input", input), ("as", Text(name)), ("in", each))))
}

/// The elements for which a condition on the variable `name` holds.
pub(super) fn filter<I: Expression, E: Expression>(input: I, name: &'static str, condition: E) -> impl Expression {
    Of("$filter", Object((("input", input), ("as", Text(name)), ("cond", condition))))
}

/// An expression with variables; none of them sees another.
pub(super) fn let_in<F: Fields, E: Expression>(variables: F, expression: E) -> impl Expression {
    Of("$let", Object((("vars", Object(variables)), ("in", expression))))
}

/// The list at a path; an empty one if there is none.
pub(super) fn list_at<P: AsRef<str>>(path: P) -> impl Expression {
    if_null(Field(path), Nothing)
}
