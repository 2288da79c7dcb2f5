//! Which columns are masked, hashed or cut, and of which the schema tells the type: `column.mask.…`, `column.truncate.to.…` and
//! the lists of propagated types.

use super::lists::noted;
use crate::config::Variables;
use crate::envelope::{HashAlgorithm, Mask};
use crate::pattern::{Pattern, listed};

/// The properties, in the order in which Debezium asks them for a column.
#[derive(Debug, Clone, Default)]
pub struct ColumnMasks {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    patterns: Vec<Pattern>,
    /// They are of the names of types in place of columns.
    is_of_types: bool,
    mask: Mask,
}

impl ColumnMasks {
    /// From properties and their values; mistakes are noted.
    pub(super) fn parse<'a>(variables: &mut Variables, properties: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut rules = Vec::new();
        for (name, columns) in properties {
            let Some(parsed) = mask(name) else { continue };
            let mask = match parsed {
                Ok(mask) => mask,
                Err(reason) => {
                    variables.mistake(format!("the property `{}` is refused: {reason}", shown(name)));
                    continue;
                }
            };
            let patterns = listed(columns).iter().filter_map(|entry| noted(variables, shown(name), entry)).collect();
            rules.push(Rule { patterns, is_of_types: name == OF_TYPES, mask });
        }
        rules.sort_by_key(|rule| match rule.mask {
            Mask::Truncate(_) => 0,
            Mask::Asterisks(_) => 1,
            Mask::SourceType if !rule.is_of_types => 2,
            Mask::SourceType => 3,
            Mask::Hash { is_serialized: true, .. } => 4,
            Mask::Hash { .. } => 5,
        });
        Self { rules }
    }

    /// What becomes of a column with a type of this name.
    pub fn of_column(&self, schema: &str, table: &str, (column, type_name): (&str, &str)) -> Option<&Mask> {
        let name_of = |last: &str| format!("{schema}.{table}.{last}");
        let (of_column, of_type) = (name_of(column), name_of(type_name));
        let is_listed = |rule: &&Rule| {
            let name = if rule.is_of_types { &of_type } else { &of_column };
            rule.patterns.iter().any(|pattern| pattern.matches(name))
        };
        self.rules.iter().find(is_listed).map(|rule| &rule.mask)
    }

    /// Whether a column is listed to be masked and is not, because its type is told.
    pub fn is_left_bare(&self, schema: &str, table: &str, (column, type_name): (&str, &str)) -> bool {
        let tells_type = self.of_column(schema, table, (column, type_name)) == Some(&Mask::SourceType);
        let name = format!("{schema}.{table}.{column}");
        let hides =
            |rule: &Rule| rule.mask != Mask::SourceType && rule.patterns.iter().any(|pattern| pattern.matches(&name));
        tells_type && self.rules.iter().any(hides)
    }
}

const OF_TYPES: &str = "datatype.propagate.source.type";

/// A property's name without its salt.
fn shown(name: &str) -> &str {
    name.split_once(".with.salt.").map_or(name, |(head, _)| head)
}

/// What a property asks for; `None` of any other property.
fn mask(name: &str) -> Option<Result<Mask, &'static str>> {
    if matches!(name, "column.propagate.source.type" | OF_TYPES) {
        return Some(Ok(Mask::SourceType));
    }
    let number = |text: &str| text.strip_suffix(".chars").and_then(|digits| digits.parse::<usize>().ok());
    if let Some(rest) = name.strip_prefix("column.truncate.to.") {
        return Some(number(rest).map(Mask::Truncate).ok_or("it is column.truncate.to.N.chars"));
    }
    let rest = name.strip_prefix("column.mask.")?;
    if let Some(rest) = rest.strip_prefix("with.") {
        return Some(number(rest).map(Mask::Asterisks).ok_or("it is column.mask.with.N.chars"));
    }
    let Some(rest) = rest.strip_prefix("hash.") else {
        return Some(Err("it is column.mask.with.… or column.mask.hash.…"));
    };
    let (rest, is_serialized) = rest.strip_prefix("v2.").map_or((rest, true), |rest| (rest, false));
    let Some((algorithm, salt)) = rest.split_once(".with.salt.") else {
        return Some(Err("it is column.mask.hash.ALGORITHM.with.salt.SALT"));
    };
    let algorithm = HashAlgorithm::from_name(algorithm);
    let hash = algorithm.map(|algorithm| Mask::Hash { algorithm, salt: salt.to_owned(), is_serialized });
    Some(hash.ok_or("evp has MD5, SHA-224, SHA-256, SHA-384 and SHA-512"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks(properties: &[(&'static str, &'static str)]) -> (ColumnMasks, String) {
        let mut variables = Variables::default();
        let masks = ColumnMasks::parse(&mut variables, properties.iter().copied());
        (masks, variables.finish().err().map(|error| error.to_string()).unwrap_or_default())
    }

    #[test]
    fn a_column_has_the_first_mask_that_debezium_asks() {
        let (masks, said) = masks(&[
            ("column.mask.hash.v2.SHA-256.with.salt.hunter2", "s.t.*"),
            ("column.mask.with.3.chars", "s.t.(name|pin), s.u.x"),
            ("column.truncate.to.2.chars", "S.T.PIN"),
            ("datatype.propagate.source.type", ".*.INT4"),
            ("column.include.list", "s.t.a"),
        ]);
        let column = |name| (name, "text");
        assert_eq!(said, "");
        assert_eq!(masks.of_column("s", "t", column("pin")), Some(&Mask::Truncate(2)));
        assert_eq!(masks.of_column("s", "t", column("name")), Some(&Mask::Asterisks(3)));
        assert!(matches!(masks.of_column("s", "t", column("other")), Some(Mask::Hash { is_serialized: false, .. })));
        assert_eq!(masks.of_column("s", "v", column("x")), None);
        // Debezium takes no second mapping of a column: what has its type told is not hashed.
        assert_eq!(masks.of_column("s", "t", ("other", "int4")), Some(&Mask::SourceType));
        assert!(masks.is_left_bare("s", "t", ("other", "int4")) && !masks.is_left_bare("s", "t", column("other")));
    }

    #[test]
    fn what_is_no_mask_is_refused_without_its_salt() {
        let (_, said) = masks(&[
            ("column.mask.hash.CRC32.with.salt.hunter2", "a.b.c"),
            ("column.mask.with.many.chars", "a.b.c"),
            ("column.mask.blur", "a.b.c"),
            ("column.truncate.to.x", "a.b.c"),
        ]);
        assert_eq!(said.lines().count(), 4, "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}
