//! The plain list that `evp init` prints.

use std::fmt::Display;
use std::io::Write;

use crate::error::{Error, ErrorKind, Result};

/// The outcome of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Made now, or would be in a dry run.
    Created,
    /// Was there and is kept.
    Exists,
    /// Worth knowing, nothing to do.
    Note,
    /// Needed, and not ours to do: the line says who has to do what.
    Left,
}

/// Prints each step as it is done and remembers what is left for others.
#[derive(Debug)]
pub struct Report {
    is_dry_run: bool,
    /// Nothing is printed.
    is_quiet: bool,
    left: Vec<String>,
}

impl Report {
    /// An empty report.
    pub fn new(is_dry_run: bool) -> Self {
        Self { is_dry_run, is_quiet: false, left: Vec::new() }
    }

    /// The same, and nothing is printed.
    pub(crate) fn quiet() -> Self {
        Self { is_quiet: true, ..Self::new(false) }
    }

    /// One line.
    pub fn step(&mut self, step: Step, what: impl Display) {
        let word = match step {
            Step::Created if self.is_dry_run => "would create",
            Step::Created => "created",
            Step::Exists => "exists",
            Step::Note => "note",
            Step::Left => {
                self.left.push(what.to_string());
                "left"
            }
        };
        if self.is_quiet {
            return;
        }
        let width = if self.is_dry_run { 12 } else { 7 };
        // A reader that went away is no reason to stop half-way.
        let _ = writeln!(std::io::stdout(), "{word:<width$}  {what}");
    }

    /// Fails if something that is needed is left for others to do.
    pub fn finish(self) -> Result<()> {
        if self.left.is_empty() {
            return Ok(());
        }
        let left = self.left.join("; ");
        Err(Error::new(ErrorKind::Denied, format!("the set-up is not complete: {left}; then run `evp init` again")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_for_a_dba_fails_the_set_up_at_its_end() {
        let mut report = Report::new(false);
        report.step(Step::Exists, "table a");
        report.step(Step::Left, "run `ALTER ROLE a REPLICATION`");
        let error = report.finish().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.message().contains("ALTER ROLE a REPLICATION"));
    }
}
