//! The columns of an outbox that is not evp's own.

use super::Variables;
use crate::envelope::decode::{Ids, OutboxColumns};

/// From `OUTBOX_COLUMNS` and `OUTBOX_IDS`, over which the flags win; mistakes are noted in `variables`.
pub(crate) fn outbox_columns(variables: &mut Variables, columns: Option<&str>, ids: Option<&str>) -> OutboxColumns {
    let columns = columns.map(str::to_owned).or_else(|| variables.optional("OUTBOX_COLUMNS"));
    let parsed = OutboxColumns::parse(&columns.unwrap_or_default());
    let mut parsed = parsed.unwrap_or_else(|reason| {
        variables.mistake(format!(
            "OUTBOX_COLUMNS (--columns): {reason}; give `debezium`, or pairs such as event_id=id,aggregate_id=order_no"
        ));
        OutboxColumns::default()
    });
    match ids.map(str::to_owned).or_else(|| variables.optional("OUTBOX_IDS")).as_deref() {
        None => {}
        Some("uuid") => parsed.ids = Ids::Uuid,
        Some("any") => parsed.ids = Ids::Any,
        Some(other) => variables.mistake(format!("OUTBOX_IDS (--ids) is `{other}`: give uuid or any")),
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_wins_over_a_variable_and_a_mistake_is_noted() {
        let mut variables = Variables::of(&[("OUTBOX_COLUMNS", "event_id=id"), ("OUTBOX_IDS", "any")]);
        let columns = outbox_columns(&mut variables, None, None);
        assert_eq!((columns.name(crate::envelope::decode::Column::EventId), columns.ids), ("id", Ids::Any));
        assert_eq!(outbox_columns(&mut variables, Some("debezium"), Some("uuid")).ids, Ids::Uuid);
        outbox_columns(&mut variables, Some("colour=red"), Some("number"));
        let said = variables.finish().unwrap_err().to_string();
        assert!(said.contains("colour") && said.contains("OUTBOX_IDS"), "{said}");
    }
}
