//! The members of a JSON text with the places at which they stand, so that bytes stay bytes.

use std::ops::Range;

/// Deeper than any row.
const DEPTH_MAX: usize = 128;

/// Calls `visit` with the path and the place of every value that is no object or array, and of empty ones; `None` if the text is no
/// JSON. `.` stands between names, `[0]` for the first of a list.
pub(super) fn walk(text: &[u8], visit: &mut dyn FnMut(&str, Range<usize>)) -> Option<()> {
    let mut walk = Walk { text, at: 0, path: String::new(), visit };
    walk.value(0)?;
    walk.space();
    (walk.at == text.len()).then_some(())
}

struct Walk<'a> {
    text: &'a [u8],
    at: usize,
    path: String,
    visit: &'a mut dyn FnMut(&str, Range<usize>),
}

impl Walk<'_> {
    fn value(&mut self, depth: usize) -> Option<()> {
        self.space();
        let start = self.at;
        match self.text.get(start)? {
            b'{' | b'[' if depth >= DEPTH_MAX => return None,
            b'{' => return self.members(b'}', depth),
            b'[' => return self.members(b']', depth),
            b'"' => _ = self.string()?,
            _ => {
                let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
                let length = self.text.get(start..)?.iter().take_while(is_part).count();
                self.at = start.saturating_add(length);
                let word = self.text.get(start..self.at)?;
                let is_number = word.first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-');
                (is_number || matches!(word, b"true" | b"false" | b"null")).then_some(())?;
            }
        }
        (self.visit)(&self.path, start..self.at);
        Some(())
    }

    fn members(&mut self, close: u8, depth: usize) -> Option<()> {
        let start = self.at;
        self.step();
        self.space();
        if self.text.get(self.at) == Some(&close) {
            self.step();
            (self.visit)(&self.path, start..self.at);
            return Some(());
        }
        let outer = self.path.len();
        for index in 0_usize.. {
            if close == b'}' {
                self.space();
                let name = self.string()?;
                let name = self.text.get(name.start.saturating_add(1)..name.end.saturating_sub(1))?;
                if outer > 0 {
                    self.path.push('.');
                }
                self.path.push_str(&String::from_utf8_lossy(name));
                self.space();
                self.expect(b':')?;
            } else {
                self.path.push_str(&format!("[{index}]"));
            }
            self.value(depth.saturating_add(1))?;
            self.path.truncate(outer);
            self.space();
            match self.text.get(self.at)? {
                b',' => self.step(),
                byte if *byte == close => break,
                _ => return None,
            }
        }
        self.step();
        Some(())
    }

    /// The place of the string that begins here, its quotes included.
    fn string(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        self.expect(b'"')?;
        loop {
            match self.text.get(self.at)? {
                b'"' => break,
                b'\\' => self.at = self.at.saturating_add(2),
                _ => self.step(),
            }
        }
        self.step();
        Some(start..self.at)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.text.get(self.at) == Some(&byte)).then(|| self.step())
    }

    fn step(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    fn space(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.step();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walked(text: &str) -> Option<Vec<(String, String)>> {
        let mut found = Vec::new();
        walk(text.as_bytes(), &mut |path, place| found.push((path.to_owned(), text[place].to_owned())))?;
        Some(found)
    }

    #[test]
    fn every_leaf_has_its_path_and_its_bytes() {
        let found = walked(r#"{"a":{"b":"x\"},","c":[1.5e-3,{"d":null},[]]},"e":{}, "f" : true}"#).unwrap();
        let found: Vec<(&str, &str)> = found.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let expected = [
            ("a.b", r#""x\"},""#),
            ("a.c[0]", "1.5e-3"),
            ("a.c[1].d", "null"),
            ("a.c[2]", "[]"),
            ("e", "{}"),
            ("f", "true"),
        ];
        assert_eq!(found, expected);
        assert_eq!(walked("7").unwrap(), [(String::new(), "7".to_owned())]);
    }

    #[test]
    fn what_is_no_json_is_none() {
        for text in
            ["", "{", r#"{"a"}"#, r#"{"a":1"#, r#""open"#, "[1,", "{}x", "paid", "Struct{a=1}", "[1 2]", r#""\"#]
        {
            assert_eq!(walked(text), None, "{text}");
        }
        assert_eq!(walked(&"[".repeat(10_000)), None, "no stack is deep enough");
    }
}
