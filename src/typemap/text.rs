//! Types whose text is their value: strings, JSON, XML, network addresses, ranges, labels and the like.

use super::{ColumnType, Declared, Mapped, Unwritten};
use crate::connect::json::write_string;
use crate::connect::{Schema, SchemaType};

/// A string without a meaning of its own.
pub(super) fn string(_: &Declared<'_>) -> Mapped {
    Mapped::new(Schema::new(SchemaType::String), write_text, "\"\"")
}

pub(super) fn json(_: &Declared<'_>) -> Mapped {
    named("io.debezium.data.Json")
}

pub(super) fn xml(_: &Declared<'_>) -> Mapped {
    named("io.debezium.data.Xml")
}

pub(super) fn uuid(_: &Declared<'_>) -> Mapped {
    named("io.debezium.data.Uuid")
}

pub(super) fn ltree(_: &Declared<'_>) -> Mapped {
    named("io.debezium.data.Ltree")
}

pub(super) fn tsvector(_: &Declared<'_>) -> Mapped {
    named("io.debezium.data.Tsvector")
}

/// `name`: in the schema, but a value only in a snapshot, or where those of unknown types are included.
pub(super) fn name(declared: &Declared<'_>) -> Mapped {
    let write = if declared.handling.includes_unknown || declared.handling.is_snapshot {
        write_text
    } else {
        super::binary::write_nothing
    };
    Mapped::new(Schema::new(SchemaType::String), write, "\"\"")
}

/// One of an enum's labels.
pub(super) fn label(labels: &[String]) -> Mapped {
    let mapped = named("io.debezium.data.Enum");
    Mapped { schema: mapped.schema.parameter("allowed", labels.join(",")), ..mapped }
}

fn named(name: &'static str) -> Mapped {
    Mapped::new(Schema::new(SchemaType::String).named(name).version(1), write_text, "\"\"")
}

pub(super) fn write_text(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    write_string(out, text);
    Ok(())
}
