//! `interval`, as microseconds of average months or as an ISO 8601 duration.

use super::calendar::{fraction_us, write_number};
use super::handling::IntervalMode;
use super::java_float::write_double;
use super::{ColumnType, Declared, Mapped, Unwritten};
use crate::connect::{Schema, SchemaType};

/// Days of an average month: a twelfth of 365.25.
const MONTH_DAYS: f64 = 30.4375;
/// Of a second.
const FRACTION_DIGITS_MAX: usize = 9;

pub(super) fn interval(declared: &Declared<'_>) -> Mapped {
    match declared.handling.interval {
        IntervalMode::Numeric => {
            let schema = Schema::new(SchemaType::Int64).named("io.debezium.time.MicroDuration");
            Mapped::new(schema.version(1), write_micros, "0")
        }
        IntervalMode::Text => {
            let schema = Schema::new(SchemaType::String).named("io.debezium.time.Interval");
            Mapped::new(schema.version(1), write_iso, "\"P0Y0M0DT0H0M0S\"")
        }
    }
}

/// The parts that PostgreSQL names in its style `postgres`: `1 year 2 mons 3 days 04:05:06.78`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Interval {
    years: i32,
    months: i32,
    days: i32,
    hours: i32,
    minutes: i32,
    /// The seconds, in microseconds.
    seconds_us: i64,
}

impl Interval {
    fn parse(text: &str) -> Result<Self, Unwritten> {
        let mut interval = Self::default();
        let mut words = text.split(' ').filter(|word| !word.is_empty());
        while let Some(word) = words.next() {
            if word.contains(':') {
                interval.read_clock(word)?;
                continue;
            }
            let count = word.parse().map_err(|_| Unwritten::Mismatch)?;
            match words.next().ok_or(Unwritten::Mismatch)?.trim_end_matches('s') {
                "year" => interval.years = count,
                "mon" => interval.months = count,
                "day" => interval.days = count,
                _ => return Err(Unwritten::Mismatch),
            }
        }
        Ok(interval)
    }

    /// pgjdbc's seconds: a sum of doubles, whose last digits show.
    #[allow(clippy::cast_precision_loss)]
    fn seconds(self) -> f64 {
        (self.seconds_us / 1_000_000) as f64 + (self.seconds_us % 1_000_000) as f64 / 1_000_000.0
    }

    /// `-04:05:06.789`: the sign is that of each part.
    fn read_clock(&mut self, text: &str) -> Result<(), Unwritten> {
        let (sign, clock) = text.strip_prefix('-').map_or((1, text), |clock| (-1, clock));
        let clock = clock.strip_prefix('+').unwrap_or(clock);
        let mut parts = clock.split(':');
        let whole = |text: Option<&str>| -> Result<i32, Unwritten> {
            text.and_then(|text| text.parse().ok()).filter(|part: &i32| *part >= 0).ok_or(Unwritten::Mismatch)
        };
        self.hours = sign * whole(parts.next())?;
        self.minutes = sign * whole(parts.next())?;
        let (seconds, fraction) = match parts.next() {
            Some(seconds) => seconds.split_once('.').unwrap_or((seconds, "")),
            None => ("0", ""),
        };
        self.seconds_us = i64::from(sign) * (i64::from(whole(Some(seconds))?) * 1_000_000 + fraction_us(fraction)?);
        Ok(())
    }
}

/// In doubles, as Debezium does it: long durations lose their last digits and the longest are cut.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn write_micros(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    let interval = Interval::parse(text)?;
    let months = interval.years.wrapping_mul(12).wrapping_add(interval.months);
    let days = f64::from(months) * MONTH_DAYS + f64::from(interval.days);
    let minutes = (days * 24.0 + f64::from(interval.hours)) * 60.0 + f64::from(interval.minutes);
    write_number(out, ((minutes * 60.0 + interval.seconds()) * 1e6) as i64);
    Ok(())
}

fn write_iso(out: &mut Vec<u8>, text: &str, _: &ColumnType) -> Result<(), Unwritten> {
    let interval = Interval::parse(text)?;
    out.extend_from_slice(b"\"P");
    for (number, unit) in [
        (interval.years, "Y"),
        (interval.months, "M"),
        (interval.days, "DT"),
        (interval.hours, "H"),
        (interval.minutes, "M"),
    ] {
        write_number(out, i64::from(number));
        out.extend_from_slice(unit.as_bytes());
    }
    write_plain(out, interval.seconds());
    out.extend_from_slice(b"S\"");
    Ok(())
}

/// Appends Java's digits of a double without an exponent: nine of them behind the point, and no zeros at the end.
fn write_plain(out: &mut Vec<u8>, number: f64) {
    let mut text = Vec::new();
    write_double(&mut text, number);
    let text = String::from_utf8(text).unwrap_or_default();
    let (sign, text) = text.strip_prefix('-').map_or(("", text.as_str()), |text| ("-", text));
    let (digits, exponent) = text.split_once('E').unwrap_or((text, "0"));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let shift = exponent.parse::<i64>().ok().filter(|exponent| *exponent < 0).map_or(0, i64::unsigned_abs);
    let (whole, fraction) = match usize::try_from(shift) {
        Ok(shift @ 1..) => ("0", format!("{}{whole}{fraction}", "0".repeat(shift - 1))),
        _ => (whole, fraction.to_owned()),
    };
    let kept = fraction.get(..FRACTION_DIGITS_MAX).unwrap_or(&fraction).trim_end_matches('0');
    out.extend_from_slice(if whole == "0" && kept.is_empty() { "" } else { sign }.as_bytes());
    out.extend_from_slice(whole.as_bytes());
    if !kept.is_empty() {
        out.push(b'.');
        out.extend_from_slice(kept.as_bytes());
    }
}
