//! `replica.identity.autoset.values`: what tables tell of a row before its change.

use std::fmt;

use super::lists::noted;
use crate::config::Variables;
use crate::pattern::{Pattern, listed};

const PROPERTY: &str = "replica.identity.autoset.values";

/// A replica identity, as `ALTER TABLE … REPLICA IDENTITY` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedIdentity {
    /// The primary key.
    Default,
    /// The whole row.
    Full,
    /// Nothing.
    Nothing,
    /// The columns of a unique index.
    Index(String),
}

impl WantedIdentity {
    /// From Debezium's words, in any case.
    fn from_words(words: &str) -> Option<Self> {
        let (word, rest) = words.split_once(' ').map_or((words, None), |(word, rest)| (word, Some(rest.trim())));
        match (word.to_ascii_uppercase().as_str(), rest) {
            ("DEFAULT", None) => Some(Self::Default),
            ("FULL", None) => Some(Self::Full),
            ("NOTHING", None) => Some(Self::Nothing),
            ("INDEX", Some(name)) if !name.is_empty() && !name.contains(' ') => Some(Self::Index(name.to_owned())),
            _ => None,
        }
    }

    /// From PostgreSQL's letter and the name of the index.
    pub fn of_catalog(letter: &str, index: Option<&str>) -> Self {
        match letter {
            "f" => Self::Full,
            "n" => Self::Nothing,
            "i" => Self::Index(index.unwrap_or_default().to_owned()),
            _ => Self::Default,
        }
    }
}

impl fmt::Display for WantedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("DEFAULT"),
            Self::Full => f.write_str("FULL"),
            Self::Nothing => f.write_str("NOTHING"),
            Self::Index(name) => write!(f, "USING INDEX \"{}\"", name.replace('"', "\"\"")),
        }
    }
}

/// Which tables are to have which.
#[derive(Debug, Clone, Default)]
pub struct WantedIdentities(Vec<(Pattern, WantedIdentity)>);

impl WantedIdentities {
    /// From the list; mistakes are noted.
    pub(super) fn parse(variables: &mut Variables, list: &str) -> Self {
        let mut entries = Vec::new();
        for entry in listed(list) {
            let parts = entry.rsplit_once(':');
            match parts.and_then(|(table, words)| Some((table, WantedIdentity::from_words(words.trim())?))) {
                Some((table, identity)) => {
                    entries.extend(noted(variables, PROPERTY, table.trim()).map(|pattern| (pattern, identity)));
                }
                None => variables.mistake(format!(
                    "the property `{PROPERTY}` has `{entry}`, which is none of TABLE:DEFAULT, TABLE:FULL, TABLE:NOTHING and \
                     TABLE:INDEX NAME"
                )),
            }
        }
        Self(entries)
    }

    /// Whether no table is to have another one than it has.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a table is to have; two entries for it are an error, as in Debezium.
    pub fn of_table(&self, schema: &str, table: &str) -> Result<Option<&WantedIdentity>, String> {
        let name = format!("{schema}.{table}");
        let mut entries = self.0.iter().filter(|(pattern, _)| pattern.matches(&name));
        match (entries.next(), entries.next()) {
            (Some((first, _)), Some((second, _))) => Err(format!(
                "the property `{PROPERTY}` has two entries for table {name}: `{}` and `{}`",
                first.text(),
                second.text()
            )),
            (found, _) => Ok(found.map(|(_, identity)| identity)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &str) -> Result<WantedIdentities, String> {
        let mut variables = Variables::default();
        let identities = WantedIdentities::parse(&mut variables, list);
        variables.finish().map(|()| identities).map_err(|error| error.to_string())
    }

    #[test]
    fn tables_have_the_identity_of_their_entry() {
        let wanted = read("app.a.*:full, app\\.b:INDEX b_i,app.c:Nothing").unwrap();
        assert_eq!(wanted.of_table("APP", "a1"), Ok(Some(&WantedIdentity::Full)));
        assert_eq!(wanted.of_table("app", "b"), Ok(Some(&WantedIdentity::Index("b_i".to_owned()))));
        assert_eq!(wanted.of_table("app", "d"), Ok(None));
        assert_eq!(WantedIdentity::Index("b\"i".to_owned()).to_string(), "USING INDEX \"b\"\"i\"");
        assert!(read("app.*:FULL,app.a:DEFAULT").unwrap().of_table("app", "a").unwrap_err().contains("two entries"));
    }

    #[test]
    fn other_words_are_mistakes() {
        for list in ["app.a", "app.a:SOME", "app.a:INDEX", "app.a:FULL x", "app.(:FULL"] {
            assert!(read(list).unwrap_err().contains(PROPERTY), "{list}");
        }
    }
}
