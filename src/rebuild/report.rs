//! What a rebuild says at its end. No values of documents are in it.

use std::time::Duration;

use serde_json::{Value, json};

use super::compare::Differences;
use crate::terminal;

/// Documents that are named.
const EXAMPLES_MAX: usize = 5;

/// What was done.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) collection: String,
    pub(super) records: u64,
    pub(super) effects: u64,
    /// Effects that processing has applied and the rebuild has not.
    pub(super) lost: u64,
    pub(super) examples: Vec<String>,
    pub(super) differences: Differences,
    /// The copy of the old collection, if it was replaced.
    pub(super) kept: Option<String>,
    /// How long members stood still for that.
    pub(super) paused: Option<Duration>,
    pub(super) elapsed: Duration,
}

impl Report {
    pub(super) fn print_json(&self) {
        let found = &self.differences;
        let changed: Vec<Value> =
            found.changed.iter().take(EXAMPLES_MAX).map(|(id, paths)| json!({ "id": id, "fields": paths })).collect();
        terminal::print(json!({
            "collection": self.collection, "records": self.records, "effects": self.effects, "left_out": self.lost,
            "left_out_examples": self.examples,
            "compared": found.compared, "changed": found.changed.len(), "removed": found.missing(), "added": found.added.len(),
            "beyond": found.beyond, "changed_examples": changed,
            "removed_examples": found.removed.iter().take(EXAMPLES_MAX).collect::<Vec<_>>(),
            "added_examples": found.added.iter().take(EXAMPLES_MAX).collect::<Vec<_>>(),
            "replaced": self.paused.is_some(), "kept": self.kept,
            "paused_seconds": self.paused.map(|paused| paused.as_secs_f64()), "seconds": self.elapsed.as_secs_f64(),
        }));
    }

    pub(super) fn print_text(&self) {
        let found = &self.differences;
        terminal::print(format_args!(
            "{} records, {} effects on `{}` in {:.1} s; {} documents compared",
            self.records,
            self.effects,
            self.collection,
            self.elapsed.as_secs_f64(),
            found.compared
        ));
        let more = if found.beyond > 0 { format!(", {} more at first", found.beyond) } else { String::new() };
        terminal::print(format_args!(
            "{} differ, {} only in the old, {} only in the new one{more}",
            found.changed.len(),
            found.missing(),
            found.added.len()
        ));
        for (id, paths) in found.changed.iter().take(EXAMPLES_MAX) {
            terminal::print(format_args!("  {id}: {}", paths.join(", ")));
        }
        for (ids, what) in [(&found.removed, "only in the old one"), (&found.added, "only in the new one")] {
            ids.iter().take(EXAMPLES_MAX).for_each(|id| terminal::print(format_args!("  {id}: {what}")));
        }
        if self.lost > 0 {
            terminal::print(format_args!("{} effects were left out: {}", self.lost, self.examples.join("; ")));
        }
        match (&self.paused, &self.kept) {
            (Some(paused), Some(kept)) => terminal::print(format_args!(
                "replaced; processing stood still for {:.1} s. The old one is kept as `{kept}` until `evp rebuild {} --drop-old`",
                paused.as_secs_f64(),
                self.collection
            )),
            _ => terminal::print("nothing was replaced"),
        }
    }
}

/// What was dropped.
pub(super) fn print_dropped(names: &[String], is_json: bool) {
    if is_json {
        terminal::print(json!({ "dropped": names }));
    } else if names.is_empty() {
        terminal::print("there was nothing to drop");
    } else {
        terminal::print(format_args!("dropped {}", names.join(", ")));
    }
}
