//! What this user may do on the brokers.

use super::Link;
use crate::facts::{KafkaFacts, MissingRight};

pub(super) fn check(facts: &KafkaFacts, link: &mut Link) {
    let Some(missing) = &facts.missing_rights else { return };
    for right in missing {
        let MissingRight { operation, resource, name, .. } = right;
        let user = facts.user.as_deref().unwrap_or("this user");
        let what = format!("{user} may not {} {resource} {name}, as {} does", verb(operation), right.for_what);
        let user = facts.user.as_deref().unwrap_or("NAME");
        let besides = right.besides.map(|operation| format!(" --operation {operation}")).unwrap_or_default();
        let remedy = format!(
            "kafka-acls --bootstrap-server {} --add --allow-principal User:{user} --operation {operation}{besides} \
             --{resource} {name}",
            facts.servers
        );
        link.problem("rights", what, remedy);
    }
    link.otherwise_good("rights", "topics and group may be read and written as capture and process do");
}

fn verb(operation: &str) -> &'static str {
    match operation {
        "Write" => "write to",
        "Create" => "make",
        "Describe" => "see",
        _ => "read",
    }
}

#[cfg(test)]
mod tests {
    use super::super::topics::tests::healthy;
    use super::*;
    use crate::doctor::checks::Grade;

    #[test]
    fn a_missing_right_is_told_with_the_command_that_gives_it() {
        let missing = MissingRight {
            operation: "Write",
            besides: None,
            resource: "topic",
            name: "t.dlq".to_owned(),
            for_what: "process",
        };
        let facts = KafkaFacts { user: Some("evp".to_owned()), missing_rights: Some(vec![missing]), ..healthy() };
        let mut link = Link::new("kafka");
        check(&facts, &mut link);
        let [found] = link.checks.as_slice() else { panic!("one") };
        assert_eq!(
            (found.grade, found.what.as_str()),
            (Grade::Problem, "evp may not write to topic t.dlq, as process does")
        );
        let command = "kafka-acls --bootstrap-server localhost:9092 --add --allow-principal User:evp --operation Write --topic t.dlq";
        assert_eq!(found.remedy.as_deref(), Some(command));
    }

    #[test]
    fn rights_that_are_there_are_good_and_those_not_asked_for_are_not_told() {
        for (rights, count) in [(Some(Vec::new()), 1), (None, 0)] {
            let mut link = Link::new("kafka");
            check(&KafkaFacts { missing_rights: rights, ..healthy() }, &mut link);
            assert_eq!(link.checks.iter().filter(|check| check.grade == Grade::Good).count(), count);
        }
    }
}
