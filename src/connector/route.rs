//! Topic names: Debezium's naming and Kafka Connect's `RegexRouter`.

use super::pattern::Pattern;

/// A `RegexRouter` transform: a topic that matches as a whole is renamed.
#[derive(Debug, Clone)]
pub struct TopicRoute {
    pattern: Pattern,
    replacement: String,
}

impl TopicRoute {
    /// From Java's notation, in which `$1` is the first group. The error says in a few words what is wrong.
    pub fn new(regex: &str, replacement: &str) -> Result<Self, String> {
        Ok(Self { pattern: Pattern::whole(regex)?, replacement: braced_groups(replacement) })
    }

    fn apply(&self, topic: &str) -> Option<String> {
        self.pattern.replaced(topic, &self.replacement)
    }
}

/// Rewrites `$1x` to `${1}x`: the regex crate would read the former as a group named `1x`.
fn braced_groups(replacement: &str) -> String {
    let mut out = String::with_capacity(replacement.len() + 8);
    let mut rest = replacement.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '$' if rest.peek().is_some_and(char::is_ascii_digit) => {
                out.push_str("${");
                while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                    out.push(digit);
                }
                out.push('}');
            }
            '\\' => out.extend(rest.next()),
            other => out.push(other),
        }
    }
    out
}

/// The topic of a table: `<prefix>.<schema>.<table>` in Kafka's alphabet, then the transforms in order.
pub fn topic_name(prefix: &str, schema: &str, table: &str, routes: &[TopicRoute]) -> String {
    let name = format!("{prefix}.{schema}.{table}");
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = name.chars().map(|c| if is_legal(c) { c } else { '_' }).take(249).collect();
    routed(&name, routes)
}

/// A topic after the transforms.
pub fn routed(topic: &str, routes: &[TopicRoute]) -> String {
    routes.iter().fold(topic.to_owned(), |topic, route| route.apply(&topic).unwrap_or(topic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_needs_the_whole_name_to_match() {
        let route = TopicRoute::new("([^.]+)\\.([^.]+)\\.([^.]+)", "$1.$2.$3x").unwrap();
        assert_eq!(topic_name("p", "s", "t", std::slice::from_ref(&route)), "p.s.tx");
        assert_eq!(routed("__debezium-heartbeat.p", &[route]), "__debezium-heartbeat.p");
    }

    #[test]
    fn characters_outside_of_kafkas_alphabet_become_underscores() {
        assert_eq!(topic_name("p", "schéma", "a b", &[]), "p.sch_ma.a_b");
    }
}
