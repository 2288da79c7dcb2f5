//! What people see: tables, colours where a terminal has them, and numbers with units.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};

/// How a word is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Worth a look.
    Warning,
    /// Wrong.
    Bad,
    /// Neither.
    Plain,
}

/// Whether stdout is a terminal whose user wants colours (`NO_COLOR` says no).
pub fn has_colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A table without lines, its columns as wide as the terminal allows.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    let heading = |name: &&str| {
        let cell = Cell::new(name);
        if has_colours() { cell.add_attribute(Attribute::Bold) } else { cell }
    };
    table.set_header(header.iter().map(heading));
    table
}

/// A cell in its colour.
pub fn cell(text: impl Display, tone: Tone) -> Cell {
    let cell = Cell::new(text);
    match tone {
        Tone::Plain => cell,
        _ if !has_colours() => cell,
        Tone::Good => cell.fg(Color::Green),
        Tone::Warning => cell.fg(Color::Yellow),
        Tone::Bad => cell.fg(Color::Red),
    }
}

/// Prints to stdout; a reader that went away has no use for the rest.
pub fn print(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A table as lines without spaces at their ends.
pub fn lines(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// `1 member`, `2 members`.
pub fn counted<N: Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    let ending = if count == N::from(1) { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// Bytes with a unit, as `1.5 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    #[allow(clippy::cast_precision_loss)]
    let mut value = count as f64;
    let mut unit = UNITS[0];
    for next in UNITS.iter().skip(1) {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") }
}

/// A time span in its largest unit, as `3m`.
pub fn span(milliseconds: i64) -> String {
    let seconds = milliseconds.max(0) / 1_000;
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// An instant, given in milliseconds since 1970.
pub fn instant(milliseconds: i64) -> String {
    jiff::Timestamp::from_millisecond(milliseconds).map_or_else(|_| String::new(), |instant| instant.to_string())
}

/// Now, in milliseconds since 1970.
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_the_unit_that_reads_best() {
        assert_eq!([0, 1023, 1536, 5 << 30].map(bytes), ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
        assert_eq!([-5, 90_000, 600_000, 90_000_000, 900_000_000].map(span), ["0s", "90s", "10m", "25h", "10d"]);
    }

    #[test]
    fn a_table_in_a_pipe_has_neither_colours_nor_spaces_at_the_ends() {
        let mut table = table(&["NAME", "STATE"]);
        table.add_row([cell("a", Tone::Bad), cell("ok", Tone::Good)]);
        let text = lines(&table);
        assert!(!text.contains('\u{1b}') && text.lines().all(|line| line == line.trim_end()), "{text:?}");
    }
}
