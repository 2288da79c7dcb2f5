//! Reading headers, of which Kafka allows any bytes as a name and rdkafka only UTF-8: it panics at others.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Header, Headers, Message as _};

/// The headers of a record; one whose name is not UTF-8 is left out.
fn readable<'a>(message: &'a BorrowedMessage<'_>) -> impl Iterator<Item = Header<'a, &'a [u8]>> {
    let headers = message.headers();
    let count = headers.map_or(0, Headers::count);
    (0..count)
        .filter_map(move |index| contained(|| headers.and_then(|headers: &BorrowedHeaders| headers.try_get(index))))
}

/// The value of the first header of that name.
fn value<'a>(message: &'a BorrowedMessage<'_>, name: &str) -> Option<&'a [u8]> {
    readable(message).find(|header| header.key == name)?.value
}

/// Whether there is a header of that name.
fn has(message: &BorrowedMessage<'_>, name: &str) -> bool {
    readable(message).any(|header| header.key == name)
}

/// A record as it was read.
#[derive(Clone, Copy)]
pub(crate) struct TopicRecord<'a>(&'a BorrowedMessage<'a>);

impl<'a> TopicRecord<'a> {
    pub(super) fn new(message: &'a BorrowedMessage<'_>) -> Self {
        Self(message)
    }

    pub(crate) fn partition(self) -> i32 {
        self.0.partition()
    }

    pub(crate) fn offset(self) -> i64 {
        self.0.offset()
    }

    /// When it was written, as its producer or its broker says.
    pub(crate) fn timestamp_ms(self) -> Option<i64> {
        self.0.timestamp().to_millis()
    }

    pub(crate) fn key(self) -> Option<&'a [u8]> {
        self.0.key()
    }

    pub(crate) fn value(self) -> Option<&'a [u8]> {
        self.0.payload()
    }

    /// Names and values of the headers whose names are texts.
    pub(crate) fn headers(self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> {
        readable(self.0).map(|header| (header.key, header.value))
    }

    /// The value of the first header of that name.
    pub(crate) fn header(self, name: &str) -> Option<&'a [u8]> {
        value(self.0, name)
    }

    /// Whether there is a header of that name.
    pub(crate) fn has_header(self, name: &str) -> bool {
        has(self.0, name)
    }
}

thread_local! {
    static IS_CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// What `read` returns, and nothing if it panics, without a word of that on stderr.
fn contained<T>(read: impl FnOnce() -> Option<T>) -> Option<T> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !IS_CONTAINED.get() {
                report(panic);
            }
        }));
    });
    IS_CONTAINED.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(read));
    IS_CONTAINED.set(false);
    result.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_while_a_header_is_read_leaves_that_header_out() {
        let name = std::ffi::CString::new(b"\xff".to_vec()).unwrap();
        assert_eq!(contained(|| Some(name.to_str().unwrap())), None);
        assert_eq!(contained(|| Some(1)), Some(1));
    }
}
