//! `${provider:path:key}` in a property's value, as Kafka Connect's configuration providers resolve it.

use std::path::Path;

use crate::config::Variables;

const REMEDY: &str =
    "give ${env:NAME}, ${file:/path:key} or ${dir:/path:key}, or set the value with its variable or --set";

/// The value with every reference in it resolved. The error says what is wrong and shows nothing of the value.
pub(super) fn resolved(variables: &Variables, value: &str) -> Result<String, String> {
    let (mut out, mut rest) = (String::with_capacity(value.len()), value);
    while let Some((before, from)) = rest.split_once("${") {
        out.push_str(before);
        match from.split_once('}').and_then(|(inside, after)| Some((inside.split_once(':')?, after))) {
            Some(((provider, place), after)) => {
                let (path, key) = place.split_once(':').unwrap_or(("", place));
                out.push_str(&referred(variables, provider, path, key)?);
                rest = after;
            }
            // Without a colon it is no reference, such as the group of a replacement.
            None => {
                out.push_str("${");
                rest = from;
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Whether a value holds a reference.
pub(super) fn refers(value: &str) -> bool {
    value.split("${").skip(1).any(|rest| rest.split_once('}').is_some_and(|(inside, _)| inside.contains(':')))
}

fn referred(variables: &Variables, provider: &str, path: &str, key: &str) -> Result<String, String> {
    match provider {
        "env" => variables.optional(key).ok_or_else(|| format!("refers to the variable {key}, which is not set")),
        "file" if path.is_empty() => Err("refers to a file without a key: give ${file:/path:key}".to_owned()),
        "file" => {
            let text = read(Path::new(path))?;
            property(&text, key).ok_or_else(|| format!("refers to the key {key} of {path}, which has none"))
        }
        "dir" | "directory" => {
            if key.is_empty() || key.contains(['/', '\\']) || key == ".." {
                return Err(format!("refers to a file outside of the directory {path}"));
            }
            read(&Path::new(path).join(key)).map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
        }
        other => Err(format!("refers to the provider `{other}`, which evp does not have: {REMEDY}")),
    }
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path)
        .map_err(|error| format!("refers to {}, which cannot be read: {error}", path.display()))
}

/// The value of a key in a Java properties file; the last one counts.
fn property(text: &str, key: &str) -> Option<String> {
    java_properties(text).into_iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
}

/// The names and values of a Java properties file, in its order.
pub(super) fn java_properties(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut line = line.trim_start().to_owned();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        while line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1 {
            line.pop();
            match lines.next() {
                Some(next) => line.push_str(next.trim_start()),
                None => break,
            }
        }
        let (name, value) = split(&line);
        found.push((unescaped(name), unescaped(value)));
    }
    found
}

/// At the first `=`, `:` or blank that is not escaped.
fn split(line: &str) -> (&str, &str) {
    let mut is_escaped = false;
    let end = line.find(|c: char| {
        let ends = !is_escaped && (matches!(c, '=' | ':') || c.is_whitespace());
        is_escaped = c == '\\' && !is_escaped;
        ends
    });
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start();
    (name, rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start())
}

fn unescaped(text: &str) -> String {
    let (mut out, mut chars) = (String::with_capacity(text.len()), text.chars());
    while let Some(c) = chars.next() {
        match if c == '\\' { chars.next() } else { None } {
            None => out.push(c),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('u') => {
                let code: String = chars.by_ref().take(4).collect();
                out.extend(u32::from_str_radix(&code, 16).ok().and_then(char::from_u32));
            }
            Some(other) => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(value: &str) -> Result<String, String> {
        resolved(&Variables::of(&[("SECRET", "hunter2")]), value)
    }

    #[test]
    fn references_are_resolved_wherever_they_stand_in_a_value() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        std::fs::write(
            directory.path().join("secrets.properties"),
            "# note\n a\\:b : one \\\n  two\npw=x=\\u0041\\\\\n",
        )
        .unwrap();
        std::fs::write(directory.path().join("password"), "whole file\n").unwrap();
        for (value, expected) in [
            ("${env:SECRET}".to_owned(), "hunter2"),
            ("a-${env::SECRET}-${env:SECRET}-$1-${group}".to_owned(), "a-hunter2-hunter2-$1-${group}"),
            (format!("${{file:{path}/secrets.properties:pw}}"), "x=A\\"),
            (format!("${{dir:{path}:password}}"), "whole file"),
            ("$ {env:SECRET} ${env:SECRET".to_owned(), "$ {env:SECRET} ${env:SECRET"),
        ] {
            assert_eq!(resolve(&value).as_deref(), Ok(expected), "{value}");
        }
        assert_eq!(property("a\\:b : one \\\n  two\nc", "a:b").as_deref(), Some("one two"));
        assert_eq!(property("c", "c").as_deref(), Some(""));
    }

    #[test]
    fn what_cannot_be_resolved_is_named() {
        for (value, named) in [
            ("${vault:secret/data:password}", "`vault`"),
            ("${env:NO_SUCH_VARIABLE}", "NO_SUCH_VARIABLE"),
            ("${file:/nonexistent:key}", "/nonexistent"),
            ("${file:/nonexistent}", "${file:/path:key}"),
            ("${dir:/tmp:../etc/passwd}", "outside"),
        ] {
            assert!(refers(value));
            let said = resolve(value).unwrap_err();
            assert!(said.contains(named), "{said}");
        }
        assert!(!refers("outbox.event.${routedByValue}:x"));
    }
}
