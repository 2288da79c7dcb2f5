//! The properties of Debezium's outbox `EventRouter`.

use super::transforms::Section;
use crate::transform::{Additional, EventRouter, NullFields, Placement, TopicRoute, UpdateHandling};

const PROPERTIES: [&str; 19] = [
    "route.by.field",
    "route.tombstone.on.empty.payload",
    "route.topic.regex",
    "route.topic.replacement",
    "table.expand.json.payload",
    "table.field.additional.missing",
    "table.field.event.id",
    "table.field.event.key",
    "table.field.event.payload",
    "table.field.event.schema.version",
    "table.field.event.timestamp",
    "table.field.event.type",
    "table.fields.additional.error.on.missing",
    "table.fields.additional.placement",
    "table.json.payload.null.behavior",
    "table.op.invalid.behavior",
    // Without OpenTelemetry, which nobody finds in a worker that does not ask for it, Debezium does not look at these.
    "tracing.operation.name",
    "tracing.span.context.field",
    "tracing.with.context.field.only",
];

/// Reads them; mistakes are noted.
pub(super) fn event_router(section: &mut Section<'_>) -> Option<EventRouter> {
    section.only(&PROPERTIES);
    let text =
        |section: &Section<'_>, part: &str, default: &str| section.get(part).unwrap_or(default).trim().to_owned();
    let optional = |section: &Section<'_>, part: &str| section.get(part).map(|text| text.trim().to_owned());
    let additional = additional(section);
    let regex = text(section, "route.topic.regex", "(?<routedByValue>.*)");
    let replacement = text(section, "route.topic.replacement", "outbox.event.${routedByValue}");
    let route = TopicRoute::new(&regex, &replacement);
    let route = route.map_err(|error| section.mistakes.push(format!("`route.topic.regex`: {error}"))).ok();
    let updates = word(section, "table.op.invalid.behavior", UpdateHandling::from_word, "warn, error or fatal");
    let expands = section.flag("table.expand.json.payload", false);
    let nulls = word(section, "table.json.payload.null.behavior", NullFields::from_word, "ignore or optional_bytes");
    Some(EventRouter {
        id: text(section, "table.field.event.id", "id"),
        key: text(section, "table.field.event.key", "aggregateid"),
        payload: text(section, "table.field.event.payload", "payload"),
        timestamp: optional(section, "table.field.event.timestamp"),
        schema_version: optional(section, "table.field.event.schema.version"),
        ignores_missing: ignores_missing(section),
        additional,
        route_by: text(section, "route.by.field", "aggregatetype"),
        route: route?,
        updates,
        with_tombstones: section.flag("route.tombstone.on.empty.payload", false),
        expansion: expands.then_some(nulls),
    })
}

fn additional(section: &mut Section<'_>) -> Vec<Additional> {
    let list = section.get("table.fields.additional.placement").unwrap_or_default();
    let mut additional = Vec::new();
    for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        match Additional::parse(entry) {
            Ok(entry) => additional.push(entry),
            Err(reason) => section.mistakes.push(format!("in `table.fields.additional.placement` {reason}")),
        }
    }
    let mut names: Vec<&str> = vec!["payload"];
    for entry in additional.iter().filter(|entry| entry.placement == Placement::Envelope) {
        if names.contains(&entry.name.as_str()) {
            section.mistakes.push(format!("the field `{}` would be twice beside the payload", entry.name));
        }
        names.push(&entry.name);
    }
    additional
}

/// Today's property, or the one that Debezium had up to 3.5.
fn ignores_missing(section: &mut Section<'_>) -> bool {
    let fails = section.flag("table.fields.additional.error.on.missing", true);
    match section.get("table.field.additional.missing").map(|word| word.trim().to_ascii_lowercase()).as_deref() {
        None => !fails,
        Some("error") => false,
        Some("ignore") => true,
        Some(_) => {
            section.mistakes.push("`table.field.additional.missing` is error or ignore".to_owned());
            false
        }
    }
}

fn word<T: Default>(section: &mut Section<'_>, part: &str, read: fn(&str) -> Option<T>, words: &str) -> T {
    section.get(part).map_or_else(|| Some(T::default()), read).unwrap_or_else(|| {
        section.mistakes.push(format!("`{part}` is {words}"));
        T::default()
    })
}

#[cfg(test)]
mod tests {
    use super::super::Connector;
    use super::super::transforms::Section;
    use super::*;
    use crate::config::Variables;

    fn read(sets: &[&str]) -> (Option<EventRouter>, Vec<String>) {
        let sets: Vec<String> = sets.iter().map(|set| format!("transforms.outbox.{set}")).collect();
        let connector = Connector::load(&mut Variables::default(), None, &sets).unwrap();
        let mut section = Section::new(&connector, "transforms", "outbox");
        (event_router(&mut section), section.mistakes)
    }

    #[test]
    fn what_is_absent_is_debeziums_default() {
        let (router, mistakes) = read(&["type=io.debezium.transforms.outbox.EventRouter"]);
        let router = router.unwrap();
        assert_eq!(mistakes, [""; 0]);
        assert_eq!(
            (router.id.as_str(), router.key.as_str(), router.payload.as_str()),
            ("id", "aggregateid", "payload")
        );
        assert_eq!((router.route_by.as_str(), router.updates), ("aggregatetype", UpdateHandling::Warn));
        assert!(!router.with_tombstones && router.expansion.is_none() && !router.ignores_missing);
    }

    #[test]
    fn both_names_of_a_missing_columns_handling_are_understood() {
        assert!(read(&["table.field.additional.missing=Ignore"]).0.unwrap().ignores_missing);
        assert!(read(&["table.fields.additional.error.on.missing=false"]).0.unwrap().ignores_missing);
    }

    #[test]
    fn mistakes_are_named() {
        let (_, mistakes) = read(&[
            "table.fields.additional.placement=a:body,b:envelope:payload",
            "table.op.invalid.behavior=panic",
            "table.json.payload.null.behavior=keep",
            "route.topic.regex=(",
            "nosuch=1",
        ]);
        assert_eq!(mistakes.len(), 6, "{mistakes:?}");
    }
}
