//! Where something is written: collections, and the fields of documents.

use std::borrow::Cow;
use std::fmt;

use super::write_model::BOOKKEEPING_FIELD;
use crate::error::{Error, Result};

/// The name of a collection: a literal, or a checked text from elsewhere. A handler's is checked before it is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Collection(Cow<'static, str>);

impl Collection {
    /// From a literal.
    pub const fn new(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// From a text that is not known when the program is written, such as one of a file; refused if it cannot be used.
    pub fn parse(name: &str) -> Result<Self> {
        let collection = Self(Cow::Owned(name.to_owned()));
        collection.check()?;
        Ok(collection)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn check(&self) -> Result<()> {
        let name = self.as_str();
        let is_reserved = name.starts_with("system.") || name.starts_with("evp_");
        if name.is_empty() || is_reserved || name.contains(['$', '\0']) {
            return Err(Error::data(format!("the collection `{name}` is reserved or malformed")));
        }
        Ok(())
    }
}

impl From<&'static str> for Collection {
    fn from(name: &'static str) -> Self {
        Self::new(name)
    }
}

impl fmt::Display for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A field of a document, those of nested documents separated by dots. Nothing of a payload becomes a part of it but by
/// [`Path::key`].
#[derive(Debug, Clone)]
pub struct Path {
    text: Cow<'static, str>,
    /// How much of it names the map whose keys stand behind it; 0 without a key.
    map: usize,
}

impl Path {
    /// From a literal.
    pub const fn new(path: &'static str) -> Self {
        Self { text: Cow::Borrowed(path), map: 0 }
    }

    /// From a text that is not known when the program is written, such as one of a file; refused if it cannot be used.
    pub fn parse(path: &str) -> Result<Self> {
        let path = Self { text: Cow::Owned(path.to_owned()), map: 0 };
        path.check()?;
        Ok(path)
    }

    /// The field of this map that `key` names, whatever its text: what would be a path or an operator is escaped, and
    /// [`key_of`] gives it back.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let map = if self.map == 0 { self.text.len() } else { self.map };
        Self { text: Cow::Owned(format!("{}.{}", self.text, escaped(key))), map }
    }

    /// The path as MongoDB writes it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The map that it is a key of, if it is one.
    pub(crate) fn map(&self) -> Option<&str> {
        if self.map == 0 { None } else { self.text.get(..self.map) }
    }

    /// Whether it leads into a nested document.
    pub(crate) fn is_nested(&self) -> bool {
        self.text.contains('.')
    }

    /// As one name, for bookkeeping.
    pub(crate) fn flat(&self) -> String {
        self.text.replace('.', "/")
    }

    pub(crate) fn check(&self) -> Result<()> {
        let path = self.as_str();
        let root = path.split('.').next().unwrap_or_default();
        let is_reserved = root == "_id" || root == BOOKKEEPING_FIELD;
        let is_malformed = |name: &str| name.is_empty() || name.starts_with('$') || name.contains(['\0', '/']);
        if is_reserved || path.split('.').any(is_malformed) {
            return Err(Error::data(format!("a handler writes the path `{path}`, which is reserved or malformed")));
        }
        Ok(())
    }
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Path {}

impl std::hash::Hash for Path {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl PartialOrd for Path {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Path {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl From<&'static str> for Path {
    fn from(path: &'static str) -> Self {
        Self::new(path)
    }
}

impl From<&Path> for Path {
    fn from(path: &Path) -> Self {
        path.clone()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What stands for an empty key; `%` stands alone nowhere else.
const EMPTY: &str = "%";

/// A text as the name of one field.
pub(crate) fn escaped(key: &str) -> Cow<'_, str> {
    if key.is_empty() {
        return Cow::Borrowed(EMPTY);
    }
    if !key.contains(['%', '.', '$', '/', '\0']) {
        return Cow::Borrowed(key);
    }
    let mut name = String::with_capacity(key.len().saturating_add(8));
    for character in key.chars() {
        match character {
            '%' => name.push_str("%25"),
            '.' => name.push_str("%2E"),
            '$' => name.push_str("%24"),
            '/' => name.push_str("%2F"),
            '\0' => name.push_str("%00"),
            other => name.push(other),
        }
    }
    Cow::Owned(name)
}

/// The key that [`Path::key`] was given, from the name of the field as documents hold it.
pub fn key_of(name: &str) -> String {
    if name == EMPTY {
        return String::new();
    }
    let unescaped = name.replace("%2E", ".").replace("%24", "$").replace("%2F", "/").replace("%00", "\0");
    unescaped.replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reserved_and_malformed_names_are_refused() {
        for path in ["_id", "_evp.wm", "$set", "a..b", "a.$b", "", "a/b", "a.\0"] {
            assert!(Path::parse(path).is_err() && Path::new(path).check().is_err(), "{path}");
        }
        assert_eq!(Path::parse("a.b_c").unwrap(), Path::new("a.b_c"));
        for name in ["", "system.users", "evp_sources", "a$b"] {
            assert!(Collection::parse(name).is_err(), "{name}");
        }
        assert_eq!(Collection::parse("orders.eu").unwrap(), Collection::new("orders.eu"));
    }

    proptest! {
        #[test]
        fn any_key_is_one_field_of_the_map_and_read_back(key in any::<String>(), hostile in "[%.$/\0E0-9a]{0,8}") {
            for key in [key, hostile] {
                let path = Path::new("counts").key(&key);
                prop_assert!(path.check().is_ok());
                let (map, name) = path.as_str().split_once('.').unwrap();
                prop_assert!(map == "counts" && !name.contains('.'));
                prop_assert_eq!(key_of(name), key);
            }
        }
    }
}
