//! Debezium on Kafka Connect, where it reads the same slot.

use super::Link;
use crate::facts::{ConnectorFacts, Look, PostgresFacts};
use crate::init::InitPlan;

pub(super) fn check(
    look: &Look<Vec<ConnectorFacts>>,
    source: Option<&PostgresFacts>,
    plan: &InitPlan,
    link: &mut Link,
) {
    let connectors = match look {
        Look::Seen(connectors) => connectors,
        Look::Failed { error } => {
            link.warning("worker", error, "start Kafka Connect, or leave --connect out");
            return;
        }
    };
    link.good("worker", format!("{} connectors", connectors.len()));
    let is_same = |connector: &&ConnectorFacts| {
        let is_database = connector.database.as_ref().is_none_or(|database| *database == plan.postgres.database);
        connector.slot.as_ref() == Some(&plan.slot) && is_database
    };
    let is_ours = source
        .and_then(|source| source.slot.as_ref()?.application.as_deref())
        .is_some_and(|application| application.contains("evp"));
    for connector in connectors.iter().filter(is_same) {
        let ConnectorFacts { name, state, .. } = connector;
        let (slot, remedy) = (&plan.slot, "debezium/connector remove --yes");
        if state == "RUNNING" || state == "FAILED" {
            let loser = if is_ours {
                "which evp capture reads: the connector fails"
            } else {
                "so that evp capture waits for it"
            };
            link.warning("connector", format!("{name} is {state} on slot {slot}, {loser}"), remedy);
        } else {
            link.note(
                "connector",
                format!("{name} is {state} on slot {slot}; started, it takes the slot from evp capture"),
            );
        }
    }
    link.otherwise_good("connector", "none reads the slot");
}

#[cfg(test)]
mod tests {
    use super::super::server::tests::healthy;
    use super::super::slot::tests::plan;
    use super::*;
    use crate::doctor::checks::{Check, Grade};

    fn checks(connector: ConnectorFacts) -> Vec<Check> {
        let mut link = Link::new("connect");
        check(&Look::Seen(vec![connector]), Some(&healthy()), &plan(), &mut link);
        link.checks
    }

    #[test]
    fn a_connector_on_the_slot_is_told_and_one_on_another_is_none_of_ours() {
        let connector = |slot: &str, state: &str| ConnectorFacts {
            name: "outbox".to_owned(),
            state: state.to_owned(),
            class: "io.debezium.connector.postgresql.PostgresConnector".to_owned(),
            slot: Some(slot.to_owned()),
            database: None,
        };
        let grade = |slot: &str, state: &str| checks(connector(slot, state)).pop().unwrap().grade;
        let slot = plan().slot;
        assert_eq!(grade(&slot, "RUNNING"), Grade::Warning);
        assert_eq!(grade(&slot, "PAUSED"), Grade::Note);
        assert_eq!(grade("other", "RUNNING"), Grade::Good);
        let elsewhere = ConnectorFacts { database: Some("elsewhere".to_owned()), ..connector(&slot, "RUNNING") };
        assert_eq!(checks(elsewhere).pop().unwrap().grade, Grade::Good);
    }
}
