//! Dates and times in arrays, and as defaults: there Java's own classes stand between PostgreSQL and Connect.

use super::{
    is_coarse, streamed_date, time, timestamp_of, write_iso_day, write_iso_timestamp, write_timestamp_ms,
    write_timestamp_ns, write_timestamp_us, write_zoned_time, write_zoned_timestamp, zoned_time, zoned_timestamp,
};
use crate::typemap::calendar::{DAY_US, Date, era, time_us, write_number, write_time};
use crate::typemap::handling::TimeMode;
use crate::typemap::{ColumnType, Declared, Mapped, Unwritten};

/// The last and the first moment of a Java date, which have no era in an array.
const ELEMENT_INFINITY: Date = Date { year: 292_278_994, month: 8, day: 16 };
const ELEMENT_MINUS_INFINITY: Date = Date { year: 292_269_055, month: 12, day: 2 };

/// A date in an array passes through a Java date, which has marks of its own for the infinities.
pub(in crate::typemap) fn date_element(declared: &Declared<'_>) -> Mapped {
    let write = if declared.handling.time == TimeMode::IsoText { write_iso_date_element } else { write_date_element };
    Mapped { write, ..streamed_date(declared) }
}

/// A time in an array passes through a Java time, which has milliseconds and no 24:00.
pub(in crate::typemap) fn time_element(declared: &Declared<'_>) -> Mapped {
    let write = match declared.handling.time {
        TimeMode::IsoText => write_iso_time_element,
        TimeMode::Nanoseconds => write_time_element_ns,
        TimeMode::Connect => write_time_element_ms,
        TimeMode::Adaptive if is_coarse(declared) => write_time_element_ms,
        _ => write_time_element_us,
    };
    Mapped { write, ..time(declared) }
}

/// A time with a zone in an array loses its fraction.
pub(in crate::typemap) fn zoned_time_element(declared: &Declared<'_>) -> Mapped {
    Mapped { write: write_zoned_time_element, ..zoned_time(declared) }
}

/// A timestamp in an array passes through a Java timestamp, whose calendar is Julian up to October 1582.
pub(in crate::typemap) fn timestamp_element(declared: &Declared<'_>) -> Mapped {
    Mapped { write: write_timestamp_element, ..timestamp_of(declared) }
}

/// One with a zone loses its era there.
pub(in crate::typemap) fn zoned_timestamp_element(declared: &Declared<'_>) -> Mapped {
    Mapped { write: write_zoned_timestamp_element, ..zoned_timestamp(declared) }
}

fn write_timestamp_element(out: &mut Vec<u8>, text: &str, column: &ColumnType) -> Result<(), Unwritten> {
    let write = match column.schema.name.as_deref() {
        Some("io.debezium.time.MicroTimestamp") => write_timestamp_us,
        Some("io.debezium.time.NanoTimestamp") => write_timestamp_ns,
        Some("io.debezium.time.IsoTimestamp") => write_iso_timestamp,
        _ => write_timestamp_ms,
    };
    let (moment, is_before_christ) = era(text);
    let Some((date, time)) = moment.split_once(' ') else { return write(out, text, column) };
    let date = Date::parse(date, is_before_christ)?;
    let day = date.julian_epoch_day();
    if day == date.epoch_day() {
        return write(out, text, column);
    }
    let Date { year, month, day } = Date::of_epoch_day(day);
    let (year, suffix) = if year < 1 { (1 - year, " BC") } else { (year, "") };
    write(out, &format!("{year:04}-{month:02}-{day:02} {time}{suffix}"), column)
}

fn write_zoned_timestamp_element(out: &mut Vec<u8>, text: &str, column: &ColumnType) -> Result<(), Unwritten> {
    if text == "-infinity" {
        let Date { year, month, day } = ELEMENT_MINUS_INFINITY;
        return write_zoned_timestamp(out, &format!("{year:04}-{month:02}-{day:02} 23:00:00+00"), column);
    }
    let moment = era(text).0;
    match moment.split_once(' ') {
        Some((date, time)) if date.starts_with("1582-10-") => {
            let Date { year, month, day } = in_java_calendar(Date::parse(date, false)?);
            write_zoned_timestamp(out, &format!("{year:04}-{month:02}-{day:02} {time}"), column)
        }
        _ => write_zoned_timestamp(out, moment, column),
    }
}

fn element_date(text: &str) -> Result<Date, Unwritten> {
    match text {
        "infinity" => Ok(ELEMENT_INFINITY),
        "-infinity" => Ok(ELEMENT_MINUS_INFINITY),
        _ => Date::parse(era(text).0, false).map(in_java_calendar),
    }
}

/// The ten days that Java's older calendar does not have are those that follow them.
fn in_java_calendar(date: Date) -> Date {
    let is_missing = date.year == 1582 && date.month == 10 && (5..15).contains(&date.day);
    if is_missing { Date::of_epoch_day(date.julian_epoch_day()) } else { date }
}

fn write_date_element(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    write_day_number(out, element_date(text)?);
    Ok(())
}

fn write_iso_date_element(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    write_iso_day(out, element_date(text)?);
    Ok(())
}

/// Days in 32 bits: those of dates that Java has and PostgreSQL has not are cut.
#[allow(clippy::cast_possible_truncation)]
fn write_day_number(out: &mut Vec<u8>, date: Date) {
    write_number(out, i64::from(date.epoch_day() as i32));
}

/// A date's default passes through Java's first and last dates.
pub(in crate::typemap) fn write_default_date(
    out: &mut Vec<u8>,
    text: &str,
    column: &ColumnType,
) -> Result<(), Unwritten> {
    let date = match text {
        "infinity" => Date { year: 999_999_999, month: 12, day: 31 },
        "-infinity" => Date { year: -999_999_999, month: 1, day: 1 },
        _ => return column.write(out, text),
    };
    if column.handling.time == TimeMode::IsoText {
        write_iso_day(out, date);
    } else {
        write_day_number(out, date);
    }
    Ok(())
}

/// So does a timestamp's: the first one is beyond the milliseconds and nanoseconds of any schema.
pub(in crate::typemap) fn write_default_infinity(
    out: &mut Vec<u8>,
    text: &str,
    column: &ColumnType,
) -> Result<(), Unwritten> {
    let is_first = text == "-infinity";
    match column.schema.name.as_deref() {
        Some("io.debezium.time.MicroTimestamp") if is_first => write_number(out, i64::MIN),
        // The last moment of it has 999 999 microseconds, with which the number wraps.
        Some("io.debezium.time.MicroTimestamp") => write_number(out, i64::MAX.wrapping_add(999_999)),
        Some("io.debezium.time.IsoTimestamp") if is_first => {
            out.extend_from_slice(b"\"-999999999-01-01T00:00:00Z\"");
        }
        Some("io.debezium.time.IsoTimestamp") => {
            out.extend_from_slice(b"\"+999999999-12-31T23:59:59.999999999Z\"");
        }
        _ => return Err(Unwritten::Null),
    }
    Ok(())
}

fn element_ms(text: &str) -> Result<i64, Unwritten> {
    Ok(time_us(text)?.rem_euclid(DAY_US) / 1_000)
}

fn write_time_element_ms(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    write_number(out, element_ms(text)?);
    Ok(())
}

fn write_time_element_us(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    write_number(out, element_ms(text)? * 1_000);
    Ok(())
}

fn write_time_element_ns(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    write_number(out, element_ms(text)? * 1_000_000);
    Ok(())
}

fn write_iso_time_element(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    out.push(b'"');
    write_time(out, element_ms(text)? * 1_000);
    out.extend_from_slice(b"Z\"");
    Ok(())
}

fn write_zoned_time_element(out: &mut Vec<u8>, text: &str, column: &ColumnType) -> Result<(), Unwritten> {
    let start = out.len();
    write_zoned_time(out, text, column)?;
    // `"hh:mm:ss` is kept.
    let end = start.saturating_add(9);
    if out.get(end) == Some(&b'.') {
        out.truncate(end);
        out.extend_from_slice(b"Z\"");
    }
    Ok(())
}
