//! PostgreSQL's own errors, sorted into kinds with their remedies.

use crate::config::PostgresConfig;
use crate::error::{Error, ErrorKind};

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
        "42704" if message.contains("publication") => (
            ErrorKind::Missing,
            "run `evp init`; if it is there by now, the slot is older than it and cannot be read: drop the slot, run \
             `evp init`, and start once with --accept-gap"
                .to_owned(),
        ),
        "42704" => (ErrorKind::Missing, "run `evp init`".to_owned()),
        "55000" if message.contains("wal_level") => {
            (ErrorKind::Missing, "set wal_level = logical in postgresql.conf and restart PostgreSQL".to_owned())
        }
        "55000" => {
            (ErrorKind::Refused, "the slot cannot be read any more; see pg_replication_slots.wal_status".to_owned())
        }
        // Class 53 is exhausted resources, 57P0x a server that stops or starts, 55006 a slot in use,
        // class 08 a connection: time heals all of them.
        _ if sqlstate.starts_with("53") || sqlstate.starts_with("57P0") || sqlstate.starts_with("08") => {
            (ErrorKind::Unavailable, "waiting for the server".to_owned())
        }
        "55006" => (ErrorKind::Unavailable, "waiting until its reader is gone".to_owned()),
        _ => (ErrorKind::Protocol, format!("SQLSTATE {sqlstate}")),
    };
    Error::new(kind, format!("{what}: PostgreSQL at {address} says `{message}`; {remedy}"))
}

/// The error for a connection that cannot be made or broke.
pub(super) fn connection_error(what: &str, config: &PostgresConfig, error: std::io::Error) -> Error {
    let message = format!(
        "{what}: PostgreSQL at {} does not answer; check POSTGRES_HOST, POSTGRES_PORT and the server",
        config.address()
    );
    Error::with_source(ErrorKind::Unavailable, message, error)
}
