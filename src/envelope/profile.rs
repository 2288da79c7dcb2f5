//! The releases of Debezium whose bytes are imitated: which fields an envelope has, in which order, and their schemas.

use super::SnapshotMark;
use crate::connect::{Schema, SchemaType};

/// A release; field order, schemas and headers differ between releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// 3.6.1.Final.
    V3_6,
    /// 2.4.2.Final.
    V2_4,
}

/// A field of the envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EnvelopeField {
    Before,
    After,
    Source,
    Transaction,
    Op,
    TsMs,
    TsUs,
    TsNs,
}

/// A field of the `source` block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SourceField {
    Version,
    Connector,
    Name,
    TsMs,
    Snapshot,
    Db,
    Sequence,
    TsUs,
    TsNs,
    Schema,
    Table,
    TxId,
    Lsn,
    Xmin,
    Origin,
    OriginLsn,
}

/// What tells the releases apart.
pub(super) struct ProfileFacts {
    /// `source.version`.
    pub(super) version: &'static str,
    pub(super) envelope: &'static [EnvelopeField],
    pub(super) envelope_version: i32,
    pub(super) source: &'static [SourceField],
    pub(super) source_version: Option<i32>,
    /// The values that the schema of `source.snapshot` allows.
    pub(super) snapshot_marks: &'static str,
}

const FACTS_3_6: ProfileFacts = {
    use EnvelopeField::{After, Before, Op, Source, Transaction, TsMs, TsNs, TsUs};
    use SourceField as S;
    ProfileFacts {
        version: "3.6.1.Final",
        envelope: &[Before, After, Source, Transaction, Op, TsMs, TsUs, TsNs],
        envelope_version: 2,
        source: &[
            S::Version,
            S::Connector,
            S::Name,
            S::TsMs,
            S::Snapshot,
            S::Db,
            S::Sequence,
            S::TsUs,
            S::TsNs,
            S::Schema,
            S::Table,
            S::TxId,
            S::Lsn,
            S::Xmin,
            S::Origin,
            S::OriginLsn,
        ],
        source_version: Some(1),
        snapshot_marks: "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental",
    }
};

const FACTS_2_4: ProfileFacts = {
    use EnvelopeField::{After, Before, Op, Source, Transaction, TsMs};
    use SourceField as S;
    ProfileFacts {
        version: "2.4.2.Final",
        envelope: &[Before, After, Source, Op, TsMs, Transaction],
        envelope_version: 1,
        source: &[
            S::Version,
            S::Connector,
            S::Name,
            S::TsMs,
            S::Snapshot,
            S::Db,
            S::Sequence,
            S::Schema,
            S::Table,
            S::TxId,
            S::Lsn,
            S::Xmin,
        ],
        source_version: None,
        snapshot_marks: "true,last,false,incremental",
    }
};

impl Profile {
    /// From the value of `--compat`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "3.6" => Some(Self::V3_6),
            "2.4" => Some(Self::V2_4),
            _ => None,
        }
    }

    /// `source.version`.
    pub fn version(self) -> &'static str {
        self.facts().version
    }

    pub(super) fn facts(self) -> &'static ProfileFacts {
        match self {
            Self::V3_6 => &FACTS_3_6,
            Self::V2_4 => &FACTS_2_4,
        }
    }
}

impl EnvelopeField {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
            Self::Source => "source",
            Self::Transaction => "transaction",
            Self::Op => "op",
            Self::TsMs => "ts_ms",
            Self::TsUs => "ts_us",
            Self::TsNs => "ts_ns",
        }
    }

    pub(super) fn schema(self, row: &Schema, facts: &ProfileFacts) -> Schema {
        match self {
            Self::Before | Self::After => row.clone(),
            Self::Source => source_schema(facts),
            Self::Transaction => transaction_schema(),
            Self::Op => Schema::new(SchemaType::String),
            Self::TsMs | Self::TsUs | Self::TsNs => Schema::new(SchemaType::Int64).optional(),
        }
    }
}

impl SourceField {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Connector => "connector",
            Self::Name => "name",
            Self::TsMs => "ts_ms",
            Self::Snapshot => "snapshot",
            Self::Db => "db",
            Self::Sequence => "sequence",
            Self::TsUs => "ts_us",
            Self::TsNs => "ts_ns",
            Self::Schema => "schema",
            Self::Table => "table",
            Self::TxId => "txId",
            Self::Lsn => "lsn",
            Self::Xmin => "xmin",
            Self::Origin => "origin",
            Self::OriginLsn => "origin_lsn",
        }
    }

    pub(super) fn schema(self, facts: &ProfileFacts) -> Schema {
        match self {
            Self::Version | Self::Connector | Self::Name | Self::Db | Self::Schema | Self::Table => {
                Schema::new(SchemaType::String)
            }
            Self::Sequence | Self::Origin => Schema::new(SchemaType::String).optional(),
            Self::TsMs => Schema::new(SchemaType::Int64),
            Self::TsUs | Self::TsNs | Self::TxId | Self::Lsn | Self::Xmin | Self::OriginLsn => {
                Schema::new(SchemaType::Int64).optional()
            }
            Self::Snapshot => Schema::new(SchemaType::String)
                .optional()
                .named("io.debezium.data.Enum")
                .version(1)
                .parameter("allowed", facts.snapshot_marks)
                .default_json(format!("\"{}\"", SnapshotMark::False.word())),
        }
    }
}

fn source_schema(facts: &ProfileFacts) -> Schema {
    let fields = facts.source.iter().map(|field| (field.name(), field.schema(facts)));
    let schema = Schema::of_fields(fields).named("io.debezium.connector.postgresql.Source");
    match facts.source_version {
        Some(version) => schema.version(version),
        None => schema,
    }
}

fn transaction_schema() -> Schema {
    let number = || Schema::new(SchemaType::Int64);
    let fields =
        [("id", Schema::new(SchemaType::String)), ("total_order", number()), ("data_collection_order", number())];
    Schema::of_fields(fields).optional().named("event.block").version(1)
}

/// The schema of the envelopes of a table, whose rows have the schema `row`.
pub(super) fn envelope_schema(table: &str, row: &Schema, facts: &ProfileFacts) -> Schema {
    let fields = facts.envelope.iter().map(|field| (field.name(), field.schema(row, facts)));
    Schema::of_fields(fields).named(format!("{table}.Envelope")).version(facts.envelope_version)
}

/// The schema of the records of begins and ends.
pub(super) fn transaction_value_schema() -> Schema {
    let (text, number) = (|| Schema::new(SchemaType::String), || Schema::new(SchemaType::Int64));
    let collection = Schema::of_fields([("data_collection", text()), ("event_count", number())])
        .optional()
        .named("event.collection")
        .version(1);
    let fields = [
        ("status", text()),
        ("id", text()),
        ("event_count", number().optional()),
        ("data_collections", Schema::array(collection).optional()),
        ("ts_ms", number()),
    ];
    Schema::of_fields(fields).named("io.debezium.connector.common.TransactionMetadataValue").version(1)
}

/// The schema of the records of logical messages.
pub(super) fn message_value_schema(facts: &ProfileFacts, content: SchemaType) -> Schema {
    let named = |schema: Schema, name| schema.named(format!("io.debezium.connector.postgresql.{name}")).version(1);
    let message = Schema::of_fields([
        ("prefix", Schema::new(SchemaType::String).optional()),
        ("content", Schema::new(content).optional()),
    ]);
    let fields = [
        ("op", Schema::new(SchemaType::String)),
        ("ts_ms", Schema::new(SchemaType::Int64).optional()),
        ("source", source_schema(facts)),
        ("transaction", transaction_schema()),
        ("message", named(message, "Message")),
    ];
    named(Schema::of_fields(fields), "MessageValue")
}

/// The schema of one field of `transaction`.
pub(super) fn transaction_field_schema(name: &str) -> Option<Schema> {
    match transaction_schema().schema_type {
        SchemaType::Struct(fields) => fields.into_iter().find(|field| field.name == name).map(|field| field.schema),
        _ => None,
    }
}
