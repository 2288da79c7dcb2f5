//! PostgreSQL's ISO texts of dates and times, read without a calendar library: its years go far beyond those.

use super::Unwritten;

/// Microseconds of a day.
pub(super) const DAY_US: i64 = 86_400_000_000;

/// 1582-10-15, since when the calendar is Gregorian also in Java's older classes.
pub(crate) const FIRST_GREGORIAN_DAY: i64 = -141_427;

/// A date in the proleptic Gregorian calendar; 1 BC is year 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Date {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
}

impl Date {
    /// Days since 1970-01-01.
    pub(crate) fn epoch_day(self) -> i64 {
        // Years begin in March, so that a leap day is the last one.
        let year = if self.month <= 2 { self.year - 1 } else { self.year };
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_year = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468
    }

    /// Days since 1970-01-01 of the day that had this date in Java's older calendar, which is Julian up to October 1582.
    pub(crate) fn julian_epoch_day(self) -> i64 {
        if (self.year, self.month, self.day) >= (1582, 10, 15) {
            return self.epoch_day();
        }
        let year = if self.month <= 2 { self.year - 1 } else { self.year };
        let day_of_year = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        year * 365 + year.div_euclid(4) + day_of_year - 719_470
    }

    /// The date of a number of days since 1970-01-01.
    pub(crate) fn of_epoch_day(days: i64) -> Self {
        let days = days + 719_468;
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let day_of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        Self { year: year + era * 400 + i64::from(month <= 2), month, day }
    }

    /// The same in Java's older calendar.
    pub(crate) fn of_julian_epoch_day(days: i64) -> Self {
        if days >= FIRST_GREGORIAN_DAY {
            return Self::of_epoch_day(days);
        }
        let days = days + 719_470;
        let year = (4 * days + 3).div_euclid(1_461);
        let day_of_year = days - (365 * year + year.div_euclid(4));
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        Self { year: year + i64::from(month <= 2), month, day }
    }

    /// `2016-11-04`, with as many digits of the year as it has.
    pub(super) fn parse(text: &str, is_before_christ: bool) -> Result<Self, Unwritten> {
        let mut parts = text.split('-').map(number);
        let mut next = || parts.next().ok_or(Unwritten::Mismatch)?;
        let (year, month, day) = (next()?, next()?, next()?);
        if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return Err(Unwritten::Mismatch);
        }
        Ok(Self { year: if is_before_christ { 1 - year } else { year }, month, day })
    }

    /// As Java writes it: four digits of the year, a plus sign if there are more.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        if self.year < 0 {
            out.push(b'-');
        } else if self.year > 9_999 {
            out.push(b'+');
        }
        let mut buffer = itoa::Buffer::new();
        let year = buffer.format(self.year.unsigned_abs());
        out.extend(std::iter::repeat_n(b'0', 4_usize.saturating_sub(year.len())));
        out.extend_from_slice(year.as_bytes());
        out.push(b'-');
        write_two(out, self.month);
        out.push(b'-');
        write_two(out, self.day);
    }
}

/// The text without ` BC`, and whether it had it.
pub(super) fn era(text: &str) -> (&str, bool) {
    text.strip_suffix(" BC").map_or((text, false), |text| (text, true))
}

/// `13:51:30.123456` as microseconds since midnight.
pub(super) fn time_us(text: &str) -> Result<i64, Unwritten> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.split(':').map(number);
    let mut next = || parts.next().ok_or(Unwritten::Mismatch)?;
    let (hour, minute, second) = (next()?, next()?, next()?);
    if parts.next().is_some() || hour > 24 || minute > 59 || second > 60 {
        return Err(Unwritten::Mismatch);
    }
    Ok(((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction_us(fraction)?)
}

/// The digits behind a point as microseconds.
pub(super) fn fraction_us(digits: &str) -> Result<i64, Unwritten> {
    if digits.is_empty() {
        return Ok(0);
    }
    if digits.len() > 6 {
        return Err(Unwritten::Mismatch);
    }
    let scale = 10_i64.pow(u32::try_from(6 - digits.len()).unwrap_or_default());
    Ok(number(digits)? * scale)
}

/// `2016-11-04 13:51:30.5`, with ` BC` behind it or not, as microseconds since 1970.
///
/// It wraps as Java's arithmetic does: PostgreSQL's last years do not fit.
pub(super) fn timestamp(text: &str) -> Result<(i64, i64), Unwritten> {
    let (text, is_before_christ) = era(text);
    let (date, time) = text.split_once(' ').ok_or(Unwritten::Mismatch)?;
    Ok((Date::parse(date, is_before_christ)?.epoch_day(), time_us(time)?))
}

/// A short number without a sign.
pub(super) fn number(text: &str) -> Result<i64, Unwritten> {
    let is_number = (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return Err(Unwritten::Mismatch);
    }
    Ok(text.bytes().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}

/// Appends the time of day as Java's ISO form has it: a fraction of as many digits as it needs.
pub(super) fn write_time(out: &mut Vec<u8>, time_us: i64) {
    let seconds = time_us.div_euclid(1_000_000);
    write_two(out, seconds / 3_600);
    out.push(b':');
    write_two(out, seconds / 60 % 60);
    out.push(b':');
    write_two(out, seconds % 60);
    let micros = time_us.rem_euclid(1_000_000);
    if micros > 0 {
        write_fraction(out, micros);
    }
}

/// Appends `.5` of 500 000 microseconds.
pub(super) fn write_fraction(out: &mut Vec<u8>, micros: i64) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(micros);
    out.push(b'.');
    out.extend(std::iter::repeat_n(b'0', 6_usize.saturating_sub(digits.len())));
    out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
}

pub(super) fn write_two(out: &mut Vec<u8>, number: i64) {
    let digit = |number: i64| b'0'.saturating_add(u8::try_from(number % 10).unwrap_or_default());
    out.extend_from_slice(&[digit(number / 10), digit(number)]);
}

pub(super) fn write_number(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_day_has_one_date(days in -2_500_000_i64..2_200_000_000) {
            let date = Date::of_epoch_day(days);
            prop_assert_eq!(date.epoch_day(), days);
            prop_assert!((1..=12).contains(&date.month) && (1..=31).contains(&date.day));
            prop_assert_eq!(Date::of_julian_epoch_day(days).julian_epoch_day(), days);
        }

        #[test]
        fn any_text_is_a_timestamp_or_refused(text in "\\PC{0,40}") {
            let _ = timestamp(&text);
            let _ = time_us(&text);
        }
    }

    #[test]
    fn days_are_counted_from_1970() {
        for (text, is_before_christ, days) in [
            ("1970-01-01", false, 0),
            ("2016-11-04", false, 17_109),
            ("1969-12-31", false, -1),
            ("5874897-12-31", false, 2_145_042_905),
            ("0001-12-31", true, -719_163),
        ] {
            assert_eq!(Date::parse(text, is_before_christ).unwrap().epoch_day(), days, "{text}");
        }
    }
}
