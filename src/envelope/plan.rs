//! Everything about a table's records that can be worked out once, before its rows come.

use super::Profile;
use super::forms::{self, Forms, Layout, quoted_name};
use crate::connect::Schema;
use crate::row::{ColumnShape, TableShape};
use crate::transform::Transforms;
use crate::typemap::{ColumnType, Handling};

/// How records of a table are to look.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// Whose bytes are imitated.
    pub profile: Profile,
    /// `source.name`.
    pub topic_prefix: String,
    /// `source.db`.
    pub database: String,
    /// Topic of the table before transforms: what the names of schemas begin with.
    pub schema_name: String,
    /// What becomes of the records.
    pub transforms: Transforms,
    /// Columns of the key in its order; empty for a table without one.
    pub key_columns: Vec<String>,
    /// Columns that values leave out; keys have them.
    pub left_out: Vec<String>,
    /// Stands in for values that are not in the log.
    pub unavailable_placeholder: String,
    /// Keys carry their schema.
    pub with_key_schema: bool,
    /// Values carry their schema.
    pub with_value_schema: bool,
    /// What types become where there is a choice.
    pub handling: Handling,
}

/// A table, ready to write its rows.
#[derive(Debug, Clone)]
pub struct TablePlan {
    shape: TableShape,
    pub(super) topic: String,
    /// In the order of a row's values; `None` where a column is left out.
    pub(super) columns: Vec<Option<ColumnPlan>>,
    pub(super) key: KeyPlan,
    pub(super) forms: Forms,
}

/// Why a table cannot be written as the transforms would have it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum PlanError {
    #[error("its records would go to {first} and to {second}, and evp writes a table to one topic")]
    Topics { first: String, second: String },
    #[error("the field {0} that they add is there already")]
    Duplicate(String),
}

/// A column, ready to write its values.
#[derive(Debug, Clone)]
pub(super) struct ColumnPlan {
    /// `"name":`.
    pub(super) name: Vec<u8>,
    pub(super) column_type: ColumnType,
    /// Written where the value is null: `null`, the default, or the filler of a NOT NULL column.
    pub(super) null: Vec<u8>,
    /// Written where the value is not in the log.
    pub(super) unavailable: Vec<u8>,
    pub(super) plain_name: String,
    /// Whether `before` and `after` have it; a key may, besides.
    pub(super) is_in_value: bool,
}

/// A key, ready to be written.
#[derive(Debug, Clone)]
pub(super) struct KeyPlan {
    /// Places of its columns, in the key's order.
    pub(super) places: Vec<usize>,
    /// What stands before and after the columns' object: nothing, or the schema.
    pub(super) head: Vec<u8>,
    pub(super) tail: &'static [u8],
}

impl KeyPlan {
    /// The object of columns alone, out of a whole key.
    pub(super) fn columns_of<'a>(&self, key: &'a [u8]) -> &'a [u8] {
        let end = key.len().saturating_sub(self.tail.len());
        key.get(self.head.len()..end).unwrap_or_default()
    }
}

/// A stretch of a value: the same for all records of a table, or of this record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Bytes(Vec<u8>),
    Before,
    After,
    /// The same without the end of the object.
    OpenBefore,
    OpenAfter,
    Op,
    /// The clock, in milliseconds, microseconds, nanoseconds.
    NowMs,
    NowUs,
    NowNs,
    /// The time of the commit.
    CommitMs,
    CommitUs,
    CommitNs,
    Snapshot,
    /// Null where the schema's default says it: what a transform copies.
    BareSnapshot,
    Sequence,
    TxId,
    Lsn,
    Origin,
    OriginLsn,
}

impl TablePlan {
    /// Prepares a table; columns of types that Debezium does not know are left out, as it does.
    ///
    /// # Errors
    ///
    /// The transforms would send its records to several topics, or add a field that it has.
    pub fn new(shape: TableShape, options: &PlanOptions) -> Result<Self, PlanError> {
        let (columns, schemas): (Vec<_>, Vec<_>) =
            shape.columns.iter().map(|column| column_plan(column, options).unzip()).unzip();
        let schemas: Vec<Option<(&str, Schema)>> = shape
            .columns
            .iter()
            .zip(schemas)
            .map(|(column, schema)| schema.map(|schema| (column.name.as_str(), schema)))
            .collect();
        let facts = options.profile.facts();
        let is_named = |column: &Option<ColumnPlan>, name: &String| {
            column.as_ref().is_some_and(|column| column.plain_name == *name)
        };
        let place = |name: &String| columns.iter().position(|column| is_named(column, name));
        let places: Vec<usize> = options.key_columns.iter().filter_map(place).collect();
        let key_fields = places.iter().filter_map(|place| schemas.get(*place).cloned().flatten());
        let key_schema = Schema::of_fields(key_fields).named(format!("{}.Key", options.schema_name));
        let (head, tail) = framed(options.with_key_schema.then_some(&key_schema));
        let key = KeyPlan { places, head, tail };
        let is_in_value = |name: &str| !options.left_out.iter().any(|left_out| left_out == name);
        let fields = schemas.into_iter().flatten().filter(|(name, _)| is_in_value(name));
        let row = Schema::of_fields(fields).optional().named(format!("{}.Value", options.schema_name));
        let layout = Layout { shape: &shape, facts, options, row: &row };
        let (topic, forms) = forms::of_table(&layout)?;
        Ok(Self { topic, columns, key, forms, shape })
    }

    /// The table.
    pub fn shape(&self) -> &TableShape {
        &self.shape
    }

    /// The topic of the table's records.
    pub fn topic(&self) -> &str {
        &self.topic
    }
}

/// A column and its schema; `None` if Debezium leaves it out.
fn column_plan(column: &ColumnShape, options: &PlanOptions) -> Option<(ColumnPlan, Schema)> {
    let column_type = ColumnType::of(&column.pg_type, column.type_modifier, &options.handling)?;
    let default = column.default_expression.as_deref().and_then(|expression| column_type.default_json(expression));
    let schema = column_type.schema(!column.is_not_null, default.clone());
    // JsonConverter puts a column's default in the place of null; NOT NULL columns without one get a filler.
    let null = default.unwrap_or_else(|| match column.is_not_null {
        true => column_type.filler().to_vec(),
        false => b"null".to_vec(),
    });
    let plan = ColumnPlan {
        name: quoted_name(&column.name),
        unavailable: column_type.missing(&options.unavailable_placeholder).unwrap_or_else(|| null.clone()),
        null,
        column_type,
        plain_name: column.name.clone(),
        is_in_value: !options.left_out.contains(&column.name),
    };
    Some((plan, schema))
}

/// What stands before and after a payload.
pub(super) fn framed(schema: Option<&Schema>) -> (Vec<u8>, &'static [u8]) {
    let Some(schema) = schema else { return (Vec::new(), b"") };
    let mut head = b"{\"schema\":".to_vec();
    schema.write(&mut head);
    head.extend_from_slice(b",\"payload\":");
    (head, b"}")
}
