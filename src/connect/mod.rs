//! Kafka Connect's model of data, without a line of Connect: schemas, and JSON as its `JsonConverter` writes it.

pub(crate) mod json;
mod schema;

pub use schema::{Field, Schema, SchemaType};
