//! Java's `SimpleDateFormat`, as `TimestampConverter` has it: in UTC, with English names.

use crate::typemap::Date;

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// From the weekday of 1970-01-01 on.
pub(super) const WEEKDAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
pub(super) const DAY_MS: i64 = 86_400_000;

/// A pattern, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DateFormat {
    pub(super) parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Stands for itself.
    Text(String),
    /// A field in so many letters.
    Field(Field, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Year,
    Month,
    Day,
    Weekday,
    HalfDay,
    Hour,
    HourOfHalfDay,
    Minute,
    Second,
    Millisecond,
    ZoneName,
    Zone,
    IsoZone,
}

impl Field {
    fn of_letter(letter: char) -> Option<Self> {
        Some(match letter {
            'y' => Self::Year,
            'M' => Self::Month,
            'd' => Self::Day,
            'E' => Self::Weekday,
            'a' => Self::HalfDay,
            'H' => Self::Hour,
            'h' => Self::HourOfHalfDay,
            'm' => Self::Minute,
            's' => Self::Second,
            'S' => Self::Millisecond,
            'z' => Self::ZoneName,
            'Z' => Self::Zone,
            'X' => Self::IsoZone,
            _ => return None,
        })
    }

    /// Whether so many letters of it are a number.
    pub(super) fn is_number(self, count: usize) -> bool {
        match self {
            Self::Month => count <= 2,
            Self::Weekday | Self::HalfDay | Self::ZoneName | Self::Zone | Self::IsoZone => false,
            _ => true,
        }
    }
}

impl DateFormat {
    /// From Java's pattern; the error says why it is refused.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut letters = pattern.chars().peekable();
        while let Some(letter) = letters.next() {
            if letter == '\'' {
                push_text(&mut parts, &quoted(&mut letters)?);
            } else if letter.is_ascii_alphabetic() {
                let field = Field::of_letter(letter).ok_or_else(|| unknown(letter))?;
                let mut count = 1;
                while letters.next_if_eq(&letter).is_some() {
                    count += 1;
                }
                if field == Field::IsoZone && count > 3 {
                    return Err("there are more than three X".to_owned());
                }
                parts.push(Part::Field(field, count));
            } else {
                push_text(&mut parts, letter.encode_utf8(&mut [0; 4]));
            }
        }
        Ok(Self { parts })
    }

    /// The text of a time, given in milliseconds since 1970.
    pub fn write(&self, ms: i64) -> String {
        let time = Time::of(ms);
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field(field, count) => time.write(&mut out, *field, *count),
            }
        }
        out
    }
}

fn unknown(letter: char) -> String {
    match letter {
        'Y' => "`Y` is the year that a week belongs to, which evp does not have: write `y`".to_owned(),
        _ => format!(
            "evp does not know the letter `{letter}`: it has y, M, d, E, a, H, h, m, s, S, z, Z and X; a letter that stands for \
             itself is put in quotes"
        ),
    }
}

/// What stands behind a quote up to the next one; two of them are one, wherever they stand.
fn quoted(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String, String> {
    if letters.next_if_eq(&'\'').is_some() {
        return Ok("'".to_owned());
    }
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' if letters.next_if_eq(&'\'').is_none() => return Ok(text),
            letter => text.push(letter),
        }
    }
    Err("a quote has no end".to_owned())
}

fn push_text(parts: &mut Vec<Part>, more: &str) {
    match parts.last_mut() {
        Some(Part::Text(text)) => text.push_str(more),
        _ => parts.push(Part::Text(more.to_owned())),
    }
}

/// A time in Java's older calendar.
struct Time {
    date: Date,
    weekday: i64,
    of_day: i64,
}

impl Time {
    fn of(ms: i64) -> Self {
        let day = ms.div_euclid(DAY_MS);
        Self { date: Date::of_julian_epoch_day(day), weekday: day.rem_euclid(7), of_day: ms.rem_euclid(DAY_MS) }
    }

    fn write(&self, out: &mut String, field: Field, count: usize) {
        let hour = self.of_day / 3_600_000;
        let number = match field {
            // Of an era, of which the pattern tells nothing.
            Field::Year if self.date.year < 1 => 1 - self.date.year,
            Field::Year => self.date.year,
            Field::Month if field.is_number(count) => self.date.month,
            Field::Day => self.date.day,
            Field::Hour => hour,
            Field::HourOfHalfDay => (hour + 11) % 12 + 1,
            Field::Minute => self.of_day / 60_000 % 60,
            Field::Second => self.of_day / 1_000 % 60,
            Field::Millisecond => self.of_day % 1_000,
            Field::Month => return push_name(out, &MONTHS, self.date.month - 1, count),
            Field::Weekday => return push_name(out, &WEEKDAYS, self.weekday, count),
            Field::HalfDay => return out.push_str(if hour < 12 { "AM" } else { "PM" }),
            Field::ZoneName => return out.push_str(if count < 4 { "UTC" } else { "Coordinated Universal Time" }),
            Field::Zone => return out.push_str("+0000"),
            Field::IsoZone => return out.push('Z'),
        };
        let number = if field == Field::Year && count == 2 { number % 100 } else { number };
        out.push_str(&format!("{number:0count$}"));
    }
}

fn push_name(out: &mut String, names: &[&str], at: i64, count: usize) {
    let name = usize::try_from(at).ok().and_then(|at| names.get(at)).copied().unwrap_or_default();
    out.push_str(if count < 4 { name.get(..3).unwrap_or(name) } else { name });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pattern: &str, ms: i64) -> String {
        DateFormat::new(pattern).unwrap().write(ms)
    }

    #[test]
    fn fields_are_written_as_java_writes_them() {
        for (pattern, ms, expected) in [
            ("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'", 1_529_501_823_123, "2018-06-20T13:37:03.123Z"),
            ("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'", -1, "1969-12-31T23:59:59.999Z"),
            ("yyyy-MM-dd", -12_219_292_800_000, "1582-10-15"),
            ("yyyy-MM-dd", -12_219_292_800_001, "1582-10-04"),
            ("yyyy-MM-dd", -62_135_769_600_001, "0001-12-31"),
            ("yyyy-MM-dd", -210_866_803_200_000, "4713-01-01"),
            ("yyyyyy y", 9_224_318_015_999_999, "294276 294276"),
            ("yy-M-d h:m:s.S a", 1_529_501_823_123, "18-6-20 1:37:3.123 PM"),
            ("yy h a", 951_782_400_000, "00 12 AM"),
            ("yyy MMM EEE dddd", -62_135_596_800_000, "001 Jan Mon 0003"),
            ("MMMMM EEEEE EE aaaa", 1_529_501_823_123, "June Wednesday Wed PM"),
            ("SSSSSS", 1_529_501_823_123, "000123"),
            ("z zzzz Z ZZZ X XX", 0, "UTC Coordinated Universal Time +0000 +0000 Z Z"),
            ("''yyyy'''' 'a''b'", 0, "'1970'' a'b"),
            ("é yyyy", 0, "é 1970"),
        ] {
            assert_eq!(written(pattern, ms), expected, "{pattern}");
        }
    }

    #[test]
    fn what_java_or_evp_does_not_know_is_refused() {
        for (pattern, part) in [
            ("yyyy-MM-ddTHH", "`T`"),
            ("YYYY", "write `y`"),
            (concat!("XX", "XX"), "three X"),
            ("'a", "no end"),
            ("G", "`G`"),
        ] {
            let told = DateFormat::new(pattern).unwrap_err();
            assert!(told.contains(part), "{pattern}: {told}");
        }
    }
}
