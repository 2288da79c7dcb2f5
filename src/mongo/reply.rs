//! What MongoDB answers to a write command.

use bson::Document;

use super::failure::{CodeClass, DUPLICATE_KEY, classify_code};
use crate::error::{Error, ErrorKind, Result};

/// The code of a document that is full.
const TOO_LARGE: i32 = 17_419;

/// What a write command did.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// Documents matched or inserted.
    pub(crate) n: usize,
    /// Writes that were refused, the others being done.
    pub(crate) write_errors: Vec<WriteError>,
    /// The election term of the primary, on a replica set.
    pub(crate) term: Option<i64>,
}

/// One refused write of a command.
#[derive(Debug)]
pub(crate) struct WriteError {
    /// Its place in the command.
    pub(crate) index: usize,
    pub(crate) code: i32,
    /// The fields of the unique index, if one refused.
    pub(crate) key_fields: Vec<String>,
}

impl WriteError {
    /// The document's id is taken.
    pub(crate) fn is_taken_id(&self) -> bool {
        self.code == DUPLICATE_KEY && self.key_fields == ["_id"]
    }

    /// The document would be larger than MongoDB takes any.
    pub(crate) fn is_too_large(&self) -> bool {
        matches!(self.code, 10_334 | 17_419 | 17_420)
    }

    /// The collection is not the one that the command names.
    pub(crate) fn is_of_another(&self) -> bool {
        classify_code(self.code) == CodeClass::Replaced
    }

    /// The same as an [`Error`]; values of the document are not in it.
    pub(crate) fn to_error(&self) -> Error {
        let kind = match classify_code(self.code) {
            CodeClass::Unknown | CodeClass::Transient | CodeClass::Replaced => ErrorKind::Unavailable,
            CodeClass::Denied | CodeClass::Forbidden => ErrorKind::Denied,
            CodeClass::Unsupported => ErrorKind::Unsupported,
            CodeClass::Refused => ErrorKind::Data,
        };
        let code = self.code;
        match code {
            DUPLICATE_KEY => {
                let fields = self.key_fields.join(", ");
                Error::new(kind, format!("a unique index on {fields} refuses the document (code {code})"))
            }
            121 => Error::new(kind, format!("the collection's validation rule refuses the document (code {code})")),
            _ if self.is_too_large() => too_large(code),
            _ => Error::new(kind, format!("MongoDB refuses the write with code {code}")),
        }
    }
}

/// What is said of a document that is full.
fn too_large(code: i32) -> Error {
    Error::data(format!(
        "the document would be larger than 16 MB (code {code}), MongoDB's limit: take entries out of its lists, or keep them in \
         documents of their own"
    ))
}

/// What is said of a document that was found to be full a short while ago.
pub(crate) fn document_full() -> Error {
    too_large(TOO_LARGE)
}

pub(super) fn parse_reply(document: &Document) -> Result<Reply> {
    if let Ok(failure) = document.get_document("writeConcernError") {
        let code = failure.get_i32("code").unwrap_or_default();
        let text = failure.get_str("errmsg").unwrap_or_default();
        return Err(Error::unavailable(format!("MongoDB has not made a write durable in time: {text} (code {code})")));
    }
    let count = |field| document.get_i32(field).ok().and_then(|count| usize::try_from(count).ok()).unwrap_or_default();
    let mut reply = Reply {
        n: count("n"),
        write_errors: Vec::new(),
        term: document.get_document("opTime").ok().and_then(|time| time.get_i64("t").ok()),
    };
    let empty = Vec::new();
    for error in document.get_array("writeErrors").unwrap_or(&empty) {
        let Some(error) = error.as_document() else { continue };
        let index = error.get_i32("index").ok().and_then(|index| usize::try_from(index).ok());
        let (Some(index), Ok(code)) = (index, error.get_i32("code")) else {
            return Err(Error::protocol("MongoDB reports a write error without its place"));
        };
        let pattern = error.get_document("keyPattern");
        let key_fields = pattern.map(|pattern| pattern.keys().cloned().collect()).unwrap_or_default();
        reply.write_errors.push(WriteError { index, code, key_fields });
    }
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn a_reply_tells_which_write_was_refused_and_by_which_index() {
        let reply = parse_reply(&doc! {
            "n": 3, "ok": 1.0, "opTime": { "ts": bson::Timestamp { time: 1, increment: 1 }, "t": 7_i64 },
            "writeErrors": [{ "index": 2, "code": 11_000, "keyPattern": { "_id": 1 }, "errmsg": "dup key: { _id: 'secret' }" },
                            { "index": 4, "code": 11_000, "keyPattern": { "email": 1 }, "errmsg": "secret" }],
        })
        .unwrap();
        assert_eq!((reply.n, reply.term), (3, Some(7)));
        assert!(reply.write_errors[0].is_taken_id());
        assert!(!reply.write_errors[1].is_taken_id());
        let text = reply.write_errors[1].to_error().to_string();
        assert!(text.contains("email") && !text.contains("secret"), "{text}");
    }

    #[test]
    fn a_write_that_is_not_durable_yet_is_waited_for() {
        let error = parse_reply(&doc! { "n": 1, "ok": 1.0, "writeConcernError": { "code": 64, "errmsg": "waiting" } });
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}
