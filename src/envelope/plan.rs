//! Everything about a table's records that can be worked out once, before its rows come.

use std::borrow::Cow;

use super::Profile;
use super::conversion::Conversion;
use super::forms::{self, Forms, Layout, OfTable};
use super::header_text::header_text;
use super::mask::{ColumnMask, Mask};
use super::pieces::quoted_name;
use crate::connect::{Adjustment, Converter, Named, Nulls, Schema, SchemaType};
use crate::row::{ColumnShape, TableShape};
use crate::transform::Transforms;
use crate::typemap::{ColumnType, Handling, Placeholder};

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
    pub unavailable_placeholder: Placeholder,
    /// How keys are written.
    pub key_converter: Converter,
    /// Whether decimals in keys are numbers; in values [`Self::handling`] says it.
    pub key_decimals_are_numbers: bool,
    /// How values are written.
    pub value_converter: Converter,
    /// Headers are Java's text of what they hold, as `StringConverter` has it.
    pub with_text_headers: bool,
    /// What types become where there is a choice.
    pub handling: Handling,
    /// Columns whose values are masked.
    pub masks: Vec<(String, Mask)>,
    /// What becomes of the names of schemas.
    pub schema_names: Adjustment,
    /// What becomes of the names of fields.
    pub field_names: Adjustment,
}

/// A table, ready to write its rows.
#[derive(Debug, Clone)]
pub struct TablePlan {
    shape: TableShape,
    pub(super) topic: String,
    /// Each row says the topic of its record.
    is_routed: bool,
    /// In the order of a row's values; `None` where a column is left out.
    pub(super) columns: Vec<Option<ColumnPlan>>,
    /// What nulls are in `before` and `after`.
    pub(super) nulls: Nulls,
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
    #[error("the event router wants a column {0}, which the table does not have or does not show")]
    MissingColumn(String),
    #[error("the column {column} cannot be {what}")]
    WrongType { column: String, what: &'static str },
    #[error(
        "its key has no field {0} that could take the key's place: give ExtractField$Key a predicate that leaves its topic out"
    )]
    NoKeyField(String),
    #[error(
        "a transform changes keys, headers or fields of events before the event router: list it behind, or give it a predicate"
    )]
    Events,
    #[error("{0}")]
    Unmade(String),
    #[error("the column {column} cannot be read by TimestampConverter, because of its `format` {why}")]
    Unreadable { column: String, why: &'static str },
    #[error(
        "its values have no field {0} that could take their place: give ExtractField$Value a predicate that leaves its topic out"
    )]
    NoField(String),
    #[error("{0} may be null, and evp has no transforms of the fields within")]
    NoFields(String),
    #[error("the condition of the filter: {0}")]
    Filter(String),
    #[error(
        "value.converter is {0}, which evp has for the events of an EventRouter and not for envelopes or rows: set it to \
         org.apache.kafka.connect.json.JsonConverter"
    )]
    Converter(&'static str),
}

impl PlanError {
    /// Whether a kind of record alone is the reason, and the others can be written.
    pub(super) fn is_of_record(&self) -> bool {
        matches!(self, Self::Unmade(_) | Self::NoKeyField(_))
    }
}

/// A column, ready to write its values.
#[derive(Debug, Clone)]
pub(super) struct ColumnPlan {
    /// `"name":`.
    pub(super) name: Vec<u8>,
    pub(super) column_type: ColumnType,
    /// Written where the value is null: `null`, the default, or the filler of a NOT NULL column.
    null: Vec<u8>,
    /// Written where the value is not in the log; none where it is null then.
    pub(super) unavailable: Option<Vec<u8>>,
    /// As the table has it.
    pub(super) plain_name: String,
    /// As records have it.
    pub(super) field_name: String,
    pub(super) is_not_null: bool,
    pub(super) mask: Option<ColumnMask>,
    /// Whether `before` and `after` have it; a key may, besides.
    pub(super) is_in_value: bool,
}

impl ColumnPlan {
    /// What is written where the value is null.
    pub(super) fn null(&self, nulls: Nulls) -> &[u8] {
        match nulls {
            Nulls::Kept if !self.is_not_null => b"null",
            Nulls::Kept | Nulls::Replaced => &self.null,
        }
    }
}

/// A key, ready to be written.
#[derive(Debug, Clone)]
pub(super) struct KeyPlan {
    /// Whether records have one. It may be without a column, where Debezium does not know the types of those that it is of.
    pub(super) is_there: bool,
    /// Places of its columns, in the key's order.
    pub(super) places: Vec<usize>,
    /// What stands before and after the columns' object: nothing, or the schema.
    pub(super) head: Vec<u8>,
    pub(super) tail: &'static [u8],
    /// It is Java's text of the columns.
    pub(super) is_text: bool,
    /// So are the headers that name the other key of a change.
    pub(super) is_text_in_headers: bool,
    /// What nulls are in the key itself; in those headers defaults stand for them.
    pub(super) nulls: Nulls,
    schema: Schema,
}

impl KeyPlan {
    /// The schema of its column at a place of the key.
    pub(super) fn field(&self, at: usize) -> Option<&Schema> {
        let SchemaType::Struct(fields) = &self.schema.schema_type else { return None };
        fields.get(at).map(|field| &field.schema)
    }

    /// The object of columns alone, out of a whole key.
    pub(super) fn columns_of<'a>(&self, key: &'a [u8]) -> &'a [u8] {
        let end = key.len().saturating_sub(self.tail.len());
        key.get(self.head.len()..end).unwrap_or_default()
    }

    /// That object as a header shows it.
    pub(super) fn in_header<'a>(&self, columns: &'a [u8]) -> Cow<'a, [u8]> {
        if self.is_text_in_headers { Cow::Borrowed(columns) } else { header_text(columns, &self.schema) }
    }
}

/// A column that stands alone.
#[derive(Debug, Clone)]
pub(super) struct ColumnPiece {
    pub(super) is_before: bool,
    pub(super) place: usize,
    pub(super) column: ColumnPlan,
    /// What nulls are, unless it is as in the row.
    pub(super) nulls: Option<Nulls>,
}

/// Pieces whose JSON is not written as it is.
#[derive(Debug, Clone)]
pub(super) struct ConvertedPiece {
    /// Of the field.
    pub(super) name: String,
    pub(super) pieces: Vec<Piece>,
    /// Stands for null.
    pub(super) when_null: Option<Vec<u8>>,
    /// What becomes of every value but null.
    pub(super) conversions: Vec<Conversion>,
}

/// A stretch of a value: the same for all records of a table, or of this record.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    Bytes(Vec<u8>),
    Before,
    After,
    /// The same without the end of the object.
    OpenBefore(Nulls),
    OpenAfter(Nulls),
    /// The value of a column alone, of the row before or behind the change; null where there is no such row.
    Column(Box<ColumnPiece>),
    Converted(Box<ConvertedPiece>),
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
    /// Null where transactions are not told of.
    Transaction,
    TransactionId,
    TotalOrder,
    CollectionOrder,
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
        let facts = options.profile.facts();
        let is_named = |column: &Option<ColumnPlan>, name: &String| {
            column.as_ref().is_some_and(|column| column.plain_name == *name)
        };
        let place = |name: &String| columns.iter().position(|column| is_named(column, name));
        let places: Vec<usize> = options.key_columns.iter().filter_map(place).collect();
        let base = options.schema_names.applied(&options.schema_name, Named::Schema);
        let field = |place: usize| {
            let (column, schemas) = (columns.get(place)?.as_ref()?, schemas.get(place)?.as_ref()?);
            Some((column, schemas))
        };
        let key_fields = places.iter().filter_map(|place| field(*place));
        let key_fields = key_fields.map(|(column, schemas)| (column.field_name.clone(), schemas.key.clone()));
        let key_schema = Schema::of_fields(key_fields).named(format!("{base}.Key"));
        let is_there = options.key_columns.iter().any(|name| shape.column(name).is_some());
        let fields = (0..columns.len()).filter_map(field).filter(|(column, _)| column.is_in_value);
        let fields = fields.map(|(column, schemas)| (column.field_name.clone(), schemas.value.clone()));
        let row = Schema::of_fields(fields).optional().named(format!("{base}.Value"));
        let layout = Layout {
            shape: &shape,
            facts,
            options,
            row: &row,
            columns: &columns,
            schema_base: &base,
            key: &key_schema,
            places: &places,
            has_key: is_there,
        };
        let OfTable { topic, forms } = forms::of_table(&layout)?;
        let (head, tail) = framed(options.key_converter.shown(&key_schema));
        let key = KeyPlan {
            is_there,
            places,
            head,
            tail,
            is_text: options.key_converter == Converter::Text,
            is_text_in_headers: options.with_text_headers,
            nulls: options.key_converter.nulls(),
            schema: key_schema,
        };
        if options.key_converter.is_json() && options.key_decimals_are_numbers != options.handling.decimals_are_numbers
        {
            refuse_other_decimals(&key.schema)?;
        }
        if (key.is_text && forms.have_keys_of_table()) || (key.is_text_in_headers && forms.are_of_rows()) {
            refuse_without_text(&key.schema)?;
        }
        let is_routed = topic.is_none();
        let topic = topic.unwrap_or_else(|| options.schema_name.clone());
        Ok(Self { topic, is_routed, columns, nulls: options.value_converter.nulls(), key, forms, shape })
    }

    /// The table.
    pub fn shape(&self) -> &TableShape {
        &self.shape
    }

    /// The topic of the table's records; of a table whose rows say their topics, the one that they would have.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Whether each row says the topic of its record.
    pub fn is_routed(&self) -> bool {
        self.is_routed
    }
}

/// Refuses a key whose decimals are not written as those of values are.
pub(super) fn refuse_other_decimals(key: &Schema) -> Result<(), PlanError> {
    let SchemaType::Struct(fields) = &key.schema_type else { return Ok(()) };
    match fields.iter().find(|field| field.schema.is_decimal()) {
        Some(field) => Err(PlanError::WrongType {
            column: field.name.clone(),
            what: "in a key while key.converter.decimal.format is another than value.converter.decimal.format: set both alike",
        }),
        None => fields.iter().try_for_each(|field| refuse_other_decimals(&field.schema)),
    }
}

/// Refuses a key of which Java's text is not known.
fn refuse_without_text(key: &Schema) -> Result<(), PlanError> {
    let SchemaType::Struct(fields) = &key.schema_type else { return Ok(()) };
    let is_odd = |schema: &Schema| !schema.is_decimal() && !schema.has_text_of_json();
    match fields.iter().find(|field| is_odd(&field.schema)) {
        Some(field) => {
            Err(PlanError::WrongType { column: field.name.clone(), what: "in a key that StringConverter writes" })
        }
        None => Ok(()),
    }
}

/// The schemas of a column: only that of values tells of a mask, as keys have none.
struct ColumnSchemas {
    key: Schema,
    value: Schema,
}

/// A column and its schemas; `None` if Debezium leaves it out.
fn column_plan(column: &ColumnShape, options: &PlanOptions) -> Option<(ColumnPlan, ColumnSchemas)> {
    let column_type = ColumnType::of(&column.pg_type, column.type_modifier, &options.handling)?;
    // Debezium asks the catalog for none of the columns that are left out: what a key has of them may be null.
    let is_in_value = !options.left_out.contains(&column.name);
    let is_not_null = column.is_not_null && is_in_value;
    let expression = column.default_expression.as_deref().filter(|_| is_in_value);
    let default = expression.and_then(|expression| column_type.default_json(expression));
    let schema = column_type.schema(!is_not_null, default.clone());
    // JsonConverter puts a column's default in the place of null; NOT NULL columns without one get a filler.
    let null = default.unwrap_or_else(|| match is_not_null {
        true => column_type.filler().to_vec(),
        false => b"null".to_vec(),
    });
    let key = schema.clone();
    let listed = options.masks.iter().find(|(name, _)| *name == column.name);
    let (mask, value) = match listed {
        Some((_, mask)) => ColumnMask::of(mask, column, options.handling.is_snapshot, schema),
        None => (None, schema),
    };
    let field_name = options.field_names.applied(&column.name, Named::Field);
    let plan = ColumnPlan {
        name: quoted_name(&field_name),
        unavailable: column_type.missing(&options.unavailable_placeholder),
        null,
        column_type,
        plain_name: column.name.clone(),
        field_name,
        mask,
        is_not_null,
        is_in_value,
    };
    Some((plan, ColumnSchemas { key, value }))
}

/// What stands before and after a payload.
pub(super) fn framed(schema: Option<&Schema>) -> (Vec<u8>, &'static [u8]) {
    let Some(schema) = schema else { return (Vec::new(), b"") };
    let mut head = b"{\"schema\":".to_vec();
    schema.write(&mut head);
    head.extend_from_slice(b",\"payload\":");
    (head, b"}")
}
