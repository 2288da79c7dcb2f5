//! What MongoDB's errors mean for evp: wait, halt, or set the one event aside.

use mongodb::error::ErrorKind as DriverError;

use crate::error::{Error, ErrorKind};

/// The class of an error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CodeClass {
    /// The server or its replica set is in motion; the same write will be accepted later.
    Transient,
    /// Credentials, which are read at the start.
    Denied,
    /// A privilege is missing, which an administrator of the server grants while we run.
    Forbidden,
    /// The server cannot do what evp needs, whatever the event.
    Unsupported,
    /// This document or this change is refused, now and ever.
    Refused,
    /// The collection of that name is another one than the command names.
    Replaced,
    /// Not known to evp: an outage while other writes are refused, too, and a refusal of this one if they are not.
    Unknown,
}

/// The code of a unique index that refuses a value.
pub(crate) const DUPLICATE_KEY: i32 = 11_000;

/// Sorts an error code of a command or of one of its writes.
pub(crate) fn classify_code(code: i32) -> CodeClass {
    match code {
        // Host, network and socket errors; primaries that step down, shut down or are not there yet;
        // time limits; write conflicts; write concern not satisfied in time; stale routing; no disk space;
        // memory or quota used up; writes blocked for a migration; keys and sessions that are renewed.
        6 | 7 | 24 | 43 | 50 | 63 | 64 | 79 | 89 | 91 | 100 | 112 | 133 | 134 | 146 | 150 | 187 | 189 | 202 | 211
        | 225 | 246 | 251 | 262 | 308 | 317 | 365 | 371 | 384 | 391 | 402 | 462 | 8_000 | 9_001 | 10_058 | 10_107
        | 11_600 | 11_601 | 11_602 | 13_388 | 13_435 | 13_436 | 14_031 => CodeClass::Transient,
        11 | 18 | 31 | 33 | 334 => CodeClass::Denied,
        361 => CodeClass::Replaced,
        13 => CodeClass::Forbidden,
        59 | 72 | 73 | 115 | 166 | 303 | 40_415 | 323 => CodeClass::Unsupported,
        2 | 14 | 17 | 28 | 52 | 53 | 54 | 55 | 56 | 57 | 66 | 121 | DUPLICATE_KEY | 10_334 | 16_755 | 17_280
        | 17_419 | 17_420 | 10_003 => CodeClass::Refused,
        // Expression errors of an aggregation pipeline carry the number of the assertion.
        16_000..=99_999 => CodeClass::Refused,
        _ => CodeClass::Unknown,
    }
}

/// An error of the driver, with its kind and the remedy.
pub(crate) fn client_error(what: &str, address: &str, error: mongodb::error::Error) -> Error {
    let class = error_class(&error);
    match class {
        CodeClass::Denied | CodeClass::Forbidden => Error::with_source(
            ErrorKind::Denied,
            format!(
                "{what}: MongoDB at {address} refuses the credentials or lacks a privilege; check the user of MONGODB_URI and its role readWrite"
            ),
            error,
        ),
        CodeClass::Unsupported => Error::with_source(
            ErrorKind::Unsupported,
            format!(
                "{what}: MongoDB at {address} does not support it; evp needs MongoDB 4.4 or newer and plain collections"
            ),
            error,
        ),
        CodeClass::Refused => Error::with_source(ErrorKind::Data, format!("{what}: MongoDB refuses it"), error),
        CodeClass::Transient | CodeClass::Replaced | CodeClass::Unknown if command_code(&error).is_some() => {
            Error::unavailable(format!("{what}: {}", refusal(address, &error)))
        }
        CodeClass::Transient | CodeClass::Replaced | CodeClass::Unknown => Error::with_source(
            ErrorKind::Unavailable,
            format!("{what}: MongoDB at {address} does not answer; check MONGODB_URI and the server"),
            error,
        ),
    }
}

/// What the server said to a command, without its text, which can hold values of documents.
pub(crate) fn refusal(address: &str, error: &mongodb::error::Error) -> String {
    match command_code(error) {
        Some((code, name)) => {
            format!("MongoDB at {address} refuses the command with code {code} ({name}); its log tells why")
        }
        None => format!("the command for MongoDB at {address} cannot be written: {error}"),
    }
}

fn command_code(error: &mongodb::error::Error) -> Option<(i32, &str)> {
    match error.kind.as_ref() {
        DriverError::Command(command) => Some((command.code, command.code_name.as_str())),
        _ => None,
    }
}

/// Sorts an error of the driver.
pub(crate) fn error_class(error: &mongodb::error::Error) -> CodeClass {
    match error.kind.as_ref() {
        DriverError::Authentication { .. } => CodeClass::Denied,
        DriverError::Command(command) => {
            let labelled = error.contains_label("RetryableWriteError") || error.contains_label("SystemOverloadedError");
            if labelled { CodeClass::Transient } else { classify_code(command.code) }
        }
        DriverError::InvalidTlsConfig { .. } | DriverError::IncompatibleServer { .. } => CodeClass::Unsupported,
        DriverError::Bson(_) | DriverError::InvalidArgument { .. } => CodeClass::Refused,
        _ => CodeClass::Transient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stepping_down_primary_is_waited_for_and_a_bad_document_is_not() {
        for code in [10_107, 189, 91, 11_600, 112, 64, 13_435, 211, 371, 8_000] {
            assert_eq!(classify_code(code), CodeClass::Transient, "{code}");
        }
        for code in [DUPLICATE_KEY, 121, 10_334, 16_702, 2, 14] {
            assert_eq!(classify_code(code), CodeClass::Refused, "{code}");
        }
        assert_eq!(classify_code(361), CodeClass::Replaced);
        assert_eq!(classify_code(13), CodeClass::Forbidden);
        assert_eq!(classify_code(166), CodeClass::Unsupported);
        assert_eq!(classify_code(999), CodeClass::Unknown);
    }
}
