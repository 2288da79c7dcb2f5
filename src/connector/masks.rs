//! Which columns are masked, hashed or cut: `column.mask.…` and `column.truncate.to.…`.

use super::lists::noted;
use crate::config::Variables;
use crate::envelope::{HashAlgorithm, Mask};
use crate::pattern::{Pattern, listed};

/// The properties, in the order in which Debezium asks them for a column.
#[derive(Debug, Clone, Default)]
pub struct ColumnMasks {
    rules: Vec<(Vec<Pattern>, Mask)>,
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
            rules.push((patterns, mask));
        }
        rules.sort_by_key(|(_, mask)| match mask {
            Mask::Truncate(_) => 0,
            Mask::Asterisks(_) => 1,
            Mask::Hash { is_serialized: true, .. } => 2,
            Mask::Hash { .. } => 3,
        });
        Self { rules }
    }

    /// What becomes of a column.
    pub fn of_column(&self, schema: &str, table: &str, column: &str) -> Option<&Mask> {
        let name = format!("{schema}.{table}.{column}");
        let is_listed = |(patterns, _): &&(Vec<Pattern>, Mask)| patterns.iter().any(|pattern| pattern.matches(&name));
        self.rules.iter().find(is_listed).map(|(_, mask)| mask)
    }
}

/// A property's name without its salt.
fn shown(name: &str) -> &str {
    name.split_once(".with.salt.").map_or(name, |(head, _)| head)
}

/// What a property asks for; `None` of any other property.
fn mask(name: &str) -> Option<Result<Mask, &'static str>> {
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
            ("column.include.list", "s.t.a"),
        ]);
        assert_eq!(said, "");
        assert_eq!(masks.of_column("s", "t", "pin"), Some(&Mask::Truncate(2)));
        assert_eq!(masks.of_column("s", "t", "name"), Some(&Mask::Asterisks(3)));
        assert!(matches!(masks.of_column("s", "t", "other"), Some(Mask::Hash { is_serialized: false, .. })));
        assert_eq!(masks.of_column("s", "v", "x"), None);
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
