//! Regular expressions as Java has them, which is what a connector file is written in.

use fancy_regex::Regex;

/// An expression that a name matches as a whole.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl Pattern {
    /// From Java's notation. The error says in a few words what is wrong or not supported.
    pub fn whole(text: &str) -> Result<Self, String> {
        Self::compile(text, "")
    }

    /// The same, for a name whose letters may be of either case.
    pub fn whole_in_any_case(text: &str) -> Result<Self, String> {
        Self::compile(text, "(?i)")
    }

    fn compile(text: &str, flags: &str) -> Result<Self, String> {
        let regex = Regex::new(&format!("{flags}\\A(?:{})\\z", translated(text)?)).map_err(|error| {
            let said = error.to_string();
            said.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        })?;
        Ok(Self { text: text.to_owned(), regex })
    }

    /// As it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the name matches; one on which the expression takes for ever does not.
    pub fn matches(&self, name: &str) -> bool {
        self.regex.is_match(name).unwrap_or(false)
    }

    /// The replacement, with `${1}` for the first group, if the name matches.
    pub fn replaced(&self, name: &str, replacement: &str) -> Option<String> {
        let captures = self.regex.captures(name).ok().flatten()?;
        let mut out = String::new();
        captures.expand(replacement, &mut out);
        Some(out)
    }
}

/// The expressions of a list. As in Debezium commas separate them, `\,` is a comma, and what is empty is passed over.
pub fn listed(list: &str) -> Vec<String> {
    let (mut entries, mut entry) = (Vec::new(), String::new());
    let mut chars = list.chars();
    while let Some(c) = chars.next() {
        match c {
            ',' => entries.push(std::mem::take(&mut entry)),
            '\\' => match chars.next() {
                Some(',') => entry.push(','),
                next => {
                    entry.push('\\');
                    entry.extend(next);
                }
            },
            other => entry.push(other),
        }
    }
    entries.push(entry);
    entries.iter().map(|entry| entry.trim().to_owned()).filter(|entry| !entry.is_empty()).collect()
}

/// Java's notation in that of the crate, which reads some of it in another way.
fn translated(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len().saturating_add(16));
    let mut class_depth = 0_u32;
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {}
            '[' => class_depth = class_depth.saturating_add(1),
            ']' => class_depth = class_depth.saturating_sub(1),
            _ => {}
        }
        if c != '\\' {
            out.push(c);
            continue;
        }
        let is_in_class = class_depth > 0;
        match chars.next() {
            Some('Q') => {
                let (quoted, rest) = chars.as_str().split_once("\\E").unwrap_or((chars.as_str(), ""));
                out.push_str(&regex::escape(quoted));
                chars = rest.chars();
            }
            // Java's are ASCII, and the crate's are not.
            Some('d') => out.push_str(if is_in_class { "0-9" } else { "[0-9]" }),
            Some('w') => out.push_str(if is_in_class { "a-zA-Z0-9_" } else { "[a-zA-Z0-9_]" }),
            Some('D') => out.push_str("[^0-9]"),
            Some('W') => out.push_str("[^a-zA-Z0-9_]"),
            Some(unsupported @ ('h' | 'H' | 'v' | 'V' | 'R' | 'X' | 'N' | 'G' | 'K' | 'c' | 'E' | '0' | 'g' | 'O')) => {
                return Err(format!("\\{unsupported} is not supported"));
            }
            Some(other) => out.extend(['\\', other]),
            None => return Err("it ends with a backslash".to_owned()),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::whole_in_any_case(pattern).unwrap().matches(name)
    }

    #[test]
    fn names_match_as_a_whole_in_any_case_with_all_that_java_has() {
        for (pattern, name, expected) in [
            ("public.orders", "public.orders", true),
            ("public.orders", "Public.ORDERS", true),
            ("public.orders", "public.orders_old", false),
            ("a|b", "ab", false),
            ("public\\.(?!audit_).*", "public.orders", true),
            ("public\\.(?!audit_).*", "public.audit_orders", false),
            (".*(?<!_old)", "public.orders_old", false),
            ("\\Qpublic.a+b\\E.*", "public.a+bc", true),
            ("\\Qpublic.a+b\\E.*", "publicxa+bc", false),
            ("public.\\w+", "public.größe", false),
            ("public.[\\w-]+", "public.a-1", true),
            ("public.[a-z&&[^x]]+", "public.axe", false),
            ("public.t\\d{1,2}", "public.t12", true),
            ("(\\w+)\\.\\1", "a.a", true),
            ("public.a++b", "public.aab", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} on {name}");
        }
        assert!(!Pattern::whole("A").unwrap().matches("a"));
    }

    #[test]
    fn what_is_not_supported_is_named_in_one_line() {
        for (pattern, named) in [("public.(", ""), ("a\\h", "\\h"), ("a\\", "backslash"), ("[b-a]", "")] {
            let said = Pattern::whole(pattern).unwrap_err();
            assert!(said.contains(named) && !said.is_empty() && said.lines().count() == 1, "{pattern}: {said}");
        }
    }

    #[test]
    fn a_list_has_commas_between_its_entries_and_escaped_ones_in_them() {
        assert_eq!(listed(" public.a , public.t\\d{1\\,2},, s\\.b "), ["public.a", "public.t\\d{1,2}", "s\\.b"]);
        assert!(listed("").is_empty());
    }
}
