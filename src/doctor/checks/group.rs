//! The consumer group, and what it gave up.

use super::Link;
use crate::facts::{DeadLetterFacts, KafkaFacts};
use crate::terminal::counted;

/// Records that a busy group may be behind for a moment.
const LAG_MAX: i64 = 100_000;

pub(super) fn check(facts: &KafkaFacts, link: &mut Link) {
    let name = &facts.group_name;
    let reset = |to: &str| {
        let (servers, topic) = (&facts.servers, &facts.topic);
        format!(
            "kafka-consumer-groups --bootstrap-server {servers} --group {name} --topic {topic} --reset-offsets {to} --execute"
        )
    };
    for (partition, (low, high)) in &facts.bounds {
        let Some(committed) = facts.committed.get(partition) else { continue };
        if committed < low {
            let what = format!(
                "records {committed} to {low} of partition {partition} were deleted before {name} applied them, and process refuses to go on"
            );
            let remedy =
                format!("evp verify shows what is missing; repair it from the source, then {}", reset("--to-earliest"));
            link.problem("offsets", what, remedy);
        } else if committed > high {
            let what = format!(
                "{name} has applied partition {partition} up to {committed}, and it ends at {high}: the topic was made anew"
            );
            link.problem("offsets", what, format!("{}; then evp process --accept-new-topic", reset("--to-earliest")));
        }
    }
    link.otherwise_good("offsets", format!("{name} is within the topic"));
    let lag: i64 = facts.lags().map(|(_, lag)| lag).sum();
    let partitions = facts.bounds.len();
    match &facts.group {
        Some(group) if !group.members.is_empty() => {
            let members = group.members.len();
            if lag > LAG_MAX {
                let what = format!("{}, {} behind", counted(members, "member"), counted(lag, "record"));
                link.warning("group", what, "evp status --watch; start more processes, up to one a partition");
            } else {
                link.good("group", format!("{}, {} behind", counted(members, "member"), counted(lag, "record")));
            }
            if members > partitions {
                link.note(
                    "group",
                    format!("{members} members share {}, so that some are idle", counted(partitions, "partition")),
                );
            }
        }
        // Of a group of the newer protocol nothing is told in the older words.
        group if group.as_ref().is_some_and(|group| group.is_empty()) || facts.committed.is_empty() => {
            link.warning(
                "group",
                format!("{name} has no members, and is {} behind", counted(lag, "record")),
                "evp process",
            );
        }
        _ => link.note("group", format!("{} behind; the brokers do not tell its members", counted(lag, "record"))),
    }
}

pub(super) fn check_letters(letters: &DeadLetterFacts, link: &mut Link) {
    let DeadLetterFacts { waiting, settled, .. } = letters;
    if *waiting > 0 {
        link.warning("dead letters", format!("{waiting} wait for somebody"), "evp dlq list");
    } else {
        link.good("dead letters", format!("none wait, {settled} are settled"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::topics::tests::healthy;
    use super::*;
    use crate::doctor::checks::Grade;

    fn findings(change: impl Fn(&mut KafkaFacts)) -> Vec<(Grade, String)> {
        let (mut facts, mut link) = (healthy(), Link::new("kafka"));
        change(&mut facts);
        check(&facts, &mut link);
        let findings = link.checks.into_iter().filter(|check| check.grade >= Grade::Warning);
        findings.map(|check| (check.grade, check.what)).collect()
    }

    #[test]
    fn each_fault_of_the_group_is_named_and_a_healthy_one_has_none() {
        assert!(findings(|_| {}).is_empty());
        let is = |found: Vec<(Grade, String)>, grade: Grade, part: &str| {
            assert!(found.len() == 1 && found[0].0 == grade && found[0].1.contains(part), "{part}: {found:?}");
        };
        let bounds = |bounds| {
            move |facts: &mut KafkaFacts| {
                facts.bounds.insert(0, bounds);
            }
        };
        is(findings(bounds((11, 15))), Grade::Problem, "records 10 to 11 of partition 0 were deleted");
        is(findings(bounds((0, 5))), Grade::Problem, "made anew");
        is(findings(bounds((0, 200_000))), Grade::Warning, "199990 records behind");
        let empty = |facts: &mut KafkaFacts| {
            let group = facts.group.as_mut().unwrap();
            (group.state, group.members) = ("Empty".to_owned(), Vec::new());
        };
        is(findings(empty), Grade::Warning, "no members");
        let unknown = |facts: &mut KafkaFacts| facts.group.as_mut().unwrap().members.clear();
        assert!(findings(unknown).is_empty(), "a group of the newer protocol is not told of");
    }

    #[test]
    fn letters_that_wait_are_a_finding() {
        let mut link = Link::new("kafka");
        check_letters(&DeadLetterFacts { settled: 3, ..DeadLetterFacts::default() }, &mut link);
        check_letters(&DeadLetterFacts { waiting: 2, settled: 3, ..DeadLetterFacts::default() }, &mut link);
        assert_eq!((link.checks[0].grade, link.checks[1].grade), (Grade::Good, Grade::Warning));
    }
}
