//! The properties of the transforms of keys and headers, and of Debezium's `ByLogicalTableRouter`.

use super::field_edits::{self, NULLS, field_edit, list};
use super::transforms::Section;
use super::value_edits;
use crate::connect::Adjustment;
use crate::transform::{
    FieldHeaders, HeaderTransform, KeyTransform, LogicalTable, TableIdentifier, TopicRoute, Transform,
};

const OF_KAFKA: &str = "org.apache.kafka.connect.transforms.";
const LOGICAL_TABLE: &str = "io.debezium.transforms.ByLogicalTableRouter";

const OF_LOGICAL_TABLE: [&str; 8] = [
    "key.enforce.uniqueness",
    "key.field.name",
    "key.field.regex",
    "key.field.replacement",
    "logical.table.cache.size",
    "schema.name.adjustment.mode",
    "topic.regex",
    "topic.replacement",
];

/// The transform of this class, if it is one of these; none where it is not understood, which is noted.
pub(super) fn key_transform(section: &mut Section<'_>, class: &str) -> Option<Option<Transform>> {
    if class == LOGICAL_TABLE {
        return Some(logical_table(section).map(|table| Transform::Key(KeyTransform::Logical(Box::new(table)))));
    }
    let header = |transform: Option<HeaderTransform>| Some(transform.map(Transform::Header));
    match class.strip_prefix(OF_KAFKA)? {
        "ValueToKey" => Some(value_to_key(section).map(Transform::Key)),
        "ExtractField$Key" => fields(section, value_edits::EXTRACT),
        "HoistField$Key" => fields(section, value_edits::HOIST),
        "ReplaceField$Key" => fields(section, field_edits::REPLACE),
        "InsertField$Key" => fields(section, field_edits::INSERT),
        "MaskField$Key" => fields(section, field_edits::MASK),
        "Cast$Key" => fields(section, value_edits::CAST),
        "InsertHeader" => header(insert_header(section)),
        "DropHeaders" => {
            section.only(&["headers"]);
            let names = section.required("headers").map(|_| list(section, "headers"));
            header(names.map(HeaderTransform::Drop))
        }
        "HeaderFrom$Value" => header(header_from(section, false)),
        "HeaderFrom$Key" => header(header_from(section, true)),
        "TimestampRouter" => {
            let said = "its topics are made of a record's time, which records of rows do not have: Kafka Connect ends at the first";
            section.mistakes.push(said.to_owned());
            Some(None)
        }
        _ => None,
    }
}

/// What a transform of values of this class would do, done to keys.
fn fields(section: &mut Section<'_>, class: &str) -> Option<Option<Transform>> {
    Some(field_edit(section, class).map(KeyTransform::Fields).map(Transform::Key))
}

fn value_to_key(section: &mut Section<'_>) -> Option<KeyTransform> {
    section.only(&["fields", NULLS]);
    section.required("fields")?;
    let (fields, nulls) = (list(section, "fields"), section.nulls());
    let is_twice = |at: usize, name: &String| fields.iter().take(at).any(|other| other == name);
    if fields.is_empty() || fields.iter().enumerate().any(|(at, name)| is_twice(at, name)) {
        section.mistakes.push("`fields` is to name fields, each once".to_owned());
    }
    Some(KeyTransform::FromValue { fields, nulls })
}

fn insert_header(section: &mut Section<'_>) -> Option<HeaderTransform> {
    section.only(&["header", "value.literal"]);
    let (name, literal) = (section.required("header"), section.required("value.literal"));
    if name.is_some_and(super::transforms::is_own_header) {
        section.mistakes.push("`header` names one of evp's own".to_owned());
    }
    let Some(text) = header_text(literal?) else {
        let said = "`value.literal` is to be a text, true, false, null, a whole number, or another of seven digits at the most";
        section.mistakes.push(said.to_owned());
        return None;
    };
    Some(HeaderTransform::Insert(name?.to_owned(), text))
}

/// What Connect makes of the text of a header: it reads the text as a value and writes the value's text. None inside is null; none
/// at all is what it reads as a date, an array, a map or a number of many digits.
fn header_text(given: &str) -> Option<Option<String>> {
    let text = given.trim();
    let as_it_is = || Some(Some(given.to_owned()));
    let Some(first) = text.chars().next() else { return as_it_is() };
    match text {
        "null" => return Some(None),
        "true" | "false" => return Some(Some(text.to_owned())),
        _ => {}
    }
    if matches!(first, '[' | '{') || given.contains('\\') {
        return None;
    }
    if !first.is_numeric() && !matches!(first, '+' | '-') {
        return as_it_is();
    }
    // Behind what looks like a number it reads no further than to one of these.
    let is_cut = text.contains([':', ',', '{', '}', '[', ']', '"']);
    let is_date = text.len() == 10 && text.matches('-').count() == 2;
    if is_cut || is_date || !first.is_ascii() {
        return None;
    }
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    if !text.chars().all(is_number) || text.matches('.').count() > 1 {
        return as_it_is();
    }
    number_text(text).map(Some)
}

/// A number's text in Java, of those that it shows by their digits alone.
fn number_text(text: &str) -> Option<String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    let whole = if whole.is_empty() { "0" } else { whole };
    match fraction {
        "" if whole == "0" => Some("0".to_owned()),
        "" if whole.parse::<i64>().is_ok() => Some(format!("{sign}{whole}")),
        "" => None,
        _ if whole.len().saturating_add(fraction.len()) > 7 => None,
        // Java writes what is less than a thousandth with its exponent.
        _ if whole == "0" && fraction.starts_with("000") => None,
        _ => Some(format!("{sign}{whole}.{fraction}")),
    }
}

fn header_from(section: &mut Section<'_>, is_of_key: bool) -> Option<HeaderTransform> {
    section.only(&["fields", "headers", "operation", NULLS]);
    let (fields, headers) = (section.required("fields"), section.required("headers"));
    let is_moved = match section.required("operation").map(str::trim) {
        Some("move") => true,
        Some("copy") | None => false,
        Some(_) => {
            section.mistakes.push("`operation` is move or copy".to_owned());
            false
        }
    };
    fields.and(headers)?;
    let (fields, headers, nulls) = (list(section, "fields"), list(section, "headers"), section.nulls());
    if fields.len() != headers.len() || fields.is_empty() {
        section.mistakes.push("`fields` and `headers` are to name as many".to_owned());
    }
    if let Some(own) = headers.iter().find(|name| super::transforms::is_own_header(name)) {
        section.mistakes.push(format!("`{own}` is a header of evp's own"));
    }
    let fields = fields.into_iter().zip(headers).collect();
    Some(HeaderTransform::From(FieldHeaders { is_of_key, fields, is_moved, nulls }))
}

fn route(section: &mut Section<'_>, regex: &str, replacement: &str, part: &str) -> Option<TopicRoute> {
    let route = TopicRoute::new(regex, replacement);
    route.map_err(|error| section.mistakes.push(format!("`{part}`: {error}"))).ok()
}

fn logical_table(section: &mut Section<'_>) -> Option<LogicalTable> {
    section.only(&OF_LOGICAL_TABLE);
    let (regex, replacement) = (section.required("topic.regex"), section.required("topic.replacement"));
    let names = section.get("schema.name.adjustment.mode").map_or(Some(Adjustment::None), Adjustment::from_word);
    if names.is_none() {
        section.mistakes.push("`schema.name.adjustment.mode` is none, avro or avro_unicode".to_owned());
    }
    let is_unique = section.flag("key.enforce.uniqueness", true);
    let key_regex = section.get("key.field.regex").map(str::trim).filter(|regex| !regex.is_empty());
    let key_route = match (key_regex, section.get("key.field.replacement")) {
        (Some(_), None) => {
            section.mistakes.push("`key.field.regex` needs `key.field.replacement`".to_owned());
            None
        }
        (Some(regex), Some(replacement)) => route(section, regex, replacement, "key.field.regex"),
        (None, _) => None,
    };
    let field = section.get("key.field.name").unwrap_or("__dbz__physicalTableIdentifier").to_owned();
    let route = route(section, regex?, replacement?, "topic.regex");
    let identifier = is_unique.then_some(TableIdentifier { field, route: key_route });
    Some(LogicalTable { route: route?, identifier, names: names? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::transforms::tests::read;
    use crate::transform::{AddedHeader, FieldAction, KeyEdit, Outcome, RecordKind};

    fn sets(class: &str, parts: &[&str]) -> Vec<String> {
        let own =
            ["transforms=one".to_owned(), format!("transforms.one.type={class}"), "heartbeat.interval.ms=0".into()];
        own.into_iter().chain(parts.iter().map(|part| format!("transforms.one.{part}"))).collect()
    }

    fn outcome(class: &str, parts: &[&str]) -> Result<Outcome, String> {
        let sets = sets(class, parts);
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        read(&sets).map(|transforms| transforms.outcome("p.s.t", RecordKind::Row).unwrap())
    }

    fn of_kafka(class: &str, parts: &[&str]) -> Result<Outcome, String> {
        outcome(&format!("{OF_KAFKA}{class}"), parts)
    }

    #[test]
    fn keys_are_changed_in_their_order() {
        for (class, parts) in [
            ("ValueToKey", &["fields=id, k"][..]),
            ("ExtractField$Key", &["field=id", "replace.null.with.default=false"]),
            ("HoistField$Key", &["field=id"]),
            ("ReplaceField$Key", &["exclude=a", "renames=b:c"]),
            ("InsertField$Key", &["static.field=a", "static.value=b"]),
            ("MaskField$Key", &["fields=a"]),
        ] {
            let outcome = of_kafka(class, parts).unwrap_or_else(|told| panic!("{class}: {told}"));
            assert_eq!((outcome.keys.len(), outcome.edits.len()), (1, 0), "{class}");
        }
        let chain = read(&[
            "heartbeat.interval.ms=0",
            "transforms=a,b,c",
            "transforms.a.type=org.apache.kafka.connect.transforms.ValueToKey",
            "transforms.a.fields=id",
            "transforms.b.type=org.apache.kafka.connect.transforms.ExtractField$Key",
            "transforms.b.field=id",
            "transforms.c.type=org.apache.kafka.connect.transforms.HoistField$Key",
            "transforms.c.field=key",
        ]);
        let outcome = chain.unwrap().outcome("p.s.t", RecordKind::Row).unwrap();
        assert!(matches!(&*outcome.keys, [KeyEdit::FromValue { .. }, KeyEdit::Fields(extract), KeyEdit::Fields(hoist)]
            if extract.action == FieldAction::Extract("id".to_owned()) && hoist.action == FieldAction::Hoist("key".to_owned())));
    }

    #[test]
    fn logical_tables_are_read_with_their_defaults() {
        let parts = ["topic.regex=(.*)t", "topic.replacement=$1all", "logical.table.cache.size=5"];
        let routed = outcome(LOGICAL_TABLE, &parts).unwrap();
        let [KeyEdit::Logical { field: Some((name, text)), .. }] = &*routed.keys else { panic!("{routed:?}") };
        assert_eq!(
            (routed.topic.as_str(), name.as_str(), text.as_str()),
            ("p.s.all", "__dbz__physicalTableIdentifier", "p.s.t")
        );
        let told = outcome(LOGICAL_TABLE, &[parts[0], parts[1], "key.field.regex=x"]).unwrap_err();
        assert!(told.contains("needs `key.field.replacement`"), "{told}");
        assert!(outcome(LOGICAL_TABLE, &["topic.regex=(", parts[1]]).unwrap_err().contains("`topic.regex`"));
    }

    #[test]
    fn what_kafka_connect_would_end_on_is_refused() {
        for (class, parts, told) in [
            ("ValueToKey", &[][..], "needs `fields`"),
            ("ValueToKey", &["fields=a,a"], "each once"),
            ("InsertHeader", &["value.literal=x"], "needs `header`"),
            ("InsertHeader", &["header=evp.position", "value.literal=x"], "evp's own"),
            ("InsertHeader", &["header=h", "value.literal=[1]"], "is to be a text"),
            ("DropHeaders", &["header=x"], "did you mean `headers`"),
            ("HeaderFrom$Value", &["fields=a", "headers=b,c", "operation=move"], "as many"),
            ("HeaderFrom$Key", &["fields=a", "headers=b", "operation=swap"], "move or copy"),
            ("TimestampRouter", &[], "do not have"),
            ("HoistField$Key", &[], "needs `field`"),
        ] {
            let said = of_kafka(class, parts).unwrap_err();
            assert!(said.contains(told), "{class}: {said}");
        }
    }

    #[test]
    fn a_literal_is_written_as_connect_reads_it() {
        let written = |literal: &str| header_text(literal);
        for (given, text) in [
            ("plain", "plain"),
            (" two words ", " two words "),
            ("true", "true"),
            ("7", "7"),
            ("007", "7"),
            ("-5", "-5"),
            ("+5", "5"),
            ("1.50", "1.5"),
            ("2.0", "2"),
            ("-0", "0"),
            ("1.2.3", "1.2.3"),
            ("3rd", "3rd"),
            ("", ""),
            ("trueish", "trueish"),
        ] {
            assert_eq!(written(given), Some(Some(text.to_owned())), "{given}");
        }
        assert_eq!(written("null"), Some(None));
        for given in
            ["2024-01-01", "1,5", "12:00:00.000Z", "[1]", "{}", "1e5", "0.0001", "1234567.5", "99999999999999999999"]
        {
            assert_eq!(written(given), None, "{given}");
        }
        let inserted = of_kafka("InsertHeader", &["header=h", "value.literal=x"]).unwrap();
        assert_eq!(inserted.headers, [AddedHeader::Literal("h".to_owned(), Some("x".to_owned()))]);
    }
}
