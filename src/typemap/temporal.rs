//! Dates, times and timestamps, in the precision that the connector asks for.

mod elements;

use super::calendar::{DAY_US, Date, era, fraction_us, number, time_us, timestamp, write_number, write_time};
use super::handling::TimeMode;
use super::{ColumnType, Declared, Mapped, Unwritten};
use crate::connect::json::write_string;
use crate::connect::{Schema, SchemaType};
pub(super) use elements::{
    date_element, time_element, timestamp_element, write_default_date, write_default_infinity, zoned_time_element,
    zoned_timestamp_element,
};

/// Digits of a second without a declared precision.
const DIGITS_DEFAULT: i32 = 6;
/// Debezium's days of `infinity` and `-infinity`: dates beyond all others.
const DAY_INFINITY: i64 = -2_147_472_692;
const DAY_MINUS_INFINITY: i64 = -2_147_472_691;
/// pgjdbc's marks for the infinities, in microseconds of a timestamp.
const TIMESTAMP_INFINITY_US: i64 = 9_223_372_036_825_200_000;
const TIMESTAMP_MINUS_INFINITY_US: i64 = -9_223_372_036_832_400_000;

fn named(schema_type: SchemaType, name: &'static str) -> Schema {
    Schema::new(schema_type).named(name).version(1)
}

/// The declared digits of a second.
fn digits(declared: &Declared<'_>) -> i32 {
    if (0..DIGITS_DEFAULT).contains(&declared.modifier) { declared.modifier } else { DIGITS_DEFAULT }
}

/// Whether the digits fit in milliseconds, so that the adaptive modes take these.
fn is_coarse(declared: &Declared<'_>) -> bool {
    digits(declared) <= 3
}

/// A date; in a snapshot it passes through a Java date as in an array.
pub(super) fn date(declared: &Declared<'_>) -> Mapped {
    if declared.handling.is_snapshot { date_element(declared) } else { streamed_date(declared) }
}

fn streamed_date(declared: &Declared<'_>) -> Mapped {
    match declared.handling.time {
        TimeMode::IsoText => {
            Mapped::new(named(SchemaType::String, "io.debezium.time.IsoDate"), write_iso_date, "\"1970-01-01Z\"")
        }
        TimeMode::Connect => {
            Mapped::new(named(SchemaType::Int32, "org.apache.kafka.connect.data.Date"), write_date, "0")
        }
        _ => Mapped::new(named(SchemaType::Int32, "io.debezium.time.Date"), write_date, "0"),
    }
}

pub(super) fn time(declared: &Declared<'_>) -> Mapped {
    match declared.handling.time {
        TimeMode::IsoText => {
            Mapped::new(named(SchemaType::String, "io.debezium.time.IsoTime"), write_iso_time, "\"00:00:00Z\"")
        }
        TimeMode::Connect => {
            Mapped::new(named(SchemaType::Int32, "org.apache.kafka.connect.data.Time"), write_time_ms, "0")
        }
        TimeMode::Nanoseconds => Mapped::new(named(SchemaType::Int64, "io.debezium.time.NanoTime"), write_time_ns, "0"),
        TimeMode::Adaptive if is_coarse(declared) => {
            Mapped::new(named(SchemaType::Int32, "io.debezium.time.Time"), write_time_ms, "0")
        }
        _ => Mapped::new(named(SchemaType::Int64, "io.debezium.time.MicroTime"), write_time_us, "0"),
    }
}

pub(super) fn timestamp_of(declared: &Declared<'_>) -> Mapped {
    match declared.handling.time {
        TimeMode::IsoText => Mapped::new(
            named(SchemaType::String, "io.debezium.time.IsoTimestamp"),
            write_iso_timestamp,
            "\"1970-01-01T00:00:00Z\"",
        ),
        TimeMode::Connect => {
            Mapped::new(named(SchemaType::Int64, "org.apache.kafka.connect.data.Timestamp"), write_timestamp_ms, "0")
        }
        TimeMode::Nanoseconds => {
            Mapped::new(named(SchemaType::Int64, "io.debezium.time.NanoTimestamp"), write_timestamp_ns, "0")
        }
        TimeMode::Adaptive | TimeMode::AdaptiveTimeMicroseconds if is_coarse(declared) => {
            Mapped::new(named(SchemaType::Int64, "io.debezium.time.Timestamp"), write_timestamp_ms, "0")
        }
        _ => Mapped::new(named(SchemaType::Int64, "io.debezium.time.MicroTimestamp"), write_timestamp_us, "0"),
    }
}

pub(super) fn zoned_timestamp(declared: &Declared<'_>) -> Mapped {
    let schema = named(SchemaType::String, "io.debezium.time.ZonedTimestamp");
    Mapped::new(schema, write_zoned_timestamp, "\"1970-01-01T00:00:00Z\"").with_digits(digits(declared))
}

pub(super) fn zoned_time(_: &Declared<'_>) -> Mapped {
    Mapped::new(named(SchemaType::String, "io.debezium.time.ZonedTime"), write_zoned_time, "\"00:00:00Z\"")
}

/// The day of a date's text.
pub(super) fn epoch_day(text: &str) -> Result<i64, Unwritten> {
    match text {
        "infinity" => Ok(DAY_INFINITY),
        "-infinity" => Ok(DAY_MINUS_INFINITY),
        _ => {
            let (date, is_before_christ) = era(text);
            Date::parse(date, is_before_christ).map(Date::epoch_day)
        }
    }
}

fn write_date(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    write_number(out, epoch_day(text)?);
    Ok(())
}

fn write_iso_date(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    write_iso_day(out, Date::of_epoch_day(epoch_day(text)?));
    Ok(())
}

fn write_iso_day(out: &mut Vec<u8>, date: Date) {
    out.push(b'"');
    date.write(out);
    out.extend_from_slice(b"Z\"");
}

fn write_time_ms(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    write_number(out, time_us(text)? / 1_000);
    Ok(())
}

fn write_time_us(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    write_number(out, time_us(text)?);
    Ok(())
}

fn write_time_ns(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    write_number(out, time_us(text)?.saturating_mul(1_000));
    Ok(())
}

fn write_iso_time(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    out.push(b'"');
    write_time(out, time_us(text)?.rem_euclid(DAY_US));
    out.extend_from_slice(b"Z\"");
    Ok(())
}

/// Microseconds since 1970; beyond 64 bits the seconds are cut and the rest wraps, as in Java.
fn epoch_us(text: &str) -> Result<i64, Unwritten> {
    match text {
        "infinity" => Ok(TIMESTAMP_INFINITY_US),
        "-infinity" => Ok(TIMESTAMP_MINUS_INFINITY_US),
        _ => timestamp(text).map(|(day, time_us)| {
            let seconds = day.saturating_mul(86_400).saturating_add(time_us / 1_000_000);
            seconds.saturating_mul(1_000_000).wrapping_add(time_us % 1_000_000)
        }),
    }
}

fn write_timestamp_us(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    write_number(out, epoch_us(text)?);
    Ok(())
}

fn write_timestamp_ms(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    let millis = match text {
        "infinity" | "-infinity" => epoch_us(text)?.div_euclid(1_000),
        _ => timestamp(text).map(|(day, time_us)| day.wrapping_mul(DAY_US / 1_000).wrapping_add(time_us / 1_000))?,
    };
    write_number(out, millis);
    Ok(())
}

/// Nanoseconds reach from 1677 to 2262; Debezium has no value beyond.
fn write_timestamp_ns(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    let nanos = match text {
        "infinity" => i64::MAX,
        "-infinity" => i64::MIN,
        _ => {
            let (day, time_us) = timestamp(text)?;
            let seconds = day.saturating_mul(86_400).saturating_add(time_us.div_euclid(1_000_000));
            let nanos = time_us.rem_euclid(1_000_000) * 1_000;
            seconds.checked_mul(1_000_000_000).and_then(|seconds| seconds.checked_add(nanos)).ok_or(Unwritten::Null)?
        }
    };
    write_number(out, nanos);
    Ok(())
}

fn write_iso_timestamp(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    let (day, time_us) = match text {
        "infinity" | "-infinity" => {
            let micros = epoch_us(text)?;
            (micros.div_euclid(DAY_US), micros.rem_euclid(DAY_US))
        }
        _ => timestamp(text)?,
    };
    out.push(b'"');
    Date::of_epoch_day(day).write(out);
    out.push(b'T');
    write_time(out, time_us);
    out.extend_from_slice(b"Z\"");
    Ok(())
}

/// PostgreSQL's `2026-11-21 09:13:38.7+00` (session in UTC) to `2026-11-21T09:13:38.700000Z`.
pub(super) fn write_zoned_timestamp(out: &mut Vec<u8>, text: &str, column: &ColumnType) -> Result<(), Unwritten> {
    if matches!(text, "infinity" | "-infinity") {
        write_string(out, text);
        return Ok(());
    }
    let (text, is_before_christ) = era(text);
    let local = text.strip_suffix("+00").ok_or(Unwritten::Mismatch)?;
    out.push(b'"');
    let fraction = match usual_parts(local).filter(|_| !is_before_christ) {
        Some((date, clock, fraction)) => {
            out.extend_from_slice(date.as_bytes());
            out.push(b'T');
            out.extend_from_slice(clock.as_bytes());
            fraction
        }
        None => write_any_moment(out, local, is_before_christ)?,
    };
    if column.digits > 0 {
        out.push(b'.');
        let (length, digits) = (out.len(), usize::try_from(column.digits).unwrap_or_default());
        out.extend_from_slice(fraction.as_bytes());
        out.resize(length.saturating_add(digits), b'0');
    }
    out.extend_from_slice(b"Z\"");
    Ok(())
}

/// Date, clock and fraction of a timestamp as nearly all are: `2016-11-04 13:51:30`, with a fraction or without.
///
/// To take these apart as any other takes longer than all else of a row but its longest text.
fn usual_parts(text: &str) -> Option<(&str, &str, &str)> {
    let (head, fraction) = text.as_bytes().split_first_chunk::<19>()?;
    let &[c, y, z, year, b'-', m, month, b'-', d, day, b' ', h, hour, b':', i, minute, b':', s, second] = head else {
        return None;
    };
    let number = |tens: u8, ones: u8| {
        let is_number = tens.is_ascii_digit() && ones.is_ascii_digit();
        is_number.then(|| (tens - b'0') * 10 + (ones - b'0'))
    };
    let is_moment = number(c, y).and(number(z, year)).is_some()
        && matches!(number(m, month), Some(1..=12))
        && matches!(number(d, day), Some(1..=31))
        && matches!(number(h, hour), Some(0..=24))
        && matches!(number(i, minute), Some(0..=59))
        && matches!(number(s, second), Some(0..=60));
    let is_fraction = match fraction {
        [] => true,
        [b'.', digits @ ..] => (1..=6).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    (is_moment && is_fraction).then_some(())?;
    Some((text.get(..10)?, text.get(11..19)?, text.get(20..).unwrap_or_default()))
}

/// Writes any date and time of day, and gives back the fraction of the second, which is not written.
fn write_any_moment<'t>(out: &mut Vec<u8>, local: &'t str, is_before_christ: bool) -> Result<&'t str, Unwritten> {
    let (date, time) = local.split_once(' ').ok_or(Unwritten::Mismatch)?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    time_us(clock)?;
    fraction_us(fraction)?;
    Date::parse(date, is_before_christ)?.write(out);
    out.push(b'T');
    out.extend_from_slice(clock.as_bytes());
    Ok(fraction)
}

/// `13:51:30.123789+02:00` to the same time in UTC.
pub(super) fn write_zoned_time(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    let (local, offset) = text.find(['+', '-']).map_or((text, "+00"), |at| text.split_at(at));
    let (sign, offset) = offset.split_at_checked(1).ok_or(Unwritten::Mismatch)?;
    let mut seconds = 0;
    for (part, unit) in offset.split(':').zip([3_600, 60, 1]) {
        seconds += number(part)? * unit;
    }
    let shift_us = if sign == "-" { -seconds } else { seconds } * 1_000_000;
    out.push(b'"');
    write_time(out, (time_us(local)? - shift_us).rem_euclid(DAY_US));
    out.extend_from_slice(b"Z\"");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn usual_moments_are_written_as_any_other(
            text in "[0-9]{4}-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,7})?"
        ) {
            let mut any = Vec::new();
            let written = write_any_moment(&mut any, &text, false);
            if let Some((date, clock, fraction)) = usual_parts(&text) {
                prop_assert_eq!(written.ok(), Some(fraction));
                prop_assert_eq!(any, format!("{date}T{clock}").into_bytes());
            } else {
                prop_assert!(written.is_err() || text.ends_with('.'), "{}", text);
            }
        }
    }
}
