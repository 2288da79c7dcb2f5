//! Our records against those of real Debezium for the same log, byte for byte.
//!
//! `golden/record` made the fixtures: the pgoutput bytes that PostgreSQL sent for `golden/*cases.sql` and what
//! Debezium wrote to Kafka for them. Masked are the connector's clock (`ts_*` after `op`) and its version-free run id.

mod writer;

use std::collections::HashMap;
use std::path::Path;

use evp::envelope::{Converter, Heartbeats, Profile};
use serde::Deserialize;
use writer::{MESSAGE, Writer, written};

#[derive(Deserialize)]
struct Fixture {
    options: HashMap<String, String>,
    catalog: HashMap<String, Vec<CatalogRow>>,
    stream: Vec<(u64, String)>,
    records: HashMap<String, Vec<Written>>,
    /// Texts of the schemas for which the records hold a number.
    #[serde(default)]
    schemas: Vec<String>,
}

#[derive(Deserialize)]
struct CatalogRow {
    table: String,
    name: String,
    r#type: String,
    not_null: bool,
    default: Option<String>,
    /// Its place in the primary key.
    key: Option<usize>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Written {
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, String)>,
    /// Where it was not the clock.
    #[serde(default)]
    timestamp: Option<i64>,
    #[serde(default)]
    partition: Option<i32>,
}

#[test]
fn records_equal_debezium_3_6_keyed_by_aggregate() {
    compare("3.6-outbox", Profile::V3_6, "outbox");
}

#[test]
fn records_equal_debezium_3_6_keyed_by_row_with_tombstones() {
    compare("3.6-rows", Profile::V3_6, "rows");
}

#[test]
fn records_equal_debezium_2_4_keyed_by_aggregate() {
    compare("2.4-outbox", Profile::V2_4, "outbox");
}

#[test]
fn records_equal_debezium_2_4_keyed_by_row_with_tombstones() {
    compare("2.4-rows", Profile::V2_4, "rows");
}

#[test]
fn records_with_their_schemas_equal_debezium_3_6() {
    compare("3.6-schemas", Profile::V3_6, "schemas");
}

#[test]
fn records_with_their_schemas_equal_debezium_2_4() {
    compare("2.4-schemas", Profile::V2_4, "schemas");
}

#[test]
fn keys_of_several_columns_and_defaults_equal_debezium_3_6() {
    compare("3.6-catalog", Profile::V3_6, "catalog");
}

#[test]
fn keys_that_message_key_columns_lists_equal_debezium_3_6() {
    compare("3.6-keys", Profile::V3_6, "keys");
}

#[test]
fn keys_of_several_columns_and_defaults_equal_debezium_2_4() {
    compare("2.4-catalog", Profile::V2_4, "catalog");
}

#[test]
fn keys_that_message_key_columns_lists_equal_debezium_2_4() {
    compare("2.4-keys", Profile::V2_4, "keys");
}

#[test]
fn unwrapped_rows_with_fields_and_headers_equal_debezium_3_6() {
    compare("3.6-unwrap", Profile::V3_6, "unwrap");
}

#[test]
fn unwrapped_deletes_with_their_schemas_equal_debezium_3_6() {
    compare("3.6-rewrite", Profile::V3_6, "rewrite");
}

#[test]
fn unwrapped_deletes_with_their_tombstones_equal_debezium_3_6() {
    compare("3.6-rewritten", Profile::V3_6, "rewritten");
}

#[test]
fn unwrapped_deletes_that_become_tombstones_equal_debezium_3_6() {
    compare("3.6-flat", Profile::V3_6, "flat");
}

#[test]
fn unwrapped_deletes_that_become_a_null_with_a_schema_equal_debezium_3_6() {
    compare("3.6-single", Profile::V3_6, "single");
}

#[test]
fn a_chain_with_predicates_equals_debezium_3_6() {
    compare("3.6-chain", Profile::V3_6, "chain");
}

/// No worker here has Groovy: what passes is what was recorded without a filter and of which the condition holds by the
/// word of this test.
fn compare_filtered(condition: &str, extra: &[(&str, &str)], passes: impl Fn(&serde_json::Value) -> bool) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/3.6-transactions.json");
    let mut fixture: Fixture = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let filter = [
        ("transforms", "filter"),
        ("transforms.filter.type", "io.debezium.transforms.Filter"),
        ("transforms.filter.language", "jsr223.groovy"),
        ("transforms.filter.condition", condition),
        ("provide.transaction.metadata", "false"),
        ("table.include.list", "activity.(a|b)"),
    ];
    let options = filter.iter().chain(extra).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    fixture.options.extend(options);
    let mut ours = Writer::new(&fixture, Profile::V3_6, "transactions").write_stream();
    let mut count = 0;
    for (topic, theirs) in &fixture.records {
        let table = topic.strip_prefix("transactions.activity.").unwrap_or_default();
        if !matches!(table, "a" | "b") {
            continue;
        }
        let has_passed = |record: &&Written| match &record.value {
            None => !extra.contains(&("transforms.filter.null.handling.mode", "drop")),
            Some(value) => passes(&serde_json::from_str(value).unwrap()),
        };
        let expected: Vec<_> = theirs.iter().filter(has_passed).map(|record| &record.key).collect();
        let passed = ours.remove(topic).unwrap_or_default();
        let found: Vec<_> = passed.iter().map(|record| &record.key).collect();
        assert_eq!(found, expected, "{condition}: {table}");
        count += found.len();
    }
    assert!(count > 0, "{condition}: something has to pass");
}

#[test]
#[should_panic(expected = "Update {")]
fn an_update_of_an_outbox_is_an_error_where_it_is_to_be_fatal() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/3.6-routed.json");
    let mut fixture: Fixture = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    fixture.options.insert("transforms.outbox.table.op.invalid.behavior".to_owned(), "fatal".to_owned());
    Writer::new(&fixture, Profile::V3_6, "routed").write_stream();
}

#[test]
fn filters_let_pass_what_their_condition_holds_of() {
    use serde_json::json;
    compare_filtered("value.op == 'c' && value.after.id == 2", &[], |record| {
        record["op"] == "c" && record["after"]["id"] == json!(2)
    });
    compare_filtered("value.after?.v != 'm' || value.source.table == 'b'", &[], |record| {
        record["after"]["v"] != "m" || record["source"]["table"] == "b"
    });
    compare_filtered("!(value.op in ['d', 't'])", &[("transforms.filter.null.handling.mode", "drop")], |record| {
        record["op"] != "d" && record["op"] != "t"
    });
    compare_filtered("value.after == null && value.before != null && key.id >= 3", &[], |record| {
        record["after"].is_null() && record["before"]["id"].as_i64() >= Some(3)
    });
    compare_filtered("topic == 'elsewhere' && value.after.nosuch > 1 || value.op == 'd'", &[], |record| {
        record["op"] == "d"
    });
    let nulls = [("transforms.filter.null.handling.mode", "evaluate")];
    compare_filtered("value == null || value.op == 't' || value.after?.id < 3 && topic != 'x'", &nulls, |record| {
        // Groovy takes null for less than any number.
        record["op"] == "t" || record["after"]["id"].as_i64() < Some(3)
    });
}

#[test]
fn masked_hashed_and_cut_values_equal_debezium_3_6() {
    compare("3.6-masked", Profile::V3_6, "masked");
}

#[test]
fn masks_with_their_schemas_equal_debezium_3_6() {
    compare("3.6-hashed", Profile::V3_6, "hashed");
}

#[test]
fn names_that_avro_takes_equal_debezium_3_6() {
    compare("3.6-avro", Profile::V3_6, "avro");
}

#[test]
fn names_in_unicode_numbers_equal_debezium_3_6() {
    compare("3.6-unicode", Profile::V3_6, "unicode");
}

#[test]
fn updates_without_a_change_are_left_out_as_debezium_3_6_does() {
    compare("3.6-changed", Profile::V3_6, "changed");
    compare("3.6-changedpart", Profile::V3_6, "changedpart");
}

#[test]
fn keys_as_texts_equal_debezium_3_6() {
    compare("3.6-keytexts", Profile::V3_6, "keytexts");
}

#[test]
fn headers_as_texts_equal_debezium_3_6() {
    compare("3.6-headers", Profile::V3_6, "headers");
}

#[test]
fn transactions_truncates_and_messages_equal_debezium_3_6() {
    compare("3.6-transactions", Profile::V3_6, "transactions");
}

#[test]
fn transactions_and_chosen_messages_with_their_schemas_equal_debezium_3_6() {
    compare("3.6-metadata", Profile::V3_6, "metadata");
}

#[test]
fn messages_without_transactions_equal_debezium_3_6() {
    compare("3.6-messages", Profile::V3_6, "messages");
}

#[test]
fn messages_with_their_schemas_equal_debezium_3_6() {
    compare("3.6-plainly", Profile::V3_6, "plainly");
}

#[test]
fn events_with_headers_and_a_partition_equal_debezium_3_6() {
    compare("3.6-routed", Profile::V3_6, "routed");
}

#[test]
fn events_in_an_envelope_of_their_own_equal_debezium_3_6() {
    compare("3.6-enveloped", Profile::V3_6, "enveloped");
}

#[test]
fn events_as_texts_equal_debezium_3_6() {
    compare("3.6-texts", Profile::V3_6, "texts");
}

#[test]
fn events_without_a_payload_become_tombstones_as_debezium_3_6_has_them() {
    compare("3.6-plain", Profile::V3_6, "plain");
}

#[test]
fn events_of_bytes_equal_debezium_3_6() {
    compare("3.6-raw", Profile::V3_6, "raw");
}

#[test]
fn events_with_expanded_payloads_equal_debezium_3_6() {
    compare("3.6-expanded", Profile::V3_6, "expanded");
}

#[test]
fn events_with_expanded_payloads_and_their_schemas_equal_debezium_3_6() {
    compare("3.6-inferred", Profile::V3_6, "inferred");
}

#[test]
fn expanded_payloads_in_an_envelope_equal_debezium_3_6() {
    compare("3.6-wrapped", Profile::V3_6, "wrapped");
}

#[test]
fn a_table_beside_an_outbox_keeps_its_envelopes_as_debezium_3_6_has_them() {
    compare("3.6-beside", Profile::V3_6, "beside");
}

fn compare(fixture: &str, profile: Profile, prefix: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{fixture}.json"));
    let mut fixture: Fixture = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut ours = Writer::new(&fixture, profile, prefix).write_stream();
    ours.extend(heartbeat(&fixture, prefix));
    assert!(fixture.records.values().all(|records| !records.is_empty()), "nothing was recorded");
    for (topic, theirs) in std::mem::take(&mut fixture.records) {
        // Columns that an index only includes are in the key of 2.4, where they part a delete from its insert.
        if topic == "catalog.activity.key_include" && profile == Profile::V2_4 {
            ours.remove(&topic);
            continue;
        }
        let theirs: Vec<Written> =
            theirs.into_iter().map(|record| mask(with_schemas(record, &fixture.schemas), profile)).collect();
        let (ours, count) = (ours.remove(&topic).unwrap_or_default(), theirs.len());
        for (at, (ours, mut theirs)) in ours.iter().zip(theirs).enumerate() {
            theirs.partition = theirs.partition.filter(|_| ours.partition.is_some());
            assert_eq!(ours, &theirs, "record {at} of {topic}");
        }
        assert_eq!(ours.len(), count, "number of records of {topic}");
    }
    assert!(ours.is_empty(), "topics that Debezium does not write: {:?}", ours.keys());
}

/// A heartbeat, if one was recorded.
fn heartbeat(fixture: &Fixture, prefix: &str) -> Option<(String, Vec<Written>)> {
    let topic = format!("__debezium-heartbeat.{prefix}");
    let recorded = fixture.records.get(&topic)?.first()?.value.as_deref()?;
    let (_, time) = recorded.rsplit_once("\"ts_ms\":").unwrap();
    let time: String = time.chars().take_while(char::is_ascii_digit).collect();
    let converter = Converter::Json { with_schema: true, nulls: Default::default() };
    let mut heartbeats = Heartbeats::new(topic.clone().into(), prefix, (converter, converter));
    let record = written(&heartbeats.record(time.parse().unwrap()));
    Some((topic, vec![record]))
}

/// Puts the schemas back in their places.
fn with_schemas(mut record: Written, schemas: &[String]) -> Written {
    for text in [&mut record.key, &mut record.value].into_iter().flatten() {
        if let Some((number, payload)) = text.split_once(",\"payload\":")
            && let Ok(number) = number.parse::<usize>()
        {
            *text = format!("{},\"payload\":{payload}", schemas[number]);
        }
    }
    record
}

/// Times from here on are the clock's, of the recordings and of this test.
const CLOCK_MS: i64 = 1_795_000_000_000;

/// Cuts off the envelope's own clock, which stands at the end in both profiles.
fn mask(mut record: Written, profile: Profile) -> Written {
    record.timestamp = record.timestamp.filter(|time| *time < CLOCK_MS);
    record.value = record.value.map(|value| {
        // The name of a message's collection ends with an address in Java, by which the list is in some order.
        if let Some((head, tail)) = value.split_once("\"data_collections\":[").filter(|_| value.contains(MESSAGE)) {
            let (list, tail) = tail.split_once("],").unwrap();
            let name = |entry: &str| entry.split('@').next().unwrap_or_default().to_owned();
            let mut entries: Vec<String> = list.split("},").map(|entry| name(entry.trim_end_matches('}'))).collect();
            entries.sort();
            return format!("{head}{entries:?}{tail}");
        }
        // The clock of a message stands in front.
        if let Some((head, tail)) = value.split_once("\"op\":\"m\",\"ts_ms\":") {
            return format!("{head}{}", tail.trim_start_matches(|c: char| c.is_ascii_digit()));
        }
        // A heartbeat has none, nor has a row without its envelope, unless it is added there.
        if !value.contains("\"op\":\"") {
            let Some((head, tail)) = value.split_once("\"__ts_ms\":") else { return value };
            return format!("{head}\"__ts_ms\":0{}", tail.trim_start_matches(|c: char| c.is_ascii_digit()));
        }
        let start = match profile {
            Profile::V3_6 => "\"op\":\"",
            Profile::V2_4 => ",\"op\":\"",
        };
        let (head, tail) = value.rsplit_once(start).unwrap();
        let kept: String = tail.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        format!("{head}{start}{kept}")
    });
    record
}
