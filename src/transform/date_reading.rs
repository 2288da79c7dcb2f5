//! Texts as `SimpleDateFormat` reads them: leniently, up to where the pattern ends.

use super::date_format::{DAY_MS, DateFormat, Field, MONTHS, Part, WEEKDAYS};
use crate::typemap::{Date, FIRST_GREGORIAN_DAY};

/// What has been read so far; what a pattern leaves out is of 1970-01-01.
#[derive(Default)]
struct Found {
    year: Option<i64>,
    /// From 0 on.
    month: i64,
    day: Option<i64>,
    hour: Option<i64>,
    hour_of_half_day: i64,
    is_afternoon: bool,
    /// Minutes, seconds and their parts, less the offset of a zone.
    of_hour_ms: i64,
}

impl DateFormat {
    /// Why texts cannot be read by it, if it is so.
    pub fn unreadable(&self) -> Option<&'static str> {
        let has = |of: fn(Field, usize) -> bool| {
            self.parts.iter().any(|part| matches!(part, Part::Field(field, count) if of(*field, *count)))
        };
        if has(|field, count| field == Field::Year && count < 3) {
            return Some("two digits of a year are of another century each year");
        }
        if has(|field, _| field == Field::Weekday) && !has(|field, _| field == Field::Day) {
            return Some("it has a day of the week and none of the month");
        }
        (has(|field, _| field == Field::Hour) && has(|field, _| field == Field::HourOfHalfDay))
            .then_some("it has two kinds of hours")
    }

    /// The time of a text in milliseconds since 1970; `None` where Java reads none, or evp does not know how.
    pub fn read(&self, text: &str) -> Option<i64> {
        let (mut rest, mut found) = (text, Found::default());
        for (at, part) in self.parts.iter().enumerate() {
            rest = match part {
                Part::Text(text) => rest.strip_prefix(text.as_str())?,
                Part::Field(field, count) => {
                    let next = self.parts.get(at.saturating_add(1));
                    let is_contiguous = matches!(next, Some(Part::Field(field, count)) if field.is_number(*count));
                    found.read(rest.trim_start_matches([' ', '\t']), *field, *count, is_contiguous.then_some(*count))?
                }
            };
        }
        found.time()
    }
}

impl Found {
    /// Reads a field from the beginning of a text and gives back the rest; digits of a width where others follow at once.
    fn read<'t>(&mut self, text: &'t str, field: Field, count: usize, width: Option<usize>) -> Option<&'t str> {
        if field.is_number(count) {
            let (number, rest) = number(text, width)?;
            self.set(field, number)?;
            return Some(rest);
        }
        match field {
            Field::Month => {
                let (at, rest) = name(text, &MONTHS)?;
                self.month = at;
                Some(rest)
            }
            Field::Weekday => Some(name(text, &WEEKDAYS)?.1),
            Field::HalfDay => {
                let (at, rest) = name(text, &["AM", "PM"])?;
                self.is_afternoon = at == 1;
                Some(rest)
            }
            Field::IsoZone if text.starts_with('Z') => text.get(1..),
            Field::IsoZone => self.offset(text, (count > 1, count == 3), 2),
            _ => match text.split_at_checked(3).filter(|(zone, _)| zone.eq_ignore_ascii_case("GMT")) {
                Some((_, rest)) if rest.starts_with(['+', '-']) => self.offset(rest, (true, true), 1),
                Some((_, rest)) => Some(rest),
                None if text.starts_with(['+', '-']) => self.offset(text, (true, false), 2),
                None => {
                    let (zone, rest) = text.split_at_checked(3)?;
                    zone.eq_ignore_ascii_case("UTC").then_some(rest)
                }
            },
        }
    }

    fn set(&mut self, field: Field, number: i64) -> Option<()> {
        let unit = match field {
            Field::Minute => 60_000,
            Field::Second => 1_000,
            Field::Millisecond => 1,
            _ => 0,
        };
        match field {
            Field::Year => self.year = Some(number),
            Field::Month => self.month = number - 1,
            Field::Day => self.day = Some(number),
            Field::Hour => self.hour = Some(number),
            Field::HourOfHalfDay => self.hour_of_half_day = if number == 12 { 0 } else { number },
            _ => self.of_hour_ms = self.of_hour_ms.checked_add(number.checked_mul(unit)?)?,
        }
        Some(())
    }

    /// `+02`, `+0230` or `+02:30`, whose hours have at least so many digits.
    fn offset<'t>(&mut self, text: &'t str, (has_minutes, has_colon): (bool, bool), least: usize) -> Option<&'t str> {
        let sign = if text.starts_with('-') { -1 } else { 1 };
        let rest = text.strip_prefix(['+', '-'])?;
        let is_digit = |at: usize| rest.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
        let (hours, mut rest) = rest.split_at_checked(if is_digit(1) { 2 } else { least })?;
        let hours: i64 = digits(hours)?;
        let mut minutes = 0;
        if has_minutes {
            rest = if has_colon { rest.strip_prefix(':')? } else { rest };
            let (two, behind) = rest.split_at_checked(2)?;
            (minutes, rest) = (digits(two)?, behind);
        }
        if hours > 23 || minutes > 59 {
            return None;
        }
        self.of_hour_ms = self.of_hour_ms.checked_sub(sign * (hours * 60 + minutes) * 60_000)?;
        Some(rest)
    }

    /// In Java's older calendar.
    fn time(&self) -> Option<i64> {
        let year = self.year.unwrap_or(1970).checked_add(self.month.div_euclid(12))?;
        let first = Date { year, month: self.month.rem_euclid(12) + 1, day: 1 };
        let behind = self.day.unwrap_or(1) - 1;
        let day = match first.epoch_day() + behind {
            day if day >= FIRST_GREGORIAN_DAY => day,
            _ => first.julian_epoch_day() + behind,
        };
        let half_day = if self.is_afternoon { 12 } else { 0 };
        let hour = self.hour.unwrap_or(self.hour_of_half_day + half_day);
        day.checked_mul(DAY_MS)?.checked_add(hour.checked_mul(3_600_000)?)?.checked_add(self.of_hour_ms)
    }
}

fn digits(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A whole number of as many digits as there are, or of as many characters as a width has, and what follows it.
fn number(text: &str, width: Option<usize>) -> Option<(i64, &str)> {
    let within = match width {
        Some(width) => text.get(..width)?,
        None => text,
    };
    let unsigned = within.strip_prefix('-').unwrap_or(within);
    let behind = unsigned.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let length = within.len().saturating_sub(behind.len());
    let (number, rest) = text.split_at_checked(length)?;
    // What is longer than Java's int comes out as another number there.
    let number = i64::from(number.parse::<i32>().ok()?);
    Some((number, rest))
}

/// Which of these names a text begins with, in full or with its first three letters, and what follows it.
fn name<'t>(text: &'t str, names: &[&str]) -> Option<(i64, &'t str)> {
    let begins = |name: &str| {
        let (start, rest) = text.split_at_checked(name.len())?;
        start.eq_ignore_ascii_case(name).then_some(rest)
    };
    let of = |shorten: fn(&str) -> &str| {
        names.iter().zip(0..).find_map(|(name, at)| begins(shorten(name)).map(|rest| (at, rest)))
    };
    of(|name| name).or_else(|| of(|name| name.get(..3).unwrap_or(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(pattern: &str, text: &str) -> Option<i64> {
        DateFormat::new(pattern).unwrap().read(text)
    }

    #[test]
    fn texts_are_read_as_java_reads_them() {
        let iso = "2018-06-20T13:37:03.123456Z";
        for (pattern, text, expected) in [
            ("yyyy-MM-dd'T'HH:mm:ss.SSSSSSX", iso, Some(1_529_501_946_456)),
            ("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'", iso, Some(1_529_501_946_456)),
            ("yyyy-MM-dd'T'HH:mm:ssX", iso, None),
            ("yyyy-MM-dd'T'HH:mm:ss.SSSX", "2018-06-20T13:37:03.5+02:00", Some(1_529_494_623_005)),
            ("yyyy-MM-dd'T'HH:mm:ss.SSSZ", iso, None),
            ("yyyy-MM-dd", iso, Some(1_529_452_800_000)),
            ("yyyyMMdd", iso, Some(1_512_518_400_000)),
            ("yyyyMMddHHmmssSSS", "20180620133703123", Some(1_529_501_823_123)),
            ("yyyyMd", "2018620", Some(1_529_452_800_000)),
            ("yyyy-MM-dd HH:mm:ss Z", "2018-06-20 13:37:03 +0230", Some(1_529_492_823_000)),
            ("yyyy-MM-dd HH:mm:ss z", "2018-06-20 13:37:03 GMT+02:30", Some(1_529_492_823_000)),
            ("yyyy-MM-dd HH:mm:ss Z", "2018-06-20 13:37:03 gmt+2:30", Some(1_529_492_823_000)),
            ("yyyy-MM-dd HH:mm:ss z", "2018-06-20 13:37:03 UTC", Some(1_529_501_823_000)),
            ("yyyy-MM-dd HH:mm:ss z", "2018-06-20 13:37:03 Z", None),
            (concat!("yyyy-MM-dd HH:mm:ss X", "XX"), "2018-06-20 13:37:03 +02:30", Some(1_529_492_823_000)),
            ("yyyy-MM-dd HH:mm:ss XX", "2018-06-20 13:37:03 -0230", Some(1_529_510_823_000)),
            (concat!("yyyy-MM-dd HH:mm:ss X", "XX"), "2018-06-20 13:37:03 +0230", None),
            ("EEE, d MMM yyyy hh:mm:ss a", "Wed, 20 June 2018 01:37:03 PM", Some(1_529_501_823_000)),
            ("EEEE d MMMM yyyy hh:mm", "wednesday 20 jun 2018 12:37", Some(1_529_455_020_000)),
            ("yyyy-MM-dd HH:mm:ss a", "2018-06-20 13:37:03 PM", Some(1_529_501_823_000)),
            ("yyyy-MM-dd", "2018-13-45", Some(1_550_102_400_000)),
            ("yyyy-MM-dd", "-5-02-03", Some(-62_322_307_200_000)),
            ("yyyy-MM-dd", "1582-10-10", Some(-12_218_860_800_000)),
            ("yyyy-MM-dd", "1582-10-04", Some(-12_219_379_200_000)),
            ("yyyy-MM-dd", "1000-02-29", Some(-30_604_694_400_000)),
            ("yyyy-MM-dd", "  2018- 2-\t3", Some(1_517_616_000_000)),
            ("yyyy-MM-dd", "+2018-02-03", None),
            ("yyyy-MM-dd", "", None),
            ("yyyy-MM-dd", "294276-12-31", Some(9_224_317_929_600_000)),
            ("HH:mm:ss.SSS", "25:61:61.1234", Some(93_722_234)),
            ("HH:mm", "12", None),
            ("hh:mm a", "12:30 AM", Some(1_800_000)),
            ("hh:mm a", "00:30 pm", Some(45_000_000)),
            ("hh:mm", "13:30", Some(48_600_000)),
            ("MMM", "Ma", None),
        ] {
            assert_eq!(read(pattern, text), expected, "{pattern}: {text}");
        }
    }

    #[test]
    fn patterns_that_need_more_than_the_text_are_told() {
        for (pattern, is_readable) in
            [("yyyy-MM-dd", true), ("yy-MM-dd", false), ("EEE yyyy", false), ("HH h", false), ("EEE d", true)]
        {
            assert_eq!(DateFormat::new(pattern).unwrap().unreadable().is_none(), is_readable, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_not(text in "[-0-9 :+a-zA-Z]{0,30}") {
            for pattern in ["yyyy-MM-dd HH:mm:ss.SSS X", "dMMMyyyyhhmmaZ", "yyyyMMddHHmmssSSS"] {
                let _ = read(pattern, &text);
            }
        }
    }
}
