//! What comes out: tables for people, one JSON document for programs.

use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use crate::Result;
use crate::noise::{Noise, SPIN_CHANGE_PERCENT_MAX};
use crate::plot::Plot;
use crate::servers::Servers;

/// The result of one measurement.
pub(crate) struct Section {
    name: String,
    title: &'static str,
    load: Value,
    table: Table,
    runs: Value,
    /// What makes figures wrong or void; any of them fails the program.
    pub(crate) faults: Vec<String>,
    /// What a reader has to know before the figures.
    notes: Vec<String>,
    plots: Vec<Plot>,
    pub(crate) noise: Option<Noise>,
}

impl Section {
    pub(crate) fn new(
        name: impl Into<String>,
        title: &'static str,
        load: Value,
        table: Table,
        runs: &impl Serialize,
        faults: Vec<String>,
    ) -> Self {
        let runs = serde_json::to_value(runs).unwrap_or_default();
        Self { name: name.into(), title, load, table, runs, faults, notes: Vec::new(), plots: Vec::new(), noise: None }
    }

    pub(crate) fn with_plots(self, plots: Vec<Plot>) -> Self {
        Self { plots, ..self }
    }

    pub(crate) fn with_notes(self, notes: Vec<String>) -> Self {
        Self { notes, ..self }
    }

    /// Prints the table and draws the plots.
    pub(crate) fn show(&self, folder: &Path) -> Result<()> {
        println!("\n{}\n{}", self.title, self.table.text());
        if let Some(noise) = &self.noise {
            println!(
                "noise: steal {:.1} %, idle {:.0} %, fixed spin {:.0} ms before and {:.0} ms after",
                noise.steal_percent, noise.idle_percent, noise.spin_before_ms, noise.spin_after_ms
            );
            if noise.spin_change_percent() > SPIN_CHANGE_PERCENT_MAX {
                println!("warning: the machine itself changed by {:.0} % meanwhile", noise.spin_change_percent());
            }
        }
        for note in &self.notes {
            println!("note: {note}");
        }
        for fault in &self.faults {
            println!("FAULT: {fault}");
        }
        std::fs::create_dir_all(folder)?;
        self.plots.iter().try_for_each(|plot| plot.draw(folder))
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name, "load": self.load, "runs": self.runs, "faults": self.faults, "notes": self.notes,
            "noise": self.noise,
        })
    }
}

/// Writes the JSON report, and says where it is.
pub(crate) async fn write(folder: &Path, servers: &Servers, sections: &[Section]) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let name = match sections {
        [only] => &only.name,
        _ => "all",
    };
    let path = folder.join(format!("{name}.json"));
    let report = json!({
        "machine": machine(),
        "servers": versions(servers).await?,
        "evp": { "path": servers.evp, "bytes": std::fs::metadata(&servers.evp)?.len(), "version": env!("CARGO_PKG_VERSION") },
        "finished_at_unix_s": std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs(),
        "measurements": sections.iter().map(Section::json).collect::<Vec<_>>(),
    });
    std::fs::write(&path, serde_json::to_string_pretty(&report)?)?;
    println!("\nreport and plots: {}", path.display());
    Ok(())
}

fn machine() -> Value {
    let line = |path: &str, name: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let found = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
        found.map(|(_, value)| value.trim().to_owned())
    };
    json!({
        "cpu": line("/proc/cpuinfo", "model name"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": line("/proc/meminfo", "MemTotal"),
        "kernel": std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
    })
}

async fn versions(servers: &Servers) -> Result<Value> {
    let postgres: String = servers.admin().await?.query_one("SHOW server_version", &[]).await?.get(0);
    let client = servers.mongo().await?;
    let build = client.database("admin").run_command(mongodb::bson::doc! { "buildInfo": 1 }).await?;
    client.shutdown().await;
    Ok(json!({
        "postgresql": postgres,
        "mongodb": build.get_str("version")?,
        // A broker does not tell its release; these are the ones that compose starts.
        "kafka_of_compose": pinned("KAFKA_VERSION"),
        "debezium_of_compose": pinned("DEBEZIUM_VERSION"),
    }))
}

fn pinned(name: &str) -> Option<&'static str> {
    let versions = include_str!("../../compose/versions.env");
    versions.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

/// Columns of text; the first is flush left, the others flush right.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(|name| (*name).to_owned()).collect()] }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    fn text(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            cells.collect::<Vec<_>>().join("  ")
        };
        let mut lines: Vec<String> = self.rows.iter().map(line).collect();
        let rule = "-".repeat(widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1));
        lines.insert(1.min(lines.len()), rule);
        lines.join("\n")
    }
}

/// Lowest, median and highest.
pub(crate) fn median(figures: &[f64]) -> Option<(f64, f64, f64)> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    let lower = if sorted.len().is_multiple_of(2) { *sorted.get(middle.checked_sub(1)?)? } else { upper };
    Some((*sorted.first()?, f64::midpoint(lower, upper), *sorted.last()?))
}

/// Three digits that tell.
pub(crate) fn milliseconds(value: f64) -> String {
    match value {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// Events a second, in thousands.
pub(crate) fn thousands(value: f64) -> String {
    format!("{:.1} k", value / 1e3)
}

/// From KiB.
pub(crate) fn mebibytes(kib: f64) -> String {
    format!("{:.1}", kib / 1024.0)
}
