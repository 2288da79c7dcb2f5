//! Kafka Connect's model of data, without a line of Connect: schemas, and JSON as its `JsonConverter` writes it.

mod adjustment;
mod converter;
pub(crate) mod java_map;
pub(crate) mod json;
mod schema;

pub use adjustment::Adjustment;
pub(crate) use adjustment::Named;
pub(crate) use converter::text_of;
pub use converter::{Converter, Nulls};
pub use schema::{Field, Schema, SchemaType};
