//! How Debezium makes names that Avro takes: `schema.name.adjustment.mode` and `field.name.adjustment.mode`.

/// A mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Adjustment {
    /// Names stay as they are.
    #[default]
    None,
    /// What Avro does not take becomes an underscore.
    Underscore,
    /// It becomes the number of its UTF-16 unit, as does an underscore.
    Unicode,
}

/// What is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    /// A schema, whose name has points.
    Schema,
    /// A field.
    Field,
}

impl Adjustment {
    /// From Debezium's word.
    pub fn from_word(word: &str) -> Option<Self> {
        match word.trim().to_ascii_lowercase().as_str() {
            "none" => Some(Self::None),
            "avro" => Some(Self::Underscore),
            "avro_unicode" => Some(Self::Unicode),
            _ => None,
        }
    }

    /// The name that is written.
    pub(crate) fn applied(self, name: &str, named: Named) -> String {
        if self == Self::None {
            return name.to_owned();
        }
        let mut out = String::with_capacity(name.len());
        for (at, unit) in name.encode_utf16().enumerate() {
            let c = char::from_u32(u32::from(unit)).unwrap_or('\u{fffd}');
            match (self.takes(c, at == 0, named), self) {
                (true, _) => out.push(c),
                (false, Self::Unicode) => out.push_str(&format!("_u{}", hex(unit))),
                // A digit in front stays, so that fields which differ by it alone still do.
                (false, _) if at == 0 && c.is_ascii_digit() => out.extend(['_', c]),
                (false, _) => out.push('_'),
            }
        }
        out
    }

    fn takes(self, c: char, is_first: bool, named: Named) -> bool {
        c.is_ascii_alphabetic()
            || (c == '_' && self == Self::Underscore)
            || (!is_first && (c.is_ascii_digit() || (c == '.' && named == Named::Schema)))
    }
}

/// Two digits are filled up to four, as Debezium does it.
fn hex(unit: u16) -> String {
    let digits = format!("{unit:x}");
    if digits.len() <= 2 { format!("00{digits}") } else { digits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_as_debezium_makes_them() {
        let field = |mode: Adjustment, name| mode.applied(name, Named::Field);
        assert_eq!(field(Adjustment::Underscore, "1st größe.x"), "_1st_gr__e_x");
        assert_eq!(field(Adjustment::Unicode, "1_ö😀"), "_u0031_u005f_u00f6_ud83d_ude00");
        assert_eq!(Adjustment::Underscore.applied("p.s-x.t_1.Key", Named::Schema), "p.s_x.t_1.Key");
        assert_eq!(Adjustment::Unicode.applied("p.s-x.t_1.Key", Named::Schema), "p.s_u002dx.t_u005f1.Key");
        assert_eq!(field(Adjustment::None, "a b"), "a b");
    }
}
