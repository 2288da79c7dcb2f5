//! `evp doctor`: every link of the chain checked, each finding with its remedy as a command to paste.
//!
//! The servers are looked at side by side ([`facts`](crate::facts)); what follows from it is decided without them ([`checks`]).

mod checks;
mod fix;

use std::collections::BTreeMap;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::facts::{self, Depth};
use crate::init::{self, InitPlan};
use crate::terminal::{self, Tone, cell, print};
use checks::{Check, Fix, Grade};

/// What is looked at and how it is told.
#[derive(Debug, Clone)]
pub struct DoctorOptions {
    /// What has to be there.
    pub plan: InitPlan,
    /// REST address of Kafka Connect, if it may have a connector on the slot.
    pub connect: Option<String>,
    /// Put right what is missing, and look again.
    pub fixes: bool,
    /// For programs.
    pub is_json: bool,
}

/// Checks everything and prints it; says whether there are no findings.
pub async fn run(options: &DoctorOptions, token: &CancellationToken) -> Result<bool> {
    let plan = &Box::pin(init::resolved_if_reachable(&options.plan)).await;
    let examine = async || {
        let facts = Box::pin(facts::look(plan, options.connect.as_deref(), Depth::Whole, token)).await;
        let checks = checks::all(&facts, plan);
        (facts, checks)
    };
    let (mut facts, mut checks) = examine().await;
    let fixes: std::collections::BTreeSet<Fix> = checks.iter().filter_map(|check| check.fix).collect();
    if options.fixes && !fixes.is_empty() {
        fix::apply(plan, &fixes).await?;
        (facts, checks) = examine().await;
    }
    let findings = checks.iter().filter(|check| check.is_finding()).count();
    if options.is_json {
        print(json!({ "clean": findings == 0, "findings": findings, "checks": checks, "facts": facts }));
    } else {
        print(text(&checks).trim_end());
    }
    Ok(findings == 0)
}

fn text(checks: &[Check]) -> String {
    let mut table = terminal::table(&["LINK", "CHECK", "STATE", "FOUND"]);
    for check in checks {
        let (word, tone) = match check.grade {
            Grade::Good => ("ok", Tone::Good),
            Grade::Note => ("note", Tone::Plain),
            Grade::Warning => ("warning", Tone::Warning),
            Grade::Problem => ("problem", Tone::Bad),
        };
        table.add_row([
            cell(check.link, Tone::Plain),
            cell(check.name, Tone::Plain),
            cell(word, tone),
            cell(&check.what, Tone::Plain),
        ]);
    }
    let mut text = terminal::lines(&table);
    let findings = checks.iter().filter(|check| check.is_finding()).count();
    if findings == 0 {
        text.push_str("\nno findings\n");
        return text;
    }
    text.push_str("\nto do:\n");
    // One command may be the remedy of several findings.
    let mut remedies: Vec<(&str, Vec<&str>)> = Vec::new();
    for check in checks.iter().filter(|check| check.is_finding()) {
        let remedy = check.remedy.as_deref().unwrap_or_default();
        match remedies.iter_mut().find(|(known, _)| *known == remedy) {
            Some((_, names)) => names.push(check.name),
            None => remedies.push((remedy, vec![check.name])),
        }
    }
    for (remedy, names) in remedies {
        let mut names = names;
        names.dedup();
        text.push_str(&format!("  {remedy}    # {}\n", names.join(", ")));
    }
    let counts: BTreeMap<Grade, usize> = checks.iter().fold(BTreeMap::new(), |mut counts, check| {
        let count: &mut usize = counts.entry(check.grade).or_default();
        *count = count.saturating_add(1);
        counts
    });
    let of = |grade| counts.get(&grade).copied().unwrap_or(0);
    text.push_str(&format!("\n{} problems, {} warnings", of(Grade::Problem), of(Grade::Warning)));
    let fixable = checks.iter().filter(|check| check.fix.is_some()).count();
    text.push_str(&if fixable > 0 { format!("; --fix puts {fixable} of them right\n") } else { "\n".to_owned() });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{DeadLetterFacts, Facts, Look};

    fn facts() -> Facts {
        Facts {
            postgres: Look::Seen(checks::tests_of::source()),
            kafka: Look::Seen(checks::tests_of::kafka()),
            dead_letters: Look::Seen(DeadLetterFacts::default()),
            mongo: Look::Seen(checks::tests_of::mongo()),
            connect: None,
            at_ms: 0,
        }
    }

    #[test]
    fn a_healthy_chain_has_no_findings_and_says_so() {
        let checks = checks::all(&facts(), &checks::tests_of::plan());
        let text = text(&checks);
        assert!(text.ends_with("no findings\n"), "{text}");
        assert!(checks.len() > 15, "{text}");
    }

    #[test]
    fn remedies_are_told_once_and_after_the_table() {
        let mut sick = facts();
        let Look::Seen(source) = &mut sick.postgres else { panic!("seen") };
        (source.slot, source.publication) = (None, None);
        sick.mongo = Look::Failed { error: "MongoDB does not answer".to_owned() };
        let text = text(&checks::all(&sick, &checks::tests_of::plan()));
        assert!(text.contains("  evp init    # publication, slot\n"), "{text}");
        assert!(text.contains("MongoDB does not answer") && text.contains("3 problems, 0 warnings"), "{text}");
    }
}
