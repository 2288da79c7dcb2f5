//! Tables as the generator knows them, and the statements that make and change them.

use super::dice::Dice;
use super::types::ColumnType;

pub(super) const SCHEMA: &str = "random";

/// What a column may be called besides its number; Debezium does not take two that differ in case alone.
const NAMES: [&str; 12] = ["c", "Col ", "ü", "a.b", "x-y", "$", "select", "1st", "日本", "_", "C", "it's"];

#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) of: ColumnType,
    pub(super) is_required: bool,
    /// `DEFAULT …`, `GENERATED …` or nothing.
    extra: String,
    /// PostgreSQL makes its values.
    pub(super) is_generated: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// Columns of the primary key.
    pub(super) key: Vec<String>,
    is_partitioned: bool,
}

/// A statement, and the tables as they are behind it where it changes them.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) becomes: Option<Vec<Table>>,
    /// Rows for `COPY table FROM STDIN`, as a query that makes their text.
    pub(super) copied: Option<String>,
}

impl Statement {
    pub(super) fn plain(sql: String) -> Self {
        Self { sql, becomes: None, copied: None }
    }
}

/// What the seed's properties ask of tables.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits {
    /// Debezium has no nanoseconds of times far away, and ends at a NOT NULL column that has one, or at its filler.
    pub(super) are_timestamps_optional: bool,
    /// Debezium ends at a NOT NULL column of these whose TOASTed value is unchanged: short values only.
    pub(super) are_bytes_short: bool,
    /// A snapshot of Debezium's reads partitions and their root, whichever of them is published.
    pub(super) has_no_partitions: bool,
}

/// Makes and changes tables.
pub(super) struct Maker<'a> {
    pub(super) types: &'a [ColumnType],
    pub(super) limits: Limits,
    /// Numbers of tables and columns that were given.
    pub(super) given: usize,
}

pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Table {
    /// Its name with its schema's.
    pub(super) fn place(&self) -> String {
        format!("{SCHEMA}.{}", identifier(&self.name))
    }
}

impl Column {
    fn definition(&self) -> String {
        let null = if self.is_required { " NOT NULL" } else { "" };
        format!("{} {}{} {}", identifier(&self.name), self.of.name, null, self.extra)
    }
}

impl Maker<'_> {
    fn name(&mut self, dice: &mut Dice, of: &[&'static str]) -> String {
        self.given += 1;
        let base = if dice.one_in(2) { of[0] } else { dice.word(of) };
        format!("{base}{}", self.given)
    }

    pub(super) fn column(&mut self, dice: &mut Dice) -> Column {
        let of = dice.pick(self.types).clone();
        let is_timestamp = of.name.starts_with("timestamp") || of.name == "d_timestamp";
        let may_be_required = of.has_filler && !(is_timestamp && self.limits.are_timestamps_optional);
        let is_required = may_be_required && dice.one_in(3);
        let extra = match dice.below(4) {
            0 if !of.defaults.is_empty() => format!("DEFAULT {}", dice.pick(&of.defaults)),
            1 if dice.one_in(2) => format!("DEFAULT {}", of.value(dice, is_required)),
            _ => String::new(),
        };
        Column { name: self.name(dice, &NAMES), of, is_required, extra, is_generated: false }
    }

    fn key_column(&mut self, dice: &mut Dice) -> Column {
        let keys: Vec<&ColumnType> = self.types.iter().filter(|of| of.is_key()).collect();
        let of = (*dice.pick(&keys)).clone();
        let of = match of.name.starts_with("timestamp(") && self.limits.are_timestamps_optional {
            true => (*keys.iter().find(|of| of.name == "integer").unwrap()).clone(),
            false => of,
        };
        Column { name: self.name(dice, &NAMES), of, is_required: true, extra: String::new(), is_generated: false }
    }

    pub(super) fn new_table(&mut self, dice: &mut Dice, tables: &[Table]) -> Statement {
        let (sql, table) = self.table(dice);
        let becomes = tables.iter().cloned().chain([table]).collect();
        Statement { becomes: Some(becomes), ..Statement::plain(sql) }
    }

    /// `CREATE TABLE` with its indexes, partitions and replica identity.
    fn table(&mut self, dice: &mut Dice) -> (String, Table) {
        let name = self.name(dice, &["t", "Odd Name.", "tab-le", "ü", "UP"]);
        let key: Vec<Column> = (0..*dice.pick(&[0, 1, 1, 1, 2, 2, 3])).map(|_| self.key_column(dice)).collect();
        let mut columns = key.clone();
        columns.extend((0..1 + dice.below(9)).map(|_| self.column(dice)));
        dice.shuffle(&mut columns);
        if dice.one_in(5) {
            self.given += 1;
            let extra = match columns.iter().find(|column| column.of.name == "integer") {
                Some(number) if dice.one_in(2) => {
                    format!("GENERATED ALWAYS AS (coalesce({}, 1) % 7) STORED", identifier(&number.name))
                }
                _ => "GENERATED ALWAYS AS IDENTITY".to_owned(),
            };
            let of = self.types.iter().find(|of| of.name == "integer").unwrap().clone();
            let name = format!("made{}", self.given);
            columns.push(Column { name, of, is_required: false, extra, is_generated: true });
        }
        let key: Vec<String> = key.into_iter().map(|column| column.name).collect();
        let is_partitioned = !key.is_empty() && !self.limits.has_no_partitions && dice.one_in(6);
        let table = Table { name, columns, key, is_partitioned };
        let mut sql = table.definition();
        if dice.one_in(3) || table.key.is_empty() && dice.one_in(2) {
            sql += &self.unique_index(dice, &table);
        }
        if dice.one_in(2) {
            sql += &identity(dice, &table);
        }
        (sql, table)
    }

    /// Also over columns that may be null: Debezium makes keys of these as well.
    fn unique_index(&mut self, dice: &mut Dice, table: &Table) -> String {
        let fitting: Vec<&Column> = table.columns.iter().filter(|column| column.of.is_key()).collect();
        if fitting.is_empty() || table.is_partitioned {
            return String::new();
        }
        self.given += 1;
        let mut names: Vec<String> = (0..1 + dice.below(2)).map(|_| identifier(&dice.pick(&fitting).name)).collect();
        names.dedup();
        let included = match dice.one_in(4) {
            true => format!(" INCLUDE ({})", identifier(&dice.pick(&table.columns).name)),
            false => String::new(),
        };
        let filter = match dice.one_in(6) {
            true => format!(" WHERE {} IS NOT NULL", names[0]),
            false => String::new(),
        };
        let names = match dice.one_in(8) {
            true => format!("({}::text || 'x')", names[0]),
            false => names.join(", "),
        };
        let index = identifier(&format!("{}{}", dice.word(&["i", "Z", "a"]), self.given));
        format!("CREATE UNIQUE INDEX {index} ON {} ({names}){included}{filter};\n", table.place())
    }

    /// A change of one table, or a new one.
    pub(super) fn change(&mut self, dice: &mut Dice, tables: &[Table]) -> Statement {
        let at = dice.below(tables.len());
        let mut after = tables.to_vec();
        let place = after[at].place();
        let (column_at, choice) = (dice.below(after[at].columns.len()), dice.below(16));
        let column = after[at].columns[column_at].clone();
        let named = identifier(&column.name);
        let sql = match choice {
            0..=2 => {
                let column = self.column(dice);
                let sql = format!("ALTER TABLE {place} ADD COLUMN {}", column.definition());
                after[at].columns.push(column);
                sql
            }
            3 | 4 if after[at].columns.len() > 2 => {
                after[at].columns.remove(column_at);
                if after[at].key.contains(&column.name) {
                    after[at].key.clear();
                }
                format!("ALTER TABLE {place} DROP COLUMN {named} CASCADE")
            }
            5 | 6 => {
                let name = self.name(dice, &NAMES);
                for known in after[at].key.iter_mut().filter(|known| **known == column.name) {
                    known.clone_from(&name);
                }
                let sql = format!("ALTER TABLE {place} RENAME COLUMN {named} TO {}", identifier(&name));
                after[at].columns[column_at].name = name;
                sql
            }
            7 | 8 if !column.is_generated => {
                let target = match column.of.name {
                    "smallint" => dice.word(&["integer", "bigint", "text"]),
                    "integer" => dice.word(&["bigint", "text", "double precision", "numeric"]),
                    "varchar(2)" | "char(4)" | "citext" => "text",
                    "numeric(3,2)" | "numeric(4)" => dice.word(&["numeric(38,10)", "numeric", "double precision"]),
                    "timestamp(3)" => dice.word(&["timestamp", "timestamptz"]),
                    "json" => "jsonb",
                    "real" => "double precision",
                    "bit(2)" => "varbit",
                    _ => "text",
                };
                let Some(of) = self.types.iter().find(|of| of.name == target) else {
                    return Statement::plain("SELECT 1".to_owned());
                };
                after[at].columns[column_at].of = of.clone();
                format!(
                    "ALTER TABLE {place} ALTER COLUMN {named} DROP DEFAULT, ALTER COLUMN {named} TYPE {target} USING {named}::text::{target}"
                )
            }
            9 if !after[at].key.contains(&column.name) => {
                after[at].columns[column_at].is_required = false;
                format!("ALTER TABLE {place} ALTER COLUMN {named} DROP NOT NULL")
            }
            10 if column.of.has_filler && !self.limits.are_timestamps_optional => {
                after[at].columns[column_at].is_required = true;
                format!("ALTER TABLE {place} ALTER COLUMN {named} SET NOT NULL")
            }
            11 if !column.is_generated => {
                let value = column.of.value(dice, column.is_required);
                format!("ALTER TABLE {place} ALTER COLUMN {named} SET DEFAULT {value}")
            }
            12 | 13 => identity(dice, &after[at]),
            14 if tables.len() < 9 => return self.new_table(dice, tables),
            14 => self.unique_index(dice, &after[at]),
            _ => {
                let name = self.name(dice, &["t", "Re named", "r.n"]);
                let sql = format!("ALTER TABLE {place} RENAME TO {}", identifier(&name));
                after[at].name = name;
                sql
            }
        };
        Statement { sql, becomes: Some(after), copied: None }
    }
}

impl Table {
    fn definition(&self) -> String {
        let mut parts: Vec<String> = self.columns.iter().map(Column::definition).collect();
        let key: Vec<String> = self.key.iter().map(|name| identifier(name)).collect();
        if !key.is_empty() {
            parts.push(format!("PRIMARY KEY ({})", key.join(", ")));
        }
        let place = self.place();
        let partitions = if self.is_partitioned { format!(" PARTITION BY HASH ({})", key[0]) } else { String::new() };
        let mut sql = format!("CREATE TABLE {place} ({}){partitions};\n", parts.join(", "));
        for remainder in 0..if self.is_partitioned { 2 } else { 0 } {
            let part = identifier(&format!("{} part {remainder}", self.name));
            sql += &format!(
                "CREATE TABLE {SCHEMA}.{part} PARTITION OF {place} FOR VALUES WITH (MODULUS 2, REMAINDER {remainder});\n"
            );
        }
        sql
    }
}

/// `ALTER TABLE … REPLICA IDENTITY …`; for an index, one over its first columns that may be one.
fn identity(dice: &mut Dice, table: &Table) -> String {
    let place = table.place();
    let fitting = |column: &&Column| column.is_required && column.of.is_key();
    let identity = match dice.below(6) {
        0 => "DEFAULT".to_owned(),
        1 if table.columns.iter().any(|column| fitting(&column)) && !table.is_partitioned => {
            let names: Vec<String> =
                table.columns.iter().filter(fitting).take(2).map(|column| identifier(&column.name)).collect();
            let index = identifier(&format!("identity {}", dice.number() % 1_000_000));
            let create = format!("CREATE UNIQUE INDEX {index} ON {place} ({})", names.join(", "));
            return format!("{create}; ALTER TABLE {place} REPLICA IDENTITY USING INDEX {index};\n");
        }
        2 => "NOTHING".to_owned(),
        _ => "FULL".to_owned(),
    };
    format!("ALTER TABLE {place} REPLICA IDENTITY {identity};\n")
}
