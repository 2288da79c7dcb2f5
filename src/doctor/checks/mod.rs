//! From facts to findings: each check is a function without input or output, so that it is tested without servers.

mod connectors;
mod group;
mod read_models;
mod rights;
mod server;
mod slot;
mod tables;
mod topics;

use serde::Serialize;

use crate::facts::{Facts, Look};
use crate::init::InitPlan;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Grade {
    /// As it should be.
    Good,
    /// Worth knowing; no finding.
    Note,
    /// Something will go wrong.
    Warning,
    /// Something is wrong.
    Problem,
}

/// What `--fix` may do by itself, because it changes nothing that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fix {
    /// Make the topics that are missing.
    Topics,
    /// Make the collections and indexes that are missing.
    Collections,
    /// Let the dead-letter topic keep its records for ever.
    KeepDeadLetters,
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    pub(crate) link: &'static str,
    pub(crate) name: &'static str,
    pub(crate) grade: Grade,
    /// A sentence.
    pub(crate) what: String,
    /// A command to paste, or what to do.
    pub(crate) remedy: Option<String>,
    /// What `--fix` would do.
    pub(crate) fix: Option<Fix>,
}

impl Check {
    pub(crate) fn is_finding(&self) -> bool {
        self.grade >= Grade::Warning
    }
}

/// The checks of one link of the chain.
pub(super) struct Link {
    name: &'static str,
    checks: Vec<Check>,
}

impl Link {
    fn new(name: &'static str) -> Self {
        Self { name, checks: Vec::new() }
    }

    fn add(&mut self, name: &'static str, grade: Grade, what: impl Into<String>, remedy: Option<String>) {
        self.checks.push(Check { link: self.name, name, grade, what: what.into(), remedy, fix: None });
    }

    fn good(&mut self, name: &'static str, what: impl Into<String>) {
        self.add(name, Grade::Good, what, None);
    }

    fn note(&mut self, name: &'static str, what: impl Into<String>) {
        self.add(name, Grade::Note, what, None);
    }

    fn warning(&mut self, name: &'static str, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(name, Grade::Warning, what, Some(remedy.into()));
    }

    fn problem(&mut self, name: &'static str, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(name, Grade::Problem, what, Some(remedy.into()));
    }

    /// What the check that was added last can be put right by.
    fn fixed_by(&mut self, fix: Fix) {
        if let Some(last) = self.checks.last_mut() {
            last.fix = Some(fix);
        }
    }

    /// Says that all is well, unless something has been said under that name.
    fn otherwise_good(&mut self, name: &'static str, what: impl Into<String>) {
        if !self.checks.iter().any(|check| check.name == name) {
            self.good(name, what);
        }
    }
}

/// Clocks may differ so much.
const SKEW_MS_MAX: i64 = 1_000;

fn clock(link: &mut Link, skew_ms: i64) {
    #[allow(clippy::cast_precision_loss)]
    let seconds = skew_ms as f64 / 1_000.0;
    if skew_ms.abs() > SKEW_MS_MAX {
        let what =
            format!("its clock is {seconds:+.1} s off this machine's, so that latencies and retention are wrong");
        link.warning("clock", what, "let NTP set the clocks of both machines: timedatectl set-ntp true");
    } else {
        link.good("clock", format!("{seconds:+.1} s off this machine's"));
    }
}

/// All checks, in the order in which data flows.
pub(crate) fn all(facts: &Facts, plan: &InitPlan) -> Vec<Check> {
    let mut postgres = Link::new("postgres");
    match &facts.postgres {
        Look::Seen(seen) => {
            server::check(seen, &mut postgres);
            tables::check(seen, &mut postgres);
            slot::check(seen, plan, &mut postgres);
            clock(&mut postgres, seen.clock_skew_ms);
        }
        Look::Failed { error } => postgres.problem(
            "server",
            error,
            format!(
                "psql -h {} -p {} -U {} -d {} -c 'SELECT 1'",
                plan.postgres.host, plan.postgres.port, plan.postgres.user, plan.postgres.database
            ),
        ),
    }
    let mut connect = Link::new("connect");
    if let Some(look) = &facts.connect {
        connectors::check(look, facts.postgres.seen(), plan, &mut connect);
    }
    let mut kafka = Link::new("kafka");
    match &facts.kafka {
        Look::Seen(seen) => {
            topics::check(seen, facts.postgres.seen(), plan, &mut kafka);
            group::check(seen, &mut kafka);
            rights::check(seen, &mut kafka);
        }
        Look::Failed { error } => kafka.problem(
            "servers",
            error,
            format!("kafka-topics --bootstrap-server {} --list", plan.kafka.bootstrap_servers),
        ),
    }
    match &facts.dead_letters {
        Look::Seen(letters) => group::check_letters(letters, &mut kafka),
        Look::Failed { .. } if facts.kafka.error().is_some() => {}
        Look::Failed { error } => kafka.warning("dead letters", error, "evp dlq list"),
    }
    let mut mongo = Link::new("mongodb");
    match &facts.mongo {
        Look::Seen(seen) => {
            read_models::check(seen, &mut mongo);
            clock(&mut mongo, seen.clock_skew_ms);
        }
        Look::Failed { error } => mongo.problem("server", error, "mongosh \"$MONGODB_URI\" --eval 'db.hello()'"),
    }
    let checks = [postgres, connect, kafka, mongo].into_iter().flat_map(|link| link.checks);
    checks.map(|check| with_connector(check, plan)).collect()
}

/// The check with a remedy that can be pasted: evp sets up what the same connector file says.
fn with_connector(mut check: Check, plan: &InitPlan) -> Check {
    if let (Some(remedy), Some(file)) = (&mut check.remedy, &plan.connector_file) {
        for command in ["evp init", "evp capture"] {
            *remedy = remedy.replace(command, &format!("{command} --connector '{}'", file.display()));
        }
    }
    check
}

/// Facts with which nothing is wrong.
#[cfg(test)]
pub(super) mod tests_of {
    pub(in crate::doctor) use super::read_models::tests::healthy as mongo;
    pub(in crate::doctor) use super::server::tests::healthy as source;
    pub(in crate::doctor) use super::slot::tests::plan;
    pub(in crate::doctor) use super::topics::tests::healthy as kafka;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_are_told_with_the_direction() {
        let mut link = Link::new("x");
        clock(&mut link, -90_000);
        clock(&mut link, 900);
        assert_eq!((link.checks[0].grade, link.checks[1].grade), (Grade::Warning, Grade::Good));
        assert!(link.checks[0].what.contains("-90.0 s"), "{:?}", link.checks[0]);
    }

    #[test]
    fn remedies_name_the_connector_file_that_is_in_use() {
        let plan = InitPlan { connector_file: Some("c.json".into()), ..tests_of::plan() };
        let mut link = Link::new("x");
        link.problem("topic", "gone", "evp init --partitions N");
        let check = with_connector(link.checks.remove(0), &plan);
        assert_eq!(check.remedy.as_deref(), Some("evp init --connector 'c.json' --partitions N"));
    }
}
