//! `transforms` and `predicates`: the names that they list, and what belongs to each, as Kafka Connect reads them.

use std::collections::BTreeMap;

use super::route::TopicRoute;

const ROUTER: &str = "org.apache.kafka.connect.transforms.RegexRouter";

/// A transform or a predicate that is listed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed<'a> {
    pub(super) name: &'a str,
    pub(super) class: &'a str,
    /// Its properties besides the type.
    pub(super) options: BTreeMap<&'a str, &'a str>,
}

/// The names that a property lists.
pub(super) fn names<'a>(properties: &'a BTreeMap<String, String>, list: &str) -> Vec<&'a str> {
    let text = properties.get(list).map_or("", String::as_str);
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect()
}

/// Whether `transforms.NAME.…` or `predicates.NAME.…` belongs to a name that its property does not list.
pub(super) fn is_unlisted(properties: &BTreeMap<String, String>, property: &str) -> Option<bool> {
    let (list, rest) = property.split_once('.').filter(|(list, _)| matches!(*list, "transforms" | "predicates"))?;
    let is_of = |name: &&str| rest.strip_prefix(*name).is_some_and(|rest| rest.starts_with('.'));
    Some(!names(properties, list).iter().any(is_of))
}

/// The transforms or predicates in their order, and one sentence for each that cannot be.
fn listed<'a>(properties: &'a BTreeMap<String, String>, list: &str) -> (Vec<Listed<'a>>, Vec<String>) {
    let (mut found, mut mistakes): (Vec<Listed<'a>>, Vec<String>) = (Vec::new(), Vec::new());
    let kind = list.trim_end_matches('s');
    let names = names(properties, list);
    for (at, name) in names.iter().enumerate() {
        if names.iter().take(at).any(|before| before == name) {
            mistakes.push(format!("the {kind} `{name}` is listed twice in `{list}`: Kafka Connect refuses that"));
            continue;
        }
        let beginning = format!("{list}.{name}.");
        let options = properties
            .iter()
            .filter_map(|(property, value)| Some((property.strip_prefix(beginning.as_str())?, value.as_str())));
        let mut options: BTreeMap<&str, &str> = options.collect();
        match options.remove("type") {
            Some(class) if !class.is_empty() => found.push(Listed { name, class, options }),
            _ => mistakes.push(format!("the {kind} `{name}` has no type: give `{beginning}type`")),
        }
    }
    (found, mistakes)
}

/// The topic routes in their order, and one sentence for each transform or predicate that is refused.
pub(super) fn routes(properties: &BTreeMap<String, String>) -> (Vec<TopicRoute>, Vec<String>) {
    let (transforms, mut mistakes) = listed(properties, "transforms");
    let (predicates, of_predicates) = listed(properties, "predicates");
    mistakes.extend(of_predicates);
    let mut routes = Vec::new();
    for transform in transforms {
        match route(&transform, &predicates) {
            Ok(route) => routes.push(route),
            Err(faults) => {
                mistakes.push(format!("the transform `{}` is refused: {}", transform.name, faults.join("; ")));
            }
        }
    }
    (routes, mistakes)
}

/// The route that a transform is, or all that is wrong with it.
fn route(transform: &Listed<'_>, predicates: &[Listed<'_>]) -> Result<TopicRoute, Vec<String>> {
    if transform.class != ROUTER {
        return Err(vec![format!("evp has no {}; of the transforms it has RegexRouter", transform.class)]);
    }
    let mut faults = Vec::new();
    for (option, value) in &transform.options {
        match *option {
            "regex" | "replacement" => {}
            "predicate" if predicates.iter().any(|predicate| predicate.name == *value) => {
                faults.push("evp applies no predicates yet".to_owned());
            }
            "predicate" => faults.push("its predicate is not listed in `predicates`".to_owned()),
            "negate" if transform.options.contains_key("predicate") => {}
            "negate" => faults.push("it has a negate and no predicate".to_owned()),
            other => faults.push(format!("RegexRouter has no `{other}`")),
        }
    }
    let mut option = |name: &str| {
        let value = transform.options.get(name).copied();
        if value.is_none() {
            faults.push(format!("it has no {name}"));
        }
        value
    };
    let (regex, replacement) = (option("regex"), option("replacement"));
    let (Some(regex), Some(replacement)) = (regex, replacement) else { return Err(faults) };
    let route = TopicRoute::new(regex, replacement);
    let route = route.map_err(|reason| faults.push(format!("its regex does not compile: {reason}")));
    match route {
        Ok(route) if faults.is_empty() => Ok(route),
        _ => Err(faults),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_wrong_with_a_transform_is_one_sentence() {
        for (pairs, sentences) in [
            (
                &[
                    ("transforms", "a, a"),
                    ("transforms.a.type", ROUTER),
                    ("transforms.a.regex", "x"),
                    ("transforms.a.replacement", "y"),
                ][..],
                &["listed twice"][..],
            ),
            (
                &[("transforms", "a,b"), ("transforms.b.type", "com.example.Mask"), ("transforms.b.key", "k")],
                &["`a` has no type", "com.example.Mask"],
            ),
            (
                &[
                    ("transforms", "a"),
                    ("transforms.a.type", ROUTER),
                    ("transforms.a.regex", "("),
                    ("transforms.a.color", "red"),
                ],
                &["no `color`; it has no replacement"],
            ),
            (&[("predicates", "p,p"), ("predicates.p.type", "P")], &["predicate `p` is listed twice"]),
            (
                &[
                    ("transforms", "a"),
                    ("transforms.a.type", ROUTER),
                    ("transforms.a.regex", "("),
                    ("transforms.a.replacement", ""),
                    ("transforms.a.predicate", "q"),
                ],
                &["its predicate is not listed"],
            ),
            (&[("transforms.gone.type", "com.example.Gone"), ("predicates.gone.pattern", "x")], &[]),
        ] {
            let (_, said) = routes(&properties(pairs));
            assert_eq!(said.len(), sentences.len(), "{said:?}");
            assert!(said.iter().zip(sentences).all(|(said, part)| said.contains(part)), "{said:?}");
        }
    }

    #[test]
    fn what_belongs_to_a_name_that_is_not_listed_is_known() {
        let properties = properties(&[("transforms", "a.b, c")]);
        assert_eq!(is_unlisted(&properties, "transforms.a.b.type"), Some(false));
        assert_eq!(is_unlisted(&properties, "transforms.a.type"), Some(true));
        assert_eq!(is_unlisted(&properties, "transforms"), None);
    }
}
