//! Reading payload fields that producers spell in more than one way.

use bson::{Bson, Document, doc};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::process::Event;
use crate::process::coordinates::{coordinates, pair, point_at};

/// A text as BSON; absent and null are null.
pub(super) fn text_or_null(event: &Event, field: &str) -> Result<Bson> {
    Ok(event.text(field)?.map_or(Bson::Null, Bson::from))
}

/// A text that stands in the payload itself as `flat`, or as `field` of the object `object`.
///
/// `None` if it stands in neither, so that null can be told from absent.
pub(super) fn nested_text(event: &Event, flat: &str, object: &str, field: &str) -> Result<Option<Bson>> {
    if event.has(flat) {
        return text_or_null(event, flat).map(Some);
    }
    match event.object(object)?.and_then(|inner| inner.get(field)) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(Bson::Null)),
        Some(Value::String(text)) => Ok(Some(Bson::from(text.as_str()))),
        Some(_) => Err(Error::data(format!("payload field `{object}.{field}` is not a text"))),
    }
}

/// A GeoJSON point, or null if the payload has no valid coordinates.
pub(super) fn point(event: &Event) -> Bson {
    let location = event.payload.get("location").and_then(Value::as_object);
    let candidates = [
        event.payload.get("location_coordinates"),
        event.payload.get("coordinates"),
        location.and_then(|location| location.get("coordinates")),
    ];
    let found = candidates.into_iter().flatten().find_map(coordinates);
    let found = found.or_else(|| pair(&event.payload)).or_else(|| location.and_then(pair));
    found.map_or(Bson::Null, point_at)
}

/// The sets that every change of an existing document makes.
pub(super) fn change_metadata(event: &Event) -> Vec<(&'static str, Bson)> {
    vec![
        ("metadata.updated_at", Bson::DateTime(event.created_at)),
        ("metadata.last_event_id", Bson::String(event.event_id_text())),
    ]
}

/// The metadata of a new document.
pub(super) fn creation_metadata(event: &Event) -> Document {
    doc! { "created_at": event.created_at, "updated_at": event.created_at, "source_event_id": event.event_id_text() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn coordinates_are_read_in_every_usual_form() {
        let expected = Bson::Document(doc! { "type": "Point", "coordinates": [13.4, 52.5] });
        for payload in [
            json!({ "location_coordinates": { "latitude": 52.5, "longitude": 13.4 } }),
            json!({ "location_coordinates": { "lat": 52.5, "lng": 13.4 } }),
            json!({ "coordinates": [13.4, 52.5] }),
            json!({ "location": { "coordinates": { "type": "Point", "coordinates": [13.4, 52.5] } } }),
            json!({ "location": { "lat": 52.5, "lon": 13.4 } }),
            json!({ "latitude": 52.5, "longitude": 13.4 }),
        ] {
            assert_eq!(point(&Event::sample("ActivityCreated", payload.clone())), expected, "{payload}");
        }
    }

    #[test]
    fn impossible_coordinates_are_null() {
        for payload in [
            json!({}),
            json!({ "coordinates": [200, 10] }),
            json!({ "coordinates": [10, 91] }),
            json!({ "coordinates": [1, 2, 3] }),
            json!({ "coordinates": "here" }),
            json!({ "latitude": 52.5 }),
        ] {
            assert_eq!(point(&Event::sample("ActivityCreated", payload.clone())), Bson::Null, "{payload}");
        }
    }
}
