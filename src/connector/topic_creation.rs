//! `topic.creation.…`: how topics of rows are made, by group of topics.

use super::Connector;
use crate::config::Variables;
use crate::pattern::Pattern;

const PREFIX: &str = "topic.creation.";
const DEFAULT: &str = "default";

/// How the topics of a group are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRule {
    /// How many partitions; -1 for the broker's default.
    pub partitions: i32,
    /// How many replicas; -1 for the broker's default.
    pub replicas: i32,
    /// The topic's own settings.
    pub settings: Vec<(String, String)>,
}

/// How topics are made.
#[derive(Debug, Clone)]
pub struct TopicCreation {
    default: TopicRule,
    groups: Vec<Group>,
    /// Capture makes the topics of tables as well, as Kafka Connect does where it is told both numbers; else the brokers do.
    pub is_for_tables: bool,
}

/// Topics that one of the expressions takes and none of the others.
#[derive(Debug, Clone)]
struct Group {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
    rule: TopicRule,
}

impl TopicCreation {
    /// How this topic is made: as the first group says that takes it.
    pub fn of(&self, topic: &str) -> &TopicRule {
        let is_one = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(topic));
        let group = self.groups.iter().find(|group| is_one(&group.include) && !is_one(&group.exclude));
        group.map_or(&self.default, |group| &group.rule)
    }

    /// How topics are made that no group takes.
    pub fn default_rule(&self) -> &TopicRule {
        &self.default
    }
}

impl Connector {
    pub(super) fn topic_creation(&self, variables: &mut Variables) -> TopicCreation {
        let is_given = |part: &str| self.get(&format!("{PREFIX}{DEFAULT}.{part}")).is_some();
        let broker = TopicRule { partitions: -1, replicas: -1, settings: Vec::new() };
        let default = self.topic_rule(variables, DEFAULT, &broker);
        let groups = self.topic_groups();
        let groups = groups.iter().map(|name| {
            let include = self.topic_patterns(variables, name, "include");
            if include.is_empty() {
                variables.mistake(format!(
                    "the property `topic.creation.groups` names `{name}`, but there is no `{PREFIX}{name}.include` with its topics"
                ));
            }
            let exclude = self.topic_patterns(variables, name, "exclude");
            Group { include, exclude, rule: self.topic_rule(variables, name, &default) }
        });
        let groups = groups.collect();
        TopicCreation { default, groups, is_for_tables: is_given("partitions") && is_given("replication.factor") }
    }

    /// What a group does not say of numbers is as it is by default; settings are its own alone, as in Kafka Connect.
    fn topic_rule(&self, variables: &mut Variables, group: &str, default: &TopicRule) -> TopicRule {
        let prefix = format!("{PREFIX}{group}.");
        let given = self.properties.iter().filter_map(|(name, value)| Some((name.strip_prefix(&prefix)?, value)));
        let is_of_kafka = |name: &&str| !matches!(*name, "partitions" | "replication.factor" | "include" | "exclude");
        let settings = given.filter(|(name, _)| is_of_kafka(name));
        TopicRule {
            settings: settings.map(|(name, value)| (name.to_owned(), value.clone())).collect(),
            partitions: self.number(variables, &format!("{prefix}partitions"), default.partitions),
            replicas: self.number(variables, &format!("{prefix}replication.factor"), default.replicas),
        }
    }

    fn topic_patterns(&self, variables: &mut Variables, group: &str, part: &str) -> Vec<Pattern> {
        let property = format!("{PREFIX}{group}.{part}");
        let entries = self.get(&property).unwrap_or_default().split(',').map(str::trim);
        let mut patterns = Vec::new();
        for entry in entries.filter(|entry| !entry.is_empty()) {
            match Pattern::whole(entry) {
                Ok(pattern) => patterns.push(pattern),
                Err(reason) => {
                    variables.mistake(format!("the property `{property}` has `{entry}`, which is refused: {reason}"));
                }
            }
        }
        patterns
    }

    fn topic_groups(&self) -> Vec<&str> {
        let list = self.get("topic.creation.groups").unwrap_or_default();
        list.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != DEFAULT).collect()
    }

    /// Whether `topic.creation.NAME.…` belongs to a group that the list does not have, which Connect passes over.
    pub(super) fn is_of_unlisted_group(&self, property: &str) -> bool {
        let Some((group, _)) = property.strip_prefix(PREFIX).and_then(|rest| rest.split_once('.')) else {
            return false;
        };
        group != DEFAULT && !self.topic_groups().contains(&group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::read_from;

    fn creation(sets: &[&str]) -> (TopicCreation, String) {
        read_from(sets, Connector::topic_creation)
    }

    #[test]
    fn topics_that_rows_name_are_made_as_connect_would_make_them() {
        let broker = TopicRule { partitions: -1, replicas: -1, settings: Vec::new() };
        let (none, _) = creation(&[]);
        assert!(none.of("a") == &broker && !none.is_for_tables);
        let (own, _) = creation(&["topic.creation.default.partitions=6", "topic.creation.default.retention.ms=1"]);
        let rule = own.of("a");
        assert_eq!(
            (rule.partitions, rule.settings.as_slice()),
            (6, &[("retention.ms".to_owned(), "1".to_owned())][..])
        );
        assert!(!own.is_for_tables);
        let sets = ["topic.creation.default.partitions=6", "topic.creation.default.replication.factor=-1"];
        assert!(creation(&sets).0.is_for_tables);
    }

    #[test]
    fn a_topic_is_made_as_the_first_group_says_that_takes_it() {
        let (creation, said) = creation(&[
            "topic.creation.groups=wide, old",
            "topic.creation.default.partitions=2",
            "topic.creation.default.replication.factor=3",
            "topic.creation.default.cleanup.policy=compact",
            "topic.creation.wide.include=shop\\.app\\.(orders|lines), shop\\.big.*",
            "topic.creation.wide.exclude=.*lines",
            "topic.creation.wide.partitions=12",
            "topic.creation.old.include=shop\\.app\\..*",
            "topic.creation.old.replication.factor=1",
            "topic.creation.old.retention.ms=5",
        ]);
        assert_eq!(said, "");
        let found = |topic| {
            let rule = creation.of(topic);
            (rule.partitions, rule.replicas, rule.settings.first().map(|(name, _)| name.as_str()))
        };
        assert_eq!(found("shop.app.orders"), (12, 3, None));
        assert_eq!(found("shop.bigger"), (12, 3, None));
        assert_eq!(found("shop.app.lines"), (2, 1, Some("retention.ms")));
        assert_eq!(found("other"), (2, 3, Some("cleanup.policy")));
    }

    #[test]
    fn a_group_without_topics_is_a_mistake_and_one_that_is_not_listed_is_passed_over() {
        let (_, said) = creation(&["topic.creation.groups=a,b", "topic.creation.b.include=("]);
        assert!(said.contains("`topic.creation.a.include`") && said.contains("`(`"), "{said}");
        let sets = ["topic.creation.c.partitions=x"];
        let (idle, said) = read_from(&sets, |connector, variables| {
            connector.topic_creation(variables);
            connector.without_effect().into_values().flatten().any(|name| name == "topic.creation.c.partitions")
        });
        assert!(idle && said.is_empty(), "{said}");
    }
}
