//! Records of logical messages, which `pg_logical_emit_message` writes into the log.

use super::Record;
use super::change::{RecordOptions, RowContext};
use super::companion::{Companion, Framed};
use super::pieces::{SourceNames, source_pieces};
use super::plan::Piece;
use super::profile::{Profile, message_value_schema};
use super::transaction::write_transaction;
use super::write::{write_number, write_source_value};
use crate::connect::json::write_string;
use crate::connect::{Converter, Schema, SchemaType};
use crate::pgoutput::LogicalMessage;
use crate::row::Operation;
use crate::transform::Beside;
use crate::typemap::{BinaryMode, write_bytes};

/// Writes the records of logical messages.
#[derive(Debug)]
pub struct MessageRecords {
    topic: String,
    key_frame: Framed,
    value_frame: Framed,
    source: Vec<Piece>,
    mode: BinaryMode,
    companion: Companion,
}

/// What all messages of a connector share.
#[derive(Debug, Clone, Copy)]
pub struct MessageSource<'a> {
    /// Whose bytes are imitated.
    pub profile: Profile,
    /// `source.name`.
    pub topic_prefix: &'a str,
    /// `source.db`.
    pub database: &'a str,
    /// What becomes of the content.
    pub mode: BinaryMode,
}

impl MessageRecords {
    /// Records in `topic`, whose keys and values these converters write.
    pub fn new(
        beside: Beside,
        (keys, values): (Converter, Converter),
        source: MessageSource<'_>,
        options: &RecordOptions,
    ) -> Self {
        let facts = source.profile.facts();
        let key = Schema::of_fields([("prefix", Schema::new(SchemaType::String).optional())])
            .named("io.debezium.connector.postgresql.MessageKey")
            .version(1);
        let content = match source.mode {
            BinaryMode::Bytes => SchemaType::Bytes,
            _ => SchemaType::String,
        };
        // They are of no table.
        let names = SourceNames { topic_prefix: source.topic_prefix, database: source.database, schema: "", table: "" };
        Self {
            key_frame: Framed::of_key(keys, &key, &beside.keys),
            value_frame: Framed::new(values, &message_value_schema(facts, content), &beside.edits),
            companion: Companion::new(options, beside.headers),
            topic: beside.topic,
            source: source_pieces(facts, names, values.nulls()),
            mode: source.mode,
        }
    }

    /// The record of a message.
    pub fn record(&mut self, message: &LogicalMessage, row: RowContext<'_>) -> Record<'_> {
        let (mut prefix, mut content) = (Vec::new(), Vec::new());
        write_string(&mut prefix, &String::from_utf8_lossy(&message.prefix));
        write_bytes(&mut content, &message.content, self.mode);
        self.key_frame.write(&mut self.companion.key, &[&prefix]);
        let (mut now, mut source, mut transaction) = (Vec::new(), Vec::new(), Vec::new());
        write_number(&mut now, row.now_ns / 1_000_000);
        for piece in &self.source {
            match piece {
                Piece::Bytes(bytes) => source.extend_from_slice(bytes),
                piece => write_source_value(&mut source, piece, row),
            }
        }
        write_transaction(&mut transaction, row);
        let message = [b"{\"prefix\":".as_slice(), &prefix, b",\"content\":", &content, b"}"].concat();
        let fields: [&[u8]; 5] = [b"\"m\"", &now, &source, &transaction, &message];
        self.value_frame.write(&mut self.companion.value, &fields);
        self.companion.record(&self.topic, row.first, Some(Operation::Message))
    }
}
