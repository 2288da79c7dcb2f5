//! Longitude and latitude in the forms in which payloads have them.

use bson::{Bson, doc};
use serde_json::{Map, Value};

/// GeoJSON of a longitude and a latitude.
pub(crate) fn point_at((longitude, latitude): (f64, f64)) -> Bson {
    Bson::Document(doc! { "type": "Point", "coordinates": [longitude, latitude] })
}

/// Longitude and latitude, from a list of the two, a GeoJSON point, or an object that names them.
pub(crate) fn coordinates(value: &Value) -> Option<(f64, f64)> {
    match value {
        Value::Array(numbers) => match numbers.as_slice() {
            [longitude, latitude] => in_range(longitude.as_f64()?, latitude.as_f64()?),
            _ => None,
        },
        Value::Object(object) if object.get("type").and_then(Value::as_str) == Some("Point") => {
            object.get("coordinates").filter(|inner| inner.is_array()).and_then(coordinates)
        }
        Value::Object(object) => pair(object),
        _ => None,
    }
}

/// Longitude and latitude that an object names.
pub(crate) fn pair(object: &Map<String, Value>) -> Option<(f64, f64)> {
    let number = |names: &[&str]| names.iter().find_map(|name| object.get(*name)).and_then(Value::as_f64);
    in_range(number(&["longitude", "lng", "lon"])?, number(&["latitude", "lat"])?)
}

fn in_range(longitude: f64, latitude: f64) -> Option<(f64, f64)> {
    let valid = (-180.0..=180.0).contains(&longitude) && (-90.0..=90.0).contains(&latitude);
    valid.then_some((longitude, latitude))
}
