//! Kafka Connect's `RegexRouter`.

use crate::pattern::Pattern;

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

    /// The new name, if the transform gives one.
    pub(super) fn apply(&self, topic: &str) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_needs_the_whole_name_to_match() {
        let route = TopicRoute::new("([^.]+)\\.([^.]+)\\.([^.]+)", "$1.$2.$3x").unwrap();
        assert_eq!(route.apply("p.s.t").as_deref(), Some("p.s.tx"));
        assert_eq!(route.apply("__debezium-heartbeat.p"), None);
    }
}
