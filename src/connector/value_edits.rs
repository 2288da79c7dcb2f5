//! The properties of Kafka Connect's transforms of times, types and structure: `TimestampConverter$Value`, `Cast$Value` and others.

use super::ConnectorSettings;
use super::field_edits::NULLS;
use super::transforms::Section;
use crate::config::Variables;
use crate::transform::{
    CastType, Condition, DateFormat, FieldAction, FieldEdit, Predicate, Step, TimeEdit, TimeForm, Transform,
    UnixPrecision,
};

pub(super) const TIME: &str = "org.apache.kafka.connect.transforms.TimestampConverter$Value";
pub(super) const CAST: &str = "org.apache.kafka.connect.transforms.Cast$Value";
pub(super) const EXTRACT: &str = "org.apache.kafka.connect.transforms.ExtractField$Value";
pub(super) const HOIST: &str = "org.apache.kafka.connect.transforms.HoistField$Value";
pub(super) const FLATTEN: &str = "org.apache.kafka.connect.transforms.Flatten$Value";
pub(super) const DESCRIBE: &str = "org.apache.kafka.connect.transforms.SetSchemaMetadata$Value";

/// Of the key.
pub(super) const DESCRIBE_KEY: &str = "org.apache.kafka.connect.transforms.SetSchemaMetadata$Key";

const OF_TIME: [&str; 5] = ["field", "format", "target.type", "unix.precision", NULLS];
const OF_CAST: [&str; 2] = ["spec", NULLS];
const OF_EXTRACT: [&str; 3] = ["field", "field.syntax.version", NULLS];
const OF_HOIST: [&str; 1] = ["field"];
const OF_FLATTEN: [&str; 1] = ["delimiter"];
const OF_DESCRIBE: [&str; 3] = ["schema.name", "schema.version", NULLS];

/// What the transform of this class does; `None` if it has mistakes or is another one.
pub(super) fn value_edit(section: &mut Section<'_>, class: &str) -> Option<FieldAction> {
    match class {
        TIME => time(section).map(FieldAction::Time),
        CAST => cast(section).map(FieldAction::Cast),
        EXTRACT => extract(section),
        HOIST => {
            section.only(&OF_HOIST);
            section.required("field").map(|field| FieldAction::Hoist(field.to_owned()))
        }
        FLATTEN => {
            section.only(&OF_FLATTEN);
            Some(FieldAction::Flatten(section.get("delimiter").unwrap_or(".").to_owned()))
        }
        DESCRIBE => describe(section),
        _ => None,
    }
}

/// `SetSchemaMetadata$Key`, which is of no effect where no schema of a key is shown.
pub(super) fn describe_key(section: &mut Section<'_>) {
    if section.shows_schemas_of_keys() {
        let told = "evp names the schemas of keys as Debezium does: set `key.converter.schemas.enable` to false, or leave it out";
        section.mistakes.push(told.to_owned());
    }
    describe(section);
}

/// What evp has not behind a transform that takes the whole value for another one.
pub(super) fn refuse_behind_others(
    section: &mut Section<'_>,
    steps: &[Step],
    (transform, condition): (Option<&Transform>, Option<&Condition>),
) {
    let has = |is_one: fn(&FieldAction) -> bool| {
        steps.iter().any(|step| matches!(&step.transform, Transform::EditFields(edit) if is_one(&edit.action)))
    };
    let is_hoist = |action: &FieldAction| matches!(action, FieldAction::Hoist(_));
    let is_other = matches!(transform, Some(Transform::EditFields(FieldEdit { action, .. })) if !is_hoist(action));
    if is_other && has(is_hoist) {
        section.mistakes.push("evp has it before HoistField$Value only: list it before".to_owned());
    }
    let asks = condition.is_some_and(|condition| matches!(condition.predicate, Predicate::RecordIsTombstone));
    if asks && has(|action| matches!(action, FieldAction::Hoist(_) | FieldAction::Extract(_))) {
        let told =
            "evp asks RecordIsTombstone before ExtractField$Value and HoistField$Value only: list it before them";
        section.mistakes.push(told.to_owned());
    }
}

impl ConnectorSettings {
    /// Values of what is no table's have other fields, at which Kafka Connect ends.
    pub(super) fn refuse_extracted_values(&self, variables: &mut Variables) {
        let heartbeats = self.heartbeat_interval.is_some().then_some(&self.heartbeat_topic);
        for topic in heartbeats.into_iter().chain(&self.transaction_topic) {
            let edits = self.transforms.beside_tables(topic).edits;
            if edits.iter().any(|edit| matches!(edit.action, FieldAction::Extract(_))) {
                variables.mistake(format!(
                    "ExtractField$Value would be applied to records of topic {topic}, which are of no table: give it a predicate \
                     that names the topics of tables"
                ));
            }
        }
    }
}

fn time(section: &mut Section<'_>) -> Option<TimeEdit> {
    section.only(&OF_TIME);
    let format = section.get("format").filter(|format| !format.trim().is_empty()).map(DateFormat::new).transpose();
    let format = format.map_err(|why| section.mistakes.push(format!("`format`: {why}"))).ok();
    let precision = match section.get("unix.precision") {
        None => Some(UnixPrecision::default()),
        Some(word) => UnixPrecision::from_word(word.trim()),
    };
    if precision.is_none() {
        let words = "seconds, milliseconds, microseconds or nanoseconds";
        section.mistakes.push(format!("`unix.precision` is {words}"));
    }
    let target = section.required("target.type")?;
    let target = TimeForm::from_word(target.trim());
    match target {
        None => section.mistakes.push("`target.type` is string, unix, Date, Time or Timestamp".to_owned()),
        Some(TimeForm::Text) if format == Some(None) => {
            section.mistakes.push("`target.type` string needs `format`".to_owned());
        }
        Some(_) => {}
    }
    let field = section.get("field").filter(|field| !field.is_empty());
    if field.is_none() {
        section.mistakes.push("it needs `field`, because no value of a table is a time".to_owned());
    }
    Some(TimeEdit { field: field?.to_owned(), target: target?, format: format?, precision: precision? })
}

fn cast(section: &mut Section<'_>) -> Option<Vec<(String, CastType)>> {
    section.only(&OF_CAST);
    let mut casts = Vec::new();
    for entry in section.required("spec")?.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        match entry.split_once(':').map(|(field, word)| (field.trim(), CastType::from_word(word))) {
            Some((field, Some(to))) => casts.push((field.to_owned(), to)),
            Some((_, None)) => section.mistakes.push(format!(
                "in `spec` the type of `{entry}` is none of int8, int16, int32, int64, float32, float64, boolean and string"
            )),
            None => section.mistakes.push(format!(
                "in `spec` `{entry}` is not of the form field:type, and evp casts no values as a whole"
            )),
        }
    }
    if casts.is_empty() {
        section.mistakes.push("`spec` names no field".to_owned());
    }
    Some(casts)
}

fn extract(section: &mut Section<'_>) -> Option<FieldAction> {
    section.only(&OF_EXTRACT);
    if section.get("field.syntax.version").is_some_and(|version| !version.trim().eq_ignore_ascii_case("V1")) {
        section.mistakes.push("evp has `field.syntax.version` V1 only".to_owned());
    }
    section.required("field").map(|field| FieldAction::Extract(field.to_owned()))
}

fn describe(section: &mut Section<'_>) -> Option<FieldAction> {
    section.only(&OF_DESCRIBE);
    let name = section.get("schema.name").map(str::to_owned);
    let version = section.get("schema.version").map(|text| text.trim().parse());
    let version =
        version.transpose().map_err(|_| section.mistakes.push("`schema.version` is no whole number".to_owned()));
    let version = version.ok()?;
    if name.is_none() && version.is_none() {
        section.mistakes.push("it needs `schema.name` or `schema.version`".to_owned());
    }
    Some(FieldAction::Describe { name, version })
}

#[cfg(test)]
mod tests {
    use crate::connector::transforms::tests::read;
    use crate::transform::{CastType, FieldAction, RecordKind, TimeForm, UnixPrecision};

    const TYPE: &str = "transforms.a.type=org.apache.kafka.connect.transforms.";

    fn action(class: &str, more: &[&str]) -> Result<FieldAction, String> {
        let class = format!("{TYPE}{class}$Value");
        let transforms = read(&[&["transforms=a", &class, "heartbeat.interval.ms=0"], more].concat())?;
        Ok(transforms.outcome("a.b.c", RecordKind::Row).unwrap().edits.remove(0).action)
    }

    #[test]
    fn properties_are_read() {
        let more = ["transforms.a.field=t", "transforms.a.target.type=unix", "transforms.a.unix.precision=seconds"];
        let FieldAction::Time(time) = action("TimestampConverter", &more).unwrap() else { panic!() };
        assert_eq!((time.field.as_str(), time.target), ("t", TimeForm::Unix));
        assert_eq!((time.format, time.precision), (None, UnixPrecision::Seconds));
        assert_eq!(
            action("Cast", &["transforms.a.spec=a:INT8, b:string"]),
            Ok(FieldAction::Cast(vec![("a".to_owned(), CastType::Int8), ("b".to_owned(), CastType::String)]))
        );
        assert_eq!(action("Flatten", &[]), Ok(FieldAction::Flatten(".".to_owned())));
        assert_eq!(
            action("SetSchemaMetadata", &["transforms.a.schema.name=n"]),
            Ok(FieldAction::Describe { name: Some("n".to_owned()), version: None })
        );
    }

    #[test]
    fn values_are_extracted_of_tables_alone_and_hoisted_last() {
        let extract = ["transforms=a", &format!("{TYPE}ExtractField$Value"), "transforms.a.field=after"];
        let told = read(&[&extract[..], &["heartbeat.interval.ms=5000"]].concat()).unwrap_err();
        assert!(told.contains("__debezium-heartbeat"), "{told}");
        let behind = [
            "transforms=a,b",
            &format!("{TYPE}HoistField$Value"),
            "transforms.a.field=row",
            "transforms.b.type=org.apache.kafka.connect.transforms.Flatten$Value",
        ];
        assert!(read(&behind).unwrap_err().contains("list it before"));
    }

    #[test]
    fn what_kafka_connect_would_end_on_is_refused() {
        for (class, more, part) in [
            ("TimestampConverter", &["transforms.a.field=t"][..], "`target.type`"),
            ("TimestampConverter", &["transforms.a.target.type=unix"], "it needs `field`"),
            ("TimestampConverter", &["transforms.a.field=t", "transforms.a.target.type=string"], "needs `format`"),
            ("TimestampConverter", &["transforms.a.field=t", "transforms.a.target.type=date"], "Time or Timestamp"),
            ("TimestampConverter", &["transforms.a.format=YYYY"], "write `y`"),
            ("TimestampConverter", &["transforms.a.unix.precision=ms"], "microseconds"),
            ("Cast", &["transforms.a.spec=int8"], "field:type"),
            ("Cast", &["transforms.a.spec=a:bytes"], "none of int8"),
            ("Cast", &[], "`spec`"),
            ("ExtractField", &["transforms.a.field=after", "transforms.a.field.syntax.version=V2"], "V1 only"),
            ("HoistField", &[], "`field`"),
            ("Flatten", &["transforms.a.delimeter=_"], "`delimiter`"),
            ("SetSchemaMetadata", &[], "`schema.name` or"),
            ("SetSchemaMetadata", &["transforms.a.schema.version=x"], "no whole number"),
        ] {
            let told = action(class, more).unwrap_err();
            assert!(told.contains(part), "{class} {more:?}: {told}");
        }
        let of_key = ["transforms=a", &format!("{TYPE}SetSchemaMetadata$Key"), "transforms.a.schema.name=n"];
        let with = |shown: &'static str| read(&[&of_key[..], &[shown]].concat());
        assert!(with("key.converter.schemas.enable=false").is_ok());
        assert!(with("key.converter.schemas.enable=true").unwrap_err().contains("schemas of keys"));
    }
}
