//! PostgreSQL's own errors, sorted into kinds with their remedies.

use crate::config::PostgresConfig;
use crate::error::{Error, ErrorKind};

/// How the error about a publication begins that is not there at the position that is decoded.
pub const NO_PUBLICATION: &str = "the log has no such publication";

/// The error for a SQLSTATE and message that the server sent while we did `what`.
pub(super) fn server_error(what: &str, config: &PostgresConfig, sqlstate: &str, message: &str) -> Error {
    let address = config.address();
    let (kind, remedy) = match sqlstate {
        "28P01" | "28000" => (
            ErrorKind::Denied,
            "check POSTGRES_USER and POSTGRES_PASSWORD, and that pg_hba.conf lets this role in".to_owned(),
        ),
        "3D000" => (ErrorKind::Missing, "check POSTGRES_DB".to_owned()),
        "42501" => (
            ErrorKind::Denied,
            format!("grant role `{}` what is missing (`evp init` makes a role that has it)", config.user),
        ),
        "42704" if message.contains("publication") => {
            return Error::new(
                ErrorKind::Missing,
                format!("{NO_PUBLICATION} as PostgreSQL at {address} decodes it: it says `{message}`; run `evp init`"),
            );
        }
        "42704" => (ErrorKind::Missing, "run `evp init`".to_owned()),
        // Unknown, because a table that is just being made anew is there a moment later.
        "42P01" | "3F000" => (ErrorKind::Unknown, format!("run `evp init` if it was never made (SQLSTATE {sqlstate})")),
        "55000" if message.contains("wal_level") => {
            (ErrorKind::Missing, "set wal_level = logical in postgresql.conf and restart PostgreSQL".to_owned())
        }
        "55000" => {
            (ErrorKind::Refused, "the slot cannot be read any more; see pg_replication_slots.wal_status".to_owned())
        }
        // Class 53 is exhausted resources, 57 an operator who cancels or a server that stops or starts, 08 a connection,
        // 40 a conflict, 58 the server's own files, 55P03 a lock: time heals all of them.
        _ if ["53", "57", "08", "40", "58", "55P03"].iter().any(|class| sqlstate.starts_with(class)) => {
            (ErrorKind::Unavailable, format!("waiting for the server (SQLSTATE {sqlstate})"))
        }
        "55006" => (ErrorKind::Unavailable, "waiting until its reader is gone".to_owned()),
        _ => (ErrorKind::Unknown, format!("SQLSTATE {sqlstate}; see the server's log")),
    };
    Error::new(kind, format!("{what}: PostgreSQL at {address} says `{message}`; {remedy}"))
}

/// Whether a server lets nobody in because it is about to stop, as one does that starts.
pub(crate) fn is_stopping(error: &Error) -> bool {
    error.message().contains("(SQLSTATE 57P03)")
}

/// The error for a connection that cannot be made or broke.
pub(super) fn connection_error(what: &str, config: &PostgresConfig, error: std::io::Error) -> Error {
    let message = format!(
        "{what}: PostgreSQL at {} does not answer; check POSTGRES_HOST, POSTGRES_PORT and the server",
        config.address()
    );
    Error::with_source(ErrorKind::Unavailable, message, error)
}
