//! The properties of Kafka Connect's transforms of fields.

use super::transforms::Section;
use super::value_edits::{self, value_edit};
use crate::transform::{FieldAction, FieldEdit, Inserted, InsertedField, ReplacedFields};

pub(super) const REPLACE: &str = "org.apache.kafka.connect.transforms.ReplaceField$Value";
pub(super) const INSERT: &str = "org.apache.kafka.connect.transforms.InsertField$Value";
pub(super) const MASK: &str = "org.apache.kafka.connect.transforms.MaskField$Value";

pub(super) const NULLS: &str = "replace.null.with.default";
const OF_REPLACE: [&str; 4] = ["exclude", "include", "renames", NULLS];
const OF_INSERT: [&str; 7] =
    ["offset.field", "partition.field", "static.field", "static.value", "timestamp.field", "topic.field", NULLS];
const OF_MASK: [&str; 3] = ["fields", "replacement", NULLS];

/// Whether a transform of this class is one of values and their fields.
pub(super) fn is_field_edit(class: &str) -> bool {
    use value_edits::{CAST, DESCRIBE, EXTRACT, FLATTEN, HOIST, TIME};
    [REPLACE, INSERT, MASK, TIME, CAST, EXTRACT, HOIST, FLATTEN, DESCRIBE].contains(&class)
}

/// What the transform of this class does to values.
pub(super) fn field_edit(section: &mut Section<'_>, class: &str) -> Option<FieldEdit> {
    let action = match class {
        REPLACE => replace(section),
        INSERT => insert(section),
        MASK => mask(section),
        _ => value_edit(section, class),
    };
    let nulls = section.nulls();
    Some(FieldEdit { action: action?, nulls })
}

pub(super) fn list(section: &Section<'_>, part: &str) -> Vec<String> {
    let list = section.get(part).unwrap_or_default();
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn replace(section: &mut Section<'_>) -> Option<FieldAction> {
    section.only(&OF_REPLACE);
    let mut renames = Vec::new();
    for entry in list(section, "renames") {
        match entry.split_once(':') {
            Some((old, new)) if !new.contains(':') => renames.push((old.to_owned(), new.to_owned())),
            _ => section.mistakes.push(format!("in `renames` `{entry}` is not of the form old:new")),
        }
    }
    let (excluded, included) = (list(section, "exclude"), list(section, "include"));
    Some(FieldAction::Replace(ReplacedFields { excluded, included, renames }))
}

fn insert(section: &mut Section<'_>) -> Option<FieldAction> {
    section.only(&OF_INSERT);
    if section.get("offset.field").is_some() {
        section.mistakes.push("`offset.field` is for sinks".to_owned());
    }
    let text = section.get("static.field").and_then(|_| section.required("static.value")).unwrap_or_default();
    let contents = [
        ("topic.field", Inserted::Topic),
        ("partition.field", Inserted::Partition),
        ("timestamp.field", Inserted::Timestamp),
        ("static.field", Inserted::Text(text.to_owned())),
    ];
    let mut fields = Vec::new();
    for (part, content) in contents {
        let Some(spec) = section.get(part) else { continue };
        let field = InsertedField::new(spec, content);
        if !field.is_optional && matches!(field.content, Inserted::Partition | Inserted::Timestamp) {
            section.mistakes.push(format!("`{part}` asks for what no record of a row has"));
        }
        fields.push(field);
    }
    if fields.is_empty() {
        section.mistakes.push("it names no field to insert".to_owned());
    }
    Some(FieldAction::Insert(fields))
}

fn mask(section: &mut Section<'_>) -> Option<FieldAction> {
    section.only(&OF_MASK);
    section.required("fields")?;
    let replacement = section.get("replacement").map(str::to_owned);
    Some(FieldAction::Mask { names: list(section, "fields"), replacement })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::Nulls;
    use crate::connector::transforms::tests::read;
    use crate::transform::RecordKind;

    const DROP: [&str; 2] =
        ["transforms=drop", "transforms.drop.type=org.apache.kafka.connect.transforms.ReplaceField$Value"];
    const ADD: [&str; 2] =
        ["transforms=add", "transforms.add.type=org.apache.kafka.connect.transforms.InsertField$Value"];

    fn with<'a>(first: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
        [first, more].concat()
    }

    #[test]
    fn values_are_edited_in_order_and_nulls_are_not() {
        let transforms =
            read(&with(&DROP, &["transforms.drop.renames=a:b, c:d", "transforms.drop.exclude=x"])).unwrap();
        let outcome = transforms.outcome("a.b.c", RecordKind::Row).unwrap();
        let [FieldEdit { action: FieldAction::Replace(edit), nulls: Nulls::Replaced }] = outcome.edits.as_slice()
        else {
            panic!("{outcome:?}")
        };
        assert_eq!((edit.renamed("c"), edit.keeps("x")), ("d", false));
        assert!(transforms.outcome("a.b.c", RecordKind::Tombstone).unwrap().edits.is_empty());
        let transforms = read(&with(&ADD, &["transforms.add.topic.field=t"])).unwrap();
        let outcome = transforms.outcome("a.b.c", RecordKind::Row).unwrap();
        let FieldAction::Insert(fields) = &outcome.edits[0].action else { panic!("{outcome:?}") };
        assert_eq!(fields[0].content, Inserted::Text("a.b.c".to_owned()));
    }

    #[test]
    fn what_kafka_connect_would_end_on_is_refused() {
        for (first, more, part) in [
            (&DROP, &["transforms.drop.renames=a"][..], "`a` is not of the form"),
            (&ADD, &[], "no field to insert"),
            (&ADD, &["transforms.add.offset.field=o"], "for sinks"),
            (&ADD, &["transforms.add.static.field=s"], "`static.value`"),
            (&ADD, &["transforms.add.timestamp.field=t!"], "no record of a row has"),
        ] {
            let told = read(&with(first, more)).unwrap_err();
            assert!(told.contains(part), "{part}: {told}");
        }
        let unwrap = ["transforms=add,unwrap", "transforms.add.static.field=s", "transforms.add.static.value=x"];
        let unwrap = with(&ADD, &unwrap);
        let told = read(&with(&unwrap, &["transforms.unwrap.type=io.debezium.transforms.ExtractNewRecordState"]));
        assert!(told.unwrap_err().contains("list it before"));
    }
}
