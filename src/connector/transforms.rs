//! `transforms.*` and `predicates.*`: read, and refused where evp would write another record than Debezium.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Connector;
use super::event_router::event_router;
use super::field_edits::{NULLS, field_edit, is_field_edit};
use super::filter::filter;
use super::key_edits::key_transform;
use super::properties::nearest;
use super::value_edits::{DESCRIBE_KEY, describe_key, refuse_behind_others};
use crate::config::Variables;
use crate::connect::Nulls;
use crate::envelope::{ContextHeaders, POSITION_HEADER, Profile};
use crate::pattern::Pattern;
use crate::transform::{
    Condition, DeleteHandling, FieldReference, HeaderTransform, KeyTransform, Predicate, Step, TopicRoute, Transform,
    Transforms, Unwrap,
};

const ROUTER: &str = "org.apache.kafka.connect.transforms.RegexRouter";
pub(super) const UNWRAP: &str = "io.debezium.transforms.ExtractNewRecordState";
const FILTER: &str = "io.debezium.transforms.Filter";
pub(super) const OUTBOX: &str = "io.debezium.transforms.outbox.EventRouter";
const PREDICATES: &str = "org.apache.kafka.connect.transforms.predicates.";

/// What every transform has.
const OF_ALL: [&str; 3] = ["type", "predicate", "negate"];
const OF_ROUTER: [&str; 2] = ["regex", "replacement"];
const OF_UNWRAP: [&str; 10] = [
    "add.fields",
    "add.fields.prefix",
    "add.headers",
    "add.headers.prefix",
    "delete.tombstone.handling.mode",
    "drop.fields.from.key",
    "drop.fields.header.name",
    "drop.fields.keep.schema.compatible",
    "replace.null.with.default",
    "route.by.field",
];

/// The properties of one transform or predicate, with what is wrong with them.
pub(super) struct Section<'a> {
    connector: &'a Connector,
    /// `transforms.<name>.`
    prefix: String,
    pub(super) mistakes: Vec<String>,
}

impl<'a> Section<'a> {
    pub(super) fn new(connector: &'a Connector, of: &str, name: &str) -> Self {
        Self { connector, prefix: format!("{of}.{name}."), mistakes: Vec::new() }
    }

    pub(super) fn get(&self, part: &str) -> Option<&'a str> {
        self.connector.get(&format!("{}{part}", self.prefix))
    }

    pub(super) fn required(&mut self, part: &str) -> Option<&'a str> {
        let value = self.get(part);
        if value.is_none() {
            self.mistakes.push(format!("it needs `{part}`"));
        }
        value
    }

    /// Whether records show the schemas of their keys.
    pub(super) fn shows_schemas_of_keys(&self) -> bool {
        self.connector.converter(&mut Variables::default(), "key").shows_schemas()
    }

    pub(super) fn flag(&mut self, part: &str, default: bool) -> bool {
        match self.get(part).map(|text| text.trim().to_ascii_lowercase()).as_deref() {
            None => default,
            Some("true") => true,
            Some("false") => false,
            Some(_) => {
                self.mistakes.push(format!("`{part}` is neither true nor false"));
                default
            }
        }
    }

    /// What the transform makes of nulls in fields that have a default.
    pub(super) fn nulls(&mut self) -> Nulls {
        if self.flag(NULLS, true) { Nulls::Replaced } else { Nulls::Kept }
    }

    /// Notes every property that is none of these.
    pub(super) fn only(&mut self, known: &[&'static str]) {
        let names = self.connector.properties.keys().filter_map(|name| name.strip_prefix(&self.prefix));
        let unknown = names.filter(|part| !known.contains(part) && !OF_ALL.contains(part));
        let told: Vec<String> = unknown.map(|part| unknown_property(part, known)).collect();
        self.mistakes.extend(told);
    }

    /// Reports the mistakes as one sentence.
    fn finish(self, variables: &mut Variables) {
        if !self.mistakes.is_empty() {
            let name = self.prefix.trim_end_matches('.');
            variables.mistake(format!("`{name}` is refused: {}", self.mistakes.join("; ")));
        }
    }
}

fn unknown_property(part: &str, known: &[&'static str]) -> String {
    match part {
        "drop.tombstones" | "delete.handling.mode" => {
            format!("`{part}` is of Debezium 2, use `delete.tombstone.handling.mode`")
        }
        _ => {
            let hint = nearest(part, known.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
            format!("it has no property `{part}`{}", hint.unwrap_or_default())
        }
    }
}

impl Connector {
    /// The transforms of the connector for a profile; their own mistakes have been noted when it was loaded.
    pub(super) fn transforms_of(&self, variables: &mut Variables, profile: Profile) -> Transforms {
        let transforms = self.transforms(&mut Variables::default());
        if profile == Profile::V3_6 && self.get("extended.headers.enabled").is_none_or(|text| text != "false") {
            return transforms.with_context_headers(&ContextHeaders::NAMES);
        }
        for (name, is_used) in
            [("ExtractNewRecordState", transforms.has_unwrap()), ("EventRouter", transforms.has_outbox())]
        {
            if profile == Profile::V2_4 && is_used {
                variables.mistake(format!("{name} is refused: evp has it as Debezium 3.6 does, use --compat 3.6"));
            }
        }
        transforms
    }

    /// The transforms in order; mistakes are noted.
    pub(super) fn transforms(&self, variables: &mut Variables) -> Transforms {
        let predicates = self.predicates(variables);
        let mut steps = Vec::new();
        for name in self.listed(variables, "transforms") {
            let mut section = Section::new(self, "transforms", name);
            let condition = condition(&mut section, &predicates);
            let transform = transform(&mut section);
            let is_behind = steps.iter().any(|step: &Step| matches!(step.transform, Transform::Outbox(_)));
            let is_of_keys = matches!(transform, Some(Transform::Key(_) | Transform::Header(_)));
            if is_behind && is_of_keys && condition.is_none() {
                section.mistakes.push(
                    "evp changes no keys and headers of events: give it a predicate that names other topics".to_owned(),
                );
            }
            if let Some(Transform::Filter(filter)) = &transform
                && filter.condition.asks_for("key")
                && steps.iter().any(|step: &Step| matches!(step.transform, Transform::Key(_)))
            {
                section.mistakes.push("evp filters by keys before transforms of them only: list it before".to_owned());
            }
            if is_behind && matches!(transform, Some(Transform::Filter(_))) {
                section.mistakes.push("evp filters no events: put it before the EventRouter".to_owned());
            }
            if is_behind && condition.is_none() && matches!(transform, Some(Transform::EditFields(_))) {
                section
                    .mistakes
                    .push("evp changes no fields of events: give it a predicate that names other topics".to_owned());
            }
            refuse_behind_others(&mut section, &steps, (transform.as_ref(), condition.as_ref()));
            let is_edited = steps.iter().any(|step: &Step| edits_values(&step.transform));
            let is_of_rows = |transform: &Transform| {
                let is_logical = matches!(transform, Transform::Key(KeyTransform::Logical(_)));
                is_logical || matches!(transform, Transform::Unwrap(_) | Transform::Outbox(_) | Transform::Filter(_))
            };
            if is_edited && transform.as_ref().is_some_and(is_of_rows) {
                section.mistakes.push(
                    "evp has it before transforms of values and their fields only: list it before them".to_owned(),
                );
            }
            section.finish(variables);
            steps.extend(transform.map(|transform| Step { transform, condition }));
        }
        Transforms::new(steps)
    }

    /// The names of a list, each once.
    fn listed(&self, variables: &mut Variables, property: &str) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        let list = self.get(property).unwrap_or_default();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if names.contains(&name) {
                variables.mistake(format!("the property `{property}` names `{name}` twice"));
            } else {
                names.push(name);
            }
        }
        names
    }

    /// Whether `transforms.NAME.…` or `predicates.NAME.…` belongs to a name that its list does not have, which Connect passes
    /// over; `None` of any other property.
    pub(super) fn is_unlisted(&self, property: &str) -> Option<bool> {
        let (of, rest) = property.split_once('.').filter(|(of, _)| matches!(*of, "transforms" | "predicates"))?;
        let list = self.get(of).unwrap_or_default();
        let mut listed = list.split(',').map(str::trim).filter(|listed| !listed.is_empty());
        Some(!listed.any(|listed| rest.strip_prefix(listed).is_some_and(|part| part.starts_with('.'))))
    }

    fn predicates(&self, variables: &mut Variables) -> BTreeMap<&str, Option<Predicate>> {
        let mut predicates = BTreeMap::new();
        for name in self.listed(variables, "predicates") {
            let mut section = Section::new(self, "predicates", name);
            predicates.insert(name, predicate(&mut section));
            section.finish(variables);
        }
        predicates
    }
}

/// Whether fields of values are no longer those of Debezium behind it.
fn edits_values(transform: &Transform) -> bool {
    match transform {
        Transform::EditFields(_) => true,
        Transform::Header(HeaderTransform::From(headers)) => headers.is_moved && !headers.is_of_key,
        _ => false,
    }
}

/// Whether evp writes a header of this name itself.
pub(super) fn is_own_header(name: &str) -> bool {
    name == POSITION_HEADER
}

fn condition(section: &mut Section<'_>, predicates: &BTreeMap<&str, Option<Predicate>>) -> Option<Condition> {
    let is_negated = section.flag("negate", false);
    let Some(name) = section.get("predicate").map(str::trim) else {
        if section.get("negate").is_some() {
            section.mistakes.push("`negate` needs `predicate`".to_owned());
        }
        return None;
    };
    let Some(predicate) = predicates.get(name) else {
        section.mistakes.push(format!("`predicates` does not name its predicate `{name}`"));
        return None;
    };
    predicate.clone().map(|predicate| Condition { predicate, is_negated })
}

fn predicate(section: &mut Section<'_>) -> Option<Predicate> {
    let class = section.required("type")?.trim();
    match class.strip_prefix(PREDICATES) {
        Some("TopicNameMatches") => {
            section.only(&["pattern"]);
            let pattern = section.required("pattern")?;
            Pattern::whole(pattern)
                .map_err(|error| section.mistakes.push(format!("`pattern`: {error}")))
                .ok()
                .map(Predicate::TopicNameMatches)
        }
        Some("RecordIsTombstone") => {
            section.only(&[]);
            Some(Predicate::RecordIsTombstone)
        }
        Some("HasHeaderKey") => {
            section.only(&["name"]);
            section.required("name").map(|name| Predicate::HasHeaderKey(name.to_owned()))
        }
        _ => {
            section.mistakes.push(format!(
                "evp has no predicate {class}; it has TopicNameMatches, RecordIsTombstone and HasHeaderKey of Kafka Connect"
            ));
            None
        }
    }
}

fn transform(section: &mut Section<'_>) -> Option<Transform> {
    match section.required("type")?.trim() {
        ROUTER => {
            section.only(&OF_ROUTER);
            let (regex, replacement) = (section.required("regex"), section.required("replacement"));
            let route = TopicRoute::new(regex?, replacement?);
            route.map_err(|error| section.mistakes.push(format!("`regex`: {error}"))).ok().map(Transform::Route)
        }
        UNWRAP => {
            section.only(&OF_UNWRAP);
            Some(Transform::Unwrap(unwrap(section)))
        }
        DESCRIBE_KEY => {
            describe_key(section);
            None
        }
        class if is_field_edit(class) => field_edit(section, class).map(Transform::EditFields),
        FILTER => filter(section).map(|filter| Transform::Filter(Arc::new(filter))),
        OUTBOX => event_router(section).map(|router| Transform::Outbox(Arc::new(router))),
        class => key_transform(section, class).unwrap_or_else(|| {
            section.mistakes.push(format!(
                "evp has no transform {class}; it has RegexRouter, ValueToKey, InsertHeader, DropHeaders, HeaderFrom, ExtractField, \
                 HoistField, ReplaceField, InsertField and MaskField, and TimestampConverter, Cast, Flatten and SetSchemaMetadata \
                 with $Value of Kafka Connect, and ExtractNewRecordState, ByLogicalTableRouter, Filter and the outbox's EventRouter \
                 of Debezium"
            ));
            None
        }),
    }
}

fn unwrap(section: &mut Section<'_>) -> Unwrap {
    if section.get("route.by.field").is_some() {
        section.mistakes.push("evp does not route by a value of the row: leave `route.by.field` out".to_owned());
    }
    // It lists what to drop in a header that no connector writes; Debezium's own headers are texts, on which it ends.
    if section.get("drop.fields.header.name").is_some_and(|name| name.starts_with("__")) {
        section.mistakes.push("`drop.fields.header.name` names a header that holds no list".to_owned());
    }
    for part in ["drop.fields.from.key", "drop.fields.keep.schema.compatible"] {
        section.flag(part, false);
    }
    let nulls = section.nulls();
    let mode = section.get("delete.tombstone.handling.mode");
    let deletes = mode.map_or(Some(DeleteHandling::default()), DeleteHandling::from_word).unwrap_or_else(|| {
        section.mistakes.push(
            "`delete.tombstone.handling.mode` is drop, tombstone, rewrite, rewrite-with-tombstone or delete-to-tombstone"
                .to_owned(),
        );
        DeleteHandling::default()
    });
    let (fields, headers) = (references(section, "add.fields"), references(section, "add.headers"));
    Unwrap { deletes, fields, headers, nulls }
}

fn references(section: &mut Section<'_>, part: &str) -> Vec<FieldReference> {
    let Some(list) = section.get(part) else { return Vec::new() };
    let prefix_property = format!("{}{part}.prefix", section.prefix);
    // An empty prefix is one.
    let prefix = section.connector.properties.get(&prefix_property).map_or("__", String::as_str);
    let parsed = list.split(',').map(|entry| FieldReference::parse(prefix, entry.trim()));
    let (mut references, mut refused) = (Vec::new(), Vec::new());
    for outcome in parsed {
        match outcome {
            Ok(reference) => references.push(reference),
            Err(reason) => refused.push(format!("in `{part}` {reason}")),
        }
    }
    section.mistakes.extend(refused);
    references
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::transform::{FieldAction, KeyEdit, RecordKind, ValueForm};

    pub(in crate::connector) fn read(sets: &[&str]) -> Result<Transforms, String> {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let mut variables = Variables::default();
        let connector = Connector::load(&mut variables, None, &sets).unwrap();
        let settings = connector.settings(&mut variables, Profile::V3_6);
        variables.finish().map_err(|error| error.to_string()).map(|()| settings.transforms)
    }

    fn refusal(sets: &[&str]) -> String {
        read(sets).unwrap_err()
    }

    const UNWRAPPED: [&str; 2] =
        ["transforms=unwrap", "transforms.unwrap.type=io.debezium.transforms.ExtractNewRecordState"];

    #[test]
    fn a_chain_is_read_in_its_order_with_its_conditions() {
        let transforms = read(&[
            "transforms=route, unwrap",
            UNWRAPPED[1],
            "transforms.unwrap.predicate=moved",
            "transforms.unwrap.negate=true",
            "transforms.route.replacement=moved",
            "predicates=moved",
            "predicates.moved.type=org.apache.kafka.connect.transforms.predicates.TopicNameMatches",
            "predicates.moved.pattern=mov.*",
        ])
        .unwrap();
        let outcome = transforms.outcome("a.b.c", RecordKind::Row).unwrap();
        assert_eq!((outcome.topic.as_str(), outcome.value), ("moved", ValueForm::Envelope));
        let outcome = transforms.outcome("other", RecordKind::Row).unwrap();
        assert!(matches!(outcome.value, ValueForm::Row(_)));
    }

    #[test]
    fn what_no_list_names_is_passed_over_and_told_as_without_effect() {
        let sets = ["transforms.mask.type=com.example.Mask".to_owned(), "predicates.p.type=x".to_owned()];
        let connector = Connector::load(&mut Variables::default(), None, &sets).unwrap();
        let idle: Vec<&str> = connector.without_effect().into_values().flatten().collect();
        assert!(idle.contains(&"transforms.mask.type") && idle.contains(&"predicates.p.type"), "{idle:?}");
        assert!(!idle.contains(&"transforms.route.type"));
        assert!(read(&["transforms.mask.type=com.example.Mask"]).is_ok());
    }

    #[test]
    fn a_key_is_extracted_only_of_tables() {
        let key = [
            "transforms=key",
            "transforms.key.type=org.apache.kafka.connect.transforms.ExtractField$Key",
            "transforms.key.field=id",
            "heartbeat.interval.ms=0",
        ];
        let outcome = read(&key).unwrap().outcome("a.b.c", RecordKind::Delete).unwrap();
        assert!(
            matches!(&*outcome.keys, [KeyEdit::Fields(edit)] if edit.action == FieldAction::Extract("id".to_owned())),
            "{outcome:?}"
        );
        assert_eq!(outcome.value, ValueForm::Envelope);
        let also = |more: &[&'static str]| refusal(&[&key[..], more].concat());
        assert!(also(&["heartbeat.interval.ms=5000"]).contains("__debezium-heartbeat"));
        assert!(also(&["transforms.key.field.syntax.version=V2"]).contains("V1 only"));
        let tables = read(
            &[
                &key[..],
                &[
                    "heartbeat.interval.ms=5000",
                    "transforms.key.predicate=tables",
                    "predicates=tables",
                    "predicates.tables.type=org.apache.kafka.connect.transforms.predicates.TopicNameMatches",
                    "predicates.tables.pattern=postgres.*",
                ],
            ]
            .concat(),
        )
        .unwrap();
        assert!(!tables.misfits_others("__debezium-heartbeat.postgres"));
    }

    #[test]
    fn several_mistakes_of_one_transform_are_one_sentence() {
        let text = refusal(&[
            UNWRAPPED[0],
            UNWRAPPED[1],
            "transforms.unwrap.add.fields=row.id,op",
            "transforms.unwrap.delete.handling.mode=nosuch",
            "transforms.unwrap.delete.tombstone.handling.mode=never",
            "transforms.unwrap.negate=perhaps",
            "transforms.unwrap.nosuch=hunter2",
            "transforms.unwrap.route.by.field=name",
        ]);
        assert_eq!(text.matches("is refused").count(), 1, "{text}");
        for part in ["row.id", "is of Debezium 2", "delete-to-tombstone", "negate", "nosuch", "route.by.field"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn others_than_evp_has_are_named_with_those_it_has() {
        let text = refusal(&["transforms=mask", "transforms.mask.type=com.example.Mask"]);
        assert!(text.contains("com.example.Mask") && text.contains("RegexRouter"), "{text}");
        let text = refusal(&["predicates=p", "predicates.p.type=com.example.P"]);
        assert!(text.contains("com.example.P") && text.contains("HasHeaderKey"), "{text}");
        let text = refusal(&["transforms=route,route"]);
        assert!(text.contains("`route` twice"), "{text}");
        let text = refusal(&["transforms=nameless"]);
        assert!(text.contains("transforms.nameless") && text.contains("`type`"), "{text}");
        let text = refusal(&["transforms.route.predicate=unknown"]);
        assert!(text.contains("`unknown`"), "{text}");
    }
}
