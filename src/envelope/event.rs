//! The event that a row of an outbox holds, as Debezium's `EventRouter` and a converter write it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::change::EncodeError;
use super::expand::{expanded, is_empty_array};
use super::forms::Layout;
use super::pieces::quoted_name;
use super::plan::{ColumnPlan, PlanError, TablePlan, framed};
use super::write::write_cell;
use crate::connect::{Converter, Schema, SchemaType, text_of};
use crate::row::Values;
use crate::transform::{EventForm, EventRouter, Outcome, Placement};

/// As many schemas and topics are kept; beyond that they are worked out anew.
const KEPT_MAX: usize = 10_000;

/// Where the parts of an event are in the rows of a table.
#[derive(Debug, Clone)]
pub(super) struct EventPlan {
    form: Arc<EventForm>,
    topics: Arc<Mutex<Topics>>,
    key: usize,
    payload: usize,
    route_by: usize,
    /// With what its number is divided by to be milliseconds.
    timestamp: Option<(usize, i64)>,
    schema_version: Option<usize>,
    headers: Vec<(String, usize)>,
    partition: Option<usize>,
    /// What stands beside the payload, with its schema.
    members: Vec<(String, usize, Schema)>,
    payload_schema: Schema,
    key_head: Vec<u8>,
    key_tail: &'static [u8],
    converters: (Converter, Converter),
    /// The name of the rows' schema.
    row_name: String,
}

/// What the events of an encoder have had so far.
#[derive(Debug, Default)]
pub(super) struct EventMemory {
    /// The names of value schemas, by router: as in Debezium its first event of a payload's schema, or of a version, gives it.
    names: HashMap<(usize, Vec<u8>), String>,
}

/// Topics by the text that chooses them and whether the event is a null; none where it is dropped.
type Topics = HashMap<(String, bool), Option<String>>;

/// An event, ready to be sent.
#[derive(Debug, Default)]
pub(super) struct Event {
    pub(super) topic: String,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    /// The texts of the plan's headers.
    headers: Vec<Option<Vec<u8>>>,
    pub(super) partition: Option<i32>,
    pub(super) timestamp_ms: Option<i64>,
}

/// A row and the one before it.
#[derive(Clone, Copy)]
pub(super) struct EventRow<'a> {
    pub(super) table: &'a TablePlan,
    pub(super) new: Values<'a>,
    pub(super) old: Option<Values<'a>>,
}

impl EventRow<'_> {
    fn json(&self, place: usize) -> Result<Vec<u8>, EncodeError> {
        let mut json = Vec::new();
        write_cell(&mut json, self.table, place, self.new, self.old)?;
        Ok(json)
    }

    fn text(&self, place: usize) -> Result<Option<String>, EncodeError> {
        Ok(text_of(&self.json(place)?).map(|text| String::from_utf8(text).unwrap_or_default()))
    }

    fn number<N: std::str::FromStr>(&self, place: usize) -> Result<Option<N>, EncodeError> {
        Ok(self.text(place)?.and_then(|text| text.parse().ok()))
    }

    fn unrouted(&self, why: &'static str) -> EncodeError {
        EncodeError::Unrouted { table: self.table.shape().name(), why }
    }
}

/// Finds columns by name.
struct Columns<'a> {
    columns: &'a [Option<ColumnPlan>],
    row: &'a Schema,
}

impl<'a> Columns<'a> {
    fn find(&self, name: &str) -> Result<(usize, &'a Schema), PlanError> {
        let is_named = |column: &Option<ColumnPlan>| {
            column.as_ref().is_some_and(|column| column.is_in_value && column.field_name == name)
        };
        let place = self.columns.iter().position(is_named);
        let schema = match &self.row.schema_type {
            SchemaType::Struct(fields) => fields.iter().find(|field| field.name == name).map(|field| &field.schema),
            _ => None,
        };
        place.zip(schema).ok_or_else(|| PlanError::MissingColumn(name.to_owned()))
    }

    fn of_type(
        &self,
        name: &str,
        is_right: impl Fn(&Schema) -> bool,
        what: &'static str,
    ) -> Result<(usize, &'a Schema), PlanError> {
        let (place, schema) = self.find(name)?;
        let wrong = || PlanError::WrongType { column: name.to_owned(), what };
        is_right(schema).then_some((place, schema)).ok_or_else(wrong)
    }

    fn timestamp(&self, name: &str) -> Result<(usize, i64), PlanError> {
        let (place, schema) = self.find(name)?;
        let per_ms = match schema.name.as_deref() {
            Some("io.debezium.time.Timestamp") => 1,
            Some("io.debezium.time.MicroTimestamp") => 1_000,
            Some("io.debezium.time.NanoTimestamp") => 1_000_000,
            _ => return Err(PlanError::WrongType { column: name.to_owned(), what: "the time of an event" }),
        };
        Ok((place, per_ms))
    }
}

impl EventPlan {
    pub(super) fn new(layout: &Layout<'_>, form: EventForm) -> Result<Self, PlanError> {
        let router = Arc::clone(&form.router);
        let columns = Columns { columns: layout.columns, row: layout.row };
        let is_int = |schema: &Schema| schema.schema_type == SchemaType::Int32;
        let is_text = |schema: &Schema| schema.schema_type == SchemaType::String;
        let (payload, payload_schema) = columns.find(&router.payload)?;
        let with_text_headers = layout.options.with_text_headers;
        // Java's text of bytes is an address.
        let fits_header = |schema: &Schema| {
            schema.has_plain_text() && !(with_text_headers && schema.schema_type == SchemaType::Bytes)
        };
        let (id, _) = columns.of_type(&router.id, fits_header, "a header")?;
        let (route_by, _) = columns.of_type(&router.route_by, is_text, "what topics are chosen by")?;
        let (key, key_schema) = columns.find(&router.key)?;
        let converters = (layout.options.key_converter, layout.options.value_converter);
        let (key_head, key_tail) = framed(converters.0.shown(key_schema));
        let version = router.schema_version.as_ref();
        let mut plan = Self {
            timestamp: router.timestamp.as_ref().map(|name| columns.timestamp(name)).transpose()?,
            schema_version: None,
            headers: vec![("id".to_owned(), id)],
            partition: None,
            members: Vec::new(),
            payload_schema: payload_schema.clone(),
            row_name: layout.row.name.as_deref().unwrap_or_default().to_owned(),
            form: Arc::new(form),
            topics: Arc::default(),
            key,
            payload,
            route_by,
            key_head,
            key_tail,
            converters,
        };
        plan.place_columns(&router, &columns, (is_int, fits_header))?;
        if !plan.members.is_empty() {
            // Without an envelope Debezium does not look at it.
            let of_version = |name: &String| columns.of_type(name, is_int, "the version of a schema");
            plan.schema_version = version.map(of_version).transpose()?.map(|(place, _)| place);
        }
        plan.check_converters(&router, key_schema)?;
        Ok(plan)
    }

    fn place_columns(
        &mut self,
        router: &EventRouter,
        columns: &Columns<'_>,
        (is_int, fits_header): (impl Fn(&Schema) -> bool, impl Fn(&Schema) -> bool),
    ) -> Result<(), PlanError> {
        for additional in &router.additional {
            let name = &additional.field;
            let (place, schema) = match columns.find(name) {
                Err(PlanError::MissingColumn(_)) if router.ignores_missing => continue,
                found => found?,
            };
            match additional.placement {
                Placement::Header => {
                    columns.of_type(name, &fits_header, "a header")?;
                    self.headers.push((additional.name.clone(), place));
                }
                Placement::Envelope => self.members.push((additional.name.clone(), place, schema.clone())),
                Placement::Partition => {
                    self.partition = Some(columns.of_type(name, &is_int, "the number of a partition")?.0);
                }
            }
        }
        Ok(())
    }

    fn check_converters(&self, router: &EventRouter, key: &Schema) -> Result<(), PlanError> {
        let is_bytes = |schema: &Schema| schema.schema_type == SchemaType::Bytes;
        let has_text = |schema: &Schema| schema.has_plain_text() && !is_bytes(schema);
        let wrong = |column: &str, what| Err(PlanError::WrongType { column: column.to_owned(), what });
        if self.converters.0 == Converter::Text && !has_text(key) {
            return wrong(&router.key, "a key that StringConverter writes");
        }
        let is_alone = self.members.is_empty() && router.expansion.is_none();
        match self.converters.1 {
            Converter::Json { .. } => Ok(()),
            Converter::Text if is_alone && has_text(&self.payload_schema) => Ok(()),
            Converter::Bytes if is_alone && is_bytes(&self.payload_schema) && self.payload_schema.name.is_none() => {
                Ok(())
            }
            Converter::Text => wrong(&router.payload, "a value that StringConverter writes"),
            Converter::Bytes => wrong(&router.payload, "a value that ByteArrayConverter writes"),
        }
    }

    /// The names of the headers with their values.
    pub(super) fn headers<'e>(&'e self, event: &'e Event) -> impl Iterator<Item = (&'e str, Option<&'e [u8]>)> {
        let names = self.headers.iter().map(|(name, _)| name.as_str());
        names.zip(event.headers.iter().map(Option::as_deref))
    }

    /// What an update of a row is, which an outbox should not have.
    pub(super) fn updates(&self) -> crate::transform::UpdateHandling {
        self.form.router.updates
    }

    /// The event of a row; `None` if a transform behind the router drops it.
    pub(super) fn event(
        &self,
        memory: &mut EventMemory,
        row: EventRow<'_>,
        now_ms: i64,
    ) -> Result<Option<Event>, EncodeError> {
        let router = &self.form.router;
        let routed_by =
            row.text(self.route_by)?.ok_or_else(|| row.unrouted("the column that chooses its topic is null"))?;
        let payload = row.json(self.payload)?;
        let is_tombstone = router.with_tombstones && is_empty(&payload, &self.payload_schema);
        // What stands behind the router takes every null for a tombstone.
        let is_null = is_tombstone || (self.members.is_empty() && payload == b"null");
        let Some(topic) = self.topic(row, &routed_by, is_null)? else { return Ok(None) };
        if !is_topic_name(&topic) {
            return Err(row.unrouted("the column that chooses its topic makes no name that Kafka takes"));
        }
        let timestamp = match self.timestamp {
            Some((place, per_ms)) => row.number::<i64>(place)?.map(|number| number / per_ms),
            None => None,
        };
        Ok(Some(Event {
            topic,
            key: self.key_of(row)?,
            value: if is_tombstone { None } else { self.value(memory, row, payload, &routed_by)? },
            headers: self
                .headers
                .iter()
                .map(|(_, place)| Ok(text_of(&row.json(*place)?)))
                .collect::<Result<_, EncodeError>>()?,
            partition: self.partition.map(|place| row.number(place)).transpose()?.flatten(),
            timestamp_ms: Some(timestamp.unwrap_or(now_ms)).filter(|time| *time >= 0),
        }))
    }

    fn topic(&self, row: EventRow<'_>, routed_by: &str, is_null: bool) -> Result<Option<String>, EncodeError> {
        let mut topics = self.topics.lock();
        let key = (routed_by.to_owned(), is_null);
        if let Some(known) = topics.get(&key) {
            return Ok(known.clone());
        }
        if topics.len() >= KEPT_MAX {
            topics.clear();
        }
        let outcome = self.form.outcome(routed_by, is_null);
        if outcome.as_ref().is_some_and(Outcome::is_changed) {
            return Err(row.unrouted(
                "a transform behind the EventRouter changes keys, headers or fields, which evp does not do to events",
            ));
        }
        let topic = outcome.map(|outcome| outcome.topic);
        topics.insert(key, topic.clone());
        Ok(topic)
    }

    fn key_of(&self, row: EventRow<'_>) -> Result<Option<Vec<u8>>, EncodeError> {
        let json = row.json(self.key)?;
        if !self.converters.0.is_json() {
            return Ok(text_of(&json));
        }
        Ok(Some([self.key_head.as_slice(), &json, self.key_tail].concat()))
    }

    fn value(
        &self,
        memory: &mut EventMemory,
        row: EventRow<'_>,
        payload: Vec<u8>,
        routed_by: &str,
    ) -> Result<Option<Vec<u8>>, EncodeError> {
        match self.converters.1 {
            Converter::Text => return Ok(text_of(&payload)),
            Converter::Bytes => return Ok(bytes_of(&payload)),
            Converter::Json { .. } => {}
        }
        let router = &self.form.router;
        let text = router.expansion.filter(|_| payload.first() == Some(&b'"')).zip(text_of(&payload));
        let is_bare = self.members.is_empty() && text.as_ref().is_some_and(|(_, text)| is_empty_array(text));
        let object = text.and_then(|(nulls, text)| expanded(&router.payload, &text, nulls));
        let (schema, payload) = match &object {
            Some((schema, json)) => (schema, json),
            None => (&self.payload_schema, &payload),
        };
        if self.members.is_empty() {
            let (mut out, tail) = match self.converters.1.shown(schema) {
                Some(_) if is_bare => (b"{\"schema\":null,\"payload\":".to_vec(), b"}".as_slice()),
                schema => framed(schema),
            };
            out.extend_from_slice(payload);
            out.extend_from_slice(tail);
            return Ok(Some(out));
        }
        let version = self.schema_version.map(|place| row.number::<i32>(place)).transpose()?.flatten();
        let (mut out, tail) = match self.converters.1 {
            Converter::Json { with_schema: true, .. } => framed(Some(&self.schema(memory, schema, version, routed_by))),
            _ => framed(None),
        };
        out.extend_from_slice(b"{\"payload\":");
        out.extend_from_slice(payload);
        for (name, place, _) in &self.members {
            out.push(b',');
            out.extend_from_slice(&quoted_name(name));
            out.extend_from_slice(&row.json(*place)?);
        }
        out.push(b'}');
        out.extend_from_slice(tail);
        Ok(Some(out))
    }

    fn schema(&self, memory: &mut EventMemory, payload: &Schema, version: Option<i32>, routed_by: &str) -> Schema {
        let key = match version {
            Some(version) => version.to_be_bytes().to_vec(),
            None => {
                let mut key = Vec::new();
                payload.write(&mut key);
                key
            }
        };
        let router = Arc::as_ptr(&self.form.router).addr();
        let name = memory.name((router, key), &self.row_name, routed_by);
        let members = self.members.iter().map(|(name, _, schema)| (name.clone(), schema.clone()));
        let fields = [("payload".to_owned(), payload.clone())].into_iter().chain(members);
        let schema = Schema::of_fields(fields).named(name);
        match version {
            Some(version) => schema.version(version),
            None => schema,
        }
    }
}

impl EventMemory {
    fn name(&mut self, key: (usize, Vec<u8>), row_name: &str, routed_by: &str) -> String {
        if self.names.len() >= KEPT_MAX {
            self.names.clear();
        }
        let made = || match row_name.rsplit_once('.') {
            Some((table, row)) => format!("{table}.{routed_by}.{row}"),
            None => format!("{routed_by}.{row_name}"),
        };
        self.names.entry(key).or_insert_with(made).clone()
    }
}

/// Null, or a text of nothing but what Java's `trim` takes away.
fn is_empty(payload: &[u8], schema: &Schema) -> bool {
    let is_blank = |text: Vec<u8>| text.iter().all(|byte| *byte <= b' ');
    match schema.schema_type {
        SchemaType::Bytes => payload == b"null",
        _ => text_of(payload).is_none_or(is_blank),
    }
}

fn bytes_of(json: &[u8]) -> Option<Vec<u8>> {
    use base64::Engine as _;
    text_of(json).and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok())
}

fn is_topic_name(name: &str) -> bool {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=249).contains(&name.len()) && !matches!(name, "." | "..") && name.chars().all(is_legal)
}
