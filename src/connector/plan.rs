//! What the settings say of one table's records.

use super::{ConnectorSettings, topic_name};
use crate::envelope::PlanOptions;
use crate::row::TableShape;
use crate::typemap::Handling;

impl ConnectorSettings {
    /// How records of a table of `database` are to look, with these columns as their key.
    pub(crate) fn plan_options(
        &self,
        shape: &TableShape,
        database: &str,
        key_columns: Vec<String>,
        handling: Handling,
    ) -> PlanOptions {
        let names = shape.columns.iter().map(|column| &column.name);
        let left_out = names.filter(|name| !self.tables.accepts_column(&shape.schema, &shape.table, name));
        PlanOptions {
            left_out: left_out.cloned().collect(),
            profile: self.profile,
            topic_prefix: self.topic_prefix.clone(),
            database: database.to_owned(),
            transforms: self.transforms.clone(),
            schema_name: topic_name(&self.topic_delimiter, &self.topic_prefix, &shape.schema, &shape.table),
            key_columns,
            key_converter: self.key_converter,
            key_decimals_are_numbers: self.key_decimals_are_numbers,
            value_converter: self.value_converter,
            with_text_headers: self.with_text_headers,
            unavailable_placeholder: self.unavailable_placeholder.clone(),
            handling,
            masks: self.masks_of(shape, handling.is_snapshot),
            schema_names: self.schema_names,
            field_names: self.field_names,
        }
    }
}
