//! Changes of rows, one statement each.

use super::dice::Dice;
use super::tables::{Column, Limits, SCHEMA, Statement, Table, identifier};
use super::types::{quoted, text};

/// An insert, an update, a delete or what else a transaction is made of.
pub(super) fn statement(dice: &mut Dice, tables: &[Table], limits: Limits, has_messages: bool) -> Statement {
    let table = dice.pick(tables);
    match dice.below(40) {
        0 => Statement::plain(format!("TRUNCATE {}", table.place())),
        1 | 2 if has_messages => message(dice),
        3 | 4 => copy(dice, table, limits),
        5..=18 => Statement::plain(insert(dice, table, limits)),
        19..=24 => Statement::plain(update(dice, table, limits)),
        25..=27 => Statement::plain(key_change(dice, table, limits)),
        28..=30 => Statement::plain(without_change(dice, table)),
        31..=33 => Statement::plain(many(dice, table, limits)),
        _ => Statement::plain(format!("DELETE FROM {} WHERE {}", table.place(), row(dice, table))),
    }
}

/// One row, by its place.
fn row(dice: &mut Dice, table: &Table) -> String {
    format!("(tableoid, ctid) = (SELECT tableoid, ctid FROM {} OFFSET {} LIMIT 1)", table.place(), dice.below(6))
}

fn rows(dice: &mut Dice, table: &Table) -> String {
    let (first, count) = (dice.below(4), dice.below(6));
    format!("(tableoid, ctid) IN (SELECT tableoid, ctid FROM {} OFFSET {first} LIMIT {count})", table.place())
}

fn value(dice: &mut Dice, column: &Column, limits: Limits) -> String {
    // What is stored apart may be left out of the log later, and Debezium has no placeholder of these.
    let is_short = column.is_required
        && (column.of.name.contains("numeric") || column.of.name.ends_with("[]") || limits.are_bytes_short);
    loop {
        let value = column.of.value(dice, column.is_required);
        if !(is_short && value.len() > 1_000) {
            return value;
        }
    }
}

fn own(table: &Table) -> Vec<&Column> {
    table.columns.iter().filter(|column| !column.is_generated).collect()
}

fn insert(dice: &mut Dice, table: &Table, limits: Limits) -> String {
    // Columns that are left out take their default.
    let columns: Vec<&Column> = own(table).into_iter().filter(|column| column.is_required || !dice.one_in(6)).collect();
    if columns.is_empty() {
        return format!("INSERT INTO {} DEFAULT VALUES", table.place());
    }
    let names: Vec<String> = columns.iter().map(|column| identifier(&column.name)).collect();
    let count = if dice.one_in(5) { 1 + dice.below(5) } else { 1 };
    let rows: Vec<String> = (0..count)
        .map(|_| {
            let values: Vec<String> = columns.iter().map(|column| value(dice, column, limits)).collect();
            format!("({})", values.join(", "))
        })
        .collect();
    format!("INSERT INTO {} ({}) VALUES {}", table.place(), names.join(", "), rows.join(", "))
}

fn assignments(dice: &mut Dice, columns: &[&Column], limits: Limits) -> String {
    let set = columns.iter().map(|column| format!("{} = {}", identifier(&column.name), value(dice, column, limits)));
    set.collect::<Vec<_>>().join(", ")
}

fn update(dice: &mut Dice, table: &Table, limits: Limits) -> String {
    let others: Vec<&Column> = own(table).into_iter().filter(|column| !table.key.contains(&column.name)).collect();
    if others.is_empty() {
        return without_change(dice, table);
    }
    let mut chosen = dice.some(&others, 3);
    if chosen.is_empty() {
        chosen.push(*dice.pick(&others));
    }
    let set = assignments(dice, &chosen, limits);
    format!("UPDATE {} SET {set} WHERE {}", table.place(), row(dice, table))
}

fn key_change(dice: &mut Dice, table: &Table, limits: Limits) -> String {
    let keys: Vec<&Column> = own(table).into_iter().filter(|column| column.of.is_key()).collect();
    if keys.is_empty() {
        return without_change(dice, table);
    }
    let key = *dice.pick(&keys);
    let set = assignments(dice, &[key], limits);
    format!("UPDATE {} SET {set} WHERE {}", table.place(), row(dice, table))
}

fn without_change(dice: &mut Dice, table: &Table) -> String {
    let own = own(table);
    if own.is_empty() {
        return "SELECT 1".to_owned();
    }
    let name = identifier(&dice.pick(&own).name);
    format!("UPDATE {} SET {name} = {name} WHERE {}", table.place(), rows(dice, table))
}

fn many(dice: &mut Dice, table: &Table, limits: Limits) -> String {
    let own = own(table);
    if dice.one_in(4) || own.is_empty() {
        return format!("DELETE FROM {} WHERE {}", table.place(), rows(dice, table));
    }
    let column = *dice.pick(&own);
    let set = assignments(dice, &[column], limits);
    format!("UPDATE {} SET {set} WHERE {}", table.place(), rows(dice, table))
}

fn message(dice: &mut Dice) -> Statement {
    let (is_transactional, prefix) = (dice.one_in(2), dice.word(&["app", "other", "ü"]));
    let content = match dice.one_in(2) {
        true => quoted(&text(dice, 8)),
        false => format!("decode('{:x}00', 'hex')", dice.number() | 1 << 63),
    };
    Statement::plain(format!("SELECT pg_logical_emit_message({is_transactional}, {}, {content})", quoted(prefix)))
}

/// Rows of one `COPY` share a place in the log.
fn copy(dice: &mut Dice, table: &Table, limits: Limits) -> Statement {
    let own = own(table);
    let names: Vec<String> = own.iter().map(|column| identifier(&column.name)).collect();
    let rows: Vec<String> = (0..1 + dice.below(6))
        .map(|_| {
            let values: Vec<String> =
                own.iter().map(|column| format!("({})::{}", value(dice, column, limits), column.of.name)).collect();
            format!("SELECT {}", values.join(", "))
        })
        .collect();
    let sql = format!("COPY {} ({}) FROM STDIN", table.place(), names.join(", "));
    Statement { sql, becomes: None, copied: Some(format!("COPY ({}) TO STDOUT", rows.join(" UNION ALL "))) }
}

/// A row that both have to arrive at.
pub(super) fn marker(number: usize) -> String {
    format!("INSERT INTO {SCHEMA}_marker.marker VALUES ({number})")
}
