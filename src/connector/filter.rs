//! The properties of Debezium's `Filter`.

use super::transforms::Section;
use crate::pattern::Pattern;
use crate::transform::{Expression, Filter, NullHandling};

/// Reads them; mistakes are noted.
pub(super) fn filter(section: &mut Section<'_>) -> Option<Filter> {
    section.only(&["condition", "language", "null.handling.mode", "topic.regex"]);
    let (language, condition) = (section.required("language"), section.required("condition"));
    if language.is_some_and(|language| language.trim() != "jsr223.groovy") {
        section.mistakes.push("its `language` is not jsr223.groovy, which evp has a small part of".to_owned());
        return None;
    }
    let condition = Expression::parse(condition?).map_err(|reason| {
        section
            .mistakes
            .push(format!("in its `condition` {reason}; evp has comparisons, &&, || and !, and no other Groovy"));
    });
    let topics = section.get("topic.regex").map(Pattern::whole).transpose();
    let topics = topics.map_err(|error| section.mistakes.push(format!("`topic.regex`: {error}")));
    let nulls = section.get("null.handling.mode").map_or(Some(NullHandling::default()), NullHandling::from_word);
    if nulls.is_none() {
        section.mistakes.push("`null.handling.mode` is keep, drop or evaluate".to_owned());
    }
    Some(Filter { condition: condition.ok()?, nulls: nulls?, topics: topics.ok()? })
}

#[cfg(test)]
mod tests {
    use super::super::Connector;
    use super::*;
    use crate::config::Variables;

    fn read(sets: &[&str]) -> (Option<Filter>, Vec<String>) {
        let sets: Vec<String> = sets.iter().map(|set| format!("transforms.filter.{set}")).collect();
        let connector = Connector::load(&mut Variables::default(), None, &sets).unwrap();
        let mut section = Section::new(&connector, "transforms", "filter");
        (filter(&mut section), section.mistakes)
    }

    #[test]
    fn a_condition_is_read_with_its_modes() {
        let (filter, mistakes) = read(&[
            "language=jsr223.groovy",
            "condition=value.op == 'u' && value.before.id == 2",
            "null.handling.mode=drop",
            "topic.regex=.*orders",
        ]);
        let filter = filter.unwrap_or_else(|| panic!("{mistakes:?}"));
        assert!(filter.nulls == NullHandling::Drop && filter.topics.is_some());
    }

    #[test]
    fn what_is_not_understood_is_one_sentence() {
        let (_, mistakes) = read(&["language=jsr223.groovy", "condition=value.after.tags.contains('x')"]);
        assert!(mistakes.len() == 1 && mistakes[0].contains("`contains`"), "{mistakes:?}");
        let (_, mistakes) = read(&["language=jsr223.graal.js", "condition=value.op === 'u'"]);
        assert!(mistakes.len() == 1 && mistakes[0].contains("jsr223.groovy"), "{mistakes:?}");
        let (_, mistakes) = read(&["null.handling.mode=never"]);
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    }
}
