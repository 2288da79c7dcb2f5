//! The slot: whose it is, whether somebody reads it, and how long it will last.

use super::Link;
use crate::facts::{PostgresFacts, SlotFacts};
use crate::init::InitPlan;
use crate::terminal::bytes;

/// A slot that is lost within so many hours is a matter for today.
const HOURS_MIN: i64 = 24;
/// Log that is kept for a slot before it is worth a word, where there is no limit.
const RETAINED_BYTES_MAX: i64 = 8 * 1024 * 1024 * 1024;

pub(super) fn check(facts: &PostgresFacts, plan: &InitPlan, link: &mut Link) {
    let name = &facts.slot_name;
    let Some(slot) = &facts.slot else {
        let what = format!(
            "{name} does not exist; if it was there before, capture refuses to go on until told with --accept-gap"
        );
        link.problem("slot", what, "evp init");
        return;
    };
    let plugin = slot.plugin.as_deref().unwrap_or("none");
    let database = slot.database.as_deref().unwrap_or("none");
    if plugin != "pgoutput" {
        link.problem(
            "slot",
            format!("{name} has the plugin {plugin}, not pgoutput"),
            "set another slot.name, then evp init",
        );
        return;
    }
    if database != plan.postgres.database {
        let what = format!("{name} belongs to database {database}, not {}", plan.postgres.database);
        link.problem("slot", what, "set POSTGRES_DB or another slot.name, then evp init");
        return;
    }
    if slot.wal_status.as_deref() == Some("lost") || slot.invalidation_reason.is_some() {
        let reason = slot.invalidation_reason.as_deref().unwrap_or("its log was removed");
        let what = format!("{name} is lost ({reason}); what was committed since its last position is not on the topic");
        let remedy = format!(
            "SELECT pg_drop_replication_slot('{name}'); then evp init, then evp capture --accept-gap, and send the rows again with the \
             statement that it prints"
        );
        link.problem("slot", what, remedy);
        return;
    }
    match (slot.active_pid, &slot.application) {
        (Some(pid), application) => {
            link.good(
                "slot",
                format!("{name} is read by {}, process {pid}", application.as_deref().unwrap_or("somebody")),
            );
        }
        (None, _) => link.warning("slot", format!("nobody reads {name}, so that its log piles up"), "evp capture"),
    }
    room(slot, facts, link);
}

fn room(slot: &SlotFacts, facts: &PostgresFacts, link: &mut Link) {
    let size = |count: i64| bytes(count.max(0).unsigned_abs());
    let (lag, retained) = (slot.lag_bytes.unwrap_or(0), slot.retained_bytes.unwrap_or(0));
    let state = format!("{} not confirmed, {} kept on the disk", size(lag), size(retained));
    if let Some(safe) = slot.safe_wal_bytes {
        let hours = facts.wal_bytes_a_second.filter(|rate| *rate > 0).map(|rate| safe / rate / 3_600);
        let left = hours.map_or_else(String::new, |hours| format!(", in about {hours} hours at the present rate"));
        let is_urgent = hours.is_some_and(|hours| hours < HOURS_MIN) && slot.active_pid.is_none();
        let what = format!("{state}; lost after {} more{left}", size(safe));
        if slot.wal_status.as_deref() == Some("unreserved") || safe <= 0 {
            link.problem("wal", what, "start evp capture now; ALTER SYSTEM SET max_slot_wal_keep_size = -1; SELECT pg_reload_conf(); keeps the log");
        } else if is_urgent {
            link.warning("wal", what, "evp capture, or raise max_slot_wal_keep_size");
        } else {
            link.good("wal", what);
        }
    } else if retained > RETAINED_BYTES_MAX {
        let what = format!("{state}, and nothing limits it (max_slot_wal_keep_size = -1)");
        link.warning("wal", what, "see why capture does not confirm: evp status, and its /readyz");
    } else {
        link.note("wal", format!("{state}; no limit (max_slot_wal_keep_size = -1): watch the disk"));
    }
}

#[cfg(test)]
pub(in crate::doctor) mod tests {
    use super::super::server::tests::healthy;
    use super::*;
    use crate::config::Variables;
    use crate::doctor::checks::Grade;

    pub(in crate::doctor) fn plan() -> InitPlan {
        InitPlan::load(&mut Variables::of(&[]), None, &[], &[]).unwrap()
    }

    fn findings(change: impl Fn(&mut PostgresFacts)) -> Vec<(Grade, String)> {
        let (mut facts, mut link) = (healthy(), Link::new("postgres"));
        change(&mut facts);
        check(&facts, &plan(), &mut link);
        let findings = link.checks.into_iter().filter(|check| check.grade >= Grade::Warning);
        findings.map(|check| (check.grade, check.what)).collect()
    }

    fn slot(change: impl Fn(&mut SlotFacts)) -> Vec<(Grade, String)> {
        findings(|facts| change(facts.slot.as_mut().unwrap()))
    }

    #[test]
    fn each_fault_of_the_slot_is_named_and_a_healthy_one_has_none() {
        assert!(findings(|_| {}).is_empty());
        let is = |found: Vec<(Grade, String)>, grade: Grade, part: &str| {
            assert!(found.len() == 1 && found[0].0 == grade && found[0].1.contains(part), "{part}: {found:?}");
        };
        is(findings(|facts| facts.slot = None), Grade::Problem, "does not exist");
        is(slot(|slot| slot.plugin = Some("wal2json".to_owned())), Grade::Problem, "wal2json");
        is(slot(|slot| slot.database = Some("other".to_owned())), Grade::Problem, "database other");
        is(slot(|slot| slot.wal_status = Some("lost".to_owned())), Grade::Problem, "lost");
        is(slot(|slot| slot.active_pid = None), Grade::Warning, "nobody reads");
        is(slot(|slot| slot.retained_bytes = Some(i64::MAX)), Grade::Warning, "nothing limits it");
        is(
            slot(|slot| (slot.wal_status, slot.safe_wal_bytes) = (Some("unreserved".to_owned()), Some(-1))),
            Grade::Problem,
            "lost after 0 B",
        );
    }

    #[test]
    fn the_hours_until_an_unread_slot_is_lost_are_told() {
        let found = findings(|facts| {
            facts.wal_bytes_a_second = Some(1_000_000);
            let slot = facts.slot.as_mut().unwrap();
            (slot.active_pid, slot.safe_wal_bytes) = (None, Some(2 * 3_600 * 1_000_000));
        });
        assert!(found.len() == 2 && found[1].1.contains("in about 2 hours"), "{found:?}");
    }
}
