//! Column defaults as Debezium derives them from their expressions; `JsonConverter` puts them in the place of null.
//!
//! Debezium does not evaluate an expression. It looks for a call at its start, else for the first literal in it, and what
//! it cannot read as the column's type is no default. The recorded cases hold it to that.

use std::borrow::Cow;

use jiff::Span;
use jiff::civil::DateTime;
use uuid::Uuid;

use super::numeric::ANY_SCALE;
use super::{ColumnType, temporal};
use crate::connect::SchemaType;

/// Words that stand for a value made at each insert, and so are taken for calls.
const CLOCKS: [&str; 5] = ["CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "LOCALTIME", "LOCALTIMESTAMP"];

/// How the expression of a default is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Default {
    /// What stands for a call.
    generated: &'static str,
    /// The JSON of a literal.
    read: fn(&ColumnType, &str) -> Option<Vec<u8>>,
    /// `'a'::mood`: a literal and nothing else.
    is_label: bool,
}

const fn of(generated: &'static str, read: fn(&ColumnType, &str) -> Option<Vec<u8>>) -> Default {
    Default { generated, read, is_label: false }
}

/// Debezium reads no default of the type.
pub(super) const NONE: Default = of("", |_, _| None);
pub(super) const BOOLEAN: Default = of("false", |_, text| {
    let is_true = text.eq_ignore_ascii_case("true");
    Some(if is_true { b"true".to_vec() } else { b"false".to_vec() })
});
pub(super) const INT16: Default = of("0", |_, text| whole(text.parse::<i16>().ok()?.into()));
pub(super) const INT32: Default = of("0", |_, text| whole(text.parse::<i32>().ok()?.into()));
pub(super) const INT64: Default = of("0", |_, text| whole(text.parse().ok()?));
pub(super) const FLOAT: Default = of("0.0", written);
pub(super) const DECIMAL: Default = of("0.0", |column, text| {
    let digits = text.split_once('.').map_or(0, |(_, fraction)| fraction.trim_end_matches('0').len());
    let is_double = column.schema.schema_type == SchemaType::Double && column.digits != ANY_SCALE;
    // What has more digits than its column is no value of it.
    if is_double && usize::try_from(column.digits).is_ok_and(|scale| digits > scale) {
        return None;
    }
    written(column, text).filter(|_| text.parse::<f64>().is_ok_and(f64::is_finite))
});
pub(super) const TEXT: Default = of("", written);
pub(super) const JSON: Default = of("{}", written);
pub(super) const UUID: Default =
    of("00000000-0000-0000-0000-000000000000", |column, text| written(column, &hyphenated(text)?.to_string()));
pub(super) const BIT: Default = of("00", written);
pub(super) const VARBIT: Default = of("0", written);
pub(super) const DATE: Default = of("1970-01-01", |column, text| {
    let mut out = Vec::new();
    temporal::write_default_date(&mut out, &day_of(text)?, column).is_ok().then_some(out)
});
pub(super) const TIME: Default = of("00:00:00", |column, text| match text.starts_with("24:") {
    true => Some(last_time(column).to_vec()),
    false => written(column, text),
});
pub(super) const TIMESTAMP: Default = of("1970-01-01", |column, text| {
    if matches!(text, "infinity" | "-infinity") {
        let mut out = Vec::new();
        return temporal::write_default_infinity(&mut out, text, column).is_ok().then_some(out);
    }
    let (instant, _) = in_utc(text)?;
    written(column, &instant.replace("+00", ""))
});
pub(super) const ZONED_TIMESTAMP: Default = of("1970-01-01", |column, text| {
    let (instant, fraction_digits) = in_utc(text)?;
    let digits = if column.digits == 0 { i32::from(fraction_digits) } else { column.digits };
    written(&ColumnType { digits, ..column.clone() }, &instant)
});
pub(super) const INTERVAL: Default = of("epoch", written);
pub(super) const LABEL: Default = Default { is_label: true, ..of("", written) };

/// The day of a moment that is told to the second.
fn day_of(text: &str) -> Option<Cow<'_, str>> {
    let (moment, era) = text.strip_suffix(" BC").map_or((text, ""), |text| (text, " BC"));
    match moment.split_once(' ') {
        Some((day, _)) => in_utc(text).map(|_| Cow::Owned(format!("{day}{era}"))),
        None => Some(Cow::Borrowed(text)),
    }
}

/// Java's last time of a day, which stands for 24:00.
fn last_time(column: &ColumnType) -> &'static [u8] {
    match column.schema.name.as_deref() {
        Some("io.debezium.time.MicroTime") => b"86399999999",
        Some("io.debezium.time.NanoTime") => b"86399999999999",
        Some("io.debezium.time.IsoTime") => b"\"23:59:59.999999999Z\"",
        _ => b"86399999",
    }
}

/// The JSON of a column's default, or `None` if Debezium finds none in the expression.
pub(super) fn json(column: &ColumnType, expression: &str) -> Option<Vec<u8>> {
    let rule = &column.default;
    // Connect takes no struct for a default.
    if expression.starts_with("NULL::") || matches!(column.schema.schema_type, SchemaType::Struct(_)) {
        return None;
    }
    if rule.is_label {
        let (literal, _) = expression.rsplit_once("::")?;
        return (rule.read)(column, literal.strip_prefix('\'')?.strip_suffix('\'')?);
    }
    let text = if is_call(expression) { rule.generated } else { literal(expression)? };
    (rule.read)(column, text)
}

fn written(column: &ColumnType, text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    column.write(&mut out, text).is_ok().then_some(out)
}

fn whole(number: i64) -> Option<Vec<u8>> {
    Some(number.to_string().into_bytes())
}
/// Whether an expression is a call, or begins with one, be it in parentheses.
fn is_call(expression: &str) -> bool {
    let inner = expression.strip_prefix('(').unwrap_or(expression);
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let arguments = inner.trim_start_matches(is_name).strip_prefix('(').filter(|_| inner.starts_with(is_name));
    CLOCKS.contains(&expression) || arguments.is_some_and(|rest| line(rest).contains(')'))
}

/// The first `'…'` of an expression that has quotes, which ends at any quote and holds no line end; else all of it.
fn literal(expression: &str) -> Option<&str> {
    if !expression.contains('\'') {
        return Some(expression);
    }
    let mut parts = expression.split('\'').skip(1).peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_some() && line(part).len() == part.len() {
            return Some(part);
        }
    }
    None
}

/// A text up to what ends a line in a Java pattern.
fn line(text: &str) -> &str {
    text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).next().unwrap_or_default()
}

fn hyphenated(text: &str) -> Option<Uuid> {
    Uuid::parse_str(text).ok().filter(|uuid| uuid.to_string().eq_ignore_ascii_case(text))
}

/// `2020-01-02`, `2020-01-02 03:04:05.6`, `… 03:04:05+05:30` or `… BC` as PostgreSQL prints it in UTC, and how many digits
/// its fraction has.
fn in_utc(text: &str) -> Option<(String, u8)> {
    let (text, is_before_christ) = text.strip_suffix(" BC").map_or((text, false), |text| (text, true));
    let (date, time) = text.split_once(' ').unwrap_or((text, "00:00:00"));
    let (time, offset) = time.find(['+', '-']).map_or((time, ""), |at| time.split_at(at));
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let ([year, month, day], [hour, minute, second]) = (numbers(date, '-')?, numbers(time, ':')?);
    let year = if is_before_christ { 1_i32.checked_sub(year)? } else { year };
    // The calendar repeats itself each 400 years, and jiff's ends with 9999.
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400).checked_add(2_000)?);
    let small = |number: i32| i8::try_from(number).ok();
    let local = DateTime::new(
        i16::try_from(year).ok()?,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second)?,
        0,
    );
    let utc = local.ok()?.checked_sub(span(offset)?).ok()?;
    let year = i32::from(utc.year()).checked_sub(2_000)?.checked_add(era.checked_mul(400)?)?;
    let (year, suffix) = if year > 0 { (year, "") } else { (1_i32.checked_sub(year)?, " BC") };
    let fraction = fraction.trim_end_matches('0');
    let digits = u8::try_from(fraction.len()).ok()?;
    let point = if digits == 0 { "" } else { "." };
    let text = format!("{year:04}-{}{point}{fraction}+00{suffix}", utc.strftime("%m-%d %H:%M:%S"));
    Some((text, digits))
}

/// `+05`, `+05:30` or `-03:30:15`; nothing is UTC.
fn span(offset: &str) -> Option<Span> {
    let Some(sign) = offset.chars().next() else { return Some(Span::new()) };
    let mut parts = offset.get(1..)?.split(':').map(|part| part.parse::<i64>().ok());
    let mut next = || parts.next().unwrap_or(Some(0));
    let seconds = next()?.checked_mul(3_600)?.checked_add(next()?.checked_mul(60)?)?.checked_add(next()?)?;
    Span::new().try_seconds(if sign == '-' { -seconds } else { seconds }).ok()
}

/// Exactly three numbers.
fn numbers(text: &str, separator: char) -> Option<[i32; 3]> {
    let mut parts = text.split(separator).map(|part| part.parse().ok());
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::super::{Handling, PgType};
    use super::*;

    fn column(name: &str, modifier: i32) -> ColumnType {
        ColumnType::of(&PgType::plain(name), modifier, &Handling::default()).unwrap()
    }

    fn default(column: &ColumnType, expression: &str) -> Option<String> {
        column.default_json(expression).map(|json| String::from_utf8(json).unwrap())
    }

    #[test]
    fn a_default_is_brought_to_the_scale_of_its_column_where_that_loses_nothing() {
        use super::super::{DecimalMode, Handling};
        let of = |decimal, expression| {
            let handling = Handling { decimal, ..Handling::default() };
            default(&ColumnType::of(&PgType::plain("numeric"), (3 << 16) + 1 + 4, &handling).unwrap(), expression)
        };
        for (expression, text, double) in [
            ("2.50", Some("\"2.5\""), Some("2.5")),
            ("'3'::numeric", Some("\"3.0\""), Some("3.0")),
            ("2.55", None, None),
        ] {
            assert_eq!(of(DecimalMode::Text, expression).as_deref(), text);
            assert_eq!(of(DecimalMode::Double, expression).as_deref(), double);
        }
    }

    #[test]
    fn of_a_moment_a_date_has_the_day() {
        let date = column("date", -1);
        assert_eq!(default(&date, "'2020-01-01 23:59:59.5'::timestamp without time zone").as_deref(), Some("18262"));
        assert_eq!(default(&date, "('2020-01-01 00:00'::text)::date"), None);
        assert_eq!(default(&date, "'0044-03-15 10:00:00 BC'::timestamp without time zone").as_deref(), Some("-735160"));
    }

    #[test]
    fn a_call_gives_the_types_zero_and_an_expression_its_first_literal() {
        for (expression, text, number) in [
            ("'pending'::character varying", Some("\"pending\""), None),
            ("'a ''q'' \"d\"'::text", Some("\"a \""), None),
            ("('7'::text || 'b'::text)", Some("\"7\""), Some("7")),
            ("'-1'::integer", Some("\"-1\""), Some("-1")),
            ("nextval('s'::regclass)", Some("\"\""), Some("0")),
            ("(abs('-3'::integer) + 1)", Some("\"\""), Some("0")),
            ("(1 + abs('-3'::integer))", Some("\"-3\""), Some("-3")),
            ("activity.\"F G\"('a'::text)", Some("\"a\""), None),
            ("CURRENT_USER", Some("\"CURRENT_USER\""), None),
            ("CURRENT_DATE", Some("\"\""), Some("0")),
            ("(1 + 1)", Some("\"(1 + 1)\""), None),
            ("'2147483648'::bigint", Some("\"2147483648\""), None),
            ("'a\nb'::text", None, None),
            ("('a\nb'::text || 'c'::text)", Some("\"::text || \""), None),
            ("upper('a\nb'::text)", None, None),
            ("NULL::character varying", None, None),
        ] {
            assert_eq!(default(&column("text", -1), expression).as_deref(), text, "{expression}");
            assert_eq!(default(&column("int4", -1), expression).as_deref(), number, "{expression}");
        }
    }

    #[test]
    fn instants_are_moved_to_utc_and_keep_their_year() {
        for (expression, expected) in [
            ("'2020-01-02 03:04:05+05:30'::timestamp with time zone", Some("\"2020-01-01T21:34:05.000000Z\"")),
            (
                "('2020-01-02 03:04:05-03:30:15'::text)::timestamp with time zone",
                Some("\"2020-01-02T06:34:20.000000Z\""),
            ),
            ("'2020-01-02'::date", Some("\"2020-01-02T00:00:00.000000Z\"")),
            ("'21016-11-04 13:51:30.123456+00'::timestamp with time zone", Some("\"+21016-11-04T13:51:30.123456Z\"")),
            ("'0001-01-01 00:00:00+01 BC'::timestamp with time zone", Some("\"-0001-12-31T23:00:00.000000Z\"")),
            ("now()", Some("\"1970-01-01T00:00:00.000000Z\"")),
            ("(CURRENT_TIMESTAMP + '1 day'::interval)", None),
            ("'infinity'::timestamp with time zone", None),
            ("('2020-01-02 24:00:00'::text)::timestamp with time zone", None),
            ("('2020-99999999-02'::text)::timestamp with time zone", None),
        ] {
            assert_eq!(default(&column("timestamptz", -1), expression).as_deref(), expected, "{expression}");
        }
        let half = "'1969-12-31 23:59:59.50+00'::timestamp with time zone";
        assert_eq!(default(&column("timestamptz", 0), half).as_deref(), Some("\"1969-12-31T23:59:59.5Z\""));
    }
}
