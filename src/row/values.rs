//! The values of a row, read in place.
//!
//! One layout serves all rows, that of a tuple in `pgoutput`: for each column `n` (null), `u` (unchanged), or `t` with the
//! length as four bytes and the text. What comes from the stream is borrowed as it lies in the frame.

/// The columns of one row, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Values<'a> {
    column_count: u16,
    bytes: &'a [u8],
}

/// The value of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Null.
    Null,
    /// Stored outside of the row, not touched by the change, and therefore not in the log.
    Unchanged,
    /// The type's output text.
    Text(&'a [u8]),
}

impl<'a> Values<'a> {
    /// So many columns in the layout of this module; the columns end where the bytes do not follow it.
    pub fn new(column_count: u16, bytes: &'a [u8]) -> Self {
        Self { column_count, bytes }
    }

    /// How many columns it has.
    pub fn len(self) -> usize {
        usize::from(self.column_count)
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.column_count == 0
    }

    /// The columns in order.
    pub fn columns(self) -> Columns<'a> {
        Columns { rest: self.bytes, left: self.column_count }
    }
}

/// Iterator over the columns of a row.
#[derive(Debug, Clone)]
pub struct Columns<'a> {
    rest: &'a [u8],
    left: u16,
}

impl<'a> Iterator for Columns<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let (kind, rest) = self.rest.split_first()?;
        self.rest = rest;
        match kind {
            b'n' => Some(Value::Null),
            b'u' => Some(Value::Unchanged),
            _ => {
                let (length, rest) = rest.split_first_chunk::<4>()?;
                let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
                let (text, rest) = rest.split_at_checked(length)?;
                self.rest = rest;
                Some(Value::Text(text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_read_in_place_and_end_where_the_bytes_do() {
        let bytes = b"nut\0\0\0\x02ab";
        let values = Values::new(3, bytes);
        let all: Vec<_> = values.columns().collect();
        assert_eq!(all, [Value::Null, Value::Unchanged, Value::Text(b"ab")]);
        assert_eq!((values.len(), values.is_empty()), (3, false));
        assert_eq!(Values::new(3, b"nt\0\0\0\x09ab").columns().count(), 1);
        assert_eq!(Values::new(2, b"nnn").columns().count(), 2);
    }
}
