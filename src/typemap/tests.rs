//! The table against what live Debezium wrote: `tests/types/record` made the cases.

use std::collections::HashMap;

use super::*;
use serde_json::Value;

const RECORDED: &str = include_str!("../../tests/types/3.6.json");
const PROFILES: &str = include_str!("../../tests/types/profiles.json");

fn handling(overrides: &Value) -> Handling {
    let word = |name: &str| overrides[name].as_str().unwrap_or_default();
    fn mode<M: Mode>(word: &str) -> M {
        if word.is_empty() { M::default() } else { M::from_word(word).unwrap() }
    }
    Handling {
        decimal: mode(word(DecimalMode::NAME)),
        decimals_are_numbers: false,
        time: mode(word(TimeMode::NAME)),
        interval: mode(word(IntervalMode::NAME)),
        hstore: mode(word(HstoreMode::NAME)),
        binary: mode(word(BinaryMode::NAME)),
        money_fraction_digits: word("money.fraction.digits").parse().unwrap_or(2),
        is_snapshot: false,
        includes_unknown: word("include.unknown.datatypes") == "true",
        profile: Profile::V3_6,
    }
}

fn types(recorded: &Value) -> HashMap<u32, TypeRow> {
    let number = |value: &Value| value.as_i64().unwrap();
    let oid = |value: &Value| u32::try_from(number(value)).unwrap();
    let rows = recorded["types"].as_array().unwrap().iter().map(|row| TypeRow {
        oid: oid(&row[0]),
        name: row[1].as_str().unwrap().to_owned(),
        base_oid: oid(&row[3]),
        base_modifier: i32::try_from(number(&row[4])).unwrap(),
        element_oid: oid(&row[5]),
        labels: row[6].as_array().map(|labels| labels.iter().map(|label| label.as_str().unwrap().to_owned()).collect()),
        ..TypeRow::default()
    });
    rows.map(|row| (row.oid, row)).collect()
}

/// Schema and value as the encoder of rows puts them together; null where the column is left out.
fn ours(case: &Value, pg_type: &PgType, handling: &Handling) -> Value {
    let modifier = i32::try_from(case["modifier"].as_i64().unwrap()).unwrap();
    let Some(column) = ColumnType::of(pg_type, modifier, handling) else { return serde_json::json!([null, null]) };
    let is_filler = case["case"] == "filler";
    let default = case["default"].as_str().and_then(|expression| column.default_json(expression));
    let mut null = default.clone().unwrap_or_else(|| b"null".to_vec());
    if is_filler {
        null = column.filler().to_vec();
    }
    let mut schema = Vec::new();
    column.schema(!is_filler, default).write(&mut schema);
    let mut value = Vec::new();
    match case["text"].as_str() {
        None => value = null,
        Some(text) => match column.write(&mut value, text) {
            Ok(()) => {}
            Err(Unwritten::Null | Unwritten::NullArray) => value = null,
            Err(Unwritten::Mismatch) => value = b"<mismatch>".to_vec(),
        },
    }
    serde_json::json!([String::from_utf8(schema).unwrap(), String::from_utf8(value).unwrap()])
}

#[test]
fn schemas_and_values_equal_debezium_3_6_in_every_mode() {
    let recorded: Value = serde_json::from_str(RECORDED).unwrap();
    let profiles: Value = serde_json::from_str(PROFILES).unwrap();
    let types = types(&recorded);
    let (mut faults, mut compared) = (Vec::new(), 0);
    for case in recorded["cases"].as_array().unwrap() {
        let pg_type = PgType::of(u32::try_from(case["oid"].as_i64().unwrap()).unwrap(), &types);
        for (profile, overrides) in profiles.as_object().unwrap() {
            let theirs = case["debezium"].get(profile).unwrap_or(&case["debezium"]["adaptive"]);
            let is_excluded = theirs[0].is_null() && case["case"] == "filler" && profile == "nanoseconds";
            if theirs.is_null() || is_excluded {
                continue;
            }
            compared += 1;
            let ours = ours(case, &pg_type, &handling(overrides));
            if ours != *theirs {
                faults
                    .push(format!("{profile}: {} | {}\n   ours {ours}\n theirs {theirs}", case["type"], case["case"]));
            }
        }
    }
    assert!(compared > 2_000, "{compared}");
    assert!(faults.is_empty(), "{} of {compared}:\n{}", faults.len(), faults.join("\n"));
}

fn built_in_or_not(row: &Row) -> PgType {
    PgType { is_built_in: row.is_built_in, ..PgType::plain(row.name) }
}

proptest::proptest! {
    #[test]
    fn any_text_is_written_as_json_or_refused(text in "[-0-9a-zA-Z:., (){}\\[\\]\"\\\\=>/+é😀]{0,24}", modifier in -1_i32..700_000) {
        for row in TYPES {
            let element = built_in_or_not(row);
            let array = PgType { kind: PgTypeKind::Array(Box::new(element.clone())), ..PgType::plain("_any") };
            for (_, overrides) in serde_json::from_str::<Value>(PROFILES).unwrap().as_object().unwrap() {
                for column in [&element, &array].into_iter().filter_map(|of| ColumnType::of(of, modifier, &handling(overrides))) {
                    let mut out = b"kept".to_vec();
                    match column.write(&mut out, &text) {
                        Ok(()) => proptest::prop_assert!(serde_json::from_slice::<Value>(&out[4..]).is_ok(), "{}", row.name),
                        Err(_) => proptest::prop_assert_eq!(out, b"kept"),
                    }
                    proptest::prop_assert!(serde_json::from_slice::<Value>(column.filler()).is_ok());
                }
            }
        }
    }
}

#[test]
fn types_that_2_4_does_not_know_are_left_out_there() {
    let older = Handling { profile: Profile::V2_4, ..Handling::default() };
    assert!(ColumnType::of(&PgType::plain("tsvector"), -1, &older).is_none());
    assert!(ColumnType::of(&PgType::plain("tsvector"), -1, &Handling::default()).is_some());
}

#[test]
fn a_type_of_a_user_is_not_taken_for_a_built_in_one_of_its_name() {
    let theirs = PgType { is_built_in: false, ..PgType::plain("json") };
    assert!(ColumnType::of(&theirs, -1, &Handling::default()).is_none());
}

#[test]
fn decimals_are_numbers_where_the_converter_writes_them_so() {
    let numbers = Handling { decimals_are_numbers: true, ..Handling::default() };
    let modifier = |precision: i32, scale: i32| 4 + (precision << 16 | scale);
    let written = |name: &str, modifier: i32, text: &str| {
        let column = ColumnType::of(&PgType::plain(name), modifier, &numbers).unwrap();
        let mut out = Vec::new();
        let written = column.write(&mut out, text).map(|()| String::from_utf8(out).unwrap());
        (written, String::from_utf8(column.filler().to_vec()).unwrap())
    };
    for (name, modifier, text, expected, filler) in [
        ("numeric", modifier(5, 2), "-12.3", "-12.30", "0.00"),
        ("numeric", modifier(9, 8), "0.00000012", "1.2E-7", "0E-8"),
        ("numeric", -1, "1.50", r#"{"scale":1,"value":"Dw=="}"#, r#"{"scale":0,"value":"AA=="}"#),
        ("money", -1, "-$1,234.50", "-1234.50", "0.00"),
    ] {
        assert_eq!(written(name, modifier, text), (Ok(expected.to_owned()), filler.to_owned()), "{text}");
    }
}
