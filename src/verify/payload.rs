//! What a payload says of a field, in whichever of its forms; written apart from what the handlers read it by.

use bson::{Bson, doc};
use serde_json::{Map, Value};
use uuid::Uuid;

pub(super) type Payload = Map<String, Value>;

/// A text or null that is present.
pub(super) fn text(payload: &Payload, field: &str) -> Result<Option<Bson>, String> {
    text_value(payload.get(field), field)
}

/// A text that may stand beside the others or inside an object.
pub(super) fn text_in(payload: &Payload, flat: &str, object: &str, field: &str) -> Result<Option<Bson>, String> {
    if payload.contains_key(flat) {
        return text(payload, flat);
    }
    match payload.get(object) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(inner)) => text_value(inner.get(field), field),
        Some(_) => Err(format!("`{object}` is not an object")),
    }
}

fn text_value(value: Option<&Value>, field: &str) -> Result<Option<Bson>, String> {
    match value {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(Bson::Null)),
        Some(Value::String(text)) => Ok(Some(Bson::String(text.clone()))),
        Some(_) => Err(format!("`{field}` is not a text")),
    }
}

/// An id in lower case, as documents hold it.
pub(super) fn id(payload: &Payload, field: &str) -> Result<Option<String>, String> {
    let as_id = |text: &str| Uuid::try_parse(text.trim()).map_or_else(|_| text.to_owned(), |id| id.to_string());
    Ok(text(payload, field)?.and_then(|value| value.as_str().map(as_id)))
}

/// A GeoJSON point from whichever form the payload uses, or null.
pub(super) fn coordinates(payload: &Payload) -> Bson {
    let location = payload.get("location");
    let inner = location.and_then(|location| location.get("coordinates"));
    let places = [payload.get("location_coordinates"), payload.get("coordinates"), inner, location];
    let point = places.into_iter().flatten().find_map(point).or_else(|| named_point(payload));
    point.map_or(Bson::Null, |(longitude, latitude)| {
        doc! { "type": "Point", "coordinates": [longitude, latitude] }.into()
    })
}

fn point(value: &Value) -> Option<(f64, f64)> {
    if let Some(object) = value.as_object() {
        let is_geojson = object.get("type").is_some_and(|kind| kind == "Point");
        return if is_geojson { object.get("coordinates").and_then(point) } else { named_point(object) };
    }
    match value.as_array().map(Vec::as_slice) {
        Some([longitude, latitude]) => valid_point(longitude.as_f64()?, latitude.as_f64()?),
        _ => None,
    }
}

fn named_point(object: &Payload) -> Option<(f64, f64)> {
    let number = |names: [&str; 3]| names.into_iter().find_map(|name| object.get(name)?.as_f64());
    valid_point(number(["longitude", "lng", "lon"])?, number(["latitude", "lat", "lat"])?)
}

fn valid_point(longitude: f64, latitude: f64) -> Option<(f64, f64)> {
    (longitude.abs() <= 180.0 && latitude.abs() <= 90.0).then_some((longitude, latitude))
}
