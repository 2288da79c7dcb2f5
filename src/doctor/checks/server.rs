//! PostgreSQL itself: version, settings, and what the role may do.

use super::Link;
use crate::facts::{PostgresFacts, ServerSettings};

/// A walsender is taken for dead too early below this.
const SENDER_TIMEOUT_MS_MIN: i64 = 5_000;

pub(super) fn check(facts: &PostgresFacts, link: &mut Link) {
    let server = &facts.server;
    let version = &server.version;
    if server.version_number < 140_000 {
        link.problem("server", format!("version {version}; evp needs 14 or later"), "upgrade PostgreSQL");
    } else if server.is_in_recovery {
        let what = "it is a standby, where the slot's position says nothing yet";
        link.problem("server", what, "set POSTGRES_HOST to the primary, or SELECT pg_promote();");
    } else {
        link.good("server", format!("version {version} at {}", facts.address));
    }
    if server.wal_level == "logical" {
        link.good("wal_level", "logical");
    } else {
        let what = format!("{}; rows cannot be read from the log", server.wal_level);
        link.problem("wal_level", what, "ALTER SYSTEM SET wal_level = 'logical'; then restart PostgreSQL");
    }
    capacity(facts, link);
    time_limits(server, link);
    role(facts, link);
}

fn capacity(facts: &PostgresFacts, link: &mut Link) {
    let server = &facts.server;
    let is_active = facts.slot.as_ref().is_some_and(|slot| slot.active_pid.is_some());
    let (used, max) = (server.used_wal_senders, server.max_wal_senders);
    if used >= max && !is_active {
        let what = format!("{used} of {max} are in use, so that capture gets none");
        link.problem(
            "max_wal_senders",
            what,
            format!("ALTER SYSTEM SET max_wal_senders = {}; then restart PostgreSQL", max.saturating_add(4)),
        );
    } else {
        link.good("max_wal_senders", format!("{used} of {max} in use"));
    }
    let (used, max) = (server.used_replication_slots, server.max_replication_slots);
    if used >= max && facts.slot.is_none() {
        let what = format!("{used} of {max} are in use, so that the slot cannot be made");
        let remedy =
            format!("ALTER SYSTEM SET max_replication_slots = {}; then restart PostgreSQL", max.saturating_add(4));
        link.problem("max_replication_slots", what, remedy);
    } else {
        link.good("max_replication_slots", format!("{used} of {max} in use"));
    }
    if server.synchronous_standby_names.trim() == "*" {
        let what = "synchronous_standby_names = '*' counts capture as a standby and makes commits wait for it";
        link.warning(
            "standbys",
            what,
            "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (name_of_standby)'; SELECT pg_reload_conf();",
        );
    }
}

fn time_limits(server: &ServerSettings, link: &mut Link) {
    match server.wal_sender_timeout_ms {
        0 => link.warning(
            "wal_sender_timeout",
            "0: a reader that is cut off keeps the slot for ever",
            "ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf();",
        ),
        short if short < SENDER_TIMEOUT_MS_MIN => link.warning(
            "wal_sender_timeout",
            format!("{short} ms: a short pause of the network ends the stream"),
            "ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf();",
        ),
        long => link.good("wal_sender_timeout", format!("{} s", long / 1_000)),
    }
    if let Some(idle) = server.idle_slot_timeout.filter(|idle| *idle > 0) {
        link.warning(
            "idle_replication_slot_timeout",
            format!("{idle}: the slot is lost if capture stands still for so long"),
            "ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf();",
        );
    }
}

fn role(facts: &PostgresFacts, link: &mut Link) {
    let server = &facts.server;
    let role = &server.role;
    if server.is_superuser {
        link.note(
            "role",
            format!("{role} is a superuser; evp_replication, which `evp init` makes, has the least that capture needs"),
        );
    } else if server.can_replicate {
        link.good("role", format!("{role} may replicate"));
    } else {
        let what = format!("{role} may not replicate");
        link.problem("role", what, format!("ALTER ROLE \"{role}\" REPLICATION;"));
    }
    match &facts.replication_login_error {
        Some(error) if server.is_superuser || server.can_replicate => {
            let remedy = format!(
                "add to pg_hba.conf: host {} {role} samehost scram-sha-256 (with the network of capture's machine instead of \
                 samehost), then SELECT pg_reload_conf();",
                facts.address.rsplit('/').next().unwrap_or_default()
            );
            link.problem("replication login", error, remedy);
        }
        Some(_) => {}
        None => link.good("replication login", "a replication connection is let in"),
    }
}

#[cfg(test)]
pub(in crate::doctor) mod tests {
    use super::*;
    use crate::doctor::checks::Grade;

    /// A server with which nothing is wrong.
    pub(in crate::doctor) fn healthy() -> PostgresFacts {
        let json = serde_json::json!({
            "version_number": 170_007, "version": "17.7", "wal_level": "logical", "is_in_recovery": false,
            "max_wal_senders": 10, "used_wal_senders": 1, "max_replication_slots": 10, "used_replication_slots": 1,
            "wal_keep_bytes": null, "wal_sender_timeout_ms": 60_000, "idle_slot_timeout": null,
            "synchronous_standby_names": "", "role": "evp_replication", "is_superuser": false, "can_replicate": true,
            "clock_ms": 0,
        });
        let slot = serde_json::json!({
            "plugin": "pgoutput", "database": "activity", "active_pid": 7, "application": "evp capture",
            "wal_status": "reserved", "safe_wal_bytes": null, "lag_bytes": 0, "retained_bytes": 56, "invalidation_reason": null,
        });
        let publication = serde_json::json!({ "is_ours": true, "inserts": true, "updates": true, "deletes": true });
        PostgresFacts {
            address: "localhost:5432/activity".to_owned(),
            server: serde_json::from_value(json).unwrap(),
            slot_name: "debezium_slot".to_owned(),
            slot: serde_json::from_value(slot).unwrap(),
            publication_name: "debezium_publication".to_owned(),
            publication: serde_json::from_value(publication).unwrap(),
            tables: vec![crate::facts::TableFacts {
                name: "activity.event_outbox".to_owned(),
                is_published: true,
                is_published_in_parts: false,
                unidentified: None,
                can_select: true,
                has_full_identity: true,
                toastable: Vec::new(),
                widest_row_bytes: Some(500),
            }],
            missing_tables: Vec::new(),
            clock_skew_ms: 0,
            wal_bytes_a_second: Some(1_000),
            replication_login_error: None,
        }
    }

    fn findings(change: impl Fn(&mut PostgresFacts)) -> Vec<&'static str> {
        let (mut facts, mut link) = (healthy(), Link::new("postgres"));
        change(&mut facts);
        check(&facts, &mut link);
        link.checks.iter().filter(|check| check.grade >= Grade::Warning).map(|check| check.name).collect()
    }

    #[test]
    fn each_fault_of_the_server_is_named_and_a_healthy_one_has_none() {
        assert!(findings(|_| {}).is_empty());
        assert_eq!(findings(|facts| facts.server.version_number = 130_000), ["server"]);
        assert_eq!(findings(|facts| facts.server.is_in_recovery = true), ["server"]);
        assert_eq!(findings(|facts| facts.server.wal_level = "replica".to_owned()), ["wal_level"]);
        assert_eq!(findings(|facts| (facts.server.used_wal_senders, facts.slot) = (10, None)), ["max_wal_senders"]);
        assert!(findings(|facts| facts.server.used_wal_senders = 10).is_empty(), "capture has one of them");
        assert_eq!(
            findings(|facts| (facts.server.used_replication_slots, facts.slot) = (10, None)),
            ["max_replication_slots"]
        );
        assert_eq!(findings(|facts| facts.server.wal_sender_timeout_ms = 0), ["wal_sender_timeout"]);
        assert_eq!(findings(|facts| facts.server.wal_sender_timeout_ms = 1_000), ["wal_sender_timeout"]);
        assert_eq!(findings(|facts| facts.server.idle_slot_timeout = Some(60)), ["idle_replication_slot_timeout"]);
        assert_eq!(findings(|facts| facts.server.synchronous_standby_names = "*".to_owned()), ["standbys"]);
        assert_eq!(findings(|facts| facts.server.can_replicate = false), ["role"]);
        assert_eq!(
            findings(|facts| facts.replication_login_error = Some("no entry".to_owned())),
            ["replication login"]
        );
    }
}
