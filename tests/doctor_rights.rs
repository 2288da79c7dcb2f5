//! `evp doctor` on a broker that gives rights one by one.

use serde_json::Value;

use crate::support::envelopes::Topics;
use crate::support::{World, as_user, authorizing_broker, records};

const RIGHTS: &str = "rights";

/// What `evp doctor` says of rights: the finding and the command.
fn rights(world: &World, sasl: &str) -> Vec<(String, String)> {
    let mut command = world.command(&["doctor", "--json"]);
    as_user(&mut command, sasl);
    let output = command.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let checks = report["checks"].as_array().unwrap().iter().filter(|check| check["name"] == RIGHTS);
    let text = |check: &Value, part: &str| check[part].as_str().unwrap_or_default().to_owned();
    let found: Vec<_> =
        checks.map(|check| (text(check, "grade"), text(check, "what"), text(check, "remedy"))).collect();
    assert!(!found.is_empty(), "nothing is said of rights: {report}");
    let problems = found.into_iter().filter(|(grade, ..)| grade == "problem");
    problems.map(|(_, what, remedy)| (what, remedy)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_missing_are_found_and_given_by_the_commands_that_are_told() {
    let (stack, sasl) = authorizing_broker();
    let mut world = World::new("rights").await;
    world.set("KAFKA_BOOTSTRAP_SERVERS", stack.variables()["KAFKA_BOOTSTRAP_SERVERS"].clone());
    let (topic, letters) = (world.topic().to_owned(), format!("{}.dlq", world.topic()));
    let (group, position) = (world.variable("KAFKA_GROUP_ID").to_owned(), format!("__evp-position.{}", world.name()));
    let topics = Topics::new(&world);
    for name in [&topic, &letters, &position] {
        topics.create(name, 1, &[]).await;
    }
    assert_eq!(rights(&world, &sasl), [], "without any rule everybody may do everything");
    let give = |user: &str, operation: &str, kind: &str, name: &str| {
        stack.acl(&["--add", "--allow-principal", &format!("User:{user}"), "--operation", operation, kind, name]);
    };
    give("evp", "Read", "--topic", &topic);
    give("evp", "Write", "--topic", &letters);
    give("evp", "Describe", "--group", &group);
    give("another", "Read", "--topic", &position);
    let found = rights(&world, &sasl);
    let whats: Vec<&str> = found.iter().map(|(what, _)| what.as_str()).collect();
    let expected = [
        format!("evp may not write to topic {topic}, as capture does"),
        format!("evp may not read topic {letters}, as process does"),
        format!("evp may not see topic {position}, as capture does"),
        format!("evp may not read group {group}, as process does"),
    ];
    assert_eq!(whats, expected);
    for (_, command) in &found {
        let arguments: Vec<&str> = command.split(' ').skip_while(|argument| *argument != "--add").collect();
        assert!(command.starts_with("kafka-acls --bootstrap-server "), "{command}");
        stack.acl(&arguments);
    }
    let still: Vec<String> = rights(&world, &sasl).into_iter().map(|(what, _)| what).collect();
    assert_eq!(
        still,
        [format!("evp may not read topic {position}, as capture does")],
        "what could not be asked before"
    );
    for name in [&topic, &letters, &position] {
        assert_eq!(records(&world, name).len(), 0, "asking has written to {name}");
    }
}
