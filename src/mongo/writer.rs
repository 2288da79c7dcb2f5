//! Writing BSON into one buffer, without a tree of values in between.

use bson::{Bson, DateTime, RawDocumentBuf};
use uuid::Uuid;

use super::order::EventOrder;
use super::write_model::Create;
use crate::error::{Error, Result};

const DOUBLE: u8 = 0x01;
const STRING: u8 = 0x02;
const DOCUMENT: u8 = 0x03;
const ARRAY: u8 = 0x04;
const BINARY: u8 = 0x05;
const BOOLEAN: u8 = 0x08;
const DATE: u8 = 0x09;
const NULL: u8 = 0x0A;
const INT32: u8 = 0x10;
const INT64: u8 = 0x12;

const GENERIC_SUBTYPE: u8 = 0;
const UUID_SUBTYPE: u8 = 4;
const LENGTH_BYTES: usize = 4;

/// A document or array that is still being written.
#[derive(Debug)]
struct Open {
    /// Where its length stands.
    start: usize,
    /// The index of the next element, if it is an array.
    next_index: Option<usize>,
}

/// Writes one BSON document, nested ones in place.
///
/// Elements of an array are named by their index, whatever name is given. A name that BSON cannot hold
/// is remembered and reported by [`Writer::finish`].
#[derive(Debug)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    open: Vec<Open>,
    mistake: Option<&'static str>,
}

impl Writer {
    /// Opens the root document.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        let mut writer = Self { bytes: Vec::with_capacity(bytes), open: Vec::with_capacity(8), mistake: None };
        writer.begin(None);
        writer
    }

    fn begin(&mut self, next_index: Option<usize>) {
        self.open.push(Open { start: self.bytes.len(), next_index });
        self.bytes.extend_from_slice(&[0; LENGTH_BYTES]);
    }

    fn element(&mut self, tag: u8, name: &str) {
        self.bytes.push(tag);
        match self.open.last_mut().and_then(|open| open.next_index.as_mut()) {
            Some(index) => {
                self.bytes.extend_from_slice(itoa::Buffer::new().format(*index).as_bytes());
                *index = index.saturating_add(1);
            }
            None => {
                if name.as_bytes().contains(&0) {
                    self.mistake = Some("a field name holds a NUL character");
                }
                self.bytes.extend_from_slice(name.as_bytes());
            }
        }
        self.bytes.push(0);
    }

    pub(crate) fn begin_document(&mut self, name: &str) {
        self.element(DOCUMENT, name);
        self.begin(None);
    }

    pub(crate) fn begin_array(&mut self, name: &str) {
        self.element(ARRAY, name);
        self.begin(Some(0));
    }

    /// Closes the innermost open document or array.
    pub(crate) fn end(&mut self) {
        self.bytes.push(0);
        let Some(open) = self.open.pop() else { return };
        let length = self.bytes.len().saturating_sub(open.start);
        let Ok(length) = i32::try_from(length) else {
            self.mistake = Some("a document is larger than 2 GiB");
            return;
        };
        let end = open.start.saturating_add(LENGTH_BYTES);
        if let Some(place) = self.bytes.get_mut(open.start..end) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }

    fn text_bytes(&mut self, text: &str) {
        let length = i32::try_from(text.len().saturating_add(1)).unwrap_or_else(|_| {
            self.mistake = Some("a text is larger than 2 GiB");
            0
        });
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
    }

    pub(crate) fn string(&mut self, name: &str, text: &str) {
        self.element(STRING, name);
        self.text_bytes(text);
    }

    /// A string given as two halves, such as `$` and a field path.
    pub(crate) fn joined_string(&mut self, name: &str, first: &str, second: &str) {
        self.element(STRING, name);
        let length = first.len().saturating_add(second.len()).saturating_add(1);
        self.bytes.extend_from_slice(&i32::try_from(length).unwrap_or(1).to_le_bytes());
        self.bytes.extend_from_slice(first.as_bytes());
        self.bytes.extend_from_slice(second.as_bytes());
        self.bytes.push(0);
    }

    pub(crate) fn int32(&mut self, name: &str, number: i32) {
        self.element(INT32, name);
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    pub(crate) fn int64(&mut self, name: &str, number: i64) {
        self.element(INT64, name);
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    pub(crate) fn double(&mut self, name: &str, number: f64) {
        self.element(DOUBLE, name);
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    pub(crate) fn boolean(&mut self, name: &str, value: bool) {
        self.element(BOOLEAN, name);
        self.bytes.push(u8::from(value));
    }

    pub(crate) fn date(&mut self, name: &str, date: DateTime) {
        self.element(DATE, name);
        self.bytes.extend_from_slice(&date.timestamp_millis().to_le_bytes());
    }

    pub(crate) fn null(&mut self, name: &str) {
        self.element(NULL, name);
    }

    pub(crate) fn uuid(&mut self, name: &str, id: Uuid) {
        self.binary(name, UUID_SUBTYPE, id.as_bytes());
    }

    /// The same value as [`EventOrder::to_bson`].
    pub(crate) fn order(&mut self, name: &str, order: EventOrder) {
        match order {
            EventOrder::Sequence(sequence) => self.int64(name, sequence),
            EventOrder::Commit(order) => self.binary(name, GENERIC_SUBTYPE, &order.to_bytes()),
        }
    }

    fn binary<const LENGTH: usize>(&mut self, name: &str, subtype: u8, bytes: &[u8; LENGTH]) {
        self.element(BINARY, name);
        self.bytes.extend_from_slice(&i32::try_from(LENGTH).unwrap_or_default().to_le_bytes());
        self.bytes.push(subtype);
        self.bytes.extend_from_slice(bytes);
    }

    /// Any value; the rare types go through the `bson` crate.
    pub(crate) fn value(&mut self, name: &str, value: &Bson) {
        match value {
            Bson::String(text) => self.string(name, text),
            Bson::Null => self.null(name),
            Bson::Int32(number) => self.int32(name, *number),
            Bson::Int64(number) => self.int64(name, *number),
            Bson::Double(number) => self.double(name, *number),
            Bson::Boolean(value) => self.boolean(name, *value),
            Bson::DateTime(date) => self.date(name, *date),
            Bson::Document(document) => {
                self.begin_document(name);
                self.fields(document);
                self.end();
            }
            Bson::Array(values) => {
                self.begin_array(name);
                for value in values {
                    self.value("", value);
                }
                self.end();
            }
            other => self.other_value(name, other),
        }
    }

    /// The fields of `document`, into the document that is open.
    pub(crate) fn fields(&mut self, document: &bson::Document) {
        for (name, value) in document {
            self.value(name, value);
        }
    }

    /// The document of a creation, as an element of the array that is open.
    pub(crate) fn created(&mut self, create: &Create) {
        self.begin_document("");
        if !create.document.contains_key("_id") {
            self.string("_id", &create.id);
        }
        self.fields(&create.document);
        self.end();
    }

    fn other_value(&mut self, name: &str, value: &Bson) {
        // As the only field, named by an empty text, of a document: length, tag, NUL, value, NUL.
        let wrapped = bson::doc! { "": value.clone() };
        let encoded = wrapped.to_vec().unwrap_or_default();
        let value_start = LENGTH_BYTES + 2;
        match (encoded.get(LENGTH_BYTES), encoded.get(value_start..encoded.len().saturating_sub(1))) {
            (Some(tag), Some(bytes)) => {
                self.element(*tag, name);
                self.bytes.extend_from_slice(bytes);
            }
            _ => self.mistake = Some("a value cannot be written as BSON"),
        }
    }

    /// How much has been written.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Closes the root document.
    pub(crate) fn finish(mut self) -> Result<RawDocumentBuf> {
        while !self.open.is_empty() {
            self.end();
        }
        if let Some(mistake) = self.mistake {
            return Err(Error::data(format!("the document cannot be written: {mistake}")));
        }
        RawDocumentBuf::from_bytes(self.bytes).map_err(|error| {
            Error::with_source(crate::error::ErrorKind::Data, "the document cannot be written as BSON", error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Document, doc, oid::ObjectId};
    use proptest::prelude::*;

    fn written(document: &Document) -> Result<RawDocumentBuf> {
        let mut writer = Writer::with_capacity(64);
        writer.fields(document);
        writer.finish()
    }

    fn any_bson() -> impl Strategy<Value = Bson> {
        let leaf = prop_oneof![
            "\\PC{0,12}".prop_map(Bson::String),
            any::<i32>().prop_map(Bson::Int32),
            any::<i64>().prop_map(Bson::Int64),
            any::<bool>().prop_map(Bson::Boolean),
            Just(Bson::Null),
            any::<i32>().prop_map(|s| Bson::DateTime(DateTime::from_millis(i64::from(s)))),
            any::<[u8; 12]>().prop_map(|bytes| Bson::ObjectId(ObjectId::from_bytes(bytes))),
            any::<u32>().prop_map(|time| Bson::Timestamp(bson::Timestamp { time, increment: 1 })),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..12).prop_map(Bson::Array),
                prop::collection::btree_map("[a-z$.]{1,6}", inner, 0..4)
                    .prop_map(|map| Bson::Document(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn bytes_equal_those_of_the_bson_crate(value in any_bson()) {
            let document = doc! { "v": value };
            let (ours, theirs) = (written(&document).unwrap(), document.to_vec().unwrap());
            prop_assert_eq!(ours.as_bytes(), theirs.as_slice());
        }
    }

    #[test]
    fn an_order_is_written_as_the_bson_crate_writes_it() {
        use crate::mongo::order::CommitOrder;
        let commit = EventOrder::Commit(CommitOrder { epoch: 1, commit: 2, within: 3, sequence: -4 });
        for order in [EventOrder::Sequence(-7), commit] {
            let mut writer = Writer::with_capacity(64);
            writer.order("s", order);
            assert_eq!(Document::try_from(writer.finish().unwrap()).unwrap(), doc! { "s": order.to_bson() });
        }
    }

    #[test]
    fn a_nul_in_a_field_name_is_refused() {
        assert!(written(&doc! { "a\0b": 1 }).is_err());
    }

    #[test]
    fn an_unclosed_document_is_closed_by_finish() {
        let mut writer = Writer::with_capacity(0);
        writer.begin_array("a");
        writer.joined_string("", "$", "b.c");
        assert_eq!(Document::try_from(writer.finish().unwrap()).unwrap(), doc! { "a": ["$b.c"] });
    }
}
