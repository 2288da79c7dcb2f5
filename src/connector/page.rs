//! `docs/debezium-properties.md`, written from the table so that page and code say the same.

use std::fmt::Write;

use super::properties::{FAMILIES, OLD_NAMES, Rule, TABLE};

const HEAD: &str = "\
# Properties of a connector file

Written from `src/connector/properties.rs`; a test keeps the two equal (`EVP_WRITE_PAGES=1 cargo test --lib page` writes it anew).
*No effect* means accepted, and named once in the log with the reason. *Refused* ends with exit code 64 before anything is contacted.
What is in neither table is an unknown property, which is refused with the nearest name. What is absent has Debezium's default.

| property | evp | values or reason |
|---|---|---|
";

const TAIL: &str = "
`transforms.NAME.…` and `predicates.NAME.…` are judged with the transform that they belong to, and are of no effect where `transforms`
and `predicates` do not list NAME. Of the transforms evp has Kafka's `RegexRouter`, `ValueToKey`, `ExtractField`, `HoistField`, `ReplaceField`,
`InsertField` and `MaskField` of keys and values, `TimestampConverter$Value`, `Cast$Key`, `Cast$Value`, `Flatten$Value`, `SetSchemaMetadata$Value`,
`InsertHeader`, `DropHeaders` and `HeaderFrom`, and Debezium's `ExtractNewRecordState`, `ByLogicalTableRouter`, `Filter` and outbox
`EventRouter` (`operations.md`, Limits), of the predicates Kafka's three.
`topic.creation.NAME.…` is of no effect where `topic.creation.groups` does not list NAME.
`column.propagate.source.type` and `datatype.propagate.source.type` are refused where `value.converter.schemas.enable` is true and `--compat` is 2.4.
A column that they list is not hashed, as in Debezium, which takes one such property for each column.
Snapshots have [a page of their own](snapshots.md).

## Old names

| old | today's |
|---|---|
";

const OLD_TRANSFORMS: &str = "\
| `sanitize.field.names` `true` | `field.name.adjustment.mode` `avro` |
| `snapshot.mode` `never`, `exported` | `no_data`, `initial` |

In transforms that are listed: `io.debezium.transforms.UnwrapFromEnvelope` is `ExtractNewRecordState`, whose `drop.tombstones` and
`delete.handling.mode` are taken together for `delete.tombstone.handling.mode` (`none` with tombstones is refused), `add.source.fields`
for `add.fields` and `operation.header` for `add.headers`. `debezium.op.invalid.behavior`, `table.field.schema.version` and
`table.field.event.payload.id` of `EventRouter` are `table.op.invalid.behavior`, `table.field.event.schema.version` and, where that is
not given, `table.field.event.key`.
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    let families = FAMILIES.iter().map(|(name, rule)| (format!("{name}…"), rule));
    let names = TABLE.iter().map(|(name, rule)| ((*name).to_owned(), rule));
    for (name, rule) in names.chain(families) {
        let list = |values: &[&str]| values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" ");
        let (status, note) = match rule {
            Rule::Any => ("supported", String::new()),
            Rule::Idle(reason) => ("no effect", (*reason).to_owned()),
            Rule::Only([], reason) => ("refused", (*reason).to_owned()),
            Rule::Only(values, reason) => ("supported", format!("{}; others are refused: {reason}", list(values))),
            Rule::Either(values, reason) => ("no effect", format!("{}: {reason}", list(values))),
            Rule::Default(values, reason) => ("no effect", format!("{}; others are refused: {reason}", list(values))),
        };
        writeln!(page, "| `{name}` | {status} | {note} |").unwrap();
    }
    page.push_str(TAIL);
    for (old, today) in OLD_NAMES {
        writeln!(page, "| `{old}` | `{today}` |").unwrap();
    }
    page.push_str("| `database.server.name` | `topic.prefix`, where that is not given |\n");
    page.push_str(OLD_TRANSFORMS);
    page
}

#[test]
fn the_page_of_properties_says_what_the_table_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/debezium-properties.md");
    let page = page();
    if std::env::var_os("EVP_WRITE_PAGES").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap();
    assert!(found == page, "write the page anew: EVP_WRITE_PAGES=1 cargo test --lib page");
}
