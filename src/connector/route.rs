//! Topic names as Debezium forms them.

/// The topic of a table before transforms: `<prefix>.<schema>.<table>` in Kafka's alphabet, the delimiter being a point.
pub fn topic_name(delimiter: &str, prefix: &str, schema: &str, table: &str) -> String {
    let name = [prefix, schema, table].join(delimiter);
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    // As in Java, to which a character beyond U+FFFF is two.
    let units = name.encode_utf16().map(|unit| char::from_u32(unit.into()).unwrap_or('_'));
    units.map(|c| if is_legal(c) { c } else { '_' }).take(249).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_outside_of_kafkas_alphabet_become_underscores() {
        assert_eq!(topic_name(".", "p", "schéma", "a b"), "p.sch_ma.a_b");
        assert_eq!(topic_name(".", "p", "s", "a😀b"), "p.s.a__b");
    }
}
