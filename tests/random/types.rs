//! Column types and their values: those of `tests/types/cases.txt`, and more of each family by chance.

use super::dice::Dice;

/// A type as a column declares it.
#[derive(Debug, Clone)]
pub(super) struct ColumnType {
    pub(super) name: &'static str,
    /// Values that somebody thought of, as SQL.
    values: Vec<&'static str>,
    /// Expressions of defaults.
    pub(super) defaults: Vec<&'static str>,
    /// Debezium has a value for NOT NULL columns whose value is not told.
    pub(super) has_filler: bool,
}

/// Of these many values can be told apart, and an index takes them.
const KEYS: [&str; 17] = [
    "integer",
    "bigint",
    "smallint",
    "text",
    "varchar",
    "char(4)",
    "uuid",
    "date",
    "timestamptz",
    "timestamp(3)",
    "bytea",
    "citext",
    "inet",
    "numeric(38,10)",
    "boolean",
    "mood",
    "d_text",
];

/// Debezium has no value of these in rows, and ends at them in keys.
const NEVER_KEYS: [&str; 2] = ["bit(3)[]", "varbit(3)[]"];

/// The types of the cases.
pub(super) fn all() -> Vec<ColumnType> {
    let mut types: Vec<ColumnType> = Vec::new();
    for line in include_str!("../types/cases.txt").lines() {
        let Some((name, case)) = line.split_once(" | ").filter(|_| !line.starts_with('#')) else { continue };
        // A snapshot of Debezium's ends at an array with one that is no number.
        let is_unreadable = name.ends_with("numeric[]") && (case.contains("NaN") || case.contains("Infinity"));
        if NEVER_KEYS.contains(&name) || is_unreadable {
            continue;
        }
        let at = types.iter().position(|known| known.name == name).unwrap_or_else(|| {
            types.push(ColumnType { name, values: Vec::new(), defaults: Vec::new(), has_filler: false });
            types.len() - 1
        });
        match case.strip_prefix("default ") {
            Some(expression) => types[at].defaults.push(expression),
            None if case == "filler" => types[at].has_filler = true,
            None if case == "NULL" => {}
            None => types[at].values.push(case),
        }
    }
    types
}

impl ColumnType {
    pub(super) fn is_key(&self) -> bool {
        KEYS.contains(&self.name)
    }

    /// A value as SQL; `is_required` leaves out those that Debezium turns into null.
    pub(super) fn value(&self, dice: &mut Dice, is_required: bool) -> String {
        if !is_required && dice.one_in(6) {
            return "NULL".to_owned();
        }
        if !dice.one_in(3)
            && let Some(value) = by_chance(self.name, dice, is_required)
        {
            return value;
        }
        let fits = |value: &&&str| !is_required || !becomes_null(self.name, value);
        let values: Vec<_> = self.values.iter().filter(fits).collect();
        (**dice.pick(&values)).to_owned()
    }
}

/// Debezium writes null for it in some mode, and ends where null is none of the column's values.
fn becomes_null(name: &str, value: &str) -> bool {
    let is_number = name.contains("numeric") && (value.contains("NaN") || value.contains("Infinity"));
    let is_array = name.ends_with("[]") && (value.contains("NULL") || value.contains("{{"));
    is_number || is_array || name == "varbit(1)" && value == "''" || name == "vector" && value == "'[]'"
}

/// Pieces of texts: what JSON escapes, what Java counts as two, and what looks like something else.
const PIECES: [&str; 34] = [
    "a",
    "Zz",
    " ",
    "'",
    "\"",
    "\\",
    "/",
    "\n",
    "\t",
    "\r",
    "\u{8}",
    "\u{c}",
    "\u{b}",
    "\u{1}",
    "\u{1f}",
    "\u{7f}",
    "\u{80}",
    "\u{2028}",
    "\u{feff}",
    "\u{fffd}",
    "\u{ffff}",
    "ž",
    "ß",
    "日本",
    "😀",
    "\u{10ffff}",
    "e\u{301}",
    "null",
    "\\N",
    "{",
    "}",
    ",",
    "%",
    "__debezium_unavailable_value",
];

pub(super) fn text(dice: &mut Dice, pieces: usize) -> String {
    (0..dice.below(pieces + 1)).map(|_| *dice.pick(&PIECES)).collect()
}

/// Too long for a page and hard to compress, so that it is stored apart.
pub(super) fn long_text(dice: &mut Dice) -> String {
    (0..dice.between(180, 600)).map(|_| format!("{:016x}é", dice.number())).collect()
}

/// As an SQL literal.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn by_chance(name: &str, dice: &mut Dice, is_required: bool) -> Option<String> {
    if let Some(element) = name.strip_suffix("[]") {
        return array_by_chance(element, dice, is_required);
    }
    Some(match name {
        "smallint" => dice.between(-32_768, 32_767).to_string(),
        "integer" => dice.between(i32::MIN.into(), i32::MAX.into()).to_string(),
        "bigint" => quoted(&dice.between(i64::MIN, i64::MAX).to_string()),
        "oid" => dice.between(0, u32::MAX.into()).to_string(),
        "real" => quoted(&finite(f64::from(f32::from_bits(u32::try_from(dice.number() >> 32).unwrap())), dice)),
        "double precision" => quoted(&finite(f64::from_bits(dice.number()), dice)),
        "numeric(3,2)" => decimal(dice, 1, 2),
        "numeric(4)" => decimal(dice, 4, 0),
        "numeric(6,4)" => decimal(dice, 2, 4),
        "numeric(38,10)" => decimal(dice, 28, 10),
        "numeric" | "d_numeric_free" => decimal(dice, 30, 20),
        "d_numeric" | "d_nested" => decimal(dice, 4, 2),
        "money" | "d_money" => format!("{}::numeric", decimal(dice, 15, 2)),
        "text" | "varchar" | "citext" | "tsvector" if dice.one_in(6) => quoted(&long_text(dice)),
        "text" | "varchar" | "citext" | "bpchar" => quoted(&text(dice, 12)),
        "varchar(2)" => quoted(&text(dice, 1).chars().take(2).collect::<String>()),
        "char(4)" => quoted(&text(dice, 2).chars().take(4).collect::<String>()),
        "d_text" => quoted(&text(dice, 9).chars().take(20).collect::<String>()),
        "json" | "jsonb" | "d_json" => json(dice),
        "xml" => format!("xmlelement(name a, {})", quoted(&text(dice, 6).replace(|c: char| c.is_control(), ""))),
        "uuid" | "d_uuid" => format!("md5('{}')::uuid", dice.number()),
        "bytea" | "d_bytea" => bytes(dice),
        "bit(33)" => format!("({})::bigint::bit(33)", dice.between(0, i64::MAX)),
        "varbit" | "varbit(24)" | "varbit(64)" => {
            let length = dice.between(i64::from(is_required), 24);
            format!("B'{}'", (0..length).map(|_| if dice.one_in(2) { '1' } else { '0' }).collect::<String>())
        }
        "date" => format!("date '2000-01-01' + {}", days(dice)),
        "time" | "time(0)" | "time(3)" | "time(6)" | "d_time" => time(dice),
        "timetz" | "timetz(0)" | "timetz(3)" => format!("({})::timetz AT TIME ZONE 'UTC'", time(dice)),
        "interval" | "interval(3)" | "d_interval" => interval(dice),
        _ if name.starts_with("timestamptz") || name == "d_timestamptz" => {
            format!("'2000-01-01 UTC'::timestamptz + {}", interval(dice))
        }
        _ if name.starts_with("timestamp") || name == "d_timestamp" => {
            format!("timestamp '2000-01-01' + {}", interval(dice))
        }
        "inet" | "d_inet" => quoted(&format!("{}.{}.0.{}", dice.below(256), dice.below(256), dice.below(256))),
        "hstore" | "d_hstore" => {
            let pairs = (0..dice.below(20)).map(|_| {
                let value = if dice.one_in(5) { "NULL".to_owned() } else { quoted(&text(dice, 3)) };
                format!("hstore({}, {value})", quoted(&text(dice, 5)))
            });
            pairs.fold("''::hstore".to_owned(), |all, pair| format!("{all} || {pair}"))
        }
        "int4range" | "d_range" => format!("int4range({}, {}, '[]')", dice.between(-99, 0), dice.between(0, 99)),
        "point" => format!("point({}, {})", dice.between(-999, 999), dice.between(-999, 999)),
        _ => return None,
    })
}

fn array_by_chance(element: &str, dice: &mut Dice, is_required: bool) -> Option<String> {
    // Types whose output has no braces of its own, and that Debezium has elements of.
    const ELEMENTS: [&str; 13] = [
        "int",
        "smallint",
        "bigint",
        "real",
        "double precision",
        "text",
        "date",
        "numeric",
        "uuid",
        "bytea",
        "timestamp",
        "timestamptz",
        "time",
    ];
    let known = ELEMENTS.iter().find(|known| **known == element)?;
    let name = if *known == "int" { "integer" } else { known };
    let count = if dice.one_in(12) { 300 } else { dice.below(5) };
    let elements: Vec<String> = (0..count)
        .map(|_| match dice.one_in(5) && !is_required {
            true => "NULL".to_owned(),
            false => by_chance(name, dice, is_required).unwrap(),
        })
        .collect();
    Some(format!("ARRAY[{}]::{element}[]", elements.join(", ")))
}

fn finite(number: f64, dice: &mut Dice) -> String {
    let number = if number.is_finite() && number.abs() < 3e38 { number } else { 1.0 / 3.0 };
    let rounded = match dice.below(4) {
        0 => number,
        1 => number.rem_euclid(1e9),
        2 => number.rem_euclid(1e4).round() / 100.0,
        _ => number.rem_euclid(1e17).trunc(),
    };
    // What a real cannot hold is refused instead of becoming 0.
    if rounded.abs() < 1e-37 { "0".to_owned() } else { format!("{rounded:e}") }
}

fn decimal(dice: &mut Dice, digits_before: usize, digits_behind: usize) -> String {
    let digits = |dice: &mut Dice, count: usize| -> String {
        (0..count).map(|_| char::from(b'0' + u8::try_from(dice.below(10)).unwrap())).collect()
    };
    let (before, behind) = (dice.below(digits_before + 1), dice.below(digits_behind + 1));
    let sign = if dice.one_in(2) { "-" } else { "" };
    format!("'{sign}0{}.{}0'", digits(dice, before), digits(dice, behind))
}

fn json(dice: &mut Dice) -> String {
    let member = |dice: &mut Dice| match dice.below(5) {
        0 => "null".to_owned(),
        1 => format!("{}.50", dice.between(-99, 99)),
        2 => "[1,  2, {}]".to_owned(),
        3 if dice.one_in(4) => serde_json::Value::from(long_text(dice)).to_string(),
        _ => serde_json::Value::from(text(dice, 5)).to_string(),
    };
    let members: Vec<String> = (0..dice.below(4)).map(|at| format!("\"k{at}\" :{}", member(dice))).collect();
    quoted(&format!("{{{}}}", members.join(", ")))
}

fn bytes(dice: &mut Dice) -> String {
    let count = if dice.one_in(6) { 400 } else { dice.below(4) };
    let hex: String = (0..count).map(|_| format!("{:016x}", dice.number())).collect();
    format!("decode('{}', 'hex')", &hex[..hex.len().saturating_sub(2 * dice.below(8)) & !1])
}

fn days(dice: &mut Dice) -> i64 {
    if dice.one_in(4) { dice.between(-2_400_000, 900_000_000) } else { dice.between(-40_000, 40_000) }
}

fn time(dice: &mut Dice) -> String {
    let micros = dice.between(0, 86_399_999_999);
    let micros = if dice.one_in(3) { micros - micros % 1_000_000 } else { micros };
    format!("(time '00:00' + interval '{micros} microseconds')")
}

fn interval(dice: &mut Dice) -> String {
    let months = if dice.one_in(4) { dice.between(-80_000, 3_000_000) } else { dice.between(-900, 900) };
    let micros = dice.between(-90_000_000_000, 90_000_000_000);
    let micros = if dice.one_in(3) { micros - micros % 1_000_000 } else { micros };
    format!("interval '{months} months {} days {micros} microseconds'", dice.between(-60, 60))
}
