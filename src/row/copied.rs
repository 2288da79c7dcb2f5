//! A row of `COPY … TO STDOUT` in its text format, in the layout of [`Values`].

use super::Values;

/// The buffer of a copied row, used again for the next one.
#[derive(Debug, Default)]
pub struct CopiedRow {
    column_count: u16,
    bytes: Vec<u8>,
}

/// A line is no row of the text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line of COPY ends within an escape, or has more columns or bytes than a row can have")]
pub struct NotCopied;

impl CopiedRow {
    /// Takes a line, with or without its line end, of a table that has so many columns: an empty one is a row of one text or of
    /// none.
    pub fn read(&mut self, line: &[u8], column_count: usize) -> Result<Values<'_>, NotCopied> {
        self.bytes.clear();
        self.column_count = 0;
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if line.is_empty() && column_count == 0 {
            return Ok(self.values());
        }
        for field in line.split(|byte| *byte == b'\t') {
            self.column_count = self.column_count.checked_add(1).ok_or(NotCopied)?;
            self.push(field)?;
        }
        Ok(self.values())
    }

    /// The row that was read last.
    pub fn values(&self) -> Values<'_> {
        Values::new(self.column_count, &self.bytes)
    }

    fn push(&mut self, field: &[u8]) -> Result<(), NotCopied> {
        if field == b"\\N" {
            self.bytes.push(b'n');
            return Ok(());
        }
        self.bytes.extend_from_slice(b"t\0\0\0\0");
        let start = self.bytes.len();
        let mut rest = field;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
            let (plain, escape) = rest.split_at(at);
            let (_, after) = escape.split_first().ok_or(NotCopied)?;
            let (letter, after) = after.split_first().ok_or(NotCopied)?;
            self.bytes.extend_from_slice(plain);
            self.bytes.push(unescaped(*letter));
            rest = after;
        }
        self.bytes.extend_from_slice(rest);
        let length = self.bytes.len().checked_sub(start).and_then(|length| u32::try_from(length).ok());
        let length = length.ok_or(NotCopied)?.to_be_bytes();
        let place = start.checked_sub(length.len()).ok_or(NotCopied)?;
        self.bytes.get_mut(place..start).ok_or(NotCopied)?.copy_from_slice(&length);
        Ok(())
    }
}

/// What the letter behind a backslash stands for; the server writes no octal or hexadecimal ones.
fn unescaped(letter: u8) -> u8 {
    match letter {
        b'b' => 0x08,
        b'f' => 0x0C,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0B,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Value;
    use super::*;
    use proptest::prelude::*;

    /// As `CopyAttributeOutText` writes it.
    fn copied(row: &[Option<Vec<u8>>]) -> Vec<u8> {
        let field = |value: &Option<Vec<u8>>| match value {
            None => b"\\N".to_vec(),
            Some(text) => text.iter().flat_map(|byte| escaped(*byte)).collect(),
        };
        let mut line = row.iter().map(field).collect::<Vec<_>>().join(&b'\t');
        line.push(b'\n');
        line
    }

    fn escaped(byte: u8) -> Vec<u8> {
        match byte {
            0x08 => b"\\b".to_vec(),
            0x0B => b"\\v".to_vec(),
            0x0C => b"\\f".to_vec(),
            b'\n' => b"\\n".to_vec(),
            b'\r' => b"\\r".to_vec(),
            b'\t' => b"\\t".to_vec(),
            b'\\' => b"\\\\".to_vec(),
            other => vec![other],
        }
    }

    proptest! {
        #[test]
        fn what_the_server_copies_is_read_back(rows in prop::collection::vec(
            prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..20)), 0..6), 1..4,
        )) {
            let mut buffer = CopiedRow::default();
            for row in rows {
                let values = buffer.read(&copied(&row), row.len()).unwrap();
                let expected: Vec<_> = row.iter().map(|value| match value {
                    None => Value::Null,
                    Some(text) => Value::Text(text),
                }).collect();
                prop_assert_eq!(values.columns().collect::<Vec<_>>(), expected);
            }
        }

        #[test]
        fn any_line_is_a_row_or_refused(line in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut buffer = CopiedRow::default();
            if let Ok(values) = buffer.read(&line, 1) {
                prop_assert_eq!(values.columns().count(), values.len());
            }
        }
    }
}
